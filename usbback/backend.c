// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a channel, and its thread.
 *
 * A channel is made by usbback_create() and ends in usbback_destroy(), called by
 * whoever took it out of the list (cdev.c) or by the device's remove (pci.c, platform.c).
 * The end, in this order:
 *   1. out of the list: no ioctl, file or name finds it
 *   2. the rules take every device off its port and forget the channel
 *   3. the thread ends the session, waits for the last URB, says CLOSED
 *   4. doorbell stopped: nothing wakes the thread; then the thread stopped
 *   5. timer shut down, workqueue destroyed (its items ended in 2)
 *   6. a grace period: no completion handler is left
 *   7. memory, then the region
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/kcov.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched/clock.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "backend.h"
#include "trace.h"

#define POLL_MIN_NS	(10 * NSEC_PER_USEC)
#define POLL_MAX_NS	(50 * NSEC_PER_USEC)
#define EMPTY_ROW	64U	/* looks for nothing before we slow down */

/* Protects backends and the pid of each. */
static DEFINE_MUTEX(list_mutex);
static LIST_HEAD(backends);
/* Serialises names with the end of a channel; nothing is held by its takers. */
static DEFINE_MUTEX(publish_mutex);
static atomic_t next_index = ATOMIC_INIT(0);

void usbback_lock_list(void)
{
	mutex_lock(&list_mutex);
}

void usbback_unlock_list(void)
{
	mutex_unlock(&list_mutex);
}

/**
 * usbback_next - walk the list of channels
 * @ub: a channel, or NULL for the first
 *
 * Return: the next one, or NULL.
 */
struct usbback *usbback_next(struct usbback *ub)
{
	struct list_head *next = ub ? ub->node.next : backends.next;

	lockdep_assert_held(&list_mutex);
	return next == &backends ? NULL : list_entry(next, struct usbback, node);
}

/**
 * usbback_find - find a channel by the name of its guest
 * @name: to look for
 *
 * Return: the channel, valid while the list is locked, or NULL.
 */
struct usbback *usbback_find(const char *name)
{
	struct usbback *ub;

	lockdep_assert_held(&list_mutex);
	list_for_each_entry(ub, &backends, node)
		if (ub->name[0] && !strcmp(ub->name, name))
			return ub;
	return NULL;
}

/**
 * usbback_find_ready - find a channel that is complete
 * @name: of its guest
 *
 * Return: the channel, valid while the list is locked, or NULL.
 */
struct usbback *usbback_find_ready(const char *name)
{
	struct usbback *ub = usbback_find(name);

	return ub && ub->is_ready ? ub : NULL;
}

/**
 * usbback_take - take a channel of kind fd out of the list
 * @name: of its guest, or NULL for any
 *
 * Return: the channel, the caller's to destroy, or NULL.
 */
struct usbback *usbback_take(const char *name)
{
	struct usbback *ub, *found = NULL;

	mutex_lock(&list_mutex);
	list_for_each_entry(ub, &backends, node) {
		if (ub->chan->ops->is_device || !ub->is_ready ||
		    (name && strcmp(ub->name, name)))
			continue;
		list_del_init(&ub->node);
		found = ub;
		break;
	}
	mutex_unlock(&list_mutex);
	return found;
}

const char *usbback_name(const struct usbback *ub)
{
	return ub->name;
}

bool usbback_is_running(const struct usbback *ub)
{
	return READ_ONCE(ub->state) == USBBACK_RUNNING;
}

/**
 * usbback_wake - have the thread look at everything once more
 * @ub: channel
 *
 * Any context, also under the lock of a wait queue.
 */
void usbback_wake(struct usbback *ub)
{
	/* Fully ordered, like the end of thread_pause(). */
	if (!test_and_set_bit(0, &ub->woken) && !READ_ONCE(ub->pausing))
		wake_up_process(ub->thread);
}

/**
 * usbback_look_again - wake the thread if the frontend has submitted something
 * @ub: channel; under its lock
 *
 * Called when requests have ended, whoever ended them: frontends don't ring for
 * requests that stand behind others of their endpoint.
 */
void usbback_look_again(struct usbback *ub)
{
	lockdep_assert_held(&ub->lock);
	if (ub->state == USBBACK_RUNNING && !ub->stalled &&
	    usbif_word_read(ub->sq.prod_word) != READ_ONCE(ub->sq.cons))
		usbback_wake(ub);
}

static void chan_event(struct usbif_chan *chan)
{
	usbback_wake(chan->priv);
}

void usbback_peer_gone(struct usbback *ub)
{
	WRITE_ONCE(ub->peer_gone, true);
	usbback_wake(ub);
}

/*
 * Looks at the ring for a short while before the thread sleeps, if that has paid
 * off lately: a wakeup and the frontend's doorbell cost more than a few
 * microseconds of looking. With one processor nobody could write meanwhile.
 */
static bool poll_ring(struct usbback *ub)
{
	u64 end;

	if (!ub->poll_ns || ub->state != USBBACK_RUNNING || ub->stalled)
		return false;
	end = local_clock() + ub->poll_ns;
	do {
		if (usbif_cons_avail(&ub->sq) || test_bit(0, &ub->woken)) {
			ub->stats.poll_hits++;
			return true;
		}
		if (need_resched() || kthread_should_stop())
			break;
		cpu_relax();
	} while (local_clock() < end);
	ub->stats.poll_misses++;
	return false;
}

/* Called after each sleep: would polling have been enough? */
static void poll_adapt(struct usbback *ub, bool found)
{
	u64 slept = local_clock() - ub->idle_since;

	if (num_online_cpus() == 1)
		ub->poll_ns = 0;
	else if (found && slept < POLL_MAX_NS)
		ub->poll_ns = clamp_t(u64, ub->poll_ns * 2, POLL_MIN_NS,
				      POLL_MAX_NS);
	else if (ub->poll_ns > POLL_MIN_NS)
		ub->poll_ns /= 2;
	else
		ub->poll_ns = 0;
}

/* True if the frontend's next doorbell is certain, or the ring not of interest. */
static bool may_sleep(struct usbback *ub)
{
	if (ub->state != USBBACK_RUNNING || ub->stalled)
		return true;
	return !usbif_cons_arm(&ub->sq);
}

/*
 * A guest that rings and rings for nothing gets one look in each jiffy: the thread is
 * not to be kept running by doorbells alone. They don't even wake it meanwhile.
 */
static void thread_pause(struct usbback *ub)
{
	if (ub->empty_row < EMPTY_ROW)
		return;
	ub->stats.paced++;
	WRITE_ONCE(ub->pausing, true);
	schedule_timeout_idle(1);
	WRITE_ONCE(ub->pausing, false);
	/* With the one in usbback_wake(): who did not wake us has set the bit. */
	smp_mb();
}

static void thread_sleep(struct usbback *ub)
{
	long timeout = usbback_session_timeout(ub);

	ub->idle_since = local_clock();
	set_current_state(TASK_IDLE);
	if (!test_bit(0, &ub->woken) && !kthread_should_stop() &&
	    !kthread_should_park())
		schedule_timeout(timeout);
	__set_current_state(TASK_RUNNING);
}

/* One look at everything; true if there may be more. */
static bool thread_look(struct usbback *ub)
{
	bool more;

	kcov_remote_start_common(ub->kcov_handle);
	more = usbback_session_look(ub);
	more |= usbback_urb_flush(ub);
	if (ub->state == USBBACK_RUNNING)
		more |= usbback_request_intake(ub);
	kcov_remote_stop();
	return more;
}

static int thread_main(void *arg)
{
	struct usbback *ub = arg;
	unsigned int noio = memalloc_noio_save();
	bool slept = false;

	while (!kthread_should_stop()) {
		u32 cons = ub->sq.cons;
		u64 seq = ub->seq;
		bool worked = false;

		if (kthread_should_park())
			kthread_parkme();
		clear_bit(0, &ub->woken);
		usbif_word_write(&ub->back->heartbeat, ++ub->heartbeat);
		/*
		 * Whoever sets the bit from now on has us look again; and a frontend that
		 * sees the heartbeat move after it has written its state (write_state())
		 * need not ring any more: we see that state below.
		 */
		virt_mb();
		if (ub->state == USBBACK_RUNNING)
			usbif_cons_disarm(&ub->sq);
		/* A guest can always give it more to do: who parks it must not wait. */
		while (!kthread_should_park() && thread_look(ub)) {
			worked = true;
			cond_resched();
		}
		worked |= ub->sq.cons != cons;
		ub->empty_row = worked ? 0 : min(ub->empty_row + 1, EMPTY_ROW);
		if (slept) {
			ub->stats.wakeups++;
			ub->stats.empty_wakeups += !worked;
			poll_adapt(ub, ub->seq != seq);
		}
		slept = false;
		thread_pause(ub);
		if (test_bit(0, &ub->woken) || poll_ring(ub) || !may_sleep(ub)) {
			cond_resched();
			continue;
		}
		thread_sleep(ub);
		slept = true;
	}
	memalloc_noio_restore(noio);
	return 0;
}

static int map_layout(struct usbback *ub)
{
	void __usbif *ctl = ub->chan->ctl;
	int ret;

	ret = usbif_layout_compute(&ub->lay, ub->chan->size, USBBACK_FEATURES,
				   USBIF_MAX_VUSB, USBIF_MAX_PORTS);
	if (ret)
		return ret;
	if (ub->lay.pool_offset > ub->chan->ctl_size)
		return -EINVAL;
	ub->back = ctl + USBIF_BACK_OFFSET;
	ub->front = ctl + USBIF_FRONT_OFFSET;
	ub->ports_wire = ctl + USBIF_PORTS_OFFSET;
	return 0;
}

static struct usbback *backend_alloc(struct usbif_chan *chan)
{
	struct usbback *ub;
	int i;

	ub = kvzalloc(sizeof(*ub), GFP_KERNEL);
	if (!ub)
		return NULL;
	ub->chan = chan;
	ub->index = atomic_inc_return(&next_index) - 1;
	ub->next_epoch = get_random_u32();
	ub->kcov_handle = kcov_common_handle();
	INIT_LIST_HEAD(&ub->node);
	INIT_LIST_HEAD(&ub->run);
	INIT_LIST_HEAD(&ub->starved);
	INIT_LIST_HEAD(&ub->limited);
	INIT_LIST_HEAD(&ub->deferred);
	INIT_LIST_HEAD(&ub->bigs);
	for (i = 0; i < USBBACK_ORDERS; i++)
		INIT_LIST_HEAD(&ub->cache[i]);
	spin_lock_init(&ub->lock);
	init_waitqueue_head(&ub->idle);
	ratelimit_state_init(&ub->log, 5 * HZ, 10);
	ratelimit_set_flags(&ub->log, RATELIMIT_MSG_ON_RELEASE);
	return ub;
}

static void ports_free(struct usbback *ub)
{
	unsigned int vusb, nr;

	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 0; nr <= USBIF_MAX_PORTS; nr++)
			kfree(ub->ports[vusb][nr]);
}

/* Unless @name is taken, the channel can be found from now on. */
static int list_insert(struct usbback *ub, const char *name)
{
	int ret = 0;

	mutex_lock(&list_mutex);
	if (name && usbback_find(name))
		ret = -EBUSY;
	else if (name)
		strscpy(ub->name, name, sizeof(ub->name));
	if (!ret) {
		list_add_tail(&ub->node, &backends);
		usbback_limits_apply(ub);
	}
	mutex_unlock(&list_mutex);
	return ret;
}

static void list_remove(struct usbback *ub)
{
	mutex_lock(&list_mutex);
	list_del_init(&ub->node);
	mutex_unlock(&list_mutex);
}

/* From now on it may be used, and ended. */
static void list_ready(struct usbback *ub, u32 pid)
{
	mutex_lock(&list_mutex);
	ub->pid = pid;
	ub->is_ready = true;
	mutex_unlock(&list_mutex);
}

/* The channel has its name: rules may put devices on it. */
static void publish(struct usbback *ub)
{
	mutex_lock(&publish_mutex);
	usbback_debugfs_add(ub);
	if (ub->name[0]) {
		usbback_rules_backend_added(ub);
		ub->added = true;
	}
	mutex_unlock(&publish_mutex);
}

static void unpublish(struct usbback *ub)
{
	mutex_lock(&publish_mutex);
	usbback_debugfs_remove(ub);
	if (ub->added)
		usbback_rules_backend_removed(ub);
	ub->added = false;
	mutex_unlock(&publish_mutex);
}

/**
 * usbback_create - make the backend of a guest and start it
 * @chan: its channel; the backend's on success, the caller's on failure
 * @name: of the guest, or NULL if it has none yet
 * @pid: of the guest's QEMU, or 0
 *
 * Return: the backend, or ERR_PTR: -EBUSY if the name is in use, -EINVAL for a
 * region that holds no layout, -ENOMEM.
 */
struct usbback *usbback_create(struct usbif_chan *chan, const char *name, u32 pid)
{
	struct usbback *ub;
	int ret;

	ub = backend_alloc(chan);
	if (!ub)
		return ERR_PTR(-ENOMEM);
	ret = map_layout(ub);
	if (ret)
		goto err_free;
	ret = usbback_buffer_init(ub);
	if (ret)
		goto err_free;
	ret = usbback_request_init(ub);
	if (ret)
		goto err_buffer_fini;
	ub->wq = alloc_workqueue("usbback_%u", WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
				 ub->index);
	if (!ub->wq) {
		ret = -ENOMEM;
		goto err_request_fini;
	}
	ub->thread = kthread_create(thread_main, ub, "usbback/%s",
				    name ?: dev_name(chan->dev));
	if (IS_ERR(ub->thread)) {
		ret = PTR_ERR(ub->thread);
		goto err_destroy_wq;
	}
	ret = list_insert(ub, name);
	if (ret)
		goto err_stop_thread;

	chan->event = chan_event;
	chan->priv = ub;
	usbback_session_init(ub);
	ret = usbif_chan_start(chan);
	if (ret)
		goto err_session_fini;
	wake_up_process(ub->thread);
	usbif_chan_kick(chan);
	publish(ub);
	list_ready(ub, pid);
	return ub;

err_session_fini:
	timer_shutdown_sync(&ub->ring_timer);
	list_remove(ub);
err_stop_thread:
	kthread_stop(ub->thread);
err_destroy_wq:
	destroy_workqueue(ub->wq);
err_request_fini:
	usbback_request_fini(ub);
err_buffer_fini:
	usbback_buffer_fini(ub);
err_free:
	kvfree(ub);
	return ERR_PTR(ret);
}

/* The thread ends the session; a host controller may take its time. */
static void close_session(struct usbback *ub)
{
	WRITE_ONCE(ub->closing, true);
	usbback_wake(ub);
	while (!wait_event_timeout(ub->idle, READ_ONCE(ub->closed), 10 * HZ))
		dev_warn(ub->chan->dev, "%s: still waiting for %u requests\n",
			 ub->name, READ_ONCE(ub->inflight));
}

/**
 * usbback_pause - leave the region alone
 * @ub: channel; the devices of its guest are suspended
 *
 * The system goes to sleep, and the channel's PCI device with it.
 */
void usbback_pause(struct usbback *ub)
{
	kthread_park(ub->thread);
	timer_delete_sync(&ub->ring_timer);
}

/**
 * usbback_go_on - undo usbback_pause()
 * @ub: channel
 */
void usbback_go_on(struct usbback *ub)
{
	kthread_unpark(ub->thread);
	usbback_wake(ub);
	/* What the guest has not seen yet may have been rung for in vain. */
	usbif_chan_kick(ub->chan);
}

/**
 * usbback_destroy - end a backend and its channel
 * @ub: backend, found by nobody else any more
 *
 * Sleeps until the last URB is back.
 */
void usbback_destroy(struct usbback *ub)
{
	struct usbif_chan *chan = ub->chan;

	list_remove(ub);
	unpublish(ub);
	close_session(ub);
	usbif_chan_stop(chan);
	kthread_stop(ub->thread);
	timer_shutdown_sync(&ub->ring_timer);
	destroy_workqueue(ub->wq);
	synchronize_rcu();
	usbback_request_fini(ub);
	usbback_buffer_fini(ub);
	ports_free(ub);
	usbif_chan_release(chan);
	kvfree(ub);
}

static const char *channel_address(const struct usbback *ub)
{
	return ub->chan->ops->is_device ? dev_name(ub->chan->dev) : "-";
}

static void add_port(struct usbback_port_stats *sum,
		     const struct usbback_port_stats *stats)
{
	sum->submitted += stats->submitted;
	sum->completed += stats->completed;
	sum->errors += stats->errors;
	sum->cancelled += stats->cancelled;
	sum->bytes_in += stats->bytes_in;
	sum->bytes_out += stats->bytes_out;
}

static void print_counters(struct usbback_text *text, struct usbback *ub)
{
	struct usbback_port_stats sum = { };
	unsigned int vusb, nr;

	spin_lock_irq(&ub->lock);
	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr])
				add_port(&sum, &ub->ports[vusb][nr]->stats);
	spin_unlock_irq(&ub->lock);
	usbback_text_printf(text,
			    " requests=%llu completions=%llu errors=%llu cancels=%llu in=%llu out=%llu kicks=%lu events=%lu",
			    sum.submitted, sum.completed, sum.errors,
			    sum.cancelled, sum.bytes_in, sum.bytes_out,
			    atomic_long_read(&ub->chan->kicks),
			    atomic_long_read(&ub->chan->events));
}

/**
 * usbback_channels_print - one line for each channel
 * @text: to print to
 */
void usbback_channels_print(struct usbback_text *text)
{
	struct usbback *ub;

	mutex_lock(&list_mutex);
	list_for_each_entry(ub, &backends, node) {
		usbback_text_printf(text, "%s %s %s %s %u %u",
				    ub->name[0] ? ub->name : "-",
				    ub->chan->ops->kind, channel_address(ub),
				    usbback_state_name(READ_ONCE(ub->state)),
				    READ_ONCE(ub->session), ub->pid);
		print_counters(text, ub);
		usbback_text_printf(text, "\n");
	}
	mutex_unlock(&list_mutex);
}

static int set_name(const char *address, const char *vm, struct usbback **out)
{
	struct usbback *ub, *found = NULL;

	lockdep_assert_held(&list_mutex);
	list_for_each_entry(ub, &backends, node)
		if (ub->chan->ops->is_device && ub->is_ready &&
		    !strcmp(dev_name(ub->chan->dev), address))
			found = ub;
	if (!found) {
		pr_err("channel '%s': no device with such a channel\n", address);
		return -ENOENT;
	}
	*out = NULL;
	if (!strcmp(found->name, vm))
		return 0;
	if (found->name[0]) {
		pr_err("channel '%s': is named %s\n", address, found->name);
		return -EBUSY;
	}
	if (usbback_find(vm)) {
		pr_err("channel '%s': another channel is named %s\n", address, vm);
		return -EBUSY;
	}
	strscpy(found->name, vm, sizeof(found->name));
	usbback_limits_apply(found);
	*out = found;
	return 0;
}

/**
 * usbback_channels_name - name the channel of a device
 * @address: PCI address, or name of the platform device
 * @vm: name of the guest, valid
 *
 * Return: 0, -ENOENT or -EBUSY.
 */
int usbback_channels_name(const char *address, const char *vm)
{
	struct usbback *ub = NULL;
	int ret;

	/* Held over both, so that the channel can't end between. */
	mutex_lock(&publish_mutex);
	mutex_lock(&list_mutex);
	ret = set_name(address, vm, &ub);
	mutex_unlock(&list_mutex);
	if (!ret && ub) {
		usbback_debugfs_remove(ub);
		usbback_debugfs_add(ub);
		usbback_rules_backend_added(ub);
		ub->added = true;
	}
	mutex_unlock(&publish_mutex);
	return ret;
}
