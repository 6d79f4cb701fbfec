/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * usbif - paravirtual USB over shared memory: the protocol
 *
 * This header is the specification. Everything that two implementations must
 * agree on stands here, and nothing else.
 *
 * 1. Parts
 * ========
 *
 * A *backend* owns USB devices and runs requests on them. A *frontend* is a
 * virtual USB host controller in another system (a guest). Between one backend
 * and one frontend lies one *channel*: a region of shared memory and a doorbell
 * in each direction. A doorbell carries no data and is a hint: it may be lost,
 * doubled or late.
 *
 * The frontend shows up to USBIF_MAX_VUSB virtual controllers (*vusb*, from 0).
 * Each has a USB 2 and a USB 3 root hub of up to USBIF_MAX_PORTS ports (from 1);
 * port N of both is the same *vport* N and holds at most one device.
 *
 * 2. The region
 * =============
 *
 * All words are little-endian and naturally aligned. Each word is written by
 * one side only. Neither side reads back what it wrote itself; what the other
 * side wrote is read once, copied, checked as a whole, and only the copy is
 * used. Reserved octets are zero when written; a request whose reserved octets
 * are not zero is refused.
 *
 *  offset   size            contents                       written by
 *  0x0000   4096            struct usbif_ident             whoever made the region
 *  0x1000   4096            struct usbif_back_page         backend
 *  0x2000   4096            struct usbif_front_page        frontend
 *  0x3000   4096            struct usbif_port[16][16]      backend
 *  0x4000   sq_entries*128  submission ring                frontend
 *  ...      cq_entries*32   completion ring                backend
 *  ...      to the end      pool, in blocks of 4096        see section 6
 *
 * The size of the region is 1 MiB to 1 GiB and a power of two. The backend
 * computes the layout from it (usbif_layout_compute() in ring/proto.c does) and
 * writes it into its page; a frontend checks it against the size of the region
 * that it sees, and takes nothing that does not fit.
 *
 * The identity tells the two ends of a symmetric transport (ivshmem) which one
 * is which. On transports where the role is known otherwise it may be all zero.
 *
 * 3. Sessions
 * ===========
 *
 * A *session* is the time between a handshake and the moment one side restarts.
 *
 *  a. The backend writes its page, a random non-zero nonce and the state
 *     USBIF_BACK_READY; the magic is stored last, with release.
 *  b. The frontend, once it has found magic, version and layout good, writes the
 *     features it wants (a subset of those offered), a random non-zero nonce of
 *     its own, and the state USBIF_FRONT_CONNECT, in that order with release, and
 *     rings.
 *  c. The backend ends the session that was in force, if any: every request is
 *     cancelled and it waits until the host controller has let go of the last.
 *     Only then it sets both rings to ring_start, clears the port table,
 *     chooses a session number not used before on this region, writes it and the
 *     frontend's nonce (session_nonce), then USBIF_BACK_CONNECTED, and rings.
 *     The frontend must not touch ring or pool between b and here.
 *  d. The frontend, when session_nonce is its own, takes over session and
 *     ring_start, writes its indices, the session number and
 *     USBIF_FRONT_RUNNING, and rings. The backend accepts submissions and
 *     publishes ports only in this state.
 *
 * A new frontend nonce always means: the frontend has restarted, go to c. A new
 * backend nonce always means: the backend has restarted, everything in flight is
 * lost, go to b. USBIF_FRONT_CLOSING asks the backend to end the session; it
 * answers with USBIF_BACK_READY. USBIF_BACK_CLOSED says that the backend goes
 * away. USBIF_*_BROKEN says that the writer saw the other side violate the
 * protocol; the error word tells what. A broken session ends only by a new nonce.
 *
 * Nobody waits for the other side without a deadline.
 *
 * 4. Rings
 * ========
 *
 * Two rings with free-running 32-bit indices; entry number i lies in slot
 * i modulo the size, which is a power of two. The producer fills slots, then
 * stores its index with release; the consumer loads it with acquire, copies the
 * entries, then stores its own index with release. A distance of more than the
 * size, or an index that moved back, is a violation.
 *
 * With N = nr_requests, both rings have 2*N entries. Request ids are 0 to N-1;
 * the id N+i belongs to the cancel of request i and to nothing else. An id is
 * live from its submission to its completion; a live id must not be submitted
 * again, and id i must not be used again while N+i is live. So neither ring can
 * ever be full, and a cancel never waits for room. The backend stores sq_cons
 * before it completes the requests it took.
 *
 * Notification: each consumer says in its event word at which index it wants to
 * be rung. A producer that moved its index from old to new rings if
 * (u32)(new - event - 1) < (u32)(new - old). It puts a full barrier between the
 * store of its index and the load of the event word; the consumer puts one
 * between the store of the event word and a last look at the producer's index.
 * A consumer that does not want to be rung leaves the event word behind.
 *
 * The backend looks for submissions whenever it ends a request. So the frontend may
 * leave out the doorbell for a request as long as the backend knows of others of the
 * same endpoint that have not ended, since it can't begin before they have.
 *
 * A producer whose entries have not been consumed for a while (10 ms) rings
 * again, whatever the event word says: a lost doorbell costs only time. The same
 * holds for port_gen and port_seen. Nobody polls while there is nothing to do.
 *
 * 5. Requests
 * ===========
 *
 * struct usbif_req, 128 octets. Which fields an operation uses is listed at
 * enum usbif_op; the others are zero. Every submitted request ends with exactly
 * one completion, also a refused one, unless the session ends first. session
 * and port_epoch name the session and the state of the port that the frontend
 * believes in; a request with another port_epoch than the present one ends with
 * USBIF_ST_NODEV without having reached any device.
 *
 * Requests on one endpoint of one port are started and completed in the order of
 * their submission. Requests on different endpoints are not ordered.
 *
 * When a control, bulk or interrupt transfer ends with a status other than
 * USBIF_ST_OK, the endpoint is *held*: its later requests are not run (those
 * that the host controller had already queued are taken back from it) until the
 * frontend, having given the request back to its driver, sends
 * USBIF_OP_RESTART. Such a completion has USBIF_RSP_HELD set. A cancel of a held
 * request ends it at once. A port that is disconnected or reset is not held.
 * Streams endpoints and isochronous endpoints are never held.
 *
 * USBIF_OP_CANCEL ends with USBIF_ST_OK when the target was live (its own
 * completion follows or has been written before) and with USBIF_ST_NOENT when it
 * was not. The target ends with USBIF_ST_CANCELLED or, if it had been faster,
 * with its own result.
 *
 * SET_ADDRESS never crosses. SET_CONFIGURATION, SET_INTERFACE and
 * CLEAR_FEATURE(ENDPOINT_HALT) are operations of their own and are refused as
 * raw control transfers; USB 2.0 and 3.2 specifications, section 9.4.
 *
 * 6. Data
 * =======
 *
 * The data of a request lies in *extents* of the pool: a first block and a length
 * in octets. Extents begin on blocks of 4096 octets and all but the last are
 * multiples of 4096; together they are exactly the length of the request. No
 * block belongs to two live requests. Up to USBIF_INLINE_EXTENTS stand in the
 * request; more, and the packets of an isochronous request, stand in a *table*,
 * one run of pool blocks of its own: first all the extents (only if more than
 * USBIF_INLINE_EXTENTS), then nr_packets struct usbif_iso_packet, then room for
 * nr_packets struct usbif_iso_result, which the backend fills before it completes the
 * request; not if that ends with USBIF_ST_INVALID, _UNSUPPORTED, _NOMEM, _LIMIT or
 * _NODEV, when no packet was moved. table_length is exactly the sum.
 *
 * The blocks of a request belong to the backend from submission to completion.
 * For IN transfers it writes at most the length of the request; the frontend
 * takes at most the smaller of the completion's actual and its own length, and
 * zeroes nothing that it did not get: it copies only what was received.
 *
 * 7. Ports
 * ========
 *
 * The port table holds the present state of each port. An entry is changed in
 * this order: state with USBIF_PORT_CHANGING, epoch, state; then port_gen is
 * advanced and, if the frontend has said that it saw all former changes
 * (port_seen), the bell is rung. The version in the state grows by one with each
 * store. A reader takes state, epoch, state, and believes them only if both
 * states are equal and not USBIF_PORT_CHANGING. Only the latest state counts.
 *
 * The epoch changes whenever another device, or the same one anew, is behind the
 * port, including a device that came back from a reset with other descriptors.
 *
 * A frontend begins with USBIF_OP_RESET, as any host does with a port that shows a
 * connection. The backend may still be taking the device from its last owner and
 * resetting it: it answers when that is done, and until then ends everything else
 * with USBIF_ST_NODEV.
 *
 * 8. Violations
 * =============
 *
 * A request that is wrong in itself is refused with USBIF_ST_INVALID. What makes
 * the rest of the session unreliable (indices, an id submitted twice, blocks
 * used twice, a completion for something that is not live) breaks the session.
 */
#ifndef USBIF_H
#define USBIF_H

#include <linux/types.h>

#define USBIF_IDENT_MAGIC	0x49464955u	/* "UIFI" */
#define USBIF_BACK_MAGIC	0x42464955u	/* "UIFB" */
#define USBIF_FRONT_MAGIC	0x46464955u	/* "UIFF" */
#define USBIF_VERSION		1

#define USBIF_REGION_MIN	(1u << 20)
#define USBIF_REGION_MAX	(1u << 30)
#define USBIF_BLOCK_SHIFT	12
#define USBIF_BLOCK_SIZE	(1u << USBIF_BLOCK_SHIFT)

#define USBIF_IDENT_OFFSET	0x0000
#define USBIF_BACK_OFFSET	0x1000
#define USBIF_FRONT_OFFSET	0x2000
#define USBIF_PORTS_OFFSET	0x3000
#define USBIF_SQ_OFFSET		0x4000

#define USBIF_MAX_VUSB		16
#define USBIF_MAX_PORTS		15	/* ports 1..15; entry 0 is unused */
#define USBIF_MIN_REQUESTS	32
#define USBIF_MAX_REQUESTS	1024
#define USBIF_MAX_TRANSFER	(1u << 20)	/* octets of one request */
#define USBIF_MAX_EXTENTS	(USBIF_MAX_TRANSFER >> USBIF_BLOCK_SHIFT)
#define USBIF_INLINE_EXTENTS	8
#define USBIF_MAX_ISO_PACKETS	1024
#define USBIF_MAX_STREAMS	0xfffd		/* USB 3.2, section 8.12.1.4 */
#define USBIF_NAME_MAX		31		/* of a guest, without the NUL */

/**
 * enum usbif_role - what a peer of a symmetric transport is
 * @USBIF_ROLE_NONE: nobody
 * @USBIF_ROLE_BACKEND: the side with the devices
 * @USBIF_ROLE_FRONTEND: the side with the virtual host controllers
 */
enum usbif_role {
	USBIF_ROLE_NONE		= 0,
	USBIF_ROLE_BACKEND	= 1,
	USBIF_ROLE_FRONTEND	= 2,
};

/**
 * enum usbif_back_state - state word of the backend
 * @USBIF_BACK_NONE: page not valid yet
 * @USBIF_BACK_READY: layout valid, no session
 * @USBIF_BACK_CONNECTED: session in force for session_nonce
 * @USBIF_BACK_CLOSED: the backend is going away
 * @USBIF_BACK_BROKEN: the frontend violated the protocol, see error
 */
enum usbif_back_state {
	USBIF_BACK_NONE		= 0,
	USBIF_BACK_READY	= 1,
	USBIF_BACK_CONNECTED	= 2,
	USBIF_BACK_CLOSED	= 3,
	USBIF_BACK_BROKEN	= 4,
};

/**
 * enum usbif_front_state - state word of the frontend
 * @USBIF_FRONT_NONE: nobody there
 * @USBIF_FRONT_CONNECT: wants a session for its nonce
 * @USBIF_FRONT_RUNNING: uses the session it names
 * @USBIF_FRONT_CLOSING: wants the session to end
 * @USBIF_FRONT_BROKEN: the backend violated the protocol, see error
 */
enum usbif_front_state {
	USBIF_FRONT_NONE	= 0,
	USBIF_FRONT_CONNECT	= 1,
	USBIF_FRONT_RUNNING	= 2,
	USBIF_FRONT_CLOSING	= 3,
	USBIF_FRONT_BROKEN	= 4,
};

/**
 * enum usbif_error - why a side called the session broken
 * @USBIF_ERR_NONE: it did not
 * @USBIF_ERR_INDEX: ring index moved back or too far
 * @USBIF_ERR_DUP_ID: a live id was submitted again
 * @USBIF_ERR_BAD_ID: completion for an id that is out of range or not live
 * @USBIF_ERR_BLOCK: a pool block in two live requests
 * @USBIF_ERR_STATE: a state word took a step that does not exist
 * @USBIF_ERR_FEATURE: features accepted that were not offered
 * @USBIF_ERR_LAYOUT: layout does not fit the region
 * @USBIF_ERR_VERSION: version not supported
 * @USBIF_ERR_PORT: impossible port state
 */
enum usbif_error {
	USBIF_ERR_NONE		= 0,
	USBIF_ERR_INDEX		= 1,
	USBIF_ERR_DUP_ID	= 2,
	USBIF_ERR_BAD_ID	= 3,
	USBIF_ERR_BLOCK		= 4,
	USBIF_ERR_STATE		= 5,
	USBIF_ERR_FEATURE	= 6,
	USBIF_ERR_LAYOUT	= 7,
	USBIF_ERR_VERSION	= 8,
	USBIF_ERR_PORT		= 9,
};

/*
 * Features. A frontend accepts a subset of what the backend offers; a bit that
 * was not offered breaks the session.
 */
#define USBIF_F_ISO		(1ull << 0)	/* isochronous transfers */
#define USBIF_F_STREAMS		(1ull << 1)	/* bulk streams */
#define USBIF_F_SUSPEND		(1ull << 2)	/* USBIF_OP_SUSPEND, _RESUME */
#define USBIF_F_FRAME		(1ull << 3)	/* USBIF_OP_GET_FRAME */

/**
 * struct usbif_ident - identity of the region, at USBIF_IDENT_OFFSET
 * @magic: USBIF_IDENT_MAGIC, stored last
 * @version: USBIF_VERSION
 * @region_size: octets
 * @roles: enum usbif_role of peer 0 to 7 of the transport
 * @reserved: zero
 */
struct usbif_ident {
	__le32 magic;
	__le32 version;
	__le64 region_size;
	__u8 roles[8];
	__u8 reserved[40];
};

/**
 * struct usbif_back_page - the words of the backend, at USBIF_BACK_OFFSET
 * @magic: USBIF_BACK_MAGIC, stored last
 * @version: USBIF_VERSION
 * @region_size: octets
 * @nr_requests: N of section 4, a power of two
 * @sq_entries: 2 * N
 * @cq_entries: 2 * N
 * @max_transfer: most octets of one request, a multiple of 4096
 * @sq_offset: of the submission ring in the region
 * @cq_offset: of the completion ring
 * @pool_offset: of the pool, a multiple of 4096
 * @pool_size: octets, a multiple of 4096
 * @features: offered
 * @nr_vusb: virtual controllers, 1 to USBIF_MAX_VUSB
 * @nr_ports: ports of each, 1 to USBIF_MAX_PORTS
 * @max_iso_packets: of one request, 0 without USBIF_F_ISO
 * @nonce: another one each time the backend starts
 * @state: enum usbif_back_state
 * @session: number of the session
 * @session_nonce: nonce of the frontend it was made for
 * @ring_start: first index of both rings in this session
 * @error: enum usbif_error
 * @sq_cons: submissions taken
 * @sq_event: ring when sq_prod passes this
 * @cq_prod: completions written
 * @port_gen: advanced with each change of the port table
 * @heartbeat: advanced before each look at the channel, a full barrier between them
 *
 * Reserved words are zero.
 */
struct usbif_back_page {
	__le32 magic;
	__le32 version;
	__le64 region_size;
	__le32 nr_requests;
	__le32 sq_entries;
	__le32 cq_entries;
	__le32 max_transfer;
	__le64 sq_offset;
	__le64 cq_offset;
	__le64 pool_offset;
	__le64 pool_size;
	__le64 features;
	__le32 nr_vusb;
	__le32 nr_ports;
	__le32 max_iso_packets;
	__le32 nonce;
	__u8 reserved0[40];
	/* 0x80 */
	__le32 state;
	__le32 session;
	__le32 session_nonce;
	__le32 ring_start;
	__le32 error;
	__u8 reserved1[108];
	/* 0x100 */
	__le32 sq_cons;
	__le32 sq_event;
	__u8 reserved2[56];
	/* 0x140 */
	__le32 cq_prod;
	__u8 reserved3[60];
	/* 0x180 */
	__le32 port_gen;
	__le32 heartbeat;
	__u8 reserved4[56];
};

/**
 * struct usbif_front_page - the words of the frontend, at USBIF_FRONT_OFFSET
 * @magic: USBIF_FRONT_MAGIC
 * @version: USBIF_VERSION
 * @features: accepted
 * @nonce: another one each time the frontend starts
 * @state: enum usbif_front_state
 * @session: the session it uses, 0 for none
 * @error: enum usbif_error
 * @sq_prod: submissions written
 * @cq_cons: completions taken
 * @cq_event: ring when cq_prod passes this
 * @port_seen: port_gen that was read before the last look at the port table
 * @heartbeat: advanced whenever the frontend has looked at the channel
 */
struct usbif_front_page {
	__le32 magic;
	__le32 version;
	__le64 features;
	__le32 nonce;
	__le32 state;
	__le32 session;
	__le32 error;
	__u8 reserved0[32];
	/* 0x40 */
	__le32 sq_prod;
	__u8 reserved1[60];
	/* 0x80 */
	__le32 cq_cons;
	__le32 cq_event;
	__u8 reserved2[56];
	/* 0xc0 */
	__le32 port_seen;
	__le32 heartbeat;
	__u8 reserved3[56];
};

/**
 * enum usbif_port_status - octet 0 of the state word of a port
 * @USBIF_PORT_EMPTY: no device
 * @USBIF_PORT_CONNECTED: a device of the given speed
 * @USBIF_PORT_CHANGING: being written, look again
 */
enum usbif_port_status {
	USBIF_PORT_EMPTY	= 0,
	USBIF_PORT_CONNECTED	= 1,
	USBIF_PORT_CHANGING	= 2,
};

/**
 * enum usbif_speed - octet 1 of the state word of a port
 * @USBIF_SPEED_NONE: no device
 * @USBIF_SPEED_LOW: 1.5 Mbit/s
 * @USBIF_SPEED_FULL: 12 Mbit/s
 * @USBIF_SPEED_HIGH: 480 Mbit/s
 * @USBIF_SPEED_SUPER: 5 Gbit/s
 * @USBIF_SPEED_SUPER_PLUS: 10 Gbit/s
 * @USBIF_SPEED_SUPER_PLUS_X2: 20 Gbit/s
 */
enum usbif_speed {
	USBIF_SPEED_NONE		= 0,
	USBIF_SPEED_LOW			= 1,
	USBIF_SPEED_FULL		= 2,
	USBIF_SPEED_HIGH		= 3,
	USBIF_SPEED_SUPER		= 4,
	USBIF_SPEED_SUPER_PLUS		= 5,
	USBIF_SPEED_SUPER_PLUS_X2	= 6,
};

/**
 * enum usbif_port_reason - octet 2: why the port is as it is
 * @USBIF_REASON_NONE: never used in this session
 * @USBIF_REASON_ATTACHED: a rule gave it a device
 * @USBIF_REASON_UNPLUGGED: the device was pulled out or failed
 * @USBIF_REASON_DETACHED: the rule was removed
 * @USBIF_REASON_REENUMERATED: the device changed its descriptors
 * @USBIF_REASON_BACKEND: the backend is shutting down
 */
enum usbif_port_reason {
	USBIF_REASON_NONE		= 0,
	USBIF_REASON_ATTACHED		= 1,
	USBIF_REASON_UNPLUGGED		= 2,
	USBIF_REASON_DETACHED		= 3,
	USBIF_REASON_REENUMERATED	= 4,
	USBIF_REASON_BACKEND		= 5,
};

/**
 * struct usbif_port - one port in the port table
 * @state: octet 0 status, 1 speed, 2 reason, 3 version (octet 0 is the lowest)
 * @epoch: never 0 while connected
 * @wakeup: advanced each time the suspended device signals remote wakeup
 * @reserved: zero
 *
 * The table is indexed [vusb][port]; port 0 is unused.
 */
struct usbif_port {
	__le32 state;
	__le32 epoch;
	__le32 wakeup;
	__le32 reserved;
};

/**
 * enum usbif_op - operation of a request
 * @USBIF_OP_TRANSFER: a transfer on @endpoint. Uses type, flags, length,
 *	interval, stream, extents; setup for control; nr_packets, start_frame
 *	and table for isochronous
 * @USBIF_OP_CANCEL: end request arg0; id is N + arg0. Uses nothing else
 * @USBIF_OP_RESTART: let the held @endpoint run again
 * @USBIF_OP_RESET: reset the device as a port reset does; all its requests end
 *	first with USBIF_ST_SHUTDOWN
 * @USBIF_OP_SET_CONFIGURATION: arg0 is bConfigurationValue
 * @USBIF_OP_SET_INTERFACE: arg0 is the interface, arg1 the alternate setting
 * @USBIF_OP_CLEAR_HALT: clear the halt of @endpoint on device and host
 * @USBIF_OP_ALLOC_STREAMS: arg0 streams on each endpoint of the mask arg1
 *	(bit n: OUT n, bit 16+n: IN n); value of the completion: streams granted
 * @USBIF_OP_FREE_STREAMS: of the endpoints of the mask arg1
 * @USBIF_OP_SUSPEND: suspend the device; arg0 is 1 for remote wakeup
 * @USBIF_OP_RESUME: resume it
 * @USBIF_OP_GET_FRAME: value of the completion: host's frame number
 *
 * All but CANCEL use vusb, port and port_epoch. endpoint is a bEndpointAddress
 * (0 for the control endpoint in both directions).
 */
enum usbif_op {
	USBIF_OP_TRANSFER		= 1,
	USBIF_OP_CANCEL			= 2,
	USBIF_OP_RESTART		= 3,
	USBIF_OP_RESET			= 4,
	USBIF_OP_SET_CONFIGURATION	= 5,
	USBIF_OP_SET_INTERFACE		= 6,
	USBIF_OP_CLEAR_HALT		= 7,
	USBIF_OP_ALLOC_STREAMS		= 8,
	USBIF_OP_FREE_STREAMS		= 9,
	USBIF_OP_SUSPEND		= 10,
	USBIF_OP_RESUME			= 11,
	USBIF_OP_GET_FRAME		= 12,
	USBIF_OP_MAX			= 12,
};

/**
 * enum usbif_type - transfer type; bmAttributes of USB 2.0, table 9-13
 * @USBIF_TYPE_CONTROL: control
 * @USBIF_TYPE_ISO: isochronous
 * @USBIF_TYPE_BULK: bulk
 * @USBIF_TYPE_INTERRUPT: interrupt
 */
enum usbif_type {
	USBIF_TYPE_CONTROL	= 0,
	USBIF_TYPE_ISO		= 1,
	USBIF_TYPE_BULK		= 2,
	USBIF_TYPE_INTERRUPT	= 3,
};

/* Flags of a transfer; others are refused. */
#define USBIF_REQ_SHORT_NOT_OK	0x0001	/* IN: a short transfer is an error */
#define USBIF_REQ_ZERO_PACKET	0x0002	/* bulk, interrupt OUT: end with a ZLP */
#define USBIF_REQ_ISO_ASAP	0x0004	/* iso: start_frame need not be used */

/**
 * struct usbif_extent - a piece of the pool
 * @block: first block, in units of USBIF_BLOCK_SIZE from the start of the pool
 * @length: octets, not 0
 */
struct usbif_extent {
	__le32 block;
	__le32 length;
};

/**
 * struct usbif_iso_packet - one packet of an isochronous request
 * @offset: in the data of the request
 * @length: octets
 *
 * Packets stand in ascending order and do not overlap; there may be gaps.
 */
struct usbif_iso_packet {
	__le32 offset;
	__le32 length;
};

/**
 * struct usbif_iso_result - what became of it
 * @actual: octets moved
 * @status: enum usbif_status
 */
struct usbif_iso_result {
	__le32 actual;
	__le32 status;
};

/**
 * struct usbif_req - a submission
 * @id: see section 4
 * @session: number of the session
 * @op: enum usbif_op
 * @vusb: virtual controller
 * @port: port, from 1
 * @endpoint: bEndpointAddress
 * @port_epoch: epoch of the port
 * @type: enum usbif_type
 * @reserved0: zero
 * @flags: USBIF_REQ_*
 * @length: octets of data, 0 to max_transfer
 * @interval: as bInterval, in frames (low, full speed) or microframes; 0 for
 *	control and bulk
 * @stream: stream id, 0 for none
 * @nr_extents: 0 if and only if length is 0
 * @setup: control: the SETUP packet (USB 2.0, section 9.3); its wLength is length
 * @arg0: other operations than transfers
 * @arg1: other operations than transfers
 * @nr_packets: isochronous: packets, 1 to max_iso_packets
 * @reserved1: zero
 * @start_frame: isochronous without USBIF_REQ_ISO_ASAP
 * @table_block: first block of the table
 * @table_length: octets of the table, 0 for none
 * @reserved2: zero
 * @extents: the extents if there are at most USBIF_INLINE_EXTENTS, else zero
 */
struct usbif_req {
	__le32 id;
	__le32 session;
	__u8 op;
	__u8 vusb;
	__u8 port;
	__u8 endpoint;
	__le32 port_epoch;
	/* 0x10 */
	__u8 type;
	__u8 reserved0;
	__le16 flags;
	__le32 length;
	__le32 interval;
	__le16 stream;
	__le16 nr_extents;
	/* 0x20 */
	union {
		__u8 setup[8];
		struct {
			__le32 arg0;
			__le32 arg1;
		};
	};
	__le16 nr_packets;
	__le16 reserved1;
	__le32 start_frame;
	/* 0x30 */
	__le32 table_block;
	__le32 table_length;
	__u8 reserved2[8];
	/* 0x40 */
	struct usbif_extent extents[USBIF_INLINE_EXTENTS];
};

/**
 * enum usbif_status - how a request, or a packet, ended
 * @USBIF_ST_OK: done
 * @USBIF_ST_CANCELLED: by USBIF_OP_CANCEL
 * @USBIF_ST_STALL: endpoint halted, or control request refused by the device
 * @USBIF_ST_PROTO: error on the wire (CRC, bit stuffing, no answer)
 * @USBIF_ST_TIMEOUT: device or backend did not answer in time
 * @USBIF_ST_OVERFLOW: device sent more than was asked for
 * @USBIF_ST_SHORT: short, with USBIF_REQ_SHORT_NOT_OK
 * @USBIF_ST_NODEV: no such device (any more), or stale port epoch
 * @USBIF_ST_SHUTDOWN: ended by a reset, a configuration or interface change
 * @USBIF_ST_INVALID: the request was refused as it stands
 * @USBIF_ST_NOMEM: the backend had no memory
 * @USBIF_ST_NOSPACE: no bandwidth
 * @USBIF_ST_UNSUPPORTED: not offered by backend or host controller
 * @USBIF_ST_NOENT: no such request, endpoint, configuration or interface
 * @USBIF_ST_SUSPENDED: the device was suspended by the host, submit again
 * @USBIF_ST_DATA: isochronous data could not be moved in time (buffer error)
 * @USBIF_ST_PARTIAL: isochronous request with errors in its packets
 * @USBIF_ST_LIMIT: the guest is over one of its limits
 */
enum usbif_status {
	USBIF_ST_OK		= 0,
	USBIF_ST_CANCELLED	= 1,
	USBIF_ST_STALL		= 2,
	USBIF_ST_PROTO		= 3,
	USBIF_ST_TIMEOUT	= 4,
	USBIF_ST_OVERFLOW	= 5,
	USBIF_ST_SHORT		= 6,
	USBIF_ST_NODEV		= 7,
	USBIF_ST_SHUTDOWN	= 8,
	USBIF_ST_INVALID	= 9,
	USBIF_ST_NOMEM		= 10,
	USBIF_ST_NOSPACE	= 11,
	USBIF_ST_UNSUPPORTED	= 12,
	USBIF_ST_NOENT		= 13,
	USBIF_ST_SUSPENDED	= 14,
	USBIF_ST_DATA		= 15,
	USBIF_ST_PARTIAL	= 16,
	USBIF_ST_LIMIT		= 17,
	USBIF_ST_MAX		= 17,
};

/* Flags of a completion. */
#define USBIF_RSP_HELD		0x0001	/* endpoint waits for USBIF_OP_RESTART */

/**
 * struct usbif_rsp - a completion
 * @id: of the request
 * @session: number of the session
 * @status: enum usbif_status
 * @reserved0: zero
 * @flags: USBIF_RSP_*
 * @actual: octets moved, at most the length of the request
 * @value: result of operations that have one
 * @start_frame: isochronous: first frame
 * @error_count: isochronous: packets with errors
 * @reserved1: zero
 */
struct usbif_rsp {
	__le32 id;
	__le32 session;
	__u8 status;
	__u8 reserved0;
	__le16 flags;
	__le32 actual;
	__le32 value;
	__le32 start_frame;
	__le32 error_count;
	__le32 reserved1;
};

#endif /* USBIF_H */
