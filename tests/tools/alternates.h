/* SPDX-License-Identifier: GPL-2.0 */
/*
 * alternates - what usbip_alternates and usb_alternates say to each other
 *
 * On every endpoint flow octets which follow from their place since the setting was
 * chosen, from the setting and from the direction. Those of the other interface flow on
 * whatever happens to the first.
 */
#ifndef ALTERNATES_H
#define ALTERNATES_H

#include <stdbool.h>
#include <stdint.h>

#define NR_SETTINGS	6	/* of interface 0 */
#define OTHER		NR_SETTINGS	/* the setting, so to say, of interface 1 */
#define EP_NUMBER	1	/* both directions, interface 0 */
#define EP_OTHER	0x82	/* bulk, interface 1 */

#define GET_FLOW	0x63	/* vendor request to the device */

/* Of interface 0, since its setting was chosen; little-endian. */
struct flow {
	uint32_t setting;
	uint32_t received, bad;	/* octets */
};

static inline uint8_t alternates_octet(unsigned int setting, bool in, uint64_t place)
{
	return place * 7 + (place >> 8) * 29 + (place >> 16) + setting * 41 + in * 97 + 1;
}

#endif
