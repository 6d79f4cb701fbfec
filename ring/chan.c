// SPDX-License-Identifier: GPL-2.0
/*
 * What all kinds of channels have in common. A channel is made by the _create function
 * of its kind, belongs to one owner, who also serialises start, stop and release, and
 * ends with usbif_chan_release().
 */
#include <linux/highmem.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>
#include "chan.h"
#include "proto.h"

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

/* ---- kinds whose region is not memory of this kernel, with an interrupt ---- */

/**
 * usbif_chan_map - map the region
 * @chan: channel that is being made
 * @start: physical address
 * @size: octets
 *
 * Return: 0, -ENODEV for a size that no region has, -ENOMEM.
 */
int usbif_chan_map(struct usbif_chan *chan, resource_size_t start, u64 size)
{
	void *base;

	if (size < USBIF_REGION_MIN || size > USBIF_REGION_MAX)
		return -ENODEV;
	base = memremap(start, size, MEMREMAP_WB);
	if (!base)
		return -ENOMEM;
	chan->base = (void __usbif __force *)base;
	chan->ctl = chan->base;
	chan->size = size;
	chan->ctl_size = PAGE_ALIGN(USBIF_CTL_SIZE);
	return 0;
}

/**
 * usbif_chan_unmap - undo usbif_chan_map()
 * @chan: channel
 */
void usbif_chan_unmap(struct usbif_chan *chan)
{
	memunmap((void __force *)chan->base);
}

static irqreturn_t chan_irq(int irq, void *data)
{
	struct usbif_chan *chan = data;

	atomic_long_inc(&chan->events);
	chan->event(chan);
	return IRQ_HANDLED;
}

/**
 * usbif_chan_irq_start - usbif_chan_ops.start of a channel with an interrupt
 * @chan: channel
 *
 * Return: 0, -EBUSY if it is started, or what request_irq() says.
 */
int usbif_chan_irq_start(struct usbif_chan *chan)
{
	int ret;

	if (chan->irq_started)
		return -EBUSY;
	ret = request_irq(chan->irq, chan_irq, 0, dev_name(chan->dev), chan);
	if (ret)
		return ret;
	chan->irq_started = true;
	/* Nobody can tell whether the other side rang before the handler was there. */
	chan->event(chan);
	return 0;
}

/**
 * usbif_chan_irq_stop - usbif_chan_ops.stop of a channel with an interrupt
 * @chan: channel
 */
void usbif_chan_irq_stop(struct usbif_chan *chan)
{
	if (!chan->irq_started)
		return;
	free_irq(chan->irq, chan);
	chan->irq_started = false;
}
