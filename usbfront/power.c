// SPDX-License-Identifier: GPL-2.0
/*
 * Power: what the hub driver suspends and resumes here is suspended and resumed where it
 * really is, and a device that wakes up there wakes its port here.
 *
 * Each port has one goal, port->wants_sleep, and one operation on its way at most; when
 * that has ended and the goal is another by then, the other operation follows. So the
 * device is in the end as its port shows it, whatever was lost, refused or late.
 *
 * Whoever suspends waits for the answer, with a deadline: a device that can't must stay
 * active, or nobody would hear of its input, and a system that goes to sleep must not
 * leave a device behind that could not wake it. Nobody waits when something is resumed:
 * requests wait behind the resume, at the backend.
 *
 * Without USBIF_F_SUSPEND ports are suspended in appearance only, and remote wakeup is
 * refused.
 */
#include "power.h"

#define SUSPEND_TIMEOUT		HZ

static bool has_power(const struct usbfront *uf)
{
	return uf->is_running && uf->features & USBIF_F_SUSPEND;
}

/* The operation is sent by the thread. */
static void port_look(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;

	if (port->power || port->is_power_due ||
	    port->wants_sleep == port->is_asleep)
		return;
	port->is_power_due = true;
	uf->nr_power_due++;
	usbfront_wake(uf, USBFRONT_EV_FEED);
}

static void port_want(struct usbfront_port *port, bool sleep)
{
	lockdep_assert_held(&port->vusb->uf->lock);
	if (!has_power(port->vusb->uf) || !port->epoch)
		return;
	port->wants_sleep = sleep;
	port_look(port);
}

/**
 * usbfront_port_wake - a port is to be active
 * @port: port, whatever it is now
 */
void usbfront_port_wake(struct usbfront_port *port)
{
	port_want(port, false);
}

/**
 * usbfront_power_clear - forget the power state of a device that has gone
 * @port: port
 */
void usbfront_power_clear(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;

	lockdep_assert_held(&uf->lock);
	if (port->is_power_due)
		uf->nr_power_due--;
	port->is_power_due = false;
	port->power = NULL;
	port->wants_sleep = false;
	port->is_asleep = false;
	port->is_bus_asleep = false;
	port->may_wake = false;
	wake_up_all(&uf->power_wait);
}

/**
 * usbfront_port_send_power - send what a port wants, if anything
 * @port: port
 */
void usbfront_port_send_power(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;
	bool sleep = port->wants_sleep;

	lockdep_assert_held(&uf->lock);
	if (!port->is_power_due)
		return;
	if (sleep != port->is_asleep) {
		port->power = usbfront_op_submit(uf, port, sleep ?
						 USBIF_OP_SUSPEND :
						 USBIF_OP_RESUME, 0,
						 sleep && port->may_wake, 0);
		if (!port->power)
			return;		/* no id: when there is one */
	}
	port->is_power_due = false;
	uf->nr_power_due--;
	wake_up_all(&uf->power_wait);
}

/**
 * usbfront_power_done - the backend has answered
 * @port: port, still with the same device
 * @op: USBIF_OP_SUSPEND or USBIF_OP_RESUME
 * @status: enum usbif_status
 */
void usbfront_power_done(struct usbfront_port *port, u8 op, u32 status)
{
	lockdep_assert_held(&port->vusb->uf->lock);
	port->power = NULL;
	port->is_asleep = op == USBIF_OP_SUSPEND && !status;
	/* A device that can't: not again and again. */
	if (op == USBIF_OP_SUSPEND && status)
		port->wants_sleep = false;
	port_look(port);
	wake_up_all(&port->vusb->uf->power_wait);
}

static bool is_settled(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;
	bool ret;

	spin_lock_irq(&uf->lock);
	ret = !uf->is_running ||
	      (!port->power && port->wants_sleep == port->is_asleep);
	spin_unlock_irq(&uf->lock);
	return ret;
}

static enum usbfront_hub_state state_of(const struct usbfront_port *port,
					enum usbfront_side side)
{
	return port->hport[side].state;
}

/**
 * usbfront_port_suspend - the hub driver suspends a port
 * @port: port
 * @side: which root hub
 *
 * Process context, without the lock. Waits for the backend, not for long.
 *
 * Return: 0, or -EPIPE if the device can't be suspended; its port is active then.
 */
int usbfront_port_suspend(struct usbfront_port *port, enum usbfront_side side)
{
	struct usbfront *uf = port->vusb->uf;
	bool is_crossing;
	int ret = 0;

	spin_lock_irq(&uf->lock);
	is_crossing = state_of(port, side) == USBFRONT_HUB_ENABLED &&
		      has_power(uf);
	usbfront_hport_set(port, side, USBFRONT_HUB_SUSPENDED, 0);
	if (is_crossing)
		port_want(port, true);
	spin_unlock_irq(&uf->lock);
	if (!is_crossing)
		return 0;

	wait_event_timeout(uf->power_wait, is_settled(port), SUSPEND_TIMEOUT);
	spin_lock_irq(&uf->lock);
	/* One that has gone, or has woken up already, was suspended. */
	if (!port->is_asleep && port->epoch &&
	    state_of(port, side) == USBFRONT_HUB_SUSPENDED) {
		usbfront_hport_set(port, side, USBFRONT_HUB_ENABLED, 0);
		port_want(port, false);
		uf->stats.sleepless++;
		ret = -EPIPE;
	}
	spin_unlock_irq(&uf->lock);
	return ret;
}

/**
 * usbfront_port_wakeup - look whether a device has woken up
 * @port: port whose entry in the port table was read
 */
void usbfront_port_wakeup(struct usbfront_port *port)
{
	enum usbfront_side side = usbfront_side_of(port->speed);
	struct usbfront_vusb *vusb = port->vusb;

	lockdep_assert_held(&vusb->uf->lock);
	if (!port->epoch || port->wire.epoch != port->epoch ||
	    port->wire.wakeup == port->wakeup)
		return;
	port->wakeup = port->wire.wakeup;
	if (state_of(port, side) != USBFRONT_HUB_SUSPENDED)
		return;
	vusb->uf->stats.wakeups_remote++;
	vusb->wakeups[side] |= BIT(port->number);
	usbfront_hport_set(port, side, USBFRONT_HUB_ENABLED,
			   side == USBFRONT_USB3 ? USB_PORT_STAT_C_LINK_STATE :
						   USB_PORT_STAT_C_SUSPEND);
	usbfront_port_wake(port);
}

/* ---- whole root hubs ---- */

static bool is_bus_settled(struct usbfront_vusb *vusb)
{
	int p;

	for (p = 0; p < USBIF_MAX_PORTS; p++)
		if (!is_settled(&vusb->port[p]))
			return false;
	return true;
}

/**
 * usbfront_bus_suspend - hc_driver.bus_suspend
 * @hcd: root hub
 *
 * Devices that were not suspended one by one follow the bus, as the USB 2.0 specification
 * says of a global suspend. A change of a port wakes the hub up (see
 * usbfront_vusbs_poll()).
 *
 * Return: 0.
 */
int usbfront_bus_suspend(struct usb_hcd *hcd)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct usbfront_vusb *vusb = priv->vusb;
	struct usbfront *uf = vusb->uf;
	int p;

	spin_lock_irq(&uf->lock);
	vusb->is_suspended[priv->side] = true;
	for (p = 0; p < USBIF_MAX_PORTS; p++) {
		struct usbfront_port *port = &vusb->port[p];

		if (state_of(port, priv->side) != USBFRONT_HUB_ENABLED)
			continue;
		port->is_bus_asleep = true;
		port_want(port, true);
	}
	spin_unlock_irq(&uf->lock);
	wait_event_timeout(uf->power_wait, is_bus_settled(vusb),
			   SUSPEND_TIMEOUT);
	return 0;
}

/**
 * usbfront_bus_resume - hc_driver.bus_resume
 * @hcd: root hub
 *
 * Return: 0; with a dead backend too, its devices are gone then.
 */
int usbfront_bus_resume(struct usb_hcd *hcd)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct usbfront_vusb *vusb = priv->vusb;
	struct usbfront *uf = vusb->uf;
	int p;

	spin_lock_irq(&uf->lock);
	vusb->is_suspended[priv->side] = false;
	vusb->is_poll_due[priv->side] = true;
	for (p = 0; p < USBIF_MAX_PORTS; p++) {
		struct usbfront_port *port = &vusb->port[p];

		if (!port->is_bus_asleep ||
		    usbfront_side_of(port->speed) != priv->side)
			continue;
		port->is_bus_asleep = false;
		usbfront_port_wake(port);
	}
	spin_unlock_irq(&uf->lock);
	usbfront_wake(uf, USBFRONT_EV_POLL);
	return 0;
}

/* ---- remote wakeup ---- */

/**
 * usbfront_may_wake - the guest allows a device to wake it up, or does not
 * @port: port
 * @may_wake: what it says
 *
 * Return: true if that has a meaning.
 */
bool usbfront_may_wake(struct usbfront_port *port, bool may_wake)
{
	lockdep_assert_held(&port->vusb->uf->lock);
	if (!has_power(port->vusb->uf))
		return false;
	port->may_wake = may_wake;
	return true;
}

/**
 * usbfront_is_waker - look whether a device may wake up the guest
 * @uf: channel
 *
 * Return: true if one is suspended with remote wakeup.
 */
bool usbfront_is_waker(struct usbfront *uf)
{
	bool ret = false;
	int v, p;

	spin_lock_irq(&uf->lock);
	for (v = 0; v < USBIF_MAX_VUSB; v++)
		for (p = 0; uf->vusb[v] && p < USBIF_MAX_PORTS; p++)
			ret |= uf->vusb[v]->port[p].is_asleep &&
			       uf->vusb[v]->port[p].may_wake;
	spin_unlock_irq(&uf->lock);
	return ret;
}
