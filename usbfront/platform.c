// SPDX-License-Identifier: GPL-2.0
/*
 * Channels on nodes of a device tree that say that this end is the frontend. Their names are
 * those of the devices.
 */
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include "makers.h"

static int usbfront_platform_probe(struct platform_device *pdev)
{
	struct usbif_chan *chan;
	struct usbfront *uf;

	chan = usbif_chan_platform_create(pdev, USBIF_ROLE_FRONTEND);
	if (IS_ERR(chan))
		return PTR_ERR(chan);
	uf = usbfront_create(chan, dev_name(&pdev->dev));
	if (IS_ERR(uf))
		return PTR_ERR(uf);
	platform_set_drvdata(pdev, uf);
	device_init_wakeup(&pdev->dev, true);
	return 0;
}

static compat_remove_t usbfront_platform_remove(struct platform_device *pdev)
{
	device_init_wakeup(&pdev->dev, false);
	usbfront_destroy(platform_get_drvdata(pdev));
	return COMPAT_REMOVED;
}

static void usbfront_platform_shutdown(struct platform_device *pdev)
{
	usbfront_shutdown(platform_get_drvdata(pdev));
}

static const struct of_device_id usbfront_platform_ids[] = {
	{ .compatible = "usbif,channel" },
	{ }
};
MODULE_DEVICE_TABLE(of, usbfront_platform_ids);

static struct platform_driver usbfront_platform_driver = {
	.probe		= usbfront_platform_probe,
	.remove		= usbfront_platform_remove,
	.shutdown	= usbfront_platform_shutdown,
	.driver = {
		.name		= USBFRONT_NAME "-channel",
		.of_match_table	= usbfront_platform_ids,
		.pm		= pm_sleep_ptr(&usbfront_pm),
	},
};

/**
 * usbfront_platform_init - register the platform driver
 *
 * Return: 0 or a negative errno.
 */
int usbfront_platform_init(void)
{
	return platform_driver_register(&usbfront_platform_driver);
}

/**
 * usbfront_platform_exit - unregister it; its channels end
 */
void usbfront_platform_exit(void)
{
	platform_driver_unregister(&usbfront_platform_driver);
}
