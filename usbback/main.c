// SPDX-License-Identifier: GPL-2.0
/*
 * usbback: gives USB devices of this machine to guests, over shared memory.
 *
 * Order of the end: what makes channels goes first (/dev/usbback, drivers), each
 * channel with all that it holds (backend.c), then the rules with their devices,
 * then what all of them used.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>
#include "backend.h"

static int __init usbback_init(void)
{
	int ret;

	usbback_debugfs_init();
	ret = usbback_rules_init();
	if (ret)
		goto err_debugfs_exit;
	ret = usbback_cdev_init();
	if (ret)
		goto err_rules_exit;
	ret = usbback_pci_init();
	if (ret)
		goto err_cdev_exit;
	ret = usbback_platform_init();
	if (ret)
		goto err_pci_exit;
	ret = usbback_sleep_init();
	if (ret)
		goto err_platform_exit;
	return 0;

err_platform_exit:
	usbback_platform_exit();
err_pci_exit:
	usbback_pci_exit();
err_cdev_exit:
	usbback_cdev_exit();
err_rules_exit:
	usbback_rules_exit();
	usbback_limits_exit();
err_debugfs_exit:
	usbback_debugfs_exit();
	return ret;
}

static void __exit usbback_exit(void)
{
	usbback_sleep_exit();
	usbback_platform_exit();
	usbback_pci_exit();
	usbback_cdev_exit();
	usbback_rules_exit();
	usbback_limits_exit();
	usbback_debugfs_exit();
	rcu_barrier();
}

module_init(usbback_init);
module_exit(usbback_exit);

MODULE_DESCRIPTION("USB devices for guests over shared memory: backend");
MODULE_LICENSE("GPL");
