// SPDX-License-Identifier: GPL-2.0
/*
 * streams - bulk streams, with a disk that speaks UAS
 *
 * Commands on all streams at once, the last first. Reads unless -w is given, which writes
 * to the disk from its beginning on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "device.h"

#define STREAMS		16
#define MAX_STREAMS	64
#define BLOCKS		96
#define BLOCK		512
#define STATUS_SIZE	112
#define COMMAND_SIZE	32

enum { PIPE_COMMAND = 1, PIPE_STATUS, PIPE_DATA_IN, PIPE_DATA_OUT, PIPES };

static const char *image;
static bool may_write;

static void option(int letter, const char *value)
{
	if (letter == 'f')
		image = value;
	else
		may_write = true;
}

static bool fits(struct libusb_device *device);

static const struct program program = {
	.name = "streams",
	.summary = "bulk streams, with a disk that speaks UAS and has blocks of 512 octets",
	.letters = "f:w",
	.help = "  -f IMAGE      the file that is the disk, to compare\n"
		"  -w            write, too: what was at the beginning of the disk is lost!\n"
		"                -q is how many streams, -m the octets of each command\n",
	.option = option,
	.fits = fits,
};

static struct device dev;
static uint8_t pipes[PIPES];
static int nr_streams, blocks, left;
static struct unit {
	uint8_t command[COMMAND_SIZE], status[STATUS_SIZE];
	uint8_t *data;
} units[MAX_STREAMS + 1];	/* from 1 */

/* ---- the disk's endpoints ---- */

/* Each is told what it is for by a descriptor behind it. */
static void take_pipe(const struct libusb_endpoint_descriptor *e)
{
	int at;

	for (at = 0; at + 2 < e->extra_length && e->extra[at]; at += e->extra[at])
		if (e->extra[at + 1] == 0x24 && e->extra[at + 2] < PIPES)
			pipes[e->extra[at + 2]] = e->bEndpointAddress;
}

static bool is_uas(const struct libusb_interface_descriptor *i)
{
	return i->bInterfaceClass == 8 && i->bInterfaceProtocol == 0x62;
}

static bool find_pipes(void)
{
	struct libusb_config_descriptor *config;
	int s, e;

	if (libusb_get_active_config_descriptor(dev.dev, &config))
		return false;
	for (s = 0; s < config->interface->num_altsetting; s++) {
		const struct libusb_interface_descriptor *i =
			&config->interface->altsetting[s];

		if (!is_uas(i))
			continue;
		dev.interface = i->bInterfaceNumber;
		dev.setting = i->bAlternateSetting;
		for (e = 0; e < i->bNumEndpoints; e++)
			take_pipe(&i->endpoint[e]);
	}
	libusb_free_config_descriptor(config);
	return pipes[PIPE_COMMAND] && pipes[PIPE_STATUS] && pipes[PIPE_DATA_IN] &&
	       pipes[PIPE_DATA_OUT];
}

static bool fits(struct libusb_device *device)
{
	bool found;

	dev.dev = device;
	found = find_pipes();
	dev.dev = NULL;
	return found;
}

static void claim(void)
{
	int err;

	if (!find_pipes())
		die("%s is no disk that speaks UAS", dev.busid);
	libusb_set_auto_detach_kernel_driver(dev.handle, 1);
	err = libusb_claim_interface(dev.handle, dev.interface);
	if (!err)
		err = libusb_set_interface_alt_setting(dev.handle, dev.interface,
						       dev.setting);
	if (err)
		die("interface %d: %s", dev.interface, libusb_error_name(err));
}

static int alloc(int n)
{
	uint8_t eps[] = { pipes[PIPE_STATUS], pipes[PIPE_DATA_IN], pipes[PIPE_DATA_OUT] };

	return libusb_alloc_streams(dev.handle, n, eps, sizeof(eps));
}

static int release(void)
{
	uint8_t eps[] = { pipes[PIPE_STATUS], pipes[PIPE_DATA_IN], pipes[PIPE_DATA_OUT] };

	return libusb_free_streams(dev.handle, eps, sizeof(eps));
}

/* ---- commands ---- */

static int cancelled, failed;

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	left--;
	if (t->status == LIBUSB_TRANSFER_CANCELLED)
		cancelled++;
	else if (t->status != LIBUSB_TRANSFER_COMPLETED)
		failed++;
	if (t->status == LIBUSB_TRANSFER_COMPLETED)
		expect(t->endpoint == pipes[PIPE_STATUS] || t->actual_length == t->length,
		       "stream %u: %d octets of %d", libusb_transfer_get_stream_id(t),
		       t->actual_length, t->length);
	else
		expect(t->status == LIBUSB_TRANSFER_CANCELLED, "stream %u: status %d",
		       libusb_transfer_get_stream_id(t), t->status);
	libusb_free_transfer(t);
}

static struct libusb_transfer *submit(int pipe, int stream, void *buf, int len)
{
	struct libusb_transfer *t = libusb_alloc_transfer(0);
	int err;

	if (pipe == PIPE_COMMAND)
		libusb_fill_bulk_transfer(t, dev.handle, pipes[pipe], buf, len, done, NULL,
					  0);
	else
		libusb_fill_bulk_stream_transfer(t, dev.handle, pipes[pipe], stream, buf,
						 len, done, NULL, 0);
	err = libusb_submit_transfer(t);
	if (err)
		die("stream %d: %s", stream, libusb_error_name(err));
	left++;
	return t;
}

static void put32(uint8_t *to, uint32_t value)
{
	to[0] = value >> 24;
	to[1] = value >> 16;
	to[2] = value >> 8;
	to[3] = value;
}

/* All but the command itself: TEST UNIT READY, READ(10), WRITE(10). */
static void begin(int stream, uint8_t op)
{
	struct unit *u = &units[stream];

	memset(u->command, 0, COMMAND_SIZE);
	u->command[0] = 1;		/* COMMAND IU */
	u->command[3] = stream;		/* the tag is the stream */
	u->command[16] = op;
	put32(u->command + 18, (stream - 1) * blocks);
	u->command[23] = blocks >> 8;
	u->command[24] = blocks;
	if (!op)
		memset(u->command + 17, 0, 15);
	memset(u->status, 0, STATUS_SIZE);
	submit(PIPE_STATUS, stream, u->status, STATUS_SIZE);
	if (op)
		submit(op == 0x28 ? PIPE_DATA_IN : PIPE_DATA_OUT, stream, u->data,
		       blocks * BLOCK);
}

static bool is_good(int stream)
{
	const uint8_t *iu = units[stream].status;

	return expect(iu[0] == 3 && iu[3] == stream && !iu[6],
		      "stream %d: IU %02x of tag %d, status %02x", stream, iu[0], iu[3],
		      iu[6]);
}

/* A command on each of the streams, the data of all before the first command. */
static void run(uint8_t op, int first, int last)
{
	int i;

	for (i = first; i <= last; i++)
		begin(i, op);
	for (i = last; i >= first; i--)
		submit(PIPE_COMMAND, 0, units[i].command, COMMAND_SIZE);
	events_until(&left, 0, NULL);
}

/* Whatever the disk wants to tell after a reset, it tells now. */
static void ready(void)
{
	int i;

	for (i = 0; i < 5; i++) {
		run(0, 1, 1);
		if (!units[1].status[6])
			return;
	}
	is_good(1);
}

static void clear_data(void)
{
	int i;

	for (i = 1; i <= nr_streams; i++)
		memset(units[i].data, 0xee, blocks * BLOCK);
}

/* ---- cases ---- */

static void compare_image(void)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC), i, len = blocks * BLOCK;
	uint8_t *want = malloc(len);

	expect(fd >= 0, "%s can't be opened", image);
	for (i = 1; i <= nr_streams; i++)
		if (expect(pread(fd, want, len, (off_t)(i - 1) * len) == len,
			   "%s is too short", image))
			expect(!memcmp(want, units[i].data, len),
			       "stream %d: other data than in %s", i, image);
	close(fd);
	free(want);
}

static void read_all(const char *when)
{
	int i;

	clear_data();
	run(0x28, 1, nr_streams);
	for (i = 1; i <= nr_streams; i++)
		is_good(i);
	if (image)
		compare_image();
	tap_case("reading on %d streams, %s", nr_streams, when);
}

/* One at a time has to bring the same. */
static void read_singly(void)
{
	uint8_t *first = malloc(blocks * BLOCK);
	int i;

	for (i = 1; i <= nr_streams; i += 5) {
		memcpy(first, units[i].data, blocks * BLOCK);
		memset(units[i].data, 0xee, blocks * BLOCK);
		run(0x28, i, i);
		is_good(i);
		expect(!memcmp(first, units[i].data, blocks * BLOCK),
		       "stream %d: not the same", i);
	}
	free(first);
	tap_case("the same on one at a time");
}

static void write_all(void)
{
	int i;

	for (i = 1; i <= nr_streams; i++)
		data_fill(units[i].data, blocks * BLOCK, i);
	run(0x2a, 1, nr_streams);
	for (i = 1; i <= nr_streams; i++)
		is_good(i);
	if (image)
		compare_image();
	clear_data();
	run(0x28, 1, nr_streams);
	for (i = 1; i <= nr_streams; i++)
		if (is_good(i))
			data_expect(units[i].data, blocks * BLOCK, i);
	tap_case("writing on %d streams", nr_streams);
}

static void cancel_all(int times)
{
	struct libusb_transfer *t[2 * MAX_STREAMS];
	int i, k;

	for (k = 0; k < times; k++) {
		cancelled = 0;
		for (i = 0; i < nr_streams; i++) {
			t[2 * i] = submit(PIPE_STATUS, i + 1, units[i + 1].status,
					  STATUS_SIZE);
			t[2 * i + 1] = submit(PIPE_DATA_IN, i + 1, units[i + 1].data,
					      blocks * BLOCK);
		}
		/* From the inside out. */
		for (i = 0; i < 2 * nr_streams; i++)
			libusb_cancel_transfer(t[(i + nr_streams) % (2 * nr_streams)]);
		events_until(&left, 0, NULL);
		expect(cancelled == 2 * nr_streams, "%d of %d were cancelled", cancelled,
		       2 * nr_streams);
	}
	tap_case("cancelled on all streams, %d times", times);
}

static void again(int times)
{
	int i, n, err;

	for (i = 0; i < times; i++) {
		err = release();
		expect(!err, "freeing the streams: %s", libusb_error_name(err));
		n = alloc(2 + i * 5 % (nr_streams - 1));
		expect(n >= 2, "allocating streams again: %d", n);
		run(0x28, 1, 2);
		expect(is_good(1) && is_good(2), "with %d streams", n);
	}
	err = release();
	if (!err)
		err = alloc(nr_streams);
	expect(err == nr_streams, "%d streams at last", err);
	tap_case("streams freed and allocated, %d times", times);
}

static void allocate(int want)
{
	int i;

	nr_streams = alloc(want);
	if (nr_streams < 2)
		die("%s: streams: %s", dev.busid, libusb_error_name(nr_streams));
	expect(nr_streams <= want, "%d streams", nr_streams);
	if (nr_streams > want)
		nr_streams = want;
	for (i = 1; i <= nr_streams; i++)
		units[i].data = malloc(blocks * BLOCK);
	ready();
	tap_case("%d streams of %d", nr_streams, want);
}

int main(int argc, char **argv)
{
	int count, err;

	device_init(&program, argc, argv);
	device_find(&dev, &program);
	claim();
	count = options.count ?: 5;
	blocks = options.longest / BLOCK ?: BLOCKS;
	allocate(!options.queue || options.queue > MAX_STREAMS ? STREAMS : options.queue);
	read_all("at first");
	read_singly();
	cancel_all(count);
	read_all("after cancels");
	if (may_write)
		write_all();
	again(count);
	read_all("at last");
	err = release();
	expect(!err, "freeing the streams: %s", libusb_error_name(err));
	expect(!failed, "%d transfers have failed", failed);
	tap_case("streams freed");
	device_close(&dev);
	return tap_end();
}
