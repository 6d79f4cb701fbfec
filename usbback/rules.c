// SPDX-License-Identifier: GPL-2.0
/*
 * Rules: which device belongs to which port of which guest.
 *
 * A write to sysfs, the coming and going of a device, a hub or a backend only
 * change what is wanted, and queue the work item (settle.c) of the rules concerned.
 * So every change is made in one place, one at a time per rule.
 *
 * Lifetime. A rule is in the list from its first write until its work item, after
 * the rule was removed, has given back the port and the device; a new rule for the
 * same bus ID in between takes the object over. Nobody but the work item has a
 * pointer to it beyond a hold of rules_lock.
 *
 * Locks: see usbback.h. rules_lock protects the list of the rules and their
 * members, and the list of backends; the mutex of a device is held over each change
 * of where it is plugged in, bdev->ub, which is written under rules_lock, too. So
 * one that is slow to let go of its port is in nobody else's way.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include "device.h"
#include "inuse.h"
#include "rules.h"

#define AGAIN_MOST	6U	/* 64 s */

/**
 * struct backend_entry - a backend that has a name
 * @node: in backends
 * @ub: the backend
 * @users: those who may plug a device in
 * @going: no more of them
 *
 * All under rules_lock.
 */
struct backend_entry {
	struct list_head node;
	struct usbback *ub;
	unsigned int users;
	bool going;
};

DEFINE_MUTEX(usbback_rules_lock);	/* the list of rules and what is in them */
static LIST_HEAD(rules);
static LIST_HEAD(backends);
static DECLARE_WAIT_QUEUE_HEAD(backend_unused);
static struct workqueue_struct *rules_wq;
static bool closing;

static void notify_work(struct work_struct *work)
{
	usbback_sysfs_notify();
}

static DECLARE_WORK(changed_work, notify_work);

/**
 * usbback_rules_changed - what the files in sysfs show has changed
 *
 * Context: any
 */
void usbback_rules_changed(void)
{
	queue_work(rules_wq, &changed_work);
}

/* ---- small helpers ---- */

static struct usbback_rule *rule_find(const char *busid)
{
	struct usbback_rule *rule;

	lockdep_assert_held(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node)
		if (!strcmp(rule->spec.busid, busid))
			return rule;
	return NULL;
}

/**
 * usbback_rules_find - find the rule of a device
 * @busid: its name
 *
 * Context: under rules_lock
 * Return: the rule if it was not removed, or NULL
 */
struct usbback_rule *usbback_rules_find(const char *busid)
{
	struct usbback_rule *rule = rule_find(busid);

	return rule && rule->wanted ? rule : NULL;
}

static void rule_queue(struct usbback_rule *rule)
{
	lockdep_assert_held(&usbback_rules_lock);
	/* At once, also if it was to be looked at later. */
	mod_delayed_work(rules_wq, &rule->work, 0);
}

/**
 * usbback_rules_try_again - look at a rule once more, later
 * @rule: rule whose work item runs, and could not do what is wanted
 *
 * A second later, and the more often it fails the more rarely.
 *
 * Context: under rules_lock
 */
void usbback_rules_try_again(struct usbback_rule *rule)
{
	lockdep_assert_held(&usbback_rules_lock);
	queue_delayed_work(rules_wq, &rule->work,
			   HZ << min(rule->failures, AGAIN_MOST));
	rule->failures++;
}

/**
 * usbback_rules_queue_vport - a vport is free
 * @spec: for which; rules that want it are looked at again
 * @but: not this one, or NULL
 *
 * Context: under usbback_rules_lock
 */
void usbback_rules_queue_vport(const struct usbback_spec *spec,
			       const struct usbback_rule *but)
{
	struct usbback_rule *rule;

	lockdep_assert_held(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node)
		if (rule != but && rule->wanted &&
		    usbback_spec_same_vport(&rule->spec, spec))
			rule_queue(rule);
}

/* ---- devices and backends ---- */

/**
 * usbback_rules_get_backend - find the backend of a guest
 * @vm: its name
 *
 * Return: the backend, which stays until usbback_rules_put_backend(), or NULL
 */
struct usbback *usbback_rules_get_backend(const char *vm)
{
	struct backend_entry *entry;
	struct usbback *ub = NULL;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(entry, &backends, node) {
		if (entry->going || strcmp(usbback_name(entry->ub), vm))
			continue;
		entry->users++;
		ub = entry->ub;
		break;
	}
	mutex_unlock(&usbback_rules_lock);
	return ub;
}

static struct backend_entry *backend_find(const struct usbback *ub)
{
	struct backend_entry *entry;

	lockdep_assert_held(&usbback_rules_lock);
	list_for_each_entry(entry, &backends, node)
		if (entry->ub == ub)
			return entry;
	return NULL;
}

/**
 * usbback_rules_put_backend - the backend is no longer used
 * @ub: what usbback_rules_get_backend() returned
 */
void usbback_rules_put_backend(struct usbback *ub)
{
	if (!ub)
		return;
	mutex_lock(&usbback_rules_lock);
	backend_find(ub)->users--;
	mutex_unlock(&usbback_rules_lock);
	wake_up_all(&backend_unused);
}

/**
 * usbback_rules_unplug - take a device off its port, if it is on one
 * @bdev: device
 * @reason: for the guest
 *
 * Wakes the rule of the other half of the socket, too, which may wait for the
 * port.
 *
 * Context: with the mutex of the device held
 */
void usbback_rules_unplug(struct usbback_dev *bdev,
			  enum usbif_port_reason reason)
{
	struct usbback_spec spec = { .vusb = bdev->vusb, .port = bdev->port };
	struct usbback *ub = bdev->ub;

	lockdep_assert_held(&bdev->mutex);
	if (!ub)
		return;
	/* Until bdev->ub is cleared, the backend waits for us. */
	strscpy(spec.vm, usbback_name(ub), sizeof(spec.vm));
	usbback_port_detach(ub, bdev, reason);
	mutex_lock(&usbback_rules_lock);
	bdev->ub = NULL;
	WRITE_ONCE(bdev->failed, false);
	usbback_rules_queue_vport(&spec, NULL);
	mutex_unlock(&usbback_rules_lock);
	pr_info("%s: off port %s:%u:%u\n", bdev->busid, spec.vm, spec.vusb,
		spec.port);
}

/* ---- called by the device driver and its notifier ---- */

/**
 * usbback_rules_match - whether a rule takes a device
 * @udev: device
 *
 * Context: process; not under rules_lock
 */
bool usbback_rules_match(struct usb_device *udev)
{
	struct usbback_rule *rule;
	bool match;

	if (!udev->parent || usbback_device_is_hub(udev) ||
	    usbback_device_on_own_bus(udev))
		return false;
	mutex_lock(&usbback_rules_lock);
	rule = usbback_rules_find(dev_name(&udev->dev));
	match = rule && rule->refused != udev && !rule->foreign;
	mutex_unlock(&usbback_rules_lock);
	return match;
}

/**
 * usbback_rules_add_dev - a device is grabbed
 * @bdev: device; its rule points to it until usbback_rules_del_dev()
 *
 * Return: 0, or -ENXIO if the rule has gone
 */
int usbback_rules_add_dev(struct usbback_dev *bdev)
{
	struct usbback_rule *rule;
	int err = -ENXIO;

	mutex_lock(&usbback_rules_lock);
	rule = usbback_rules_find(bdev->busid);
	if (rule && !rule->bdev) {
		bdev->used |= rule->grabbing;
		rule->bdev = bdev;
		usbback_rule_forgive(rule);
		rule_queue(rule);
		err = 0;
	}
	mutex_unlock(&usbback_rules_lock);
	return err;
}

/**
 * usbback_rules_detach_reason - what to tell the guest if it loses a device that
 * is not unplugged
 */
enum usbif_port_reason usbback_rules_detach_reason(void)
{
	return READ_ONCE(closing) ? USBIF_REASON_BACKEND :
				    USBIF_REASON_DETACHED;
}

/**
 * usbback_rules_detach_dev - take a device off its port, for good
 * @bdev: device, gone
 */
void usbback_rules_detach_dev(struct usbback_dev *bdev)
{
	enum usbif_port_reason reason = usbback_rules_detach_reason();

	if (bdev->udev->state == USB_STATE_NOTATTACHED)
		reason = USBIF_REASON_UNPLUGGED;
	mutex_lock(&bdev->mutex);
	usbback_rules_unplug(bdev, reason);
	mutex_unlock(&bdev->mutex);
}

/**
 * usbback_rules_del_dev - a device is no longer ours
 * @bdev: device
 */
void usbback_rules_del_dev(struct usbback_dev *bdev)
{
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	rule = rule_find(bdev->busid);
	if (rule && rule->bdev == bdev) {
		rule->bdev = NULL;
		rule_queue(rule);
	}
	mutex_unlock(&usbback_rules_lock);
}

/**
 * usbback_rules_dev_changed - look at a device again
 * @bdev: device
 */
void usbback_rules_dev_changed(struct usbback_dev *bdev)
{
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	rule = usbback_rules_find(bdev->busid);
	if (rule && rule->bdev == bdev)
		rule_queue(rule);
	mutex_unlock(&usbback_rules_lock);
}

/**
 * usbback_rules_device_added - claim the ports of a new hub, look at a new device
 * @udev: device or hub, its device lock is held
 */
void usbback_rules_device_added(struct usb_device *udev)
{
	bool own = usbback_device_on_own_bus(udev);
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node) {
		if (!rule->wanted)
			continue;
		if (usbback_rule_is_on(rule, udev)) {
			if (!own)
				usbback_rule_claim(rule, udev);
			rule_queue(rule);
		} else if (!strcmp(rule->spec.busid, dev_name(&udev->dev)) &&
			   !rule->grabbing) {
			/* Else it is the work item that brings us here. */
			rule_queue(rule);
		}
	}
	mutex_unlock(&usbback_rules_lock);
}

/**
 * usbback_rules_device_removed - forget a hub, get ready for the next device
 * @udev: device or hub, its device lock and that of its parent are held
 */
void usbback_rules_device_removed(struct usb_device *udev)
{
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node) {
		if (usbback_rule_is_on(rule, udev)) {
			if (rule->hdev == udev)
				usbback_rule_unclaim(rule);
			rule_queue(rule);
		} else if (!strcmp(rule->spec.busid, dev_name(&udev->dev)) &&
			   udev->state == USB_STATE_NOTATTACHED) {
			/* Unplugged, and not only without its driver. */
			usbback_rule_forgive(rule);
			/* If it was refused: in time for the next device. */
			if (rule->wanted && udev->parent &&
			    !usbback_device_on_own_bus(udev))
				usbback_rule_claim(rule, udev->parent);
			rule_queue(rule);
		}
	}
	mutex_unlock(&usbback_rules_lock);
}

/* ---- called by the backends ---- */

/**
 * usbback_rules_backend_added - a backend is ready for devices
 * @ub: backend, has its name
 *
 * Context: process, no lock held
 */
void usbback_rules_backend_added(struct usbback *ub)
{
	struct backend_entry *entry = kzalloc(sizeof(*entry),
					      GFP_KERNEL | __GFP_NOFAIL);
	struct usbback_rule *rule;

	entry->ub = ub;
	mutex_lock(&usbback_rules_lock);
	list_add_tail(&entry->node, &backends);
	list_for_each_entry(rule, &rules, node)
		if (rule->wanted && !strcmp(rule->spec.vm, usbback_name(ub)))
			rule_queue(rule);
	mutex_unlock(&usbback_rules_lock);
	usbback_rules_changed();
}

/* A device that a backend has, with a reference, or NULL. */
static struct usbback_dev *backend_dev(const struct usbback *ub)
{
	struct usbback_dev *bdev = NULL;
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node) {
		if (!rule->bdev || rule->bdev->ub != ub)
			continue;
		bdev = usbback_dev_get(rule->bdev);
		rule_queue(rule);
		break;
	}
	mutex_unlock(&usbback_rules_lock);
	return bdev;
}

/**
 * usbback_rules_backend_removed - a backend is going away
 * @ub: backend; has no device and gets none when this returns
 *
 * Context: process, no lock held
 */
void usbback_rules_backend_removed(struct usbback *ub)
{
	struct backend_entry *entry;
	struct usbback_dev *bdev;

	mutex_lock(&usbback_rules_lock);
	entry = backend_find(ub);
	if (entry)
		entry->going = true;
	mutex_unlock(&usbback_rules_lock);
	if (!entry)
		return;
	wait_event(backend_unused, !READ_ONCE(entry->users));

	while ((bdev = backend_dev(ub))) {
		mutex_lock(&bdev->mutex);
		if (bdev->ub == ub)
			usbback_rules_unplug(bdev, USBIF_REASON_BACKEND);
		mutex_unlock(&bdev->mutex);
		usbback_dev_put(bdev);
	}
	mutex_lock(&usbback_rules_lock);
	list_del(&entry->node);
	mutex_unlock(&usbback_rules_lock);
	kfree(entry);
	usbback_rules_changed();
}

/* ---- called by sysfs ---- */

/* Whether @spec agrees with the other rules; for a move, its own is left out. */
static int check_conflict(const struct usbback_spec *spec, bool move, char *why)
{
	struct usbback_rule *rule;

	lockdep_assert_held(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node) {
		const struct usbback_spec *other = &rule->spec;
		bool same_vport = usbback_spec_same_vport(other, spec);

		if (!rule->wanted)
			continue;
		if (!strcmp(other->busid, spec->busid)) {
			if (move || same_vport)
				continue;
			snprintf(why, USBBACK_WHY_MAX,
				 "%s has a rule for %s:%u:%u; move_vport changes it",
				 spec->busid, other->vm, other->vusb,
				 other->port);
			return -EBUSY;
		}
		if (same_vport && !usbback_socket_same(other->busid,
						       spec->busid)) {
			snprintf(why, USBBACK_WHY_MAX,
				 "%s:%u:%u is taken by the rule of %s",
				 spec->vm, spec->vusb, spec->port,
				 other->busid);
			return -EBUSY;
		}
	}
	return 0;
}

static int check_inuse(const struct usbback_spec *spec, char *why)
{
	struct usb_device *udev = usbback_device_find(spec->busid);
	int err = 0;

	if (udev && !usbback_device_is_ours(udev) &&
	    !usbback_device_is_hub(udev) && !spec->force)
		err = usbback_inuse(udev, why, USBBACK_WHY_MAX);
	usb_put_dev(udev);
	return err;
}

static int check_closing(char *why)
{
	lockdep_assert_held(&usbback_rules_lock);
	if (!closing)
		return 0;
	snprintf(why, USBBACK_WHY_MAX, "the module is being removed");
	return -ENODEV;
}

static void rule_set(struct usbback_rule *rule, const struct usbback_spec *spec)
{
	lockdep_assert_held(&usbback_rules_lock);
	/* One that was removed and comes back is a new one: last in the list. */
	if (!rule->wanted)
		list_move_tail(&rule->node, &rules);
	rule->spec = *spec;
	rule->wanted = true;
	rule->serial++;
	rule->failures = 0;
	usbback_rule_forgive(rule);
	rule_queue(rule);
}

static int rule_check(const struct usbback_spec *spec, char *why)
{
	int err;

	mutex_lock(&usbback_rules_lock);
	err = check_closing(why) ?: check_conflict(spec, false, why);
	mutex_unlock(&usbback_rules_lock);
	/* Only now, because it may take a second. */
	return err ?: check_inuse(spec, why);
}

/**
 * usbback_rules_new - add a rule
 * @spec: rule
 * @why: on an error, what was wrong
 *
 * Context: process, no lock held
 * Return: 0, -EBUSY, -ENODEV, -ENOMEM
 */
int usbback_rules_new(const struct usbback_spec *spec, char *why)
{
	struct usbback_rule *rule, *fresh;
	int err;

	err = rule_check(spec, why);
	if (err)
		return err;
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL);
	if (!fresh) {
		snprintf(why, USBBACK_WHY_MAX, "out of memory");
		return -ENOMEM;
	}
	INIT_LIST_HEAD(&fresh->node);
	INIT_DELAYED_WORK(&fresh->work, usbback_rule_work);

	mutex_lock(&usbback_rules_lock);
	err = check_closing(why) ?: check_conflict(spec, false, why);
	if (!err) {
		rule = rule_find(spec->busid);
		if (!rule) {
			rule = fresh;
			fresh = NULL;
		}
		rule_set(rule, spec);
	}
	mutex_unlock(&usbback_rules_lock);
	kfree(fresh);
	if (!err)
		usbback_rule_hurry(spec->busid);
	return err;
}

/**
 * usbback_rules_move - change the vport of a rule
 * @spec: its bus ID and the vport it gets
 * @why: on an error, what was wrong
 *
 * Context: process, no lock held
 * Return: 0, -EBUSY, -ENOENT, -ENODEV
 */
int usbback_rules_move(const struct usbback_spec *spec, char *why)
{
	struct usbback_rule *rule;
	int err;

	mutex_lock(&usbback_rules_lock);
	err = check_closing(why);
	if (err)
		goto out;
	rule = usbback_rules_find(spec->busid);
	if (!rule) {
		snprintf(why, USBBACK_WHY_MAX, "%s has no rule", spec->busid);
		err = -ENOENT;
		goto out;
	}
	err = check_conflict(spec, true, why);
	if (!err)
		rule_set(rule, spec);
out:
	mutex_unlock(&usbback_rules_lock);
	return err;
}

/**
 * usbback_rules_remove - remove a rule
 * @spec: the rule, or its bus ID and an empty vm
 * @why: on an error, what was wrong
 *
 * Context: process, no lock held
 * Return: 0, -ENOENT
 */
int usbback_rules_remove(const struct usbback_spec *spec, char *why)
{
	struct usbback_rule *rule;
	int err = -ENOENT;

	mutex_lock(&usbback_rules_lock);
	rule = usbback_rules_find(spec->busid);
	if (!rule) {
		snprintf(why, USBBACK_WHY_MAX, "%s has no rule", spec->busid);
	} else if (spec->vm[0] && !usbback_spec_same_vport(&rule->spec, spec)) {
		snprintf(why, USBBACK_WHY_MAX, "the rule of %s is for %s:%u:%u",
			 spec->busid, rule->spec.vm, rule->spec.vusb,
			 rule->spec.port);
	} else {
		rule->wanted = false;
		rule->serial++;
		rule->failures = 0;
		rule_queue(rule);
		err = 0;
	}
	mutex_unlock(&usbback_rules_lock);
	return err;
}

/* ---- what the files show ---- */

/* @why: the reason of a refusal, or "" */
static const char *rule_state(const struct usbback_rule *rule, const char **why)
{
	const struct usbback_dev *bdev = rule->bdev;

	*why = rule->why;
	if (rule->why[0])
		return "refused";
	if (rule->grabbing || (bdev && READ_ONCE(bdev->resetting)))
		return "resetting";
	if (!bdev)
		return "waiting-device";
	if (!bdev->ub || !usbback_is_running(bdev->ub))
		return "waiting-guest";
	if (READ_ONCE(bdev->failed)) {
		*why = "cannot be reset";
		return "refused";
	}
	return "attached";
}

/**
 * usbback_rules_print - the file vports
 * @text: to print to
 */
void usbback_rules_print(struct usbback_text *text)
{
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node) {
		const struct usbback_spec *spec = &rule->spec;
		const char *state, *why;

		if (!rule->wanted)
			continue;
		state = rule_state(rule, &why);
		usbback_text_printf(text, "%s:%s:%u:%u%s %s%s%s\n", spec->busid,
				    spec->vm, spec->vusb, spec->port,
				    spec->force ? ":force" : "", state, why[0] ? " " : "", why);
	}
	mutex_unlock(&usbback_rules_lock);
}

/* A string of the device, which may hold anything but NUL. */
static void print_string(struct usbback_text *text, const char *s)
{
	for (; *s; s++)
		usbback_text_printf(text, "%c", (u8)*s < ' ' || *s == 0x7f ?
						'?' : *s);
}

static void print_device(struct usbback_text *text,
			 const struct usbback_rule *rule)
{
	const struct usb_device *udev = rule->bdev->udev;
	const struct usbback_spec *spec = &rule->spec;
	const char *maker = udev->manufacturer, *product = udev->product;

	usbback_text_printf(text, "%s %04x:%04x %s ", spec->busid,
			    le16_to_cpu(udev->descriptor.idVendor),
			    le16_to_cpu(udev->descriptor.idProduct),
			    usbback_device_speed(udev));
	if (rule->wanted)
		usbback_text_printf(text, "%s:%u:%u ", spec->vm, spec->vusb,
				    spec->port);
	else
		usbback_text_printf(text, "- ");

	if (maker)
		print_string(text, maker);
	if (maker && product)
		usbback_text_printf(text, " ");
	if (product)
		print_string(text, product);
	usbback_text_printf(text, "%s\n", maker || product ? "" : "-");
}

/**
 * usbback_rules_print_devices - the file grabbed_devices
 * @text: to print to
 */
void usbback_rules_print_devices(struct usbback_text *text)
{
	struct usbback_rule *rule;

	mutex_lock(&usbback_rules_lock);
	list_for_each_entry(rule, &rules, node)
		if (rule->bdev)
			print_device(text, rule);
	mutex_unlock(&usbback_rules_lock);
}

/* ---- init and exit ---- */

/**
 * usbback_rules_init - register with the USB core; the files in sysfs appear
 *
 * Comes after everything that the files need.
 */
int usbback_rules_init(void)
{
	int err;

	rules_wq = alloc_workqueue("usbback_rules", WQ_UNBOUND | WQ_FREEZABLE,
				   0);
	if (!rules_wq)
		return -ENOMEM;
	err = usbback_device_init();
	if (err)
		destroy_workqueue(rules_wq);
	return err;
}

static bool retire_all(void)
{
	struct usbback_rule *rule;
	bool done;

	mutex_lock(&usbback_rules_lock);
	closing = true;
	list_for_each_entry(rule, &rules, node) {
		rule->wanted = false;
		rule_queue(rule);
	}
	done = list_empty(&rules);
	mutex_unlock(&usbback_rules_lock);
	return done;
}

/**
 * usbback_rules_exit - remove all rules, hand all devices back
 *
 * All backends are destroyed already.
 */
void usbback_rules_exit(void)
{
	/* Twice is enough, unless a device comes or goes at this moment. */
	while (!retire_all()) {
		flush_workqueue(rules_wq);
		msleep(20);
	}
	usbback_sysfs_stop();
	flush_workqueue(rules_wq);
	usbback_device_exit();
	destroy_workqueue(rules_wq);
	usbback_sysfs_exit();
}
