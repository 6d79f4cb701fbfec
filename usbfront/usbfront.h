/* SPDX-License-Identifier: GPL-2.0 */
/*
 * usbfront: objects and the interface between the files.
 *
 *   struct usbfront           one channel: thread, session, rings, pool, requests
 *     struct usbfront_vusb    one virtual controller: USB 2 and USB 3 root hub
 *       struct usbfront_port  one vport: what the backend says, what two hubs show
 *         struct usbfront_ep  one endpoint of the device: queue of URBs
 *   struct usbfront_xfer      one URB on its way: one request, or several pieces
 *     struct usbfront_req     one id of the ring
 *
 * Locks. usbfront_mutex (front.c) guards the list of channels and is never taken
 * by the thread. uf->lock (spinlock, irqsave) guards everything in a channel that
 * is not said to belong to the thread; it is what usbcore calls the private lock
 * of the host controller driver, so usbcore's hcd_urb_list_lock nests inside. No
 * lock of ours is held over a giveback, a doorbell, a copy of data, or a call into
 * usbcore that may call back.
 */
#ifndef USBFRONT_H
#define USBFRONT_H

#include <linux/device.h>
#include <linux/list.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/usb.h>
#include <linux/usb/hcd.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "chan.h"
#include "pool.h"
#include "proto.h"
#include "ring.h"
#include "usbif.h"

#define USBFRONT_NAME		"usbfront"
/* Of those in usbif.h, what we can do. */
#define USBFRONT_FEATURES	(USBIF_F_ISO | USBIF_F_STREAMS | \
				 USBIF_F_SUSPEND | USBIF_F_FRAME)
#define USBFRONT_NR_EPS		32	/* numbers 0 to 15, OUT then IN */

struct usbfront;
struct usbfront_vusb;
struct usbfront_call;
struct usbfront_port;

/* ---- endpoints, transfers, requests ---- */

/**
 * struct usbfront_ep - an endpoint of the device on a port
 * @port: it belongs to
 * @address: bEndpointAddress, 0 for the control endpoint
 * @is_feeding: somebody is in usbfront_ep_feed(); only one at a time, so that
 *	requests keep their order although data is copied without the lock
 * @is_waiting: on uf->waiting
 * @is_restart_due: on uf->restarts: the backend holds it until the handlers have run
 * @is_held: held with nothing live: told so before the next request
 * @is_op_live: if something is live, it is an operation
 * @is_long: the last request was long
 * @is_iso: it was isochronous
 * @nr_live: requests in the ring, or being taken out of it
 * @nr_untold: of which the backend may not know yet
 * @untold_end: index behind the last of these
 * @nr_early: of its transfers on uf->early
 * @refusal: isochronous: why the backend has refused a request, a moment ago
 * @refused_at: jiffies of that
 * @next: first URB not wholly submitted, or NULL. All later ones on the list of
 *	its usb_host_endpoint are untouched (their hcpriv is NULL)
 * @partial: those of @xfers with a stream that are to go on with their next piece,
 *	which comes before @next
 * @xfers: URBs that have begun, in order
 * @wait_node: in uf->waiting
 * @restart_node: in uf->restarts
 */
struct usbfront_ep {
	struct usbfront_port *port;
	u8 address;
	bool is_feeding;
	bool is_waiting;
	bool is_restart_due;
	bool is_held;
	bool is_op_live;
	bool is_long;
	bool is_iso;
	u32 nr_live;
	u32 nr_untold;
	u32 untold_end;
	u32 nr_early;
	int refusal;
	unsigned long refused_at;
	struct urb *next;
	struct list_head partial;
	struct list_head xfers;
	struct list_head wait_node;
	struct list_head restart_node;
};

/**
 * struct usbfront_xfer - a URB that has begun; its hcpriv
 * @urb: linked to its endpoint as long as this exists
 * @uep: endpoint
 * @ep_node: in uep->xfers
 * @reqs: live or being filled, in order
 * @partial_node: in uep->partial
 * @cancel_node: in uf->cancels, while a cancel has been sent
 * @cancel_until: how long the answer is waited for, in jiffies
 * @op: enum usbif_op
 * @endpoint: of the operation (differs from uep's for CLEAR_HALT)
 * @arg0: of the operation
 * @arg1: of the operation
 * @queued: octets submitted
 * @packets: packets submitted
 * @start_frame: isochronous: as the driver wants it
 * @status: of the URB
 * @is_ended: nothing more is submitted; given back when @reqs is empty
 */
struct usbfront_xfer {
	struct urb *urb;
	struct usbfront_ep *uep;
	struct list_head ep_node;
	struct list_head reqs;
	struct list_head partial_node;
	struct list_head cancel_node;
	unsigned long cancel_until;
	u8 op;
	u8 endpoint;
	u32 arg0;
	u32 arg1;
	u32 queued;
	u32 packets;
	int start_frame;
	int status;
	bool is_ended;
};

/**
 * enum usbfront_req_state - what an id is used for
 * @USBFRONT_REQ_FREE: nothing
 * @USBFRONT_REQ_FILLING: taken, its data is being copied into the pool
 * @USBFRONT_REQ_LIVE: in the ring
 * @USBFRONT_REQ_LOST: in the ring, but the URB has been given back: id and blocks
 *	wait here for the completion, its data is dropped
 * @USBFRONT_REQ_TAKING: completed, its data is being copied out of the pool
 * @USBFRONT_REQ_SPENT: completed, but its cancel is still live
 */
enum usbfront_req_state {
	USBFRONT_REQ_FREE,
	USBFRONT_REQ_FILLING,
	USBFRONT_REQ_LIVE,
	USBFRONT_REQ_LOST,
	USBFRONT_REQ_TAKING,
	USBFRONT_REQ_SPENT,
};

/**
 * struct usbfront_req - one id
 * @xfer: what it is for, NULL for operations of our own and if lost
 * @uep: endpoint, NULL for operations of our own
 * @call: who waits for an operation of our own, or NULL
 * @port: it is for
 * @node: in xfer->reqs, or in the list of free ids
 * @run: its blocks
 * @epoch: of the port when it was made
 * @offset: of this piece in the URB
 * @length: of this piece
 * @first_packet: isochronous: first packet of the URB in this piece
 * @nr_packets: isochronous: packets of this piece, else 0
 * @state: enum usbfront_req_state
 * @op: enum usbif_op
 * @is_in: data comes from the device
 * @is_cancelling: id N + i is live
 * @nr_repeats: submissions since the first
 */
struct usbfront_req {
	struct usbfront_xfer *xfer;
	struct usbfront_ep *uep;
	struct usbfront_call *call;
	struct usbfront_port *port;
	struct list_head node;
	struct usbfront_run run;
	u32 epoch;
	u32 offset;
	u32 length;
	u32 first_packet;
	u32 nr_packets;
	u8 state;
	u8 op;
	bool is_in;
	bool is_cancelling;
	u16 nr_repeats;
};

/* ---- ports ---- */

/**
 * enum usbfront_hub_state - state of a port of a root hub
 * @USBFRONT_HUB_OFF: no power
 * @USBFRONT_HUB_EMPTY: power, no device
 * @USBFRONT_HUB_CONNECTED: device, not enabled
 * @USBFRONT_HUB_RESETTING: reset has been asked for
 * @USBFRONT_HUB_ENABLED: device can be talked to
 * @USBFRONT_HUB_SUSPENDED: L2 or U3
 * @USBFRONT_HUB_RESUMING: resume is being signalled
 */
enum usbfront_hub_state {
	USBFRONT_HUB_OFF,
	USBFRONT_HUB_EMPTY,
	USBFRONT_HUB_CONNECTED,
	USBFRONT_HUB_RESETTING,
	USBFRONT_HUB_ENABLED,
	USBFRONT_HUB_SUSPENDED,
	USBFRONT_HUB_RESUMING,
	USBFRONT_HUB_NR_STATES,
};

/**
 * enum usbfront_side - the two root hubs of a controller
 * @USBFRONT_USB2: low, full and high speed
 * @USBFRONT_USB3: SuperSpeed and above
 */
enum usbfront_side {
	USBFRONT_USB2,
	USBFRONT_USB3,
	USBFRONT_NR_SIDES,
};

/**
 * struct usbfront_hport - one port of one root hub
 * @state: enum usbfront_hub_state
 * @change: wPortChange
 * @link: USB 3: link state U0 to U2 while enabled
 * @is_gone_unseen: a device has gone and the hub driver has not noticed; until it
 *	has, no other device is shown here
 * @is_gone_read: a status without connection has been read since
 * @until: end of the reset or resume
 */
struct usbfront_hport {
	enum usbfront_hub_state state;
	u16 change;
	u16 link;
	bool is_gone_unseen;
	bool is_gone_read;
	unsigned long until;
};

/**
 * struct usbfront_port - a vport
 * @vusb: controller
 * @number: from 1
 * @wire: last state that the backend published
 * @epoch: of the device that the guest sees, 0 for none
 * @speed: of that device, enum usbif_speed
 * @is_clean: reset, and nothing but descriptors read since
 * @is_reset_due: USBIF_OP_RESET is to be sent
 * @is_reset_late: the hub driver was told that it has failed, and it may yet succeed
 * @reset: USBIF_OP_RESET on its way, or NULL
 * @reset_until: jiffies until which it is waited for, however often it is asked for
 * @query: the question whether there can be streams, or NULL
 * @query_until: jiffies until which a reset waits for the answer
 * @call: somebody waits for an operation, or NULL
 * @is_stuck: a cancel went unanswered since the last reset
 * @is_asked: that has been answered: usbcore need not wait for it
 * @no_streams: the answer was no
 * @may_wake: the guest has enabled remote wakeup
 * @wants_sleep: the device is to be suspended
 * @is_asleep: it is, as far as we know
 * @is_power_due: USBIF_OP_SUSPEND or _RESUME is to be sent
 * @is_bus_asleep: suspended only because the root hub is
 * @power: that operation on its way, or NULL
 * @wakeup: as last seen in the port table
 * @nr_ids: ids in use for its URBs
 * @nr_blocks: blocks of the pool in use
 * @hport: as the two hubs show it
 * @ep: endpoints; number, plus 16 if IN
 */
struct usbfront_port {
	struct usbfront_vusb *vusb;
	u8 number;
	struct usbif_port_state wire;
	u32 epoch;
	u8 speed;
	bool is_clean;
	bool is_reset_due;
	bool is_reset_late;
	struct usbfront_req *reset;
	unsigned long reset_until;
	struct usbfront_req *query;
	unsigned long query_until;
	struct usbfront_call *call;
	bool is_stuck;
	bool is_asked;
	bool no_streams;
	bool may_wake;
	bool wants_sleep;
	bool is_asleep;
	bool is_power_due;
	bool is_bus_asleep;
	struct usbfront_req *power;
	u32 wakeup;
	u32 nr_ids;
	u32 nr_blocks;
	struct usbfront_hport hport[USBFRONT_NR_SIDES];
	struct usbfront_ep ep[USBFRONT_NR_EPS];
};

/**
 * struct usbfront_hcd - private data of a struct usb_hcd
 * @vusb: controller; not to be used after usb_remove_hcd()
 * @side: enum usbfront_side
 * @driver: what hcd->driver points to. It lies here because users of a mapping
 *	made by usbfs look at it long after the module may have gone
 * @product: product string of the root hub
 * @bus_name: serial string of the root hub
 */
struct usbfront_hcd {
	struct usbfront_vusb *vusb;
	enum usbfront_side side;
	struct hc_driver driver;
	char product[48];
	char bus_name[64];
};

/**
 * struct usbfront_clock - what is known of the host's frame number
 * @frame: number at @at
 * @at: time
 * @asked_at: time of the last question
 * @session: of which
 * @value: last answer
 * @next: jiffies of the next question, not before
 * @used_at: jiffies when @port was last named
 * @port: that is asked
 * @epoch: of which
 * @is_asked: no answer yet
 * @is_known: @frame is the host's; else there is our own clock only
 */
struct usbfront_clock {
	u32 frame;
	ktime_t at;
	ktime_t asked_at;
	u32 session;
	u32 value;
	unsigned long next;
	unsigned long used_at;
	struct usbfront_port *port;
	u32 epoch;
	bool is_asked;
	bool is_known;
};

/**
 * struct usbfront_vusb - a virtual controller
 * @uf: channel
 * @number: vusb
 * @pdev: device of the controller, bound to our platform driver
 * @hcd: the two halves, or NULL. They are valid for the thread as long as it runs
 * @nr_hcds: halves that are registered
 * @is_suspended: root hub is suspended
 * @is_poll_due: root hub has news for usbcore
 * @clock: frame numbers
 * @wakeups: ports (bit: number) that have woken up, for usbcore
 * @port: vports, [0] is port 1
 */
struct usbfront_vusb {
	struct usbfront *uf;
	u8 number;
	struct platform_device *pdev;
	struct usb_hcd *hcd[USBFRONT_NR_SIDES];
	int nr_hcds;
	bool is_suspended[USBFRONT_NR_SIDES];
	bool is_poll_due[USBFRONT_NR_SIDES];
	struct usbfront_clock clock;
	u32 wakeups[USBFRONT_NR_SIDES];
	struct usbfront_port port[USBIF_MAX_PORTS];
};

/* ---- channel ---- */

/**
 * enum usbfront_state - of the session
 * @USBFRONT_DOWN: no session, looking for a backend
 * @USBFRONT_CONNECTING: our nonce is written, waiting for the backend
 * @USBFRONT_RUNNING: session in force
 * @USBFRONT_CLOSING: asked the backend to end the session
 * @USBFRONT_BROKEN: backend violated the protocol
 * @USBFRONT_DEAD: channel is being removed
 */
enum usbfront_state {
	USBFRONT_DOWN,
	USBFRONT_CONNECTING,
	USBFRONT_RUNNING,
	USBFRONT_CLOSING,
	USBFRONT_BROKEN,
	USBFRONT_DEAD,
	USBFRONT_NR_STATES,
};

/* Bits of uf->events: why the thread is woken. */
enum usbfront_event {
	USBFRONT_EV_RING,	/* doorbell */
	USBFRONT_EV_DONE,	/* URBs to give back */
	USBFRONT_EV_FEED,	/* endpoints to feed, operations to send */
	USBFRONT_EV_TIMER,	/* a deadline has passed */
	USBFRONT_EV_POLL,	/* root hubs to poll */
	USBFRONT_EV_PEER_GONE,	/* backend's process is dead */
	USBFRONT_EV_PEER_JOINED, /* there is one */
	USBFRONT_EV_RESTART,	/* begin a new session */
	USBFRONT_EV_CLOSE,	/* end the session for good */
};

/**
 * struct usbfront_stats - counters of a channel since it was made
 * @submitted: URBs taken
 * @completed: URBs given back without error
 * @errors: URBs given back with an error
 * @unlinked: URBs unlinked
 * @refused: URBs not taken
 * @in_octets: received
 * @out_octets: sent
 * @requests: submitted to the ring, without cancels
 * @cancels: submitted to the ring
 * @lost: URBs given back without the backend's answer
 * @late: completions for them
 * @waits: times an endpoint had to wait for an id or blocks
 * @copies_in: requests copied from the pool
 * @copies_out: requests copied to the pool
 * @kicks: doorbells rung because the backend asked for it
 * @rerings: doorbells rung again
 * @wakeups: of the thread
 * @polls: times the thread looked for a while before it slept
 * @poll_hits: times that paid
 * @paced: times it slept on because it was woken for nothing again and again
 * @sessions: begun
 * @broken: ended by a violation
 * @wakeups_remote: devices that have woken up by themselves
 * @sleepless: devices that could not be suspended, or not in time
 * @peak: most requests live at once
 */
struct usbfront_stats {
	u64 submitted;
	u64 completed;
	u64 errors;
	u64 unlinked;
	u64 refused;
	u64 in_octets;
	u64 out_octets;
	u64 requests;
	u64 cancels;
	u64 lost;
	u64 late;
	u64 waits;
	u64 copies_in;
	u64 copies_out;
	u64 kicks;
	u64 rerings;
	u64 wakeups;
	u64 polls;
	u64 poll_hits;
	u64 paced;
	u64 sessions;
	u64 broken;
	u64 wakeups_remote;
	u64 sleepless;
	u32 peak;
};

/**
 * struct usbfront - one channel
 * @chan: transport; ours from usbfront_create() on
 * @dev: for messages; the sysdev of the controllers
 * @name: unique
 * @index: small number, unique
 * @node: in the list of channels
 * @pid: cdev: who serves the backend
 * @start_time: cdev: of that process
 * @kcov_handle: of the task that made the channel: what the thread runs is covered by it
 * @back: words of the backend, in the region
 * @front: words of the frontend, in the region
 * @ports: port table, in the region
 * @thread: does everything but take URBs and copy their data in
 * @events: bits of enum usbfront_event
 * @closed: thread has ended the session for good
 * @vusb_work: makes controllers (not the thread: it must not wait for usbcore)
 * @lay: layout in use; thread writes it while there is no session
 * @has_tables: memory for @lay is there
 * @back_nonce: backend we know
 * @spurned_nonce: backend we have given up, until @retry_at
 * @retry_at: jiffies
 * @retry_delay: grows with each session that broke soon
 * @begun_at: jiffies at the beginning of the session
 * @nonce: ours
 * @features: that we have accepted
 * @session: number
 * @connect_at: jiffies of the next handshake, not before
 * @refused_why: what was wrong with the layout, said once
 * @is_peer_gone: nobody is behind what the backend's page says
 * @state_at: jiffies when the state in our page was written
 * @seen_heartbeat: the backend's just after that
 * @is_state_unseen: the backend has not looked since
 * @heartbeat: of our page
 * @port_seen: as stored in our page
 * @is_port_table_unsettled: an entry was being changed
 * @cq: completions; thread only
 * @poll_ns: how long the thread looks before it sleeps
 * @is_wake_armed: PCI: a doorbell ends suspend to idle
 * @is_pausing: the thread looks soon in any case, doorbells need not wake it
 * @empty_row: doorbells in a row for which there was nothing to find
 * @debugfs: file
 * @power_wait: somebody waits for a port to be suspended
 *
 * @lock: guards what follows
 * @state: enum usbfront_state
 * @is_running: state is RUNNING and not broken: requests may be pushed
 * @is_batching: thread is giving back; one doorbell afterwards
 * @is_kick_due: the backend has to be told of something
 * @told: index up to which it has been
 * @error: enum usbif_error that broke the session
 * @sq: submissions
 * @last_cons: sq's consumer at the last expiry of @timer
 * @reqs: by id
 * @free_reqs: list of ids
 * @nr_free: length of it
 * @nr_live: requests in the ring
 * @nr_lost: of which nobody waits for
 * @nr_filling: FILLING or TAKING
 * @xfers: memory for them
 * @free_xfers: list of them
 * @pool: blocks
 * @vusb: controllers, NULL before a device was there
 * @waiting: endpoints that can't go on, in order
 * @restarts: endpoints to be restarted
 * @nr_resets_due: ports with is_reset_due
 * @nr_power_due: ports with is_power_due
 * @nr_resetting: ports of root hubs in that state
 * @cancels: transfers in the order of cancel_until
 * @heard_at: when the backend last completed something, in jiffies
 * @is_silent: nothing since a cancel whose deadline has passed
 * @done: URBs to be given back; hcpriv is the status
 * @early: transfers that have failed as their device is gone, maybe: they wait for usbcore
 * @early_until: but not longer than that
 * @timer: deadlines and doorbells rung again
 * @stats: counters
 */
struct usbfront {
	struct usbif_chan *chan;
	struct device *dev;
	char name[USBIF_NAME_MAX + 1];
	int index;
	struct list_head node;
	u32 pid;
	u64 start_time;
	u64 kcov_handle;
	struct usbif_back_page __usbif *back;
	struct usbif_front_page __usbif *front;
	struct usbif_port __usbif *ports;
	struct task_struct *thread;
	unsigned long events;
	struct completion closed;
	struct delayed_work vusb_work;
	struct usbif_layout lay;
	bool has_tables;
	u32 back_nonce;
	u32 spurned_nonce;
	unsigned long retry_at;
	unsigned long retry_delay;
	unsigned long begun_at;
	u32 nonce;
	u64 features;
	u32 session;
	unsigned long connect_at;
	enum usbif_why refused_why;
	bool is_peer_gone;
	unsigned long state_at;
	u32 seen_heartbeat;
	bool is_state_unseen;
	u32 heartbeat;
	u32 port_seen;
	bool is_port_table_unsettled;
	struct usbif_cons cq;
	u32 poll_ns;
	bool is_wake_armed;
	u32 empty_row;
	bool is_pausing;
	struct dentry *debugfs;
	wait_queue_head_t power_wait;

	spinlock_t lock;	/* see the head of this file */
	enum usbfront_state state;
	bool is_running;
	bool is_batching;
	bool is_kick_due;
	u32 told;
	u32 error;
	struct usbif_prod sq;
	u32 last_cons;
	struct usbfront_req *reqs;
	struct list_head free_reqs;
	u32 nr_free;
	u32 nr_live;
	u32 nr_lost;
	u32 nr_filling;
	struct usbfront_xfer *xfers;
	struct list_head free_xfers;
	struct usbfront_pool pool;
	struct usbfront_vusb *vusb[USBIF_MAX_VUSB];
	struct list_head waiting;
	struct list_head restarts;
	u32 nr_resets_due;
	u32 nr_power_due;
	u32 nr_resetting;
	struct list_head cancels;
	unsigned long heard_at;
	bool is_silent;
	struct list_head done;
	struct list_head early;
	unsigned long early_until;
	struct timer_list timer;
	struct usbfront_stats stats;
};

/* front.c */
extern struct mutex usbfront_mutex;
extern struct list_head usbfront_list;
struct usbfront *usbfront_create(struct usbif_chan *chan, const char *name);
void usbfront_destroy(struct usbfront *uf);
void usbfront_shutdown(struct usbfront *uf);
void usbfront_pause(struct usbfront *uf);
void usbfront_go_on(struct usbfront *uf);
struct usbfront *usbfront_find(const char *name);
void usbfront_wake(struct usbfront *uf, enum usbfront_event event);
void usbfront_timer_arm(struct usbfront *uf, unsigned long delay);
void usbfront_break(struct usbfront *uf, enum usbif_error error,
		    const char *what, u32 value, u32 limit);

/* session.c: thread only */
void usbfront_session_look(struct usbfront *uf, bool is_time);
void usbfront_session_drop(struct usbfront *uf, bool is_peer_gone);
void usbfront_session_close(struct usbfront *uf);
const char *usbfront_state_name(enum usbfront_state state);

/* ports.c */
void usbfront_ports_look(struct usbfront *uf);
void usbfront_ports_send(struct usbfront *uf);		/* takes the lock */
void usbfront_ports_clear(struct usbfront *uf);
void usbfront_ports_reset(struct usbfront *uf);
void usbfront_port_sync(struct usbfront_port *port);
void usbfront_port_flush(struct usbfront_port *port, int status);
void usbfront_port_reset(struct usbfront_port *port, enum usbfront_side side);
void usbfront_port_reset_done(struct usbfront_port *port, u32 status);
void usbfront_port_reset_end(struct usbfront_port *port, u32 status);
void usbfront_ports_expire(struct usbfront *uf);
bool usbfront_hport_set(struct usbfront_port *port, enum usbfront_side side,
			enum usbfront_hub_state to, u16 change);
const char *usbfront_hub_state_name(enum usbfront_hub_state state);
enum usbfront_side usbfront_side_of(u8 speed);

/* vusb.c */
int usbfront_vusb_init(void);
void usbfront_vusb_exit(void);
struct usbfront_vusb *usbfront_vusb_get(struct usbfront *uf, unsigned int number);
void usbfront_vusbs_create(struct work_struct *work);
void usbfront_vusbs_remove(struct usbfront *uf);
void usbfront_vusbs_free(struct usbfront *uf);
void usbfront_vusbs_poll(struct usbfront *uf);

/* hcd.c */
extern const struct hc_driver usbfront_hc_driver;
struct usbfront_hcd *usbfront_hcd_priv(struct usb_hcd *hcd);

/* hub.c */
int usbfront_hub_status_data(struct usb_hcd *hcd, char *buf);
int usbfront_hub_control(struct usb_hcd *hcd, u16 type_req, u16 value,
			 u16 index, char *buf, u16 length);

/* There are URBs that have not been submitted, or not wholly. */
static inline bool usbfront_ep_has_more(const struct usbfront_ep *uep)
{
	return uep->next || !list_empty(&uep->partial);
}

/* request.c: with uf->lock held unless said otherwise */
int usbfront_tables_alloc(struct usbfront *uf, const struct usbif_layout *lay);
void usbfront_tables_reset(struct usbfront *uf);
void usbfront_tables_free(struct usbfront *uf);
void usbfront_ep_init(struct usbfront_port *port);
struct usbfront_ep *usbfront_ep_of(struct usbfront_port *port,
				   const struct urb *urb);
void usbfront_ep_feed(struct usbfront *uf, struct usbfront_ep *uep,
		      unsigned long *flags);
void usbfront_ep_wait(struct usbfront *uf, struct usbfront_ep *uep);
void usbfront_ep_restart_due(struct usbfront *uf, struct usbfront_ep *uep);
void usbfront_ep_forget_restart(struct usbfront_ep *uep);
void usbfront_feed_waiting(struct usbfront *uf);	/* takes the lock */
void usbfront_send_restarts(struct usbfront *uf);	/* takes the lock */
void usbfront_push(struct usbfront *uf, const struct usbif_request *wire);
bool usbfront_ep_can_wait(const struct usbfront *uf, struct usbfront_ep *uep);
bool usbfront_kick_prepare(struct usbfront *uf);
void usbfront_req_free(struct usbfront *uf, struct usbfront_req *req);
void usbfront_req_again(struct usbfront *uf, struct usbfront_req *req);
struct usbfront_req *usbfront_op_submit(struct usbfront *uf,
					struct usbfront_port *port, u8 op,
					u8 endpoint, u32 arg0, u32 arg1);

/* xfer.c: with uf->lock held unless said otherwise */
struct usbfront_xfer *usbfront_xfer_get(struct usbfront *uf,
					struct usbfront_ep *uep, struct urb *urb);
void usbfront_urb_done(struct usbfront *uf, struct urb *urb, int status);
void usbfront_early_expire(struct usbfront *uf);
struct usbfront_port *usbfront_port_of(struct usbfront_vusb *vusb,
				       const struct usb_device *udev);
void usbfront_urb_skip(struct usbfront_ep *uep, struct urb *urb);
void usbfront_xfer_finish(struct usbfront *uf, struct usbfront_xfer *xfer);
void usbfront_xfer_cancel(struct usbfront *uf, struct usbfront_xfer *xfer);
void usbfront_xfer_abandon(struct usbfront *uf, struct usbfront_xfer *xfer,
			   int status);
bool usbfront_xfer_is_local(const struct usbfront_xfer *xfer);

/* All of it has been submitted. */
static inline bool usbfront_xfer_is_queued(const struct usbfront_xfer *xfer)
{
	if (usb_pipeisoc(xfer->urb->pipe))
		return xfer->packets == xfer->urb->number_of_packets;
	return xfer->op != USBIF_OP_TRANSFER ||
	       xfer->queued == xfer->urb->transfer_buffer_length;
}

unsigned long usbfront_cancels_left(struct usbfront *uf);
void usbfront_cancels_expire(struct usbfront *uf);	/* takes the lock */
int usbfront_urb_enqueue(struct usb_hcd *hcd, struct urb *urb, gfp_t gfp);
int usbfront_urb_dequeue(struct usb_hcd *hcd, struct urb *urb, int status);

/* complete.c: thread only, without the lock */
bool usbfront_complete(struct usbfront *uf);
void usbfront_giveback(struct usbfront *uf);

/* copy.c: without the lock */
void usbfront_copy_out(struct usbfront *uf, const struct urb *urb,
		       const struct usbfront_req *req);
void usbfront_copy_in(struct usbfront *uf, const struct urb *urb,
		      const struct usbfront_req *req, u32 length);
void usbfront_write_table(struct usbfront *uf, const struct usbfront_req *req);
u32 usbfront_list_extents(struct usbfront *uf, const struct usbfront_req *req,
			  struct usbif_range *ranges, u32 max);

/* debugfs.c */
void usbfront_debugfs_init(void);
void usbfront_debugfs_exit(void);
void usbfront_debugfs_add(struct usbfront *uf);
void usbfront_debugfs_del(struct usbfront *uf);

#endif /* USBFRONT_H */
