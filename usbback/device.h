/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A grabbed device, and the drivers by which the USB core gives it to us. What
 * the backends may use of it is in usbback.h.
 */
#ifndef USBBACK_DEVICE_H
#define USBBACK_DEVICE_H

#include <linux/kref.h>
#include "spec.h"
#include "usbback.h"

/* Bits of bdev->power. */
enum usbback_dev_power {
	USBBACK_DEV_ASLEEP,	/* for its guest: we hold no reference */
	USBBACK_DEV_OWED,	/* it woke up when the host went to sleep */
};

/**
 * struct usbback_dev - a USB device that usbback is the driver of
 * @ref: our own and one of each backend that has it on a port
 * @udev: with a reference
 * @busid: its name
 * @gone: disconnect() has begun: nobody may wait for the device lock any more
 * @resetting: for vports
 * @failed: its port's preparation came to nothing; for vports, and to try again
 * @mutex: held over each change of where it is plugged in
 * @used: somebody had it since the last reset; under mutex once a rule has it
 * @power: bits of enum usbback_dev_power
 * @may_wake: the guest has enabled remote wakeup
 * @was_forbidden: the host's policy was to suspend it never
 * @port_lock: for @on
 * @on: port that is to know when the device goes to sleep or wakes up
 * @ub: the backend that has it, written under mutex and rules_lock
 * @vusb: virtual controller there
 * @port: port there
 */
struct usbback_dev {
	struct kref ref;
	struct usb_device *udev;
	char busid[USBBACK_BUSID_MAX + 1];
	bool gone;
	bool resetting;
	bool failed;
	/* Serialises attach, detach and reset of this device. */
	struct mutex mutex;
	bool used;
	unsigned long power;
	bool may_wake;
	bool was_forbidden;
	/* For @on. */
	spinlock_t port_lock;
	struct usbback_port *on;
	struct usbback *ub;
	u8 vusb;
	u8 port;
};

int usbback_device_init(void);
void usbback_device_exit(void);

/* power.c */
int usbback_dev_power_init(struct usbback_dev *bdev);
void usbback_dev_power_exit(struct usbback_dev *bdev);
int usbback_dev_suspended(struct usb_device *udev, pm_message_t msg);
int usbback_dev_resumed(struct usb_device *udev, pm_message_t msg);

/* streams.c */
void usbback_streams_restore(struct usbback_dev *bdev);

/* A device or hub by its name, with a reference, or NULL. */
struct usb_device *usbback_device_find(const char *name);
bool usbback_device_is_ours(const struct usb_device *udev);
bool usbback_device_is_hub(const struct usb_device *udev);
bool usbback_device_is_behind(const struct usb_device *udev, const char *driver);
bool usbback_device_on_own_bus(const struct usb_device *udev);
const char *usbback_device_speed(const struct usb_device *udev);

#endif /* USBBACK_DEVICE_H */
