/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device with isochronous endpoints for a backend in user space, which can be made
 * to say of its packets what cannot be. Its only interface has no endpoints in setting
 * 0, one in each direction (0x82, 0x01) of 1024 octets in setting 1, and the same in
 * setting 2, for which there is never any bandwidth. Packets come full, of ISO_OCTET.
 *
 * Packets of a request must be of one length and without gaps.
 */
#ifndef TESTS_PEERS_BACK_ISO_H
#define TESTS_PEERS_BACK_ISO_H

#include "back.h"

#define ISO_OCTET	0x5a

enum iso_lie {
	ISO_HONEST,
	ISO_LONG,		/* a packet has an octet more than was asked for */
	ISO_HUGE,		/* each packet is larger than the region */
	ISO_WRAP,		/* lengths whose sum is small, in 32 bits */
	ISO_COUNT,		/* more errors than packets */
	ISO_STATUS,		/* packets with statuses that are none */
	ISO_HELD,		/* the endpoint is held, which it never is */
	ISO_REWRITE,		/* results change while they are read */
	ISO_NOTHING,		/* results are not written */
};

/* Descriptor of the configuration; returns its length. */
u32 iso_config(u8 *d);
void iso_set_interface(struct back *b, struct back_req *r);
/* Ends a transfer as iso_tell_lie() has said. */
void iso_run(struct back *b, struct back_req *r);
void iso_tell_lie(enum iso_lie lie);

#endif /* TESTS_PEERS_BACK_ISO_H */
