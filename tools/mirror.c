// SPDX-License-Identifier: GPL-2.0
/*
 * The rules of one guest as the kernel has them, kept for the time when usbback
 * is removed and comes back. vports is pollable; that the device node comes or
 * goes is told by inotify. Nothing here runs while nothing changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "usbctl.h"

static void open_vports(struct mirror *mirror)
{
	char *path = driver_file("vports");

	if (mirror->vports < 0)
		mirror->vports = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
}

int mirror_open(struct mirror *mirror, const char *vm)
{
	memset(mirror, 0, sizeof(*mirror));
	mirror->vm = vm;
	mirror->vports = -1;
	mirror->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (mirror->inotify < 0 ||
	    inotify_add_watch(mirror->inotify, dev_root(),
			      IN_CREATE | IN_DELETE | IN_MOVED_TO) < 0)
		return fail(UCTL_FAILED, "cannot watch %s: %s", dev_root(),
			    strerror(errno));
	mirror->has_node = true;
	open_vports(mirror);
	mirror_update(mirror);
	return UCTL_OK;
}

/* The module takes its rules away on its way out; those are not to be believed. */
static bool is_module_going(void)
{
	char *dir = xasprintf("%s/module/usbback", sysfs_root());
	char *state = attr_read(dir, "initstate");
	bool is_going = state && !strcmp(state, "going");

	free(state);
	free(dir);
	return is_going;
}

static bool is_same(const struct rules *one, const struct rules *other)
{
	size_t i;

	for (i = 0; i < one->count && i < other->count; i++) {
		if (strcmp(one->rule[i].text, other->rule[i].text))
			return false;
	}
	return one->count == other->count;
}

static void keep_own(struct mirror *mirror, const struct rules *all)
{
	struct rules own = { NULL, 0 };
	size_t i;

	for (i = 0; i < all->count; i++) {
		if (strcmp(all->rule[i].vport.vm, mirror->vm))
			continue;
		rules_add(&own, &all->rule[i]);
		own.rule[own.count - 1].reason = NULL;
	}
	if (!is_same(&own, &mirror->rules))
		mirror->is_new = true;
	rules_free(&mirror->rules);
	mirror->rules = own;
}

bool mirror_update(struct mirror *mirror)
{
	struct rules all;
	char *text = NULL;

	if (mirror->vports < 0)
		return false;
	if (!lseek(mirror->vports, 0, SEEK_SET))
		text = fd_read(mirror->vports);
	if (!text) {
		fd_close(&mirror->vports);
		return false;
	}
	if (!is_module_going()) {
		rules_parse(&all, text);
		keep_own(mirror, &all);
		rules_free(&all);
	}
	free(text);
	return true;
}

static bool has_event(const char *events, ssize_t length)
{
	const struct inotify_event *event;
	bool has = false;
	ssize_t at;

	for (at = 0; at < length; at += sizeof(*event) + event->len) {
		event = (const struct inotify_event *)(events + at);
		if (event->mask & IN_Q_OVERFLOW ||
		    (event->len && !strcmp(event->name, "usbback")))
			has = true;
	}
	return has;
}

bool mirror_drain(struct mirror *mirror)
{
	char events[4096] __aligned(8);
	bool has_changed = false;
	ssize_t length;
	char *path;

	while ((length = read(mirror->inotify, events, sizeof(events))) > 0)
		has_changed |= has_event(events, length);
	path = xasprintf("%s/usbback", dev_root());
	mirror->has_node = !access(path, F_OK);
	free(path);
	return has_changed;
}

void mirror_inherit(struct mirror *mirror, struct rules *rules)
{
	rules_free(&mirror->rules);
	mirror->rules = *rules;
	memset(rules, 0, sizeof(*rules));
	mirror->is_new = true;
	mirror->is_stale = true;
	/* Until they are written, the lack of them is no order. */
	fd_close(&mirror->vports);
}

bool mirror_restore(struct mirror *mirror)
{
	char *path = driver_file("new_vport");
	const char *text;
	size_t i;
	int ret;

	if (access(path, W_OK)) {
		free(path);
		return false;
	}
	for (i = 0; i < mirror->rules.count; i++) {
		text = mirror->rules.rule[i].text;
		ret = file_write(path, text);
		if (ret)
			say("%s: rule %s not restored: %s; the end of dmesg says why",
			    mirror->vm, text, strerror(-ret));
		else
			say("%s: rule %s restored", mirror->vm, text);
	}
	free(path);
	mirror->is_stale = false;
	fd_close(&mirror->vports);
	open_vports(mirror);
	mirror_update(mirror);
	return true;
}

void mirror_close(struct mirror *mirror)
{
	rules_free(&mirror->rules);
	fd_close(&mirror->vports);
	fd_close(&mirror->inotify);
}
