/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the cases of front_hostile have in common. Each case finds a running session and
 * four configured devices, breaks what it likes, and says with check() what it saw.
 */
#ifndef TESTS_PEERS_FRONT_HOSTILE_H
#define TESTS_PEERS_FRONT_HOSTILE_H

#include <pthread.h>
#include <stdatomic.h>
#include "front.h"

#define SILENCE_MS	100	/* for what must not come */
#define PROMPT_MS	3000	/* for what must */
#define TABLE_BLOCK	90
#define DATA_BLOCK	100
#define PIPE_BLOCK	16	/* blocks from here on are the cases' */

/* A request with one field changed, and how it must end. */
#define CHANGED(change, status) do {			\
	struct usbif_req w = good_wire();		\
	change;						\
	wants_wire(#change, &w, USBIF_ST_##status);	\
} while (0)

struct hostile_case {
	unsigned int number;
	void (*run)(void);
};

/* By number, ending with an empty one. */
extern const struct hostile_case hostile_words[], hostile_requests[],
				 hostile_iso[], hostile_ends[],
				 hostile_floods[];

extern struct front f;
extern struct front_dev disk;	/* port 1: says nothing unless asked */
extern struct front_dev sink;	/* port 2: gives and takes without end */
extern struct front_dev keys;	/* port 3: an interrupt endpoint, silent */
extern struct front_dev strm;	/* port 4: isochronous endpoints, in setting 1 */
extern bool is_long;

/* Makes the case fail, with this remark, unless @good. */
__attribute__((format(printf, 2, 3)))
void check(bool good, const char *fmt, ...);
/* The same for a number that should be another. */
void check_is(const char *what, unsigned long is, unsigned long wanted);
/* Tells the person, or the program, at the other end. */
void say(const char *word);

/* A request that succeeds: the descriptor of the disk to block 0. */
struct usbif_request good(void);
struct usbif_req good_wire(void);
/* Submits and compares the status of the completion. */
void wants_wire(const char *what, const struct usbif_req *wire, unsigned int status);
void wants(const char *what, const struct usbif_request *req, unsigned int status);
void still_good(void);
/* A transfer that waits until it is cancelled. */
struct usbif_request waiting(u32 id);
void cancel(u32 id, unsigned int status);
/* The end of a request. */
void wants_end(u32 id, unsigned int status);
void restart(const struct front_dev *dev, u8 endpoint);
void configure(const struct front_dev *dev);

/* A good one of two packets, with its table; its endpoint is there in setting 1 only. */
struct usbif_request iso_request(void);
void set_setting(u32 setting);

/* The backend calls the session broken; or ends it. */
void wants_broken(const char *what, u32 error);
void wants_state(const char *what, u32 state);
/* A session and three devices, if there are none. */
void ready(void);
/* After the session has ended in a way the frame cannot see. */
void forget_session(void);

/* A counter of the channel in debugfs. */
unsigned long counter(const char *name);
/* What the indices of the next session begin with. */
void start_at(u32 start);

/* Somebody who changes shared memory until flip_stop(). */
struct flipper {
	pthread_t thread;
	atomic_bool stop;
	void (*flip)(u32 random);
	unsigned int pause_us;
};

void flip_start(struct flipper *flipper, void (*flip)(u32 random),
		unsigned int pause_us);
void flip_stop(struct flipper *flipper);

#endif /* TESTS_PEERS_FRONT_HOSTILE_H */
