// SPDX-License-Identifier: GPL-2.0
/*
 * The work item of a rule: brings about what is wanted now, whatever came before.
 * rule_settle() claims the port, takes the device from the host and plugs it in
 * at the guest; rule_retire(), after the rule was removed, gives both back.
 *
 * Runs without a lock, and may wait for hub_wq, which a write to sysfs may not.
 * It is the only one to change drivers of devices. What it looks at may change
 * meanwhile; whoever changes it queues the work item again.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "device.h"
#include "inuse.h"
#include "rules.h"

#define RESET_TIMEOUT_MS	30000
#define GIVE_BACK_TRIES		5

/* ---- claims on ports ---- */

/* "1-2.3" is on "1-2", that on "usb1". */
static void parent_name(const char *busid, char *name, size_t size)
{
	const char *dot = strrchr(busid, '.');

	if (dot)
		snprintf(name, size, "%.*s", (int)(dot - busid), busid);
	else
		snprintf(name, size, "usb%.*s", (int)strcspn(busid, "-"),
			 busid);
}

static unsigned int parent_port(const char *busid)
{
	const char *last = strrchr(busid, '.') ?: strchr(busid, '-');
	unsigned int port1;

	/* Cannot fail: the bus ID was parsed. */
	return kstrtouint(last + 1, 10, &port1) ? 0 : port1;
}

static struct usb_device *parent_find(const char *busid)
{
	char name[USBBACK_BUSID_MAX + 4];

	parent_name(busid, name, sizeof(name));
	return usbback_device_find(name);
}

/**
 * usbback_rule_is_on - whether a rule is for a port of a hub
 * @rule: rule
 * @hdev: hub
 */
bool usbback_rule_is_on(const struct usbback_rule *rule,
			const struct usb_device *hdev)
{
	char name[USBBACK_BUSID_MAX + 4];

	parent_name(rule->spec.busid, name, sizeof(name));
	return !strcmp(name, dev_name(&hdev->dev));
}

/* The USB core compares this only. */
static struct usb_dev_state *rule_owner(struct usbback_rule *rule)
{
	return (struct usb_dev_state *)rule;
}

/**
 * usbback_rule_claim - keep host drivers off a port
 * @rule: for a port of
 * @hdev: this hub, its device lock held
 *
 * Context: under rules_lock
 * Return: 0, -EBUSY: a program has claimed it through usbfs, -EINVAL: no such
 * port, -ENODEV
 */
int usbback_rule_claim(struct usbback_rule *rule, struct usb_device *hdev)
{
	unsigned int port1 = parent_port(rule->spec.busid);
	int err;

	lockdep_assert_held(&usbback_rules_lock);
	err = usb_hub_claim_port(hdev, port1, rule_owner(rule));
	/* It is ours, and only lost if the hub driver was unbound meanwhile. */
	if (rule->hdev == hdev)
		return 0;
	rule->foreign = err == -EBUSY;
	if (err)
		return err;
	usb_put_dev(rule->hdev);
	rule->hdev = usb_get_dev(hdev);
	rule->port1 = port1;
	return 0;
}

/**
 * usbback_rule_unclaim - let host drivers have a port again
 * @rule: with the device lock of its hdev held
 *
 * Context: under rules_lock
 */
void usbback_rule_unclaim(struct usbback_rule *rule)
{
	lockdep_assert_held(&usbback_rules_lock);
	if (!rule->hdev)
		return;
	usb_hub_release_port(rule->hdev, rule->port1, rule_owner(rule));
	usb_put_dev(rule->hdev);
	rule->hdev = NULL;
	rule->given = false;
}

static void rule_release_port(struct usbback_rule *rule)
{
	struct usb_device *hdev;

	mutex_lock(&usbback_rules_lock);
	hdev = usb_get_dev(rule->hdev);
	mutex_unlock(&usbback_rules_lock);
	if (!hdev)
		return;

	usb_lock_device(hdev);
	mutex_lock(&usbback_rules_lock);
	/* The notifier may have forgotten it meanwhile, with the hub. */
	if (rule->hdev == hdev)
		usbback_rule_unclaim(rule);
	mutex_unlock(&usbback_rules_lock);
	usb_unlock_device(hdev);
	usb_put_dev(hdev);
}

/* ---- refusal ---- */

/**
 * usbback_rule_forgive - give a device another try
 * @rule: rule
 *
 * Context: under rules_lock
 */
void usbback_rule_forgive(struct usbback_rule *rule)
{
	lockdep_assert_held(&usbback_rules_lock);
	usb_put_dev(rule->refused);
	rule->refused = NULL;
	rule->why[0] = '\0';
}

/*
 * Not after a new command, to which @why may not apply. @udev: will not be matched
 * until it has gone; NULL if it is ours already.
 */
static void rule_refuse(struct usbback_rule *rule, struct usb_device *udev,
			const char *why)
{
	bool news;

	mutex_lock(&usbback_rules_lock);
	if (rule->serial != rule->seen) {
		mutex_unlock(&usbback_rules_lock);
		return;
	}
	news = rule->refused != udev || strcmp(rule->why, why);
	usbback_rule_forgive(rule);
	strscpy(rule->why, why, sizeof(rule->why));
	rule->refused = usb_get_dev(udev);
	mutex_unlock(&usbback_rules_lock);
	if (news)
		pr_info("%s: refused: %s\n", rule->spec.busid, why);
}

/* Not for good: the device is still wanted, and tried again. */
static void rule_postpone(struct usbback_rule *rule, const char *why)
{
	rule_refuse(rule, NULL, why);
	mutex_lock(&usbback_rules_lock);
	usbback_rules_try_again(rule);
	mutex_unlock(&usbback_rules_lock);
}

static void rule_accept(struct usbback_rule *rule)
{
	mutex_lock(&usbback_rules_lock);
	usbback_rule_forgive(rule);
	rule->failures = 0;
	mutex_unlock(&usbback_rules_lock);
}

/* ---- the guest's end ---- */

static int dev_plug(struct usbback_dev *bdev, struct usbback *ub,
		    const struct usbback_spec *spec)
{
	int err;

	lockdep_assert_held(&bdev->mutex);
	err = usbback_port_attach(ub, spec->vusb, spec->port, bdev, bdev->used);
	if (err)
		return err;
	bdev->used = true;
	mutex_lock(&usbback_rules_lock);
	bdev->ub = ub;
	bdev->vusb = spec->vusb;
	bdev->port = spec->port;
	mutex_unlock(&usbback_rules_lock);
	pr_info("%s: on port %s:%u:%u\n", bdev->busid, spec->vm, spec->vusb,
		spec->port);
	return 0;
}

static bool dev_is_on(const struct usbback_dev *bdev, const struct usbback *ub,
		      const struct usbback_spec *spec)
{
	return bdev->ub == ub && bdev->vusb == spec->vusb &&
	       bdev->port == spec->port;
}

/* Plugs the device in where it belongs now. */
static int dev_place(struct usbback_dev *bdev, struct usbback *ub,
		     const struct usbback_spec *spec)
{
	lockdep_assert_held(&bdev->mutex);
	if (READ_ONCE(bdev->gone))
		return 0;
	if (!dev_is_on(bdev, ub, spec) || !usbback_dev_udev(bdev)->authorized ||
	    READ_ONCE(bdev->failed))
		usbback_rules_unplug(bdev, USBIF_REASON_DETACHED);
	if (bdev->ub)
		return 0;
	/* It could not be configured. */
	if (!usbback_dev_udev(bdev)->authorized)
		return -EACCES;
	return ub ? dev_plug(bdev, ub, spec) : 0;
}

static struct usbback_dev *rule_get_dev(struct usbback_rule *rule)
{
	struct usbback_dev *bdev;

	mutex_lock(&usbback_rules_lock);
	bdev = rule->bdev ? usbback_dev_get(rule->bdev) : NULL;
	mutex_unlock(&usbback_rules_lock);
	return bdev;
}

static int rule_place(struct usbback_rule *rule, struct usbback_dev *bdev)
{
	struct usbback_spec spec;
	struct usbback *ub;
	bool wanted;
	int err = 0;

	mutex_lock(&bdev->mutex);
	mutex_lock(&usbback_rules_lock);
	spec = rule->spec;
	wanted = rule->wanted;
	mutex_unlock(&usbback_rules_lock);
	if (wanted) {
		ub = usbback_rules_get_backend(spec.vm);
		err = dev_place(bdev, ub, &spec);
		usbback_rules_put_backend(ub);
		mutex_lock(&usbback_rules_lock);
		rule->given |= bdev->ub && rule->hdev;
		mutex_unlock(&usbback_rules_lock);
	}
	mutex_unlock(&bdev->mutex);
	return err;
}

static int dev_renew(struct usbback_dev *bdev)
{
	int err = usbback_dev_reset(bdev, RESET_TIMEOUT_MS);

	if (err)
		return err;
	mutex_lock(&bdev->mutex);
	bdev->used = false;
	mutex_unlock(&bdev->mutex);
	return 0;
}

static const char *place_error(int err)
{
	switch (err) {
	case -EACCES:
		return "is not authorized on the host";
	case -EBUSY:
		return "another device has the vport";
	case -EINVAL:
		return "the guest has no such port";
	case -ENOMEM:
		return "out of memory";
	default:
		return "the guest's channel does not take it";
	}
}

static void rule_attach(struct usbback_rule *rule)
{
	struct usbback_dev *bdev = rule_get_dev(rule);
	int err;

	if (!bdev)
		return;
	err = rule_place(rule, bdev);
	usbback_dev_put(bdev);
	if (err == -ENOMEM)
		rule_postpone(rule, place_error(err));
	else if (err)
		rule_refuse(rule, NULL, place_error(err));
	else
		rule_accept(rule);
}

/* ---- the host's end ---- */

static bool rule_has_dev(struct usbback_rule *rule, struct usb_device *udev)
{
	bool has;

	mutex_lock(&usbback_rules_lock);
	has = rule->bdev && usbback_dev_udev(rule->bdev) == udev;
	mutex_unlock(&usbback_rules_lock);
	return has;
}

static void rule_set_grabbing(struct usbback_rule *rule, bool grabbing)
{
	mutex_lock(&usbback_rules_lock);
	rule->grabbing = grabbing;
	mutex_unlock(&usbback_rules_lock);
	usbback_sysfs_notify();
}

/* Lets the driver core choose the driver of a device again. */
static void reprobe(struct usb_device *udev)
{
	int err = device_reprobe(&udev->dev);

	/* It may be going at this moment. */
	if (err)
		pr_debug("%s: not reprobed: %d\n", dev_name(&udev->dev), err);
}

/* False: refused, or was before. */
static bool rule_may_grab(struct usbback_rule *rule, struct usb_device *udev)
{
	char why[USBBACK_WHY_MAX];
	bool force, refused;

	mutex_lock(&usbback_rules_lock);
	force = rule->spec.force;
	refused = rule->refused == udev;
	mutex_unlock(&usbback_rules_lock);
	if (refused)
		return false;
	if (!force && usbback_inuse(udev, why, sizeof(why))) {
		rule_release_port(rule);
		rule_refuse(rule, udev, why);
		return false;
	}
	return true;
}

/* Takes the device from its driver on the host. False: refused. */
static bool rule_grab(struct usbback_rule *rule, struct usb_device *udev)
{
	rule_set_grabbing(rule, true);
	usb_lock_device(udev);
	/* Left behind by a driver that declined; would keep us out. */
	udev->use_generic_driver = 0;
	usb_unlock_device(udev);
	reprobe(udev);
	rule_set_grabbing(rule, false);

	if (rule_has_dev(rule, udev) || udev->state == USB_STATE_NOTATTACHED)
		return true;
	/* Nobody has it: it was us who failed, or the driver core. */
	if (!READ_ONCE(udev->dev.driver)) {
		rule_postpone(rule, "cannot be taken from the host yet");
		return false;
	}
	rule_release_port(rule);
	rule_refuse(rule, udev, "another device driver keeps it");
	return false;
}

/* Its guest sees the device already while the driver on the host lets go of it. */
static void rule_take(struct usbback_rule *rule, struct usb_device *udev)
{
	struct usbback_spec spec;
	struct usbback *ub;

	mutex_lock(&usbback_rules_lock);
	spec = rule->spec;
	mutex_unlock(&usbback_rules_lock);

	ub = usbback_rules_get_backend(spec.vm);
	if (ub)
		usbback_port_announce(ub, spec.vusb, spec.port, udev);
	/* A backend that goes does not have to wait for the driver. */
	usbback_rules_put_backend(ub);
	if (rule_grab(rule, udev))
		rule_attach(rule);
	ub = usbback_rules_get_backend(spec.vm);
	if (ub)
		usbback_port_retract(ub, spec.vusb, spec.port, udev);
	usbback_rules_put_backend(ub);
	/* Another rule may have been refused it meanwhile. */
	mutex_lock(&usbback_rules_lock);
	usbback_rules_queue_vport(&spec, rule);
	mutex_unlock(&usbback_rules_lock);
}

/*
 * Enumerated while its port was claimed, or given back without success: it has no
 * configuration, or even no driver.
 */
static bool is_left_alone(const struct usb_device *udev)
{
	return udev->state != USB_STATE_NOTATTACHED &&
	       (!READ_ONCE(udev->dev.driver) ||
		(udev->authorized && !udev->actconfig));
}

static void give_back(struct usb_device *udev)
{
	if (usbback_device_is_ours(udev) || is_left_alone(udev))
		reprobe(udev);
}

/* Takes the device from the guest, so that the host gets it as new. */
static void rule_detach(struct usbback_rule *rule)
{
	struct usbback_dev *bdev = rule_get_dev(rule);
	bool used;

	if (!bdev)
		return;
	mutex_lock(&bdev->mutex);
	usbback_rules_unplug(bdev, usbback_rules_detach_reason());
	used = bdev->used;
	mutex_unlock(&bdev->mutex);
	/* If it fails, the host has to live with it. */
	if (used)
		dev_renew(bdev);
	usbback_dev_put(bdev);
}

static void rule_hand_back(struct usbback_rule *rule, struct usb_device *udev)
{
	rule_detach(rule);
	reprobe(udev);
}

/* Why a rule can never be fulfilled here, or NULL. @udev may be NULL. */
static const char *refusal(const struct usb_device *hdev,
			   const struct usb_device *udev)
{
	if (usbback_device_on_own_bus(hdev))
		return "is on a virtual controller of usbfront";
	if (udev && usbback_device_is_hub(udev))
		return "is a hub";
	return NULL;
}

/**
 * usbback_rule_hurry - claim the port of a new rule if that needs no waiting
 * @busid: of the rule
 *
 * Then whoever has written the rule may plug in at once. Without this, and if the
 * hub is busy, host drivers can have the device for a moment.
 *
 * Context: process, no lock held
 */
void usbback_rule_hurry(const char *busid)
{
	struct usb_device *hdev = parent_find(busid), *udev;
	struct usbback_rule *rule;

	if (!hdev)
		return;
	if (usb_trylock_device(hdev)) {
		udev = usbback_device_find(busid);
		mutex_lock(&usbback_rules_lock);
		rule = usbback_rules_find(busid);
		/* One that is there is for the work item. */
		if (rule && !udev && !refusal(hdev, NULL))
			usbback_rule_claim(rule, hdev);
		mutex_unlock(&usbback_rules_lock);
		usb_unlock_device(hdev);
		usb_put_dev(udev);
	}
	usb_put_dev(hdev);
}

/* ---- the work item ---- */

/* The hub is there. With its lock held, no child of it comes or goes. */
static void rule_settle_on(struct usbback_rule *rule, struct usb_device *hdev)
{
	struct usb_device *udev;
	bool keep = false;
	const char *why;
	int err = 0;

	usb_lock_device(hdev);
	udev = usbback_device_find(rule->spec.busid);
	why = refusal(hdev, udev);
	mutex_lock(&usbback_rules_lock);
	/* A guest may have made it of its device, to have the host see what is behind. */
	if (why && rule->given && rule->hdev == hdev) {
		why = "is a hub, where a guest had its device";
		keep = true;
	} else if (why) {
		usbback_rule_unclaim(rule);
	} else if (!udev || rule->refused != udev) {
		err = usbback_rule_claim(rule, hdev);
	}
	mutex_unlock(&usbback_rules_lock);
	usb_unlock_device(hdev);

	if (why) {
		rule_refuse(rule, udev, why);
		if (udev && !keep)
			give_back(udev);
	} else if (err == -EBUSY) {
		rule_refuse(rule, udev, "a program has claimed its port");
		/* It was seen too late to keep us from taking the device. */
		if (rule_has_dev(rule, udev))
			rule_hand_back(rule, udev);
	} else if (!udev) {
		rule_accept(rule);
	} else if (rule_has_dev(rule, udev)) {
		rule_attach(rule);
	} else if (rule_may_grab(rule, udev)) {
		rule_take(rule, udev);
	}
	usb_put_dev(udev);
}

static void rule_settle(struct usbback_rule *rule)
{
	struct usb_device *hdev = parent_find(rule->spec.busid);

	if (!hdev) {
		rule_accept(rule);
		return;
	}
	rule_settle_on(rule, hdev);
	usb_put_dev(hdev);
}

static void rule_retire(struct usbback_rule *rule)
{
	struct usb_device *udev;
	bool again;

	rule_detach(rule);
	rule_release_port(rule);
	udev = usbback_device_find(rule->spec.busid);
	if (udev)
		give_back(udev);
	again = udev && is_left_alone(udev);
	usb_put_dev(udev);

	mutex_lock(&usbback_rules_lock);
	usbback_rule_forgive(rule);
	/* Not for ever: there are devices that the host has no use for. */
	if (again && !rule->wanted && rule->failures < GIVE_BACK_TRIES)
		usbback_rules_try_again(rule);
	if (!rule->wanted && !rule->bdev && !rule->hdev &&
	    !delayed_work_pending(&rule->work)) {
		list_del(&rule->node);
		kfree(rule);
	}
	mutex_unlock(&usbback_rules_lock);
}

/**
 * usbback_rule_work - the work item of a rule
 * @work: in the rule, which may be freed here
 */
void usbback_rule_work(struct work_struct *work)
{
	struct usbback_rule *rule = container_of(to_delayed_work(work),
						 struct usbback_rule, work);
	/* What is allocated here may be for the disk that is swapped to. */
	unsigned int noio = memalloc_noio_save();
	bool wanted;

	mutex_lock(&usbback_rules_lock);
	wanted = rule->wanted;
	rule->seen = rule->serial;
	mutex_unlock(&usbback_rules_lock);
	if (wanted)
		rule_settle(rule);
	else
		rule_retire(rule);
	usbback_sysfs_notify();
	memalloc_noio_restore(noio);
}
