// SPDX-License-Identifier: GPL-2.0
/*
 * Submissions and their tables. Input: struct usbif_req, then the table. Whatever is
 * accepted must be safe to act on, by checks that do not use the decoder's ways.
 */
#include <linux/errno.h>
#include "fuzz.h"
#include "proto.h"
#include "samples.h"

static struct usbif_layout lay;

/* Each block belongs to one extent or the table, and lies in the pool. */
static void check_blocks(const struct usbif_request *req,
			 const struct usbif_range *ranges)
{
	bool *used = calloc(lay.pool_blocks, 1);
	u64 sum = 0;
	u64 at;
	u32 i;

	for (i = 0; i < req->nr_extents; i++) {
		check(ranges[i].length);
		check(i + 1 == req->nr_extents || !(ranges[i].length % 4096));
		for (at = 0; at < ranges[i].length; at += 4096) {
			check(ranges[i].block + at / 4096 < lay.pool_blocks);
			check(!used[ranges[i].block + at / 4096]);
			used[ranges[i].block + at / 4096] = true;
		}
		sum += ranges[i].length;
	}
	check(sum == req->length);
	for (at = 0; at < req->table_length; at += 4096) {
		check(req->table_block + at / 4096 < lay.pool_blocks);
		check(!used[req->table_block + at / 4096]);
	}
	free(used);
}

static void check_packets(const struct usbif_request *req,
			  const struct usbif_packet *packets)
{
	u64 last = 0;
	u32 i;

	for (i = 0; i < req->nr_packets; i++) {
		check(packets[i].offset >= last);
		last = (u64)packets[i].offset + packets[i].length;
		check(last <= req->length);
	}
}

static void check_accepted(const struct usbif_request *req)
{
	check(req->op >= 1 && req->op <= USBIF_OP_MAX);
	check(req->session == SAMPLE_SESSION);
	if (req->op == USBIF_OP_CANCEL) {
		check(req->id == lay.nr_requests + req->arg0);
		check(req->arg0 < lay.nr_requests);
	} else {
		check(req->id < lay.nr_requests);
		check(req->vusb < lay.nr_vusb);
		check(req->port >= 1 && req->port <= lay.nr_ports);
	}
	check(!(req->endpoint & 0x70) && req->endpoint != 0x80);
	if (req->op != USBIF_OP_TRANSFER) {
		check(!req->length && !req->nr_extents && !req->nr_packets);
		return;
	}
	check(req->type <= USBIF_TYPE_INTERRUPT);
	check((req->type == USBIF_TYPE_CONTROL) == !(req->endpoint & 15));
	check(req->length <= lay.max_transfer);
	check(req->nr_extents <= USBIF_MAX_EXTENTS);
	check(req->nr_packets <= lay.max_iso_packets);
	check((req->type == USBIF_TYPE_ISO) == !!req->nr_packets);
	check(req->table_length <= USBIF_TABLE_MAX);
	check(!req->stream || req->type == USBIF_TYPE_BULK);
	/* What usb_submit_urb() would warn about. */
	check(!(req->flags & USBIF_REQ_SHORT_NOT_OK) ||
	      (usbif_req_is_in(req) && req->type != USBIF_TYPE_ISO));
	check(!(req->flags & USBIF_REQ_ZERO_PACKET) ||
	      (!usbif_req_is_in(req) && req->type >= USBIF_TYPE_BULK));
	check(!(req->flags & USBIF_REQ_ISO_ASAP) ||
	      req->type == USBIF_TYPE_ISO);
	if (req->type == USBIF_TYPE_CONTROL) {
		check((req->setup[6] | req->setup[7] << 8) == (int)req->length);
		check((req->setup[0] & 0x60) || (req->setup[1] != 5 &&
						 req->setup[1] != 9 &&
						 req->setup[1] != 11));
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct usbif_range *ranges;
	struct usbif_packet *packets;
	struct usbif_request req;
	struct usbif_req copy, again;
	enum usbif_why why;
	void *table;
	int ret;

	sample_layout(&lay);
	take(&in, &copy, sizeof(copy));
	ret = usbif_req_decode(&req, &copy, &lay, SAMPLE_SESSION, &why);
	check(!ret == !why && why < USBIF_WHY_MAX);
	check(ret != -EPROTO || req.id >= 2 * lay.nr_requests);
	if (ret)
		return 0;
	check_accepted(&req);
	usbif_req_encode(&again, &req);
	check(!memcmp(&again, &copy, sizeof(copy)));
	if (req.op != USBIF_OP_TRANSFER)
		return 0;

	/* Of just the size, so that the sanitizer sees an octet too far. */
	ranges = malloc(req.nr_extents * sizeof(*ranges));
	packets = malloc(req.nr_packets * sizeof(*packets));
	table = malloc(req.table_length);
	take(&in, table, req.table_length);
	ret = usbif_table_decode(&req, table, &lay, ranges, packets, &why);
	check(!ret == !why && why < USBIF_WHY_MAX);
	if (!ret) {
		check_blocks(&req, ranges);
		check_packets(&req, packets);
	}
	free(table);
	free(packets);
	free(ranges);
	return 0;
}
