// SPDX-License-Identifier: GPL-2.0
/*
 * iso_urbs NODE STEP... - isochronous URBs through usbfs, each looked at
 *
 *   wait	for a line of input, after printing "waiting"
 *   N		interface 0 in setting N; prints "setting N: " and the error, or "good"
 *   in, out	URBS URBs of PACKETS packets of LENGTH octets, all queued at once. Prints
 *		how many URBs were submitted and came back, how many of them more than once,
 *		with an error of their own or of a packet, and with the latter only; how many
 *		packets say that they are longer than they were; how many octets were
 *		changed that no packet has brought, and how many came that are not OCTET
 *
 * The buffers are mapped from the device, so the host controller's driver writes where
 * this program looks, also beside the buffers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define URBS		8
#define PACKETS		64
#define LENGTH		1000
#define SIZE		(PACKETS * LENGTH)
#define GAP		8192
#define OCTET		0x5a	/* of the device: back_iso.h */
#define CANARY		0xc3
#define PATIENCE_MS	20000

static int fd;
static uint8_t *area;
static const size_t area_size = URBS * (SIZE + GAP) + GAP;
static struct usbdevfs_urb *urbs[URBS];
static unsigned int reaped[URBS];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t *buffer_of(int i)
{
	return area + GAP + i * (SIZE + GAP);
}

static void set_interface(int setting)
{
	struct usbdevfs_setinterface s = { .altsetting = setting };

	errno = 0;
	ioctl(fd, USBDEVFS_SETINTERFACE, &s);
	printf("setting %d: %s\n", setting, errno ? strerrorname_np(errno) : "good");
}

static int submit_all(bool in)
{
	int i, k;

	for (i = 0; i < URBS; i++) {
		struct usbdevfs_urb *u = urbs[i];

		memset(u, 0, sizeof(*u));
		u->type = USBDEVFS_URB_TYPE_ISO;
		u->flags = USBDEVFS_URB_ISO_ASAP;
		u->endpoint = in ? 0x82 : 0x01;
		u->buffer = buffer_of(i);
		u->buffer_length = SIZE;
		u->number_of_packets = PACKETS;
		for (k = 0; k < PACKETS; k++)
			u->iso_frame_desc[k].length = LENGTH;
		if (ioctl(fd, USBDEVFS_SUBMITURB, u)) {
			printf("submission: %s\n", strerrorname_np(errno));
			break;
		}
	}
	return i;
}

static bool reap_one(void)
{
	struct usbdevfs_urb *u;
	int i;

	if (ioctl(fd, USBDEVFS_REAPURBNDELAY, &u))
		return false;
	for (i = 0; i < URBS; i++)
		reaped[i] += urbs[i] == u;
	return true;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int reap_all(int wanted)
{
	int64_t end = now_ms() + PATIENCE_MS;
	int n = 0;

	while (n < wanted && now_ms() < end) {
		if (reap_one())
			n++;
		else
			usleep(1000);
	}
	/* None may come twice. */
	usleep(100000);
	while (reap_one())
		n++;
	return n;
}

static size_t count_other(const uint8_t *p, size_t len, uint8_t octet)
{
	size_t n = 0;

	while (len--)
		n += *p++ != octet;
	return n;
}

static void look(int submitted, bool in)
{
	unsigned int twice = 0, failed = 0, partial = 0, excess = 0;
	size_t outside = count_other(area, GAP, CANARY), wrong = 0;
	int i, k;

	for (i = 0; i < URBS; i++) {
		struct usbdevfs_urb *u = urbs[i];
		const uint8_t *p = buffer_of(i);
		bool has_error = u->status;

		outside += count_other(p + SIZE, GAP, CANARY);
		for (k = 0; k < PACKETS; k++, p += LENGTH) {
			size_t n = in && i < submitted ?
				u->iso_frame_desc[k].actual_length : 0;

			if (n > LENGTH) {
				excess++;
				n = 0;
			}
			has_error |= u->iso_frame_desc[k].status;
			wrong += count_other(p, n, OCTET);
			outside += count_other(p + n, LENGTH - n, CANARY);
		}
		twice += reaped[i] > 1;
		failed += i < submitted && has_error;
		partial += i < submitted && has_error && !u->status;
	}
	printf(" twice %u failed %u partial %u excess %u outside %zu wrong %zu\n", twice,
	       failed, partial, excess, outside, wrong);
}

static void run(bool in)
{
	int submitted, n;

	memset(area, CANARY, area_size);
	memset(reaped, 0, sizeof(reaped));
	submitted = submit_all(in);
	n = reap_all(submitted);
	printf("submitted %d back %d", submitted, n);
	look(submitted, in);
}

static void wait_line(void)
{
	printf("waiting\n");
	fflush(stdout);
	while (getchar() != '\n' && !feof(stdin))
		;
}

int main(int argc, char **argv)
{
	unsigned int interface = 0;
	int i;

	if (argc < 3) {
		fputs("usage: iso_urbs NODE STEP...\n", stderr);
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0 || ioctl(fd, USBDEVFS_CLAIMINTERFACE, &interface))
		die(argv[1]);
	area = mmap(NULL, (area_size + 4095) & ~4095ul, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		die("mmap");
	for (i = 0; i < URBS; i++)
		urbs[i] = malloc(sizeof(*urbs[i]) + PACKETS *
				 sizeof(urbs[i]->iso_frame_desc[0]));
	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "in") || !strcmp(argv[i], "out"))
			run(argv[i][0] == 'i');
		else if (!strcmp(argv[i], "wait"))
			wait_line();
		else
			set_interface(atoi(argv[i]));
		fflush(stdout);
	}
	return 0;
}
