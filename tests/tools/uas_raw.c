// SPDX-License-Identifier: GPL-2.0
/*
 * uas_raw NODE IMAGE STREAMS BLOCKS - long commands on bulk streams through usbfs
 *
 * NODE is QEMU's usb-uas with a disk at LUN 0, IMAGE the file behind it. A command on
 * each stream writes BLOCKS sectors, all at once, and then as many read them: each with
 * one data transfer, however long. What is written is compared with the image and what is
 * read with what was written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COMMAND_OUT	0x01
#define STATUS_IN	0x82
#define DATA_IN		0x83
#define DATA_OUT	0x04
#define STATUS_SIZE	112
#define MAX_STREAMS	32
#define PATIENCE_MS	60000

enum { COMMAND, STATUS, DATA, PARTS };

static int fd;
static int nr_streams;
static uint32_t blocks;
static uint8_t *buf[MAX_STREAMS];
static uint8_t status[MAX_STREAMS][STATUS_SIZE];
static uint8_t command[MAX_STREAMS][32];

noreturn static void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static void fill(uint8_t *mem, uint32_t len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1, i;

	for (i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		mem[i] = x;
	}
}

static void compare(const uint8_t *got, uint32_t len, uint32_t seed, const char *what)
{
	uint8_t *want = malloc(len);
	uint32_t i;

	fill(want, len, seed);
	for (i = 0; i < len; i++)
		if (got[i] != want[i])
			fail("%s of stream %u: octet %u is %02x, not %02x", what, seed,
			     i, got[i], want[i]);
	free(want);
}

static void streams(unsigned long request, const char *what)
{
	static const uint8_t eps[] = { STATUS_IN, DATA_IN, DATA_OUT };
	struct usbdevfs_streams *s = calloc(1, sizeof(*s) + sizeof(eps));
	int granted;

	s->num_streams = nr_streams;
	s->num_eps = sizeof(eps);
	memcpy(s->eps, eps, sizeof(eps));
	granted = ioctl(fd, request, s);
	if (granted < 0)
		fail("%s: %s", what, strerror(errno));
	if (request == USBDEVFS_ALLOC_STREAMS && granted < nr_streams)
		nr_streams = granted;
	free(s);
}

static void submit(int stream, int part, uint8_t endpoint, void *mem, int len)
{
	struct usbdevfs_urb *urb = calloc(1, sizeof(*urb));

	urb->type = USBDEVFS_URB_TYPE_BULK;
	urb->endpoint = endpoint;
	urb->buffer = mem;
	urb->buffer_length = len;
	urb->usercontext = (void *)(long)(stream * PARTS + part);
	if (part != COMMAND)
		urb->stream_id = stream + 1;
	if (ioctl(fd, USBDEVFS_SUBMITURB, urb))
		fail("submitting %d octets to %02x: %s", len, endpoint,
		     strerror(errno));
}

static struct usbdevfs_urb *reap(void)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	void *urb;

	while (ioctl(fd, USBDEVFS_REAPURBNDELAY, &urb))
		if (errno != EAGAIN || poll(&p, 1, PATIENCE_MS) <= 0)
			fail("a transfer did not end");
	return urb;
}

static void begin(int stream, uint8_t op)
{
	uint32_t at = stream * blocks;
	uint8_t *iu = command[stream];

	memset(iu, 0, 32);
	iu[0] = 1;			/* COMMAND IU */
	iu[3] = stream + 1;		/* tag, which is the stream */
	iu[16] = op;
	iu[18] = at >> 24;
	iu[19] = at >> 16;
	iu[20] = at >> 8;
	iu[21] = at;
	iu[23] = blocks >> 8;
	iu[24] = blocks;
	submit(stream, STATUS, STATUS_IN, status[stream], STATUS_SIZE);
	submit(stream, DATA, op == 0x28 ? DATA_IN : DATA_OUT, buf[stream],
	       blocks * 512);
}

/* All data is queued before the first command: the last command goes first. */
static void run(uint8_t op)
{
	int i, left = nr_streams * PARTS;

	for (i = 0; i < nr_streams; i++)
		begin(i, op);
	for (i = nr_streams - 1; i >= 0; i--)
		submit(i, COMMAND, COMMAND_OUT, command[i], 32);
	while (left--) {
		struct usbdevfs_urb *urb = reap();
		long stream = (long)urb->usercontext / PARTS;
		long part = (long)urb->usercontext % PARTS;

		if (urb->status)
			fail("stream %ld part %ld: status %d", stream + 1, part,
			     urb->status);
		if (part == DATA && urb->actual_length != (int)(blocks * 512))
			fail("stream %ld: %d octets", stream + 1,
			     urb->actual_length);
		free(urb);
	}
	for (i = 0; i < nr_streams; i++)
		if (status[i][0] != 3 || status[i][3] != i + 1 || status[i][6])
			fail("stream %d: IU %02x, tag %u, status %02x", i + 1,
			     status[i][0], status[i][3], status[i][6]);
}

/* Whatever unit attention is due, on the first stream and without data. */
static void test_unit_ready(void)
{
	int left = 2;

	memset(command[0], 0, 32);
	command[0][0] = 1;
	command[0][3] = 1;
	submit(0, STATUS, STATUS_IN, status[0], STATUS_SIZE);
	submit(0, COMMAND, COMMAND_OUT, command[0], 32);
	while (left--)
		free(reap());
}

static void check_image(const char *path)
{
	uint32_t len = blocks * 512;
	uint8_t *mem = malloc(len);
	int image = open(path, O_RDONLY | O_CLOEXEC), i;

	for (i = 0; i < nr_streams; i++) {
		if (pread(image, mem, len, (off_t)i * len) != (ssize_t)len)
			fail("%s: %s", path, strerror(errno));
		compare(mem, len, i + 1, "image");
	}
	close(image);
	free(mem);
}

int main(int argc, char **argv)
{
	struct usbdevfs_disconnect_claim c = { .interface = 0 };
	int i;

	if (argc != 5)
		fail("usage: uas_raw NODE IMAGE STREAMS BLOCKS");
	nr_streams = atoi(argv[3]);
	blocks = atoi(argv[4]);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, USBDEVFS_DISCONNECT_CLAIM, &c))
		fail("%s: %s", argv[1], strerror(errno));
	streams(USBDEVFS_ALLOC_STREAMS, "allocating streams");
	test_unit_ready();
	for (i = 0; i < nr_streams; i++) {
		buf[i] = malloc(blocks * 512);
		fill(buf[i], blocks * 512, i + 1);
	}
	run(0x2a);
	check_image(argv[2]);
	for (i = 0; i < nr_streams; i++)
		memset(buf[i], 0xee, blocks * 512);
	run(0x28);
	for (i = 0; i < nr_streams; i++)
		compare(buf[i], blocks * 512, i + 1, "data");
	streams(USBDEVFS_FREE_STREAMS, "freeing streams");
	printf("%d streams of %u KiB\n", nr_streams, blocks / 2);
	return 0;
}
