// SPDX-License-Identifier: GPL-2.0
/*
 * Ports: from the backend's table of present states to what two hub drivers see.
 *
 * A device that goes is shown as gone until the hub driver has read that and has
 * acknowledged the change; only then another one is shown. So the driver of a device
 * that was pulled out never meets the one that was plugged in after it, however fast
 * that was, and of what happened in between only the latest state counts. While the
 * root hub sleeps it is usbcore that keeps them apart.
 */
#include <asm/barrier.h>
#include "trace.h"
#include "power.h"
#include "streams.h"

/*
 * The hub driver tries a reset five times, 800 ms each; a real one can take longer
 * than one of those. Repeats join the reset that is on its way.
 */
#define RESET_TIMEOUT		msecs_to_jiffies(4500)
#define SETTLE_DELAY		msecs_to_jiffies(10)

#define TO(state)		BIT(USBFRONT_HUB_##state)

/* A device may go, and power may be cut, in any state. */
#define ALWAYS			(TO(OFF) | TO(EMPTY))

static const u8 hub_steps[USBFRONT_HUB_NR_STATES] = {
	[USBFRONT_HUB_OFF]	 = TO(EMPTY) | TO(CONNECTED),
	[USBFRONT_HUB_EMPTY]	 = TO(OFF) | TO(CONNECTED),
	[USBFRONT_HUB_CONNECTED] = ALWAYS | TO(RESETTING) | TO(ENABLED) |
				   TO(SUSPENDED),
	[USBFRONT_HUB_RESETTING] = ALWAYS | TO(CONNECTED) | TO(ENABLED),
	[USBFRONT_HUB_ENABLED]	 = ALWAYS | TO(CONNECTED) | TO(RESETTING) |
				   TO(SUSPENDED),
	[USBFRONT_HUB_SUSPENDED] = ALWAYS | TO(CONNECTED) | TO(RESETTING) |
				   TO(ENABLED) | TO(RESUMING),
	[USBFRONT_HUB_RESUMING]	 = ALWAYS | TO(CONNECTED) | TO(RESETTING) |
				   TO(ENABLED),
};

static const char * const hub_state_names[USBFRONT_HUB_NR_STATES] = {
	[USBFRONT_HUB_OFF]	 = "off",
	[USBFRONT_HUB_EMPTY]	 = "empty",
	[USBFRONT_HUB_CONNECTED] = "connected",
	[USBFRONT_HUB_RESETTING] = "resetting",
	[USBFRONT_HUB_ENABLED]	 = "enabled",
	[USBFRONT_HUB_SUSPENDED] = "suspended",
	[USBFRONT_HUB_RESUMING]	 = "resuming",
};

/**
 * usbfront_hub_state_name - text for a state
 * @state: of a port of a root hub
 *
 * Return: constant string.
 */
const char *usbfront_hub_state_name(enum usbfront_hub_state state)
{
	return state < USBFRONT_HUB_NR_STATES ? hub_state_names[state] : "?";
}

/**
 * usbfront_side_of - root hub for a speed
 * @speed: enum usbif_speed
 *
 * Return: enum usbfront_side.
 */
enum usbfront_side usbfront_side_of(u8 speed)
{
	return speed >= USBIF_SPEED_SUPER ? USBFRONT_USB3 : USBFRONT_USB2;
}

/* The only place where a state changes. False if there is no such step. */
static bool hport_step(struct usbfront_port *port, enum usbfront_side side,
		       enum usbfront_hub_state to)
{
	struct usbfront_hport *hp = &port->hport[side];

	lockdep_assert_held(&port->vusb->uf->lock);
	if (hp->state == to)
		return true;
	if (!(hub_steps[hp->state] & BIT(to)))
		return false;
	trace_usbfront_port(port, side, hp->state, to);
	port->vusb->uf->nr_resetting += (to == USBFRONT_HUB_RESETTING) -
					(hp->state == USBFRONT_HUB_RESETTING);
	hp->state = to;
	hp->link = USB_SS_PORT_LS_U0;
	return true;
}

/* usbcore is told by the thread. */
static void hport_changed(struct usbfront_port *port, enum usbfront_side side,
			  u16 change)
{
	port->hport[side].change |= change;
	port->vusb->is_poll_due[side] = true;
	usbfront_wake(port->vusb->uf, USBFRONT_EV_POLL);
}

/**
 * usbfront_hport_set - change the state of a port of a root hub
 * @port: port
 * @side: which root hub
 * @to: state; nothing happens if there is no such step
 * @change: bits of wPortChange to report
 *
 * Return: true if that is the state now.
 */
bool usbfront_hport_set(struct usbfront_port *port, enum usbfront_side side,
			enum usbfront_hub_state to, u16 change)
{
	if (!hport_step(port, side, to))
		return false;
	if (change)
		hport_changed(port, side, change);
	return true;
}

static void ep_flush(struct usbfront *uf, struct usbfront_ep *uep, int status)
{
	struct usbfront_xfer *xfer, *next;

	usbfront_ep_forget_restart(uep);
	list_for_each_entry_safe(xfer, next, &uep->xfers, ep_node)
		usbfront_xfer_abandon(uf, xfer, status);
	while (uep->next) {
		struct urb *urb = uep->next;

		usbfront_urb_skip(uep, urb);
		if (!urb->hcpriv)	/* else it ends when it has been copied */
			usbfront_urb_done(uf, urb, status);
	}
}

/**
 * usbfront_port_flush - end all URBs of a port
 * @port: port
 * @status: for the drivers
 */
void usbfront_port_flush(struct usbfront_port *port, int status)
{
	int i;

	lockdep_assert_held(&port->vusb->uf->lock);
	for (i = 0; i < USBFRONT_NR_EPS; i++)
		ep_flush(port->vusb->uf, &port->ep[i], status);
}

static void drop_reset(struct usbfront_port *port)
{
	if (port->is_reset_due)
		port->vusb->uf->nr_resets_due--;
	port->is_reset_due = false;
}

static void port_hide(struct usbfront_port *port)
{
	enum usbfront_side side = usbfront_side_of(port->speed);
	struct usbfront_hport *hp = &port->hport[side];

	port->epoch = 0;
	port->is_clean = false;
	port->vusb->wakeups[side] &= ~BIT(port->number);
	usbfront_power_clear(port);
	port->reset = NULL;
	port->is_reset_late = false;
	port->is_stuck = false;
	port->query = NULL;
	port->is_asked = false;
	port->no_streams = false;
	usbfront_call_end(port, USBIF_ST_NODEV, 0);
	usbfront_streams_update(port->vusb);
	drop_reset(port);
	usbfront_port_flush(port, -ENODEV);
	if (hp->state == USBFRONT_HUB_OFF)
		return;
	hp->is_gone_unseen = true;
	hp->is_gone_read = false;
	usbfront_hport_set(port, side, USBFRONT_HUB_EMPTY,
			   USB_PORT_STAT_C_CONNECTION);
}

static void port_show(struct usbfront_port *port)
{
	enum usbfront_side side;

	port->epoch = port->wire.epoch;
	port->speed = port->wire.speed;
	port->wakeup = port->wire.wakeup;
	side = usbfront_side_of(port->speed);
	if (port->hport[side].state != USBFRONT_HUB_OFF)
		usbfront_hport_set(port, side, USBFRONT_HUB_CONNECTED,
				   USB_PORT_STAT_C_CONNECTION);
}

/*
 * On a suspended root hub a device that comes back is shown at once, as by a real one: at
 * resume usbcore resets it and looks whether it is the same (see persist.rst).
 */
static bool has_been_seen_gone(struct usbfront_port *port)
{
	bool ret = true;
	int side;

	for (side = 0; side < USBFRONT_NR_SIDES; side++) {
		if (port->vusb->is_suspended[side])
			port->hport[side].is_gone_unseen = false;
		ret &= !port->hport[side].is_gone_unseen;
	}
	return ret;
}

/**
 * usbfront_port_sync - go towards the state that the backend published
 * @port: port; called when that changes and when the hub driver has seen a device go
 */
void usbfront_port_sync(struct usbfront_port *port)
{
	bool has_device = port->wire.status == USBIF_PORT_CONNECTED;

	lockdep_assert_held(&port->vusb->uf->lock);
	if (port->epoch && (!has_device || port->wire.epoch != port->epoch))
		port_hide(port);
	if (has_device && !port->epoch && has_been_seen_gone(port))
		port_show(port);
}

/* ---- reset ---- */

/* The hub driver may go on; if the answer comes after all, it hears of the device again. */
static void reset_fails(struct usbfront_port *port, enum usbfront_side side)
{
	struct usbfront *uf = port->vusb->uf;

	if (!port->is_reset_late)
		dev_warn_ratelimited(uf->dev,
				     "%s: vusb %u port %u: reset not answered\n",
				     uf->name, port->vusb->number, port->number);
	port->is_reset_late = true;
	usbfront_hport_set(port, side, USBFRONT_HUB_CONNECTED,
			   USB_PORT_STAT_C_RESET);
}

/**
 * usbfront_port_reset - the hub driver wants a reset
 * @port: port
 * @side: which root hub
 *
 * Enumeration resets a device twice in a row: the second time, nothing but descriptors
 * have been read and there is nothing to reset.
 *
 * One that is on its way for too long, or has no id, is not waited for again. The hub driver
 * takes every end of its waiting for a reason to switch the port off and on, and begins
 * anew.
 */
void usbfront_port_reset(struct usbfront_port *port, enum usbfront_side side)
{
	struct usbfront_hport *hp = &port->hport[side];
	struct usbfront *uf = port->vusb->uf;

	lockdep_assert_held(&uf->lock);
	if (!port->epoch || usbfront_side_of(port->speed) != side ||
	    hp->state == USBFRONT_HUB_RESETTING)
		return;
	if ((port->reset || port->is_reset_due) && hp->state > USBFRONT_HUB_EMPTY &&
	    time_after(jiffies, port->reset_until)) {
		reset_fails(port, side);
		return;
	}
	if (!hport_step(port, side, USBFRONT_HUB_RESETTING))
		return;
	/* A reset resumes; and disables remote wakeup. */
	usbfront_port_wake(port);
	port->may_wake = false;
	if (port->is_clean) {
		usbfront_hport_set(port, side, USBFRONT_HUB_ENABLED,
				   USB_PORT_STAT_C_RESET);
		return;
	}
	if (!port->reset && !port->is_reset_due) {
		port->reset_until = jiffies + RESET_TIMEOUT;
		port->is_reset_due = true;
		uf->nr_resets_due++;
	}
	hp->until = port->reset_until;
	usbfront_timer_arm(uf, RESET_TIMEOUT);
	usbfront_wake(uf, USBFRONT_EV_FEED);
}

/**
 * usbfront_port_reset_done - the backend has reset the device, or could not
 * @port: port, still with the same device
 * @status: enum usbif_status
 */
void usbfront_port_reset_done(struct usbfront_port *port, u32 status)
{
	enum usbfront_side side = usbfront_side_of(port->speed);
	int i;

	lockdep_assert_held(&port->vusb->uf->lock);
	/* A port that was reset holds nothing. */
	for (i = 0; i < USBFRONT_NR_EPS; i++)
		usbfront_ep_forget_restart(&port->ep[i]);
	if (port->is_reset_late && !status &&
	    port->hport[side].state == USBFRONT_HUB_CONNECTED)
		hport_changed(port, side, USB_PORT_STAT_C_CONNECTION);
	port->is_reset_late = false;
	port->is_stuck &= !!status;
	if (port->hport[side].state != USBFRONT_HUB_RESETTING)
		return;
	if (status || !usbfront_streams_ask(port))
		usbfront_port_reset_end(port, status);
}

/**
 * usbfront_port_reset_end - tell the hub driver of the end of a reset
 * @port: port, still with the same device
 * @status: enum usbif_status
 */
void usbfront_port_reset_end(struct usbfront_port *port, u32 status)
{
	enum usbfront_side side = usbfront_side_of(port->speed);

	lockdep_assert_held(&port->vusb->uf->lock);
	if (port->hport[side].state != USBFRONT_HUB_RESETTING)
		return;
	port->is_clean = !status;
	usbfront_hport_set(port, side, status ? USBFRONT_HUB_CONNECTED :
			   USBFRONT_HUB_ENABLED, USB_PORT_STAT_C_RESET);
}

static void reset_expire(struct usbfront_port *port, enum usbfront_side side)
{
	struct usbfront *uf = port->vusb->uf;
	struct usbfront_hport *hp = &port->hport[side];

	if (hp->state != USBFRONT_HUB_RESETTING)
		return;
	if (time_before(jiffies, hp->until)) {
		usbfront_timer_arm(uf, hp->until - jiffies + 1);
		return;
	}
	reset_fails(port, side);
}

/**
 * usbfront_ports_expire - give up on resets that were not answered
 * @uf: channel
 */
void usbfront_ports_expire(struct usbfront *uf)
{
	int v, p;

	spin_lock_irq(&uf->lock);
	for (v = 0; v < USBIF_MAX_VUSB; v++) {
		if (!uf->vusb[v])
			continue;
		for (p = 0; p < USBIF_MAX_PORTS; p++) {
			reset_expire(&uf->vusb[v]->port[p], USBFRONT_USB2);
			reset_expire(&uf->vusb[v]->port[p], USBFRONT_USB3);
		}
	}
	spin_unlock_irq(&uf->lock);
}

/* ---- the table ---- */

static struct usbif_port __usbif *port_entry(struct usbfront *uf,
					     unsigned int number,
					     unsigned int p)
{
	return &uf->ports[number * (USBIF_MAX_PORTS + 1) + p];
}

/* True if the entry must be looked at again. */
static bool port_look(struct usbfront *uf, unsigned int number, unsigned int p)
{
	struct usbfront_vusb *vusb = uf->vusb[number];
	struct usbif_port_state st;
	enum usbif_why why;
	int ret;

	ret = usbif_port_read(&st, port_entry(uf, number, p), &why);
	if (ret == -EAGAIN)
		return true;
	if (ret) {
		usbfront_break(uf, USBIF_ERR_PORT, usbif_why_name(why),
			       st.status, USBIF_PORT_CONNECTED);
		return false;
	}
	if (!vusb && st.status == USBIF_PORT_EMPTY)
		return false;
	if (!vusb)
		vusb = usbfront_vusb_get(uf, number);
	if (!vusb)
		return true;

	spin_lock_irq(&uf->lock);
	vusb->port[p - 1].wire = st;
	usbfront_port_sync(&vusb->port[p - 1]);
	usbfront_port_wakeup(&vusb->port[p - 1]);
	spin_unlock_irq(&uf->lock);
	return false;
}

static bool table_look(struct usbfront *uf)
{
	bool again = false;
	unsigned int v, p;

	for (v = 0; v < uf->lay.nr_vusb; v++)
		for (p = 1; p <= uf->lay.nr_ports && uf->is_running; p++)
			again |= port_look(uf, v, p);
	return again;
}

/**
 * usbfront_ports_look - see whether the port table has changed
 * @uf: channel, running
 *
 * port_seen is stored before the entries are read, so that the backend rings for a
 * change that comes while they are; a last look at port_gen finds one that came before
 * the store. An entry that was being changed is looked at again a little later.
 */
void usbfront_ports_look(struct usbfront *uf)
{
	int turns;

	for (turns = 0; turns < 4; turns++) {
		u32 gen = usbif_word_read_acquire(&uf->back->port_gen);

		if (gen == uf->port_seen && !uf->is_port_table_unsettled)
			return;
		uf->port_seen = gen;
		usbif_word_write(&uf->front->port_seen, gen);
		/* The backend has one between port_gen and port_seen. */
		virt_mb();
		uf->is_port_table_unsettled = table_look(uf);
		if (uf->is_port_table_unsettled)
			break;
	}
	uf->is_port_table_unsettled = true;
	spin_lock_irq(&uf->lock);
	usbfront_timer_arm(uf, SETTLE_DELAY);
	spin_unlock_irq(&uf->lock);
}

/**
 * usbfront_ports_reset - no port has any ids or blocks
 * @uf: channel at the beginning of a session; its lock held
 *
 * Nobody gives back what the last session has lost.
 */
void usbfront_ports_reset(struct usbfront *uf)
{
	unsigned int v, p;

	lockdep_assert_held(&uf->lock);
	for (v = 0; v < USBIF_MAX_VUSB; v++)
		for (p = 0; uf->vusb[v] && p < USBIF_MAX_PORTS; p++) {
			uf->vusb[v]->port[p].nr_ids = 0;
			uf->vusb[v]->port[p].nr_blocks = 0;
		}
}

/**
 * usbfront_ports_clear - all devices are gone
 * @uf: channel whose session has ended
 */
void usbfront_ports_clear(struct usbfront *uf)
{
	struct usbif_port_state none = { .status = USBIF_PORT_EMPTY };
	int v, p;

	spin_lock_irq(&uf->lock);
	for (v = 0; v < USBIF_MAX_VUSB; v++) {
		if (!uf->vusb[v])
			continue;
		for (p = 0; p < USBIF_MAX_PORTS; p++) {
			struct usbfront_port *port = &uf->vusb[v]->port[p];

			port->wire = none;
			usbfront_port_sync(port);
		}
	}
	spin_unlock_irq(&uf->lock);
}

static void send_reset(struct usbfront_port *port)
{
	struct usbfront *uf = port->vusb->uf;

	if (!port->is_reset_due || port->reset)
		return;
	if (port->epoch)
		port->reset = usbfront_op_submit(uf, port, USBIF_OP_RESET, 0, 0,
						 0);
	if (!port->epoch || port->reset) {
		port->is_reset_due = false;
		uf->nr_resets_due--;
	}
}

/**
 * usbfront_ports_send - send the resets, suspends and resumes that are due
 * @uf: channel
 */
void usbfront_ports_send(struct usbfront *uf)
{
	unsigned long flags;
	int v, p;

	spin_lock_irqsave(&uf->lock, flags);
	for (v = 0; v < USBIF_MAX_VUSB; v++) {
		if (!uf->vusb[v] || !uf->is_running)
			continue;
		for (p = 0; p < USBIF_MAX_PORTS; p++) {
			send_reset(&uf->vusb[v]->port[p]);
			usbfront_port_send_power(&uf->vusb[v]->port[p]);
		}
	}
	spin_unlock_irqrestore(&uf->lock, flags);
}
