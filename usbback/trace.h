/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints of usbback: what happens to requests, ports and sessions. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM usbback

#if !defined(USBBACK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define USBBACK_TRACE_H

#include <linux/tracepoint.h>
#include "backend.h"

#define USBBACK_TRACE_PFNS 4

TRACE_EVENT(usbback_submit,
	TP_PROTO(const struct usbback_slot *slot),
	TP_ARGS(slot),
	TP_STRUCT__entry(
		__array(char, name, USBIF_NAME_MAX + 1)
		__field(u32, id)
		__field(u32, length)
		__field(u8, vusb)
		__field(u8, port)
		__field(u8, endpoint)
		__field(u8, type)
		__field(u8, how)
		__field(u32, nents)
		__array(unsigned long, pfn, USBBACK_TRACE_PFNS)
	),
	TP_fast_assign(
		unsigned int i;

		strscpy(__entry->name, slot->ub->name, sizeof(__entry->name));
		__entry->id = slot->id;
		__entry->length = slot->req.length;
		__entry->vusb = slot->req.vusb;
		__entry->port = slot->req.port;
		__entry->endpoint = slot->req.endpoint;
		__entry->type = slot->req.type;
		__entry->how = slot->how;
		__entry->nents = slot->nents;
		for (i = 0; i < USBBACK_TRACE_PFNS; i++)
			__entry->pfn[i] = i < slot->nents ?
				page_to_pfn(sg_page(&slot->sg[i])) :
				!i && slot->linear ?
				page_to_pfn(virt_to_page(slot->linear)) : 0;
	),
	TP_printk("%s id=%u port=%u:%u ep=%02x type=%u len=%u %s nents=%u pfn=%lx,%lx,%lx,%lx",
		  __entry->name, __entry->id, __entry->vusb, __entry->port,
		  __entry->endpoint, __entry->type, __entry->length,
		  __print_symbolic(__entry->how,
				   { HOW_NONE, "none" },
				   { HOW_DIRECT, "direct" },
				   { HOW_SG, "direct-sg" },
				   { HOW_BOUNCE, "bounce" },
				   { HOW_BOUNCE_SG, "bounce-sg" }),
		  __entry->nents, __entry->pfn[0], __entry->pfn[1],
		  __entry->pfn[2], __entry->pfn[3])
);

TRACE_EVENT(usbback_complete,
	TP_PROTO(const struct usbback_slot *slot, u8 status, u32 actual,
		 u16 flags),
	TP_ARGS(slot, status, actual, flags),
	TP_STRUCT__entry(
		__array(char, name, USBIF_NAME_MAX + 1)
		__field(u32, id)
		__field(u32, actual)
		__field(u8, vusb)
		__field(u8, port)
		__field(u8, endpoint)
		__field(u8, status)
		__field(u16, flags)
	),
	TP_fast_assign(
		strscpy(__entry->name, slot->ub->name, sizeof(__entry->name));
		__entry->id = slot->id;
		__entry->actual = actual;
		__entry->vusb = slot->req.vusb;
		__entry->port = slot->req.port;
		__entry->endpoint = slot->req.endpoint;
		__entry->status = status;
		__entry->flags = flags;
	),
	TP_printk("%s id=%u port=%u:%u ep=%02x status=%u actual=%u%s",
		  __entry->name, __entry->id, __entry->vusb, __entry->port,
		  __entry->endpoint, __entry->status, __entry->actual,
		  __entry->flags & USBIF_RSP_HELD ? " held" : "")
);

TRACE_EVENT(usbback_cancel,
	TP_PROTO(const struct usbback *ub, u32 target, bool live),
	TP_ARGS(ub, target, live),
	TP_STRUCT__entry(
		__array(char, name, USBIF_NAME_MAX + 1)
		__field(u32, target)
		__field(bool, live)
	),
	TP_fast_assign(
		strscpy(__entry->name, ub->name, sizeof(__entry->name));
		__entry->target = target;
		__entry->live = live;
	),
	TP_printk("%s target=%u %s", __entry->name, __entry->target,
		  __entry->live ? "live" : "not live")
);

TRACE_EVENT(usbback_port,
	TP_PROTO(const struct usbback_port *port, u8 reason),
	TP_ARGS(port, reason),
	TP_STRUCT__entry(
		__array(char, name, USBIF_NAME_MAX + 1)
		__field(u8, vusb)
		__field(u8, nr)
		__field(u8, phase)
		__field(u8, reason)
		__field(u32, epoch)
	),
	TP_fast_assign(
		strscpy(__entry->name, port->ub->name, sizeof(__entry->name));
		__entry->vusb = port->vusb;
		__entry->nr = port->nr;
		__entry->phase = port->phase;
		__entry->reason = reason;
		__entry->epoch = port->epoch;
	),
	TP_printk("%s port=%u:%u phase=%u reason=%u epoch=%u", __entry->name,
		  __entry->vusb, __entry->nr, __entry->phase, __entry->reason,
		  __entry->epoch)
);

TRACE_EVENT(usbback_state,
	TP_PROTO(const struct usbback *ub, u8 from, u8 to),
	TP_ARGS(ub, from, to),
	TP_STRUCT__entry(
		__array(char, name, USBIF_NAME_MAX + 1)
		__field(u32, session)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		strscpy(__entry->name, ub->name, sizeof(__entry->name));
		__entry->session = ub->session;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s session=%u %u -> %u", __entry->name, __entry->session,
		  __entry->from, __entry->to)
);

#endif /* USBBACK_TRACE_H */

/* From include/, which is in the search path. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../usbback
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
