/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of usbfront: what goes into the ring, what comes out, and what becomes of
 * ports and sessions. "channel" is the number in front of debugfs/usbfront/NAME.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM usbfront

#if !defined(USBFRONT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define USBFRONT_TRACE_H

#include <linux/tracepoint.h>
#include "usbfront.h"

TRACE_EVENT(usbfront_submit,
	    TP_PROTO(const struct usbfront *uf, const struct usbif_request *req),
	    TP_ARGS(uf, req),
	    TP_STRUCT__entry(__field(int, channel)
			     __field(u32, id)
			     __field(u32, epoch)
			     __field(u32, length)
			     __field(u16, flags)
			     __field(u16, extents)
			     __field(u8, op)
			     __field(u8, vusb)
			     __field(u8, port)
			     __field(u8, endpoint)
			     __field(u8, type)),
	    TP_fast_assign(__entry->channel = uf->index;
			   __entry->id = req->id;
			   __entry->epoch = req->port_epoch;
			   __entry->length = req->length;
			   __entry->flags = req->flags;
			   __entry->extents = req->nr_extents;
			   __entry->op = req->op;
			   __entry->vusb = req->vusb;
			   __entry->port = req->port;
			   __entry->endpoint = req->endpoint;
			   __entry->type = req->type;),
	    TP_printk("channel=%d id=%u op=%u vusb=%u port=%u epoch=%u ep=%02x type=%u flags=%x length=%u extents=%u",
		      __entry->channel, __entry->id, __entry->op, __entry->vusb,
		      __entry->port, __entry->epoch, __entry->endpoint,
		      __entry->type, __entry->flags, __entry->length,
		      __entry->extents)
);

TRACE_EVENT(usbfront_complete,
	    TP_PROTO(const struct usbfront *uf, u32 id,
		     const struct usbfront_req *req,
		     const struct usbif_response *rsp),
	    TP_ARGS(uf, id, req, rsp),
	    TP_STRUCT__entry(__field(int, channel)
			     __field(u32, id)
			     __field(u32, length)
			     __field(u32, actual)
			     __field(u8, op)
			     __field(u8, status)
			     __field(u8, held)
			     __field(u8, lost)),
	    TP_fast_assign(__entry->channel = uf->index;
			   __entry->id = id;
			   __entry->length = req->length;
			   __entry->actual = rsp->actual;
			   __entry->op = req->op;
			   __entry->status = rsp->status;
			   __entry->held = !!(rsp->flags & USBIF_RSP_HELD);
			   __entry->lost = req->state == USBFRONT_REQ_LOST;),
	    TP_printk("channel=%d id=%u op=%u status=%u actual=%u of %u held=%u lost=%u",
		      __entry->channel, __entry->id, __entry->op, __entry->status,
		      __entry->actual, __entry->length, __entry->held,
		      __entry->lost)
);

TRACE_EVENT(usbfront_cancel,
	    TP_PROTO(const struct usbfront *uf, u32 id),
	    TP_ARGS(uf, id),
	    TP_STRUCT__entry(__field(int, channel)
			     __field(u32, id)),
	    TP_fast_assign(__entry->channel = uf->index;
			   __entry->id = id;),
	    TP_printk("channel=%d id=%u", __entry->channel, __entry->id)
);

TRACE_EVENT(usbfront_port,
	    TP_PROTO(const struct usbfront_port *port, enum usbfront_side side,
		     enum usbfront_hub_state from, enum usbfront_hub_state to),
	    TP_ARGS(port, side, from, to),
	    TP_STRUCT__entry(__field(int, channel)
			     __field(u8, vusb)
			     __field(u8, port)
			     __field(u8, side)
			     __field(u8, speed)
			     __field(u32, epoch)
			     __field(int, from)
			     __field(int, to)),
	    TP_fast_assign(__entry->channel = port->vusb->uf->index;
			   __entry->vusb = port->vusb->number;
			   __entry->port = port->number;
			   __entry->side = side;
			   __entry->speed = port->speed;
			   __entry->epoch = port->epoch;
			   __entry->from = from;
			   __entry->to = to;),
	    TP_printk("channel=%d vusb=%u port=%u hub=%s epoch=%u speed=%u %s -> %s",
		      __entry->channel, __entry->vusb, __entry->port,
		      __entry->side == USBFRONT_USB3 ? "usb3" : "usb2",
		      __entry->epoch, __entry->speed,
		      usbfront_hub_state_name(__entry->from),
		      usbfront_hub_state_name(__entry->to))
);

TRACE_EVENT(usbfront_state,
	    TP_PROTO(const struct usbfront *uf, enum usbfront_state from,
		     enum usbfront_state to),
	    TP_ARGS(uf, from, to),
	    TP_STRUCT__entry(__field(int, channel)
			     __field(u32, session)
			     __field(int, from)
			     __field(int, to)),
	    TP_fast_assign(__entry->channel = uf->index;
			   __entry->session = uf->session;
			   __entry->from = from;
			   __entry->to = to;),
	    TP_printk("channel=%d session=%u %s -> %s", __entry->channel,
		      __entry->session, usbfront_state_name(__entry->from),
		      usbfront_state_name(__entry->to))
);

#endif /* USBFRONT_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../usbfront
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
