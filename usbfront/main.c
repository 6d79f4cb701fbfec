// SPDX-License-Identifier: GPL-2.0
/*
 * usbfront - virtual USB host controllers whose devices are elsewhere: the order in which
 * the parts come and go.
 */
#include <linux/module.h>
#include "makers.h"

static int __init usbfront_init(void)
{
	int ret;

	if (usb_disabled())
		return -ENODEV;
	usbfront_debugfs_init();
	ret = usbfront_vusb_init();
	if (ret)
		goto err_debugfs;
	ret = usbfront_cdev_init();
	if (ret)
		goto err_vusb;
	ret = usbfront_pci_init();
	if (ret)
		goto err_cdev;
	ret = usbfront_platform_init();
	if (ret)
		goto err_pci;
	return 0;

err_pci:
	usbfront_pci_exit();
err_cdev:
	usbfront_cdev_exit();
err_vusb:
	usbfront_vusb_exit();
err_debugfs:
	usbfront_debugfs_exit();
	return ret;
}

static void __exit usbfront_exit(void)
{
	usbfront_platform_exit();
	usbfront_pci_exit();
	usbfront_cdev_exit();
	usbfront_vusb_exit();
	usbfront_debugfs_exit();
}

module_init(usbfront_init);
module_exit(usbfront_exit);

MODULE_DESCRIPTION("Paravirtual USB host controller over shared memory");
MODULE_AUTHOR("usbif developers");
MODULE_LICENSE("GPL");
