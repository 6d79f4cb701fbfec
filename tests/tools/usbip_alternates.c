// SPDX-License-Identifier: GPL-2.0
/*
 * usbip_alternates - a device behind vhci_hcd whose settings have other endpoints
 *
 *	usbip_alternates full|high|super SERIAL PORT
 *
 * Interface 0, endpoints 0x81 and 0x01: bulk in setting 0, interrupt in 1, isochronous
 * in 2, none in 3; in 4 isochronous, in only, with the longest packets there are; in 5
 * interrupt, out only. Interface 1, endpoint 0x82: bulk. What flows: alternates.h.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "alternates.h"
#include "usbip_device.h"

#define EP_IN	(EP_NUMBER | USBIP_DIR_IN)
#define EP_OUT	EP_NUMBER

static struct flow flow;
static uint64_t sent[NR_SETTINGS + 1];

static void describe_setting(uint8_t setting, uint8_t count)
{
	USBIP_ADD(9, 4, 0, setting, count, 0xff, 0, 0, 0);
}

static void describe_endpoint(uint8_t address, uint8_t type)
{
	bool full = usbip_speed == USBIP_FULL, super = usbip_speed == USBIP_SUPER;
	const struct usbip_endpoint ep = {
		.address = address,
		.attributes = type,
		.packet = type == USBIP_BULK ? full ? 64 : super ? 1024 : 512 :
			  type == USBIP_ISO ? 192 : 64,
		.interval = type == USBIP_BULK ? 0 : full || type == USBIP_ISO ? 1 : 4,
	};

	usbip_add_endpoint(&ep);
}

static void describe(void)
{
	bool full = usbip_speed == USBIP_FULL, super = usbip_speed == USBIP_SUPER;
	const struct usbip_endpoint longest = {
		.address = EP_IN,
		.attributes = USBIP_ISO,
		.packet = full ? 1023 : 1024,
		.interval = 1,
		.transactions = full ? 1 : super ? 16 : 3,
		.bursts = super ? 3 : 1,
	};
	static const uint8_t types[] = { USBIP_BULK, USBIP_INTERRUPT, USBIP_ISO };
	uint8_t i;

	for (i = 0; i < 3; i++) {
		describe_setting(i, 2);
		describe_endpoint(EP_IN, types[i]);
		describe_endpoint(EP_OUT, types[i]);
	}
	describe_setting(3, 0);
	describe_setting(4, 1);
	usbip_add_endpoint(&longest);
	describe_setting(5, 1);
	describe_endpoint(EP_OUT, USBIP_INTERRUPT);
	USBIP_ADD(9, 4, 1, 0, 1, 0xff, 0, 0, 0);
	describe_endpoint(EP_OTHER, USBIP_BULK);
}

static void selected(uint8_t interface, uint8_t setting)
{
	if (interface) {
		sent[OTHER] = 0;
		return;
	}
	memset(&flow, 0, sizeof(flow));
	flow.setting = setting;
	sent[setting] = 0;
}

static int control(const struct usbip_control *c)
{
	const struct flow le = {
		htole32(flow.setting), htole32(flow.received), htole32(flow.bad),
	};

	if (c->request != GET_FLOW || c->length < sizeof(le))
		return -EPIPE;
	memcpy(c->data, &le, sizeof(le));
	return sizeof(le);
}

static void give(uint8_t address, uint8_t *data, uint32_t length)
{
	unsigned int setting = address == EP_OTHER ? OTHER : flow.setting;

	while (length--)
		*data++ = alternates_octet(setting, true, sent[setting]++);
}

static void take(const uint8_t *data, uint32_t length)
{
	while (length--)
		flow.bad += *data++ != alternates_octet(flow.setting, false,
							flow.received++);
}

static int transfer(uint8_t address, uint8_t *data, uint32_t length, int *result)
{
	(void)result;		/* is all of it */
	if (address & USBIP_DIR_IN)
		give(address, data, length);
	else
		take(data, length);
	return 0;
}

static void packet(uint8_t address, struct usbip_packet *p, uint8_t *data)
{
	if (address & USBIP_DIR_IN)
		give(address, data, p->length);
	else
		take(data, p->length);
}

static const struct usbip_device device = {
	.vendor = 0x0525,
	.product = 0xa4b2,
	.name = "alternate settings",
	.describe = describe,
	.control = control,
	.selected = selected,
	.packet = packet,
	.transfer = transfer,
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr,
			"usage: usbip_alternates full|high|super SERIAL PORT\n");
		return 2;
	}
	usbip_run(&device, argv[1], argv[2], argv[3]);
	return 0;
}
