// SPDX-License-Identifier: GPL-2.0
/*
 * Bulk streams: USBIF_OP_ALLOC_STREAMS and _FREE_STREAMS.
 *
 * Endpoints with streams are not ordered but within each stream, so none of them is
 * ever held: see may_run() in urb.c. What was granted is kept in the endpoint, for
 * the check of each request's stream id; it changes only while no request of the
 * endpoint is active and the operation's gate keeps new ones back.
 *
 * Streams are freed before the device is reset or gets another setting or
 * configuration: host controllers do that too, but complain. A device that lost power
 * while the host slept was reset by the USB core, and gets those it had again.
 */
#include <linux/usb.h>
#include <linux/usb/hcd.h>
#include "backend.h"
#include "device.h"

/* Rings in the host's memory, 8 KiB each for xHCI: a guest gets no more of them. */
#define MAX_STREAMS	256u

/**
 * usbback_streams_forget - there are no streams any more
 * @port: port; ub->lock held
 * @mask: endpoints
 */
void usbback_streams_forget(struct usbback_port *port, u32 mask)
{
	unsigned int i;

	lockdep_assert_held(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i))
			port->eps[i].streams = 0;
}

static struct usb_host_endpoint *endpoint_of(struct usb_device *udev,
					     unsigned int index)
{
	return usbback_urb_endpoint(udev, index < 16 ? index :
				    (index - 16) | USB_DIR_IN);
}

/* The endpoints of @mask, all of which must exist. Returns their number, or 0. */
static unsigned int collect(struct usb_device *udev, u32 mask,
			    struct usb_host_endpoint **heps)
{
	unsigned int i, n = 0;

	for (i = 0; i < USBBACK_EPS; i++) {
		if (!(mask & BIT(i)))
			continue;
		heps[n] = endpoint_of(udev, i);
		if (!heps[n++])
			return 0;
	}
	return n;
}

/* Host controllers log what a driver should know; a guest must not make them. */
static bool may_have_streams(const struct usb_host_endpoint *hep)
{
	return usb_endpoint_xfer_bulk(&hep->desc) && !hep->streams &&
	       usb_ss_max_streams(&hep->ss_ep_comp);
}

/* usb_alloc_streams() only wants to know the device. */
static struct usb_interface *any_interface(struct usb_device *udev)
{
	return udev->actconfig ? udev->actconfig->interface[0] : NULL;
}

static bool host_can(const struct usb_device *udev)
{
	return udev->speed >= USB_SPEED_SUPER &&
	       bus_to_hcd(udev->bus)->driver->alloc_streams;
}

/* Whether the host's own drivers would use streams here. */
static bool host_should(const struct usb_device *udev)
{
	return host_can(udev) && bus_to_hcd(udev->bus)->can_do_streams;
}

static bool is_idle(struct usbback_port *port, u32 mask, u64 seq)
{
	struct usbback_slot *slot;
	bool idle = true;
	unsigned int i;

	spin_lock_irq(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++) {
		if (!(mask & BIT(i)))
			continue;
		idle = idle && list_empty(&port->eps[i].active);
		slot = list_first_entry_or_null(&port->eps[i].parked,
						struct usbback_slot, node);
		idle = idle && (!slot || slot->seq > seq);
	}
	spin_unlock_irq(&port->ub->lock);
	return idle;
}

static int alloc_locked(struct usbback_port *port, u32 mask, u32 nr)
{
	struct usb_host_endpoint *heps[USBBACK_EPS];
	struct usb_interface *intf = any_interface(port->udev);
	unsigned int i, n = collect(port->udev, mask, heps);

	if (!n || !intf)
		return -EINVAL;
	for (i = 0; i < n; i++)
		if (!may_have_streams(heps[i]))
			return -EINVAL;
	return usb_alloc_streams(intf, heps, n, min(nr, MAX_STREAMS), GFP_NOIO);
}

/**
 * usbback_streams_alloc - USBIF_OP_ALLOC_STREAMS
 * @port: port, called by its worker
 * @op: operation; its value is set
 * @lock_ms: how long to try for the device lock
 *
 * A frontend asks with endpoints that are not there, or not yet, whether it is worth
 * trying: USBIF_ST_NOENT or USBIF_ST_UNSUPPORTED.
 *
 * Return: enum usbif_status.
 */
u8 usbback_streams_alloc(struct usbback_port *port, struct usbback_op *op,
			 unsigned int lock_ms)
{
	struct usb_host_endpoint *heps[USBBACK_EPS];
	u32 mask = op->req.arg1;
	unsigned int i;
	int ret;

	if (!port->configured || !collect(port->udev, mask, heps))
		return host_should(port->udev) ? USBIF_ST_NOENT :
						 USBIF_ST_UNSUPPORTED;
	if (!host_can(port->udev))
		return USBIF_ST_UNSUPPORTED;
	if (!is_idle(port, mask, op->seq))
		return USBIF_ST_INVALID;
	ret = usbback_dev_lock(port->bdev, lock_ms);
	if (ret)
		return usbif_status_from_errno(ret);
	ret = alloc_locked(port, mask, op->req.arg0);
	usbback_dev_unlock(port->bdev);
	if (ret == -ENOMEM)
		return USBIF_ST_NOMEM;
	if (ret <= 0)
		return host_should(port->udev) ? USBIF_ST_INVALID :
						 USBIF_ST_UNSUPPORTED;
	spin_lock_irq(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i))
			port->eps[i].streams = ret;
	spin_unlock_irq(&port->ub->lock);
	op->value = ret;
	return USBIF_ST_OK;
}

/**
 * usbback_streams_free - free the streams of some endpoints
 * @port: port; the device lock is held and nothing is in flight on @mask
 * @mask: endpoints, with streams or without
 *
 * Return: false if there were none.
 */
bool usbback_streams_free(struct usbback_port *port, u32 mask)
{
	struct usb_host_endpoint *hep, *heps[USBBACK_EPS];
	struct usb_interface *intf = any_interface(port->udev);
	unsigned int i, n = 0;

	for (i = 0; i < USBBACK_EPS; i++) {
		if (!(mask & BIT(i)))
			continue;
		hep = endpoint_of(port->udev, i);
		if (hep && hep->streams)
			heps[n++] = hep;
	}
	if (n && intf)
		usb_free_streams(intf, heps, n, GFP_NOIO);
	spin_lock_irq(&port->ub->lock);
	usbback_streams_forget(port, mask);
	spin_unlock_irq(&port->ub->lock);
	return n;
}

/* Takes back what is above @most. Returns what is left. */
static u32 limit_streams(struct usbback_dev *bdev, unsigned int index, u32 most)
{
	struct usbback_ep *ep;
	u32 nr = 0;

	spin_lock_irq(&bdev->port_lock);
	if (bdev->on) {
		spin_lock(&bdev->on->ub->lock);
		ep = &bdev->on->eps[index];
		nr = min(ep->streams, most);
		ep->streams = nr;
		spin_unlock(&bdev->on->ub->lock);
	}
	spin_unlock_irq(&bdev->port_lock);
	return nr;
}

/**
 * usbback_streams_restore - allocate what a reset while resuming has freed
 * @bdev: device that is being resumed; its port's gates are closed, nothing is active
 *
 * Endpoints whose streams can't be had again have none: the guest's driver is told so
 * by its next request, and resets the device.
 *
 * Context: process
 */
void usbback_streams_restore(struct usbback_dev *bdev)
{
	struct usb_interface *intf = any_interface(bdev->udev);
	struct usb_host_endpoint *hep;
	unsigned int i;
	int ret;
	u32 nr;

	if (!host_can(bdev->udev))
		return;
	for (i = 0; i < USBBACK_EPS; i++) {
		nr = limit_streams(bdev, i, MAX_STREAMS);
		hep = endpoint_of(bdev->udev, i);
		if (!nr || (hep && hep->streams))
			continue;
		ret = hep && intf && may_have_streams(hep) ?
		      usb_alloc_streams(intf, &hep, 1, nr, GFP_NOIO) : -ENOENT;
		limit_streams(bdev, i, max(ret, 0));
	}
}
