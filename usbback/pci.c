// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem devices whose region says that this end is the backend: the channels of
 * a driver VM. They have no name until root gives them one.
 *
 * There is no device table for module loading: whoever wants a backend loads it.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include "backend.h"

#define IVSHMEM_VENDOR	PCI_VENDOR_ID_REDHAT_QUMRANET
#define IVSHMEM_DEVICE	0x1110

static int usbback_pci_probe(struct pci_dev *pdev,
			     const struct pci_device_id *id)
{
	struct usbif_chan *chan;
	struct usbback *ub;

	chan = usbif_chan_ivshmem_create(pdev, USBIF_ROLE_BACKEND);
	if (IS_ERR(chan))
		return PTR_ERR(chan);
	ub = usbback_create(chan, NULL, 0);
	if (IS_ERR(ub)) {
		usbif_chan_release(chan);
		return PTR_ERR(ub);
	}
	pci_set_drvdata(pdev, ub);
	return 0;
}

static void usbback_pci_remove(struct pci_dev *pdev)
{
	struct usbback *ub = pci_get_drvdata(pdev);

	/* Also called at shutdown, once. */
	pci_set_drvdata(pdev, NULL);
	if (ub)
		usbback_destroy(ub);
}

static const struct pci_device_id usbback_pci_ids[] = {
	{ PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE) },
	{}
};

static struct pci_driver usbback_pci_driver = {
	.name = "usbback",
	.id_table = usbback_pci_ids,
	.probe = usbback_pci_probe,
	.remove = usbback_pci_remove,
	.shutdown = usbback_pci_remove,
	.driver.pm = pm_sleep_ptr(&usbback_pm),
};

int usbback_pci_init(void)
{
	return pci_register_driver(&usbback_pci_driver);
}

void usbback_pci_exit(void)
{
	pci_unregister_driver(&usbback_pci_driver);
}
