// SPDX-License-Identifier: GPL-2.0
/*
 * usbfs NODE COMMAND [ARG] - what programs do with a device through usbfs
 *
 *   sizes	lengths around and beyond what one request holds, out and back again
 *   length N	one length only
 *   mapped	the same with buffers mapped from the device, at odd addresses
 *   order N	N small transfers, some unlinked and some stopped by a halt: the others
 *		arrive in their order, each once
 *   flight	a reset while transfers wait: they come back, and the device works
 *   reset	a reset and nothing else
 *   setting N	the device's interface 0 in setting N, with transfers waiting on it
 *   half N	N octets out, until somebody pulls the plug: how many have gone
 *   babble	less room than is sent: what is said, and that nothing else is written
 *   behind-in N, behind-out N
 *		N octets that are unlinked, with a transfer behind them
 *
 * The device is a loopback gadget, which sends back what it was sent, ended by a short
 * packet as that was. Ends with 1 and a line that says why at the first difference.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB		(1 << 20)
#define PATIENCE_MS	20000
#define SPARE		4096	/* room behind what is expected */

static const char *node;
static int fd;
static uint8_t ep_in, ep_out;
static int packet;		/* wMaxPacketSize of both */

noreturn static void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* ---- the device ---- */

static void find_endpoints(void)
{
	uint8_t buf[4096];
	ssize_t len = read(fd, buf, sizeof(buf));
	ssize_t at = 18;

	for (; at + 2 <= len && buf[at] >= 2; at += buf[at]) {
		if (buf[at + 1] != USB_DT_ENDPOINT || (buf[at + 3] & 3) != 2)
			continue;
		if (buf[at + 2] & USB_DIR_IN)
			ep_in = ep_in ?: buf[at + 2];
		else
			ep_out = ep_out ?: buf[at + 2];
		packet = buf[at + 4] | buf[at + 5] << 8;
	}
	if (!ep_in || !ep_out)
		fail("%s: no bulk endpoints", node);
}

static void claim(void)
{
	struct usbdevfs_disconnect_claim c = { .interface = 0 };
	unsigned int number = 0;

	if (ioctl(fd, USBDEVFS_DISCONNECT_CLAIM, &c) &&
	    ioctl(fd, USBDEVFS_CLAIMINTERFACE, &number))
		fail("claiming the interface: %s", strerror(errno));
}

static void open_device(void)
{
	fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", node, strerror(errno));
	find_endpoints();
}

/* ---- transfers ---- */

static struct usbdevfs_urb *submit(uint8_t endpoint, void *buf, int len,
				   unsigned int flags, long tag)
{
	struct usbdevfs_urb *urb = calloc(1, sizeof(*urb));

	urb->type = USBDEVFS_URB_TYPE_BULK;
	urb->endpoint = endpoint;
	urb->flags = flags;
	urb->buffer = buf;
	urb->buffer_length = len;
	urb->usercontext = (void *)tag;
	if (ioctl(fd, USBDEVFS_SUBMITURB, urb))
		fail("submitting %d octets to %02x: %s", len, endpoint,
		     strerror(errno));
	return urb;
}

/* The next one that has ended. NULL after a while without any. */
static struct usbdevfs_urb *reap(int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	void *urb;

	while (ioctl(fd, USBDEVFS_REAPURBNDELAY, &urb)) {
		if (errno != EAGAIN)
			return NULL;
		if (poll(&p, 1, timeout_ms) <= 0)
			return NULL;
	}
	return urb;
}

static void expect_end(struct usbdevfs_urb *urb, const char *what, int status,
		       int length)
{
	struct usbdevfs_urb *got = reap(PATIENCE_MS);

	if (!got)
		fail("%s of %d octets did not end", what, length);
	if (got != urb)
		fail("%s of %d octets: another one ended first", what, length);
	if (got->status != status || got->actual_length != length)
		fail("%s: status %d with %d octets, not %d with %d", what,
		     got->status, got->actual_length, status, length);
	free(got);
}

static void fill(uint8_t *buf, int len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;
	int i;

	for (i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		buf[i] = x;
	}
}

static void compare(const uint8_t *want, const uint8_t *got, int len)
{
	int i;

	for (i = 0; i < len; i++)
		if (want[i] != got[i])
			fail("%d octets: octet %d is %02x, not %02x", len, i,
			     got[i], want[i]);
}

static unsigned int ending(int len)
{
	return len % packet ? 0 : USBDEVFS_URB_ZERO_PACKET;
}

/* Out and in again; the buffer for the way back is longer by @more. */
static void there_and_back(uint8_t *out, uint8_t *in, int len, int more,
			   unsigned int flags)
{
	struct usbdevfs_urb *urb;
	int status = flags & USBDEVFS_URB_SHORT_NOT_OK ? -EREMOTEIO : 0;

	fill(out, len, len + more);
	memset(in, 0xee, len + more);
	urb = submit(ep_out, out, len, ending(len), 0);
	expect_end(urb, "OUT", 0, len);
	urb = submit(ep_in, in, len + more, flags, 0);
	expect_end(urb, "IN", status, len);
	compare(out, in, len);
}

/* The way back just as long as what comes: then the packet without data is left. */
static void exact(uint8_t *out, uint8_t *in, int len)
{
	there_and_back(out, in, len, 0, 0);
	expect_end(submit(ep_in, in, packet, 0, 0), "IN behind it", 0, 0);
}

/* Two wait for input: a short end of the first must not leak into the second. */
static void two_waiting(uint8_t *out, uint8_t *in, int len)
{
	struct usbdevfs_urb *first, *second, *urb;
	uint8_t small[700], back[SPARE];

	fill(out, len, 3);
	fill(small, sizeof(small), 4);
	first = submit(ep_in, in, 2 * MIB, 0, 0);
	second = submit(ep_in, back, sizeof(back), 0, 0);
	urb = submit(ep_out, out, len, ending(len), 0);
	expect_end(urb, "OUT", 0, len);
	expect_end(first, "first IN", 0, len);
	urb = submit(ep_out, small, sizeof(small), 0, 0);
	expect_end(urb, "second OUT", 0, sizeof(small));
	expect_end(second, "second IN", 0, sizeof(small));
	compare(out, in, len);
	compare(small, back, sizeof(small));
}

static const int lengths[] = {
	0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 16383, 16384,
	16385, 65539, 131072, 500000, MIB - 1024, MIB - 1, MIB, MIB + 1, MIB + 512,
	MIB + 1024, 2 * MIB - 1, 2 * MIB, 2 * MIB + 333, 3 * MIB - 1024,
	3 * MIB - 4097,
};

#define NR_LENGTHS	(sizeof(lengths) / sizeof(lengths[0]))

static void control_sizes(void)
{
	static uint8_t out[4096], in[4096];
	static const int sizes[] = { 0, 1, 7, 8, 9, 63, 64, 65, 512, 1025, 4096 };
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct usbdevfs_ctrltransfer c = {
			.bRequestType = USB_DIR_IN,
			.bRequest = USB_REQ_GET_DESCRIPTOR,
			.wValue = USB_DT_DEVICE << 8,
			.wLength = sizes[i],
			.timeout = PATIENCE_MS,
			.data = in,
		};
		int n = ioctl(fd, USBDEVFS_CONTROL, &c);

		if (n != (sizes[i] < 18 ? sizes[i] : 18))
			fail("descriptor of %d octets: %d", sizes[i], n);
		if (lseek(fd, 0, SEEK_SET) || read(fd, out, 18) != 18)
			fail("reading the descriptors: %s", strerror(errno));
		compare(out, in, n);
	}
}

static void sizes(void)
{
	uint8_t *out = malloc(3 * MIB), *in = malloc(4 * MIB);
	unsigned int i;

	for (i = 0; i < NR_LENGTHS; i++) {
		int len = lengths[i];

		there_and_back(out, in, len, SPARE, 0);
		there_and_back(out, in, len, packet - len % packet, 0);
		there_and_back(out, in, len, MIB - len % MIB, 0);
		there_and_back(out, in, len, SPARE, USBDEVFS_URB_SHORT_NOT_OK);
		if (len && len % packet == 0)
			exact(out, in, len);
	}
	two_waiting(out, in, MIB + MIB / 2 + 7);
	two_waiting(out, in, MIB);
	two_waiting(out, in, 5);
	control_sizes();
	printf("%zu lengths\n", NR_LENGTHS);
}

static uint8_t *map(int len)
{
	uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED)
		fail("mapping %d octets: %s", len, strerror(errno));
	return mem;
}

static void mapped(void)
{
	uint8_t *out = map(2 * MIB), *in = map(2 * MIB);
	unsigned int i, offset, n = 0;

	for (i = 0; i < NR_LENGTHS; i++)
		for (offset = 0; offset < 4; offset++) {
			int len = lengths[i];

			/* What the device sends ends a packet, so must the room. */
			if (len + 2 * SPARE > 2 * MIB)
				continue;
			there_and_back(out + offset, in + 3 - offset, len,
				       2 * packet - len % packet, 0);
			n++;
		}
	munmap(out, 2 * MIB);
	munmap(in, 2 * MIB);
	printf("%u transfers\n", n);
}

/* ---- order ---- */

#define WINDOW	24
#define SMALL	300		/* less than any packet that is tested */

static struct {
	struct usbdevfs_urb *out[WINDOW], *in[WINDOW];
	uint32_t submitted, sent, received, unlinked, stalled, waiting_out;
	uint32_t last_sent, last_received;
	uint8_t *arrived;	/* by number: 1 sent, 2 received */
	bool is_ending;
} o;

static void submit_out(int slot)
{
	uint32_t *buf = malloc(SMALL);

	fill((uint8_t *)buf, SMALL, o.submitted);
	buf[0] = ++o.submitted;
	o.out[slot] = submit(ep_out, buf, SMALL, 0, slot);
	o.waiting_out++;
}

static void submit_in(int slot)
{
	o.in[slot] = submit(ep_in, malloc(SPARE), SPARE, 0, slot + WINDOW);
}

static void out_ended(struct usbdevfs_urb *urb)
{
	uint32_t seq = *(uint32_t *)urb->buffer;

	bool is_unlinked = urb->status == -ENOENT || urb->status == -ECONNRESET;

	/* It may have been faster than whoever unlinked it. */
	if (urb->actual_length && urb->actual_length != SMALL)
		fail("number %u: status %d with %d octets", seq, urb->status,
		     urb->actual_length);
	if (urb->actual_length && (!urb->status || is_unlinked)) {
		if (seq <= o.last_sent)
			fail("number %u was sent after number %u", seq, o.last_sent);
		o.last_sent = seq;
		o.arrived[seq] |= 1;
		o.sent++;
	} else if (urb->status == -EPIPE) {
		o.stalled++;
	} else if (is_unlinked) {
		o.unlinked++;
	} else {
		fail("number %u: status %d", seq, urb->status);
	}
	o.waiting_out--;
}

static void in_ended(struct usbdevfs_urb *urb)
{
	uint32_t seq = *(uint32_t *)urb->buffer;
	uint8_t want[SMALL];

	if (urb->status && urb->status != -ENOENT && urb->status != -ECONNRESET)
		fail("input: status %d", urb->status);
	if (!urb->actual_length)
		return;
	if (urb->actual_length != SMALL)
		fail("input: %d octets", urb->actual_length);
	if (seq <= o.last_received || seq > o.submitted)
		fail("number %u arrived after number %u", seq, o.last_received);
	fill(want, SMALL, seq - 1);
	compare(want + 4, (uint8_t *)urb->buffer + 4, SMALL - 4);
	o.last_received = seq;
	o.arrived[seq] |= 2;
	o.received++;
}

static bool reap_one(uint32_t total, int timeout_ms)
{
	struct usbdevfs_urb *urb = reap(timeout_ms);
	long tag;

	if (!urb)
		return false;
	tag = (long)urb->usercontext;
	if (tag < WINDOW) {
		o.out[tag] = NULL;
		out_ended(urb);
		if (o.submitted < total && !o.is_ending)
			submit_out(tag);
	} else {
		o.in[tag - WINDOW] = NULL;
		in_ended(urb);
		if (!o.is_ending)
			submit_in(tag - WINDOW);
	}
	free(urb->buffer);
	free(urb);
	return true;
}

/* From anywhere in the queue; it may just have ended. */
static void unlink_some(void)
{
	int n = rand() % 5;

	while (n--) {
		struct usbdevfs_urb **from = rand() % 3 ? o.out : o.in;
		struct usbdevfs_urb *urb = from[rand() % WINDOW];

		if (urb)
			ioctl(fd, USBDEVFS_DISCARDURB, urb);
	}
}

static void halt(uint8_t endpoint)
{
	struct usbdevfs_ctrltransfer c = {
		.bRequestType = USB_RECIP_ENDPOINT,
		.bRequest = USB_REQ_SET_FEATURE,
		.wValue = USB_ENDPOINT_HALT,
		.wIndex = endpoint,
		.timeout = PATIENCE_MS,
	};
	unsigned int number = endpoint;

	if (ioctl(fd, USBDEVFS_CONTROL, &c))
		fail("halting %02x: %s", endpoint, strerror(errno));
	usleep(rand() % 20000);
	if (ioctl(fd, USBDEVFS_CLEAR_HALT, &number))
		fail("clearing the halt of %02x: %s", endpoint, strerror(errno));
}

static void order(uint32_t total)
{
	uint32_t i, halts = 0;

	srand(total);
	o.arrived = calloc(total + 1, 1);
	for (i = 0; i < WINDOW; i++)
		submit_in(i);
	for (i = 0; i < WINDOW; i++)
		submit_out(i);
	while (o.submitted < total || o.waiting_out) {
		if (!reap_one(total, PATIENCE_MS))
			fail("nothing moves: %u submitted, %u sent, %u received",
			     o.submitted, o.sent, o.received);
		if (rand() % 4 == 0)
			unlink_some();
		if (o.submitted / 500 > halts) {
			halt(ep_out);
			halts++;
		}
	}
	while (o.received < o.sent && reap_one(total, PATIENCE_MS))
		;
	o.is_ending = true;
	for (i = 0; i < WINDOW; i++)
		if (o.in[i])
			ioctl(fd, USBDEVFS_DISCARDURB, o.in[i]);
	while (reap_one(total, 200))
		;
	for (i = 1; i <= total; i++)
		if (o.arrived[i] == 1 || o.arrived[i] == 2)
			fail("number %u was %s", i, o.arrived[i] == 1 ?
			     "sent but did not arrive" : "not sent but arrived");
	printf("%u sent, %u unlinked, %u stalled by %u halts\n", o.sent,
	       o.unlinked, o.stalled, halts);
}

/* ---- resets and settings ---- */

#define WAITING	8

static void submit_waiting(void)
{
	int i;

	for (i = 0; i < WAITING; i++)
		submit(ep_in, malloc(SPARE), SPARE, 0, i);
}

static void expect_all_back(void)
{
	int i;

	for (i = 0; i < WAITING; i++) {
		struct usbdevfs_urb *urb = reap(PATIENCE_MS);

		if (!urb)
			fail("only %d of %d came back", i, WAITING);
		if (!urb->status || urb->actual_length)
			fail("status %d with %d octets", urb->status,
			     urb->actual_length);
	}
}

static void reset(void)
{
	if (ioctl(fd, USBDEVFS_RESET, NULL))
		fail("reset: %s", strerror(errno));
}

static void works(void)
{
	static uint8_t out[2 * SPARE], in[3 * SPARE];

	there_and_back(out, in, 5001, SPARE, 0);
}

static void flight(void)
{
	submit_waiting();
	usleep(100000);
	reset();
	expect_all_back();
	close(fd);
	open_device();
	claim();
	works();
}

static void setting(unsigned int number)
{
	struct usbdevfs_setinterface s = { .interface = 0, .altsetting = number };

	submit_waiting();
	usleep(20000);
	if (ioctl(fd, USBDEVFS_SETINTERFACE, &s))
		fail("setting %u: %s", number, strerror(errno));
	expect_all_back();
}

static void behind(uint8_t ep, int len)
{
	struct usbdevfs_urb *first = submit(ep, calloc(1, len), len, 0, 0);
	struct usbdevfs_urb *second = submit(ep, calloc(1, packet), packet, 0, 1);

	ioctl(fd, USBDEVFS_DISCARDURB, first);
	expect_end(first, "unlinked", -ENOENT, 0);
	printf("unlinked\n");
	fflush(stdout);
	expect_end(second, "behind it", 0, packet);
}

static void half(int len)
{
	struct usbdevfs_urb *urb = submit(ep_out, calloc(1, len), len, 0, 0);

	printf("waiting\n");
	fflush(stdout);
	if (reap(PATIENCE_MS) != urb)
		fail("it did not end");
	if (!urb->status)
		fail("all is well");
	printf("status %d with %d octets\n", urb->status, urb->actual_length);
}

static void babble(void)
{
	static uint8_t out[300], in[SPARE], canary[SPARE];
	struct usbdevfs_urb *urb;

	fill(out, sizeof(out), 1);
	memset(in, 0xee, sizeof(in));
	memset(canary, 0xee, sizeof(canary));
	expect_end(submit(ep_out, out, sizeof(out), 0, 0), "OUT", 0, sizeof(out));
	urb = submit(ep_in, in, 100, 0, 0);
	if (reap(PATIENCE_MS) != urb)
		fail("it did not end");
	compare(canary, in + 100, sizeof(in) - 100);
	printf("status %d with %d octets\n", urb->status, urb->actual_length);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	int n = argc > 3 ? atoi(argv[3]) : 0;

	if (argc < 3)
		fail("usage: usbfs NODE COMMAND [ARG]");
	node = argv[1];
	open_device();
	if (!strcmp(what, "reset")) {
		reset();
		return 0;
	}
	claim();
	if (!strcmp(what, "sizes"))
		sizes();
	else if (!strcmp(what, "length"))
		there_and_back(malloc(n), malloc(n + SPARE), n, SPARE, 0);
	else if (!strcmp(what, "mapped"))
		mapped();
	else if (!strcmp(what, "order"))
		order(n);
	else if (!strcmp(what, "flight"))
		flight();
	else if (!strcmp(what, "setting"))
		setting(n);
	else if (!strcmp(what, "half"))
		half(n);
	else if (!strcmp(what, "babble"))
		babble();
	else if (!strcmp(what, "behind-in"))
		behind(ep_in, n);
	else if (!strcmp(what, "behind-out"))
		behind(ep_out, n);
	else
		fail("no such command: %s", what);
	return 0;
}
