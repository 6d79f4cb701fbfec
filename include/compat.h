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

#endif /* USBIF_COMPAT_H */
