// SPDX-License-Identifier: GPL-2.0
/*
 * Completions: from the ring to the driver. Only the thread is here, so a request that
 * has been taken from the ring can't be taken or abandoned by anybody else.
 *
 * Why not HCD_BH. The backend holds an endpoint after an error or an unlink until
 * USBIF_OP_RESTART, which must not be sent before the completion handler has returned:
 * in it the driver unlinks what is queued behind. usbcore's BH runs handlers at a time
 * of its own, maybe on another processor, and does not tell when. The thread therefore
 * gives back by itself, with bottom halves off: handlers see the context they see under
 * any controller with HCD_BH, and when usb_hcd_giveback_urb() returns they have run.
 */
#include "iso.h"
#include "power.h"
#include "streams.h"
#include "trace.h"

#define BUDGET		64	/* completions until others have their turn */
#define BATCH		16	/* handlers until bottom halves have theirs */
#define MOST_REPEATS	10000	/* of a request that met a sleeping device, most of a second */

/* What the driver is told. Only statuses that a driver can expect of a URB. */
static int urb_error(const struct usbfront_req *req, u32 status)
{
	switch (status) {
	case USBIF_ST_OK:		/* short, and the backend sees no error in it */
		return req->is_in && req->xfer->urb->transfer_flags & URB_SHORT_NOT_OK ?
		       -EREMOTEIO : 0;
	case USBIF_ST_CANCELLED:	/* not by us, or usbcore knows better */
		return -EPROTO;
	case USBIF_ST_INVALID:
	case USBIF_ST_NOENT:
	case USBIF_ST_UNSUPPORTED:
		return usb_pipecontrol(req->xfer->urb->pipe) ? -EPIPE : -EPROTO;
	case USBIF_ST_LIMIT:
	case USBIF_ST_SUSPENDED:
		return -ENOMEM;
	default:
		return usbif_status_to_errno(status);
	}
}

/* A descriptor that could not be read is no sign of a device that works. */
static void note_error(struct usbfront_req *req)
{
	if (!req->uep->address)
		req->port->is_clean = false;
}

/* Packets with errors do not end an isochronous transfer. */
static bool ends_transfer(const struct usbfront_req *req,
			  const struct usbif_response *rsp)
{
	if (req->nr_packets)
		return rsp->status && rsp->status != USBIF_ST_PARTIAL;
	return rsp->status || rsp->actual < req->length;
}

/* What the device now may do while it is suspended. */
static void note_feature(struct usbfront_req *req,
			 const struct usb_ctrlrequest *setup)
{
	if (setup->bRequestType == USB_RECIP_DEVICE &&
	    setup->wValue == cpu_to_le16(USB_DEVICE_REMOTE_WAKEUP) &&
	    (setup->bRequest == USB_REQ_SET_FEATURE ||
	     setup->bRequest == USB_REQ_CLEAR_FEATURE))
		usbfront_may_wake(req->port,
				  setup->bRequest == USB_REQ_SET_FEATURE);
}

/* No more of it is wanted; what has ended it first counts. */
static void fail_xfer(struct usbfront_xfer *xfer, int status)
{
	if (xfer->is_ended)
		return;
	xfer->is_ended = true;
	xfer->status = status;
}

/* A request of a transfer has ended and its data has been taken. */
static void piece_done(struct usbfront *uf, struct usbfront_req *req,
		       const struct usbif_response *rsp)
{
	struct usbfront_xfer *xfer = req->xfer;
	struct usbfront_ep *uep = req->uep;
	struct urb *urb = xfer->urb;

	if (!req->nr_packets)
		urb->actual_length += rsp->actual;
	if (rsp->status)
		note_error(req);
	else if (usb_pipecontrol(urb->pipe))
		note_feature(req, (void *)urb->setup_packet);
	if (ends_transfer(req, rsp) && !xfer->is_ended) {
		fail_xfer(xfer, urb_error(req, rsp->status));
		if (req->nr_packets)
			usbfront_iso_refused(uep, xfer->status);
	}
	list_del_init(&req->node);
	usbfront_req_free(uf, req);
	if (xfer->is_ended)
		usbfront_xfer_cancel(uf, xfer);
	else if (list_empty(&xfer->reqs) && usbfront_xfer_is_queued(xfer))
		usbfront_xfer_finish(uf, xfer);
	else if (urb->stream_id && !usbfront_xfer_is_queued(xfer))
		list_add_tail(&xfer->partial_node, &uep->partial);
	if (usbfront_ep_has_more(uep))
		usbfront_ep_wait(uf, uep);
}

static bool is_to_repeat(const struct usbfront_req *req,
			 const struct usbif_response *rsp)
{
	return rsp->status == USBIF_ST_SUSPENDED && !rsp->actual &&
	       !req->xfer->is_ended && !req->is_cancelling &&
	       req->nr_repeats < MOST_REPEATS;
}

/* An operation of our own, or a request that nobody waits for any more. */
static void orphan_done(struct usbfront *uf, struct usbfront_req *req,
			const struct usbif_response *rsp)
{
	struct usbfront_port *port = req->port;

	if (port->reset == req) {
		port->reset = NULL;
		usbfront_port_reset_done(port, rsp->status);
	}
	if (port->query == req)
		usbfront_streams_told(port, rsp->status);
	if (req->call)
		usbfront_call_end(port, rsp->status, rsp->value);
	if (req->op == USBIF_OP_GET_FRAME)
		usbfront_frame_answer(uf, req, rsp);
	if (port->power == req)
		usbfront_power_done(port, req->op, rsp->status);
	usbfront_req_free(uf, req);
}

/* Copies, without the lock. False if the backend says what cannot be. */
static bool take_data(struct usbfront *uf, const struct usbfront_req *req,
		      const struct usbif_response *rsp)
{
	if (req->nr_packets)
		return usbfront_iso_take(uf, req, rsp);
	usbfront_copy_in(uf, req->xfer->urb, req, rsp->actual);
	return true;
}

static void request_done(struct usbfront *uf, struct usbfront_req *req,
			 const struct usbif_response *rsp)
{
	struct usbfront_ep *uep = req->uep;
	u32 id = req - uf->reqs;
	bool is_good = true;

	trace_usbfront_complete(uf, id, req, rsp);
	uf->nr_live--;
	if (req->state == USBFRONT_REQ_LOST) {
		uf->nr_lost--;
		uf->stats.late++;
	}
	if (uep && (rsp->flags & USBIF_RSP_HELD) &&
	    req->epoch == req->port->epoch)
		usbfront_ep_restart_due(uf, uep);
	if (!req->xfer) {
		orphan_done(uf, req, rsp);
		return;
	}
	if (is_to_repeat(req, rsp)) {
		uep->nr_live--;
		usbfront_req_again(uf, req);
		return;
	}
	if ((req->is_in && rsp->actual) || req->nr_packets) {
		req->state = USBFRONT_REQ_TAKING;
		uf->nr_filling++;
		spin_unlock_irq(&uf->lock);
		is_good = take_data(uf, req, rsp);
		spin_lock_irq(&uf->lock);
		uf->nr_filling--;
		uf->stats.copies_in++;
	}
	if (!is_good) {
		usbfront_break(uf, USBIF_ERR_BAD_ID, "octets of a packet", id,
			       req->length);
		fail_xfer(req->xfer, -EPROTO);
	}
	uep->nr_live--;
	if (uep->nr_untold && !usbfront_ep_can_wait(uf, uep))
		uf->is_kick_due = true;
	piece_done(uf, req, rsp);
}

static void cancel_done(struct usbfront *uf, struct usbfront_req *req)
{
	req->is_cancelling = false;
	if (req->state == USBFRONT_REQ_SPENT)
		usbfront_req_free(uf, req);
}

/*
 * Geometry is that of our own record: the completion only says how much of it was
 * moved, and a lie about that ends the session.
 */
static void take(struct usbfront *uf, const struct usbif_response *rsp)
{
	u32 n = uf->lay.nr_requests;
	struct usbfront_req *req = &uf->reqs[rsp->id & (n - 1)];

	spin_lock_irq(&uf->lock);
	uf->heard_at = jiffies;
	uf->is_silent = false;
	if (rsp->id >= n) {
		if (req->is_cancelling)
			cancel_done(uf, req);
		else
			usbfront_break(uf, USBIF_ERR_BAD_ID,
				       "cancel that is not live", rsp->id, n);
	} else if (req->state != USBFRONT_REQ_LIVE &&
		   req->state != USBFRONT_REQ_LOST) {
		usbfront_break(uf, USBIF_ERR_BAD_ID, "id that is not live",
			       rsp->id, n);
	} else if (rsp->actual > req->length) {
		usbfront_break(uf, USBIF_ERR_BAD_ID, "octets", rsp->actual,
			       req->length);
	} else {
		request_done(uf, req, rsp);
	}
	spin_unlock_irq(&uf->lock);
}

/**
 * usbfront_complete - take completions from the ring
 * @uf: channel, running
 *
 * Return: true if there is more than one turn may take.
 */
bool usbfront_complete(struct usbfront *uf)
{
	int avail = usbif_cons_avail(&uf->cq);
	int n;

	if (avail < 0) {
		usbfront_break(uf, USBIF_ERR_INDEX, "completions", -1,
			       uf->lay.ring_entries);
		return false;
	}
	for (n = 0; n < avail && n < BUDGET && uf->is_running; n++) {
		struct usbif_rsp entry;
		struct usbif_response rsp;
		enum usbif_why why;

		usbif_cons_pop(&uf->cq, &entry);
		if (usbif_rsp_decode(&rsp, &entry, &uf->lay, uf->session,
				     &why)) {
			usbfront_break(uf, USBIF_ERR_BAD_ID,
				       usbif_why_name(why), rsp.id,
				       uf->lay.ring_entries);
			break;
		}
		take(uf, &rsp);
	}
	if (n)
		usbif_cons_commit(&uf->cq);
	return n < avail && uf->is_running;
}

/* Moves up to BATCH URBs from uf->done. */
static bool next_batch(struct usbfront *uf, struct list_head *batch)
{
	int n;

	spin_lock_irq(&uf->lock);
	if (!list_empty(&uf->done))
		uf->is_batching = true;
	for (n = 0; n < BATCH && !list_empty(&uf->done); n++)
		list_move_tail(uf->done.next, batch);
	spin_unlock_irq(&uf->lock);
	return n > 0;
}

static void count(struct usbfront *uf, struct urb *urb, int status)
{
	if (status && !urb->unlinked)
		uf->stats.errors++;
	else if (!status)
		uf->stats.completed++;
	if (usb_urb_dir_in(urb))
		uf->stats.in_octets += urb->actual_length;
	else
		uf->stats.out_octets += urb->actual_length;
}

/**
 * usbfront_giveback - give back what has ended
 * @uf: channel
 *
 * What the handlers submit is published at once, but rung for only at the end of the
 * thread's turn.
 */
void usbfront_giveback(struct usbfront *uf)
{
	LIST_HEAD(batch);

	while (next_batch(uf, &batch)) {
		local_bh_disable();
		while (!list_empty(&batch)) {
			struct urb *urb = list_first_entry(&batch, struct urb,
							   urb_list);
			int status = (long)urb->hcpriv;

			list_del_init(&urb->urb_list);
			count(uf, urb, status);
			usb_hcd_giveback_urb(bus_to_hcd(urb->dev->bus), urb,
					     status);
		}
		local_bh_enable();
		cond_resched();
	}
}
