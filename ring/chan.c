// SPDX-License-Identifier: GPL-2.0
/*
 * What all kinds of channels have in common. A channel is made by the _create function
 * of its kind, belongs to one owner, who also serialises start, stop and release, and
 * ends with usbif_chan_release().
 */
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>
#include "chan.h"

/**
 * usbif_chan_start - begin to deliver events
 * @chan: channel, with its event callback set
 *
 * The callback runs at least once if the other side has rung before.
 *
 * Return: 0 or a negative errno.
 */
int usbif_chan_start(struct usbif_chan *chan)
{
	return chan->ops->start(chan);
}

/**
 * usbif_chan_stop - deliver no events any more
 * @chan: channel
 *
 * No callback runs when this returns. Process context; doing it twice is harmless.
 */
void usbif_chan_stop(struct usbif_chan *chan)
{
	chan->ops->stop(chan);
}

/**
 * usbif_chan_release - give everything back
 * @chan: channel, or NULL; freed
 */
void usbif_chan_release(struct usbif_chan *chan)
{
	if (!chan)
		return;
	chan->ops->stop(chan);
	chan->ops->release(chan);
}

/**
 * usbif_chan_kick - ring the other side
 * @chan: channel
 *
 * Any context but NMI and the event callback of a channel.
 */
void usbif_chan_kick(struct usbif_chan *chan)
{
	atomic_long_inc(&chan->kicks);
	chan->ops->kick(chan);
}

/**
 * usbif_chan_page - page of the region
 * @chan: channel
 * @offset: in the region, checked by the caller
 *
 * Return: the page that @offset lies in, or NULL if the region has no struct pages.
 */
struct page *usbif_chan_page(struct usbif_chan *chan, u64 offset)
{
	return chan->pages ? chan->pages[offset >> PAGE_SHIFT] : NULL;
}

/**
 * usbif_chan_read - copy from the region
 * @chan: channel
 * @offset: in the region
 * @dst: private memory
 * @len: octets; @offset + @len was checked by the caller
 */
void usbif_chan_read(struct usbif_chan *chan, u64 offset, void *dst, size_t len)
{
	size_t step;

	if (!chan->pages) {
		memcpy(dst, (const void __force *)chan->base + offset, len);
	} else {
		for (; len; len -= step, offset += step, dst += step) {
			step = min_t(size_t, len,
				     PAGE_SIZE - offset_in_page(offset));
			memcpy_from_page(dst,
					 chan->pages[offset >> PAGE_SHIFT],
					 offset_in_page(offset), step);
		}
	}
	/* The caller checks the copy: nothing may be fetched again. */
	barrier();
}

/**
 * usbif_chan_write - copy to the region
 * @chan: channel
 * @offset: in the region
 * @src: private memory
 * @len: octets; @offset + @len was checked by the caller
 */
void usbif_chan_write(struct usbif_chan *chan, u64 offset, const void *src,
		      size_t len)
{
	size_t step;

	if (!chan->pages) {
		memcpy((void __force *)chan->base + offset, src, len);
		return;
	}
	for (; len; len -= step, offset += step, src += step) {
		step = min_t(size_t, len, PAGE_SIZE - offset_in_page(offset));
		memcpy_to_page(chan->pages[offset >> PAGE_SHIFT],
			       offset_in_page(offset), src, step);
	}
}
