// SPDX-License-Identifier: GPL-2.0
/*
 * v4l2_frames - the pictures of usbip_camera, each compared with what was sent
 *
 *	v4l2_frames NODE yuyv|mjpeg WIDTH HEIGHT COUNT GAIN
 *	v4l2_frames NODE yuyv|mjpeg WIDTH HEIGHT 0 0
 *
 * Streams COUNT frames, twice. A frame without V4L2_BUF_FLAG_ERROR is, octet for octet,
 * the one whose number it has, which comes once and is the driver's sequence number; at
 * gain GAIN one in so many goes wrong, and just these have the flag. (Of what has gone
 * wrong the driver of 6.12 may count one as two.) Those that found no buffer are counted,
 * and must be fewer than the others.
 *
 * COUNT 0: prints "streaming" and goes on until the camera has gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "camera.h"

#define NR_BUFFERS	12
#define PATIENCE_MS	30000

static int fd;
static bool jpeg;
static uint32_t max_length, gain;
static void *buffers[NR_BUFFERS];
static uint8_t *wanted;
static unsigned int good, marked, missed;

noreturn static void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static void must(unsigned long request, void *arg, const char *what)
{
	if (ioctl(fd, request, arg))
		fail("%s: %s", what, strerror(errno));
}

static void choose(const char *format, int width, int height)
{
	struct v4l2_format f = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
	struct v4l2_control c = { .id = V4L2_CID_GAIN, .value = gain };

	jpeg = !strcmp(format, "mjpeg");
	f.fmt.pix.pixelformat = jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
	f.fmt.pix.width = width;
	f.fmt.pix.height = height;
	f.fmt.pix.field = V4L2_FIELD_NONE;
	must(VIDIOC_S_FMT, &f, "format");
	max_length = f.fmt.pix.sizeimage;
	if ((int)f.fmt.pix.width != width || (int)f.fmt.pix.height != height ||
	    (int)max_length != width * height * 2)
		fail("%ux%u, %u octets", f.fmt.pix.width, f.fmt.pix.height, max_length);
	must(VIDIOC_S_CTRL, &c, "gain");
	c.value = -1;
	must(VIDIOC_G_CTRL, &c, "gain");
	if (c.value != (int)gain)
		fail("gain %d", c.value);
}

static void map_buffers(void)
{
	struct v4l2_requestbuffers r = {
		.count = NR_BUFFERS,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_MMAP,
	};
	unsigned int i;

	must(VIDIOC_REQBUFS, &r, "buffers");
	if (r.count != NR_BUFFERS)
		fail("%u buffers", r.count);
	for (i = 0; i < NR_BUFFERS; i++) {
		struct v4l2_buffer b = { .index = i, .type = r.type, .memory = r.memory };

		must(VIDIOC_QUERYBUF, &b, "buffer");
		buffers[i] = mmap(NULL, b.length, PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd, b.m.offset);
		if (buffers[i] == MAP_FAILED)
			fail("mapping %u octets: %s", b.length, strerror(errno));
	}
	wanted = malloc(max_length);
}

static int queue(unsigned int index)
{
	struct v4l2_buffer b = {
		.index = index,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_MMAP,
	};

	return ioctl(fd, VIDIOC_QBUF, &b);
}

/* The next frame; -1: the camera has gone. */
static int dequeue(struct v4l2_buffer *b)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	memset(b, 0, sizeof(*b));
	b->type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	b->memory = V4L2_MEMORY_MMAP;
	while (ioctl(fd, VIDIOC_DQBUF, b)) {
		if (errno != EAGAIN)
			return -1;
		switch (poll(&p, 1, PATIENCE_MS)) {
		case 0:
			fail("no frame for %u s: good %u marked %u missed %u",
			     PATIENCE_MS / 1000, good, marked, missed);
		case 1:
			if (p.revents & POLLERR)
				return -1;
		}
	}
	return 0;
}

static void compare(const struct v4l2_buffer *b, uint32_t number)
{
	uint32_t length = camera_length(number, jpeg, max_length);
	const uint8_t *frame = buffers[b->index];
	uint32_t i;

	if (b->bytesused != length)
		fail("frame %u has %u octets, not %u", number, b->bytesused, length);
	camera_frame(wanted, number, jpeg, length);
	if (!memcmp(frame, wanted, length))
		return;
	for (i = 0; frame[i] == wanted[i]; i++)
		;
	fail("frame %u: octet %u of %u is %02x, not %02x", number, i, length, frame[i],
	     wanted[i]);
}

/* An unmarked frame is as it was sent; its number. */
static uint32_t look(const struct v4l2_buffer *b)
{
	uint32_t number = camera_number(buffers[b->index], jpeg);

	if (!gain && b->sequence != number)
		fail("frame %u says that it is %u", b->sequence, number);
	if (camera_is_hurt(number, gain))
		fail("frame %u is not marked", number);
	compare(b, number);
	good++;
	return number;
}

static void start(void)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	unsigned int i;

	for (i = 0; i < NR_BUFFERS; i++)
		if (queue(i))
			fail("queue: %s", strerror(errno));
	must(VIDIOC_STREAMON, &type, "start");
}

/* Frames that went wrong among those with a number below @end. */
static unsigned int hurt_below(uint32_t end)
{
	return gain ? end / gain : 0;
}

static void stream(unsigned int count)
{
	uint32_t seen[NR_BUFFERS] = { 0 };	/* plus one, by number */
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	unsigned int left, marks = 0;
	uint32_t number, end = 0, *last;
	struct v4l2_buffer b;

	start();
	for (left = count; left; left--) {
		if (dequeue(&b))
			fail("frame %u: %s", end, strerror(errno));
		if (b.flags & V4L2_BUF_FLAG_ERROR) {
			marks++;
			end++;
		} else {
			number = look(&b);
			/*
			 * uvcvideo copies what each URB brought in a work item of its
			 * own: frames that end close together may change places.
			 */
			last = &seen[number % NR_BUFFERS];
			if (number < *last)
				fail("frame %u after %u", number, end - 1);
			*last = number + 1;
			end = number >= end ? number + 1 : end;
		}
		if (queue(b.index))
			fail("queue: %s", strerror(errno));
	}
	must(VIDIOC_STREAMOFF, &type, "stop");
	/* One that changed places may be beyond the end. */
	if (marks > hurt_below(end) + 1)
		fail("%u frames of %u are marked, not %u", marks, end, hurt_below(end));
	marked += marks;
	missed += end > count ? end - count : 0;
}

/* Whatever comes unmarked until the end is right. */
static void until_gone(void)
{
	struct v4l2_buffer b;

	start();
	while (!dequeue(&b)) {
		if (b.flags & V4L2_BUF_FLAG_ERROR) {
			marked++;
		} else {
			compare(&b, b.sequence);
			good++;
		}
		if (good == 1) {
			printf("streaming\n");
			fflush(stdout);
		}
		if (queue(b.index))
			break;
	}
	if (errno != ENODEV && errno != EIO && errno != EAGAIN)
		fail("the end: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	int count, i;

	if (argc != 7) {
		fputs("usage: v4l2_frames NODE yuyv|mjpeg WIDTH HEIGHT COUNT GAIN\n",
		      stderr);
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", argv[1], strerror(errno));
	count = atoi(argv[5]);
	gain = atoi(argv[6]);
	choose(argv[2], atoi(argv[3]), atoi(argv[4]));
	map_buffers();
	for (i = 0; count && i < 2; i++)
		stream(count);
	if (!count)
		until_gone();
	printf("good %u marked %u missed %u\n", good, marked, missed);
	if (missed > good + marked)
		fail("more were missed than seen");
	return 0;
}
