// SPDX-License-Identifier: GPL-2.0
/*
 * Bulk streams: operations that usbcore waits for, and what a controller claims.
 *
 * usbcore knows of a controller, not of a device, whether it can do streams, and uas and
 * usb-storage decide by that who takes a disk. Here the devices of one controller may come
 * from several, so each is asked for after its first reset, before the hub driver goes on
 * with it; one that cannot have streams makes the whole controller one that does none. A
 * disk that came earlier keeps its streams.
 */
#include "streams.h"

#define CALL_TIMEOUT	(5 * HZ)	/* as usbcore has for a control request */
#define NO_ID_PAUSE	msecs_to_jiffies(10)
#define ANY_ENDPOINT	BIT(1)		/* nothing is configured: it is not there */

static bool has_feature(const struct usbfront *uf)
{
	return uf->features & USBIF_F_STREAMS;
}

/**
 * usbfront_streams_update - tell usbcore whether a controller can do streams
 * @vusb: controller
 */
void usbfront_streams_update(struct usbfront_vusb *vusb)
{
	struct usb_hcd *hcd = vusb->hcd[USBFRONT_USB3];
	bool can = has_feature(vusb->uf);
	int i;

	lockdep_assert_held(&vusb->uf->lock);
	if (!hcd)
		return;
	for (i = 0; i < USBIF_MAX_PORTS; i++)
		if (vusb->port[i].no_streams)
			can = false;
	if (hcd->can_do_streams != can)
		hcd->can_do_streams = can;
}

/* After that a device is taken for one that can have none. */
#define QUERY_TIMEOUT	(3 * HZ)

/**
 * usbfront_streams_ask - ask whether a device can have streams
 * @port: port whose device has just been reset
 *
 * Return: true if the answer is on its way.
 */
bool usbfront_streams_ask(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;

	lockdep_assert_held(&uf->lock);
	if (port->is_asked || usbfront_side_of(port->speed) != USBFRONT_USB3)
		return false;
	if (!has_feature(uf)) {
		/* The backend of the last session may have had it. */
		usbfront_streams_update(port->vusb);
		return false;
	}
	if (!port->query) {
		port->query = usbfront_op_submit(uf, port,
						 USBIF_OP_ALLOC_STREAMS, 0, 1,
						 ANY_ENDPOINT);
		port->query_until = jiffies + QUERY_TIMEOUT;
	} else if (time_after(jiffies, port->query_until)) {
		port->no_streams = true;
		usbfront_streams_update(port->vusb);
		return false;
	}
	return port->query;
}

/**
 * usbfront_streams_told - the answer to usbfront_streams_ask()
 * @port: port
 * @status: enum usbif_status: only "unsupported" is a no
 */
void usbfront_streams_told(struct usbfront_port *port, u32 status)
{
	port->query = NULL;
	port->is_asked = true;
	port->no_streams = status == USBIF_ST_UNSUPPORTED;
	usbfront_streams_update(port->vusb);
	/* That of the reset before may come while another one is on its way. */
	if (!port->reset && !port->is_reset_due)
		usbfront_port_reset_end(port, USBIF_ST_OK);
}

/* ---- operations that somebody waits for ---- */

/**
 * usbfront_call_end - nobody need wait for an operation any more
 * @port: port
 * @status: enum usbif_status
 * @value: of the completion
 */
void usbfront_call_end(struct usbfront_port *port, u32 status, u32 value)
{
	struct usbfront_call *call = port->call;

	lockdep_assert_held(&port->vusb->uf->lock);
	if (!call)
		return;
	port->call = NULL;
	call->req->call = NULL;
	call->status = status;
	call->value = value;
	complete(&call->done);
}

/* 0, or -EAGAIN if there is no id at this moment. */
static int call_begin(struct usbfront_port *port, struct usbfront_call *call,
		      u8 op, u32 arg0, u32 arg1)
{
	struct usbfront *uf = port->vusb->uf;
	int ret = 0;
	bool kick;

	spin_lock_irq(&uf->lock);
	if (port->call)
		ret = -EBUSY;
	else if (!port->epoch || !uf->is_running)
		ret = -ENODEV;
	if (ret) {
		spin_unlock_irq(&uf->lock);
		return ret;
	}
	call->req = usbfront_op_submit(uf, port, op, 0, arg0, arg1);
	if (call->req) {
		call->req->call = call;
		port->call = call;
	}
	kick = usbfront_kick_prepare(uf);
	spin_unlock_irq(&uf->lock);
	if (kick)
		usbif_chan_kick(uf->chan);
	return call->req ? 0 : -EAGAIN;
}

static void call_abandon(struct usbfront_port *port, struct usbfront_call *call)
{
	struct usbfront *uf = port->vusb->uf;

	spin_lock_irq(&uf->lock);
	if (port->call == call)
		usbfront_call_end(port, USBIF_ST_TIMEOUT, 0);
	spin_unlock_irq(&uf->lock);
}

/* Sleeps. The value of the operation, or what went wrong. */
static int call_wait(struct usbfront_port *port, u8 op, u32 arg0, u32 arg1)
{
	unsigned long until = jiffies + CALL_TIMEOUT;
	struct usbfront_call call = { .req = NULL };
	long left;
	int ret;

	init_completion(&call.done);
	while ((ret = call_begin(port, &call, op, arg0, arg1)) == -EAGAIN &&
	       time_before(jiffies, until))
		schedule_timeout_uninterruptible(NO_ID_PAUSE);
	if (ret)
		return ret == -EAGAIN ? -ENOMEM : ret;
	left = max_t(long, until - jiffies, 1);
	if (!wait_for_completion_timeout(&call.done, left))
		call_abandon(port, &call);
	switch (call.status) {
	case USBIF_ST_OK:
		return call.value;
	case USBIF_ST_INVALID:
	case USBIF_ST_NOENT:
		return -EINVAL;
	default:
		return usbif_status_to_errno(call.status);
	}
}

/* ---- hc_driver ---- */

static u32 endpoint_mask(struct usb_host_endpoint **eps, unsigned int nr_eps)
{
	u32 mask = 0;
	unsigned int i;

	for (i = 0; i < nr_eps; i++) {
		const struct usb_endpoint_descriptor *desc = &eps[i]->desc;

		mask |= BIT(usb_endpoint_num(desc) +
			    (usb_endpoint_dir_in(desc) ? 16 : 0));
	}
	return mask;
}

/*
 * A command on a stream needs an id on each of the command, status and data endpoints,
 * and a port has half of all.
 */
static u32 most_streams(const struct usbfront *uf)
{
	return uf->lay.nr_requests / 8;
}

/**
 * usbfront_alloc_streams - hc_driver.alloc_streams
 * @hcd: root hub the device is on
 * @udev: device
 * @eps: its endpoints
 * @nr_eps: number of them
 * @nr_streams: wanted
 * @gfp: not used, nothing is allocated
 *
 * Return: streams granted, or a negative errno.
 */
int usbfront_alloc_streams(struct usb_hcd *hcd, struct usb_device *udev,
			   struct usb_host_endpoint **eps, unsigned int nr_eps,
			   unsigned int nr_streams, gfp_t gfp)
{
	struct usbfront_vusb *vusb = usbfront_hcd_priv(hcd)->vusb;
	struct usbfront_port *port = usbfront_port_of(vusb, udev);
	u32 wanted = min(nr_streams, most_streams(vusb->uf));
	int ret;

	if (!port)
		return -ENODEV;
	if (!has_feature(vusb->uf))
		return -EOPNOTSUPP;
	if (!wanted)
		return -EINVAL;
	ret = call_wait(port, USBIF_OP_ALLOC_STREAMS, wanted,
			endpoint_mask(eps, nr_eps));
	if (ret >= 0 && (!ret || ret > wanted)) {
		usbfront_break(vusb->uf, USBIF_ERR_STATE, "streams granted",
			       ret, wanted);
		return -EPROTO;
	}
	return ret;
}

/**
 * usbfront_free_streams - hc_driver.free_streams
 * @hcd: root hub the device is on
 * @udev: device
 * @eps: its endpoints
 * @nr_eps: number of them
 * @gfp: not used, nothing is allocated
 *
 * Return: 0, also if the device has gone and the streams with it or nobody answers, or a
 * negative errno: usbcore tries once more then.
 */
int usbfront_free_streams(struct usb_hcd *hcd, struct usb_device *udev,
			  struct usb_host_endpoint **eps, unsigned int nr_eps,
			  gfp_t gfp)
{
	struct usbfront_vusb *vusb = usbfront_hcd_priv(hcd)->vusb;
	struct usbfront_port *port = usbfront_port_of(vusb, udev);
	int ret;

	if (!port)
		return 0;
	ret = call_wait(port, USBIF_OP_FREE_STREAMS, 0,
			endpoint_mask(eps, nr_eps));
	return ret == -ENODEV || ret == -ETIME ? 0 : min(ret, 0);
}
