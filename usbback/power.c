// SPDX-License-Identifier: GPL-2.0
/*
 * Power: devices that a guest suspends, and the host's own sleep.
 *
 * A grabbed device holds one runtime PM reference of ours, against the host's
 * autosuspend. USBIF_OP_SUSPEND drops it (ASLEEP), and the USB core suspends the
 * device as it would after a time of idleness, with remote wakeup if the guest has
 * enabled that. Whoever clears ASLEEP takes the reference again: the worker, for
 * USBIF_OP_RESUME or whatever else needs the device, or the USB core's resume
 * callback, for a device that woke up by itself. Only the latter tells the guest.
 *
 * While a device is suspended the gate of its port is closed: requests wait. So
 * they do (port->frozen) while the host itself sleeps: the host controller would
 * fail them. Those that the host controller has get a moment to end: one that is cut in
 * two is lost for the guest, which then resets a device that sleeps, and gives it up. What
 * is left is taken back, and operations begin when the host is awake again.
 */
#include <linux/pm_runtime.h>
#include "backend.h"
#include "device.h"

#define LOCK_MS		1000	/* for the device lock */
#define WAKE_MS		10000	/* for that of one the PM core resumes, with others to reset */
#define MOVING_MS	500	/* for transfers to end before the host sleeps */

/* ---- the device ---- */

/*
 * The host may sleep from now on: its PM core holds every device awake, and resumes some
 * of those that are suspended, only to suspend them in another way.
 */
static bool host_goes_to_sleep(const struct usb_device *udev)
{
	return udev->dev.power.is_prepared;
}

static bool is_suspended(const struct usb_device *udev)
{
	return READ_ONCE(udev->state) == USB_STATE_SUSPENDED;
}

/**
 * usbback_dev_power_init - keep a device awake that has just been grabbed
 * @bdev: device, in probe
 *
 * The host's policy ("on" as a rule) makes way for that of the guest.
 *
 * Return: 0 or -EIO.
 */
int usbback_dev_power_init(struct usbback_dev *bdev)
{
	struct usb_device *udev = bdev->udev;

	if (pm_runtime_resume_and_get(&udev->dev))
		return -EIO;
#ifdef CONFIG_PM
	bdev->was_forbidden = !udev->dev.power.runtime_auto;
#endif
	usb_enable_autosuspend(udev);
	return 0;
}

/**
 * usbback_dev_power_exit - undo usbback_dev_power_init()
 * @bdev: device, off its port
 */
void usbback_dev_power_exit(struct usbback_dev *bdev)
{
	if (bdev->was_forbidden)
		usb_disable_autosuspend(bdev->udev);
	pm_runtime_put(&bdev->udev->dev);
}

/* In the port's worker. 0: it is suspended, or was and has woken up again. */
static int dev_suspend(struct usbback_dev *bdev, bool may_wake)
{
	struct usb_device *udev = bdev->udev;
	int ret;

	/* Only one that is awake has a reference of ours to drop. */
	if (test_bit(USBBACK_DEV_ASLEEP, &bdev->power))
		return 0;
	ret = usbback_dev_lock(bdev, LOCK_MS);
	if (ret)
		return ret;
	WRITE_ONCE(bdev->may_wake, may_wake && device_can_wakeup(&udev->dev));
	set_bit(USBBACK_DEV_ASLEEP, &bdev->power);
	/* Not _autosuspend: the guest has waited for long enough. */
	ret = pm_runtime_put_sync_suspend(&udev->dev);
	usbback_dev_unlock(bdev);
	if (is_suspended(udev))
		return 0;
	if (!test_and_clear_bit(USBBACK_DEV_ASLEEP, &bdev->power))
		return 0;
	/* Somebody on the host has it in use, or the PM core has, or it can't. */
	pm_runtime_get_sync(&udev->dev);
	return ret < 0 ? ret : -EBUSY;
}

/**
 * usbback_dev_resume - wake a device that a guest has suspended
 * @bdev: device, suspended or not
 *
 * Context: process, maybe with the device lock held
 * Return: 0 or what the USB core says.
 */
int usbback_dev_resume(struct usbback_dev *bdev)
{
	int ret;

	if (!test_and_clear_bit(USBBACK_DEV_ASLEEP, &bdev->power))
		return 0;
	ret = pm_runtime_get_sync(&bdev->udev->dev);
	return ret < 0 ? ret : 0;
}

/**
 * usbback_dev_set_port - say on which port a device is
 * @bdev: device
 * @port: port, or NULL; not used any more when that returns
 */
void usbback_dev_set_port(struct usbback_dev *bdev, struct usbback_port *port)
{
	spin_lock_irq(&bdev->port_lock);
	bdev->on = port;
	spin_unlock_irq(&bdev->port_lock);
}

/* ---- the port ---- */

/* The guest is told, and resumes its port. */
static void port_woken(struct usbback_port *port)
{
	struct usbback *ub = port->ub;

	lockdep_assert_held(&ub->lock);
	port->wakeup++;
	port->stats.wakeups++;
	usbback_session_write_port(port, USBIF_REASON_ATTACHED);
	/* The worker rings: here a lock is held. */
	port->want_kick = true;
	queue_work(ub->wq, &port->work);
}

static void dev_woken(struct usbback_dev *bdev)
{
	struct usbback_port *port;

	if (!READ_ONCE(bdev->may_wake))
		return;
	spin_lock_irq(&bdev->port_lock);
	port = bdev->on;
	if (port) {
		spin_lock(&port->ub->lock);
		if (usbback_port_is_shown(port))
			port_woken(port);
		spin_unlock(&port->ub->lock);
	}
	spin_unlock_irq(&bdev->port_lock);
}

static void port_freeze(struct usbback_port *port)
{
	lockdep_assert_held(&port->ub->lock);
	port->frozen = true;
	port->held_awake = true;
	port->freezes++;
}

/* Reports and packets in time are waited for without end, or too late anyway. */
static u32 moving_eps(struct usbback_port *port)
{
	const struct usbback_slot *slot;
	unsigned int i;
	u32 mask = 0;

	lockdep_assert_held(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++) {
		slot = list_first_entry_or_null(&port->eps[i].active,
						struct usbback_slot, node);
		if (slot && (slot->req.type == USBIF_TYPE_CONTROL ||
			     slot->req.type == USBIF_TYPE_BULK))
			mask |= BIT(i);
	}
	return mask;
}

static void port_thaw(struct usbback_port *port)
{
	struct usbback *ub = port->ub;

	lockdep_assert_held(&ub->lock);
	port->frozen = false;
	queue_work(ub->wq, &port->work);
	usbback_port_run(port);
}

/* All of the host is awake. */
static void port_after_sleep(struct usbback_port *port)
{
	struct usbback_dev *bdev = port->bdev;

	lockdep_assert_held(&port->ub->lock);
	port->held_awake = false;
	if (port->frozen)
		port_thaw(port);
	if (bdev && test_and_clear_bit(USBBACK_DEV_OWED, &bdev->power) &&
	    READ_ONCE(bdev->may_wake) && usbback_port_is_shown(port))
		port_woken(port);
}

/**
 * usbback_ports_thaw - have the devices of a channel go on after the host's sleep
 * @ub: channel; the list of channels is locked
 *
 * Most of them do already. But when the host writes an image of its memory the USB core
 * leaves all but SuperSpeed devices alone after it has told their drivers, and does not
 * say that they are to go on; nor does it if a device did not suspend.
 */
void usbback_ports_thaw(struct usbback *ub)
{
	unsigned int vusb, nr;

	spin_lock_irq(&ub->lock);
	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 0; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr])
				port_after_sleep(ub->ports[vusb][nr]);
	spin_unlock_irq(&ub->lock);
}

/* ---- callbacks of the USB core ---- */

/**
 * usbback_dev_suspended - usb_device_driver.suspend, before the device is
 * @udev: device
 * @msg: who suspends it
 *
 * The USB core takes from the host controller what it still has after this.
 */
int usbback_dev_suspended(struct usb_device *udev, pm_message_t msg)
{
	struct usbback_dev *bdev = dev_get_drvdata(&udev->dev);
	struct usbback_port *port;
	u32 moving = 0;

	if (!bdev)
		return 0;
	if (PMSG_IS_AUTO(msg)) {
		/* Interfaces have no say: the guest's drivers had it. */
		udev->do_remote_wakeup = bdev->may_wake;
		return 0;
	}
	spin_lock_irq(&bdev->port_lock);
	port = bdev->on;
	if (port) {
		spin_lock(&port->ub->lock);
		port_freeze(port);
		moving = moving_eps(port);
		spin_unlock(&port->ub->lock);
	}
	spin_unlock_irq(&bdev->port_lock);
	/* Ports live as long as their channel, which ends by the hand of a task. */
	if (moving)
		usbback_port_drain(port, moving, MOVING_MS);
	if (port)
		usbback_port_take_back(port, USBBACK_ALL_EPS);
	return 0;
}

/**
 * usbback_dev_resumed - usb_device_driver.resume, after the device is
 * @udev: device
 * @msg: who resumes it
 */
int usbback_dev_resumed(struct usb_device *udev, pm_message_t msg)
{
	struct usbback_dev *bdev = dev_get_drvdata(&udev->dev);
	struct usbback_port *port;
	bool woken;

	if (!bdev)
		return 0;
	usbback_streams_restore(bdev);
	woken = test_and_clear_bit(USBBACK_DEV_ASLEEP, &bdev->power);
	if (woken)
		pm_runtime_get_noresume(&udev->dev);
	if (PMSG_IS_AUTO(msg)) {
		if (woken && host_goes_to_sleep(udev))
			set_bit(USBBACK_DEV_OWED, &bdev->power);
		else if (woken)
			dev_woken(bdev);
		return 0;
	}
	spin_lock_irq(&bdev->port_lock);
	port = bdev->on;
	if (port) {
		spin_lock(&port->ub->lock);
		port_thaw(port);
		spin_unlock(&port->ub->lock);
	}
	spin_unlock_irq(&bdev->port_lock);
	/* It is awake now, and its guest does not know: better wake it for nothing. */
	if (test_and_clear_bit(USBBACK_DEV_OWED, &bdev->power) || woken)
		dev_woken(bdev);
	return 0;
}

/* ---- operations; in the port's worker, no lock held ---- */

/*
 * The USB core does not say that the host sleeps if a device does already, whose resume
 * would fail now, or would have it thrown off its hub. The PM core says when it is about
 * to resume it, all that it hangs on being awake, and then keeps its lock until it has.
 */
static bool port_must_wait(struct usbback_port *port)
{
	bool must;

	spin_lock_irq(&port->ub->lock);
	must = test_bit(USBBACK_DEV_ASLEEP, &port->bdev->power) &&
	       host_goes_to_sleep(port->udev);
	if (must)
		port_freeze(port);
	spin_unlock_irq(&port->ub->lock);
	return must;
}

/**
 * usbback_port_wake - make a suspended device work again
 * @port: port
 *
 * Return: enum usbif_status; %USBIF_ST_SUSPENDED while the host sleeps.
 */
u8 usbback_port_wake(struct usbback_port *port)
{
	bool must_wait;
	int ret;

	if (!READ_ONCE(port->asleep) && !test_bit(USBBACK_DEV_ASLEEP, &port->bdev->power))
		return USBIF_ST_OK;
	ret = usbback_dev_lock_suspended(port->bdev, WAKE_MS);
	must_wait = port_must_wait(port);
	if (!ret) {
		if (!must_wait)
			ret = usbback_dev_resume(port->bdev);
		usbback_dev_unlock(port->bdev);
	}
	if (must_wait)
		return USBIF_ST_SUSPENDED;
	spin_lock_irq(&port->ub->lock);
	port->asleep = false;
	spin_unlock_irq(&port->ub->lock);
	return ret ? usbback_op_status(ret) : USBIF_ST_OK;
}

/* The PM core's reference would be in the way, until all of the host is awake again. */
static bool port_is_held_awake(struct usbback_port *port)
{
	bool is_held;

	spin_lock_irq(&port->ub->lock);
	is_held = port->held_awake || host_goes_to_sleep(port->udev);
	if (is_held)
		port_freeze(port);
	spin_unlock_irq(&port->ub->lock);
	return is_held;
}

/**
 * usbback_port_sleep - suspend a device
 * @port: port whose endpoints have nothing in the hands of the host controller
 * @may_wake: with remote wakeup
 *
 * Return: enum usbif_status; %USBIF_ST_SUSPENDED while the host sleeps.
 */
u8 usbback_port_sleep(struct usbback_port *port, bool may_wake)
{
	struct usbback *ub = port->ub;
	int ret;

	ret = dev_suspend(port->bdev, may_wake);
	if (ret && port_is_held_awake(port))
		return USBIF_ST_SUSPENDED;
	spin_lock_irq(&ub->lock);
	port->asleep = !ret;
	port->stats.suspends += !ret;
	spin_unlock_irq(&ub->lock);
	return ret ? usbback_op_status(ret) : USBIF_ST_OK;
}
