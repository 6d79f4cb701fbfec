/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the rules (rules.c, settle.c), the driver of the devices (device.c),
 * and the files in sysfs (sysfs.c). For the locks see usbback.h.
 */
#ifndef USBBACK_RULES_H
#define USBBACK_RULES_H

#include "spec.h"
#include "usbback.h"

#define USBBACK_WHY_MAX		128

/**
 * struct usbback_rule - a bus ID and what is to become of the device there
 * @node: in the list of rules
 * @work: brings about what is wanted
 * @spec: the rule; its busid never changes
 * @wanted: false once removed
 * @serial: changes with each command
 * @seen: the serial that the work item works for
 * @failures: in a row, of what is worth another try
 * @grabbing: the device is on its way from the host to us
 * @why: why the device that is there is refused, or empty
 * @refused: that device, if it stays with the host; with a reference
 * @hdev: hub whose port is claimed for us, with a reference; written with the
 *	device lock of the hub held, too
 * @port1: that port
 * @foreign: a program has claimed the port, the device is for that
 * @given: a guest has had a device from there since the port was claimed
 * @bdev: the device, while usbback is its driver
 *
 * All under rules_lock.
 */
struct usbback_rule {
	struct list_head node;
	struct delayed_work work;
	struct usbback_spec spec;
	bool wanted;
	unsigned int serial;
	unsigned int seen;
	unsigned int failures;
	bool grabbing;
	char why[USBBACK_WHY_MAX];
	struct usb_device *refused;
	struct usb_device *hdev;
	unsigned int port1;
	bool foreign;
	bool given;
	struct usbback_dev *bdev;
};

extern struct mutex usbback_rules_lock;

/* settle.c */
void usbback_rule_work(struct work_struct *work);
bool usbback_rule_is_on(const struct usbback_rule *rule,
			const struct usb_device *hdev);
int usbback_rule_claim(struct usbback_rule *rule, struct usb_device *hdev);
void usbback_rule_unclaim(struct usbback_rule *rule);
void usbback_rule_forgive(struct usbback_rule *rule);
void usbback_rule_hurry(const char *busid);

/* rules.c, for settle.c */
struct usbback_rule *usbback_rules_find(const char *busid);
struct usbback *usbback_rules_get_backend(const char *vm);
void usbback_rules_put_backend(struct usbback *ub);
void usbback_rules_queue_vport(const struct usbback_spec *spec,
			       const struct usbback_rule *but);
void usbback_rules_try_again(struct usbback_rule *rule);
void usbback_rules_unplug(struct usbback_dev *bdev,
			  enum usbif_port_reason reason);
enum usbif_port_reason usbback_rules_detach_reason(void);

/* rules.c, for device.c: the device locks of the device and its hub are held. */
bool usbback_rules_match(struct usb_device *udev);
int usbback_rules_add_dev(struct usbback_dev *bdev);
void usbback_rules_detach_dev(struct usbback_dev *bdev);
void usbback_rules_del_dev(struct usbback_dev *bdev);
void usbback_rules_dev_changed(struct usbback_dev *bdev);
void usbback_rules_device_added(struct usb_device *udev);
void usbback_rules_device_removed(struct usb_device *udev);

/* rules.c, for sysfs.c. On an error, @why (of USBBACK_WHY_MAX) says why. */
int usbback_rules_new(const struct usbback_spec *spec, char *why);
int usbback_rules_move(const struct usbback_spec *spec, char *why);
int usbback_rules_remove(const struct usbback_spec *spec, char *why);
void usbback_rules_print(struct usbback_text *text);
void usbback_rules_print_devices(struct usbback_text *text);

/* socket.c */
bool usbback_socket_same(const char *a, const char *b);

/* sysfs.c */
extern const struct attribute_group *usbback_sysfs_groups[];
void usbback_sysfs_notify(void);
void usbback_sysfs_stop(void);
void usbback_sysfs_exit(void);

#endif /* USBBACK_RULES_H */
