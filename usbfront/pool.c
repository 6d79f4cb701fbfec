// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks of the pool. First fit from the low end, so that what is used again and
 * again is the same few pages and stays in caches. One contiguous extent if there
 * is one, as many as it takes otherwise: a request never waits because the pool is
 * fragmented, and nothing is ever allocated for that.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "usbfront.h"

/**
 * usbfront_pool_init - get memory for the books
 * @pool: pool
 * @blocks: in it
 *
 * Return: 0 or -ENOMEM.
 */
int usbfront_pool_init(struct usbfront_pool *pool, u32 blocks)
{
	pool->map = kvcalloc(BITS_TO_LONGS(blocks), sizeof(long), GFP_KERNEL);
	pool->extents = kvcalloc(blocks, sizeof(*pool->extents), GFP_KERNEL);
	pool->blocks = blocks;
	if (!pool->map || !pool->extents) {
		usbfront_pool_fini(pool);
		return -ENOMEM;
	}
	usbfront_pool_reset(pool);
	return 0;
}

/**
 * usbfront_pool_reset - forget everything
 * @pool: pool; nobody uses a block of it
 */
void usbfront_pool_reset(struct usbfront_pool *pool)
{
	bitmap_zero(pool->map, pool->blocks);
	pool->free = pool->blocks;
	pool->hint = 0;
}

/**
 * usbfront_pool_fini - free the books
 * @pool: pool, may be empty
 */
void usbfront_pool_fini(struct usbfront_pool *pool)
{
	kvfree(pool->map);
	kvfree(pool->extents);
	memset(pool, 0, sizeof(*pool));
}

static u32 take_extent(struct usbfront_pool *pool, u32 first, u32 blocks)
{
	bitmap_set(pool->map, first, blocks);
	pool->extents[first].blocks = blocks;
	pool->extents[first].next = USBFRONT_NO_BLOCK;
	pool->free -= blocks;
	if (first == pool->hint)
		pool->hint = first + blocks;
	return first;
}

static bool take_contiguous(struct usbfront_pool *pool, u32 blocks, u32 *first)
{
	unsigned long at;

	at = bitmap_find_next_zero_area(pool->map, pool->blocks, pool->hint,
					blocks, 0);
	if (at >= pool->blocks)
		return false;
	*first = take_extent(pool, at, blocks);
	return true;
}

/* Takes what is free from the low end on; the caller knows that it suffices. */
static void take_pieces(struct usbfront_pool *pool, u32 blocks,
			struct usbfront_run *run)
{
	u32 *link = &run->first;
	unsigned long at = pool->hint;

	while (blocks) {
		unsigned long end;
		u32 n;

		at = find_next_zero_bit(pool->map, pool->blocks, at);
		end = find_next_bit(pool->map, min_t(unsigned long, pool->blocks,
						     at + blocks), at);
		n = min_t(unsigned long, end - at, blocks);
		*link = take_extent(pool, at, n);
		link = &pool->extents[at].next;
		run->extents++;
		blocks -= n;
		at = end;
	}
}

/**
 * usbfront_pool_alloc - take blocks
 * @pool: pool
 * @blocks: number, may be 0
 * @packets: isochronous packets that the table is to have room for
 * @run: to fill
 *
 * Return: 0, or -ENOSPC with nothing taken.
 */
int usbfront_pool_alloc(struct usbfront_pool *pool, u32 blocks, u32 packets,
			struct usbfront_run *run)
{
	u32 need;

	run->first = USBFRONT_NO_BLOCK;
	run->table = USBFRONT_NO_BLOCK;
	run->blocks = 0;
	run->extents = 0;
	if (blocks > pool->free)
		return -ENOSPC;
	if (blocks && take_contiguous(pool, blocks, &run->first))
		run->extents = 1;
	else
		take_pieces(pool, blocks, run);
	run->blocks = blocks;

	need = DIV_ROUND_UP(usbif_table_size(run->extents, packets),
			    USBIF_BLOCK_SIZE);
	if (!need)
		return 0;
	if (!take_contiguous(pool, need, &run->table)) {
		usbfront_pool_free(pool, run);
		return -ENOSPC;
	}
	run->blocks += need;
	return 0;
}

static u32 give_extent(struct usbfront_pool *pool, u32 first)
{
	u32 next = pool->extents[first].next;
	u32 blocks = pool->extents[first].blocks;

	bitmap_clear(pool->map, first, blocks);
	pool->free += blocks;
	pool->hint = min(pool->hint, first);
	return next;
}

/**
 * usbfront_pool_free - give blocks back
 * @pool: pool
 * @run: blocks; empty afterwards
 */
void usbfront_pool_free(struct usbfront_pool *pool, struct usbfront_run *run)
{
	u32 first = run->first;

	while (first != USBFRONT_NO_BLOCK)
		first = give_extent(pool, first);
	if (run->table != USBFRONT_NO_BLOCK)
		give_extent(pool, run->table);
	run->first = USBFRONT_NO_BLOCK;
	run->table = USBFRONT_NO_BLOCK;
	run->blocks = 0;
	run->extents = 0;
}
