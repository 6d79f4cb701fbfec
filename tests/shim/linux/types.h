/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few kernel headers that ring/ needs, so that the very files that go into the
 * modules also run in user space, under sanitizers and fuzzers.
 */
#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include_next <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;

#endif /* SHIM_LINUX_TYPES_H */
