// SPDX-License-Identifier: GPL-2.0
/* Rings, both ends in one thread: wrapping, lying indices, when to ring the bell. */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "ring.h"
#include "tap.h"

#define SLOT		32
#define MAX_SIZE	2048
#define GUARD		64

static const u32 starts[] = {
	0, 1, 0xfff0, 0xffff, 0x10000, 0x7ffffff0, 0x7fffffff, 0x80000000,
	0xfffff800, 0xffffff9b, 0xfffffff0, 0xfffffffe, 0xffffffff,
};

#define NR_STARTS ARRAY_SIZE(starts)

/* What both sides share. */
static struct {
	u8 before[GUARD];
	u8 slots[MAX_SIZE * SLOT];
	u8 after[GUARD];
	__le32 prod;
	__le32 cons;
	__le32 event;
} shared;

static struct usbif_prod p;
static struct usbif_cons c;

static void init(u32 size, u32 start)
{
	memset(&shared, 0xa5, sizeof(shared));
	usbif_cons_init(&c, shared.slots, SLOT, size, &shared.prod,
			&shared.cons, &shared.event, start);
	usbif_prod_init(&p, shared.slots, SLOT, size, &shared.prod,
			&shared.cons, &shared.event, start);
}

static void push(u64 number)
{
	u64 entry[SLOT / 8] = { number, ~number, number * 3, number ^ 0x55 };

	usbif_prod_push(&p, entry);
}

static void pop(u64 number)
{
	u64 entry[SLOT / 8] = {};

	usbif_cons_pop(&c, entry);
	expect(entry[0] == number && entry[1] == ~number &&
	       entry[2] == number * 3 && entry[3] == (number ^ 0x55),
	       "entry %llu is %llu", number, entry[0]);
}

static u32 word(const __le32 *w)
{
	return le32_to_cpu(*w);
}

static void set(__le32 *w, u32 value)
{
	*w = cpu_to_le32(value);
}

/* Batches of random size, against counters. */
static void run_batches(u32 size, u32 start)
{
	u64 seed = size * 77777ull + start + 1;
	u64 pushed = 0, published = 0, popped = 0, committed = 0;
	int i;

	init(size, start);
	for (i = 0; i < 3000; i++) {
		u32 room = usbif_prod_room(&p);
		u32 n = tap_random(&seed) % (size + 1);
		u32 avail;

		expect(room == size - (pushed - committed), "room %u", room);
		if (n > room)
			n = room;
		while (n--)
			push(pushed++);
		expect(usbif_cons_avail(&c) == (int)(published - popped),
		       "seen before it was published");
		if (tap_random(&seed) % 4) {
			usbif_prod_publish(&p);
			published = pushed;
		}
		expect(usbif_prod_unconsumed(&p) ==
		       (int)(published - committed), "unconsumed");
		expect(word(&shared.prod) == start + (u32)published, "prod");

		avail = usbif_cons_avail(&c);
		expect(avail == published - popped, "avail %u", avail);
		n = tap_random(&seed) % (size + 1);
		if (n > avail)
			n = avail;
		while (n--)
			pop(popped++);
		if (tap_random(&seed) % 4) {
			usbif_cons_commit(&c);
			committed = popped;
		}
		expect(word(&shared.cons) == start + (u32)committed, "cons");
	}
	for (i = 0; i < GUARD; i++)
		expect(shared.before[i] == 0xa5 && shared.after[i] == 0xa5,
		       "wrote beside the slots");
	for (i = size * SLOT; i < MAX_SIZE * SLOT; i++)
		expect(shared.slots[i] == 0xa5, "wrote beyond the last slot");
}

static void test_batches(void)
{
	static const u32 sizes[] = { 1, 2, 64, 2048 };
	size_t i, j;

	for (i = 0; i < 4; i++)
		for (j = 0; j < NR_STARTS; j++) {
			run_batches(sizes[i], starts[j]);
			tap_case("ring of %u from index %#x", sizes[i],
				 starts[j]);
		}
}

static void test_fill(void)
{
	size_t j;
	u32 i;

	for (j = 0; j < NR_STARTS; j++) {
		init(64, starts[j]);
		for (i = 0; i < 64; i++)
			push(i);
		expect(usbif_prod_room(&p) == 0, "room");
		usbif_prod_publish(&p);
		expect(usbif_prod_room(&p) == 0, "room");
		expect(usbif_prod_unconsumed(&p) == 64, "unconsumed");
		expect(usbif_cons_avail(&c) == 64, "avail");
		for (i = 0; i < 64; i++)
			pop(i);
		expect(usbif_cons_avail(&c) == 0, "avail");
		expect(usbif_prod_room(&p) == 0, "room before commit");
		usbif_cons_commit(&c);
		expect(usbif_prod_room(&p) == 64, "room");
	}
	tap_case("ring filled and emptied");
}

/* A consumer whose index lies in [old, published] is honest, any other lies. */
static void test_lying_consumer(void)
{
	size_t j;
	s32 d;

	for (j = 0; j < NR_STARTS; j++) {
		u32 start = starts[j];
		u32 i;

		init(64, start);
		for (i = 0; i < 40; i++)
			push(i);
		usbif_prod_publish(&p);
		for (i = 0; i < 10; i++)
			push(i);
		set(&shared.cons, start + 8);
		expect(usbif_prod_room(&p) == 64 - 42, "room");

		for (d = -200; d < 200; d++) {
			bool good = d >= 8 && d <= 40;
			struct usbif_prod old = p;

			set(&shared.cons, start + d);
			expect((usbif_prod_room(&p) >= 0) == good, "room %d",
			       d);
			p = old;
			expect((usbif_prod_unconsumed(&p) >= 0) == good,
			       "unconsumed %d", d);
			expect(good || (usbif_prod_room(&p) == -EPROTO &&
					!memcmp(&p, &old, sizeof(p))),
			       "state changed by %d", d);
			p = old;
		}
		set(&shared.cons, start + 8 + 0x80000000);
		expect(usbif_prod_room(&p) == -EPROTO, "half way round");
		set(&shared.cons, start + 40);
		expect(usbif_prod_room(&p) == 64 - 10, "honest again");
	}
	tap_case("index of the consumer moved back or too far");
}

static void test_lying_producer(void)
{
	size_t j;
	s32 d;

	for (j = 0; j < NR_STARTS; j++) {
		u32 start = starts[j];
		u32 i;

		init(64, start);
		for (i = 0; i < 20; i++)
			push(i);
		usbif_prod_publish(&p);
		expect(usbif_cons_avail(&c) == 20, "avail");
		for (i = 0; i < 5; i++)
			pop(i);

		for (d = -200; d < 200; d++) {
			bool good = d >= 20 && d <= 5 + 64;
			struct usbif_cons old = c;
			int avail;

			set(&shared.prod, start + d);
			avail = usbif_cons_avail(&c);
			expect(avail == (good ? d - 5 : -EPROTO), "%d: %d", d,
			       avail);
			expect(good || !memcmp(&c, &old, sizeof(c)),
			       "state changed by %d", d);
			c = old;
			if (!good)
				expect(usbif_cons_arm(&c), "slept with %d", d);
			c = old;
		}
		set(&shared.prod, start + 0x80000000);
		expect(usbif_cons_avail(&c) == -EPROTO, "half way round");
	}
	tap_case("index of the producer moved back or too far");
}

/* The bell is for whom @event lies in what was published: [old, new). */
static void test_need_kick(void)
{
	size_t j;
	u32 n, k;
	s32 event;

	for (j = 0; j < NR_STARTS; j++)
		for (n = 0; n <= 16; n++)
			for (k = 0; k <= n; k++)
				for (event = -20; event < 20; event++) {
					bool want = event >= (s32)k &&
						    event < (s32)n;
					u32 i;

					init(16, starts[j]);
					for (i = 0; i < k; i++)
						push(i);
					usbif_prod_publish(&p);
					usbif_prod_need_kick(&p);
					for (; i < n; i++)
						push(i);
					usbif_prod_publish(&p);
					set(&shared.event, starts[j] + event);
					expect(usbif_prod_need_kick(&p) == want,
					       "start %x old %u new %u event %d",
					       starts[j], k, n, event);
					expect(!usbif_prod_need_kick(&p),
					       "rung twice");
				}
	tap_case("bell rung for just the entry asked for");
}

static void test_arm(void)
{
	size_t j;

	for (j = 0; j < NR_STARTS; j++) {
		init(16, starts[j]);
		expect(word(&shared.event) == starts[j] &&
		       word(&shared.cons) == starts[j], "words after init");
		expect(!usbif_prod_need_kick(&p), "rung for nothing");
		push(0);
		expect(!usbif_prod_need_kick(&p), "rung before publishing");
		usbif_prod_publish(&p);
		expect(usbif_prod_need_kick(&p), "not rung when armed by init");
		push(1);
		usbif_prod_publish(&p);
		expect(!usbif_prod_need_kick(&p), "rung again");

		expect(usbif_cons_arm(&c), "slept over two entries");
		expect(usbif_cons_avail(&c) == 2, "avail");
		pop(0);
		pop(1);
		usbif_cons_commit(&c);
		expect(!usbif_cons_arm(&c), "something there");
		expect(word(&shared.event) == starts[j] + 2, "event");

		/* Two publications, one look: rung if either was asked for. */
		push(2);
		usbif_prod_publish(&p);
		push(3);
		usbif_prod_publish(&p);
		expect(usbif_prod_need_kick(&p), "not rung when armed");
	}
	tap_case("armed: rung once, and no sleep over an entry");

	for (j = 0; j < NR_STARTS; j++) {
		u32 i;

		init(16, starts[j]);
		usbif_cons_disarm(&c);
		set(&shared.event, 0xabcdef01);
		usbif_cons_disarm(&c);
		expect(word(&shared.event) == 0xabcdef01, "written twice");

		init(16, starts[j]);
		usbif_cons_disarm(&c);
		for (i = 0; i < 100; i++) {
			push(i);
			usbif_prod_publish(&p);
			expect(!usbif_prod_need_kick(&p), "rung when disarmed");
			usbif_cons_avail(&c);
			pop(i);
			usbif_cons_commit(&c);
			usbif_cons_disarm(&c);
		}
		expect(!usbif_cons_arm(&c), "something there");
		push(i);
		usbif_prod_publish(&p);
		expect(usbif_prod_need_kick(&p), "not rung when armed again");

		/* Passed already, also where that wraps: nothing to write. */
		usbif_cons_avail(&c);
		set(&shared.event, 0xabcdef01);
		usbif_cons_disarm(&c);
		expect(word(&shared.event) == 0xabcdef01, "written in vain");
		pop(i++);
		usbif_cons_commit(&c);
		usbif_cons_arm(&c);
		usbif_cons_disarm(&c);
		for (; i < 130; i++) {
			push(i);
			usbif_prod_publish(&p);
			expect(!usbif_prod_need_kick(&p), "rung when disarmed");
			usbif_cons_avail(&c);
			pop(i);
			usbif_cons_commit(&c);
		}
	}
	tap_case("disarmed: not rung");
}

static void test_words(void)
{
	u8 octets[4];
	__le32 w;

	usbif_word_write(&w, 0x04030201);
	memcpy(octets, &w, 4);
	expect(octets[0] == 1 && octets[3] == 4, "order of octets");
	expect(usbif_word_read(&w) == 0x04030201, "read");
	usbif_word_write_release(&w, 0x08070605);
	memcpy(octets, &w, 4);
	expect(octets[0] == 5 && octets[3] == 8, "order of octets");
	expect(usbif_word_read_acquire(&w) == 0x08070605, "read");
	tap_case("words are little-endian");
}

int main(void)
{
	test_words();
	test_fill();
	test_batches();
	test_lying_consumer();
	test_lying_producer();
	test_need_kick();
	test_arm();
	return tap_end();
}
