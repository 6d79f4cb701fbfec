// SPDX-License-Identifier: GPL-2.0
/*
 * usb_alternates NODE ROUNDS - settings of usbip_alternates chosen under traffic
 *
 * In every round another setting of interface 0 is chosen, while requests wait in both
 * directions on the endpoints of the one before, and while interface 1 streams. Then
 * NR_IN requests come in and NR_OUT go out on each endpoint of the new one, of the type
 * that its descriptors say, and each octet is looked at: here, and by the device. On
 * endpoints that the setting does not have, nothing can be submitted. What came from
 * interface 1 has to be without a gap over all rounds.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "alternates.h"

#define PATIENCE_MS	20000
#define NR_IN		6
#define NR_OUT		4
#define NR_OTHER	6
#define NR_PACKETS	16	/* of an isochronous request */
#define OTHER_LENGTH	16384

/* A request; they are in no list, the kernel has them. */
struct request {
	bool in;
	unsigned int setting;
	struct usbdevfs_urb *urb;
};

/* One endpoint of a setting. */
struct endpoint {
	uint8_t type;		/* 0xff: there is none */
	uint32_t packet;
};

static int fd;
static struct endpoint endpoints[NR_SETTINGS][2];
static unsigned int setting;
static uint64_t sent, received;	/* octets, since the setting was chosen */
static uint64_t other;
static bool is_cut;		/* by the setting: what came last is not known */
static unsigned int waiting[2], waiting_other, came_back;

noreturn static void fail(const char *fmt, ...)
{
	va_list args;

	printf("setting %u: ", setting);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* ---- descriptors ---- */

static void add_endpoint(unsigned int of, const uint8_t *d, uint32_t octets)
{
	struct endpoint *ep = &endpoints[of][d[2] >> 7];

	ep->type = d[3] & USB_ENDPOINT_XFERTYPE_MASK;
	ep->packet = octets;
}

static void read_descriptors(void)
{
	uint8_t buf[4096];
	ssize_t len = read(fd, buf, sizeof(buf)), at;
	int interface = -1, of = 0;

	memset(endpoints, 0xff, sizeof(endpoints));
	for (at = 18; at + 2 <= len && buf[at] >= 2; at += buf[at]) {
		const uint8_t *d = buf + at, *next = d + d[0];
		uint32_t packet = d[4] | (d[5] & 7) << 8;

		if (d[1] == USB_DT_INTERFACE) {
			interface = d[2];
			of = d[3];
		}
		if (d[1] != USB_DT_ENDPOINT || interface || of >= NR_SETTINGS)
			continue;
		if (at + d[0] < len && next[1] == USB_DT_SS_ENDPOINT_COMP && (d[3] & 1))
			packet = next[4] | next[5] << 8;
		else
			packet *= 1 + (d[5] >> 3 & 3);
		add_endpoint(of, d, packet);
	}
}

/* ---- requests ---- */

static int submit(struct request *r)
{
	r->urb->usercontext = r;
	if (ioctl(fd, USBDEVFS_SUBMITURB, r->urb))
		return -errno;
	if (r->setting == OTHER)
		waiting_other++;
	else
		waiting[r->in]++;
	return 0;
}

static void drop(struct request *r)
{
	free(r->urb->buffer);
	free(r->urb);
	free(r);
}

/* A request of @type to interface 0, filled; its length is for that type. */
static struct request *prepare(uint8_t type, uint32_t packet, bool in)
{
	unsigned int packets = type == USB_ENDPOINT_XFER_ISOC ? NR_PACKETS : 0;
	struct request *r = calloc(1, sizeof(*r));
	struct usbdevfs_urb *urb = calloc(1, sizeof(*urb) + packets *
					  sizeof(urb->iso_frame_desc[0]));
	unsigned int i, length = packet;

	if (packets)
		length *= packets;
	else if (type == USB_ENDPOINT_XFER_BULK)
		length *= 8;
	r->in = in;
	r->setting = setting;
	r->urb = urb;
	urb->type = packets ? USBDEVFS_URB_TYPE_ISO :
		    type == USB_ENDPOINT_XFER_BULK ? USBDEVFS_URB_TYPE_BULK :
						     USBDEVFS_URB_TYPE_INTERRUPT;
	urb->endpoint = EP_NUMBER | (in ? USB_DIR_IN : 0);
	urb->flags = packets ? USBDEVFS_URB_ISO_ASAP : 0;
	urb->number_of_packets = packets;
	for (i = 0; i < packets; i++)
		urb->iso_frame_desc[i].length = packet;
	urb->buffer = calloc(1, length);
	urb->buffer_length = length;
	for (i = 0; !in && i < length; i++)
		((uint8_t *)urb->buffer)[i] = alternates_octet(setting, false, sent++);
	return r;
}

static void put(bool in)
{
	const struct endpoint *ep = &endpoints[setting][in];
	int err = submit(prepare(ep->type, ep->packet, in));

	if (err)
		fail("submitting %s: %s", in ? "in" : "out", strerror(-err));
}

static void submit_other(void)
{
	struct request *r = calloc(1, sizeof(*r));
	int err;

	r->in = true;
	r->setting = OTHER;
	r->urb = calloc(1, sizeof(*r->urb));
	r->urb->type = USBDEVFS_URB_TYPE_BULK;
	r->urb->endpoint = EP_OTHER;
	r->urb->buffer = malloc(OTHER_LENGTH);
	r->urb->buffer_length = OTHER_LENGTH;
	err = submit(r);
	if (err)
		fail("submitting to the other interface: %s", strerror(-err));
}

/* ---- what comes back ---- */

static void compare(const uint8_t *data, uint32_t length, unsigned int of,
		    uint64_t *place)
{
	uint32_t i;

	for (i = 0; i < length; i++, ++*place) {
		uint8_t wanted = alternates_octet(of, true, *place);

		if (data[i] != wanted)
			fail("octet %llu of %s is %02x, not %02x",
			     (unsigned long long)*place,
			     of == OTHER ? "the other" : "this", data[i], wanted);
	}
}

static void compare_packets(const struct usbdevfs_urb *urb)
{
	const uint8_t *data = urb->buffer;
	int i;

	for (i = 0; i < urb->number_of_packets; i++) {
		const struct usbdevfs_iso_packet_desc *d = &urb->iso_frame_desc[i];

		if (d->status || d->actual_length != d->length)
			fail("packet %d: status %d, %u of %u octets", i,
			     (int)d->status, d->actual_length, d->length);
		compare(data, d->actual_length, setting, &received);
		data += d->length;
	}
}

static void other_ended(const struct request *r)
{
	waiting_other--;
	if (r->urb->status || r->urb->actual_length != OTHER_LENGTH)
		fail("the other: status %d, %d octets", r->urb->status,
		     r->urb->actual_length);
	compare(r->urb->buffer, OTHER_LENGTH, OTHER, &other);
	submit_other();
}

static void ended(const struct request *r, bool may_fail)
{
	const struct usbdevfs_urb *urb = r->urb;

	waiting[r->in]--;
	if (r->setting != setting)
		fail("of setting %u", r->setting);
	if (urb->status && !may_fail)
		fail("%s: status %d", r->in ? "in" : "out", urb->status);
	if (urb->status) {
		came_back++;
		is_cut |= r->in;
	}
	if (urb->status || is_cut || !r->in)
		return;
	if (urb->number_of_packets) {
		compare_packets(urb);
		return;
	}
	if (urb->actual_length != urb->buffer_length)
		fail("%d of %d octets", urb->actual_length, urb->buffer_length);
	compare(urb->buffer, urb->actual_length, setting, &received);
}

/* False: nothing has ended for @timeout_ms. */
static bool reap(int timeout_ms, bool may_fail)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct usbdevfs_urb *urb;
	struct request *r;

	while (ioctl(fd, USBDEVFS_REAPURBNDELAY, &urb)) {
		if (errno != EAGAIN)
			fail("reaping: %s", strerror(errno));
		if (poll(&p, 1, timeout_ms) <= 0)
			return false;
	}
	r = urb->usercontext;
	if (r->setting == OTHER)
		other_ended(r);
	else
		ended(r, may_fail);
	drop(r);
	return true;
}

static void reap_until(const unsigned int *count, unsigned int left, const char *what)
{
	while (*count > left)
		if (!reap(PATIENCE_MS, false))
			fail("%u %s never came back", *count, what);
}

/* ---- rounds ---- */

static bool has(bool in)
{
	return endpoints[setting][in].type != 0xff;
}

/* Those that wait when the setting is chosen all come back by that. */
static void choose(unsigned int next)
{
	struct usbdevfs_setinterface s = { .interface = 0, .altsetting = next };

	if (ioctl(fd, USBDEVFS_SETINTERFACE, &s))
		fail("choosing setting %u: %s", next, strerror(errno));
	while (waiting[0] + waiting[1])
		if (!reap(PATIENCE_MS, true))
			fail("%u in and %u out never came back", waiting[1], waiting[0]);
	setting = next;
	sent = 0;
	received = 0;
	is_cut = false;
}

static void expect_nothing(bool in)
{
	static const uint8_t types[] = {
		USB_ENDPOINT_XFER_ISOC, USB_ENDPOINT_XFER_BULK, USB_ENDPOINT_XFER_INT,
	};
	uint64_t before = sent;
	unsigned int i;

	for (i = 0; i < sizeof(types); i++) {
		struct request *r = prepare(types[i], 64, in);
		int err = submit(r);

		if (err != -ENOENT)
			fail("submitting %s where nothing is: %d", in ? "in" : "out",
			     err);
		drop(r);
	}
	sent = before;
}

static void ask_device(void)
{
	struct flow f;
	struct usbdevfs_ctrltransfer c = {
		.bRequestType = USB_DIR_IN | USB_TYPE_VENDOR,
		.bRequest = GET_FLOW,
		.wLength = sizeof(f),
		.timeout = PATIENCE_MS,
		.data = &f,
	};

	if (ioctl(fd, USBDEVFS_CONTROL, &c) != sizeof(f))
		fail("asking the device: %s", strerror(errno));
	if (le32toh(f.setting) != setting)
		fail("the device is in setting %u", le32toh(f.setting));
	if (le32toh(f.received) != sent || f.bad)
		fail("%llu octets were sent, the device has %u, %u of them wrong",
		     (unsigned long long)sent, le32toh(f.received), le32toh(f.bad));
}

static void use(void)
{
	uint64_t other_before = other;
	int i;

	for (i = 0; has(true) && i < 2 * NR_IN; i++)
		put(true);
	for (i = 0; has(false) && i < NR_OUT; i++)
		put(false);
	if (!has(false))
		expect_nothing(false);
	if (!has(true))
		expect_nothing(true);
	reap_until(&waiting[false], 0, "out");
	ask_device();
	reap_until(&waiting[true], NR_IN, "in");
	while (other < other_before + 4 * OTHER_LENGTH)
		if (!reap(PATIENCE_MS, false))
			fail("the other stands still");
	/* These, and what is still to come in, wait when the next one is chosen. */
	for (i = 0; has(true) && i < NR_IN; i++)
		put(true);
	for (i = 0; has(false) && i < NR_OUT; i++)
		put(false);
}

int main(int argc, char **argv)
{
	unsigned int interface, rounds, i;

	if (argc != 3)
		fail("usage: usb_alternates NODE ROUNDS");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", argv[1], strerror(errno));
	read_descriptors();
	for (interface = 0; interface < 2; interface++) {
		struct usbdevfs_setinterface s = { .interface = interface };

		if (ioctl(fd, USBDEVFS_CLAIMINTERFACE, &interface) ||
		    ioctl(fd, USBDEVFS_SETINTERFACE, &s))
			fail("interface %u: %s", interface, strerror(errno));
	}
	rounds = atoi(argv[2]);
	for (i = 0; i < NR_OTHER; i++)
		submit_other();
	srand(rounds);
	for (i = 0; i < rounds; i++) {
		/* First all of them, then in any order, also the same again. */
		choose((i < NR_SETTINGS ? i : (unsigned int)rand()) % NR_SETTINGS);
		use();
	}
	choose(0);
	printf("%u settings, %u requests ended by one, %llu octets of the other\n",
	       rounds + 1, came_back, (unsigned long long)other);
	return 0;
}
