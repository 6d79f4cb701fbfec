// SPDX-License-Identifier: GPL-2.0
/*
 * The system goes to sleep: what the device of a channel does. The USB devices are in
 * power.c.
 */
#include <linux/pm.h>
#include "backend.h"

/* No request is in flight any more, as the devices sleep already. */
static int usbback_dev_suspend_noirq(struct device *dev)
{
	usbback_pause(dev_get_drvdata(dev));
	return 0;
}

static int usbback_dev_resume_noirq(struct device *dev)
{
	usbback_go_on(dev_get_drvdata(dev));
	return 0;
}

/* Of the devices that channels are on; their drvdata is the backend. */
const struct dev_pm_ops usbback_pm = {
	NOIRQ_SYSTEM_SLEEP_PM_OPS(usbback_dev_suspend_noirq,
				  usbback_dev_resume_noirq)
};
