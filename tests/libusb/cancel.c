// SPDX-License-Identifier: GPL-2.0
/*
 * cancel - storms of cancels: each transfer is called back once, and no data is lost
 *
 * A cancel may come too late, or when part of the data has gone. What a transfer says
 * of that in the end has to be true: of an echo just the messages come back, in their
 * order, that were sent according to their transfers.
 */
#include <time.h>

#include "device.h"

#define QUEUE		32
#define COUNT		3000
#define MAX_QUEUE	256

static const struct program program = {
	.name = "cancel",
	.summary = "transfers cancelled in flight",
	.fits = device_fits,
};

struct slot {
	struct libusb_transfer *t;
	bool busy;
	int submitted, called;
	int seq;
};

static struct device dev;
static struct slot outs[MAX_QUEUE], ins[MAX_QUEUE];
static int queue, total;
static int busy_outs, busy_ins;
static int submitted;		/* of outs in this storm: the numbers of messages */
static int sent, received, cancelled, last_sent, last_received;
static char *state;		/* by number of the message */
static unsigned int seed = 1;

enum { NOT_SENT, SENT, RECEIVED, EARLY };

static unsigned int any(unsigned int limit)
{
	return rand_r(&seed) / 7 % limit;
}

/* Less than a packet: it arrives as a whole or not at all. */
static int length_of(int seq)
{
	return 4 + seq * 7 % (dev.packet - 4);
}

/* ---- slots ---- */

static bool is_out(const struct slot *s)
{
	return s >= outs && s < outs + MAX_QUEUE;
}

static void LIBUSB_CALL done(struct libusb_transfer *t);

static void prepare(struct slot *slots, uint8_t endpoint)
{
	int i;

	for (i = 0; i < queue; i++) {
		slots[i].t = libusb_alloc_transfer(0);
		libusb_fill_bulk_transfer(slots[i].t, dev.handle, endpoint, malloc(8192), 0,
					  done, &slots[i], 0);
		slots[i].t->type = dev.type;
	}
}

static void submit(struct slot *s, int timeout)
{
	int err;

	s->t->length = dev.packet;
	if (is_out(s)) {
		s->seq = submitted++;
		s->t->length = length_of(s->seq);
		if (dev.kind == ECHO)
			data_fill(s->t->buffer, s->t->length, s->seq);
		else
			pattern_fill(&dev, s->t->buffer, s->t->length);
	}
	s->t->timeout = timeout;
	s->busy = true;
	s->submitted++;
	err = libusb_submit_transfer(s->t);
	if (err)
		die("submitting: %s", libusb_error_name(err));
	if (is_out(s))
		busy_outs++;
	else
		busy_ins++;
}

/* ---- what comes back ---- */

static void out_done(struct slot *s)
{
	int n = s->t->actual_length;

	busy_outs--;
	if (!n)
		return;
	expect(n == s->t->length, "message %d: %d octets of %d", s->seq, n, s->t->length);
	expect(s->seq > last_sent, "message %d was sent after %d", s->seq, last_sent);
	last_sent = s->seq;
	sent++;
	if (state[s->seq] == EARLY)
		state[s->seq] = RECEIVED;
	else
		state[s->seq] = SENT;
}

/* The number of the message that these octets are, or -1. */
static int which(const uint8_t *buf, int len)
{
	uint8_t want[4];
	int seq;

	for (seq = last_received + 1; seq < submitted; seq++) {
		data_fill(want, 4, seq);
		if (length_of(seq) == len && !memcmp(want, buf, 4))
			return seq;
	}
	return -1;
}

static void echo_in_done(struct slot *s)
{
	int seq = which(s->t->buffer, s->t->actual_length);

	if (!expect(seq >= 0, "%d octets are no message behind number %d",
		    s->t->actual_length, last_received))
		return;
	data_expect(s->t->buffer, s->t->actual_length, seq);
	last_received = seq;
	received++;
	/* The callback of what went out may be the later one. */
	state[seq] = state[seq] == SENT ? RECEIVED : EARLY;
}

static void in_done(struct slot *s)
{
	busy_ins--;
	if (!s->t->actual_length)
		return;
	if (dev.kind == ECHO)
		echo_in_done(s);
	else
		pattern_expect(&dev, s->t->buffer, s->t->actual_length);
}

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	struct slot *s = t->user_data;

	s->called++;
	expect(s->busy && s->called == s->submitted, "called back %d times of %d",
	       s->called, s->submitted);
	s->busy = false;
	cancelled += t->status == LIBUSB_TRANSFER_CANCELLED;
	expect(t->status == LIBUSB_TRANSFER_CANCELLED ||
	       t->status == LIBUSB_TRANSFER_COMPLETED ||
	       (t->timeout && t->status == LIBUSB_TRANSFER_TIMED_OUT),
	       "%s: status %d", is_out(s) ? "out" : "in", t->status);
	if (is_out(s))
		out_done(s);
	else
		in_done(s);
}

static void cancel(struct slot *s)
{
	bool busy = s->busy;
	int err = libusb_cancel_transfer(s->t);

	expect(!err || err == LIBUSB_ERROR_NOT_FOUND, "cancelling: %s",
	       libusb_error_name(err));
	expect(err || busy, "what was not in flight is cancelled");
}

/* ---- cases ---- */

static void poll_events(int ms)
{
	struct timeval tv = { .tv_usec = ms * 1000 };

	libusb_handle_events_timeout(NULL, &tv);
}

static void submit_idle(struct slot *slots)
{
	int i;

	for (i = 0; i < queue; i++)
		if (!slots[i].busy && (!is_out(&slots[i]) || submitted < total))
			submit(&slots[i], 0);
}

/* From anywhere in the queues. */
static void cancel_some(void)
{
	int n = any(6);

	while (n--)
		cancel(any(2) ? &ins[any(queue)] : &outs[any(queue)]);
}

static void cancel_all(struct slot *slots)
{
	int i;

	for (i = queue - 1; i >= 0; i--)
		if (slots[i].busy)
			cancel(&slots[i]);
}

/*
 * Until all is sent, and what was sent has come back. An echo has room for some messages
 * only: it takes no more while none is fetched.
 */
static void drain(void)
{
	time_t until = time(NULL) + PATIENCE / 1000;

	while ((busy_outs || (dev.kind == ECHO && received < sent)) && time(NULL) < until) {
		submit_idle(ins);
		poll_events(100);
	}
	events_until(&busy_outs, 0, NULL);
}

static void storm(void)
{
	int i, lost = 0, strange = 0;

	submitted = 0;
	sent = 0;
	received = 0;
	cancelled = 0;
	last_sent = -1;
	last_received = -1;
	state = calloc(total, 1);
	while (submitted < total) {
		submit_idle(outs);
		submit_idle(ins);
		cancel_some();
		poll_events(any(3));
	}
	drain();
	cancel_all(ins);
	events_until(&busy_ins, 0, NULL);
	for (i = 0; i < total && dev.kind == ECHO; i++) {
		lost += state[i] == SENT;
		strange += state[i] == EARLY;
	}
	expect(!lost, "%d of %d messages that were sent have not come back", lost, sent);
	expect(!strange, "%d messages came back that were not sent", strange);
	expect(cancelled > total / 100, "only %d were cancelled", cancelled);
	printf("# %d messages, %d sent, %d received, %d transfers cancelled\n", total, sent,
	       received, cancelled);
	free(state);
	expect(device_works(&dev), "then");
	tap_case("a storm of %d", total);
}

/* Input that never comes. */
static void all_at_once(int rounds)
{
	int i;

	cancelled = 0;
	for (i = 0; i < rounds; i++) {
		submit_idle(ins);
		if (i % 3 == 1)
			poll_events(1);
		if (i % 3 == 2)
			cancel(&ins[any(queue)]);
		cancel_all(ins);
		events_until(&busy_ins, 0, NULL);
	}
	expect(cancelled == rounds * queue, "%d of %d were cancelled", cancelled,
	       rounds * queue);
	expect(device_works(&dev), "then");
	tap_case("all at once, %d times", rounds);
}

static void twice(void)
{
	int i, err;

	for (i = 0; i < 10; i++) {
		submit(&ins[0], 0);
		err = libusb_cancel_transfer(ins[0].t);
		expect(!err, "cancelling: %s", libusb_error_name(err));
		libusb_cancel_transfer(ins[0].t);
		events_until(&busy_ins, 0, NULL);
		err = libusb_cancel_transfer(ins[0].t);
		expect(err == LIBUSB_ERROR_NOT_FOUND, "what has come back: %s",
		       libusb_error_name(err));
	}
	tap_case("more than once");
}

static void timeouts(void)
{
	int i, k;

	for (k = 0; k < 3; k++) {
		for (i = 0; i < queue; i++)
			submit(&ins[i], 1 + i % 40);
		/* Some by hand, in the middle of that. */
		poll_events(10);
		cancel(&ins[queue / 2]);
		cancel(&ins[queue - 1]);
		events_until(&busy_ins, 0, NULL);
	}
	expect(device_works(&dev), "then");
	tap_case("by time, many at once");
}

int main(int argc, char **argv)
{
	device_init(&program, argc, argv);
	device_open(&dev, &program);
	total = options.count ?: COUNT;
	queue = options.queue ?: QUEUE;
	if (queue > MAX_QUEUE)
		queue = MAX_QUEUE;
	prepare(outs, dev.out);
	prepare(ins, dev.in);
	storm();
	if (dev.kind == ECHO) {
		all_at_once(6);
		twice();
		timeouts();
		storm();
	}
	device_close(&dev);
	return tap_end();
}
