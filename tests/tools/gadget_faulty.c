// SPDX-License-Identifier: GPL-2.0
/*
 * gadget_faulty - a device behind a controller that gives all back when it goes
 *
 *	gadget_faulty FILE SERIAL
 *
 * FILE is that of a free UDC in gadgetfs. One interface in two settings, without
 * endpoints. Of what faulty.h has it knows SET_MODE, and of the modes MODE_HOLD, in which
 * no standard request is answered that gadgetfs does not answer itself: those that set
 * the configuration or a setting are left. To pull the plug is to kill this program.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/gadgetfs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "faulty.h"

#define IN	0x80

/* What gadgetfs wants: a tag, a configuration for each speed, the device. */
static const uint8_t description[] = {
	0, 0, 0, 0,
	9, 2, 27, 0, 1, 1, 0, 0xc0, 1,
	9, 4, 0, 0, 0, 0xff, 0, 0, 0,
	9, 4, 0, 1, 0, 0xff, 0, 0, 0,
	9, 2, 27, 0, 1, 1, 0, 0xc0, 1,
	9, 4, 0, 0, 0, 0xff, 0, 0, 0,
	9, 4, 0, 1, 0, 0xff, 0, 0, 0,
	18, 1, 0, 2, 0, 0, 0, 64, 0x25, 0x05, 0xb5, 0xa4, 0, 1, 0, 0, 1, 1,
};

static int fd;
static const char *serial;
static bool is_holding;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void answer(const void *data, size_t length, size_t wanted)
{
	/* A write that is refused is a host that has given up. */
	if (write(fd, data, length < wanted ? length : wanted) < 0 && errno != EIDRM)
		die("answer");
}

static void answer_string(uint8_t index, size_t wanted)
{
	uint8_t text[126] = { 4, 3, 0x09, 0x04 };
	size_t i;

	if (index) {
		text[0] = 2 + 2 * strlen(serial);
		for (i = 0; serial[i]; i++) {
			text[2 + 2 * i] = serial[i];
			text[3 + 2 * i] = 0;
		}
	}
	answer(text, text[0], wanted);
}

/* The wrong direction is a stall; gadgetfs has an error for whoever does it. */
static void stall(bool is_in)
{
	uint8_t octet;
	ssize_t n = is_in ? read(fd, &octet, 0) : write(fd, &octet, 0);

	if (n >= 0)
		die("stall");
}

static void acknowledge(void)
{
	uint8_t octet;

	if (read(fd, &octet, 0) < 0 && errno != EIDRM)
		die("acknowledge");
}

static void setup(const struct usb_ctrlrequest *c)
{
	uint16_t value = le16toh(c->wValue), length = le16toh(c->wLength);
	bool is_standard = !(c->bRequestType & 0x60);

	while (is_standard && is_holding)
		pause();
	if (is_standard && c->bRequest == USB_REQ_GET_DESCRIPTOR &&
	    value >> 8 == USB_DT_STRING && (value & 0xff) < 2) {
		answer_string(value, length);
	} else if (is_standard && (c->bRequest == USB_REQ_SET_CONFIGURATION ||
				   c->bRequest == USB_REQ_SET_INTERFACE)) {
		acknowledge();
	} else if (c->bRequestType == 0x40 && c->bRequest == SET_MODE) {
		is_holding = value & MODE_HOLD;
		acknowledge();
	} else {
		stall(c->bRequestType & IN);
	}
}

int main(int argc, char **argv)
{
	struct usb_gadgetfs_event event;

	if (argc != 3 || strlen(argv[2]) > 60) {
		fprintf(stderr, "usage: gadget_faulty FILE SERIAL\n");
		return 2;
	}
	serial = argv[2];
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(argv[1]);
	if (write(fd, description, sizeof(description)) != sizeof(description))
		die("description");
	while (read(fd, &event, sizeof(event)) == sizeof(event))
		if (event.type == GADGETFS_SETUP)
			setup(&event.u.setup);
	die("event");
}
