// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_iso - a USB device behind vhci_hcd, for isochronous transfers
 *
 *	usbip_iso full|high|super SERIAL PORT [MAXP]
 *
 * Speaks USB/IP on a socket pair, one end of which it gives to the stock vhci_hcd
 * (root hub port PORT, from 0), until that closes it or somebody kills it. Packets
 * are as long as the speed allows, or MAXP octets.
 *
 * The device looks like gadget zero to usbtest: alternate setting 0 of its only
 * interface has no endpoints, setting 1 has bulk, isochronous and interrupt ones.
 *   1  bulk: endless zeros, and a sink
 *   2  isochronous: each packet begins with its sequence number (little-endian, 32
 *	bits), the rest follows from that; what comes in is checked for the same
 *   3  interrupt: as bulk
 * A packet lasts one interval of a clock of the device, as on a bus. So requests
 * queue up, and can be cancelled.
 *
 * Vendor requests to the device:
 *   0x5b, 0x5c	 write and read back, as usbtest wants it
 *   0x60	 wValue N, wIndex kind: one in N packets of endpoint 0x82 goes wrong
 *   0x61	 the same of endpoint 0x02
 *   0x62	 forget counts, sequence numbers and faults
 *   0x63	 read struct counts
 * Kinds: 1 the packet is lost on the wire (EPROTO), 2 it comes too late (EXDEV), 3 the
 * device has skipped 5 sequence numbers before (EXDEV), 4 all of these in turn, 5 half
 * a packet, which is no error.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ATTACH		"/sys/devices/platform/vhci_hcd.0/attach"
#define MAX_DATA	(16u << 20)
#define MAX_PACKETS	1024
#define ISO_EP		2
#define NR_EPS		4
#define SKIPPED		5

enum { CMD_SUBMIT = 1, CMD_UNLINK = 2, RET_SUBMIT = 3, RET_UNLINK = 4 };
enum { DIR_OUT, DIR_IN };
enum { FULL = 2, HIGH = 3, SUPER = 5 };
enum { KIND_NONE, KIND_LOST, KIND_LATE, KIND_SKIP, KIND_ALL, KIND_SHORT };

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

struct packet {
	uint32_t offset, length, actual, status;
};

/* What the device has counted, for 0x63; little-endian. */
struct counts {
	uint32_t in_packets;	/* sent, also those that went wrong */
	uint32_t in_lost, in_late, in_skips;
	uint32_t out_packets;	/* received well */
	uint32_t out_lost, out_late;
	uint32_t out_bad;	/* not what the sequence number says */
	uint32_t out_gaps;	/* sequence numbers that never came, nor went wrong */
	uint32_t max_packets;	/* most packets of a request */
	uint32_t cancelled;	/* requests */
	uint32_t late;		/* times an endpoint ran dry in a stream */
};

struct request {
	struct request *next;
	struct header h;
	uint8_t *data;
	struct packet *packets;
	int64_t due;		/* ns */
	uint32_t frame;
};

struct iso {
	uint32_t seq;		/* next */
	bool has_seq;
	unsigned int every, kind, turn;
	unsigned int since;	/* packets since the last fault */
	int64_t busy_until;
};

static int speed, sock;
static uint16_t small;		/* MAXP */
static const char *serial;
static struct request *queue, **queue_end = &queue;
static struct iso iso[2];
static struct counts counts;
static uint8_t store[65536];
static uint16_t store_len;
static uint8_t configuration, setting;
static bool halted[2][NR_EPS];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now_ns(void)
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

static uint8_t blob[512];
static size_t blob_len;

static void add(size_t len, const uint8_t *octets)
{
	memcpy(blob + blob_len, octets, len);
	blob_len += len;
}

#define ADD(...) do {						\
	const uint8_t octets_[] = { __VA_ARGS__ };		\
	add(sizeof(octets_), octets_);				\
} while (0)

#define LO(x)	((x) & 0xff)
#define HI(x)	((x) >> 8)

/* Octets of the largest isochronous packet, as the host sees packets. */
static uint32_t iso_max(void)
{
	if (small)
		return small;
	return speed == FULL ? 1023 : speed == HIGH ? 3 * 1024 : 16 * 3 * 1024;
}

static void add_endpoint(uint8_t address, uint8_t type)
{
	uint16_t maxp = speed == FULL ? 64 : speed == HIGH ? 512 : 1024;
	uint8_t interval = 0, burst = 0, mult = 0;
	uint16_t octets = 0;

	if (type == 1) {
		maxp = speed == FULL ? 1023 : speed == HIGH ? 1024 | 2 << 11 : 1024;
		interval = 1;
		burst = small ? 0 : 15;
		mult = small ? 0 : 2;
		octets = iso_max();
		if (small)
			maxp = small;
	} else if (type == 3) {
		maxp = 64;
		interval = speed == FULL ? 1 : 4;
		octets = 64;
	}
	ADD(7, 5, address, type, LO(maxp), HI(maxp), interval);
	if (speed == SUPER)
		ADD(6, 0x30, burst, mult, LO(octets), HI(octets));
}

static void make_configuration(void)
{
	uint8_t ep;

	ADD(9, 2, 0, 0, 1, 1, 0, 0xc0, 1);
	ADD(9, 4, 0, 0, 0, 0xff, 0, 0, 0);
	ADD(9, 4, 0, 1, 6, 0xff, 0, 0, 0);
	for (ep = 1; ep < NR_EPS; ep++) {
		static const uint8_t types[] = { 0, 2, 1, 3 };

		add_endpoint(ep | 0x80, types[ep]);
		add_endpoint(ep, types[ep]);
	}
	blob[2] = blob_len;
	blob[3] = blob_len >> 8;
}

static void make_string(const char *text)
{
	ADD(2 + 2 * strlen(text), 3);
	for (; *text; text++)
		ADD(*text, 0);
}

/* False: there is no such descriptor. */
static bool make_descriptor(uint8_t type, uint8_t index)
{
	static const char *const strings[] = { "usbif", "isochronous test" };

	blob_len = 0;
	if (type == 1) {
		uint16_t bcd = speed == SUPER ? 0x0300 : speed == HIGH ? 0x0200 : 0x0110;

		ADD(18, 1, LO(bcd), HI(bcd), 0, 0, 0, speed == SUPER ? 9 : 64,
		    LO(0x0525), HI(0x0525), LO(0xa4a0), HI(0xa4a0), 0, 1,
		    1, 2, 3, 1);
	} else if (type == 2 && !index) {
		make_configuration();
	} else if (type == 3 && !index) {
		ADD(4, 3, LO(0x0409), HI(0x0409));
	} else if (type == 3 && index <= 3) {
		make_string(index == 3 ? serial : strings[index - 1]);
	} else if (type == 7 && speed == HIGH && !index) {
		make_configuration();
		blob[1] = 7;
	} else if (type == 6 && speed == HIGH) {
		ADD(10, 6, LO(0x0200), HI(0x0200), 0, 0, 0, 64, 1, 0);
	} else if (type == 15 && speed == SUPER) {
		ADD(5, 15, LO(22), HI(22), 2);
		ADD(7, 16, 2, 0, 0, 0, 0);
		ADD(10, 16, 3, 0, LO(0x000e), HI(0x000e), 1, 0, LO(0), HI(0));
	} else {
		return false;
	}
	return true;
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

static void reset_iso(void)
{
	memset(iso, 0, sizeof(iso));
}

static uint32_t take_counts(struct request *r, uint32_t length)
{
	uint32_t n = length < sizeof(counts) ? length : sizeof(counts);

	memcpy(r->data, &counts, n);
	return n;
}

/* Octets, or -EPIPE. */
static int vendor(struct request *r, uint16_t value, uint16_t index, uint16_t length)
{
	switch (r->h.submit.setup[1]) {
	case 0x5b:
		memcpy(store, r->data, length);
		store_len = length;
		return length;
	case 0x5c:
		memcpy(r->data, store, length);
		return length;
	case 0x60:
	case 0x61:
		iso[r->h.submit.setup[1] == 0x60 ? DIR_IN : DIR_OUT].every = value;
		iso[r->h.submit.setup[1] == 0x60 ? DIR_IN : DIR_OUT].kind = index;
		return 0;
	case 0x62:
		reset_iso();
		memset(&counts, 0, sizeof(counts));
		return 0;
	case 0x63:
		return take_counts(r, length);
	default:
		return -EPIPE;
	}
}

static int standard(struct request *r, uint16_t value, uint16_t index, uint16_t length)
{
	const uint8_t *setup = r->h.submit.setup;
	bool *halt = &halted[!!(index & 0x80)][index & (NR_EPS - 1)];

	switch (setup[0] << 8 | setup[1]) {
	case 0x8006:
		if (!make_descriptor(value >> 8, value & 0xff))
			return -EPIPE;
		if (length > blob_len)
			length = blob_len;
		memcpy(r->data, blob, length);
		return length;
	case 0x0009:
		configuration = value;
		setting = 0;
		reset_iso();
		return 0;
	case 0x010b:
		if (index || value > 1)
			return -EPIPE;
		setting = value;
		memset(halted, 0, sizeof(halted));
		iso[DIR_IN].busy_until = 0;
		iso[DIR_OUT].busy_until = 0;
		return 0;
	case 0x8008:
		r->data[0] = configuration;
		return length ? 1 : 0;
	case 0x810a:
		r->data[0] = setting;
		return length ? 1 : 0;
	case 0x8000:
	case 0x8100:
	case 0x8200:
		r->data[0] = setup[0] == 0x80 ? 1 : setup[0] == 0x82 && *halt;
		r->data[1] = 0;
		return length < 2 ? length : 2;
	case 0x0203:
	case 0x0201:
		*halt = setup[1] == 3;
		return 0;
	case 0x0001:
	case 0x0003:
	case 0x0030:
	case 0x0031:
		return length;
	default:
		return -EPIPE;
	}
}

static void control(struct request *r)
{
	const uint8_t *setup = r->h.submit.setup;
	uint16_t value = setup[2] | setup[3] << 8;
	uint16_t index = setup[4] | setup[5] << 8;
	uint16_t length = setup[6] | setup[7] << 8;
	int n;

	if (length > r->h.submit.length)
		length = r->h.submit.length;
	n = (setup[0] & 0x60) == 0x40 ? vendor(r, value, index, length) :
					standard(r, value, index, length);
	reply(r, n < 0 ? n : 0, n < 0 ? 0 : n);
}

/* ---- isochronous packets ---- */

static uint32_t iso_interval_ns(void)
{
	return speed == FULL ? 1000000 : 125000;
}

static void fill(uint8_t *p, uint32_t length, uint32_t seq)
{
	uint32_t le = htole32(seq), i;

	memcpy(p, &le, length < 4 ? length : 4);
	for (i = 4; i < length; i++)
		p[i] = seq * 7 + i;
}

static bool matches(const uint8_t *p, uint32_t length, uint32_t seq)
{
	uint32_t i;

	for (i = 4; i < length; i++)
		if (p[i] != (uint8_t)(seq * 7 + i))
			return false;
	return true;
}

/* What goes wrong with the next packet, if anything. */
static unsigned int next_fault(struct iso *s)
{
	if (!s->every || ++s->since < s->every)
		return KIND_NONE;
	s->since = 0;
	if (s->kind != KIND_ALL)
		return s->kind;
	return KIND_LOST + s->turn++ % 3;
}

static uint32_t send_packet(struct packet *p, uint8_t *to)
{
	struct iso *s = &iso[DIR_IN];
	uint32_t length = p->length;

	counts.in_packets++;
	p->status = 0;
	switch (next_fault(s)) {
	case KIND_LOST:
		counts.in_lost++;
		s->seq++;
		p->status = -EPROTO;
		length = 0;
		break;
	case KIND_LATE:
		counts.in_late++;
		s->seq++;
		p->status = -EXDEV;
		length = 0;
		break;
	case KIND_SKIP:
		counts.in_skips++;
		s->seq += SKIPPED;
		p->status = -EXDEV;
		length = 0;
		break;
	case KIND_SHORT:
		length /= 2;
		fill(to, length, s->seq++);
		break;
	default:
		fill(to, length, s->seq++);
	}
	p->actual = length;
	return length;
}

static void check_packet(const uint8_t *data, uint32_t length)
{
	struct iso *s = &iso[DIR_OUT];
	uint32_t seq;

	counts.out_packets++;
	if (length < 4)
		return;
	memcpy(&seq, data, 4);
	seq = le32toh(seq);
	if (s->has_seq && seq != s->seq)
		counts.out_gaps++;
	s->has_seq = true;
	s->seq = seq + 1;
	if (!matches(data, length, seq))
		counts.out_bad++;
}

static void receive_packet(struct packet *p, const uint8_t *data)
{
	struct iso *s = &iso[DIR_OUT];

	p->status = 0;
	p->actual = p->length;
	switch (next_fault(s)) {
	case KIND_LOST:
		counts.out_lost++;
		s->seq++;
		p->status = -EPROTO;
		p->actual = 0;
		break;
	case KIND_LATE:
	case KIND_SKIP:
		counts.out_late++;
		s->seq++;
		p->status = -EXDEV;
		p->actual = 0;
		break;
	default:
		check_packet(data, p->length);
	}
}

static void iso_complete(struct request *r)
{
	uint32_t n = r->h.submit.packets, i, actual = 0, errors = 0;
	bool in = r->h.direction == DIR_IN;
	struct header h = {
		.command = htobe32(RET_SUBMIT),
		.seqnum = htobe32(r->h.seqnum),
	};
	uint8_t *data = malloc(r->h.submit.length + 1);

	for (i = 0; i < n; i++) {
		struct packet *p = &r->packets[i];

		if (in)
			actual += send_packet(p, data + actual);
		else
			receive_packet(p, r->data + p->offset);
		if (!in)
			actual += p->actual;
		errors += !!p->status;
	}
	if (n > counts.max_packets)
		counts.max_packets = n;
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
	struct iso *s = &iso[r->h.direction];
	int64_t now = now_ns();

	if (s->busy_until < now) {
		counts.late += s->busy_until != 0;
		s->busy_until = now;
	}
	r->frame = s->busy_until / 1000000;
	s->busy_until += (int64_t)r->h.submit.packets * iso_interval_ns();
	r->due = s->busy_until;
}

/* ---- requests ---- */

static void drop(struct request *r)
{
	free(r->data);
	free(r->packets);
	free(r);
}

static bool complete(struct request *r)
{
	unsigned int ep = r->h.ep & (NR_EPS - 1);

	if (!ep) {
		control(r);
	} else if (ep == ISO_EP) {
		if (r->due > now_ns())
			return false;
		iso_complete(r);
	} else if (halted[r->h.direction == DIR_IN][ep]) {
		reply(r, -EPIPE, 0);
	} else {
		reply(r, 0, r->h.submit.length);
	}
	return true;
}

/* Completes what is due; returns milliseconds until there is more, or -1. */
static int run(void)
{
	struct request **link = &queue, *r;
	int64_t due = INT64_MAX, now;

	while ((r = *link)) {
		if (complete(r)) {
			*link = r->next;
			drop(r);
			continue;
		}
		if (r->due < due)
			due = r->due;
		link = &r->next;
	}
	queue_end = link;
	if (due == INT64_MAX)
		return -1;
	now = now_ns();
	return due > now ? (due - now + 999999) / 1000000 : 0;
}

static void take_submit(const struct header *h)
{
	struct request *r = calloc(1, sizeof(*r));
	uint32_t length = h->submit.length;
	bool is_iso = (h->ep & (NR_EPS - 1)) == ISO_EP;

	if (!r || length > MAX_DATA || (is_iso && h->submit.packets > MAX_PACKETS))
		die("request");
	r->h = *h;
	r->data = calloc(1, length + 2);
	if (h->direction == DIR_OUT)
		receive(r->data, length);
	if (is_iso) {
		r->packets = calloc(MAX_PACKETS, sizeof(*r->packets));
		receive(r->packets, h->submit.packets * sizeof(*r->packets));
		swap_words(r->packets, h->submit.packets * 4);
		iso_begin(r);
	}
	*queue_end = r;
	queue_end = &r->next;
}

static void take_unlink(const struct header *h)
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
		counts.cancelled++;
		ret.words[0] = htobe32(-ECONNRESET);
	}
	transmit(&ret, sizeof(ret));
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
	char text[64];
	int fd, n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair");
	for (n = 0; n < 2; n++)
		setsockopt(fds[n], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	sock = fds[0];
	fd = open(ATTACH, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die(ATTACH);
	n = snprintf(text, sizeof(text), "%s %d 1 %d", port, fds[1], speed);
	if (write(fd, text, n) != n)
		die(ATTACH);
	close(fd);
	close(fds[1]);
}

int main(int argc, char **argv)
{
	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: usbip_iso full|high|super SERIAL PORT [MAXP]\n");
		return 2;
	}
	speed = *argv[1] == 'f' ? FULL : *argv[1] == 'h' ? HIGH : SUPER;
	serial = argv[2];
	small = argc > 4 ? atoi(argv[4]) : 0;
	attach(argv[3]);
	for (;;) {
		struct pollfd pfd = { .fd = sock, .events = POLLIN };
		int timeout = run();

		if (poll(&pfd, 1, timeout) > 0)
			take();
	}
}
