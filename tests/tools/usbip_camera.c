// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_camera - a camera behind vhci_hcd, as the USB video class 1.1 has it
 *
 *	usbip_camera full|high|super SERIAL PORT
 *
 * Three sizes, each uncompressed (YUY2) and as motion JPEG, at three rates; each size
 * wants another alternate setting, the largest one the longest packets there are. What
 * a frame holds: camera.h. It is cut into packets with a header of 12 octets, clocks
 * included; between frames come empty packets, and ones with a header only. Numbers
 * begin at 0 whenever a setting with an endpoint is chosen.
 *
 * Gain N of the processing unit, from then on: one frame in N goes wrong. In turn, a
 * packet in its middle is lost on the wire (EPROTO), its last one is (EILSEQ), the camera
 * says so in the header of a packet; and of uncompressed frames also, the first packet
 * comes too late (EXDEV), and a packet is half as long as it should be.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "camera.h"
#include "usbip_device.h"

#define EP_VIDEO	0x81
#define EP_STATUS	0x83
#define HEADER		12
#define CLOCK_HZ	48000000
#define UNIT_GAIN	2
#define NR_SIZES	3
#define NR_RATES	3

enum { CONTROL, STREAM };
enum {
	SET_CUR = 0x01,
	GET_CUR = 0x81, GET_MIN, GET_MAX, GET_RES, GET_LEN, GET_INFO, GET_DEF,
};

/* Of the header of a packet. */
enum {
	HEAD_FID = 0x01, HEAD_EOF = 0x02, HEAD_PTS = 0x04, HEAD_SCR = 0x08,
	HEAD_ERR = 0x40, HEAD_EOH = 0x80,
};

enum { HURT_NONE, HURT_MIDDLE, HURT_LAST, HURT_SAID, HURT_FIRST, HURT_CUT, NR_HURTS };

/* Probe and commit control. */
struct probe {
	uint16_t hint;
	uint8_t format, frame;
	uint32_t interval;
	uint16_t key_rate, p_rate, quality, window, delay;
	uint32_t max_frame, max_payload, clock;
	uint8_t framing, preferred, min_version, max_version;
} __attribute__((packed));

static const struct {
	uint16_t width, height;
} sizes[NR_SIZES] = { { 160, 120 }, { 320, 240 }, { 640, 480 } };

/* In units of 100 ns. */
static const uint32_t rates[NR_RATES] = { 333333, 666666, 2000000 };

static struct probe probe, commit;
static uint16_t gain;

static struct {
	uint8_t data[640 * 480 * 2];
	bool jpeg;
	uint32_t number, length, sent;
	uint32_t packets, slots;	/* gone since it began, until the next one */
	unsigned int hurt, turn;
	uint16_t gain;
} frame;

/* ---- descriptors ---- */

static struct usbip_endpoint video_endpoint(unsigned int size)
{
	static const struct usbip_endpoint of_speed[][NR_SIZES] = {
		[USBIP_FULL] = {
			{ EP_VIDEO, 5, 256, 1, 1, 1 }, { EP_VIDEO, 5, 512, 1, 1, 1 },
			{ EP_VIDEO, 5, 1023, 1, 1, 1 },
		},
		[USBIP_HIGH] = {
			{ EP_VIDEO, 5, 512, 1, 1, 1 }, { EP_VIDEO, 5, 1024, 1, 1, 1 },
			{ EP_VIDEO, 5, 1024, 1, 3, 1 },
		},
		[USBIP_SUPER] = {
			{ EP_VIDEO, 5, 512, 1, 1, 1 }, { EP_VIDEO, 5, 1024, 1, 3, 1 },
			{ EP_VIDEO, 5, 1024, 1, 16, 3 },
		},
	};

	return of_speed[usbip_speed][size];
}

static uint32_t max_frame(unsigned int size)
{
	return sizes[size].width * sizes[size].height * 2;
}

static void describe_control(void)
{
	const struct usbip_endpoint status = {
		.address = EP_STATUS,
		.attributes = USBIP_INTERRUPT,
		.packet = 16,
		.interval = 8,
	};
	size_t mark;

	USBIP_ADD(9, 4, CONTROL, 0, 1, 0x0e, 1, 0, 0);
	mark = usbip_mark();
	USBIP_ADD(13, 0x24, 1, LO(0x0110), HI(0x0110), 0, 0);
	usbip_add32(CLOCK_HZ);
	USBIP_ADD(1, STREAM);
	USBIP_ADD(18, 0x24, 2, 1, LO(0x0201), HI(0x0201), 0, 0, 0, 0, 0, 0, 0, 0, 3,
		  0, 0, 0);
	/* Of its controls, gain only. */
	USBIP_ADD(13, 0x24, 5, UNIT_GAIN, 1, 0, 0, 3, 0, 2, 0, 0, 0);
	USBIP_ADD(9, 0x24, 3, 3, LO(0x0101), HI(0x0101), 0, UNIT_GAIN, 0);
	usbip_set_length(mark, 5);
	usbip_add_endpoint(&status);
	USBIP_ADD(5, 0x25, 3, 16, 0);
}

static void describe_frame(uint8_t type, unsigned int size)
{
	uint32_t octets = max_frame(size);
	unsigned int i;

	USBIP_ADD(26 + 4 * NR_RATES, 0x24, type, size + 1, 0,
		  LO(sizes[size].width), HI(sizes[size].width),
		  LO(sizes[size].height), HI(sizes[size].height));
	usbip_add32(octets * 8 * 5);
	usbip_add32(octets * 8 * 30);
	usbip_add32(octets);
	usbip_add32(rates[0]);
	USBIP_ADD(NR_RATES);
	for (i = 0; i < NR_RATES; i++)
		usbip_add32(rates[i]);
}

static void describe_frames(uint8_t type)
{
	unsigned int i;

	for (i = 0; i < NR_SIZES; i++)
		describe_frame(type, i);
	USBIP_ADD(6, 0x24, 13, 1, 1, 4);
}

static void describe(void)
{
	size_t mark;
	uint8_t i;

	USBIP_ADD(8, 11, CONTROL, 2, 0x0e, 3, 0, 0);
	describe_control();
	USBIP_ADD(9, 4, STREAM, 0, 0, 0x0e, 2, 0, 0);
	mark = usbip_mark();
	USBIP_ADD(15, 0x24, 1, 2, 0, 0, EP_VIDEO, 0, 3, 0, 0, 0, 1, 0, 0);
	USBIP_ADD(27, 0x24, 4, 1, NR_SIZES, 'Y', 'U', 'Y', '2', 0, 0, 0x10, 0,
		  0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71, 16, 1, 0, 0, 0, 0);
	describe_frames(5);
	USBIP_ADD(11, 0x24, 6, 2, NR_SIZES, 0, 1, 0, 0, 0, 0);
	describe_frames(7);
	usbip_set_length(mark, 4);
	for (i = 0; i < NR_SIZES; i++) {
		const struct usbip_endpoint ep = video_endpoint(i);

		USBIP_ADD(9, 4, STREAM, i + 1, 1, 0x0e, 2, 0, 0);
		usbip_add_endpoint(&ep);
	}
}

/* ---- control ---- */

/* What the camera makes of a proposal. */
static void negotiate(struct probe *p)
{
	const struct usbip_endpoint ep =
		video_endpoint(p->frame >= 1 && p->frame <= NR_SIZES ? p->frame - 1 : 0);
	unsigned int i;

	if (p->format != 2)
		p->format = 1;
	if (p->frame < 1 || p->frame > NR_SIZES)
		p->frame = 1;
	for (i = 0; i < NR_RATES - 1 && p->interval > rates[i]; i++)
		;
	p->interval = rates[i];
	p->max_frame = max_frame(p->frame - 1);
	p->max_payload = usbip_octets(&ep);
	p->clock = CLOCK_HZ;
	p->framing = 3;
	p->preferred = 1;
	p->min_version = 1;
	p->max_version = 1;
}

static int get(const struct usbip_control *c, const void *value, int length)
{
	if (c->length < length)
		length = c->length;
	memcpy(c->data, value, length);
	return length;
}

static int about(const struct usbip_control *c, uint16_t length)
{
	const uint8_t can_get_and_set = 3;

	if (c->request == GET_LEN)
		return get(c, &length, 2);
	if (c->request == GET_INFO)
		return get(c, &can_get_and_set, 1);
	return -EPIPE;
}

static int stream_control(const struct usbip_control *c)
{
	struct probe *which = c->value >> 8 == 1 ? &probe : &commit;
	struct probe limit = {
		.format = 1,
		.frame = c->request == GET_MAX ? NR_SIZES : 1,
		.interval = c->request == GET_MAX ? rates[NR_RATES - 1] : rates[0],
	};

	if (c->value >> 8 < 1 || c->value >> 8 > 2)
		return -EPIPE;
	switch (c->request) {
	case SET_CUR:
		if (c->length != sizeof(*which))
			return -EPIPE;
		memcpy(which, c->data, sizeof(*which));
		negotiate(which);
		return c->length;
	case GET_CUR:
		negotiate(which);
		return get(c, which, sizeof(*which));
	case GET_MIN:
	case GET_MAX:
	case GET_DEF:
		negotiate(&limit);
		return get(c, &limit, sizeof(limit));
	default:
		return about(c, sizeof(*which));
	}
}

static int gain_control(const struct usbip_control *c)
{
	static const uint16_t none, most = 1000, step = 1;

	switch (c->request) {
	case SET_CUR:
		if (c->length != sizeof(gain))
			return -EPIPE;
		memcpy(&gain, c->data, sizeof(gain));
		return c->length;
	case GET_CUR:
		return get(c, &gain, sizeof(gain));
	case GET_MIN:
	case GET_DEF:
		return get(c, &none, sizeof(none));
	case GET_MAX:
		return get(c, &most, sizeof(most));
	case GET_RES:
		return get(c, &step, sizeof(step));
	default:
		return about(c, sizeof(gain));
	}
}

static int control(const struct usbip_control *c)
{
	static const uint8_t invalid_control = 6;

	if ((c->type & 0x7f) != 0x21)
		return -EPIPE;
	if (c->index == STREAM)
		return stream_control(c);
	if (c->index == (UNIT_GAIN << 8 | CONTROL) && c->value == 4 << 8)
		return gain_control(c);
	if (c->index == CONTROL && c->value == 2 << 8 && c->request == GET_CUR)
		return get(c, &invalid_control, 1);
	return -EPIPE;
}

/* ---- frames ---- */

static void begin(void)
{
	uint32_t max = max_frame(commit.frame - 1);
	uint32_t unit = usbip_speed == USBIP_FULL ? 10000 : 1250;

	frame.length = camera_length(frame.number, frame.jpeg, max);
	camera_frame(frame.data, frame.number, frame.jpeg, frame.length);
	frame.sent = 0;
	frame.packets = 0;
	frame.slots = commit.interval / unit;
	frame.hurt = HURT_NONE;
	if (camera_is_hurt(frame.number, frame.gain))
		frame.hurt = 1 + frame.turn++ %
			     (frame.jpeg ? HURT_SAID : NR_HURTS - 1);
}

static void selected(uint8_t interface, uint8_t setting)
{
	if (interface != STREAM || !setting)
		return;
	negotiate(&commit);
	memset(&frame, 0, sizeof(frame));
	frame.jpeg = commit.format == 2;
	frame.gain = gain;
	begin();
}

static void make_header(uint8_t *head, bool is_last)
{
	uint32_t clock = usbip_now() / 125 * 6;
	uint16_t sof = usbip_now() / 1000000 % 2048;
	uint32_t shown = htole32(clock - frame.packets * 6000);

	clock = htole32(clock);
	sof = htole16(sof);
	head[0] = HEADER;
	head[1] = HEAD_EOH | HEAD_SCR | HEAD_PTS | (frame.number & 1 ? HEAD_FID : 0) |
		  (is_last ? HEAD_EOF : 0);
	memcpy(head + 2, &shown, 4);
	memcpy(head + 6, &clock, 4);
	memcpy(head + 10, &sof, 2);
}

static void lose(struct usbip_packet *p, int status)
{
	p->status = status;
	p->actual = 0;
}

/* What happens to a packet of a frame that goes wrong. */
static void hurt(struct usbip_packet *p, uint8_t *data, bool is_first, bool is_last)
{
	bool is_middle = !is_first && !is_last && frame.sent >= frame.length / 3;

	switch (frame.hurt) {
	case HURT_FIRST:
		if (is_first)
			lose(p, -EXDEV);
		break;
	case HURT_LAST:
		if (is_last)
			lose(p, -EILSEQ);
		break;
	case HURT_MIDDLE:
		if (is_middle) {
			lose(p, -EPROTO);
			frame.hurt = HURT_NONE;
		}
		break;
	case HURT_SAID:
		if (is_middle)
			data[1] |= HEAD_ERR;
		break;
	case HURT_CUT:
		if (is_middle) {
			p->actual = HEADER + (p->actual - HEADER) / 2;
			frame.hurt = HURT_NONE;
		}
		break;
	}
}

static void send_part(struct usbip_packet *p, uint8_t *data)
{
	uint32_t n = p->length - HEADER;
	bool is_first = !frame.sent, is_last;

	if (n > frame.length - frame.sent)
		n = frame.length - frame.sent;
	is_last = frame.sent + n == frame.length;
	make_header(data, is_last);
	memcpy(data + HEADER, frame.data + frame.sent, n);
	frame.sent += n;
	p->actual = HEADER + n;
	hurt(p, data, is_first, is_last);
}

static void packet(uint8_t address, struct usbip_packet *p, uint8_t *data)
{
	(void)address;
	if (p->length <= HEADER) {
		lose(p, -EOVERFLOW);
	} else if (frame.sent < frame.length) {
		send_part(p, data);
	} else if (frame.packets & 1) {
		p->actual = 0;
	} else {
		make_header(data, false);
		p->actual = HEADER;
	}
	frame.packets++;
	if (frame.packets < frame.slots || frame.sent < frame.length)
		return;
	frame.number++;
	begin();
}

/* There is never any news. */
static int transfer(uint8_t address, uint8_t *data, uint32_t length, int *result)
{
	(void)address;
	(void)data;
	(void)length;
	(void)result;
	return USBIP_WAIT;
}

static const struct usbip_device device = {
	.vendor = 0x0525,
	.product = 0xa4b0,
	.name = "camera",
	.has_associations = true,
	.describe = describe,
	.control = control,
	.selected = selected,
	.packet = packet,
	.transfer = transfer,
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: usbip_camera full|high|super SERIAL PORT\n");
		return 2;
	}
	usbip_run(&device, argv[1], argv[2], argv[3]);
	return 0;
}
