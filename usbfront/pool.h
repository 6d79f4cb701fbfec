/* SPDX-License-Identifier: GPL-2.0 */
/* Blocks of the pool, and who has them: pool.c. */
#ifndef USBFRONT_POOL_H
#define USBFRONT_POOL_H

#include <linux/types.h>

#define USBFRONT_NO_BLOCK	U32_MAX

/**
 * struct usbfront_run - blocks of a request in the pool
 * @first: first block of the first extent, or USBFRONT_NO_BLOCK
 * @table: block of the table, or USBFRONT_NO_BLOCK
 * @blocks: in all, with the table
 * @extents: number of
 */
struct usbfront_run {
	u32 first;
	u32 table;
	u32 blocks;
	u32 extents;
};

/**
 * struct usbfront_extent - kept at the first block of each extent in use
 * @blocks: length
 * @next: first block of the next extent, or USBFRONT_NO_BLOCK
 */
struct usbfront_extent {
	u32 blocks;
	u32 next;
};

/**
 * struct usbfront_pool - who has which blocks
 * @map: a bit for each block in use
 * @extents: one for each block
 * @blocks: in all
 * @free: not in use
 * @hint: no free block is below this one
 */
struct usbfront_pool {
	unsigned long *map;
	struct usbfront_extent *extents;
	u32 blocks;
	u32 free;
	u32 hint;
};

/* With uf->lock held, but for the first and the last of a pool */
int usbfront_pool_init(struct usbfront_pool *pool, u32 blocks);
void usbfront_pool_reset(struct usbfront_pool *pool);
void usbfront_pool_fini(struct usbfront_pool *pool);
int usbfront_pool_alloc(struct usbfront_pool *pool, u32 blocks, u32 packets,
			struct usbfront_run *run);
void usbfront_pool_free(struct usbfront_pool *pool, struct usbfront_run *run);

#endif /* USBFRONT_POOL_H */
