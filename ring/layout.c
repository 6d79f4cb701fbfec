// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
/*
 * Where things are in a region: the identity, the static part of the backend's page,
 * and the proof that this compiler lays the structs of usbif.h out as written.
 */
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/log2.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include "proto.h"

#define AT(type, field, offset) \
	static_assert(offsetof(struct type, field) == (offset))
#define SIZE(type, size) static_assert(sizeof(struct type) == (size))

SIZE(usbif_ident, 64);
AT(usbif_ident, magic, 0x00);
AT(usbif_ident, version, 0x04);
AT(usbif_ident, region_size, 0x08);
AT(usbif_ident, roles, 0x10);
AT(usbif_ident, reserved, 0x18);

SIZE(usbif_back_page, 0x1c0);
AT(usbif_back_page, magic, 0x00);
AT(usbif_back_page, version, 0x04);
AT(usbif_back_page, region_size, 0x08);
AT(usbif_back_page, nr_requests, 0x10);
AT(usbif_back_page, sq_entries, 0x14);
AT(usbif_back_page, cq_entries, 0x18);
AT(usbif_back_page, max_transfer, 0x1c);
AT(usbif_back_page, sq_offset, 0x20);
AT(usbif_back_page, cq_offset, 0x28);
AT(usbif_back_page, pool_offset, 0x30);
AT(usbif_back_page, pool_size, 0x38);
AT(usbif_back_page, features, 0x40);
AT(usbif_back_page, nr_vusb, 0x48);
AT(usbif_back_page, nr_ports, 0x4c);
AT(usbif_back_page, max_iso_packets, 0x50);
AT(usbif_back_page, nonce, 0x54);
AT(usbif_back_page, reserved0, 0x58);
AT(usbif_back_page, state, 0x80);
AT(usbif_back_page, session, 0x84);
AT(usbif_back_page, session_nonce, 0x88);
AT(usbif_back_page, ring_start, 0x8c);
AT(usbif_back_page, error, 0x90);
AT(usbif_back_page, reserved1, 0x94);
AT(usbif_back_page, sq_cons, 0x100);
AT(usbif_back_page, sq_event, 0x104);
AT(usbif_back_page, reserved2, 0x108);
AT(usbif_back_page, cq_prod, 0x140);
AT(usbif_back_page, reserved3, 0x144);
AT(usbif_back_page, port_gen, 0x180);
AT(usbif_back_page, heartbeat, 0x184);
AT(usbif_back_page, reserved4, 0x188);

SIZE(usbif_front_page, 0x100);
AT(usbif_front_page, magic, 0x00);
AT(usbif_front_page, version, 0x04);
AT(usbif_front_page, features, 0x08);
AT(usbif_front_page, nonce, 0x10);
AT(usbif_front_page, state, 0x14);
AT(usbif_front_page, session, 0x18);
AT(usbif_front_page, error, 0x1c);
AT(usbif_front_page, reserved0, 0x20);
AT(usbif_front_page, sq_prod, 0x40);
AT(usbif_front_page, reserved1, 0x44);
AT(usbif_front_page, cq_cons, 0x80);
AT(usbif_front_page, cq_event, 0x84);
AT(usbif_front_page, reserved2, 0x88);
AT(usbif_front_page, port_seen, 0xc0);
AT(usbif_front_page, heartbeat, 0xc4);
AT(usbif_front_page, reserved3, 0xc8);

SIZE(usbif_port, 16);
AT(usbif_port, state, 0x0);
AT(usbif_port, epoch, 0x4);
AT(usbif_port, wakeup, 0x8);
AT(usbif_port, reserved, 0xc);
static_assert(USBIF_MAX_VUSB * (USBIF_MAX_PORTS + 1) *
	      sizeof(struct usbif_port) == USBIF_BLOCK_SIZE);

SIZE(usbif_extent, 8);
AT(usbif_extent, block, 0);
AT(usbif_extent, length, 4);
SIZE(usbif_iso_packet, 8);
AT(usbif_iso_packet, offset, 0);
AT(usbif_iso_packet, length, 4);
SIZE(usbif_iso_result, 8);
AT(usbif_iso_result, actual, 0);
AT(usbif_iso_result, status, 4);

SIZE(usbif_req, 128);
AT(usbif_req, id, 0x00);
AT(usbif_req, session, 0x04);
AT(usbif_req, op, 0x08);
AT(usbif_req, vusb, 0x09);
AT(usbif_req, port, 0x0a);
AT(usbif_req, endpoint, 0x0b);
AT(usbif_req, port_epoch, 0x0c);
AT(usbif_req, type, 0x10);
AT(usbif_req, reserved0, 0x11);
AT(usbif_req, flags, 0x12);
AT(usbif_req, length, 0x14);
AT(usbif_req, interval, 0x18);
AT(usbif_req, stream, 0x1c);
AT(usbif_req, nr_extents, 0x1e);
AT(usbif_req, setup, 0x20);
AT(usbif_req, arg0, 0x20);
AT(usbif_req, arg1, 0x24);
AT(usbif_req, nr_packets, 0x28);
AT(usbif_req, reserved1, 0x2a);
AT(usbif_req, start_frame, 0x2c);
AT(usbif_req, table_block, 0x30);
AT(usbif_req, table_length, 0x34);
AT(usbif_req, reserved2, 0x38);
AT(usbif_req, extents, 0x40);

SIZE(usbif_rsp, 32);
AT(usbif_rsp, id, 0x00);
AT(usbif_rsp, session, 0x04);
AT(usbif_rsp, status, 0x08);
AT(usbif_rsp, reserved0, 0x09);
AT(usbif_rsp, flags, 0x0a);
AT(usbif_rsp, actual, 0x0c);
AT(usbif_rsp, value, 0x10);
AT(usbif_rsp, start_frame, 0x14);
AT(usbif_rsp, error_count, 0x18);
AT(usbif_rsp, reserved1, 0x1c);

/* Each page of the region holds its struct; the smallest holds any rings. */
static_assert(USBIF_BACK_OFFSET - USBIF_IDENT_OFFSET >=
	      sizeof(struct usbif_ident));
static_assert(USBIF_FRONT_OFFSET - USBIF_BACK_OFFSET >=
	      sizeof(struct usbif_back_page));
static_assert(USBIF_PORTS_OFFSET - USBIF_FRONT_OFFSET >=
	      sizeof(struct usbif_front_page));
static_assert(USBIF_SQ_OFFSET - USBIF_PORTS_OFFSET == USBIF_BLOCK_SIZE);
static_assert(USBIF_CTL_SIZE < USBIF_REGION_MIN);
static_assert(USBIF_CTL_SIZE % USBIF_BLOCK_SIZE == 0);
static_assert(USBIF_MAX_EXTENTS == 256);
/* usbif_layout_compute(): the smallest region has requests enough. */
static_assert(USBIF_REGION_MIN >> 14 >= USBIF_MIN_REQUESTS);

static int refuse(enum usbif_why *why, enum usbif_why reason)
{
	*why = reason;
	return -EINVAL;
}

static bool region_size_ok(u64 size)
{
	return size >= USBIF_REGION_MIN && size <= USBIF_REGION_MAX &&
	       !(size & (size - 1));
}

/**
 * usbif_layout_compute - lay a region out
 * @lay: to fill
 * @size: octets of the region
 * @features: to offer
 * @nr_vusb: virtual controllers
 * @nr_ports: ports of each
 *
 * Return: 0, or -EINVAL if one of the numbers is out of range.
 */
int usbif_layout_compute(struct usbif_layout *lay, u64 size, u64 features,
			 u32 nr_vusb, u32 nr_ports)
{
	u32 n = USBIF_MAX_REQUESTS;
	u64 quarter;

	if (!region_size_ok(size) || nr_vusb < 1 || nr_vusb > USBIF_MAX_VUSB ||
	    nr_ports < 1 || nr_ports > USBIF_MAX_PORTS)
		return -EINVAL;

	while (n > (size >> 14))
		n >>= 1;

	memset(lay, 0, sizeof(*lay));
	lay->region_size = size;
	lay->features = features;
	lay->nr_requests = n;
	lay->ring_entries = 2 * n;
	lay->sq_offset = USBIF_SQ_OFFSET;
	lay->cq_offset = lay->sq_offset +
			 (u64)lay->ring_entries * sizeof(struct usbif_req);
	lay->pool_offset = lay->cq_offset +
			   (u64)lay->ring_entries * sizeof(struct usbif_rsp);
	lay->pool_offset += -lay->pool_offset & (USBIF_BLOCK_SIZE - 1);
	lay->pool_size = size - lay->pool_offset;
	lay->pool_blocks = lay->pool_size >> USBIF_BLOCK_SHIFT;
	quarter = (lay->pool_size / 4) & ~(u64)(USBIF_BLOCK_SIZE - 1);
	lay->max_transfer = quarter < USBIF_MAX_TRANSFER ? quarter :
							   USBIF_MAX_TRANSFER;
	if (features & USBIF_F_ISO)
		lay->max_iso_packets = USBIF_MAX_ISO_PACKETS;
	lay->nr_vusb = nr_vusb;
	lay->nr_ports = nr_ports;
	return 0;
}

/**
 * usbif_ident_read - see who is who on a symmetric transport
 * @id: to fill
 * @wire: identity in shared memory
 * @size: octets of the region that the reader sees
 * @why: reason of a refusal
 *
 * Return: 0, or -EINVAL.
 */
int usbif_ident_read(struct usbif_identity *id,
		     const struct usbif_ident __usbif *wire, u64 size,
		     enum usbif_why *why)
{
	struct usbif_ident copy;
	u32 count[3] = {};
	u32 peer;

	*why = USBIF_WHY_OK;
	if (usbif_word_read_acquire(&wire->magic) != USBIF_IDENT_MAGIC)
		return refuse(why, USBIF_WHY_MAGIC);
	memcpy(&copy, (const void __force *)wire, sizeof(copy));
	barrier();

	if (le32_to_cpu(copy.version) != USBIF_VERSION)
		return refuse(why, USBIF_WHY_VERSION);
	id->region_size = le64_to_cpu(copy.region_size);
	if (id->region_size != size || !region_size_ok(size))
		return refuse(why, USBIF_WHY_REGION_SIZE);
	for (peer = 0; peer < sizeof(copy.roles); peer++) {
		if (copy.roles[peer] > USBIF_ROLE_FRONTEND)
			return refuse(why, USBIF_WHY_ROLE);
		count[copy.roles[peer]]++;
		if (copy.roles[peer] == USBIF_ROLE_BACKEND)
			id->backend = peer;
		else if (copy.roles[peer] == USBIF_ROLE_FRONTEND)
			id->frontend = peer;
	}
	if (count[USBIF_ROLE_BACKEND] != 1 || count[USBIF_ROLE_FRONTEND] != 1)
		return refuse(why, USBIF_WHY_ROLE);
	return 0;
}

/**
 * usbif_ident_decode - find the role of one peer
 * @wire: identity in shared memory
 * @size: octets of the region that the reader sees
 * @peer: number of the peer on the transport
 * @role: to fill
 * @why: reason of a refusal
 *
 * Return: 0, or -EINVAL, also if the peer has no role.
 */
int usbif_ident_decode(const struct usbif_ident __usbif *wire, u64 size,
		       unsigned int peer, enum usbif_role *role,
		       enum usbif_why *why)
{
	struct usbif_identity id;
	int ret = usbif_ident_read(&id, wire, size, why);

	if (ret)
		return ret;
	if (peer == id.backend)
		*role = USBIF_ROLE_BACKEND;
	else if (peer == id.frontend)
		*role = USBIF_ROLE_FRONTEND;
	else
		return refuse(why, USBIF_WHY_ROLE);
	return 0;
}

/**
 * usbif_ident_encode - write the identity
 * @wire: identity in shared memory
 * @size: octets of the region
 * @roles: enum usbif_role of each peer
 */
void usbif_ident_encode(struct usbif_ident __usbif *wire, u64 size,
			const u8 roles[8])
{
	struct usbif_ident ident = {
		.version = cpu_to_le32(USBIF_VERSION),
		.region_size = cpu_to_le64(size),
	};
	size_t skip = offsetof(struct usbif_ident, version);

	memcpy(ident.roles, roles, sizeof(ident.roles));
	memcpy((void __force *)wire + skip, (u8 *)&ident + skip,
	       sizeof(ident) - skip);
	usbif_word_write_release(&wire->magic, USBIF_IDENT_MAGIC);
}

/* The static part of the backend's page. */
#define STATIC_SIZE	offsetof(struct usbif_back_page, state)

/**
 * usbif_layout_encode - write the static part of the backend's page
 * @wire: page in shared memory
 * @lay: what to write
 * @nonce: of this start of the backend, not 0
 */
void usbif_layout_encode(struct usbif_back_page __usbif *wire,
			 const struct usbif_layout *lay, u32 nonce)
{
	struct usbif_back_page page = {
		.version = cpu_to_le32(USBIF_VERSION),
		.region_size = cpu_to_le64(lay->region_size),
		.nr_requests = cpu_to_le32(lay->nr_requests),
		.sq_entries = cpu_to_le32(lay->ring_entries),
		.cq_entries = cpu_to_le32(lay->ring_entries),
		.max_transfer = cpu_to_le32(lay->max_transfer),
		.sq_offset = cpu_to_le64(lay->sq_offset),
		.cq_offset = cpu_to_le64(lay->cq_offset),
		.pool_offset = cpu_to_le64(lay->pool_offset),
		.pool_size = cpu_to_le64(lay->pool_size),
		.features = cpu_to_le64(lay->features),
		.nr_vusb = cpu_to_le32(lay->nr_vusb),
		.nr_ports = cpu_to_le32(lay->nr_ports),
		.max_iso_packets = cpu_to_le32(lay->max_iso_packets),
		.nonce = cpu_to_le32(nonce),
	};
	size_t skip = offsetof(struct usbif_back_page, version);

	usbif_word_write(&wire->magic, 0);
	/* Whoever sees a new field misses the magic; pairs with static_part_copy(). */
	virt_wmb();
	memcpy((void __force *)wire + skip, (u8 *)&page + skip,
	       STATIC_SIZE - skip);
	usbif_word_write_release(&wire->magic, USBIF_BACK_MAGIC);
}

/*
 * Copies the static part; false if it is not there or was rewritten meanwhile. Whoever
 * rewrites it takes the magic away first and puts it back after the nonce, which is
 * another one then; so both must be the same before and after.
 *
 * The nonce is looked at before the magic: a new one, whose other fields may not have
 * arrived, is thus not taken with the magic of the writing before.
 */
static bool static_part_copy(struct usbif_back_page *page,
			     const struct usbif_back_page __usbif *wire,
			     u32 *magic)
{
	u32 nonce = usbif_word_read_acquire(&wire->nonce);

	*magic = usbif_word_read_acquire(&wire->magic);
	if (!*magic)
		return false;
	memcpy(page, (const void __force *)wire, STATIC_SIZE);
	/* The copy before the second look; pairs with usbif_layout_encode(). */
	virt_rmb();
	return usbif_word_read_acquire(&wire->magic) == *magic &&
	       usbif_word_read(&wire->nonce) == nonce;
}

static enum usbif_why check_rings(const struct usbif_layout *lay,
				  const struct usbif_back_page *page)
{
	u64 end;

	if (!is_power_of_2(lay->nr_requests) ||
	    lay->nr_requests < USBIF_MIN_REQUESTS ||
	    lay->nr_requests > USBIF_MAX_REQUESTS ||
	    le32_to_cpu(page->sq_entries) != lay->ring_entries ||
	    le32_to_cpu(page->cq_entries) != lay->ring_entries)
		return USBIF_WHY_RING_SIZE;
	end = USBIF_SQ_OFFSET +
	      (u64)lay->ring_entries * sizeof(struct usbif_req);
	if (lay->sq_offset != USBIF_SQ_OFFSET || lay->cq_offset != end)
		return USBIF_WHY_OFFSET;
	end += (u64)lay->ring_entries * sizeof(struct usbif_rsp);
	if (lay->pool_offset < end || lay->pool_offset >= lay->region_size ||
	    lay->pool_offset & (USBIF_BLOCK_SIZE - 1) || !lay->pool_size ||
	    lay->pool_size & (USBIF_BLOCK_SIZE - 1) ||
	    lay->pool_size > lay->region_size - lay->pool_offset)
		return USBIF_WHY_POOL;
	return USBIF_WHY_OK;
}

static enum usbif_why check_limits(const struct usbif_layout *lay)
{
	if (!lay->max_transfer || lay->max_transfer > USBIF_MAX_TRANSFER ||
	    lay->max_transfer & (USBIF_BLOCK_SIZE - 1) ||
	    lay->max_transfer > lay->pool_size)
		return USBIF_WHY_MAX_TRANSFER;
	if (lay->nr_vusb < 1 || lay->nr_vusb > USBIF_MAX_VUSB)
		return USBIF_WHY_VUSB_COUNT;
	if (lay->nr_ports < 1 || lay->nr_ports > USBIF_MAX_PORTS)
		return USBIF_WHY_PORT_COUNT;
	if (lay->max_iso_packets > USBIF_MAX_ISO_PACKETS ||
	    !lay->max_iso_packets != !(lay->features & USBIF_F_ISO))
		return USBIF_WHY_ISO_LIMIT;
	return USBIF_WHY_OK;
}

/**
 * usbif_layout_decode - read the static part of the backend's page
 * @lay: to fill
 * @nonce: to fill
 * @wire: page in shared memory
 * @size: octets of the region that the reader sees
 * @why: reason of a refusal
 *
 * Return: 0, -EAGAIN while it is not there or is being rewritten, -EINVAL if it is
 * wrong.
 */
int usbif_layout_decode(struct usbif_layout *lay, u32 *nonce,
			const struct usbif_back_page __usbif *wire, u64 size,
			enum usbif_why *why)
{
	struct usbif_back_page page;
	u32 magic;

	*why = USBIF_WHY_OK;
	if (!static_part_copy(&page, wire, &magic))
		return -EAGAIN;
	if (magic != USBIF_BACK_MAGIC)
		return refuse(why, USBIF_WHY_MAGIC);
	if (le32_to_cpu(page.version) != USBIF_VERSION)
		return refuse(why, USBIF_WHY_VERSION);
	if (le64_to_cpu(page.region_size) != size || !region_size_ok(size))
		return refuse(why, USBIF_WHY_REGION_SIZE);
	if (!page.nonce)
		return refuse(why, USBIF_WHY_SESSION);

	memset(lay, 0, sizeof(*lay));
	*nonce = le32_to_cpu(page.nonce);
	lay->region_size = size;
	lay->sq_offset = le64_to_cpu(page.sq_offset);
	lay->cq_offset = le64_to_cpu(page.cq_offset);
	lay->pool_offset = le64_to_cpu(page.pool_offset);
	lay->pool_size = le64_to_cpu(page.pool_size);
	lay->features = le64_to_cpu(page.features);
	lay->nr_requests = le32_to_cpu(page.nr_requests);
	lay->ring_entries = 2 * lay->nr_requests;
	lay->pool_blocks = lay->pool_size >> USBIF_BLOCK_SHIFT;
	lay->max_transfer = le32_to_cpu(page.max_transfer);
	lay->max_iso_packets = le32_to_cpu(page.max_iso_packets);
	lay->nr_vusb = le32_to_cpu(page.nr_vusb);
	lay->nr_ports = le32_to_cpu(page.nr_ports);
	*why = check_rings(lay, &page);
	if (!*why)
		*why = check_limits(lay);
	return *why ? -EINVAL : 0;
}
