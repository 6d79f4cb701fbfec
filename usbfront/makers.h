/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What makes channels: programs (cdev.c), and devices on one bus or another (pci.c,
 * platform.c), which go to sleep alike (sleep.c).
 */
#ifndef USBFRONT_MAKERS_H
#define USBFRONT_MAKERS_H

#include "power.h"

int usbfront_cdev_init(void);
void usbfront_cdev_exit(void);
#ifdef CONFIG_PCI
int usbfront_pci_init(void);
void usbfront_pci_exit(void);
#else
static inline int usbfront_pci_init(void) { return 0; }
static inline void usbfront_pci_exit(void) { }
#endif
#ifdef CONFIG_OF
int usbfront_platform_init(void);
void usbfront_platform_exit(void);
#else
static inline int usbfront_platform_init(void) { return 0; }
static inline void usbfront_platform_exit(void) { }
#endif

extern const struct dev_pm_ops usbfront_pm;

#endif /* USBFRONT_MAKERS_H */
