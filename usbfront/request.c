// SPDX-License-Identifier: GPL-2.0
/*
 * Requests: who gets ids and blocks, and how a URB becomes entries of the ring.
 *
 * Nothing is allocated here. A URB that can't go on waits where it is, on the list
 * of its endpoint; the endpoint waits in uf->waiting, and the thread goes through
 * that list, in order, whenever something has completed. Shares:
 *
 *  - A port may have at most half of the ids and half of the pool, and all together
 *    leave a quarter of both free.
 *  - An endpoint that has nothing in the ring may take one small request out of that
 *    quarter. So input that never comes (an idle serial line with all its URBs
 *    queued) can't keep a disk from moving; a URB that is too long for the small
 *    request goes in pieces.
 *  - The last few ids and blocks are for control transfers, the very last ids for
 *    operations of our own (reset, restart). Both end soon, or by a deadline.
 */
#include <linux/slab.h>
#include "iso.h"
#include "trace.h"
#include "usbfront.h"

#define KEEP_FOR_OPS		4u	/* ids */
#define KEEP_FOR_CONTROL	4u	/* ids */
#define KEEP_BLOCKS		17u	/* 64 KiB of a control transfer, and table */
#define SMALL_BLOCKS		4u	/* of the small request */
#define SMALL_ISO_BLOCKS	13u	/* 48 KiB, the longest packet there is, and table */
#define RERING_DELAY		msecs_to_jiffies(10)
#define LONG_REQUEST		(32u * 1024)
#define ISO_AHEAD		4u	/* requests that bridge a doorbell */

/**
 * usbfront_tables_alloc - get memory for requests and pool
 * @uf: channel without a session
 * @lay: layout they are for
 *
 * Return: 0 or -ENOMEM.
 */
int usbfront_tables_alloc(struct usbfront *uf, const struct usbif_layout *lay)
{
	int ret;

	usbfront_tables_free(uf);
	uf->reqs = kvcalloc(lay->nr_requests, sizeof(*uf->reqs), GFP_KERNEL);
	uf->xfers = kvcalloc(lay->nr_requests * 2, sizeof(*uf->xfers),
			     GFP_KERNEL);
	ret = usbfront_pool_init(&uf->pool, lay->pool_blocks);
	if (ret || !uf->reqs || !uf->xfers) {
		usbfront_tables_free(uf);
		return -ENOMEM;
	}
	uf->has_tables = true;
	return 0;
}

/**
 * usbfront_tables_free - free that memory
 * @uf: channel without a session
 */
void usbfront_tables_free(struct usbfront *uf)
{
	uf->has_tables = false;
	kvfree(uf->reqs);
	kvfree(uf->xfers);
	uf->reqs = NULL;
	uf->xfers = NULL;
	usbfront_pool_fini(&uf->pool);
}

/**
 * usbfront_tables_reset - all ids and blocks are free
 * @uf: channel at the beginning of a session
 */
void usbfront_tables_reset(struct usbfront *uf)
{
	u32 i;

	lockdep_assert_held(&uf->lock);
	INIT_LIST_HEAD(&uf->free_reqs);
	INIT_LIST_HEAD(&uf->free_xfers);
	memset(uf->reqs, 0, uf->lay.nr_requests * sizeof(*uf->reqs));
	for (i = 0; i < uf->lay.nr_requests; i++)
		list_add_tail(&uf->reqs[i].node, &uf->free_reqs);
	for (i = 0; i < uf->lay.nr_requests * 2; i++) {
		INIT_LIST_HEAD(&uf->xfers[i].cancel_node);
		INIT_LIST_HEAD(&uf->xfers[i].partial_node);
		list_add_tail(&uf->xfers[i].ep_node, &uf->free_xfers);
	}
	uf->nr_free = uf->lay.nr_requests;
	uf->nr_live = 0;
	uf->nr_lost = 0;
	uf->heard_at = jiffies;
	uf->is_silent = false;
	usbfront_pool_reset(&uf->pool);
}

/**
 * usbfront_ep_init - set up the endpoints of a port
 * @port: port
 */
void usbfront_ep_init(struct usbfront_port *port)
{
	int i;

	for (i = 0; i < USBFRONT_NR_EPS; i++) {
		struct usbfront_ep *uep = &port->ep[i];

		uep->port = port;
		uep->address = (i & 15) | (i & 16 ? USB_DIR_IN : 0);
		INIT_LIST_HEAD(&uep->xfers);
		INIT_LIST_HEAD(&uep->partial);
		INIT_LIST_HEAD(&uep->wait_node);
		INIT_LIST_HEAD(&uep->restart_node);
	}
}

/**
 * usbfront_ep_of - endpoint of a URB
 * @port: its port
 * @urb: URB
 *
 * Return: endpoint; the control endpoint is one in both directions.
 */
struct usbfront_ep *usbfront_ep_of(struct usbfront_port *port,
				   const struct urb *urb)
{
	const struct usb_endpoint_descriptor *desc = &urb->ep->desc;
	int number = usb_endpoint_num(desc);

	if (number && usb_endpoint_dir_in(desc))
		number |= 16;
	return &port->ep[number];
}

/* ---- shares ---- */

static bool is_control(const struct usbfront_ep *uep)
{
	return !uep->address;
}

static bool is_iso(const struct usbfront_xfer *xfer)
{
	return usb_pipeisoc(xfer->urb->pipe);
}

static u32 minus(u32 a, u32 b)
{
	return a > b ? a - b : 0;
}

/*
 * Each stream counts for itself: the device says which of them goes on next, and may
 * not be asked to wait for one by another.
 */
static bool has_live(const struct usbfront_ep *uep,
		     const struct usbfront_xfer *xfer)
{
	return xfer->urb->stream_id ? !list_empty(&xfer->reqs) : uep->nr_live;
}

static bool may_have_id(const struct usbfront *uf, const struct usbfront_ep *uep,
			const struct usbfront_xfer *xfer)
{
	u32 all = uf->lay.nr_requests;

	if (is_control(uep))
		return uf->nr_free > KEEP_FOR_OPS;
	if (!has_live(uep, xfer))
		return uf->nr_free > KEEP_FOR_OPS + KEEP_FOR_CONTROL;
	return uf->nr_free > all / 4 && uep->port->nr_ids < all / 2;
}

static u32 blocks_allowed(const struct usbfront *uf,
			  const struct usbfront_ep *uep,
			  const struct usbfront_xfer *xfer, u32 small)
{
	const struct usbfront_pool *pool = &uf->pool;
	u32 shared;

	if (is_control(uep))
		return pool->free;
	shared = min(minus(pool->free, pool->blocks / 4),
		     minus(pool->blocks / 2, uep->port->nr_blocks));
	if (has_live(uep, xfer))
		return shared;
	return max(shared, min(minus(pool->free, KEEP_BLOCKS), small));
}

/* A piece that is not the last must end with a full packet. */
static u32 packet_size(const struct urb *urb)
{
	const struct usb_endpoint_descriptor *desc = &urb->ep->desc;
	u32 size = usb_endpoint_maxp(desc);

	if (usb_endpoint_xfer_int(desc))
		size *= usb_endpoint_maxp_mult(desc);
	return size ?: 1;
}

/*
 * Length of the next piece, or -ENOSPC if the endpoint must wait. Pieces smaller
 * than they could be are for endpoints that would otherwise not move at all.
 */
static int next_piece(const struct usbfront *uf, const struct usbfront_ep *uep,
		      const struct usbfront_xfer *xfer, u32 *packets)
{
	u32 left = xfer->urb->transfer_buffer_length - xfer->queued;
	u32 length = min(left, uf->lay.max_transfer);
	u32 allowed;

	if (is_iso(xfer)) {
		allowed = blocks_allowed(uf, uep, xfer, SMALL_ISO_BLOCKS);
		return usbfront_iso_piece(uf, xfer, allowed, packets);
	}
	if (!left)
		return 0;
	allowed = blocks_allowed(uf, uep, xfer, SMALL_BLOCKS);
	if (DIV_ROUND_UP(length, USBIF_BLOCK_SIZE) > allowed) {
		if (usb_pipecontrol(xfer->urb->pipe) || has_live(uep, xfer) ||
		    allowed < SMALL_BLOCKS)
			return -ENOSPC;
		length = min(left, allowed << USBIF_BLOCK_SHIFT);
	}
	if (length < left)
		length -= length % packet_size(xfer->urb);
	return length ?: -ENOSPC;
}

/* ---- ids ---- */

static struct usbfront_req *id_take(struct usbfront *uf,
				    struct usbfront_port *port)
{
	struct usbfront_req *req;

	req = list_first_entry(&uf->free_reqs, struct usbfront_req, node);
	list_del_init(&req->node);
	uf->nr_free--;
	port->nr_ids++;
	req->port = port;
	req->uep = NULL;
	req->xfer = NULL;
	req->call = NULL;
	req->epoch = port->epoch;
	req->offset = 0;
	req->length = 0;
	req->nr_packets = 0;
	req->nr_repeats = 0;
	req->is_in = false;
	req->run = (struct usbfront_run){
		.first = USBFRONT_NO_BLOCK,
		.table = USBFRONT_NO_BLOCK,
	};
	return req;
}

/**
 * usbfront_req_free - an id and its blocks are not used any more
 * @uf: channel
 * @req: request, not live; keeps its id if its cancel is live
 */
void usbfront_req_free(struct usbfront *uf, struct usbfront_req *req)
{
	lockdep_assert_held(&uf->lock);
	if (req->state != USBFRONT_REQ_SPENT) {
		req->port->nr_blocks -= req->run.blocks;
		usbfront_pool_free(&uf->pool, &req->run);
		req->xfer = NULL;
		req->uep = NULL;
	}
	if (req->is_cancelling) {
		req->state = USBFRONT_REQ_SPENT;
		return;
	}
	req->state = USBFRONT_REQ_FREE;
	req->port->nr_ids--;
	list_add(&req->node, &uf->free_reqs);
	uf->nr_free++;
}

/* Next request of a transfer, or NULL if it has to wait. */
static struct usbfront_req *req_take(struct usbfront *uf,
				     struct usbfront_ep *uep,
				     struct usbfront_xfer *xfer)
{
	struct usbfront_req *req;
	u32 packets = 0;
	int length = 0;

	if (!may_have_id(uf, uep, xfer))
		return NULL;
	if (xfer->op == USBIF_OP_TRANSFER)
		length = next_piece(uf, uep, xfer, &packets);
	if (length < 0)
		return NULL;
	req = id_take(uf, uep->port);
	if (usbfront_pool_alloc(&uf->pool,
				DIV_ROUND_UP(length, USBIF_BLOCK_SIZE),
				packets, &req->run)) {
		usbfront_req_free(uf, req);
		return NULL;
	}
	uep->port->nr_blocks += req->run.blocks;
	req->xfer = xfer;
	req->uep = uep;
	req->op = xfer->op;
	req->offset = xfer->queued;
	req->length = length;
	req->first_packet = xfer->packets;
	req->nr_packets = packets;
	req->is_in = usb_urb_dir_in(xfer->urb);
	list_add_tail(&req->node, &xfer->reqs);
	return req;
}

/* ---- the ring ---- */

/**
 * usbfront_push - put a request into the ring
 * @uf: channel, running
 * @wire: request
 *
 * There is always room: see "Rings" in usbif.h. A backend that says otherwise lies.
 */
void usbfront_push(struct usbfront *uf, const struct usbif_request *wire)
{
	struct usbif_req entry;
	int room;

	lockdep_assert_held(&uf->lock);
	room = usbif_prod_room(&uf->sq);
	if (room <= 0) {
		usbfront_break(uf, USBIF_ERR_INDEX, "room in the ring", room,
			       uf->lay.ring_entries);
		return;
	}
	usbif_req_encode(&entry, wire);
	usbif_prod_push(&uf->sq, &entry);
	usbif_prod_publish(&uf->sq);
	/* It may be pending for something that is seconds away. */
	usbfront_timer_arm(uf, RERING_DELAY);
}

/**
 * usbfront_ep_can_wait - see whether the backend need not be told now
 * @uf: channel
 * @uep: endpoint with requests in the ring
 *
 * A request behind others of its endpoint can't begin before these have ended, and
 * then the backend looks at the ring by itself. It has to know two of them, so that
 * the host controller has work while it looks, or a long one, beside which that time
 * is nothing. A doorbell costs a guest an exit. An isochronous stream must not run dry,
 * so there it has to know more.
 *
 * Return: true if the backend has enough to do for this endpoint.
 */
bool usbfront_ep_can_wait(const struct usbfront *uf, struct usbfront_ep *uep)
{
	lockdep_assert_held(&uf->lock);
	if ((s32)(uf->told - uep->untold_end) >= 0 ||
	    (s32)(uf->sq.cons - uep->untold_end) >= 0)
		uep->nr_untold = 0;
	return !is_control(uep) && uep->nr_live >= uep->nr_untold +
	       (uep->is_iso ? ISO_AHEAD : uep->is_long ? 1 : 2);
}

/* A request has been put into the ring. */
static void note_untold(struct usbfront *uf, const struct usbfront_req *req)
{
	struct usbfront_ep *uep = req->uep;

	if (!uep) {
		uf->is_kick_due = true;
		return;
	}
	if (!uep->nr_live)
		uep->nr_untold = 0;
	uep->is_long = req->length >= LONG_REQUEST;
	uep->is_iso = req->nr_packets;
	/* Streams don't wait for each other. */
	if (!usbfront_ep_can_wait(uf, uep) ||
	    (req->xfer && req->xfer->urb->stream_id))
		uf->is_kick_due = true;
	uep->nr_untold++;
	uep->untold_end = uf->sq.published;
}

/**
 * usbfront_kick_prepare - decide whether the backend is to be rung
 * @uf: channel
 *
 * Return: true if the caller is to ring, without the lock.
 */
bool usbfront_kick_prepare(struct usbfront *uf)
{
	lockdep_assert_held(&uf->lock);
	if (!uf->is_running || uf->is_batching || !uf->is_kick_due)
		return false;
	uf->is_kick_due = false;
	uf->told = uf->sq.published;
	if (!usbif_prod_need_kick(&uf->sq))
		return false;
	uf->stats.kicks++;
	return true;
}

static u16 wire_flags(const struct usbfront_req *req)
{
	const struct urb *urb = req->xfer->urb;
	bool is_last = req->offset + req->length == urb->transfer_buffer_length;
	u16 flags = 0;

	if (req->is_in && (urb->transfer_flags & URB_SHORT_NOT_OK))
		flags |= USBIF_REQ_SHORT_NOT_OK;
	if (!req->is_in && is_last && (urb->transfer_flags & URB_ZERO_PACKET) &&
	    !usb_pipecontrol(urb->pipe))
		flags |= USBIF_REQ_ZERO_PACKET;
	return flags;
}

static void fill_transfer(struct usbfront *uf, struct usbif_request *wire,
			  const struct usbfront_req *req)
{
	const struct urb *urb = req->xfer->urb;

	wire->type = usb_endpoint_type(&urb->ep->desc);
	wire->flags = wire_flags(req);
	wire->length = req->length;
	wire->stream = urb->stream_id;
	if (wire->type == USBIF_TYPE_INTERRUPT || req->nr_packets)
		wire->interval = urb->interval;
	if (req->nr_packets)
		usbfront_iso_fill(req, wire);
	if (wire->type == USBIF_TYPE_CONTROL)
		memcpy(wire->setup, urb->setup_packet, sizeof(wire->setup));
	wire->nr_extents = req->run.extents;
	if (req->run.table != USBFRONT_NO_BLOCK) {
		wire->table_block = req->run.table;
		wire->table_length = usbif_table_size(req->run.extents,
						      req->nr_packets);
	}
	if (req->run.extents <= USBIF_INLINE_EXTENTS)
		usbfront_list_extents(uf, req, wire->ranges,
				      USBIF_INLINE_EXTENTS);
}

static void req_submit(struct usbfront *uf, struct usbfront_req *req,
		       u8 endpoint, u32 arg0, u32 arg1)
{
	struct usbif_request wire = {
		.id = req - uf->reqs,
		.session = uf->session,
		.op = req->op,
		.vusb = req->port->vusb->number,
		.port = req->port->number,
		.endpoint = endpoint,
		.port_epoch = req->epoch,
	};

	if (req->op == USBIF_OP_TRANSFER) {
		fill_transfer(uf, &wire, req);
	} else {
		wire.arg0 = arg0;
		wire.arg1 = arg1;
	}
	req->state = USBFRONT_REQ_LIVE;
	trace_usbfront_submit(uf, &wire);
	usbfront_push(uf, &wire);
	note_untold(uf, req);
	if (req->uep)
		req->uep->nr_live++;
	uf->nr_live++;
	uf->stats.peak = max(uf->stats.peak, uf->nr_live);
	uf->stats.requests++;
}

/**
 * usbfront_req_again - submit a request once more as it stands
 * @uf: channel
 * @req: request that has ended without having moved anything
 */
void usbfront_req_again(struct usbfront *uf, struct usbfront_req *req)
{
	lockdep_assert_held(&uf->lock);
	req->nr_repeats++;
	req_submit(uf, req, req->xfer->endpoint, req->xfer->arg0,
		   req->xfer->arg1);
}

/**
 * usbfront_op_submit - submit an operation of our own, not of a URB
 * @uf: channel
 * @port: port
 * @op: enum usbif_op
 * @endpoint: bEndpointAddress, or 0
 * @arg0: of the operation
 * @arg1: of the operation
 *
 * Return: its request, or NULL if there is no id for it now.
 */
struct usbfront_req *usbfront_op_submit(struct usbfront *uf,
					struct usbfront_port *port, u8 op,
					u8 endpoint, u32 arg0, u32 arg1)
{
	struct usbfront_req *req;

	lockdep_assert_held(&uf->lock);
	if (!uf->nr_free)
		return NULL;
	req = id_take(uf, port);
	req->op = op;
	req_submit(uf, req, endpoint, arg0, arg1);
	return req;
}

static bool restart_submit(struct usbfront *uf, struct usbfront_ep *uep)
{
	return usbfront_op_submit(uf, uep->port, USBIF_OP_RESTART,
				  uep->address, 0, 0);
}

/* ---- feeding ---- */

/**
 * usbfront_ep_wait - the thread is to feed an endpoint
 * @uf: channel
 * @uep: endpoint
 */
void usbfront_ep_wait(struct usbfront *uf, struct usbfront_ep *uep)
{
	lockdep_assert_held(&uf->lock);
	if (uep->is_waiting)
		return;
	uep->is_waiting = true;
	list_add_tail(&uep->wait_node, &uf->waiting);
}

/* A copy this long with interrupts off is left to the thread. */
static bool must_defer(const struct usbfront *uf, struct urb *urb,
		       unsigned long flags)
{
	return irqs_disabled_flags(flags) && usb_urb_dir_out(urb) &&
	       urb->transfer_buffer_length > SMALL_BLOCKS * USBIF_BLOCK_SIZE &&
	       current != uf->thread;
}

/*
 * Copies what goes out, without the lock. False if the transfer has ended, or the
 * session, meanwhile; the request is gone then.
 */
static bool req_fill(struct usbfront *uf, struct usbfront_xfer *xfer,
		     struct usbfront_req *req, unsigned long *flags)
	__must_hold(&uf->lock)
{
	bool has_table = req->run.table != USBFRONT_NO_BLOCK;
	bool has_data = req->length && !req->is_in;

	if (!has_data && !has_table)
		return true;
	req->state = USBFRONT_REQ_FILLING;
	uf->nr_filling++;
	spin_unlock_irqrestore(&uf->lock, *flags);

	if (has_data)
		usbfront_copy_out(uf, xfer->urb, req);
	if (has_table)
		usbfront_write_table(uf, req);

	spin_lock_irqsave(&uf->lock, *flags);
	uf->nr_filling--;
	if (has_data)
		uf->stats.copies_out++;
	if (!xfer->is_ended && uf->is_running)
		return true;
	list_del_init(&req->node);
	usbfront_req_free(uf, req);
	if (xfer->is_ended && list_empty(&xfer->reqs))
		usbfront_xfer_finish(uf, xfer);
	usbfront_wake(uf, USBFRONT_EV_FEED);
	return false;
}

/* Anything but reading descriptors makes the next reset a real one. */
static void note_use(struct usbfront_port *port, const struct urb *urb)
{
	const struct usb_ctrlrequest *setup = (void *)urb->setup_packet;

	if (!usb_pipecontrol(urb->pipe) ||
	    setup->bRequestType != USB_DIR_IN ||
	    setup->bRequest != USB_REQ_GET_DESCRIPTOR)
		port->is_clean = false;
}

/*
 * The backend does not order operations with the transfers around them, whose endpoint is
 * another; and what is answered here would overtake. So these have the endpoint to
 * themselves. Their turn comes when what is live has completed.
 */
static bool must_be_alone(const struct usbfront_ep *uep,
			  const struct usbfront_xfer *xfer)
{
	return uep->nr_live &&
	       (xfer->op != USBIF_OP_TRANSFER || uep->is_op_live);
}

/* Submits the next request of the endpoint. False if it can't go on now. */
static bool feed_one(struct usbfront *uf, struct usbfront_ep *uep,
		     unsigned long *flags)
{
	struct usbfront_xfer *xfer =
		list_first_entry_or_null(&uep->partial, struct usbfront_xfer,
					 partial_node);
	struct urb *urb = xfer ? xfer->urb : uep->next;
	struct usbfront_req *req;

	if (must_defer(uf, urb, *flags)) {
		usbfront_wake(uf, USBFRONT_EV_FEED);
		goto wait;
	}
	if (!xfer)
		xfer = urb->hcpriv ?: usbfront_xfer_get(uf, uep, urb);
	if (!xfer)
		goto wait;
	/* What is live of one that has ended has the endpoint go on, with its end. */
	if (xfer->is_ended || must_be_alone(uep, xfer))
		return false;
	if (usbfront_xfer_is_local(xfer)) {
		usbfront_xfer_finish(uf, xfer);
		return true;
	}
	/* Input goes on only after a full piece: a short one ends the transfer. */
	if (usb_urb_dir_in(urb) && !is_iso(xfer) && !list_empty(&xfer->reqs))
		return false;
	if (uep->is_held) {
		if (!restart_submit(uf, uep))
			goto wait;
		uep->is_held = false;
	}
	req = req_take(uf, uep, xfer);
	if (!req) {
		uf->stats.waits++;
		goto wait;
	}
	list_del_init(&xfer->partial_node);
	if (!req_fill(uf, xfer, req, flags))
		return uf->is_running;

	xfer->queued += req->length;
	xfer->packets += req->nr_packets;
	uep->is_op_live = xfer->op != USBIF_OP_TRANSFER;
	note_use(uep->port, urb);
	/* With a stream it goes on from uep->partial, and others pass it by. */
	if (usbfront_xfer_is_queued(xfer) || urb->stream_id)
		usbfront_urb_skip(uep, urb);
	req_submit(uf, req, xfer->endpoint, xfer->arg0, xfer->arg1);
	return true;

wait:
	usbfront_ep_wait(uf, uep);
	return false;
}

/**
 * usbfront_ep_feed - submit what an endpoint has queued, as far as possible
 * @uf: channel
 * @uep: endpoint
 * @flags: of the lock, which is dropped while data is copied
 */
void usbfront_ep_feed(struct usbfront *uf, struct usbfront_ep *uep,
		      unsigned long *flags)
{
	lockdep_assert_held(&uf->lock);
	if (uep->is_feeding)
		return;
	uep->is_feeding = true;
	while (usbfront_ep_has_more(uep) && uf->is_running)
		if (!feed_one(uf, uep, flags))
			break;
	uep->is_feeding = false;
}

/**
 * usbfront_feed_waiting - give endpoints that wait another try, in order
 * @uf: channel
 */
void usbfront_feed_waiting(struct usbfront *uf)
{
	unsigned long flags;
	LIST_HEAD(turn);
	bool kick;

	spin_lock_irqsave(&uf->lock, flags);
	list_splice_init(&uf->waiting, &turn);
	while (!list_empty(&turn)) {
		struct usbfront_ep *uep;

		uep = list_first_entry(&turn, struct usbfront_ep, wait_node);
		list_del_init(&uep->wait_node);
		uep->is_waiting = false;
		usbfront_ep_feed(uf, uep, &flags);
	}
	kick = usbfront_kick_prepare(uf);
	spin_unlock_irqrestore(&uf->lock, flags);
	if (kick)
		usbif_chan_kick(uf->chan);
}

/* ---- restarts ---- */

/**
 * usbfront_ep_restart_due - the backend holds an endpoint
 * @uf: channel
 * @uep: endpoint
 */
void usbfront_ep_restart_due(struct usbfront *uf, struct usbfront_ep *uep)
{
	lockdep_assert_held(&uf->lock);
	if (uep->is_restart_due)
		return;
	uep->is_restart_due = true;
	list_add_tail(&uep->restart_node, &uf->restarts);
}

/**
 * usbfront_ep_forget_restart - the backend does not hold an endpoint any more
 * @uep: endpoint
 */
void usbfront_ep_forget_restart(struct usbfront_ep *uep)
{
	uep->is_held = false;
	uep->is_restart_due = false;
	list_del_init(&uep->restart_node);
}

static bool has_ended_xfer(const struct usbfront_ep *uep)
{
	const struct usbfront_xfer *xfer;

	list_for_each_entry(xfer, &uep->xfers, ep_node)
		if (xfer->is_ended)
			return true;
	return false;
}

/**
 * usbfront_send_restarts - let held endpoints go on
 * @uf: channel
 *
 * Called when everything that had ended has been given back: the handlers have run,
 * so drivers have unlinked what they did not want to go on. With nothing live the
 * operation can wait for the next request and share its doorbell.
 */
void usbfront_send_restarts(struct usbfront *uf)
{
	struct usbfront_ep *uep, *next;
	unsigned long flags;
	bool now;

	spin_lock_irqsave(&uf->lock, flags);
	list_for_each_entry_safe(uep, next, &uf->restarts, restart_node) {
		if (has_ended_xfer(uep) || uep->nr_early)
			continue;
		/* Who is copying a request has looked at is_held before. */
		now = uep->nr_live || uep->is_feeding;
		if (now && !restart_submit(uf, uep))
			break;
		uep->is_held = !now;
		uep->is_restart_due = false;
		list_del_init(&uep->restart_node);
	}
	spin_unlock_irqrestore(&uf->lock, flags);
}
