// SPDX-License-Identifier: GPL-2.0
/*
 * What one guest may have of the host at once. A guest that wants more waits; nobody else
 * does.
 *
 * A limit belongs to the name of a guest and is there before the guest and after it. It is
 * enforced where work begins: requests are submitted to host controllers in
 * usbback_urb_run() and taken from the ring in request.c, resets are paced by the worker
 * of each port. One request of each endpoint is always submitted, so that no
 * limit can make an endpoint stand still for one that never ends.
 *
 * Locks. All of this is protected by the list's lock; readers of a channel's limits take
 * none.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "backend.h"
#include "rules.h"

static const struct {
	const char *name;
	u32 min, max, normal;
} kinds[USBBACK_LIMITS] = {
	[LIMIT_REQUESTS] = { "requests", 1, USBIF_MAX_REQUESTS, USBIF_MAX_REQUESTS },
	[LIMIT_KIB] = { "kib", 1, USBIF_REGION_MAX / SZ_1K, USBIF_REGION_MAX / SZ_1K },
	[LIMIT_BATCH] = { "batch", 1, USBIF_MAX_REQUESTS, USBBACK_BUDGET_REQUESTS },
	[LIMIT_RESETS] = { "resets", 1, 100, 4 },
	[LIMIT_LINES] = { "lines", 1, 1000, 10 },
};

/**
 * struct record - limits of a guest that are not the normal ones
 * @node: in records
 * @vm: name
 * @value: by enum usbback_limit
 */
struct record {
	struct list_head node;
	char vm[USBIF_NAME_MAX + 1];
	u32 value[USBBACK_LIMITS];
};

static LIST_HEAD(records);	/* the list's lock */

static struct record *record_find(const char *vm)
{
	struct record *record;

	list_for_each_entry(record, &records, node)
		if (!strcmp(record->vm, vm))
			return record;
	return NULL;
}

static u32 value_of(const struct record *record, unsigned int i)
{
	return record ? record->value[i] : kinds[i].normal;
}

/**
 * usbback_limits_apply - have a channel obey the limits of its name
 * @ub: channel
 *
 * Context: process, under the list's lock.
 */
void usbback_limits_apply(struct usbback *ub)
{
	const struct record *record = record_find(ub->name);
	unsigned int i;

	for (i = 0; i < USBBACK_LIMITS; i++)
		WRITE_ONCE(ub->limits[i], value_of(record, i));
	WRITE_ONCE(ub->log.burst, (int)ub->limits[LIMIT_LINES]);
	/* What waited for less may go on. */
	usbback_urb_unlimit(ub);
}

/* NAME=NUMBER */
static int parse_word(char *word, u32 *value, char *why)
{
	char *name = strsep(&word, "=");
	unsigned int i;
	u32 number;

	for (i = 0; i < USBBACK_LIMITS; i++)
		if (!strcmp(name, kinds[i].name))
			break;
	if (i == USBBACK_LIMITS) {
		snprintf(why, USBBACK_WHY_MAX, "there is no limit of that name");
		return -EINVAL;
	}
	if (!word || kstrtou32(word, 10, &number) || number < kinds[i].min ||
	    number > kinds[i].max) {
		snprintf(why, USBBACK_WHY_MAX, "%s is a number from %u to %u",
			 kinds[i].name, kinds[i].min, kinds[i].max);
		return -EINVAL;
	}
	value[i] = number;
	return 0;
}

static bool is_normal(const u32 *value)
{
	unsigned int i;

	for (i = 0; i < USBBACK_LIMITS; i++)
		if (value[i] != kinds[i].normal)
			return false;
	return true;
}

/* Keeps what is not normal; the list's lock is held. */
static int record_put(const char *vm, const u32 *value)
{
	struct record *record = record_find(vm);

	if (is_normal(value)) {
		if (record)
			list_del(&record->node);
		kfree(record);
		return 0;
	}
	if (!record) {
		record = kzalloc(sizeof(*record), GFP_KERNEL);
		if (!record)
			return -ENOMEM;
		strscpy(record->vm, vm, sizeof(record->vm));
		list_add_tail(&record->node, &records);
	}
	memcpy(record->value, value, sizeof(record->value));
	return 0;
}

/**
 * usbback_limits_set - change limits of a guest
 * @vm: name, valid
 * @words: NAME=NUMBER, separated by blanks; "default" for all normal ones; is taken apart
 * @why: USBBACK_WHY_MAX octets for what was wrong
 *
 * All of it or nothing.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int usbback_limits_set(const char *vm, char *words, char *why)
{
	u32 value[USBBACK_LIMITS];
	const struct record *record;
	struct usbback *ub;
	unsigned int i;
	int ret = 0;
	char *word;

	usbback_lock_list();
	record = record_find(vm);
	for (i = 0; i < USBBACK_LIMITS; i++)
		value[i] = value_of(record, i);
	while (!ret && (word = strsep(&words, " "))) {
		if (!strcmp(word, "default"))
			for (i = 0; i < USBBACK_LIMITS; i++)
				value[i] = kinds[i].normal;
		else
			ret = parse_word(word, value, why);
	}
	if (!ret)
		ret = record_put(vm, value);
	ub = ret ? NULL : usbback_find(vm);
	if (ub)
		usbback_limits_apply(ub);
	usbback_unlock_list();
	return ret;
}

static void print_line(struct usbback_text *text, const char *vm,
		       const struct record *record)
{
	unsigned int i;

	usbback_text_printf(text, "%s", vm);
	for (i = 0; i < USBBACK_LIMITS; i++)
		usbback_text_printf(text, " %s=%u", kinds[i].name, value_of(record, i));
	usbback_text_printf(text, "\n");
}

/**
 * usbback_limits_print - one line for each guest with a channel or with limits
 * @text: to print to
 */
void usbback_limits_print(struct usbback_text *text)
{
	const struct record *record;
	struct usbback *ub = NULL;

	usbback_lock_list();
	while ((ub = usbback_next(ub)))
		if (ub->name[0])
			print_line(text, ub->name, record_find(ub->name));
	list_for_each_entry(record, &records, node)
		if (!usbback_find(record->vm))
			print_line(text, record->vm, record);
	usbback_unlock_list();
}

/**
 * usbback_limits_exit - forget all limits
 *
 * Context: nobody can read or write them any more.
 */
void usbback_limits_exit(void)
{
	struct record *record, *next;

	list_for_each_entry_safe(record, next, &records, node) {
		list_del(&record->node);
		kfree(record);
	}
}
