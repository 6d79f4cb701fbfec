/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the libusb programs have in common: their options, the device that is meant, and
 * data that can be checked.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <libusb-1.0/libusb.h>

#include "tap.h"

#define PATIENCE	20000	/* ms: what takes longer has failed */

/* What stands behind the endpoints, as in the kernel's gadget zero. */
enum kind {
	SOURCE,		/* IN never ends, OUT is checked by the device */
	ECHO,		/* IN is what came OUT */
};

struct device {
	libusb_device *dev;
	libusb_device_handle *handle;
	char busid[32];
	enum kind kind;
	bool zeros;		/* a source of zeros, not of the pattern */
	bool had_driver;	/* before it was claimed */
	int interface, setting;
	uint8_t in, out;	/* endpoints */
	uint8_t type;		/* libusb_transfer_type of both */
	int packet;		/* octets of their packets */
};

/* What a program says of itself. */
struct program {
	const char *name;
	const char *summary;	/* for -h */
	const char *letters;	/* getopt's, of its own options */
	const char *help;	/* a line for each of these */
	void (*option)(int letter, const char *value);
	/* Is that a device to be used if none is named? Otherwise none is. */
	bool (*fits)(libusb_device *dev);
};

/* Options that all have; 0: not given, the program's own default. */
extern struct options {
	const char *busid, *serial;
	int vendor, product, count, longest, queue;
	bool has_kind;
	enum kind kind;
	bool named;		/* one of the first four, on the command line */
} options;

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *format, ...);

void device_init(const struct program *program, int argc, char **argv);
void device_busid(libusb_device *dev, char *text, size_t size);
void device_find(struct device *d, const struct program *program);
bool device_fits(libusb_device *dev);
bool device_pick(struct device *d);
void device_claim(struct device *d);
void device_open(struct device *d, const struct program *program);
void device_close(struct device *d);
bool device_works(struct device *d);

/* 0 or an error; *done (may be NULL) is how many octets went. */
int device_transfer(struct device *d, uint8_t endpoint, void *buf, int len, int timeout,
		    int *done);
bool device_send(struct device *d, const void *buf, int len);
bool device_receive(struct device *d, void *buf, int room, int len);

void data_fill(uint8_t *buf, int len, uint32_t seed);
bool data_expect(const uint8_t *buf, int len, uint32_t seed);
void pattern_fill(const struct device *d, uint8_t *buf, int len);
bool pattern_expect(const struct device *d, const uint8_t *buf, int len);

void events_until(const int *left, int limit, const int *progress);

#endif /* DEVICE_H */
