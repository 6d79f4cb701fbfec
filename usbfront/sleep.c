// SPDX-License-Identifier: GPL-2.0
/*
 * The system goes to sleep: what the device of a channel does. The devices on the ports are
 * in power.c.
 */
#include <linux/interrupt.h>
#include <linux/pm.h>
#include "makers.h"

/*
 * The devices are suspended. A doorbell ends suspend to idle if one of them may wake up
 * the guest. From suspend to RAM only the VMM can wake a guest up.
 */
static int usbfront_dev_suspend(struct device *dev)
{
	struct usbfront *uf = dev_get_drvdata(dev);

	uf->is_wake_armed = device_may_wakeup(dev) && usbfront_is_waker(uf) &&
			    !enable_irq_wake(uf->chan->irq);
	return 0;
}

/* Memory and session have survived; a doorbell may not have. */
static int usbfront_dev_resume(struct device *dev)
{
	struct usbfront *uf = dev_get_drvdata(dev);

	if (uf->is_wake_armed)
		disable_irq_wake(uf->chan->irq);
	uf->is_wake_armed = false;
	usbfront_wake(uf, USBFRONT_EV_RING);
	return 0;
}

static int usbfront_dev_suspend_noirq(struct device *dev)
{
	usbfront_pause(dev_get_drvdata(dev));
	return 0;
}

static int usbfront_dev_resume_noirq(struct device *dev)
{
	usbfront_go_on(dev_get_drvdata(dev));
	return 0;
}

/* Our books are those of the image, the region has gone on: start anew. */
static int usbfront_dev_restore(struct device *dev)
{
	usbfront_wake(dev_get_drvdata(dev), USBFRONT_EV_RESTART);
	return 0;
}

/* Of the devices that channels are on; their drvdata is the channel. */
const struct dev_pm_ops usbfront_pm = {
	NOIRQ_SYSTEM_SLEEP_PM_OPS(usbfront_dev_suspend_noirq,
				  usbfront_dev_resume_noirq)
	.suspend	= pm_sleep_ptr(usbfront_dev_suspend),
	.resume		= pm_sleep_ptr(usbfront_dev_resume),
	.thaw		= pm_sleep_ptr(usbfront_dev_resume),
	.restore	= pm_sleep_ptr(usbfront_dev_restore),
};
