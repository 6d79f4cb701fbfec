// SPDX-License-Identifier: GPL-2.0
/*
 * See back_iso.h.
 */
#include <string.h>
#include "back_iso.h"

#define MAXP		1024
#define REWRITE_US	100000
#define FAR		0x7fffffffu

static enum iso_lie lie;

void iso_tell_lie(enum iso_lie what)
{
	lie = what;
}

u32 iso_config(u8 *d)
{
	u8 config[9] = { 9, 2, 0, 0, 1, 1, 0, 0x80, 50 };
	u8 interface[9] = { 9, 4, 0, 0, 0, 0xff, 0, 0, 0 };
	u8 endpoint[7] = { 7, 5, 0, 1, MAXP & 0xff, MAXP >> 8, 1 };
	u8 *p = d + sizeof(config);

	memcpy(d, config, sizeof(config));
	for (interface[3] = 0; interface[3] <= 2; interface[3]++) {
		interface[4] = interface[3] ? 2 : 0;
		memcpy(p, interface, sizeof(interface));
		p += sizeof(interface);
		if (!interface[3])
			continue;
		endpoint[2] = 0x01;
		memcpy(p, endpoint, sizeof(endpoint));
		p += sizeof(endpoint);
		endpoint[2] = 0x82;
		memcpy(p, endpoint, sizeof(endpoint));
		p += sizeof(endpoint);
	}
	d[2] = p - d;
	return p - d;
}

void iso_set_interface(struct back *b, struct back_req *r)
{
	back_complete(b, r, r->req.arg1 == 2 ? USBIF_ST_NOSPACE : USBIF_ST_OK, 0);
}

static u32 actual_of(u32 packet, u32 nr, u32 length)
{
	switch (lie) {
	case ISO_LONG:
		return packet == nr / 2 ? length + 1 : length;
	case ISO_HUGE:
		return FAR;
	case ISO_WRAP:
		return packet == nr / 2 || packet == nr / 2 + 1 ? 1u << 31 : 0;
	default:
		return length;
	}
}

static u32 status_of(u32 packet)
{
	static const u32 none[] = { USBIF_ST_MAX + 1, 200, 256, ~0u };

	return lie == ISO_STATUS ? none[packet % 4] : USBIF_ST_OK;
}

/* There is always one that cannot be, until the other side has read them. */
static void rewrite(struct back *b, volatile struct usbif_iso_result *results, u32 nr,
		    u32 length)
{
	u64 end = now_us() + REWRITE_US;
	u32 n = 0;

	while (!back_is_taken(b) && now_us() < end) {
		u32 now = n++ % nr, next = n % nr;

		results[next].actual = FAR;
		results[next].status = FAR;
		results[now].actual = n % 2 ? length : length / 2;
		results[now].status = USBIF_ST_OK;
	}
}

void iso_run(struct back *b, struct back_req *r)
{
	volatile struct usbif_iso_result *results = back_results(b, r);
	u32 nr = r->req.nr_packets, length = r->req.length / nr, i;
	u8 octets[MAXP * 64];

	if (r->req.length > sizeof(octets))
		die("%u octets are too many", r->req.length);
	memset(octets, ISO_OCTET, r->req.length);
	if (r->req.endpoint & 0x80)
		back_put(b, r, octets, r->req.length);
	for (i = 0; i < nr && lie != ISO_NOTHING; i++) {
		results[i].actual = actual_of(i, nr, length);
		results[i].status = status_of(i);
	}
	r->errors = lie == ISO_COUNT ? ~0u : 0;
	r->is_held = lie == ISO_HELD;
	back_complete(b, r, lie == ISO_HELD ? USBIF_ST_PARTIAL : USBIF_ST_OK,
		      r->req.length);
	if (lie == ISO_REWRITE)
		rewrite(b, results, nr, length);
}
