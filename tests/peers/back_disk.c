// SPDX-License-Identifier: GPL-2.0
/*
 * back_disk NAME IMAGE [MIB [FEATURES]]: makes channel NAME of usbfront with itself as
 * the backend, MIB (default 16) large, which offers FEATURES (default none).
 * back_disk pci DIRECTORY IMAGE [FEATURES]: is the backend of the ivshmem device that has
 * that directory in sysfs.
 *
 * Port 1 can be given a disk (mass storage, bulk-only) whose sectors are IMAGE; port 2 a
 * source and sink for usbtest, which takes everything and gives zeroes, after up to 300
 * microseconds; port 3 the device of back_iso.h.
 *
 * Commands, one per line of standard input, each answered by "done", its number and
 * itself:
 *	plug PORT SPEED		full, high, super, super-plus or -x2; another epoch
 *	unplug PORT
 *	restart			as if the backend had been restarted
 *	stop			end the session and stay away; "restart" comes back
 *	deaf 0|1		take nothing from the ring
 *	stubborn 0|1 [PORT]	ignore cancels and complete no transfer, of one port or all
 *	spare NUMBER		but for so many cancels, the next ones
 *	snub 0|1|2		refuse the next nonce, as that of a guest that is dead; 2: when
 *				it was accepted, before anybody could see that
 *	mute 0|1		ring no doorbell
 *	die SECONDS		be killed after that, also while all tasks are frozen
 *	idle 0|1		source has nothing to give
 *	storm SECONDS		do nothing but ring the doorbell
 *	fail STATUS		end the next transfer of a bulk endpoint with that
 *	lie NUMBER		enum back_lie
 *	iso NUMBER		enum iso_lie, until the next
 *	uas 0|1			disk says at super speed that it can do UAS on streams
 *	grant NUMBER		streams granted to whoever wants some; 0: unsupported
 *	stats
 *	quit			drop the channel; over ivshmem, end the session
 * and those of back_hostile.h.
 * Ends without a word to the module when its input does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "back.h"
#include "back_hostile.h"
#include "back_iso.h"

#define DISK		1
#define SINK		2
#define ISO		3
#define DELAY		300
#define ISO_DELAY	2000
#define EP_OUT		0x01
#define EP_IN		0x82
#define SECTOR		512u
#define CBW_SIGNATURE	0x43425355u
#define CSW_SIGNATURE	0x53425355u

struct queue {
	struct back_req *first;
	struct back_req *last;
};

/* Bulk-only transport: what the disk does next. */
enum phase { WANT_COMMAND, DATA_OUT, DATA_IN, WANT_STATUS };

static struct back back;
static struct queue queues[USBIF_MAX_PORTS + 1][256];
static unsigned char *image;
static u32 sectors;
static bool is_idle;
static bool has_uas;
static u32 nr_granted;
static u32 fail_next;
static u8 configuration[USBIF_MAX_PORTS + 1];

static enum phase phase;
static unsigned char reply[256];	/* data of short answers */
static unsigned char *data;
static u32 data_len;		/* the disk has or wants */
static u32 host_len;		/* the host said */
static u32 moved;
static u32 tag;
static u8 status;

/* ---- queues ---- */

static void enqueue(struct queue *q, struct back_req *r)
{
	r->next = NULL;
	if (q->last)
		q->last->next = r;
	else
		q->first = r;
	q->last = r;
}

static void forget(struct back *b, struct back_req *r)
{
	struct queue *q = &queues[r->req.port][r->req.endpoint];
	struct back_req **link = &q->first;
	struct back_req *last = NULL;

	(void)b;
	while (*link && *link != r) {
		last = *link;
		link = &(*link)->next;
	}
	if (!*link)
		return;
	*link = r->next;
	if (q->last == r)
		q->last = last;
}

static void reset(struct back *b)
{
	(void)b;
	memset(queues, 0, sizeof(queues));
	phase = WANT_COMMAND;
}

/* ---- descriptors ---- */

static bool is_super(const struct back *b, u8 port)
{
	return b->port[port].speed >= USBIF_SPEED_SUPER;
}

static u32 device_descriptor(const struct back *b, u8 port, u8 *d)
{
	u8 ss = is_super(b, port);
	u8 desc[18] = {
		18, 1, ss ? 0x20 : 0x00, ss ? 0x03 : 0x02, 0, 0, 0, ss ? 9 : 64,
		0x66, 0x66, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1,
	};

	memcpy(d, desc, sizeof(desc));
	if (port == SINK)	/* Gadget Zero, which usbtest knows */
		memcpy(d + 8, "\x25\x05\xa0\xa4", 4);
	if (port == ISO)
		d[10] = 2;
	return sizeof(desc);
}

static u8 *add_endpoint(const struct back *b, u8 port, u8 address, u8 *p)
{
	u8 speed = b->port[port].speed;
	u16 size = is_super(b, port) ? 1024 :
		   speed == USBIF_SPEED_HIGH ? 512 : 64;
	u8 endpoint[7] = { 7, 5, address, 2, size & 0xff, size >> 8, 0 };
	u8 companion[6] = { 6, 48, 4, 0, 0, 0 };

	memcpy(p, endpoint, sizeof(endpoint));
	p += sizeof(endpoint);
	if (!is_super(b, port))
		return p;
	memcpy(p, companion, sizeof(companion));
	return p + sizeof(companion);
}

/* Setting 1: command, status, data in and out, each of the last three with 16 streams. */
static u8 *add_uas(u8 *p)
{
	static const u8 addresses[] = { 0x03, 0x84, 0x85, 0x06 };
	u8 interface[9] = { 9, 4, 0, 1, 4, 8, 6, 0x62, 0 };
	u8 i;

	memcpy(p, interface, sizeof(interface));
	p += sizeof(interface);
	for (i = 0; i < 4; i++) {
		u8 all[7 + 6 + 4] = {
			7, 5, addresses[i], 2, 0, 4, 0,
			6, 48, 4, i ? 4 : 0, 0, 0,
			4, 36, i + 1, 0,
		};

		memcpy(p, all, sizeof(all));
		p += sizeof(all);
	}
	return p;
}

static u32 config_descriptor(const struct back *b, u8 port, u8 *d)
{
	u8 config[9] = { 9, 2, 0, 0, 1, 1, 0, 0x80, 50 };
	u8 interface[9] = { 9, 4, 0, 0, 2, 8, 6, 0x50, 0 };
	u8 *p = d + 18;

	if (port == ISO)
		return iso_config(d);
	if (port == SINK) {
		interface[5] = 0xff;
		interface[6] = 0;
		interface[7] = 0;
	}
	memcpy(d, config, sizeof(config));
	memcpy(d + 9, interface, sizeof(interface));
	p = add_endpoint(b, port, EP_OUT, p);
	p = add_endpoint(b, port, EP_IN, p);
	if (port == DISK && has_uas && is_super(b, port))
		p = add_uas(p);
	d[2] = p - d;
	return p - d;
}

static u32 string_descriptor(u8 number, u8 port, u8 *d)
{
	static const char * const text[] = {
		[1] = "usbif", [2] = "user-space backend", [3] = "back",
	};
	char buf[32];
	u32 i;

	if (!number) {
		memcpy(d, "\4\3\11\4", 4);
		return 4;
	}
	if (number > 3)
		return 0;
	snprintf(buf, sizeof(buf), "%s%s", text[number],
		 number < 3 ? "" : port == DISK ? "-disk" :
		 port == SINK ? "-sink" : "-iso");
	for (i = 0; buf[i]; i++) {
		d[2 + 2 * i] = buf[i];
		d[3 + 2 * i] = 0;
	}
	d[0] = 2 + 2 * i;
	d[1] = 3;
	return d[0];
}

static u32 bos_descriptor(u8 *d)
{
	static const u8 bos[] = {
		5, 15, 22, 0, 2,
		7, 16, 2, 2, 0, 0, 0,
		10, 16, 3, 0, 0x0e, 0, 1, 10, 0xff, 0x07,
	};

	memcpy(d, bos, sizeof(bos));
	return sizeof(bos);
}

static u32 get_descriptor(struct back *b, u8 port, const u8 *setup, u8 *d)
{
	switch (setup[3]) {
	case 1:
		return device_descriptor(b, port, d);
	case 2:
		return setup[2] ? 0 : config_descriptor(b, port, d);
	case 3:
		return string_descriptor(setup[2], port, d);
	case 15:
		return is_super(b, port) ? bos_descriptor(d) : 0;
	default:
		return 0;
	}
}

/* ---- control ---- */

static void control(struct back *b, struct back_req *r)
{
	const u8 *setup = r->req.setup;
	u8 d[256] = { 0 };
	u32 len = 0;

	switch (setup[0] << 8 | setup[1]) {
	case 0x8006:			/* GET_DESCRIPTOR */
		len = get_descriptor(b, r->req.port, setup, d);
		break;
	case 0x8000:			/* GET_STATUS */
	case 0x8100:
	case 0x8200:
		len = 2;
		break;
	case 0x8008:			/* GET_CONFIGURATION */
		d[0] = configuration[r->req.port];
		len = 1;
		break;
	case 0x810a:			/* GET_INTERFACE */
	case 0xa1fe:			/* Get Max LUN */
		len = 1;
		break;
	case 0x21ff:			/* Bulk-Only Mass Storage Reset */
		phase = WANT_COMMAND;
		back_complete(b, r, USBIF_ST_OK, 0);
		return;
	case 0x0203:			/* SET_FEATURE(ENDPOINT_HALT) */
		back_complete(b, r, USBIF_ST_OK, 0);
		return;
	}
	if (!len) {
		back_complete(b, r, USBIF_ST_STALL, 0);
		return;
	}
	if (r->req.setup[1] == 6)
		len = hostile_descriptor(r->req.setup[3], d, len);
	len = len < r->req.length ? len : r->req.length;
	back_put(b, r, d, len);
	back_complete(b, r, USBIF_ST_OK, len);
}

static void set_configuration(struct back *b, struct back_req *r)
{
	if (r->req.arg0 > 1) {
		back_complete(b, r, USBIF_ST_NOENT, 0);
		return;
	}
	configuration[r->req.port] = r->req.arg0;
	back_complete(b, r, USBIF_ST_OK, 0);
}

static void port_reset(struct back *b, struct back_req *r)
{
	u32 i;

	for (i = 0; i < b->lay.nr_requests; i++) {
		struct back_req *other = &b->reqs[i];

		if (!other->is_live || other == r ||
		    other->req.port != r->req.port)
			continue;
		forget(b, other);
		back_complete(b, other, USBIF_ST_SHUTDOWN, 0);
	}
	memset(b->is_held[r->req.port], 0, sizeof(b->is_held[0]));
	configuration[r->req.port] = 0;
	phase = WANT_COMMAND;
	if (!hostile_reset(b, r))
		back_complete(b, r, USBIF_ST_OK, 0);
}

/* ---- the disk ---- */

static u32 be32(const u8 *p)
{
	return (u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void put_be32(u8 *p, u32 n)
{
	p[0] = n >> 24;
	p[1] = n >> 16;
	p[2] = n >> 8;
	p[3] = n;
}

static u32 le32(const u8 *p)
{
	return (u32)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0];
}

static void answer(u32 len)
{
	data = reply;
	data_len = len;
}

static void transfer(const u8 *cdb)
{
	u32 lba = be32(cdb + 2);
	u32 count = cdb[7] << 8 | cdb[8];

	if (lba > sectors || count > sectors - lba) {
		status = 1;
		return;
	}
	data = image + (size_t)lba * SECTOR;
	data_len = count * SECTOR;
}

static void command(const u8 *cdb)
{
	memset(reply, 0, sizeof(reply));
	data_len = 0;
	status = 0;
	switch (cdb[0]) {
	case 0x00:			/* TEST UNIT READY */
	case 0x1b:			/* START STOP UNIT */
	case 0x1e:			/* PREVENT ALLOW MEDIUM REMOVAL */
	case 0x35:			/* SYNCHRONIZE CACHE */
		break;
	case 0x03:			/* REQUEST SENSE: invalid command */
		memcpy(reply, "\x70\0\5\0\0\0\0\12\0\0\0\0\x20", 13);
		answer(18);
		break;
	case 0x12:			/* INQUIRY */
		memcpy(reply, "\0\x80\4\2\37\0\0\0usbif   user-space disk 1.0 ",
		       36);
		answer(36);
		break;
	case 0x1a:			/* MODE SENSE(6) */
		reply[0] = 3;
		answer(4);
		break;
	case 0x25:			/* READ CAPACITY(10) */
		put_be32(reply, sectors - 1);
		put_be32(reply + 4, SECTOR);
		answer(8);
		break;
	case 0x28:
	case 0x2a:
		transfer(cdb);
		break;
	default:
		status = 1;
	}
}

static void take_command(struct back *b, struct back_req *r)
{
	u8 cbw[31] = { 0 };
	bool in;

	back_get(b, r, cbw, r->req.length < 31 ? r->req.length : 31);
	if (r->req.length != 31 || le32(cbw) != CBW_SIGNATURE) {
		if (!hostile_flips())
			die("no command, %u octets", r->req.length);
		back_complete(b, r, USBIF_ST_STALL, 0);
		return;
	}
	tag = le32(cbw + 4);
	host_len = le32(cbw + 8);
	in = cbw[12] & 0x80;
	moved = 0;
	command(cbw + 15);
	if (data_len > host_len)
		data_len = host_len;
	phase = !host_len ? WANT_STATUS : in ? DATA_IN : DATA_OUT;
	back_complete(b, r, USBIF_ST_OK, r->req.length);
}

static void data_out(struct back *b, struct back_req *r)
{
	u32 len = r->req.length;

	if (moved + len > host_len) {
		if (!hostile_flips())
			die("%u octets for a command that has %u", moved + len,
			    host_len);
		back_complete(b, r, USBIF_ST_STALL, 0);
		return;
	}
	if (data_len)
		back_get(b, r, data + moved, len);
	moved += len;
	if (moved == host_len)
		phase = WANT_STATUS;
	back_complete(b, r, USBIF_ST_OK, len);
}

static void data_in(struct back *b, struct back_req *r)
{
	u32 left = data_len - moved;
	u32 len = r->req.length < left ? r->req.length : left;

	back_put(b, r, data + moved, len);
	moved += len;
	if (len < r->req.length || moved == host_len)
		phase = WANT_STATUS;
	back_complete(b, r, USBIF_ST_OK, len);
}

static void give_status(struct back *b, struct back_req *r)
{
	u32 residue = host_len - moved;
	u8 csw[13] = {
		'U', 'S', 'B', 'S', tag, tag >> 8, tag >> 16, tag >> 24,
		residue, residue >> 8, residue >> 16, residue >> 24, status,
	};

	if (r->req.length < sizeof(csw))
		die("no room for the status");
	back_put(b, r, csw, sizeof(csw));
	phase = WANT_COMMAND;
	back_complete(b, r, USBIF_ST_OK, sizeof(csw));
}

static void disk(struct back *b, struct back_req *r)
{
	bool out = r->req.endpoint == EP_OUT;

	if (out && phase == WANT_COMMAND)
		take_command(b, r);
	else if (out && phase == DATA_OUT)
		data_out(b, r);
	else if (!out && phase == DATA_IN)
		data_in(b, r);
	else if (!out && phase == WANT_STATUS)
		give_status(b, r);
	else
		enqueue(&queues[DISK][r->req.endpoint], r);
}

/* ---- the sink ---- */

static void sink(struct back *b, struct back_req *r)
{
	static const u8 zeroes[USBIF_MAX_TRANSFER];

	if (r->req.endpoint == EP_IN)
		back_put(b, r, zeroes, r->req.length);
	back_complete(b, r, USBIF_ST_OK, hostile_length(r, r->req.length));
}

/* ---- all ---- */

static void run(struct back *b, struct back_req *r)
{
	if (fail_next) {
		u32 with = fail_next;

		fail_next = 0;
		if (r->req.nr_packets)
			memset(back_results(b, r), 0, r->req.nr_packets *
			       sizeof(struct usbif_iso_result));
		back_complete(b, r, with, 0);
	} else if (r->req.port == DISK) {
		disk(b, r);
	} else if (r->req.port == ISO) {
		iso_run(b, r);
	} else {
		sink(b, r);
	}
}

static void grant(struct back *b, struct back_req *r)
{
	if (hostile_query())
		return;
	r->value = nr_granted;
	back_complete(b, r, nr_granted ? USBIF_ST_OK : USBIF_ST_UNSUPPORTED, 0);
}

static void set_interface(struct back *b, struct back_req *r)
{
	if (r->req.port == ISO)
		iso_set_interface(b, r);
	else
		back_complete(b, r, USBIF_ST_OK, 0);
}

static u64 delay_of(u8 port)
{
	return port == ISO ? ISO_DELAY : port == SINK ? rand() % DELAY : 0;
}

static void submit(struct back *b, struct back_req *r)
{
	switch (r->req.op) {
	case USBIF_OP_RESET:
		port_reset(b, r);
		return;
	case USBIF_OP_SET_CONFIGURATION:
		set_configuration(b, r);
		return;
	case USBIF_OP_SET_INTERFACE:
		set_interface(b, r);
		return;
	case USBIF_OP_CLEAR_HALT:
	case USBIF_OP_FREE_STREAMS:
	case USBIF_OP_SUSPEND:
	case USBIF_OP_RESUME:
		back_complete(b, r, USBIF_ST_OK, 0);
		return;
	case USBIF_OP_ALLOC_STREAMS:
		grant(b, r);
		return;
	case USBIF_OP_TRANSFER:
		break;
	default:
		die("operation %u", r->req.op);
	}
	if (!r->req.endpoint) {
		control(b, r);
		return;
	}
	r->due = now_us() + delay_of(r->req.port);
	enqueue(&queues[r->req.port][r->req.endpoint], r);
}

static const struct back_ops ops = {
	.submit = submit,
	.forget = forget,
	.reset = reset,
};

/* Runs what is due; in order on each endpoint, and not on those that are held. */
static bool is_blocked(const struct back *b, u8 port, u8 endpoint)
{
	return b->is_held[port][endpoint] || back_is_stubborn(b, port) ||
	       (is_idle && port == SINK && endpoint == EP_IN);
}

static long run_queues(struct back *b)
{
	static const u8 endpoints[] = { EP_OUT, EP_IN };
	unsigned int port, i;
	long wait = -1;

	for (port = DISK; port <= ISO; port++) {
		for (i = 0; i < 2; i++) {
			struct queue *q = &queues[port][endpoints[i]];
			struct back_req *r = q->first;
			u64 now = now_us();

			if (!r || is_blocked(b, port, endpoints[i]))
				continue;
			if (r->due > now) {
				if (wait < 0 || (long)(r->due - now) < wait)
					wait = r->due - now;
				continue;
			}
			forget(b, r);
			run(b, r);
			if (q->first != r)
				wait = 0;
		}
	}
	return wait;
}

static void storm(struct back *b, unsigned int seconds)
{
	u64 end = now_us() + seconds * 1000000ull;

	while (now_us() < end)
		back_kick(b);
}

/* The kernel's timer does it: nobody has to run for that. */
static void die_after(unsigned int seconds)
{
	struct sigevent event = { .sigev_signo = SIGKILL, .sigev_notify = SIGEV_SIGNAL };
	struct itimerspec in = { .it_value.tv_sec = seconds };
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &in, NULL))
		die("timer: %s", strerror(errno));
}

static void print_stats(const struct back *b)
{
	printf("submitted %llu cancelled %llu restarts %llu kicked %llu session %u\n",
	       (unsigned long long)b->nr_submitted,
	       (unsigned long long)b->nr_cancelled,
	       (unsigned long long)b->nr_restarts,
	       (unsigned long long)b->nr_kicked, b->session);
}

static u8 speed_of(const char *name)
{
	return !strcmp(name, "full") ? USBIF_SPEED_FULL :
	       !strcmp(name, "super") ? USBIF_SPEED_SUPER :
	       !strcmp(name, "super-plus") ? USBIF_SPEED_SUPER_PLUS :
	       !strcmp(name, "super-plus-x2") ? USBIF_SPEED_SUPER_PLUS_X2 :
	       USBIF_SPEED_HIGH;
}

static void obey(struct back *b, const char *line)
{
	static unsigned int number;
	unsigned int n, port = 0;
	char word[32];

	if (sscanf(line, "plug %u %31s", &n, word) == 2)
		back_plug(b, n, speed_of(word));
	else if (sscanf(line, "unplug %u", &n) == 1)
		back_unplug(b, n, USBIF_REASON_UNPLUGGED);
	else if (!strncmp(line, "restart", 7))
		back_start(b);
	else if (!strncmp(line, "stop", 4))
		back_stop(b);
	else if (sscanf(line, "deaf %u", &n) == 1)
		b->is_deaf = n;
	else if (sscanf(line, "stubborn %u %u", &n, &port) >= 1)
		b->is_stubborn = n, b->stubborn_port = port;
	else if (sscanf(line, "snub %u", &n) == 1)
		b->snubs = n;
	else if (sscanf(line, "spare %u", &n) == 1)
		b->spared = n;
	else if (sscanf(line, "mute %u", &n) == 1)
		b->quiet_bell = n;
	else if (sscanf(line, "die %u", &n) == 1)
		die_after(n);
	else if (sscanf(line, "storm %u", &n) == 1)
		storm(b, n);
	else if (sscanf(line, "idle %u", &n) == 1)
		is_idle = n;
	else if (sscanf(line, "fail %u", &n) == 1)
		fail_next = n;
	else if (sscanf(line, "lie %u", &n) == 1)
		back_lie(b, n);
	else if (sscanf(line, "iso %u", &n) == 1)
		iso_tell_lie(n);
	else if (sscanf(line, "uas %u", &n) == 1)
		has_uas = n;
	else if (sscanf(line, "grant %u", &n) == 1)
		nr_granted = n;
	else if (!strncmp(line, "stats", 5))
		print_stats(b);
	else if (!hostile_obey(b, line))
		die("what is '%s'?", line);
	printf("done %u %s\n", ++number, line);
	fflush(stdout);
}

/* False at the end of input, or when told to quit. */
static bool read_commands(struct back *b)
{
	static char buf[512];
	static size_t fill;
	ssize_t n = read(0, buf + fill, sizeof(buf) - 1 - fill);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	fill += n;
	buf[fill] = 0;
	while ((end = strchr(buf, '\n'))) {
		*end = 0;
		if (!strcmp(buf, "quit")) {
			back_end(b);
			return false;
		}
		obey(b, buf);
		fill -= end + 1 - buf;
		memmove(buf, end + 1, fill + 1);
	}
	return true;
}

static void open_image(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR);

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	sectors = st.st_size / SECTOR;
	image = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		     0);
	if (image == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
}

static u64 number(int argc, char **argv, int i, u64 otherwise)
{
	return i < argc ? strtoull(argv[i], NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	bool is_pci = argc > 3 && !strcmp(argv[1], "pci");

	if (argc < 3) {
		fprintf(stderr, "usage: back_disk NAME IMAGE [MIB [FEATURES]]\n"
			"       back_disk pci DIRECTORY IMAGE [FEATURES]\n");
		return 2;
	}
	open_image(argv[2 + is_pci]);
	fcntl(0, F_SETFL, O_NONBLOCK);
	back.ops = &ops;
	if (is_pci)
		back_open_pci(&back, argv[2], number(argc, argv, 4, 0));
	else
		back_open(&back, argv[1], number(argc, argv, 3, 16) << 20,
			  number(argc, argv, 4, 0));
	back_start(&back);
	fprintf(stderr, "channel %s\n", back.name);
	while (read_commands(&back)) {
		bool more = back_look(&back);
		long wait = run_queues(&back);

		if (!more && wait)
			back_sleep(&back, 0, wait < 0 ? 1000000 : wait);
	}
	return 0;
}
