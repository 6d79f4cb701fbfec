// SPDX-License-Identifier: GPL-2.0
/*
 * usb_iso - isochronous transfers by libusb, each packet checked
 *
 *	usb_iso BUS DEVICE in|out PACKETS TRANSFERS COUNT [EVERY KIND]
 *	usb_iso BUS DEVICE cancel PACKETS TRANSFERS COUNT
 *	usb_iso BUS DEVICE unplug PACKETS TRANSFERS 0
 *
 * For the device that usbip_iso emulates. COUNT transfers of PACKETS packets are run,
 * TRANSFERS at a time. One in EVERY packets goes wrong at the device, in the way KIND:
 * usbip_iso.c has the list. Then what the device has counted is compared with what was
 * seen here: each fault is the error of a packet, at the place where the sequence
 * numbers have a gap, and there is no other gap.
 *
 * cancel: transfers are cancelled in flight, COUNT times; each comes back, and what is
 * complete of it is right. unplug: prints "streaming" and goes on until the device has
 * gone; all transfers come back.
 */
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <libusb-1.0/libusb.h>

#define EP_IN		0x82
#define EP_OUT		0x02
#define TIMEOUT		5000
#define MAX_TRANSFERS	32
#define STUCK		20	/* seconds */

struct counts {
	uint32_t in_packets, in_lost, in_late, in_skips;
	uint32_t out_packets, out_lost, out_late, out_bad, out_gaps;
	uint32_t max_packets, cancelled, late;
};

static libusb_device_handle *handle;
static struct libusb_transfer *transfers[MAX_TRANSFERS];
static bool in, resubmit;
static int packets, nr_transfers, packet_length;
static int left, active;
static uint32_t next_seq;	/* IN: expected; OUT: to be sent */
static bool has_seq;
static unsigned int good, errors, silent, phantom, bad, gone, cancelled, refused;
static unsigned int pending;	/* errors since the last good packet */

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, libusb_error_name(err));
	exit(1);
}

static void fill(uint8_t *p, uint32_t length, uint32_t seq)
{
	uint32_t le = htole32(seq), i;

	memcpy(p, &le, 4);
	for (i = 4; i < length; i++)
		p[i] = seq * 7 + i;
}

static void check(const uint8_t *p, uint32_t length)
{
	uint32_t seq, i;

	if (length < 4) {
		bad++;
		return;
	}
	memcpy(&seq, p, 4);
	seq = le32toh(seq);
	if (has_seq && seq != next_seq && !pending)
		silent++;
	if (has_seq && seq - next_seq < pending)
		phantom++;
	has_seq = true;
	pending = 0;
	next_seq = seq + 1;
	good++;
	for (i = 4; i < length; i++)
		if (p[i] != (uint8_t)(seq * 7 + i)) {
			bad++;
			return;
		}
}

static void look(struct libusb_transfer *t)
{
	const uint8_t *p = t->buffer;
	int i;

	for (i = 0; i < t->num_iso_packets; i++) {
		struct libusb_iso_packet_descriptor *d = &t->iso_packet_desc[i];

		if (d->status != LIBUSB_TRANSFER_COMPLETED) {
			errors++;
			pending++;
		} else if (in) {
			check(p, d->actual_length);
		} else {
			good++;
			bad += d->actual_length != d->length;
		}
		p += d->length;
	}
}

static void prepare(struct libusb_transfer *t)
{
	int i;

	for (i = 0; !in && i < t->num_iso_packets; i++)
		fill(t->buffer + i * packet_length, packet_length, next_seq++);
}

static void submit(struct libusb_transfer *t)
{
	int err;

	prepare(t);
	err = libusb_submit_transfer(t);
	if (err == LIBUSB_ERROR_NO_DEVICE)
		gone++;
	else if (err)
		refused++;
	else
		active++;
}

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	active--;
	switch (t->status) {
	case LIBUSB_TRANSFER_COMPLETED:
		look(t);
		break;
	case LIBUSB_TRANSFER_CANCELLED:
		cancelled++;
		/* Where it was cut off is not known to the sequence. */
		has_seq = false;
		pending = 0;
		return;
	default:
		gone++;
		return;
	}
	if (resubmit && --left >= nr_transfers)
		submit(t);
}

static void wait_all(void)
{
	time_t until = time(NULL) + STUCK;
	int before = left;

	while (active) {
		struct timeval tv = { .tv_sec = 1 };

		libusb_handle_events_timeout(NULL, &tv);
		if (left != before)
			until = time(NULL) + STUCK;
		before = left;
		if (time(NULL) > until) {
			fprintf(stderr, "%d transfers never came back\n", active);
			exit(1);
		}
	}
}

static void vendor(uint8_t request, uint16_t value, uint16_t index)
{
	int err = libusb_control_transfer(handle, 0x40, request, value, index,
					  NULL, 0, TIMEOUT);

	if (err < 0)
		die("request to the device", err);
}

static struct counts get_counts(void)
{
	struct counts c;
	int err = libusb_control_transfer(handle, 0xc0, 0x63, 0, 0, (void *)&c,
					  sizeof(c), TIMEOUT);

	if (err != sizeof(c))
		die("counts", err);
	return c;
}

static void open_device(int bus, int address)
{
	libusb_device **list;
	int err = libusb_init(NULL);
	ssize_t n, i;

	if (err)
		die("libusb_init", err);
	n = libusb_get_device_list(NULL, &list);
	for (i = 0; i < n && !handle; i++) {
		if (libusb_get_bus_number(list[i]) != bus ||
		    libusb_get_device_address(list[i]) != address)
			continue;
		err = libusb_open(list[i], &handle);
		if (err)
			die("open", err);
		packet_length = libusb_get_max_iso_packet_size(list[i], EP_IN);
	}
	libusb_free_device_list(list, 1);
	if (!handle)
		die("device", LIBUSB_ERROR_NOT_FOUND);
	libusb_set_auto_detach_kernel_driver(handle, 1);
	err = libusb_claim_interface(handle, 0);
	if (!err)
		err = libusb_set_interface_alt_setting(handle, 0, 1);
	if (err)
		die("interface", err);
}

static void alloc_transfers(void)
{
	int i, length = packets * packet_length;

	for (i = 0; i < nr_transfers; i++) {
		transfers[i] = libusb_alloc_transfer(packets);
		libusb_fill_iso_transfer(transfers[i], handle, in ? EP_IN : EP_OUT,
					 malloc(length), length, packets, done,
					 NULL, 0);
		libusb_set_iso_packet_lengths(transfers[i], packet_length);
	}
}

static void start(void)
{
	int i;

	for (i = 0; i < nr_transfers; i++)
		submit(transfers[i]);
}

static bool stream(int count, int every, int kind)
{
	struct counts c;

	vendor(0x62, 0, 0);
	vendor(in ? 0x60 : 0x61, every, kind);
	left = count;
	resubmit = true;
	start();
	wait_all();
	c = get_counts();
	printf("good %u errors %u silent %u phantom %u bad %u gone %u refused %u\n",
	       good, errors, silent, phantom, bad, gone, refused);
	printf("device in: %u lost %u late %u skips %u dry %u\n", c.in_packets,
	       c.in_lost, c.in_late, c.in_skips, c.late);
	printf("device out: %u lost %u late %u bad %u gaps %u\n", c.out_packets,
	       c.out_lost, c.out_late, c.out_bad, c.out_gaps);
	if (silent || phantom || bad || gone || refused || cancelled || c.out_bad ||
	    c.out_gaps)
		return false;
	if (good + errors != (unsigned int)count * packets)
		return false;
	if (in)
		return errors == c.in_lost + c.in_late + c.in_skips &&
		       c.in_packets == good + errors;
	return errors == c.out_lost + c.out_late && c.out_packets == good;
}

static bool cancel(int count)
{
	int i, k;

	vendor(0x62, 0, 0);
	for (k = 0; k < count; k++) {
		struct timespec ts = { .tv_nsec = k % 16 * 500000 };
		struct timeval none = {};

		start();
		nanosleep(&ts, NULL);
		libusb_handle_events_timeout(NULL, &none);
		/* Out of the middle, then all others. */
		libusb_cancel_transfer(transfers[nr_transfers / 2]);
		for (i = nr_transfers - 1; i >= 0; i--)
			libusb_cancel_transfer(transfers[i]);
		wait_all();
	}
	printf("good %u cancelled %u silent %u bad %u gone %u refused %u\n", good,
	       cancelled, silent, bad, gone, refused);
	return cancelled && !silent && !bad && !gone && !refused;
}

static bool unplug(void)
{
	left = 1 << 30;
	resubmit = true;
	start();
	printf("streaming\n");
	fflush(stdout);
	wait_all();
	printf("good %u gone %u silent %u bad %u\n", good, gone, silent, bad);
	return gone && !silent && !bad;
}

int main(int argc, char **argv)
{
	bool ok;

	if (argc != 7 && argc != 9) {
		fputs("usage: usb_iso BUS DEVICE MODE PACKETS TRANSFERS COUNT [EVERY KIND]\n",
		      stderr);
		return 2;
	}
	in = strcmp(argv[3], "out");
	packets = atoi(argv[4]);
	nr_transfers = atoi(argv[5]);
	if (nr_transfers < 1 || nr_transfers > MAX_TRANSFERS)
		return 2;
	open_device(atoi(argv[1]), atoi(argv[2]));
	alloc_transfers();
	if (!strcmp(argv[3], "cancel"))
		ok = cancel(atoi(argv[6]));
	else if (!strcmp(argv[3], "unplug"))
		ok = unplug();
	else
		ok = stream(atoi(argv[6]), argc > 7 ? atoi(argv[7]) : 0,
			    argc > 8 ? atoi(argv[8]) : 0);
	return !ok;
}
