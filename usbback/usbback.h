/* SPDX-License-Identifier: GPL-2.0 */
/*
 * usbback: objects and the interface between rules/devices and the backends of
 * the guests. Sketch agreed between the files; see each file for its contract.
 *
 * Lock order: usbback_mutex (rules.c: rules, devices, list of backends)
 *   -> ub->mutex (state of one backend: session, ports)
 *     -> udev device lock (usb_lock_device_for_reset; from workers only)
 *       -> ub->lock (spinlock, irqsave: rings, request table, port table, endpoints)
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

/* ---- backend.c: called by rules.c / device.c / cdev.c / pci.c ---- */

/* Creates the backend of guest @name on @chan and starts it; takes over @chan. NULL
 * name: unnamed yet (PCI channel of a driver VM), see usbback_set_name(). */
struct usbback *usbback_create(struct usbif_chan *chan, const char *name);
/* Ends session, detaches, waits for every URB, releases chan. Idempotent per object. */
void usbback_destroy(struct usbback *ub);
const char *usbback_name(const struct usbback *ub);
/* The peer process is gone: end the session (devices reset and kept by their rules). */
void usbback_peer_gone(struct usbback *ub);

/*
 * Puts @bdev on a port and publishes it when there is a session. The backend takes a
 * reference on bdev. 0, -EBUSY (port taken), -EINVAL. Process context, may sleep.
 */
int usbback_port_attach(struct usbback *ub, u8 vusb, u8 port,
			struct usbback_dev *bdev);
/*
 * Takes the device off its port: no new submissions, every URB killed and ended,
 * port table updated with @reason, reference dropped. When it returns nothing of the
 * backend touches the device. Safe in disconnect() (device lock held). Idempotent.
 */
void usbback_port_detach(struct usbback *ub, struct usbback_dev *bdev,
			 enum usbif_port_reason reason);
/* True if a guest has a running session (for vports: "attached" against "waiting for guest"). */
bool usbback_is_running(const struct usbback *ub);

/* ---- rules.c / device.c: called by the backend side ---- */

/* A backend has got its name and is ready for attaches / is going away. Process context. */
void usbback_rules_backend_added(struct usbback *ub);
void usbback_rules_backend_removed(struct usbback *ub);
/* Session started or ended: vports shows it, sysfs_notify. */
void usbback_rules_changed(void);

int usbback_rules_init(void);
void usbback_rules_exit(void);
int usbback_cdev_init(void);
void usbback_cdev_exit(void);
int usbback_pci_init(void);
void usbback_pci_exit(void);

#endif /* USBBACK_H */
