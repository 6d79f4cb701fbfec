// SPDX-License-Identifier: GPL-2.0
/*
 * See back_hostile.h.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back_hostile.h"

enum flip { FLIP_COMPLETIONS = 1, FLIP_POOL, FLIP_PORTS };

static bool is_short, no_reset, no_query;
static struct back_req *unanswered;
static u32 swaps, broken_descriptor;
static void *saved;

/* ---- rewriting ---- */

static atomic_uint flipping;

static void flip_one(struct back *b, u32 what, u32 random)
{
	/* Connected, empty, being changed. */
	static const u32 states[] = { 0x0301, 0x0000, 0x0002 };
	__le32 *pool = b->region + b->lay.pool_offset;
	struct usbif_rsp *rsp = b->region + b->lay.cq_offset;
	struct usbif_port *port = &b->ports[0][4 + random % 12];

	switch (what) {
	case FLIP_COMPLETIONS:
		rsp += random % b->lay.ring_entries;
		usbif_word_write(&rsp->actual, random % 3 ? random % 64 : random);
		break;
	case FLIP_POOL:
		usbif_word_write(pool + random % (b->lay.pool_size / 4), random);
		break;
	case FLIP_PORTS:
		usbif_word_write(&port->state, states[random % 3]);
		usbif_word_write(&port->epoch, 1 + random % 5);
		break;
	}
}

static void *flip_run(void *arg)
{
	u64 seed = 88172645463325252ull;

	while (flipping) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		flip_one(arg, flipping, seed >> 32);
	}
	return NULL;
}

static void flip(struct back *b, u32 what, bool on)
{
	static pthread_t thread;

	if (on && !flipping) {
		flipping = what;
		if (pthread_create(&thread, NULL, flip_run, b))
			die("no thread");
	} else if (!on && flipping) {
		flipping = 0;
		pthread_join(thread, NULL);
	}
}

bool hostile_flips(void)
{
	return flipping == FLIP_POOL;
}

/* ---- storms ---- */

static void flap(struct back *b, unsigned int port, unsigned int ms)
{
	u64 end = now_us() + ms * 1000ull;
	u8 speed = b->port[port].speed;

	while (now_us() < end) {
		back_unplug(b, port, USBIF_REASON_UNPLUGGED);
		back_plug(b, port, speed);
		usleep(500);
	}
}

static void change_nothing(struct back *b, unsigned int ms)
{
	u64 end = now_us() + ms * 1000ull;

	while (now_us() < end) {
		usbif_word_write_release(&b->page->port_gen, ++b->port_gen);
		back_kick(b);
	}
}

/* Too fast for a session at first, then as soon as there is one. */
static void restart_always(struct back *b, unsigned int ms)
{
	u64 begin = now_us(), end = begin + ms * 1000ull;

	while (now_us() < end) {
		bool is_patient = now_us() > begin + ms * 1000ull / 4;

		back_start(b);
		do {
			back_look(b);
		} while (is_patient && b->state != USBIF_BACK_CONNECTED &&
			 now_us() < end);
	}
}

/* ---- words ---- */

/* The frontend never reads its own words, so nothing but us needs the right ones. */
static void spoil_front(struct back *b, unsigned int word, u32 value)
{
	__le32 *at = (__le32 *)b->front + word;
	u32 was = usbif_word_read(at);

	usbif_word_write(at, value);
	back_kick(b);
	usleep(20 * 1000);
	usbif_word_write(at, was);
}

static void load(struct back *b)
{
	if (!saved)
		die("nothing has been saved");
	memcpy(b->region, saved, b->size);
	b->is_old = true;
	back_kick(b);
}

static void save(struct back *b)
{
	saved = saved ?: malloc(b->size);
	if (!saved)
		die("no memory");
	memcpy(saved, b->region, b->size);
}

/* ---- devices ---- */

u32 hostile_length(const struct back_req *r, u32 length)
{
	return is_short && r->req.endpoint & 0x80 ? length / 2 : length;
}

bool hostile_reset(struct back *b, struct back_req *r)
{
	if (swaps) {
		swaps--;
		back_plug(b, r->req.port, b->port[r->req.port].speed);
	}
	if (no_reset)
		unanswered = r;
	return no_reset;
}

bool hostile_query(void)
{
	return no_query;
}

static void answer_resets(struct back *b, bool on)
{
	struct back_req *r = unanswered;

	no_reset = !on;
	unanswered = NULL;
	if (on && r && r->is_live && r->req.op == USBIF_OP_RESET)
		back_complete(b, r, USBIF_ST_OK, 0);
}

/* Each of these has confused somebody's USB stack. */
u32 hostile_descriptor(u8 type, u8 *d, u32 len)
{
	switch (type << 8 | broken_descriptor) {
	case 0x101:			/* no packet fits into endpoint 0 */
		d[7] = 0;
		break;
	case 0x102:			/* 255 configurations */
		d[17] = 255;
		break;
	case 0x103:			/* shorter than it says */
		return 8;
	case 0x104:			/* of another type */
		d[1] = 2;
		break;
	case 0x205:			/* in all, nothing */
		d[2] = 0;
		break;
	case 0x206:			/* in all, more than there is */
		d[2] = 0xff;
		d[3] = 0xff;
		break;
	case 0x207:			/* a descriptor of length 0 */
		d[9] = 0;
		break;
	case 0x208:			/* one that ends behind the last */
		d[9] = 255;
		break;
	case 0x209:			/* 255 interfaces */
		d[4] = 255;
		break;
	case 0x20a:			/* interface 255, setting 255 */
		d[11] = 255;
		d[12] = 255;
		break;
	case 0x20b:			/* 255 endpoints */
		d[13] = 255;
		break;
	case 0x20c:			/* endpoint 0, of no packet size, twice */
		d[20] = 0;
		d[22] = 0;
		d[23] = 0;
		d[27] = d[20];
		break;
	case 0x20d:			/* type and interval as they cannot be */
		d[21] = 0xff;
		d[24] = 0xff;
		break;
	case 0x30e:			/* a string of odd length */
		d[0] = 3;
		break;
	case 0x30f:			/* a string without its head */
		return 1;
	}
	return len;
}

/* ---- commands ---- */

static bool obey_words(struct back *b, const char *line)
{
	unsigned int word, value;

	if (sscanf(line, "page %i %i", &word, &value) == 2)
		usbif_word_write((__le32 *)b->page + word, value);
	else if (sscanf(line, "ports %i %i", &word, &value) == 2)
		usbif_word_write((__le32 *)b->ports + word, value);
	else if (sscanf(line, "front %i %i", &word, &value) == 2)
		spoil_front(b, word, value);
	else if (sscanf(line, "completion %i %i", &b->spoil_word, &value) == 2)
		b->spoil_value = value;
	else
		return false;
	if (!strncmp(line, "ports", 5))
		usbif_word_write_release(&b->page->port_gen, ++b->port_gen);
	back_kick(b);
	return true;
}

static bool obey_storms(struct back *b, const char *line)
{
	unsigned int n, m;

	if (sscanf(line, "flap %u %u", &n, &m) == 2)
		flap(b, n, m);
	else if (sscanf(line, "gen %u", &n) == 1)
		change_nothing(b, n);
	else if (sscanf(line, "nonce %u", &n) == 1)
		restart_always(b, n);
	else if (sscanf(line, "flip %u %u", &n, &m) == 2)
		flip(b, n, m);
	else
		return false;
	return true;
}

bool hostile_obey(struct back *b, const char *line)
{
	unsigned int n;

	if (obey_words(b, line) || obey_storms(b, line))
		return true;
	if (sscanf(line, "short %u", &n) == 1)
		is_short = n;
	else if (sscanf(line, "swap %u", &n) == 1)
		swaps = n;
	else if (sscanf(line, "noreset %u", &n) == 1)
		answer_resets(b, !n);
	else if (sscanf(line, "noquery %u", &n) == 1)
		no_query = n;
	else if (sscanf(line, "leaks %u", &n) == 1)
		back_look_for_leaks(b, n);
	else if (sscanf(line, "descriptor %u", &n) == 1)
		broken_descriptor = n;
	else if (!strcmp(line, "repage"))
		usbif_layout_encode(b->page, &b->lay, ++b->nonce ?: 1);
	else if (!strcmp(line, "save"))
		save(b);
	else if (!strcmp(line, "load"))
		load(b);
	else
		return false;
	return true;
}
