/* SPDX-License-Identifier: GPL-2.0 */
#ifndef USBBACK_INUSE_H
#define USBBACK_INUSE_H

#include <linux/usb.h>

int usbback_inuse(struct usb_device *udev, char *why, size_t size);

#endif /* USBBACK_INUSE_H */
