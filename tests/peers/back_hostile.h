/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a backend in user space can do to its frontend beside the lies of back.h.
 *
 * Commands, one per line:
 *	repage			write the page as in a restart, but for the state
 *	page WORD VALUE		a word of the backend's page, by its number from 0x000 on
 *	ports WORD VALUE	a word of the port table
 *	front WORD VALUE	a word of the frontend's page, but for a moment
 *	completion WORD VALUE	the next completion says that in one of its words
 *	short 0|1		transfers end half done, and well
 *	flap PORT MS		unplug and plug as fast as it goes
 *	gen MS			nothing but another port_gen, and the doorbell
 *	swap NUMBER		the device is another one each time it is reset
 *	noreset 0|1		resets are not answered; the last one is, by 0
 *	noquery 0|1		nobody is told whether there are streams
 *	nonce MS		restart as fast as it goes
 *	flip WHAT 0|1		a thread rewrites completions, pool or ports
 *	leaks 0|1		look for octets in the pool that no request has put there
 *	descriptor NUMBER	enum of broken descriptors; 0: good ones
 *	save			keep the region as it is
 *	load			as if the system had been restored from an image
 */
#ifndef TESTS_PEERS_BACK_HOSTILE_H
#define TESTS_PEERS_BACK_HOSTILE_H

#include "back.h"

/* False if it is no command of ours. */
bool hostile_obey(struct back *b, const char *line);
/* Is the data of others being rewritten, that of commands, too? */
bool hostile_flips(void);
/* What becomes of the octets of a transfer. */
u32 hostile_length(const struct back_req *r, u32 length);
/* True if the reset is not to be answered. */
bool hostile_reset(struct back *b, struct back_req *r);
/* True if no answer is to be given about streams. */
bool hostile_query(void);
/* Spoils a descriptor; returns its length. */
u32 hostile_descriptor(u8 type, u8 *d, u32 len);

#endif /* TESTS_PEERS_BACK_HOSTILE_H */
