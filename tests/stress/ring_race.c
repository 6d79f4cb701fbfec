// SPDX-License-Identifier: GPL-2.0
/*
 * Where the two sides meet and things would go wrong only now and then.
 *
 * A producer publishes while the consumer goes to sleep, again and again at the same
 * moment: it must ring, or the consumer must see the entry. Without one of the two full
 * barriers neither does, once in some thousand rounds.
 *
 * A producer goes on filling as soon as there is room: it must not write where the
 * consumer is still reading.
 *
 * A port, or the layout, is rewritten while it is read: what the reader takes must be
 * of one writing.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <errno.h>
#include <linux/compiler.h>
#include <asm/barrier.h>
#include "proto.h"
#include "ring.h"
#include "../lib/tap.h"

#ifdef SHIM_TSAN
#define TSAN	1
#else
#define TSAN	0
#endif

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

static bool writing;
static struct usbif_port port;
static struct usbif_back_page page;

/* Epoch and wakeup are always the same number. */
static void *write_port(void *arg)
{
	struct usbif_port_state st = {
		.status = USBIF_PORT_CONNECTED, .speed = USBIF_SPEED_HIGH,
	};
	u8 version = 0;

	while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
		st.epoch = st.epoch % 1000000 + 1;
		st.wakeup = st.epoch;
		usbif_port_write(&port, &st, &version);
	}
	return arg;
}

/*
 * The version has eight bits, so that just 128 changes in one reading are not seen: the
 * doing of a scheduler that stops the reader there, and let pass a few times.
 */
static void test_port(u64 count)
{
	struct usbif_port_state st;
	enum usbif_why why;
	pthread_t thread;
	u64 i, good = 0, mixed = 0;

	writing = true;
	if (pthread_create(&thread, NULL, write_port, NULL))
		abort();
	for (i = 0; i < count || !good; i++) {
		int ret = usbif_port_read(&st, &port, &why);

		expect(ret != -EPROTO, "%s", usbif_why_name(why));
		good += !ret;
		mixed += !ret && st.epoch != st.wakeup;
	}
	__atomic_store_n(&writing, false, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	expect(mixed <= 2, "%llu of %llu mixed", mixed, good);
	tap_case("reading a port that is being changed, %llu times", count);
}

/* Features say the nonce again, in both halves. */
static void *write_layout(void *arg)
{
	struct usbif_layout lay;
	u32 nonce = 0;

	usbif_layout_compute(&lay, USBIF_REGION_MIN, 0, 1, 1);
	while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
		nonce += nonce == 0xffffff00 ? 257 : 1;
		lay.features = (u64)nonce << 32 | (nonce & ~(u32)USBIF_F_ISO);
		lay.max_transfer = 4096 + (nonce & 15) * 4096;
		usbif_layout_encode(&page, &lay, nonce);
	}
	return arg;
}

static void test_layout(u64 count)
{
	struct usbif_layout lay;
	enum usbif_why why;
	pthread_t thread;
	u64 i, good = 0;
	u32 nonce;

	writing = true;
	if (pthread_create(&thread, NULL, write_layout, NULL))
		abort();
	for (i = 0; i < count || !good; i++) {
		int ret = usbif_layout_decode(&lay, &nonce, &page,
					      USBIF_REGION_MIN, &why);

		expect(ret != -EINVAL, "%s", usbif_why_name(why));
		if (ret)
			continue;
		good++;
		expect(lay.features >> 32 == nonce &&
		       lay.max_transfer == 4096 + (nonce & 15) * 4096,
		       "mixed: nonce %x, features %llx, transfer %x", nonce,
		       lay.features, lay.max_transfer);
	}
	__atomic_store_n(&writing, false, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	tap_case("reading a layout that is being rewritten, %llu times", count);
}

int main(int argc, char **argv)
{
	u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;

	test_wakeup(count);
	test_full(count);
	test_port(count);
	/* The copy may be torn, which is then found out; but a race it is. */
	if (!TSAN)
		test_layout(count);
	return tap_end();
}
