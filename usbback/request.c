// SPDX-License-Identifier: GPL-2.0
/*
 * From the submission ring to the endpoint's list, and the end of each request.
 *
 * An entry is copied once and decoded into private memory; from then on shared
 * memory is not looked at again, but for the data. A request that is wrong is
 * answered; one that makes the rest unreliable breaks the session (usbif.h,
 * section 8). What is kept for a request stands in the slot of its id; nothing is
 * allocated here unless it has many extents.
 */
#include <linux/bitmap.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include "backend.h"
#include "trace.h"

/* ---- pool blocks ---- */

static unsigned int blocks_of(u32 length)
{
	return DIV_ROUND_UP(length, USBIF_BLOCK_SIZE);
}

/* Marks a run of blocks, which were checked to lie in the pool; false if taken. */
static bool blocks_take(struct usbback *ub, u32 block, u32 length)
{
	unsigned long end = block + blocks_of(length);

	if (find_next_bit(ub->blocks, end, block) < end)
		return false;
	bitmap_set(ub->blocks, block, blocks_of(length));
	return true;
}

static void blocks_release(struct usbback *ub, u32 block, u32 length)
{
	bitmap_clear(ub->blocks, block, blocks_of(length));
}

static bool slot_take_blocks(struct usbback_slot *slot)
{
	const struct usbif_request *req = &slot->req;
	struct usbback *ub = slot->ub;
	unsigned int i;

	for (i = 0; i < req->nr_extents; i++)
		if (!blocks_take(ub, slot->ranges[i].block,
				 slot->ranges[i].length))
			goto undo;
	if (!req->table_length ||
	    blocks_take(ub, req->table_block, req->table_length))
		return true;
undo:
	while (i--)
		blocks_release(ub, slot->ranges[i].block, slot->ranges[i].length);
	return false;
}

static void slot_release_blocks(struct usbback_slot *slot)
{
	const struct usbif_request *req = &slot->req;
	struct usbback *ub = slot->ub;
	unsigned int i;

	for (i = 0; i < req->nr_extents; i++)
		blocks_release(ub, slot->ranges[i].block, slot->ranges[i].length);
	if (req->table_length)
		blocks_release(ub, req->table_block, req->table_length);
}

/* ---- the end of a request ---- */

static void leave_endpoint(struct usbback_slot *slot)
{
	struct usbback_ep *ep = slot->ep;
	struct usbback *ub = slot->ub;

	list_del_init(&slot->node);
	if (slot->state == SLOT_PARKED)
		return;
	if (slot->state == SLOT_DEFERRED) {
		list_del_init(&slot->deferred);
		ep->deferred--;
	}
	if (slot->kill && !--ep->kills)
		usbback_urb_schedule(ep);
	if (!ep->index && !list_empty(&ep->parked))
		usbback_urb_schedule(ep);	/* one at a time: may_run() */
	usbback_urb_inactive(slot);
	if (ub->state == USBBACK_ENDING && !ub->inflight)
		usbback_wake(ub);
	if (!list_empty(&ub->starved)) {
		ub->retry_now = true;
		usbback_wake(ub);
	}
}

/* Its id is not live any more; nobody is told. */
static void slot_free(struct usbback_slot *slot)
{
	if (slot->state == SLOT_OP) {
		usbback_op_leave(slot);
	} else {
		usbback_buffer_unmap(slot);
		slot_release_blocks(slot);
		leave_endpoint(slot);
	}
	slot->kill = KILL_NONE;
	slot->unlinked = false;
	slot->state = SLOT_FREE;
	slot->ub->live--;
}

static void count_end(struct usbback_slot *slot, u8 status, u32 actual)
{
	struct usbback_port_stats *stats = &slot->ep->port->stats;

	stats->completed++;
	if (status == USBIF_ST_CANCELLED)
		stats->cancelled++;
	else if (status != USBIF_ST_OK)
		stats->errors++;
	if (usbback_request_is_in(&slot->req))
		stats->bytes_in += actual;
	else
		stats->bytes_out += actual;
}

void usbback_request_finish(struct usbback_slot *slot, u8 status, u16 flags,
			    u32 actual, u32 value)
{
	struct usbback *ub = slot->ub;
	bool answer = slot->kill != KILL_SESSION && ub->state == USBBACK_RUNNING;
	struct usbif_response rsp = {
		.id = slot->id,
		.status = status,
		.flags = flags,
		.actual = actual,
		.value = value,
	};

	lockdep_assert_held(&ub->lock);
	if (answer && usbback_slot_is_iso(slot))
		usbback_iso_finish(slot, &rsp);
	if (slot->state != SLOT_OP) {
		count_end(slot, status, actual);
		trace_usbback_complete(slot, status, actual, flags);
	}
	slot_free(slot);
	if (answer)
		usbback_session_answer(ub, &rsp);
}

void usbback_request_drop_all(struct usbback *ub)
{
	u32 id;

	lockdep_assert_held(&ub->lock);
	for (id = 0; id < ub->lay.nr_requests; id++) {
		struct usbback_slot *slot = &ub->slots[id];

		if (slot->state == SLOT_PARKED || slot->state == SLOT_OP ||
		    slot->state == SLOT_DEFERRED)
			slot_free(slot);
		else if (slot->state != SLOT_FREE)
			usbback_urb_kill(slot, KILL_SESSION);
	}
}

/* ---- intake ---- */

/* Answers a request that never got a slot. */
static void refuse(struct usbback *ub, u32 id, u8 status, enum usbif_why why)
{
	ub->stats.refused[why]++;
	spin_lock_irq(&ub->lock);
	if (ub->state == USBBACK_RUNNING)
		usbback_session_respond(ub, id, status, 0, 0, 0);
	spin_unlock_irq(&ub->lock);
}

static u8 refusal_status(enum usbif_why why)
{
	return why == USBIF_WHY_FEATURE ? USBIF_ST_UNSUPPORTED : USBIF_ST_INVALID;
}

/* Reads the table once and fills ranges from it or from the request. */
static int prep_ranges(struct usbback_slot *slot, enum usbif_why *why)
{
	const struct usbif_request *req = &slot->req;
	struct usbback *ub = slot->ub;
	int ret;

	slot->ranges = slot->small_ranges;
	if (req->nr_extents > USBIF_INLINE_EXTENTS)
		slot->ranges = ub->ranges + (size_t)slot->id * USBIF_MAX_EXTENTS;
	if (req->table_length)
		usbif_chan_read(ub->chan, ub->lay.pool_offset +
				(u64)req->table_block * USBIF_BLOCK_SIZE,
				ub->table, req->table_length);
	ret = usbif_table_decode(req, ub->table, &ub->lay, slot->ranges,
				 ub->packets, why);
	if (!ret && req->nr_packets)
		ret = usbback_iso_prepare(slot);
	return ret;
}

/* Features of devices that must not be switched behind the host's back. */
static bool control_forbidden(const struct usbif_request *req)
{
	u16 feature = req->setup[2] | req->setup[3] << 8;

	if (req->type != USBIF_TYPE_CONTROL ||
	    req->setup[0] != USB_RECIP_DEVICE ||
	    (req->setup[1] != USB_REQ_SET_FEATURE &&
	     req->setup[1] != USB_REQ_CLEAR_FEATURE))
		return false;
	return feature == USB_DEVICE_TEST_MODE ||
	       feature == USB_DEVICE_U1_ENABLE ||
	       feature == USB_DEVICE_U2_ENABLE ||
	       feature == USB_DEVICE_LTM_ENABLE;
}

/* What can be said without looking at the device; USBIF_ST_OK: go on. */
static u8 transfer_policy(const struct usbif_request *req)
{
	if (control_forbidden(req))
		return USBIF_ST_STALL;
	return USBIF_ST_OK;
}

/*
 * Puts a decoded transfer on its endpoint. Returns the endpoint if there is
 * something to run there.
 */
static struct usbback_ep *transfer_park(struct usbback_slot *slot)
{
	const struct usbif_request *req = &slot->req;
	struct usbback *ub = slot->ub;
	struct usbback_port *port;
	struct usbback_ep *ep = NULL;

	spin_lock_irq(&ub->lock);
	if (!slot_take_blocks(slot)) {
		usbback_break(ub, USBIF_ERR_BLOCK,
			      "id whose block is in another request", slot->id,
			      ub->lay.nr_requests);
		goto out;
	}
	port = usbback_port_find(ub, req->vusb, req->port, req->port_epoch);
	if (!port) {
		ub->stats.refused[USBIF_WHY_EPOCH]++;
		slot_release_blocks(slot);
		usbback_session_respond(ub, slot->id, USBIF_ST_NODEV, 0, 0, 0);
		goto out;
	}
	ep = &port->eps[usbback_ep_index(req->endpoint)];
	slot->ep = ep;
	slot->seq = ++ub->seq;
	slot->tries = 0;
	slot->how = HOW_NONE;
	slot->state = SLOT_PARKED;
	ub->live++;
	port->stats.submitted++;
	list_add_tail(&slot->node, &ep->parked);
out:
	spin_unlock_irq(&ub->lock);
	return ep;
}

static void start_transfer(struct usbback_slot *slot)
{
	enum usbif_why why = USBIF_WHY_OK;
	struct usbback_ep *ep;
	u8 status;
	int ret;

	status = transfer_policy(&slot->req);
	if (status) {
		refuse(slot->ub, slot->id, status, USBIF_WHY_SETUP_POLICY);
		return;
	}
	ret = prep_ranges(slot, &why);
	if (ret) {
		refuse(slot->ub, slot->id, ret == -ENOMEM ? USBIF_ST_NOMEM :
		       refusal_status(why), why);
		return;
	}
	ep = transfer_park(slot);
	if (ep)
		usbback_urb_run(ep);
}

/*
 * Cancels a live request: at once while it is ours, else by unlinking. Returns the
 * endpoint if there is something to unlink.
 */
static struct usbback_ep *cancel_slot(struct usbback_slot *slot)
{
	switch (slot->state) {
	case SLOT_PARKED:
		usbback_request_finish(slot, USBIF_ST_CANCELLED, 0, 0, 0);
		return NULL;
	case SLOT_OP:
		usbback_op_cancel(slot);
		return NULL;
	case SLOT_DEFERRED:
		return NULL;
	default:
		usbback_urb_kill(slot, KILL_CANCEL);
		return slot->ep;
	}
}

static void start_cancel(struct usbback *ub, const struct usbif_request *req)
{
	u32 target = array_index_nospec(req->arg0, ub->lay.nr_requests);
	struct usbback_slot *slot = &ub->slots[target];
	struct usbback_ep *ep = NULL;
	bool live;

	spin_lock_irq(&ub->lock);
	live = slot->state != SLOT_FREE;
	trace_usbback_cancel(ub, target, live);
	ub->seq++;
	usbback_session_respond(ub, req->id, live ? USBIF_ST_OK : USBIF_ST_NOENT,
				0, 0, 0);
	if (live)
		ep = cancel_slot(slot);
	spin_unlock_irq(&ub->lock);
	if (ep)
		usbback_urb_unlink(ep);
}

static void start_restart(struct usbback *ub, const struct usbif_request *req)
{
	struct usbback_port *port;
	struct usbback_ep *ep = NULL;

	spin_lock_irq(&ub->lock);
	ub->seq++;
	port = usbback_port_find(ub, req->vusb, req->port, req->port_epoch);
	if (port) {
		ep = &port->eps[usbback_ep_index(req->endpoint)];
		ep->held = false;
	}
	usbback_session_respond(ub, req->id, port ? USBIF_ST_OK : USBIF_ST_NODEV,
				0, 0, 0);
	spin_unlock_irq(&ub->lock);
	if (ep)
		usbback_urb_run(ep);
}

static void start_op(struct usbback_slot *slot)
{
	switch (slot->req.op) {
	case USBIF_OP_RESET:
	case USBIF_OP_SET_CONFIGURATION:
	case USBIF_OP_SET_INTERFACE:
	case USBIF_OP_CLEAR_HALT:
	case USBIF_OP_ALLOC_STREAMS:
	case USBIF_OP_FREE_STREAMS:
	case USBIF_OP_SUSPEND:
	case USBIF_OP_RESUME:
		usbback_op_take(slot->ub, slot);
		break;
	default:
		refuse(slot->ub, slot->id, USBIF_ST_UNSUPPORTED, USBIF_WHY_OP);
	}
}

/* The slot of a new request, or NULL if its id is live. */
static struct usbback_slot *slot_claim(struct usbback *ub,
				       const struct usbif_request *req)
{
	u32 id = array_index_nospec(req->id, ub->lay.nr_requests);
	struct usbback_slot *slot = &ub->slots[id];
	bool is_free;

	spin_lock_irq(&ub->lock);
	is_free = slot->state == SLOT_FREE;
	spin_unlock_irq(&ub->lock);
	if (!is_free) {
		usbback_break(ub, USBIF_ERR_DUP_ID, "id that is live already", id,
			      ub->lay.nr_requests);
		return NULL;
	}
	slot->req = *req;
	slot->op = NULL;
	slot->ep = NULL;
	return slot;
}

static void take_one(struct usbback *ub, const struct usbif_req *wire)
{
	enum usbif_why why = USBIF_WHY_OK;
	struct usbback_slot *slot;
	struct usbif_request req;
	int ret;

	ret = usbif_req_decode(&req, wire, &ub->lay, ub->session, &why);
	if (ret == -EPROTO) {
		usbback_break(ub, USBIF_ERR_BAD_ID, "id",
			      le32_to_cpu(wire->id), 2 * ub->lay.nr_requests);
		return;
	}
	if (req.id >= ub->lay.nr_requests) {
		if (ret)
			refuse(ub, req.id, refusal_status(why), why);
		else
			start_cancel(ub, &req);
		return;
	}
	/* Also what is wrong in itself must not use a live id. */
	slot = slot_claim(ub, &req);
	if (!slot)
		return;
	if (ret)
		refuse(ub, req.id, refusal_status(why), why);
	else if (req.op == USBIF_OP_TRANSFER)
		start_transfer(slot);
	else if (req.op == USBIF_OP_RESTART)
		start_restart(ub, &req);
	else if (req.op == USBIF_OP_GET_FRAME)
		usbback_iso_get_frame(ub, &req);
	else
		start_op(slot);
}

/*
 * How many submissions may be taken: each needs room for its completion, beside
 * that of all that are live. A frontend that keeps to the protocol always has it.
 */
static int intake_room(struct usbback *ub, int avail)
{
	int room;

	spin_lock_irq(&ub->lock);
	room = usbif_prod_room(&ub->cq);
	if (room >= 0)
		room = max_t(int, room - (int)ub->live, 0);
	spin_unlock_irq(&ub->lock);
	if (room < 0) {
		usbback_break(ub, USBIF_ERR_INDEX, "completions consumed",
			      usbif_word_read(&ub->front->cq_cons),
			      ub->cq.published);
		return 0;
	}
	ub->stalled = !room;
	ub->stats.stalls += ub->stalled;
	return min3(avail, room, USBBACK_BATCH);
}

/* Answers that were written on the way are announced once. */
static void ring_if_wanted(struct usbback *ub)
{
	bool kick;

	spin_lock_irq(&ub->lock);
	kick = usbback_session_must_kick(ub);
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
}

static int take_batch(struct usbback *ub)
{
	int avail = usbif_cons_avail(&ub->sq);
	int n, i;

	if (avail < 0) {
		usbback_break(ub, USBIF_ERR_INDEX, "submissions written",
			      usbif_word_read(&ub->front->sq_prod),
			      ub->sq.cons + ub->lay.ring_entries);
		return 0;
	}
	if (!avail)
		return 0;
	n = intake_room(ub, avail);
	for (i = 0; i < n; i++)
		usbif_cons_pop(&ub->sq, &ub->batch[i]);
	if (n)
		usbif_cons_commit(&ub->sq);
	for (i = 0; i < n && !READ_ONCE(ub->violation.claimed); i++)
		take_one(ub, &ub->batch[i]);
	if (n)
		ring_if_wanted(ub);
	return n;
}

bool usbback_request_intake(struct usbback *ub)
{
	unsigned int requests = 0;
	u64 octets = 0;
	int i, n;

	ub->stalled = false;
	while (!READ_ONCE(ub->violation.claimed)) {
		n = take_batch(ub);
		if (!n)
			return false;
		for (i = 0; i < n; i++)
			octets += min_t(u32, le32_to_cpu(ub->batch[i].length),
					ub->lay.max_transfer);
		requests += n;
		if (requests >= usbback_limit(ub, LIMIT_BATCH) ||
		    octets >= USBBACK_BUDGET_BYTES)
			return true;
	}
	return true;
}

/* ---- memory ---- */

static int slot_init(struct usbback *ub, u32 id)
{
	struct usbback_slot *slot = &ub->slots[id];

	slot->ub = ub;
	slot->id = id;
	slot->setup = &ub->setups[id];
	atomic_set(&slot->unlinking, 0);
	INIT_LIST_HEAD(&slot->node);
	INIT_LIST_HEAD(&slot->deferred);
	slot->urb = usb_alloc_urb(0, GFP_KERNEL);
	slot->small = kzalloc(USBBACK_SMALL, GFP_KERNEL);
	return slot->urb && slot->small ? 0 : -ENOMEM;
}

/**
 * usbback_request_init - make all that requests need later
 * @ub: channel
 *
 * Return: 0 or -ENOMEM.
 */
int usbback_request_init(struct usbback *ub)
{
	u32 nr = ub->lay.nr_requests;
	u32 id;

	ub->blocks = bitmap_zalloc(ub->lay.pool_blocks, GFP_KERNEL);
	ub->slots = kvcalloc(nr, sizeof(*ub->slots), GFP_KERNEL);
	ub->ranges = kvcalloc(nr, USBIF_MAX_EXTENTS * sizeof(*ub->ranges), GFP_KERNEL);
	/* Not kvcalloc: host controllers map it for DMA. */
	ub->setups = kcalloc(nr, sizeof(*ub->setups), GFP_KERNEL);
	ub->table = kvmalloc(USBIF_TABLE_MAX, GFP_KERNEL);
	ub->packets = kvcalloc(USBIF_MAX_ISO_PACKETS, sizeof(*ub->packets),
			       GFP_KERNEL);
	if (!ub->blocks || !ub->slots || !ub->ranges || !ub->setups ||
	    !ub->table || !ub->packets)
		goto err_fini;
	for (id = 0; id < nr; id++)
		if (slot_init(ub, id))
			goto err_fini;
	return 0;

err_fini:
	usbback_request_fini(ub);
	return -ENOMEM;
}

void usbback_request_fini(struct usbback *ub)
{
	u32 id;

	for (id = 0; ub->slots && id < ub->lay.nr_requests; id++) {
		usb_free_urb(ub->slots[id].urb);
		kfree(ub->slots[id].small);
	}
	kvfree(ub->packets);
	kvfree(ub->table);
	kfree(ub->setups);
	kvfree(ub->ranges);
	kvfree(ub->slots);
	bitmap_free(ub->blocks);
}
