// SPDX-License-Identifier: GPL-2.0
/*
 * Cases of front_hostile: everything there is, for as long as it goes; 70 to 75.
 */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>
#include "front_hostile.h"

#define FIRST_ID	16

static unsigned int seconds(unsigned int some, unsigned int many)
{
	return is_long ? many : some;
}

static void submit_waiting(void)
{
	struct usbif_request req;
	u32 id;

	for (id = FIRST_ID; id < f.lay.nr_requests; id++) {
		req = waiting(id);
		front_submit(&f, &req);
	}
}

static void end_session(void)
{
	front_close(&f);
	forget_session();
}

/* All ids, most of the pool, and for each id one request more. */
static void exhausted(void)
{
	u32 block = PIPE_BLOCK + f.lay.nr_requests, id;
	struct usbif_request req;
	struct usbif_response rsp = { 0 };

	submit_waiting();
	for (id = 0; id < 4; id++) {
		req = front_bulk(&disk, 10 + id, disk.bulk_in,
				 f.lay.pool_blocks / 8 * USBIF_BLOCK_SIZE,
				 block);
		if (req.length > f.lay.max_transfer)
			req.length = f.lay.max_transfer;
		req.ranges[0].length = req.length;
		block += req.length / USBIF_BLOCK_SIZE;
		front_submit(&f, &req);
	}
	check(!front_next(&f, &rsp, SILENCE_MS), "request %u has ended", rsp.id);
	still_good();
	sleep(seconds(1, 20));
	end_session();
}

/* Requests that the device never answers cost memory, and nothing else. */
static void idle_requests(void)
{
	unsigned int for_s = seconds(1, 120);
	u32 block = PIPE_BLOCK + f.lay.nr_requests, id;
	struct usbif_request req;
	unsigned long wakeups;

	submit_waiting();
	for (id = 10; id < FIRST_ID; id++) {
		req = front_bulk(&keys, id, 0x81, 8, block + id);
		req.type = USBIF_TYPE_INTERRUPT;
		req.interval = 8;
		front_submit(&f, &req);
	}
	usleep(300 * 1000);
	wakeups = counter("wakeups");
	sleep(for_s);
	wakeups = counter("wakeups") - wakeups;
	check(wakeups < 20 * for_s, "%lu wakeups in %u s", wakeups, for_s);
	still_good();
	end_session();
}

/* The ring is full, nobody takes what comes back, and the bell rings on. */
static void slow_storm(void)
{
	u64 end = now_ms() + 1000 * seconds(1, 20);
	unsigned long wakeups;
	int i;

	memset(f.region + f.lay.sq_offset, 0,
	       f.lay.ring_entries * sizeof(struct usbif_req));
	for (i = 0; i < 2; i++) {
		f.sq.prod += usbif_prod_room(&f.sq);
		usbif_prod_publish(&f.sq);
		front_kick(&f);
		usleep(50 * 1000);
	}
	wakeups = counter("wakeups");
	while (now_ms() < end)
		front_kick(&f);
	wakeups = counter("wakeups") - wakeups;
	check(wakeups < 64 + 1100 * seconds(1, 20), "%lu wakeups", wakeups);
	end_session();
}

/* Sessions that are broken as fast as they are made; the caller counts the lines. */
static void log_flood(void)
{
	u64 end = now_ms() + 1000 * seconds(1, 20);
	struct usbif_req wire = { 0 };
	unsigned int broken = 0;

	while (now_ms() < end) {
		wire.id = 0xffffffff;
		front_submit_wire(&f, &wire);
		wants_broken("id", USBIF_ERR_BAD_ID);
		broken++;
		front_connect(&f);
	}
	check(broken > 2, "%u sessions", broken);
}

static void *ring_on(void *arg)
{
	u64 *end = arg;

	while (now_ms() < *end)
		front_kick(&f);
	return NULL;
}

static void bell_storm(void)
{
	unsigned int for_s = seconds(1, 30);
	u64 end = now_ms() + 1000 * for_s;
	unsigned long wakeups = counter("wakeups");
	pthread_t others[3];
	int i;

	for (i = 0; i < 3; i++)
		if (pthread_create(&others[i], NULL, ring_on, &end))
			die("no thread");
	usleep(500 * 1000 * for_s);
	/* One in a jiffy, which is a millisecond at the least. */
	wakeups = counter("wakeups") - wakeups;
	check(wakeups < 64 + 1100 * for_s, "%lu wakeups", wakeups);
	while (now_ms() < end)
		still_good();
	for (i = 0; i < 3; i++)
		pthread_join(others[i], NULL);
}

/* Who does not ring waits; the next bell, whatever it is for, finds all there is. */
static void no_bell(void)
{
	struct usbif_request req = good();
	struct usbif_response rsp = { 0 };
	u32 id;

	f.quiet_bell = true;
	usleep(100 * 1000);
	for (id = 5; id < 9; id++) {
		req.id = id;
		req.ranges[0].block = id;
		front_submit(&f, &req);
	}
	usleep(100 * 1000);
	f.quiet_bell = false;
	front_kick(&f);
	for (id = 5; id < 9; id++)
		check(front_wait(&f, id, &rsp, PROMPT_MS) && !rsp.status,
		      "request %u", id);
}

const struct hostile_case hostile_floods[] = {
	{ 70, exhausted },
	{ 71, idle_requests },
	{ 72, slow_storm },
	{ 73, log_flood },
	{ 74, bell_storm },
	{ 75, no_bell },
	{ 0, NULL },
};
