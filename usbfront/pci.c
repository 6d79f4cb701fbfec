// SPDX-License-Identifier: GPL-2.0
/*
 * Channels on QEMU's ivshmem-doorbell device. There are others who use that device: probe
 * declines with -ENODEV, having written nothing, unless the identity in the region says
 * that this end is a frontend of ours.
 */
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>
#include "power.h"

static int usbfront_pci_probe(struct pci_dev *pdev,
			      const struct pci_device_id *id)
{
	struct usbif_chan *chan;
	struct usbfront *uf;

	chan = usbif_chan_ivshmem_create(pdev, USBIF_ROLE_FRONTEND);
	if (IS_ERR(chan))
		return PTR_ERR(chan);
	uf = usbfront_create(chan, pci_name(pdev));
	if (IS_ERR(uf))
		return PTR_ERR(uf);
	pci_set_drvdata(pdev, uf);
	device_init_wakeup(&pdev->dev, true);
	return 0;
}

static void usbfront_pci_remove(struct pci_dev *pdev)
{
	device_init_wakeup(&pdev->dev, false);
	usbfront_destroy(pci_get_drvdata(pdev));
}

static void usbfront_pci_shutdown(struct pci_dev *pdev)
{
	usbfront_shutdown(pci_get_drvdata(pdev));
}

static int doorbell_irq(struct device *dev)
{
	return pci_irq_vector(to_pci_dev(dev), 0);
}

/*
 * The devices are suspended. A doorbell ends suspend to idle if one of them may wake up
 * the guest. From suspend to RAM only the VMM can wake a guest up.
 */
static int usbfront_pci_suspend(struct device *dev)
{
	struct usbfront *uf = dev_get_drvdata(dev);

	uf->is_wake_armed = device_may_wakeup(dev) && usbfront_is_waker(uf) &&
			    !enable_irq_wake(doorbell_irq(dev));
	return 0;
}

/* Memory and session have survived; a doorbell may not have. */
static int usbfront_pci_resume(struct device *dev)
{
	struct usbfront *uf = dev_get_drvdata(dev);

	if (uf->is_wake_armed)
		disable_irq_wake(doorbell_irq(dev));
	uf->is_wake_armed = false;
	usbfront_wake(uf, USBFRONT_EV_RING);
	return 0;
}

static int usbfront_pci_suspend_noirq(struct device *dev)
{
	usbfront_pause(dev_get_drvdata(dev));
	return 0;
}

static int usbfront_pci_resume_noirq(struct device *dev)
{
	usbfront_go_on(dev_get_drvdata(dev));
	return 0;
}

/* Our books are those of the image, the region has gone on: start anew. */
static int usbfront_pci_restore(struct device *dev)
{
	usbfront_wake(dev_get_drvdata(dev), USBFRONT_EV_RESTART);
	return 0;
}

static const struct dev_pm_ops usbfront_pci_pm = {
	NOIRQ_SYSTEM_SLEEP_PM_OPS(usbfront_pci_suspend_noirq,
				  usbfront_pci_resume_noirq)
	.suspend	= pm_sleep_ptr(usbfront_pci_suspend),
	.resume		= pm_sleep_ptr(usbfront_pci_resume),
	.thaw		= pm_sleep_ptr(usbfront_pci_resume),
	.restore	= pm_sleep_ptr(usbfront_pci_restore),
};

static const struct pci_device_id usbfront_pci_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{ }
};
MODULE_DEVICE_TABLE(pci, usbfront_pci_ids);

static struct pci_driver usbfront_pci_driver = {
	.name		= USBFRONT_NAME,
	.id_table	= usbfront_pci_ids,
	.probe		= usbfront_pci_probe,
	.remove		= usbfront_pci_remove,
	.shutdown	= usbfront_pci_shutdown,
	.driver.pm	= pm_sleep_ptr(&usbfront_pci_pm),
};

/**
 * usbfront_pci_init - register the PCI driver
 *
 * Return: 0 or a negative errno.
 */
int usbfront_pci_init(void)
{
	return pci_register_driver(&usbfront_pci_driver);
}

/**
 * usbfront_pci_exit - unregister it; its channels end
 */
void usbfront_pci_exit(void)
{
	pci_unregister_driver(&usbfront_pci_driver);
}
