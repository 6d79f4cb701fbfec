// SPDX-License-Identifier: GPL-2.0
/*
 * From the endpoint's list to the host controller and back.
 *
 * Order. Requests of an endpoint are submitted in the order of their lists and the
 * host controller completes them in that order. When one ends badly, the endpoint
 * is held: those behind it are unlinked from within the handler, before the host
 * controller's queue may go on (usb_unlink_urb()), and parked again in their old
 * order. Nothing is submitted to an endpoint while unlinked requests of it are
 * still to come back.
 *
 * Control requests go one at a time. Whether one that was unlinked and moved no data has
 * been executed cannot be told where the host controller does not stop at once (that of
 * usbip does not), and many must not be executed twice.
 *
 * URBs are reused. Their fields are set one by one, never cleared as a whole: the
 * USB core still counts down urb->use_count after the handler. An URB that
 * somebody may still be unlinking is left to him and replaced.
 */
#include <linux/slab.h>
#include "backend.h"
#include "device.h"
#include "trace.h"

#define COPY_IN_HANDLER	SZ_16K		/* more is left to the thread */
#define UNLINK_BATCH	16
#define MAX_TRIES	10
#define MAX_INTERVAL	BIT(15)		/* microframes */
#define MAX_INTERVAL_FS	255		/* frames */

struct usb_host_endpoint *usbback_urb_endpoint(struct usb_device *udev, u8 address)
{
	unsigned int num = address & USB_ENDPOINT_NUMBER_MASK;

	if (!num)
		return &udev->ep0;
	if (address & USB_DIR_IN)
		return READ_ONCE(udev->ep_in[num]);
	return READ_ONCE(udev->ep_out[num]);
}

void usbback_urb_schedule(struct usbback_ep *ep)
{
	struct usbback *ub = ep->port->ub;

	lockdep_assert_held(&ub->lock);
	if (list_empty(&ep->run))
		list_add_tail(&ep->run, &ub->run);
	usbback_wake(ub);
}

void usbback_urb_kill(struct usbback_slot *slot, enum usbback_kill kill)
{
	lockdep_assert_held(&slot->ub->lock);
	if (slot->kill >= kill)
		return;
	if (slot->kill == KILL_NONE)
		slot->ep->kills++;
	slot->kill = kill;
}

void usbback_urb_take_back(struct usbback_ep *ep)
{
	struct usbback_slot *slot;

	list_for_each_entry(slot, &ep->active, node)
		usbback_urb_kill(slot, KILL_TAKEBACK);
}

/* ---- unlinking ---- */

/* A few URBs of @ep that are marked, the last submitted first; lock held. */
static int unlink_pick(struct usbback_ep *ep, struct usbback_slot **slots,
		       struct urb **urbs)
{
	struct usbback_slot *slot;
	int n = 0;

	list_for_each_entry_reverse(slot, &ep->active, node) {
		if (!slot->kill || slot->unlinked)
			continue;
		/*
		 * One that has not reached the host controller yet must not do so
		 * behind our back, where it would overtake those taken back.
		 */
		if (slot->state == SLOT_SUBMITTING) {
			slot->blocked = true;
			usb_block_urb(slot->urb);
		} else if (slot->state != SLOT_INFLIGHT) {
			continue;
		}
		slot->unlinked = true;
		atomic_inc(&slot->unlinking);
		slots[n] = slot;
		urbs[n] = usb_get_urb(slot->urb);
		if (++n == UNLINK_BATCH)
			break;
	}
	return n;
}

void usbback_urb_unlink(struct usbback_ep *ep)
{
	struct usbback *ub = ep->port->ub;
	struct usbback_slot *slots[UNLINK_BATCH];
	struct urb *urbs[UNLINK_BATCH];
	unsigned long flags;
	int i, n;

	do {
		spin_lock_irqsave(&ub->lock, flags);
		n = unlink_pick(ep, slots, urbs);
		spin_unlock_irqrestore(&ub->lock, flags);
		for (i = 0; i < n; i++) {
			usb_unlink_urb(urbs[i]);
			usb_put_urb(urbs[i]);
			/* From now on the URB may be used for another request. */
			atomic_dec_return_release(&slots[i]->unlinking);
		}
	} while (n == UNLINK_BATCH);
}

void usbback_urb_unlink_port(struct usbback_port *port)
{
	unsigned int i;

	for (i = 0; i < USBBACK_EPS; i++)
		usbback_urb_unlink(&port->eps[i]);
}

/* ---- completion ---- */

static bool was_unlinked(int error)
{
	return error == -ECONNRESET || error == -ENOENT;
}

static bool is_gone(const struct usbback_port *port)
{
	return READ_ONCE(port->udev->state) == USB_STATE_NOTATTACHED;
}

/* By us, or by the USB core when the host goes to sleep or the device has gone. */
static bool was_taken_back(const struct usbback_slot *slot, int error)
{
	const struct usbback_port *port = slot->ep->port;

	return slot->kill == KILL_TAKEBACK &&
	       (was_unlinked(error) ||
		(error == -ESHUTDOWN && (port->frozen || is_gone(port))));
}

static u8 unlinked_status(const struct usbback_slot *slot)
{
	switch (slot->kill) {
	case KILL_SHUTDOWN:
		return USBIF_ST_SHUTDOWN;
	case KILL_NODEV:
		return USBIF_ST_NODEV;
	default:
		return USBIF_ST_CANCELLED;
	}
}

static u8 end_status(const struct usbback_slot *slot, int error)
{
	if (!error)
		return USBIF_ST_OK;
	if (was_unlinked(error))
		return unlinked_status(slot);
	/* The USB core has emptied the endpoint; those taken back nobody cancelled. */
	if (error == -ESHUTDOWN && slot->kill > KILL_TAKEBACK)
		return unlinked_status(slot);
	/* One that is being removed fails in many ways, some at submission. */
	if (is_gone(slot->ep->port))
		return USBIF_ST_NODEV;
	if (error != -ESHUTDOWN)
		return usbif_status_from_errno(error);
	return READ_ONCE(slot->ep->port->udev->state) == USB_STATE_SUSPENDED ?
	       USBIF_ST_SUSPENDED : USBIF_ST_SHUTDOWN;
}

/* Whether the frontend must say that the endpoint may go on. */
static bool end_holds(const struct usbback_slot *slot, u8 status)
{
	return status != USBIF_ST_OK && status != USBIF_ST_NODEV &&
	       !slot->req.stream && !usbback_slot_is_iso(slot) &&
	       slot->kill != KILL_SHUTDOWN && slot->kill != KILL_SESSION &&
	       slot->ep->port->phase == PORT_UP;
}

static void hold_endpoint(struct usbback_ep *ep, struct usbback_slot *after)
{
	struct usbback_slot *slot;

	ep->held = true;
	list_for_each_entry(slot, &ep->active, node)
		if (slot->seq > after->seq)
			usbback_urb_kill(slot, KILL_TAKEBACK);
}

/* Ends a transfer; ub->lock held. Returns true if there is something to unlink. */
static bool transfer_end(struct usbback_slot *slot, int error, u32 actual)
{
	struct usbback_ep *ep = slot->ep;
	u8 status = end_status(slot, error);
	u16 flags = 0;

	if (end_holds(slot, status)) {
		hold_endpoint(ep, slot);
		flags = USBIF_RSP_HELD;
	}
	usbback_request_finish(slot, status, flags, actual, 0);
	return flags;
}

/* Parks an active request at its old place. */
static void park_again(struct usbback_slot *slot)
{
	struct usbback_ep *ep = slot->ep;
	struct usbback_slot *other;

	usbback_buffer_unmap(slot);
	slot->has_results = false;
	list_del(&slot->node);
	list_for_each_entry(other, &ep->parked, node)
		if (other->seq > slot->seq)
			break;
	list_add_tail(&slot->node, &other->node);
	slot->state = SLOT_PARKED;
	if (slot->kill && !--ep->kills)
		usbback_urb_schedule(ep);
	slot->kill = KILL_NONE;
	slot->unlinked = false;
	usbback_urb_inactive(slot);
}

/*
 * Leaves the end to the thread if there is much to copy, or if it has already been
 * left an earlier request of the endpoint.
 */
static bool transfer_defer(struct usbback_slot *slot, int error, u32 actual,
			   bool copied, bool *unlink)
{
	if (copied && !slot->ep->deferred)
		return false;
	/* Those behind it must be stopped now. */
	*unlink = end_holds(slot, end_status(slot, error));
	if (*unlink)
		hold_endpoint(slot->ep, slot);
	slot->error = error;
	slot->actual = actual;
	slot->state = SLOT_DEFERRED;
	slot->ep->deferred++;
	list_add_tail(&slot->deferred, &slot->ub->deferred);
	usbback_wake(slot->ub);
	return true;
}

/* Copies what was received, unless that is too much here. True if nothing is left. */
static bool copy_now(struct usbback_slot *slot, u32 actual)
{
	if (!usbback_slot_bounced(slot) || !actual ||
	    !usbback_request_is_in(&slot->req))
		return true;
	if (actual > COPY_IN_HANDLER)
		return false;
	usbback_buffer_copy_in(slot, actual);
	return true;
}

static void urb_complete(struct urb *urb)
{
	struct usbback_slot *slot = urb->context;
	struct usbback_ep *ep = slot->ep;
	struct usbback *ub = slot->ub;
	u32 actual = min(urb->actual_length, slot->req.length);
	bool unlink = false, kick = false;
	int error = urb->status;
	unsigned long flags;
	bool copied;

	/* Whoever frees ub or the module waits for a grace period. */
	rcu_read_lock();
	if (usbback_slot_is_iso(slot))
		actual = usbback_iso_results(slot);
	copied = copy_now(slot, actual);
	spin_lock_irqsave(&ub->lock, flags);
	/*
	 * What a device has when it goes the USB core ends from the back. Each is parked
	 * until all have come, and then refused in its turn.
	 */
	if (error == -ESHUTDOWN && !slot->kill && is_gone(ep->port))
		usbback_urb_take_back(ep);
	if (was_taken_back(slot, error) && !actual) {
		ub->stats.takebacks++;
		park_again(slot);
	} else if (!transfer_defer(slot, error, actual, copied,
				   &unlink)) {
		unlink = transfer_end(slot, error, actual);
		kick = usbback_session_must_kick(ub);
	}
	spin_unlock_irqrestore(&ub->lock, flags);
	if (unlink)
		usbback_urb_unlink(ep);
	if (kick)
		usbif_chan_kick(ub->chan);
	rcu_read_unlock();
}

/* ---- submission ---- */

/* Checks against the device as it is now; 0 or the status to refuse it with. */
static u8 check_endpoint(const struct usbback_slot *slot,
			 const struct usb_host_endpoint *hep)
{
	const struct usbif_request *req = &slot->req;
	const struct usbback_port *port = slot->ep->port;

	if (!hep || (slot->ep->index && !port->configured))
		return USBIF_ST_NOENT;
	if (usb_endpoint_type(&hep->desc) != req->type)
		return USBIF_ST_INVALID;
	if (!usb_endpoint_maxp(&hep->desc))
		return USBIF_ST_INVALID;
	if (req->stream > slot->ep->streams ||
	    !req->stream != !slot->ep->streams)
		return USBIF_ST_INVALID;
	return USBIF_ST_OK;
}

static unsigned int make_pipe(struct usb_device *udev,
			      const struct usbif_request *req, bool in)
{
	unsigned int num = req->endpoint & USB_ENDPOINT_NUMBER_MASK;

	switch (req->type) {
	case USBIF_TYPE_CONTROL:
		return in ? usb_rcvctrlpipe(udev, num) :
			    usb_sndctrlpipe(udev, num);
	case USBIF_TYPE_ISO:
		return in ? usb_rcvisocpipe(udev, num) :
			    usb_sndisocpipe(udev, num);
	case USBIF_TYPE_INTERRUPT:
		return in ? usb_rcvintpipe(udev, num) :
			    usb_sndintpipe(udev, num);
	default:
		return in ? usb_rcvbulkpipe(udev, num) :
			    usb_sndbulkpipe(udev, num);
	}
}

static unsigned int make_flags(struct usb_device *udev, const struct usbif_request *req,
			       bool in)
{
	unsigned int flags = 0;

	if (in && req->flags & USBIF_REQ_SHORT_NOT_OK)
		flags |= URB_SHORT_NOT_OK;
	if (!in && req->flags & USBIF_REQ_ZERO_PACKET &&
	    req->type != USBIF_TYPE_CONTROL)
		flags |= URB_ZERO_PACKET;
	/* Else xHCI logs two lines for each packet that is too far ahead. */
	if (req->flags & USBIF_REQ_ISO_ASAP ||
	    (req->type == USBIF_TYPE_ISO && usbback_device_is_behind(udev, "xhci-hcd")))
		flags |= URB_ISO_ASAP;
	return flags;
}

static int make_interval(struct usb_device *udev, const struct usbif_request *req)
{
	if (req->type == USBIF_TYPE_ISO)
		return min_t(u32, req->interval, MAX_INTERVAL);
	if (req->type != USBIF_TYPE_INTERRUPT)
		return 0;
	return min_t(u32, req->interval, udev->speed >= USB_SPEED_HIGH ?
		     MAX_INTERVAL : MAX_INTERVAL_FS);
}

static void fill_urb(struct usbback_slot *slot, struct usb_device *udev, bool in)
{
	const struct usbif_request *req = &slot->req;
	struct urb *urb = slot->urb;

	urb->dev = udev;
	urb->pipe = make_pipe(udev, req, in);
	urb->transfer_flags = make_flags(udev, req, in);
	urb->transfer_buffer = slot->linear;
	urb->transfer_buffer_length = req->length;
	urb->transfer_dma = 0;
	urb->sg = slot->nents ? slot->sg : NULL;
	urb->num_sgs = slot->nents;
	urb->num_mapped_sgs = 0;
	urb->setup_packet = NULL;
	if (req->type == USBIF_TYPE_CONTROL) {
		memcpy(slot->setup, req->setup, sizeof(*slot->setup));
		urb->setup_packet = (unsigned char *)slot->setup;
	}
	urb->start_frame = req->type == USBIF_TYPE_ISO ? req->start_frame : -1;
	urb->number_of_packets = req->nr_packets;
	urb->interval = make_interval(udev, req);
	urb->error_count = 0;
	urb->stream_id = req->stream;
	urb->context = slot;
	urb->complete = urb_complete;
}

static int fresh_urb(struct usbback_slot *slot)
{
	if (!atomic_read_acquire(&slot->unlinking))
		return 0;
	return usbback_iso_renew(slot, slot->req.nr_packets);
}

/* Asking for descriptors and status leaves a device as new. */
static bool leaves_pristine(const struct usbif_request *req)
{
	return req->type == USBIF_TYPE_CONTROL && !req->endpoint &&
	       (req->setup[0] & (USB_DIR_IN | USB_TYPE_MASK)) == USB_DIR_IN;
}

static void count_start(struct usbback_slot *slot)
{
	struct usbback_port_stats *stats = &slot->ep->port->stats;

	if (usbback_slot_bounced(slot))
		stats->bounced++;
	else if (slot->how != HOW_NONE)
		stats->direct++;
}

/*
 * From SLOT_SUBMITTING on usbback_urb_unlink() stops the URB wherever it is: if the USB
 * core has not queued it, it does not (-EPERM).
 */
static int urb_submit(struct usbback_slot *slot)
{
	struct usbback *ub = slot->ub;
	struct urb *urb = slot->urb;
	int ret = -EPERM;

	spin_lock_irq(&ub->lock);
	if (slot->kill) {
		spin_unlock_irq(&ub->lock);
		return ret;
	}
	slot->state = SLOT_SUBMITTING;
	spin_unlock_irq(&ub->lock);
	trace_usbback_submit(slot);
	ret = usb_submit_urb(urb, GFP_NOIO);
	spin_lock_irq(&ub->lock);
	/* Also if it has completed: only the thread uses the slot again. */
	if (slot->blocked)
		usb_unblock_urb(urb);
	slot->blocked = false;
	/*
	 * From here on nobody may block it: that would stop the next submission.
	 * A fast one is not SUBMITTING any more, and its slot not ours.
	 */
	if (slot->state == SLOT_SUBMITTING)
		slot->state = ret ? SLOT_PREPARING : SLOT_INFLIGHT;
	spin_unlock_irq(&ub->lock);
	/* Packets longer or later than the host controller has room for. */
	if (ret == -EMSGSIZE || ret == -EFBIG)
		return USBIF_ST_INVALID;
	return ret;
}

/* 0, -errno from memory or the USB core, or a status to refuse it with. */
static int urb_start(struct usbback_slot *slot)
{
	struct usbback_port *port = slot->ep->port;
	struct usb_device *udev = port->udev;
	const struct usbif_request *req = &slot->req;
	struct usb_host_endpoint *hep;
	bool in = usbback_request_is_in(req);
	int ret;

	hep = usbback_urb_endpoint(udev, req->endpoint);
	ret = check_endpoint(slot, hep);
	if (ret)
		return ret;
	ret = fresh_urb(slot);
	if (ret)
		return ret;
	ret = usbback_buffer_map(slot, hep, in);
	if (ret)
		return ret;
	fill_urb(slot, udev, in);
	if (!leaves_pristine(req))
		WRITE_ONCE(port->pristine, false);
	count_start(slot);
	return urb_submit(slot);
}

static bool may_run(const struct usbback_ep *ep)
{
	const struct usbback_port *port = ep->port;

	/* Streams have no order among them that those taken back could lose. */
	return !ep->held && (!ep->kills || ep->streams) && !(port->gate & BIT(ep->index)) &&
	       !port->frozen && (ep->index || list_empty(&ep->active)) &&
	       port->phase == PORT_UP && port->ub->state == USBBACK_RUNNING &&
	       !list_empty(&ep->parked);
}

/* Others of the guest may have all that it gets; one request always goes. */
static bool has_share(const struct usbback_ep *ep)
{
	const struct usbback *ub = ep->port->ub;
	const struct usbback_slot *slot;

	if (list_empty(&ep->active))
		return true;
	slot = list_first_entry(&ep->parked, struct usbback_slot, node);
	return ub->inflight < usbback_limit(ub, LIMIT_REQUESTS) &&
	       ub->octets + slot->req.length <=
	       (u64)usbback_limit(ub, LIMIT_KIB) * SZ_1K;
}

/*
 * Have endpoints looked at that had no share left. Whenever something has ended: there
 * are such endpoints only while something has not.
 */
static void feed_limited(struct usbback *ub)
{
	lockdep_assert_held(&ub->lock);
	if (list_empty(&ub->limited))
		return;
	list_splice_tail_init(&ub->limited, &ub->run);
	usbback_wake(ub);
}

/**
 * usbback_urb_unlimit - the limits have changed
 * @ub: channel
 */
void usbback_urb_unlimit(struct usbback *ub)
{
	spin_lock_irq(&ub->lock);
	feed_limited(ub);
	spin_unlock_irq(&ub->lock);
}

static struct usbback_slot *make_active(struct usbback_ep *ep)
{
	struct usbback_port *port = ep->port;
	struct usbback_slot *slot;

	slot = list_first_entry(&ep->parked, struct usbback_slot, node);
	list_move_tail(&slot->node, &ep->active);
	slot->state = SLOT_PREPARING;
	slot->ub->inflight++;
	slot->ub->octets += slot->req.length;
	port->inflight++;
	port->stats.inflight++;
	port->stats.peak = max(port->stats.peak, port->stats.inflight);
	return slot;
}

/**
 * usbback_urb_inactive - a request that was taken from its endpoint's queue is not in flight
 * @slot: request; ub->lock held
 *
 * It has ended, or it is parked again.
 */
void usbback_urb_inactive(struct usbback_slot *slot)
{
	struct usbback_port *port = slot->ep->port;
	struct usbback *ub = slot->ub;

	lockdep_assert_held(&ub->lock);
	ub->inflight--;
	ub->octets -= slot->req.length;
	feed_limited(ub);
	port->inflight--;
	port->stats.inflight--;
	if (ub->waiters)
		wake_up_all(&ub->idle);
}

/*
 * Memory, or room for DMA, which the USB core tells by -EAGAIN. Of an isochronous request
 * that may as well be about time, and it would be late.
 */
static bool is_shortage(const struct usbback_slot *slot, int ret)
{
	return ret == -ENOMEM ||
	       (ret == -EAGAIN && slot->req.type != USBIF_TYPE_ISO);
}

/*
 * No memory: the host controller's or ours. Tried again when something else has
 * ended, else after a while. Ten times, but not counted are tries that came early, nor
 * while another request, which will end, has the reserve.
 */
static bool retry_later(struct usbback_slot *slot)
{
	struct usbback_ep *ep = slot->ep;
	struct usbback *ub = slot->ub;

	if (!ub->reserve.slot && !time_before(jiffies, ub->retry_at) &&
	    ++slot->tries > MAX_TRIES)
		return false;
	park_again(slot);
	list_del(&ep->run);
	list_add_tail(&ep->run, &ub->starved);
	ub->retry_at = jiffies + msecs_to_jiffies(1 << min(slot->tries, 7u));
	ub->stats.retries++;
	return true;
}

/*
 * A device that is being removed loses its endpoints first: nobody asked for one that
 * is not there, and nobody cancelled what the USB core would not take.
 */
static void refuse_start(struct usbback_slot *slot, int ret)
{
	if (slot->kill && ret < 0)
		ret = -ECONNRESET;
	else if (is_gone(slot->ep->port))
		ret = -ENODEV;
	else if (ret == -ENOENT)
		ret = -ESHUTDOWN;
	if (ret > 0)
		usbback_request_finish(slot, ret, 0, 0, 0);
	else
		transfer_end(slot, ret, 0);
}

/* The device has gone, but not yet what the endpoint was given before. */
static bool is_overtaking(const struct usbback_slot *slot)
{
	const struct usbback_ep *ep = slot->ep;

	return is_gone(ep->port) && !slot->kill && !ep->streams &&
	       !list_is_singular(&ep->active);
}

/* After usb_submit_urb(); lock held. Returns false if the endpoint must wait. */
static bool submitted(struct usbback_slot *slot, int ret)
{
	if (!ret)
		return true;
	if (is_overtaking(slot)) {
		park_again(slot);
		usbback_urb_take_back(slot->ep);
		return true;
	}
	if (slot->kill == KILL_TAKEBACK && ret < 0) {
		slot->ub->stats.takebacks++;
		park_again(slot);
		return true;
	}
	if (is_shortage(slot, ret) && !slot->kill && retry_later(slot))
		return false;
	refuse_start(slot, ret);
	return true;
}

unsigned int usbback_urb_run(struct usbback_ep *ep)
{
	struct usbback *ub = ep->port->ub;
	unsigned int n, most = usbback_limit(ub, LIMIT_BATCH);
	bool unlink = false, kick;
	int ret;

	spin_lock_irq(&ub->lock);
	for (n = 0; may_run(ep); n++) {
		struct usbback_slot *slot;

		if (n >= most) {
			usbback_urb_schedule(ep);
			break;
		}
		if (!has_share(ep)) {
			list_move_tail(&ep->run, &ub->limited);
			ub->stats.limited++;
			break;
		}
		slot = make_active(ep);
		spin_unlock_irq(&ub->lock);
		ret = urb_start(slot);
		spin_lock_irq(&ub->lock);
		if (!submitted(slot, ret))
			break;
		/* It may have been marked while it could not be unlinked. */
		unlink = ep->kills;
	}
	kick = usbback_session_must_kick(ub);
	spin_unlock_irq(&ub->lock);
	if (unlink)
		usbback_urb_unlink(ep);
	if (kick)
		usbif_chan_kick(ub->chan);
	return n;
}

/* ---- what handlers leave to the thread ---- */

static bool flush_deferred(struct usbback *ub)
{
	struct usbback_slot *slot;
	struct usbback_ep *ep;
	bool unlink, kick;

	spin_lock_irq(&ub->lock);
	slot = list_first_entry_or_null(&ub->deferred, struct usbback_slot,
					deferred);
	spin_unlock_irq(&ub->lock);
	if (!slot)
		return false;
	ep = slot->ep;
	/* It stays ours: only the thread ends what is deferred. */
	if (usbback_slot_bounced(slot) && usbback_request_is_in(&slot->req))
		usbback_buffer_copy_in(slot, slot->actual);
	spin_lock_irq(&ub->lock);
	unlink = transfer_end(slot, slot->error, slot->actual);
	kick = usbback_session_must_kick(ub);
	spin_unlock_irq(&ub->lock);
	if (unlink)
		usbback_urb_unlink(ep);
	if (kick)
		usbif_chan_kick(ub->chan);
	return true;
}

static void feed_starved(struct usbback *ub)
{
	bool now;

	spin_lock_irq(&ub->lock);
	now = ub->retry_now || !time_before(jiffies, ub->retry_at);
	ub->retry_now = false;
	if (now)
		list_splice_tail_init(&ub->starved, &ub->run);
	spin_unlock_irq(&ub->lock);
}

static struct usbback_ep *next_to_run(struct usbback *ub)
{
	struct usbback_ep *ep;

	spin_lock_irq(&ub->lock);
	ep = list_first_entry_or_null(&ub->run, struct usbback_ep, run);
	if (ep)
		list_del_init(&ep->run);
	spin_unlock_irq(&ub->lock);
	return ep;
}

bool usbback_urb_flush(struct usbback *ub)
{
	unsigned int budget = USBBACK_BUDGET_REQUESTS;
	struct usbback_ep *ep;

	while (budget && flush_deferred(ub))
		budget--;
	if (!list_empty_careful(&ub->starved))
		feed_starved(ub);
	while (budget && (ep = next_to_run(ub)))
		budget -= clamp(usbback_urb_run(ep), 1u, budget);
	return !budget;
}
