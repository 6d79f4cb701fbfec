// SPDX-License-Identifier: GPL-2.0
/*
 * Ports: which device is behind which vport, and what the guest is told of it.
 *
 *   EMPTY -> IDLE -> PREPARING -> UP      and from each of them to
 *             ^          |         |      DETACHING -> EMPTY
 *             +----------+---------+
 *               session over
 *
 * A device that was used is reset before its next owner talks to it (PREPARING, by
 * the port's worker), so that none finds what another one left. The guest is shown
 * the port before that: it waits until the connection is stable and resets the port,
 * which takes as long. Its reset is queued behind ours; all else is refused. For the
 * same reason a port is shown (ANNOUNCED) while the device is being taken from its
 * driver on the host; then it is EMPTY again or PREPARING.
 *
 * The end of an attachment: phase DETACHING stops intake and submission, every
 * request is killed, the last handler has answered (port->inflight, counted from
 * before usb_submit_urb() until after the answer), the worker has given up or ended.
 */
#include <linux/dma-mapping.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include "backend.h"
#include "trace.h"

static const char * const phase_names[PORT_PHASES] = {
	[PORT_EMPTY]	= "empty",
	[PORT_ANNOUNCED] = "announced",
	[PORT_IDLE]	= "idle",
	[PORT_PREPARING] = "preparing",
	[PORT_UP]	= "up",
	[PORT_FAILED]	= "failed",
	[PORT_DETACHING] = "detaching",
};

const char *usbback_phase_name(enum usbback_phase phase)
{
	return phase_names[phase];
}

static struct usbback_port *port_alloc(struct usbback *ub, u8 vusb, u8 nr)
{
	struct usbback_port *port = kzalloc(sizeof(*port), GFP_KERNEL);
	unsigned int i;

	if (!port)
		return NULL;
	port->ub = ub;
	port->vusb = vusb;
	port->nr = nr;
	port->last_reset = jiffies - HZ;
	port->configs_until = jiffies;
	INIT_LIST_HEAD(&port->ops);
	INIT_WORK(&port->work, usbback_op_work);
	for (i = 0; i < USBBACK_EPS; i++) {
		struct usbback_ep *ep = &port->eps[i];

		ep->port = port;
		ep->index = i;
		INIT_LIST_HEAD(&ep->active);
		INIT_LIST_HEAD(&ep->parked);
		INIT_LIST_HEAD(&ep->run);
	}
	return port;
}

static bool port_exists(const struct usbback *ub, u8 vusb, u8 nr)
{
	return vusb < ub->lay.nr_vusb && nr && nr <= ub->lay.nr_ports;
}

/* The port, made if it is its first time. */
static struct usbback_port *port_get(struct usbback *ub, u8 vusb, u8 nr)
{
	struct usbback_port *port = READ_ONCE(ub->ports[vusb][nr]);
	struct usbback_port *fresh;

	if (port)
		return port;
	fresh = port_alloc(ub, vusb, nr);
	if (!fresh)
		return NULL;
	/* Another device may have been faster. */
	port = cmpxchg(&ub->ports[vusb][nr], NULL, fresh);
	if (!port)
		return fresh;
	kfree(fresh);
	return port;
}

/**
 * usbback_port_find_shown - the port a reset is for
 * @ub: channel, its lock held
 * @vusb: virtual controller
 * @nr: port
 * @epoch: that the guest believes in
 *
 * Return: the port, or NULL if the guest sees no such device.
 */
struct usbback_port *usbback_port_find_shown(struct usbback *ub, u8 vusb, u8 nr,
					     u32 epoch)
{
	struct usbback_port *port;

	lockdep_assert_held(&ub->lock);
	vusb = array_index_nospec(vusb, USBIF_MAX_VUSB);
	nr = array_index_nospec(nr, USBIF_MAX_PORTS + 1);
	port = ub->ports[vusb][nr];
	if (!port || !usbback_port_is_shown(port) || port->epoch != epoch)
		return NULL;
	return port;
}

/**
 * usbback_port_find - the port a request is for
 * @ub: channel, its lock held
 * @vusb: virtual controller
 * @nr: port
 * @epoch: that the guest believes in
 *
 * Return: the port, or NULL if it has no such device for the guest.
 */
struct usbback_port *usbback_port_find(struct usbback *ub, u8 vusb, u8 nr,
				       u32 epoch)
{
	struct usbback_port *port = usbback_port_find_shown(ub, vusb, nr, epoch);

	return port && port->phase == PORT_UP ? port : NULL;
}

static void next_epoch(struct usbback_port *port)
{
	struct usbback *ub = port->ub;

	if (!++ub->next_epoch)
		ub->next_epoch++;
	port->epoch = ub->next_epoch;
}

static void prepare_begin(struct usbback_port *port)
{
	port->phase = PORT_PREPARING;
	port->want_prepare = true;
	queue_work(port->ub->wq, &port->work);
}

/* Shows the port's device to the guest and has it reset, if need be. Caller kicks. */
static void port_prepare(struct usbback_port *port)
{
	lockdep_assert_held(&port->ub->lock);
	next_epoch(port);
	prepare_begin(port);
	usbback_session_write_port(port, USBIF_REASON_ATTACHED);
}

/**
 * usbback_port_run - look at all endpoints of a port again
 * @port: port; ub->lock held
 */
void usbback_port_run(struct usbback_port *port)
{
	unsigned int i;

	for (i = 0; i < USBBACK_EPS; i++)
		if (!list_empty(&port->eps[i].parked))
			usbback_urb_schedule(&port->eps[i]);
}

static u8 kill_status(enum usbback_kill kill)
{
	return kill == KILL_NODEV ? USBIF_ST_NODEV : USBIF_ST_SHUTDOWN;
}

static void ep_kill(struct usbback_ep *ep, u64 seq, enum usbback_kill kill)
{
	struct usbback_slot *slot, *next;

	list_for_each_entry(slot, &ep->active, node)
		if (slot->seq < seq)
			usbback_urb_kill(slot, kill);
	list_for_each_entry_safe(slot, next, &ep->parked, node)
		if (slot->seq < seq)
			usbback_request_finish(slot, kill_status(kill), 0, 0, 0);
}

void usbback_port_kill(struct usbback_port *port, u32 mask, u64 seq,
		       enum usbback_kill kill)
{
	unsigned int i;

	lockdep_assert_held(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i))
			ep_kill(&port->eps[i], seq, kill);
}

static void mapping_limits(struct usbback_port *port, struct usb_device *udev)
{
	struct device *sysdev = udev->bus->sysdev;

	port->max_linear = dma_max_mapping_size(sysdev);
	/* Where data is bounced, an element that is longer could never be mapped. */
	port->max_segment = min_t(size_t, dma_get_max_seg_size(sysdev), port->max_linear) &
			    PAGE_MASK;
}

static void port_fill(struct usbback_port *port, struct usbback_dev *bdev,
		      bool used)
{
	unsigned int i;

	port->bdev = usbback_dev_get(bdev);
	port->udev = usbback_dev_udev(bdev);
	port->phase = PORT_IDLE;
	port->configured = false;
	port->pristine = !used;
	port->gate = 0;
	port->asleep = false;
	port->frozen = false;
	port->held_awake = false;
	for (i = 0; i < USBBACK_EPS; i++) {
		port->eps[i].held = false;
		port->eps[i].streams = 0;
	}
	mapping_limits(port, port->udev);
}

/**
 * usbback_port_attach - put a device on a vport
 * @ub: channel
 * @vusb: virtual controller
 * @nr: port
 * @bdev: device
 * @used: somebody had it since it was enumerated or reset
 *
 * The guest sees it at once, if there is a guest, and can use it when it was reset,
 * if it was used. So it is again for each further session.
 *
 * Return: 0, -EBUSY if the port is taken, -EINVAL, -ENOMEM.
 */
int usbback_port_attach(struct usbback *ub, u8 vusb, u8 nr,
			struct usbback_dev *bdev, bool used)
{
	struct usb_device *udev = usbback_dev_udev(bdev);
	bool kick = false, announced;
	struct usbback_port *port;
	int ret = 0;

	if (!port_exists(ub, vusb, nr))
		return -EINVAL;
	port = port_get(ub, vusb, nr);
	if (!port)
		return -ENOMEM;
	spin_lock_irq(&ub->lock);
	announced = port->phase == PORT_ANNOUNCED && port->udev == udev;
	if (port->phase != PORT_EMPTY && !announced) {
		ret = -EBUSY;
	} else {
		port_fill(port, bdev, used);
		kick = ub->state == USBBACK_RUNNING && !announced;
		if (kick)
			port_prepare(port);
		else if (announced)
			prepare_begin(port);
	}
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
	if (!ret)
		usbback_dev_set_port(bdev, port);
	return ret;
}

/**
 * usbback_port_announce - show a device that is about to be attached
 * @ub: channel
 * @vusb: virtual controller
 * @nr: port
 * @udev: device
 *
 * Nothing happens if there is no guest or the port is not free. The caller calls
 * usbback_port_retract() before it lets go of @udev.
 */
void usbback_port_announce(struct usbback *ub, u8 vusb, u8 nr,
			   struct usb_device *udev)
{
	struct usbback_port *port;
	bool kick;

	if (!port_exists(ub, vusb, nr))
		return;
	port = port_get(ub, vusb, nr);
	if (!port)
		return;
	spin_lock_irq(&ub->lock);
	kick = port->phase == PORT_EMPTY && ub->state == USBBACK_RUNNING;
	if (kick) {
		port->phase = PORT_ANNOUNCED;
		port->udev = udev;
		next_epoch(port);
		usbback_session_write_port(port, USBIF_REASON_ATTACHED);
	}
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
}

/* The worker ends the operations that the guest has asked for meanwhile. */
static void port_retract(struct usbback_port *port)
{
	lockdep_assert_held(&port->ub->lock);
	port->phase = PORT_EMPTY;
	port->udev = NULL;
	usbback_session_write_port(port, USBIF_REASON_UNPLUGGED);
	queue_work(port->ub->wq, &port->work);
}

/**
 * usbback_port_retract - take back what was announced, unless it was attached
 * @ub: channel
 * @vusb: virtual controller
 * @nr: port
 * @udev: device
 */
void usbback_port_retract(struct usbback *ub, u8 vusb, u8 nr,
			  const struct usb_device *udev)
{
	struct usbback_port *port;
	bool kick;

	if (!port_exists(ub, vusb, nr))
		return;
	spin_lock_irq(&ub->lock);
	port = ub->ports[vusb][nr];
	kick = port && port->phase == PORT_ANNOUNCED && port->udev == udev;
	if (kick)
		port_retract(port);
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
}

static struct usbback_port *port_of(struct usbback *ub, struct usbback_dev *bdev)
{
	unsigned int vusb, nr;

	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr] &&
			    ub->ports[vusb][nr]->bdev == bdev)
				return ub->ports[vusb][nr];
	return NULL;
}

/* No answer of a former request is missing any more, or about to be written. */
static bool port_drained(struct usbback_port *port)
{
	bool drained;

	spin_lock_irq(&port->ub->lock);
	drained = !port->inflight;
	spin_unlock_irq(&port->ub->lock);
	return drained;
}

static void wait_drained(struct usbback_port *port)
{
	struct usbback *ub = port->ub;

	while (!wait_event_timeout(ub->idle, port_drained(port), 10 * HZ))
		dev_warn(&port->udev->dev,
			 "host controller does not return %u requests\n",
			 READ_ONCE(port->inflight));
}

/* Returns true if the frontend is to be rung. */
static bool detach_begin(struct usbback *ub, struct usbback_port *port,
			 enum usbif_port_reason reason)
{
	bool kick = false;

	lockdep_assert_held(&ub->lock);
	port->want_prepare = false;
	port->phase = PORT_DETACHING;
	if (ub->state == USBBACK_RUNNING) {
		usbback_port_kill(port, ~0U, U64_MAX, KILL_NODEV);
		usbback_session_write_port(port, reason);
		usbif_prod_need_kick(&ub->cq);
		kick = true;
	}
	ub->waiters++;
	return kick;
}

/**
 * usbback_port_detach - take a device off its vport
 * @ub: channel
 * @bdev: device
 * @reason: for the guest
 *
 * Sleeps until nothing of the channel touches the device any more. May be called
 * with the device lock held.
 */
void usbback_port_detach(struct usbback *ub, struct usbback_dev *bdev,
			 enum usbif_port_reason reason)
{
	struct usbback_port *port;
	bool kick;

	spin_lock_irq(&ub->lock);
	port = port_of(ub, bdev);
	if (!port || port->phase == PORT_DETACHING) {
		spin_unlock_irq(&ub->lock);
		if (port)
			wait_event(ub->idle, READ_ONCE(port->bdev) != bdev);
		return;
	}
	kick = detach_begin(ub, port, reason);
	spin_unlock_irq(&ub->lock);

	usbback_urb_unlink_port(port);
	if (kick)
		usbif_chan_kick(ub->chan);
	wait_drained(port);
	/* It sees the phase and refuses what is left; what it does now may end. */
	queue_work(ub->wq, &port->work);
	flush_work(&port->work);
	usbback_dev_set_port(bdev, NULL);
	usbback_dev_resume(bdev);

	spin_lock_irq(&ub->lock);
	ub->waiters--;
	port->phase = PORT_EMPTY;
	port->udev = NULL;
	WRITE_ONCE(port->bdev, NULL);
	spin_unlock_irq(&ub->lock);
	wake_up_all(&ub->idle);
	usbback_dev_put(bdev);
}

static void with_ports(struct usbback *ub,
		       void (*fn)(struct usbback_port *port))
{
	unsigned int vusb, nr;

	lockdep_assert_held(&ub->lock);
	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++) {
			struct usbback_port *port = ub->ports[vusb][nr];

			if (port && port->phase != PORT_DETACHING)
				fn(port);
		}
}

static void port_start(struct usbback_port *port)
{
	if (port->bdev)
		port_prepare(port);
}

/**
 * usbback_ports_start - show the devices to a new session
 * @ub: channel
 */
void usbback_ports_start(struct usbback *ub)
{
	spin_lock_irq(&ub->lock);
	with_ports(ub, port_start);
	spin_unlock_irq(&ub->lock);
	usbif_chan_kick(ub->chan);
}

static void port_stop(struct usbback_port *port)
{
	unsigned int i;

	if (port->phase == PORT_ANNOUNCED)
		port_retract(port);
	if (!port->bdev)
		return;
	port->phase = PORT_IDLE;
	port->want_prepare = false;
	for (i = 0; i < USBBACK_EPS; i++)
		port->eps[i].held = false;
}

/**
 * usbback_ports_stop - take everything back at the end of a session
 * @ub: channel, in state ENDING
 */
void usbback_ports_stop(struct usbback *ub)
{
	unsigned int vusb, nr;

	spin_lock_irq(&ub->lock);
	with_ports(ub, port_stop);
	usbback_request_drop_all(ub);
	spin_unlock_irq(&ub->lock);
	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr])
				usbback_urb_unlink_port(ub->ports[vusb][nr]);
}
