/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The text of a rule, BUSID:VM:VUSB:PORT[:force]. Pure functions without kernel
 * dependence.
 */
#ifndef USBBACK_SPEC_H
#define USBBACK_SPEC_H

#include <linux/types.h>
#include "usbif.h"

#define USBBACK_BUSID_MAX	31
/* "busid:vm:vusb:port" and the NUL */
#define USBBACK_SPEC_MAX	(USBBACK_BUSID_MAX + 1 + USBIF_NAME_MAX + 7)

/**
 * struct usbback_spec - a rule as text says it
 * @busid: name of the device, "1-2.3"
 * @vm: name of the guest's channel; empty if only a bus ID was given
 * @vusb: virtual controller
 * @port: of it, from 1
 * @force: take a disk that the host uses
 */
struct usbback_spec {
	char busid[USBBACK_BUSID_MAX + 1];
	char vm[USBIF_NAME_MAX + 1];
	u8 vusb;
	u8 port;
	bool force;
};

int usbback_spec_parse(const char *text, size_t len, struct usbback_spec *spec,
		       const char **why);
int usbback_spec_parse_name(const char *text, size_t len,
			    struct usbback_spec *spec, const char **why);
bool usbback_spec_valid_vm(const char *text, size_t len);
bool usbback_spec_same_vport(const struct usbback_spec *a,
			     const struct usbback_spec *b);

#endif /* USBBACK_SPEC_H */
