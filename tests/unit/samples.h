/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One good request of each kind: what the tests spoil and the fuzzers start from.
 */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <linux/types.h>
#include "proto.h"

#define SAMPLE_REGION	(16u << 20)
#define SAMPLE_SESSION	0x5e551017u
#define SAMPLE_EPOCH	7
#define SAMPLE_FEATURES	(USBIF_F_ISO | USBIF_F_STREAMS | USBIF_F_SUSPEND | \
			 USBIF_F_FRAME)

/**
 * struct sample - a good request
 * @name: of what it is
 * @req: the request
 * @table: its table
 * @used: bit for each octet of struct usbif_req that the operation uses
 */
struct sample {
	const char *name;
	struct usbif_req req;
	u8 table[USBIF_TABLE_MAX] __attribute__((aligned(8)));
	bool used[sizeof(struct usbif_req)];
};

enum {
	SAMPLE_CONTROL_IN,
	SAMPLE_CONTROL_OUT,
	SAMPLE_CONTROL_NONE,
	SAMPLE_BULK_IN,
	SAMPLE_BULK_OUT,
	SAMPLE_BULK_STREAM,
	SAMPLE_BULK_LARGE,
	SAMPLE_BULK_EMPTY,
	SAMPLE_INTERRUPT,
	SAMPLE_ISO_ASAP,
	SAMPLE_ISO_FRAME,
	SAMPLE_ISO_LARGE,
	SAMPLE_CANCEL,
	SAMPLE_RESTART,
	SAMPLE_RESET,
	SAMPLE_SET_CONFIGURATION,
	SAMPLE_SET_INTERFACE,
	SAMPLE_CLEAR_HALT,
	SAMPLE_ALLOC_STREAMS,
	SAMPLE_FREE_STREAMS,
	SAMPLE_SUSPEND,
	SAMPLE_RESUME,
	SAMPLE_GET_FRAME,
	NR_SAMPLES,
};

void sample_layout(struct usbif_layout *lay);
void sample_get(struct sample *s, unsigned int number);

#endif /* SAMPLES_H */
