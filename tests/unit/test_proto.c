// SPDX-License-Identifier: GPL-2.0
/* Requests and their tables. For each check there is one that is good but for one field. */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "samples.h"
#include "tap.h"

#define N	1024

static struct usbif_layout lay;
static bool seen[USBIF_WHY_MAX];
static struct usbif_range ranges[USBIF_MAX_EXTENTS];
static struct usbif_packet packets[USBIF_MAX_ISO_PACKETS];

/* Stores a little-endian value of @size octets. */
static void spoil(void *where, size_t size, u64 value)
{
	u8 *octet = where;

	while (size--) {
		*octet++ = value;
		value >>= 8;
	}
}

static void test_samples(void)
{
	struct usbif_request req;
	struct usbif_req wire;
	enum usbif_why why;
	struct sample s;
	int ret, i;

	for (i = 0; i < NR_SAMPLES; i++) {
		sample_get(&s, i);
		why = USBIF_WHY_MAX;
		ret = usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION,
				       &why);
		expect(!ret && !why, "%d %s", ret, usbif_why_name(why));
		memset(&wire, 0xff, sizeof(wire));
		usbif_req_encode(&wire, &req);
		expect(!memcmp(&wire, &s.req, sizeof(wire)), "round trip");
		if (req.op == USBIF_OP_TRANSFER) {
			ret = usbif_table_decode(&req, s.table, &lay, ranges,
						 packets, &why);
			expect(!ret && !why, "table: %d %s", ret,
			       usbif_why_name(why));
		}
		tap_case("accepted: %s", s.name);
	}
}

/* What an operation does not use must be zero, to the last octet. */
static void test_unused(void)
{
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	size_t octet;
	int ret, i;

	for (i = 0; i < NR_SAMPLES; i++) {
		sample_get(&s, i);
		for (octet = 0; octet < sizeof(s.req); octet++) {
			u8 *field = (u8 *)&s.req + octet;

			if (s.used[octet])
				continue;
			*field = 1;
			ret = usbif_req_decode(&req, &s.req, &lay,
					       SAMPLE_SESSION, &why);
			expect(ret == -EINVAL, "1 in octet %#zx taken", octet);
			*field = 0x80;
			ret = usbif_req_decode(&req, &s.req, &lay,
					       SAMPLE_SESSION, &why);
			expect(ret == -EINVAL, "80 in octet %#zx taken", octet);
			*field = 0;
		}
		tap_case("unused octets refused: %s", s.name);
	}
}

#define REQ(sample, field, value, why) \
	{ SAMPLE_ ## sample, #sample ": " #field " = " #value, \
	  offsetof(struct usbif_req, field), \
	  sizeof(((struct usbif_req *)0)->field), value, USBIF_WHY_ ## why }
/* Standard requests in the SETUP packet; wLength stays as it is. */
#define SETUP(sample, type, request, value, why) \
	{ SAMPLE_ ## sample, #sample ": setup " #type " " #request " " #value, \
	  offsetof(struct usbif_req, setup), 4, \
	  (type) | (request) << 8 | (value) << 16, USBIF_WHY_ ## why }

static const struct {
	unsigned int sample;
	const char *name;
	size_t offset;
	size_t size;
	u64 value;
	enum usbif_why why;
} req_cases[] = {
	REQ(BULK_IN, session, SAMPLE_SESSION + 1, SESSION),
	REQ(BULK_IN, session, 0, SESSION),
	REQ(CANCEL, session, SAMPLE_SESSION - 1, SESSION),
	REQ(BULK_IN, id, N, ID),
	REQ(RESET, id, 2 * N - 1, ID),
	REQ(CANCEL, id, 77, ID),
	REQ(CANCEL, id, N + 78, ARG),
	REQ(CANCEL, arg0, N + 77, ARG),
	REQ(CANCEL, arg0, 76, ARG),
	REQ(CANCEL, arg0, 78, ARG),
	REQ(CANCEL, port_epoch, 1, EPOCH),
	REQ(CANCEL, vusb, 1, VUSB),
	REQ(CANCEL, port, 1, PORT),
	REQ(BULK_IN, op, 0, OP),
	REQ(BULK_IN, op, USBIF_OP_MAX + 1, OP),
	REQ(BULK_IN, op, 255, OP),
	REQ(BULK_IN, vusb, 3, VUSB),
	REQ(GET_FRAME, vusb, 255, VUSB),
	REQ(BULK_IN, port, 0, PORT),
	REQ(BULK_IN, port, 9, PORT),
	REQ(RESET, port, 255, PORT),
	REQ(BULK_IN, reserved0, 1, RESERVED),
	REQ(BULK_IN, reserved1, 1, RESERVED),
	REQ(BULK_IN, reserved2[0], 1, RESERVED),
	REQ(CANCEL, reserved2[7], 0x80, RESERVED),
	REQ(BULK_LARGE, extents[0].block, 1, RESERVED),
	REQ(BULK_OUT, extents[3].length, 1, RESERVED),
	REQ(BULK_EMPTY, extents[0].block, 1, RESERVED),
	REQ(RESET, extents[7].length, 1, RESERVED),

	REQ(BULK_IN, endpoint, 0x80, ENDPOINT),
	REQ(BULK_IN, endpoint, 0x00, ENDPOINT),
	REQ(BULK_IN, endpoint, 0x91, ENDPOINT),
	REQ(INTERRUPT, endpoint, 0x41, ENDPOINT),
	REQ(ISO_ASAP, endpoint, 0x21, ENDPOINT),
	REQ(CONTROL_IN, endpoint, 0x01, ENDPOINT),
	REQ(CONTROL_IN, endpoint, 0x81, ENDPOINT),
	REQ(CONTROL_IN, endpoint, 0x80, SETUP_DIRECTION),
	REQ(CONTROL_OUT, endpoint, 0x80, SETUP_DIRECTION),
	REQ(RESTART, endpoint, 0x80, ENDPOINT),
	REQ(CLEAR_HALT, endpoint, 0x10, ENDPOINT),
	REQ(RESET, endpoint, 0x81, ENDPOINT),
	REQ(BULK_IN, type, 4, TYPE),
	REQ(BULK_IN, type, 255, TYPE),
	REQ(RESET, type, USBIF_TYPE_BULK, TYPE),

	REQ(BULK_IN, flags, 0x8000, FLAGS),
	REQ(BULK_IN, flags, 0x0008, FLAGS),
	REQ(BULK_IN, flags, USBIF_REQ_ZERO_PACKET, FLAGS),
	REQ(BULK_IN, flags, USBIF_REQ_ISO_ASAP, FLAGS),
	REQ(BULK_OUT, flags, USBIF_REQ_SHORT_NOT_OK, FLAGS),
	REQ(INTERRUPT, flags, USBIF_REQ_ZERO_PACKET, FLAGS),
	REQ(CONTROL_IN, flags, USBIF_REQ_ZERO_PACKET, FLAGS),
	REQ(CONTROL_OUT, flags, USBIF_REQ_ZERO_PACKET, FLAGS),
	REQ(CONTROL_OUT, flags, USBIF_REQ_SHORT_NOT_OK, FLAGS),
	REQ(CONTROL_OUT, flags, USBIF_REQ_ISO_ASAP, FLAGS),
	REQ(CONTROL_IN, flags, USBIF_REQ_ISO_ASAP, FLAGS),
	REQ(CONTROL_IN, flags, USBIF_REQ_SHORT_NOT_OK, OK),
	REQ(CONTROL_NONE, flags, USBIF_REQ_SHORT_NOT_OK, FLAGS),
	REQ(ISO_ASAP, flags, USBIF_REQ_ISO_ASAP | USBIF_REQ_SHORT_NOT_OK,
	    FLAGS),
	REQ(SUSPEND, flags, 1, FLAGS),

	REQ(BULK_IN, length, USBIF_MAX_TRANSFER + 1, LENGTH),
	REQ(BULK_IN, length, 0x80000000, LENGTH),
	REQ(BULK_LARGE, length, USBIF_MAX_TRANSFER, OK),
	REQ(BULK_LARGE, length, 0xffffffff, LENGTH),
	REQ(RESET, length, 1, LENGTH),
	REQ(BULK_IN, length, 4096, EXTENT_SUM),
	REQ(BULK_IN, length, 0, EXTENT_COUNT),
	REQ(BULK_EMPTY, length, 1, EXTENT_COUNT),
	REQ(BULK_EMPTY, nr_extents, 1, EXTENT_COUNT),
	REQ(BULK_LARGE, nr_extents, USBIF_MAX_EXTENTS + 1, EXTENT_COUNT),
	REQ(BULK_LARGE, nr_extents, 0xffff, EXTENT_COUNT),
	REQ(RESUME, nr_extents, 1, EXTENT_COUNT),
	REQ(BULK_LARGE, nr_extents, 255, TABLE),
	REQ(BULK_IN, extents[2].length, 0, EXTENT_RANGE),
	REQ(BULK_IN, extents[0].block, 0xffffffff, EXTENT_RANGE),
	REQ(BULK_IN, extents[0].block, 0x00100000, EXTENT_RANGE),
	REQ(BULK_IN, extents[7].block, 4096 - 0x54, EXTENT_RANGE),
	REQ(BULK_IN, extents[7].block, 4096 - 0x54 - 1, OK),
	REQ(BULK_IN, extents[0].length, 0xfffff000, EXTENT_RANGE),
	REQ(BULK_IN, extents[7].length, 0xffffffff, EXTENT_RANGE),
	REQ(BULK_IN, extents[0].length, 4095, EXTENT_ALIGN),
	REQ(BULK_IN, extents[6].length, 7 * 4096 + 1, EXTENT_ALIGN),
	REQ(BULK_IN, extents[0].length, 8192, EXTENT_SUM),
	REQ(BULK_IN, extents[7].length, 3999, EXTENT_SUM),
	REQ(BULK_IN, extents[7].length, 4001, EXTENT_SUM),

	REQ(BULK_IN, interval, 1, INTERVAL),
	REQ(CONTROL_IN, interval, 1, INTERVAL),
	REQ(INTERRUPT, interval, 0, INTERVAL),
	REQ(INTERRUPT, interval, 0x8001, INTERVAL),
	REQ(INTERRUPT, interval, 0xffffffff, INTERVAL),
	REQ(ISO_ASAP, interval, 0, INTERVAL),
	REQ(RESTART, interval, 1, INTERVAL),
	REQ(BULK_STREAM, stream, USBIF_MAX_STREAMS + 1, STREAM),
	REQ(BULK_STREAM, stream, 0xffff, STREAM),
	REQ(INTERRUPT, stream, 1, STREAM),
	REQ(CONTROL_IN, stream, 1, STREAM),
	REQ(ISO_ASAP, stream, 1, STREAM),
	REQ(RESTART, stream, 1, STREAM),

	REQ(CONTROL_IN, setup[6], 0x9f, SETUP_LENGTH),
	REQ(CONTROL_IN, setup[7], 0xff, SETUP_LENGTH),
	REQ(CONTROL_NONE, setup[6], 1, SETUP_LENGTH),
	SETUP(CONTROL_NONE, 0x00, 5, 7, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x01, 5, 7, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x80, 5, 7, SETUP_POLICY),
	SETUP(CONTROL_OUT, 0x00, 5, 7, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x00, 9, 1, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x01, 11, 1, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x02, 1, 0, SETUP_POLICY),
	SETUP(CONTROL_IN, 0x82, 1, 0, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x00, 3, 2, SETUP_POLICY),
	SETUP(CONTROL_NONE, 0x1f, 3, 2, SETUP_POLICY),
	/* The like of them that may pass. */
	SETUP(CONTROL_NONE, 0x20, 5, 7, OK),
	SETUP(CONTROL_NONE, 0x40, 9, 1, OK),
	SETUP(CONTROL_OUT, 0x21, 11, 1, OK),
	SETUP(CONTROL_NONE, 0x00, 1, 1, OK),
	SETUP(CONTROL_NONE, 0x00, 3, 1, OK),
	SETUP(CONTROL_NONE, 0x02, 3, 0, OK),
	SETUP(CONTROL_NONE, 0x02, 1, 1, OK),
	SETUP(CONTROL_NONE, 0x03, 1, 0, OK),
	SETUP(CONTROL_NONE, 0x00, 3, 3, OK),
	SETUP(CONTROL_NONE, 0x01, 1, 0, OK),
	SETUP(CONTROL_NONE, 0x00, 6, 1, OK),

	REQ(BULK_IN, arg0, 1, ARG),
	REQ(ISO_ASAP, arg1, 1, ARG),
	REQ(RESET, arg0, 1, ARG),
	REQ(FREE_STREAMS, arg0, 1, ARG),
	REQ(FREE_STREAMS, arg1, 0, ARG),
	REQ(FREE_STREAMS, arg1, 0x00010002, ARG),
	REQ(SET_CONFIGURATION, arg0, 256, ARG),
	REQ(SET_CONFIGURATION, arg0, 0xffffffff, ARG),
	REQ(SET_CONFIGURATION, arg1, 1, ARG),
	REQ(SET_INTERFACE, arg0, 256, ARG),
	REQ(SET_INTERFACE, arg1, 256, ARG),
	REQ(SUSPEND, arg0, 2, ARG),
	REQ(ALLOC_STREAMS, arg0, 0, ARG),
	REQ(ALLOC_STREAMS, arg0, USBIF_MAX_STREAMS + 1, ARG),
	REQ(ALLOC_STREAMS, arg1, 0, ARG),
	REQ(ALLOC_STREAMS, arg1, 1, ARG),
	REQ(ALLOC_STREAMS, arg1, 0xffff0001, ARG),

	REQ(ISO_ASAP, nr_packets, 0, PACKET_COUNT),
	REQ(ISO_ASAP, nr_packets, 1025, PACKET_COUNT),
	REQ(ISO_ASAP, nr_packets, 0xffff, PACKET_COUNT),
	REQ(BULK_IN, nr_packets, 1, PACKET_COUNT),
	REQ(RESET, nr_packets, 1, PACKET_COUNT),
	REQ(ISO_ASAP, nr_packets, 5, TABLE),
	REQ(ISO_ASAP, start_frame, 1, FRAME),
	REQ(BULK_IN, start_frame, 1, FRAME),
	REQ(GET_FRAME, start_frame, 1, FRAME),
	REQ(ISO_ASAP, table_length, 0, TABLE),
	REQ(ISO_ASAP, table_length, 63, TABLE),
	REQ(ISO_ASAP, table_length, 65, TABLE),
	REQ(ISO_ASAP, table_block, 0xffffffff, TABLE),
	REQ(ISO_ASAP, table_block, 4096 - 0x54, TABLE),
	REQ(BULK_LARGE, table_block, 4096 - 0x54, TABLE),
	REQ(BULK_LARGE, table_length, 0, TABLE),
	REQ(BULK_IN, table_block, 1, TABLE),
	REQ(BULK_IN, table_length, 8, TABLE),
	REQ(RESET, table_block, 1, TABLE),
	REQ(RESET, table_length, 8, TABLE),
};

static void test_req_checks(void)
{
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(req_cases); i++) {
		sample_get(&s, req_cases[i].sample);
		spoil((u8 *)&s.req + req_cases[i].offset, req_cases[i].size,
		      req_cases[i].value);
		ret = usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION,
				       &why);
		expect(ret == (req_cases[i].why ? -EINVAL : 0) &&
		       why == req_cases[i].why, "%d %s", ret,
		       usbif_why_name(why));
		expect(req.id == le32_to_cpu(s.req.id) && req.op == s.req.op,
		       "id and op are missing");
		seen[why] = true;
		tap_case("%s: %s", usbif_why_name(req_cases[i].why),
			 req_cases[i].name);
	}

	sample_get(&s, SAMPLE_BULK_IN);
	for (i = 0; i < 32; i++) {
		u32 id = 2 * N | 1u << i;

		if (id < 2 * N)
			continue;
		s.req.id = cpu_to_le32(id);
		ret = usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION,
				       &why);
		expect(ret == -EPROTO && why == USBIF_WHY_ID, "id %u: %d", id,
		       ret);
	}
	tap_case("ids out of range break the session");
}

/* Lengths whose sum is right but for 2^32. */
static void test_sum_wraps(void)
{
	struct usbif_layout large;
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	int ret, i;

	usbif_layout_compute(&large, USBIF_REGION_MAX, 0, 3, 8);
	sample_get(&s, SAMPLE_BULK_IN);
	for (i = 0; i < 8; i++) {
		s.req.extents[i].block = 0;
		s.req.extents[i].length = cpu_to_le32((512u << 20) +
						      4096 * (i == 7));
	}
	s.req.length = cpu_to_le32(4096);
	ret = usbif_req_decode(&req, &s.req, &large, SAMPLE_SESSION, &why);
	expect(ret == -EINVAL && why == USBIF_WHY_EXTENT_SUM, "%d %s", ret,
	       usbif_why_name(why));
	tap_case("EXTENT_SUM: wraps");
}

static void test_features(void)
{
	static const struct {
		unsigned int sample;
		u64 feature;
	} cases[] = {
		{ SAMPLE_ISO_ASAP, USBIF_F_ISO },
		{ SAMPLE_BULK_STREAM, USBIF_F_STREAMS },
		{ SAMPLE_ALLOC_STREAMS, USBIF_F_STREAMS },
		{ SAMPLE_FREE_STREAMS, USBIF_F_STREAMS },
		{ SAMPLE_SUSPEND, USBIF_F_SUSPEND },
		{ SAMPLE_RESUME, USBIF_F_SUSPEND },
		{ SAMPLE_GET_FRAME, USBIF_F_FRAME },
	};
	struct usbif_layout less;
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		sample_get(&s, cases[i].sample);
		less = lay;
		less.features &= ~cases[i].feature;
		ret = usbif_req_decode(&req, &s.req, &less, SAMPLE_SESSION,
				       &why);
		expect(ret == -EINVAL && why == USBIF_WHY_FEATURE, "%d %s",
		       ret, usbif_why_name(why));
		seen[why] = true;
		less.features = cases[i].feature;
		ret = usbif_req_decode(&req, &s.req, &less, SAMPLE_SESSION,
				       &why);
		expect(!ret, "%d %s", ret, usbif_why_name(why));
		tap_case("FEATURE: %s", s.name);
	}

	less = lay;
	less.features = 0;
	for (i = 0; i < NR_SAMPLES; i++) {
		size_t j = 0;

		while (j < ARRAY_SIZE(cases) && cases[j].sample != i)
			j++;
		if (j < ARRAY_SIZE(cases) || i == SAMPLE_ISO_FRAME ||
		    i == SAMPLE_ISO_LARGE)
			continue;
		sample_get(&s, i);
		ret = usbif_req_decode(&req, &s.req, &less, SAMPLE_SESSION,
				       &why);
		expect(!ret, "%s: %s", s.name, usbif_why_name(why));
	}
	tap_case("what no feature is needed for");

	sample_get(&s, SAMPLE_ISO_ASAP);
	less = lay;
	less.max_iso_packets = 3;
	ret = usbif_req_decode(&req, &s.req, &less, SAMPLE_SESSION, &why);
	expect(ret == -EINVAL && why == USBIF_WHY_PACKET_COUNT, "%d %s", ret,
	       usbif_why_name(why));
	tap_case("PACKET_COUNT: more than the layout says");
}

#define EXTENT(i, field) ((i) * 8 + offsetof(struct usbif_extent, field))
#define PACKET(i, field) ((i) * 8 + offsetof(struct usbif_iso_packet, field))

static const struct {
	unsigned int sample;
	const char *name;
	size_t offset;
	u32 value;
	enum usbif_why why;
} table_cases[] = {
	{ SAMPLE_BULK_LARGE, "out of the pool", EXTENT(9, block), 0xffffffff,
	  USBIF_WHY_EXTENT_RANGE },
	{ SAMPLE_BULK_LARGE, "at the end of the pool", EXTENT(255, block),
	  4096 - 0x54, USBIF_WHY_EXTENT_RANGE },
	{ SAMPLE_BULK_LARGE, "without length", EXTENT(0, length), 0,
	  USBIF_WHY_EXTENT_RANGE },
	{ SAMPLE_BULK_LARGE, "too long", EXTENT(0, length), 0xfffff000,
	  USBIF_WHY_EXTENT_RANGE },
	{ SAMPLE_BULK_LARGE, "not whole", EXTENT(254, length), 4095,
	  USBIF_WHY_EXTENT_ALIGN },
	{ SAMPLE_BULK_LARGE, "sum too large", EXTENT(255, length), 2,
	  USBIF_WHY_EXTENT_SUM },
	{ SAMPLE_BULK_LARGE, "sum too large by a block", EXTENT(3, length),
	  8192, USBIF_WHY_EXTENT_SUM },
	{ SAMPLE_BULK_LARGE, "same as the one before", EXTENT(8, block),
	  100 + 2 * 7, USBIF_WHY_EXTENT_OVERLAP },
	{ SAMPLE_BULK_LARGE, "same as the last", EXTENT(0, block),
	  100 + 2 * 255, USBIF_WHY_EXTENT_OVERLAP },
	{ SAMPLE_BULK_LARGE, "same as the table", EXTENT(77, block), 2000,
	  USBIF_WHY_EXTENT_OVERLAP },
	{ SAMPLE_BULK_LARGE, "out of order", EXTENT(77, block), 3000,
	  USBIF_WHY_OK },
	{ SAMPLE_BULK_LARGE, "just before the table", EXTENT(77, block), 1999,
	  USBIF_WHY_OK },
	{ SAMPLE_BULK_LARGE, "just after the table", EXTENT(77, block), 2001,
	  USBIF_WHY_OK },
	{ SAMPLE_ISO_LARGE, "in the last block of the table",
	  EXTENT(0, block), 2004, USBIF_WHY_EXTENT_OVERLAP },
	{ SAMPLE_ISO_LARGE, "after the last block of the table",
	  EXTENT(0, block), 2005, USBIF_WHY_OK },
	{ SAMPLE_ISO_LARGE, "overlap", PACKET(200 + 5, offset), 5 * 700 - 1,
	  USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "out of the data", PACKET(3, length), 1001,
	  USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "far out of the data", PACKET(3, offset),
	  0xffffffff, USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "end wraps", PACKET(3, length), 0xfffff448,
	  USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "end wraps, then another", PACKET(1, length),
	  0xfffffc18, USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "overlap", PACKET(1, length), 1001,
	  USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "descending", PACKET(0, offset), 2000,
	  USBIF_WHY_PACKET_RANGE },
	{ SAMPLE_ISO_ASAP, "gap", PACKET(1, length), 0, USBIF_WHY_OK },
};

static void test_table_checks(void)
{
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(table_cases); i++) {
		sample_get(&s, table_cases[i].sample);
		spoil(s.table + table_cases[i].offset, 4, table_cases[i].value);
		ret = usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION,
				       &why);
		expect(!ret, "request refused: %s", usbif_why_name(why));
		ret = usbif_table_decode(&req, s.table, &lay, ranges, packets,
					 &why);
		expect(ret == (table_cases[i].why ? -EINVAL : 0) &&
		       why == table_cases[i].why, "%d %s", ret,
		       usbif_why_name(why));
		seen[why] = true;
		tap_case("%s: table of %s: %s",
			 usbif_why_name(table_cases[i].why), s.name,
			 table_cases[i].name);
	}
}

/* From what is said in the request to what fills its table. */
static void test_extent_counts(void)
{
	struct {
		struct usbif_req req;
		u64 after;
	} wire;
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	int ret;
	u32 n;

	for (n = 1; n <= USBIF_MAX_EXTENTS; n++) {
		u32 table = usbif_table_size(n, 0);
		u32 i;

		expect(table == (n > 8 ? n * 8 : 0), "table of %u octets",
		       table);
		sample_get(&s, SAMPLE_BULK_LARGE);
		s.req.length = cpu_to_le32(n * 4096);
		s.req.nr_extents = cpu_to_le16(n);
		s.req.table_length = cpu_to_le32(table);
		if (!table)
			s.req.table_block = 0;
		for (i = 0; i < n; i++)
			spoil(s.table + EXTENT(i, length), 4, 4096);
		if (!table)
			memcpy(s.req.extents, s.table, n * 8);
		ret = usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION,
				       &why);
		expect(!ret, "%u: %s", n, usbif_why_name(why));
		ret = usbif_table_decode(&req, s.table, &lay, ranges, packets,
					 &why);
		expect(!ret, "table of %u: %s", n, usbif_why_name(why));
		expect(ranges[n - 1].block == 100 + 2 * (n - 1) &&
		       ranges[n - 1].length == 4096, "last of %u", n);
		memset(&wire, 0xff, sizeof(wire));
		usbif_req_encode(&wire.req, &req);
		expect(!memcmp(&wire.req, &s.req, sizeof(s.req)) &&
		       wire.after == ~0ull, "round trip of %u", n);
	}
	tap_case("any number of extents");
}

/* Any two of the inline extents, in any order. */
static void test_inline_overlap(void)
{
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	u32 i, j;
	int ret;

	for (i = 0; i < 8; i++)
		for (j = 0; j < 8; j++) {
			u32 last = 64 * (j + 1) + (j < 7 ? j : 0);

			if (i == j)
				continue;
			sample_get(&s, SAMPLE_BULK_IN);
			s.req.extents[i].block = cpu_to_le32(last);
			ret = usbif_req_decode(&req, &s.req, &lay,
					       SAMPLE_SESSION, &why);
			expect(!ret, "request refused: %s",
			       usbif_why_name(why));
			ret = usbif_table_decode(&req, NULL, &lay, ranges,
						 packets, &why);
			expect(ret == -EINVAL &&
			       why == USBIF_WHY_EXTENT_OVERLAP,
			       "%u in %u taken", i, j);
			req.ranges[i].block = last + 1;
			ret = usbif_table_decode(&req, NULL, &lay, ranges,
						 packets, &why);
			expect(!ret, "%u after %u refused", i, j);
			expect(!memcmp(ranges, req.ranges, sizeof(req.ranges)),
			       "other ranges");
		}
	tap_case("EXTENT_OVERLAP: inline extents");

	sample_get(&s, SAMPLE_ISO_ASAP);
	s.req.table_block = s.req.extents[0].block;
	usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION, &why);
	ret = usbif_table_decode(&req, s.table, &lay, ranges, packets, &why);
	expect(ret == -EINVAL && why == USBIF_WHY_EXTENT_OVERLAP, "%d", ret);
	tap_case("EXTENT_OVERLAP: inline extent and table");
}

/* Against a bitmap, with extents in random places of a small part of the pool. */
static void test_random_overlap(void)
{
	static bool used[USBIF_MAX_EXTENTS * 8];
	static struct usbif_extent extents[USBIF_MAX_EXTENTS];
	unsigned long long seed = 99;
	struct usbif_request req = {
		.op = USBIF_OP_TRANSFER, .type = USBIF_TYPE_BULK,
	};
	int bad[2] = {};
	int round;

	for (round = 0; round < 20000; round++) {
		u32 count = 9 + tap_random(&seed) % 40;
		u32 span = count * (count + tap_random(&seed) % 200) / 8;
		bool overlap = false;
		enum usbif_why why;
		u32 i, b;
		int ret;

		if (span > ARRAY_SIZE(used) - 4)
			span = ARRAY_SIZE(used) - 4;
		memset(used, 0, sizeof(used));
		req.length = 0;
		for (i = 0; i < count; i++) {
			u32 blocks = 1 + tap_random(&seed) % 3;
			u32 block = tap_random(&seed) % span;

			for (b = block; b < block + blocks; b++) {
				overlap |= used[b];
				used[b] = true;
			}
			extents[i].block = cpu_to_le32(block);
			extents[i].length = cpu_to_le32(blocks * 4096);
			req.length += blocks * 4096;
		}
		req.nr_extents = count;
		req.table_block = 3000;
		req.table_length = usbif_table_size(count, 0);
		ret = usbif_table_decode(&req, extents, &lay, ranges, packets,
					 &why);
		expect((ret == -EINVAL) == overlap, "round %d: %s", round,
		       usbif_why_name(why));
		bad[overlap]++;
	}
	expect(bad[0] > 500 && bad[1] > 500, "%d without, %d with overlap",
	       bad[0], bad[1]);
	tap_case("EXTENT_OVERLAP: %d random tables", round);
}

/* Fewer where it runs in an emulator. */
#ifndef ROUNDS
#define ROUNDS	500000
#endif

/*
 * Random octets, and samples with some octets changed: what is accepted says, encoded
 * again, the same.
 */
static void test_random_requests(void)
{
	unsigned long long seed = 4711;
	int round, accepted = 0;

	for (round = 0; round < ROUNDS; round++) {
		struct usbif_request req;
		struct usbif_req wire;
		enum usbif_why why;
		struct sample s;
		u32 changes;

		sample_get(&s, tap_random(&seed) % NR_SAMPLES);
		changes = tap_random(&seed) % 3;
		while (changes--)
			((u8 *)&s.req)[tap_random(&seed) % sizeof(s.req)] =
				tap_random(&seed) >> 8;
		if (usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION, &why)) {
			expect(why && why < USBIF_WHY_MAX, "no reason");
			continue;
		}
		accepted++;
		usbif_req_encode(&wire, &req);
		expect(!memcmp(&wire, &s.req, sizeof(wire)), "round %d", round);
	}
	expect(accepted > round / 10, "only %d accepted", accepted);
	tap_case("random requests: what is accepted keeps all its octets");
}

static void test_direction(void)
{
	static const struct {
		unsigned int sample;
		bool in;
	} cases[] = {
		{ SAMPLE_CONTROL_IN, true }, { SAMPLE_CONTROL_OUT, false },
		{ SAMPLE_CONTROL_NONE, false }, { SAMPLE_BULK_IN, true },
		{ SAMPLE_BULK_OUT, false }, { SAMPLE_INTERRUPT, true },
		{ SAMPLE_ISO_ASAP, true }, { SAMPLE_ISO_FRAME, false },
	};
	struct usbif_request req;
	enum usbif_why why;
	struct sample s;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		sample_get(&s, cases[i].sample);
		usbif_req_decode(&req, &s.req, &lay, SAMPLE_SESSION, &why);
		expect(usbif_req_is_in(&req) == cases[i].in, "%s", s.name);
	}
	tap_case("direction of the data");
}

static void test_seen(void)
{
	/* Those of other structs: test_layout.c, test_status.c. */
	static const enum usbif_why others[] = {
		USBIF_WHY_MAGIC, USBIF_WHY_VERSION, USBIF_WHY_REGION_SIZE,
		USBIF_WHY_RING_SIZE, USBIF_WHY_OFFSET, USBIF_WHY_POOL,
		USBIF_WHY_MAX_TRANSFER, USBIF_WHY_VUSB_COUNT,
		USBIF_WHY_PORT_COUNT, USBIF_WHY_ISO_LIMIT, USBIF_WHY_ROLE,
		USBIF_WHY_STATUS, USBIF_WHY_ACTUAL, USBIF_WHY_PORT_STATE,
		USBIF_WHY_SPEED,
	};
	size_t i;
	int why;

	for (i = 0; i < ARRAY_SIZE(others); i++)
		seen[others[i]] = true;
	for (why = 0; why < USBIF_WHY_MAX; why++)
		expect(seen[why], "nothing is refused for %s",
		       usbif_why_name(why));
	tap_case("each check refused something");
}

int main(void)
{
	sample_layout(&lay);
	expect(lay.nr_requests == N, "N is %u", lay.nr_requests);
	test_samples();
	test_unused();
	test_req_checks();
	test_sum_wraps();
	test_features();
	test_table_checks();
	test_extent_counts();
	test_inline_overlap();
	test_random_overlap();
	test_random_requests();
	test_direction();
	test_seen();
	return tap_end();
}
