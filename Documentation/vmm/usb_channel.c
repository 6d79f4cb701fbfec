// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
/*
 * What a VMM made with libvmm does for a usbif channel: it turns a store of its guest
 * into a notification for the other VMM, and a notification into an interrupt.
 *
 * The memory of the channel needs no code: it is a memory region that is mapped, cached,
 * in both virtual machines.
 */
#include <libvmm/libvmm.h>
#include "usb_channel.h"

#define DOORBELL_SIZE	0x1000

/* The guest has ended the interrupt. Another one is not injected from in here. */
static void ended(void *cookie)
{
	struct usb_channel *c = cookie;

	c->in_flight = false;
}

/* libvmm 0.2.0 names an interrupt by a route, before that by two numbers. */
#ifdef ARM_GIC_IRQ_ROUTE
static void ack(irq_routing_info_t route, void *cookie)
{
	(void)route;
	ended(cookie);
}

static bool irq_register(struct usb_channel *c)
{
	return virq_register(ARM_GIC_IRQ_ROUTE(c->vcpu, c->irq), ack, c);
}

static bool irq_inject(struct usb_channel *c)
{
	return virq_inject(ARM_GIC_IRQ_ROUTE(c->vcpu, c->irq));
}
#else
static void ack(size_t vcpu, int irq, void *cookie)
{
	(void)vcpu;
	(void)irq;
	ended(cookie);
}

static bool irq_register(struct usb_channel *c)
{
	return virq_register(c->vcpu, c->irq, ack, c);
}

static bool irq_inject(struct usb_channel *c)
{
	return virq_inject(c->vcpu, c->irq);
}
#endif

static void inject(struct usb_channel *c)
{
	c->in_flight = true;
	/* Refused: nothing will be ended, so the next doorbell has to be tried. */
	if (!irq_inject(c))
		c->in_flight = false;
}

/* A store rings the other guest, whatever is stored. A load finds 0. */
static bool doorbell(size_t vcpu, size_t offset, size_t fsr,
		     seL4_UserContext *regs, void *cookie)
{
	struct usb_channel *c = cookie;

	(void)vcpu;
	if (fault_is_write(fsr))
		microkit_notify(c->peer);
	else
		fault_emulate_write(regs, c->doorbell + offset, fsr, 0);
	return true;
}

/* Before the guest runs. False: libvmm has no room for the handler, or the number is odd. */
bool usb_channel_init(struct usb_channel *c)
{
	c->in_flight = false;
	c->again = false;
	return fault_register_vm_exception_handler(c->doorbell, DOORBELL_SIZE,
						   doorbell, c) &&
	       irq_register(c);
}

/*
 * The other guest has rung. libvmm before 0.2.0 forgets an interrupt that is injected
 * while the guest is at the one before, and later versions may list it twice: so one at
 * a time. False: that was another channel.
 */
bool usb_channel_notified(struct usb_channel *c, microkit_channel ch)
{
	if (ch != c->peer)
		return false;
	if (c->in_flight)
		c->again = true;
	else
		inject(c);
	return true;
}

/* After each fault, of which the end of an interrupt is one. */
void usb_channel_retry(struct usb_channel *c)
{
	if (!c->again || c->in_flight)
		return;
	c->again = false;
	inject(c);
}
