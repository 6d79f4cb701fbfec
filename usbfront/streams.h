/* SPDX-License-Identifier: GPL-2.0 */
/* Bulk streams, and operations that somebody waits for: streams.c. */
#ifndef USBFRONT_STREAMS_H
#define USBFRONT_STREAMS_H

#include "usbfront.h"

/**
 * struct usbfront_call - somebody waits for an operation
 * @req: of the operation, NULL when it has ended
 * @done: it has
 * @status: enum usbif_status
 * @value: of the completion
 *
 * Under uf->lock but for the waiting.
 */
struct usbfront_call {
	struct usbfront_req *req;
	struct completion done;
	u32 status;
	u32 value;
};

/* With uf->lock held, but for the hooks of hc_driver */
bool usbfront_streams_ask(struct usbfront_port *port);
void usbfront_streams_told(struct usbfront_port *port, u32 status);
void usbfront_streams_update(struct usbfront_vusb *vusb);
void usbfront_call_end(struct usbfront_port *port, u32 status, u32 value);
int usbfront_alloc_streams(struct usb_hcd *hcd, struct usb_device *udev,
			   struct usb_host_endpoint **eps, unsigned int nr_eps,
			   unsigned int nr_streams, gfp_t gfp);
int usbfront_free_streams(struct usb_hcd *hcd, struct usb_device *udev,
			  struct usb_host_endpoint **eps, unsigned int nr_eps,
			  gfp_t gfp);

#endif /* USBFRONT_STREAMS_H */
