/* SPDX-License-Identifier: GPL-2.0 */
/*
 * usbip_device - what the emulated devices behind vhci_hcd have in common
 *
 * Speaks USB/IP on a socket pair, one end of which it gives to the stock vhci_hcd,
 * until that closes it or somebody kills the program. Standard requests are answered
 * from the descriptors that the device adds; which endpoints there are follows from
 * these and from the settings that the host has chosen.
 *
 * An isochronous packet lasts one interval of a clock of the device, as on a bus. So
 * requests queue up, and can be cancelled.
 */
#ifndef USBIP_DEVICE_H
#define USBIP_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { USBIP_FULL = 2, USBIP_HIGH = 3, USBIP_SUPER = 5 };
enum { USBIP_ISO = 1, USBIP_BULK = 2, USBIP_INTERRUPT = 3 };

#define USBIP_DIR_IN	0x80
#define USBIP_WAIT	1	/* no errno: not now */

/* A packet of an isochronous request. */
struct usbip_packet {
	uint32_t offset, length, actual, status;
};

/* A control request, as the device sees it. */
struct usbip_control {
	uint8_t type, request;
	uint16_t value, index, length;
	uint8_t *data;
};

struct usbip_device {
	uint16_t vendor, product;
	const char *name;
	bool has_associations;	/* of interfaces; then its class says so */
	/* Adds what comes behind the descriptor of the configuration. */
	void (*describe)(void);
	/* A class or vendor request: octets, or a negative error. */
	int (*control)(const struct usbip_control *c);
	/* The host has chosen a setting. */
	void (*selected)(uint8_t interface, uint8_t setting);
	/* One packet: sets its status and how much there was. */
	void (*packet)(uint8_t address, struct usbip_packet *p, uint8_t *data);
	/*
	 * Bulk, interrupt: octets, or a negative error, both in *@result; or USBIP_WAIT
	 * where the request has to wait. Without this, everything is zeros.
	 */
	int (*transfer)(uint8_t address, uint8_t *data, uint32_t length, int *result);
	/* Is that control request, of any kind, not answered now? */
	bool (*holds)(const struct usbip_control *c);
	/* Is nothing given back now that is unlinked? */
	bool (*clings)(void);
	/* Spoils a descriptor, of which that many octets are there; returns how many are sent. */
	size_t (*spoil)(const struct usbip_control *c, uint8_t *d, size_t length);
};

struct usbip_endpoint {
	uint8_t address, attributes;
	uint16_t packet;	/* of one transaction, at most */
	uint8_t interval;
	uint8_t transactions;	/* in a microframe; super speed: packets of a burst */
	uint8_t bursts;		/* super speed, in an interval */
};

struct usbip_stats {
	uint32_t max_packets;	/* most packets of a request */
	uint32_t cancelled;	/* requests */
	uint32_t late;		/* times an endpoint ran dry in a stream */
};

extern int usbip_speed;
extern struct usbip_stats usbip_stats;

/* Descriptors, in describe() only. */
void usbip_add(size_t len, const uint8_t *octets);
void usbip_add32(uint32_t value);
void usbip_add_endpoint(const struct usbip_endpoint *ep);
size_t usbip_mark(void);
void usbip_set_length(size_t mark, size_t at);

#define USBIP_ADD(...) do {					\
	const uint8_t octets_[] = { __VA_ARGS__ };		\
	usbip_add(sizeof(octets_), octets_);			\
} while (0)

#define LO(x)	((x) & 0xff)
#define HI(x)	((x) >> 8 & 0xff)

/* Octets of an interval of that endpoint. */
uint32_t usbip_octets(const struct usbip_endpoint *ep);

/* Nanoseconds of the device's clock. */
int64_t usbip_now(void);

/* Plugged into that port until the host has had enough. */
void usbip_run(const struct usbip_device *device, const char *speed,
	       const char *serial, const char *port);

#endif
