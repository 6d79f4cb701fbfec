// SPDX-License-Identifier: GPL-2.0
/*
 * Cases of front_hostile: isochronous transfers; 33, 57 to 60.
 */
#define _GNU_SOURCE
#include <string.h>
#include "front_hostile.h"

#define SILENT_ENDPOINT	0x84	/* whose packets have no length */

/* The address of the isochronous IN endpoint, which is there in setting 1 only. */
static u8 iso_endpoint(void)
{
	const u8 *d = strm.config;
	u32 left = strm.config_len;

	for (; left >= 7 && d[0] >= 2 && d[0] <= left; left -= d[0], d += d[0])
		if (d[1] == 5 && (d[3] & 3) == USBIF_TYPE_ISO && d[2] & 0x80)
			return d[2];
	die("no isochronous endpoint");
}

struct usbif_request iso_request(void)
{
	struct usbif_request req = front_bulk(&strm, 7, iso_endpoint(), 512,
					      DATA_BLOCK);
	struct usbif_iso_packet *table = front_block(&f, TABLE_BLOCK);

	req.type = USBIF_TYPE_ISO;
	req.interval = 1;
	req.flags = USBIF_REQ_ISO_ASAP;
	req.nr_packets = 2;
	req.table_block = TABLE_BLOCK;
	req.table_length = usbif_table_size(1, 2);
	table[0].offset = 0;
	table[0].length = 256;
	table[1].offset = 256;
	table[1].length = 256;
	return req;
}

void set_setting(u32 setting)
{
	struct usbif_request req = front_req(&strm, 8, USBIF_OP_SET_INTERFACE);

	req.arg1 = setting;
	wants("set interface", &req, USBIF_ST_OK);
}

static void no_packet_length(void)
{
	struct usbif_request req = iso_request();

	req.endpoint = SILENT_ENDPOINT;
	wants("isochronous, in setting 0", &req, USBIF_ST_NOENT);
	set_setting(1);
	wants("isochronous", &req, USBIF_ST_INVALID);
	req = front_bulk(&strm, 7, SILENT_ENDPOINT, 512, DATA_BLOCK);
	wants("bulk", &req, USBIF_ST_INVALID);
	set_setting(0);
}

static void packet_counts(void)
{
	static const u16 counts[] = { 0, 1, 3, 1025, 0x7fff, 0xffff };
	struct usbif_request req;
	unsigned int i;

	for (i = 0; i < 6; i++) {
		req = iso_request();
		req.nr_packets = counts[i];
		wants("packets", &req, USBIF_ST_INVALID);
		req.table_length = usbif_table_size(1, counts[i]);
		if (counts[i] - 1u >= 1024)
			wants("packets, with a table", &req, USBIF_ST_INVALID);
	}
	CHANGED(w.nr_packets = 1, INVALID);
}

static void wants_packets(u32 offset0, u32 length0, u32 offset1, u32 length1)
{
	struct usbif_iso_packet *table = front_block(&f, TABLE_BLOCK);
	struct usbif_request req = iso_request();

	usbif_word_write(&table[0].offset, offset0);
	usbif_word_write(&table[0].length, length0);
	usbif_word_write(&table[1].offset, offset1);
	usbif_word_write(&table[1].length, length1);
	wants("packets", &req, USBIF_ST_INVALID);
}

static void packet_places(void)
{
	struct usbif_response rsp;
	struct usbif_request req;

	set_setting(1);
	wants_packets(0, 256, 255, 256);
	wants_packets(256, 256, 0, 256);
	wants_packets(0, 256, 256, 257);
	wants_packets(0, 256, 513, 0);
	wants_packets(0, 0xffffffff, 256, 256);
	wants_packets(0, 256, 0xffffffff, 2);
	wants_packets(0xfffffff0, 0x20, 0xfffffff0, 0x20);
	/* Longer than a packet can be: the host controller's to say. */
	req = iso_request();
	req.length = 65536;
	req.ranges[0].length = 65536;
	((struct usbif_iso_packet *)front_block(&f, TABLE_BLOCK))[1].length = 65280;
	front_submit(&f, &req);
	check(front_wait(&f, 7, &rsp, PROMPT_MS) && rsp.status, "a long packet");
	set_setting(0);
}

static void flip_table(u32 random)
{
	__le32 *word = front_block(&f, TABLE_BLOCK);

	usbif_word_write(word + random % 8, random);
}

static void flipped_table(void)
{
	unsigned int i, rounds = is_long ? 5000 : 200;
	struct usbif_response rsp;
	struct usbif_request req;
	struct flipper flipper;

	set_setting(1);
	flip_start(&flipper, flip_table, 0);
	for (i = 0; i < rounds; i++) {
		req = iso_request();
		front_submit(&f, &req);
		if (!front_wait(&f, 7, &rsp, PROMPT_MS)) {
			check(false, "request %u does not end", i);
			break;
		}
		check(rsp.error_count <= 2 && rsp.actual <= 512,
		      "%u errors, %u octets", rsp.error_count, rsp.actual);
	}
	flip_stop(&flipper);
	set_setting(0);
}

static void many_iso(void)
{
	u32 id, most = f.lay.nr_requests - 32;
	struct usbif_iso_packet *table;
	struct usbif_request req;
	struct usbif_response rsp;

	set_setting(1);
	for (id = 16; id < most; id++) {
		req = iso_request();
		req.id = id;
		req.ranges[0].block = DATA_BLOCK + 2 * id;
		req.table_block = DATA_BLOCK + 2 * id + 1;
		table = front_block(&f, req.table_block);
		memcpy(table, front_block(&f, TABLE_BLOCK), 16);
		front_submit(&f, &req);
	}
	for (id = 16; id < most; id++)
		check(front_wait(&f, id, &rsp, PROMPT_MS), "request %u", id);
	set_setting(0);
}

const struct hostile_case hostile_iso[] = {
	{ 33, no_packet_length },
	{ 57, packet_counts },
	{ 58, packet_places },
	{ 59, flipped_table },
	{ 60, many_iso },
	{ 0, NULL },
};
