/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fuzzer that is guided by which code of a module has run (kcov.h).
 *
 * An input is a few steps, which mean something to one side only. One that reaches
 * something new is kept, and changed further. With some of them another thread rewrites
 * the shared memory meanwhile. What the module answers is not looked at; but now and then,
 * and in the end, a sane peer must find everything in order.
 */
#ifndef TESTS_PEERS_GUIDED_H
#define TESTS_PEERS_GUIDED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <linux/types.h>
#include "usbif.h"

#define GUIDED_STEPS	12

struct step {
	u32 kind;
	u32 fix;		/* bits: fields of @wire that are filled in when it is sent */
	u32 arg;
	u32 value;
	union {
		u32 words[32];
		u8 octets[128];
		struct usbif_req req;
		struct usbif_rsp rsp;
	} wire;
};

struct input {
	unsigned int generation;	/* kept ones that it comes from, one by one */
	unsigned int nr_steps;
	bool breaks;		/* the session has ended by it */
	struct step steps[GUIDED_STEPS];
};

struct guided {
	const char *program;
	u32 wire_size;
	u32 nr_fix;
	/* A step that makes sense. */
	void (*fresh)(struct step *step);
	/* Makes the channel. */
	void (*open)(const char *name);
	/* A session, to begin with. */
	void (*connect)(void);
	bool (*is_running)(void);
	void (*step)(const struct step *step);
	/* Until all has been seen. */
	void (*settle)(void);
	/* Writes a word of the shared memory that the module may read just now. */
	void (*scribble)(u64 *seed);
	/* Dies unless all is in order. */
	void (*check)(void);
};

extern u64 guided_seed;

u32 rnd(u64 *seed, u32 below);
/* Values that are at some edge, mostly. */
u32 odd_value(u64 *seed);
/* All of main(): PROGRAM NAME SECONDS SEED. */
int guided_main(const struct guided *side, int argc, char **argv);

#endif /* TESTS_PEERS_GUIDED_H */
