// SPDX-License-Identifier: GPL-2.0
/*
 * See front.h.
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
#include "front.h"
#include "usbif_ioctl.h"

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("front: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static int open_device(void)
{
	int fd = open("/dev/usbback", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/usbback: %s", strerror(errno));
	return fd;
}

static void find_pages(struct front *f)
{
	f->back = f->region + USBIF_BACK_OFFSET;
	f->page = f->region + USBIF_FRONT_OFFSET;
	f->ports = f->region + USBIF_PORTS_OFFSET;
}

void front_open_pci(struct front *f, const char *dir)
{
	memset(f, 0, sizeof(*f));
	f->name = dir;
	f->in = -1;
	f->out = -1;
	f->memfd = -1;
	ivshmem_open(&f->iv, dir, USBIF_ROLE_FRONTEND);
	f->region = f->iv.region;
	f->size = f->iv.size;
	find_pages(f);
}

void front_open(struct front *f, const char *name, u64 size)
{
	struct usbif_ioc_create arg = { .size = sizeof(arg) };
	int dev = open_device();

	memset(f, 0, sizeof(*f));
	f->name = name;
	f->size = size;
	f->memfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (f->memfd < 0 || ftruncate(f->memfd, size))
		die("memfd: %s", strerror(errno));
	fcntl(f->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	f->in = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->in < 0 || f->out < 0)
		die("eventfd: %s", strerror(errno));
	f->region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 f->memfd, 0);
	if (f->region == MAP_FAILED)
		die("mmap: %s", strerror(errno));

	arg.memfd = f->memfd;
	arg.in_fd = f->out;
	arg.out_fd = f->in;
	arg.pid = getpid();
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(dev, USBIF_IOC_CREATE, &arg))
		die("USBIF_IOC_CREATE %s: %s", name, strerror(errno));
	close(dev);

	find_pages(f);
}

void front_drop(const char *name)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg) };
	int dev = open_device();

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(dev, USBIF_IOC_DROP, &arg))
		die("USBIF_IOC_DROP %s: %s", name, strerror(errno));
	close(dev);
}

static const struct front *mortal;

static void drop(void)
{
	front_drop(mortal->name);
}

void front_drop_at_exit(const struct front *f)
{
	mortal = f;
	atexit(drop);
}

void front_gone(const char *name)
{
	struct usbif_ioc_peer arg = {
		.size = sizeof(arg),
		.event = USBIF_PEER_GONE,
	};
	int dev = open_device();

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(dev, USBIF_IOC_PEER, &arg))
		die("USBIF_IOC_PEER %s: %s", name, strerror(errno));
	close(dev);
}

void front_kick(struct front *f)
{
	u64 one = 1;

	if (f->quiet_bell)
		return;
	if (f->iv.bell) {
		ivshmem_kick(&f->iv);
		return;
	}
	if (write(f->out, &one, sizeof(one)) != sizeof(one))
		die("doorbell: %s", strerror(errno));
}

void front_sleep(struct front *f, int timeout_ms)
{
	struct pollfd pfd = { .fd = f->in, .events = POLLIN };
	u64 count;

	if (f->in < 0) {
		if (timeout_ms > 0)
			usleep(1000);
		return;
	}
	poll(&pfd, 1, timeout_ms);
	if (read(f->in, &count, sizeof(count)) < 0 && errno != EAGAIN)
		die("doorbell: %s", strerror(errno));
}

void front_wait_state(struct front *f, u32 state, int timeout_ms)
{
	u64 end = now_ms() + timeout_ms;
	u32 is;

	while ((is = usbif_word_read_acquire(&f->back->state)) != state) {
		if (now_ms() > end)
			die("backend is in state %u, wanted %u", is, state);
		front_sleep(f, 20);
	}
}

static void get_layout(struct front *f)
{
	u64 end = now_ms() + 5000;
	enum usbif_why why = 0;
	u32 back_nonce;
	int ret;

	while ((ret = usbif_layout_decode(&f->lay, &back_nonce, f->back, f->size,
					  &why))) {
		if (ret != -EAGAIN || now_ms() > end)
			die("layout: %s", usbif_why_name(why));
		front_sleep(f, 20);
	}
}

static void write_page(struct front *f)
{
	do {
		if (getrandom(&f->nonce, sizeof(f->nonce), 0) !=
		    sizeof(f->nonce))
			die("getrandom: %s", strerror(errno));
	} while (!f->nonce);
	usbif_word_write(&f->page->magic, USBIF_FRONT_MAGIC);
	usbif_word_write(&f->page->version, USBIF_VERSION);
	f->page->features = f->features;
	usbif_word_write_release(&f->page->nonce, f->nonce);
	usbif_word_write_release(&f->page->state, USBIF_FRONT_CONNECT);
}

void front_ask(struct front *f)
{
	write_page(f);
	front_kick(f);
}

void front_take_up(struct front *f)
{
	u64 end = now_ms() + 10000;
	u32 start;

	while (usbif_word_read_acquire(&f->back->session_nonce) != f->nonce ||
	       usbif_word_read_acquire(&f->back->state) != USBIF_BACK_CONNECTED) {
		if (now_ms() > end)
			die("no session");
		front_sleep(f, 20);
	}
	start = usbif_word_read(&f->back->ring_start);
	f->session = usbif_word_read(&f->back->session);
	usbif_prod_init(&f->sq, f->region + f->lay.sq_offset,
			sizeof(struct usbif_req), f->lay.ring_entries,
			&f->page->sq_prod, &f->back->sq_cons, &f->back->sq_event,
			start);
	usbif_cons_init(&f->cq, f->region + f->lay.cq_offset,
			sizeof(struct usbif_rsp), f->lay.ring_entries,
			&f->back->cq_prod, &f->page->cq_cons, &f->page->cq_event,
			start);
	f->stashed = 0;
	usbif_word_write(&f->page->session, f->session);
	usbif_word_write_release(&f->page->state, USBIF_FRONT_RUNNING);
	front_kick(f);
}

void front_connect(struct front *f)
{
	get_layout(f);
	front_ask(f);
	front_take_up(f);
}

void front_close(struct front *f)
{
	usbif_word_write_release(&f->page->state, USBIF_FRONT_CLOSING);
	front_kick(f);
	front_wait_state(f, USBIF_BACK_READY, 10000);
}

bool front_port(struct front *f, unsigned int vusb, unsigned int port,
		struct usbif_port_state *st)
{
	u32 gen = usbif_word_read_acquire(&f->back->port_gen);
	enum usbif_why why = 0;
	int ret;

	usbif_word_write(&f->page->port_seen, gen);
	ret = usbif_port_read(st, &f->ports[vusb][port], &why);
	if (ret && ret != -EAGAIN)
		die("port %u:%u: %s", vusb, port, usbif_why_name(why));
	return !ret;
}

struct usbif_port_state front_wait_port(struct front *f, unsigned int vusb,
					unsigned int port, bool connected,
					int timeout_ms)
{
	u64 end = now_ms() + timeout_ms;
	struct usbif_port_state st;

	for (;;) {
		if (front_port(f, vusb, port, &st) &&
		    st.status == (connected ? USBIF_PORT_CONNECTED :
					      USBIF_PORT_EMPTY))
			return st;
		if (now_ms() > end)
			die("port %u:%u is not %s", vusb, port,
			    connected ? "connected" : "empty");
		front_sleep(f, 20);
	}
}

void front_submit_wire(struct front *f, const struct usbif_req *wire)
{
	usbif_prod_push(&f->sq, wire);
	usbif_prod_publish(&f->sq);
	if (usbif_prod_need_kick(&f->sq))
		front_kick(f);
}

void front_submit(struct front *f, const struct usbif_request *req)
{
	struct usbif_req wire;

	usbif_req_encode(&wire, req);
	front_submit_wire(f, &wire);
}

/* Moves what there is, and there is room for, into the stash. */
static void take_completions(struct front *f)
{
	const int room = sizeof(f->stash) / sizeof(f->stash[0]) - f->stashed;
	enum usbif_why why = 0;
	struct usbif_rsp wire;
	int n = usbif_cons_avail(&f->cq);

	if (n < 0)
		die("completion ring: impossible index");
	for (n = n < room ? n : room; n; n--) {
		usbif_cons_pop(&f->cq, &wire);
		if (usbif_rsp_decode(&f->stash[f->stashed++], &wire, &f->lay,
				     f->session, &why))
			die("completion: %s", usbif_why_name(why));
	}
	usbif_cons_commit(&f->cq);
}

static bool from_stash(struct front *f, u32 id, struct usbif_response *rsp)
{
	unsigned int i;

	for (i = 0; i < f->stashed; i++) {
		if (f->stash[i].id != id)
			continue;
		*rsp = f->stash[i];
		f->stashed--;
		memmove(&f->stash[i], &f->stash[i + 1],
			(f->stashed - i) * sizeof(f->stash[0]));
		return true;
	}
	return false;
}

bool front_next(struct front *f, struct usbif_response *rsp, int timeout_ms)
{
	u64 end = now_ms() + timeout_ms;

	for (;;) {
		take_completions(f);
		if (f->stashed)
			return from_stash(f, f->stash[0].id, rsp);
		if (now_ms() >= end)
			return false;
		if (!usbif_cons_arm(&f->cq))
			front_sleep(f, end - now_ms());
	}
}

bool front_wait(struct front *f, u32 id, struct usbif_response *rsp,
		int timeout_ms)
{
	u64 end = now_ms() + timeout_ms;

	for (;;) {
		take_completions(f);
		if (from_stash(f, id, rsp))
			return true;
		if (now_ms() >= end)
			return false;
		if (!usbif_cons_arm(&f->cq))
			front_sleep(f, end - now_ms());
	}
}

struct usbif_response front_call(struct front *f, const struct usbif_request *req)
{
	struct usbif_response rsp;

	front_submit(f, req);
	if (!front_wait(f, req->id, &rsp, 10000))
		die("no completion of request %u, op %u", req->id, req->op);
	return rsp;
}

void *front_block(struct front *f, u32 block)
{
	return f->region + f->lay.pool_offset + (u64)block * USBIF_BLOCK_SIZE;
}

/* ---- devices ---- */

struct usbif_request front_req(const struct front_dev *dev, u32 id, u8 op)
{
	return (struct usbif_request) {
		.id = id,
		.session = dev->f->session,
		.op = op,
		.vusb = dev->vusb,
		.port = dev->port,
		.port_epoch = dev->epoch,
	};
}

static void set_data(struct usbif_request *req, u32 length, u32 block)
{
	req->length = length;
	if (!length)
		return;
	req->nr_extents = 1;
	req->ranges[0].block = block;
	req->ranges[0].length = length;
}

struct usbif_request front_control(const struct front_dev *dev, u32 id,
				   u8 request_type, u8 request, u16 value,
				   u16 index, u16 length, u32 block)
{
	struct usbif_request req = front_req(dev, id, USBIF_OP_TRANSFER);

	req.type = USBIF_TYPE_CONTROL;
	req.setup[0] = request_type;
	req.setup[1] = request;
	req.setup[2] = value;
	req.setup[3] = value >> 8;
	req.setup[4] = index;
	req.setup[5] = index >> 8;
	req.setup[6] = length;
	req.setup[7] = length >> 8;
	set_data(&req, length, block);
	return req;
}

struct usbif_request front_bulk(const struct front_dev *dev, u32 id, u8 endpoint,
				u32 length, u32 block)
{
	struct usbif_request req = front_req(dev, id, USBIF_OP_TRANSFER);

	req.type = USBIF_TYPE_BULK;
	req.endpoint = endpoint;
	set_data(&req, length, block);
	return req;
}

static u32 get_descriptor(struct front_dev *dev, u16 value, void *buf, u16 length)
{
	struct usbif_request req = front_control(dev, 0, 0x80, 6, value, 0,
						 length, 0);
	struct usbif_response rsp = front_call(dev->f, &req);

	if (rsp.status)
		die("descriptor %04x: status %u", value, rsp.status);
	memcpy(buf, front_block(dev->f, 0), rsp.actual);
	return rsp.actual;
}

static void find_endpoints(struct front_dev *dev)
{
	const u8 *d = dev->config;
	u32 left = dev->config_len;

	while (left >= 2 && d[0] >= 2 && d[0] <= left) {
		if (d[1] == 5 && (d[3] & 3) == USBIF_TYPE_BULK) {
			if (d[2] & 0x80 && !dev->bulk_in)
				dev->bulk_in = d[2];
			else if (!(d[2] & 0x80) && !dev->bulk_out)
				dev->bulk_out = d[2];
		}
		left -= d[0];
		d += d[0];
	}
}

/* False if the device has gone. */
static bool try_reset(struct front_dev *dev)
{
	struct usbif_request req = front_req(dev, 0, USBIF_OP_RESET);
	struct usbif_response rsp = front_call(dev->f, &req);

	if (rsp.status && rsp.status != USBIF_ST_NODEV)
		die("reset: status %u", rsp.status);
	return !rsp.status;
}

void front_reset(struct front_dev *dev)
{
	if (!try_reset(dev))
		die("reset: no device");
}

/* It may come and go some times before it stays. */
static void wait_device(struct front_dev *dev)
{
	u64 end = now_ms() + 20000;

	do {
		if (now_ms() > end)
			die("no device stays on port %u:%u", dev->vusb, dev->port);
		dev->epoch = front_wait_port(dev->f, dev->vusb, dev->port, true,
					     20000).epoch;
	} while (!try_reset(dev));
}

void front_enumerate(struct front_dev *dev, struct front *f, u8 vusb, u8 port)
{
	struct usbif_request req;
	struct usbif_response rsp;

	memset(dev, 0, sizeof(*dev));
	dev->f = f;
	dev->vusb = vusb;
	dev->port = port;
	wait_device(dev);
	if (get_descriptor(dev, 0x0100, dev->descriptor, 18) != 18)
		die("short device descriptor");
	dev->config_len = get_descriptor(dev, 0x0200, dev->config,
					 sizeof(dev->config));
	find_endpoints(dev);

	req = front_req(dev, 0, USBIF_OP_SET_CONFIGURATION);
	req.arg0 = dev->config[5];
	rsp = front_call(f, &req);
	if (rsp.status)
		die("set configuration: status %u", rsp.status);
}

/* ---- bulk-only transport ---- */

#define CBW_BLOCK	1
#define CSW_BLOCK	2

static void put_le32(u8 *p, u32 v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

static void call_endpoint(struct front_dev *dev, u8 op, u8 endpoint)
{
	struct usbif_request req = front_req(dev, 3, op);
	u8 status;

	req.endpoint = endpoint;
	status = front_call(dev->f, &req).status;
	if (status)
		die("operation %u on %02x: status %u", op, endpoint, status);
}

/* Waits for a part of a command; clears a stall, which is legal there. */
static bool finish_part(struct front_dev *dev, const struct usbif_request *req)
{
	struct usbif_response rsp = front_call(dev->f, req);

	if (rsp.flags & USBIF_RSP_HELD)
		call_endpoint(dev, USBIF_OP_RESTART, req->endpoint);
	if (rsp.status == USBIF_ST_STALL)
		call_endpoint(dev, USBIF_OP_CLEAR_HALT, req->endpoint);
	else if (rsp.status)
		die("bulk %02x: status %u", req->endpoint, rsp.status);
	return !rsp.status;
}

bool front_scsi_read(struct front_dev *dev, const u8 *cdb, u8 cdb_len, u32 len,
		     u32 block)
{
	struct usbif_request req;
	const u8 *csw = front_block(dev->f, CSW_BLOCK);
	u8 *cbw = front_block(dev->f, CBW_BLOCK);

	memset(cbw, 0, 31);
	memcpy(cbw, "USBC", 4);
	put_le32(cbw + 4, ++dev->tag);
	put_le32(cbw + 8, len);
	cbw[12] = 0x80;
	cbw[14] = cdb_len;
	memcpy(cbw + 15, cdb, cdb_len);
	req = front_bulk(dev, 0, dev->bulk_out, 31, CBW_BLOCK);
	finish_part(dev, &req);
	if (len) {
		req = front_bulk(dev, 1, dev->bulk_in, len, block);
		finish_part(dev, &req);
	}
	req = front_bulk(dev, 2, dev->bulk_in, 13, CSW_BLOCK);
	if (!finish_part(dev, &req))
		finish_part(dev, &req);
	if (memcmp(csw, "USBS", 4) || memcmp(csw + 4, cbw + 4, 4))
		die("status of another command");
	return !csw[12];
}

void front_read_sectors(struct front_dev *dev, u32 lba, u16 count, u32 block)
{
	const u8 cdb[10] = {
		0x28, 0, lba >> 24, lba >> 16, lba >> 8, lba, 0,
		count >> 8, count, 0,
	};
	const u8 sense[6] = { 3, 0, 0, 0, 18, 0 };
	int tries;

	/* The first commands after a reset end with unit attention. */
	for (tries = 0; tries < 5; tries++) {
		if (front_scsi_read(dev, cdb, sizeof(cdb), count * 512, block))
			return;
		front_scsi_read(dev, sense, sizeof(sense), 18, 3);
	}
	die("cannot read sector %u", lba);
}
