// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers for the host controller.
 *
 * Where the region has pages they are handed over as they are: as one piece if
 * they are contiguous, else as a scatter-gather list if the host controller takes
 * it. Bulk only: not every host controller has lists for the other types. Where it
 * does not work (and always in a driver VM, whose region is a PCI BAR) the data is
 * copied.
 *
 * Memory for copies comes in chunks of 1 to 64 pages, which are kept for the next
 * request up to a limit: a stream of isochronous requests finds what its first ones
 * have left.
 *
 * Who waits for memory here may be what others wait for that are to free some: a guest
 * swaps to a disk behind us, this machine itself writes to one. So nothing waits. What
 * fails is tried again when something has ended, and there is a reserve that nobody
 * touches while there is other memory: one request after the other gets through with
 * that alone. (But not one that must be contiguous and is longer than a chunk of the
 * reserve, where the host controller has no scatter-gather.) The shortest have a buffer
 * of their own: a disk's command and its status, which a UAS driver asks for before it,
 * must not wait for the data between them, nor that for them.
 */
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/slab.h>
#include "backend.h"

#define CACHE_PAGES	(SZ_1M / PAGE_SIZE)
#define MAX_BIGS	32
#define GFP_BUFFER	(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)

/* ---- what is kept ---- */

static struct usbback_big *big_get(struct usbback *ub)
{
	struct usbback_big *big;

	if (READ_ONCE(ub->no_memory))
		return NULL;
	spin_lock_irq(&ub->lock);
	big = list_first_entry_or_null(&ub->bigs, struct usbback_big, node);
	if (big) {
		list_del(&big->node);
		ub->nr_bigs--;
	}
	spin_unlock_irq(&ub->lock);
	return big ?: kmalloc(sizeof(*big), GFP_BUFFER);
}

static void big_put(struct usbback *ub, struct usbback_big *big)
{
	if (ub->nr_bigs >= MAX_BIGS) {
		kfree(big);
		return;
	}
	list_add(&big->node, &ub->bigs);
	ub->nr_bigs++;
}

/* Pages of a cached chunk are linked by the lru of the first. */
static struct page *chunk_get(struct usbback *ub, unsigned int order)
{
	struct page *page = NULL;

	if (READ_ONCE(ub->no_memory))
		return NULL;
	if (order < USBBACK_ORDERS) {
		spin_lock_irq(&ub->lock);
		page = list_first_entry_or_null(&ub->cache[order], struct page,
						lru);
		if (page) {
			list_del(&page->lru);
			ub->cached_pages -= 1 << order;
		}
		spin_unlock_irq(&ub->lock);
	}
	/* What a device did not write is a guest's to read, if its controller lies. */
	return page ?: alloc_pages(GFP_BUFFER | __GFP_ZERO, order);
}

static void chunk_put(struct usbback *ub, struct page *page, unsigned int order)
{
	lockdep_assert_held(&ub->lock);
	if (order >= USBBACK_ORDERS ||
	    ub->cached_pages + (1 << order) > CACHE_PAGES) {
		__free_pages(page, order);
		return;
	}
	list_add(&page->lru, &ub->cache[order]);
	ub->cached_pages += 1 << order;
}

static bool has_endpoint(const struct usb_host_interface *alt,
			 const struct usb_host_endpoint *hep)
{
	return hep >= alt->endpoint && hep < alt->endpoint + alt->desc.bNumEndpoints;
}

/*
 * Memory may wait for disks only, and they answer: input of others may never come.
 * Reads descriptors only, which live as long as the device: interfaces may be going.
 */
static bool may_reserve(const struct usbback_slot *slot,
			const struct usb_host_endpoint *hep)
{
	const struct usb_host_config *config =
		READ_ONCE(slot->ep->port->udev->actconfig);
	unsigned int i, j;

	if (slot->req.type == USBIF_TYPE_CONTROL)
		return true;
	for (i = 0; config && i < USB_MAXINTERFACES; i++) {
		const struct usb_interface_cache *cache = config->intf_cache[i];

		for (j = 0; cache && j < cache->num_altsetting; j++)
			if (has_endpoint(&cache->altsetting[j], hep))
				return cache->altsetting[j].desc.bInterfaceClass ==
				       USB_CLASS_MASS_STORAGE;
	}
	return false;
}

/* False if another request has it; the list and the buffer go together. */
static bool reserve_take(struct usbback_slot *slot,
			 const struct usb_host_endpoint *hep)
{
	struct usbback_reserve *reserve = &slot->ub->reserve;
	bool is_ours;

	if (!may_reserve(slot, hep))
		return false;
	spin_lock_irq(&slot->ub->lock);
	if (!reserve->slot)
		reserve->slot = slot;
	is_ours = reserve->slot == slot;
	spin_unlock_irq(&slot->ub->lock);
	return is_ours;
}

/* ---- pages of the pool ---- */

/*
 * Adds a piece of memory to @slot's list, the last one of which ended at @end;
 * -ENOSPC if that would be too many.
 */
static int add_piece(struct usbback_slot *slot, phys_addr_t phys, u32 len,
		     phys_addr_t end, size_t max_segment)
{
	unsigned int max = slot->big ? USBIF_MAX_EXTENTS : USBBACK_SMALL_SG;
	struct scatterlist *sg = slot->sg + slot->nents;

	/* A segment must not cross 4 GiB: DMA API, dma_get_seg_boundary(). */
	if (slot->nents && phys == end && lower_32_bits(phys) &&
	    sg[-1].length + len <= max_segment) {
		sg[-1].length += len;
		return 0;
	}
	if (slot->nents == max)
		return -ENOSPC;
	sg_set_page(sg, pfn_to_page(PHYS_PFN(phys)), len, offset_in_page(phys));
	slot->nents++;
	return 0;
}

/*
 * Walks the pages of the request's data. Fills the list as far as it goes and says
 * whether all of it is contiguous.
 */
static int collect_pages(struct usbback_slot *slot, bool *contiguous)
{
	size_t max_segment = slot->ep->port->max_segment;
	struct usbback *ub = slot->ub;
	phys_addr_t phys, end = 0;
	unsigned int i;
	int ret = 0;

	*contiguous = true;
	for (i = 0; i < slot->req.nr_extents; i++) {
		u64 offset = ub->lay.pool_offset +
			     (u64)slot->ranges[i].block * USBIF_BLOCK_SIZE;
		u32 left = slot->ranges[i].length;

		while (left) {
			u32 len = min_t(u32, left, PAGE_SIZE - offset_in_page(offset));
			struct page *page = usbif_chan_page(ub->chan, offset);

			if (!page || PageHighMem(page))
				return -EOPNOTSUPP;
			phys = page_to_phys(page) + offset_in_page(offset);
			if (end && phys != end)
				*contiguous = false;
			ret = ret ?: add_piece(slot, phys, len, end, max_segment);
			end = phys + len;
			offset += len;
			left -= len;
		}
	}
	return ret;
}

static bool sg_fits(const struct usbback_slot *slot,
		    const struct usb_host_endpoint *hep)
{
	const struct usb_bus *bus = slot->ep->port->udev->bus;

	if (slot->req.type != USBIF_TYPE_BULK || slot->nents > bus->sg_tablesize)
		return false;
	/* All pieces but the last are multiples of 4096. */
	return bus->no_sg_constraint ||
	       !(USBIF_BLOCK_SIZE % usb_endpoint_maxp(&hep->desc));
}

static void list_init(struct usbback_slot *slot)
{
	slot->nents = 0;
	slot->sg = slot->big ? slot->big->sg : slot->small_sg;
	sg_init_table(slot->sg, slot->big ? USBIF_MAX_EXTENTS : USBBACK_SMALL_SG);
}

/* One extent may be long and scattered: then the list is too short for it. */
static int need_big(struct usbback_slot *slot,
		    const struct usb_host_endpoint *hep)
{
	if (slot->big || slot->req.length <= USBBACK_SMALL_SG * USBIF_BLOCK_SIZE)
		return 0;
	slot->big = big_get(slot->ub);
	if (!slot->big && reserve_take(slot, hep))
		slot->big = slot->ub->reserve.big;
	return slot->big ? 0 : -ENOMEM;
}

static int map_direct(struct usbback_slot *slot,
		      const struct usb_host_endpoint *hep)
{
	bool contiguous;
	int ret;

	if (!slot->ub->chan->pages || READ_ONCE(slot->ub->copy_all))
		return -EOPNOTSUPP;
	ret = need_big(slot, hep);
	if (ret)
		return ret;
	list_init(slot);
	ret = collect_pages(slot, &contiguous);
	if (ret == -EOPNOTSUPP)
		return ret;
	if (contiguous && slot->req.length <= slot->ep->port->max_linear) {
		slot->linear = sg_virt(slot->sg);
		slot->nents = 0;
		slot->how = HOW_DIRECT;
		return 0;
	}
	if (ret || !sg_fits(slot, hep))
		return -EOPNOTSUPP;
	sg_mark_end(&slot->sg[slot->nents - 1]);
	slot->how = HOW_SG;
	return 0;
}

/* ---- copies ---- */

/* Copies the first @len octets between the bounce buffer and the pool. */
static void bounce_copy(struct usbback_slot *slot, u32 len, bool to_pool)
{
	struct usbback *ub = slot->ub;
	struct scatterlist *sg = slot->sg;
	void *buf = slot->how == HOW_BOUNCE ? slot->linear : sg_virt(sg);
	u32 buf_left = slot->how == HOW_BOUNCE ? len : sg->length;
	unsigned int i = 0;
	u32 done = 0;

	while (len) {
		u64 offset = ub->lay.pool_offset + done +
			     (u64)slot->ranges[i].block * USBIF_BLOCK_SIZE;
		u32 n = min3(len, buf_left, slot->ranges[i].length - done);

		if (to_pool)
			usbif_chan_write(ub->chan, offset, buf, n);
		else
			usbif_chan_read(ub->chan, offset, buf, n);
		len -= n;
		buf += n;
		done += n;
		buf_left -= n;
		if (done == slot->ranges[i].length) {
			done = 0;
			i++;
		}
		if (!buf_left && len) {
			sg = sg_next(sg);
			buf = sg_virt(sg);
			buf_left = sg->length;
		}
	}
}

void usbback_buffer_copy_in(struct usbback_slot *slot, u32 len)
{
	if (usbback_slot_is_iso(slot))
		usbback_iso_copy_in(slot);
	else
		bounce_copy(slot, len, true);
}

static int bounce_linear(struct usbback_slot *slot,
			 const struct usb_host_endpoint *hep)
{
	struct page *page;

	slot->nents = 0;
	if (slot->req.length <= USBBACK_SMALL) {
		slot->linear = slot->small;
		slot->how = HOW_BOUNCE;
		return 0;
	}
	slot->order = get_order(slot->req.length);
	page = chunk_get(slot->ub, slot->order);
	if (!page && slot->order <= USBBACK_CHUNK_ORDER &&
	    reserve_take(slot, hep)) {
		page = slot->ub->reserve.chunks[0];
		slot->is_reserve = true;
	}
	if (!page)
		return -ENOMEM;
	slot->linear = page_address(page);
	slot->how = HOW_BOUNCE;
	return 0;
}

static void bounce_sg_free(struct usbback_slot *slot)
{
	unsigned int i;

	for (i = 0; i < slot->nents && !slot->is_reserve; i++)
		chunk_put(slot->ub, sg_page(&slot->sg[i]),
			  get_order(slot->sg[i].length));
	slot->nents = 0;
}

/* All of it from the reserve instead. */
static bool bounce_sg_reserve(struct usbback_slot *slot,
			      const struct usb_host_endpoint *hep)
{
	spin_lock_irq(&slot->ub->lock);
	bounce_sg_free(slot);
	spin_unlock_irq(&slot->ub->lock);
	slot->is_reserve = reserve_take(slot, hep);
	return slot->is_reserve;
}

static int bounce_sg(struct usbback_slot *slot,
		     const struct usb_host_endpoint *hep)
{
	u32 left = slot->req.length;

	while (left) {
		u32 len = min_t(u32, left, USBBACK_CHUNK);
		struct page *page;

		if (slot->is_reserve)
			page = slot->ub->reserve.chunks[slot->nents];
		else
			page = chunk_get(slot->ub, get_order(len));
		if (!page) {
			if (!bounce_sg_reserve(slot, hep))
				return -ENOMEM;
			left = slot->req.length;
			continue;
		}
		sg_set_page(&slot->sg[slot->nents++], page, len, 0);
		left -= len;
	}
	sg_mark_end(&slot->sg[slot->nents - 1]);
	slot->how = HOW_BOUNCE_SG;
	return 0;
}

static int map_bounce(struct usbback_slot *slot,
		      const struct usb_host_endpoint *hep, bool is_in)
{
	int ret;

	slot->nents = DIV_ROUND_UP(slot->req.length, USBBACK_CHUNK);
	if (slot->nents == 1 || !sg_fits(slot, hep)) {
		ret = bounce_linear(slot, hep);
	} else {
		ret = need_big(slot, hep);
		if (ret)
			return ret;
		list_init(slot);
		ret = bounce_sg(slot, hep);
	}
	if (!ret && !is_in)
		bounce_copy(slot, slot->req.length, false);
	return ret;
}

int usbback_buffer_map(struct usbback_slot *slot,
		       const struct usb_host_endpoint *hep, bool is_in)
{
	int ret;

	slot->linear = NULL;
	slot->nents = 0;
	slot->how = HOW_NONE;
	if (!slot->req.length)
		return 0;
	ret = map_direct(slot, hep);
	if (ret == -EOPNOTSUPP)
		ret = map_bounce(slot, hep, is_in);
	if (ret) {
		spin_lock_irq(&slot->ub->lock);
		usbback_buffer_unmap(slot);
		spin_unlock_irq(&slot->ub->lock);
	}
	return ret;
}

void usbback_buffer_unmap(struct usbback_slot *slot)
{
	struct usbback *ub = slot->ub;

	lockdep_assert_held(&ub->lock);
	if (slot->how == HOW_BOUNCE && !slot->is_reserve) {
		if (slot->linear != slot->small)
			chunk_put(ub, virt_to_page(slot->linear), slot->order);
	} else if (slot->how == HOW_BOUNCE_SG) {
		bounce_sg_free(slot);
	}
	if (slot->big && slot->big != ub->reserve.big)
		big_put(ub, slot->big);
	slot->big = NULL;
	if (ub->reserve.slot == slot)
		ub->reserve.slot = NULL;
	slot->is_reserve = false;
	slot->how = HOW_NONE;
	slot->nents = 0;
	slot->linear = NULL;
}

/* ---- the reserve ---- */

/**
 * usbback_buffer_init - make the reserve of a channel
 * @ub: channel
 *
 * It is good for one request of full length.
 *
 * Return: 0 or -ENOMEM.
 */
int usbback_buffer_init(struct usbback *ub)
{
	unsigned int full = DIV_ROUND_UP(ub->lay.max_transfer, USBBACK_CHUNK), i;
	struct usbback_reserve *reserve = &ub->reserve;

	reserve->big = kmalloc(sizeof(*reserve->big), GFP_KERNEL);
	if (!reserve->big)
		return -ENOMEM;
	for (i = 0; i < full; i++) {
		reserve->chunks[i] = alloc_pages(GFP_KERNEL | __GFP_ZERO,
						 USBBACK_CHUNK_ORDER);
		if (!reserve->chunks[i]) {
			usbback_buffer_fini(ub);
			return -ENOMEM;
		}
	}
	return 0;
}

void usbback_buffer_fini(struct usbback *ub)
{
	struct usbback_big *big, *next;
	struct page *page, *next_page;
	unsigned int order, i;

	list_for_each_entry_safe(big, next, &ub->bigs, node)
		kfree(big);
	for (order = 0; order < USBBACK_ORDERS; order++)
		list_for_each_entry_safe(page, next_page, &ub->cache[order], lru)
			__free_pages(page, order);
	for (i = 0; i < ARRAY_SIZE(ub->reserve.chunks) && ub->reserve.chunks[i]; i++)
		__free_pages(ub->reserve.chunks[i], USBBACK_CHUNK_ORDER);
	kfree(ub->reserve.big);
}
