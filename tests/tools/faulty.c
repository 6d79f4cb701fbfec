// SPDX-License-Identifier: GPL-2.0
/*
 * faulty NODE PID CASE [ARG...] - what becomes of transfers when the plug is pulled
 *
 * NODE is the usbfs node of the device that usbip_faulty.c is, or gadget_faulty.c, PID is
 * that program, which is killed when all that the case has begun is under way:
 *
 *   in, out		a control request, in its data stage
 *   configuration	while the configuration is set
 *   setting		while the setting of an interface is chosen
 *   reset		while the port is reset
 *   queue N		N bulk transfers in a row over all endpoints
 *   interrupt		transfers at the interrupt endpoints
 *   unlinks		transfers that have been unlinked and were not given back
 *   stream N		generation N of the device; when it says "streaming", somebody else
 *			may pull the plug
 *
 * All of it has to end, with an error, once, in order, and soon; where there is a timeout
 * that may be the error, whoever runs this has to compare. With PID 0 nothing is killed:
 *
 *   mode M A		tell the device
 *   counts		print what it has counted
 *   error E		the device fails with errno E: print the statuses
 *   stuck		one transfer that is unlinked, and is not given back
 *   forever		one that is unlinked, of a device that has nothing to say
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "faulty.h"

#define UNDER_WAY_MS	150
/* Ten times what is promised, if not more: others use the machine, too. */
#define LIMIT_MS	10000
#define UNLINK_MS	50
#define STUCK_MS	50000
#define MAX_QUEUE	2048
#define NR_THREADS	8
#define IN		0x80

static int fd;
static pid_t device;

__attribute__((format(printf, 1, 2)))
noreturn static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the device ---- */

static int control(uint8_t type, uint8_t request, uint16_t value, uint16_t index,
		   uint16_t length, void *data)
{
	struct usbdevfs_ctrltransfer c = {
		.bRequestType = type, .bRequest = request, .wValue = value,
		.wIndex = index, .wLength = length, .data = data,
	};

	return ioctl(fd, USBDEVFS_CONTROL, &c) < 0 ? errno : 0;
}

static void set_mode(uint16_t mode, uint16_t argument)
{
	int error = control(0x40, SET_MODE, mode, argument, 0, NULL);

	if (error)
		fail("mode %u: %s", mode, strerror(error));
}

static struct counts get_counts(void)
{
	struct counts c;
	int error = control(0xc0, GET_COUNTS, 0, 0, sizeof(c), &c);

	if (error)
		fail("counts: %s", strerror(error));
	c.generation = le32toh(c.generation);
	c.own = le32toh(c.own);
	c.foreign = le32toh(c.foreign);
	return c;
}

/* Over all bulk endpoints, in and out by turns. */
static uint8_t bulk_endpoint(int i)
{
	return (i / 2 % NR_BULK + 1) | (i & 1 ? 0 : IN);
}

static void claim(void)
{
	unsigned int number = 0;

	if (ioctl(fd, USBDEVFS_CLAIMINTERFACE, &number))
		fail("claim: %s", strerror(errno));
}

static long pull(void)
{
	usleep(1000 * UNDER_WAY_MS);
	if (kill(device, SIGKILL))
		fail("kill %d: %s", device, strerror(errno));
	return now_ms();
}

/* What a driver may be told of a device that has gone. */
static bool is_gone(int error)
{
	return error == ENODEV || error == ESHUTDOWN || error == EPROTO;
}

static void expect_within(const char *what, long begun, long limit)
{
	long ms = now_ms() - begun;

	if (ms > limit)
		fail("%s ended after %ld ms", what, ms);
	printf("%s ended after %ld ms\n", what, ms);
}

static void expect_soon(const char *what, long begun)
{
	expect_within(what, begun, LIMIT_MS);
}

/* ---- what blocks its caller ---- */

struct call {
	pthread_t thread;
	unsigned long request;
	void *arg;
	int error;		/* 0: it went well */
};

static void *call_run(void *p)
{
	struct call *c = p;

	c->error = ioctl(fd, c->request, c->arg) < 0 ? errno : 0;
	return NULL;
}

static void call_begin(struct call *c, unsigned long request, void *arg)
{
	c->request = request;
	c->arg = arg;
	if (pthread_create(&c->thread, NULL, call_run, c))
		fail("thread");
}

static int call_end(struct call *c, const char *what)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 4 * LIMIT_MS / 1000;
	if (pthread_timedjoin_np(c->thread, NULL, &ts))
		fail("%s does not end", what);
	return c->error;
}

/* One call; the plug is pulled meanwhile. */
static void pull_in_call(const char *what, unsigned long request, void *arg)
{
	struct call c;
	long pulled;
	int error;

	call_begin(&c, request, arg);
	pulled = pull();
	error = call_end(&c, what);
	/*
	 * vhci_hcd takes nothing back before it has the device's lock, which is held here:
	 * the USB core gives up first, after 5 seconds. Of the host's the guest hears that
	 * an URB's status is ETIME.
	 */
	if (!is_gone(error) && (request == USBDEVFS_CONTROL ||
				(error != ETIMEDOUT && error != ETIME)))
		fail("%s: %s", what, strerror(error));
	expect_soon(strerrorname_np(error), pulled);
}

static void pull_in_control(uint8_t type)
{
	static uint8_t data[PACKET];
	struct usbdevfs_ctrltransfer c = {
		.bRequestType = type, .bRequest = NEVER, .wLength = sizeof(data),
		.data = data,
	};

	pull_in_call("control request", USBDEVFS_CONTROL, &c);
}

static void pull_in_configuration(void)
{
	int value = 1;

	set_mode(MODE_HOLD, 0);
	pull_in_call("configuration", USBDEVFS_SETCONFIGURATION, &value);
}

static void pull_in_setting(void)
{
	struct usbdevfs_setinterface s = { .interface = 0, .altsetting = 1 };

	claim();
	set_mode(MODE_HOLD, 0);
	pull_in_call("setting", USBDEVFS_SETINTERFACE, &s);
}

static void pull_in_reset(void)
{
	set_mode(MODE_HOLD, 0);
	pull_in_call("reset", USBDEVFS_RESET, NULL);
}

/* ---- a thread for each of several that are unlinked when their time is over ---- */

static struct usbdevfs_bulktransfer bulks[NR_THREADS];

static void begin_unlinks(struct call *calls, int n)
{
	int i;

	claim();
	set_mode(MODE_CLING, 0);
	for (i = 0; i < n; i++) {
		bulks[i].ep = bulk_endpoint(i);
		bulks[i].len = PACKET;
		bulks[i].timeout = 50;
		bulks[i].data = calloc(1, PACKET);
		call_begin(&calls[i], USBDEVFS_BULK, &bulks[i]);
	}
}

static void end_unlinks(struct call *calls, int n)
{
	int i, error;

	for (i = 0; i < n; i++) {
		error = call_end(&calls[i], "what was unlinked");
		if (error != ETIMEDOUT && !is_gone(error))
			fail("what was unlinked: %s", strerror(error));
	}
}

static void pull_in_unlinks(void)
{
	struct call calls[NR_THREADS];
	long pulled;

	begin_unlinks(calls, NR_THREADS);
	usleep(1000 * UNDER_WAY_MS);
	pulled = pull();
	end_unlinks(calls, NR_THREADS);
	expect_soon("all", pulled);
}

static void stuck(void)
{
	struct call c;
	long begun = now_ms();

	begin_unlinks(&c, 1);
	end_unlinks(&c, 1);
	expect_within("the unlink", begun, STUCK_MS);
}

/* ---- queues ---- */

static struct usbdevfs_urb urbs[MAX_QUEUE];
static bool is_back[MAX_QUEUE];

static void submit(int i, uint8_t type, uint8_t endpoint, int length)
{
	struct usbdevfs_urb *urb = &urbs[i];

	urb->type = type;
	urb->endpoint = endpoint;
	urb->buffer = urb->buffer ?: calloc(1, length);
	urb->buffer_length = length;
	if (ioctl(fd, USBDEVFS_SUBMITURB, urb))
		fail("number %d: %s", i, strerror(errno));
}

/* The number of the next one that has ended, -1 if none does. */
static int reap(int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct usbdevfs_urb *urb;
	long until = now_ms() + timeout_ms;

	/* A device that is going has none before they are taken back: ENODEV. */
	while (ioctl(fd, USBDEVFS_REAPURBNDELAY, &urb)) {
		if ((errno != EAGAIN && errno != ENODEV) || now_ms() > until)
			return -1;
		if (errno == ENODEV || poll(&p, 1, 100) < 0)
			usleep(1000);
	}
	if (urb < urbs || urb >= urbs + MAX_QUEUE)
		fail("what came back is nobody's");
	return urb - urbs;
}

static void reap_all(int n)
{
	int last[256], i, got;

	memset(last, -1, sizeof(last));
	for (i = 0; i < n; i++) {
		got = reap(2 * LIMIT_MS);
		if (got < 0)
			fail("only %d of %d came back", i, n);
		if (is_back[got])
			fail("number %d came back twice", got);
		is_back[got] = true;
		if (!is_gone(-urbs[got].status))
			fail("number %d: %s", got, strerror(-urbs[got].status));
		if (urbs[got].actual_length)
			fail("number %d: %d octets", got, urbs[got].actual_length);
		if (got < last[urbs[got].endpoint])
			fail("number %d, %s, after number %d, %s", got,
			     strerror(-urbs[got].status), last[urbs[got].endpoint],
			     strerror(-urbs[last[urbs[got].endpoint]].status));
		last[urbs[got].endpoint] = got;
	}
	if (reap(0) >= 0)
		fail("another one came back");
}

static void submit_bulks(int n)
{
	int i;

	for (i = 0; i < n; i++)
		submit(i, USBDEVFS_URB_TYPE_BULK, bulk_endpoint(i), PACKET);
}

static void pull_in_queue(int n)
{
	long pulled;

	claim();
	submit_bulks(n);
	pulled = pull();
	reap_all(n);
	expect_soon("all", pulled);
}

static void pull_in_interrupt(void)
{
	long pulled;
	int i;

	claim();
	for (i = 0; i < 8; i++)
		submit(i, USBDEVFS_URB_TYPE_INTERRUPT, EP_INTERRUPT | (i & 1 ? 0 : IN), 64);
	pulled = pull();
	reap_all(8);
	expect_soon("all", pulled);
}

static void forever(void)
{
	long begun;
	int error;

	claim();
	submit(0, USBDEVFS_URB_TYPE_BULK, 1 | IN, PACKET);
	usleep(1000 * UNDER_WAY_MS);
	begun = now_ms();
	error = ioctl(fd, USBDEVFS_DISCARDURB, &urbs[0]) ? errno : 0;
	if (error || reap(LIMIT_MS) != 0 || urbs[0].status != -ENOENT)
		fail("unlink: %s, status %d", strerror(error), urbs[0].status);
	expect_soon("the unlink", begun);
}

static void full(int n)
{
	long begun;
	int i;

	claim();
	submit_bulks(n);
	begun = now_ms();
	get_counts();
	expect_soon("a control request", begun);
	begun = now_ms();
	for (i = n - 1; i >= 0; i--)
		if (ioctl(fd, USBDEVFS_DISCARDURB, &urbs[i]))
			fail("unlink of number %d: %s", i, strerror(errno));
	for (i = 0; i < n; i++)
		if (reap(LIMIT_MS) < 0)
			fail("only %d of %d came back", i, n);
	/* One after the other: usbfs waits for each. */
	expect_within("all unlinks", begun, n * UNLINK_MS);
}

static void errors(int error)
{
	claim();
	set_mode(MODE_FAIL, error);
	submit(0, USBDEVFS_URB_TYPE_BULK, 1 | IN, PACKET);
	if (reap(LIMIT_MS) != 0)
		fail("nothing came back");
	submit(1, USBDEVFS_URB_TYPE_BULK, 1, PACKET);
	if (reap(LIMIT_MS) != 1)
		fail("nothing came back");
	printf("%d %d\n", urbs[0].status, urbs[1].status);
	set_mode(0, 0);
}

/* Data for one generation of a device, and of it, until it has gone. */
static void stream(uint32_t generation)
{
	uint32_t word = htole32(generation);
	unsigned long n = 0;
	int i, got;

	claim();
	set_mode(MODE_OPEN, 0);
	for (i = 0; i < 16; i++) {
		urbs[i].buffer = calloc(1, PACKET);
		memcpy(urbs[i].buffer, &word, sizeof(word));
		submit(i, USBDEVFS_URB_TYPE_BULK, i & 1 ? 1 : 1 | IN, PACKET);
	}
	printf("streaming\n");
	fflush(stdout);
	while ((got = reap(LIMIT_MS)) >= 0 && !urbs[got].status) {
		if (memcmp(urbs[got].buffer, &word, sizeof(word)))
			fail("data of another one");
		n++;
		if (ioctl(fd, USBDEVFS_SUBMITURB, &urbs[got]))
			break;
	}
	if (got < 0)
		fail("it stood still");
	if (urbs[got].status && !is_gone(-urbs[got].status))
		fail("status %d", urbs[got].status);
	printf("%lu transfers, then %s\n", n, urbs[got].status ?
	       strerror(-urbs[got].status) : strerror(errno));
}

static void run(const char *what, int argument, int more)
{
	if (!strcmp(what, "in"))
		pull_in_control(0xc0);
	else if (!strcmp(what, "out"))
		pull_in_control(0x40);
	else if (!strcmp(what, "configuration"))
		pull_in_configuration();
	else if (!strcmp(what, "setting"))
		pull_in_setting();
	else if (!strcmp(what, "reset"))
		pull_in_reset();
	else if (!strcmp(what, "queue"))
		pull_in_queue(argument);
	else if (!strcmp(what, "interrupt"))
		pull_in_interrupt();
	else if (!strcmp(what, "unlinks"))
		pull_in_unlinks();
	else if (!strcmp(what, "stream"))
		stream(argument);
	else if (!strcmp(what, "mode"))
		set_mode(argument, more);
	else if (!strcmp(what, "error"))
		errors(argument);
	else if (!strcmp(what, "stuck"))
		stuck();
	else if (!strcmp(what, "forever"))
		forever();
	else if (!strcmp(what, "full"))
		full(argument);
	else
		fail("no such case: %s", what);
}

int main(int argc, char **argv)
{
	struct counts c;

	if (argc < 4)
		fail("usage: faulty NODE PID CASE [ARG...]");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", argv[1], strerror(errno));
	device = atoi(argv[2]);
	if (strcmp(argv[3], "counts")) {
		run(argv[3], argc > 4 ? atoi(argv[4]) : 0, argc > 5 ? atoi(argv[5]) : 0);
		return 0;
	}
	c = get_counts();
	printf("generation %u own %u foreign %u\n", c.generation, c.own, c.foreign);
	return 0;
}
