/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Descriptors as they cannot be, one way at a time, for usbip_faulty.c. The first fifteen
 * are those of a backend that lies (tests/peers/back_hostile.c).
 */
#ifndef MALFORMED_H
#define MALFORMED_H

#include <stddef.h>
#include <stdint.h>

/*
 * The configuration: its head, an interface at 9, endpoints from 18, of which the ninth,
 * at 74, is of interrupts, another setting at 88. With super speed a companion is behind
 * each endpoint, the first one at 25.
 */
struct malformed {
	const char *what;
	uint8_t type;		/* of descriptor */
	char speed;		/* high or super */
	uint8_t octets;		/* that are sent, at most; 0: all */
	uint8_t patches;
	struct {
		uint8_t at, value;
	} patch[4];
};

enum { ANOTHER_LOOK = 20, LANGUAGES = 33, ALWAYS_OTHER = 35 };

static const struct malformed malformed[] = {
	{ "as they should be", 0, 'h', 0, 0, { } },
	{ "no packet fits into endpoint 0", 1, 'h', 0, 1, { { 7, 0 } } },
	{ "255 configurations", 1, 'h', 0, 1, { { 17, 255 } } },
	{ "shorter than it says", 1, 'h', 8, 0, { } },
	{ "of another type", 1, 'h', 0, 1, { { 1, 2 } } },
	{ "in all, nothing", 2, 'h', 0, 2, { { 2, 0 }, { 3, 0 } } },
	{ "in all, more than there is", 2, 'h', 0, 2, { { 2, 255 }, { 3, 255 } } },
	{ "a descriptor of length 0", 2, 'h', 0, 1, { { 9, 0 } } },
	{ "one that ends behind the last", 2, 'h', 0, 1, { { 9, 255 } } },
	{ "255 interfaces", 2, 'h', 0, 1, { { 4, 255 } } },
	{ "interface 255, setting 255", 2, 'h', 0, 2, { { 11, 255 }, { 12, 255 } } },
	{ "255 endpoints", 2, 'h', 0, 1, { { 13, 255 } } },
	{ "endpoint 0, of no packet size, twice", 2, 'h', 0, 4,
	  { { 20, 0 }, { 22, 0 }, { 23, 0 }, { 27, 0 } } },
	{ "type and interval as they cannot be", 2, 'h', 0, 2, { { 21, 255 }, { 24, 255 } } },
	{ "a string of odd length", 3, 'h', 0, 1, { { 0, 3 } } },
	{ "a string without its head", 3, 'h', 1, 0, { } },
	{ "a configuration of length 0", 2, 'h', 0, 1, { { 0, 0 } } },
	{ "in all, less than its head", 2, 'h', 0, 2, { { 2, 8 }, { 3, 0 } } },
	{ "an endpoint cut in half", 2, 'h', 0, 1, { { 2, 164 } } },
	{ "in all, one endpoint more than there is", 2, 'h', 0, 1, { { 2, 174 } } },
	{ "in all, more at another look", 2, 'h', 0, 2, { { 2, 255 }, { 3, 255 } } },
	{ "no interface, but there is one", 2, 'h', 0, 1, { { 4, 0 } } },
	{ "one interface, but there are two", 2, 'h', 0, 1, { { 11, 1 } } },
	{ "two interfaces, but there is one", 2, 'h', 0, 1, { { 4, 2 } } },
	{ "a setting twice", 2, 'h', 0, 1, { { 91, 0 } } },
	{ "more endpoints than said", 2, 'h', 0, 1, { { 13, 1 } } },
	{ "an endpoint twice", 2, 'h', 0, 1, { { 27, 0x81 } } },
	{ "configuration 0", 2, 'h', 0, 1, { { 5, 0 } } },
	{ "packets of 65535 octets", 2, 'h', 0, 2, { { 22, 255 }, { 23, 255 } } },
	{ "interrupts without packets or interval", 2, 'h', 0, 3,
	  { { 78, 0 }, { 79, 0 }, { 80, 0 } } },
	{ "a device of length 0", 1, 'h', 0, 1, { { 0, 0 } } },
	{ "255 octets fit into endpoint 0", 1, 'h', 0, 1, { { 7, 255 } } },
	{ "no configuration", 1, 'h', 0, 1, { { 17, 0 } } },
	{ "strings in no language", 3, 'h', 0, 1, { { 0, 2 } } },
	{ "a string that ends after four octets of 255", 3, 'h', 4, 1, { { 0, 255 } } },
	{ "another device at each look", 1, 'h', 0, 1, { { 12, 0 } } },
	{ "capabilities: in all, more than there is", 15, 's', 0, 2,
	  { { 2, 255 }, { 3, 255 } } },
	{ "capabilities of length 0", 15, 's', 0, 1, { { 0, 0 } } },
	{ "a capability of length 0", 15, 's', 0, 1, { { 5, 0 } } },
	{ "255 capabilities", 15, 's', 0, 1, { { 4, 255 } } },
	{ "a companion of length 0", 2, 's', 0, 1, { { 25, 0 } } },
	{ "bursts as they cannot be", 2, 's', 0, 4,
	  { { 27, 255 }, { 28, 255 }, { 29, 255 }, { 30, 255 } } },
	{ "no companion", 2, 's', 0, 1, { { 26, 0x31 } } },
	{ "2 to the power of 255 octets fit into endpoint 0", 1, 's', 0, 1, { { 7, 255 } } },
};

#define NR_MALFORMED	(sizeof(malformed) / sizeof(malformed[0]))

/* How much of a descriptor is sent when that many octets are asked for. */
static inline size_t spoil(size_t way, uint8_t index, size_t wanted, uint8_t *d, size_t length)
{
	const struct malformed *m = &malformed[way];
	static uint8_t looks;
	uint8_t i;

	if (d[1] != m->type)
		return length;
	if ((way == ANOTHER_LOOK && wanted <= 9) || (way == LANGUAGES && index))
		return length;
	for (i = 0; i < m->patches; i++)
		d[m->patch[i].at] = m->patch[i].value;
	if (way == ALWAYS_OTHER)
		d[m->patch[0].at] = ++looks;
	return m->octets && m->octets < length ? m->octets : length;
}

#endif
