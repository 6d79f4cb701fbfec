// SPDX-License-Identifier: GPL-2.0
/*
 * See kcov_device.h.
 */
#include <string.h>
#include "kcov_device.h"
#include "kcov_driver.h"

#define LOG_STREAMS	4

static bool is_super(const struct back *b, u8 port)
{
	return b->port[port].speed >= USBIF_SPEED_SUPER;
}

/* ---- descriptors ---- */

static u8 *add(u8 *p, const u8 *descriptor)
{
	memcpy(p, descriptor, descriptor[0]);
	return p + descriptor[0];
}

static u8 *add_endpoint(u8 *p, const struct back *b, u8 port, u8 address, u8 type)
{
	u8 speed = b->port[port].speed;
	u16 size = type == USBIF_TYPE_ISO ? 256 :
		   type == USBIF_TYPE_INTERRUPT || speed < USBIF_SPEED_HIGH ? 64 :
		   speed == USBIF_SPEED_HIGH ? 512 : 1024;
	bool is_periodic = type != USBIF_TYPE_BULK;
	u8 endpoint[] = { 7, 5, address, type, size, size >> 8, is_periodic };
	u8 companion[] = {
		6, 48, 0, is_periodic ? 0 : LOG_STREAMS,
		is_periodic ? size : 0, is_periodic ? size >> 8 : 0,
	};

	p = add(p, endpoint);
	return is_super(b, port) ? add(p, companion) : p;
}

static u32 config_descriptor(const struct back *b, u8 port, u8 *d)
{
	u8 config[] = { 9, 2, 0, 0, 1, 1, 0, 0xa0, 50 };
	u8 interface[] = { 9, 4, 0, 0, 4, 0xff, 0, 0, 0 };
	u8 *p = add(d, config);

	for (interface[3] = 0; interface[3] < 2; interface[3]++) {
		interface[4] = interface[3] ? 6 : 4;
		p = add(p, interface);
		p = add_endpoint(p, b, port, EP_STREAM_OUT, USBIF_TYPE_BULK);
		p = add_endpoint(p, b, port, EP_STREAM_IN, USBIF_TYPE_BULK);
		p = add_endpoint(p, b, port, EP_INT_IN, USBIF_TYPE_INTERRUPT);
		p = add_endpoint(p, b, port, EP_INT_OUT, USBIF_TYPE_INTERRUPT);
		if (!interface[3])
			continue;
		p = add_endpoint(p, b, port, EP_ISO_OUT, USBIF_TYPE_ISO);
		p = add_endpoint(p, b, port, EP_ISO_IN, USBIF_TYPE_ISO);
	}
	d[2] = p - d;
	return p - d;
}

static u32 device_descriptor(const struct back *b, u8 port, u8 *d)
{
	bool ss = is_super(b, port);
	u8 device[] = {
		18, 1, ss ? 0x20 : 0, ss ? 3 : 2, 0, 0, 0, ss ? 9 : 64,
		DRIVER_VENDOR & 0xff, DRIVER_VENDOR >> 8, DRIVER_PRODUCT,
		DRIVER_PRODUCT >> 8, 0, 1, 0, 0, 0, 1,
	};

	return add(d, device) - d;
}

static u32 bos_descriptor(u8 *d)
{
	u8 bos[] = { 5, 15, 22, 0, 2 };
	u8 lpm[] = { 7, 16, 2, 2, 0, 0, 0 };
	u8 super[] = { 10, 16, 3, 0, 14, 0, 1, 10, 0xff, 7 };

	return add(add(add(d, bos), lpm), super) - d;
}

static u32 get_descriptor(const struct back *b, u8 port, u8 type, u8 *d)
{
	switch (type) {
	case 1:
		return device_descriptor(b, port, d);
	case 2:
		return config_descriptor(b, port, d);
	case 15:
		return is_super(b, port) ? bos_descriptor(d) : 0;
	default:
		return 0;
	}
}

/* ---- requests ---- */

static u32 control(struct back *b, struct back_req *r)
{
	const u8 *setup = r->req.setup;
	u32 length = r->req.length;
	u8 d[256] = { 0 };
	u32 len = sizeof(d);

	if (!(setup[0] & 0x80))
		return length;
	if (setup[0] == 0x80 && setup[1] == 6)
		len = get_descriptor(b, r->req.port, setup[3], d);
	if (!len)
		return DEVICE_STALL;
	len = len < length ? len : length;
	back_put(b, r, d, len);
	return len;
}

u32 device_run(struct back *b, struct back_req *r, u32 *value)
{
	static u8 octets[USBIF_MAX_TRANSFER];

	if (r->req.op == USBIF_OP_ALLOC_STREAMS)
		*value = 1 << LOG_STREAMS;
	if (r->req.op != USBIF_OP_TRANSFER)
		return 0;
	if (!r->req.endpoint)
		return control(b, r);
	if (!octets[0])
		memset(octets, DRIVER_PATTERN, sizeof(octets));
	if (r->req.endpoint & 0x80)
		back_put(b, r, octets, r->req.length);
	return r->req.length;
}
