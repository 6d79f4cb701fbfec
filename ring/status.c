// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
/*
 * Validation, encoding and decoding of completions and of the port table; statuses and
 * what they mean to Linux.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include "proto.h"

#define WHY(name) \
	[USBIF_WHY_##name] = #name

static const char * const why_names[USBIF_WHY_MAX] = {
	WHY(OK), WHY(MAGIC), WHY(VERSION), WHY(REGION_SIZE), WHY(RING_SIZE),
	WHY(OFFSET), WHY(POOL), WHY(MAX_TRANSFER), WHY(VUSB_COUNT),
	WHY(PORT_COUNT), WHY(ISO_LIMIT), WHY(ROLE), WHY(RESERVED),
	WHY(SESSION), WHY(ID), WHY(OP), WHY(VUSB), WHY(PORT), WHY(ENDPOINT),
	WHY(TYPE), WHY(FLAGS), WHY(LENGTH), WHY(INTERVAL), WHY(STREAM),
	WHY(EXTENT_COUNT), WHY(EXTENT_RANGE), WHY(EXTENT_ALIGN),
	WHY(EXTENT_SUM), WHY(EXTENT_OVERLAP), WHY(SETUP_LENGTH),
	WHY(SETUP_DIRECTION), WHY(SETUP_POLICY), WHY(ARG), WHY(PACKET_COUNT),
	WHY(PACKET_RANGE), WHY(TABLE), WHY(FEATURE), WHY(STATUS), WHY(ACTUAL),
	WHY(PORT_STATE), WHY(SPEED), WHY(EPOCH), WHY(FRAME),
};

/**
 * usbif_why_name - name of a check
 * @why: the check
 *
 * Return: a constant string, never NULL.
 */
const char *usbif_why_name(enum usbif_why why)
{
	u32 index = why;

	if (index >= USBIF_WHY_MAX || !why_names[index])
		return "?";
	return why_names[index];
}

/**
 * usbif_rsp_encode - fill a completion
 * @wire: to fill, private memory
 * @rsp: what it says
 */
void usbif_rsp_encode(struct usbif_rsp *wire, const struct usbif_response *rsp)
{
	memset(wire, 0, sizeof(*wire));
	wire->id = cpu_to_le32(rsp->id);
	wire->session = cpu_to_le32(rsp->session);
	wire->status = rsp->status;
	wire->flags = cpu_to_le16(rsp->flags);
	wire->actual = cpu_to_le32(rsp->actual);
	wire->value = cpu_to_le32(rsp->value);
	wire->start_frame = cpu_to_le32(rsp->start_frame);
	wire->error_count = cpu_to_le32(rsp->error_count);
}

static enum usbif_why check_rsp(const struct usbif_response *rsp,
				const struct usbif_rsp *copy,
				const struct usbif_layout *lay, u32 session)
{
	if (rsp->id >= lay->ring_entries)
		return USBIF_WHY_ID;
	if (rsp->session != session)
		return USBIF_WHY_SESSION;
	if (rsp->status > USBIF_ST_MAX)
		return USBIF_WHY_STATUS;
	if (copy->reserved0 || copy->reserved1)
		return USBIF_WHY_RESERVED;
	/* What ended well holds nothing. */
	if (rsp->flags & ~USBIF_RSP_HELD || (rsp->flags && !rsp->status))
		return USBIF_WHY_FLAGS;
	if (rsp->actual > lay->max_transfer)
		return USBIF_WHY_ACTUAL;
	return USBIF_WHY_OK;
}

/**
 * usbif_rsp_decode - check a completion
 * @rsp: to fill
 * @copy: private copy of the completion
 * @lay: layout
 * @session: number of the session
 * @why: reason of a refusal
 *
 * Return: 0, or -EPROTO if the session is to be broken.
 */
int usbif_rsp_decode(struct usbif_response *rsp, const struct usbif_rsp *copy,
		     const struct usbif_layout *lay, u32 session,
		     enum usbif_why *why)
{
	rsp->id = le32_to_cpu(copy->id);
	rsp->session = le32_to_cpu(copy->session);
	rsp->status = copy->status;
	rsp->flags = le16_to_cpu(copy->flags);
	rsp->actual = le32_to_cpu(copy->actual);
	rsp->value = le32_to_cpu(copy->value);
	rsp->start_frame = le32_to_cpu(copy->start_frame);
	rsp->error_count = le32_to_cpu(copy->error_count);
	*why = check_rsp(rsp, copy, lay, session);
	return *why ? -EPROTO : 0;
}

static u32 port_word(u8 status, u8 speed, u8 reason, u8 version)
{
	return status | (u32)speed << 8 | (u32)reason << 16 |
	       (u32)version << 24;
}

/**
 * usbif_port_write - change an entry of the port table
 * @wire: entry in shared memory
 * @st: new state; its version is not looked at
 * @version: the writer's counter of this entry
 *
 * A reader that overlaps with this sees CHANGING or two different state words.
 */
void usbif_port_write(struct usbif_port __usbif *wire,
		      const struct usbif_port_state *st, u8 *version)
{
	usbif_word_write(&wire->state,
			 port_word(USBIF_PORT_CHANGING, 0, 0, ++*version));
	/* Pairs with the barrier in usbif_port_read(): who saw the rest sees this. */
	virt_wmb();
	usbif_word_write(&wire->epoch, st->epoch);
	usbif_word_write(&wire->wakeup, st->wakeup);
	usbif_word_write_release(&wire->state,
				 port_word(st->status, st->speed, st->reason,
					   ++*version));
}

static enum usbif_why check_port(const struct usbif_port_state *st)
{
	if (st->status > USBIF_PORT_CONNECTED ||
	    st->reason > USBIF_REASON_BACKEND)
		return USBIF_WHY_PORT_STATE;
	if (st->status == USBIF_PORT_EMPTY)
		return st->speed ? USBIF_WHY_SPEED : USBIF_WHY_OK;
	if (!st->speed || st->speed > USBIF_SPEED_SUPER_PLUS_X2)
		return USBIF_WHY_SPEED;
	return st->epoch ? USBIF_WHY_OK : USBIF_WHY_EPOCH;
}

/**
 * usbif_port_read - take an entry of the port table
 * @st: to fill
 * @wire: entry in shared memory
 * @why: reason of a refusal
 *
 * Return: 0, -EAGAIN while it is being changed, -EPROTO if it is impossible.
 */
int usbif_port_read(struct usbif_port_state *st,
		    const struct usbif_port __usbif *wire, enum usbif_why *why)
{
	u32 state = usbif_word_read_acquire(&wire->state);

	*why = USBIF_WHY_OK;
	st->status = state;
	st->speed = state >> 8;
	st->reason = state >> 16;
	st->version = state >> 24;
	if (st->status == USBIF_PORT_CHANGING)
		return -EAGAIN;
	st->epoch = usbif_word_read(&wire->epoch);
	st->wakeup = usbif_word_read(&wire->wakeup);
	/* Pairs with the barrier in usbif_port_write(). */
	virt_rmb();
	if (usbif_word_read(&wire->state) != state)
		return -EAGAIN;
	*why = check_port(st);
	return *why ? -EPROTO : 0;
}

/* What a driver sees as status of a URB: Documentation/driver-api/usb/error-codes. */
static const int status_errno[USBIF_ST_MAX + 1] = {
	[USBIF_ST_OK]		= 0,
	[USBIF_ST_CANCELLED]	= -ECONNRESET,
	[USBIF_ST_STALL]	= -EPIPE,
	[USBIF_ST_PROTO]	= -EPROTO,
	[USBIF_ST_TIMEOUT]	= -ETIME,
	[USBIF_ST_OVERFLOW]	= -EOVERFLOW,
	[USBIF_ST_SHORT]	= -EREMOTEIO,
	[USBIF_ST_NODEV]	= -ENODEV,
	[USBIF_ST_SHUTDOWN]	= -ESHUTDOWN,
	[USBIF_ST_INVALID]	= -EINVAL,
	[USBIF_ST_NOMEM]	= -ENOMEM,
	[USBIF_ST_NOSPACE]	= -ENOSPC,
	[USBIF_ST_UNSUPPORTED]	= -EOPNOTSUPP,
	[USBIF_ST_NOENT]	= -ENOENT,
	[USBIF_ST_SUSPENDED]	= -EHOSTUNREACH,
	[USBIF_ST_DATA]		= -ECOMM,
	[USBIF_ST_PARTIAL]	= -EXDEV,
	[USBIF_ST_LIMIT]	= -EDQUOT,
};

/**
 * usbif_status_to_errno - what a status means
 * @status: enum usbif_status
 *
 * Return: 0 or a negative errno; -EPROTO for what is not a status.
 */
int usbif_status_to_errno(u32 status)
{
	if (status > USBIF_ST_MAX)
		return -EPROTO;
	return status_errno[array_index_nospec(status, USBIF_ST_MAX + 1)];
}

/**
 * usbif_status_from_errno - how the status of a URB is told
 * @error: 0 or a negative errno
 *
 * -ENOENT is the status of a URB that was killed, thus CANCELLED here; who means that
 * something does not exist says USBIF_ST_NOENT himself.
 *
 * Return: enum usbif_status; PROTO for what is not known.
 */
u32 usbif_status_from_errno(int error)
{
	u32 status;

	switch (error) {
	case -ENOENT:
		return USBIF_ST_CANCELLED;
	case -ETIMEDOUT:
		return USBIF_ST_TIMEOUT;
	case -ENOSR:
		return USBIF_ST_DATA;
	}
	for (status = 0; status <= USBIF_ST_MAX; status++)
		if (status_errno[status] == error)
			return status;
	return USBIF_ST_PROTO;
}
