// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_audio - a sound card behind vhci_hcd, as the USB audio class 2 has it
 *
 *	usbip_audio high|super SERIAL PORT FILE
 *
 * Plays 16 bits a sample in setting 1, 32 bits in setting 2, to FILE, which begins anew
 * whenever one of them is chosen; records 32 bits a sample: frame K has K on the left and
 * K * 2654435761 on the right, both modulo 2^32, and the first is 0. Two channels, 48 or
 * 96 kHz of a clock of its own that is fast by one part in 256.
 *
 * That clock tells how much is recorded in an interval; for what is played, a feedback
 * endpoint asks for as much. When playing ends, prints how many frames came in how many
 * packets, and how many it has asked for:
 *	played FRAMES of WANTED frames in PACKETS packets
 * counted from when the host has surely heard of it.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "usbip_device.h"

#define EP_PLAY		0x01
#define EP_FEEDBACK	0x81
#define EP_RECORD	0x82
#define PLAYED_TERMINAL	1
#define SPEAKER		2
#define MICROPHONE	3
#define RECORDED_TERMINAL	4
#define CLOCK		5
#define DEAF		1000	/* packets before feedback is heeded, far more than queued */

enum { CONTROL, PLAY, RECORD };
enum { CUR = 1, RANGE = 2 };
enum { CLOCK_RATE = 1, CLOCK_VALID = 2 };

static const uint32_t rates[] = { 48000, 96000 };

static uint32_t rate = 48000;
static FILE *file;
static const char *path;

static struct {
	uint32_t frame_size;
	uint32_t packets, frames;
	uint32_t feedbacks, before;	/* packets since the first of them */
} play;

static struct {
	uint32_t number;
	uint32_t part;		/* of a frame, 16 bits */
} record;

/* ---- descriptors ---- */

static void describe_control(void)
{
	size_t mark;

	USBIP_ADD(9, 4, CONTROL, 0, 0, 1, 1, 0x20, 0);
	mark = usbip_mark();
	USBIP_ADD(9, 0x24, 1, LO(0x0200), HI(0x0200), 8, 0, 0, 0);
	/* Programmable, its rate can be set, and whether it is valid be asked. */
	USBIP_ADD(8, 0x24, 10, CLOCK, 3, 7, 0, 0);
	USBIP_ADD(17, 0x24, 2, PLAYED_TERMINAL, LO(0x0101), HI(0x0101), 0, CLOCK, 2,
		  3, 0, 0, 0, 0, 0, 0, 0);
	USBIP_ADD(12, 0x24, 3, SPEAKER, LO(0x0301), HI(0x0301), 0, PLAYED_TERMINAL,
		  CLOCK, 0, 0, 0);
	USBIP_ADD(17, 0x24, 2, MICROPHONE, LO(0x0201), HI(0x0201), 0, CLOCK, 2,
		  3, 0, 0, 0, 0, 0, 0, 0);
	USBIP_ADD(12, 0x24, 3, RECORDED_TERMINAL, LO(0x0101), HI(0x0101), 0, MICROPHONE,
		  CLOCK, 0, 0, 0);
	usbip_set_length(mark, 6);
}

static void describe_setting(uint8_t interface, uint8_t setting, uint8_t terminal,
			     uint8_t octets, uint8_t address)
{
	const struct usbip_endpoint data = {
		.address = address,
		.attributes = 5,	/* isochronous, asynchronous */
		.packet = 14 * 2 * octets,
		.interval = 1,
	};
	const struct usbip_endpoint feedback = {
		.address = EP_FEEDBACK,
		.attributes = 0x11,
		.packet = 4,
		.interval = 4,
	};

	USBIP_ADD(9, 4, interface, setting, interface == PLAY ? 2 : 1, 1, 2, 0x20, 0);
	USBIP_ADD(16, 0x24, 1, terminal, 0, 1, 1, 0, 0, 0, 2, 3, 0, 0, 0, 0);
	USBIP_ADD(6, 0x24, 2, 1, octets, 8 * octets);
	usbip_add_endpoint(&data);
	USBIP_ADD(8, 0x25, 1, 0, 0, 0, 0, 0);
	if (interface == PLAY)
		usbip_add_endpoint(&feedback);
}

static void describe(void)
{
	USBIP_ADD(8, 11, CONTROL, 3, 1, 0, 0x20, 0);
	describe_control();
	USBIP_ADD(9, 4, PLAY, 0, 0, 1, 2, 0x20, 0);
	describe_setting(PLAY, 1, PLAYED_TERMINAL, 2, EP_PLAY);
	describe_setting(PLAY, 2, PLAYED_TERMINAL, 4, EP_PLAY);
	USBIP_ADD(9, 4, RECORD, 0, 0, 1, 2, 0x20, 0);
	describe_setting(RECORD, 1, RECORDED_TERMINAL, 4, EP_RECORD);
}

/* ---- control ---- */

static int get(const struct usbip_control *c, const void *value, int length)
{
	if (c->length < length)
		length = c->length;
	memcpy(c->data, value, length);
	return length;
}

static int get_rates(const struct usbip_control *c)
{
	struct {
		uint16_t count;
		struct {
			uint32_t min, max, step;
		} __attribute__((packed)) range[2];
	} __attribute__((packed)) reply = { .count = htole16(2) };
	int i;

	for (i = 0; i < 2; i++) {
		reply.range[i].min = htole32(rates[i]);
		reply.range[i].max = htole32(rates[i]);
	}
	return get(c, &reply, sizeof(reply));
}

static int control(const struct usbip_control *c)
{
	static const uint8_t valid = 1;
	bool in = c->type & USBIP_DIR_IN;
	uint32_t le = htole32(rate);

	if ((c->type & 0x7f) != 0x21 || c->index != (CLOCK << 8 | CONTROL))
		return -EPIPE;
	if (in && c->request == CUR && c->value == CLOCK_VALID << 8)
		return get(c, &valid, 1);
	if (c->value != CLOCK_RATE << 8)
		return -EPIPE;
	if (in)
		return c->request == RANGE ? get_rates(c) : get(c, &le, 4);
	if (c->length != 4)
		return -EPIPE;
	memcpy(&le, c->data, 4);
	if (le32toh(le) != rates[0] && le32toh(le) != rates[1])
		return -EPIPE;
	rate = le32toh(le);
	return 4;
}

/* ---- sound ---- */

/* Frames of an interval, with 16 bits of a part, by the device's clock. */
static uint32_t per_interval(void)
{
	return (uint64_t)rate * 65536 / 8000 * 257 / 256;
}

static void end_play(void)
{
	uint64_t wanted = (uint64_t)play.packets * per_interval() >> 16;

	fclose(file);
	file = NULL;
	printf("played %u of %u frames in %u packets\n", play.frames, (uint32_t)wanted,
	       play.packets);
	fflush(stdout);
}

static void selected(uint8_t interface, uint8_t setting)
{
	if (interface == PLAY && file)
		end_play();
	if (interface == PLAY && setting) {
		file = fopen(path, "w");
		if (!file)
			exit(1);
		memset(&play, 0, sizeof(play));
		play.frame_size = setting == 1 ? 4 : 8;
	}
	if (interface == RECORD)
		memset(&record, 0, sizeof(record));
}

static void played(const struct usbip_packet *p, const uint8_t *data)
{
	fwrite(data, 1, p->length, file);
	if (play.feedbacks)
		play.before++;
	if (play.before <= DEAF)
		return;
	play.packets++;
	play.frames += p->length / play.frame_size;
}

static void feedback(struct usbip_packet *p, uint8_t *data)
{
	uint32_t le = htole32(per_interval());

	play.feedbacks++;
	p->actual = p->length < 4 ? p->length : 4;
	memcpy(data, &le, p->actual);
}

static void recorded(struct usbip_packet *p, uint8_t *data)
{
	uint32_t n;

	record.part += per_interval();
	n = record.part >> 16;
	record.part &= 0xffff;
	if (n > p->length / 8)
		n = p->length / 8;
	p->actual = n * 8;
	for (; n--; record.number++, data += 8) {
		uint32_t left = htole32(record.number);
		uint32_t right = htole32(record.number * 2654435761u);

		memcpy(data, &left, 4);
		memcpy(data + 4, &right, 4);
	}
}

static void packet(uint8_t address, struct usbip_packet *p, uint8_t *data)
{
	if (address == EP_PLAY)
		played(p, data);
	else if (address == EP_FEEDBACK)
		feedback(p, data);
	else
		recorded(p, data);
}

static const struct usbip_device device = {
	.vendor = 0x0525,
	.product = 0xa4b1,
	.name = "sound card",
	.has_associations = true,
	.describe = describe,
	.control = control,
	.selected = selected,
	.packet = packet,
};

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: usbip_audio high|super SERIAL PORT FILE\n");
		return 2;
	}
	path = argv[4];
	usbip_run(&device, argv[1], argv[2], argv[3]);
	return 0;
}
