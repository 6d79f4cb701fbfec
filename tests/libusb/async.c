// SPDX-License-Identifier: GPL-2.0
/* async - many transfers in flight on each endpoint: nothing lost, all in their order */
#include "device.h"

#define QUEUE		64
#define COUNT		2000
#define LONGEST		4000
#define SOURCE_PACKETS	8	/* most that are read at once */

static const struct program program = {
	.name = "async",
	.summary = "many transfers in flight, the order of all data checked",
	.fits = device_fits,
};

/* The transfers of one endpoint. */
static struct flow {
	int submitted, done, most;
} out, in;

static struct device dev;
static int total, longest;
static int left;		/* to be called back */
static bool broken;

/* Of message number i. */
static int length_of(int i)
{
	uint32_t x = i * 2654435761u;

	return 1 + (x >> 8) % longest;
}

static int source_length(int i)
{
	return (1 + i % SOURCE_PACKETS) * dev.packet;
}

static int in_length(int i)
{
	if (dev.kind == SOURCE)
		return source_length(i);
	if (dev.type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
		return dev.packet;
	/* Room for a packet without data behind the longest message. */
	return (longest / dev.packet + 2) * dev.packet;
}

static void submit(struct flow *f, struct libusb_transfer *t)
{
	int err, i = f->submitted;

	if (f == &in) {
		t->length = in_length(i);
		memset(t->buffer, 0xee, t->length);
	} else {
		t->length = length_of(i);
		if (dev.kind == ECHO)
			data_fill(t->buffer, t->length, i);
		else
			pattern_fill(&dev, t->buffer, t->length);
		t->flags = 0;
		if (t->length % dev.packet == 0 && dev.type == LIBUSB_TRANSFER_TYPE_BULK)
			t->flags = LIBUSB_TRANSFER_ADD_ZERO_PACKET;
	}
	t->user_data = (void *)(long)i;
	err = libusb_submit_transfer(t);
	if (err)
		die("submitting transfer %d: %s", i, libusb_error_name(err));
	f->submitted++;
	if (f->submitted - f->done > f->most)
		f->most = f->submitted - f->done;
}

static bool check(struct flow *f, struct libusb_transfer *t)
{
	int i = (long)t->user_data, want = f == &out ? t->length : length_of(i);

	if (!expect(i == f->done, "%s: number %d ended before number %d",
		    f == &in ? "in" : "out", i, f->done))
		return false;
	if (f == &in && dev.kind == SOURCE)
		want = t->length;
	if (!expect(t->status == LIBUSB_TRANSFER_COMPLETED && t->actual_length == want,
		    "%s: number %d: status %d, %d octets of %d", f == &in ? "in" : "out",
		    i, t->status, t->actual_length, want))
		return false;
	if (f == &out)
		return true;
	if (dev.kind == SOURCE)
		return pattern_expect(&dev, t->buffer, want);
	return data_expect(t->buffer, want, i);
}

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	struct flow *f = t->endpoint & 0x80 ? &in : &out;

	left--;
	if (broken)
		return;
	broken = !check(f, t);
	if (broken)
		left = 0;
	f->done++;
	if (!broken && f->submitted < total)
		submit(f, t);
}

static void begin(struct flow *f, int queue)
{
	uint8_t endpoint = f == &in ? dev.in : dev.out;
	int size = longest + (SOURCE_PACKETS + 2) * dev.packet, i;

	memset(f, 0, sizeof(*f));
	left += total;
	for (i = 0; i < queue; i++) {
		struct libusb_transfer *t = libusb_alloc_transfer(0);

		libusb_fill_bulk_transfer(t, dev.handle, endpoint, malloc(size), 0, done,
					  NULL, 0);
		t->type = dev.type;
		t->flags = 0;
		submit(f, t);
		/* Freed with the program: they come back to be used again. */
	}
}

static void flow(const char *what, int queue, bool with_out, bool with_in)
{
	left = 0;
	broken = false;
	if (with_in)
		begin(&in, queue);
	if (with_out)
		begin(&out, queue);
	events_until(&left, 0, NULL);
	if (broken)
		die("%s: not to be continued", what);
	expect(!with_in || in.most >= queue, "only %d in flight in", in.most);
	expect(!with_out || out.most >= queue, "only %d in flight out", out.most);
	tap_case("%s, %d in flight, %d in all", what, queue, total);
}

int main(int argc, char **argv)
{
	int queue;

	device_init(&program, argc, argv);
	device_open(&dev, &program);
	queue = options.queue ?: QUEUE;
	total = options.count ?: COUNT;
	if (total < queue)
		total = queue;
	longest = options.longest ?: LONGEST;
	if (dev.type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
		longest = dev.packet - 1;
	if (dev.kind == SOURCE) {
		flow("out", queue, true, false);
		flow("in", queue, false, true);
		flow("both ways", queue, true, true);
	} else {
		flow("there and back", queue, true, true);
		flow("there and back", 2 * queue, true, true);
	}
	expect(device_works(&dev), "then");
	tap_case("works as before");
	device_close(&dev);
	return tap_end();
}
