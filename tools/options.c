// SPDX-License-Identifier: GPL-2.0
/*
 * Options of the commands, and their help.
 */
#include <stdio.h>
#include <stdlib.h>
#include "usbctl.h"

void command_usage(const struct command *cmd, bool is_wanted)
{
	FILE *out = is_wanted ? stdout : stderr;

	fprintf(out, "usage: usbctl %s %s\n", cmd->name, cmd->usage);
	if (!is_wanted)
		return;
	fprintf(out, "\n%s.\n", cmd->help);
	if (cmd->more)
		fprintf(out, "\n%s", cmd->more);
	fputs("\nusbctl(8) tells more.\n", out);
}

int option_next(const struct command *cmd, int argc, char **argv,
		const struct option *options)
{
	int option = getopt_long(argc, argv, "", options, NULL);

	switch (option) {
	case OPT_HELP:
		command_usage(cmd, true);
		exit(UCTL_OK);
	case OPT_VERSION:
		printf("usbctl %s\n", USBCTL_VERSION);
		exit(UCTL_OK);
	case '?':
		command_usage(cmd, false);
		exit(UCTL_USAGE);
	default:
		return option;
	}
}

bool options_plain(const struct command *cmd, int argc, char **argv,
		   bool has_json)
{
	static const struct option with_json[] = {
		HELP_OPTION, VERSION_OPTION, JSON_OPTION, LAST_OPTION
	};
	static const struct option without[] = {
		HELP_OPTION, VERSION_OPTION, LAST_OPTION
	};
	bool is_json = false;

	while (option_next(cmd, argc, argv, has_json ? with_json : without) >= 0)
		is_json = true;
	return is_json;
}

void arguments_count(const struct command *cmd, int argc, int min, int max)
{
	int count = argc - optind;

	if (count >= min && count <= max)
		return;
	command_usage(cmd, false);
	exit(UCTL_USAGE);
}
