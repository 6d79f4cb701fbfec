// SPDX-License-Identifier: GPL-2.0
/*
 * Isochronous URBs, and the host's frame number.
 *
 * The packets of a URB may lie in its buffer as they like; in the pool they stand one
 * behind the other, so a request takes the octets of its packets and no more. A URB
 * that is too long for one request goes in several, of whole packets, which the host
 * controller gets together: for it there is no gap between them.
 *
 * The results are the backend's words: each is read once and believed only if it fits
 * the packet that the URB has.
 */
#include <linux/ktime.h>
#include "iso.h"

#define BATCH		32u		/* entries of a table copied at once */
#define PIECE_MOST	(256u * 1024)	/* a host may have to find as much in one piece */
#define REFUSAL_TIME	msecs_to_jiffies(200)
#define FRAME_MASK	0x7ffu		/* USB 2.0, section 8.3.3 */
#define NO_FRAME	U32_MAX
#define ASK_DELAY	HZ
#define ASK_SELDOM	(60 * HZ)

/* ---- submission ---- */

/**
 * usbfront_iso_check - see whether a URB can be taken
 * @uf: channel
 * @uep: endpoint
 * @urb: isochronous URB
 *
 * What the backend refuses, a host controller driver would have refused at submission;
 * there drivers expect it, and stop. So the next URB after one that was refused gets
 * to hear it.
 *
 * Return: 0 or what usb_submit_urb() is to return.
 */
int usbfront_iso_check(const struct usbfront *uf, struct usbfront_ep *uep,
		       const struct urb *urb)
{
	u32 size = urb->transfer_buffer_length;
	int refusal = uep->refusal, i;

	/* "host controller driver does not support queuing of this type" */
	if (!(uf->features & USBIF_F_ISO))
		return -ENXIO;
	uep->refusal = 0;
	if (refusal && time_before(jiffies, uep->refused_at + REFUSAL_TIME))
		return refusal;
	if (urb->num_sgs || (size && !urb->transfer_buffer))
		return -EINVAL;
	for (i = 0; i < urb->number_of_packets; i++) {
		const struct usb_iso_packet_descriptor *desc =
			&urb->iso_frame_desc[i];

		if (desc->offset > size || desc->length > size - desc->offset)
			return -EINVAL;
	}
	return 0;
}

/**
 * usbfront_iso_refused - a request has failed as a whole
 * @uep: endpoint
 * @error: of the URB
 */
void usbfront_iso_refused(struct usbfront_ep *uep, int error)
{
	switch (error) {
	case -ENOSPC:
	case -ENOMEM:
	case -EDQUOT:
	case -EPROTO:
		uep->refusal = error;
		uep->refused_at = jiffies;
	}
}

static u32 blocks_of(u32 length, u32 packets)
{
	return DIV_ROUND_UP(length, USBIF_BLOCK_SIZE) +
	       DIV_ROUND_UP(usbif_table_size(0, packets), USBIF_BLOCK_SIZE);
}

/**
 * usbfront_iso_piece - how much of a URB goes into its next request
 * @uf: channel
 * @xfer: isochronous transfer
 * @allowed: blocks of the pool
 * @packets: number of packets
 *
 * Return: octets, or -ENOSPC if the endpoint must wait.
 */
int usbfront_iso_piece(const struct usbfront *uf,
		       const struct usbfront_xfer *xfer, u32 allowed,
		       u32 *packets)
{
	const struct urb *urb = xfer->urb;
	u32 left = urb->number_of_packets - xfer->packets;
	u32 most = min(uf->lay.max_transfer, PIECE_MOST);
	u32 length = 0, n;

	/* Some have to be with the host at the same time. */
	most = min_t(u64, most, uf->lay.pool_size / 8);
	left = min(left, uf->lay.max_iso_packets);
	for (n = 0; n < left; n++) {
		u32 next = length +
			   urb->iso_frame_desc[xfer->packets + n].length;

		if (next > uf->lay.max_transfer || (n && next > most))
			break;
		if (blocks_of(next, n + 1) > allowed) {
			/* Better one long request later than a short one now. */
			if (xfer->uep->nr_live)
				n = 0;
			break;
		}
		length = next;
	}
	*packets = n;
	return n ? length : -ENOSPC;
}

/**
 * usbfront_iso_fill - fill in what only isochronous requests have
 * @req: request
 * @wire: to fill
 */
void usbfront_iso_fill(const struct usbfront_req *req,
		       struct usbif_request *wire)
{
	const struct urb *urb = req->xfer->urb;

	wire->nr_packets = req->nr_packets;
	if (urb->transfer_flags & URB_ISO_ASAP)
		wire->flags |= USBIF_REQ_ISO_ASAP;
	else
		wire->start_frame = req->xfer->start_frame +
				    req->first_packet * urb->interval;
}

/**
 * usbfront_iso_copy_out - copy the packets of a request into the pool
 * @uf: channel
 * @urb: with the packets
 * @req: request
 */
void usbfront_iso_copy_out(struct usbfront *uf, const struct urb *urb,
			   const struct usbfront_req *req)
{
	struct usbfront_cursor cur = { .uf = uf, .block = req->run.first };
	u32 i;

	for (i = 0; i < req->nr_packets; i++) {
		const struct usb_iso_packet_descriptor *desc =
			&urb->iso_frame_desc[req->first_packet + i];

		usbfront_copy_flat(&cur, urb->transfer_buffer + desc->offset,
				   desc->length, false);
	}
}

/**
 * usbfront_iso_write_packets - write the packets of a request into its table
 * @uf: channel
 * @req: request
 * @offset: in the region
 */
void usbfront_iso_write_packets(struct usbfront *uf,
				const struct usbfront_req *req, u64 offset)
{
	const struct usb_iso_packet_descriptor *desc =
		&req->xfer->urb->iso_frame_desc[req->first_packet];
	struct usbif_iso_packet out[BATCH];
	u32 at = 0, i, n;

	for (i = 0; i < req->nr_packets; i += n) {
		for (n = 0; n < BATCH && i + n < req->nr_packets; n++) {
			out[n].offset = cpu_to_le32(at);
			out[n].length = cpu_to_le32(desc[i + n].length);
			at += desc[i + n].length;
		}
		usbif_chan_write(uf->chan, offset, out, n * sizeof(*out));
		offset += n * sizeof(*out);
	}
}

/* ---- completion ---- */

/* A request that was refused has no results; its packets stay as usbcore set them. */
static bool has_results(u32 status)
{
	switch (status) {
	case USBIF_ST_NODEV:
	case USBIF_ST_INVALID:
	case USBIF_ST_UNSUPPORTED:
	case USBIF_ST_NOMEM:
	case USBIF_ST_LIMIT:
		return false;
	default:
		return true;
	}
}

/* "buffer error" has one name for each direction. */
static int packet_status(struct urb *urb, u32 status)
{
	if (status == USBIF_ST_DATA && usb_urb_dir_out(urb))
		return -ENOSR;
	return usbif_status_to_errno(status);
}

/* The packet's data is at @cur; goes on to the next one. False if it cannot be. */
static bool take_packet(struct usbfront_cursor *cur, struct urb *urb,
			struct usb_iso_packet_descriptor *desc,
			const struct usbif_iso_result *result)
{
	u32 actual = le32_to_cpu(result->actual);
	struct usbfront_cursor here = *cur;

	if (actual > desc->length)
		return false;
	desc->status = packet_status(urb, le32_to_cpu(result->status));
	desc->actual_length = actual;
	urb->actual_length += actual;
	if (usb_urb_dir_in(urb))
		usbfront_copy_flat(&here, urb->transfer_buffer + desc->offset,
				   actual, true);
	return true;
}

static void skip(struct usbfront_cursor *cur, u32 len)
{
	cur->at += len;
	while (cur->block != USBFRONT_NO_BLOCK) {
		const struct usbfront_extent *ext =
			&cur->uf->pool.extents[cur->block];
		u32 size = ext->blocks << USBIF_BLOCK_SHIFT;

		if (cur->at < size)
			break;
		cur->at -= size;
		cur->block = ext->next;
	}
}

/**
 * usbfront_iso_take - take data and results of a request
 * @uf: channel
 * @req: request, TAKING
 * @rsp: completion
 *
 * Return: false if a result cannot be; packets from there on are as not moved.
 */
bool usbfront_iso_take(struct usbfront *uf, const struct usbfront_req *req,
		       const struct usbif_response *rsp)
{
	u32 done = usbif_table_size(req->run.extents, req->nr_packets) -
		   req->nr_packets * sizeof(struct usbif_iso_result);
	struct usbfront_cursor cur = { .uf = uf, .block = req->run.first };
	u64 offset = usbfront_table_offset(uf, req) + done;
	struct usbif_iso_result in[BATCH];
	struct urb *urb = req->xfer->urb;
	u32 i, k, n;

	if (!has_results(rsp->status)) {
		urb->error_count += req->nr_packets;
		return true;
	}
	if (!req->first_packet)
		urb->start_frame = rsp->start_frame;
	urb->error_count += min(rsp->error_count, req->nr_packets);
	for (i = 0; i < req->nr_packets; i += n) {
		n = min(BATCH, req->nr_packets - i);
		usbif_chan_read(uf->chan, offset, in, n * sizeof(*in));
		offset += n * sizeof(*in);
		for (k = 0; k < n; k++) {
			struct usb_iso_packet_descriptor *desc =
				&urb->iso_frame_desc[req->first_packet + i + k];

			if (!take_packet(&cur, urb, desc, &in[k]))
				return false;
			skip(&cur, desc->length);
		}
	}
	return true;
}

/* ---- frame numbers ---- */

/**
 * usbfront_frame_now - frame number of the host, as far as it is known
 * @clock: of the controller
 *
 * Return: 11 bits; of a clock of our own if the host has none.
 */
u32 usbfront_frame_now(const struct usbfront_clock *clock)
{
	ktime_t now = ktime_get();

	if (!clock->is_known)
		return ktime_to_ms(now) & FRAME_MASK;
	return (clock->frame + ktime_ms_delta(now, clock->at)) & FRAME_MASK;
}

/*
 * A controller of ours stands for several of the host: it counts as that of the port
 * that was there first does, until that is not used any more.
 */
static bool clock_is_for(struct usbfront_clock *clock, struct usbfront_port *port)
{
	bool is_same = clock->port == port && clock->epoch == port->epoch;

	if (!is_same && clock->port && clock->port->epoch == clock->epoch &&
	    time_before(jiffies, clock->used_at + ASK_DELAY))
		return false;
	clock->used_at = jiffies;
	if (is_same)
		return true;
	clock->port = port;
	clock->epoch = port->epoch;
	clock->value = NO_FRAME;
	clock->next = jiffies;
	clock->is_known = false;
	return true;
}

/**
 * usbfront_frame_ask - ask for the host's frame number, unless that is known
 * @uf: channel
 * @port: with a device behind the host controller that is meant
 *
 * The answer is not waited for: who asks in atomic context gets what the last one
 * and the time since make of it.
 */
void usbfront_frame_ask(struct usbfront *uf, struct usbfront_port *port)
{
	struct usbfront_clock *clock = &port->vusb->clock;

	lockdep_assert_held(&uf->lock);
	if (!(uf->features & USBIF_F_FRAME) || !uf->is_running ||
	    !port->epoch || !clock_is_for(clock, port) ||
	    uf->nr_free <= uf->lay.nr_requests / 4)
		return;
	if (clock->session == uf->session &&
	    (clock->is_asked || time_before(jiffies, clock->next)))
		return;
	clock->session = uf->session;
	clock->asked_at = ktime_get();
	clock->next = jiffies + ASK_DELAY;
	clock->is_asked = usbfront_op_submit(uf, port, USBIF_OP_GET_FRAME, 0,
					     0, 0);
}

/**
 * usbfront_frame_answer - the backend has told the host's frame number
 * @uf: channel
 * @req: the question
 * @rsp: completion
 *
 * The number was true at some time between question and answer. What we believed is
 * kept if it was within that, so that frames do not jump for nothing.
 */
void usbfront_frame_answer(struct usbfront *uf, const struct usbfront_req *req,
			   const struct usbif_response *rsp)
{
	struct usbfront_clock *clock = &req->port->vusb->clock;
	ktime_t now = ktime_get();
	s64 half = ktime_ms_delta(now, clock->asked_at) / 2;
	u32 value = rsp->value & FRAME_MASK;
	bool is_stuck = value == clock->value;
	s32 off;

	lockdep_assert_held(&uf->lock);
	clock->is_asked = false;
	if (req->port != clock->port || req->epoch != clock->epoch)
		return;
	/* Not every host controller counts. */
	if (rsp->status || is_stuck) {
		clock->is_known = false;
		clock->next = jiffies + ASK_SELDOM;
		return;
	}
	clock->value = value;
	off = (value + half - usbfront_frame_now(clock)) & FRAME_MASK;
	if (off > (s32)FRAME_MASK / 2)
		off -= FRAME_MASK + 1;
	if (clock->is_known && abs(off) <= half + 1)
		return;
	clock->frame = value + half;
	clock->at = now;
	clock->is_known = true;
}

static struct usbfront_port *any_port(struct usbfront_vusb *vusb)
{
	int i;

	for (i = 0; i < USBIF_MAX_PORTS; i++)
		if (vusb->port[i].epoch)
			return &vusb->port[i];
	return NULL;
}

/**
 * usbfront_get_frame_number - hc_driver.get_frame_number
 * @hcd: either half of a virtual controller
 *
 * Return: 11 bits.
 */
int usbfront_get_frame_number(struct usb_hcd *hcd)
{
	struct usbfront_vusb *vusb = usbfront_hcd_priv(hcd)->vusb;
	struct usbfront *uf = vusb->uf;
	struct usbfront_port *port;
	unsigned long flags;
	bool kick = false;
	int frame;

	spin_lock_irqsave(&uf->lock, flags);
	frame = usbfront_frame_now(&vusb->clock);
	port = vusb->clock.port;
	if (!port || !port->epoch)
		port = any_port(vusb);
	if (port) {
		usbfront_frame_ask(uf, port);
		kick = usbfront_kick_prepare(uf);
	}
	spin_unlock_irqrestore(&uf->lock, flags);
	if (kick)
		usbif_chan_kick(uf->chan);
	return frame;
}
