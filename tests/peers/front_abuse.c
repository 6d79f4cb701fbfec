// SPDX-License-Identifier: GPL-2.0
/*
 * front_abuse NAME [RING_START_FILE]: a frontend that breaks every rule it can
 * reach, on a disk at port 0:1. Each case starts from a request that is good but for
 * one thing. After each the channel must still work. Prints TAP.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "front.h"

#define REGION		(16u << 20)
#define SILENCE_MS	150	/* for what must not come */
#define PROMPT_MS	3000	/* for what must */

static struct front f;
static struct front_dev dev;
static unsigned int number, failed;

static void result(bool good, const char *what, unsigned int got,
		   unsigned int wanted)
{
	number++;
	if (good) {
		printf("ok %u - %s\n", number, what);
	} else {
		failed++;
		printf("not ok %u - %s\n# got %u, wanted %u\n", number, what,
		       got, wanted);
	}
	fflush(stdout);
}

/* A request that would succeed: the device descriptor to block 0. */
static struct usbif_request good(void)
{
	return front_control(&dev, 5, 0x80, 6, 0x0100, 0, 18, 0);
}

static struct usbif_req good_wire(void)
{
	struct usbif_request req = good();
	struct usbif_req wire;

	usbif_req_encode(&wire, &req);
	return wire;
}

static void expect_wire(const char *what, const struct usbif_req *wire,
			unsigned int status)
{
	struct usbif_response rsp;

	front_submit_wire(&f, wire);
	if (!front_wait(&f, wire->id, &rsp, PROMPT_MS))
		result(false, what, 999, status);
	else
		result(rsp.status == status, what, rsp.status, status);
}

static void expect(const char *what, const struct usbif_request *req,
		   unsigned int status)
{
	struct usbif_req wire;

	usbif_req_encode(&wire, req);
	expect_wire(what, &wire, status);
}

static void still_good(const char *what)
{
	struct usbif_request req = good();

	expect(what, &req, USBIF_ST_OK);
}

/* ---- requests that are refused ---- */

static void refused_fields(void)
{
	struct usbif_req w;

#define CASE(what, change, status) do {			\
	w = good_wire();				\
	change;						\
	expect_wire(what, &w, status);			\
} while (0)
	CASE("operation 0", w.op = 0, USBIF_ST_INVALID);
	CASE("operation 13", w.op = USBIF_OP_MAX + 1, USBIF_ST_INVALID);
	CASE("operation 255", w.op = 255, USBIF_ST_INVALID);
	CASE("reserved0", w.reserved0 = 1, USBIF_ST_INVALID);
	CASE("reserved1", w.reserved1 = 1, USBIF_ST_INVALID);
	CASE("reserved2", w.reserved2[7] = 1, USBIF_ST_INVALID);
	CASE("another session", w.session++, USBIF_ST_INVALID);
	CASE("vusb 16", w.vusb = 16, USBIF_ST_INVALID);
	CASE("port 0", w.port = 0, USBIF_ST_INVALID);
	CASE("port 16", w.port = 16, USBIF_ST_INVALID);
	CASE("port 255", w.port = 255, USBIF_ST_INVALID);
	CASE("empty port", w.port = 2, USBIF_ST_NODEV);
	CASE("empty vusb", w.vusb = 3, USBIF_ST_NODEV);
	CASE("stale epoch", w.port_epoch--, USBIF_ST_NODEV);
	CASE("type 4", w.type = 4, USBIF_ST_INVALID);
	CASE("flag 8", w.flags = 8, USBIF_ST_INVALID);
	CASE("flag 0x8000", w.flags = 0x8000, USBIF_ST_INVALID);
	CASE("zero packet on control", w.flags = USBIF_REQ_ZERO_PACKET,
	     USBIF_ST_INVALID);
	CASE("length beyond the limit", w.length = USBIF_MAX_TRANSFER + 1,
	     USBIF_ST_INVALID);
	CASE("length 2^32-1", w.length = 0xffffffff, USBIF_ST_INVALID);
	CASE("length without extent", w.nr_extents = 0, USBIF_ST_INVALID);
	CASE("extent without length", w.length = 0, USBIF_ST_INVALID);
	CASE("257 extents", w.nr_extents = 257, USBIF_ST_INVALID);
	CASE("extent behind the pool", w.extents[0].block = f.lay.pool_blocks,
	     USBIF_ST_INVALID);
	CASE("extent wraps", w.extents[0].block = 0xffffffff, USBIF_ST_INVALID);
	CASE("extent of length 0", w.extents[0].length = 0, USBIF_ST_INVALID);
	CASE("extent too long", w.extents[0].length = 19, USBIF_ST_INVALID);
	CASE("interval on control", w.interval = 1, USBIF_ST_INVALID);
	CASE("stream on control", w.stream = 1, USBIF_ST_INVALID);
	CASE("packets on control", w.nr_packets = 1, USBIF_ST_INVALID);
	CASE("table on control", w.table_length = 16, USBIF_ST_INVALID);
	CASE("setup length differs", w.setup[6] = 17, USBIF_ST_INVALID);
	CASE("control on a bulk endpoint", w.endpoint = dev.bulk_in,
	     USBIF_ST_INVALID);
#undef CASE
}

static void refused_setups(void)
{
	static const struct {
		const char *what;
		u8 type, request;
		u16 value, index;
		unsigned int status;
	} cases[] = {
		{ "SET_ADDRESS", 0, 5, 9, 0, USBIF_ST_INVALID },
		{ "raw SET_CONFIGURATION", 0, 9, 1, 0, USBIF_ST_INVALID },
		{ "raw SET_INTERFACE", 1, 11, 0, 0, USBIF_ST_INVALID },
		{ "raw CLEAR_HALT", 2, 1, 0, 0x81, USBIF_ST_INVALID },
		{ "test mode", 0, 3, 2, 0x0100, USBIF_ST_INVALID },
		{ "U1 enable", 0, 3, 48, 0, USBIF_ST_STALL },
		{ "LTM enable", 0, 3, 50, 0, USBIF_ST_STALL },
		{ NULL, 0, 0, 0, 0, 0 },
	};
	unsigned int i;

	for (i = 0; cases[i].what; i++) {
		struct usbif_request req;

		req = front_control(&dev, 6, cases[i].type, cases[i].request,
				    cases[i].value, cases[i].index, 0, 0);
		expect(cases[i].what, &req, cases[i].status);
	}
}

static void refused_endpoints(void)
{
	struct usbif_request req;
	u8 in = dev.bulk_in, out = dev.bulk_out;

	req = front_bulk(&dev, 7, 0x8f, 512, 20);
	expect("bulk on an absent endpoint", &req, USBIF_ST_NOENT);
	req = front_bulk(&dev, 7, in & 0x0f, 512, 20);
	expect("bulk in the other direction", &req, USBIF_ST_NOENT);
	req = front_bulk(&dev, 7, in | 0x10, 512, 20);
	expect("reserved bits of the address", &req, USBIF_ST_INVALID);
	req = front_bulk(&dev, 7, 0, 512, 20);
	expect("bulk on endpoint 0", &req, USBIF_ST_INVALID);
	req = front_bulk(&dev, 7, in, 512, 20);
	req.type = USBIF_TYPE_INTERRUPT;
	req.interval = 1;
	expect("interrupt on a bulk endpoint", &req, USBIF_ST_INVALID);
	req.interval = 0;
	expect("interrupt without interval", &req, USBIF_ST_INVALID);
	req = front_bulk(&dev, 7, in, 512, 20);
	req.flags = USBIF_REQ_ZERO_PACKET;
	expect("zero packet on IN", &req, USBIF_ST_INVALID);
	req = front_bulk(&dev, 7, out, 512, 20);
	req.flags = USBIF_REQ_SHORT_NOT_OK;
	expect("short not ok on OUT", &req, USBIF_ST_INVALID);
	req = front_bulk(&dev, 7, in, 8192, 20);
	req.nr_extents = 2;
	req.ranges[0].length = 4096;
	req.ranges[1].block = 20;
	req.ranges[1].length = 4096;
	expect("a block twice in one request", &req, USBIF_ST_INVALID);
	req.ranges[1].block = 21;
	req.ranges[0].length = 4000;
	req.length = 8096;
	expect("a short extent in the middle", &req, USBIF_ST_INVALID);
}

static void refused_iso(void)
{
	struct usbif_request req = front_bulk(&dev, 7, dev.bulk_in, 512, 20);

	req.type = USBIF_TYPE_ISO;
	req.interval = 1;
	req.nr_packets = 1;
	req.flags = USBIF_REQ_ISO_ASAP;
	req.table_block = 30;
	req.table_length = usbif_table_size(1, 1);
	expect("isochronous", &req, USBIF_ST_UNSUPPORTED);
}

static void refused_ops(void)
{
	struct usbif_request req;

	req = front_req(&dev, 8, USBIF_OP_SET_CONFIGURATION);
	req.arg0 = 77;
	expect("no such configuration", &req, USBIF_ST_NOENT);
	req.arg0 = 256;
	expect("configuration 256", &req, USBIF_ST_INVALID);
	req.arg0 = dev.config[5];
	expect("the right one again", &req, USBIF_ST_OK);
	req = front_req(&dev, 8, USBIF_OP_SET_INTERFACE);
	req.arg0 = 9;
	expect("no such interface", &req, USBIF_ST_NOENT);
	req.arg0 = 0;
	req.arg1 = 3;
	expect("no such setting", &req, USBIF_ST_NOENT);
	req.arg1 = 0;
	expect("setting 0", &req, USBIF_ST_OK);
	req = front_req(&dev, 8, USBIF_OP_CLEAR_HALT);
	req.endpoint = 0x8f;
	expect("clear halt of an absent endpoint", &req, USBIF_ST_NOENT);
	req.endpoint = dev.bulk_in;
	expect("clear halt", &req, USBIF_ST_OK);
	req = front_req(&dev, 8, USBIF_OP_RESTART);
	req.endpoint = dev.bulk_in;
	expect("restart of what is not held", &req, USBIF_ST_OK);
	req = front_req(&dev, 8, USBIF_OP_CANCEL);
	req.id = f.lay.nr_requests + 3;
	req.vusb = 0;
	req.port = 0;
	req.port_epoch = 0;
	req.arg0 = 3;
	expect("cancel of what is not live", &req, USBIF_ST_NOENT);
	req.arg0 = 4;
	expect("cancel with another's id", &req, USBIF_ST_INVALID);
}

static u32 mask_of(u8 endpoint)
{
	return 1u << ((endpoint & 0x0f) + (endpoint & 0x80 ? 16 : 0));
}

/* The disk is not one that can have any. */
static void refused_streams(void)
{
	struct usbif_request req = front_bulk(&dev, 7, dev.bulk_in, 512, 20);

	req.stream = 1;
	expect("a stream that was not granted", &req, USBIF_ST_INVALID);
	req.stream = USBIF_MAX_STREAMS + 1;
	expect("a stream beyond the limit", &req, USBIF_ST_INVALID);
	req = front_req(&dev, 8, USBIF_OP_ALLOC_STREAMS);
	req.arg1 = mask_of(dev.bulk_in);
	expect("no streams at all", &req, USBIF_ST_INVALID);
	req.arg0 = USBIF_MAX_STREAMS + 1;
	expect("streams beyond the limit", &req, USBIF_ST_INVALID);
	req.arg0 = 4;
	expect("streams where there can be none", &req, USBIF_ST_UNSUPPORTED);
	req.arg1 = mask_of(0x8f);
	expect("streams on an absent endpoint", &req, USBIF_ST_UNSUPPORTED);
	req.arg1 = 1;
	expect("streams on endpoint 0", &req, USBIF_ST_INVALID);
	req = front_req(&dev, 8, USBIF_OP_FREE_STREAMS);
	req.arg1 = mask_of(dev.bulk_in) | mask_of(dev.bulk_out);
	expect("freeing streams that were not granted", &req, USBIF_ST_NOENT);
	req.arg1 = 0;
	expect("freeing streams of nothing", &req, USBIF_ST_INVALID);
}

/* ---- cancel and hold ---- */

static void cancel(u32 id, unsigned int status)
{
	struct usbif_request req = {
		.id = f.lay.nr_requests + id,
		.session = f.session,
		.op = USBIF_OP_CANCEL,
		.arg0 = id,
	};

	expect("cancel", &req, status);
}

static void expect_end(const char *what, u32 id, unsigned int status, u16 flags)
{
	struct usbif_response rsp;

	if (!front_wait(&f, id, &rsp, PROMPT_MS)) {
		result(false, what, 999, status);
		return;
	}
	result(rsp.status == status && rsp.flags == flags, what,
	       rsp.status | rsp.flags << 8, status | flags << 8);
}

static void expect_silence(const char *what, u32 id)
{
	struct usbif_response rsp;

	result(!front_wait(&f, id, &rsp, SILENCE_MS), what, id, 0);
}

static void restart(u8 endpoint)
{
	struct usbif_request req = front_req(&dev, 9, USBIF_OP_RESTART);

	req.endpoint = endpoint;
	expect("restart", &req, USBIF_ST_OK);
}

/* The disk has nothing to say: IN requests wait. */
static void holds(void)
{
	struct usbif_request req;
	u32 id;

	for (id = 10; id < 14; id++) {
		req = front_bulk(&dev, id, dev.bulk_in, 512, 40 + id);
		front_submit(&f, &req);
	}
	expect_silence("IN requests wait", 10);
	still_good("an idle endpoint delays no other");
	cancel(11, USBIF_ST_OK);
	expect_end("one of the middle is cancelled", 11, USBIF_ST_CANCELLED,
		   USBIF_RSP_HELD);
	expect_silence("those behind it wait", 12);
	cancel(12, USBIF_ST_OK);
	expect_end("a held one is cancelled at once", 12, USBIF_ST_CANCELLED, 0);
	restart(dev.bulk_in);
	cancel(13, USBIF_ST_OK);
	expect_end("after the restart it was in flight", 13,
		   USBIF_ST_CANCELLED, USBIF_RSP_HELD);
	restart(dev.bulk_in);
	cancel(10, USBIF_ST_OK);
	expect_end("the first one", 10, USBIF_ST_CANCELLED, USBIF_RSP_HELD);
	restart(dev.bulk_in);
	front_read_sectors(&dev, 0, 8, 100);
	result(true, "a sector can still be read", 0, 0);
}

static void shutdowns(void)
{
	struct usbif_request req;
	u32 id;

	for (id = 10; id < 14; id++) {
		req = front_bulk(&dev, id, dev.bulk_in, 512, 40 + id);
		front_submit(&f, &req);
	}
	req = front_req(&dev, 20, USBIF_OP_RESET);
	front_submit(&f, &req);
	for (id = 10; id < 14; id++)
		expect_end("ends with the reset", id, USBIF_ST_SHUTDOWN, 0);
	expect_end("reset", 20, USBIF_ST_OK, 0);
	req = front_bulk(&dev, 10, dev.bulk_in, 512, 50);
	expect("bulk before a configuration is set", &req, USBIF_ST_NOENT);
	req = front_req(&dev, 20, USBIF_OP_SET_CONFIGURATION);
	req.arg0 = dev.config[5];
	expect("set configuration", &req, USBIF_ST_OK);
	front_read_sectors(&dev, 0, 8, 100);
	result(true, "a sector can still be read", 0, 0);
}

/* ---- violations ---- */

static void reconnect(void)
{
	struct usbif_port_state st;

	front_connect(&f);
	st = front_wait_port(&f, 0, 1, true, 20000);
	result(st.epoch != dev.epoch, "another epoch", st.epoch, 0);
	dev.epoch = st.epoch;
	front_reset(&dev);
	still_good("a new session works");
}

static void expect_broken(const char *what, u32 error)
{
	u32 got;

	front_wait_state(&f, USBIF_BACK_BROKEN, 5000);
	got = usbif_word_read(&f.back->error);
	result(got == error, what, got, error);
	reconnect();
}

static void break_index(u32 offset, const char *what)
{
	usbif_word_write_release(&f.page->sq_prod, f.sq.published + offset);
	front_kick(&f);
	expect_broken(what, USBIF_ERR_INDEX);
}

static void break_cq(u32 offset, const char *what)
{
	struct usbif_request req = good();

	/* It looks at this index only when it takes requests. */
	still_good("before that");
	still_good("and once more");
	usbif_word_write_release(&f.page->cq_cons, f.cq.cons + offset);
	front_submit(&f, &req);
	expect_broken(what, USBIF_ERR_INDEX);
}

static void configure(void)
{
	struct usbif_request req = front_req(&dev, 0, USBIF_OP_SET_CONFIGURATION);

	req.arg0 = dev.config[5];
	expect("set configuration", &req, USBIF_ST_OK);
}

static void break_requests(void)
{
	struct usbif_request req;
	struct usbif_req wire;

	configure();
	req = front_bulk(&dev, 10, dev.bulk_in, 512, 50);
	front_submit(&f, &req);
	front_submit(&f, &req);
	expect_broken("an id twice", USBIF_ERR_DUP_ID);

	configure();
	req = front_bulk(&dev, 10, dev.bulk_in, 512, 50);
	front_submit(&f, &req);
	req.id = 11;
	front_submit(&f, &req);
	expect_broken("a block in two requests", USBIF_ERR_BLOCK);

	wire = good_wire();
	wire.id = f.lay.ring_entries;
	front_submit_wire(&f, &wire);
	expect_broken("id out of range", USBIF_ERR_BAD_ID);
	wire = good_wire();
	wire.id = 0xffffffff;
	front_submit_wire(&f, &wire);
	expect_broken("id 2^32-1", USBIF_ERR_BAD_ID);
}

static void break_states(void)
{
	usbif_word_write_release(&f.page->state, 77);
	front_kick(&f);
	expect_broken("unknown state", USBIF_ERR_STATE);
	usbif_word_write_release(&f.page->state, USBIF_FRONT_CONNECT);
	front_kick(&f);
	expect_broken("connect without another nonce", USBIF_ERR_STATE);
}

static void break_handshake(void)
{
	front_close(&f);
	usbif_word_write(&f.page->version, 2);
	usbif_word_write_release(&f.page->nonce, f.nonce + 1);
	usbif_word_write_release(&f.page->state, USBIF_FRONT_CONNECT);
	front_kick(&f);
	expect_broken("version 2", USBIF_ERR_VERSION);
	front_close(&f);
	f.page->features = 1ull << 63;
	usbif_word_write_release(&f.page->nonce, f.nonce + 1);
	usbif_word_write_release(&f.page->state, USBIF_FRONT_CONNECT);
	front_kick(&f);
	expect_broken("a feature that was not offered", USBIF_ERR_FEATURE);
}

/* ---- other things that must not matter ---- */

static void forged_words(void)
{
	usbif_word_write(&f.back->sq_cons, 12345);
	usbif_word_write(&f.back->session, 54321);
	usbif_word_write(&f.back->ring_start, 99);
	still_good("the backend does not read back its words");
}

static void lost_bells(void)
{
	struct usbif_request req = good();
	struct usbif_response rsp;

	f.quiet_bell = true;
	front_submit(&f, &req);
	f.quiet_bell = false;
	if (!front_wait(&f, req.id, &rsp, 30))
		front_kick(&f);
	result(front_wait(&f, req.id, &rsp, PROMPT_MS) || !rsp.status,
	       "a late doorbell", 0, 0);
}

static void wraps(const char *file)
{
	int fd = open(file, O_WRONLY);
	struct usbif_request req;
	unsigned int i;

	if (fd < 0 || write(fd, "4294967280", 10) != 10)
		die("cannot write %s", file);
	close(fd);
	front_close(&f);
	reconnect();
	for (i = 0; i < 64; i++) {
		req = good();
		if (front_call(&f, &req).status)
			break;
	}
	result(i == 64, "indices wrap at 2^32", i, 64);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: front_abuse NAME [RING_START_FILE]\n");
		return 2;
	}
	printf("TAP version 13\n");
	front_open(&f, argv[1], REGION);
	f.features = USBIF_F_STREAMS;
	front_drop_at_exit(&f);
	front_connect(&f);
	front_enumerate(&dev, &f, 0, 1);
	still_good("a good request");
	refused_fields();
	refused_setups();
	refused_endpoints();
	refused_iso();
	refused_ops();
	refused_streams();
	still_good("a good request after all that");
	holds();
	shutdowns();
	forged_words();
	break_index(0x10000, "submission index too far");
	break_index(-1u, "submission index moved back");
	break_cq(1, "completion index too far");
	break_cq(-3u, "completion index moved back");
	break_requests();
	break_states();
	break_handshake();
	lost_bells();
	if (argc > 2)
		wraps(argv[2]);
	front_close(&f);
	printf("1..%u\n", number);
	return failed != 0;
}
