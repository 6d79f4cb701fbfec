// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend and a backend over one region with two eventfds as doorbells: millions of
 * requests, each of which must come through once, whole, in order, and wake whom it is
 * for. Nobody rings twice here, so that a lost wakeup does not heal: it is seen as a
 * side that sleeps while there is work for it.
 *
 *	test_ring_pair				all cases, as TAP
 *	test_ring_pair processes COUNT START	one case
 *	test_ring_pair threads COUNT START
 *	test_ring_pair spin COUNT START		threads that never sleep
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "proto.h"
#include "ring.h"
#include "../lib/tap.h"

#define REGION		USBIF_REGION_MIN
#define MAX_REQUESTS	64	/* N in a region of this size */
#define PATIENCE	4000	/* ms */

enum mode { PROCESSES, THREADS, SPIN };

static const char * const mode_names[] = { "processes", "threads", "spin" };

/**
 * struct side - one end
 * @prod: what it produces
 * @cons: what it consumes
 * @bell_in: eventfd it sleeps on
 * @bell_out: eventfd it rings
 * @total: requests to move
 * @seed: of its random numbers
 * @rung: bells it rang
 * @mode: how the ends run
 * @name: for messages
 */
struct side {
	struct usbif_prod prod;
	struct usbif_cons cons;
	int bell_in;
	int bell_out;
	u64 total;
	unsigned long long seed;
	u64 rung;
	enum mode mode;
	const char *name;
};

/* What stands in a slot: the rest of it depends on these two. */
struct submission {
	u64 number;
	u64 id;
	u64 filler[14];
};

struct completion {
	u64 number;
	u64 id;
	u64 filler[2];
};

static struct usbif_layout lay;

static u64 filler(u64 number, u64 id, u64 i)
{
	return (number * 0x9e3779b97f4a7c15ull + id) ^ (i << 56 | i);
}

static bool fail(struct side *s, const char *what, long value)
{
	printf("# %s: %s (%ld)\n", s->name, what, value);
	return false;
}

static void ring(struct side *s)
{
	u64 one = 1;

	s->rung++;
	if (write(s->bell_out, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void publish(struct side *s)
{
	usbif_prod_publish(&s->prod);
	if (usbif_prod_need_kick(&s->prod) && s->mode != SPIN)
		ring(s);
}

/* Some delay now and then, so that the two meet at each point of each other's work. */
static void dawdle(struct side *s)
{
	u64 dice = tap_random(&s->seed) % 4096;
	volatile int spin;

	if (dice < 2) {
		usleep(dice * 50);
	} else if (dice < 40) {
		sched_yield();
	} else if (dice < 1500) {
		for (spin = 0; spin < (int)dice; spin++)
			;
	}
}

/* Sleeps until the bell rings. False if there was work and nobody rang. */
static bool sleep_until_rung(struct side *s)
{
	struct pollfd pfd = { .fd = s->bell_in, .events = POLLIN };
	int tries, ret, forgotten = 0;
	u64 count;

	for (tries = 0; tries < 30; tries++) {
		ret = poll(&pfd, 1, PATIENCE);
		if (ret > 0) {
			if (read(s->bell_in, &count, sizeof(count)) !=
			    sizeof(count))
				abort();
			return true;
		}
		/* The other one may have been stopped just before it rang. */
		forgotten += usbif_cons_avail(&s->cons) != 0;
		if (forgotten > 1)
			return fail(s, "slept over work", s->cons.cons);
	}
	return fail(s, "nothing happens any more", s->cons.cons);
}

static bool rest(struct side *s)
{
	if (s->mode == SPIN) {
		sched_yield();
		return true;
	}
	if (usbif_cons_arm(&s->cons))
		return true;
	if (!sleep_until_rung(s))
		return false;
	if (tap_random(&s->seed) % 2)
		usbif_cons_disarm(&s->cons);
	return true;
}

/**
 * struct front - what a frontend knows of its requests
 * @number: of the live request with this id
 * @live: is there one
 * @free: ids that are not live
 * @nr_free: how many
 */
struct front {
	u64 number[MAX_REQUESTS];
	bool live[MAX_REQUESTS];
	u32 free[MAX_REQUESTS];
	u32 nr_free;
};

static bool submit(struct side *s, struct front *f, u64 *next)
{
	u64 batch = 1 + tap_random(&s->seed) % 8;
	bool some = false;

	while (batch-- && f->nr_free && *next < s->total) {
		struct submission entry = {
			.number = *next, .id = f->free[--f->nr_free],
		};
		u64 i;

		for (i = 0; i < 14; i++)
			entry.filler[i] = filler(entry.number, entry.id, i);
		f->live[entry.id] = true;
		f->number[entry.id] = (*next)++;
		if (usbif_prod_room(&s->prod) <= 0)
			abort();
		usbif_prod_push(&s->prod, &entry);
		some = true;
	}
	if (some)
		publish(s);
	return some;
}

static int take_completions(struct side *s, struct front *f, u64 *done)
{
	int avail = usbif_cons_avail(&s->cons);
	int i;

	for (i = 0; i < avail; i++) {
		struct completion entry;
		u64 j;

		usbif_cons_pop(&s->cons, &entry);
		if (entry.id >= lay.nr_requests || !f->live[entry.id] ||
		    f->number[entry.id] != entry.number)
			return fail(s, "completion of nothing", entry.id) - 1;
		for (j = 0; j < 2; j++)
			if (entry.filler[j] != filler(entry.number, entry.id, j))
				return fail(s, "torn completion", j) - 1;
		f->live[entry.id] = false;
		f->free[f->nr_free++] = entry.id;
		++*done;
	}
	if (avail > 0)
		usbif_cons_commit(&s->cons);
	return avail;
}

static bool run_front(struct side *s)
{
	u64 next = 0, done = 0;
	struct front f = {};
	int taken;

	for (; f.nr_free < lay.nr_requests; f.nr_free++)
		f.free[f.nr_free] = f.nr_free;

	while (done < s->total) {
		bool some = submit(s, &f, &next);

		dawdle(s);
		taken = take_completions(s, &f, &done);
		if (taken < 0)
			return fail(s, "completions", taken);
		/* Half of the time let it run empty before submitting more. */
		if ((!taken && !some) ||
		    (done < next && tap_random(&s->seed) % 2))
			if (!rest(s))
				return false;
	}
	return true;
}

static bool serve(struct side *s, u64 *next, int count)
{
	struct completion done[2 * MAX_REQUESTS];
	struct submission entry;
	int i;
	u64 j;

	for (i = 0; i < count; i++) {
		usbif_cons_pop(&s->cons, &entry);
		if (entry.number != *next)
			return fail(s, "out of order", entry.number - *next);
		for (j = 0; j < 14; j++)
			if (entry.filler[j] != filler(entry.number, entry.id, j))
				return fail(s, "torn submission", j);
		++*next;
		done[i].number = entry.number;
		done[i].id = entry.id;
		for (j = 0; j < 2; j++)
			done[i].filler[j] = filler(entry.number, entry.id, j);
	}
	usbif_cons_commit(&s->cons);
	for (i = 0; i < count; i++) {
		/* From the last to the first: completions are not in order. */
		if (usbif_prod_room(&s->prod) <= 0)
			return fail(s, "no room for a completion", i);
		usbif_prod_push(&s->prod, &done[count - 1 - i]);
		if (tap_random(&s->seed) % 4 == 0)
			publish(s);
	}
	publish(s);
	return true;
}

static bool run_back(struct side *s)
{
	u64 next = 0;

	while (next < s->total) {
		int avail = usbif_cons_avail(&s->cons);
		int most = 1 + tap_random(&s->seed) % (2 * MAX_REQUESTS);

		if (avail < 0)
			return fail(s, "submissions", avail);
		if (avail) {
			if (!serve(s, &next, avail < most ? avail : most))
				return false;
			dawdle(s);
		} else if (!rest(s)) {
			return false;
		}
	}
	return true;
}

static void *run_back_thread(void *side)
{
	return run_back(side) ? side : NULL;
}

static u8 *region_make(void)
{
	int fd = memfd_create("region", MFD_CLOEXEC);
	void *base;

	if (fd < 0 || ftruncate(fd, REGION))
		abort();
	base = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		abort();
	close(fd);
	return base;
}

static void sides_init(struct side *front, struct side *back, u8 *base,
		       u32 start)
{
	struct usbif_back_page *bp = (void *)(base + USBIF_BACK_OFFSET);
	struct usbif_front_page *fp = (void *)(base + USBIF_FRONT_OFFSET);

	usbif_cons_init(&back->cons, base + lay.sq_offset,
			sizeof(struct usbif_req), lay.ring_entries,
			&fp->sq_prod, &bp->sq_cons, &bp->sq_event, start);
	usbif_prod_init(&back->prod, base + lay.cq_offset,
			sizeof(struct usbif_rsp), lay.ring_entries,
			&bp->cq_prod, &fp->cq_cons, &fp->cq_event, start);
	usbif_prod_init(&front->prod, base + lay.sq_offset,
			sizeof(struct usbif_req), lay.ring_entries,
			&fp->sq_prod, &bp->sq_cons, &bp->sq_event, start);
	usbif_cons_init(&front->cons, base + lay.cq_offset,
			sizeof(struct usbif_rsp), lay.ring_entries,
			&bp->cq_prod, &fp->cq_cons, &fp->cq_event, start);
}

static bool run_threads(struct side *front, struct side *back)
{
	pthread_t thread;
	void *result;
	bool good;

	if (pthread_create(&thread, NULL, run_back_thread, back))
		abort();
	good = run_front(front);
	if (!good)
		_exit(1);
	pthread_join(thread, &result);
	return result;
}

static bool run_processes(struct side *front, struct side *back)
{
	int status = -1;
	bool good;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		good = run_back(back);
		fflush(stdout);
		_exit(!good);
	}
	good = run_front(front);
	if (!good)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return good && !status;
}

static bool run(enum mode mode, u64 total, u32 start)
{
	struct side front = {
		.total = total, .seed = total ^ start ^ 11, .mode = mode,
		.bell_in = eventfd(0, EFD_CLOEXEC),
		.bell_out = eventfd(0, EFD_CLOEXEC), .name = "front",
	};
	struct side back = {
		.total = total, .seed = total ^ start ^ 22, .mode = mode,
		.bell_in = front.bell_out, .bell_out = front.bell_in,
		.name = "back",
	};
	u8 *base = region_make();
	bool good;

	usbif_layout_compute(&lay, REGION, 0, 1, 1);
	if (lay.nr_requests != MAX_REQUESTS)
		abort();
	sides_init(&front, &back, base, start);
	good = mode == PROCESSES ? run_processes(&front, &back) :
				   run_threads(&front, &back);
	munmap(base, REGION);
	close(front.bell_in);
	close(front.bell_out);
	return good;
}

static void run_case(enum mode mode, u64 total, u32 start)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	expect(run(mode, total, start), "broken");
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("# %.1f s\n", end.tv_sec - begin.tv_sec +
	       (end.tv_nsec - begin.tv_nsec) / 1e9);
	tap_case("%llu requests between two %s from index %#x", total,
		 mode == SPIN ? "threads that never sleep" : mode_names[mode],
		 start);
}

static void run_all(void)
{
	const char *env = getenv("LONG");
	u64 scale = env && strcmp(env, "") && strcmp(env, "0") ? 5 : 1;
	static const u32 starts[] = { 0, 0xffff, 0x7fffffff, 0xffffffff };
	u64 i;

	for (i = 0; i < 4; i++)
		run_case(PROCESSES, 20000, starts[i] - 1000);
	run_case(PROCESSES, 2000000 * scale, 0xfff00000);
	run_case(THREADS, 500000 * scale, 0xfff00000);
	run_case(SPIN, 500000 * scale, 0xfff00000);
}

int main(int argc, char **argv)
{
	int mode;

	if (argc == 1) {
		run_all();
		return tap_end();
	}
	for (mode = PROCESSES; argc == 4 && mode <= SPIN; mode++)
		if (!strcmp(argv[1], mode_names[mode]))
			return !run(mode, strtoull(argv[2], NULL, 0),
				    strtoul(argv[3], NULL, 0));
	fprintf(stderr, "usage: %s [processes|threads|spin COUNT START]\n",
		argv[0]);
	return 2;
}
