// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_faulty - a device behind vhci_hcd that does not do what it should
 *
 *	usbip_faulty full|high|super SERIAL PORT [GENERATION [WAY]]
 *	usbip_faulty malformed
 *
 * Four bulk endpoints and an interrupt endpoint in each direction, in two settings that
 * are the same. Nothing moves there and some requests are never answered, so that there
 * is time to pull the plug, which is to kill this program. faulty.h has what it can be
 * told. Its descriptors are malformed in that WAY, if there is one; all of these are
 * listed, with their speed, by the other form.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "faulty.h"
#include "malformed.h"
#include "usbip_device.h"

static uint16_t mode, argument;
static struct counts counts;
static size_t way;

static void describe_pair(uint8_t number, uint8_t type)
{
	struct usbip_endpoint ep = {
		.address = number | USBIP_DIR_IN,
		.attributes = type,
		.packet = type == USBIP_INTERRUPT || usbip_speed == USBIP_FULL ? 64 :
			  usbip_speed == USBIP_SUPER ? 1024 : PACKET,
		.interval = type == USBIP_INTERRUPT ? 4 : 0,
	};

	usbip_add_endpoint(&ep);
	ep.address = number;
	usbip_add_endpoint(&ep);
}

static void describe(void)
{
	uint8_t setting, i;

	for (setting = 0; setting < 2; setting++) {
		USBIP_ADD(9, 4, 0, setting, 2 * NR_BULK + 2, 0xff, 0, 0, 0);
		for (i = 1; i <= NR_BULK; i++)
			describe_pair(i, USBIP_BULK);
		describe_pair(EP_INTERRUPT, USBIP_INTERRUPT);
	}
}

static bool holds(const struct usbip_control *c)
{
	bool is_vendor = c->type & 0x60;

	if (mode & MODE_SLOW)
		usleep(1000 * argument);
	return is_vendor ? c->request == NEVER : mode & MODE_HOLD;
}

static bool clings(void)
{
	return mode & MODE_CLING;
}

static size_t spoil_it(const struct usbip_control *c, uint8_t *d, size_t length)
{
	return spoil(way, c->value & 0xff, c->length, d, length);
}

static int control(const struct usbip_control *c)
{
	const struct counts le = {
		htole32(counts.generation), htole32(counts.own),
		htole32(counts.foreign),
	};

	if (c->request == SET_MODE) {
		mode = c->value;
		argument = c->index;
		return 0;
	}
	if (c->request != GET_COUNTS || c->length < sizeof(le))
		return -EPIPE;
	memcpy(c->data, &le, sizeof(le));
	return sizeof(le);
}

static int transfer(uint8_t address, uint8_t *data, uint32_t length, int *result)
{
	uint32_t generation = htole32(counts.generation), found = 0;

	if (mode & MODE_FAIL) {
		*result = -argument;
		return 0;
	}
	if (!(mode & MODE_OPEN))
		return USBIP_WAIT;
	if (length < sizeof(found))
		return 0;
	if (address & USBIP_DIR_IN) {
		memcpy(data, &generation, sizeof(generation));
		return 0;
	}
	memcpy(&found, data, sizeof(found));
	if (found == generation)
		counts.own++;
	else
		counts.foreign++;
	return 0;
}

static const struct usbip_device device = {
	.vendor = 0x0525,
	.product = 0xa4b4,
	.name = "faulty device",
	.describe = describe,
	.control = control,
	.transfer = transfer,
	.holds = holds,
	.clings = clings,
	.spoil = spoil_it,
};

static void list(void)
{
	size_t i;

	for (i = 1; i < NR_MALFORMED; i++)
		printf("%zu %s %s\n", i, malformed[i].speed == 's' ? "super" : "high",
		       malformed[i].what);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "malformed")) {
		list();
		return 0;
	}
	way = argc > 5 ? atoi(argv[5]) : 0;
	if (argc < 4 || argc > 6 || way >= NR_MALFORMED) {
		fprintf(stderr,
			"usage: usbip_faulty full|high|super SERIAL PORT [GENERATION [WAY]]\n");
		return 2;
	}
	counts.generation = argc > 4 ? atoi(argv[4]) : 1;
	usbip_run(&device, argv[1], argv[2], argv[3]);
	return 0;
}
