// SPDX-License-Identifier: GPL-2.0
/*
 * usbctl - give USB devices to guests: main and the command table
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

static const char serve_help[] =
	"  --socket PATH          for the guest's QEMU (/run/usbif/VM.sock)\n"
	"  --size BYTES           of the shared memory: a power of two, 1M to 1G (16M)\n"
	"  --backend-socket PATH  a driver VM's QEMU has the devices, not this kernel\n"
	"  --user USER            who runs QEMU, if not root\n"
	"  --group GROUP          likewise\n"
	"  --hugepages            take the memory from the pool of huge pages\n"
	"  --foreground           do not go to the background\n"
	"  --stop                 end the server and drop the channel\n";
static const char vport_help[] =
	"VUSB is the virtual controller of the guest, 0 if not given; PORT is one of\n"
	"its ports, 1 to 15, the first free one if not given.\n"
	"  --force    take a disk that the host uses; data may be lost\n"
	"  --persist  keep the rule in /etc/usbif/rules, for the next boot\n";
static const char detach_help[] =
	"  --persist  take the rule out of /etc/usbif/rules as well\n";
static const char move_help[] =
	"VUSB is the virtual controller of the guest, 0 if not given; PORT is one of\n"
	"its ports, 1 to 15, the first free one if not given.\n"
	"  --persist  keep the new rule in /etc/usbif/rules, for the next boot\n";
static const char qemu_help[] =
	"  --backend  for the driver VM of a guest served with --backend-socket\n";
static const char status_help[] =
	"  --json   for programs\n"
	"  --rules  only the rules, as /etc/usbif/rules wants them\n";
static const char limit_help[] =
	"  requests  submitted to host controllers at once (1024)\n"
	"  kib       in all of these, in KiB (1048576: no limit)\n"
	"  batch     taken from the ring until other work has its turn (256)\n"
	"  resets    of each port in a second (4)\n"
	"  lines     of the kernel log in five seconds (10)\n";
static const char restore_help[] =
	"The files are rules (lines BUSID:VM:VUSB:PORT[:force]), channels (lines\n"
	"PCI-ADDRESS VM) and limits (lines VM NAME=NUMBER...) in /etc/usbif.\n"
	"Blank lines and what follows a # are skipped.\n";

static const struct command commands[] = {
	{ "serve", cmd_serve, "VM [OPTION]...",
	  "Make the channel of a guest and wait for its QEMU", serve_help },
	{ "drop", cmd_drop, "VM",
	  "End the server of a guest and its channel; rules stay", NULL },
	{ "qemu-args", cmd_qemu_args, "[--backend] VM",
	  "Print the options that QEMU needs for a guest", qemu_help },
	{ "libvirt-xml", cmd_libvirt_xml, "[--backend] VM",
	  "Print the same for the domain XML of libvirt", qemu_help },
	{ "list", cmd_list, "[--json]",
	  "List USB devices and who has them", NULL },
	{ "attach", cmd_attach, "BUSID VM[:VUSB[:PORT]] [--force] [--persist]",
	  "Give the device at a bus ID to a guest, now and after replug", vport_help },
	{ "detach", cmd_detach, "BUSID|VM:VUSB:PORT [--persist]",
	  "Remove a rule and give the device back to the host", detach_help },
	{ "move", cmd_move, "BUSID VM[:VUSB[:PORT]] [--persist]",
	  "Give a device to another guest or port in one step", move_help },
	{ "status", cmd_status, "[VM] [--json|--rules]",
	  "Show channels, rules, their states and counters", status_help },
	{ "name", cmd_name, "PCI-ADDRESS VM",
	  "In a driver VM: say which guest a channel belongs to", NULL },
	{ "limit", cmd_limit, "[VM [NAME=NUMBER]...|VM default]",
	  "Show or set what a guest may have of the host at once", limit_help },
	{ "restore", cmd_restore, "",
	  "Apply the rules and names kept in /etc/usbif", restore_help },
	{ "loop", cmd_loop, "[VM] [--size BYTES] [--hugepages]",
	  "Join usbback and usbfront of this kernel (tests); ends with drop", NULL },
};

static void usage(FILE *out)
{
	size_t i;

	fputs("usage: usbctl COMMAND [ARGUMENT]...\n\n", out);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
	fputs("  help         Show this, or the help of a command\n\n"
	      "\"usbctl COMMAND --help\" shows the options of a command.\n"
	      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 module not loaded,\n"
	      "4 not permitted, 5 not found, 6 busy or in use.\n", out);
}

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int help(const char *name)
{
	const struct command *cmd = name ? find(name) : NULL;

	if (name && !cmd)
		return fail(UCTL_USAGE, "no command \"%s\"; see: usbctl help", name);
	if (cmd)
		command_usage(cmd, true);
	else
		usage(stdout);
	return UCTL_OK;
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	int status;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		usage(stderr);
		return UCTL_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") ||
	    !strcmp(argv[1], "-h"))
		return help(argv[2]);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		printf("usbctl %s\n", USBCTL_VERSION);
		return UCTL_OK;
	}
	cmd = find(argv[1]);
	if (!cmd)
		return fail(UCTL_USAGE, "no command \"%s\"; see: usbctl help", argv[1]);
	status = cmd->run(cmd, argc - 1, argv + 1);
	if (fflush(stdout) || ferror(stdout))
		return fail(UCTL_FAILED, "cannot write the output");
	return status;
}
