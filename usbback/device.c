// SPDX-License-Identifier: GPL-2.0
/*
 * Grabbed devices: the USB device driver that takes what a rule names, and the
 * interface driver that keeps others off it.
 *
 * Lifetime. probe() makes a struct usbback_dev, its rule points to it, and the
 * backend that has it on a port holds a reference. disconnect() sets gone, so
 * that no worker of a backend waits for the device lock any longer; then takes
 * the device off its port, after which nothing of the backend touches it; then
 * takes it from its rule. Whoever still has a reference keeps the memory and the
 * struct usb_device, but has no more use for it.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/usb.h>
#include <linux/usb/hcd.h>
#include "device.h"
#include "rules.h"

#define LOCK_POLL_MS	5

static struct usb_device_driver usbback_driver;
static struct usb_driver usbback_interface_driver;

/* ---- the object ---- */

static struct usbback_dev *usbback_dev_alloc(struct usb_device *udev)
{
	struct usbback_dev *bdev = kzalloc(sizeof(*bdev), GFP_KERNEL);

	if (!bdev)
		return NULL;
	kref_init(&bdev->ref);
	mutex_init(&bdev->mutex);
	spin_lock_init(&bdev->port_lock);
	bdev->udev = usb_get_dev(udev);
	strscpy(bdev->busid, dev_name(&udev->dev), sizeof(bdev->busid));
	return bdev;
}

static void usbback_dev_release(struct kref *ref)
{
	struct usbback_dev *bdev = container_of(ref, struct usbback_dev, ref);

	usb_put_dev(bdev->udev);
	kfree(bdev);
}

/**
 * usbback_dev_get - take a reference
 * @bdev: device
 */
struct usbback_dev *usbback_dev_get(struct usbback_dev *bdev)
{
	kref_get(&bdev->ref);
	return bdev;
}

/**
 * usbback_dev_put - drop a reference
 * @bdev: device
 *
 * Context: process
 */
void usbback_dev_put(struct usbback_dev *bdev)
{
	kref_put(&bdev->ref, usbback_dev_release);
}

/**
 * usbback_dev_udev - the USB core's device
 * @bdev: device
 */
struct usb_device *usbback_dev_udev(const struct usbback_dev *bdev)
{
	return bdev->udev;
}

/**
 * usbback_dev_busid - the name of the device
 * @bdev: device
 */
const char *usbback_dev_busid(const struct usbback_dev *bdev)
{
	return bdev->busid;
}

/**
 * usbback_dev_set_resetting - say that the device is being reset
 * @bdev: device
 * @resetting: what vports is to show
 */
void usbback_dev_set_resetting(struct usbback_dev *bdev, bool resetting)
{
	WRITE_ONCE(bdev->resetting, resetting);
	usbback_rules_changed();
}

/**
 * usbback_dev_set_failed - say whether the guest cannot get the device
 * @bdev: device
 * @failed: it could not be reset
 */
void usbback_dev_set_failed(struct usbback_dev *bdev, bool failed)
{
	WRITE_ONCE(bdev->failed, failed);
	usbback_rules_changed();
}

static bool usbback_dev_is_going(const struct usbback_dev *bdev)
{
	return READ_ONCE(bdev->gone) ||
	       bdev->udev->state == USB_STATE_NOTATTACHED;
}

/**
 * usbback_dev_lock_suspended - take the device lock, whether the device sleeps or not
 * @bdev: device
 * @timeout_ms: how long to try
 *
 * The USB core holds the lock while it waits in disconnect(), which waits for the
 * callers of this: so they only ever try.
 *
 * Context: process, no other lock of usbback held
 * Return: 0, -ENODEV if the device goes, -ETIMEDOUT
 */
int usbback_dev_lock_suspended(struct usbback_dev *bdev, unsigned int timeout_ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(timeout_ms);

	for (;;) {
		if (usbback_dev_is_going(bdev))
			return -ENODEV;
		if (usb_trylock_device(bdev->udev))
			break;
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		msleep(LOCK_POLL_MS);
	}
	if (!usbback_dev_is_going(bdev))
		return 0;
	usb_unlock_device(bdev->udev);
	return -ENODEV;
}

/**
 * usbback_dev_lock - take the device lock, unless the device goes or sleeps
 * @bdev: device
 * @timeout_ms: how long to try
 *
 * Nobody gets a device that sleeps with the host: the USB core refuses to reset one,
 * but would configure it.
 *
 * Context: process, no other lock of usbback held
 * Return: 0, -ENODEV, -ETIMEDOUT, -EHOSTUNREACH
 */
int usbback_dev_lock(struct usbback_dev *bdev, unsigned int timeout_ms)
{
	int err = usbback_dev_lock_suspended(bdev, timeout_ms);

	/* Changes under the device lock only, but for our own resuming. */
	if (err || bdev->udev->can_submit)
		return err;
	usb_unlock_device(bdev->udev);
	return -EHOSTUNREACH;
}

/**
 * usbback_dev_unlock - release the device lock
 * @bdev: device
 */
void usbback_dev_unlock(struct usbback_dev *bdev)
{
	usb_unlock_device(bdev->udev);
}

/**
 * usbback_dev_reset - make a device as new, between two owners
 * @bdev: device, with no URB of ours in flight
 * @timeout_ms: how long to try for the device lock
 *
 * Context: process, no lock held
 * Return: 0, -ENODEV, -ETIMEDOUT, or what usb_reset_device() says
 */
int usbback_dev_reset(struct usbback_dev *bdev, unsigned int timeout_ms)
{
	int err;

	err = usbback_dev_lock(bdev, timeout_ms);
	if (err)
		return err;
	usbback_dev_set_resetting(bdev, true);
	/* Else the reset would set up again what the last owner had. */
	if (bdev->udev->actconfig)
		usb_set_configuration(bdev->udev, -1);
	err = usb_reset_device(bdev->udev);
	usbback_dev_set_resetting(bdev, false);
	usbback_dev_unlock(bdev);
	return err;
}

/**
 * usbback_dev_claim_interfaces - keep usbfs off the interfaces
 * @bdev: device, just configured, its lock held since before that
 *
 * The claim on the port keeps interface drivers away but not usbfs. The USB core
 * ends this with the configuration.
 */
void usbback_dev_claim_interfaces(struct usbback_dev *bdev)
{
	struct usb_host_config *config = bdev->udev->actconfig;
	unsigned int i;

	if (!config)
		return;
	for (i = 0; i < config->desc.bNumInterfaces; i++) {
		int err = usb_driver_claim_interface(&usbback_interface_driver,
						     config->interface[i],
						     bdev);

		/* Not fatal: the guest works, only the host could interfere. */
		if (err)
			pr_info_ratelimited("%s: interface %u not claimed: %d\n",
					    bdev->busid, i, err);
	}
}

/* ---- what a device is ---- */

/**
 * usbback_device_find - find a USB device by its bus ID
 * @name: bus ID, or usbN for a root hub
 *
 * Return: the device with a reference, or NULL
 */
struct usb_device *usbback_device_find(const char *name)
{
	struct device *dev;

	/* usb_bus_type is not exported; registering filled this in. */
	dev = bus_find_device_by_name(usbback_driver.usb_drv_driver.bus, NULL,
				      name);
	return dev ? to_usb_device(dev) : NULL;
}

/**
 * usbback_device_is_ours - whether usbback is the driver of a device
 * @udev: device
 */
bool usbback_device_is_ours(const struct usb_device *udev)
{
	return udev->dev.driver == &usbback_driver.usb_drv_driver;
}

/**
 * usbback_device_is_hub - whether a device is a hub
 * @udev: device
 */
bool usbback_device_is_hub(const struct usb_device *udev)
{
	return udev->descriptor.bDeviceClass == USB_CLASS_HUB || udev->maxchild;
}

/**
 * usbback_device_is_behind - whether a device is on a controller of some kind
 * @udev: device or hub
 * @driver: what the controller's driver calls itself
 */
bool usbback_device_is_behind(const struct usb_device *udev, const char *driver)
{
	return !strcmp(bus_to_hcd(udev->bus)->driver->description, driver);
}

/**
 * usbback_device_on_own_bus - whether a device is on a bus of usbfront
 * @udev: device or hub
 */
bool usbback_device_on_own_bus(const struct usb_device *udev)
{
	return usbback_device_is_behind(udev, "usbfront");
}

/**
 * usbback_device_speed - speed in Mbit/s, as in the file of that name in sysfs
 * @udev: device
 */
const char *usbback_device_speed(const struct usb_device *udev)
{
	switch (udev->speed) {
	case USB_SPEED_LOW:
		return "1.5";
	case USB_SPEED_FULL:
		return "12";
	case USB_SPEED_HIGH:
		return "480";
	case USB_SPEED_SUPER:
		return "5000";
	case USB_SPEED_SUPER_PLUS:
		return udev->ssp_rate == USB_SSP_GEN_2x2 ? "20000" : "10000";
	default:
		return "unknown";
	}
}

/* ---- the driver of devices ---- */

static bool usbback_match(struct usb_device *udev)
{
	return usbback_rules_match(udev);
}

/*
 * -ENODEV would leave the device to the generic driver for ever: never here. No
 * reset here, as the lock of the hub is held: a device that was pulled out would
 * keep the hub for many seconds, until the reset gives up.
 */
static int usbback_probe(struct usb_device *udev)
{
	struct usbback_dev *bdev;
	int err;

	bdev = usbback_dev_alloc(udev);
	if (!bdev)
		return -ENOMEM;

	dev_set_drvdata(&udev->dev, bdev);
	err = usbback_dev_power_init(bdev);
	if (err)
		goto err_put;
	/* On a port that could not be claimed in time, host drivers got in. */
	if (udev->actconfig) {
		usb_set_configuration(udev, -1);
		bdev->used = true;
	}
	err = usbback_rules_add_dev(bdev);
	if (err)
		goto err_power;
	return 0;

err_power:
	usbback_dev_power_exit(bdev);
err_put:
	dev_set_drvdata(&udev->dev, NULL);
	usbback_dev_put(bdev);
	return err;
}

static void usbback_disconnect(struct usb_device *udev)
{
	struct usbback_dev *bdev = dev_get_drvdata(&udev->dev);

	WRITE_ONCE(bdev->gone, true);
	usbback_rules_detach_dev(bdev);
	/* The interface driver has a pointer to bdev. */
	if (udev->actconfig)
		usb_set_configuration(udev, -1);
	usbback_rules_del_dev(bdev);
	usbback_dev_power_exit(bdev);
	dev_set_drvdata(&udev->dev, NULL);
	usbback_dev_put(bdev);
}

/*
 * Without generic_subclass the port above could never suspend; the generic driver
 * then does what else there is to suspend and resume.
 */
static struct usb_device_driver usbback_driver = {
	.name = "usbback",
	.match = usbback_match,
	.probe = usbback_probe,
	.disconnect = usbback_disconnect,
	.suspend = usbback_dev_suspended,
	.resume = usbback_dev_resumed,
	.usb_drv_driver = {
		.groups = usbback_sysfs_groups,
		.suppress_bind_attrs = true,
	},
	.supports_autosuspend = 1,
	.generic_subclass = 1,
};

/* ---- the driver of their interfaces: it only sits there ---- */

static int interface_probe(struct usb_interface *intf,
			   const struct usb_device_id *id)
{
	return -ENODEV;
}

static void interface_disconnect(struct usb_interface *intf)
{
	struct usbback_dev *bdev = usb_get_intfdata(intf);

	/* Nothing else tells that somebody has written 0 to "authorized". */
	if (!bdev->udev->authorized)
		usbback_rules_dev_changed(bdev);
}

static int interface_suspend(struct usb_interface *intf, pm_message_t message)
{
	return 0;
}

static int interface_resume(struct usb_interface *intf)
{
	return 0;
}

/* Has all the callbacks so that the USB core never unbinds it for the lack of one. */
static struct usb_driver usbback_interface_driver = {
	.name = "usbback_interface",
	.probe = interface_probe,
	.disconnect = interface_disconnect,
	.suspend = interface_suspend,
	.resume = interface_resume,
	.reset_resume = interface_resume,
	.pre_reset = interface_resume,
	.post_reset = interface_resume,
	.usb_drv_driver = {
		.suppress_bind_attrs = true,
	},
	.no_dynamic_id = 1,
	.supports_autosuspend = 1,
};

/* ---- notifier ---- */

/* With the device lock held, and that of the parent. For a hub: after the hub
 * driver has bound, before it looks at its ports.
 */
static int usbback_notify(struct notifier_block *nb, unsigned long action,
			  void *data)
{
	switch (action) {
	case USB_DEVICE_ADD:
		usbback_rules_device_added(data);
		break;
	case USB_DEVICE_REMOVE:
		usbback_rules_device_removed(data);
		break;
	}
	return NOTIFY_OK;
}

static struct notifier_block usbback_notifier = {
	.notifier_call = usbback_notify,
};

/**
 * usbback_device_init - register the drivers and the notifier
 *
 * The files in sysfs appear here: all that they need must be ready.
 */
int usbback_device_init(void)
{
	int err;

	err = usb_register(&usbback_interface_driver);
	if (err)
		return err;
	usb_register_notify(&usbback_notifier);
	err = usb_register_device_driver(&usbback_driver, THIS_MODULE);
	if (err)
		goto err_notify;
	return 0;

err_notify:
	usb_unregister_notify(&usbback_notifier);
	usb_deregister(&usbback_interface_driver);
	return err;
}

/**
 * usbback_device_exit - undo usbback_device_init()
 *
 * Nothing is grabbed any more.
 */
void usbback_device_exit(void)
{
	usb_deregister_device_driver(&usbback_driver);
	usb_unregister_notify(&usbback_notifier);
	usb_deregister(&usbback_interface_driver);
}
