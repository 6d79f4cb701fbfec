// SPDX-License-Identifier: GPL-2.0
/*
 * front_hostile NAME DEBUGFS-DIRECTORY [long]
 * front_hostile pci DIRECTORY-IN-SYSFS [long]
 *
 * A frontend that attacks usbback, of this machine, or, over ivshmem, of another. It
 * reads numbers of cases (Documentation/reliability.rst), one per line, and says of each
 * "H17 held" or "H17 FAILED: why". Port 1 has a disk, port 2 a source and sink, port 3
 * a keyboard, port 4 tests/tools/usbip_iso.c. After each case a session as any guest has
 * it must work with all of them.
 *
 * What it wants of the other machine's debugfs it asks for: "counter NAME" and
 * "ring_start N", each answered with a line that has a number.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "front_hostile.h"

#define REGION		(4u << 20)
#define FEATURES	(USBIF_F_ISO | USBIF_F_STREAMS | USBIF_F_SUSPEND | \
			 USBIF_F_FRAME)

struct front f;
struct front_dev disk, sink, keys, strm;
bool is_long;

static const char *debug_dir;	/* NULL: it is in another machine */
static char remark[400];
static bool is_ready;

static const struct hostile_case * const groups[] = {
	hostile_words, hostile_requests, hostile_iso, hostile_ends, hostile_floods,
};

/* ---- what is said ---- */

void check(bool good, const char *fmt, ...)
{
	va_list args;

	if (good || remark[0])
		return;
	va_start(args, fmt);
	vsnprintf(remark, sizeof(remark), fmt, args);
	va_end(args);
}

void check_is(const char *what, unsigned long is, unsigned long wanted)
{
	check(is == wanted, "%s: %lu, not %lu", what, is, wanted);
}

void say(const char *word)
{
	printf("%s\n", word);
	fflush(stdout);
}

/* ---- requests ---- */

struct usbif_request good(void)
{
	return front_control(&disk, 5, 0x80, 6, 0x0100, 0, 18, 0);
}

struct usbif_req good_wire(void)
{
	struct usbif_request req = good();
	struct usbif_req wire;

	usbif_req_encode(&wire, &req);
	return wire;
}

void wants_wire(const char *what, const struct usbif_req *wire, unsigned int status)
{
	struct usbif_response rsp;

	front_submit_wire(&f, wire);
	if (!front_wait(&f, wire->id, &rsp, PROMPT_MS))
		check(false, "%s: no completion", what);
	else
		check_is(what, rsp.status, status);
}

void wants(const char *what, const struct usbif_request *req, unsigned int status)
{
	struct usbif_req wire;

	usbif_req_encode(&wire, req);
	wants_wire(what, &wire, status);
}

void still_good(void)
{
	struct usbif_request req = good();

	wants("a good request", &req, USBIF_ST_OK);
}

struct usbif_request waiting(u32 id)
{
	return front_bulk(&disk, id, disk.bulk_in, 512, PIPE_BLOCK + id);
}

void cancel(u32 id, unsigned int status)
{
	struct usbif_request req = {
		.id = f.lay.nr_requests + id,
		.session = f.session,
		.op = USBIF_OP_CANCEL,
		.arg0 = id,
	};

	wants("cancel", &req, status);
}

void wants_end(u32 id, unsigned int status)
{
	struct usbif_response rsp;

	if (!front_wait(&f, id, &rsp, PROMPT_MS))
		check(false, "request %u does not end", id);
	else
		check_is("end of a request", rsp.status, status);
}

void restart(const struct front_dev *dev, u8 endpoint)
{
	struct usbif_request req = front_req(dev, 9, USBIF_OP_RESTART);

	req.endpoint = endpoint;
	wants("restart", &req, USBIF_ST_OK);
}

void configure(const struct front_dev *dev)
{
	struct usbif_request req = front_req(dev, 0, USBIF_OP_SET_CONFIGURATION);

	req.arg0 = dev->config[5];
	wants("set configuration", &req, USBIF_ST_OK);
}

/* ---- sessions ---- */

void forget_session(void)
{
	is_ready = false;
}

void wants_state(const char *what, u32 state)
{
	u64 end = now_ms() + PROMPT_MS;
	u32 is;

	while ((is = usbif_word_read_acquire(&f.back->state)) != state &&
	       now_ms() < end)
		front_sleep(&f, 20);
	check_is(what, is, state);
	if (state != USBIF_BACK_CONNECTED)
		forget_session();
}

void wants_broken(const char *what, u32 error)
{
	wants_state(what, USBIF_BACK_BROKEN);
	check_is(what, usbif_word_read(&f.back->error), error);
}

void ready(void)
{
	if (is_ready)
		return;
	front_connect(&f);
	front_enumerate(&disk, &f, 0, 1);
	front_enumerate(&sink, &f, 0, 2);
	front_enumerate(&keys, &f, 0, 3);
	front_enumerate(&strm, &f, 0, 4);
	is_ready = true;
}

/* All that an honest frontend does with the three devices. */
static void check_works(void)
{
	struct usbif_request req;

	ready();
	still_good();
	front_read_sectors(&disk, 0, 8, 100);
	req = front_bulk(&sink, 7, sink.bulk_in, 4096, 100);
	wants("source", &req, USBIF_ST_OK);
	req = front_bulk(&sink, 7, sink.bulk_out, 4096, 100);
	wants("sink", &req, USBIF_ST_OK);
}

/* ---- counters, flippers ---- */

/* What the other machine says to what was asked for last. */
static unsigned long answer(void)
{
	unsigned long value;

	fflush(stdout);
	if (scanf("%lu", &value) != 1)
		die("no answer");
	return value;
}

void start_at(u32 start)
{
	char path[200], text[16];
	int fd, len;

	if (!debug_dir) {
		printf("ring_start %u\n", start);
		answer();
		return;
	}
	snprintf(path, sizeof(path), "%s/ring_start", debug_dir);
	len = snprintf(text, sizeof(text), "%u", start);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, len) != len)
		die("cannot write %s", path);
	close(fd);
}

unsigned long counter(const char *name)
{
	unsigned long value = 0;
	char path[200], line[400];
	size_t len = strlen(name);
	FILE *file;

	if (!debug_dir) {
		printf("counter %s\n", name);
		return answer();
	}
	snprintf(path, sizeof(path), "%s/channel", debug_dir);
	file = fopen(path, "r");
	if (!file)
		die("cannot read %s", path);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && line[len] == ' ')
			value = strtoul(line + len, NULL, 10);
	fclose(file);
	return value;
}

static void *flip_run(void *arg)
{
	struct flipper *flipper = arg;
	u64 seed = 88172645463325252ull;

	while (!flipper->stop) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		flipper->flip(seed >> 32);
		if (flipper->pause_us)
			usleep(flipper->pause_us);
	}
	return NULL;
}

void flip_start(struct flipper *flipper, void (*flip)(u32 random),
		unsigned int pause_us)
{
	flipper->stop = false;
	flipper->flip = flip;
	flipper->pause_us = pause_us;
	if (pthread_create(&flipper->thread, NULL, flip_run, flipper))
		die("no thread");
}

void flip_stop(struct flipper *flipper)
{
	flipper->stop = true;
	pthread_join(flipper->thread, NULL);
}

/* ---- the frame ---- */

static const struct hostile_case *find(unsigned int number)
{
	const struct hostile_case *c;
	unsigned int i;

	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		for (c = groups[i]; c->run; c++)
			if (c->number == number)
				return c;
	die("there is no case %u", number);
}

static void list(void)
{
	const struct hostile_case *c;
	unsigned int i;

	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		for (c = groups[i]; c->run; c++)
			printf("%u\n", c->number);
}

static void run(unsigned int number)
{
	const struct hostile_case *c = find(number);

	remark[0] = '\0';
	ready();
	c->run();
	check_works();
	if (remark[0])
		printf("H%u FAILED: %s\n", number, remark);
	else
		printf("H%u held\n", number);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned int number;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		list();
		return 0;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: front_hostile NAME DEBUGFS [long]\n"
			"       front_hostile pci DIRECTORY [long]\n"
			"       front_hostile list\n");
		return 2;
	}
	is_long = argc > 3;
	if (!strcmp(argv[1], "pci")) {
		front_open_pci(&f, argv[2]);
	} else {
		debug_dir = argv[2];
		front_open(&f, argv[1], REGION);
		front_drop_at_exit(&f);
	}
	f.features = FEATURES;
	ready();
	say("ready");
	while (scanf("%u", &number) == 1)
		run(number);
	front_close(&f);
	return 0;
}
