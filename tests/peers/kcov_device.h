/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device of back_kcov: endpoints of all kinds, which take and give all that is asked
 * for at once.
 */
#ifndef TESTS_PEERS_KCOV_DEVICE_H
#define TESTS_PEERS_KCOV_DEVICE_H

#include "back.h"

#define DEVICE_STALL	0xffffffffu

/* Octets moved, or DEVICE_STALL; and what the operation results in. */
u32 device_run(struct back *b, struct back_req *r, u32 *value);

#endif /* TESTS_PEERS_KCOV_DEVICE_H */
