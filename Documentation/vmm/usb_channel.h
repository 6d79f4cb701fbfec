/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * One end of a usbif channel in a VMM made with libvmm; see maaxboard.rst. The VMM calls
 *
 *	usb_channel_init()	in init(), before guest_start()
 *	usb_channel_notified()	in notified()
 *	usb_channel_retry()	at the end of fault(), after fault_handle()
 */
#ifndef USB_CHANNEL_H
#define USB_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <microkit.h>

/**
 * struct usb_channel - one end
 * @peer: Microkit's channel to the VMM of the other guest
 * @doorbell: guest's address of the doorbell page, which is mapped in no guest
 * @irq: number at the interrupt controller: 32 more than in the device tree
 * @vcpu: that gets the interrupt
 * @in_flight: the guest has not yet ended the interrupt that it was given
 * @again: another one came meanwhile
 */
struct usb_channel {
	microkit_channel peer;
	uintptr_t doorbell;
	size_t irq;
	size_t vcpu;
	bool in_flight;
	bool again;
};

bool usb_channel_init(struct usb_channel *c);
bool usb_channel_notified(struct usb_channel *c, microkit_channel ch);
void usb_channel_retry(struct usb_channel *c);

#endif /* USB_CHANNEL_H */
