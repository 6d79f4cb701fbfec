// SPDX-License-Identifier: GPL-2.0
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "samples.h"

#define N 1024	/* requests in a region of SAMPLE_REGION */

/* Notes that the operation uses a field. */
#define USE(s, field) \
	memset((s)->used + offsetof(struct usbif_req, field), 1, \
	       sizeof((s)->req.field))

/* Sets a field that it uses. */
#define SET(s, field, value) ({ \
	USE(s, field); \
	(s)->req.field = (value); })

void sample_layout(struct usbif_layout *lay)
{
	usbif_layout_compute(lay, SAMPLE_REGION, SAMPLE_FEATURES, 3, 8);
}

static void start(struct sample *s, const char *name, u8 op, u32 id)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
	SET(s, id, cpu_to_le32(id));
	SET(s, session, cpu_to_le32(SAMPLE_SESSION));
	SET(s, op, op);
}

static void to_port(struct sample *s)
{
	SET(s, vusb, 2);
	SET(s, port, 8);
	SET(s, port_epoch, cpu_to_le32(SAMPLE_EPOCH));
}

static void transfer(struct sample *s, const char *name, u8 type, u8 endpoint)
{
	start(s, name, USBIF_OP_TRANSFER, 5);
	to_port(s);
	SET(s, endpoint, endpoint);
	SET(s, type, type);
	USE(s, flags);
	USE(s, length);
	USE(s, nr_extents);
	if (type == USBIF_TYPE_BULK)
		USE(s, stream);
}

static void put_extent(struct sample *s, u32 i, u32 block, u32 length)
{
	s->req.extents[i].block = cpu_to_le32(block);
	s->req.extents[i].length = cpu_to_le32(length);
	memset(s->used + offsetof(struct usbif_req, extents) +
	       i * sizeof(struct usbif_extent), 1, sizeof(struct usbif_extent));
}

/* Data in @pieces inline extents; the last one is not whole. */
static void data(struct sample *s, u32 pieces)
{
	u32 i, length = 0;

	for (i = 0; i < pieces; i++) {
		u32 len = i + 1 < pieces ? 4096 * (i + 1) : 4000;

		put_extent(s, i, 64 * (i + 1), len);
		length += len;
	}
	s->req.length = cpu_to_le32(length);
	s->req.nr_extents = cpu_to_le16(pieces);
}

static void setup(struct sample *s, u8 type, u8 request, u16 value, u16 length)
{
	u8 packet[8] = { type, request, value & 0xff, value >> 8, 0, 0,
			 length & 0xff, length >> 8 };

	USE(s, setup);
	memcpy(s->req.setup, packet, sizeof(packet));
}

/* Data in @count blocks of their own, every second one, and a table that says so. */
static void scattered(struct sample *s, u32 count)
{
	struct usbif_extent *extents = (struct usbif_extent *)s->table;
	u32 i;

	for (i = 0; i < count; i++) {
		extents[i].block = cpu_to_le32(100 + 2 * i);
		extents[i].length = cpu_to_le32(i + 1 < count ? 4096 : 1);
	}
	s->req.length = cpu_to_le32((count - 1) * 4096 + 1);
	s->req.nr_extents = cpu_to_le16(count);
}

static void table(struct sample *s, u32 packets)
{
	SET(s, table_block, cpu_to_le32(2000));
	SET(s, table_length,
	    cpu_to_le32(usbif_table_size(le16_to_cpu(s->req.nr_extents),
					 packets)));
}

static void iso(struct sample *s, u32 packets, u32 each)
{
	u32 extents = le16_to_cpu(s->req.nr_extents);
	struct usbif_iso_packet *packet = (struct usbif_iso_packet *)
		(s->table + (extents > USBIF_INLINE_EXTENTS ?
			     extents * sizeof(struct usbif_extent) : 0));
	u32 i;

	for (i = 0; i < packets; i++) {
		packet[i].offset = cpu_to_le32(i * each);
		packet[i].length = cpu_to_le32(each);
	}
	SET(s, nr_packets, cpu_to_le16(packets));
	SET(s, interval, cpu_to_le32(8));
	table(s, packets);
}

static void get_transfer(struct sample *s, unsigned int number)
{
	switch (number) {
	case SAMPLE_CONTROL_IN:
		transfer(s, "control IN", USBIF_TYPE_CONTROL, 0);
		setup(s, 0x80, 6, 0x0100, 4000);
		data(s, 1);
		break;
	case SAMPLE_CONTROL_OUT:
		transfer(s, "control OUT", USBIF_TYPE_CONTROL, 0);
		setup(s, 0x21, 9, 0x0200, 4000);
		data(s, 1);
		break;
	case SAMPLE_CONTROL_NONE:
		transfer(s, "control IN without data", USBIF_TYPE_CONTROL, 0);
		setup(s, 0xc0, 1, 2, 0);
		break;
	case SAMPLE_BULK_IN:
		transfer(s, "bulk IN", USBIF_TYPE_BULK, 0x81);
		data(s, 8);
		s->req.flags = cpu_to_le16(USBIF_REQ_SHORT_NOT_OK);
		break;
	case SAMPLE_BULK_OUT:
		transfer(s, "bulk OUT", USBIF_TYPE_BULK, 0x0f);
		data(s, 3);
		s->req.flags = cpu_to_le16(USBIF_REQ_ZERO_PACKET);
		break;
	case SAMPLE_BULK_STREAM:
		transfer(s, "bulk stream", USBIF_TYPE_BULK, 0x82);
		data(s, 2);
		SET(s, stream, cpu_to_le16(USBIF_MAX_STREAMS));
		break;
	case SAMPLE_BULK_LARGE:
		transfer(s, "bulk with a table", USBIF_TYPE_BULK, 0x02);
		scattered(s, USBIF_MAX_EXTENTS);
		table(s, 0);
		break;
	case SAMPLE_BULK_EMPTY:
		transfer(s, "bulk without data", USBIF_TYPE_BULK, 0x02);
		break;
	case SAMPLE_INTERRUPT:
		transfer(s, "interrupt", USBIF_TYPE_INTERRUPT, 0x83);
		data(s, 1);
		SET(s, interval, cpu_to_le32(0x8000));
		break;
	case SAMPLE_ISO_ASAP:
		transfer(s, "isochronous, as soon as possible",
			 USBIF_TYPE_ISO, 0x84);
		data(s, 1);
		iso(s, 4, 1000);
		s->req.flags = cpu_to_le16(USBIF_REQ_ISO_ASAP);
		break;
	case SAMPLE_ISO_FRAME:
		transfer(s, "isochronous, at a frame", USBIF_TYPE_ISO, 0x04);
		data(s, 2);
		iso(s, 8, 1012);
		SET(s, start_frame, cpu_to_le32(0x12345678));
		break;
	case SAMPLE_ISO_LARGE:
		transfer(s, "isochronous with many extents", USBIF_TYPE_ISO,
			 0x84);
		scattered(s, 200);
		iso(s, USBIF_MAX_ISO_PACKETS, 700);
		USE(s, start_frame);
		break;
	}
}

static void stream_op(struct sample *s, const char *name, u8 op, u32 streams)
{
	start(s, name, op, 0);
	to_port(s);
	if (streams)
		SET(s, arg0, cpu_to_le32(streams));
	SET(s, arg1, cpu_to_le32(1u << 17 | 1u << 2));
}

/* Operations without fields of their own but perhaps arg0. */
static void plain_op(struct sample *s, const char *name, u8 op, bool arg0,
		     u32 value)
{
	start(s, name, op, N - 1);
	to_port(s);
	if (arg0)
		SET(s, arg0, cpu_to_le32(value));
}

void sample_get(struct sample *s, unsigned int number)
{
	memset(s, 0, sizeof(*s));
	get_transfer(s, number);
	switch (number) {
	case SAMPLE_CANCEL:
		start(s, "cancel", USBIF_OP_CANCEL, N + 77);
		SET(s, arg0, cpu_to_le32(77));
		break;
	case SAMPLE_RESTART:
		plain_op(s, "restart", USBIF_OP_RESTART, false, 0);
		SET(s, endpoint, 0x81);
		break;
	case SAMPLE_RESET:
		plain_op(s, "reset", USBIF_OP_RESET, false, 0);
		break;
	case SAMPLE_SET_CONFIGURATION:
		plain_op(s, "set configuration", USBIF_OP_SET_CONFIGURATION,
			 true, 255);
		break;
	case SAMPLE_SET_INTERFACE:
		plain_op(s, "set interface", USBIF_OP_SET_INTERFACE, true, 255);
		SET(s, arg1, cpu_to_le32(255));
		break;
	case SAMPLE_CLEAR_HALT:
		plain_op(s, "clear halt", USBIF_OP_CLEAR_HALT, false, 0);
		SET(s, endpoint, 0x01);
		break;
	case SAMPLE_ALLOC_STREAMS:
		stream_op(s, "allocate streams", USBIF_OP_ALLOC_STREAMS, 16);
		break;
	case SAMPLE_FREE_STREAMS:
		stream_op(s, "free streams", USBIF_OP_FREE_STREAMS, 0);
		break;
	case SAMPLE_SUSPEND:
		plain_op(s, "suspend", USBIF_OP_SUSPEND, true, 1);
		break;
	case SAMPLE_RESUME:
		plain_op(s, "resume", USBIF_OP_RESUME, false, 0);
		break;
	case SAMPLE_GET_FRAME:
		plain_op(s, "get frame", USBIF_OP_GET_FRAME, false, 0);
		break;
	}
}
