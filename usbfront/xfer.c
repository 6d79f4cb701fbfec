// SPDX-License-Identifier: GPL-2.0
/*
 * URBs: taken from usbcore, begun, unlinked, ended.
 *
 * A URB is linked to its endpoint from enqueue on. While it waits its hcpriv is NULL;
 * once it has begun there is a struct usbfront_xfer; when it has ended it is unlinked
 * from the endpoint and put on uf->done with its status as hcpriv, and only the thread
 * gives it back from there. Thus no completion handler runs inside usb_unlink_urb() or
 * usb_submit_urb(), and each URB is on exactly one list that says what is next.
 */
#include "iso.h"
#include "power.h"
#include "trace.h"
#include "usbfront.h"

/* For an answer to a cancel; and while the backend has left one unanswered. */
#define CANCEL_TIMEOUT		(5 * HZ)
#define SILENT_TIMEOUT		(HZ / 4)
#define EARLY_TIMEOUT		msecs_to_jiffies(200)
#define EARLY_STEP		2	/* jiffies */
#define OP_LOCAL		0	/* answered here; no enum usbif_op */
#define OP_EARLY		0xff	/* has ended, and waits on uf->early */

#define SETUP(type, request)	((type) << 8 | (request))

/* ---- what a URB asks for ---- */

/* Remote wakeup can't work unless suspending crosses: better no autosuspend. */
static int local_feature(const struct usbfront *uf, u16 feature, bool is_set)
{
	switch (feature) {
	case USB_DEVICE_REMOTE_WAKEUP:
		if (uf->features & USBIF_F_SUSPEND)
			return 1;
		return is_set ? -EPIPE : 0;
	case USB_DEVICE_U1_ENABLE:
	case USB_DEVICE_U2_ENABLE:
	case USB_DEVICE_LTM_ENABLE:
		return 0;		/* the host's link is the host's business */
	default:
		return 1;
	}
}

/*
 * Requests that are operations of their own, and those that are answered here because
 * they are about the link or the address, both of which the guest only imagines.
 */
static void classify_control(struct usbfront_xfer *xfer,
			     const struct usb_ctrlrequest *setup)
{
	u16 value = le16_to_cpu(setup->wValue);
	u16 index = le16_to_cpu(setup->wIndex);
	bool is_set = setup->bRequest == USB_REQ_SET_FEATURE;
	struct usbfront_port *port = xfer->uep->port;
	int status;

	switch (SETUP(setup->bRequestType, setup->bRequest)) {
	case SETUP(USB_RECIP_DEVICE, USB_REQ_SET_ADDRESS):
	case SETUP(USB_RECIP_DEVICE, USB_REQ_SET_SEL):
	case SETUP(USB_RECIP_DEVICE, USB_REQ_SET_ISOCH_DELAY):
		xfer->op = OP_LOCAL;
		break;
	case SETUP(USB_RECIP_DEVICE, USB_REQ_SET_FEATURE):
	case SETUP(USB_RECIP_DEVICE, USB_REQ_CLEAR_FEATURE):
		status = local_feature(port->vusb->uf, value, is_set);
		if (status > 0)
			break;
		xfer->op = OP_LOCAL;
		xfer->status = status;
		break;
	case SETUP(USB_RECIP_INTERFACE, USB_REQ_SET_FEATURE):
	case SETUP(USB_RECIP_INTERFACE, USB_REQ_CLEAR_FEATURE):
		if (value != USB_INTRF_FUNC_SUSPEND)
			break;
		/* The host does that for the link's sake when it suspends. */
		xfer->op = OP_LOCAL;
		if (!usbfront_may_wake(port, is_set &&
				       index & USB_INTRF_FUNC_SUSPEND_RW))
			xfer->status = is_set ? -EPIPE : 0;
		break;
	case SETUP(USB_RECIP_DEVICE, USB_REQ_SET_CONFIGURATION):
		xfer->op = USBIF_OP_SET_CONFIGURATION;
		xfer->arg0 = value & 0xff;
		break;
	case SETUP(USB_RECIP_INTERFACE, USB_REQ_SET_INTERFACE):
		xfer->op = USBIF_OP_SET_INTERFACE;
		xfer->arg0 = index & 0xff;
		xfer->arg1 = value & 0xff;
		break;
	case SETUP(USB_RECIP_ENDPOINT, USB_REQ_CLEAR_FEATURE):
		if (value != USB_ENDPOINT_HALT)
			break;
		xfer->op = USBIF_OP_CLEAR_HALT;
		xfer->endpoint = index & (USB_DIR_IN | USB_ENDPOINT_NUMBER_MASK);
		if (xfer->endpoint == USB_DIR_IN)
			xfer->endpoint = 0;
		break;
	}
}

/**
 * usbfront_xfer_is_local - see whether a transfer is answered here
 * @xfer: transfer
 *
 * Return: true if so; its status is set then.
 */
bool usbfront_xfer_is_local(const struct usbfront_xfer *xfer)
{
	return xfer->op == OP_LOCAL;
}

/**
 * usbfront_xfer_get - begin with a URB
 * @uf: channel
 * @uep: endpoint
 * @urb: its next URB
 *
 * Return: transfer, or NULL if too many have begun.
 */
struct usbfront_xfer *usbfront_xfer_get(struct usbfront *uf,
					struct usbfront_ep *uep, struct urb *urb)
{
	struct usbfront_xfer *xfer;

	lockdep_assert_held(&uf->lock);
	xfer = list_first_entry_or_null(&uf->free_xfers, struct usbfront_xfer,
					ep_node);
	if (!xfer)
		return NULL;
	xfer->urb = urb;
	xfer->uep = uep;
	xfer->op = USBIF_OP_TRANSFER;
	xfer->endpoint = uep->address;
	xfer->arg0 = 0;
	xfer->arg1 = 0;
	xfer->queued = 0;
	xfer->packets = 0;
	xfer->start_frame = urb->start_frame;
	xfer->status = 0;
	xfer->is_ended = false;
	INIT_LIST_HEAD(&xfer->reqs);
	list_move_tail(&xfer->ep_node, &uep->xfers);
	urb->error_count = 0;
	if (usb_pipecontrol(urb->pipe))
		classify_control(xfer, (void *)urb->setup_packet);
	urb->hcpriv = xfer;
	return xfer;
}

/* ---- ending ---- */

/**
 * usbfront_port_of - the port selects the device
 * @vusb: controller
 * @udev: device
 *
 * Return: port, or NULL: there are no devices behind hubs, which are refused.
 */
struct usbfront_port *usbfront_port_of(struct usbfront_vusb *vusb,
				       const struct usb_device *udev)
{
	if (udev->level != 1 || !udev->portnum ||
	    udev->portnum > USBIF_MAX_PORTS)
		return NULL;
	return &vusb->port[udev->portnum - 1];
}

/**
 * usbfront_urb_skip - the endpoint's next URB is the one after this
 * @uep: endpoint
 * @urb: URB, still linked; nothing happens if it is not the next one
 */
void usbfront_urb_skip(struct usbfront_ep *uep, struct urb *urb)
{
	if (uep->next != urb)
		return;
	uep->next = list_is_last(&urb->urb_list, &urb->ep->urb_list) ?
		    NULL : list_next_entry(urb, urb_list);
}

static struct usbfront_ep *ep_of(const struct urb *urb)
{
	struct usb_hcd *hcd = bus_to_hcd(urb->dev->bus);
	struct usbfront_vusb *vusb = usbfront_hcd_priv(hcd)->vusb;

	return usbfront_ep_of(usbfront_port_of(vusb, urb->dev), urb);
}

/*
 * A driver that is told of an error before usbcore knows that the device has gone may try
 * to reset it, and the hub driver then waits 800 ms for it to come back. So errors that
 * say so, or may be the first sign of it, wait for usbcore; but not those of control
 * transfers, which the hub driver itself may be waiting for.
 */
static bool is_early(const struct urb *urb, int status)
{
	if (usb_pipecontrol(urb->pipe) ||
	    READ_ONCE(urb->dev->state) == USB_STATE_NOTATTACHED)
		return false;
	switch (status) {
	case -ENODEV:
	case -EPROTO:
	case -EILSEQ:
	case -ETIME:
		return true;
	default:
		return false;
	}
}

static void urb_done(struct usbfront *uf, struct urb *urb, int status)
{
	usb_hcd_unlink_urb_from_ep(bus_to_hcd(urb->dev->bus), urb);
	urb->hcpriv = (void *)(long)status;
	list_add_tail(&urb->urb_list, &uf->done);
	usbfront_wake(uf, USBFRONT_EV_DONE);
}

/*
 * Has a URB wait for usbcore, and stay linked, so that usbcore can flush the endpoint.
 * False if there is no memory.
 */
static bool early_add(struct usbfront *uf, struct urb *urb, int status)
{
	struct usbfront_xfer *xfer = kzalloc(sizeof(*xfer), GFP_ATOMIC);

	if (!xfer)
		return false;
	xfer->urb = urb;
	xfer->uep = ep_of(urb);
	xfer->op = OP_EARLY;
	xfer->status = status;
	xfer->is_ended = true;
	urb->hcpriv = xfer;
	if (list_empty(&uf->early))
		uf->early_until = jiffies + EARLY_TIMEOUT;
	list_add_tail(&xfer->ep_node, &uf->early);
	xfer->uep->nr_early++;
	usbfront_timer_arm(uf, EARLY_STEP);
	return true;
}

static void early_end(struct usbfront *uf, struct usbfront_xfer *xfer)
{
	list_del(&xfer->ep_node);
	xfer->uep->nr_early--;
	usbfront_urb_skip(xfer->uep, xfer->urb);
	urb_done(uf, xfer->urb, xfer->status);
	kfree(xfer);
}

/* usbcore flushes from the last to the first, drivers are to have them in order. */
static void early_flush(struct usbfront *uf, const struct usbfront_ep *uep)
{
	struct usbfront_xfer *xfer, *next;

	list_for_each_entry_safe(xfer, next, &uf->early, ep_node)
		if (xfer->uep == uep)
			early_end(uf, xfer);
}

/**
 * usbfront_urb_done - a URB has ended; the thread is to give it back
 * @uf: channel
 * @urb: URB, linked to its endpoint and skipped there
 * @status: for the driver
 */
void usbfront_urb_done(struct usbfront *uf, struct urb *urb, int status)
{
	lockdep_assert_held(&uf->lock);
	if (!is_early(urb, status) || !early_add(uf, urb, status))
		urb_done(uf, urb, status);
}

/**
 * usbfront_early_expire - give back what usbcore was to know of first
 * @uf: channel
 */
void usbfront_early_expire(struct usbfront *uf)
{
	struct usbfront_xfer *xfer, *next;

	spin_lock_irq(&uf->lock);
	list_for_each_entry_safe(xfer, next, &uf->early, ep_node) {
		struct usb_device *udev = xfer->urb->dev;

		if (READ_ONCE(udev->state) == USB_STATE_NOTATTACHED ||
		    !time_before(jiffies, uf->early_until))
			early_end(uf, xfer);
	}
	if (!list_empty(&uf->early))
		usbfront_timer_arm(uf, EARLY_STEP);
	spin_unlock_irq(&uf->lock);
}

/**
 * usbfront_xfer_finish - a transfer has ended and has no requests
 * @uf: channel
 * @xfer: transfer; gone afterwards
 */
void usbfront_xfer_finish(struct usbfront *uf, struct usbfront_xfer *xfer)
{
	struct urb *urb = xfer->urb;

	lockdep_assert_held(&uf->lock);
	usbfront_urb_skip(xfer->uep, urb);
	list_del_init(&xfer->cancel_node);
	list_del_init(&xfer->partial_node);
	list_move(&xfer->ep_node, &uf->free_xfers);
	usbfront_urb_done(uf, urb, xfer->status);
}

/* The id of the cancel is the target's own, so there always is one, and room. */
static void req_cancel(struct usbfront *uf, struct usbfront_req *req)
{
	u32 id = req - uf->reqs;
	struct usbif_request wire = {
		.id = uf->lay.nr_requests + id,
		.session = uf->session,
		.op = USBIF_OP_CANCEL,
		.arg0 = id,
	};

	req->is_cancelling = true;
	uf->stats.cancels++;
	trace_usbfront_cancel(uf, id);
	usbfront_push(uf, &wire);
	uf->is_kick_due = true;
}

/*
 * Who suspends kills one URB after the other, and a backend that stands still for each.
 * So do drivers of a device that is gone, in the hub driver's task.
 */
static void wait_for_cancel(struct usbfront *uf, struct usbfront_xfer *xfer)
{
	bool is_short = uf->is_silent || xfer->uep->port->is_stuck;
	unsigned long timeout = is_short ? SILENT_TIMEOUT : CANCEL_TIMEOUT;
	struct usbfront_xfer *other;
	struct list_head *pos;

	xfer->cancel_until = jiffies + timeout;
	list_for_each_prev(pos, &uf->cancels) {
		other = list_entry(pos, struct usbfront_xfer, cancel_node);
		if (!time_after(other->cancel_until, xfer->cancel_until))
			break;
	}
	list_add(&xfer->cancel_node, pos);
	usbfront_timer_arm(uf, timeout);
}

/* Nobody who waits already has to wait for as long as those before. */
static void fall_silent(struct usbfront *uf)
{
	unsigned long until = jiffies + SILENT_TIMEOUT;
	struct usbfront_xfer *xfer;

	uf->is_silent = true;
	list_for_each_entry(xfer, &uf->cancels, cancel_node)
		if (time_after(xfer->cancel_until, until))
			xfer->cancel_until = until;
}

/**
 * usbfront_cancels_left - time until a cancel goes unanswered
 * @uf: channel, its lock held
 *
 * Return: in jiffies, 0 if it is over, or MAX_SCHEDULE_TIMEOUT if nothing was cancelled.
 */
unsigned long usbfront_cancels_left(struct usbfront *uf)
{
	const struct usbfront_xfer *xfer;

	lockdep_assert_held(&uf->lock);
	xfer = list_first_entry_or_null(&uf->cancels, struct usbfront_xfer,
					cancel_node);
	if (!xfer)
		return MAX_SCHEDULE_TIMEOUT;
	return time_before(jiffies, xfer->cancel_until) ?
	       xfer->cancel_until - jiffies : 0;
}

/**
 * usbfront_xfer_cancel - end a transfer before its time
 * @uf: channel
 * @xfer: transfer; its status is set. May be gone afterwards
 *
 * The backend is told, and has until the deadline to say that it has let go.
 */
void usbfront_xfer_cancel(struct usbfront *uf, struct usbfront_xfer *xfer)
{
	struct usbfront_req *req;

	lockdep_assert_held(&uf->lock);
	xfer->is_ended = true;
	if (list_empty(&xfer->reqs)) {
		usbfront_xfer_finish(uf, xfer);
		return;
	}
	if (!list_empty(&xfer->cancel_node))
		return;
	list_for_each_entry(req, &xfer->reqs, node)
		if (req->state == USBFRONT_REQ_LIVE && uf->is_running)
			req_cancel(uf, req);
	wait_for_cancel(uf, xfer);
}

/**
 * usbfront_xfer_abandon - end a transfer without waiting for the backend
 * @uf: channel
 * @xfer: transfer; may be gone afterwards
 * @status: for the driver
 *
 * Ids and blocks stay with the backend until it completes the requests, or until there
 * is another session. A request that is just being filled ends with that.
 */
void usbfront_xfer_abandon(struct usbfront *uf, struct usbfront_xfer *xfer,
			   int status)
{
	struct usbfront_req *req, *next;

	lockdep_assert_held(&uf->lock);
	if (!xfer->is_ended)
		xfer->status = status;
	xfer->is_ended = true;
	list_for_each_entry_safe(req, next, &xfer->reqs, node) {
		if (req->state != USBFRONT_REQ_LIVE)
			continue;
		req->state = USBFRONT_REQ_LOST;
		req->xfer = NULL;
		req->uep->nr_live--;
		uf->is_kick_due = true;
		uf->nr_lost++;
		uf->stats.lost++;
		list_del_init(&req->node);
	}
	if (list_empty(&xfer->reqs))
		usbfront_xfer_finish(uf, xfer);
	else
		list_del_init(&xfer->cancel_node);
}

/**
 * usbfront_cancels_expire - give up on cancels that were not answered
 * @uf: channel
 *
 * A backend that never lets go of most requests is not worth talking to.
 */
void usbfront_cancels_expire(struct usbfront *uf)
{
	struct usbfront_xfer *xfer;
	struct usbfront_port *port;
	struct usbfront_ep *uep;
	unsigned long flags;

	spin_lock_irqsave(&uf->lock, flags);
	while (!usbfront_cancels_left(uf)) {
		xfer = list_first_entry(&uf->cancels, struct usbfront_xfer,
					cancel_node);
		uep = xfer->uep;
		port = uep->port;
		if (!port->is_stuck &&
		    !time_before(xfer->cancel_until - CANCEL_TIMEOUT, uf->heard_at))
			fall_silent(uf);
		port->is_stuck = true;
		dev_warn_ratelimited(uf->dev,
				     "%s: no answer to an unlink on vusb %u port %u endpoint %02x\n",
				     uf->name, port->vusb->number, port->number,
				     uep->address);
		usbfront_xfer_abandon(uf, xfer, -ESHUTDOWN);
		/* What had to wait for its end has no completion to go on with. */
		if (usbfront_ep_has_more(uep))
			usbfront_ep_wait(uf, uep);
	}
	if (!list_empty(&uf->cancels))
		usbfront_timer_arm(uf, usbfront_cancels_left(uf) + 1);
	/* Of a session that is over, all are lost. */
	if (uf->is_running && uf->nr_lost > uf->lay.nr_requests / 2)
		usbfront_break(uf, USBIF_ERR_STATE, "requests never ended",
			       uf->nr_lost, uf->lay.nr_requests / 2);
	spin_unlock_irqrestore(&uf->lock, flags);
}

/* ---- usbcore's side ---- */

/* 0 if the device of the URB can be talked to. */
static int port_ready(const struct usbfront_port *port, enum usbfront_side side)
{
	if (!port || !port->epoch || usbfront_side_of(port->speed) != side)
		return -ENODEV;
	switch (port->hport[side].state) {
	case USBFRONT_HUB_ENABLED:
		return 0;
	case USBFRONT_HUB_OFF:
	case USBFRONT_HUB_EMPTY:
		return -ENODEV;
	default:
		return -ESHUTDOWN;
	}
}

static bool has_buffer(const struct urb *urb)
{
	return !urb->transfer_buffer_length || urb->transfer_buffer || urb->sg;
}

/**
 * usbfront_urb_enqueue - hc_driver.urb_enqueue
 * @hcd: root hub the device is on
 * @urb: URB, checked by usbcore
 * @gfp: not used, nothing is allocated
 *
 * Return: 0 if the URB will be given back, or a negative errno.
 */
int usbfront_urb_enqueue(struct usb_hcd *hcd, struct urb *urb, gfp_t gfp)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct usbfront_port *port = usbfront_port_of(priv->vusb, urb->dev);
	struct usbfront *uf = priv->vusb->uf;
	bool kick = false, is_iso = usb_pipeisoc(urb->pipe);
	struct usbfront_ep *uep;
	unsigned long flags;
	int ret;

	if (!has_buffer(urb))
		return -EINVAL;

	spin_lock_irqsave(&uf->lock, flags);
	ret = usb_hcd_link_urb_to_ep(hcd, urb);
	if (ret)
		goto unlock;
	ret = port_ready(port, priv->side);
	if (port && ret == -ENODEV && is_early(urb, ret)) {
		usbfront_urb_done(uf, urb, ret);
		ret = 0;
		goto unlock;
	}
	if (ret) {
		usb_hcd_unlink_urb_from_ep(hcd, urb);
		uf->stats.refused++;
		goto unlock;
	}

	uep = usbfront_ep_of(port, urb);
	if (is_iso)
		ret = usbfront_iso_check(uf, uep, urb);
	if (ret) {
		usb_hcd_unlink_urb_from_ep(hcd, urb);
		uf->stats.refused++;
		goto unlock;
	}

	uf->stats.submitted++;
	urb->hcpriv = NULL;
	if (!uep->next)
		uep->next = urb;
	usbfront_ep_feed(uf, uep, &flags);
	/* It may have ended, and be freed, while another one was copied. */
	if (is_iso)
		usbfront_frame_ask(uf, port);
	kick = usbfront_kick_prepare(uf);
unlock:
	spin_unlock_irqrestore(&uf->lock, flags);
	if (kick)
		usbif_chan_kick(uf->chan);
	return ret;
}

/**
 * usbfront_urb_dequeue - hc_driver.urb_dequeue
 * @hcd: root hub the device is on
 * @urb: URB
 * @status: for usbcore
 *
 * Return: 0 if the URB will be given back soon, or what usbcore says.
 */
int usbfront_urb_dequeue(struct usb_hcd *hcd, struct urb *urb, int status)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct usbfront *uf = priv->vusb->uf;
	struct usbfront_port *port = usbfront_port_of(priv->vusb, urb->dev);
	struct usbfront_xfer *xfer;
	unsigned long flags;
	bool kick = false;
	int ret;

	spin_lock_irqsave(&uf->lock, flags);
	ret = usb_hcd_check_unlink_urb(hcd, urb, status);
	if (ret)
		goto unlock;
	uf->stats.unlinked++;
	xfer = urb->hcpriv;
	if (xfer && xfer->op == OP_EARLY) {
		early_flush(uf, xfer->uep);
	} else if (xfer) {
		if (!xfer->is_ended)
			xfer->status = status;
		usbfront_xfer_cancel(uf, xfer);
	} else {
		usbfront_urb_skip(usbfront_ep_of(port, urb), urb);
		usbfront_urb_done(uf, urb, status);
	}
	kick = usbfront_kick_prepare(uf);
unlock:
	spin_unlock_irqrestore(&uf->lock, flags);
	if (kick)
		usbif_chan_kick(uf->chan);
	return ret;
}
