// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
/*
 * Validation, encoding and decoding of requests. Which fields an operation uses is a
 * row of op_table; every other field must be zero.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include "proto.h"

#define USES_PORT	0x01	/* vusb, port, port_epoch */
#define USES_ENDPOINT	0x02
#define USES_ARG0	0x04
#define USES_ARG1	0x08
#define IS_TRANSFER	0x10	/* all the fields of a transfer */
#define IS_CANCEL	0x20	/* id is N + arg0 */

#define STREAM_EP0	0x00010001u	/* the control endpoint has no streams */

struct op_row {
	u8 uses;
	u32 arg0_max;
	u32 arg1_max;
	u64 feature;
};

static const struct op_row op_table[USBIF_OP_MAX + 1] = {
	[USBIF_OP_TRANSFER] = {
		.uses = USES_PORT | USES_ENDPOINT | IS_TRANSFER,
	},
	[USBIF_OP_CANCEL] = {
		.uses = IS_CANCEL | USES_ARG0,
		.arg0_max = USBIF_MAX_REQUESTS - 1,
	},
	[USBIF_OP_RESTART] = {
		.uses = USES_PORT | USES_ENDPOINT,
	},
	[USBIF_OP_RESET] = {
		.uses = USES_PORT,
	},
	[USBIF_OP_SET_CONFIGURATION] = {
		.uses = USES_PORT | USES_ARG0,
		.arg0_max = 255,
	},
	[USBIF_OP_SET_INTERFACE] = {
		.uses = USES_PORT | USES_ARG0 | USES_ARG1,
		.arg0_max = 255,
		.arg1_max = 255,
	},
	[USBIF_OP_CLEAR_HALT] = {
		.uses = USES_PORT | USES_ENDPOINT,
	},
	[USBIF_OP_ALLOC_STREAMS] = {
		.uses = USES_PORT | USES_ARG0 | USES_ARG1,
		.arg0_max = USBIF_MAX_STREAMS,
		.arg1_max = ~0u,
		.feature = USBIF_F_STREAMS,
	},
	[USBIF_OP_FREE_STREAMS] = {
		.uses = USES_PORT | USES_ARG1,
		.arg1_max = ~0u,
		.feature = USBIF_F_STREAMS,
	},
	[USBIF_OP_SUSPEND] = {
		.uses = USES_PORT | USES_ARG0,
		.arg0_max = 1,
		.feature = USBIF_F_SUSPEND,
	},
	[USBIF_OP_RESUME] = {
		.uses = USES_PORT,
		.feature = USBIF_F_SUSPEND,
	},
	[USBIF_OP_GET_FRAME] = {
		.uses = USES_PORT,
		.feature = USBIF_F_FRAME,
	},
};

/* Parts of a SETUP packet; USB 2.0, sections 9.3 and 9.4. */
#define SETUP_IN		0x80
#define SETUP_TYPE_MASK		0x60	/* 0: standard */
#define SETUP_RECIPIENT_MASK	0x1f
#define SETUP_TO_ENDPOINT	0x02
#define SETUP_CLEAR_FEATURE	1
#define SETUP_SET_FEATURE	3
#define SETUP_SET_ADDRESS	5
#define SETUP_SET_CONFIGURATION	9
#define SETUP_SET_INTERFACE	11
#define FEATURE_ENDPOINT_HALT	0
#define FEATURE_TEST_MODE	2

static u32 setup_word(const u8 *setup, unsigned int index)
{
	return setup[index] | (u32)setup[index + 1] << 8;
}

/*
 * What would go behind the back of the host's USB core, which must know address,
 * configuration, alternate settings and halts of its devices. The recipient is not
 * looked at where firmware is known not to look at it either.
 */
static bool setup_allowed(const u8 *setup)
{
	u32 value = setup_word(setup, 2);

	if (setup[0] & SETUP_TYPE_MASK)
		return true;
	switch (setup[1]) {
	case SETUP_SET_ADDRESS:
	case SETUP_SET_CONFIGURATION:
	case SETUP_SET_INTERFACE:
		return false;
	case SETUP_CLEAR_FEATURE:
		return (setup[0] & SETUP_RECIPIENT_MASK) != SETUP_TO_ENDPOINT ||
		       value != FEATURE_ENDPOINT_HALT;
	case SETUP_SET_FEATURE:
		return value != FEATURE_TEST_MODE;
	default:
		return true;
	}
}

static enum usbif_why check_setup(const struct usbif_request *req)
{
	if (req->type != USBIF_TYPE_CONTROL)
		return req->arg0 || req->arg1 ? USBIF_WHY_ARG : USBIF_WHY_OK;
	if (setup_word(req->setup, 6) != req->length)
		return USBIF_WHY_SETUP_LENGTH;
	if (!setup_allowed(req->setup))
		return USBIF_WHY_SETUP_POLICY;
	return USBIF_WHY_OK;
}

/* A control endpoint is 0 in both directions: the SETUP packet has the direction. */
static enum usbif_why check_endpoint(const struct usbif_request *req)
{
	if (req->type != USBIF_TYPE_CONTROL)
		return req->endpoint & 0x0f ? USBIF_WHY_OK : USBIF_WHY_ENDPOINT;
	if (req->endpoint & 0x0f)
		return USBIF_WHY_ENDPOINT;
	return req->endpoint ? USBIF_WHY_SETUP_DIRECTION : USBIF_WHY_OK;
}

/**
 * usbif_req_is_in - direction of the data of a transfer
 * @req: decoded transfer
 *
 * A control transfer without data counts as OUT, whatever its SETUP packet says; that
 * is what the USB core makes of it.
 *
 * Return: true for IN.
 */
bool usbif_req_is_in(const struct usbif_request *req)
{
	if (req->type == USBIF_TYPE_CONTROL)
		return req->length && req->setup[0] & SETUP_IN;
	return req->endpoint & 0x80;
}

static enum usbif_why check_flags(const struct usbif_request *req)
{
	u16 allowed = 0;

	if (req->type == USBIF_TYPE_ISO)
		allowed = USBIF_REQ_ISO_ASAP;
	else if (usbif_req_is_in(req))
		allowed = USBIF_REQ_SHORT_NOT_OK;
	else if (req->type != USBIF_TYPE_CONTROL)
		allowed = USBIF_REQ_ZERO_PACKET;
	return req->flags & ~allowed ? USBIF_WHY_FLAGS : USBIF_WHY_OK;
}

static enum usbif_why check_timing(const struct usbif_request *req,
				   const struct usbif_layout *lay)
{
	bool periodic = req->type == USBIF_TYPE_ISO ||
			req->type == USBIF_TYPE_INTERRUPT;

	if (periodic ? req->interval - 1 > 0x7fff : req->interval)
		return USBIF_WHY_INTERVAL;
	if (req->stream && (req->type != USBIF_TYPE_BULK ||
			    req->stream > USBIF_MAX_STREAMS))
		return USBIF_WHY_STREAM;
	if (req->stream && !(lay->features & USBIF_F_STREAMS))
		return USBIF_WHY_FEATURE;
	if (req->start_frame && (req->type != USBIF_TYPE_ISO ||
				 req->flags & USBIF_REQ_ISO_ASAP))
		return USBIF_WHY_FRAME;
	return USBIF_WHY_OK;
}

static u32 blocks_of(u32 length)
{
	return (length >> USBIF_BLOCK_SHIFT) +
	       !!(length & (USBIF_BLOCK_SIZE - 1));
}

static bool in_pool(u32 block, u32 length, const struct usbif_layout *lay)
{
	return length && (u64)block + blocks_of(length) <= lay->pool_blocks;
}

static enum usbif_why check_ranges(const struct usbif_range *ranges, u32 count,
				   u32 length, const struct usbif_layout *lay)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < count; i++) {
		if (!in_pool(ranges[i].block, ranges[i].length, lay))
			return USBIF_WHY_EXTENT_RANGE;
		if (i + 1 < count &&
		    ranges[i].length & (USBIF_BLOCK_SIZE - 1))
			return USBIF_WHY_EXTENT_ALIGN;
		sum += ranges[i].length;
	}
	return sum == length ? USBIF_WHY_OK : USBIF_WHY_EXTENT_SUM;
}

static enum usbif_why check_data(const struct usbif_request *req,
				 const struct usbif_layout *lay)
{
	u32 in_req = req->nr_extents;
	u32 i;

	if (req->length > lay->max_transfer)
		return USBIF_WHY_LENGTH;
	if (req->nr_extents > USBIF_MAX_EXTENTS ||
	    !req->nr_extents != !req->length)
		return USBIF_WHY_EXTENT_COUNT;

	if (in_req > USBIF_INLINE_EXTENTS)
		in_req = 0;
	for (i = in_req; i < USBIF_INLINE_EXTENTS; i++)
		if (req->ranges[i].block || req->ranges[i].length)
			return USBIF_WHY_RESERVED;
	if (!in_req)
		return USBIF_WHY_OK;
	return check_ranges(req->ranges, in_req, req->length, lay);
}

static enum usbif_why check_table(const struct usbif_request *req,
				  const struct usbif_layout *lay)
{
	if (req->type == USBIF_TYPE_ISO ?
	    !req->nr_packets || req->nr_packets > lay->max_iso_packets :
	    req->nr_packets)
		return USBIF_WHY_PACKET_COUNT;
	if (req->table_length != usbif_table_size(req->nr_extents,
						  req->nr_packets))
		return USBIF_WHY_TABLE;
	if (req->table_length ?
	    !in_pool(req->table_block, req->table_length, lay) :
	    req->table_block)
		return USBIF_WHY_TABLE;
	return USBIF_WHY_OK;
}

static enum usbif_why check_transfer(const struct usbif_request *req,
				     const struct usbif_layout *lay)
{
	enum usbif_why why;

	if (req->type > USBIF_TYPE_INTERRUPT)
		return USBIF_WHY_TYPE;
	if (req->type == USBIF_TYPE_ISO && !(lay->features & USBIF_F_ISO))
		return USBIF_WHY_FEATURE;
	why = check_endpoint(req);
	if (!why)
		why = check_data(req, lay);
	if (!why)
		why = check_setup(req);
	if (!why)
		why = check_flags(req);
	if (!why)
		why = check_timing(req, lay);
	if (!why)
		why = check_table(req, lay);
	return why;
}

/* None of the fields of a transfer may be used by another operation. */
static enum usbif_why check_no_transfer(const struct usbif_request *req)
{
	u32 i;

	if (req->type)
		return USBIF_WHY_TYPE;
	if (req->flags)
		return USBIF_WHY_FLAGS;
	if (req->length)
		return USBIF_WHY_LENGTH;
	if (req->interval)
		return USBIF_WHY_INTERVAL;
	if (req->stream)
		return USBIF_WHY_STREAM;
	if (req->nr_extents)
		return USBIF_WHY_EXTENT_COUNT;
	if (req->nr_packets)
		return USBIF_WHY_PACKET_COUNT;
	if (req->start_frame)
		return USBIF_WHY_FRAME;
	if (req->table_block || req->table_length)
		return USBIF_WHY_TABLE;
	for (i = 0; i < USBIF_INLINE_EXTENTS; i++)
		if (req->ranges[i].block || req->ranges[i].length)
			return USBIF_WHY_RESERVED;
	return USBIF_WHY_OK;
}

static enum usbif_why check_args(const struct usbif_request *req,
				 const struct op_row *row)
{
	if (!(row->uses & USES_ARG0) && req->arg0)
		return USBIF_WHY_ARG;
	if (!(row->uses & USES_ARG1) && req->arg1)
		return USBIF_WHY_ARG;
	if (req->arg0 > row->arg0_max || req->arg1 > row->arg1_max)
		return USBIF_WHY_ARG;
	if (row->feature == USBIF_F_STREAMS &&
	    (!req->arg1 || req->arg1 & STREAM_EP0))
		return USBIF_WHY_ARG;
	if (req->op == USBIF_OP_ALLOC_STREAMS && !req->arg0)
		return USBIF_WHY_ARG;
	return USBIF_WHY_OK;
}

static enum usbif_why check_target(const struct usbif_request *req,
				   const struct op_row *row,
				   const struct usbif_layout *lay)
{
	bool cancel = row->uses & IS_CANCEL;
	bool cancel_id = req->id >= lay->nr_requests;

	if (cancel != cancel_id)
		return USBIF_WHY_ID;
	if (cancel && req->arg0 != req->id - lay->nr_requests)
		return USBIF_WHY_ARG;
	if (!(row->uses & USES_PORT)) {
		if (req->vusb)
			return USBIF_WHY_VUSB;
		if (req->port)
			return USBIF_WHY_PORT;
		if (req->port_epoch)
			return USBIF_WHY_EPOCH;
	} else {
		if (req->vusb >= lay->nr_vusb)
			return USBIF_WHY_VUSB;
		if (!req->port || req->port > lay->nr_ports)
			return USBIF_WHY_PORT;
	}
	if (row->uses & USES_ENDPOINT ? req->endpoint & 0x70 : req->endpoint)
		return USBIF_WHY_ENDPOINT;
	if (!(row->uses & IS_TRANSFER) && req->endpoint == 0x80)
		return USBIF_WHY_ENDPOINT;
	return USBIF_WHY_OK;
}

static bool reserved_clear(const struct usbif_req *copy)
{
	u32 i;

	if (copy->reserved0 || copy->reserved1)
		return false;
	for (i = 0; i < sizeof(copy->reserved2); i++)
		if (copy->reserved2[i])
			return false;
	return true;
}

static void req_load(struct usbif_request *req, const struct usbif_req *copy)
{
	u32 i;

	memset(req, 0, sizeof(*req));
	req->id = le32_to_cpu(copy->id);
	req->session = le32_to_cpu(copy->session);
	req->op = copy->op;
	req->vusb = copy->vusb;
	req->port = copy->port;
	req->endpoint = copy->endpoint;
	req->port_epoch = le32_to_cpu(copy->port_epoch);
	req->type = copy->type;
	req->flags = le16_to_cpu(copy->flags);
	req->length = le32_to_cpu(copy->length);
	req->interval = le32_to_cpu(copy->interval);
	req->stream = le16_to_cpu(copy->stream);
	req->nr_extents = le16_to_cpu(copy->nr_extents);
	/* One or the other is meant; both are loaded, the unused is cleared below. */
	memcpy(req->setup, copy->setup, sizeof(req->setup));
	req->arg0 = le32_to_cpu(copy->arg0);
	req->arg1 = le32_to_cpu(copy->arg1);
	req->nr_packets = le16_to_cpu(copy->nr_packets);
	req->start_frame = le32_to_cpu(copy->start_frame);
	req->table_block = le32_to_cpu(copy->table_block);
	req->table_length = le32_to_cpu(copy->table_length);
	for (i = 0; i < USBIF_INLINE_EXTENTS; i++) {
		req->ranges[i].block = le32_to_cpu(copy->extents[i].block);
		req->ranges[i].length = le32_to_cpu(copy->extents[i].length);
	}
}

static enum usbif_why check_req(const struct usbif_request *req,
				const struct usbif_req *copy,
				const struct usbif_layout *lay, u32 session)
{
	const struct op_row *row;
	enum usbif_why why;

	if (req->session != session)
		return USBIF_WHY_SESSION;
	if (!req->op || req->op > USBIF_OP_MAX)
		return USBIF_WHY_OP;
	row = &op_table[array_index_nospec(req->op, USBIF_OP_MAX + 1)];
	if (!reserved_clear(copy))
		return USBIF_WHY_RESERVED;
	if ((lay->features & row->feature) != row->feature)
		return USBIF_WHY_FEATURE;
	why = check_target(req, row, lay);
	if (why)
		return why;
	if (row->uses & IS_TRANSFER)
		return check_transfer(req, lay);
	why = check_args(req, row);
	return why ?: check_no_transfer(req);
}

/**
 * usbif_req_decode - check a submission
 * @req: to fill
 * @copy: private copy of the submission
 * @lay: layout, with the features that were accepted
 * @session: number of the session
 * @why: reason of a refusal
 *
 * Return: 0; -EINVAL if the request is to be refused (id and op are filled in);
 * -EPROTO if the session is to be broken.
 */
int usbif_req_decode(struct usbif_request *req, const struct usbif_req *copy,
		     const struct usbif_layout *lay, u32 session,
		     enum usbif_why *why)
{
	req_load(req, copy);
	if (req->id >= lay->ring_entries) {
		*why = USBIF_WHY_ID;
		return -EPROTO;
	}
	*why = check_req(req, copy, lay, session);
	if (*why)
		return -EINVAL;

	if (req->op == USBIF_OP_TRANSFER && req->type == USBIF_TYPE_CONTROL) {
		req->arg0 = 0;
		req->arg1 = 0;
	} else {
		memset(req->setup, 0, sizeof(req->setup));
	}
	return 0;
}

/**
 * usbif_req_encode - fill a submission
 * @wire: to fill, private memory
 * @req: what it says
 */
void usbif_req_encode(struct usbif_req *wire, const struct usbif_request *req)
{
	u32 i;

	memset(wire, 0, sizeof(*wire));
	wire->id = cpu_to_le32(req->id);
	wire->session = cpu_to_le32(req->session);
	wire->op = req->op;
	wire->vusb = req->vusb;
	wire->port = req->port;
	wire->endpoint = req->endpoint;
	wire->port_epoch = cpu_to_le32(req->port_epoch);
	wire->type = req->type;
	wire->flags = cpu_to_le16(req->flags);
	wire->length = cpu_to_le32(req->length);
	wire->interval = cpu_to_le32(req->interval);
	wire->stream = cpu_to_le16(req->stream);
	wire->nr_extents = cpu_to_le16(req->nr_extents);
	if (req->op == USBIF_OP_TRANSFER) {
		memcpy(wire->setup, req->setup, sizeof(wire->setup));
	} else {
		wire->arg0 = cpu_to_le32(req->arg0);
		wire->arg1 = cpu_to_le32(req->arg1);
	}
	wire->nr_packets = cpu_to_le16(req->nr_packets);
	wire->start_frame = cpu_to_le32(req->start_frame);
	wire->table_block = cpu_to_le32(req->table_block);
	wire->table_length = cpu_to_le32(req->table_length);
	if (req->nr_extents > USBIF_INLINE_EXTENTS)
		return;
	for (i = 0; i < req->nr_extents; i++) {
		wire->extents[i].block = cpu_to_le32(req->ranges[i].block);
		wire->extents[i].length = cpu_to_le32(req->ranges[i].length);
	}
}

/**
 * usbif_table_size - octets of the table of a request
 * @nr_extents: of the request
 * @nr_packets: of the request
 *
 * Return: octets, 0 for no table.
 */
u32 usbif_table_size(u32 nr_extents, u32 nr_packets)
{
	u32 size = nr_packets * (sizeof(struct usbif_iso_packet) +
				 sizeof(struct usbif_iso_result));

	if (nr_extents > USBIF_INLINE_EXTENTS)
		size += nr_extents * sizeof(struct usbif_extent);
	return size;
}

/* Moves the entry at @root down until it is the greatest of its part of the heap. */
static void sift_down(u16 *order, const struct usbif_range *ranges, u32 root,
		      u32 count)
{
	u32 child;
	u16 tmp;

	while ((child = 2 * root + 1) < count) {
		if (child + 1 < count && ranges[order[child]].block <
					 ranges[order[child + 1]].block)
			child++;
		if (ranges[order[root]].block >= ranges[order[child]].block)
			return;
		tmp = order[root];
		order[root] = order[child];
		order[child] = tmp;
		root = child;
	}
}

/*
 * True if two of the ranges, or one and the table, have a block in common. Extents
 * that ascend, which is what most frontends send, cost one pass; a heap sort keeps
 * the others from costing a quadratic one. All ranges lie in the pool, so that ends do
 * not wrap.
 */
static bool ranges_overlap(const struct usbif_request *req,
			   const struct usbif_range *ranges)
{
	u32 table_end = req->table_block + blocks_of(req->table_length);
	u16 order[USBIF_MAX_EXTENTS];
	bool sorted = true;
	u32 count = req->nr_extents;
	u32 i, end;
	u16 tmp;

	for (i = 0; i < count; i++) {
		end = ranges[i].block + blocks_of(ranges[i].length);
		if (req->table_length && ranges[i].block < table_end &&
		    req->table_block < end)
			return true;
		if (i + 1 < count && ranges[i + 1].block < end)
			sorted = false;
		order[i] = i;
	}
	if (sorted)
		return false;

	for (i = count / 2; i-- > 0;)
		sift_down(order, ranges, i, count);
	for (i = count - 1; i > 0; i--) {
		tmp = order[0];
		order[0] = order[i];
		order[i] = tmp;
		sift_down(order, ranges, 0, i);
	}
	for (i = 0; i + 1 < count; i++) {
		end = ranges[order[i]].block +
		      blocks_of(ranges[order[i]].length);
		if (ranges[order[i + 1]].block < end)
			return true;
	}
	return false;
}

static enum usbif_why load_packets(const struct usbif_request *req,
				   const struct usbif_iso_packet *wire,
				   struct usbif_packet *packets)
{
	u64 last = 0;
	u32 i;

	for (i = 0; i < req->nr_packets; i++) {
		packets[i].offset = le32_to_cpu(wire[i].offset);
		packets[i].length = le32_to_cpu(wire[i].length);
		if (packets[i].offset < last)
			return USBIF_WHY_PACKET_RANGE;
		last = (u64)packets[i].offset + packets[i].length;
		if (last > req->length)
			return USBIF_WHY_PACKET_RANGE;
	}
	return USBIF_WHY_OK;
}

/**
 * usbif_table_decode - check the table of a request
 * @req: decoded request
 * @copy: private copy of its table, table_length octets, aligned to 4; unused if that
 *	is 0
 * @lay: layout
 * @ranges: room for nr_extents, all of them are filled in
 * @packets: room for nr_packets
 * @why: reason of a refusal
 *
 * To be called for each transfer with data, also without a table: that the blocks of
 * a request do not overlap is seen here.
 *
 * Return: 0 or -EINVAL.
 */
int usbif_table_decode(const struct usbif_request *req, const void *copy,
		       const struct usbif_layout *lay,
		       struct usbif_range *ranges, struct usbif_packet *packets,
		       enum usbif_why *why)
{
	const struct usbif_extent *extents = copy;
	u32 in_table = 0;
	u32 i;

	if (req->nr_extents > USBIF_INLINE_EXTENTS) {
		in_table = req->nr_extents;
		for (i = 0; i < in_table; i++) {
			ranges[i].block = le32_to_cpu(extents[i].block);
			ranges[i].length = le32_to_cpu(extents[i].length);
		}
		*why = check_ranges(ranges, in_table, req->length, lay);
		if (*why)
			return -EINVAL;
	} else {
		memcpy(ranges, req->ranges, req->nr_extents * sizeof(*ranges));
	}

	*why = USBIF_WHY_OK;
	if (ranges_overlap(req, ranges))
		*why = USBIF_WHY_EXTENT_OVERLAP;
	else if (req->nr_packets)
		*why = load_packets(req, (const void *)(extents + in_table),
				    packets);
	return *why ? -EINVAL : 0;
}
