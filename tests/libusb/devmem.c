// SPDX-License-Identifier: GPL-2.0
/* devmem - buffers that libusb_dev_mem_alloc() gave, for bulk transfers both ways */
#include "device.h"

#define LONGEST		(1 << 20)
#define QUEUE		16
#define SMALL		(64 << 10)
#define COUNT		10

static struct device dev;
static int longest;

static const struct program program = {
	.name = "devmem",
	.summary = "buffers of libusb_dev_mem_alloc()",
	.fits = device_fits,
};

static uint8_t *dev_alloc(size_t size)
{
	uint8_t *mem = libusb_dev_mem_alloc(dev.handle, size);

	if (!mem)
		die("%zu octets of the device's memory can't be had", size);
	return mem;
}

static void dev_free(uint8_t *mem, size_t size)
{
	int err = libusb_dev_mem_free(dev.handle, mem, size);

	expect(!err, "freeing %zu octets: %s", size, libusb_error_name(err));
}

/* There is room for so many more packets. */
static void message(uint8_t *out, uint8_t *in, int len, int packets)
{
	int room = (len / dev.packet + 1 + packets) * dev.packet;

	if (dev.kind == SOURCE) {
		pattern_fill(&dev, out, len);
		if (device_send(&dev, out, len) && device_receive(&dev, in, room, room))
			pattern_expect(&dev, in, room);
		return;
	}
	data_fill(out, len, len + packets);
	memset(in, 0xee, room);
	if (device_send(&dev, out, len) && device_receive(&dev, in, room, len))
		data_expect(in, len, len + packets);
}

/* Buffers that begin anywhere in the memory. */
static void lengths(uint8_t *out, uint8_t *in, const char *what)
{
	const int all[] = { 1, 3, 511, 512, 1023, 1024, 1025, 4095, 4096, 4097, 16385,
			    65535, 65536, 100001, 262143, 524288, 1000000, 1 << 20,
			    (2 << 20) + 1, 3000001 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all) && all[i] <= longest; i++) {
		message(out + 1 + i % 3, in + 3 - i % 3, all[i], 0);
		if (all[i] > SMALL)
			continue;
		message(out, in, all[i], i % 3);
		message(out + 4096 - i, in + 4095, all[i], 1);
	}
	tap_case("%s, lengths to %d", what, longest);
}

static size_t size(void)
{
	return longest + 8192 + 4 * dev.packet;
}

static void all_mixes(void)
{
	uint8_t *dev_out = dev_alloc(size()), *dev_in = dev_alloc(size());
	uint8_t *out = malloc(size()), *in = malloc(size());

	lengths(dev_out, dev_in, "both from the device");
	lengths(dev_out, in, "only output from the device");
	lengths(out, dev_in, "only input from the device");
	dev_free(dev_out, size());
	dev_free(dev_in, size());
	free(out);
	free(in);
}

/* ---- many at once ---- */

static int left;
static int in_done, out_done;

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	bool in = t->endpoint & 0x80;
	int *order = in ? &in_done : &out_done;
	int want = in && dev.kind == SOURCE ? SMALL : 20000 + *order;

	left--;
	expect(t->status == LIBUSB_TRANSFER_COMPLETED && t->actual_length == want,
	       "%s %d: status %d, %d octets of %d", in ? "in" : "out", *order, t->status,
	       t->actual_length, want);
	expect((long)t->user_data == *order, "number %ld before %d", (long)t->user_data,
	       *order);
	if (in && dev.kind == SOURCE)
		pattern_expect(&dev, t->buffer, want);
	else if (in)
		data_expect(t->buffer, want, *order);
	++*order;
}

static struct libusb_transfer *submit(uint8_t endpoint, int i)
{
	struct libusb_transfer *t = libusb_alloc_transfer(0);
	int len = endpoint & 0x80 ? SMALL : 20000 + i, err;

	libusb_fill_bulk_transfer(t, dev.handle, endpoint, dev_alloc(SMALL), len, done,
				  (void *)(long)i, 0);
	if (endpoint & 0x80)
		memset(t->buffer, 0xee, len);
	else if (dev.kind == ECHO)
		data_fill(t->buffer, len, i);
	else
		pattern_fill(&dev, t->buffer, len);
	if (!(endpoint & 0x80) && len % dev.packet == 0)
		t->flags = LIBUSB_TRANSFER_ADD_ZERO_PACKET;
	err = libusb_submit_transfer(t);
	if (err)
		die("submitting: %s", libusb_error_name(err));
	return t;
}

static void many(int n)
{
	struct libusb_transfer *t[2 * n];
	int i;

	in_done = 0;
	out_done = 0;
	left = 2 * n;
	for (i = 0; i < n; i++)
		t[i] = submit(dev.in, i);
	for (i = 0; i < n; i++)
		t[n + i] = submit(dev.out, i);
	events_until(&left, 0, NULL);
	for (i = 0; i < 2 * n; i++) {
		dev_free(t[i]->buffer, SMALL);
		libusb_free_transfer(t[i]);
	}
	tap_case("%d buffers in flight each way", n);
}

/* ---- limits ---- */

/* What is freed can be had again: it is far more than usbfs grants at one time. */
static void again_and_again(int times)
{
	int i;

	for (i = 0; i < times; i++) {
		uint8_t *out = dev_alloc(size()), *in = dev_alloc(size());

		message(out, in, longest - i, 0);
		dev_free(out, size());
		dev_free(in, size());
	}
	tap_case("%d MiB, %d times", (int)(2 * size() >> 20), times);
}

static void too_much(void)
{
	expect(!libusb_dev_mem_alloc(dev.handle, 1ul << 30), "1 GiB was granted");
	expect(device_works(&dev), "then");
	tap_case("too much is refused");
}

int main(int argc, char **argv)
{
	device_init(&program, argc, argv);
	device_open(&dev, &program);
	if (dev.type != LIBUSB_TRANSFER_TYPE_BULK)
		die("%s has no endpoints for bulk transfers", dev.busid);
	longest = options.longest ?: LONGEST;
	all_mixes();
	many(options.queue ?: QUEUE);
	again_and_again(options.count ?: COUNT);
	too_much();
	device_close(&dev);
	return tap_end();
}
