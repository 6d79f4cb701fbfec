// SPDX-License-Identifier: GPL-2.0
/*
 * Cases of front_hostile: the pages, the states, the indices; 1 to 20.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "front_hostile.h"

#define JUNK_STATE	77

/* ---- handshakes ---- */

static void ask(u32 magic, u32 version, u64 features, u32 nonce)
{
	usbif_word_write(&f.page->magic, magic);
	usbif_word_write(&f.page->version, version);
	f.page->features = features;
	f.nonce = nonce;
	usbif_word_write_release(&f.page->nonce, nonce);
	usbif_word_write_release(&f.page->state, USBIF_FRONT_CONNECT);
	front_kick(&f);
}

static void refused_ask(const char *what, u32 magic, u32 version, u64 features,
			u32 error)
{
	front_close(&f);
	ask(magic, version, features, f.nonce + 1);
	wants_broken(what, error);
	front_connect(&f);
}

static void wrong_magic(void)
{
	refused_ask("magic 0", 0, USBIF_VERSION, 0, USBIF_ERR_VERSION);
	refused_ask("the backend's magic", USBIF_BACK_MAGIC, USBIF_VERSION, 0,
		    USBIF_ERR_VERSION);
	forget_session();
}

static void wrong_version(void)
{
	static const u32 versions[] = { 0, USBIF_VERSION + 1, 0xffffffff };
	unsigned int i;

	for (i = 0; i < 3; i++)
		refused_ask("version", USBIF_FRONT_MAGIC, versions[i], 0,
			    USBIF_ERR_VERSION);
	forget_session();
}

static void unknown_features(void)
{
	static const unsigned int bits[] = { 4, 5, 31, 32, 63 };
	unsigned int i;

	for (i = 0; i < 5; i++)
		refused_ask("feature", USBIF_FRONT_MAGIC, USBIF_VERSION,
			    f.features | 1ull << bits[i], USBIF_ERR_FEATURE);
	refused_ask("all features", USBIF_FRONT_MAGIC, USBIF_VERSION, ~0ull,
		    USBIF_ERR_FEATURE);
	forget_session();
}

/* A session runs when requests are refused, at the latest. */
static void wait_heard(void)
{
	struct usbif_req w = { 0 };

	wants_wire("nothing at all", &w, USBIF_ST_INVALID);
}

/* The words of the layout are there to be read, by us. */
static void forge_layout(void *from, void *to)
{
	static const u32 values[] = { 0, 1, 3, 0x80000000, 0xffffffff, 0x1000 };
	unsigned char *saved = malloc(0x80);
	__le32 *word;
	unsigned int i;

	memcpy(saved, f.back, 0x80);
	for (i = 0; i < 6; i++) {
		for (word = from; word < (__le32 *)to; word++)
			usbif_word_write(word, values[i]);
		wait_heard();
		front_close(&f);
		front_ask(&f);
		front_take_up(&f);
	}
	memcpy(f.back, saved, 0x80);
	free(saved);
	forget_session();
}

static void forged_sizes(void)
{
	forge_layout(&f.back->magic, &f.back->sq_offset);
}

static void forged_offsets(void)
{
	forge_layout(&f.back->sq_offset, &f.back->reserved0);
}

static void changed_header(void)
{
	static const u32 values[] = { 0, USBIF_VERSION + 1, 0xffffffff };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		usbif_word_write(&f.page->magic, values[i]);
		usbif_word_write(&f.page->version, values[i]);
		f.page->features = ~(u64)values[i];
		usbif_word_write(&f.page->session, values[i]);
		usbif_word_write(&f.page->error, values[i]);
		still_good();
	}
}

/* ---- states ---- */

static void write_state(u32 state)
{
	usbif_word_write_release(&f.page->state, state);
	front_kick(&f);
}

/* The state of the backend that a state of ours leads to, from a session. */
static u32 state_after(u32 state)
{
	switch (state) {
	case USBIF_FRONT_NONE:
	case USBIF_FRONT_CLOSING:
	case USBIF_FRONT_BROKEN:
		return USBIF_BACK_READY;
	default:
		return USBIF_BACK_BROKEN;
	}
}

static const u32 front_states[] = {
	USBIF_FRONT_NONE, USBIF_FRONT_CONNECT, USBIF_FRONT_RUNNING,
	USBIF_FRONT_CLOSING, USBIF_FRONT_BROKEN, USBIF_FRONT_BROKEN + 1,
	JUNK_STATE, 0xffffffff,
};

#define NR_STATES (sizeof(front_states) / sizeof(front_states[0]))

static void jumps_without_session(u32 state)
{
	unsigned int i;

	for (i = 0; i < NR_STATES; i++) {
		write_state(front_states[i]);
		usleep(2000);
		check_is("state without a session",
			 usbif_word_read(&f.back->state), state);
	}
}

static void jumps_from_session(bool is_running)
{
	unsigned int i;
	u32 state;

	for (i = 0; i < NR_STATES; i++) {
		state = front_states[i];
		if (is_running ? state == USBIF_FRONT_RUNNING :
				 state == USBIF_FRONT_CONNECT)
			continue;
		front_ask(&f);
		wants_state("session", USBIF_BACK_CONNECTED);
		if (is_running) {
			front_take_up(&f);
			wait_heard();
		} else {
			usbif_word_write(&f.page->session, f.session);
		}
		write_state(state);
		wants_state("state from a session", state_after(state));
	}
}

static void state_jumps(void)
{
	front_close(&f);
	jumps_without_session(USBIF_BACK_READY);
	jumps_from_session(false);
	jumps_from_session(true);
	jumps_without_session(usbif_word_read(&f.back->state));
	/* Back from the future: CONNECT in a session that is taken up. */
	front_connect(&f);
	wait_heard();
	write_state(USBIF_FRONT_CONNECT);
	wants_broken("connect again", USBIF_ERR_STATE);
	jumps_without_session(USBIF_BACK_BROKEN);
	forget_session();
}

static void many_handshakes(void)
{
	unsigned int ms = is_long ? 10000 : 1000;
	unsigned long before = counter("sessions"), made;
	u64 end = now_ms() + ms;

	while (now_ms() < end) {
		ask(USBIF_FRONT_MAGIC, USBIF_VERSION, 0, f.nonce + 1 ?: 1);
		write_state(USBIF_FRONT_CLOSING);
	}
	made = counter("sessions") - before;
	/* 64 at once, 32 a second. */
	check(made <= 64 + 32 * (ms / 1000 + 2), "%lu sessions", made);
	forget_session();
}

static void forged_epochs(void)
{
	static const u32 away[] = { 1, -1u, 0x80000000 };
	struct usbif_req w;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		w = good_wire();
		w.session += away[i];
		wants_wire("another session", &w, USBIF_ST_INVALID);
		w = good_wire();
		w.port_epoch += away[i];
		wants_wire("another epoch", &w, USBIF_ST_NODEV);
	}
	w = good_wire();
	w.port_epoch = 0;
	wants_wire("no epoch", &w, USBIF_ST_NODEV);
	w.port_epoch = sink.epoch;
	wants_wire("the neighbour's epoch", &w, sink.epoch == disk.epoch ?
		   USBIF_ST_OK : USBIF_ST_NODEV);
}

static void flip_heartbeat(u32 random)
{
	usbif_word_write(&f.page->heartbeat, random);
}

static void heartbeat(void)
{
	struct flipper flipper;
	unsigned int i;

	/* It has been frozen up to now. */
	flip_start(&flipper, flip_heartbeat, 10);
	for (i = 0; i < 50; i++)
		still_good();
	flip_stop(&flipper);
}

/* ---- indices ---- */

static void index_breaks(__le32 *word, u32 base, const u32 *away, unsigned int n)
{
	u32 from = base;
	unsigned int i;

	for (i = 0; i < n; i++) {
		usbif_word_write_release(word, from + away[i]);
		front_kick(&f);
		wants_broken("index", USBIF_ERR_INDEX);
		front_connect(&f);
		/* Both rings begin at the same index. */
		from = f.sq.published;
	}
	forget_session();
}

static void producer_far(void)
{
	const u32 away[] = { f.lay.ring_entries + 1, 0x7fffffff, 0x80000000 };

	index_breaks(&f.page->sq_prod, f.sq.published, away, 3);
}

static void producer_back(void)
{
	const u32 away[] = { -1u, -f.lay.ring_entries };

	still_good();
	index_breaks(&f.page->sq_prod, f.sq.published, away, 2);
}

static void consumer_wrong(void)
{
	const u32 away[] = { 1, -3u, 0x80000000 };
	struct usbif_request req = good();
	unsigned int i;

	for (i = 0; i < 3; i++) {
		/* It looks at this index only when it takes requests. */
		still_good();
		still_good();
		usbif_word_write_release(&f.page->cq_cons, f.cq.cons + away[i]);
		front_submit(&f, &req);
		wants_broken("index of completions", USBIF_ERR_INDEX);
		ready();
		req = good();
	}
}

static void wraps(void)
{
	static const u32 starts[] = { 0xfff0, 0x7ffffff0, 0xfffffff0 };
	unsigned int i, n;

	for (i = 0; i < 3; i++) {
		start_at(starts[i]);
		front_close(&f);
		forget_session();
		ready();
		for (n = 0; n < 32; n++)
			still_good();
	}
}

static void publish_unwritten(void)
{
	f.sq.prod++;
	usbif_prod_publish(&f.sq);
	front_kick(&f);
}

/* Fills the whole ring with requests that do nothing. */
static void fill_ring(u32 entries)
{
	while (entries--)
		restart(&sink, sink.bulk_in);
}

static void stale_slots(void)
{
	struct usbif_request req = waiting(10);
	struct usbif_response rsp;

	fill_ring(f.lay.ring_entries);
	publish_unwritten();
	check(front_wait(&f, 9, &rsp, PROMPT_MS) && !rsp.status,
	      "a request left from the last round");
	memset(f.region + f.lay.sq_offset, 0,
	       f.lay.ring_entries * sizeof(struct usbif_req));
	publish_unwritten();
	check(front_wait(&f, 0, &rsp, PROMPT_MS) &&
	      rsp.status == USBIF_ST_INVALID, "an empty slot");
	front_submit(&f, &req);
	fill_ring(f.lay.ring_entries - 1);
	publish_unwritten();
	wants_broken("one that is live, again", USBIF_ERR_DUP_ID);
}

/* Publishes as much as may be, whatever is in the slots. */
static u32 refill(void)
{
	int room = usbif_prod_room(&f.sq);

	if (room <= 0)
		return 0;
	f.sq.prod += room;
	usbif_prod_publish(&f.sq);
	front_kick(&f);
	return room;
}

static void take_all(u32 *taken)
{
	struct usbif_response rsp;

	while (front_next(&f, &rsp, 0))
		(*taken)++;
}

static void endless_refill(void)
{
	u64 end = now_ms() + (is_long ? 20000 : 1500);
	u32 sent = 0, taken = 0, before;

	memset(f.region + f.lay.sq_offset, 0,
	       f.lay.ring_entries * sizeof(struct usbif_req));
	while (now_ms() < end) {
		sent += refill();
		take_all(&taken);
	}
	end = now_ms() + PROMPT_MS;
	while (taken != sent && now_ms() < end) {
		before = taken;
		take_all(&taken);
		if (taken != before)
			end = now_ms() + PROMPT_MS;
	}
	check_is("completions", taken, sent);
	check(sent > f.lay.ring_entries, "%u requests", sent);
}

static void never_consumes(void)
{
	u32 sent, taken = 0, cons;
	u64 end;

	memset(f.region + f.lay.sq_offset, 0,
	       f.lay.ring_entries * sizeof(struct usbif_req));
	sent = refill();
	usleep(200 * 1000);
	sent += refill();
	usleep(200 * 1000);
	cons = usbif_word_read_acquire(&f.back->sq_cons);
	check_is("submissions taken with nobody to take completions",
		 f.sq.prod - cons, f.lay.ring_entries);
	check(!refill(), "there is room");
	end = now_ms() + PROMPT_MS;
	while (taken != sent && now_ms() < end)
		take_all(&taken);
	check_is("completions", taken, sent);
}

/* Not the id nor the operation: what is refused is to be refused for the rest. */
static void flip_slot(u32 random)
{
	u32 slot = random % f.lay.ring_entries;
	u8 *wire = f.region + f.lay.sq_offset + slot * sizeof(struct usbif_req);
	u32 offset = 0x10 + (random >> 16) % 28 * 4;

	usbif_word_write((__le32 *)(wire + offset), random % 5 ? random : 18);
}

/* Whatever becomes of the request on its way: it ends, once. */
static bool ends_somehow(const struct usbif_request *req, struct usbif_response *rsp)
{
	front_submit(&f, req);
	return front_wait(&f, req->id, rsp, PROMPT_MS);
}

static void flipped_slots(void)
{
	struct usbif_request again = front_req(&disk, 9, USBIF_OP_RESTART);
	unsigned int i, rounds = is_long ? 20000 : 500;
	struct usbif_request req = good();
	struct usbif_response rsp, held;
	struct flipper flipper;
	bool ends = true;

	flip_start(&flipper, flip_slot, 0);
	for (i = 0; i < rounds && ends; i++) {
		req.id = i % 8;
		ends = ends_somehow(&req, &held);
		/* This may be changed on its way, too. */
		do {
			if (ends && held.flags & USBIF_RSP_HELD)
				ends = ends_somehow(&again, &rsp);
			else
				rsp.status = USBIF_ST_OK;
		} while (ends && rsp.status);
	}
	check(ends, "request %u of %u does not end", i, rounds);
	flip_stop(&flipper);
	forget_session();
	front_close(&f);
}

static void flip_event(u32 random)
{
	u32 word = random % 3 ? f.cq.cons + random % 7 - 3 : random;

	usbif_word_write(&f.page->cq_event, word);
}

static void flipped_events(void)
{
	struct flipper flipper;
	u64 begun = now_ms();
	unsigned int i;

	flip_start(&flipper, flip_event, 0);
	for (i = 0; i < 100; i++)
		still_good();
	flip_stop(&flipper);
	check(now_ms() - begun < 10000, "%u requests took %u ms", i,
	      (unsigned int)(now_ms() - begun));
}

static void forged_words(void)
{
	u32 cons = usbif_word_read(&f.back->sq_cons);
	__le32 *word;

	for (word = &f.back->state; (void *)word < (void *)(f.back + 1); word++)
		if (word != &f.back->cq_prod)
			usbif_word_write(word, 0x5a5a5a5a);
	memset(f.ports, 0xa5, 4096);
	memset(f.region + f.lay.cq_offset, 0xa5,
	       f.lay.ring_entries * sizeof(struct usbif_rsp));
	usbif_word_write(&f.back->sq_cons, cons);
	usbif_word_write(&f.back->sq_event, f.sq.published);
	still_good();
	check_is("taken", usbif_word_read(&f.back->sq_cons), cons + 1);
	still_good();
	usbif_word_write(&f.back->state, USBIF_BACK_CONNECTED);
	front_close(&f);
	forget_session();
}

const struct hostile_case hostile_words[] = {
	{ 1, wrong_magic },
	{ 2, wrong_version },
	{ 3, unknown_features },
	{ 4, forged_sizes },
	{ 5, forged_offsets },
	{ 6, changed_header },
	{ 7, state_jumps },
	{ 8, many_handshakes },
	{ 9, forged_epochs },
	{ 10, heartbeat },
	{ 11, producer_far },
	{ 12, producer_back },
	{ 13, wraps },
	{ 14, stale_slots },
	{ 15, endless_refill },
	{ 16, consumer_wrong },
	{ 17, never_consumes },
	{ 18, flipped_slots },
	{ 19, flipped_events },
	{ 20, forged_words },
	{ 0, NULL },
};
