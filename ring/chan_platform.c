// SPDX-License-Identifier: GPL-2.0
/*
 * Channels of kind platform: guests whose devices stand in a device tree, under any VMM
 * that can share memory, turn a store into a notification, and raise an interrupt.
 *
 *   memory-region    the region, mapped write-back by both guests (no-map)
 *   reg "doorbell"   a 32-bit store of usbif,doorbell-value there rings the other side
 *   interrupts       an edge when the other side rings
 *   dma-coherent     required: host controllers read and write what processors cache
 *   usbif,role       "backend" or "frontend": which module this end is for
 *   label            name of the virtual machine at the other end
 *
 * The binding is Documentation/devicetree/bindings/usbif,channel.yaml. Nothing in the
 * region says who is who; the device tree does.
 *
 * Some VMMs drop an interrupt that is raised while it is masked, or while the one before
 * has not been acknowledged. So there is a hard handler and nothing else: no thread with
 * IRQF_ONESHOT, no disable_irq(). Both modules look at the rings when they start, and again
 * whenever something is under way for long.
 *
 * Lifetime. Made in probe(), released in remove() of the platform driver.
 */
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/log2.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include "chan.h"

/**
 * struct chan_platform - a channel of kind platform
 * @chan: what the modules see
 * @bell: doorbell register
 * @value: what rings the other side
 */
struct chan_platform {
	struct usbif_chan chan;
	void __iomem *bell;
	u32 value;
};

static struct chan_platform *to_platform(struct usbif_chan *chan)
{
	return container_of(chan, struct chan_platform, chan);
}

/*
 * writel() orders the ring and its index before the bell, and is a single store, the only
 * thing that a VMM can decode.
 */
static void chan_platform_kick(struct usbif_chan *chan)
{
	struct chan_platform *pl = to_platform(chan);

	writel(pl->value, pl->bell);
}

static void chan_platform_release(struct usbif_chan *chan)
{
	struct chan_platform *pl = to_platform(chan);

	iounmap(pl->bell);
	usbif_chan_unmap(chan);
	put_device(chan->dev);
	kfree(pl);
}

static const struct usbif_chan_ops chan_platform_ops = {
	.kind = "platform",
	.is_device = true,
	.kick = chan_platform_kick,
	.start = usbif_chan_irq_start,
	.stop = usbif_chan_irq_stop,
	.release = chan_platform_release,
};

/* ---- the device tree ---- */

static int refuse(struct device *dev, const char *property, const char *why)
{
	dev_err(dev, "%s: %s\n", property, why);
	return -EINVAL;
}

/* -ENODEV without a word if the other module is meant. */
static int role_check(struct device *dev, enum usbif_role role)
{
	static const char * const names[] = {
		[USBIF_ROLE_BACKEND] = "backend",
		[USBIF_ROLE_FRONTEND] = "frontend",
	};
	const char *name;

	if (of_property_read_string(dev->of_node, "usbif,role", &name))
		return refuse(dev, "usbif,role", "missing");
	if (!strcmp(name, names[role]))
		return 0;
	if (strcmp(name, names[USBIF_ROLE_BACKEND]) &&
	    strcmp(name, names[USBIF_ROLE_FRONTEND]))
		return refuse(dev, "usbif,role",
			      "neither \"backend\" nor \"frontend\"");
	return -ENODEV;
}

static int region_find(struct device *dev, struct resource *res)
{
	struct device_node *node;
	int ret;

	node = of_parse_phandle(dev->of_node, "memory-region", 0);
	if (!node)
		return refuse(dev, "memory-region", "missing");
	ret = of_address_to_resource(node, 0, res);
	of_node_put(node);
	if (ret)
		return refuse(dev, "memory-region", "has no usable reg");
	if (!PAGE_ALIGNED(res->start) ||
	    resource_size(res) < USBIF_REGION_MIN ||
	    resource_size(res) > USBIF_REGION_MAX)
		return refuse(dev, "memory-region",
			      "not aligned to a page, too small or too large");
	if (!is_power_of_2(resource_size(res)))
		return refuse(dev, "memory-region",
			      "the size is not a power of two");
	if (region_intersects(res->start, resource_size(res),
			      IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) !=
	    REGION_DISJOINT)
		return refuse(dev, "memory-region",
			      "is memory of this kernel: no-map is missing");
	return 0;
}

static int region_map(struct usbif_chan *chan)
{
	struct resource res;
	int ret;

	ret = region_find(chan->dev, &res);
	if (ret)
		return ret;
	if (usbif_chan_map(chan, res.start, resource_size(&res)))
		return refuse(chan->dev, "memory-region", "can't be mapped");
	return 0;
}

static int bell_map(struct chan_platform *pl, struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct resource *res;

	res = platform_get_resource_byname(pdev, IORESOURCE_MEM, "doorbell");
	if (!res)
		return refuse(dev, "reg", "none is named \"doorbell\" in reg-names");
	if (resource_size(res) < sizeof(u32) ||
	    !IS_ALIGNED(res->start, sizeof(u32)))
		return refuse(dev, "reg", "no aligned 32-bit doorbell");
	/* Not requested: it may be a page of a region that is reserved as a whole. */
	pl->bell = ioremap(res->start, resource_size(res));
	if (!pl->bell)
		return refuse(dev, "reg", "can't be mapped");
	pl->value = 1;
	of_property_read_u32(dev->of_node, "usbif,doorbell-value", &pl->value);
	return 0;
}

static int irq_find(struct usbif_chan *chan, struct platform_device *pdev)
{
	int irq = platform_get_irq_optional(pdev, 0);

	if (irq == -EPROBE_DEFER)
		return irq;
	if (irq < 0)
		return refuse(chan->dev, "interrupts", "missing or not usable");
	if (irq_get_trigger_type(irq) & IRQ_TYPE_LEVEL_MASK)
		return refuse(chan->dev, "interrupts",
			      "level triggered, nothing would clear it; has to be an edge");
	chan->irq = irq;
	return 0;
}

static int dma_setup(struct device *dev)
{
	int ret;

	if (!of_dma_is_coherent(dev->of_node))
		return refuse(dev, "dma-coherent", "missing");
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dma_set_max_seg_size(dev, UINT_MAX);
	return 0;
}

/**
 * usbif_chan_platform_create - make a channel of a device tree node
 * @pdev: platform device, in probe
 * @role: what the caller is
 *
 * Return: a channel, not started, or an ERR_PTR with everything undone and nothing
 * written: -ENODEV if the node is for the other role, -EPROBE_DEFER if there is no
 * interrupt controller yet, -EINVAL with a message that names the property.
 */
struct usbif_chan *usbif_chan_platform_create(struct platform_device *pdev,
					      enum usbif_role role)
{
	struct chan_platform *pl;
	int ret;

	ret = role_check(&pdev->dev, role);
	if (ret)
		return ERR_PTR(ret);
	pl = kzalloc(sizeof(*pl), GFP_KERNEL);
	if (!pl)
		return ERR_PTR(-ENOMEM);
	pl->chan.ops = &chan_platform_ops;
	pl->chan.dev = get_device(&pdev->dev);

	ret = irq_find(&pl->chan, pdev);
	if (ret)
		goto err_free;
	ret = dma_setup(&pdev->dev);
	if (ret)
		goto err_free;
	ret = region_map(&pl->chan);
	if (ret)
		goto err_free;
	ret = bell_map(pl, pdev);
	if (ret)
		goto err_unmap;
	return &pl->chan;

err_unmap:
	usbif_chan_unmap(&pl->chan);
err_free:
	put_device(&pdev->dev);
	kfree(pl);
	return ERR_PTR(ret);
}

/**
 * usbif_chan_platform_label - name of the virtual machine at the other end
 * @pdev: platform device
 *
 * Return: the label of its node, or NULL if it has none.
 */
const char *usbif_chan_platform_label(struct platform_device *pdev)
{
	const char *label;

	if (of_property_read_string(pdev->dev.of_node, "label", &label))
		return NULL;
	return label;
}
