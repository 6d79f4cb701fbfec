// SPDX-License-Identifier: GPL-2.0
/*
 * A channel: its life, its thread and its timer.
 *
 * Lifetime. A channel is made by cdev.c or pci.c and lives until they destroy it. The
 * order of usbfront_destroy() and why it is safe:
 *
 *  1. off the list: nobody finds it any more;
 *  2. the session is closed by the thread, in bounded time: all URBs are given back, all
 *     ports are empty, so from now on every URB is refused;
 *  3. no new controllers: without a session the thread does not look at ports, so nobody
 *     but itself queues the work that makes them, and it is cancelled;
 *  4. the controllers are removed: drivers are unbound. They wait for URBs of theirs that
 *     are just being given back, which the thread goes on doing;
 *  5. doorbell and timer stop, then the thread: nobody can wake it any more, and nobody
 *     calls us, as usbcore has let go of the controllers;
 *  6. memory, and last the region.
 */
#include <linux/idr.h>
#include <linux/kcov.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "power.h"

#define POLL_NS_FIRST	4000u
#define POLL_NS_MOST	30000u
#define EMPTY_ROW_MOST	32u
#define RERING_DELAY	msecs_to_jiffies(10)

/* Guards the list of channels. */
DEFINE_MUTEX(usbfront_mutex);
LIST_HEAD(usbfront_list);
static DEFINE_IDA(usbfront_ida);

/* ---- waking ---- */

/**
 * usbfront_wake - there is something to do for the thread
 * @uf: channel
 * @event: what
 *
 * Any context but NMI.
 */
void usbfront_wake(struct usbfront *uf, enum usbfront_event event)
{
	set_bit(event, &uf->events);
	smp_mb__after_atomic();	/* with the thread's, before it sleeps */
	if (current != uf->thread)
		wake_up_process(uf->thread);
}

static void usbfront_event(struct usbif_chan *chan)
{
	struct usbfront *uf = chan->priv;

	set_bit(USBFRONT_EV_RING, &uf->events);
	smp_mb__after_atomic();	/* with pace(), after which the thread looks anyway */
	if (!READ_ONCE(uf->is_pausing))
		wake_up_process(uf->thread);
}

/**
 * usbfront_break - the backend violated the protocol
 * @uf: channel
 * @error: enum usbif_error, for the backend
 * @what: is wrong
 * @value: that it has
 * @limit: that it should keep
 *
 * With or without the lock, any context. The first one counts; the thread does the rest.
 */
void usbfront_break(struct usbfront *uf, enum usbif_error error,
		    const char *what, u32 value, u32 limit)
{
	if (cmpxchg(&uf->error, USBIF_ERR_NONE, error) != USBIF_ERR_NONE)
		return;
	WRITE_ONCE(uf->is_running, false);
	dev_err_ratelimited(uf->dev,
			    "%s: backend violates the protocol: %s: %d, limit %u; session ended\n",
			    uf->name, what, (int)value, limit);
	usbfront_wake(uf, USBFRONT_EV_RING);
}

/* ---- the timer ---- */

/**
 * usbfront_timer_arm - have the timer expire not later than that
 * @uf: channel
 * @delay: jiffies
 *
 * The timer is left running and never moved on for its own sake: setting a timer costs a
 * guest an exit.
 */
void usbfront_timer_arm(struct usbfront *uf, unsigned long delay)
{
	unsigned long at = jiffies + delay;

	lockdep_assert_held(&uf->lock);
	if (!timer_pending(&uf->timer) || time_before(at, uf->timer.expires))
		mod_timer(&uf->timer, at);
}

/*
 * Submissions that were there a period ago and have not been touched: a lost doorbell,
 * or one that was spared behind requests that do not end.
 */
static bool is_rering_due(struct usbfront *uf)
{
	int n;

	if (!uf->is_running)
		return false;
	n = usbif_prod_unconsumed(&uf->sq);
	if (n < 0)
		usbfront_break(uf, USBIF_ERR_INDEX, "consumer of submissions",
			       n, uf->lay.ring_entries);
	if (n <= 0)
		return false;
	usbfront_timer_arm(uf, RERING_DELAY);
	if (uf->last_cons == uf->sq.cons) {
		if ((s32)(uf->told - uf->sq.cons) > 0)
			uf->stats.rerings++;
		else
			uf->stats.kicks++;
		uf->told = uf->sq.published;
		return true;
	}
	uf->last_cons = uf->sq.cons;
	return false;
}

static void usbfront_timer(struct timer_list *timer)
{
	struct usbfront *uf = container_of(timer, struct usbfront, timer);
	unsigned long flags, left;
	bool kick, wake;

	spin_lock_irqsave(&uf->lock, flags);
	kick = is_rering_due(uf);
	left = usbfront_cancels_left(uf);
	if (left && left != MAX_SCHEDULE_TIMEOUT)
		usbfront_timer_arm(uf, left + 1);
	/* If nobody takes what we submit, the backend may have gone without a word. */
	wake = kick || !left || uf->nr_resetting || !uf->is_running ||
	       READ_ONCE(uf->is_state_unseen) || !list_empty(&uf->early) ||
	       READ_ONCE(uf->is_port_table_unsettled);
	spin_unlock_irqrestore(&uf->lock, flags);
	if (kick)
		usbif_chan_kick(uf->chan);
	if (wake)
		usbfront_wake(uf, USBFRONT_EV_TIMER);
}

/* ---- the thread ---- */

/*
 * Looks for a completion a little longer before it sleeps: that spares the doorbell and
 * the wakeup if the backend is quick. How long is learned from how long sleeps last.
 */
static bool poll_briefly(struct usbfront *uf)
{
	u64 until;

	if (!uf->poll_ns || !READ_ONCE(uf->nr_live))
		return false;
	uf->stats.polls++;
	until = local_clock() + uf->poll_ns;
	do {
		if (usbif_cons_avail(&uf->cq) || READ_ONCE(uf->events)) {
			uf->stats.poll_hits++;
			return true;
		}
		cpu_relax();
	} while (!need_resched() && local_clock() < until);
	return false;
}

static void learn(struct usbfront *uf, u64 slept)
{
	if (slept < POLL_NS_MOST)
		uf->poll_ns = clamp(uf->poll_ns * 2, POLL_NS_FIRST,
				    POLL_NS_MOST);
	else if (uf->poll_ns)
		uf->poll_ns = uf->poll_ns / 2 < POLL_NS_FIRST ? 0 :
			      uf->poll_ns / 2;
}

/*
 * A backend that rings and rings for nothing gets a look at every tick, not more: its
 * doorbells don't even wake us meanwhile. Honest ones for what has been found already
 * don't come in such rows.
 */
static void pace(struct usbfront *uf)
{
	if (uf->empty_row < EMPTY_ROW_MOST)
		return;
	uf->stats.paced++;
	WRITE_ONCE(uf->is_pausing, true);
	schedule_timeout_idle(1);
	WRITE_ONCE(uf->is_pausing, false);
	smp_mb();	/* with usbfront_event(): who did not wake us has set its bit */
}

static void thread_sleep(struct usbfront *uf)
{
	u64 start;

	if (uf->is_running && poll_briefly(uf))
		return;
	set_current_state(TASK_IDLE);
	if (READ_ONCE(uf->events) || kthread_should_stop() ||
	    kthread_should_park() ||
	    (uf->is_running && usbif_cons_arm(&uf->cq))) {
		__set_current_state(TASK_RUNNING);
		return;
	}
	start = local_clock();
	schedule();
	uf->stats.wakeups++;
	if (uf->is_running) {
		learn(uf, local_clock() - start);
		usbif_cons_disarm(&uf->cq);
	}
}

static void run_events(struct usbfront *uf, unsigned long events)
{
	if (events & BIT(USBFRONT_EV_PEER_GONE))
		usbfront_session_drop(uf, true);
	if (events & BIT(USBFRONT_EV_PEER_JOINED))
		uf->is_peer_gone = false;
	if (events & BIT(USBFRONT_EV_RESTART))
		usbfront_session_drop(uf, false);
	if (events & BIT(USBFRONT_EV_CLOSE))
		usbfront_session_close(uf);
	if (events & BIT(USBFRONT_EV_TIMER)) {
		usbfront_cancels_expire(uf);
		usbfront_ports_expire(uf);
		usbfront_early_expire(uf);
	}
}

/* One doorbell for all that handlers have submitted, and for restarts and resets. */
static void kick_batch(struct usbfront *uf)
{
	bool kick;

	spin_lock_irq(&uf->lock);
	uf->is_batching = false;
	kick = usbfront_kick_prepare(uf);
	spin_unlock_irq(&uf->lock);
	if (kick)
		usbif_chan_kick(uf->chan);
}

/*
 * One turn. Endpoints that wait go first with what has been freed, then the handlers
 * run and may submit more; only after them held endpoints go on. True if there is more.
 */
static bool thread_turn(struct usbfront *uf)
{
	unsigned long events = xchg(&uf->events, 0);
	u32 seen = uf->cq.cons + uf->session;
	bool more = false;

	run_events(uf, events);
	usbfront_session_look(uf, events & BIT(USBFRONT_EV_TIMER));
	if (uf->is_running) {
		more = usbfront_complete(uf);
		usbfront_ports_look(uf);
		/* Who asks for it may not have let go of the lock yet. */
		if (events & BIT(USBFRONT_EV_FEED) ||
		    !list_empty(&uf->waiting))
			usbfront_feed_waiting(uf);
	}
	usbfront_giveback(uf);
	if (uf->is_running) {
		if (!list_empty(&uf->restarts))
			usbfront_send_restarts(uf);
		if (uf->nr_resets_due || uf->nr_power_due)
			usbfront_ports_send(uf);
		usbif_word_write(&uf->front->heartbeat, ++uf->heartbeat);
	}
	kick_batch(uf);
	if (events & BIT(USBFRONT_EV_POLL))
		usbfront_vusbs_poll(uf);
	/* Of changes of ports, too, only the latest counts: some a second are enough. */
	if (seen != uf->cq.cons + uf->session)
		uf->empty_row = 0;
	else if (events == BIT(USBFRONT_EV_RING))
		uf->empty_row++;
	return more;
}

/*
 * Swap may wait for us: no I/O from our own allocations. Devices suspend after tasks
 * freeze, so kthreads that are not freezable, like this one, work until the very end.
 */
static int usbfront_thread(void *data)
{
	struct usbfront *uf = data;
	bool more;

	memalloc_noio_save();
	set_user_nice(current, MIN_NICE);
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		kcov_remote_start_common(uf->kcov_handle);
		more = thread_turn(uf);
		kcov_remote_stop();
		/* A backend that is always a completion ahead never lets it sleep. */
		cond_resched();
		if (more)
			continue;
		pace(uf);
		if (!READ_ONCE(uf->events))
			thread_sleep(uf);
	}
	return 0;
}

/* ---- life ---- */

static void front_init(struct usbfront *uf, struct usbif_chan *chan)
{
	void __usbif *base = chan->ctl;

	uf->chan = chan;
	uf->dev = chan->dev;
	uf->back = base + USBIF_BACK_OFFSET;
	uf->front = base + USBIF_FRONT_OFFSET;
	uf->ports = base + USBIF_PORTS_OFFSET;
	uf->kcov_handle = kcov_common_handle();
	uf->connect_at = jiffies;
	uf->retry_at = jiffies;
	spin_lock_init(&uf->lock);
	init_completion(&uf->closed);
	init_waitqueue_head(&uf->power_wait);
	INIT_LIST_HEAD(&uf->node);
	INIT_LIST_HEAD(&uf->free_reqs);
	INIT_LIST_HEAD(&uf->free_xfers);
	INIT_LIST_HEAD(&uf->waiting);
	INIT_LIST_HEAD(&uf->restarts);
	INIT_LIST_HEAD(&uf->cancels);
	INIT_LIST_HEAD(&uf->done);
	INIT_LIST_HEAD(&uf->early);
	INIT_DELAYED_WORK(&uf->vusb_work, usbfront_vusbs_create);
	timer_setup(&uf->timer, usbfront_timer, 0);
}

/**
 * usbfront_find - find a channel
 * @name: of the channel
 *
 * The caller holds usbfront_mutex.
 *
 * Return: channel or NULL.
 */
struct usbfront *usbfront_find(const char *name)
{
	struct usbfront *uf;

	lockdep_assert_held(&usbfront_mutex);
	list_for_each_entry(uf, &usbfront_list, node)
		if (!strcmp(uf->name, name))
			return uf;
	return NULL;
}

static int list_insert(struct usbfront *uf, const char *name)
{
	int ret = 0;

	mutex_lock(&usbfront_mutex);
	strscpy(uf->name, name, sizeof(uf->name));
	if (usbfront_find(uf->name))
		ret = -EBUSY;
	else
		list_add_tail(&uf->node, &usbfront_list);
	mutex_unlock(&usbfront_mutex);
	return ret;
}

static void list_remove(struct usbfront *uf)
{
	mutex_lock(&usbfront_mutex);
	list_del_init(&uf->node);
	mutex_unlock(&usbfront_mutex);
}

/**
 * usbfront_create - make a channel and look for its backend
 * @chan: transport; the channel's, even on failure
 * @name: unique
 *
 * Does not wait for the backend, which may come at any time, or never.
 *
 * Return: channel, or ERR_PTR: -EBUSY if the name is taken.
 */
struct usbfront *usbfront_create(struct usbif_chan *chan, const char *name)
{
	struct usbfront *uf = kzalloc(sizeof(*uf), GFP_KERNEL);
	int ret = -ENOMEM;

	if (!uf)
		goto err_release;
	front_init(uf, chan);
	ret = ida_alloc(&usbfront_ida, GFP_KERNEL);
	if (ret < 0)
		goto err_free;
	uf->index = ret;
	uf->thread = kthread_create(usbfront_thread, uf, "usbfront/%s", name);
	if (IS_ERR(uf->thread)) {
		ret = PTR_ERR(uf->thread);
		goto err_index;
	}
	get_task_struct(uf->thread);
	ret = list_insert(uf, name);
	if (ret)
		goto err_thread;
	chan->event = usbfront_event;
	chan->priv = uf;
	ret = usbif_chan_start(chan);
	if (ret)
		goto err_list;
	usbfront_debugfs_add(uf);
	usbfront_wake(uf, USBFRONT_EV_RING);
	return uf;

err_list:
	list_remove(uf);
err_thread:
	kthread_stop(uf->thread);
	put_task_struct(uf->thread);
err_index:
	ida_free(&usbfront_ida, uf->index);
err_free:
	kfree(uf);
err_release:
	usbif_chan_release(chan);
	return ERR_PTR(ret);
}

/**
 * usbfront_shutdown - the system goes down: let go of the devices
 * @uf: channel
 */
void usbfront_shutdown(struct usbfront *uf)
{
	usbfront_wake(uf, USBFRONT_EV_CLOSE);
	wait_for_completion_timeout(&uf->closed, 3 * HZ);
}

/**
 * usbfront_pause - leave the region alone
 * @uf: channel whose devices are suspended
 *
 * The system goes to sleep, and the PCI device with it: after that the region can't be
 * read until the device has been set up again.
 */
void usbfront_pause(struct usbfront *uf)
{
	kthread_park(uf->thread);
	timer_delete_sync(&uf->timer);
}

/**
 * usbfront_go_on - undo usbfront_pause()
 * @uf: channel
 */
void usbfront_go_on(struct usbfront *uf)
{
	kthread_unpark(uf->thread);
	/* Whatever the timer was for: it is armed again. A doorbell may be lost. */
	usbfront_wake(uf, USBFRONT_EV_TIMER);
	usbfront_wake(uf, USBFRONT_EV_RING);
}

/**
 * usbfront_destroy - end a channel
 * @uf: channel, taken from the list or not
 *
 * Sleeps; see the head of this file. Ends in bounded time whatever the backend does.
 */
void usbfront_destroy(struct usbfront *uf)
{
	list_remove(uf);
	usbfront_debugfs_del(uf);
	usbfront_wake(uf, USBFRONT_EV_CLOSE);
	wait_for_completion(&uf->closed);
	cancel_delayed_work_sync(&uf->vusb_work);
	usbfront_vusbs_remove(uf);

	usbif_chan_stop(uf->chan);
	kthread_stop(uf->thread);
	timer_shutdown_sync(&uf->timer);
	put_task_struct(uf->thread);
	usbfront_vusbs_free(uf);
	usbfront_tables_free(uf);
	ida_free(&usbfront_ida, uf->index);
	usbif_chan_release(uf->chan);
	kfree(uf);
}
