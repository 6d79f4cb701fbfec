// SPDX-License-Identifier: GPL-2.0
/*
 * front_fuzz NAME SECONDS [SEED]: a frontend gone mad, on a disk at port 0:1. It sends
 * requests with some octets changed, while another thread scribbles over rings,
 * tables and its page. What comes back is not looked at, but in the end a sane
 * frontend must find everything in order.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

#define REGION		(4u << 20)
#define TABLE_BLOCK	64
#define EVERY		64	/* requests between two looks at the state */

static struct front f;
static struct front_dev dev;
static atomic_bool stop, scribble;
static unsigned long sent, sessions;

static u32 rnd(u64 *seed, u32 below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (*seed >> 32) % below;
}

/* Values that are at some edge. */
static u32 odd_value(u64 *seed)
{
	static const u32 values[] = {
		0, 1, 2, 8, 16, 32, 255, 256, 4095, 4096, 4097, 0x7fffffff,
		0x80000000, 0xfffff000, 0xfffffffe, 0xffffffff,
	};

	return rnd(seed, 3) ? values[rnd(seed, 16)] : rnd(seed, 0xffffffff);
}

static void *scribbler(void *arg)
{
	u64 seed = *(u64 *)arg;

	while (!stop) {
		u32 ring = f.lay.ring_entries * sizeof(struct usbif_req);
		u8 *where;

		if (!scribble)
			continue;
		switch (rnd(&seed, 4096)) {
		case 0:
			where = (u8 *)f.page + rnd(&seed, 64) * 4;
			break;
		case 1:
			/* Not the layout, which we need ourselves. */
			where = (u8 *)f.back + 0x80 + rnd(&seed, 96) * 4;
			break;
		case 2:
			where = (u8 *)f.ports + rnd(&seed, 1024) * 4;
			break;
		case 3 ... 1000:
			where = front_block(&f, TABLE_BLOCK);
			where += rnd(&seed, 512) * 4;
			break;
		default:
			/* Seldom the id, which mostly ends the session. */
			where = (u8 *)f.region + f.lay.sq_offset;
			where += rnd(&seed, ring / 4) * 4;
			if (!((uintptr_t)where & 0x78) && rnd(&seed, 64))
				continue;
		}
		usbif_word_write((__le32 *)where, odd_value(&seed));
	}
	return NULL;
}

static struct usbif_request template(u64 *seed, u32 id)
{
	struct usbif_request req;

	switch (rnd(seed, 8)) {
	case 0:
		return front_control(&dev, id, 0x80, 6, 0x0100, 0, 18, id);
	case 1:
		req = front_req(&dev, id, 1 + rnd(seed, USBIF_OP_MAX));
		req.endpoint = rnd(seed, 2) ? dev.bulk_in : dev.bulk_out;
		req.arg0 = rnd(seed, 3);
		req.arg1 = rnd(seed, 3);
		return req;
	case 2:
		req = (struct usbif_request) {
			.id = f.lay.nr_requests + id,
			.session = f.session,
			.op = USBIF_OP_CANCEL,
			.arg0 = id,
		};
		return req;
	case 3:
		req = front_bulk(&dev, id, dev.bulk_in, 9 * 4096, 80);
		req.nr_extents = 9;
		req.table_block = TABLE_BLOCK;
		req.table_length = usbif_table_size(9, 0);
		return req;
	default:
		return front_bulk(&dev, id, rnd(seed, 2) ? dev.bulk_in :
				  dev.bulk_out, rnd(seed, 4096), 128 + id);
	}
}

static void send_one(u64 *seed)
{
	u32 id = sent % f.lay.nr_requests;
	struct usbif_request req = template(seed, id);
	struct usbif_req wire;
	u32 n, *words = (u32 *)&wire;

	usbif_req_encode(&wire, &req);
	for (n = rnd(seed, 4); n; n--) {
		if (rnd(seed, 2))
			words[rnd(seed, sizeof(wire) / 4)] = odd_value(seed);
		else
			((u8 *)&wire)[rnd(seed, sizeof(wire))] = odd_value(seed);
	}
	if (rnd(seed, 64)) {
		wire.id = req.id;
		wire.session = f.session;
	}
	usbif_prod_push(&f.sq, &wire);
	usbif_prod_publish(&f.sq);
	front_kick(&f);
	sent++;
}

/* Says that everything was taken, whatever it was. */
static void take_all(void)
{
	f.cq.cons = usbif_word_read_acquire(&f.back->cq_prod);
	usbif_word_write_release(&f.page->cq_cons, f.cq.cons);
	usbif_word_write(&f.page->port_seen, usbif_word_read(&f.back->port_gen));
}

static void connect(void)
{
	struct usbif_port_state st;

	scribble = false;
	sessions++;
	front_connect(&f);
	st = front_wait_port(&f, 0, 1, true, 20000);
	dev.epoch = st.epoch;
	front_reset(&dev);
	scribble = true;
}

static void run(u64 *seed, u64 end)
{
	struct usbif_request req;
	unsigned int i;

	while (now_ms() < end) {
		connect();
		req = front_req(&dev, 0, USBIF_OP_SET_CONFIGURATION);
		req.arg0 = dev.config[5];
		front_submit(&f, &req);
		while (now_ms() < end && usbif_word_read(&f.back->state) ==
		       USBIF_BACK_CONNECTED) {
			for (i = 0; i < EVERY; i++)
				send_one(seed);
			take_all();
			front_sleep(&f, 1);
		}
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	u64 seed, seed2;

	if (argc < 3) {
		fprintf(stderr, "usage: front_fuzz NAME SECONDS [SEED]\n");
		return 2;
	}
	seed = (argc > 3 ? strtoull(argv[3], NULL, 0) : now_ms()) | 1;
	seed2 = seed * 7919;
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	front_open(&f, argv[1], REGION);
	f.features = USBIF_F_ISO | USBIF_F_STREAMS | USBIF_F_SUSPEND |
		     USBIF_F_FRAME;
	front_drop_at_exit(&f);
	front_connect(&f);
	front_enumerate(&dev, &f, 0, 1);
	if (pthread_create(&thread, NULL, scribbler, &seed2))
		die("no thread");
	run(&seed, now_ms() + 1000ull * atoi(argv[2]));
	scribble = false;
	stop = true;
	pthread_join(thread, NULL);

	/* A sane one, on a new region. */
	front_drop(f.name);
	front_open(&f, argv[1], REGION);
	front_connect(&f);
	front_enumerate(&dev, &f, 0, 1);
	front_read_sectors(&dev, 0, 8, 100);
	printf("%lu requests, %lu sessions\n", sent, sessions);
	return 0;
}
