// SPDX-License-Identifier: GPL-2.0
/*
 * Cases of front_hostile: the fields of requests, control transfers; 21 to 56. A case
 * begins with a request that is good but for one thing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "front_hostile.h"

#define INTERRUPT_IN	0x81	/* of the keyboard */

static struct usbif_request bulk_in(void)
{
	return front_bulk(&sink, 7, sink.bulk_in, 512, DATA_BLOCK);
}

static struct usbif_request bulk_out(void)
{
	return front_bulk(&sink, 7, sink.bulk_out, 512, DATA_BLOCK);
}

static void wants_bulk(const char *what, bool in, u32 length, unsigned int status)
{
	struct usbif_request req = in ? bulk_in() : bulk_out();

	req.length = length;
	req.nr_extents = length > 0;
	req.ranges[0].length = length;
	if (!length)
		req.ranges[0].block = 0;
	wants(what, &req, status);
}

/* ---- names and places ---- */

static void operations(void)
{
	unsigned int op;

	CHANGED(w.op = 0, INVALID);
	for (op = USBIF_OP_MAX + 1; op < 256; op++)
		CHANGED(w.op = op, INVALID);
}

static void reserved_octets(void)
{
	unsigned int i;

	CHANGED(w.reserved0 = 1, INVALID);
	CHANGED(w.reserved1 = 0x8000, INVALID);
	for (i = 0; i < 8; i++)
		CHANGED(w.reserved2[i] = 0x80, INVALID);
	for (i = 1; i < USBIF_INLINE_EXTENTS; i++) {
		CHANGED(w.extents[i].block = 1, INVALID);
		CHANGED(w.extents[i].length = 1, INVALID);
	}
}

static void bad_ports(void)
{
	unsigned int port;

	CHANGED(w.port = 0, INVALID);
	for (port = USBIF_MAX_PORTS + 1; port < 256; port++)
		CHANGED(w.port = port, INVALID);
	for (port = USBIF_MAX_VUSB; port < 256; port++)
		CHANGED(w.vusb = port, INVALID);
}

static void empty_ports(void)
{
	struct usbif_request req = front_req(&disk, 8, USBIF_OP_RESET);

	CHANGED(w.port = 4, NODEV);
	CHANGED(w.vusb = 3, NODEV);
	req.port = 4;
	wants("reset of an empty port", &req, USBIF_ST_NODEV);
}

static void other_ports(void)
{
	unsigned int vusb, port;

	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (port = 1; port <= USBIF_MAX_PORTS; port++)
			if (vusb || port > 3)
				CHANGED((w.vusb = vusb, w.port = port), NODEV);
}

static void stale_epoch(void)
{
	CHANGED(w.port_epoch--, NODEV);
	CHANGED(w.port_epoch++, NODEV);
}

static void live_id(void)
{
	struct usbif_request first = waiting(10), req = good();

	front_submit(&f, &first);
	req.id = 10;
	front_submit(&f, &req);
	wants_broken("an id twice", USBIF_ERR_DUP_ID);
	ready();
	first = waiting(10);
	front_submit(&f, &first);
	first.op = 0;
	front_submit(&f, &first);
	wants_broken("refused with a live id", USBIF_ERR_DUP_ID);
}

static void far_id(void)
{
	const u32 ids[] = { f.lay.ring_entries, 0x80000000, 0xffffffff };
	struct usbif_req wire;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		ready();
		wire = good_wire();
		wire.id = ids[i];
		front_submit_wire(&f, &wire);
		wants_broken("id", USBIF_ERR_BAD_ID);
	}
	ready();
	CHANGED(w.id = f.lay.nr_requests, INVALID);
}

static void id_again(void)
{
	struct usbif_request req;
	unsigned int i;

	for (i = 0; i < 50; i++) {
		still_good();
		cancel(5, USBIF_ST_NOENT);
		req = waiting(5);
		front_submit(&f, &req);
		cancel(5, USBIF_ST_OK);
		wants_end(5, USBIF_ST_CANCELLED);
		restart(&disk, disk.bulk_in);
	}
}

/* ---- endpoints ---- */

static void absent_endpoints(void)
{
	struct usbif_request req = front_bulk(&disk, 7, 0, 512, DATA_BLOCK);
	unsigned int address;

	for (address = 0; address < 256; address++) {
		if (address == disk.bulk_in || address == disk.bulk_out)
			continue;
		req.endpoint = address;
		wants("endpoint", &req, address & 0x70 || !(address & 0x0f) ?
		      USBIF_ST_INVALID : USBIF_ST_NOENT);
	}
	CHANGED(w.endpoint = disk.bulk_in, INVALID);
}

static void other_direction(void)
{
	struct usbif_request req = front_bulk(&disk, 7, disk.bulk_in & 0x0f, 512,
					      DATA_BLOCK);

	wants("OUT on an IN endpoint", &req, USBIF_ST_NOENT);
	req.endpoint = disk.bulk_out | 0x80;
	wants("IN on an OUT endpoint", &req, USBIF_ST_NOENT);
}

static void other_type(void)
{
	struct usbif_request req = bulk_in();

	req.type = USBIF_TYPE_INTERRUPT;
	req.interval = 1;
	wants("interrupt on a bulk endpoint", &req, USBIF_ST_INVALID);
	req = iso_request();
	req.port = sink.port;
	req.port_epoch = sink.epoch;
	req.endpoint = sink.bulk_in;
	wants("isochronous on a bulk endpoint", &req, USBIF_ST_INVALID);
	req = bulk_in();
	req.type = USBIF_TYPE_CONTROL;
	wants("control on a bulk endpoint", &req, USBIF_ST_INVALID);
	req.type = 4;
	wants("type 4", &req, USBIF_ST_INVALID);
	req = front_bulk(&keys, 7, INTERRUPT_IN, 8, DATA_BLOCK);
	wants("bulk on an interrupt endpoint", &req, USBIF_ST_INVALID);
}

/* ---- lengths and places ---- */

static void length_zero(void)
{
	struct usbif_request req = bulk_out();

	wants_bulk("nothing, without extent", false, 0, USBIF_ST_OK);
	req.length = 0;
	wants("nothing, with an extent", &req, USBIF_ST_INVALID);
	req = bulk_out();
	req.nr_extents = 0;
	wants("something, without extent", &req, USBIF_ST_INVALID);
	req = bulk_out();
	req.ranges[0].length = 0;
	wants("an extent of nothing", &req, USBIF_ST_INVALID);
}

static void lengths(void)
{
	wants_bulk("length 1", false, 1, USBIF_ST_OK);
	wants_bulk("the most", false, f.lay.max_transfer, USBIF_ST_OK);
	wants_bulk("the most", true, f.lay.max_transfer, USBIF_ST_OK);
	wants_bulk("one more", true, f.lay.max_transfer + 1, USBIF_ST_INVALID);
	wants_bulk("2^31", true, 0x80000000, USBIF_ST_INVALID);
	wants_bulk("2^32-1", false, 0xffffffff, USBIF_ST_INVALID);
	CHANGED(w.extents[0].length = 17, INVALID);
	CHANGED(w.extents[0].length = 0xffffffff, INVALID);
}

static void beyond_pool(void)
{
	struct usbif_request req = bulk_in();

	CHANGED(w.extents[0].block = f.lay.pool_blocks, INVALID);
	CHANGED(w.extents[0].block = 0x80000000, INVALID);
	CHANGED(w.extents[0].block = 0xfffff, INVALID);
	CHANGED(w.extents[0].block = 0xffffffff, INVALID);
	req.ranges[0].block = f.lay.pool_blocks - 1;
	wants("in the last block", &req, USBIF_ST_OK);
	req.length = USBIF_BLOCK_SIZE + 1;
	req.ranges[0].length = req.length;
	wants("from the last block on", &req, USBIF_ST_INVALID);
}

static void table_places(void)
{
	struct usbif_request req = front_bulk(&sink, 7, sink.bulk_in,
					      9 * USBIF_BLOCK_SIZE, 0);
	struct usbif_extent *table = front_block(&f, TABLE_BLOCK);
	unsigned int i;

	memset(req.ranges, 0, sizeof(req.ranges));
	req.nr_extents = 9;
	req.table_block = TABLE_BLOCK;
	req.table_length = usbif_table_size(9, 0);
	for (i = 0; i < 9; i++) {
		table[i].block = DATA_BLOCK + i;
		table[i].length = USBIF_BLOCK_SIZE;
	}
	wants("a table", &req, USBIF_ST_OK);
	table[8].block = f.lay.pool_blocks;
	wants("a table that leads out", &req, USBIF_ST_INVALID);
	table[8].block = 0xffffffff;
	wants("a table that wraps", &req, USBIF_ST_INVALID);
	table[8].block = TABLE_BLOCK;
	wants("a table in itself", &req, USBIF_ST_INVALID);
	req.table_block = f.lay.pool_blocks;
	wants("a table behind the pool", &req, USBIF_ST_INVALID);
	req.table_block = TABLE_BLOCK;
	req.table_length--;
	wants("a table too short", &req, USBIF_ST_INVALID);
	req.nr_extents = USBIF_MAX_EXTENTS + 1;
	req.table_length = usbif_table_size(req.nr_extents, 0);
	wants("too many extents", &req, USBIF_ST_INVALID);
}

static void shared_blocks(void)
{
	struct usbif_request first = waiting(10), req = bulk_in();

	req.length = 2 * USBIF_BLOCK_SIZE;
	req.nr_extents = 2;
	req.ranges[0].length = USBIF_BLOCK_SIZE;
	req.ranges[1] = req.ranges[0];
	wants("a block twice in a request", &req, USBIF_ST_INVALID);
	front_submit(&f, &first);
	first.id = 11;
	front_submit(&f, &first);
	wants_broken("a block in two requests", USBIF_ERR_BLOCK);
}

/* ---- data that is rewritten ---- */

static void flip_data(u32 random)
{
	__le32 *word = front_block(&f, DATA_BLOCK + random % 16);

	usbif_word_write(word + (random >> 8) % 1024, random);
}

static void flipped_data(bool in)
{
	struct usbif_request req = in ? bulk_in() : bulk_out();
	unsigned int i, rounds = is_long ? 5000 : 100;
	struct flipper flipper;

	req.length = 16 * USBIF_BLOCK_SIZE;
	req.ranges[0].length = req.length;
	flip_start(&flipper, flip_data, 0);
	for (i = 0; i < rounds; i++)
		wants("a transfer", &req, USBIF_ST_OK);
	flip_stop(&flipper);
}

static void flipped_out(void)
{
	flipped_data(false);
}

static void flipped_in(void)
{
	flipped_data(true);
}

/* ---- flags and times ---- */

static void flag_bits(struct usbif_request req, u16 allowed)
{
	unsigned int bit;

	for (bit = 0; bit < 16; bit++) {
		req.flags = 1u << bit;
		wants("a flag", &req, req.flags & allowed ? USBIF_ST_OK :
							    USBIF_ST_INVALID);
	}
}

static void flags(void)
{
	struct usbif_request req = front_control(&disk, 5, 0, 3, 1, 0, 0, 0);
	unsigned int bit;

	flag_bits(good(), USBIF_REQ_SHORT_NOT_OK);
	flag_bits(bulk_in(), USBIF_REQ_SHORT_NOT_OK);
	flag_bits(bulk_out(), USBIF_REQ_ZERO_PACKET);
	for (bit = 0; bit < 16; bit++) {
		req.flags = 1u << bit;
		wants("a flag without data", &req, USBIF_ST_INVALID);
	}
	for (bit = 0; bit < 16; bit++)
		CHANGED((w.op = USBIF_OP_RESET, w.flags = 1u << bit), INVALID);
}

static void intervals(void)
{
	static const u32 bad[] = { 0, 0x8001, 0x10000, 0x80000000, 0xffffffff };
	static const u32 fine[] = { 1, 3, 255, 256, 0x7fff, 0x8000 };
	struct usbif_request req;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		req = front_bulk(&keys, 7, INTERRUPT_IN, 8, DATA_BLOCK);
		req.type = USBIF_TYPE_INTERRUPT;
		req.interval = bad[i];
		wants("interval", &req, USBIF_ST_INVALID);
	}
	for (i = 0; i < 6; i++) {
		req.interval = fine[i];
		front_submit(&f, &req);
		cancel(7, USBIF_ST_OK);
		wants_end(7, USBIF_ST_CANCELLED);
		restart(&keys, INTERRUPT_IN);
	}
	CHANGED(w.interval = 1, INVALID);
	req = bulk_in();
	req.interval = 1;
	wants("interval of a bulk transfer", &req, USBIF_ST_INVALID);
}

static void start_frames(void)
{
	static const u32 frames[] = { 1, 0x7fffffff, 0x80000000, 0xffffffff };
	struct usbif_request req = iso_request();
	struct usbif_response rsp;
	unsigned int i;

	wants("an endpoint of another setting", &req, USBIF_ST_NOENT);
	set_setting(1);
	for (i = 0; i < 4; i++) {
		req = iso_request();
		req.start_frame = frames[i];
		wants("frame and as soon as possible", &req, USBIF_ST_INVALID);
		req.flags = 0;
		front_submit(&f, &req);
		check(front_wait(&f, 7, &rsp, PROMPT_MS), "frame %u", frames[i]);
	}
	CHANGED(w.start_frame = 1, INVALID);
	set_setting(0);
}

static u32 mask_of(u8 endpoint)
{
	return 1u << ((endpoint & 0x0f) + (endpoint & 0x80 ? 16 : 0));
}

static void streams(void)
{
	struct usbif_request req = bulk_in();

	req.stream = 1;
	wants("a stream that was not granted", &req, USBIF_ST_INVALID);
	req.stream = 0xffff;
	wants("a stream beyond the limit", &req, USBIF_ST_INVALID);
	CHANGED(w.stream = 1, INVALID);
	req = front_req(&sink, 8, USBIF_OP_ALLOC_STREAMS);
	req.arg1 = mask_of(sink.bulk_in);
	wants("no streams", &req, USBIF_ST_INVALID);
	req.arg0 = USBIF_MAX_STREAMS + 1;
	wants("too many streams", &req, USBIF_ST_INVALID);
	req.arg0 = 4;
	wants("streams where there are none", &req, USBIF_ST_UNSUPPORTED);
	req.arg1 = 0x00010001;
	wants("streams on endpoint 0", &req, USBIF_ST_INVALID);
	req.arg1 = mask_of(0x8f);
	wants("streams on an absent endpoint", &req, USBIF_ST_UNSUPPORTED);
}

/* ---- control ---- */

static void setup_lengths(void)
{
	CHANGED(w.setup[6] = 17, INVALID);
	CHANGED(w.setup[6] = 19, INVALID);
	CHANGED(w.setup[7] = 0xff, INVALID);
	CHANGED((w.length = 0, w.nr_extents = 0, w.extents[0].length = 0),
		INVALID);
}

static void wants_control(const char *what, const struct front_dev *dev, u8 type,
			  u8 request, u16 value, u16 index, unsigned int status)
{
	struct usbif_request req = front_control(dev, 6, type, request, value,
						 index, 0, 0);
	struct usbif_response rsp = front_call(&f, &req);

	check_is(what, rsp.status, status);
	if (rsp.flags & USBIF_RSP_HELD)
		restart(dev, 0);
}

static void directions(void)
{
	struct usbif_request req = good();
	struct usbif_response rsp;

	CHANGED(w.endpoint = 0x80, INVALID);
	/* OUT, as the SETUP packet has it: the disk knows no such descriptor. */
	req.setup[0] = 0;
	rsp = front_call(&f, &req);
	check_is("SET_DESCRIPTOR", rsp.status, USBIF_ST_STALL);
	restart(&disk, 0);
	/* IN of nothing: its status stage is IN, too, and nobody may warn. */
	req = front_control(&disk, 5, 0x80, 6, 0x0100, 0, 0, 0);
	rsp = front_call(&f, &req);
	if (rsp.flags & USBIF_RSP_HELD)
		restart(&disk, 0);
	req = good();
	req.setup[0] = 0xe0;
	rsp = front_call(&f, &req);
	if (rsp.flags & USBIF_RSP_HELD)
		restart(&disk, 0);
}

static void set_address(void)
{
	wants_control("SET_ADDRESS", &disk, 0, 5, 9, 0, USBIF_ST_INVALID);
	wants_control("SET_ADDRESS of an interface", &disk, 1, 5, 9, 0,
		      USBIF_ST_INVALID);
	wants_control("SET_ADDRESS of an endpoint", &disk, 2, 5, 9, 0,
		      USBIF_ST_INVALID);
}

static void configurations(void)
{
	struct usbif_request req = front_req(&disk, 8, USBIF_OP_SET_CONFIGURATION);

	wants_control("as a raw request", &disk, 0, 9, 1, 0, USBIF_ST_INVALID);
	req.arg0 = 77;
	wants("configuration 77", &req, USBIF_ST_NOENT);
	req.arg0 = 255;
	wants("configuration 255", &req, USBIF_ST_NOENT);
	req.arg0 = 256;
	wants("configuration 256", &req, USBIF_ST_INVALID);
	req.arg0 = 0;
	wants("configuration 0", &req, USBIF_ST_OK);
	wants_bulk("another device", true, 512, USBIF_ST_OK);
	req = waiting(10);
	wants("a transfer without configuration", &req, USBIF_ST_NOENT);
	configure(&disk);
}

static void many_configurations(void)
{
	struct usbif_request req, first = waiting(10);
	unsigned int i, rounds = is_long ? 60 : 21;
	u64 begun = now_ms();

	front_submit(&f, &first);
	for (i = 0; i < rounds; i++) {
		req = front_req(&disk, 20 + i % 16, USBIF_OP_SET_CONFIGURATION);
		req.arg0 = disk.config[5];
		front_submit(&f, &req);
		if (i % 16 != 15)
			continue;
		for (req.id = 20; req.id < 36; req.id++)
			wants_end(req.id, USBIF_ST_OK);
	}
	for (i = 0; i < rounds % 16; i++)
		wants_end(20 + i, USBIF_ST_OK);
	wants_end(10, USBIF_ST_SHUTDOWN);
	/* 16 at once, 4 a second. */
	begun = now_ms() - begun;
	check(begun >= (rounds - 17) * 250, "%u in %u ms", rounds,
	      (unsigned int)begun);
}

static void interfaces(void)
{
	struct usbif_request req = front_req(&sink, 8, USBIF_OP_SET_INTERFACE);
	struct usbif_request first = waiting(10);

	wants_control("as a raw request", &sink, 1, 11, 0, 0, USBIF_ST_INVALID);
	req.arg0 = 9;
	wants("interface 9", &req, USBIF_ST_NOENT);
	req.arg0 = 255;
	wants("interface 255", &req, USBIF_ST_NOENT);
	req.arg0 = 256;
	wants("interface 256", &req, USBIF_ST_INVALID);
	req.arg0 = 0;
	req.arg1 = 3;
	wants("setting 3", &req, USBIF_ST_NOENT);
	req.arg1 = 0xffffffff;
	wants("setting 2^32-1", &req, USBIF_ST_INVALID);
	front_submit(&f, &first);
	req = front_req(&disk, 8, USBIF_OP_SET_INTERFACE);
	wants("under a transfer", &req, USBIF_ST_OK);
	wants_end(10, USBIF_ST_SHUTDOWN);
}

static void halts(void)
{
	struct usbif_request req = front_req(&disk, 8, USBIF_OP_CLEAR_HALT);

	wants_control("as a raw request", &disk, 2, 1, 0, disk.bulk_in,
		      USBIF_ST_INVALID);
	req.endpoint = 0x8f;
	wants("an absent endpoint", &req, USBIF_ST_NOENT);
	req.endpoint = 0x0f;
	wants("an absent endpoint", &req, USBIF_ST_NOENT);
	req.endpoint = 0x10 | disk.bulk_in;
	wants("reserved bits", &req, USBIF_ST_INVALID);
	req.endpoint = 0x80;
	wants("endpoint 0, IN", &req, USBIF_ST_INVALID);
}

static void features(void)
{
	unsigned int mode;

	for (mode = 0; mode < 8; mode++)
		wants_control("test mode", &disk, 0, 3, 2, mode << 8,
			      USBIF_ST_INVALID);
	wants_control("U1", &disk, 0, 3, 48, 0, USBIF_ST_STALL);
	wants_control("U2", &disk, 0, 3, 49, 0, USBIF_ST_STALL);
	wants_control("LTM", &disk, 0, 3, 50, 0, USBIF_ST_STALL);
	wants_control("no U1", &disk, 0, 1, 48, 0, USBIF_ST_STALL);
}

/* What a hub would take for its ports reaches the device, which is none. */
static void hub_requests(void)
{
	static const u16 feature[] = { 1, 2, 4, 8, 21, 22 };
	unsigned int i, port;

	for (i = 0; i < 6; i++)
		for (port = 1; port < 4; port++) {
			wants_control("SET_FEATURE of a port", &disk, 0x23, 3,
				      feature[i], port, USBIF_ST_STALL);
			wants_control("CLEAR_FEATURE of a port", &disk, 0x23, 1,
				      feature[i], port, USBIF_ST_STALL);
		}
}

/* The descriptors that count are the host's. */
static void own_descriptors(void)
{
	u8 *block = front_block(&f, 0);
	struct usbif_request req;

	req = front_control(&sink, 5, 0x80, 6, 0x0200, 0, 64, 0);
	wants("configuration descriptor", &req, USBIF_ST_OK);
	memset(block, 0xff, USBIF_BLOCK_SIZE);
	wants_control("SET_DESCRIPTOR", &sink, 0, 7, 0x0100, 0, USBIF_ST_STALL);
	wants_bulk("as before", true, 512, USBIF_ST_OK);
	req = front_bulk(&sink, 7, 0x8f, 512, DATA_BLOCK);
	wants("an endpoint it never had", &req, USBIF_ST_NOENT);
}

const struct hostile_case hostile_requests[] = {
	{ 21, operations },
	{ 22, reserved_octets },
	{ 23, bad_ports },
	{ 24, empty_ports },
	{ 25, other_ports },
	{ 26, stale_epoch },
	{ 27, live_id },
	{ 28, far_id },
	{ 29, id_again },
	{ 30, absent_endpoints },
	{ 31, other_direction },
	{ 32, other_type },
	{ 34, length_zero },
	{ 35, lengths },
	{ 36, beyond_pool },
	{ 37, table_places },
	{ 38, shared_blocks },
	{ 39, flipped_out },
	{ 40, flipped_in },
	{ 41, flags },
	{ 42, intervals },
	{ 43, start_frames },
	{ 44, streams },
	{ 45, setup_lengths },
	{ 46, directions },
	{ 47, set_address },
	{ 48, configurations },
	{ 49, many_configurations },
	{ 50, interfaces },
	{ 51, halts },
	{ 52, features },
	{ 53, hub_requests },
	{ 56, own_descriptors },
	{ 0, NULL },
};
