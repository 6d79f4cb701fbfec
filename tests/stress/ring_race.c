// SPDX-License-Identifier: GPL-2.0
/*
 * The two places where ring.c would go wrong only now and then.
 *
 * A producer publishes while the consumer goes to sleep, again and again at the same
 * moment: it must ring, or the consumer must see the entry. Without one of the two full
 * barriers neither does, once in some thousand rounds.
 *
 * A producer goes on filling as soon as there is room: it must not write where the
 * consumer is still reading.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/compiler.h>
#include "proto.h"
#include "ring.h"
#include "../unit/tap.h"

#define LINE	64
#define SIZE	16
#define SLOT	32

/* What both sides share, each word in a line of its own. */
static struct {
	__le32 prod;
	u8 pad0[LINE - 4];
	__le32 cons;
	u8 pad1[LINE - 4];
	__le32 event;
	u8 pad2[LINE - 4];
	u8 slots[SIZE * SLOT];
} shared __attribute__((aligned(LINE)));

/* How the two threads keep in step. */
static struct {
	u64 here;
	u8 pad0[LINE - 8];
	u64 done;
	bool result;
	u8 pad1[LINE - 9];
} step[2] __attribute__((aligned(LINE)));

static struct usbif_prod p;
static struct usbif_cons c;
static u64 rounds;
static u64 lost;

static void init(u32 start)
{
	memset(&shared, 0, sizeof(shared));
	memset(step, 0, sizeof(step));
	usbif_cons_init(&c, shared.slots, SLOT, SIZE, &shared.prod,
			&shared.cons, &shared.event, start);
	usbif_prod_init(&p, shared.slots, SLOT, SIZE, &shared.prod,
			&shared.cons, &shared.event, start);
}

static void wait_for(const u64 *word, u64 value)
{
	int spins = 0;

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value)
		if (++spins > 2000)
			sched_yield();
}

static void tell(u64 *word, u64 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void delay(unsigned long long *seed)
{
	volatile int spin = tap_random(seed) % 32;

	while (spin)
		spin--;
}

static void produce_round(u64 round, unsigned long long *seed)
{
	u64 entry[SLOT / 8] = { round };

	tell(&step[0].here, round);
	wait_for(&step[1].here, round);
	delay(seed);
	usbif_prod_push(&p, entry);
	usbif_prod_publish(&p);
	step[0].result = usbif_prod_need_kick(&p);
	tell(&step[0].done, round);
	wait_for(&step[1].done, round);
}

static void consume_round(u64 round, unsigned long long *seed)
{
	u64 entry[SLOT / 8];

	tell(&step[1].here, round);
	wait_for(&step[0].here, round);
	delay(seed);
	step[1].result = usbif_cons_arm(&c);
	wait_for(&step[0].done, round);
	lost += !step[0].result && !step[1].result;
	if (usbif_cons_avail(&c) != 1)
		abort();
	usbif_cons_pop(&c, entry);
	usbif_cons_commit(&c);
	tell(&step[1].done, round);
}

static void *consumer(void *arg)
{
	unsigned long long seed = 2;
	u64 round;

	for (round = 1; round <= rounds; round++)
		consume_round(round, &seed);
	return arg;
}

static void test_wakeup(u64 count)
{
	unsigned long long seed = 1;
	pthread_t thread;
	u64 round;

	rounds = count;
	lost = 0;
	init(-1000);
	if (pthread_create(&thread, NULL, consumer, NULL))
		abort();
	for (round = 1; round <= rounds; round++)
		produce_round(round, &seed);
	pthread_join(thread, NULL);
	expect(!lost, "%llu of %llu wakeups lost", lost, count);
	tap_case("publishing while the consumer goes to sleep, %llu times",
		 count);
}

static void *fill(void *arg)
{
	u64 entry[SLOT / 8];
	u64 number = 0;
	int room, i;

	while (number < rounds) {
		room = usbif_prod_room(&p);
		if (room < 0)
			abort();
		if (!room)
			sched_yield();
		while (room-- && number < rounds) {
			for (i = 0; i < SLOT / 8; i++)
				entry[i] = number + i;
			number++;
			usbif_prod_push(&p, entry);
			usbif_prod_publish(&p);
		}
	}
	return arg;
}

static void test_full(u64 count)
{
	u64 entry[SLOT / 8];
	pthread_t thread;
	u64 number = 0;
	int avail, i;

	rounds = count;
	init(-1000);
	if (pthread_create(&thread, NULL, fill, NULL))
		abort();
	while (number < count) {
		avail = usbif_cons_avail(&c);
		if (avail < 0)
			abort();
		if (!avail)
			sched_yield();
		for (; avail; avail--) {
			usbif_cons_pop(&c, entry);
			for (i = 0; i < SLOT / 8; i++)
				expect(entry[i] == number + i, "entry %llu torn",
				       number);
			number++;
			usbif_cons_commit(&c);
		}
	}
	pthread_join(thread, NULL);
	tap_case("filling a ring while it is emptied, %llu times", count);
}

int main(int argc, char **argv)
{
	u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;

	test_wakeup(count);
	test_full(count);
	return tap_end();
}
