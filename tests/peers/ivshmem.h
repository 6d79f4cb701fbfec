/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One end of a channel of kind ivshmem, for a program that has the device to itself: no
 * driver is bound to it. It rings the doorbell, and looks instead of being rung.
 */
#ifndef TESTS_PEERS_IVSHMEM_H
#define TESTS_PEERS_IVSHMEM_H

#include "proto.h"
#include "usbif.h"

struct ivshmem {
	void *region;
	u64 size;
	volatile u32 *bell;	/* NULL: a channel of another kind */
	u32 ring;		/* what to write there */
};

/* @dir of sysfs is the device, which has to be for @role. */
void ivshmem_open(struct ivshmem *iv, const char *dir, enum usbif_role role);
void ivshmem_kick(const struct ivshmem *iv);

#endif /* TESTS_PEERS_IVSHMEM_H */
