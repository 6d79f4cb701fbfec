/* SPDX-License-Identifier: GPL-2.0 */
/*
 * camera - the pictures of usbip_camera: each follows from its number
 *
 * Both the camera and who looks at its pictures compute them. One of motion JPEG has
 * the frame of a JPEG file, with the number in a comment, but can't be decoded; its
 * length differs from number to number.
 *
 * Gain N of the camera means that one frame in N goes wrong: those whose number is N - 1
 * modulo N.
 */
#ifndef CAMERA_H
#define CAMERA_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool camera_is_hurt(uint32_t number, uint32_t gain)
{
	return gain && number % gain == gain - 1;
}

/* Octets of a frame for which there is room for @max. */
static inline uint32_t camera_length(uint32_t number, bool jpeg, uint32_t max)
{
	uint32_t most = max / 2;

	return jpeg ? most / 2 + number * 2654435761u % (most / 2) : max;
}

static inline void camera_frame(uint8_t *to, uint32_t number, bool jpeg,
				uint32_t length)
{
	uint32_t word = number * 0x9e3779b1u, le, i;

	for (i = 0; i + 4 <= length; i += 4) {
		word += 0x85ebca6bu;
		le = htole32(word ^ number);
		memcpy(to + i, &le, 4);
	}
	memset(to + i, word, length - i);
	le = htole32(number);
	if (jpeg) {
		memcpy(to, "\xff\xd8\xff\xfe\x00\x06", 6);
		memcpy(to + 6, &le, 4);
		memcpy(to + length - 2, "\xff\xd9", 2);
	} else {
		memcpy(to, &le, 4);
	}
}

/* The number that a frame says it has. */
static inline uint32_t camera_number(const uint8_t *frame, bool jpeg)
{
	uint32_t le;

	memcpy(&le, frame + (jpeg ? 6 : 0), 4);
	return le32toh(le);
}

#endif
