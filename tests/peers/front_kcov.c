// SPDX-License-Identifier: GPL-2.0
/*
 * front_kcov NAME SECONDS SEED: a frontend that looks for what usbback does not stand,
 * guided by which of its code has run (guided.h). Port 1 has a disk, port 2 a source and
 * sink, port 3 tests/tools/usbip_iso.c.
 *
 * A step is a request, a word of the frontend's page or of tables, an index that is
 * wrong, a session.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"
#include "guided.h"
#include "kcov.h"

#define REGION		(4u << 20)
#define NR_IDS		128	/* from FIRST_ID on */
#define DATA_BLOCK	16
#define DATA_BLOCKS	3	/* of each request, if it has no table */
#define TABLE_BLOCK	(DATA_BLOCK + (FIRST_ID + NR_IDS) * DATA_BLOCKS)
#define LARGE_BLOCK	(TABLE_BLOCK + FIRST_ID + NR_IDS)
#define NR_LARGE	8
#define DRAFT_BLOCK	(LARGE_BLOCK + NR_LARGE * NR_EXTENTS)	/* extents */
#define PACKETS_BLOCK	(DRAFT_BLOCK + 1)
#define TABLE_WORDS	64
#define NR_EXTENTS	9
#define NR_PACKETS	8
#define PACKET		256
#define FIRST_ID	16
#define SETTLE_MS	20
#define PATIENCE_MS	20000

enum kind {
	SUBMIT,			/* the request in @wire */
	TABLE,			/* word @arg of the next tables is @value */
	GOOD_TABLE,		/* they are as they should be */
	TAKE,			/* completions are taken */
	PAUSE,
	HARMLESS = PAUSE,	/* what follows ends the session, mostly */
	PAGE,			/* word @arg of our page is @value */
	PUBLISH,		/* @arg more requests than were written */
	CONSUME,		/* @arg more completions than there are */
	ASK,			/* for another session */
	LAST = ASK,
};

/* Fields of a request that are filled in when it is sent. */
#define FIX_EPOCH	1u
#define FIX_SESSION	2u
#define FIX_ID		4u
#define FIX_BLOCK	8u	/* those of data and table: ones that are free */
#define NR_FIX		4

enum { DISK, SINK, STREAM, NR_DEVS };

static struct front f;
static struct front_dev devs[NR_DEVS];
static unsigned long sent;
static bool is_live[FIRST_ID + NR_IDS];
/* The table that was written last. */
static __le32 *_Atomic table_at;

/* ---- steps ---- */

/* The address of the isochronous IN endpoint, which is there in setting 1 only. */
static u8 iso_endpoint(const struct front_dev *dev)
{
	const u8 *d = dev->config;
	u32 left = dev->config_len;

	for (; left >= 7 && d[0] >= 2 && d[0] <= left; left -= d[0], d += d[0])
		if (d[1] == 5 && (d[3] & 3) == USBIF_TYPE_ISO && d[2] & 0x80)
			return d[2];
	die("no isochronous endpoint");
}

static struct usbif_request iso(u64 *seed)
{
	const struct front_dev *dev = &devs[STREAM];
	struct usbif_request req = front_bulk(dev, 0, iso_endpoint(dev),
					      NR_PACKETS * PACKET, DATA_BLOCK);

	req.type = USBIF_TYPE_ISO;
	req.interval = 1;
	req.flags = rnd(seed, 2) ? USBIF_REQ_ISO_ASAP : 0;
	req.nr_packets = NR_PACKETS;
	req.table_block = TABLE_BLOCK;
	req.table_length = usbif_table_size(1, NR_PACKETS);
	return req;
}

static struct usbif_request large(const struct front_dev *dev)
{
	struct usbif_request req = front_bulk(dev, 0, dev->bulk_in,
					      NR_EXTENTS * USBIF_BLOCK_SIZE,
					      LARGE_BLOCK);

	req.nr_extents = NR_EXTENTS;
	req.table_block = TABLE_BLOCK;
	req.table_length = usbif_table_size(NR_EXTENTS, 0);
	return req;
}

static struct usbif_request operation(u64 *seed, const struct front_dev *dev)
{
	struct usbif_request req;

	req = front_req(dev, 0, 1 + rnd(seed, USBIF_OP_MAX));
	req.endpoint = rnd(seed, 2) ? dev->bulk_in : dev->bulk_out;
	req.arg0 = rnd(seed, 3);
	req.arg1 = rnd(seed, 3);
	return req;
}

static struct usbif_request template(u64 *seed)
{
	const struct front_dev *dev = &devs[rnd(seed, 2)];

	switch (rnd(seed, 10)) {
	case 0:
		return front_control(&devs[rnd(seed, NR_DEVS)], 0, 0x80, 6,
				     0x0100, 0, 18, 0);
	case 1:
		return operation(seed, &devs[rnd(seed, NR_DEVS)]);
	case 2:
		return (struct usbif_request) {
			.id = f.lay.nr_requests,
			.session = f.session,
			.op = USBIF_OP_CANCEL,
		};
	case 3:
		return large(dev);
	case 4:
	case 5:
		return iso(seed);
	default:
		return front_bulk(dev, 0, rnd(seed, 2) ? dev->bulk_in :
				  dev->bulk_out,
				  rnd(seed, DATA_BLOCKS * USBIF_BLOCK_SIZE),
				  DATA_BLOCK);
	}
}

static void fresh(struct step *step)
{
	struct usbif_request req = template(&guided_seed);

	if (rnd(&guided_seed, 3))
		step->kind = SUBMIT;
	else
		step->kind = rnd(&guided_seed, 1 + (rnd(&guided_seed, 16) ?
						    HARMLESS : LAST));
	usbif_req_encode(&step->wire.req, &req);
}

static bool is_running(void)
{
	return usbif_word_read(&f.back->state) == USBIF_BACK_CONNECTED &&
	       usbif_word_read(&f.back->session) == f.session &&
	       usbif_word_read(&f.page->state) == USBIF_FRONT_RUNNING;
}

/* Says that everything was taken, whatever it was. */
static void take_all(void)
{
	const struct usbif_rsp *ring = f.region + f.lay.cq_offset;
	u32 prod = usbif_word_read_acquire(&f.back->cq_prod);
	u32 id;

	for (; prod - f.cq.cons - 1 < f.lay.ring_entries; f.cq.cons++) {
		id = ring[f.cq.cons % f.lay.ring_entries].id;
		if (id < FIRST_ID + NR_IDS)
			is_live[id] = false;
	}
	f.cq.cons = prod;
	usbif_word_write_release(&f.page->cq_cons, prod);
	usbif_word_write(&f.page->port_seen, usbif_word_read(&f.back->port_gen));
}

/* One that is not live, if there is any. */
static u32 next_id(void)
{
	u32 tries, id;

	for (tries = 0; tries < NR_IDS; tries++) {
		id = FIRST_ID + sent++ % NR_IDS;
		if (!is_live[id])
			break;
	}
	is_live[id] = true;
	return id;
}

static void fill_in_blocks(struct usbif_req *wire, u32 id)
{
	__le32 *table = front_block(&f, TABLE_BLOCK + id);
	u32 i;

	if (wire->nr_extents && wire->nr_extents <= USBIF_INLINE_EXTENTS)
		wire->extents[0].block = DATA_BLOCK + id * DATA_BLOCKS;
	if (!wire->table_length)
		return;
	memcpy(table, front_block(&f, wire->nr_packets ? PACKETS_BLOCK :
						       DRAFT_BLOCK),
	       TABLE_WORDS * 4);
	for (i = 0; i < NR_EXTENTS && !wire->nr_packets; i++)
		table[2 * i] += id % NR_LARGE * NR_EXTENTS;
	wire->table_block = TABLE_BLOCK + id;
	table_at = table;
}

static void send_request(const struct step *step)
{
	struct usbif_req wire = step->wire.req;
	u32 id = next_id();

	if (wire.op == USBIF_OP_CANCEL && step->fix & FIX_ID) {
		is_live[id] = false;
		wire.arg0 = FIRST_ID + (sent + step->arg) % NR_IDS;
		wire.id = f.lay.nr_requests + wire.arg0;
	} else if (step->fix & FIX_ID || step->arg % 16) {
		/* That of another one ends the session: rather seldom. */
		wire.id = id;
	}
	if (step->fix & FIX_SESSION)
		wire.session = f.session;
	if (step->fix & FIX_EPOCH && wire.port - 1u < NR_DEVS)
		wire.port_epoch = devs[wire.port - 1].epoch;
	if (step->fix & FIX_BLOCK)
		fill_in_blocks(&wire, id);
	usbif_prod_push(&f.sq, &wire);
	usbif_prod_publish(&f.sq);
	front_kick(&f);
}

static void write_good_tables(void)
{
	struct usbif_iso_packet *packets = front_block(&f, PACKETS_BLOCK);
	struct usbif_extent *extents = front_block(&f, DRAFT_BLOCK);
	u32 i;

	for (i = 0; i < NR_EXTENTS; i++) {
		extents[i].block = LARGE_BLOCK + i;
		extents[i].length = USBIF_BLOCK_SIZE;
	}
	for (i = 0; i < NR_PACKETS; i++) {
		packets[i].offset = i * PACKET;
		packets[i].length = PACKET;
	}
}

static void do_step(const struct step *step)
{
	__le32 *draft = front_block(&f, step->arg & TABLE_WORDS ? DRAFT_BLOCK :
							 PACKETS_BLOCK);

	switch (step->kind) {
	case SUBMIT:
		send_request(step);
		break;
	case TABLE:
		draft[step->arg % TABLE_WORDS] = step->value;
		break;
	case GOOD_TABLE:
		write_good_tables();
		break;
	case TAKE:
		take_all();
		break;
	case PAUSE:
		front_sleep(&f, 1);
		break;
	case PAGE:
		usbif_word_write((__le32 *)f.page + step->arg % 64, step->value);
		front_kick(&f);
		break;
	case PUBLISH:
		f.sq.prod += step->arg % 16;
		usbif_prod_publish(&f.sq);
		front_kick(&f);
		break;
	case CONSUME:
		usbif_word_write_release(&f.page->cq_cons,
					 f.cq.cons + step->arg % 16);
		break;
	default:
		front_ask(&f);
	}
}

/* ---- the frame ---- */

static void call(u32 id, u8 op, u32 arg0, u32 arg1)
{
	struct usbif_request req = front_req(&devs[id], id, op);

	req.arg0 = arg0;
	req.arg1 = arg1;
	front_submit(&f, &req);
}

static void await(u32 id)
{
	struct usbif_response rsp;

	if (!front_wait(&f, id, &rsp, PATIENCE_MS))
		die("no completion of request %u", id);
	/* A device that has just gone and come is reset once more, then. */
	if (!rsp.status || rsp.status != USBIF_ST_NODEV)
		return;
	devs[id].epoch = front_wait_port(&f, 0, devs[id].port, true,
					 PATIENCE_MS).epoch;
	front_reset(&devs[id]);
}

/* Resets take their time: all at once. */
static void connect(void)
{
	u32 id;

	memset(is_live, 0, sizeof(is_live));
	front_connect(&f);
	for (id = 0; id < NR_DEVS; id++) {
		devs[id].epoch = front_wait_port(&f, 0, 1 + id, true,
						 PATIENCE_MS).epoch;
		call(id, USBIF_OP_RESET, 0, 0);
	}
	for (id = 0; id < NR_DEVS; id++)
		await(id);
	for (id = 0; id < NR_DEVS; id++)
		call(id, USBIF_OP_SET_CONFIGURATION, devs[id].config[5], 0);
	for (id = 0; id < NR_DEVS; id++)
		await(id);
	call(STREAM, USBIF_OP_SET_INTERFACE, 0, 1);
	await(STREAM);
	write_good_tables();
}

/* Until the backend has looked at all of it, and has begun another look. */
static void settle(void)
{
	u64 end = now_ms() + SETTLE_MS;
	u32 beat;

	do {
		front_sleep(&f, 1);
	} while (is_running() && now_ms() < end &&
		 usbif_word_read(&f.back->sq_cons) != f.sq.prod);
	beat = usbif_word_read(&f.back->heartbeat);
	front_kick(&f);
	while (now_ms() < end && usbif_word_read(&f.back->heartbeat) == beat)
		front_sleep(&f, 1);
	take_all();
}

static void scribble(u64 *seed)
{
	u32 words = f.lay.ring_entries * sizeof(struct usbif_req) / 4;
	u32 word = rnd(seed, words);
	__le32 *at = f.region + f.lay.sq_offset;

	if (table_at && rnd(seed, 4))
		at = table_at + rnd(seed, TABLE_WORDS);
	/* Seldom the id, which mostly ends the session. */
	else if (word % (sizeof(struct usbif_req) / 4) || !rnd(seed, 64))
		at += word;
	else
		return;
	usbif_word_write(at, odd_value(seed));
}

/* A sane frontend, on the same region. */
static void check(void)
{
	struct usbif_request req;
	struct usbif_response rsp;
	u32 id;

	memset(is_live, 0, sizeof(is_live));
	front_connect(&f);
	for (id = 0; id < NR_DEVS; id++)
		front_enumerate(&devs[id], &f, 0, 1 + id);
	front_read_sectors(&devs[DISK], 0, 8, 100);
	req = front_bulk(&devs[SINK], 0, devs[SINK].bulk_in, 4096, 100);
	rsp = front_call(&f, &req);
	if (rsp.status || rsp.actual != 4096)
		die("%u octets from the source, status %u", rsp.actual, rsp.status);
	call(STREAM, USBIF_OP_SET_INTERFACE, 0, 1);
	await(STREAM);
	write_good_tables();
}

/* The thread that makes the channel is the one whose coverage it is: cover_open(). */
static void make(const char *channel)
{
	front_open(&f, channel, REGION);
	f.features = USBIF_F_ISO | USBIF_F_STREAMS | USBIF_F_SUSPEND |
		     USBIF_F_FRAME;
	front_drop_at_exit(&f);
}

static const struct guided side = {
	.program = "front_kcov",
	.wire_size = sizeof(struct usbif_req),
	.nr_fix = NR_FIX,
	.fresh = fresh,
	.open = make,
	.connect = connect,
	.is_running = is_running,
	.step = do_step,
	.settle = settle,
	.scribble = scribble,
	.check = check,
};

int main(int argc, char **argv)
{
	return guided_main(&side, argc, argv);
}
