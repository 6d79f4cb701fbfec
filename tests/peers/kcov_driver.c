// SPDX-License-Identifier: GPL-2.0
/*
 * See kcov_driver.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/usbdevice_fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "kcov_driver.h"

#define NR_URBS		24
#define NR_JOBS		64
#define MAX_PACKETS	16
#define MAX_LENGTH	(320u << 10)
#define CHECK_LENGTH	5000u
#define CHECK_MS	5000
#define LOOK_MS		5
#define NR_STREAMS	4

_Noreturn void die(const char *fmt, ...);

struct transfer {
	bool is_live;
	u8 *buf;
	/* Ends in an array. */
	union {
		struct usbdevfs_urb urb;
		char room[sizeof(struct usbdevfs_urb) + MAX_PACKETS *
			  sizeof(struct usbdevfs_iso_packet_desc)];
	};
};

struct job {
	enum driver_op op;
	u32 arg;
	u32 value;
};

static const u8 endpoints[] = {
	EP_STREAM_OUT, EP_STREAM_IN, EP_INT_IN, EP_INT_OUT, EP_ISO_OUT, EP_ISO_IN, 0,
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static struct job jobs[NR_JOBS];
static unsigned int nr_put, nr_got;
static atomic_uint configured, opened, nr_done;

/* The thread's. */
static int fd = -1;
static char dir[300];
static struct transfer transfers[NR_URBS];
static const char *verdict;

/* ---- for the backend ---- */

void driver_configured(unsigned int number)
{
	configured = number;
}

bool driver_is_ready(void)
{
	return configured && opened == configured;
}

void driver_do(enum driver_op op, u32 arg, u32 value)
{
	pthread_mutex_lock(&mutex);
	if (nr_put - nr_got < NR_JOBS)
		jobs[nr_put++ % NR_JOBS] = (struct job){ op, arg, value };
	pthread_cond_signal(&wake);
	pthread_mutex_unlock(&mutex);
}

bool driver_is_idle(void)
{
	return nr_done == nr_put;
}

const char *driver_verdict(void)
{
	return verdict;
}

/* ---- the device ---- */

static unsigned int attribute(const char *name, int base)
{
	char path[400], text[32];
	ssize_t n;
	int file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	n = read(file, text, sizeof(text) - 1);
	close(file);
	if (n <= 0)
		return 0;
	text[n] = 0;
	return strtoul(text, NULL, base);
}

static void set_attribute(const char *name, const char *value)
{
	char path[400];
	int file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return;
	/* If it fails, the device has gone. */
	if (write(file, value, strlen(value)) < 0)
		errno = 0;
	close(file);
}

static bool find_device(void)
{
	glob_t found = { 0 };
	bool is_found = false;
	size_t i;

	glob("/sys/bus/usb/devices/[0-9]*", 0, NULL, &found);
	for (i = 0; i < found.gl_pathc && !is_found; i++) {
		snprintf(dir, sizeof(dir), "%s", found.gl_pathv[i]);
		is_found = attribute("idVendor", 16) == DRIVER_VENDOR &&
			   attribute("idProduct", 16) == DRIVER_PRODUCT &&
			   attribute("bConfigurationValue", 10) == 1;
	}
	globfree(&found);
	return is_found;
}

static void let_go(void)
{
	unsigned int i;

	if (fd >= 0)
		close(fd);
	fd = -1;
	opened = 0;
	for (i = 0; i < NR_URBS; i++)
		transfers[i].is_live = false;
}

static int set_setting(u32 setting)
{
	struct usbdevfs_setinterface arg = { .altsetting = setting };

	return ioctl(fd, USBDEVFS_SETINTERFACE, &arg);
}

static void get_hold(void)
{
	unsigned int number = configured, interface = 0;
	char node[64];

	let_go();
	if (!number || !find_device())
		return;
	set_attribute("power/autosuspend_delay_ms", "0");
	set_attribute("power/control", "auto");
	snprintf(node, sizeof(node), "/dev/bus/usb/%03u/%03u",
		 attribute("busnum", 10), attribute("devnum", 10));
	fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (ioctl(fd, USBDEVFS_CLAIMINTERFACE, &interface) || set_setting(1))
		let_go();
	else
		opened = number;
}

/* ---- transfers ---- */

static struct transfer *free_transfer(void)
{
	unsigned int i;

	for (i = 0; i < NR_URBS; i++)
		if (!transfers[i].is_live)
			return &transfers[i];
	return NULL;
}

static void set_up_iso(struct usbdevfs_urb *urb, u32 length)
{
	int i;

	urb->type = USBDEVFS_URB_TYPE_ISO;
	urb->flags = USBDEVFS_URB_ISO_ASAP;
	urb->number_of_packets = 1 + length % MAX_PACKETS;
	urb->buffer_length = 0;
	for (i = 0; i < urb->number_of_packets; i++)
		urb->iso_frame_desc[i].length = 1 + length % 192;
}

static void set_up_control(struct usbdevfs_urb *urb, u32 length)
{
	static const u8 setups[][8] = {
		{ 0x80, 6, 0, 1, 0, 0, 18, 0 },
		{ 0xc0, 1, 0, 0, 0, 0, 0, 4 },
		{ 0x40, 2, 0, 0, 0, 0, 0, 2 },
		{ 0x40, 3, 0, 0, 0, 0, 0, 0 },
		{ 0x00, 3, 1, 0, 0, 0, 0, 0 },
	};
	const u8 *setup = setups[length % 5];

	urb->type = USBDEVFS_URB_TYPE_CONTROL;
	urb->flags = 0;
	memcpy(urb->buffer, setup, 8);
	urb->buffer_length = 8 + setup[6] + (setup[7] << 8);
}

static struct transfer *submit(u8 endpoint, u32 length, u32 flags)
{
	struct transfer *t = free_transfer();

	if (!t)
		return NULL;
	memset(t->room, 0, sizeof(t->room));
	memset(t->buf, 0, 64);
	t->urb.endpoint = endpoint;
	t->urb.buffer = t->buf;
	t->urb.buffer_length = length;
	t->urb.usercontext = t;
	if (flags % 2)
		t->urb.flags = endpoint & 0x80 ? USBDEVFS_URB_SHORT_NOT_OK :
						 USBDEVFS_URB_ZERO_PACKET;
	t->urb.type = USBDEVFS_URB_TYPE_BULK;
	if (endpoint == EP_INT_IN || endpoint == EP_INT_OUT) {
		t->urb.type = USBDEVFS_URB_TYPE_INTERRUPT;
		t->urb.flags &= ~USBDEVFS_URB_ZERO_PACKET;
	}
	if (endpoint == EP_ISO_IN || endpoint == EP_ISO_OUT)
		set_up_iso(&t->urb, length);
	else if (!endpoint)
		set_up_control(&t->urb, length);
	else if (flags & 8)
		t->urb.stream_id = 1 + flags / 16 % NR_STREAMS;
	if (ioctl(fd, USBDEVFS_SUBMITURB, &t->urb))
		return NULL;
	t->is_live = true;
	return t;
}

static u32 length_of(u32 value)
{
	u32 length = value % 16 ? value % 4096 : value;

	return length < MAX_LENGTH ? length : MAX_LENGTH;
}

/* What has ended. */
static void reap(void)
{
	struct usbdevfs_urb *urb;

	while (fd >= 0) {
		if (!ioctl(fd, USBDEVFS_REAPURBNDELAY, &urb)) {
			((struct transfer *)urb->usercontext)->is_live = false;
			continue;
		}
		if (errno == ENODEV)
			let_go();
		return;
	}
}

/* ---- what it is told ---- */

static void discard(u32 arg)
{
	unsigned int i;

	for (i = 0; i < NR_URBS; i++) {
		struct transfer *t = &transfers[(arg + i) % NR_URBS];

		if (!t->is_live)
			continue;
		ioctl(fd, USBDEVFS_DISCARDURB, &t->urb);
		return;
	}
}

static void set_streams(u32 value)
{
	char room[sizeof(struct usbdevfs_streams) + 2];
	struct usbdevfs_streams *s = (struct usbdevfs_streams *)room;

	s->num_streams = value % 2 ? NR_STREAMS : 0;
	s->num_eps = 2;
	s->eps[0] = EP_STREAM_OUT;
	s->eps[1] = EP_STREAM_IN;
	ioctl(fd, value % 2 ? USBDEVFS_ALLOC_STREAMS : USBDEVFS_FREE_STREAMS, s);
}

static const char *await(struct transfer *t, u8 endpoint, u32 wanted)
{
	unsigned int ms;

	for (ms = 0; t->is_live && ms < CHECK_MS; ms++) {
		usleep(1000);
		reap();
	}
	if (t->is_live || fd < 0)
		return "a transfer does not end";
	if (t->urb.status)
		return "a transfer fails";
	if (!wanted && t->urb.error_count)
		return "a packet fails";
	if (wanted && t->urb.actual_length != (int)wanted)
		return "a transfer is short";
	if (wanted && endpoint & 0x80 && (t->buf[0] != DRIVER_PATTERN ||
					  t->buf[wanted - 1] != DRIVER_PATTERN))
		return "octets are wrong";
	return NULL;
}

static const char *check_transfers(void)
{
	const char *bad = NULL;
	unsigned int i, n;

	for (i = 0; i < NR_URBS; i++)
		if (transfers[i].is_live)
			ioctl(fd, USBDEVFS_DISCARDURB, &transfers[i].urb);
	reap();
	if (set_setting(1))
		return "there is no setting";
	for (i = 0; !bad && i < sizeof(endpoints) - 1; i++) {
		for (n = 0; !bad && n < 2; n++) {
			u8 endpoint = endpoints[i];
			bool is_iso = endpoint == EP_ISO_IN ||
				      endpoint == EP_ISO_OUT;
			struct transfer *t = submit(endpoint, CHECK_LENGTH, 0);

			bad = !t ? "a transfer is refused" :
			      await(t, endpoint, is_iso ? 0 : CHECK_LENGTH);
		}
	}
	return bad;
}

static void run(const struct job *job)
{
	unsigned int endpoint = endpoints[job->arg % sizeof(endpoints)];

	if (fd < 0)
		return;
	switch (job->op) {
	case DRIVER_SUBMIT:
		submit(endpoint, length_of(job->value), job->arg / 16);
		break;
	case DRIVER_DISCARD:
		discard(job->arg);
		break;
	case DRIVER_SETTING:
		set_setting(job->value % 3);
		break;
	case DRIVER_CLEAR_HALT:
		ioctl(fd, USBDEVFS_CLEAR_HALT, &endpoint);
		break;
	case DRIVER_RESET:
		ioctl(fd, USBDEVFS_RESET);
		break;
	case DRIVER_STREAMS:
		set_streams(job->value);
		break;
	case DRIVER_SUSPEND:
		ioctl(fd, job->value % 2 ? USBDEVFS_ALLOW_SUSPEND :
					   USBDEVFS_FORBID_SUSPEND);
		break;
	case DRIVER_CHECK:
		verdict = check_transfers();
		break;
	default:
		break;
	}
}

static bool next_job(struct job *job)
{
	struct timespec until;
	bool is_there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_MS * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	if (nr_put == nr_got)
		pthread_cond_timedwait(&wake, &mutex, &until);
	is_there = nr_put != nr_got;
	if (is_there)
		*job = jobs[nr_got++ % NR_JOBS];
	pthread_mutex_unlock(&mutex);
	return is_there;
}

static void *work(void *arg)
{
	struct job job;

	for (;;) {
		if (next_job(&job)) {
			run(&job);
			nr_done++;
		}
		reap();
		if (opened != configured)
			get_hold();
	}
	return arg;
}

void driver_start(void)
{
	pthread_t thread;
	unsigned int i;

	for (i = 0; i < NR_URBS; i++) {
		transfers[i].buf = calloc(1, MAX_LENGTH);
		if (!transfers[i].buf)
			die("no memory");
	}
	if (pthread_create(&thread, NULL, work, NULL))
		die("no thread");
}
