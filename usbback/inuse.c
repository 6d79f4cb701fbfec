// SPDX-License-Identifier: GPL-2.0
/*
 * Whether the host uses a disk that a USB device carries. Every user of a disk
 * or a partition either claims it exclusively (file systems, swap, dm, md) or
 * holds it open.
 */
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/device.h>
#include "inuse.h"

/* udev and the partition scan open a new disk for a moment: no use yet. */
#define OPEN_RETRIES	20
#define OPEN_RETRY_MS	50

/* From the interface over host, target and LUN to a partition it is seven. */
#define MAX_DEPTH	16

/**
 * struct inuse_walk - state of a walk down the device tree
 * @why: text for a person, valid if the walk finds something
 * @size: of @why
 * @depth: of the device being visited
 * @open: what was found is an open file only, which may go away soon
 */
struct inuse_walk {
	char *why;
	size_t size;
	unsigned int depth;
	bool open;
};

/* block_class is not exported to modules. */
static bool is_block(const struct device *dev)
{
	return dev->class && !strcmp(dev->class->name, "block");
}

static int check_block(struct device *dev, struct inuse_walk *walk)
{
	struct block_device *bdev = dev_to_bdev(dev);

	if (compat_bd_prepare_to_claim(bdev, walk)) {
		snprintf(walk->why, walk->size,
			 "%s is in use by the host (mounted, swap or part of another device)",
			 dev_name(dev));
		walk->open = false;
		return -EBUSY;
	}
	bd_abort_claiming(bdev, walk);

	if (atomic_read(&bdev->bd_openers)) {
		snprintf(walk->why, walk->size, "%s is open on the host",
			 dev_name(dev));
		walk->open = true;
		return -EBUSY;
	}
	return 0;
}

/* Children first: the use of a partition also shows at its disk, and the text
 * is to name the partition.
 */
static int visit(struct device *dev, void *data)
{
	struct inuse_walk *walk = data;
	int err;

	if (walk->depth == MAX_DEPTH)
		return 0;
	walk->depth++;
	err = device_for_each_child(dev, walk, visit);
	walk->depth--;
	if (!err && is_block(dev))
		err = check_block(dev, walk);
	return err;
}

/**
 * usbback_inuse - whether the host uses a disk on a device
 * @udev: the device; the caller holds a reference
 * @why: takes a text that says which and how
 * @size: of @why
 *
 * Context: process, may sleep for about a second
 * Return: 0 or -EBUSY
 */
int usbback_inuse(struct usb_device *udev, char *why, size_t size)
{
	unsigned int i;

	for (i = 0; ; i++) {
		struct inuse_walk walk = { .why = why, .size = size };
		int err = device_for_each_child(&udev->dev, &walk, visit);

		if (!err || !walk.open || i == OPEN_RETRIES)
			return err;
		msleep(OPEN_RETRY_MS);
	}
}
