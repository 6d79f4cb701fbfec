// SPDX-License-Identifier: GPL-2.0
/*
 * front_chaos NAME SECONDS [SEED]: a frontend that does all it may, at random, on a
 * source/sink gadget with pattern 1 at port 0:1: transfers of all shapes on three
 * endpoints, cancels, restarts, clear halts, interfaces, configurations, resets, new
 * sessions. Every request must end exactly once, everything received must be the
 * pattern, and what is sent is checked by the gadget. The device may be unplugged
 * at any time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

#define REGION		(16u << 20)
#define IDS		64
#define OPS_ID		IDS		/* ids of operations begin here */
#define BLOCKS		17		/* of each id; the last one for the table */
#define TABLE		16
#define LONGEST		(16 * USBIF_BLOCK_SIZE)
#define ENDPOINTS	3
#define LATE_MS		15000

static struct front f;
static struct front_dev dev;

struct slot {
	bool live;
	bool cancelled;
	u8 op;
	u8 endpoint;
	u8 type;
	u32 length;
	u32 epoch;
	u64 since;
	struct usbif_range ranges[16];
	unsigned int nr_ranges;
};

static struct slot slots[IDS + 8];
static bool cancel_live[IDS + 8];
static bool held[ENDPOINTS];
static bool configured, connected;
static u32 max_packet;
static unsigned long done_ok, done_bad, cancels, checked, sessions, plugs;
static u64 seed = 1;

static u32 rnd(u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 32) % below;
}

static u32 base_of(u32 id)
{
	return 1 + id * BLOCKS;
}

/* ---- data ---- */

static unsigned char pattern(u32 i)
{
	return i % max_packet % 63;
}

static void pieces(const struct slot *s, u32 len, bool check, u32 id)
{
	unsigned int r;
	u32 i, done = 0;

	for (r = 0; r < s->nr_ranges && done < len; r++) {
		unsigned char *p = front_block(&f, s->ranges[r].block);

		for (i = 0; i < s->ranges[r].length && done < len; i++, done++) {
			if (!check)
				p[i] = pattern(done);
			else if (p[i] != pattern(done))
				die("id %u: octet %u of %u is %u, not %u", id,
				    done, len, p[i], pattern(done));
		}
	}
}

/* Splits the length into extents, in any order of blocks. */
static void make_extents(struct slot *s, struct usbif_request *req, u32 id)
{
	u32 left = req->length, block = base_of(id);
	u32 last = block + TABLE;
	struct usbif_range tmp;
	u32 i, j;

	s->nr_ranges = 0;
	while (left) {
		u32 room = (last - block) * USBIF_BLOCK_SIZE;
		u32 len = left;

		if (rnd(2) && left > USBIF_BLOCK_SIZE)
			len = (1 + rnd(left / USBIF_BLOCK_SIZE)) * USBIF_BLOCK_SIZE;
		if (len > left)
			len = left;
		if (len > room)
			die("no room");
		s->ranges[s->nr_ranges].block = block;
		s->ranges[s->nr_ranges++].length = len;
		block += (len + USBIF_BLOCK_SIZE - 1) / USBIF_BLOCK_SIZE;
		left -= len;
	}
	/* All but the last are whole blocks: those may change places. */
	for (i = 0; i + 2 < s->nr_ranges; i++) {
		j = rnd(s->nr_ranges - 1);
		tmp = s->ranges[i];
		s->ranges[i] = s->ranges[j];
		s->ranges[j] = tmp;
	}
	req->nr_extents = s->nr_ranges;
	memcpy(req->ranges, s->ranges, s->nr_ranges > USBIF_INLINE_EXTENTS ? 0 :
	       s->nr_ranges * sizeof(s->ranges[0]));
	req->table_length = usbif_table_size(s->nr_ranges, 0);
	if (req->table_length) {
		req->table_block = base_of(id) + TABLE;
		memcpy(front_block(&f, req->table_block), s->ranges,
		       req->table_length);
	}
}

/* ---- requests ---- */

static unsigned int ep_slot(u8 endpoint)
{
	return !endpoint ? 0 : endpoint & 0x80 ? 1 : 2;
}

static struct slot *start(struct usbif_request *req)
{
	struct slot *s = &slots[req->id];

	s->live = true;
	s->cancelled = false;
	s->op = req->op;
	s->endpoint = req->endpoint;
	s->type = req->type;
	s->length = req->length;
	s->epoch = req->port_epoch;
	s->since = now_ms();
	return s;
}

static u32 random_length(void)
{
	switch (rnd(4)) {
	case 0:
		return rnd(LONGEST / max_packet) * max_packet;
	case 1:
		return rnd(3) * max_packet;
	case 2:
		return rnd(4 * USBIF_BLOCK_SIZE / max_packet) * max_packet;
	default:
		return rnd(LONGEST + 1);
	}
}

static void send_bulk(u32 id, bool in)
{
	struct usbif_request req;
	struct slot *s;

	req = front_bulk(&dev, id, in ? dev.bulk_in : dev.bulk_out, 0, 0);
	req.length = random_length();
	/* Packets from the device must fit. */
	if (in)
		req.length -= req.length % max_packet;
	if (in && !req.length)
		req.length = max_packet;
	s = start(&req);
	make_extents(s, &req, id);
	if (!in)
		pieces(s, req.length, false, id);
	front_submit(&f, &req);
}

static void send_control(u32 id)
{
	struct usbif_request req;

	/* The last one is refused by the device. */
	req = front_control(&dev, id, 0x80, 6, rnd(3) ? 0x0100 : 0x7700, 0, 18,
			    base_of(id));
	start(&req);
	front_submit(&f, &req);
}

static void send_transfer(void)
{
	u32 id = rnd(IDS);

	if (slots[id].live || cancel_live[id])
		return;
	if (!rnd(8))
		send_control(id);
	else if (configured)
		send_bulk(id, rnd(2));
}

static void send_cancel(void)
{
	u32 id = rnd(IDS + 8);
	struct usbif_request req = {
		.id = f.lay.nr_requests + id,
		.session = f.session,
		.op = USBIF_OP_CANCEL,
		.arg0 = id,
	};

	if (cancel_live[id] || !slots[id].live)
		return;
	cancel_live[id] = true;
	slots[id].cancelled = true;
	cancels++;
	front_submit(&f, &req);
}

static void send_op(u8 op, u8 endpoint, u32 arg0)
{
	struct usbif_request req;
	u32 id = OPS_ID + rnd(8);

	if (slots[id].live || cancel_live[id])
		return;
	req = front_req(&dev, id, op);
	req.endpoint = endpoint;
	req.arg0 = arg0;
	start(&req);
	/* From now on the endpoints are not held, or not to be used. */
	if (op == USBIF_OP_RESTART)
		held[ep_slot(endpoint)] = false;
	front_submit(&f, &req);
}

static void random_op(void)
{
	switch (rnd(200)) {
	case 0:
		configured = false;
		send_op(USBIF_OP_RESET, 0, 0);
		break;
	case 1:
	case 2:
		send_op(USBIF_OP_SET_INTERFACE, 0, 0);
		break;
	case 3:
	case 4:
	case 5:
		send_op(USBIF_OP_CLEAR_HALT,
			rnd(2) ? dev.bulk_in : dev.bulk_out, 0);
		break;
	case 6:
	case 7:
		send_op(USBIF_OP_SET_CONFIGURATION, 0, dev.config[5]);
		break;
	default:
		break;
	}
}

static void restart_held(void)
{
	const u8 endpoints[ENDPOINTS] = { 0, dev.bulk_in, dev.bulk_out };
	unsigned int i;

	for (i = 0; i < ENDPOINTS; i++)
		if (held[i] && rnd(2))
			send_op(USBIF_OP_RESTART, endpoints[i], 0);
}

/* ---- completions ---- */

static void end_transfer(struct slot *s, const struct usbif_response *rsp)
{
	if (rsp->actual > s->length)
		die("id %u: %u octets of %u", rsp->id, rsp->actual, s->length);
	if (rsp->flags & USBIF_RSP_HELD && s->epoch == dev.epoch)
		held[ep_slot(s->endpoint)] = true;
	if (rsp->status) {
		done_bad++;
		return;
	}
	done_ok++;
	if (s->type == USBIF_TYPE_BULK && s->endpoint & 0x80) {
		pieces(s, rsp->actual, true, rsp->id);
		checked += rsp->actual;
	}
}

static void end_op(const struct slot *s, const struct usbif_response *rsp)
{
	if (s->op == USBIF_OP_SET_CONFIGURATION && !rsp->status &&
	    s->epoch == dev.epoch)
		configured = true;
	if (s->op == USBIF_OP_RESET && s->epoch == dev.epoch)
		configured = false;
}

static void take(const struct usbif_response *rsp)
{
	bool cancel = rsp->id >= f.lay.nr_requests;
	u32 id = cancel ? rsp->id - f.lay.nr_requests : rsp->id;

	if (id >= IDS + 8 || (cancel ? !cancel_live[id] : !slots[id].live))
		die("completion of id %u, which is not live", rsp->id);
	if (cancel) {
		cancel_live[id] = false;
		return;
	}
	slots[id].live = false;
	if (rsp->status == USBIF_ST_CANCELLED && !slots[id].cancelled &&
	    !rsp->actual)
		die("id %u was cancelled by nobody", id);
	if (slots[id].op == USBIF_OP_TRANSFER)
		end_transfer(&slots[id], rsp);
	else
		end_op(&slots[id], rsp);
}

static void drain(int wait_ms)
{
	struct usbif_response rsp;

	while (front_next(&f, &rsp, wait_ms)) {
		take(&rsp);
		wait_ms = 0;
	}
}

static bool any_live(void)
{
	u32 id;

	for (id = 0; id < IDS + 8; id++)
		if (slots[id].live || cancel_live[id])
			return true;
	return false;
}

static void expect_no_late_ones(void)
{
	u64 now = now_ms();
	u32 id;

	for (id = OPS_ID; id < OPS_ID + 8; id++)
		if (slots[id].live && now - slots[id].since > LATE_MS)
			die("operation %u is late", slots[id].op);
}

/* Cancels all and waits until all has ended. */
static void wait_all(void)
{
	u64 end = now_ms() + LATE_MS;
	u32 id;

	while (any_live()) {
		if (now_ms() > end) {
			for (id = 0; id < IDS + 8; id++)
				if (slots[id].live)
					fprintf(stderr, "id %u op %u ep %02x len %u cancelled %u\n",
						id, slots[id].op,
						slots[id].endpoint,
						slots[id].length,
						slots[id].cancelled);
			die("requests that do not end");
		}
		for (id = 0; id < 32; id++)
			send_cancel();
		drain(10);
	}
}

/* ---- sessions and ports ---- */

static void new_session(void)
{
	memset(slots, 0, sizeof(slots));
	memset(cancel_live, 0, sizeof(cancel_live));
	memset(held, 0, sizeof(held));
	configured = false;
	connected = false;
	dev.epoch = 0;
	sessions++;
	front_connect(&f);
}

static void look_at_port(void)
{
	struct usbif_port_state st;

	if (!front_port(&f, 0, 1, &st))
		return;
	connected = st.status == USBIF_PORT_CONNECTED;
	if (!connected || st.epoch == dev.epoch)
		return;
	plugs++;
	dev.epoch = st.epoch;
	configured = false;
	memset(held, 0, sizeof(held));
	send_op(USBIF_OP_RESET, 0, 0);
	send_op(USBIF_OP_SET_CONFIGURATION, 0, dev.config[5]);
}

static void step(void)
{
	unsigned int i;

	look_at_port();
	if (connected) {
		for (i = rnd(8); i; i--)
			send_transfer();
		if (!rnd(6))
			send_cancel();
		restart_held();
		random_op();
		if (!configured && !rnd(20))
			send_op(USBIF_OP_SET_CONFIGURATION, 0, dev.config[5]);
	}
	drain(rnd(4) ? 0 : rnd(10));
	expect_no_late_ones();
	if (!rnd(2000)) {
		if (rnd(2))
			wait_all();
		if (rnd(2))
			front_close(&f);
		new_session();
	}
}

int main(int argc, char **argv)
{
	u64 end;

	if (argc < 3) {
		fprintf(stderr, "usage: front_chaos NAME SECONDS [SEED]\n");
		return 2;
	}
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) : now_ms();
	seed |= 1;
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	front_open(&f, argv[1], REGION);
	front_drop_at_exit(&f);
	front_connect(&f);
	front_enumerate(&dev, &f, 0, 1);
	configured = true;
	max_packet = dev.descriptor[3] >= 3 ? 1024 : 512;
	end = now_ms() + 1000ull * atoi(argv[2]);
	while (now_ms() < end)
		step();
	wait_all();
	printf("%lu good, %lu bad, %lu cancels, %lu octets checked, %lu sessions, %lu plugs\n",
	       done_ok, done_bad, cancels, checked, sessions, plugs);
	return 0;
}
