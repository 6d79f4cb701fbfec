// SPDX-License-Identifier: GPL-2.0
/*
 * loop: both modules of this kernel joined to each other. drop: the end of any
 * channel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

static const struct option loop_options[] = {
	HELP_OPTION,
	VERSION_OPTION,
	{ "size", required_argument, NULL, 'z' },
	{ "hugepages", no_argument, NULL, 'h' },
	LAST_OPTION
};

static int create_side(int cdev, const char *module, const char *vm,
		       const struct region *region, bool is_front)
{
	int ret = cdev_create(cdev, vm, region, is_front, getpid());

	if (ret == -EBUSY)
		return fail(UCTL_BUSY, "%s has a channel %s already; end it with: usbctl drop %s",
			    module, vm, vm);
	if (ret)
		return fail(status_of(ret), "%s refuses channel %s: %s; the end of dmesg says why",
			    module, vm, strerror(-ret));
	return UCTL_OK;
}

static int join_both(const char *vm, const struct region *region)
{
	int back = cdev_open("usbback", false);
	int front = back < 0 ? -1 : cdev_open("usbfront", false);
	int status;

	if (back < 0) {
		status = -back;
	} else if (front < 0) {
		status = -front;
	} else {
		status = create_side(back, "usbback", vm, region, false);
		if (!status) {
			status = create_side(front, "usbfront", vm, region, true);
			if (status)
				cdev_drop(back, vm);
		}
	}
	fd_close(&front);
	fd_close(&back);
	return status;
}

int cmd_loop(const struct command *cmd, int argc, char **argv)
{
	uint64_t size = DEFAULT_SIZE;
	struct region region;
	bool is_huge = false;
	const char *vm;
	int option, status;

	while ((option = option_next(cmd, argc, argv, loop_options)) >= 0) {
		if (option == 'h')
			is_huge = true;
		else if (!region_size_parse(optarg, &size))
			return fail(UCTL_USAGE,
				    "--size %s: it has to be a power of two from 1M to 1G",
				    optarg);
	}
	arguments_count(cmd, argc, 0, 1);
	vm = optind < argc ? argv[optind] : "loop";
	if (!is_vm_name(vm))
		return fail(UCTL_USAGE, "\"%s\" is not a name: 1 to 31 characters A-Za-z0-9_.-",
			    vm);
	status = region_create(&region, vm, size, is_huge);
	if (status)
		return status;
	status = join_both(vm, &region);
	if (!status)
		printf("%s: usbback and usbfront are joined; end it with: usbctl drop %s\n",
		       vm, vm);
	region_close(&region);
	return status;
}

/* Drops one module's side; UCTL_NOTFOUND, not said, if it has none. */
static int drop_side(const char *module, const char *vm)
{
	char *path = xasprintf("%s/%s", dev_root(), module);
	int cdev, ret, status = UCTL_NOTFOUND;

	if (!access(path, F_OK)) {
		cdev = cdev_open(module, false);
		ret = cdev < 0 ? 0 : cdev_drop(cdev, vm);
		if (cdev < 0)
			status = -cdev;
		else if (!ret)
			status = UCTL_OK;
		else if (ret != -ENOENT)
			status = fail(status_of(ret), "%s does not drop %s: %s", module, vm,
				      strerror(-ret));
		if (cdev >= 0)
			close(cdev);
	}
	free(path);
	return status;
}

static void forget(const struct served *served)
{
	static const char * const suffixes[] = { "json", "pid" };
	char *path;
	size_t i;

	for (i = 0; i < NR_ROLES; i++) {
		if (served->socket[i])
			socket_forget(served->socket[i]);
	}
	for (i = 0; i < ARRAY_SIZE(suffixes); i++) {
		path = run_file(served->vm, suffixes[i]);
		unlink(path);
		free(path);
	}
}

static int drop(const char *vm, bool was_served)
{
	int stopped, front, back;

	stopped = run_stop(vm);
	if (stopped && stopped != UCTL_NOTFOUND)
		return stopped;
	/* The frontend first, so that it is not left with a dead backend. */
	front = drop_side("usbfront", vm);
	if (front && front != UCTL_NOTFOUND)
		return front;
	back = drop_side("usbback", vm);
	if (back && back != UCTL_NOTFOUND)
		return back;
	if (stopped && front && back && !was_served)
		return fail(UCTL_NOTFOUND, "%s has neither server nor channel; see: usbctl status",
			    vm);
	return UCTL_OK;
}

int drop_vm(const char *vm)
{
	struct served served;
	bool was_served = served_read(&served, vm);
	int status = drop(vm, was_served);

	if (!status)
		forget(&served);
	served_clear(&served);
	return status;
}

int cmd_drop(const struct command *cmd, int argc, char **argv)
{
	options_plain(cmd, argc, argv, false);
	arguments_count(cmd, argc, 1, 1);
	if (!is_vm_name(argv[optind]))
		return fail(UCTL_USAGE, "\"%s\" is not a name: 1 to 31 characters A-Za-z0-9_.-",
			    argv[optind]);
	return drop_vm(argv[optind]);
}
