// SPDX-License-Identifier: GPL-2.0
/*
 * back_kcov NAME SECONDS SEED: a backend that looks for what usbfront does not stand,
 * guided by which of its code has run (guided.h).
 *
 * Its device has endpoints of all kinds, and a driver (kcov_driver.h). A step has that
 * driver do something, or answers one of its requests in any way, or is a word of the
 * backend's page, of the port table or of the results of packets, or an index that is
 * wrong. What an input has left unanswered is answered as it should be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back.h"
#include "guided.h"
#include "kcov.h"
#include "kcov_device.h"
#include "kcov_driver.h"

#define REGION		(4u << 20)
#define PORT		1
#define SETTLE_US	30000
#define DEVICE_US	2000000ull	/* until it has come anew by itself */
#define PATIENCE_US	30000000ull

enum kind {
	DRIVE,			/* the driver is to do something */
	ANSWER,			/* one of the requests, by @wire */
	ANSWER_ALL,		/* as it should be */
	RESULT,			/* word @arg of the results of the next answer is @value */
	PAUSE,
	HARMLESS = PAUSE,	/* what follows ends the session, or takes the device */
	PAGE,			/* word @arg of our page is @value */
	PORTS,			/* the same of the port table */
	PUBLISH,		/* @arg more completions than were written */
	CONSUME,		/* @arg more requests than there are */
	PLUG,
	RESTART,
	LAST = RESTART,
};

#define FIX_SESSION	1u
#define FIX_ACTUAL	2u	/* at most what was asked for */
#define FIX_ID		4u
#define FIX_VALID	8u	/* what there is in a completion */
#define NR_FIX		4

static struct back b;
static const char *name;
/* Requests in the order of their arrival. */
static u32 queue[USBIF_MAX_REQUESTS];
static unsigned int nr_queued, nr_configured;
static bool spoils_result;
static u32 spoilt_word, spoilt_value;
/* Where results were written last. */
static __le32 *_Atomic results_at;

/* ---- requests ---- */

static void forget_requests(void)
{
	nr_queued = 0;
	memset(b.reqs, 0, sizeof(b.reqs));
}

static void dequeue(u32 id)
{
	unsigned int i;

	for (i = 0; i < nr_queued && queue[i] != id; i++)
		;
	if (i == nr_queued)
		return;
	nr_queued--;
	memmove(&queue[i], &queue[i + 1], (nr_queued - i) * sizeof(queue[0]));
}

static void respond(const struct usbif_rsp *wire)
{
	if (usbif_prod_room(&b.cq) <= 0)
		return;
	usbif_prod_push(&b.cq, wire);
	usbif_prod_publish(&b.cq);
	back_kick(&b);
}

/* The results of all packets, and one word of them that is not. */
static void write_results(struct back_req *r)
{
	struct usbif_iso_result *results = back_results(&b, r);
	u32 i;

	results_at = (__le32 *)results;
	for (i = 0; i < r->req.nr_packets; i++) {
		results[i].status = 0;
		results[i].actual = r->req.length / r->req.nr_packets;
	}
	if (spoils_result)
		usbif_word_write((__le32 *)results + spoilt_word %
				 (2 * r->req.nr_packets), spoilt_value);
	spoils_result = false;
}

static void end_request(struct back_req *r, const struct usbif_rsp *wire)
{
	if (r->req.nr_packets)
		write_results(r);
	dequeue(r->req.id);
	r->is_live = false;
	respond(wire);
}

static void answer_with(struct back_req *r, u8 status, u32 actual, u32 value)
{
	struct usbif_response rsp = {
		.id = r->req.id,
		.session = b.session,
		.status = status,
		.actual = actual,
		.value = value,
	};
	struct usbif_rsp wire;

	usbif_rsp_encode(&wire, &rsp);
	end_request(r, &wire);
}

/* As a good backend does. */
static void answer(struct back_req *r)
{
	u32 value = 0;
	u32 actual;

	if (r->req.vusb || r->req.port != PORT || !b.port[PORT].status ||
	    r->req.port_epoch != b.port[PORT].epoch) {
		answer_with(r, USBIF_ST_NODEV, 0, 0);
		return;
	}
	actual = device_run(&b, r, &value);
	if (r->req.op == USBIF_OP_SET_CONFIGURATION)
		driver_configured(r->req.arg0 ? ++nr_configured : 0);
	if (actual == DEVICE_STALL)
		answer_with(r, USBIF_ST_STALL, 0, 0);
	else
		answer_with(r, USBIF_ST_OK, actual, value);
}

static void answer_all(void)
{
	while (nr_queued)
		answer(&b.reqs[queue[0]]);
}

static void cancel(u32 target)
{
	struct back_req *r = &b.reqs[target];
	struct usbif_response rsp = {
		.id = b.lay.nr_requests + target,
		.session = b.session,
		.status = r->is_live ? USBIF_ST_OK : USBIF_ST_NOENT,
	};
	struct usbif_rsp wire;

	if (r->is_live)
		answer_with(r, USBIF_ST_CANCELLED, 0, 0);
	usbif_rsp_encode(&wire, &rsp);
	respond(&wire);
}

/* Lies make a mess of our own records: what does not fit in is forgotten. */
static void take(const struct usbif_req *wire)
{
	static struct usbif_packet packets[USBIF_MAX_ISO_PACKETS];
	static struct back_req fresh;
	enum usbif_why why = 0;
	struct back_req *r;

	memset(&fresh, 0, sizeof(fresh));
	if (usbif_req_decode(&fresh.req, wire, &b.lay, b.session, &why))
		return;
	if (fresh.req.op == USBIF_OP_CANCEL) {
		cancel(fresh.req.arg0);
		return;
	}
	if (usbif_table_decode(&fresh.req, b.region + b.lay.pool_offset +
			       (u64)fresh.req.table_block * USBIF_BLOCK_SIZE,
			       &b.lay, fresh.ranges, packets, &why))
		return;
	r = &b.reqs[fresh.req.id];
	dequeue(fresh.req.id);
	*r = fresh;
	r->is_live = true;
	queue[nr_queued++] = fresh.req.id;
}

static bool is_running(void)
{
	return b.state == USBIF_BACK_CONNECTED &&
	       usbif_word_read_acquire(&b.front->state) == USBIF_FRONT_RUNNING &&
	       usbif_word_read(&b.front->session) == b.session;
}

static void look(void)
{
	u32 session = b.session, state = b.state;
	struct usbif_req wire;
	int n;

	back_look(&b);
	if (b.session != session || b.state != state)
		forget_requests();
	if (!is_running())
		return;
	for (n = usbif_cons_avail(&b.sq); n > 0; n--) {
		usbif_cons_pop(&b.sq, &wire);
		usbif_cons_commit(&b.sq);
		take(&wire);
	}
	usbif_cons_arm(&b.sq);
}

/* ---- steps ---- */

static void fresh(struct step *step)
{
	u64 *seed = &guided_seed;
	struct usbif_response rsp = { 0 };

	if (rnd(seed, 3))
		step->kind = rnd(seed, 2) ? DRIVE : ANSWER;
	else
		step->kind = rnd(seed, 1 + (rnd(seed, 16) ? HARMLESS : LAST));
	if (rnd(seed, 2))
		rsp.status = rnd(seed, USBIF_ST_MAX + 1);
	if (rsp.status && rnd(seed, 2))
		rsp.flags = USBIF_RSP_HELD;
	if (rnd(seed, 2))
		rsp.actual = odd_value(seed);
	if (!rnd(seed, 8))
		step->fix &= ~FIX_ACTUAL;
	rsp.value = rnd(seed, 32);
	rsp.error_count = rnd(seed, 3);
	usbif_rsp_encode(&step->wire.rsp, &rsp);
}

static void drive(u32 arg, u32 value)
{
	/* Mostly transfers; what it waits for only now and then. */
	static const u8 ops[] = {
		DRIVER_DISCARD, DRIVER_DISCARD, DRIVER_DISCARD, DRIVER_SETTING,
		DRIVER_SETTING, DRIVER_CLEAR_HALT, DRIVER_STREAMS,
		DRIVER_SUSPEND, DRIVER_RESET,
	};
	u32 op = arg / 8 % 32;

	driver_do(op < sizeof(ops) ? ops[op] : DRIVER_SUBMIT, arg, value);
}

/* Requests come from another thread: for them we wait for a moment. */
static void await_request(void)
{
	u64 end = now_us() + 3000;

	for (look(); !nr_queued && !driver_is_idle() && now_us() < end; look())
		back_sleep(&b, -1, 500);
}

static void answer_falsely(const struct step *step)
{
	struct usbif_rsp wire = step->wire.rsp;
	struct back_req *r;

	await_request();
	if (!nr_queued)
		return;
	r = &b.reqs[queue[step->arg % nr_queued]];
	/* Those of another request end the session: rather seldom. */
	if (step->fix & FIX_ID || step->value % 16)
		wire.id = r->req.id;
	if (step->fix & FIX_SESSION || step->value % 16)
		wire.session = b.session;
	if (step->fix & FIX_VALID) {
		wire.status %= USBIF_ST_MAX + 1;
		wire.flags &= USBIF_RSP_HELD;
		wire.reserved0 = 0;
		wire.reserved1 = 0;
	}
	if (wire.actual > r->req.length && step->fix & FIX_ACTUAL)
		wire.actual = r->req.length;
	end_request(r, &wire);
}

static void write_ports(const struct step *step)
{
	/* Ours, or any. */
	u32 word = step->arg % 4 ? PORT * 4 + step->arg / 4 % 4 :
				   step->arg / 4 % (16 * 16 * 4);
	u32 value = step->value;

	/* Most states that are none end the session. */
	if (!(word % 4) && step->arg % 8)
		value = value % 3 | step->arg / 16 % (USBIF_SPEED_SUPER_PLUS_X2 + 1) << 8;
	usbif_word_write((__le32 *)b.ports + word, value);
	usbif_word_write_release(&b.page->port_gen, ++b.port_gen);
	back_kick(&b);
}

static void replug(u32 arg)
{
	static const u8 speeds[] = {
		USBIF_SPEED_HIGH, USBIF_SPEED_SUPER, USBIF_SPEED_FULL,
		USBIF_SPEED_SUPER_PLUS,
	};

	forget_requests();
	driver_configured(0);
	back_unplug(&b, PORT, 1 + arg % 3);
	if (arg & 4)
		back_sleep(&b, -1, 1000);
	back_plug(&b, PORT, speeds[arg / 8 % 4]);
}

static void do_step(const struct step *step)
{
	look();
	switch (step->kind) {
	case DRIVE:
		drive(step->arg, step->value);
		break;
	case ANSWER:
		answer_falsely(step);
		break;
	case ANSWER_ALL:
		await_request();
		answer_all();
		break;
	case RESULT:
		spoils_result = true;
		spoilt_word = step->arg;
		spoilt_value = step->value;
		break;
	case PAUSE:
		back_sleep(&b, -1, 1000);
		break;
	case PAGE:
		usbif_word_write((__le32 *)b.page + step->arg % 128, step->value);
		back_kick(&b);
		break;
	case PORTS:
		write_ports(step);
		break;
	case PUBLISH:
		b.cq.prod += step->arg % 16;
		usbif_prod_publish(&b.cq);
		back_kick(&b);
		break;
	case CONSUME:
		usbif_word_write_release(&b.page->sq_cons,
					 b.sq.cons + step->arg % 64);
		back_kick(&b);
		break;
	case PLUG:
		replug(step->arg);
		break;
	default:
		forget_requests();
		back_start(&b);
	}
}

/* ---- the frame ---- */

static u32 front_beat(void)
{
	return usbif_word_read(&b.front->heartbeat);
}

/* A good backend for a while; false if that did not help. */
static bool serve(bool (*until)(void), u64 us)
{
	u64 end = now_us() + us;

	while (!until()) {
		if (now_us() > end)
			return false;
		look();
		if (is_running())
			answer_all();
		back_sleep(&b, -1, 1000);
	}
	return true;
}

static bool is_usable(void)
{
	return is_running() && driver_is_ready();
}

/* Another session; the device comes anew with it. */
static void restart(void)
{
	forget_requests();
	spoils_result = false;
	driver_configured(0);
	if (!b.port[PORT].status)
		back_plug(&b, PORT, USBIF_SPEED_HIGH);
	back_start(&b);
	if (!serve(is_usable, PATIENCE_US))
		die("no device: session %u of %s, configured %u times",
		    b.session, is_running() ? "one that runs" : "none",
		    nr_configured);
}

/* Only if it must be. */
static void connect(void)
{
	if (!is_running() || !serve(is_usable, DEVICE_US))
		restart();
}

/* Until the frontend has begun two more turns, the driver having been served. */
static void settle(void)
{
	u64 end = now_us() + SETTLE_US;
	u32 beat;

	do {
		look();
		answer_all();
		back_sleep(&b, -1, 500);
	} while (is_running() && now_us() < end &&
		 (nr_queued || !driver_is_idle() || !back_is_taken(&b)));
	beat = front_beat();
	while (is_running() && now_us() < end && front_beat() - beat < 2) {
		back_kick(&b);
		back_sleep(&b, -1, 500);
	}
}

static void scribble(u64 *seed)
{
	u32 nr = b.lay.ring_entries * sizeof(struct usbif_rsp) / 4;
	__le32 *at = b.region + b.lay.cq_offset;
	u32 word = rnd(seed, nr);

	if (results_at && rnd(seed, 4))
		at = results_at + rnd(seed, 32);
	/* Seldom what ends the session: all but actual, value and frame. */
	else if (word % 8 - 3 < 3 || !rnd(seed, 64))
		at += word;
	else
		return;
	usbif_word_write(at, odd_value(seed));
}

/* A sane backend, with a new session. */
static void check(void)
{
	restart();
	driver_do(DRIVER_CHECK, 0, 0);
	if (!serve(driver_is_idle, PATIENCE_US))
		die("the driver does not come back");
	if (driver_verdict())
		die("with a sane backend %s", driver_verdict());
}

static void drop(void)
{
	back_drop(name);
}

static void make(const char *channel)
{
	name = channel;
	b.is_deaf = true;	/* we take requests ourselves */
	back_open(&b, name, REGION, USBIF_F_ISO | USBIF_F_STREAMS |
		  USBIF_F_SUSPEND | USBIF_F_FRAME);
	atexit(drop);
	driver_start();
}

static const struct guided side = {
	.program = "back_kcov",
	.wire_size = sizeof(struct usbif_rsp),
	.nr_fix = NR_FIX,
	.fresh = fresh,
	.open = make,
	.connect = connect,
	.is_running = is_usable,
	.step = do_step,
	.settle = settle,
	.scribble = scribble,
	.check = check,
};

int main(int argc, char **argv)
{
	return guided_main(&side, argc, argv);
}
