// SPDX-License-Identifier: GPL-2.0
/* The device that a libusb program is to use, and data to and from it. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "device.h"

#define COMMON_LETTERS	"d:s:i:k:n:m:q:h"
#define KSFT_SKIP	4
#define GADGET_VENDOR	0x0525
#define GADGET_PRODUCT	0xa4a0

struct options options;

void die(const char *format, ...)
{
	va_list args;

	printf("Bail out! ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* ---- options ---- */

static void usage(const struct program *p)
{
	printf("%s - %s\n\n"
	       "usage: %s [OPTION...]\n\n"
	       "  -d BUSID      the device with that bus ID, such as 1-2.3; or the environment\n"
	       "                variable USBIF_DEVICE\n"
	       "  -s SERIAL     the one with that serial number\n"
	       "  -i VID:PID    the first of that kind; 0525:a4a0, which is the kernel's gadget\n"
	       "                zero, if nothing else is said\n"
	       "  -k KIND       what it does: source (endless IN, OUT checked or ignored) or\n"
	       "                echo (IN is what came OUT); known for gadget zero\n"
	       "  -n COUNT      how often, how many\n"
	       "  -m OCTETS     longest transfer; an echo has to hold that many\n"
	       "  -q TRANSFERS  in flight for each endpoint\n"
	       "%s\n"
	       "The device is taken from its driver, and data is sent to it: name none that\n"
	       "can't stand that. Prints TAP; ends with 0 if all is well, 1 if not, and 4 if\n"
	       "there is no such device.\n", p->name, p->summary, p->name, p->help ?: "");
}

static int number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 0);

	if (*end || end == text || n < 0 || n > 1 << 30) {
		fprintf(stderr, "'%s' is not a number\n", text);
		exit(2);
	}
	return n;
}

static void parse_kind(const char *text)
{
	options.has_kind = true;
	options.kind = strcmp(text, "echo") ? SOURCE : ECHO;
	if (options.kind == SOURCE && strcmp(text, "source")) {
		fprintf(stderr, "'%s' is neither source nor echo\n", text);
		exit(2);
	}
}

static void parse_ids(const char *text)
{
	if (sscanf(text, "%x:%x", &options.vendor, &options.product) != 2) {
		fprintf(stderr, "'%s' is not of the form VID:PID\n", text);
		exit(2);
	}
	options.named = true;
}

static void parse_common(const struct program *p, int letter, const char *value)
{
	switch (letter) {
	case 'd':
		options.busid = value;
		options.named = true;
		break;
	case 's':
		options.serial = value;
		options.named = true;
		break;
	case 'i':
		parse_ids(value);
		break;
	case 'k':
		parse_kind(value);
		break;
	case 'n':
		options.count = number(value);
		break;
	case 'm':
		options.longest = number(value);
		break;
	case 'q':
		options.queue = number(value);
		break;
	case 'h':
		usage(p);
		exit(0);
	default:
		fprintf(stderr, "%s -h tells the options\n", p->name);
		exit(2);
	}
}

/* Reads the options, begins the TAP and libusb. */
void device_init(const struct program *p, int argc, char **argv)
{
	const char *own = p->letters ?: "";
	char letters[64];
	int letter, err;

	snprintf(letters, sizeof(letters), "%s%s", COMMON_LETTERS, own);
	while ((letter = getopt(argc, argv, letters)) != -1) {
		if (letter != ':' && strchr(own, letter))
			p->option(letter, optarg);
		else
			parse_common(p, letter, optarg);
	}
	if (optind != argc) {
		fprintf(stderr, "%s: '%s' is too much; -h tells the options\n", p->name,
			argv[optind]);
		exit(2);
	}
	/* That is for all programs, not all of which may fit. */
	if (!options.named)
		options.busid = getenv("USBIF_DEVICE");
	if (!options.named && !options.busid) {
		options.vendor = GADGET_VENDOR;
		options.product = GADGET_PRODUCT;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	err = libusb_init(NULL);
	if (err)
		die("libusb_init: %s", libusb_error_name(err));
}

/* ---- which device ---- */

/* As sysfs has it: bus, and ports on the way. */
void device_busid(libusb_device *dev, char *text, size_t size)
{
	uint8_t ports[8];
	int n = libusb_get_port_numbers(dev, ports, sizeof(ports)), i;
	size_t len = snprintf(text, size, "%d-", libusb_get_bus_number(dev));

	for (i = 0; i < n; i++)
		len += snprintf(text + len, size - len, "%s%d", i ? "." : "", ports[i]);
}

static bool has_serial(libusb_device *dev, uint8_t index, const char *serial)
{
	libusb_device_handle *handle;
	unsigned char text[128] = "";

	if (!index || libusb_open(dev, &handle))
		return false;
	libusb_get_string_descriptor_ascii(handle, index, text, sizeof(text));
	libusb_close(handle);
	return !strcmp((char *)text, serial);
}

/* Is it what the options ask for? Its bus ID in any case. */
static bool matches(libusb_device *dev, char *busid, size_t size)
{
	struct libusb_device_descriptor desc;

	device_busid(dev, busid, size);
	if (libusb_get_device_descriptor(dev, &desc))
		return false;
	if (options.busid && strcmp(busid, options.busid))
		return false;
	if (options.vendor &&
	    (desc.idVendor != options.vendor || desc.idProduct != options.product))
		return false;
	return !options.serial || has_serial(dev, desc.iSerialNumber, options.serial);
}

/* The first endpoint of that type and direction, or 0. */
static uint8_t find_endpoint(const struct libusb_interface_descriptor *i, uint8_t type,
			     uint8_t direction)
{
	int e;

	for (e = 0; e < i->bNumEndpoints; e++)
		if ((i->endpoint[e].bmAttributes & 3) == type &&
		    (i->endpoint[e].bEndpointAddress & 0x80) == direction)
			return i->endpoint[e].bEndpointAddress;
	return 0;
}

static bool pick_from(struct device *d, const struct libusb_config_descriptor *config,
		      uint8_t type)
{
	int i, s;

	for (i = 0; i < config->bNumInterfaces; i++)
		for (s = 0; s < config->interface[i].num_altsetting; s++) {
			const struct libusb_interface_descriptor *desc =
				&config->interface[i].altsetting[s];

			d->in = find_endpoint(desc, type, LIBUSB_ENDPOINT_IN);
			d->out = find_endpoint(desc, type, LIBUSB_ENDPOINT_OUT);
			if (!d->in || !d->out)
				continue;
			d->type = type;
			d->interface = desc->bInterfaceNumber;
			d->setting = desc->bAlternateSetting;
			d->packet = libusb_get_max_packet_size(d->dev, d->in) & 0x7ff;
			return true;
		}
	return false;
}

/* The first pair of endpoints of the configuration, bulk or else interrupt ones. */
bool device_pick(struct device *d)
{
	struct libusb_config_descriptor *config;
	bool found;

	if (libusb_get_active_config_descriptor(d->dev, &config))
		return false;
	found = pick_from(d, config, LIBUSB_TRANSFER_TYPE_BULK) ||
		pick_from(d, config, LIBUSB_TRANSFER_TYPE_INTERRUPT);
	libusb_free_config_descriptor(config);
	return found;
}

bool device_fits(libusb_device *dev)
{
	struct device d = { .dev = dev };

	return device_pick(&d);
}

__attribute__((noreturn))
static void skip_all(const struct program *p)
{
	printf("1..0 # SKIP %s: there is no %s\n", p->name,
	       options.named ? "such device" : "device for it; name one");
	exit(KSFT_SKIP);
}

/* Finds the device and opens it; ends the program if there is none. */
void device_find(struct device *d, const struct program *p)
{
	libusb_device **list;
	ssize_t n = libusb_get_device_list(NULL, &list), i;
	int err;

	memset(d, 0, sizeof(*d));
	for (i = 0; i < n && !d->dev; i++)
		if (matches(list[i], d->busid, sizeof(d->busid)) &&
		    (options.named || (p->fits && p->fits(list[i]))))
			d->dev = libusb_ref_device(list[i]);
	if (n >= 0)
		libusb_free_device_list(list, 1);
	if (!d->dev)
		skip_all(p);
	err = libusb_open(d->dev, &d->handle);
	if (err)
		die("%s can't be opened: %s", d->busid, libusb_error_name(err));
	printf("# %s on device %s\n", p->name, d->busid);
}

/* ---- its endpoints ---- */

static void interface_name(struct device *d, char *text, int size)
{
	struct libusb_config_descriptor *config;
	uint8_t index = 0;
	int i;

	*text = 0;
	if (libusb_get_active_config_descriptor(d->dev, &config))
		return;
	for (i = 0; i < config->bNumInterfaces; i++)
		if (config->interface[i].altsetting->bInterfaceNumber == d->interface)
			index = config->interface[i].altsetting->iInterface;
	libusb_free_config_descriptor(config);
	if (index)
		libusb_get_string_descriptor_ascii(d->handle, index, (unsigned char *)text,
						   size);
}

static void find_kind(struct device *d)
{
	uint8_t packet[2048];
	char name[128];
	int done;

	interface_name(d, name, sizeof(name));
	d->kind = options.has_kind ? options.kind : strstr(name, "loop") ? ECHO : SOURCE;
	if (d->kind != SOURCE)
		return;
	if (device_transfer(d, d->in, packet, d->packet, PATIENCE, &done) || done < 2)
		die("%s sends nothing by itself: is its kind 'echo'?", d->busid);
	d->zeros = !packet[1];
}

/* Claims the endpoints that were picked, in their setting. */
void device_claim(struct device *d)
{
	int err;

	err = libusb_claim_interface(d->handle, d->interface);
	if (!err)
		err = libusb_set_interface_alt_setting(d->handle, d->interface, d->setting);
	if (err)
		die("interface %d, setting %d: %s", d->interface, d->setting,
		    libusb_error_name(err));
	find_kind(d);
}

void device_open(struct device *d, const struct program *p)
{
	device_find(d, p);
	if (!device_pick(d))
		die("%s has no endpoints for bulk or interrupt transfers", d->busid);
	d->had_driver = libusb_kernel_driver_active(d->handle, d->interface) == 1;
	libusb_set_auto_detach_kernel_driver(d->handle, 1);
	device_claim(d);
}

void device_close(struct device *d)
{
	libusb_release_interface(d->handle, d->interface);
	libusb_close(d->handle);
	libusb_unref_device(d->dev);
	libusb_exit(NULL);
}

/* ---- transfers ---- */

int device_transfer(struct device *d, uint8_t endpoint, void *buf, int len, int timeout,
		    int *done)
{
	int ignored;

	if (!done)
		done = &ignored;
	*done = 0;
	if (d->type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
		return libusb_interrupt_transfer(d->handle, endpoint, buf, len, done,
						 timeout);
	return libusb_bulk_transfer(d->handle, endpoint, buf, len, done, timeout);
}

/* A message, ended by a packet that is not full. */
bool device_send(struct device *d, const void *buf, int len)
{
	int done, err = device_transfer(d, d->out, (void *)buf, len, PATIENCE, &done);

	if (!err && len && len % d->packet == 0 && d->type == LIBUSB_TRANSFER_TYPE_BULK)
		err = device_transfer(d, d->out, (void *)buf, 0, PATIENCE, NULL);
	return expect(!err && done == len, "sending %d octets: %s, %d octets", len,
		      libusb_error_name(err), done);
}

bool device_receive(struct device *d, void *buf, int room, int len)
{
	int done, err = device_transfer(d, d->in, buf, room, PATIENCE, &done);

	return expect(!err && done == len, "receiving %d octets into %d: %s, %d octets",
		      len, room, libusb_error_name(err), done);
}

/* Some data each way. */
bool device_works(struct device *d)
{
	static const int lengths[] = { 1, 63, 64, 1000, 4095 };
	uint8_t out[4096], in[8192];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		int len = lengths[i], room = sizeof(in) - sizeof(in) % d->packet;

		if (d->type == LIBUSB_TRANSFER_TYPE_INTERRUPT && len >= d->packet)
			continue;
		if (d->kind == ECHO) {
			if (d->type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
				room = d->packet;
			data_fill(out, len, i);
			if (!device_send(d, out, len) ||
			    !device_receive(d, in, room, len) ||
			    !data_expect(in, len, i))
				return false;
			continue;
		}
		pattern_fill(d, out, len);
		if (!device_send(d, out, len) || !device_receive(d, in, room, room) ||
		    !pattern_expect(d, in, room))
			return false;
	}
	return true;
}

/* ---- data ---- */

/* Octets that follow from the seed, so that no other message has them. */
void data_fill(uint8_t *buf, int len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;
	int i;

	for (i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		buf[i] = x;
	}
}

bool data_expect(const uint8_t *buf, int len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;
	int i;

	for (i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		if (!expect(buf[i] == (uint8_t)x, "octet %d of %d is %02x, not %02x", i,
			    len, buf[i], x & 0xff))
			return false;
	}
	return true;
}

static uint8_t pattern(const struct device *d, int i)
{
	return d->zeros ? 0 : i % d->packet % 63;
}

/* What gadget zero sends, and wants to be sent. */
void pattern_fill(const struct device *d, uint8_t *buf, int len)
{
	int i;

	for (i = 0; i < len; i++)
		buf[i] = pattern(d, i);
}

bool pattern_expect(const struct device *d, const uint8_t *buf, int len)
{
	int i;

	for (i = 0; i < len; i++)
		if (!expect(buf[i] == pattern(d, i), "octet %d of %d is %02x, not %02x",
			    i, len, buf[i], pattern(d, i)))
			return false;
	return true;
}

/* ---- events ---- */

/*
 * Handles events until *left is no more than limit; gives up if *progress, which is
 * *left itself if not given, stands still for too long.
 */
void events_until(const int *left, int limit, const int *progress)
{
	time_t until = time(NULL) + PATIENCE / 1000;
	const int *moves = progress ?: left;
	int before = *moves;

	while (*left > limit) {
		struct timeval tv = { .tv_sec = 1 };

		libusb_handle_events_timeout(NULL, &tv);
		if (*moves != before)
			until = time(NULL) + PATIENCE / 1000;
		before = *moves;
		if (time(NULL) > until)
			die("%d transfers never came back", *left);
	}
}
