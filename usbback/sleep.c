// SPDX-License-Identifier: GPL-2.0
/*
 * The system goes to sleep: what the device of a channel does, and the end of it. The
 * USB devices are in power.c.
 */
#include <linux/notifier.h>
#include <linux/pm.h>
#include <linux/suspend.h>
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

static int sleep_event(struct notifier_block *block, unsigned long event, void *unused)
{
	struct usbback *ub = NULL;

	if (event != PM_POST_SUSPEND && event != PM_POST_HIBERNATION &&
	    event != PM_POST_RESTORE)
		return NOTIFY_DONE;
	usbback_lock_list();
	while ((ub = usbback_next(ub)))
		usbback_ports_thaw(ub);
	usbback_unlock_list();
	return NOTIFY_OK;
}

static struct notifier_block sleep_block = { .notifier_call = sleep_event };

int usbback_sleep_init(void)
{
	return register_pm_notifier(&sleep_block);
}

void usbback_sleep_exit(void)
{
	unregister_pm_notifier(&sleep_block);
}
