// SPDX-License-Identifier: GPL-2.0
/*
 * What usbcore sees of a virtual controller.
 *
 * No HCD_DMA and hooks that map nothing: usbcore hands over plain pointers, and buffers
 * of drivers stay private memory that the backend can't rewrite while they are parsed.
 * No HCD_BH: see complete.c.
 */
#include "iso.h"
#include "power.h"
#include "streams.h"

/**
 * usbfront_hcd_priv - our data behind a struct usb_hcd
 * @hcd: either half of a virtual controller
 *
 * Return: private data.
 */
struct usbfront_hcd *usbfront_hcd_priv(struct usb_hcd *hcd)
{
	return (struct usbfront_hcd *)hcd->hcd_priv;
}

static int usbfront_hcd_start(struct usb_hcd *hcd)
{
	hcd->state = HC_STATE_RUNNING;
	hcd->uses_new_polling = 1;
	return 0;
}

static void usbfront_hcd_stop(struct usb_hcd *hcd)
{
}

static int usbfront_map_urb(struct usb_hcd *hcd, struct urb *urb, gfp_t gfp)
{
	return 0;
}

static void usbfront_unmap_urb(struct usb_hcd *hcd, struct urb *urb)
{
}

/* usbcore has flushed the endpoint; what state we keep belongs to the port. */
static void usbfront_endpoint_disable(struct usb_hcd *hcd,
				      struct usb_host_endpoint *ep)
{
}

/* Toggles are the backend's: they follow CLEAR_HALT, which is an operation. */
static void usbfront_endpoint_reset(struct usb_hcd *hcd,
				    struct usb_host_endpoint *ep)
{
}

const struct hc_driver usbfront_hc_driver = {
	.description		= USBFRONT_NAME,
	.product_desc		= "usbif virtual host controller",
	.hcd_priv_size		= sizeof(struct usbfront_hcd),
	.flags			= HCD_USB32 | HCD_SHARED,
	.start			= usbfront_hcd_start,
	.stop			= usbfront_hcd_stop,
	.get_frame_number	= usbfront_get_frame_number,
	.urb_enqueue		= usbfront_urb_enqueue,
	.urb_dequeue		= usbfront_urb_dequeue,
	.map_urb_for_dma	= usbfront_map_urb,
	.unmap_urb_for_dma	= usbfront_unmap_urb,
	.endpoint_disable	= usbfront_endpoint_disable,
	.endpoint_reset		= usbfront_endpoint_reset,
	.alloc_streams		= usbfront_alloc_streams,
	.free_streams		= usbfront_free_streams,
	.hub_status_data	= usbfront_hub_status_data,
	.hub_control		= usbfront_hub_control,
	.bus_suspend		= usbfront_bus_suspend,
	.bus_resume		= usbfront_bus_resume,
};
