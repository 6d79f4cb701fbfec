// SPDX-License-Identifier: GPL-2.0
/*
 * Channels on QEMU's ivshmem-doorbell device. There are others who use that device: probe
 * declines with -ENODEV, having written nothing, unless the identity in the region says
 * that this end is a frontend of ours.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include "makers.h"

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
	.driver.pm	= pm_sleep_ptr(&usbfront_pm),
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
