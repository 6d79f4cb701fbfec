// SPDX-License-Identifier: GPL-2.0
/*
 * Cases of front_hostile: cancels, resets, devices and sessions that come and go; 55,
 * 61 to 69, 76.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "front_hostile.h"

#define PLUG_MS		20000

/* ---- cancels ---- */

static struct usbif_request cancel_of(u32 id)
{
	return (struct usbif_request) {
		.id = f.lay.nr_requests + id,
		.session = f.session,
		.op = USBIF_OP_CANCEL,
		.arg0 = id,
	};
}

static void strange_cancels(void)
{
	struct usbif_request req = waiting(10);

	cancel(11, USBIF_ST_NOENT);
	cancel(f.lay.nr_requests - 1, USBIF_ST_NOENT);
	still_good();
	cancel(5, USBIF_ST_NOENT);
	front_submit(&f, &req);
	req = cancel_of(10);
	req.arg0 = 11;
	wants("of another than its id says", &req, USBIF_ST_INVALID);
	req = cancel_of(10);
	req.port = 2;
	wants("with a port", &req, USBIF_ST_INVALID);
	req = cancel_of(10);
	req.id = 11;
	wants("with the id of a request", &req, USBIF_ST_INVALID);
	cancel(10, USBIF_ST_OK);
	wants_end(10, USBIF_ST_CANCELLED);
	restart(&disk, disk.bulk_in);
}

/* Of operations that wait for resets, which are paced, none is left that was cancelled. */
static void cancelled_operations(void)
{
	unsigned int i, rounds = is_long ? 400 : 100, cancelled = 0;
	u32 id, end = is_long ? 60 : 36;
	struct usbif_response rsp = { 0 };
	struct usbif_request req;
	unsigned long left;

	for (id = 20; id < end; id++) {
		req = front_req(&disk, id, id % 2 ? USBIF_OP_SET_CONFIGURATION :
						    USBIF_OP_RESET);
		req.arg0 = id % 2 ? disk.config[5] : 0;
		front_submit(&f, &req);
	}
	for (i = 0; i < rounds; i++) {
		req = front_req(&disk, 10, USBIF_OP_SET_CONFIGURATION);
		req.arg0 = disk.config[5];
		front_submit(&f, &req);
		cancel(10, USBIF_ST_OK);
		cancelled += front_wait(&f, 10, &rsp, PROMPT_MS) &&
			     rsp.status == USBIF_ST_CANCELLED;
	}
	left = counter("operations");
	check(left && left <= end - 20, "%lu operations", left);
	check_is("cancelled operations", cancelled, rounds);
	for (id = 20; id < end; id++)
		check(front_wait(&f, id, &rsp, 20000) && !rsp.status,
		      "reset %u ends with %u", id, rsp.status);
}

static void many_cancels(void)
{
	unsigned int i, ok = 0, ends = 0;
	struct usbif_request req = waiting(10);
	struct usbif_response rsp = { 0 };

	front_submit(&f, &req);
	req = cancel_of(10);
	for (i = 0; i < 1000; i++) {
		front_submit(&f, &req);
		if (!front_wait(&f, req.id, &rsp, PROMPT_MS))
			break;
		ok += !rsp.status;
	}
	while (front_wait(&f, 10, &rsp, SILENCE_MS))
		ends += rsp.status == USBIF_ST_CANCELLED;
	check_is("cancels answered", i, 1000);
	check(ok, "none has found its request");
	check_is("ends", ends, 1);
	restart(&disk, disk.bulk_in);
	cancelled_operations();
}

/* Each once, whoever was faster. */
static void cancel_races(void)
{
	unsigned int i, rounds = is_long ? 10000 : 300, ends, answers;
	struct usbif_response rsp = { 0 };
	struct usbif_request req;

	for (i = 0; i < rounds; i++) {
		req = front_bulk(&sink, 10, sink.bulk_in, 512, 100);
		front_submit(&f, &req);
		if (i % 4)
			usleep(i % 7 * 30);
		req = cancel_of(10);
		front_submit(&f, &req);
		answers = front_wait(&f, req.id, &rsp, PROMPT_MS);
		ends = front_wait(&f, 10, &rsp, PROMPT_MS);
		check(answers == 1 && ends == 1, "round %u: %u answers, %u ends",
		      i, answers, ends);
		if (rsp.flags & USBIF_RSP_HELD)
			restart(&sink, sink.bulk_in);
	}
	check(!front_next(&f, &rsp, SILENCE_MS), "one too many: %u", rsp.id);
}

static void cancels_at_once(void)
{
	u32 id, first = 16, most = f.lay.nr_requests;
	struct usbif_response rsp = { 0 };
	struct usbif_request req;
	struct usbif_req wire;
	unsigned int n;

	for (id = first; id < most; id++) {
		req = waiting(id);
		front_submit(&f, &req);
	}
	check(!front_next(&f, &rsp, SILENCE_MS), "request %u has ended", rsp.id);
	for (id = first; id < most; id++) {
		req = cancel_of(id);
		usbif_req_encode(&wire, &req);
		usbif_prod_push(&f.sq, &wire);
	}
	usbif_prod_publish(&f.sq);
	front_kick(&f);
	for (n = 0; front_next(&f, &rsp, n < 2 * (most - first) ? 10 * PROMPT_MS :
							  SILENCE_MS); n++)
		check(rsp.status == (rsp.id < most ? USBIF_ST_CANCELLED :
						     USBIF_ST_OK),
		      "%u ends with %u", rsp.id, rsp.status);
	check_is("answers and ends", n, 2 * (most - first));
	restart(&disk, disk.bulk_in);
}

/* ---- resets ---- */

/* Sixteen at once, then four a second: the host's USB core may log each of them. */
static void failing_settings(void)
{
	struct usbif_request req = front_req(&sink, 8, USBIF_OP_SET_INTERFACE);
	struct usbif_response rsp = { 0 };
	u64 begun = now_ms();
	unsigned int i;

	req.arg1 = 77;
	for (i = 0; i < 22; i++) {
		front_submit(&f, &req);
		check(front_wait(&f, 8, &rsp, PROMPT_MS) && rsp.status,
		      "setting %u: %u", i, rsp.status);
	}
	begun = now_ms() - begun;
	check(begun >= 4 * 250, "22 settings fail in %u ms", (unsigned int)begun);
}

/* Four a second; and no other port waits. */
static void many_resets(void)
{
	unsigned int i, rounds = is_long ? 40 : 4;
	struct usbif_request req;
	u64 begun = now_ms(), at, slowest = 0;
	struct usbif_response rsp = { 0 };
	bool done;

	for (i = 0; i < rounds; i++) {
		configure(&disk);
		req = front_req(&disk, 8, USBIF_OP_RESET);
		front_submit(&f, &req);
		do {
			at = now_ms();
			req = front_bulk(&sink, 7, sink.bulk_in, 4096, 100);
			wants("another port", &req, USBIF_ST_OK);
			at = now_ms() - at;
			slowest = at > slowest ? at : slowest;
			done = front_wait(&f, 8, &rsp, 5);
		} while (!done && now_ms() - begun < 60000);
		check(done && !rsp.status, "reset %u: %u", i, rsp.status);
	}
	begun = now_ms() - begun;
	check(begun >= (rounds - 1) * 250, "%u resets in %u ms", rounds,
	      (unsigned int)begun);
	check(slowest < 1000, "another port waited for %u ms",
	      (unsigned int)slowest);
	configure(&disk);
	failing_settings();
}

static void nested_resets(void)
{
	struct usbif_request req;
	u32 id;

	for (id = 10; id < 14; id++) {
		req = waiting(id);
		front_submit(&f, &req);
	}
	for (id = 20; id < 24; id++) {
		req = front_req(&disk, id, USBIF_OP_RESET);
		front_submit(&f, &req);
		req = front_req(&disk, id + 10, USBIF_OP_SET_CONFIGURATION);
		req.arg0 = disk.config[5];
		front_submit(&f, &req);
		req = waiting(id + 20);
		front_submit(&f, &req);
	}
	for (id = 10; id < 14; id++)
		wants_end(id, USBIF_ST_SHUTDOWN);
	for (id = 20; id < 24; id++) {
		wants_end(id, USBIF_ST_OK);
		wants_end(id + 10, USBIF_ST_OK);
		if (id < 23)
			wants_end(id + 20, USBIF_ST_SHUTDOWN);
	}
	cancel(43, USBIF_ST_OK);
	wants_end(43, USBIF_ST_CANCELLED);
	restart(&disk, disk.bulk_in);
}

static void power_storm(void)
{
	unsigned int i, rounds = is_long ? 20 : 1;
	struct usbif_response rsp = { 0 };
	struct usbif_request req;
	u32 id;

	for (i = 0; i < rounds; i++) {
		for (id = 20; id < 60; id++) {
			req = front_req(&keys, id, id % 2 ? USBIF_OP_RESUME :
							    USBIF_OP_SUSPEND);
			req.arg0 = id % 4 == 0;
			front_submit(&f, &req);
		}
		for (id = 20; id < 60; id++)
			check(front_wait(&f, id, &rsp, 20000),
			      "operation %u does not end", id);
	}
	req = front_req(&keys, 8, USBIF_OP_SUSPEND);
	req.arg0 = 2;
	wants("argument 2", &req, USBIF_ST_INVALID);
	req.arg0 = 0;
	for (i = 0; i < 3; i++)
		wants("suspend", &req, USBIF_ST_OK);
	req = front_req(&keys, 8, USBIF_OP_RESUME);
	wants("resume", &req, USBIF_ST_OK);
	req = front_control(&keys, 5, 0x80, 6, 0x0100, 0, 18, 0);
	wants("awake", &req, USBIF_ST_OK);
}

/* ---- devices that go: the program at the other end pulls the plug of the sink ---- */

static void wait_unplugged(void)
{
	say("unplug");
	front_wait_port(&f, 0, 2, false, PLUG_MS);
}

static void gone_device(void)
{
	struct usbif_request req;

	wait_unplugged();
	req = front_bulk(&sink, 7, sink.bulk_in, 512, 100);
	wants("transfer", &req, USBIF_ST_NODEV);
	req = front_control(&sink, 7, 0x80, 6, 0x0100, 0, 18, 0);
	wants("descriptor", &req, USBIF_ST_NODEV);
	req = front_req(&sink, 7, USBIF_OP_RESET);
	wants("reset", &req, USBIF_ST_NODEV);
	req = front_req(&sink, 7, USBIF_OP_CLEAR_HALT);
	req.endpoint = sink.bulk_in;
	wants("clear halt", &req, USBIF_ST_NODEV);
	say("plug");
	front_enumerate(&sink, &f, 0, 2);
}

/* Firmware that is loaded makes another device of it. */
static void other_device(void)
{
	struct front_dev old = sink;
	struct usbif_request req;

	wait_unplugged();
	say("plug other");
	front_enumerate(&sink, &f, 0, 2);
	check(memcmp(old.descriptor, sink.descriptor, 18), "the same device");
	check(old.epoch != sink.epoch, "the same epoch");
	req = front_bulk(&old, 7, sink.bulk_in, 512, 100);
	wants("a transfer for the old one", &req, USBIF_ST_NODEV);
}

/* ---- sessions ---- */

static void many_sessions(void)
{
	unsigned int i, rounds = is_long ? 1000 : 10, id;
	struct usbif_request req;
	u32 last = 0;

	for (i = 0; i < rounds; i++) {
		if (i)
			front_connect(&f);
		check(f.session != last, "session %u again", last);
		last = f.session;
		if (i % 3 == 0) {
			front_enumerate(&disk, &f, 0, 1);
			for (id = 10; id < 40; id++) {
				req = waiting(id);
				front_submit(&f, &req);
			}
		}
		if (i % 2)
			front_close(&f);
	}
	forget_session();
	check_is("violations", usbif_word_read(&f.back->error), 0);
}

/* Its pages are pinned: what becomes of the file is nobody's concern. */
static void shrunk_region(void)
{
	static struct front other;
	unsigned int i;

	check(ftruncate(f.memfd, 4096) && errno == EPERM, "it was cut");
	check(ftruncate(f.memfd, f.size * 2) && errno == EPERM, "it has grown");
	for (i = 0; i < 3; i++) {
		front_open(&other, "evil2", f.size);
		front_connect(&other);
		if (fallocate(other.memfd, FALLOC_FL_PUNCH_HOLE |
			      FALLOC_FL_KEEP_SIZE, 0, other.size))
			die("no hole");
		front_kick(&other);
		still_good();
		front_drop("evil2");
		close(other.memfd);
		close(other.in);
		close(other.out);
	}
}

const struct hostile_case hostile_ends[] = {
	{ 55, other_device },
	{ 61, strange_cancels },
	{ 62, many_cancels },
	{ 63, cancel_races },
	{ 64, cancels_at_once },
	{ 65, many_resets },
	{ 66, nested_resets },
	{ 67, power_storm },
	{ 68, gone_device },
	{ 69, many_sessions },
	{ 76, shrunk_region },
	{ 0, NULL },
};
