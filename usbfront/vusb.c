// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual controllers: made when a device first wants one, removed with the channel.
 *
 * Each is a platform device below the device of its channel, which remains the sysdev.
 * Making and removing waits for usbcore's locks, whose holders may wait for URBs that
 * only the thread can end: so a work item does the one and usbfront_destroy() the other,
 * and the thread runs from before the first controller until after the last.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "streams.h"

#define CREATE_AGAIN	HZ	/* after a failure */

/* Binds the devices, so that lsusb -t names the driver of the bus. */
static int usbfront_vusb_probe(struct platform_device *pdev)
{
	return 0;
}

static struct platform_driver usbfront_vusb_driver = {
	.probe	= usbfront_vusb_probe,
	.driver	= {
		.name			= USBFRONT_NAME,
		.suppress_bind_attrs	= true,
		.probe_type		= PROBE_FORCE_SYNCHRONOUS,
	},
};

/**
 * usbfront_vusb_init - register the driver of virtual controllers
 *
 * Return: 0 or a negative errno.
 */
int usbfront_vusb_init(void)
{
	return platform_driver_register(&usbfront_vusb_driver);
}

/**
 * usbfront_vusb_exit - unregister it
 */
void usbfront_vusb_exit(void)
{
	platform_driver_unregister(&usbfront_vusb_driver);
}

/**
 * usbfront_vusb_get - make the books of a virtual controller
 * @uf: channel; called by the thread
 * @number: of the controller; there is none yet
 *
 * The controller itself comes later, when usbcore has time.
 *
 * Return: books, or NULL without memory.
 */
struct usbfront_vusb *usbfront_vusb_get(struct usbfront *uf, unsigned int number)
{
	struct usbfront_vusb *vusb = kvzalloc(sizeof(*vusb), GFP_KERNEL);
	int i;

	if (!vusb)
		return NULL;
	vusb->uf = uf;
	vusb->number = number;
	for (i = 0; i < USBIF_MAX_PORTS; i++) {
		vusb->port[i].vusb = vusb;
		vusb->port[i].number = i + 1;
		usbfront_ep_init(&vusb->port[i]);
	}
	spin_lock_irq(&uf->lock);
	uf->vusb[number] = vusb;
	spin_unlock_irq(&uf->lock);
	mod_delayed_work(system_freezable_wq, &uf->vusb_work, 0);
	return vusb;
}

static struct platform_device *device_create_vusb(struct usbfront_vusb *vusb)
{
	struct usbfront *uf = vusb->uf;
	struct platform_device *pdev;
	int ret;

	pdev = platform_device_alloc(USBFRONT_NAME,
				     uf->index * USBIF_MAX_VUSB + vusb->number);
	if (!pdev)
		return ERR_PTR(-ENOMEM);
	pdev->dev.parent = uf->dev;
	dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	ret = platform_device_add(pdev);
	if (ret) {
		platform_device_put(pdev);
		return ERR_PTR(ret);
	}
	/* usbcore asks for the name of the driver. */
	if (!pdev->dev.driver) {
		platform_device_unregister(pdev);
		return ERR_PTR(-ENOMEM);
	}
	return pdev;
}

static struct usb_hcd *hcd_create(struct usbfront_vusb *vusb,
				  enum usbfront_side side,
				  struct usb_hcd *primary)
{
	struct device *dev = &vusb->pdev->dev;
	struct usbfront_hcd *priv;
	struct usb_hcd *hcd;

	hcd = __usb_create_hcd(&usbfront_hc_driver, vusb->uf->dev, dev,
			       dev_name(dev), primary);
	if (!hcd)
		return NULL;
	priv = usbfront_hcd_priv(hcd);
	priv->vusb = vusb;
	priv->side = side;
	priv->driver = usbfront_hc_driver;
	snprintf(priv->product, sizeof(priv->product), "%s (vusb %u)",
		 usbfront_hc_driver.product_desc, vusb->number);
	strscpy(priv->bus_name, dev_name(dev), sizeof(priv->bus_name));
	hcd->driver = &priv->driver;
	hcd->product_desc = priv->product;
	hcd->self.bus_name = priv->bus_name;
	hcd->self.sg_tablesize = ~0;
	hcd->self.no_sg_constraint = 1;
	/* Or libusb counts on the queue to stop after a short packet. */
	hcd->self.no_stop_on_short = 1;
	hcd->skip_phy_initialization = 1;
	hcd->uses_new_polling = 1;
	if (side == USBFRONT_USB2) {
		hcd->speed = HCD_USB2;
		hcd->has_tt = 1;	/* full and low speed without a hub */
	}
	return hcd;
}

/* One that usbcore did not take keeps its books, and is offered again. */
static int hcd_add(struct usbfront_vusb *vusb, enum usbfront_side side)
{
	struct usb_hcd *hcd = vusb->hcd[side];

	if (!hcd)
		hcd = hcd_create(vusb, side, vusb->hcd[USBFRONT_USB2]);
	if (!hcd)
		return -ENOMEM;
	/* usb_add_hcd() already asks for port states and has URBs submitted. */
	smp_store_release(&vusb->hcd[side], hcd);
	spin_lock_irq(&vusb->uf->lock);
	usbfront_streams_update(vusb);
	spin_unlock_irq(&vusb->uf->lock);
	return usb_add_hcd(hcd, 0, 0);
}

/* Goes on where it failed the last time. */
static int vusb_create(struct usbfront_vusb *vusb)
{
	struct platform_device *pdev;
	int ret = 0;

	if (!vusb->pdev) {
		pdev = device_create_vusb(vusb);
		if (IS_ERR(pdev))
			return PTR_ERR(pdev);
		vusb->pdev = pdev;
	}
	while (!ret && vusb->nr_hcds < USBFRONT_NR_SIDES) {
		ret = hcd_add(vusb, vusb->nr_hcds);
		if (!ret)
			vusb->nr_hcds++;
	}
	usbfront_wake(vusb->uf, USBFRONT_EV_POLL);
	return ret;
}

/**
 * usbfront_vusbs_create - make the controllers that are missing
 * @work: in the channel
 *
 * What can't be made is tried again: nobody else would, and the backend says that its
 * devices are there.
 */
void usbfront_vusbs_create(struct work_struct *work)
{
	struct usbfront *uf = container_of(to_delayed_work(work),
					   struct usbfront, vusb_work);
	int i, ret;

	for (i = 0; i < USBIF_MAX_VUSB; i++) {
		struct usbfront_vusb *vusb = READ_ONCE(uf->vusb[i]);

		if (!vusb || vusb->nr_hcds == USBFRONT_NR_SIDES)
			continue;
		ret = vusb_create(vusb);
		if (!ret)
			continue;
		dev_err_ratelimited(uf->dev, "%s: vusb %u: no controller, error %d\n",
				    uf->name, i, ret);
		queue_delayed_work(system_freezable_wq, &uf->vusb_work, CREATE_AGAIN);
	}
}

/**
 * usbfront_vusbs_remove - remove all controllers
 * @uf: channel; its thread runs, its work does not, it has no session
 *
 * Drivers are unbound; what they still submit is refused. The halves stay in memory, as
 * the thread may be about to poll one.
 */
void usbfront_vusbs_remove(struct usbfront *uf)
{
	int i;

	for (i = 0; i < USBIF_MAX_VUSB; i++) {
		struct usbfront_vusb *vusb = uf->vusb[i];

		if (!vusb)
			continue;
		if (vusb->nr_hcds > 1)
			usb_remove_hcd(vusb->hcd[USBFRONT_USB3]);
		if (vusb->nr_hcds > 0)
			usb_remove_hcd(vusb->hcd[USBFRONT_USB2]);
	}
}

/* A poll that was on its way while usb_remove_hcd() stopped them may set the timer. */
static void side_free(struct usb_hcd *hcd)
{
	if (!hcd)
		return;
	timer_delete_sync(&hcd->rh_timer);
	usb_put_hcd(hcd);
}

/**
 * usbfront_vusbs_free - free the books of all controllers
 * @uf: channel; its thread has ended
 */
void usbfront_vusbs_free(struct usbfront *uf)
{
	int i;

	for (i = 0; i < USBIF_MAX_VUSB; i++) {
		struct usbfront_vusb *vusb = uf->vusb[i];

		if (!vusb)
			continue;
		uf->vusb[i] = NULL;
		side_free(vusb->hcd[USBFRONT_USB3]);
		side_free(vusb->hcd[USBFRONT_USB2]);
		if (vusb->pdev)
			platform_device_unregister(vusb->pdev);
		kvfree(vusb);
	}
}

static void side_poll(struct usbfront_vusb *vusb, enum usbfront_side side)
{
	/* Pairs with hcd_add(): what we see is whole. */
	struct usb_hcd *hcd = smp_load_acquire(&vusb->hcd[side]);
	struct usbfront *uf = vusb->uf;
	bool is_due, is_suspended;
	unsigned long wakeups;
	int port;

	if (!hcd)
		return;
	spin_lock_irq(&uf->lock);
	wakeups = vusb->wakeups[side];
	vusb->wakeups[side] = 0;
	is_due = vusb->is_poll_due[side];
	is_suspended = vusb->is_suspended[side];
	vusb->is_poll_due[side] = false;
	spin_unlock_irq(&uf->lock);
	if (!is_due)
		return;
	for_each_set_bit(port, &wakeups, USBIF_MAX_PORTS + 1)
		usb_wakeup_notification(hcd->self.root_hub, port);
	if (is_suspended)
		usb_hcd_resume_root_hub(hcd);
	else
		usb_hcd_poll_rh_status(hcd);
}

/**
 * usbfront_vusbs_poll - tell usbcore about ports that have changed
 * @uf: channel; called by the thread
 */
void usbfront_vusbs_poll(struct usbfront *uf)
{
	int i;

	for (i = 0; i < USBIF_MAX_VUSB; i++) {
		if (!uf->vusb[i])
			continue;
		side_poll(uf->vusb[i], USBFRONT_USB2);
		side_poll(uf->vusb[i], USBFRONT_USB3);
	}
}
