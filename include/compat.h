/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernel versions; force-included in every file of the
 * modules. Nothing else in the tree knows about versions.
 */
#ifndef USBIF_COMPAT_H
#define USBIF_COMPAT_H

#include <linux/version.h>
#include <linux/compiler_types.h>

/* Shared memory of a channel is an address space of its own for sparse. */
#ifdef __CHECKER__
#define __usbif __attribute__((noderef, address_space(__usbif)))
#else
#define __usbif
#endif

/* The struct device_driver in a USB driver; Kbuild looks which it is. */
#ifdef USBIF_HAVE_DRVWRAP
#define usb_drv_driver drvwrap.driver
#else
#define usb_drv_driver driver
#endif

/* Whoever claims a block device says since 6.5 how to tell him about its end. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define compat_bd_prepare_to_claim(bdev, holder) \
	bd_prepare_to_claim(bdev, holder)
#else
#define compat_bd_prepare_to_claim(bdev, holder) \
	bd_prepare_to_claim(bdev, holder, NULL)
#endif

/* The counter of an eventfd grows by one, always, since 6.8. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define compat_eventfd_signal(ctx) ((void)eventfd_signal(ctx, 1))
#else
#define compat_eventfd_signal(ctx) eventfd_signal(ctx)
#endif

/* Callbacks of binary attributes get it const since 6.16. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define compat_bin_attribute struct bin_attribute
#else
#define compat_bin_attribute const struct bin_attribute
#endif

/* platform_driver.remove returns nothing since 6.11. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define compat_remove_t int
#define COMPAT_REMOVED 0
#else
#define compat_remove_t void
#define COMPAT_REMOVED
#endif

#endif /* USBIF_COMPAT_H */
