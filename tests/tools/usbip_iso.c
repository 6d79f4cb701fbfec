// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_iso - a USB device behind vhci_hcd, for isochronous transfers
 *
 *	usbip_iso full|high|super SERIAL PORT [MAXP]
 *
 * At root hub port PORT, from 0. Packets are as long as the speed allows, or MAXP
 * octets. What it has in common with other devices: usbip_device.h.
 *
 * The device looks like gadget zero to usbtest: alternate setting 0 of its only
 * interface has no endpoints, setting 1 has bulk, isochronous and interrupt ones.
 *   1  bulk: endless zeros, and a sink
 *   2  isochronous: each packet begins with its sequence number (little-endian, 32
 *	bits), the rest follows from that; what comes in is checked for the same
 *   3  interrupt: as bulk
 *   4  with MAXP: isochronous, in only, with packets of no length
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "usbip_device.h"

#define NR_EPS		4
#define SKIPPED		5

enum { DIR_OUT, DIR_IN };
enum { KIND_NONE, KIND_LOST, KIND_LATE, KIND_SKIP, KIND_ALL, KIND_SHORT };

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

struct iso {
	uint32_t seq;		/* next */
	bool has_seq;
	unsigned int every, kind, turn;
	unsigned int since;	/* packets since the last fault */
};

static uint16_t small;		/* MAXP */
static struct iso iso[2];
static struct counts counts;
static uint8_t store[65536];

/* ---- descriptors ---- */

static void add_endpoint(uint8_t address, uint8_t type)
{
	bool full = usbip_speed == USBIP_FULL, super = usbip_speed == USBIP_SUPER;
	struct usbip_endpoint ep = { .address = address, .attributes = type };

	switch (type) {
	case USBIP_ISO:
		ep.packet = small ? small : full ? 1023 : 1024;
		ep.interval = 1;
		ep.transactions = small || full ? 1 : super ? 16 : 3;
		ep.bursts = small || !super ? 1 : 3;
		break;
	case USBIP_BULK:
		ep.packet = full ? 64 : super ? 1024 : 512;
		break;
	case USBIP_INTERRUPT:
		ep.packet = 64;
		ep.interval = full ? 1 : 4;
		break;
	}
	usbip_add_endpoint(&ep);
}

/* One that has packets of no length, as some real devices do. */
static void add_silent(void)
{
	struct usbip_endpoint ep = {
		.address = NR_EPS | USBIP_DIR_IN,
		.attributes = USBIP_ISO,
		.interval = 1,
	};

	usbip_add_endpoint(&ep);
}

static void describe(void)
{
	static const uint8_t types[] = { 0, USBIP_BULK, USBIP_ISO, USBIP_INTERRUPT };
	uint8_t ep;

	USBIP_ADD(9, 4, 0, 0, 0, 0xff, 0, 0, 0);
	USBIP_ADD(9, 4, 0, 1, small ? 7 : 6, 0xff, 0, 0, 0);
	for (ep = 1; ep < NR_EPS; ep++) {
		add_endpoint(ep | USBIP_DIR_IN, types[ep]);
		add_endpoint(ep, types[ep]);
	}
	if (small)
		add_silent();
}

/* ---- requests to the device ---- */

static int take_counts(const struct usbip_control *c)
{
	int n = c->length < sizeof(counts) ? c->length : sizeof(counts);

	counts.max_packets = usbip_stats.max_packets;
	counts.cancelled = usbip_stats.cancelled;
	counts.late = usbip_stats.late;
	memcpy(c->data, &counts, n);
	return n;
}

static int control(const struct usbip_control *c)
{
	struct iso *s = &iso[c->request == 0x60 ? DIR_IN : DIR_OUT];

	if ((c->type & 0x60) != 0x40)
		return -EPIPE;
	switch (c->request) {
	case 0x5b:
		memcpy(store, c->data, c->length);
		return c->length;
	case 0x5c:
		memcpy(c->data, store, c->length);
		return c->length;
	case 0x60:
	case 0x61:
		s->every = c->value;
		s->kind = c->index;
		return 0;
	case 0x62:
		memset(iso, 0, sizeof(iso));
		memset(&counts, 0, sizeof(counts));
		memset(&usbip_stats, 0, sizeof(usbip_stats));
		return 0;
	case 0x63:
		return take_counts(c);
	default:
		return -EPIPE;
	}
}

/* ---- isochronous packets ---- */

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

static void send_packet(struct usbip_packet *p, uint8_t *to)
{
	struct iso *s = &iso[DIR_IN];
	uint32_t length = p->length;

	counts.in_packets++;
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

static void receive_packet(struct usbip_packet *p, const uint8_t *data)
{
	struct iso *s = &iso[DIR_OUT];

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

static void packet(uint8_t address, struct usbip_packet *p, uint8_t *data)
{
	if (address & USBIP_DIR_IN)
		send_packet(p, data);
	else
		receive_packet(p, data);
}

/* ---- main ---- */

static const struct usbip_device device = {
	.vendor = 0x0525,
	.product = 0xa4a0,
	.name = "isochronous test",
	.describe = describe,
	.control = control,
	.packet = packet,
};

int main(int argc, char **argv)
{
	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: usbip_iso full|high|super SERIAL PORT [MAXP]\n");
		return 2;
	}
	small = argc > 4 ? atoi(argv[4]) : 0;
	usbip_run(&device, argv[1], argv[2], argv[3]);
	return 0;
}
