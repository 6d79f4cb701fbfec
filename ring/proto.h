/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * Layout, validation, encoding and decoding of what stands in shared memory.
 * Pure functions: no allocation, locks, prints or sleeping. A decoder gets a
 * private copy or makes one, checks all of it and fills a private struct; on
 * failure nothing of the result may be used.
 */
#ifndef USBIF_PROTO_H
#define USBIF_PROTO_H

#include <linux/types.h>
#include "usbif.h"
#include "ring.h"

/**
 * struct usbif_layout - where things are in a region (private copy)
 * @region_size: octets
 * @sq_offset: of the submission ring
 * @cq_offset: of the completion ring
 * @pool_offset: of the pool
 * @pool_size: octets
 * @features: offered, or accepted
 * @nr_requests: N of usbif.h, section 4
 * @ring_entries: 2 * N, of both rings
 * @pool_blocks: of USBIF_BLOCK_SIZE octets
 * @max_transfer: octets of one request
 * @max_iso_packets: of one request
 * @nr_vusb: virtual controllers
 * @nr_ports: ports of each
 */
struct usbif_layout {
	u64 region_size;
	u64 sq_offset;
	u64 cq_offset;
	u64 pool_offset;
	u64 pool_size;
	u64 features;
	u32 nr_requests;
	u32 ring_entries;
	u32 pool_blocks;
	u32 max_transfer;
	u32 max_iso_packets;
	u32 nr_vusb;
	u32 nr_ports;
};

/*
 * Octets from the start of a region that hold identity, pages, port table and
 * rings in any layout. Mapping these makes every layout that usbif_layout_decode()
 * takes safe to use.
 */
#define USBIF_CTL_SIZE	(USBIF_SQ_OFFSET + 2 * USBIF_MAX_REQUESTS * \
			 (sizeof(struct usbif_req) + sizeof(struct usbif_rsp)))
/* Octets of the largest table: all extents, all packets and their results. */
#define USBIF_TABLE_MAX	(USBIF_MAX_EXTENTS * sizeof(struct usbif_extent) + \
			 USBIF_MAX_ISO_PACKETS * \
			 (sizeof(struct usbif_iso_packet) + \
			  sizeof(struct usbif_iso_result)))

/*
 * enum usbif_why - which check refused something; for counters, traces, tests
 *
 * One value per rejection branch, USBIF_WHY_OK = 0. usbif_why_name() gives text.
 */
enum usbif_why {
	USBIF_WHY_OK = 0,
	USBIF_WHY_MAGIC,
	USBIF_WHY_VERSION,
	USBIF_WHY_REGION_SIZE,
	USBIF_WHY_RING_SIZE,
	USBIF_WHY_OFFSET,
	USBIF_WHY_POOL,
	USBIF_WHY_MAX_TRANSFER,
	USBIF_WHY_VUSB_COUNT,
	USBIF_WHY_PORT_COUNT,
	USBIF_WHY_ISO_LIMIT,
	USBIF_WHY_ROLE,
	USBIF_WHY_RESERVED,
	USBIF_WHY_SESSION,
	USBIF_WHY_ID,
	USBIF_WHY_OP,
	USBIF_WHY_VUSB,
	USBIF_WHY_PORT,
	USBIF_WHY_ENDPOINT,
	USBIF_WHY_TYPE,
	USBIF_WHY_FLAGS,
	USBIF_WHY_LENGTH,
	USBIF_WHY_INTERVAL,
	USBIF_WHY_STREAM,
	USBIF_WHY_EXTENT_COUNT,
	USBIF_WHY_EXTENT_RANGE,
	USBIF_WHY_EXTENT_ALIGN,
	USBIF_WHY_EXTENT_SUM,
	USBIF_WHY_EXTENT_OVERLAP,
	USBIF_WHY_SETUP_LENGTH,
	USBIF_WHY_SETUP_DIRECTION,
	USBIF_WHY_SETUP_POLICY,
	USBIF_WHY_ARG,
	USBIF_WHY_PACKET_COUNT,
	USBIF_WHY_PACKET_RANGE,
	USBIF_WHY_TABLE,
	USBIF_WHY_FEATURE,
	USBIF_WHY_STATUS,
	USBIF_WHY_ACTUAL,
	USBIF_WHY_PORT_STATE,
	USBIF_WHY_SPEED,
	USBIF_WHY_EPOCH,
	USBIF_WHY_FRAME,
	USBIF_WHY_MAX,
};

const char *usbif_why_name(enum usbif_why why);

/* struct usbif_range - private form of struct usbif_extent */
struct usbif_range {
	u32 block;
	u32 length;
};

/* struct usbif_packet - private form of struct usbif_iso_packet */
struct usbif_packet {
	u32 offset;
	u32 length;
};

/*
 * struct usbif_request - private form of struct usbif_req
 *
 * @ranges is valid for nr_extents <= USBIF_INLINE_EXTENTS; more come from the
 * table (usbif_table_decode()).
 */
struct usbif_request {
	u32 id;
	u32 session;
	u8 op;
	u8 vusb;
	u8 port;
	u8 endpoint;
	u32 port_epoch;
	u8 type;
	u16 flags;
	u32 length;
	u32 interval;
	u16 stream;
	u16 nr_extents;
	u8 setup[8];
	u32 arg0;
	u32 arg1;
	u16 nr_packets;
	u32 start_frame;
	u32 table_block;
	u32 table_length;
	struct usbif_range ranges[USBIF_INLINE_EXTENTS];
};

/* struct usbif_response - private form of struct usbif_rsp */
struct usbif_response {
	u32 id;
	u32 session;
	u8 status;
	u16 flags;
	u32 actual;
	u32 value;
	u32 start_frame;
	u32 error_count;
};

/* struct usbif_port_state - private form of struct usbif_port */
struct usbif_port_state {
	u8 status;
	u8 speed;
	u8 reason;
	u8 version;
	u32 epoch;
	u32 wakeup;
};

/*
 * Layout of a region of @size octets, as a backend lays it out. 0 or -EINVAL.
 * features, nr_vusb, nr_ports are taken as given. N is size / 16384 rounded
 * down to a power of two, at least USBIF_MIN_REQUESTS, at most
 * USBIF_MAX_REQUESTS; max_transfer is USBIF_MAX_TRANSFER, or a quarter of the
 * pool rounded down to a block where that is less.
 */
int usbif_layout_compute(struct usbif_layout *lay, u64 size, u64 features,
			 u32 nr_vusb, u32 nr_ports);
/**
 * struct usbif_identity - private form of struct usbif_ident
 * @region_size: octets
 * @backend: number of the peer with the devices
 * @frontend: number of the peer with the virtual controllers
 */
struct usbif_identity {
	u64 region_size;
	u32 backend;
	u32 frontend;
};

/*
 * Reads and checks the identity of a region of @size octets: one backend, one
 * frontend. 0 or -EINVAL.
 */
int usbif_ident_read(struct usbif_identity *id,
		     const struct usbif_ident __usbif *wire, u64 size,
		     enum usbif_why *why);
/* The same, for who wants to know the role of peer @peer only. */
int usbif_ident_decode(const struct usbif_ident __usbif *wire, u64 size,
		       unsigned int peer, enum usbif_role *role,
		       enum usbif_why *why);
/*
 * Writes it, magic last. Writing the same again leaves it valid all the time: a
 * guest may be reading while another one is expected.
 */
void usbif_ident_encode(struct usbif_ident __usbif *wire, u64 size,
			const u8 roles[8]);
/*
 * Writes the static part of the backend's page, magic last. The state word is the
 * caller's: NONE or READY before, or READY afterwards.
 */
void usbif_layout_encode(struct usbif_back_page __usbif *wire,
			 const struct usbif_layout *lay, u32 nonce);
/*
 * Reads and checks the static part against the size of the region that the
 * reader maps. -EAGAIN while there is no magic yet (or it is being rewritten),
 * -EINVAL if it is wrong.
 */
int usbif_layout_decode(struct usbif_layout *lay, u32 *nonce,
			const struct usbif_back_page __usbif *wire, u64 size,
			enum usbif_why *why);

/*
 * Checks a private copy of a submission. 0; -EINVAL: refuse that request (*req
 * has id and op if id is in range); -EPROTO: break the session (id out of range, so
 * that nothing can be answered).
 */
int usbif_req_decode(struct usbif_request *req, const struct usbif_req *copy,
		     const struct usbif_layout *lay, u32 session,
		     enum usbif_why *why);
/* Octets of the table a request needs, 0 for none. */
u32 usbif_table_size(u32 nr_extents, u32 nr_packets);
/*
 * Checks a private copy of the table of @req; fills ranges[nr_extents] (also from
 * the inline ones) and packets[nr_packets]. Checks that blocks of the request do not
 * overlap each other (also with the table). 0 or -EINVAL.
 */
int usbif_table_decode(const struct usbif_request *req, const void *copy,
		       const struct usbif_layout *lay,
		       struct usbif_range *ranges, struct usbif_packet *packets,
		       enum usbif_why *why);
/* Fills *wire (private memory) from *req; ranges beyond the inline ones are in the table. */
void usbif_req_encode(struct usbif_req *wire, const struct usbif_request *req);

/* True if the data of a decoded transfer goes to the guest; OUT without data. */
bool usbif_req_is_in(const struct usbif_request *req);

void usbif_rsp_encode(struct usbif_rsp *wire, const struct usbif_response *rsp);
/*
 * Checks a private copy of a completion: id < 2 * N, session, status and flags
 * known, reserved zero. Whether the id is live is the caller's to know. 0 or -EPROTO.
 */
int usbif_rsp_decode(struct usbif_response *rsp, const struct usbif_rsp *copy,
		     const struct usbif_layout *lay, u32 session,
		     enum usbif_why *why);

/* Writes a port entry in the prescribed order; *version is the writer's counter. */
void usbif_port_write(struct usbif_port __usbif *wire,
		      const struct usbif_port_state *st, u8 *version);
/* 0, -EAGAIN (being changed: look again later), -EPROTO (impossible). */
int usbif_port_read(struct usbif_port_state *st,
		    const struct usbif_port __usbif *wire, enum usbif_why *why);

/*
 * usbif_status <-> errno of a URB (0 for OK); unknown values give -EPROTO / PROTO.
 * -ENOENT (a URB that was killed) gives CANCELLED.
 */
int usbif_status_to_errno(u32 status);
u32 usbif_status_from_errno(int error);

/*
 * Single words: little-endian, read or written once. release/acquire as named.
 */
u32 usbif_word_read(const __le32 __usbif *word);
u32 usbif_word_read_acquire(const __le32 __usbif *word);
void usbif_word_write(__le32 __usbif *word, u32 value);
void usbif_word_write_release(__le32 __usbif *word, u32 value);

#endif /* USBIF_PROTO_H */
