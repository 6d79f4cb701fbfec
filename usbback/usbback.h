/* SPDX-License-Identifier: GPL-2.0 */
/*
 * usbback: objects and the interface between rules/devices and the backends of
 * the guests. Sketch agreed between the files; see each file for its contract.
 *
 * Lock order, outermost first:
 *   device lock of a hub, device lock of a grabbed device. The USB core calls
 *	match, probe, disconnect and the notifier with both held, so nothing below
 *	may be held by whoever wants one
 *   publish_mutex (backend.c): what rules know of a channel; the lock of the list of
 *	channels (backend.c) is taken under it or alone, and nothing under that
 *   bdev->mutex (device.h): which port of which backend the device is on. Held over
 *	usbback_port_attach() and usbback_port_detach()
 *   rules_lock (rules.c, a mutex): text and state of the rules, list of backends;
 *	nothing is called under it but usbback_is_running() and usbback_name(),
 *	which take no lock
 *   bdev->port_lock (device.h, spinlock): whom to tell that the device sleeps or wakes
 *   ub->lock (spinlock, irqsave): rings, request table, port table, endpoints
 *
 * A worker of a backend that needs the device lock (set configuration, reset...)
 * takes it with usbback_dev_lock(), holding no mutex: it gives up at once when
 * disconnect() has begun, so usbback_port_detach() may wait for the workers.
 * Never hold a spinlock over usb_submit_urb, usb_unlink_urb, kick.
 */
#ifndef USBBACK_H
#define USBBACK_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/usb.h>
#include <linux/workqueue.h>
#include "chan.h"
#include "proto.h"
#include "usbif.h"

struct usbback;		/* one channel: backend.c */
struct usbback_dev;	/* one grabbed device: device.c */
struct usbback_port;	/* a vport: backend.h */
struct usbback_text;	/* a file being written: sysfs.c */

/* ---- backend.c: called by rules.c / device.c / cdev.c / pci.c ---- */

/*
 * Creates the backend of guest @name on @chan and starts it; takes over @chan. NULL
 * name: unnamed yet (PCI channel of a driver VM), see usbback_channels_name().
 */
struct usbback *usbback_create(struct usbif_chan *chan, const char *name, u32 pid);
/* Ends session, detaches, waits for every URB, releases chan. Idempotent per object. */
void usbback_destroy(struct usbback *ub);
/* PCI channels, while the system sleeps. */
void usbback_pause(struct usbback *ub);
void usbback_go_on(struct usbback *ub);
extern const struct dev_pm_ops usbback_pm;
int usbback_sleep_init(void);
void usbback_sleep_exit(void);
const char *usbback_name(const struct usbback *ub);
/* The peer process is gone: end the session (devices reset and kept by their rules). */
void usbback_peer_gone(struct usbback *ub);

/*
 * Puts @bdev on a port and publishes it when there is a session. If it was @used
 * since it was enumerated or reset, the backend resets it before the guest can use it.
 * The backend takes a reference on bdev. 0, -EBUSY (port taken), -EINVAL, -ENOMEM.
 * Process context, may sleep.
 */
int usbback_port_attach(struct usbback *ub, u8 vusb, u8 port,
			struct usbback_dev *bdev, bool used);
/*
 * Shows a device on a port to which it will be attached, so that the guest gets ready
 * while it is taken from its driver; and takes that back unless it was attached since.
 */
void usbback_port_announce(struct usbback *ub, u8 vusb, u8 port,
			   struct usb_device *udev);
void usbback_port_retract(struct usbback *ub, u8 vusb, u8 port,
			  const struct usb_device *udev);
/*
 * Takes the device off its port: no new submissions, every URB killed and ended,
 * port table updated with @reason, reference dropped. When it returns nothing of the
 * backend touches the device. Safe in disconnect() (device lock held). Idempotent.
 */
void usbback_port_detach(struct usbback *ub, struct usbback_dev *bdev,
			 enum usbif_port_reason reason);
/*
 * True if a guest has a running session (for vports: "attached" against "waiting for
 * guest"). Takes no lock.
 */
bool usbback_is_running(const struct usbback *ub);

/*
 * The file "channels": one line per channel, as Documentation/ABI/testing/
 * sysfs-driver-usbback has it. Process context.
 */
void usbback_channels_print(struct usbback_text *text);
/*
 * Names the PCI channel at @address (as in /sys/bus/pci/devices), which ends in
 * usbback_rules_backend_added(). -ENOENT: no such channel; -EBUSY: it has another
 * name, or another channel has this one. @vm is valid (see spec.h). Logs why not.
 */
int usbback_channels_name(const char *address, const char *vm);

/*
 * The file "limits": one line per guest that has a channel or limits of its own, and
 * what is written to it. @words is taken apart; @why, of USBBACK_WHY_MAX, says what was
 * wrong. Process context.
 */
void usbback_limits_print(struct usbback_text *text);
int usbback_limits_set(const char *vm, char *words, char *why);

/* ---- rules.c / device.c: called by the backend side ---- */

/*
 * A backend has got its name and is ready for attaches / is going away: its devices
 * are taken off their ports (usbback_port_detach), and when it returns no attach
 * comes any more. Process context, no lock held, not from the backend's own workers.
 */
void usbback_rules_backend_added(struct usbback *ub);
void usbback_rules_backend_removed(struct usbback *ub);
/* Session started or ended: vports shows it, sysfs_notify. Any context. */
void usbback_rules_changed(void);

/*
 * A grabbed device. The pointer is valid while a reference is held, the device
 * itself works only until usbback_port_detach().
 */
struct usbback_dev *usbback_dev_get(struct usbback_dev *bdev);
void usbback_dev_put(struct usbback_dev *bdev);
struct usb_device *usbback_dev_udev(const struct usbback_dev *bdev);
const char *usbback_dev_busid(const struct usbback_dev *bdev);
/*
 * The device lock: 0, -ENODEV (the device is going: the usual end), -ETIMEDOUT.
 * Sleeps, no other lock held.
 */
int usbback_dev_lock(struct usbback_dev *bdev, unsigned int timeout_ms);
int usbback_dev_lock_suspended(struct usbback_dev *bdev, unsigned int timeout_ms);
void usbback_dev_unlock(struct usbback_dev *bdev);
/*
 * Keeps usbfs of the host out: call after each usb_set_configuration(), in the
 * same hold of the device lock. The USB core undoes it with the configuration.
 */
void usbback_dev_claim_interfaces(struct usbback_dev *bdev);
/*
 * Between owners: unconfigures and resets the device. No URB of ours may be in
 * flight but it need not be off its port. Takes the device lock. 0 or -errno;
 * after an error the USB core usually disconnects the device.
 */
int usbback_dev_reset(struct usbback_dev *bdev, unsigned int timeout_ms);
/*
 * power.c. The port hears of the host's sleep and of remote wakeup until it is NULL.
 * No lock held.
 */
void usbback_dev_set_port(struct usbback_dev *bdev, struct usbback_port *port);
/* Wakes it, if it was suspended for its guest. 0 or -errno. */
int usbback_dev_resume(struct usbback_dev *bdev);
/* vports says "resetting" meanwhile; any context. */
void usbback_dev_set_resetting(struct usbback_dev *bdev, bool resetting);
/* vports says "refused" until the next success; any context. */
void usbback_dev_set_failed(struct usbback_dev *bdev, bool failed);

/*
 * Text of a file in sysfs that may be longer than a page (sysfs.c). An allocation
 * that fails shows in the end result; printing goes on without effect.
 */
__printf(2, 3)
void usbback_text_printf(struct usbback_text *text, const char *fmt, ...);

int usbback_rules_init(void);
void usbback_rules_exit(void);
int usbback_cdev_init(void);
void usbback_cdev_exit(void);
#ifdef CONFIG_PCI
int usbback_pci_init(void);
void usbback_pci_exit(void);
#else
static inline int usbback_pci_init(void)
{
	return 0;
}

static inline void usbback_pci_exit(void)
{
}
#endif
#ifdef CONFIG_OF
int usbback_platform_init(void);
void usbback_platform_exit(void);
#else
static inline int usbback_platform_init(void)
{
	return 0;
}

static inline void usbback_platform_exit(void)
{
}
#endif

#endif /* USBBACK_H */
