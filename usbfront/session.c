// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: section 3 of usbif.h, the frontend's side. Only the thread is here.
 *
 *            backend ready         session for our nonce
 *      DOWN --------------> CONNECTING ---------------> RUNNING
 *       ^                       |                          |
 *       |<----------------------+--------------------------|  backend went, restarted,
 *       |                                                  |  or ended the session
 *       +------------- BROKEN <----------------------------+  backend lied
 *         after a while
 *
 *      any -> CLOSING -> DEAD    channel is removed
 *
 * Nobody waits: the thread looks when it is rung, and once a second while there is no
 * session.
 */
#include <linux/random.h>
#include <linux/sched.h>
#include "trace.h"
#include "usbfront.h"

#define LOOK_DELAY		HZ
#define IMPATIENT_DELAY		msecs_to_jiffies(20)
#define IMPATIENT_TIME		(2 * HZ)
#define CLOSE_TIMEOUT		(2 * HZ)
#define ANSWER_TIMEOUT		(10 * HZ)
#define RETRY_FIRST		(2 * HZ)
#define RETRY_MOST		(60 * HZ)
#define HANDSHAKE_PAUSE		msecs_to_jiffies(100)

#define TO(state)		BIT(USBFRONT_##state)

static const u8 session_steps[USBFRONT_NR_STATES] = {
	[USBFRONT_DOWN]		= TO(CONNECTING) | TO(CLOSING),
	[USBFRONT_CONNECTING]	= TO(RUNNING) | TO(DOWN) | TO(CLOSING),
	[USBFRONT_RUNNING]	= TO(DOWN) | TO(BROKEN) | TO(CLOSING),
	[USBFRONT_BROKEN]	= TO(DOWN) | TO(CLOSING),
	[USBFRONT_CLOSING]	= TO(DEAD),
};

static const char * const state_names[USBFRONT_NR_STATES] = {
	[USBFRONT_DOWN]		= "down",
	[USBFRONT_CONNECTING]	= "connecting",
	[USBFRONT_RUNNING]	= "running",
	[USBFRONT_BROKEN]	= "broken",
	[USBFRONT_CLOSING]	= "closing",
	[USBFRONT_DEAD]		= "dead",
};

/**
 * usbfront_state_name - text for a state
 * @state: of a session
 *
 * Return: constant string.
 */
const char *usbfront_state_name(enum usbfront_state state)
{
	return state < USBFRONT_NR_STATES ? state_names[state] : "?";
}

static bool set_state(struct usbfront *uf, enum usbfront_state to)
{
	if (!(session_steps[uf->state] & BIT(to)))
		return false;
	trace_usbfront_state(uf, uf->state, to);
	spin_lock_irq(&uf->lock);
	uf->state = to;
	spin_unlock_irq(&uf->lock);
	return true;
}

static u32 new_nonce(u32 old)
{
	u32 nonce;

	do {
		nonce = get_random_u32();
	} while (!nonce || nonce == old);
	return nonce;
}

static void write_state(struct usbfront *uf, enum usbif_front_state state)
{
	uf->state_at = jiffies;
	uf->is_state_unseen = true;
	usbif_word_write_release(&uf->front->state, state);
	/* Pairs with the one in usbback's thread_main(): what moves on from here on saw it. */
	virt_mb();
	uf->seen_heartbeat = usbif_word_read(&uf->back->heartbeat);
	usbif_chan_kick(uf->chan);
}

/*
 * The doorbell for a state may have been lost: rings again until the backend has looked
 * at the channel since, soon in the beginning and then once a second.
 */
static void insist(struct usbfront *uf, bool is_time)
{
	bool is_young = time_before(jiffies, uf->state_at + IMPATIENT_TIME);

	if (usbif_word_read(&uf->back->heartbeat) != uf->seen_heartbeat)
		uf->is_state_unseen = false;
	if (uf->state == USBFRONT_RUNNING && !uf->is_state_unseen)
		return;
	if (uf->is_state_unseen && is_time)
		usbif_chan_kick(uf->chan);
	spin_lock_irq(&uf->lock);
	usbfront_timer_arm(uf, is_young ? IMPATIENT_DELAY : LOOK_DELAY);
	spin_unlock_irq(&uf->lock);
}

/* ---- end ---- */

/* With the lock, so that whoever has just finished has also let go of his request. */
static bool is_somebody_copying(struct usbfront *uf)
{
	bool ret;

	spin_lock_irq(&uf->lock);
	ret = uf->nr_filling;
	spin_unlock_irq(&uf->lock);
	return ret;
}

/*
 * Ends all that is in flight. When this returns nobody copies into or out of the pool:
 * a new session may use it.
 */
static void session_end(struct usbfront *uf)
{
	spin_lock_irq(&uf->lock);
	uf->is_running = false;
	spin_unlock_irq(&uf->lock);
	usbfront_ports_clear(uf);
	usbfront_giveback(uf);
	while (is_somebody_copying(uf))		/* not for long */
		schedule_timeout_uninterruptible(1);
	usbfront_giveback(uf);
	uf->session = 0;
}

/* The more often it broke in a row, the longer. */
static void stay_away(struct usbfront *uf)
{
	uf->spurned_nonce = uf->back_nonce;
	if (time_after(jiffies, uf->begun_at + RETRY_MOST))
		uf->retry_delay = 0;
	uf->retry_delay = clamp_t(unsigned long, uf->retry_delay * 2,
				  RETRY_FIRST, RETRY_MOST);
	uf->retry_at = jiffies + uf->retry_delay;
}

/* Whoever was asked for a session gives none. */
static void ask_anew(struct usbfront *uf)
{
	write_state(uf, USBIF_FRONT_NONE);
	set_state(uf, USBFRONT_DOWN);
	uf->connect_at = jiffies + HANDSHAKE_PAUSE;
}

static void session_lost(struct usbfront *uf, const char *why)
{
	dev_info_ratelimited(uf->dev, "%s: session ended: %s\n", uf->name, why);
	session_end(uf);
	usbif_word_write(&uf->front->session, 0);
	ask_anew(uf);
}

static void session_broken(struct usbfront *uf)
{
	session_end(uf);
	uf->stats.broken++;
	usbif_word_write(&uf->front->error, uf->error);
	write_state(uf, USBIF_FRONT_BROKEN);
	set_state(uf, USBFRONT_BROKEN);
	stay_away(uf);
	/* Also for a backend that restarts each time. */
	uf->connect_at = jiffies + HANDSHAKE_PAUSE;
}

/* ---- begin ---- */

static int take_layout(struct usbfront *uf)
{
	struct usbif_layout lay;
	enum usbif_why why;
	u32 nonce;
	int ret;

	ret = usbif_layout_decode(&lay, &nonce, uf->back, uf->chan->size, &why);
	if (!ret && lay.pool_offset > uf->chan->ctl_size) {
		why = USBIF_WHY_POOL;
		ret = -EINVAL;
	}
	if (ret == -EINVAL && why != uf->refused_why)
		dev_err_ratelimited(uf->dev, "%s: layout of the backend refused: %s\n",
				    uf->name, usbif_why_name(why));
	uf->refused_why = ret == -EINVAL ? why : USBIF_WHY_OK;
	if (ret)
		return ret;
	if (nonce == uf->spurned_nonce &&
	    (uf->is_peer_gone || time_before(jiffies, uf->retry_at)))
		return -EAGAIN;
	if (!uf->has_tables || lay.nr_requests != uf->lay.nr_requests ||
	    lay.pool_blocks != uf->lay.pool_blocks)
		ret = usbfront_tables_alloc(uf, &lay);
	if (ret)
		return ret;
	if (nonce != uf->back_nonce)
		uf->retry_delay = 0;
	uf->lay = lay;
	uf->back_nonce = nonce;
	return 0;
}

static void look_down(struct usbfront *uf)
{
	__le32 __usbif *features = (__le32 __usbif *)&uf->front->features;
	u64 wanted;
	u32 state;

	if (time_before(jiffies, uf->connect_at) || take_layout(uf))
		return;
	state = usbif_word_read_acquire(&uf->back->state);
	if (state == USBIF_BACK_NONE || state == USBIF_BACK_CLOSED ||
	    state > USBIF_BACK_BROKEN)
		return;

	wanted = uf->lay.features & USBFRONT_FEATURES;
	uf->features = wanted;
	uf->error = USBIF_ERR_NONE;
	uf->is_peer_gone = false;
	uf->nonce = new_nonce(uf->nonce);
	usbif_word_write(&uf->front->magic, USBIF_FRONT_MAGIC);
	usbif_word_write(&uf->front->version, USBIF_VERSION);
	usbif_word_write(&uf->front->error, USBIF_ERR_NONE);
	usbif_word_write(&uf->front->session, 0);
	usbif_word_write(&features[0], lower_32_bits(wanted));
	usbif_word_write(&features[1], upper_32_bits(wanted));
	usbif_word_write_release(&uf->front->nonce, uf->nonce);
	write_state(uf, USBIF_FRONT_CONNECT);
	set_state(uf, USBFRONT_CONNECTING);
	uf->connect_at = jiffies + ANSWER_TIMEOUT;
}

static void session_begin(struct usbfront *uf)
{
	u32 start = usbif_word_read(&uf->back->ring_start);
	void __usbif *base = uf->chan->ctl;

	spin_lock_irq(&uf->lock);
	usbfront_tables_reset(uf);
	usbfront_ports_reset(uf);
	usbif_prod_init(&uf->sq, base + uf->lay.sq_offset,
			sizeof(struct usbif_req), uf->lay.ring_entries,
			&uf->front->sq_prod, &uf->back->sq_cons,
			&uf->back->sq_event, start);
	usbif_cons_init(&uf->cq, base + uf->lay.cq_offset,
			sizeof(struct usbif_rsp), uf->lay.ring_entries,
			&uf->back->cq_prod, &uf->front->cq_cons,
			&uf->front->cq_event, start);
	uf->last_cons = start;
	uf->told = start;
	uf->is_kick_due = false;
	uf->is_running = true;
	spin_unlock_irq(&uf->lock);
	uf->begun_at = jiffies;
	uf->is_port_table_unsettled = true;
	uf->stats.sessions++;
	usbif_word_write(&uf->front->session, uf->session);
	write_state(uf, USBIF_FRONT_RUNNING);
	set_state(uf, USBFRONT_RUNNING);
	dev_info_ratelimited(uf->dev,
			     "%s: session %u, %u requests, pool of %llu KiB\n",
			     uf->name, uf->session, uf->lay.nr_requests,
			     uf->lay.pool_size >> 10);
}

static void look_connecting(struct usbfront *uf)
{
	u32 state = usbif_word_read_acquire(&uf->back->state);
	bool is_mine = usbif_word_read_acquire(&uf->back->session_nonce) == uf->nonce;

	/* After that word: a backend that has begun anew has another layout, maybe. */
	if (usbif_word_read(&uf->back->nonce) != uf->back_nonce ||
	    state == USBIF_BACK_NONE || state == USBIF_BACK_CLOSED) {
		ask_anew(uf);
		return;
	}
	/*
	 * The state may be what is left of the session before: it is the nonce that
	 * says that session and ring_start are new.
	 */
	if (state == USBIF_BACK_CONNECTED && is_mine) {
		uf->session = usbif_word_read(&uf->back->session);
		if (uf->session) {
			session_begin(uf);
			return;
		}
	}
	/*
	 * A nonce that is taken for that of a guest before us gets no answer, ever; nor
	 * does one whose session has ended before we saw it begin.
	 */
	if (time_after(jiffies, uf->connect_at))
		ask_anew(uf);
}

/* ---- run ---- */

static void look_running(struct usbfront *uf)
{
	u32 state = usbif_word_read_acquire(&uf->back->state);

	if (uf->error) {
		session_broken(uf);
	} else if (state == USBIF_BACK_BROKEN) {
		dev_err_ratelimited(uf->dev,
				    "%s: backend says we broke the protocol, error %u\n",
				    uf->name, usbif_word_read(&uf->back->error));
		session_lost(uf, "broken by the backend");
		stay_away(uf);
	} else if (usbif_word_read(&uf->back->nonce) != uf->back_nonce) {
		session_lost(uf, "backend has restarted");
	} else if (state == USBIF_BACK_CLOSED) {
		session_lost(uf, "backend is going away");
	} else if (state != USBIF_BACK_CONNECTED ||
		   usbif_word_read(&uf->back->session) != uf->session) {
		session_lost(uf, "ended by the backend");
	}
}

static void look_broken(struct usbfront *uf)
{
	if (time_before(jiffies, uf->retry_at) &&
	    usbif_word_read(&uf->back->nonce) == uf->back_nonce)
		return;
	set_state(uf, USBFRONT_DOWN);
}

/**
 * usbfront_session_look - go on with the session
 * @uf: channel
 * @is_time: the timer has expired
 */
void usbfront_session_look(struct usbfront *uf, bool is_time)
{
	if (uf->state == USBFRONT_RUNNING)
		look_running(uf);
	if (uf->state == USBFRONT_BROKEN)
		look_broken(uf);
	if (uf->state == USBFRONT_DOWN)
		look_down(uf);
	if (uf->state == USBFRONT_CONNECTING)
		look_connecting(uf);
	if (uf->state == USBFRONT_RUNNING || uf->state == USBFRONT_CONNECTING) {
		if (uf->is_state_unseen || uf->state == USBFRONT_CONNECTING)
			insist(uf, is_time);
		return;
	}
	if (uf->state == USBFRONT_DEAD)
		return;
	spin_lock_irq(&uf->lock);
	usbfront_timer_arm(uf, time_before(jiffies, uf->connect_at) ?
			   HANDSHAKE_PAUSE : LOOK_DELAY);
	spin_unlock_irq(&uf->lock);
}

/**
 * usbfront_session_drop - end the session, to begin another one
 * @uf: channel
 * @is_peer_gone: not before the backend has restarted or somebody says it is there
 */
void usbfront_session_drop(struct usbfront *uf, bool is_peer_gone)
{
	if (is_peer_gone) {
		uf->is_peer_gone = true;
		uf->spurned_nonce = uf->back_nonce;
	}
	if (uf->state == USBFRONT_RUNNING)
		session_lost(uf, is_peer_gone ? "backend is gone" :
			     "restored from an image");
	else if (uf->state == USBFRONT_CONNECTING)
		ask_anew(uf);
}

/**
 * usbfront_session_close - end the session for good
 * @uf: channel
 *
 * Everything is given back at once: no URB needs the backend for that. The backend gets
 * some time to let go of the pool, and nothing depends on whether it does: the region
 * stays until its own end is closed.
 */
void usbfront_session_close(struct usbfront *uf)
{
	unsigned long until = jiffies + CLOSE_TIMEOUT;
	bool was_running = uf->state == USBFRONT_RUNNING;

	if (uf->state == USBFRONT_DEAD || uf->state == USBFRONT_CLOSING)
		return;
	session_end(uf);
	set_state(uf, USBFRONT_CLOSING);
	if (was_running)
		write_state(uf, USBIF_FRONT_CLOSING);
	while (was_running && time_before(jiffies, until) &&
	       usbif_word_read_acquire(&uf->back->state) ==
	       USBIF_BACK_CONNECTED &&
	       usbif_word_read(&uf->back->nonce) == uf->back_nonce)
		schedule_timeout_uninterruptible(msecs_to_jiffies(5));
	if (uf->nonce) {
		usbif_word_write(&uf->front->session, 0);
		write_state(uf, USBIF_FRONT_NONE);
	}
	set_state(uf, USBFRONT_DEAD);
	complete_all(&uf->closed);
}
