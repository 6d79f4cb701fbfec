// SPDX-License-Identifier: GPL-2.0
/* sync - one transfer after the other, of odd lengths, short, empty and too late */
#include <pthread.h>
#include <stdatomic.h>

#include "device.h"

#define LONGEST		65536
#define THREAD_MESSAGES	100

static struct device dev;

static const struct program program = {
	.name = "sync",
	.summary = "control, bulk and interrupt transfers, one after the other",
	.fits = device_fits,
};

/* ---- control ---- */

static int descriptor(uint8_t type, uint8_t *buf, int len)
{
	memset(buf, 0xee, len + 1);
	return libusb_get_descriptor(dev.handle, type, 0, buf, len);
}

static void read_descriptors(uint8_t type, int whole)
{
	uint8_t all[1025], part[1025];
	int len;

	if (!expect(descriptor(type, all, 1024) == whole, "descriptor %d: not %d octets",
		    type, whole))
		return;
	for (len = 1; len < whole + 3; len++) {
		int want = len < whole ? len : whole;

		expect(descriptor(type, part, len) == want, "descriptor %d: not %d octets",
		       type, want);
		expect(!memcmp(all, part, want), "descriptor %d: %d other octets", type,
		       want);
		expect(part[len] == 0xee, "descriptor %d: more than %d octets", type, len);
	}
}

static void descriptors(void)
{
	struct libusb_device_descriptor desc;
	uint8_t buf[1025];

	libusb_get_device_descriptor(dev.dev, &desc);
	expect(descriptor(LIBUSB_DT_DEVICE, buf, 18) == 18, "no descriptor");
	expect((buf[8] | buf[9] << 8) == desc.idVendor &&
	       (buf[10] | buf[11] << 8) == desc.idProduct, "other vendor or product");
	read_descriptors(LIBUSB_DT_DEVICE, 18);
	expect(descriptor(LIBUSB_DT_CONFIG, buf, 9) == 9, "no configuration");
	if ((buf[2] | buf[3] << 8) <= 1024)
		read_descriptors(LIBUSB_DT_CONFIG, buf[2] | buf[3] << 8);
	tap_case("descriptors of all lengths");
}

/* Requests that gadget zero has for usbtest: keep these octets, and give them back. */
static int control(bool in, uint8_t *buf, int len)
{
	return libusb_control_transfer(dev.handle, in ? 0xc0 : 0x40, in ? 0x5c : 0x5b, 0,
				       0, buf, len, PATIENCE);
}

static void control_data(void)
{
	static const int lengths[] = { 0, 1, 2, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1023,
				       1024, 1025, 4095, 4096 };
	uint8_t out[4096], in[4096];
	unsigned int i;
	int n;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		int len = lengths[i];

		data_fill(out, len, len);
		n = control(false, out, len);
		expect(n == len, "%d octets out: %d", len, n);
		n = control(true, in, len);
		if (expect(n == len, "%d octets in: %d", len, n))
			data_expect(in, len, len);
	}
	tap_case("control data of all lengths");
}

static void control_stalls(void)
{
	uint8_t buf[64];
	int i, n;

	for (i = 0; i < 5; i++) {
		n = libusb_control_transfer(dev.handle, i % 2 ? 0xc0 : 0x40, 0x7f, 0, 0,
					    buf, i % 3 * 8, PATIENCE);
		expect(n == LIBUSB_ERROR_PIPE, "unknown request: %s", libusb_error_name(n));
		expect(descriptor(LIBUSB_DT_DEVICE, buf, 18) == 18, "no descriptor then");
	}
	tap_case("control requests that stall");
}

/* ---- an echo ---- */

static uint8_t *out, *in;

/* There and back with so much more room than comes. */
static bool message(int len, int more)
{
	data_fill(out, len, len + more);
	memset(in, 0xee, len + more + 1);
	return device_send(&dev, out, len) && device_receive(&dev, in, len + more, len) &&
	       data_expect(in, len, len + more) &&
	       expect(in[len + more] == 0xee, "more than the room for %d octets",
		      len + more);
}

/* What can be received: as many whole packets as there may come, or all of them. */
static int room_for(int len)
{
	return dev.packet - len % dev.packet;
}

static void echo_lengths(int longest)
{
	const int lengths[] = {
		0, 1, 2, 3, 7, dev.packet - 1, dev.packet, dev.packet + 1, 2 * dev.packet,
		3 * dev.packet - 1, 4095, 4096, 4097, 8191, 16383, 16384, 16385, 65535,
		65536, 100001, 262144, 524287, 1000000, 1 << 20,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lengths) && lengths[i] <= longest; i++) {
		int len = lengths[i];

		message(len, room_for(len));
		message(len, room_for(len) + 5 * dev.packet);
	}
	tap_case("bulk: lengths to %d", longest);
}

/* Behind just as much room as the data needs, the packet without data is left. */
static void echo_empty_packets(void)
{
	int packets, n = -1;

	for (packets = 1; packets < 40; packets += 6) {
		if (!message(packets * dev.packet, 0))
			break;
		expect(!device_transfer(&dev, dev.in, in, dev.packet, PATIENCE, &n) && !n,
		       "no empty packet behind %d full ones, but %d octets", packets, n);
		/* Nothing but such a packet, in a buffer of no length at all. */
		message(0, 0);
	}
	tap_case("bulk: packets without data");
}

static void echo_overflow(void)
{
	int err, n, i;

	for (i = 1; i < 4; i++) {
		data_fill(out, 10 * i + 1, i);
		device_send(&dev, out, 10 * i + 1);
		err = device_transfer(&dev, dev.in, in, 10 * i, PATIENCE, &n);
		expect(err == LIBUSB_ERROR_OVERFLOW, "one octet too much: %s",
		       libusb_error_name(err));
		expect(device_works(&dev), "after an overflow");
	}
	tap_case("more data than room");
}

static void echo_timeouts(int times)
{
	int i, n, err;

	for (i = 1; i <= times; i++) {
		err = device_transfer(&dev, dev.in, in, dev.packet, i % 12 * 10 + 1, &n);
		expect(err == LIBUSB_ERROR_TIMEOUT && !n, "nothing sent: %s, %d octets",
		       libusb_error_name(err), n);
		if (i % 4 == 0)
			expect(device_works(&dev), "after time was out");
	}
	tap_case("time runs out for input");
}

/* Sends until the device takes no more; how much it has taken. */
static long overfill(int len)
{
	long total = 0;
	int err, n;

	do {
		data_fill(out, len, total);
		err = device_transfer(&dev, dev.out, out, len, 1000, &n);
		total += n;
	} while (!err && total < 64 << 20);
	expect(err == LIBUSB_ERROR_TIMEOUT, "too much output: %s", libusb_error_name(err));
	expect(n < len, "timed out, but all %d octets are sent", len);
	return total;
}

/* Of what was only sent in part, just that part comes back. */
static void echo_partial(int longest)
{
	int len = longest - longest % dev.packet, n, err;
	long total = overfill(len), got = 0;

	while (got < total) {
		long block = got / len * len;
		int at = got - block;

		err = device_transfer(&dev, dev.in, in + at, len - at, 1000, &n);
		if (err && err != LIBUSB_ERROR_TIMEOUT)
			expect(false, "input: %s", libusb_error_name(err));
		/* The rest is kept by the device until its buffer is full, or this. */
		if (!n && !expect(device_transfer(&dev, dev.out, out, 0, PATIENCE, NULL) ==
				  0, "empty packet at %ld of %ld octets", got, total))
			break;
		got += n;
		at += n;
		if (at == len || got == total)
			data_expect(in, at, block);
		if (err && err != LIBUSB_ERROR_TIMEOUT)
			break;
	}
	expect(got == total, "%ld of %ld octets came back", got, total);
	/* Whatever packets without data are left. */
	while (!device_transfer(&dev, dev.in, in, dev.packet, 200, &n))
		expect(!n, "%d octets too many", n);
	expect(device_works(&dev), "then");
	tap_case("time runs out for output");
}

static void echo_reports(void)
{
	int len;

	/* Behind a full packet the gadget's driver sends an empty one. */
	for (len = 1; len < dev.packet; len++)
		message(len, dev.packet - len);
	tap_case("interrupt: all lengths");
}

/* ---- a source ---- */

static void source_lengths(int longest)
{
	int len;

	for (len = 1; len <= longest; len = len * 3 + len % 5) {
		int room = (len + dev.packet - 1) / dev.packet * dev.packet;

		pattern_fill(&dev, out, len);
		device_send(&dev, out, len);
		memset(in, 0xee, room + 1);
		if (device_receive(&dev, in, room, room))
			pattern_expect(&dev, in, room);
		expect(in[room] == 0xee, "more than the room for %d octets", room);
	}
	tap_case("%s: lengths to %d",
		 dev.type == LIBUSB_TRANSFER_TYPE_BULK ? "bulk" : "interrupt", longest);
}

/* The device sees an octet that is wrong, and halts: all others have been right. */
static void source_wrong(void)
{
	int err = 0, i;

	pattern_fill(&dev, out, 100);
	out[77] ^= 1;
	device_transfer(&dev, dev.out, out, 100, PATIENCE, NULL);
	pattern_fill(&dev, out, 100);
	for (i = 0; i < 3 && !err; i++)
		err = device_transfer(&dev, dev.out, out, 100, PATIENCE, NULL);
	expect(err == LIBUSB_ERROR_PIPE, "then: %s", libusb_error_name(err));
	err = libusb_clear_halt(dev.handle, dev.out);
	expect(!err, "clearing the halt: %s", libusb_error_name(err));
	expect(device_works(&dev), "then");
	tap_case("a wrong octet is seen by the device");
}

/* ---- several threads ---- */

static atomic_bool writing;

static void *writer(void *arg)
{
	uint8_t *buf = malloc(4096);
	long i, bad = 0;

	(void)arg;
	for (i = 0; i < THREAD_MESSAGES && !bad; i++) {
		int len = dev.kind == ECHO ? i % (dev.packet - 1) + 1 : i * 37 % 4096;

		if (dev.kind == ECHO)
			data_fill(buf, len, i);
		else
			pattern_fill(&dev, buf, len);
		bad = !device_send(&dev, buf, len);
	}
	writing = false;
	free(buf);
	return (void *)bad;
}

static void *reader(void *arg)
{
	uint8_t *buf = malloc(8192);
	int room = 8192 - 8192 % dev.packet;
	long i, bad = 0;

	(void)arg;
	for (i = 0; i < THREAD_MESSAGES && !bad; i++) {
		int len = dev.kind == ECHO ? i % (dev.packet - 1) + 1 : room;

		if (dev.type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
			room = dev.packet;
		bad = !device_receive(&dev, buf, room, len);
		if (!bad)
			bad = dev.kind == ECHO ? !data_expect(buf, len, i) :
						 !pattern_expect(&dev, buf, len);
	}
	free(buf);
	return (void *)bad;
}

static void threads(void)
{
	pthread_t ids[2];
	void *bad = NULL;
	int i, n = 0;

	writing = true;
	pthread_create(&ids[0], NULL, writer, NULL);
	pthread_create(&ids[1], NULL, reader, NULL);
	do {
		uint8_t buf[19];

		expect(descriptor(LIBUSB_DT_DEVICE, buf, 18) == 18, "no descriptor");
		n++;
	} while (writing);
	for (i = 0; i < 2; i++) {
		pthread_join(ids[i], &bad);
		expect(!bad, "thread %d has failed", i);
	}
	expect(n > 0, "no control request meanwhile");
	tap_case("control, out and in by three threads");
}

int main(int argc, char **argv)
{
	int longest, count;

	device_init(&program, argc, argv);
	longest = options.longest ?: LONGEST;
	count = options.count ?: 12;
	device_open(&dev, &program);
	out = malloc(2 * longest + 65536);
	in = malloc(2 * longest + 65536);

	descriptors();
	control_stalls();
	if (dev.kind == SOURCE) {
		control_data();
		source_lengths(longest);
		/* Zeros may as well come from something that does not look. */
		if (!dev.zeros)
			source_wrong();
	} else if (dev.type == LIBUSB_TRANSFER_TYPE_INTERRUPT) {
		echo_reports();
		echo_timeouts(count);
	} else {
		echo_lengths(longest);
		echo_empty_packets();
		echo_overflow();
		echo_timeouts(count);
		echo_partial(longest);
	}
	threads();
	device_close(&dev);
	return tap_end();
}
