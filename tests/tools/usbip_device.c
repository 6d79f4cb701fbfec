// SPDX-License-Identifier: GPL-2.0
/* What the emulated devices behind vhci_hcd have in common: see usbip_device.h. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "usbip_device.h"

#define ATTACH		"/sys/devices/platform/vhci_hcd.0/attach"
#define MAX_DATA	(16u << 20)
#define MAX_PACKETS	1024
#define NR_EPS		16
#define NR_INTERFACES	8
#define MAX_UNLINKS	1024

enum { CMD_SUBMIT = 1, CMD_UNLINK = 2, RET_SUBMIT = 3, RET_UNLINK = 4 };
enum { DIR_OUT, DIR_IN };

/* The header of USB/IP; big-endian on the wire. */
struct header {
	uint32_t command, seqnum, devid, direction, ep;
	union {
		struct {
			uint32_t flags, length, start_frame, packets, interval;
			uint8_t setup[8];
		} submit;
		struct {
			uint32_t status, actual, start_frame, packets, errors;
		} ret;
		uint32_t words[7];
	};
};

struct request {
	struct request *next;
	struct header h;
	uint8_t *data;
	struct usbip_packet *packets;
	int64_t due;		/* ns */
	uint32_t frame;
	bool is_stale;		/* of a setting that is no more */
};

struct endpoint {
	uint8_t type;		/* 0: there is none */
	uint8_t interface;
	bool is_halted;
	int64_t interval;	/* ns */
	int64_t busy_until;
};

int usbip_speed;
struct usbip_stats usbip_stats;

static const struct usbip_device *device;
static const char *serial;
static int sock;
static struct request *queue, **queue_end = &queue;
static struct endpoint endpoints[2][NR_EPS];
static uint8_t configuration, settings[NR_INTERFACES];
static uint32_t last_submit;	/* its seqnum */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int64_t usbip_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void receive(void *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = read(sock, buf, len);
		if (n == 0)
			exit(0);
		if (n < 0 && errno != EINTR)
			exit(errno == ECONNRESET ? 0 : 1);
		if (n > 0) {
			buf = (char *)buf + n;
			len -= n;
		}
	}
}

static void transmit(const void *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(sock, buf, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			exit(0);
		if (n > 0) {
			buf = (const char *)buf + n;
			len -= n;
		}
	}
}

static void swap_words(void *p, size_t words)
{
	uint32_t *w = p;

	while (words--) {
		*w = be32toh(*w);
		w++;
	}
}

/* ---- descriptors ---- */

static uint8_t blob[2048];
static size_t blob_len;

void usbip_add(size_t len, const uint8_t *octets)
{
	if (blob_len + len > sizeof(blob))
		abort();
	memcpy(blob + blob_len, octets, len);
	blob_len += len;
}

void usbip_add32(uint32_t value)
{
	USBIP_ADD(LO(value), HI(value), LO(value >> 16), HI(value >> 16));
}

size_t usbip_mark(void)
{
	return blob_len;
}

/* A total length, in the descriptor at @mark: of that and all behind it. */
void usbip_set_length(size_t mark, size_t at)
{
	blob[mark + at] = LO(blob_len - mark);
	blob[mark + at + 1] = HI(blob_len - mark);
}

uint32_t usbip_octets(const struct usbip_endpoint *ep)
{
	uint32_t octets = ep->packet;

	if (ep->transactions)
		octets *= ep->transactions;
	if (ep->bursts)
		octets *= ep->bursts;
	return octets;
}

void usbip_add_endpoint(const struct usbip_endpoint *ep)
{
	uint32_t octets = (ep->attributes & 3) == USBIP_BULK ? 0 : usbip_octets(ep);
	uint8_t burst = ep->transactions ? ep->transactions - 1 : 0;
	uint8_t mult = ep->bursts ? ep->bursts - 1 : 0;
	uint16_t packet = ep->packet;

	if (usbip_speed == USBIP_HIGH)
		packet |= burst << 11;
	USBIP_ADD(7, 5, ep->address, ep->attributes, LO(packet), HI(packet),
		  ep->interval);
	if (usbip_speed == USBIP_SUPER)
		USBIP_ADD(6, 0x30, burst, mult, LO(octets), HI(octets));
}

static void make_configuration(void)
{
	size_t at, interfaces = 0;

	USBIP_ADD(9, 2, 0, 0, 0, 1, 0, 0xc0, 1);
	device->describe();
	usbip_set_length(0, 2);
	for (at = 0; at < blob_len; at += blob[at])
		if (blob[at + 1] == 4 && blob[at + 2] >= interfaces)
			interfaces = blob[at + 2] + 1;
	if (interfaces > NR_INTERFACES)
		abort();
	blob[4] = interfaces;
}

static void make_string(const char *text)
{
	USBIP_ADD(2 + 2 * strlen(text), 3);
	for (; *text; text++)
		USBIP_ADD(*text, 0);
}

static void make_device(void)
{
	uint16_t bcd = usbip_speed == USBIP_SUPER ? 0x0300 :
		       usbip_speed == USBIP_HIGH ? 0x0200 : 0x0110;
	bool multi = device->has_associations;

	USBIP_ADD(18, 1, LO(bcd), HI(bcd), multi ? 0xef : 0, multi ? 2 : 0, multi,
		  usbip_speed == USBIP_SUPER ? 9 : 64, LO(device->vendor),
		  HI(device->vendor), LO(device->product), HI(device->product), 0, 1,
		  1, 2, 3, 1);
}

/* False: there is no such descriptor. */
static bool make_descriptor(uint8_t type, uint8_t index)
{
	blob_len = 0;
	if (type == 1) {
		make_device();
	} else if (type == 2 && !index) {
		make_configuration();
	} else if (type == 3 && !index) {
		USBIP_ADD(4, 3, LO(0x0409), HI(0x0409));
	} else if (type == 3 && index <= 3) {
		make_string(index == 1 ? "usbif" : index == 2 ? device->name : serial);
	} else if (type == 7 && usbip_speed == USBIP_HIGH && !index) {
		make_configuration();
		blob[1] = 7;
	} else if (type == 6 && usbip_speed == USBIP_HIGH) {
		USBIP_ADD(10, 6, LO(0x0200), HI(0x0200), 0, 0, 0, 64, 1, 0);
	} else if (type == 15 && usbip_speed == USBIP_SUPER) {
		USBIP_ADD(5, 15, LO(22), HI(22), 2);
		USBIP_ADD(7, 16, 2, 0, 0, 0, 0);
		USBIP_ADD(10, 16, 3, 0, LO(0x000e), HI(0x000e), 1, 0, LO(0), HI(0));
	} else {
		return false;
	}
	return true;
}

/* ---- endpoints ---- */

static struct endpoint *endpoint_of(const struct request *r)
{
	return &endpoints[r->h.direction == DIR_IN][r->h.ep & (NR_EPS - 1)];
}

static void add_live(uint8_t interface, const uint8_t *d)
{
	struct endpoint *ep = &endpoints[d[2] >> 7][d[2] & (NR_EPS - 1)];
	int64_t unit = usbip_speed == USBIP_FULL ? 1000000 : 125000;

	ep->type = d[3] & 3;
	ep->interface = interface;
	ep->interval = d[6] ? unit << (d[6] - 1) : 0;
}

/* What waits at the endpoints of an interface will wait until it is unlinked. */
static void forget_endpoints(uint8_t interface)
{
	struct request *r;
	int dir, i;

	for (r = queue; r; r = r->next)
		if (r->h.ep && endpoint_of(r)->interface == interface)
			r->is_stale = true;
	for (dir = DIR_OUT; dir <= DIR_IN; dir++)
		for (i = 0; i < NR_EPS; i++) {
			struct endpoint *ep = &endpoints[dir][i];

			if (ep->interface == interface)
				memset(ep, 0, sizeof(*ep));
		}
}

/* False: there is no such setting. */
static bool set_interface(uint8_t interface, uint8_t setting)
{
	bool is_it = false, is_there = false;
	size_t at;

	blob_len = 0;
	make_configuration();
	for (at = 0; at < blob_len; at += blob[at])
		is_there |= blob[at + 1] == 4 && blob[at + 2] == interface &&
			    blob[at + 3] == setting;
	if (!is_there)
		return false;
	forget_endpoints(interface);
	for (at = 0; at < blob_len; at += blob[at]) {
		if (blob[at + 1] == 4)
			is_it = blob[at + 2] == interface && blob[at + 3] == setting;
		else if (blob[at + 1] == 5 && is_it)
			add_live(interface, blob + at);
	}
	settings[interface] = setting;
	if (device->selected)
		device->selected(interface, setting);
	return true;
}

static void set_configuration(uint8_t value)
{
	int i;

	configuration = value;
	for (i = 0; i < NR_INTERFACES; i++) {
		forget_endpoints(i);
		settings[i] = 0;
		if (value)
			set_interface(i, 0);
	}
}

/* ---- control ---- */

static void reply(struct request *r, int status, uint32_t actual)
{
	struct header h = {
		.command = htobe32(RET_SUBMIT),
		.seqnum = htobe32(r->h.seqnum),
	};

	h.ret.status = htobe32(status);
	h.ret.actual = htobe32(actual);
	transmit(&h, sizeof(h));
	if (r->h.direction == DIR_IN && actual)
		transmit(r->data, actual);
}

static int get_descriptor(const struct usbip_control *c)
{
	if (!make_descriptor(c->value >> 8, c->value & 0xff))
		return -EPIPE;
	if (device->spoil)
		blob_len = device->spoil(c, blob, blob_len);
	if (c->length < blob_len)
		blob_len = c->length;
	memcpy(c->data, blob, blob_len);
	return blob_len;
}

/* Octets, or -EPIPE. */
static int standard(const struct usbip_control *c)
{
	struct endpoint *ep = &endpoints[!!(c->index & 0x80)][c->index & (NR_EPS - 1)];

	switch (c->type << 8 | c->request) {
	case 0x8006:
		return get_descriptor(c);
	case 0x0009:
		set_configuration(c->value);
		return 0;
	case 0x010b:
		return c->index < NR_INTERFACES && set_interface(c->index, c->value) ?
		       0 : -EPIPE;
	case 0x8008:
		c->data[0] = configuration;
		return c->length ? 1 : 0;
	case 0x810a:
		c->data[0] = settings[c->index & (NR_INTERFACES - 1)];
		return c->length ? 1 : 0;
	case 0x8000:
	case 0x8100:
	case 0x8200:
		c->data[0] = c->type == 0x80 ? 1 : c->type == 0x82 && ep->is_halted;
		c->data[1] = 0;
		return c->length < 2 ? c->length : 2;
	case 0x0203:
	case 0x0201:
		ep->is_halted = c->request == 3;
		return 0;
	case 0x0001:
	case 0x0003:
	case 0x0030:
	case 0x0031:
		return c->length;
	default:
		return -EPIPE;
	}
}

/* False: not now. */
static bool control(struct request *r)
{
	const uint8_t *setup = r->h.submit.setup;
	struct usbip_control c = {
		.type = setup[0],
		.request = setup[1],
		.value = setup[2] | setup[3] << 8,
		.index = setup[4] | setup[5] << 8,
		.length = setup[6] | setup[7] << 8,
		.data = r->data,
	};
	int n;

	if (c.length > r->h.submit.length)
		c.length = r->h.submit.length;
	if (device->holds && device->holds(&c))
		return false;
	if (!(c.type & 0x60))
		n = standard(&c);
	else
		n = device->control ? device->control(&c) : -EPIPE;
	reply(r, n < 0 ? n : 0, n < 0 ? 0 : n);
	return true;
}

/* ---- isochronous requests ---- */

static void iso_complete(struct request *r)
{
	uint32_t n = r->h.submit.packets, i, actual = 0, errors = 0;
	bool in = r->h.direction == DIR_IN;
	uint8_t address = r->h.ep | (in ? USBIP_DIR_IN : 0);
	struct header h = {
		.command = htobe32(RET_SUBMIT),
		.seqnum = htobe32(r->h.seqnum),
	};
	/* What comes in is sent without the room between the packets. */
	uint8_t *data = malloc(r->h.submit.length + 1);

	for (i = 0; i < n; i++) {
		struct usbip_packet *p = &r->packets[i];

		p->status = 0;
		p->actual = p->length;
		device->packet(address, p, in ? data + actual : r->data + p->offset);
		actual += p->actual;
		errors += !!p->status;
	}
	if (n > usbip_stats.max_packets)
		usbip_stats.max_packets = n;
	swap_words(r->packets, n * 4);
	h.ret.actual = htobe32(actual);
	h.ret.start_frame = htobe32(r->frame);
	h.ret.packets = htobe32(n);
	h.ret.errors = htobe32(errors);
	transmit(&h, sizeof(h));
	if (in)
		transmit(data, actual);
	transmit(r->packets, n * sizeof(*r->packets));
	free(data);
}

static void iso_begin(struct request *r)
{
	struct endpoint *ep = endpoint_of(r);
	int64_t now = usbip_now();

	if (ep->busy_until < now) {
		usbip_stats.late += ep->busy_until != 0;
		ep->busy_until = now;
	}
	r->frame = ep->busy_until / 1000000;
	ep->busy_until += (int64_t)r->h.submit.packets * ep->interval;
	r->due = ep->busy_until;
}

/* ---- requests ---- */

static void drop(struct request *r)
{
	free(r->data);
	free(r->packets);
	free(r);
}

static bool transfer(struct request *r, const struct endpoint *ep)
{
	uint8_t address = r->h.ep | (r->h.direction == DIR_IN ? USBIP_DIR_IN : 0);
	int result = r->h.submit.length;

	if (ep->is_halted)
		result = -EPIPE;
	else if (device->transfer &&
		 device->transfer(address, r->data, r->h.submit.length, &result))
		return false;
	reply(r, result < 0 ? result : 0, result < 0 ? 0 : result);
	return true;
}

static bool complete(struct request *r, int64_t now)
{
	const struct endpoint *ep = endpoint_of(r);

	if (r->is_stale)
		return false;
	if (!r->h.ep)
		return control(r);
	if (!r->packets)
		return transfer(r, ep);
	if (r->due > now)
		return false;
	iso_complete(r);
	return true;
}

/* Completes what is due; returns nanoseconds until there is more, or -1. */
static int64_t run(void)
{
	struct request **link = &queue, *r;
	/* One time for all: what is due later must not end earlier. */
	int64_t due = INT64_MAX, now = usbip_now();

	while ((r = *link)) {
		if (complete(r, now)) {
			*link = r->next;
			drop(r);
			continue;
		}
		if (r->packets && !r->is_stale && r->due < due)
			due = r->due;
		link = &r->next;
	}
	queue_end = link;
	if (due == INT64_MAX)
		return -1;
	now = usbip_now();
	return due > now ? due - now : 0;
}

/* A request to an endpoint that is not there, or not of that kind, ends it all. */
static void check_endpoint(const struct request *r)
{
	const struct endpoint *ep = endpoint_of(r);
	bool is_iso = r->packets;

	if (!r->h.ep || (is_iso ? ep->type == USBIP_ISO : ep->type > USBIP_ISO))
		return;
	fprintf(stderr, "%s request to endpoint %u %s, which is of type %u\n",
		r->packets ? "isochronous" : "other", r->h.ep,
		r->h.direction == DIR_IN ? "in" : "out", ep->type);
	exit(1);
}

static void take_submit(const struct header *h)
{
	struct request *r = calloc(1, sizeof(*r));
	uint32_t length = h->submit.length, packets = h->submit.packets;

	/* Of others, newer kernels say -1 here. */
	if (packets == UINT32_MAX)
		packets = 0;
	if (!r || length > MAX_DATA || packets > MAX_PACKETS || h->ep >= NR_EPS)
		die("request");
	r->h = *h;
	last_submit = h->seqnum;
	r->data = calloc(1, length + 2);
	if (h->direction == DIR_OUT)
		receive(r->data, length);
	if (h->ep && packets) {
		r->packets = calloc(packets, sizeof(*r->packets));
		receive(r->packets, packets * sizeof(*r->packets));
		swap_words(r->packets, packets * 4);
	}
	check_endpoint(r);
	if (r->packets)
		iso_begin(r);
	*queue_end = r;
	queue_end = &r->next;
}

static void unlink_one(const struct header *h)
{
	struct request **link, *r = NULL;
	struct header ret = {
		.command = htobe32(RET_UNLINK),
		.seqnum = htobe32(h->seqnum),
	};

	for (link = &queue; (r = *link); link = &r->next)
		if (r->h.seqnum == h->words[0])
			break;
	if (r) {
		*link = r->next;
		if (!*link)
			queue_end = link;
		drop(r);
		usbip_stats.cancelled++;
		ret.words[0] = htobe32(-ECONNRESET);
	}
	transmit(&ret, sizeof(ret));
}

static struct header unlinks[MAX_UNLINKS];
static unsigned int nr_unlinks;

/*
 * Its thread sends what is to be submitted, and then what is to be unlinked: vhci_hcd may
 * unlink a request before it submits it. Whoever answers that such a request has ended
 * already hears of it later, and never again that it is to end.
 */
static bool is_early(const struct header *h)
{
	return (int32_t)(h->words[0] - last_submit) > 0;
}

/* Those that nobody would hear of have to wait. */
static void unlink_all(void)
{
	unsigned int i, left = 0;

	if (device->clings && device->clings())
		return;
	for (i = 0; i < nr_unlinks; i++) {
		if (is_early(&unlinks[i]))
			unlinks[left++] = unlinks[i];
		else
			unlink_one(&unlinks[i]);
	}
	nr_unlinks = left;
}

static void take_unlink(const struct header *h)
{
	if (nr_unlinks == MAX_UNLINKS)
		die("unlinks");
	unlinks[nr_unlinks++] = *h;
}

static void take(void)
{
	struct header h;

	receive(&h, sizeof(h));
	swap_words(&h, 5);
	if (h.command == CMD_SUBMIT) {
		swap_words(&h.submit, 5);
		take_submit(&h);
	} else if (h.command == CMD_UNLINK) {
		swap_words(h.words, 1);
		take_unlink(&h);
	} else {
		die("command");
	}
}

static void attach(const char *port)
{
	int fds[2], size = 4 << 20;
	int fd, n, left = 1000;
	char text[64];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair");
	for (n = 0; n < 2; n++)
		setsockopt(fds[n], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	sock = fds[0];
	fd = open(ATTACH, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die(ATTACH);
	n = snprintf(text, sizeof(text), "%s %d 1 %d", port, fds[1], usbip_speed);
	/* A port is free again some time after its device has gone from the bus. */
	while (write(fd, text, n) != n) {
		if (errno != EBUSY || !left--)
			die(ATTACH);
		usleep(10000);
	}
	close(fd);
	close(fds[1]);
}

void usbip_run(const struct usbip_device *the_device, const char *speed,
	       const char *the_serial, const char *port)
{
	device = the_device;
	serial = the_serial;
	usbip_speed = *speed == 'f' ? USBIP_FULL : *speed == 'h' ? USBIP_HIGH :
		      USBIP_SUPER;
	attach(port);
	for (;;) {
		struct pollfd pfd = { .fd = sock, .events = POLLIN };
		int64_t ns = run();
		struct timespec ts = { ns / 1000000000, ns % 1000000000 };

		/* It may not cling any more. */
		unlink_all();
		if (ppoll(&pfd, 1, ns < 0 ? NULL : &ts, NULL) > 0)
			take();
		unlink_all();
	}
}
