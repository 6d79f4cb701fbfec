// SPDX-License-Identifier: GPL-2.0
/*
 * Two VMMs with the code of Documentation/vmm/, without seL4 below them: a libvmm which
 * forgets interrupts that it is given while one is under way, as 0.1.0 does.
 */
#include <string.h>
#include <libvmm/libvmm.h>
#include "usb_channel.h"
#include "tap.h"

#define WRITE		1
#define PEER		3
#define IRQ		148
#define DOORBELL	0x38600000ul

static struct {
	vm_exception_handler_t fault;
	void *fault_data;
	virq_ack_fn_t ack;
	void *ack_data;
	unsigned int notified;
	unsigned int injected;
	unsigned int forgotten;
	size_t emulated;
	bool busy;
	bool refuses;
} m;

bool fault_register_vm_exception_handler(uintptr_t base, size_t size,
					 vm_exception_handler_t callback,
					 void *data)
{
	m.fault = callback;
	m.fault_data = data;
	return base == DOORBELL && size == 0x1000;
}

bool fault_is_write(uint64_t fsr)
{
	return fsr == WRITE;
}

void fault_emulate_write(seL4_UserContext *regs, size_t addr, size_t fsr,
			 size_t value)
{
	(void)fsr;
	regs->x[0] = value;
	m.emulated = addr;
}

void microkit_notify(microkit_channel ch)
{
	m.notified += ch == PEER;
}

static bool give(size_t vcpu, size_t irq)
{
	expect(vcpu == 0 && irq == IRQ, "interrupt %zu of %zu", irq, vcpu);
	if (m.refuses)
		return false;
	if (m.busy)
		m.forgotten++;
	else
		m.injected++;
	m.busy = true;
	return true;
}

#ifdef OLD
bool virq_register(size_t vcpu, size_t irq, virq_ack_fn_t ack, void *cookie)
{
	m.ack = ack;
	m.ack_data = cookie;
	return vcpu == 0 && irq == IRQ;
}

bool virq_inject(size_t vcpu, int irq)
{
	return give(vcpu, irq);
}

static void acknowledge(void)
{
	m.ack(0, IRQ, m.ack_data);
}
#else
bool virq_register(irq_routing_info_t route, virq_ack_fn_t ack, void *cookie)
{
	m.ack = ack;
	m.ack_data = cookie;
	return route.vcpu == 0 && route.irq == IRQ;
}

bool virq_inject(irq_routing_info_t route)
{
	return give(route.vcpu, route.irq);
}

static void acknowledge(void)
{
	m.ack(ARM_GIC_IRQ_ROUTE(0, IRQ), m.ack_data);
}
#endif

/* The guest's handler is done: a fault, in which libvmm calls back. */
static void end_of_interrupt(struct usb_channel *c)
{
	m.busy = false;
	acknowledge();
	usb_channel_retry(c);
}

static struct usb_channel start(void)
{
	return (struct usb_channel) {
		.peer = PEER, .doorbell = DOORBELL, .irq = IRQ,
	};
}

int main(void)
{
	struct usb_channel c = start();
	seL4_UserContext regs = { { 7 } };
	int i;

	expect(usb_channel_init(&c), "refused");
	expect(m.fault(0, 0, WRITE, &regs, m.fault_data), "not handled");
	expect(m.notified == 1 && regs.x[0] == 7, "no notification");
	expect(m.fault(0, 8, 0, &regs, m.fault_data), "not handled");
	expect(m.notified == 1 && !regs.x[0] && m.emulated == DOORBELL + 8,
	       "a load");
	tap_case("a store rings the other one, a load finds 0");

	expect(!usb_channel_notified(&c, PEER + 1), "another channel taken");
	expect(usb_channel_notified(&c, PEER), "not taken");
	expect(m.injected == 1 && !m.forgotten, "not injected");
	for (i = 0; i < 3; i++)
		usb_channel_notified(&c, PEER);
	usb_channel_retry(&c);
	expect(m.injected == 1 && !m.forgotten, "injected over another one");
	end_of_interrupt(&c);
	expect(m.injected == 2 && !m.forgotten, "one was lost");
	end_of_interrupt(&c);
	expect(m.injected == 2, "one too many");
	tap_case("doorbells during an interrupt give one more");

	m.refuses = true;
	usb_channel_notified(&c, PEER);
	m.refuses = false;
	usb_channel_notified(&c, PEER);
	expect(m.injected == 3, "stuck after a refusal");
	tap_case("an interrupt that was refused is not waited for");
	return tap_end();
}
