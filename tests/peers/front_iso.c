// SPDX-License-Identifier: GPL-2.0
/*
 * front_iso NAME: a frontend with isochronous requests of its own making, on the device
 * of tests/tools/usbip_iso.c at port 0:1: as many packets as there may be, scattered
 * extents, gaps between packets, tables that are wrong and tables that are rewritten
 * while they are in use. Prints TAP.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "front.h"

#define REGION		(16u << 20)
#define ISO_IN		0x82
#define PROMPT_MS	5000
#define PACKETS		1024u
#define LENGTH		200u	/* of a packet; the device has 256 */
#define STRIDE		240u	/* from one to the next */
#define TABLE		100u	/* blocks of the table */
#define DATA		200u	/* first block of the data, and every second one */
#define EXTENTS		((PACKETS * STRIDE + 4095) / 4096)
#define JUNK		0xa5

static struct front f;
static struct front_dev dev;
static unsigned int number, failed;

static void result(bool good, const char *what, unsigned int got)
{
	number++;
	failed += !good;
	printf("%sok %u - %s\n", good ? "" : "not ", number, what);
	if (!good)
		printf("# got %u\n", got);
	fflush(stdout);
}

static struct usbif_iso_packet *packets_of(void)
{
	struct usbif_extent *extents = front_block(&f, TABLE);

	return (void *)(extents + EXTENTS);
}

static struct usbif_iso_result *results_of(void)
{
	return (void *)(packets_of() + PACKETS);
}

/* The octet at @offset of the data, whose extents are one block each. */
static u8 *data_at(u32 offset)
{
	return (u8 *)front_block(&f, DATA + 2 * (offset / 4096)) + offset % 4096;
}

/* A good request of 1024 packets; all that it does not own is junk. */
static struct usbif_request good(u32 id)
{
	struct usbif_request req = front_req(&dev, id, USBIF_OP_TRANSFER);
	struct usbif_extent *extents = front_block(&f, TABLE);
	struct usbif_iso_packet *packets = packets_of();
	u32 i;

	memset(front_block(&f, TABLE), JUNK, (DATA - TABLE + 2 * EXTENTS) * 4096);
	req.type = USBIF_TYPE_ISO;
	req.endpoint = ISO_IN;
	req.flags = USBIF_REQ_ISO_ASAP;
	req.interval = 1;
	req.length = PACKETS * STRIDE;
	req.nr_extents = EXTENTS;
	req.nr_packets = PACKETS;
	req.table_block = TABLE;
	req.table_length = usbif_table_size(EXTENTS, PACKETS);
	for (i = 0; i < EXTENTS; i++) {
		extents[i].block = DATA + 2 * i;
		extents[i].length = i + 1 < EXTENTS ? 4096 : req.length - i * 4096;
	}
	for (i = 0; i < PACKETS; i++) {
		packets[i].offset = i * STRIDE;
		packets[i].length = LENGTH;
	}
	return req;
}

static struct usbif_response call(const struct usbif_request *req)
{
	struct usbif_response rsp = { .status = 255 };

	front_submit(&f, req);
	front_wait(&f, req->id, &rsp, PROMPT_MS);
	return rsp;
}

static void expect(const char *what, const struct usbif_request *req, u32 status)
{
	struct usbif_response rsp = call(req);

	result(rsp.status == status, what, rsp.status);
}

/* Number of octets that nobody had any business in, but that have changed. */
static u32 touched(void)
{
	u32 n = 0, i, k;

	for (i = 0; i < EXTENTS; i++)
		for (k = 0; k < 4096; k++)
			n += ((u8 *)front_block(&f, DATA + 2 * i + 1))[k] != JUNK;
	for (i = 0; i < PACKETS; i++)
		for (k = LENGTH; k < STRIDE; k++)
			n += *data_at(i * STRIDE + k) != JUNK;
	return n;
}

/* Number of packets that are not what their sequence number says. */
static u32 wrong_packets(void)
{
	const struct usbif_iso_result *results = results_of();
	u32 first = 0, wrong = 0, i, k, seq;

	for (i = 0; i < PACKETS; i++) {
		for (k = seq = 0; k < 4; k++)
			seq |= (u32)*data_at(i * STRIDE + k) << 8 * k;
		if (!i)
			first = seq;
		if (results[i].actual != LENGTH || results[i].status ||
		    seq != first + i) {
			wrong++;
			continue;
		}
		for (k = 4; k < LENGTH; k++)
			if (*data_at(i * STRIDE + k) != (u8)(seq * 7 + k))
				break;
		wrong += k < LENGTH;
	}
	return wrong;
}

static void long_request(void)
{
	struct usbif_request req = good(1);
	struct usbif_response rsp = call(&req);

	result(!rsp.status, "1024 packets in scattered blocks", rsp.status);
	result(rsp.actual == PACKETS * LENGTH && !rsp.error_count,
	       "all of it came", rsp.actual);
	result(!wrong_packets(), "each packet is at its place", wrong_packets());
	result(!touched(), "nothing came between packets", touched());
}

static void refused(void)
{
	struct usbif_request req;

#define CASE(what, change) do {				\
	req = good(2);					\
	change;						\
	expect(what, &req, USBIF_ST_INVALID);		\
	result(!touched(), what ": nothing came", touched());	\
} while (0)
	CASE("no packets", req.nr_packets = 0);
	CASE("1025 packets", req.nr_packets++);
	CASE("table too short", req.table_length -= 8);
	CASE("table in the data", req.table_block = DATA + 1);
	CASE("table out of the pool", req.table_block = f.lay.pool_blocks - 1);
	CASE("packets overlap", packets_of()[7].length = STRIDE + 1);
	CASE("packets descend", packets_of()[7].offset = 0);
	CASE("packet out of the data", packets_of()[1023].offset = req.length);
	CASE("offset wraps", packets_of()[1023].offset = -LENGTH);
	CASE("packet of 2^32-1", packets_of()[0].length = -1);
	CASE("packet longer than the endpoint's", packets_of()[1023].length = 257;
	     packets_of()[1023].offset -= STRIDE - LENGTH + 17;
	     packets_of()[1022].length = 100);
	CASE("bulk endpoint", req.endpoint = 0x81);
	CASE("interval 0", req.interval = 0);
	CASE("start frame beside ASAP", req.start_frame = 1);
	CASE("short not ok", req.flags |= USBIF_REQ_SHORT_NOT_OK);
#undef CASE
	req = good(2);
	req.endpoint = 0x85;
	expect("no such endpoint", &req, USBIF_ST_NOENT);
	long_request();
}

static bool stop;

/* Rewrites what has been handed over. */
static void *scribble(void *unused)
{
	struct usbif_iso_packet *packets = packets_of();
	struct usbif_extent *extents = front_block(&f, TABLE);
	struct usbif_iso_result *results = results_of();
	unsigned int seed = 1;

	(void)unused;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u32 i = rand_r(&seed) % PACKETS;

		packets[i].offset = rand_r(&seed) % 2 ? rand_r(&seed) : -1;
		packets[i].length = rand_r(&seed);
		results[i].actual = -1;
		extents[i % EXTENTS].block = rand_r(&seed);
		extents[i % EXTENTS].length = rand_r(&seed);
	}
	return NULL;
}

static void rewritten(void)
{
	u32 ok = 0, invalid = 0, other = 0, damage = 0, i;
	pthread_t thread;

	for (i = 0; i < 60; i++) {
		struct usbif_request req = good(3);
		struct usbif_response rsp = {};

		front_submit(&f, &req);
		/* Sometimes before it is taken, sometimes after. */
		usleep(i * 100);
		stop = false;
		if (pthread_create(&thread, NULL, scribble, NULL))
			die("pthread_create");
		if (!front_wait(&f, 3, &rsp, PROMPT_MS))
			rsp.status = 255;
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		ok += !rsp.status;
		invalid += rsp.status == USBIF_ST_INVALID;
		other += rsp.status && rsp.status != USBIF_ST_INVALID;
		damage += touched();
	}
	printf("# %u well, %u refused\n", ok, invalid);
	result(!other, "tables rewritten while in use", other);
	result(ok, "some of these were taken before", ok);
	result(!damage, "nothing came where it should not", damage);
	long_request();
}

static void cancelled(void)
{
	struct usbif_request req = good(4), end = {};
	struct usbif_response rsp = {};
	u32 i, unset = 0;

	front_submit(&f, &req);
	end.id = f.lay.nr_requests + 4;
	end.session = f.session;
	end.op = USBIF_OP_CANCEL;
	end.arg0 = 4;
	rsp = call(&end);
	result(!rsp.status, "cancel", rsp.status);
	if (!front_wait(&f, 4, &rsp, PROMPT_MS))
		rsp.status = 255;
	result(rsp.status == USBIF_ST_CANCELLED && !rsp.flags,
	       "cancelled in flight, not held", rsp.status);
	for (i = 0; i < PACKETS; i++)
		unset += results_of()[i].status > USBIF_ST_MAX ||
			 results_of()[i].actual > LENGTH;
	result(!unset, "each of its packets has a result", unset);
	long_request();
}

static void configure(void)
{
	struct usbif_request req;

	front_enumerate(&dev, &f, 0, 1);
	req = front_req(&dev, 0, USBIF_OP_SET_INTERFACE);
	req.arg1 = 1;
	if (front_call(&f, &req).status)
		die("set interface");
}

static void without_feature(void)
{
	struct usbif_request req;

	front_close(&f);
	f.features = 0;
	front_connect(&f);
	configure();
	req = good(5);
	expect("not accepted, not taken", &req, USBIF_ST_UNSUPPORTED);
	req = front_req(&dev, 6, USBIF_OP_GET_FRAME);
	expect("nor the frame number", &req, USBIF_ST_UNSUPPORTED);
}

int main(int argc, char **argv)
{
	struct usbif_request req;

	if (argc != 2) {
		fprintf(stderr, "usage: front_iso NAME\n");
		return 2;
	}
	printf("TAP version 13\n");
	front_open(&f, argv[1], REGION);
	f.features = USBIF_F_ISO | USBIF_F_FRAME;
	front_drop_at_exit(&f);
	front_connect(&f);
	configure();
	long_request();
	refused();
	rewritten();
	cancelled();
	req = front_req(&dev, 6, USBIF_OP_GET_FRAME);
	expect("frame number", &req, USBIF_ST_OK);
	without_feature();
	front_close(&f);
	printf("1..%u\n", number);
	return failed != 0;
}
