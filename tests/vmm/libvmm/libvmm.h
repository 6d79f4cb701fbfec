/* SPDX-License-Identifier: GPL-2.0 */
/* As much of libvmm as the example for a VMM uses: of 0.2.0, or with OLD of 0.1.0. */
#ifndef LIBVMM_H
#define LIBVMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <microkit.h>

typedef bool (*vm_exception_handler_t)(size_t, size_t, size_t, seL4_UserContext *,
				       void *);
bool fault_register_vm_exception_handler(uintptr_t base, size_t size,
					 vm_exception_handler_t callback,
					 void *data);
bool fault_is_write(uint64_t fsr);
void fault_emulate_write(seL4_UserContext *regs, size_t addr, size_t fsr,
			 size_t value);

#ifdef OLD
typedef void (*virq_ack_fn_t)(size_t vcpu, int irq, void *cookie);
bool virq_register(size_t vcpu, size_t irq, virq_ack_fn_t ack, void *cookie);
bool virq_inject(size_t vcpu, int irq);
#else
typedef struct {
	size_t vcpu;
	size_t irq;
} irq_routing_info_t;

#define ARM_GIC_IRQ_ROUTE(vcpu, irq)	((irq_routing_info_t) { vcpu, irq })

typedef void (*virq_ack_fn_t)(irq_routing_info_t route, void *cookie);
bool virq_register(irq_routing_info_t route, virq_ack_fn_t ack, void *cookie);
bool virq_inject(irq_routing_info_t route);
#endif

#endif /* LIBVMM_H */
