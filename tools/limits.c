// SPDX-License-Identifier: GPL-2.0
/*
 * limit: what a guest may have of the host at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

/* The line of a guest, or of all. */
static int limits_print(const char *vm)
{
	char *path = driver_file("limits"), *text = file_read(path);
	char *rest = text, *line;
	int error = errno, found = 0;
	size_t length;

	free(path);
	if (!text)
		return fail(status_of(error), "the limits can't be read: %s", strerror(error));
	while ((line = strsep(&rest, "\n"))) {
		length = strcspn(line, " ");
		if (!*line || (vm && (strlen(vm) != length || strncmp(line, vm, length))))
			continue;
		puts(line);
		found++;
	}
	free(text);
	if (vm && !found)
		return fail(UCTL_NOTFOUND, "%s has no channel, and no limits of its own", vm);
	return UCTL_OK;
}

int limits_write(const char *line)
{
	int ret = driver_write("limits", line);

	return ret ? write_failed("limits", line, ret) : UCTL_OK;
}

void limits_restore(const char *vm)
{
	char *path = xasprintf("%s/limits", conf_root());
	char *text = file_read(path), *rest = text, *line;
	size_t length = strlen(vm);

	while ((line = conf_line(&rest)))
		if (!strncmp(line, vm, length) && strchr(" \t", line[length]))
			limits_write(line);
	free(text);
	free(path);
}

static int limits_set(int argc, char **argv)
{
	char *line = xstrdup(argv[0]), *longer;
	int i, status;

	for (i = 1; i < argc; i++) {
		longer = xasprintf("%s %s", line, argv[i]);
		free(line);
		line = longer;
	}
	status = limits_write(line);
	free(line);
	return status ? status : limits_print(argv[0]);
}

int cmd_limit(const struct command *cmd, int argc, char **argv)
{
	int i, status;

	options_plain(cmd, argc, argv, false);
	arguments_count(cmd, argc, 0, 10);
	for (i = optind + 1; i < argc; i++)
		if (!strchr(argv[i], '=') && strcmp(argv[i], "default"))
			return fail(UCTL_USAGE, "\"%s\" is not NAME=NUMBER", argv[i]);
	if (optind < argc && !is_vm_name(argv[optind]))
		return fail(UCTL_USAGE, "\"%s\" is not the name of a guest", argv[optind]);
	status = driver_present();
	if (status)
		return status;
	if (argc - optind < 2)
		return limits_print(argv[optind]);
	return limits_set(argc - optind, argv + optind);
}
