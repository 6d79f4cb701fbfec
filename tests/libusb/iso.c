// SPDX-License-Identifier: GPL-2.0
/*
 * iso - isochronous transfers, each packet checked
 *
 * For the device that tests/tools/usbip_iso.c emulates, whose packets carry sequence
 * numbers. One in EVERY packets goes wrong at the device, in the way KIND: usbip_iso.c has
 * the list. Then what the device has counted is compared with what was seen here: each
 * fault is the error of a packet, at the place where the sequence numbers have a gap, and
 * there is no other gap.
 *
 * Mode cancel: transfers are cancelled in flight; each comes back, and what is complete of
 * it is right. Mode unplug: prints "# streaming" and goes on until the device has gone; all
 * transfers come back. Mode unplug-out: the same with output.
 *
 * Of any other device input is taken, and its packets are counted only.
 */
#include <endian.h>
#include <stdio.h>
#include <time.h>

#include "device.h"

#define MAX_TRANSFERS	32
#define PRODUCT		"isochronous test"

enum mode { ALL, IN, OUT, CANCEL, UNPLUG, UNPLUG_OUT };

struct counts {
	uint32_t in_packets, in_lost, in_late, in_skips;
	uint32_t out_packets, out_lost, out_late, out_bad, out_gaps;
	uint32_t max_packets, cancelled, late;
};

/* What a case has seen. */
static struct seen {
	unsigned int good, errors, silent, phantom, bad, gone, cancelled, refused;
} seen;

static struct device dev;
static struct libusb_transfer *transfers[MAX_TRANSFERS];
static enum mode mode;
static int packets, nr_transfers, packet_length, every, kind;
static bool in, resubmit, checked;
static int left, active, ended;
static int seconds;
static time_t until;
static uint32_t next_seq;	/* IN: expected; OUT: to be sent */
static bool has_seq;
static unsigned int pending;	/* errors since the last good packet */

static void option(int letter, const char *value)
{
	static const char *const modes[] = {
		"all", "in", "out", "cancel", "unplug", "unplug-out",
	};
	unsigned int i;

	if (letter == 'p')
		packets = atoi(value);
	else if (letter == 'e' && sscanf(value, "%d:%d", &every, &kind) != 2)
		die("-e %s: not EVERY:KIND", value);
	else if (letter == 't')
		seconds = atoi(value);
	for (i = 0; letter == 'M' && i < ARRAY_SIZE(modes); i++)
		if (!strcmp(value, modes[i]))
			mode = i;
}

/* Is it the emulated one? */
static bool fits(libusb_device *device)
{
	struct libusb_device_descriptor desc;
	libusb_device_handle *handle;
	char text[64] = "";

	if (libusb_get_device_descriptor(device, &desc) || libusb_open(device, &handle))
		return false;
	libusb_get_string_descriptor_ascii(handle, desc.iProduct, (unsigned char *)text,
					   sizeof(text));
	libusb_close(handle);
	return !strcmp(text, PRODUCT);
}

static const struct program program = {
	.name = "iso",
	.summary = "isochronous transfers, each packet checked",
	.letters = "p:M:e:t:",
	.help = "  -p PACKETS    of a transfer\n"
		"  -M MODE       in, out, cancel, unplug, unplug-out; all that is possible if\n"
		"                not given\n"
		"  -e N:KIND     one in N packets goes wrong (emulated device only)\n"
		"  -t SECONDS    of in and out, in place of a count\n",
	.option = option,
	.fits = fits,
};

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
		seen.bad++;
		return;
	}
	memcpy(&seq, p, 4);
	seq = le32toh(seq);
	if (has_seq && seq != next_seq && !pending)
		seen.silent++;
	if (has_seq && seq - next_seq < pending)
		seen.phantom++;
	has_seq = true;
	pending = 0;
	next_seq = seq + 1;
	seen.good++;
	for (i = 4; i < length; i++)
		if (p[i] != (uint8_t)(seq * 7 + i)) {
			seen.bad++;
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
			seen.errors++;
			pending++;
		} else if (in) {
			check(p, d->actual_length);
		} else {
			seen.good++;
			seen.bad += d->actual_length != d->length;
		}
		p += d->length;
	}
}

/* Of a device that is not known. */
static void count(struct libusb_transfer *t)
{
	int i;

	for (i = 0; i < t->num_iso_packets; i++)
		if (t->iso_packet_desc[i].status == LIBUSB_TRANSFER_COMPLETED)
			seen.good++;
		else
			seen.errors++;
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
		seen.gone++;
	else if (err)
		seen.refused++;
	else
		active++;
}

static bool goes_on(void)
{
	return seconds ? time(NULL) < until : --left >= nr_transfers;
}

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	active--;
	ended++;
	switch (t->status) {
	case LIBUSB_TRANSFER_COMPLETED:
		if (checked)
			look(t);
		else
			count(t);
		break;
	case LIBUSB_TRANSFER_CANCELLED:
		seen.cancelled++;
		/* Where it was cut off is not known to the sequence. */
		has_seq = false;
		pending = 0;
		return;
	default:
		seen.gone++;
		return;
	}
	if (resubmit && goes_on())
		submit(t);
}

static void vendor(uint8_t request, uint16_t value, uint16_t index)
{
	int err = libusb_control_transfer(dev.handle, 0x40, request, value, index,
					  NULL, 0, PATIENCE);

	if (err < 0)
		die("request to the device: %s", libusb_error_name(err));
}

static struct counts get_counts(void)
{
	struct counts c;
	int err = libusb_control_transfer(dev.handle, 0xc0, 0x63, 0, 0, (void *)&c,
					  sizeof(c), PATIENCE);

	if (err != sizeof(c))
		die("counts: %s", libusb_error_name(err));
	return c;
}

/* ---- the device ---- */

static void take_endpoint(const struct libusb_interface_descriptor *i,
			  const struct libusb_endpoint_descriptor *e)
{
	int length = libusb_get_max_iso_packet_size(dev.dev, e->bEndpointAddress);

	if ((e->bmAttributes & 3) != LIBUSB_TRANSFER_TYPE_ISOCHRONOUS)
		return;
	if (!(e->bEndpointAddress & 0x80)) {
		dev.out = e->bEndpointAddress;
	} else if (!dev.in || length > packet_length) {
		dev.in = e->bEndpointAddress;
		dev.interface = i->bInterfaceNumber;
		dev.setting = i->bAlternateSetting;
		packet_length = length;
	}
}

static void find_endpoints(void)
{
	struct libusb_config_descriptor *config;
	int i, s, e;

	if (libusb_get_active_config_descriptor(dev.dev, &config))
		die("%s has no configuration", dev.busid);
	for (i = 0; i < config->bNumInterfaces; i++)
		for (s = 0; s < config->interface[i].num_altsetting; s++) {
			const struct libusb_interface_descriptor *desc =
				&config->interface[i].altsetting[s];

			for (e = 0; e < desc->bNumEndpoints; e++)
				take_endpoint(desc, &desc->endpoint[e]);
		}
	libusb_free_config_descriptor(config);
	if (!dev.in || packet_length <= 0)
		die("%s has no endpoint for isochronous input", dev.busid);
}

static void open_device(void)
{
	int err;

	device_find(&dev, &program);
	find_endpoints();
	checked = fits(dev.dev);
	libusb_set_auto_detach_kernel_driver(dev.handle, 1);
	err = libusb_claim_interface(dev.handle, dev.interface);
	if (!err)
		err = libusb_set_interface_alt_setting(dev.handle, dev.interface,
						       dev.setting);
	if (err)
		die("interface %d: %s", dev.interface, libusb_error_name(err));
}

static void alloc_transfers(void)
{
	int i, length = packets * packet_length;

	for (i = 0; i < nr_transfers; i++) {
		transfers[i] = libusb_alloc_transfer(packets);
		transfers[i]->buffer = malloc(length);
		transfers[i]->length = length;
	}
}

/* ---- cases ---- */

static void start(void)
{
	int i;

	for (i = 0; i < nr_transfers; i++) {
		libusb_fill_iso_transfer(transfers[i], dev.handle, in ? dev.in : dev.out,
					 transfers[i]->buffer, packets * packet_length,
					 packets, done, NULL, 0);
		libusb_set_iso_packet_lengths(transfers[i], packet_length);
		submit(transfers[i]);
	}
}

static void begin(bool is_in)
{
	memset(&seen, 0, sizeof(seen));
	in = is_in;
	next_seq = 0;
	has_seq = false;
	pending = 0;
	ended = 0;
	resubmit = false;
	if (checked)
		vendor(0x62, 0, 0);
}

static void expect_none_lost(void)
{
	expect(!seen.silent, "%u gaps without an error", seen.silent);
	expect(!seen.phantom, "%u errors without a gap", seen.phantom);
	expect(!seen.bad, "%u packets are not what was sent", seen.bad);
	expect(!seen.refused, "%u transfers were refused", seen.refused);
}

static void expect_counts(int count)
{
	struct counts c = get_counts();
	unsigned int total = count * packets;

	printf("# device in: %u lost %u late %u skips %u dry %u\n", c.in_packets,
	       c.in_lost, c.in_late, c.in_skips, c.late);
	printf("# device out: %u lost %u late %u bad %u gaps %u\n", c.out_packets,
	       c.out_lost, c.out_late, c.out_bad, c.out_gaps);
	expect(seen.good + seen.errors == total, "%u packets of %u",
	       seen.good + seen.errors, total);
	expect(!c.out_bad && !c.out_gaps, "the device has seen other packets");
	if (in)
		expect(seen.errors == c.in_lost + c.in_late + c.in_skips &&
		       c.in_packets == total, "the device has counted otherwise");
	else
		expect(seen.errors == c.out_lost + c.out_late && c.out_packets == seen.good,
		       "the device has counted otherwise");
}

static void print_seen(void)
{
	printf("# good %u errors %u cancelled %u silent %u phantom %u bad %u gone %u refused %u\n",
	       seen.good, seen.errors, seen.cancelled, seen.silent, seen.phantom, seen.bad,
	       seen.gone, seen.refused);
}

static void stream(bool is_in, int count, int one_in, int of_kind)
{
	begin(is_in);
	if (checked)
		vendor(in ? 0x60 : 0x61, one_in, of_kind);
	left = count;
	until = time(NULL) + seconds;
	resubmit = true;
	start();
	events_until(&active, 0, &ended);
	if (seconds)
		count = ended;
	print_seen();
	expect_none_lost();
	expect(!seen.gone && !seen.cancelled, "transfers have failed");
	if (checked)
		expect_counts(count);
	tap_case("%s, %d transfers of %d packets, one in %d wrong in way %d",
		 in ? "in" : "out", count, packets, one_in, of_kind);
}

static void cancel(int count)
{
	int i, k;

	begin(true);
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
		events_until(&active, 0, &ended);
	}
	print_seen();
	expect_none_lost();
	expect(seen.cancelled && !seen.gone, "%u cancelled, %u failed", seen.cancelled,
	       seen.gone);
	tap_case("cancelled in flight, %d times", count);
}

static void unplug(bool is_in)
{
	begin(is_in);
	left = 1 << 30;
	resubmit = true;
	start();
	printf("# streaming\n");
	events_until(&active, 0, &ended);
	print_seen();
	/* The wire is dead before the device is gone, and one may hear of that first. */
	seen.gone += seen.refused;
	seen.refused = 0;
	expect_none_lost();
	expect(seen.gone, "it did not go");
	tap_case("unplugged in flight");
}

/* In, out, with faults of all kinds, short packets, cancels. */
static void all(int count)
{
	static const int faults[][2] = { { 0, 0 }, { 7, 4 }, { 1, 1 }, { 3, 3 } };
	unsigned int i;

	for (i = 0; i < (checked ? ARRAY_SIZE(faults) : 1); i++)
		stream(true, count, faults[i][0], faults[i][1]);
	for (i = 0; checked && i < ARRAY_SIZE(faults); i++)
		stream(false, count, faults[i][0], faults[i][1]);
	if (checked)
		stream(true, count, 2, 5);
	cancel(count);
	stream(true, count, 0, 0);
}

int main(int argc, char **argv)
{
	int count;

	device_init(&program, argc, argv);
	open_device();
	count = options.count ?: 30;
	nr_transfers = options.queue ?: 4;
	if (nr_transfers > MAX_TRANSFERS)
		nr_transfers = MAX_TRANSFERS;
	packets = packets ?: 16;
	alloc_transfers();
	if (mode == CANCEL)
		cancel(count);
	else if (mode >= UNPLUG)
		unplug(mode == UNPLUG);
	else if (mode == ALL)
		all(count);
	else
		stream(mode == IN, count, every, kind);
	if (mode < UNPLUG)
		device_close(&dev);
	return tap_end();
}
