// SPDX-License-Identifier: GPL-2.0
/*
 * roothub NODE PORTS [all] - whatever a root hub may be asked, through usbfs
 *
 * All features of some ports, those that there are with some selectors in the high octet of
 * wIndex, with "all" of all and with all; all requests, and descriptors of every length.
 * What no hub has is to stall. Ends with all ports switched on, or with 1 and a line that
 * says what did not stall.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define TO_HUB		0x20
#define TO_PORT		0x23
#define FROM_DEVICE	0x80
#define FROM_HUB	0xa0
#define FROM_PORT	0xa3
#define GET_STATUS	0
#define CLEAR_FEATURE	1
#define SET_FEATURE	3
#define GET_DESCRIPTOR	6
#define PORT_POWER	8
#define LAST_FEATURE	30	/* of a port: FORCE_LINKPM_ACCEPT */
#define LAST_HUB_FEATURE 1
#define LAST_STATUS	2	/* HUB_EXT_PORT_STATUS */
#define TIMEOUT_MS	20000

static int fd;
static unsigned int nr_ports;
static unsigned long nr_done, nr_stalled;

/* Whatever becomes of it, but no error that a hub can't have. */
static bool ask(uint8_t type, uint8_t request, uint16_t value, uint16_t index, uint16_t length)
{
	uint8_t data[4096] = { 0 };
	struct usbdevfs_ctrltransfer t = {
		.bRequestType = type,
		.bRequest = request,
		.wValue = value,
		.wIndex = index,
		.wLength = length,
		.timeout = TIMEOUT_MS,
		.data = data,
	};

	nr_done++;
	if (ioctl(fd, USBDEVFS_CONTROL, &t) >= 0)
		return true;
	nr_stalled++;
	if (errno == EPIPE)
		return false;
	printf("%02x %02x %04x %04x %u: %s\n", type, request, value, index, length,
	       strerror(errno));
	exit(1);
}

static void stalls(uint8_t type, uint8_t request, uint16_t value, uint16_t index)
{
	if (!ask(type, request, value, index, type & FROM_DEVICE ? 8 : 0))
		return;
	printf("%02x %02x %04x %04x does not stall\n", type, request, value, index);
	exit(1);
}

/* One of a port, by the port, or by what looks like one. */
static void ask_port(uint8_t type, uint8_t request, uint16_t value, uint16_t index, int last)
{
	unsigned int port = index & 0xff;

	if (!port || port > nr_ports || value > last)
		stalls(type, request, value, index);
	else
		ask(type, request, value, index, type & FROM_DEVICE ? 8 : 0);
}

static void ask_of_port(uint16_t value, uint16_t index)
{
	ask_port(FROM_PORT, GET_STATUS, value, index, LAST_STATUS);
	ask_port(TO_PORT, SET_FEATURE, value, index, LAST_FEATURE);
	ask_port(TO_PORT, CLEAR_FEATURE, value, index, LAST_FEATURE);
}

static void ask_of_hub(uint16_t value, uint16_t index)
{
	stalls(TO_HUB, SET_FEATURE, value, index);
	if (value > LAST_HUB_FEATURE)
		stalls(TO_HUB, CLEAR_FEATURE, value, index);
	else
		ask(TO_HUB, CLEAR_FEATURE, value, index, 0);
}

static void switch_on(void)
{
	unsigned int port;

	for (port = 1; port <= nr_ports; port++)
		ask(TO_PORT, SET_FEATURE, PORT_POWER, port, 0);
}

/* Of all octets, or of those that are somewhere at an edge. */
static bool is_asked(unsigned int n, bool all)
{
	return all || n < 3 || n == nr_ports || n == nr_ports + 1 || n == 31 || n == 32 ||
	       n == 128 || n == 255;
}

static void features(bool all)
{
	unsigned int value, port, selector;

	for (port = 0; port < 256; port++) {
		if (!is_asked(port, all))
			continue;
		for (value = 0; value < 256; value++) {
			ask_of_port(value, port);
			if (is_asked(port, false))
				ask_of_hub(value, port);
		}
		switch_on();
	}
	for (value = 0; value < 256; value++) {
		if (value > LAST_FEATURE + 2 && !is_asked(value, false))
			continue;
		for (selector = 1; selector < 256; selector++) {
			if (!is_asked(selector, all))
				continue;
			ask_of_port(value, selector << 8 | 1);
			ask_of_port(value | selector << 8, nr_ports);
			ask_of_hub(value, selector << 8);
		}
		switch_on();
	}
}

static void descriptors(void)
{
	static const uint8_t types[] = { 0, 1, 2, 3, 15, 0x29, 0x2a, 0xff };
	unsigned int i, length;

	for (i = 0; i < sizeof(types); i++) {
		for (length = 0; length <= 300; length++) {
			ask(FROM_HUB, GET_DESCRIPTOR, types[i] << 8, 0, length);
			ask(FROM_DEVICE, GET_DESCRIPTOR, types[i] << 8, 0, length);
		}
		ask(FROM_HUB, GET_DESCRIPTOR, types[i] << 8, 0xffff, 4096);
	}
	for (length = 0; length <= 64; length++) {
		ask(FROM_HUB, GET_STATUS, 0, 0, length);
		ask(FROM_PORT, GET_STATUS, 0, 1, length);
		ask(FROM_PORT, GET_STATUS, 2, 1, length);
	}
}

static void requests(void)
{
	static const uint8_t types[] = { TO_HUB, TO_PORT, FROM_HUB, FROM_PORT };
	unsigned int request, i;

	for (request = 0; request < 256; request++)
		for (i = 0; i < sizeof(types); i++) {
			ask(types[i], request, 0, 0, 8);
			ask(types[i], request, 0, 1, 8);
			ask(types[i], request, 0xffff, 0xff01, 0);
		}
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: roothub NODE PORTS [all]\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	nr_ports = strtoul(argv[2], NULL, 0);
	descriptors();
	requests();
	features(argc > 3);
	printf("%lu requests, %lu stalled\n", nr_done, nr_stalled);
	return 0;
}
