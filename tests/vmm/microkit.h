/* SPDX-License-Identifier: GPL-2.0 */
/* As much of Microkit as the example for a VMM uses. */
#ifndef MICROKIT_H
#define MICROKIT_H

typedef unsigned int microkit_channel;

typedef struct {
	unsigned long x[31];
} seL4_UserContext;

void microkit_notify(microkit_channel ch);

#endif /* MICROKIT_H */
