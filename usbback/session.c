// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: the handshake of usbif.h, section 3, the port table of section 7, and
 * the timer that rings again. All but the timer, usbback_break() and the writers
 * of ports and answers run in the channel's thread.
 *
 *            CONNECT           RUNNING
 *   IDLE --------------> CONNECTED ----> RUNNING
 *    ^ \                     |              |   new nonce, CLOSING, peer gone,
 *    |  \ closing            v              v   violation, closing
 *    |   \                 ENDING <---------+
 *    |    v                  |  last request back
 *    +----CLOSED---<---------+---> BROKEN (until another nonce)
 */
#include <linux/jiffies.h>
#include <linux/random.h>
#include "backend.h"
#include "trace.h"

#define IDLE_LOOK	HZ			/* without a session */
#define STALL_LOOK	msecs_to_jiffies(10)
#define RERING		msecs_to_jiffies(10)
#define RERING_MAX	HZ
#define RERING_FAST	8			/* rings before they get rarer */
#define ENDING_LOG	(5 * HZ)
#define HANDSHAKES	64			/* at once */
#define HANDSHAKE_GAP	(HZ / 32 ?: 1)		/* between those after */

static const char * const state_names[USBBACK_STATES] = {
	[USBBACK_IDLE]		= "idle",
	[USBBACK_CONNECTED]	= "connected",
	[USBBACK_RUNNING]	= "running",
	[USBBACK_ENDING]	= "ending",
	[USBBACK_BROKEN]	= "broken",
	[USBBACK_CLOSED]	= "closed",
};

/* Legal next states of each state, as bits. */
static const u8 state_next[USBBACK_STATES] = {
	[USBBACK_IDLE]		= BIT(USBBACK_CONNECTED) | BIT(USBBACK_BROKEN) |
				  BIT(USBBACK_CLOSED),
	[USBBACK_CONNECTED]	= BIT(USBBACK_RUNNING) | BIT(USBBACK_ENDING),
	[USBBACK_RUNNING]	= BIT(USBBACK_ENDING),
	[USBBACK_ENDING]	= BIT(USBBACK_IDLE) | BIT(USBBACK_BROKEN),
	[USBBACK_BROKEN]	= BIT(USBBACK_CONNECTED) | BIT(USBBACK_CLOSED),
	[USBBACK_CLOSED]	= 0,
};

const char *usbback_state_name(enum usbback_state state)
{
	return state_names[state];
}

static void set_state(struct usbback *ub, enum usbback_state state)
{
	unsigned long flags;

	if (WARN_ON_ONCE(!(state_next[ub->state] & BIT(state))))
		return;
	trace_usbback_state(ub, ub->state, state);
	spin_lock_irqsave(&ub->lock, flags);
	WRITE_ONCE(ub->state, state);
	spin_unlock_irqrestore(&ub->lock, flags);
}

/* ---- ringing again ---- */

static void arm_ring_timer(struct usbback *ub)
{
	if (!timer_pending(&ub->ring_timer))
		mod_timer(&ub->ring_timer, jiffies + RERING);
}

/*
 * A doorbell may get lost, so whoever has not taken what we wrote is rung again;
 * more and more rarely if nothing comes of it (a paused guest).
 */
static void ring_timer(struct timer_list *timer)
{
	struct usbback *ub = container_of(timer, struct usbback, ring_timer);
	unsigned long flags, interval = RERING;
	bool late, progress;
	u32 port_seen;
	int behind;

	spin_lock_irqsave(&ub->lock, flags);
	if (ub->state != USBBACK_RUNNING) {
		spin_unlock_irqrestore(&ub->lock, flags);
		return;
	}
	behind = usbif_prod_unconsumed(&ub->cq);
	if (behind < 0) {
		usbback_break(ub, USBIF_ERR_INDEX, "completions consumed",
			      usbif_word_read(&ub->front->cq_cons),
			      ub->cq.published);
		behind = 0;
	}
	port_seen = usbif_word_read(&ub->front->port_seen);
	progress = ub->cq.cons != ub->ring_cons || port_seen != ub->ring_port_seen;
	late = behind || port_seen != ub->port_gen;
	ub->ring_cons = ub->cq.cons;
	ub->ring_port_seen = port_seen;
	if (progress || !late)
		ub->ring_silent = 0;
	else
		ub->ring_silent++;
	if (ub->ring_silent > RERING_FAST)
		interval = min_t(unsigned long, RERING_MAX, RERING <<
				 min(ub->ring_silent - RERING_FAST, 8u));
	if (ub->ring_silent)
		ub->stats.rerings++;
	if (late)
		mod_timer(&ub->ring_timer, jiffies + interval);
	late = ub->ring_silent;
	spin_unlock_irqrestore(&ub->lock, flags);
	if (late)
		usbif_chan_kick(ub->chan);
}

/* ---- what is written for the frontend ---- */

/**
 * usbback_session_answer - write a completion
 * @ub: channel, its lock held
 * @rsp: what it says; the session is filled in
 *
 * There is room: nothing is taken from the submission ring without. The caller
 * asks usbback_session_must_kick() before it unlocks and kicks afterwards.
 */
void usbback_session_answer(struct usbback *ub, struct usbif_response *rsp)
{
	struct usbif_rsp wire;

	lockdep_assert_held(&ub->lock);
	rsp->session = ub->session;
	usbif_rsp_encode(&wire, rsp);
	usbif_prod_push(&ub->cq, &wire);
	usbif_prod_publish(&ub->cq);
	arm_ring_timer(ub);
}

/**
 * usbback_session_respond - write a completion of the usual kind
 * @ub: channel, its lock held
 * @id: of the request
 * @status: enum usbif_status
 * @flags: USBIF_RSP_*
 * @actual: octets moved
 * @value: result of an operation
 */
void usbback_session_respond(struct usbback *ub, u32 id, u8 status, u16 flags,
			     u32 actual, u32 value)
{
	struct usbif_response rsp = {
		.id = id,
		.status = status,
		.flags = flags,
		.actual = actual,
		.value = value,
	};

	usbback_session_answer(ub, &rsp);
}

static struct usbif_port __usbif *port_entry(struct usbback *ub,
					     unsigned int vusb, unsigned int nr)
{
	return &ub->ports_wire[vusb * (USBIF_MAX_PORTS + 1) + nr];
}

static u8 wire_speed(const struct usb_device *udev)
{
	switch (udev->speed) {
	case USB_SPEED_LOW:
		return USBIF_SPEED_LOW;
	case USB_SPEED_FULL:
		return USBIF_SPEED_FULL;
	case USB_SPEED_SUPER:
		return USBIF_SPEED_SUPER;
	case USB_SPEED_SUPER_PLUS:
		return udev->ssp_rate == USB_SSP_GEN_2x2 ?
			USBIF_SPEED_SUPER_PLUS_X2 : USBIF_SPEED_SUPER_PLUS;
	default:
		return USBIF_SPEED_HIGH;
	}
}

/**
 * usbback_session_write_port - bring the port table up to date
 * @port: port that changed; ub->lock held
 * @reason: why
 *
 * Has no effect without a session. The caller kicks.
 */
void usbback_session_write_port(struct usbback_port *port,
				enum usbif_port_reason reason)
{
	struct usbif_port_state st = { .reason = reason };
	struct usbback *ub = port->ub;

	lockdep_assert_held(&ub->lock);
	if (ub->state != USBBACK_RUNNING)
		return;
	if (usbback_port_is_shown(port)) {
		st.status = USBIF_PORT_CONNECTED;
		st.speed = wire_speed(port->udev);
	}
	st.epoch = port->epoch;
	st.wakeup = port->wakeup;
	usbif_port_write(port_entry(ub, port->vusb, port->nr), &st,
			 &port->version);
	usbif_word_write_release(&ub->back->port_gen, ++ub->port_gen);
	arm_ring_timer(ub);
	trace_usbback_port(port, reason);
}

static void clear_ports(struct usbback *ub)
{
	const struct usbif_port_state empty = {};
	unsigned int vusb, nr;
	u8 version = 0;

	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 0; nr <= USBIF_MAX_PORTS; nr++)
			usbif_port_write(port_entry(ub, vusb, nr), &empty,
					 &version);
}

/* ---- violations ---- */

void usbback_break(struct usbback *ub, enum usbif_error error, const char *what,
		   u64 value, u64 limit)
{
	struct usbback_violation *v = &ub->violation;

	if (test_and_set_bit(0, &v->claimed))
		return;
	v->what = what;
	v->value = value;
	v->limit = limit;
	/* The thread reads the rest after this: end_reason(). */
	smp_store_release(&v->error, error);
	usbback_wake(ub);
}

static void log_violation(struct usbback *ub)
{
	const struct usbback_violation *v = &ub->violation;

	ub->stats.violations++;
	if (__ratelimit(&ub->log))
		dev_err(ub->chan->dev,
			"%s: protocol violated: %s is %llu, limit %llu\n",
			ub->name, v->what, v->value, v->limit);
}

static void say_broken(struct usbback *ub)
{
	log_violation(ub);
	usbif_word_write(&ub->back->error, ub->violation.error);
	usbif_word_write_release(&ub->back->state, USBIF_BACK_BROKEN);
	usbif_chan_kick(ub->chan);
}

/* ---- states ---- */

/* Until now no other state than IDLE was in the page, nor any session. */
void usbback_session_init(struct usbback *ub)
{
	timer_setup(&ub->ring_timer, ring_timer, 0);
	ub->handshakes_until = jiffies;
	do {
		ub->nonce = get_random_u32();
	} while (!ub->nonce);
	/* A reload must not use the numbers of its predecessor again. */
	ub->session = usbif_word_read(&ub->back->session);
	usbif_word_write_release(&ub->back->state, USBIF_BACK_NONE);
	usbif_word_write(&ub->back->error, 0);
	usbif_word_write(&ub->back->session_nonce, 0);
	clear_ports(ub);
	usbif_word_write(&ub->back->port_gen, ub->port_gen);
	usbif_layout_encode(ub->back, &ub->lay, ub->nonce);
	usbif_word_write_release(&ub->back->state, USBIF_BACK_READY);
}

static void start_rings(struct usbback *ub)
{
	void __usbif *ctl = ub->chan->ctl;
	unsigned long flags;
	u32 start = READ_ONCE(ub->ring_start);

	spin_lock_irqsave(&ub->lock, flags);
	usbif_cons_init(&ub->sq, ctl + ub->lay.sq_offset,
			sizeof(struct usbif_req), ub->lay.ring_entries,
			&ub->front->sq_prod, &ub->back->sq_cons,
			&ub->back->sq_event, start);
	usbif_prod_init(&ub->cq, ctl + ub->lay.cq_offset,
			sizeof(struct usbif_rsp), ub->lay.ring_entries,
			&ub->back->cq_prod, &ub->front->cq_cons,
			&ub->front->cq_event, start);
	ub->ring_cons = start;
	ub->ring_silent = 0;
	spin_unlock_irqrestore(&ub->lock, flags);
	usbif_word_write(&ub->back->ring_start, start);
}

static u64 front_features(struct usbback *ub)
{
	const __le32 __usbif *word = (const __le32 __usbif *)&ub->front->features;

	return usbif_word_read(word) | (u64)usbif_word_read(word + 1) << 32;
}

/* What the frontend must have written before it asked for a session. */
static bool front_acceptable(struct usbback *ub, u64 features)
{
	u32 magic = usbif_word_read(&ub->front->magic);
	u32 version = usbif_word_read(&ub->front->version);

	if (magic != USBIF_FRONT_MAGIC)
		usbback_break(ub, USBIF_ERR_VERSION, "frontend's magic", magic,
			      USBIF_FRONT_MAGIC);
	else if (version != USBIF_VERSION)
		usbback_break(ub, USBIF_ERR_VERSION, "frontend's version",
			      version, USBIF_VERSION);
	else if (features & ~USBBACK_FEATURES)
		usbback_break(ub, USBIF_ERR_FEATURE, "features accepted",
			      features, USBBACK_FEATURES);
	else
		return true;
	return false;
}

static void session_begin(struct usbback *ub, u32 nonce)
{
	u64 features = front_features(ub);

	memset(&ub->violation, 0, sizeof(ub->violation));
	ub->front_nonce = nonce;
	ub->end_broken = false;
	ub->stalled = false;
	if (!front_acceptable(ub, features)) {
		ub->refused_nonce = nonce;
		say_broken(ub);
		if (ub->state != USBBACK_BROKEN)
			set_state(ub, USBBACK_BROKEN);
		return;
	}
	/* What was not accepted is refused from now on: usbif_req_decode(). */
	ub->lay.features = features;
	start_rings(ub);
	clear_ports(ub);
	if (!++ub->session)
		ub->session++;
	usbif_word_write(&ub->back->error, 0);
	usbif_word_write(&ub->back->session, ub->session);
	usbif_word_write_release(&ub->back->session_nonce, nonce);
	usbif_word_write_release(&ub->back->state, USBIF_BACK_CONNECTED);
	set_state(ub, USBBACK_CONNECTED);
	ub->stats.sessions++;
	usbif_chan_kick(ub->chan);
}

static void session_run(struct usbback *ub)
{
	set_state(ub, USBBACK_RUNNING);
	usbback_ports_start(ub);
	usbback_rules_changed();
}

/* Nothing of the session is begun any more; what is under way is taken back. */
static void session_end(struct usbback *ub, const char *why)
{
	bool was_running = ub->state == USBBACK_RUNNING;

	if (__ratelimit(&ub->log))
		dev_info(ub->chan->dev, "%s: session %u ends: %s\n", ub->name,
			 ub->session, why);
	ub->refused_nonce = ub->front_nonce;
	WRITE_ONCE(ub->peer_gone, false);
	set_state(ub, USBBACK_ENDING);
	ub->ending_since = jiffies;
	ub->ending_log = jiffies + ENDING_LOG;
	usbback_ports_stop(ub);
	if (was_running)
		usbback_rules_changed();
}

static void session_ended(struct usbback *ub)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->lock, flags);
	usbback_request_drop_all(ub);
	spin_unlock_irqrestore(&ub->lock, flags);
	if (ub->end_broken) {
		set_state(ub, USBBACK_BROKEN);
		return;
	}
	usbif_word_write_release(&ub->back->state, USBIF_BACK_READY);
	usbif_chan_kick(ub->chan);
	set_state(ub, USBBACK_IDLE);
}

static void session_close(struct usbback *ub)
{
	usbif_word_write_release(&ub->back->state, USBIF_BACK_CLOSED);
	usbif_chan_kick(ub->chan);
	set_state(ub, USBBACK_CLOSED);
	WRITE_ONCE(ub->closed, true);
	wake_up_all(&ub->idle);
}

/* What ends a session whatever state word there is; NULL: nothing. */
static const char *end_reason(struct usbback *ub, u32 nonce)
{
	/* Pairs with the release in usbback_break(). */
	if (smp_load_acquire(&ub->violation.error)) {
		say_broken(ub);
		ub->end_broken = true;
		return "protocol violated";
	}
	if (READ_ONCE(ub->closing))
		return "channel closes";
	if (READ_ONCE(ub->peer_gone))
		return "guest is gone";
	if (nonce != ub->front_nonce)
		return "frontend restarted";
	return NULL;
}

static const char *front_reason(u32 front)
{
	switch (front) {
	case USBIF_FRONT_NONE:
	case USBIF_FRONT_CLOSING:
		return "frontend closes";
	case USBIF_FRONT_BROKEN:
		return "frontend calls it broken";
	default:
		return NULL;
	}
}

static bool look_session(struct usbback *ub, u32 front, u32 nonce)
{
	const char *why = end_reason(ub, nonce) ?: front_reason(front);
	bool connected = ub->state == USBBACK_CONNECTED;
	u32 session;

	if (why) {
		session_end(ub, why);
		return true;
	}
	if (front == USBIF_FRONT_CONNECT && connected)
		return false;
	if (front == USBIF_FRONT_RUNNING && !connected)
		return false;
	if (front != USBIF_FRONT_RUNNING) {
		usbback_break(ub, USBIF_ERR_STATE, "frontend's state", front,
			      USBIF_FRONT_RUNNING);
		return true;
	}
	session = usbif_word_read(&ub->front->session);
	if (session != ub->session) {
		usbback_break(ub, USBIF_ERR_STATE, "frontend's session", session,
			      ub->session);
		return true;
	}
	session_run(ub);
	return true;
}

/* What the dead one left behind is not to be believed; what comes after it is. */
static bool look_for_dead(struct usbback *ub, u32 nonce)
{
	if (!READ_ONCE(ub->peer_gone))
		return false;
	WRITE_ONCE(ub->peer_gone, false);
	ub->refused_nonce = nonce;
	return true;
}

static bool look_ending(struct usbback *ub, u32 nonce)
{
	look_for_dead(ub, nonce);
	if (READ_ONCE(ub->inflight)) {
		if (time_after(jiffies, ub->ending_log)) {
			ub->ending_log = jiffies + 12 * ENDING_LOG;
			dev_warn(ub->chan->dev,
				 "%s: host controller keeps %u requests\n",
				 ub->name, READ_ONCE(ub->inflight));
		}
		return false;
	}
	session_ended(ub);
	return true;
}

/*
 * A guest that begins sessions without end keeps nobody busy: each one resets devices,
 * and rules look at each.
 */
static bool may_shake_hands(struct usbback *ub)
{
	if (time_before(ub->handshakes_until, jiffies))
		ub->handshakes_until = jiffies;
	ub->too_many_handshakes = time_after(ub->handshakes_until, jiffies +
					     (HANDSHAKES - 1) * HANDSHAKE_GAP);
	if (ub->too_many_handshakes)
		return false;
	ub->handshakes_until += HANDSHAKE_GAP;
	return true;
}

static bool look_idle(struct usbback *ub, u32 front, u32 nonce)
{
	if (READ_ONCE(ub->closing)) {
		session_close(ub);
		return false;
	}
	if (look_for_dead(ub, nonce))
		return false;
	if (front != USBIF_FRONT_CONNECT || !nonce || nonce == ub->refused_nonce)
		return false;
	if (!may_shake_hands(ub))
		return false;
	session_begin(ub, nonce);
	return true;
}

/**
 * usbback_session_look - see what the frontend wants
 * @ub: channel
 *
 * Return: true if the state changed, so that there is more to look at.
 */
bool usbback_session_look(struct usbback *ub)
{
	/*
	 * The state is written after the nonce: a new state comes with its nonce. An
	 * old state may come with a new nonce, which then brings the features.
	 */
	u32 front = usbif_word_read_acquire(&ub->front->state);
	u32 nonce = usbif_word_read_acquire(&ub->front->nonce);

	switch (ub->state) {
	case USBBACK_CONNECTED:
	case USBBACK_RUNNING:
		return look_session(ub, front, nonce);
	case USBBACK_ENDING:
		return look_ending(ub, nonce);
	case USBBACK_IDLE:
	case USBBACK_BROKEN:
		return look_idle(ub, front, nonce);
	default:
		return false;
	}
}

long usbback_session_timeout(const struct usbback *ub)
{
	long timeout = MAX_SCHEDULE_TIMEOUT;

	if (ub->state == USBBACK_CLOSED)
		return timeout;
	if (ub->state != USBBACK_RUNNING)
		return ub->too_many_handshakes ? HANDSHAKE_GAP : IDLE_LOOK;
	if (ub->stalled)
		timeout = STALL_LOOK;
	/* Only the thread takes endpoints off this list. */
	if (!list_empty_careful(&ub->starved))
		timeout = clamp_t(long, ub->retry_at - jiffies, 1, timeout);
	return timeout;
}
