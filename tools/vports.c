// SPDX-License-Identifier: GPL-2.0
/*
 * The files of usbback in sysfs; Documentation/ABI/testing/sysfs-driver-usbback.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

#define MAX_VUSB	15
#define MAX_PORT	15

char *driver_file(const char *name)
{
	return xasprintf("%s/bus/usb/drivers/usbback/%s", sysfs_root(), name);
}

static bool driver_has(const char *name)
{
	char *path = driver_file(name);
	bool has = !access(path, F_OK);

	free(path);
	return has;
}

int driver_present(void)
{
	if (driver_has("vports"))
		return UCTL_OK;
	return fail(UCTL_NOMODULE, "usbback is not loaded here; type: modprobe usbback");
}

bool vport_parse(const char *text, struct vport *vport, unsigned int *parts)
{
	char *copy = xstrdup(text), *rest = copy;
	char *vm = strsep(&rest, ":");
	char *vusb = strsep(&rest, ":");
	char *port = strsep(&rest, ":");
	bool is_good = is_vm_name(vm) && !rest;

	memset(vport, 0, sizeof(*vport));
	if (is_good)
		snprintf(vport->vm, sizeof(vport->vm), "%s", vm);
	if (vusb)
		is_good = is_good && parse_number(vusb, MAX_VUSB, &vport->vusb);
	if (port)
		is_good = is_good && parse_number(port, MAX_PORT, &vport->port) &&
			  vport->port;
	*parts = 1 + !!vusb + !!port;
	free(copy);
	return is_good;
}

bool rule_parse(const char *text, struct rule *rule)
{
	const char *vport = strchr(text, ':');
	size_t length;
	unsigned int parts;
	bool is_good;
	char *copy;

	memset(rule, 0, sizeof(*rule));
	if (!vport || vport - text > BUSID_MAX || strlen(text) >= sizeof(rule->text))
		return false;
	memcpy(rule->busid, text, vport - text);
	copy = xstrdup(vport + 1);
	length = strlen(copy);
	rule->is_forced = length > 6 && !strcmp(copy + length - 6, ":force");
	if (rule->is_forced)
		copy[length - 6] = '\0';
	is_good = is_busid(rule->busid) &&
		  vport_parse(copy, &rule->vport, &parts) && parts == 3;
	free(copy);
	snprintf(rule->text, sizeof(rule->text), "%s", text);
	return is_good;
}

/* BUSID:VM:VUSB:PORT STATE[ REASON] */
static bool vports_line(char *line, struct rule *rule)
{
	char *text = strsep(&line, " ");
	char *state = strsep(&line, " ");

	if (!rule_parse(text, rule) || !state)
		return false;
	snprintf(rule->state, sizeof(rule->state), "%s", state);
	rule->reason = line && *line ? xstrdup(line) : NULL;
	return true;
}

void rules_add(struct rules *rules, const struct rule *rule)
{
	rules->rule = xrealloc(rules->rule, (rules->count + 1) * sizeof(*rule));
	rules->rule[rules->count++] = *rule;
}

void rules_parse(struct rules *rules, char *text)
{
	struct rule rule;
	char *line;

	memset(rules, 0, sizeof(*rules));
	while ((line = strsep(&text, "\n"))) {
		if (!vports_line(line, &rule))
			continue;
		rules_add(rules, &rule);
	}
}

static int read_failed(const char *path, int error)
{
	if (status_of(error) == UCTL_PERM)
		return fail(UCTL_PERM, "not allowed to read %s; run usbctl as root", path);
	return fail(status_of(error), "cannot read %s: %s", path, strerror(error));
}

/* Text of one of the driver's files; NULL with *status set and a line said. */
static char *driver_read(const char *name, int *status)
{
	char *path, *text;

	*status = driver_present();
	if (*status)
		return NULL;
	path = driver_file(name);
	text = file_read(path);
	if (!text)
		*status = read_failed(path, errno);
	free(path);
	return text;
}

int rules_read(struct rules *rules)
{
	int status;
	char *text;

	memset(rules, 0, sizeof(*rules));
	text = driver_read("vports", &status);
	if (!text)
		return status;
	rules_parse(rules, text);
	free(text);
	return UCTL_OK;
}

void rules_free(struct rules *rules)
{
	size_t i;

	for (i = 0; i < rules->count; i++)
		free(rules->rule[i].reason);
	free(rules->rule);
	memset(rules, 0, sizeof(*rules));
}

const struct rule *rules_find_busid(const struct rules *rules,
				    const char *busid)
{
	size_t i;

	for (i = 0; i < rules->count; i++) {
		if (!strcmp(rules->rule[i].busid, busid))
			return &rules->rule[i];
	}
	return NULL;
}

const struct rule *rules_find_vport(const struct rules *rules,
				    const struct vport *vport)
{
	const struct rule *rule;
	size_t i;

	for (i = 0; i < rules->count; i++) {
		rule = &rules->rule[i];
		if (!strcmp(rule->vport.vm, vport->vm) &&
		    rule->vport.vusb == vport->vusb &&
		    rule->vport.port == vport->port)
			return rule;
	}
	return NULL;
}

static void counters_parse(struct channel *channel, char *text)
{
	struct counter *counter;
	char *word, *name;

	while ((word = strsep(&text, " "))) {
		name = strsep(&word, "=");
		if (!word || channel->nr_counters == CHANNEL_COUNTERS)
			continue;
		counter = &channel->counter[channel->nr_counters++];
		snprintf(counter->name, sizeof(counter->name), "%s", name);
		counter->value = strtoull(word, NULL, 10);
	}
}

/* VM KIND ADDRESS STATE SESSION PID[ NAME=VALUE]... */
static bool channels_line(char *line, struct channel *channel)
{
	unsigned long long session, pid;
	int length = 0;

	memset(channel, 0, sizeof(*channel));
	if (sscanf(line, "%31s %15s %63s %15s %llu %llu%n", channel->vm,
		   channel->kind, channel->address, channel->state, &session,
		   &pid, &length) < 6)
		return false;
	channel->session = session;
	channel->pid = pid;
	counters_parse(channel, line + length);
	return true;
}

int channels_read(struct channels *channels)
{
	struct channel channel;
	char *text, *rest, *line;
	int status;

	memset(channels, 0, sizeof(*channels));
	text = driver_read("channels", &status);
	if (!text)
		return status;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (!channels_line(line, &channel))
			continue;
		channels->channel = xrealloc(channels->channel,
					     (channels->count + 1) *
					     sizeof(channel));
		channels->channel[channels->count++] = channel;
	}
	free(text);
	return UCTL_OK;
}

void channels_free(struct channels *channels)
{
	free(channels->channel);
	memset(channels, 0, sizeof(*channels));
}

const struct channel *channels_find(const struct channels *channels,
				    const char *vm)
{
	size_t i;

	for (i = 0; i < channels->count; i++) {
		if (!strcmp(channels->channel[i].vm, vm))
			return &channels->channel[i];
	}
	return NULL;
}
