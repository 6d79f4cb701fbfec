// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes of a device tree that say that this end is the backend: the channels of a driver VM.
 * Their guests have the names that the nodes' labels are; without a label, root gives one.
 */
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include "backend.h"
#include "spec.h"

static int usbback_platform_probe(struct platform_device *pdev)
{
	const char *name = usbif_chan_platform_label(pdev);
	struct usbif_chan *chan;
	struct usbback *ub;

	chan = usbif_chan_platform_create(pdev, USBIF_ROLE_BACKEND);
	if (IS_ERR(chan))
		return PTR_ERR(chan);
	if (name && !usbback_spec_valid_vm(name, strlen(name))) {
		dev_warn(&pdev->dev,
			 "label: not 1 to 31 characters of A-Za-z0-9_.-, the channel has no name\n");
		name = NULL;
	}
	ub = usbback_create(chan, name, 0);
	if (IS_ERR(ub)) {
		if (PTR_ERR(ub) == -EBUSY)
			dev_err(&pdev->dev,
				"label: another channel is named %s\n", name);
		usbif_chan_release(chan);
		return PTR_ERR(ub);
	}
	platform_set_drvdata(pdev, ub);
	return 0;
}

static void usbback_platform_end(struct platform_device *pdev)
{
	struct usbback *ub = platform_get_drvdata(pdev);

	/* Also called at shutdown, once. */
	platform_set_drvdata(pdev, NULL);
	if (ub)
		usbback_destroy(ub);
}

static compat_remove_t usbback_platform_remove(struct platform_device *pdev)
{
	usbback_platform_end(pdev);
	return COMPAT_REMOVED;
}

static const struct of_device_id usbback_platform_ids[] = {
	{ .compatible = "usbif,channel" },
	{ }
};

static struct platform_driver usbback_platform_driver = {
	.probe = usbback_platform_probe,
	.remove = usbback_platform_remove,
	.shutdown = usbback_platform_end,
	.driver = {
		.name = "usbback-channel",
		.of_match_table = usbback_platform_ids,
		.pm = pm_sleep_ptr(&usbback_pm),
	},
};

int usbback_platform_init(void)
{
	return platform_driver_register(&usbback_platform_driver);
}

void usbback_platform_exit(void)
{
	platform_driver_unregister(&usbback_platform_driver);
}
