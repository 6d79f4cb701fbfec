// SPDX-License-Identifier: GPL-2.0
/*
 * The one copy of the data path: between the buffer of a URB, of any shape, and the
 * extents of a request. No lock is held: a request that is FILLING or TAKING keeps
 * its blocks, and its URB keeps the buffer.
 */
#include <linux/highmem.h>
#include <linux/scatterlist.h>
#include "iso.h"

static u64 pool_offset(const struct usbfront *uf, u32 block)
{
	return uf->lay.pool_offset + ((u64)block << USBIF_BLOCK_SHIFT);
}

/**
 * usbfront_copy_flat - copy between flat memory and the pool
 * @cur: place in the pool, goes on; the extents are known to suffice
 * @mem: memory
 * @len: octets
 * @is_in: from the pool
 */
void usbfront_copy_flat(struct usbfront_cursor *cur, void *mem, u32 len,
			bool is_in)
{
	struct usbfront *uf = cur->uf;

	while (len) {
		const struct usbfront_extent *ext = &uf->pool.extents[cur->block];
		u32 size = ext->blocks << USBIF_BLOCK_SHIFT;
		u32 n = min(len, size - cur->at);
		u64 offset = pool_offset(uf, cur->block) + cur->at;

		if (is_in)
			usbif_chan_read(uf->chan, offset, mem, n);
		else
			usbif_chan_write(uf->chan, offset, mem, n);
		mem += n;
		len -= n;
		cur->at += n;
		if (cur->at == size) {
			cur->block = ext->next;
			cur->at = 0;
		}
	}
}

/* One entry of a scatter-gather list: many pages, contiguous, maybe not mapped. */
static void copy_entry(struct usbfront_cursor *cur, struct scatterlist *sg, u32 skip,
		       u32 len, bool is_in)
{
	u32 offset = sg->offset + skip;

	if (!PageHighMem(sg_page(sg))) {
		usbfront_copy_flat(cur, sg_virt(sg) + skip, len, is_in);
		return;
	}
	while (len) {
		struct page *page = nth_page(sg_page(sg), offset >> PAGE_SHIFT);
		u32 n = min_t(u32, len, PAGE_SIZE - offset_in_page(offset));
		void *mem = kmap_local_page(page);

		usbfront_copy_flat(cur, mem + offset_in_page(offset), n, is_in);
		kunmap_local(mem);
		offset += n;
		len -= n;
	}
}

static void copy_list(struct usbfront_cursor *cur, struct scatterlist *sg, int entries,
		      u32 skip, u32 len, bool is_in)
{
	for (; sg && entries && len; sg = sg_next(sg), entries--) {
		u32 n;

		if (skip >= sg->length) {
			skip -= sg->length;
			continue;
		}
		n = min(len, sg->length - skip);
		copy_entry(cur, sg, skip, n, is_in);
		skip = 0;
		len -= n;
	}
}

/* num_sgs counts what the driver gave; num_mapped_sgs is for those who map. */
static void copy_urb(struct usbfront *uf, const struct urb *urb,
		     const struct usbfront_req *req, u32 len, bool is_in)
{
	struct usbfront_cursor cur = { .uf = uf, .block = req->run.first };

	if (!len)
		return;
	if (urb->num_sgs)
		copy_list(&cur, urb->sg, urb->num_sgs, req->offset, len, is_in);
	else if (urb->transfer_buffer)
		usbfront_copy_flat(&cur, urb->transfer_buffer + req->offset, len, is_in);
	else
		copy_list(&cur, urb->sg, 1, req->offset, len, is_in);
}

/**
 * usbfront_copy_out - copy the data of a request into the pool
 * @uf: channel
 * @urb: with the data
 * @req: exactly its length is copied, from its offset
 */
void usbfront_copy_out(struct usbfront *uf, const struct urb *urb,
		       const struct usbfront_req *req)
{
	if (req->nr_packets)
		usbfront_iso_copy_out(uf, urb, req);
	else
		copy_urb(uf, urb, req, req->length, false);
}

/**
 * usbfront_copy_in - copy the data of a request from the pool
 * @uf: channel
 * @urb: that wants it
 * @req: request
 * @length: octets that came, at most the length of the request
 */
void usbfront_copy_in(struct usbfront *uf, const struct urb *urb,
		      const struct usbfront_req *req, u32 length)
{
	copy_urb(uf, urb, req, length, true);
}

/**
 * usbfront_list_extents - extents as the protocol wants them
 * @uf: channel
 * @req: request
 * @ranges: to fill
 * @max: room in @ranges
 *
 * Return: number of extents.
 */
u32 usbfront_list_extents(struct usbfront *uf, const struct usbfront_req *req,
			  struct usbif_range *ranges, u32 max)
{
	u32 left = req->length;
	u32 block = req->run.first;
	u32 n;

	for (n = 0; left && n < max; n++) {
		const struct usbfront_extent *ext = &uf->pool.extents[block];

		ranges[n].block = block;
		ranges[n].length = min(left, ext->blocks << USBIF_BLOCK_SHIFT);
		left -= ranges[n].length;
		block = ext->next;
	}
	return n;
}

/**
 * usbfront_table_offset - where the table of a request is in the region
 * @uf: channel
 * @req: request with a table
 *
 * Return: octets from the start of the region.
 */
u64 usbfront_table_offset(const struct usbfront *uf,
			  const struct usbfront_req *req)
{
	return pool_offset(uf, req->run.table);
}

/**
 * usbfront_write_table - write the table of a request with many extents or packets
 * @uf: channel
 * @req: request; its table has room
 */
void usbfront_write_table(struct usbfront *uf, const struct usbfront_req *req)
{
	bool has_extents = req->run.extents > USBIF_INLINE_EXTENTS;
	u64 offset = pool_offset(uf, req->run.table);
	u32 left = has_extents ? req->length : 0;
	u32 block = req->run.first;

	while (left) {
		const struct usbfront_extent *ext = &uf->pool.extents[block];
		u32 len = min(left, ext->blocks << USBIF_BLOCK_SHIFT);
		struct usbif_extent wire = {
			.block = cpu_to_le32(block),
			.length = cpu_to_le32(len),
		};

		usbif_chan_write(uf->chan, offset, &wire, sizeof(wire));
		offset += sizeof(wire);
		left -= len;
		block = ext->next;
	}
	if (req->nr_packets)
		usbfront_iso_write_packets(uf, req, offset);
}
