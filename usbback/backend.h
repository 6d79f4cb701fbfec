/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One channel and the guest behind it, as the files of the data path see it;
 * others use usbback.h.
 *
 * Who runs what
 *   thread     "usbback/NAME", one for each channel: handshake, intake and
 *		submission of requests. It never waits for a device
 *   handlers   completion of URBs, any context: answer the frontend themselves
 *   workers    ops.c, one work item for each port: everything that sleeps
 *   timer      rings again for what the frontend has not consumed
 *
 * Everything below marked [L] is protected by ub->lock, [T] belongs to the thread,
 * [C] is constant after usbback_create().
 *
 * A slot is on exactly one list: parked or active of its endpoint while live.
 * Only the thread submits URBs, so a slot that is SLOT_SUBMITTING can't be taken
 * again before its submission has returned, however fast it completes.
 *
 * Lifetime: handlers run under rcu_read_lock(). Once ub->inflight is 0 no handler
 * begins, and after a grace period none runs: then the memory may go.
 */
#ifndef USBBACK_BACKEND_H
#define USBBACK_BACKEND_H

#include <linux/ratelimit.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include "usbback.h"

#define USBBACK_EPS		32	/* index: number, plus 16 for IN */
#define USBBACK_ALL_EPS		(~0U)
#define USBBACK_BATCH		16	/* entries copied from the ring at once */
#define USBBACK_BUDGET_REQUESTS	256	/* between two looks at the scheduler */
#define USBBACK_BUDGET_BYTES	(512 * 1024)
#define USBBACK_SMALL_SG	8	/* entries every slot has of its own */
#define USBBACK_FEATURES	(USBIF_F_ISO | USBIF_F_STREAMS | USBIF_F_SUSPEND | \
				 USBIF_F_FRAME)	/* offered */
#define USBBACK_ORDERS		7	/* bounce memory is kept in pages of order 0 to 6 */
#define USBBACK_CHUNK_ORDER	3	/* of scattered copies */
#define USBBACK_CHUNK		(PAGE_SIZE << USBBACK_CHUNK_ORDER)
/* Octets that a request has a buffer of its own for: a UAS status has 112. */
#define USBBACK_SMALL		128

/**
 * enum usbback_state - state of a channel
 * @USBBACK_IDLE: no session
 * @USBBACK_CONNECTED: session made, not yet taken up by the frontend
 * @USBBACK_RUNNING: requests are taken and ports shown
 * @USBBACK_ENDING: over, but the host controller still has requests of it
 * @USBBACK_BROKEN: no session, the last one broke the protocol
 * @USBBACK_CLOSED: none any more
 */
enum usbback_state {
	USBBACK_IDLE,
	USBBACK_CONNECTED,
	USBBACK_RUNNING,
	USBBACK_ENDING,
	USBBACK_BROKEN,
	USBBACK_CLOSED,
	USBBACK_STATES
};

/**
 * enum usbback_phase - what stands behind a port
 * @PORT_EMPTY: no device
 * @PORT_ANNOUNCED: the guest sees a device that is still being taken from its driver
 * @PORT_IDLE: a device, but no session
 * @PORT_PREPARING: the guest sees it, it is being reset before it can be used
 * @PORT_UP: the guest can use it
 * @PORT_FAILED: could not be reset
 * @PORT_DETACHING: being taken off
 */
enum usbback_phase {
	PORT_EMPTY,
	PORT_ANNOUNCED,
	PORT_IDLE,
	PORT_PREPARING,
	PORT_UP,
	PORT_FAILED,
	PORT_DETACHING,
	PORT_PHASES
};

/**
 * enum usbback_slot_state - where a request is
 * @SLOT_FREE: its id is not live
 * @SLOT_PARKED: waits on its endpoint
 * @SLOT_PREPARING: its URB is being filled in
 * @SLOT_SUBMITTING: in usb_submit_urb()
 * @SLOT_INFLIGHT: the host controller has it
 * @SLOT_DEFERRED: done, data to be copied by the thread
 * @SLOT_OP: an operation in the hands of a worker
 */
enum usbback_slot_state {
	SLOT_FREE,
	SLOT_PARKED,
	SLOT_PREPARING,
	SLOT_SUBMITTING,
	SLOT_INFLIGHT,
	SLOT_DEFERRED,
	SLOT_OP,
};

/**
 * enum usbback_kill - why an active request is being unlinked; a later one wins
 * @KILL_NONE: it is not
 * @KILL_TAKEBACK: to be parked again, its endpoint is held
 * @KILL_CANCEL: the frontend wants so
 * @KILL_SHUTDOWN: for a reset, a configuration or interface change
 * @KILL_NODEV: the device leaves the port
 * @KILL_SESSION: the session is over, nobody wants an answer
 */
enum usbback_kill {
	KILL_NONE,
	KILL_TAKEBACK,
	KILL_CANCEL,
	KILL_SHUTDOWN,
	KILL_NODEV,
	KILL_SESSION,
};

/**
 * enum usbback_how - how the data of a request reaches the host controller
 * @HOW_NONE: no data
 * @HOW_DIRECT: the pages of the pool themselves, contiguous
 * @HOW_SG: the pages of the pool themselves, scattered
 * @HOW_BOUNCE: a copy, contiguous
 * @HOW_BOUNCE_SG: a copy, scattered
 */
enum usbback_how {
	HOW_NONE,
	HOW_DIRECT,
	HOW_SG,
	HOW_BOUNCE,
	HOW_BOUNCE_SG,
};

struct usbback_port;

/* What a guest may have of the host, see limits.c. */
enum usbback_limit {
	LIMIT_REQUESTS,		/* submitted to host controllers */
	LIMIT_KIB,		/* in these */
	LIMIT_BATCH,		/* requests taken until others have their turn */
	LIMIT_RESETS,		/* a second, of each port */
	LIMIT_LINES,		/* of the log, in five seconds */
	USBBACK_LIMITS
};

/**
 * struct usbback_ep - an endpoint of a port
 * @port: it belongs to [C]
 * @active: requests from submission to completion, in order [L]
 * @parked: requests that wait, in order [L]
 * @run: in ub->run, ub->starved or ub->limited [L]
 * @kills: active ones with a kill: no submission until they are back [L]
 * @deferred: active ones that wait for the thread's copy [L]
 * @streams: granted, 0 for none; changes only while nothing is active [L]
 * @index: USBBACK_EPS [C]
 * @held: until USBIF_OP_RESTART [L]
 */
struct usbback_ep {
	struct usbback_port *port;
	struct list_head active;
	struct list_head parked;
	struct list_head run;
	unsigned int kills;
	unsigned int deferred;
	u32 streams;
	u8 index;
	bool held;
};

/**
 * struct usbback_port_stats - counters of a vport since the channel was made
 */
struct usbback_port_stats {
	u64 submitted;
	u64 completed;
	u64 errors;
	u64 cancelled;
	u64 bytes_in;
	u64 bytes_out;
	u64 direct;
	u64 bounced;
	u64 resets;
	u64 suspends;
	u64 wakeups;
	u32 inflight;
	u32 peak;
};

/**
 * struct usbback_port - a vport; made with the first device, stays until the end
 * @ub: it belongs to [C]
 * @vusb: [C]
 * @nr: [C]
 * @phase: [L]
 * @bdev: its device, with a reference, or NULL [L]
 * @udev: of @bdev, or the one announced [L]; used without the lock only while @inflight or by @work
 * @epoch: of the present device, never 0 [L]
 * @version: counter for usbif_port_write() [L]
 * @gate: endpoints (bit: index) whose requests wait for an operation [L]
 * @inflight: requests from submission to answer [L]
 * @configured: the guest has set a configuration since the last reset [L]
 * @pristine: nothing but descriptors was asked of it since the last reset [L]
 * @asleep: suspended by the guest, requests wait; written by the worker [L]
 * @frozen: the host sleeps, requests and operations wait [L]
 * @freezes: how often that was so [L]
 * @held_awake: the PM core may refuse to suspend the device by itself, as it does from
 *              before the host's sleep until all of it is awake [L]
 * @wakeup: as in the port table [L]
 * @want_kick: ring for a change of the port table
 * @want_prepare: reset and publish [L]
 * @ops: operations, first one may be running [L]
 * @work: runs them
 * @last_reset: jiffies, of the worker
 * @configs_until: jiffies, of the worker: see pace_configurations()
 * @max_linear: most octets of one contiguous mapping
 * @max_segment: most octets of a scatter-gather element
 * @stats: [L], but direct and bounced [T]
 * @eps: endpoints
 */
struct usbback_port {
	struct usbback *ub;
	u8 vusb;
	u8 nr;
	u8 version;
	enum usbback_phase phase;
	struct usbback_dev *bdev;
	struct usb_device *udev;
	u32 epoch;
	u32 gate;
	unsigned int inflight;
	bool configured;
	bool pristine;
	bool asleep;
	bool frozen;
	u32 freezes;
	bool held_awake;
	u32 wakeup;
	bool want_kick;
	bool want_prepare;
	struct list_head ops;
	struct work_struct work;
	unsigned long last_reset;
	unsigned long configs_until;
	size_t max_linear;
	size_t max_segment;
	struct usbback_port_stats stats;
	struct usbback_ep eps[USBBACK_EPS];
};

/**
 * struct usbback_big - the list of a buffer of many pieces
 * @node: in ub->bigs
 */
struct usbback_big {
	struct list_head node;
	struct scatterlist sg[USBIF_MAX_EXTENTS];
};

/**
 * struct usbback_reserve - memory for one request that there is no other memory for
 * @slot: request that has it, or NULL [L]
 * @big: its list [C]
 * @chunks: and its buffer, full length [C]
 */
struct usbback_reserve {
	struct usbback_slot *slot;
	struct usbback_big *big;
	struct page *chunks[USBIF_MAX_TRANSFER / USBBACK_CHUNK];
};

/**
 * struct usbback_slot - a request id and what is kept for it
 * @ub: [C]
 * @id: [C]
 * @setup: SETUP packet, memory fit for DMA [C]
 * @small: buffer of USBBACK_SMALL octets, memory fit for DMA [C]
 * @unlinking: calls of usb_unlink_urb() that may still use @urb
 * @urb: reused as long as @unlinking is 0 [T]
 * @packets: that @urb has room for [T]
 * @has_results: isochronous: the table says what became of the packets
 * @state: [L]
 * @kill: [L]
 * @unlinked: usb_unlink_urb() has been called or is about to be [L]
 * @blocked: usb_block_urb() has been called, to be undone after submission [L]
 * @node: in active or parked of @ep [L]
 * @deferred: in ub->deferred [L]
 * @ep: of a transfer
 * @op: of an operation [L]
 * @seq: order of submission
 * @tries: submissions that failed for want of memory
 * @req: the request
 * @ranges: its extents; @small_ranges or its own part of ub->ranges
 * @big: of its buffer, if that needs one
 * @is_reserve: the buffer is the reserve's
 * @how: where the URB's data is
 * @nents: entries of @sg
 * @linear: HOW_DIRECT, HOW_BOUNCE: the buffer
 * @order: HOW_BOUNCE: of its pages
 * @sg: HOW_SG, HOW_BOUNCE_SG: @small_sg or in @big
 * @error: SLOT_DEFERRED: status of the URB
 * @actual: SLOT_DEFERRED: octets moved
 */
struct usbback_slot {
	struct usbback *ub;
	u32 id;
	struct usb_ctrlrequest *setup;
	void *small;
	atomic_t unlinking;
	struct urb *urb;
	unsigned int packets;
	bool has_results;
	enum usbback_slot_state state;
	enum usbback_kill kill;
	bool unlinked;
	bool blocked;
	struct list_head node;
	struct list_head deferred;
	struct usbback_ep *ep;
	struct usbback_op *op;
	u64 seq;
	unsigned int tries;
	struct usbif_request req;
	struct usbif_range *ranges;
	struct usbback_big *big;
	bool is_reserve;
	enum usbback_how how;
	unsigned int nents;
	void *linear;
	unsigned int order;
	struct scatterlist *sg;
	int error;
	u32 actual;
	struct usbif_range small_ranges[USBIF_INLINE_EXTENTS];
	struct scatterlist small_sg[USBBACK_SMALL_SG];
};

/**
 * struct usbback_op - an operation that sleeps
 * @node: in ops of its port [L]
 * @slot: that waits for it, NULL if nobody does any more [L]
 * @port: that it is for
 * @req: the request
 * @seq: order of submission, as of the slots
 * @mask: endpoints that wait for it
 * @value: for the answer
 * @running: the worker has it [L]
 */
struct usbback_op {
	struct list_head node;
	struct usbback_slot *slot;
	struct usbback_port *port;
	struct usbif_request req;
	u64 seq;
	u32 mask;
	u32 value;
	bool running;
};

/**
 * struct usbback_violation - how the frontend violated the protocol
 * @claimed: bit 0: somebody fills in the rest
 * @error: enum usbif_error, stored last
 */
struct usbback_violation {
	unsigned long claimed;
	const char *what;
	u64 value;
	u64 limit;
	u32 error;
};

/**
 * struct usbback_stats - counters of a channel
 */
struct usbback_stats {
	u64 wakeups;		/* [T] */
	u64 empty_wakeups;	/* [T] */
	u64 paced;		/* [T] pauses for want of anything but doorbells */
	u64 limited;		/* [L] times an endpoint had to wait for its share */
	u64 poll_hits;		/* [T] */
	u64 poll_misses;	/* [T] */
	u64 sessions;		/* [T] */
	u64 stalls;		/* [T] completion ring full */
	u64 retries;		/* [T] no memory */
	u64 violations;		/* [T] */
	u64 rerings;		/* [L] */
	u64 takebacks;		/* [L] */
	u64 refused[USBIF_WHY_MAX];	/* [T] */
};

/**
 * struct usbback - a channel and its guest
 * @node: in the list of channels (backend.c)
 * @added: rules know of it; under publish_mutex
 * @is_ready: complete, may be used and ended by others; under the list's mutex
 * @name: of the guest, empty if it has none; written once, under both mutexes
 * @pid: process that the guest runs in, 0 if unknown; under the list's mutex
 * @pid_start: its start time
 * @kcov_handle: of the task that made the channel: what the thread runs is covered by it
 */
struct usbback {
	struct list_head node;
	bool added;
	bool is_ready;
	char name[USBIF_NAME_MAX + 1];
	unsigned int index;
	struct usbif_chan *chan;
	struct task_struct *thread;
	struct workqueue_struct *wq;
	struct dentry *debugfs;
	struct ratelimit_state log;

	u32 pid;
	u64 pid_start;
	u64 kcov_handle;

	/* shared memory [C] */
	struct usbif_layout lay;
	struct usbif_back_page __usbif *back;
	struct usbif_front_page __usbif *front;
	struct usbif_port __usbif *ports_wire;	/* rows of 16 */

	spinlock_t lock;		/* what is marked [L] */
	enum usbback_state state;	/* [L] to write, by the thread only */
	u32 session;			/* [T] to write */
	struct usbif_prod cq;		/* [L] */
	u32 port_gen;			/* [L] */
	u32 next_epoch;			/* [L] */
	unsigned int inflight;		/* [L] requests from submission to answer */
	unsigned int live;		/* [L] ids */
	unsigned int waiters;		/* [L] on @idle */
	wait_queue_head_t idle;
	struct usbback_slot *slots;
	unsigned long *blocks;		/* [L] of the pool, in live requests */
	struct list_head run;		/* [L] endpoints to be looked at */
	struct list_head starved;	/* [L] endpoints that wait for memory */
	struct list_head limited;	/* [L] endpoints that have no share left */
	u64 octets;			/* [L] of requests from submission to answer */
	u32 limits[USBBACK_LIMITS];	/* list's lock to write */
	struct list_head deferred;	/* [L] slots */
	struct usbback_port *ports[USBIF_MAX_VUSB][USBIF_MAX_PORTS + 1]; /* [L] */

	/* bounce.c [L] */
	struct list_head bigs;
	unsigned int nr_bigs;
	struct list_head cache[USBBACK_ORDERS];
	unsigned int cached_pages;
	struct usbback_reserve reserve;

	/* the timer that rings again */
	struct timer_list ring_timer;
	u32 ring_cons;			/* [L] as the timer saw it last */
	u32 ring_port_seen;		/* [L] */
	unsigned int ring_silent;	/* [L] rings without an answer */

	/* the thread */
	unsigned long woken;		/* bit 0 */
	bool pausing;			/* [T] to write: looks soon in any case */
	bool closing;
	bool peer_gone;
	bool closed;			/* the thread has said so */
	struct usbif_cons sq;		/* [T] */
	u32 nonce;			/* [T] ours */
	u32 front_nonce;		/* [T] of the session */
	u32 refused_nonce;		/* [T] of one that is over */
	unsigned long handshakes_until;	/* [T] jiffies: see may_shake_hands() */
	bool too_many_handshakes;	/* [T] */
	bool end_broken;		/* [T] ENDING is to become BROKEN */
	bool stalled;			/* [T] completion ring full */
	bool retry_now;			/* [L] memory may be there again */
	unsigned long retry_at;		/* [T] */
	unsigned long ending_since;	/* [T] */
	unsigned long ending_log;	/* [T] */
	u32 ring_start;			/* of the next session */
	bool copy_all;			/* as if the region had no pages */
	bool no_memory;			/* as if there was none but the reserve */
	u32 heartbeat;			/* [T] */
	u64 seq;			/* [T] */
	u64 poll_ns;			/* [T] */
	u64 idle_since;			/* [T] */
	unsigned int empty_row;		/* [T] */
	void *table;			/* [T] copy of a table */
	struct usbif_range *ranges;	/* of long tables, by slot */
	struct usbif_packet *packets;	/* [T] */
	struct usb_ctrlrequest *setups;
	struct usbif_req batch[USBBACK_BATCH];	/* [T] */
	struct usbback_violation violation;
	struct usbback_stats stats;
};

/* limits.c */
void usbback_limits_apply(struct usbback *ub);
void usbback_limits_exit(void);

static inline u32 usbback_limit(const struct usbback *ub, enum usbback_limit limit)
{
	return READ_ONCE(ub->limits[limit]);
}

/* backend.c */
void usbback_look_again(struct usbback *ub);
void usbback_wake(struct usbback *ub);
void usbback_lock_list(void);
void usbback_unlock_list(void);
/* Under the list's lock. */
struct usbback *usbback_find(const char *name);
struct usbback *usbback_find_ready(const char *name);
struct usbback *usbback_next(struct usbback *ub);
/* Takes a channel of kind fd out of the list: the caller destroys it. NULL: none. */
struct usbback *usbback_take(const char *name);

/* session.c */
const char *usbback_state_name(enum usbback_state state);
/*
 * The frontend violated the protocol: the first caller's words are logged, the
 * thread ends the session. Any context, with or without ub->lock.
 */
void usbback_break(struct usbback *ub, enum usbif_error error, const char *what,
		   u64 value, u64 limit);
void usbback_session_init(struct usbback *ub);
/* True if it changed something, so that it should be called again. */
bool usbback_session_look(struct usbback *ub);
/* Time until the thread must look without being woken. */
long usbback_session_timeout(const struct usbback *ub);
/* Writes @port to the port table; ub->lock held, the caller kicks. */
void usbback_session_write_port(struct usbback_port *port,
				enum usbif_port_reason reason);
/* Answer; ub->lock held; the caller asks usbback_session_must_kick() before unlocking. */
void usbback_session_answer(struct usbback *ub, struct usbif_response *rsp);
void usbback_session_respond(struct usbback *ub, u32 id, u8 status, u16 flags,
			     u32 actual, u32 value);

/* Whether to kick for the answers of this hold of ub->lock, after it. */
static inline bool usbback_session_must_kick(struct usbback *ub)
{
	bool kick;

	lockdep_assert_held(&ub->lock);
	if (ub->state != USBBACK_RUNNING)
		return false;
	kick = usbif_prod_need_kick(&ub->cq);
	usbback_look_again(ub);
	return kick;
}

/* port.c */
const char *usbback_phase_name(enum usbback_phase phase);
/* All with ub->lock held. */
struct usbback_port *usbback_port_find(struct usbback *ub, u8 vusb, u8 nr,
				       u32 epoch);
struct usbback_port *usbback_port_find_shown(struct usbback *ub, u8 vusb, u8 nr,
					     u32 epoch);
static inline bool usbback_port_is_shown(const struct usbback_port *port)
{
	return port->phase == PORT_ANNOUNCED ||
	       port->phase == PORT_PREPARING || port->phase == PORT_UP;
}

void usbback_port_run(struct usbback_port *port);
/*
 * Ends what was submitted to the endpoints of @mask before @seq: parked requests at
 * once, active ones when usbback_urb_unlink_port() was called and they are back.
 */
void usbback_port_kill(struct usbback_port *port, u32 mask, u64 seq,
		       enum usbback_kill kill);
/* Sessions: all ports of a backend. */
void usbback_ports_start(struct usbback *ub);
void usbback_ports_stop(struct usbback *ub);

/* request.c */
/* Direction of the data as the USB core sees it. */
static inline bool usbback_request_is_in(const struct usbif_request *req)
{
	if (req->type == USBIF_TYPE_CONTROL)
		return req->setup[0] & USB_DIR_IN && req->length;
	return req->endpoint & USB_DIR_IN;
}

int usbback_request_init(struct usbback *ub);
void usbback_request_fini(struct usbback *ub);
/* Takes submissions; true if there may be more. [T] */
bool usbback_request_intake(struct usbback *ub);
/* Ends a live request; ub->lock held. KILL_SESSION: without an answer. */
void usbback_request_finish(struct usbback_slot *slot, u8 status, u16 flags,
			    u32 actual, u32 value);
/* Forgets all that is not active; ub->lock held. */
void usbback_request_drop_all(struct usbback *ub);

/* urb.c */
static inline unsigned int usbback_ep_index(u8 address)
{
	return (address & USB_ENDPOINT_NUMBER_MASK) |
	       (address & USB_DIR_IN && address & USB_ENDPOINT_NUMBER_MASK ?
		16 : 0);
}

/*
 * Submits what may be submitted of endpoint @ep, no more than the limit "batch" at once.
 * Returns how many it was. [T], no lock held
 */
unsigned int usbback_urb_run(struct usbback_ep *ep);
/* The same for all that wait in ub->run; copies what handlers left. [T] */
bool usbback_urb_flush(struct usbback *ub);
/* Puts @ep into ub->run and wakes the thread; ub->lock held. */
void usbback_urb_schedule(struct usbback_ep *ep);
void usbback_urb_inactive(struct usbback_slot *slot);
void usbback_urb_unlimit(struct usbback *ub);
/* Marks an active request; ub->lock held. */
void usbback_urb_kill(struct usbback_slot *slot, enum usbback_kill kill);
/* Marks all of an endpoint to be parked again; ub->lock held. */
void usbback_urb_take_back(struct usbback_ep *ep);
/* Unlinks what is marked; no lock held, any context. */
void usbback_urb_unlink(struct usbback_ep *ep);
void usbback_urb_unlink_port(struct usbback_port *port);
/* The endpoint as the device has it now, or NULL. */
struct usb_host_endpoint *usbback_urb_endpoint(struct usb_device *udev, u8 address);

/* iso.c */
static inline bool usbback_slot_is_iso(const struct usbback_slot *slot)
{
	return slot->req.type == USBIF_TYPE_ISO;
}

/* Another URB for the slot, with the same packets. 0 or -ENOMEM. [T] */
int usbback_iso_renew(struct usbback_slot *slot, unsigned int packets);
/* Takes over ub->packets, which were decoded for the slot. 0 or -ENOMEM. [T] */
int usbback_iso_prepare(struct usbback_slot *slot);
/* Writes what became of each packet and returns the octets moved; any context. */
u32 usbback_iso_results(struct usbback_slot *slot);
/* The same for a request that the host controller never had; ub->lock held. */
void usbback_iso_finish(struct usbback_slot *slot, struct usbif_response *rsp);
/* Copies the packets of a bounced IN transfer to the pool; any context. */
void usbback_iso_copy_in(struct usbback_slot *slot);
void usbback_iso_get_frame(struct usbback *ub, const struct usbif_request *req);

/* bounce.c */
int usbback_buffer_init(struct usbback *ub);
void usbback_buffer_fini(struct usbback *ub);
/*
 * Finds or makes a buffer for the host controller and fills it for OUT. 0, -ENOMEM,
 * -EOPNOTSUPP. [T]
 */
int usbback_buffer_map(struct usbback_slot *slot,
		       const struct usb_host_endpoint *hep, bool is_in);
/* Copies @len octets of a bounced IN transfer to the pool; any context. */
void usbback_buffer_copy_in(struct usbback_slot *slot, u32 len);
/* Gives the URB's buffer back, if it has one; ub->lock held. */
void usbback_buffer_unmap(struct usbback_slot *slot);

static inline bool usbback_slot_bounced(const struct usbback_slot *slot)
{
	return slot->how == HOW_BOUNCE || slot->how == HOW_BOUNCE_SG;
}

/* ops.c */
/* Takes an operation that sleeps. [T] */
void usbback_op_take(struct usbback *ub, struct usbback_slot *slot);
void usbback_op_leave(struct usbback_slot *slot);
/* Cancels one that has not begun; ub->lock held. */
void usbback_op_cancel(struct usbback_slot *slot);
void usbback_op_work(struct work_struct *work);
u8 usbback_op_status(int ret);
void usbback_port_take_back(struct usbback_port *port, u32 mask);
bool usbback_port_drain(struct usbback_port *port, u32 mask, unsigned int timeout_ms);

/* power.c: after the host's sleep, the list of channels locked */
void usbback_ports_thaw(struct usbback *ub);
/* In the port's worker, no lock held. */
u8 usbback_port_wake(struct usbback_port *port);
u8 usbback_port_sleep(struct usbback_port *port, bool may_wake);

/* streams.c */
void usbback_streams_forget(struct usbback_port *port, u32 mask);
u8 usbback_streams_alloc(struct usbback_port *port, struct usbback_op *op,
			 unsigned int lock_ms);
bool usbback_streams_free(struct usbback_port *port, u32 mask);

/* debugfs.c */
void usbback_debugfs_init(void);
void usbback_debugfs_exit(void);
void usbback_debugfs_add(struct usbback *ub);
void usbback_debugfs_remove(struct usbback *ub);

#endif /* USBBACK_BACKEND_H */
