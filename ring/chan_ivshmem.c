// SPDX-License-Identifier: GPL-2.0
/*
 * Channels of kind ivshmem: QEMU's ivshmem-doorbell PCI device.
 *
 *   BAR 0  registers: our number among the peers, the doorbell
 *   BAR 1  MSI-X table
 *   BAR 2  the region
 *
 * usbback and usbfront match the same PCI id. Which of them a device is for stands in
 * the identity at the start of the region, so this is looked at before anything is
 * written; whoever is not meant leaves the device as it was.
 *
 * Lifetime. Made in probe(), released in remove() of the PCI driver.
 */
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include "chan.h"
#include "proto.h"

#define BAR_REGS	0
#define BAR_REGION	2

#define REG_POSITION	8	/* our number, negative until there is one */
#define REG_DOORBELL	12	/* peer << 16 | vector */
#define REGS_SIZE	16

/**
 * struct chan_ivshmem - a channel of kind ivshmem
 * @chan: what the modules see
 * @pdev: PCI device
 * @regs: BAR 0
 * @bell: value that rings the other side
 */
struct chan_ivshmem {
	struct usbif_chan chan;
	struct pci_dev *pdev;
	void __iomem *regs;
	u32 bell;
};

static struct chan_ivshmem *to_ivshmem(struct usbif_chan *chan)
{
	return container_of(chan, struct chan_ivshmem, chan);
}

/* writel() orders the ring and its index before the bell. */
static void chan_ivshmem_kick(struct usbif_chan *chan)
{
	struct chan_ivshmem *iv = to_ivshmem(chan);

	writel(iv->bell, iv->regs + REG_DOORBELL);
}

static int regs_map(struct chan_ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;
	s32 position;

	if (!(pci_resource_flags(pdev, BAR_REGS) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, BAR_REGS) < REGS_SIZE)
		return -ENODEV;
	iv->regs = pci_iomap(pdev, BAR_REGS, 0);
	if (!iv->regs)
		return -ENOMEM;
	position = readl(iv->regs + REG_POSITION);
	if (position < 0) {
		pci_iounmap(pdev, iv->regs);
		return -ENODEV;
	}
	iv->chan.peer = position;
	return 0;
}

static int region_map(struct chan_ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;

	if (!(pci_resource_flags(pdev, BAR_REGION) & IORESOURCE_MEM))
		return -ENODEV;
	return usbif_chan_map(&iv->chan, pci_resource_start(pdev, BAR_REGION),
			      pci_resource_len(pdev, BAR_REGION));
}

/* -ENODEV unless the identity says that we have @role. Finds whom to ring. */
static int role_check(struct chan_ivshmem *iv, enum usbif_role role)
{
	struct usbif_identity id;
	enum usbif_why why;
	u32 self, other;

	if (usbif_ident_read(&id, iv->chan.ctl + USBIF_IDENT_OFFSET,
			     iv->chan.size, &why)) {
		dev_dbg(iv->chan.dev, "no identity: %s\n", usbif_why_name(why));
		return -ENODEV;
	}
	self = role == USBIF_ROLE_BACKEND ? id.backend : id.frontend;
	other = role == USBIF_ROLE_BACKEND ? id.frontend : id.backend;
	if (iv->chan.peer != self)
		return -ENODEV;
	iv->bell = other << 16;
	return 0;
}

#define SAMPLE_SIZE	(64 * 1024)
#define SAMPLE_ROUNDS	4
#define SLOW_FACTOR	16

/* Least time of a few passes, so that being preempted in one does not count. */
static u64 read_time(const void *memory)
{
	const u64 *word = memory;
	u64 best = U64_MAX;
	unsigned int round, i;
	u64 start;

	for (round = 0; round < SAMPLE_ROUNDS; round++) {
		start = ktime_get_ns();
		for (i = 0; i < SAMPLE_SIZE / sizeof(*word); i++)
			(void)READ_ONCE(word[i]);
		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

/*
 * Firmware may have put the BAR where the memory type registers say uncached, which
 * is a hundred times slower and else nowhere to be seen. Measured against ordinary
 * memory, since an emulator is slow everywhere.
 */
static void speed_check(struct chan_ivshmem *iv)
{
	void *sample = kzalloc(SAMPLE_SIZE, GFP_KERNEL | __GFP_NOWARN);
	u64 normal, region;

	if (!sample)
		return;
	normal = read_time(sample);
	region = read_time((const void __force *)iv->chan.base);
	kfree(sample);
	if (region / SLOW_FACTOR > normal)
		dev_warn(iv->chan.dev,
			 "reading the region is %llu times slower than memory: uncached? Place BAR 2 above 4 GiB\n",
			 div64_u64(region, max_t(u64, normal, 1)));
}

static int irq_alloc(struct chan_ivshmem *iv)
{
	int ret = pci_alloc_irq_vectors(iv->pdev, 1, 1, PCI_IRQ_MSIX);

	if (ret < 0) {
		dev_err(iv->chan.dev, "no MSI-X vector: %d\n", ret);
		return ret;
	}
	iv->chan.irq = pci_irq_vector(iv->pdev, 0);
	return 0;
}

static void chan_ivshmem_release(struct usbif_chan *chan)
{
	struct chan_ivshmem *iv = to_ivshmem(chan);
	struct pci_dev *pdev = iv->pdev;

	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	usbif_chan_unmap(&iv->chan);
	pci_iounmap(pdev, iv->regs);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
	pci_dev_put(pdev);
	kfree(iv);
}

static const struct usbif_chan_ops chan_ivshmem_ops = {
	.kind = "ivshmem",
	.is_device = true,
	.kick = chan_ivshmem_kick,
	.start = usbif_chan_irq_start,
	.stop = usbif_chan_irq_stop,
	.release = chan_ivshmem_release,
};

/* What makes the device work, once it is known to be ours. */
static int device_setup(struct chan_ivshmem *iv)
{
	int ret = dma_set_mask_and_coherent(iv->chan.dev, DMA_BIT_MASK(64));

	if (ret)
		return ret;
	dma_set_max_seg_size(iv->chan.dev, UINT_MAX);
	pci_set_master(iv->pdev);
	ret = irq_alloc(iv);
	if (ret)
		pci_clear_master(iv->pdev);
	return ret;
}

/**
 * usbif_chan_ivshmem_create - make a channel of an ivshmem device
 * @pdev: PCI device, in probe
 * @role: what the caller is
 *
 * Return: a channel, not started, or an ERR_PTR with everything undone; -ENODEV, and
 * nothing written to the device or the region, if the region is not ours.
 */
struct usbif_chan *usbif_chan_ivshmem_create(struct pci_dev *pdev,
					     enum usbif_role role)
{
	struct chan_ivshmem *iv;
	int ret;

	iv = kzalloc(sizeof(*iv), GFP_KERNEL);
	if (!iv)
		return ERR_PTR(-ENOMEM);
	iv->pdev = pci_dev_get(pdev);
	iv->chan.ops = &chan_ivshmem_ops;
	iv->chan.dev = &pdev->dev;

	ret = pci_enable_device(pdev);
	if (ret)
		goto err_free;
	ret = pci_request_regions(pdev, "usbif");
	if (ret)
		goto err_disable;
	ret = regs_map(iv);
	if (ret)
		goto err_release_regions;
	ret = region_map(iv);
	if (ret)
		goto err_unmap_regs;
	ret = role_check(iv, role);
	if (ret)
		goto err_unmap_region;
	speed_check(iv);
	ret = device_setup(iv);
	if (ret)
		goto err_unmap_region;
	return &iv->chan;

err_unmap_region:
	usbif_chan_unmap(&iv->chan);
err_unmap_regs:
	pci_iounmap(pdev, iv->regs);
err_release_regions:
	pci_release_regions(pdev);
err_disable:
	pci_disable_device(pdev);
err_free:
	pci_dev_put(pdev);
	kfree(iv);
	return ERR_PTR(ret);
}
