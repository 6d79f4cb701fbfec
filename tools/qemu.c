// SPDX-License-Identifier: GPL-2.0
/*
 * What QEMU and libvirt have to be told.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "usbctl.h"

static const struct option options[] = {
	HELP_OPTION,
	VERSION_OPTION,
	{ "backend", no_argument, NULL, 'b' },
	LAST_OPTION
};

/* What the two commands know of a guest. */
struct target {
	const char *vm;
	bool is_backend;
	char *socket;
	bool is_served;
};

static int find_target(const struct command *cmd, int argc, char **argv,
		       struct target *target)
{
	enum role role = ROLE_GUEST;
	struct served served;

	while (option_next(cmd, argc, argv, options) >= 0)
		role = ROLE_BACKEND;
	arguments_count(cmd, argc, 1, 1);
	memset(target, 0, sizeof(*target));
	target->vm = argv[optind];
	target->is_backend = role == ROLE_BACKEND;
	if (!is_vm_name(target->vm))
		return fail(UCTL_USAGE, "\"%s\" is not a name: 1 to 31 characters A-Za-z0-9_.-",
			    target->vm);
	served_read(&served, target->vm);
	target->is_served = served.server;
	if (served.socket[role])
		target->socket = xstrdup(served.socket[role]);
	else if (role == ROLE_GUEST)
		target->socket = run_file(target->vm, "sock");
	served_clear(&served);
	if (!target->socket)
		return fail(UCTL_NOTFOUND,
			    "%s is not served to a driver VM; type: usbctl serve %s --backend-socket PATH",
			    target->vm, target->vm);
	return UCTL_OK;
}

/* It is right to print all the same: a script may do things in another order. */
static void target_done(struct target *target)
{
	if (!target->is_served)
		say("note: %s is not served yet; before QEMU starts: usbctl serve %s",
		    target->vm, target->vm);
	free(target->socket);
}

/* A comma in an option of QEMU is written twice. */
static void print_escaped(const char *text)
{
	for (; *text; text++) {
		if (*text == ',')
			putchar(',');
		putchar(*text);
	}
}

int cmd_qemu_args(const struct command *cmd, int argc, char **argv)
{
	struct target target;
	int status = find_target(cmd, argc, argv, &target);
	const char *suffix;

	if (status)
		return status;
	if (strpbrk(target.socket, " \t\n*?[]\\'\"$`;&|<>(){}~#")) {
		status = fail(UCTL_FAILED,
			      "the socket %s can't stand in a command line unquoted; give another --socket to usbctl serve",
			      target.socket);
		free(target.socket);
		return status;
	}
	suffix = target.is_backend ? "-backend" : "";
	printf("-chardev socket,path=");
	print_escaped(target.socket);
	printf(",id=usbif-%s%s -device ivshmem-doorbell,vectors=1,chardev=usbif-%s%s,master=%s\n",
	       target.vm, suffix, target.vm, suffix, target.is_backend ? "off" : "on");
	target_done(&target);
	return UCTL_OK;
}

static void print_xml(const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", stdout);
			break;
		case '<':
			fputs("&lt;", stdout);
			break;
		case '\'':
			fputs("&apos;", stdout);
			break;
		default:
			putchar(*text);
		}
	}
}

int cmd_libvirt_xml(const struct command *cmd, int argc, char **argv)
{
	struct target target;
	int status = find_target(cmd, argc, argv, &target);

	if (status)
		return status;
	printf("<shmem name='usbif-%s' role='%s'>\n"
	       "  <model type='ivshmem-doorbell'/>\n"
	       "  <server path='", target.vm, target.is_backend ? "peer" : "master");
	print_xml(target.socket);
	printf("'/>\n"
	       "  <msi vectors='1'/>\n"
	       "</shmem>\n");
	target_done(&target);
	return UCTL_OK;
}
