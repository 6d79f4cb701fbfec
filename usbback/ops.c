// SPDX-License-Identifier: GPL-2.0
/*
 * What takes long: resets, configurations, interfaces, halts. Each port has one
 * work item that runs its operations in the order of their submission; other ports
 * and the channel's thread don't wait for it.
 *
 * From its submission to its end an operation closes a gate for the endpoints it
 * concerns: requests submitted later are parked. Requests submitted earlier are
 * ended (or, before a clear halt, taken back) when the worker comes to it.
 *
 * An operation that is cancelled, or whose session ends, before the worker has come to
 * it is gone at once, so that there are never more of them than requests. One that runs
 * has no slot any more then, and its result is dropped.
 */
#include <linux/kcov.h>
#include <linux/pm_runtime.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "backend.h"

#define LOCK_MS		5000	/* for the device lock */
#define DRAIN_MS	5000	/* for the host controller to return requests */
#define PREPARE_TRIES	3
#define PREPARE_RETRY	200	/* ms */
#define CONFIGS		16	/* configurations at once */
#define CONFIG_GAP	msecs_to_jiffies(250)	/* between those after */

/* ---- gates ---- */

static void update_gate(struct usbback_port *port)
{
	struct usbback_op *op;

	lockdep_assert_held(&port->ub->lock);
	port->gate = port->asleep ? USBBACK_ALL_EPS : 0;
	list_for_each_entry(op, &port->ops, node)
		port->gate |= op->mask;
	usbback_port_run(port);
}

static u32 setting_mask(const struct usb_host_interface *alt)
{
	u32 mask = 0;
	unsigned int i;

	for (i = 0; i < alt->desc.bNumEndpoints; i++) {
		u8 address = alt->endpoint[i].desc.bEndpointAddress;

		mask |= BIT(usbback_ep_index(address));
	}
	return mask;
}

/*
 * Endpoints of all settings of an interface. Reads descriptors only, which live as
 * long as the device, so no lock is needed.
 */
static u32 interface_mask(struct usb_device *udev, u32 number)
{
	struct usb_host_config *config = READ_ONCE(udev->actconfig);
	u32 mask = BIT(0);
	unsigned int i, j;

	for (i = 0; config && i < USB_MAXINTERFACES; i++) {
		struct usb_interface_cache *cache = config->intf_cache[i];

		if (!cache || !cache->num_altsetting ||
		    cache->altsetting[0].desc.bInterfaceNumber != number)
			continue;
		for (j = 0; j < cache->num_altsetting; j++)
			mask |= setting_mask(&cache->altsetting[j]);
	}
	return mask;
}

static u32 op_mask(struct usbback_port *port, const struct usbif_request *req)
{
	switch (req->op) {
	case USBIF_OP_CLEAR_HALT:
		return BIT(0) | BIT(usbback_ep_index(req->endpoint));
	case USBIF_OP_ALLOC_STREAMS:
	case USBIF_OP_FREE_STREAMS:
		return req->arg1;	/* the same bits as ours */
	case USBIF_OP_SET_INTERFACE:
		/* After another operation this may be a different interface. */
		return list_empty(&port->ops) ?
			interface_mask(port->udev, req->arg0) : USBBACK_ALL_EPS;
	default:
		return USBBACK_ALL_EPS;
	}
}

/* ---- intake ---- */

/**
 * usbback_op_take - queue an operation
 * @ub: channel
 * @slot: free slot with the request
 */
void usbback_op_take(struct usbback *ub, struct usbback_slot *slot)
{
	struct usbback_op *op = kzalloc(sizeof(*op), GFP_NOIO | __GFP_NOWARN);
	const struct usbif_request *req = &slot->req;
	struct usbback_port *port;

	spin_lock_irq(&ub->lock);
	if (req->op == USBIF_OP_RESET)
		port = usbback_port_find_shown(ub, req->vusb, req->port,
					       req->port_epoch);
	else
		port = usbback_port_find(ub, req->vusb, req->port,
					 req->port_epoch);
	if (!port || !op) {
		usbback_session_respond(ub, slot->id, port ? USBIF_ST_NOMEM :
					USBIF_ST_NODEV, 0, 0, 0);
		spin_unlock_irq(&ub->lock);
		kfree(op);
		return;
	}
	op->slot = slot;
	op->port = port;
	op->req = *req;
	op->seq = ++ub->seq;
	op->mask = op_mask(port, req);
	slot->op = op;
	slot->state = SLOT_OP;
	ub->live++;
	list_add_tail(&op->node, &port->ops);
	update_gate(port);
	queue_work(ub->wq, &port->work);
	spin_unlock_irq(&ub->lock);
}

/**
 * usbback_op_leave - nobody waits for an operation any more
 * @slot: its slot; under the channel's lock
 *
 * Those after it go on without it, unless it runs.
 */
void usbback_op_leave(struct usbback_slot *slot)
{
	struct usbback_op *op = slot->op;

	lockdep_assert_held(&slot->ub->lock);
	slot->op = NULL;
	op->slot = NULL;
	if (op->running)
		return;
	list_del(&op->node);
	/* What leaves with its session leaves in numbers, and that opens no gate. */
	if (slot->ub->state == USBBACK_RUNNING)
		update_gate(op->port);
	kfree(op);
}

void usbback_op_cancel(struct usbback_slot *slot)
{
	lockdep_assert_held(&slot->ub->lock);
	/* One that runs ends by itself. */
	if (!slot->op->running)
		usbback_request_finish(slot, USBIF_ST_CANCELLED, 0, 0, 0);
}

/* ---- steps ---- */

static bool port_is_going(struct usbback_port *port)
{
	return READ_ONCE(port->phase) == PORT_DETACHING;
}

static bool eps_drained(struct usbback_port *port, u32 mask)
{
	bool drained = true;
	unsigned int i;

	spin_lock_irq(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i) && !list_empty(&port->eps[i].active))
			drained = false;
	spin_unlock_irq(&port->ub->lock);
	return drained;
}

/**
 * usbback_port_drain - wait until the host controller has nothing on some endpoints
 * @port: port
 * @mask: endpoints
 * @timeout_ms: for how long
 *
 * Context: process
 * Return: whether it has nothing.
 */
bool usbback_port_drain(struct usbback_port *port, u32 mask, unsigned int timeout_ms)
{
	struct usbback *ub = port->ub;
	long left;

	spin_lock_irq(&ub->lock);
	ub->waiters++;
	spin_unlock_irq(&ub->lock);
	left = wait_event_timeout(ub->idle, eps_drained(port, mask),
				  msecs_to_jiffies(timeout_ms));
	spin_lock_irq(&ub->lock);
	ub->waiters--;
	spin_unlock_irq(&ub->lock);
	return left;
}

static u8 wait_eps(struct usbback_port *port, u32 mask)
{
	return usbback_port_drain(port, mask, DRAIN_MS) ? USBIF_ST_OK : USBIF_ST_TIMEOUT;
}

/* Ends the requests on @mask that are older than the operation. */
static u8 shutdown_eps(struct usbback_port *port, u32 mask, u64 seq)
{
	struct usbback *ub = port->ub;
	bool kick;

	spin_lock_irq(&ub->lock);
	usbback_port_kill(port, mask, seq, KILL_SHUTDOWN);
	kick = usbback_session_must_kick(ub);
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
	usbback_urb_unlink_port(port);
	return wait_eps(port, mask);
}

/**
 * usbback_port_take_back - have the host controller give back what it has, to be parked
 * @port: port
 * @mask: endpoints
 *
 * Context: process; does not wait for it
 */
void usbback_port_take_back(struct usbback_port *port, u32 mask)
{
	unsigned int i;

	spin_lock_irq(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i))
			usbback_urb_take_back(&port->eps[i]);
	spin_unlock_irq(&port->ub->lock);
	usbback_urb_unlink_port(port);
}

static u8 takeback_eps(struct usbback_port *port, u32 mask)
{
	usbback_port_take_back(port, mask);
	return wait_eps(port, mask);
}

/* A port that was reset or configured anew is not held anywhere. */
static void unhold(struct usbback_port *port, u32 mask)
{
	unsigned int i;

	lockdep_assert_held(&port->ub->lock);
	for (i = 0; i < USBBACK_EPS; i++)
		if (mask & BIT(i))
			port->eps[i].held = false;
}

/* What the guest is told of an error of the USB core. */
u8 usbback_op_status(int ret)
{
	switch (ret) {
	case -EINVAL:
		return USBIF_ST_NOENT;
	case -ENODEV:
	case -ESHUTDOWN:
		return USBIF_ST_NODEV;
	case -EHOSTUNREACH:
		return USBIF_ST_SUSPENDED;
	case -EAGAIN:
	case -EBUSY:
		return USBIF_ST_UNSUPPORTED;
	default:
		return ret ? usbif_status_from_errno(ret) : USBIF_ST_OK;
	}
}

/* ---- operations; in the port's worker, no lock held ---- */

/* Some a second, four if nobody says otherwise: a reset keeps the hub's lock. */
static void pace_resets(struct usbback_port *port)
{
	unsigned long gap = HZ / usbback_limit(port->ub, LIMIT_RESETS);

	while (time_before(jiffies, port->last_reset + gap) &&
	       !port_is_going(port))
		schedule_timeout_idle(1);
	port->last_reset = jiffies;
}

static int reset_device(struct usbback_port *port)
{
	int ret;

	pace_resets(port);
	ret = pm_runtime_get_sync(&port->udev->dev);
	if (ret < 0)
		goto out;
	ret = usbback_dev_lock(port->bdev, LOCK_MS);
	if (ret)
		goto out;
	usbback_streams_free(port, USBBACK_ALL_EPS);
	ret = usb_reset_device(port->udev);
	usbback_dev_unlock(port->bdev);
out:
	pm_runtime_put(&port->udev->dev);
	port->last_reset = jiffies;
	return ret;
}

static u8 run_reset(struct usbback_port *port, struct usbback_op *op)
{
	struct usbback *ub = port->ub;
	bool needed;
	int ret;
	u8 status;

	status = shutdown_eps(port, USBBACK_ALL_EPS, op->seq);
	if (status)
		return status;
	/* Enumeration asks for several: only the first one has an effect. */
	needed = !READ_ONCE(port->pristine);
	if (needed) {
		usbback_dev_set_resetting(port->bdev, true);
		ret = reset_device(port);
		usbback_dev_set_resetting(port->bdev, false);
		/* Its way of saying that the device has gone. */
		if (ret == -EINVAL)
			ret = -ENODEV;
		if (ret)
			return usbback_op_status(ret);
	}
	spin_lock_irq(&ub->lock);
	/*
	 * The host has restored the configuration, but for the guest there is none
	 * until it sets one.
	 */
	port->configured = false;
	port->pristine = true;
	port->stats.resets += needed;
	unhold(port, USBBACK_ALL_EPS);
	spin_unlock_irq(&ub->lock);
	return USBIF_ST_OK;
}

/*
 * Each configuration takes the interfaces away and makes them anew, which the host's udev
 * hears of, and it works far longer on that than the guest. What fails, settings and
 * suspending as well, may have the USB core log it. What takes long holds the controller's
 * bandwidth, also from others: twice that time is charged, so that half of it is theirs.
 */
static void pace_configurations(struct usbback_port *port)
{
	if (time_before(port->configs_until, jiffies))
		port->configs_until = jiffies;
	while (time_after(port->configs_until, jiffies +
			  (CONFIGS - 1) * CONFIG_GAP) && !port_is_going(port))
		schedule_timeout_idle(1);
}

static void charge_configuration(struct usbback_port *port, unsigned long began,
				 bool gap)
{
	port->configs_until += 2 * (jiffies - began);
	if (gap)
		port->configs_until += CONFIG_GAP;
}

static int set_configuration(struct usbback_port *port, int value)
{
	unsigned long began;
	int ret;

	pace_configurations(port);
	ret = usbback_dev_lock(port->bdev, LOCK_MS);
	if (ret)
		return ret;
	began = jiffies;
	usbback_streams_free(port, USBBACK_ALL_EPS);
	/* Also if it is the present one: settings and toggles are to be as new. */
	ret = usb_set_configuration(port->udev, value);
	if (!ret)
		usbback_dev_claim_interfaces(port->bdev);
	usbback_dev_unlock(port->bdev);
	charge_configuration(port, began, true);
	return ret;
}

static u8 run_set_configuration(struct usbback_port *port, struct usbback_op *op)
{
	struct usbback *ub = port->ub;
	u8 status;
	int ret;

	status = shutdown_eps(port, USBBACK_ALL_EPS & ~BIT(0), op->seq);
	if (status)
		return status;
	WRITE_ONCE(port->pristine, false);
	ret = set_configuration(port, op->req.arg0);
	spin_lock_irq(&ub->lock);
	port->configured = !ret && op->req.arg0;
	unhold(port, USBBACK_ALL_EPS & ~BIT(0));
	spin_unlock_irq(&ub->lock);
	return usbback_op_status(ret);
}

static int set_interface(struct usbback_port *port, u32 number, u32 setting,
			 u32 mask)
{
	struct usb_device *udev = port->udev;
	struct usb_interface *intf;
	unsigned long began;
	int ret;

	pace_configurations(port);
	ret = usbback_dev_lock(port->bdev, LOCK_MS);
	if (ret)
		return ret;
	began = jiffies;
	/* The USB core logs what does not exist; a guest must not. */
	intf = usb_ifnum_to_if(udev, number);
	if (intf && usb_altnum_to_altsetting(intf, setting)) {
		usbback_streams_free(port, mask);
		ret = usb_set_interface(udev, number, setting);
	} else {
		ret = -EINVAL;
	}
	usbback_dev_unlock(port->bdev);
	charge_configuration(port, began, ret);
	return ret;
}

static u8 run_set_interface(struct usbback_port *port, struct usbback_op *op)
{
	u32 mask = interface_mask(port->udev, op->req.arg0) & ~BIT(0);
	struct usbback *ub = port->ub;
	u8 status;
	int ret;

	status = shutdown_eps(port, mask, op->seq);
	if (status)
		return status;
	WRITE_ONCE(port->pristine, false);
	ret = set_interface(port, op->req.arg0, op->req.arg1, mask);
	spin_lock_irq(&ub->lock);
	unhold(port, mask);
	spin_unlock_irq(&ub->lock);
	return usbback_op_status(ret);
}

static u8 run_clear_halt(struct usbback_port *port, struct usbback_op *op)
{
	unsigned int num = op->req.endpoint & USB_ENDPOINT_NUMBER_MASK;
	struct usb_device *udev = port->udev;
	struct usb_host_endpoint *hep;
	u8 status;

	hep = usbback_urb_endpoint(udev, op->req.endpoint);
	if (!hep || (num && !port->configured))
		return USBIF_ST_NOENT;
	status = takeback_eps(port, BIT(usbback_ep_index(op->req.endpoint)));
	if (status)
		return status;
	WRITE_ONCE(port->pristine, false);
	/* The pipe's type is of no importance: only its number and direction. */
	return usbback_op_status(usb_clear_halt(udev, op->req.endpoint & USB_DIR_IN ?
					usb_rcvbulkpipe(udev, num) :
					usb_sndbulkpipe(udev, num)));
}

static u8 run_free_streams(struct usbback_port *port, struct usbback_op *op)
{
	bool had_some;
	u8 status;
	int ret;

	status = shutdown_eps(port, op->req.arg1, op->seq);
	if (status)
		return status;
	ret = usbback_dev_lock(port->bdev, LOCK_MS);
	if (ret)
		return usbback_op_status(ret);
	had_some = usbback_streams_free(port, op->req.arg1);
	usbback_dev_unlock(port->bdev);
	return had_some ? USBIF_ST_OK : USBIF_ST_NOENT;
}

/* What the guest's driver left behind is resumed with the device. */
static u8 run_suspend(struct usbback_port *port, struct usbback_op *op)
{
	unsigned long began;
	u8 status;

	pace_configurations(port);
	status = takeback_eps(port, USBBACK_ALL_EPS);
	if (status)
		return status;
	began = jiffies;
	status = usbback_port_sleep(port, op->req.arg0);
	if (status && status != USBIF_ST_SUSPENDED)
		charge_configuration(port, began, true);
	return status;
}

static u8 run_op(struct usbback_port *port, struct usbback_op *op)
{
	u8 status = USBIF_ST_OK;

	/* Whatever it is: it needs the device. */
	if (op->req.op != USBIF_OP_SUSPEND)
		status = usbback_port_wake(port);
	/* A device that did not wake up may still be reset, but not while the host sleeps. */
	if (status && (op->req.op != USBIF_OP_RESET || status == USBIF_ST_SUSPENDED))
		return status;
	switch (op->req.op) {
	case USBIF_OP_SUSPEND:
		return run_suspend(port, op);
	case USBIF_OP_RESUME:
		return USBIF_ST_OK;
	case USBIF_OP_RESET:
		return run_reset(port, op);
	case USBIF_OP_SET_CONFIGURATION:
		return run_set_configuration(port, op);
	case USBIF_OP_SET_INTERFACE:
		return run_set_interface(port, op);
	case USBIF_OP_CLEAR_HALT:
		return run_clear_halt(port, op);
	case USBIF_OP_ALLOC_STREAMS:
		return usbback_streams_alloc(port, op, LOCK_MS);
	case USBIF_OP_FREE_STREAMS:
		return run_free_streams(port, op);
	default:
		return USBIF_ST_UNSUPPORTED;
	}
}

/* ---- preparation for a new session ---- */

/* Returns true if the preparation is still wanted. */
static bool prepare_wanted(struct usbback_port *port)
{
	return port->phase == PORT_PREPARING && !port->want_prepare;
}

static void prepare_end(struct usbback_port *port, int ret)
{
	struct usbback *ub = port->ub;
	bool kick = false;

	spin_lock_irq(&ub->lock);
	if (prepare_wanted(port)) {
		port->configured = false;
		port->pristine = !ret;
		port->stats.resets++;
		unhold(port, USBBACK_ALL_EPS);
		usbback_streams_forget(port, USBBACK_ALL_EPS);
		update_gate(port);
		port->phase = ret ? PORT_FAILED : PORT_UP;
		if (ret)
			usbback_session_write_port(port, USBIF_REASON_UNPLUGGED);
		kick = ret;
	}
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
	usbback_rules_changed();
}

/* The host sleeps, or has slept since the count was taken. */
static bool was_frozen(const struct usbback_port *port, u32 freezes)
{
	lockdep_assert_held(&port->ub->lock);
	return port->frozen || port->freezes != freezes;
}

/* The host went to sleep, and the device with it, before that was done. */
static bool prepare_later(struct usbback_port *port, u32 freezes)
{
	bool later;

	spin_lock_irq(&port->ub->lock);
	later = was_frozen(port, freezes) && port->phase == PORT_PREPARING;
	port->want_prepare |= later;
	spin_unlock_irq(&port->ub->lock);
	return later;
}

static int prepare_once(struct usbback_port *port)
{
	int ret;

	pace_resets(port);
	ret = pm_runtime_get_sync(&port->udev->dev);
	if (ret >= 0)
		ret = usbback_dev_reset(port->bdev, LOCK_MS);
	pm_runtime_put(&port->udev->dev);
	port->last_reset = jiffies;
	return ret;
}

/* Gives the device to the guest as if it had just been plugged in. */
static void prepare(struct usbback_port *port)
{
	u32 freezes = READ_ONCE(port->freezes);
	int tries = 0, ret = 0;

	if (usbback_port_wake(port) && prepare_later(port, freezes))
		return;
	usbback_dev_set_resetting(port->bdev, true);
	/* Nobody can use it while it is being prepared, so this stays true. */
	while (!READ_ONCE(port->pristine)) {
		ret = prepare_once(port);
		if (!ret || ret == -ENODEV || port_is_going(port) ||
		    ++tries == PREPARE_TRIES)
			break;
		msleep(PREPARE_RETRY);
	}
	usbback_dev_set_resetting(port->bdev, false);
	if (ret && prepare_later(port, freezes))
		return;
	if (ret && ret != -ENODEV)
		dev_err(&port->udev->dev, "cannot be reset for %s: %d\n",
			port->ub->name, ret);
	usbback_dev_set_failed(port->bdev, ret && ret != -ENODEV);
	prepare_end(port, ret);
}

/* ---- the worker ---- */

static void op_end(struct usbback_port *port, struct usbback_op *op, u8 status)
{
	struct usbback *ub = port->ub;
	bool kick;

	spin_lock_irq(&ub->lock);
	list_del(&op->node);
	if (op->slot)
		usbback_request_finish(op->slot, status, 0, 0, op->value);
	update_gate(port);
	kick = usbback_session_must_kick(ub);
	spin_unlock_irq(&ub->lock);
	if (kick)
		usbif_chan_kick(ub->chan);
	kfree(op);
}

/* The same for an operation: it is to begin again. */
static bool op_later(struct usbback_port *port, struct usbback_op *op, u32 freezes)
{
	bool later;

	spin_lock_irq(&port->ub->lock);
	later = was_frozen(port, freezes) && port->phase == PORT_UP && op->slot;
	op->running &= !later;
	spin_unlock_irq(&port->ub->lock);
	return later;
}

static void run(struct usbback_port *port, struct usbback_op *op)
{
	u32 freezes = READ_ONCE(port->freezes);
	u8 status = run_op(port, op);

	if (!status || !op_later(port, op, freezes))
		op_end(port, op, status);
}

enum todo { TODO_NOTHING, TODO_PREPARE, TODO_RUN, TODO_SKIP };

static enum todo next_todo(struct usbback_port *port, struct usbback_op **op)
{
	enum todo todo = TODO_NOTHING;

	spin_lock_irq(&port->ub->lock);
	*op = list_first_entry_or_null(&port->ops, struct usbback_op, node);
	if (port->want_prepare && !port->frozen) {
		port->want_prepare = false;
		todo = TODO_PREPARE;
	} else if (port->phase == PORT_ANNOUNCED ||
		   (port->frozen && port->phase != PORT_DETACHING)) {
		*op = NULL;	/* when the device is there, or the host awake */
	} else if (*op) {
		(*op)->running = true;
		todo = port->phase == PORT_DETACHING || !port->bdev ?
			TODO_SKIP : TODO_RUN;
	}
	spin_unlock_irq(&port->ub->lock);
	return todo;
}

void usbback_op_work(struct work_struct *work)
{
	struct usbback_port *port = container_of(work, struct usbback_port, work);
	unsigned int noio = memalloc_noio_save();
	struct usbback_op *op;
	enum todo todo;

	kcov_remote_start_common(port->ub->kcov_handle);
	if (xchg(&port->want_kick, false))
		usbif_chan_kick(port->ub->chan);
	while ((todo = next_todo(port, &op)) != TODO_NOTHING) {
		if (todo == TODO_PREPARE)
			prepare(port);
		else if (todo == TODO_SKIP)
			op_end(port, op, USBIF_ST_NODEV);
		else
			run(port, op);
		cond_resched();
	}
	kcov_remote_stop();
	memalloc_noio_restore(noio);
}
