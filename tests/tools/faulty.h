/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the device that does not do what it should (usbip_faulty.c) and its driver
 * (faulty.c) have in common.
 */
#ifndef FAULTY_H
#define FAULTY_H

#include <stdint.h>

/* Vendor requests to the device. */
enum {
	SET_MODE = 1,		/* wValue: the modes in force, wIndex: their argument */
	NEVER = 2,		/* in and out: has data, and is never answered */
	GET_COUNTS = 3,		/* struct counts */
};

/* Without any, no bulk or interrupt transfer ever moves. */
enum {
	MODE_OPEN = 1,		/* they all do */
	MODE_HOLD = 2,		/* no standard request is answered */
	MODE_CLING = 4,		/* nothing is given back that is unlinked */
	MODE_FAIL = 8,		/* transfers end with that errno */
	MODE_SLOW = 16,		/* control requests take that many milliseconds */
};

/* Little-endian. What is sent to the device begins with its generation. */
struct counts {
	uint32_t generation;	/* the device's, from its command line */
	uint32_t own;		/* transfers for it */
	uint32_t foreign;	/* for another */
};

#define NR_BULK		4	/* in each direction: 0x81..0x84, 0x01..0x04 */
#define EP_INTERRUPT	5
#define PACKET		512

#endif
