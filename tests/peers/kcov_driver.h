/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver of back_kcov's device: a thread that uses it through usbfs, as it is told.
 * Nobody waits for it but in driver_check().
 */
#ifndef TESTS_PEERS_KCOV_DRIVER_H
#define TESTS_PEERS_KCOV_DRIVER_H

#include <stdbool.h>
#include <linux/types.h>

#define DRIVER_VENDOR	0x6666
#define DRIVER_PRODUCT	0x0075
#define DRIVER_PATTERN	0x5a	/* all octets of IN transfers that are as they should be */

/* Endpoints of the device; @STREAM_* have streams with super speed. */
enum driver_endpoint {
	EP_STREAM_OUT = 0x01,
	EP_STREAM_IN = 0x82,
	EP_INT_IN = 0x83,
	EP_INT_OUT = 0x04,
	EP_ISO_OUT = 0x05,	/* in setting 1 */
	EP_ISO_IN = 0x86,
};

enum driver_op {
	DRIVER_SUBMIT,		/* a transfer: what, how long */
	DRIVER_DISCARD,		/* one of those that have not ended */
	DRIVER_SETTING,		/* of the interface */
	DRIVER_CLEAR_HALT,
	DRIVER_RESET,
	DRIVER_STREAMS,		/* allocate or free them */
	DRIVER_SUSPEND,		/* let it, or don't */
	DRIVER_CHECK,		/* all transfers end as they should */
	DRIVER_NR_OPS,
};

void driver_start(void);
/* The device has been configured anew, or (0) has gone. */
void driver_configured(unsigned int number);
/* Has the driver got hold of what was configured last? */
bool driver_is_ready(void);
/* Forgotten if there is too much to do. */
void driver_do(enum driver_op op, u32 arg, u32 value);
/* Has it done all that? */
bool driver_is_idle(void);
/* What was wrong at the last check; NULL if nothing was. */
const char *driver_verdict(void);

#endif /* TESTS_PEERS_KCOV_DRIVER_H */
