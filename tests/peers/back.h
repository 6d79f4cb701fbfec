/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A backend in user space, over a channel of kind fd of usbfront, or over ivshmem in a
 * machine of its own. It runs the protocol strictly: a frontend that uses an id or a block
 * twice, or sends what can't be decoded, ends the program with a message. Devices are
 * somebody else's (struct back_ops).
 */
#ifndef TESTS_PEERS_BACK_H
#define TESTS_PEERS_BACK_H

#include <stdbool.h>
#include "ivshmem.h"
#include "proto.h"
#include "ring.h"
#include "usbif.h"

struct back;

/* A submission that has not been completed. */
struct back_req {
	bool is_live;
	struct usbif_request req;
	struct usbif_range ranges[USBIF_MAX_EXTENTS];
	u64 due;		/* for the device: when to complete it */
	struct back_req *next;	/* for the device */
	/* For the completion. */
	u32 value;
	u32 errors;
	bool is_held;		/* though it is isochronous */
};

struct back_ops {
	/* A transfer or an operation; ends with back_complete(), now or later. */
	void (*submit)(struct back *b, struct back_req *r);
	/* Take a live transfer off your queues; it is completed by the caller. */
	void (*forget)(struct back *b, struct back_req *r);
	/* Session is over: forget everything. */
	void (*reset)(struct back *b);
};

/* Of the next nonce: at first, or no longer when it is seen. */
enum back_snub { SNUB_NOT, SNUB_NOW, SNUB_LATER };

struct back {
	const char *name;
	const struct back_ops *ops;
	int memfd;
	int in;
	int out;
	struct ivshmem iv;	/* in place of both over ivshmem */
	void *region;
	u64 size;
	struct usbif_layout lay;
	struct usbif_back_page *page;
	struct usbif_front_page *front;
	struct usbif_port (*ports)[USBIF_MAX_PORTS + 1];
	struct usbif_cons sq;
	struct usbif_prod cq;
	u32 nonce;
	u32 session;
	u32 front_nonce;
	u32 state;
	u32 port_gen;
	u32 heartbeat;
	u8 port_version[USBIF_MAX_PORTS + 1];
	struct usbif_port_state port[USBIF_MAX_PORTS + 1];
	bool is_held[USBIF_MAX_PORTS + 1][256];
	struct back_req reqs[USBIF_MAX_REQUESTS];
	bool is_cancel_live[USBIF_MAX_REQUESTS];
	unsigned char *owned;	/* of each block */
	/* Misbehaviour. */
	bool is_deaf;		/* take nothing from the ring */
	bool is_old;		/* the same until the next session: its indices are old */
	bool is_stubborn;	/* end no transfer, no cancel */
	unsigned int stubborn_port;	/* only there, or 0 */
	unsigned int snubs;	/* take the next nonce for that of somebody dead */
	unsigned int spared;	/* cancels that it answers all the same */
	bool quiet_bell;
	u32 next_lie;		/* enum back_lie for the next completion */
	unsigned int spoil_word;	/* of the next completion, 0: none */
	u32 spoil_value;
	unsigned char *shadow;	/* of the pool, as it should be */
	/* Statistics. */
	u64 nr_submitted;
	u64 nr_cancelled;
	u64 nr_restarts;
	u64 nr_kicked;
};

enum back_lie {
	LIE_NONE,
	LIE_ID_RANGE,		/* id beyond 2 * N */
	LIE_ID_FREE,		/* id that is not live */
	LIE_ID_CANCEL,		/* id of a cancel that was never sent */
	LIE_TWICE,		/* the same completion twice */
	LIE_ACTUAL,		/* more than was asked for */
	LIE_STATUS,		/* unknown status */
	LIE_SESSION,		/* other session */
	LIE_RESERVED,		/* reserved octets not zero */
	LIE_INDEX_FAR,		/* cq_prod far ahead */
	LIE_INDEX_BACK,		/* cq_prod moves back */
	LIE_CONS_FAR,		/* sq_cons beyond what was submitted */
	LIE_PORT,		/* impossible port state */
	LIE_MAX,
};

_Noreturn void die(const char *fmt, ...);
u64 now_us(void);

/* Makes region and doorbells and, in usbfront, the channel. */
void back_open(struct back *b, const char *name, u64 size, u64 features);
/*
 * The same for the ivshmem device with this directory in sysfs; its region has the size
 * that it has. No interrupt comes here, so that it looks every millisecond.
 */
void back_open_pci(struct back *b, const char *dir, u64 features);
/* Tells usbfront to end the channel. */
void back_drop(const char *name);
/* The same in either kind; over ivshmem it can be taken up again. */
void back_end(struct back *b);
/* (Re)starts: writes the page with a new nonce. */
void back_start(struct back *b);
/* Ends the session, to begin none before back_start(). */
void back_stop(struct back *b);
/* Looks at everything once. True if there was something to do. */
bool back_look(struct back *b);
/* Waits for the doorbell or another descriptor, at most @timeout_us. */
void back_sleep(struct back *b, int other, long timeout_us);
void back_kick(struct back *b);

void back_plug(struct back *b, unsigned int port, u8 speed);
void back_unplug(struct back *b, unsigned int port, u8 reason);

/* Copies between memory and the data of a request. */
void back_put(struct back *b, struct back_req *r, const void *data, u32 len);
void back_get(struct back *b, struct back_req *r, void *data, u32 len);
/* Where the results of the packets of an isochronous request belong. */
struct usbif_iso_result *back_results(struct back *b, const struct back_req *r);
void back_complete(struct back *b, struct back_req *r, u8 status, u32 actual);
bool back_is_stubborn(const struct back *b, unsigned int port);
/* Has the other side taken all completions? */
bool back_is_taken(struct back *b);
void back_lie(struct back *b, enum back_lie lie);
/* From now on end the program if the pool has octets that no request put there. */
void back_look_for_leaks(struct back *b, bool on);

#endif /* TESTS_PEERS_BACK_H */
