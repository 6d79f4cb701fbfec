// SPDX-License-Identifier: GPL-2.0
/*
 * See back.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <asm/barrier.h>
#include "back.h"
#include "usbif_ioctl.h"

#define NR_VUSB		2
#define POLL_US		1000
#define SHADOW(b, n)	((b)->shadow + (size_t)(n) * USBIF_BLOCK_SIZE)
#define BLOCK(b, n)	((b)->region + (b)->lay.pool_offset + \
			 (size_t)(n) * USBIF_BLOCK_SIZE)

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("back: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

u64 now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ull + ts.tv_nsec / 1000;
}

static int open_device(void)
{
	int fd = open("/dev/usbfront", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/usbfront: %s", strerror(errno));
	return fd;
}

static void lay_out(struct back *b, u64 features)
{
	if (usbif_layout_compute(&b->lay, b->size, features, NR_VUSB,
				 USBIF_MAX_PORTS))
		die("no layout for %llu octets", (unsigned long long)b->size);
	b->owned = calloc(b->lay.pool_blocks, 1);
	if (!b->owned)
		die("no memory");
	b->page = b->region + USBIF_BACK_OFFSET;
	b->front = b->region + USBIF_FRONT_OFFSET;
	b->ports = b->region + USBIF_PORTS_OFFSET;
}

void back_open_pci(struct back *b, const char *dir, u64 features)
{
	ivshmem_open(&b->iv, dir, USBIF_ROLE_BACKEND);
	b->name = dir;
	b->memfd = -1;
	b->in = -1;
	b->out = -1;
	b->region = b->iv.region;
	b->size = b->iv.size;
	lay_out(b, features);
}

void back_open(struct back *b, const char *name, u64 size, u64 features)
{
	struct usbif_ioc_create arg = { .size = sizeof(arg) };
	int dev = open_device();

	b->name = name;
	b->size = size;
	b->memfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (b->memfd < 0 || ftruncate(b->memfd, size))
		die("memfd: %s", strerror(errno));
	b->in = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->in < 0 || b->out < 0)
		die("eventfd: %s", strerror(errno));
	b->region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 b->memfd, 0);
	if (b->region == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	lay_out(b, features);

	arg.memfd = b->memfd;
	arg.in_fd = b->out;
	arg.out_fd = b->in;
	arg.pid = getpid();
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(dev, USBIF_IOC_CREATE, &arg))
		die("USBIF_IOC_CREATE %s: %s", name, strerror(errno));
	close(dev);
}

void back_drop(const char *name)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg) };
	int dev = open_device();

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(dev, USBIF_IOC_DROP, &arg))
		die("USBIF_IOC_DROP %s: %s", name, strerror(errno));
	close(dev);
}

void back_kick(struct back *b)
{
	u64 one = 1;

	if (b->quiet_bell)
		return;
	b->nr_kicked++;
	if (b->iv.bell) {
		ivshmem_kick(&b->iv);
		return;
	}
	if (write(b->out, &one, sizeof(one)) != sizeof(one))
		die("doorbell: %s", strerror(errno));
}

void back_sleep(struct back *b, int other, long timeout_us)
{
	long us = b->in < 0 && (timeout_us < 0 || timeout_us > POLL_US) ? POLL_US :
									  timeout_us;
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };
	struct pollfd pfd[2] = {
		{ .fd = b->in, .events = POLLIN },
		{ .fd = other, .events = POLLIN },
	};
	u64 count;

	ppoll(pfd, 2, us < 0 ? NULL : &ts, NULL);
	if (b->in < 0)
		return;
	if (read(b->in, &count, sizeof(count)) < 0 && errno != EAGAIN)
		die("doorbell: %s", strerror(errno));
}

/* ---- sessions ---- */

static void set_state(struct back *b, u32 state)
{
	b->state = state;
	usbif_word_write_release(&b->page->state, state);
	back_kick(b);
}

static u32 random_nonce(void)
{
	u32 nonce = 0;

	while (!nonce)
		if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
			die("getrandom: %s", strerror(errno));
	return nonce;
}

static void forget_all(struct back *b)
{
	memset(b->reqs, 0, sizeof(b->reqs));
	memset(b->is_cancel_live, 0, sizeof(b->is_cancel_live));
	memset(b->is_held, 0, sizeof(b->is_held));
	memset(b->owned, 0, b->lay.pool_blocks);
	if (b->ops)
		b->ops->reset(b);
}

void back_start(struct back *b)
{
	b->nonce = random_nonce();
	forget_all(b);
	usbif_word_write(&b->page->state, USBIF_BACK_NONE);
	usbif_layout_encode(b->page, &b->lay, b->nonce);
	b->front_nonce = usbif_word_read_acquire(&b->front->nonce);
	set_state(b, USBIF_BACK_READY);
}

void back_stop(struct back *b)
{
	forget_all(b);
	set_state(b, USBIF_BACK_CLOSED);
}

void back_end(struct back *b)
{
	if (b->iv.bell)
		back_stop(b);
	else
		back_drop(b->name);
}

static void write_port(struct back *b, unsigned int port)
{
	if (b->state != USBIF_BACK_CONNECTED)
		return;
	usbif_port_write(&b->ports[0][port], &b->port[port],
			 &b->port_version[port]);
	usbif_word_write_release(&b->page->port_gen, ++b->port_gen);
	back_kick(b);
}

static void session_begin(struct back *b, u32 nonce)
{
	u32 start = random_nonce();
	unsigned int port;

	forget_all(b);
	b->is_old = false;
	b->front_nonce = nonce;
	b->session++;
	usbif_word_write(&b->page->ring_start, start);
	usbif_cons_init(&b->sq, b->region + b->lay.sq_offset,
			sizeof(struct usbif_req), b->lay.ring_entries,
			&b->front->sq_prod, &b->page->sq_cons,
			&b->page->sq_event, start);
	usbif_prod_init(&b->cq, b->region + b->lay.cq_offset,
			sizeof(struct usbif_rsp), b->lay.ring_entries,
			&b->page->cq_prod, &b->front->cq_cons,
			&b->front->cq_event, start);
	memset(b->ports, 0, sizeof(*b->ports) * USBIF_MAX_VUSB);
	usbif_word_write(&b->page->session, b->session);
	usbif_word_write_release(&b->page->session_nonce, nonce);
	set_state(b, USBIF_BACK_CONNECTED);
	for (port = 1; port <= USBIF_MAX_PORTS; port++)
		if (b->port[port].status)
			write_port(b, port);
}

static void session_look(struct back *b)
{
	u32 state = usbif_word_read_acquire(&b->front->state);
	u32 nonce = usbif_word_read(&b->front->nonce);

	if (b->state == USBIF_BACK_CLOSED)
		return;
	if (b->snubs && state == USBIF_FRONT_CONNECT && nonce != b->front_nonce) {
		b->front_nonce = nonce;
		if (b->snubs == SNUB_LATER)
			usbif_word_write(&b->page->session_nonce, nonce);
		b->snubs = SNUB_NOT;
	} else if (state == USBIF_FRONT_CONNECT && nonce && nonce != b->front_nonce) {
		session_begin(b, nonce);
		fprintf(stderr, "session %u\n", b->session);
	} else if (b->state == USBIF_BACK_CONNECTED &&
		   (state == USBIF_FRONT_CLOSING ||
		    state == USBIF_FRONT_BROKEN)) {
		fprintf(stderr, "frontend %s, error %u\n",
			state == USBIF_FRONT_BROKEN ? "broken" : "closing",
			usbif_word_read(&b->front->error));
		forget_all(b);
		set_state(b, USBIF_BACK_READY);
	}
}

/* ---- ports ---- */

void back_plug(struct back *b, unsigned int port, u8 speed)
{
	struct usbif_port_state *st = &b->port[port];

	st->status = USBIF_PORT_CONNECTED;
	st->speed = speed;
	st->reason = USBIF_REASON_ATTACHED;
	st->epoch++;
	write_port(b, port);
}

static void fail_port(struct back *b, unsigned int port, u8 status)
{
	u32 i;

	memset(b->is_held[port], 0, sizeof(b->is_held[port]));
	for (i = 0; i < b->lay.nr_requests; i++) {
		struct back_req *r = &b->reqs[i];

		if (!r->is_live || r->req.port != port)
			continue;
		b->ops->forget(b, r);
		back_complete(b, r, status, 0);
	}
}

void back_unplug(struct back *b, unsigned int port, u8 reason)
{
	struct usbif_port_state *st = &b->port[port];

	st->status = USBIF_PORT_EMPTY;
	st->speed = USBIF_SPEED_NONE;
	st->reason = reason;
	write_port(b, port);
	if (b->state == USBIF_BACK_CONNECTED)
		fail_port(b, port, USBIF_ST_NODEV);
}

/* ---- completions ---- */

static void respond(struct back *b, const struct usbif_response *rsp)
{
	struct usbif_rsp wire;

	usbif_rsp_encode(&wire, rsp);
	if (b->next_lie == LIE_RESERVED) {
		wire.reserved1 = 1;
		b->next_lie = LIE_NONE;
	}
	if (b->spoil_word) {
		usbif_word_write((__le32 *)&wire + b->spoil_word, b->spoil_value);
		b->spoil_word = 0;
	}
	if (usbif_prod_room(&b->cq) <= 0)
		die("completion ring is full");
	usbif_prod_push(&b->cq, &wire);
	usbif_prod_publish(&b->cq);
	if (usbif_prod_need_kick(&b->cq))
		back_kick(b);
}

/* Makes a completion false. True if it is to be sent once more. */
static bool falsify(struct back *b, struct usbif_response *rsp)
{
	u32 lie = b->next_lie;
	u32 i;

	if (lie != LIE_RESERVED)
		b->next_lie = LIE_NONE;
	switch (lie) {
	case LIE_ID_RANGE:
		rsp->id = 2 * b->lay.nr_requests;
		break;
	case LIE_ID_FREE:
		for (i = 0; i < b->lay.nr_requests; i++)
			if (!b->reqs[i].is_live && i != rsp->id)
				rsp->id = i;
		break;
	case LIE_ID_CANCEL:
		rsp->id += b->lay.nr_requests;
		break;
	case LIE_TWICE:
		return true;
	case LIE_ACTUAL:
		rsp->actual += 4096;
		break;
	case LIE_STATUS:
		rsp->status = 200;
		break;
	case LIE_SESSION:
		rsp->session++;
		break;
	}
	return false;
}

static void mark_blocks(struct back *b, const struct back_req *r, bool owned)
{
	u32 i, n;

	for (i = 0; i < r->req.nr_extents; i++) {
		u32 blocks = (r->ranges[i].length + USBIF_BLOCK_SIZE - 1) /
			     USBIF_BLOCK_SIZE;

		for (n = 0; n < blocks; n++) {
			u32 block = r->ranges[i].block + n;

			if (owned && b->owned[block])
				die("block %u is in two requests", block);
			b->owned[block] = owned;
		}
	}
	n = (r->req.table_length + USBIF_BLOCK_SIZE - 1) / USBIF_BLOCK_SIZE;
	for (i = r->req.table_block; n--; i++) {
		if (owned && b->owned[i])
			die("table is in two requests");
		b->owned[i] = owned;
	}
}

void back_complete(struct back *b, struct back_req *r, u8 status, u32 actual)
{
	struct usbif_response rsp = {
		.id = r->req.id,
		.session = b->session,
		.status = status,
		.actual = actual,
		.value = r->value,
		.error_count = r->errors,
	};
	bool is_iso = r->req.nr_packets;

	if (!r->is_live)
		die("completed twice by the device");
	if (r->is_held) {
		rsp.flags = USBIF_RSP_HELD;
	} else if (status && r->req.op == USBIF_OP_TRANSFER && !is_iso &&
		   b->port[r->req.port].status) {
		rsp.flags = USBIF_RSP_HELD;
		b->is_held[r->req.port][r->req.endpoint] = true;
	}
	mark_blocks(b, r, false);
	r->is_live = false;
	if (falsify(b, &rsp))
		respond(b, &rsp);
	respond(b, &rsp);
}

struct usbif_iso_result *back_results(struct back *b, const struct back_req *r)
{
	return BLOCK(b, r->req.table_block) + r->req.table_length -
	       r->req.nr_packets * sizeof(struct usbif_iso_result);
}

bool back_is_taken(struct back *b)
{
	return usbif_word_read_acquire(&b->front->cq_cons) == b->cq.prod ||
	       usbif_word_read_acquire(&b->front->state) != USBIF_FRONT_RUNNING;
}

void back_lie(struct back *b, enum back_lie lie)
{
	b->next_lie = lie;
	switch (lie) {
	case LIE_INDEX_FAR:
		usbif_word_write_release(&b->page->cq_prod, b->cq.prod + 100000);
		break;
	case LIE_INDEX_BACK:
		usbif_word_write_release(&b->page->cq_prod, b->cq.prod - 1);
		break;
	case LIE_CONS_FAR:
		usbif_word_write_release(&b->page->sq_cons, b->sq.cons + 1000);
		break;
	case LIE_PORT:
		usbif_word_write_release(&b->ports[0][1].state, 0x00003f01);
		usbif_word_write_release(&b->page->port_gen, ++b->port_gen);
		break;
	default:
		return;
	}
	b->next_lie = LIE_NONE;
	back_kick(b);
}

static void move_data(struct back *b, struct back_req *r, char *data, u32 len,
		      bool put)
{
	u32 i;

	for (i = 0; len; i++) {
		u32 n = r->ranges[i].length;

		n = n < len ? n : len;
		if (put)
			memcpy(BLOCK(b, r->ranges[i].block), data, n);
		if (put && b->shadow)
			memcpy(SHADOW(b, r->ranges[i].block), data, n);
		if (!put)
			memcpy(data, BLOCK(b, r->ranges[i].block), n);
		data += n;
		len -= n;
	}
}

void back_put(struct back *b, struct back_req *r, const void *data, u32 len)
{
	move_data(b, r, (char *)data, len, true);
}

void back_get(struct back *b, struct back_req *r, void *data, u32 len)
{
	move_data(b, r, data, len, false);
}

/* ---- leaks ---- */

void back_look_for_leaks(struct back *b, bool on)
{
	free(b->shadow);
	b->shadow = NULL;
	if (!on)
		return;
	b->shadow = malloc(b->lay.pool_size);
	if (!b->shadow)
		die("no memory");
	memcpy(b->shadow, BLOCK(b, 0), b->lay.pool_size);
}

/* @sent octets are the frontend's to write; the rest is as it was, or zero. */
static void look_at_run(struct back *b, u32 block, u32 length, u32 sent)
{
	u32 end = (length + USBIF_BLOCK_SIZE - 1) / USBIF_BLOCK_SIZE *
		  USBIF_BLOCK_SIZE;
	unsigned char *is = BLOCK(b, block), *was = SHADOW(b, block);
	u32 i;

	memcpy(was, is, sent);
	for (i = sent; i < end; i++)
		if (is[i] && is[i] != was[i])
			die("octet %u of block %u is %02x: nobody sent it", i,
			    block, is[i]);
}

static void look_for_leaks(struct back *b, const struct back_req *r)
{
	bool in = usbif_req_is_in(&r->req);
	u32 i;

	if (!b->shadow)
		return;
	for (i = 0; i < r->req.nr_extents; i++)
		look_at_run(b, r->ranges[i].block, r->ranges[i].length,
			    in ? 0 : r->ranges[i].length);
	if (r->req.table_length)
		look_at_run(b, r->req.table_block, r->req.table_length,
			    r->req.table_length);
}

/* ---- submissions ---- */

bool back_is_stubborn(const struct back *b, unsigned int port)
{
	return b->is_stubborn && (!b->stubborn_port || port == b->stubborn_port);
}

static void cancel(struct back *b, u32 target)
{
	struct back_req *r = &b->reqs[target];
	struct usbif_response rsp = {
		.id = b->lay.nr_requests + target,
		.session = b->session,
		.status = r->is_live ? USBIF_ST_OK : USBIF_ST_NOENT,
	};

	b->nr_cancelled++;
	if (b->is_cancel_live[target])
		die("cancel of %u is live", target);
	if (back_is_stubborn(b, r->req.port) && !b->spared) {
		b->is_cancel_live[target] = true;
		return;
	}
	b->spared -= !!b->spared;
	if (r->is_live) {
		b->ops->forget(b, r);
		back_complete(b, r, USBIF_ST_CANCELLED, 0);
	}
	respond(b, &rsp);
}

static void decode(struct back *b, struct back_req *r,
		   const struct usbif_req *wire)
{
	static struct usbif_packet packets[USBIF_MAX_ISO_PACKETS];
	enum usbif_why why = 0;
	const void *table = NULL;
	int ret;

	ret = usbif_req_decode(&r->req, wire, &b->lay, b->session, &why);
	if (ret)
		die("request refused: %s", usbif_why_name(why));
	if (r->req.op == USBIF_OP_CANCEL)
		return;
	if (r->req.table_length)
		table = BLOCK(b, r->req.table_block);
	ret = usbif_table_decode(&r->req, table, &b->lay, r->ranges, packets,
				 &why);
	if (ret)
		die("extents refused: %s", usbif_why_name(why));
}

static void take(struct back *b, const struct usbif_req *wire)
{
	static struct back_req fresh;
	struct back_req *r;

	memset(&fresh, 0, sizeof(fresh));
	decode(b, &fresh, wire);
	if (fresh.req.op == USBIF_OP_CANCEL) {
		cancel(b, fresh.req.arg0);
		return;
	}
	r = &b->reqs[fresh.req.id];
	if (r->is_live || b->is_cancel_live[fresh.req.id])
		die("id %u is live", fresh.req.id);
	*r = fresh;
	r->is_live = true;
	mark_blocks(b, r, true);
	look_for_leaks(b, r);
	b->nr_submitted++;
	if (r->req.vusb || r->req.port_epoch != b->port[r->req.port].epoch ||
	    !b->port[r->req.port].status) {
		back_complete(b, r, USBIF_ST_NODEV, 0);
		return;
	}
	if (r->req.op == USBIF_OP_RESTART) {
		b->nr_restarts++;
		b->is_held[r->req.port][r->req.endpoint] = false;
		back_complete(b, r, USBIF_ST_OK, 0);
		return;
	}
	b->ops->submit(b, r);
}

bool back_look(struct back *b)
{
	struct usbif_req wire;
	int n, i;

	usbif_word_write(&b->page->heartbeat, ++b->heartbeat);
	virt_mb();	/* with usbfront's write_state() */
	session_look(b);
	if (b->state != USBIF_BACK_CONNECTED || b->is_deaf || b->is_old ||
	    usbif_word_read_acquire(&b->front->state) != USBIF_FRONT_RUNNING)
		return false;
	n = usbif_cons_avail(&b->sq);
	if (n < 0)
		die("frontend's index is impossible");
	for (i = 0; i < n; i++) {
		usbif_cons_pop(&b->sq, &wire);
		usbif_cons_commit(&b->sq);
		take(b, &wire);
	}
	return n > 0 || usbif_cons_arm(&b->sq);
}
