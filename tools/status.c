// SPDX-License-Identifier: GPL-2.0
/*
 * usbctl status: one list that is true, from the kernel's files and those of the
 * servers.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

/* All that is known. */
struct view {
	const char *vm;		/* only this one, or NULL */
	bool has_module;
	struct rules rules;
	struct channels channels;
	struct served_list servers;
};

static const struct option options[] = {
	HELP_OPTION,
	VERSION_OPTION,
	JSON_OPTION,
	{ "rules", no_argument, NULL, 'r' },
	LAST_OPTION
};

static bool is_shown(const struct view *view, const char *vm)
{
	return !view->vm || !strcmp(view->vm, vm);
}

static int view_read(struct view *view)
{
	char *path = driver_file("vports");
	int status = UCTL_OK;
	FILE *probe;

	served_list_read(&view->servers);
	probe = fopen(path, "re");
	view->has_module = probe || errno != ENOENT;
	if (probe)
		fclose(probe);
	free(path);
	/* On the machine of driver VMs there is nothing but servers. */
	if (!view->has_module)
		return view->servers.count ? UCTL_OK : driver_present();
	status = rules_read(&view->rules);
	return status ? status : channels_read(&view->channels);
}

static void view_free(struct view *view)
{
	rules_free(&view->rules);
	channels_free(&view->channels);
	served_list_free(&view->servers);
}

static bool is_known(const struct view *view)
{
	size_t i;

	if (!view->vm || channels_find(&view->channels, view->vm) ||
	    served_find(&view->servers, view->vm))
		return true;
	for (i = 0; i < view->rules.count; i++) {
		if (!strcmp(view->rules.rule[i].vport.vm, view->vm))
			return true;
	}
	return false;
}

/* What the person can do about a rule, or NULL; to be freed. */
static char *rule_hint(const struct view *view, const struct rule *rule)
{
	const struct channel *channel = channels_find(&view->channels, rule->vport.vm);
	size_t i;

	if (!strcmp(rule->state, "waiting-device"))
		return xasprintf("nothing is plugged in at %s; see: usbctl list",
				 rule->busid);
	if (!strcmp(rule->state, "refused") && rule->reason &&
	    strstr(rule->reason, "in use"))
		return xasprintf("give it up on the host, then: usbctl attach %s %s:%u:%u",
				 rule->busid, rule->vport.vm, rule->vport.vusb,
				 rule->vport.port);
	if (channel && !strcmp(rule->state, "waiting-guest"))
		return xasprintf("no driver runs in %s; type there: modprobe usbfront",
				 rule->vport.vm);
	if (channel)
		return NULL;
	for (i = 0; i < view->channels.count; i++) {
		if (!strcmp(view->channels.channel[i].vm, "-"))
			return xasprintf("no channel has that name; is it %s? usbctl name %s %s",
					 view->channels.channel[i].address,
					 view->channels.channel[i].address,
					 rule->vport.vm);
	}
	return xasprintf("%s has no channel; type: usbctl serve %s", rule->vport.vm,
			 rule->vport.vm);
}

/* A socket that somebody has removed: no QEMU finds it. */
static char *socket_hint(const struct served *served)
{
	int role;

	for (role = 0; role < NR_ROLES; role++) {
		if (served->socket[role] && access(served->socket[role], F_OK))
			return xasprintf("%s was removed; type: kill %d, then usbctl serve %s",
					 served->socket[role], (int)served->server,
					 served->vm);
	}
	return NULL;
}

/* Likewise about a channel. */
static char *channel_hint(const struct view *view, const struct channel *channel)
{
	const struct served *served = served_find(&view->servers, channel->vm);
	char *hint;

	if (!strcmp(channel->vm, "-"))
		return xasprintf("which guest is it? type: usbctl name %s VM",
				 channel->address);
	if (strcmp(channel->kind, "fd"))
		return NULL;
	if (!served || !served->server)
		return xasprintf("nobody serves it: no guest can join; type: usbctl serve %s",
				 channel->vm);
	hint = socket_hint(served);
	if (hint)
		return hint;
	if (served->is_adopted)
		return xasprintf("QEMU (process %d) joined before this server started",
				 (int)served->peer[ROLE_GUEST]);
	if (!served->peer[ROLE_GUEST])
		return xasprintf("no guest yet: QEMU needs $(usbctl qemu-args %s)",
				 channel->vm);
	return NULL;
}

static char *server_hint(const struct served *served)
{
	char *hint = served->server ? socket_hint(served) : NULL;

	if (hint)
		return hint;
	if (!served->server)
		return xasprintf("not served any more; type: usbctl serve %s --backend-socket %s",
				 served->vm, served->socket[ROLE_BACKEND] ?
				 served->socket[ROLE_BACKEND] : "PATH");
	if (!served->peer[ROLE_BACKEND])
		return xasprintf("no driver VM yet: QEMU needs $(usbctl qemu-args --backend %s)",
				 served->vm);
	if (!served->peer[ROLE_GUEST])
		return xasprintf("no guest yet: QEMU needs $(usbctl qemu-args %s)",
				 served->vm);
	return NULL;
}

static void print_hint(char *hint)
{
	if (hint)
		printf("    %s\n", hint);
	free(hint);
}

static void print_channels(const struct view *view)
{
	const struct channel *channel;
	size_t i, c;

	for (i = 0; i < view->channels.count; i++) {
		channel = &view->channels.channel[i];
		if (!is_shown(view, channel->vm))
			continue;
		printf("%s: channel %s%s%s, %s, session %llu", channel->vm, channel->kind,
		       strcmp(channel->address, "-") ? " " : "",
		       strcmp(channel->address, "-") ? channel->address : "",
		       channel->state, (unsigned long long)channel->session);
		if (channel->pid)
			printf(", process %llu", (unsigned long long)channel->pid);
		putchar('\n');
		for (c = 0; c < channel->nr_counters; c++)
			printf("%s%s %llu", c ? ", " : "    ", channel->counter[c].name,
			       (unsigned long long)channel->counter[c].value);
		if (channel->nr_counters)
			putchar('\n');
		print_hint(channel_hint(view, channel));
	}
}

static void print_rules(const struct view *view)
{
	const struct rule *rule;
	size_t i;

	for (i = 0; i < view->rules.count; i++) {
		rule = &view->rules.rule[i];
		if (!is_shown(view, rule->vport.vm))
			continue;
		printf("%s -> %s:%u:%u: %s%s%s\n", rule->busid, rule->vport.vm,
		       rule->vport.vusb, rule->vport.port, rule->state,
		       rule->reason ? ": " : "", rule->reason ? rule->reason : "");
		print_hint(rule_hint(view, rule));
	}
}

/* Servers of driver VMs: the kernel here knows nothing of them. */
static void print_servers(const struct view *view)
{
	const struct served *served;
	size_t i;

	for (i = 0; i < view->servers.count; i++) {
		served = &view->servers.served[i];
		if (!is_shown(view, served->vm) || !served->socket[ROLE_BACKEND])
			continue;
		printf("%s: joins a driver VM (process %d) and a guest (process %d), %llu octets\n",
		       served->vm, (int)served->peer[ROLE_BACKEND],
		       (int)served->peer[ROLE_GUEST],
		       (unsigned long long)served->size);
		print_hint(server_hint(served));
	}
}

static struct json_object *text_or_null(char *text)
{
	struct json_object *object = text ? json_object_new_string(text) : NULL;

	free(text);
	return object;
}

static struct json_object *json_channel(const struct view *view,
					const struct channel *channel)
{
	struct json_object *row = json_object_new_object();
	struct json_object *counters = json_object_new_object();
	size_t i;

	json_object_object_add(row, "vm", strcmp(channel->vm, "-") ?
			       json_object_new_string(channel->vm) : NULL);
	json_object_object_add(row, "kind", json_object_new_string(channel->kind));
	json_object_object_add(row, "address", json_object_new_string(channel->address));
	json_object_object_add(row, "state", json_object_new_string(channel->state));
	json_object_object_add(row, "session", json_object_new_int64(channel->session));
	json_object_object_add(row, "pid", json_object_new_int64(channel->pid));
	for (i = 0; i < channel->nr_counters; i++)
		json_object_object_add(counters, channel->counter[i].name,
				       json_object_new_uint64(channel->counter[i].value));
	json_object_object_add(row, "counters", counters);
	json_object_object_add(row, "hint", text_or_null(channel_hint(view, channel)));
	return row;
}

static struct json_object *json_rule(const struct view *view,
				     const struct rule *rule)
{
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "rule", json_object_new_string(rule->text));
	json_object_object_add(row, "busid", json_object_new_string(rule->busid));
	json_object_object_add(row, "vm", json_object_new_string(rule->vport.vm));
	json_object_object_add(row, "vusb", json_object_new_int(rule->vport.vusb));
	json_object_object_add(row, "port", json_object_new_int(rule->vport.port));
	json_object_object_add(row, "state", json_object_new_string(rule->state));
	json_object_object_add(row, "reason", rule->reason ?
			       json_object_new_string(rule->reason) : NULL);
	json_object_object_add(row, "hint", text_or_null(rule_hint(view, rule)));
	return row;
}

static struct json_object *json_server(const struct served *served)
{
	static const char * const names[NR_ROLES] = {
		[ROLE_GUEST] = "guest", [ROLE_BACKEND] = "backend",
	};
	struct json_object *row = json_object_new_object(), *peer;
	int role;

	json_object_object_add(row, "vm", json_object_new_string(served->vm));
	json_object_object_add(row, "server", json_object_new_int(served->server));
	json_object_object_add(row, "size", json_object_new_int64(served->size));
	json_object_object_add(row, "adopted",
			       json_object_new_boolean(served->is_adopted));
	for (role = 0; role < NR_ROLES; role++) {
		peer = json_object_new_object();
		json_object_object_add(peer, "socket", served->socket[role] ?
				       json_object_new_string(served->socket[role]) : NULL);
		json_object_object_add(peer, "pid",
				       json_object_new_int(served->peer[role]));
		json_object_object_add(row, names[role], peer);
	}
	return row;
}

static void print_json(const struct view *view)
{
	struct json_object *top = json_object_new_object(), *list;
	size_t i;

	list = json_object_new_array();
	for (i = 0; i < view->channels.count; i++) {
		if (is_shown(view, view->channels.channel[i].vm))
			json_object_array_add(list, json_channel(view, &view->channels.channel[i]));
	}
	json_object_object_add(top, "channels", list);
	list = json_object_new_array();
	for (i = 0; i < view->rules.count; i++) {
		if (is_shown(view, view->rules.rule[i].vport.vm))
			json_object_array_add(list, json_rule(view, &view->rules.rule[i]));
	}
	json_object_object_add(top, "vports", list);
	list = json_object_new_array();
	for (i = 0; i < view->servers.count; i++) {
		if (is_shown(view, view->servers.served[i].vm))
			json_object_array_add(list, json_server(&view->servers.served[i]));
	}
	json_object_object_add(top, "servers", list);
	puts(json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY));
	json_object_put(top);
}

static void print_text(const struct view *view)
{
	if (!view->channels.count && !view->rules.count && !view->servers.count)
		puts("no channels and no rules; begin with: usbctl serve VM");
	print_channels(view);
	print_servers(view);
	print_rules(view);
}

static void print_plain_rules(const struct view *view)
{
	size_t i;

	for (i = 0; i < view->rules.count; i++) {
		if (is_shown(view, view->rules.rule[i].vport.vm))
			puts(view->rules.rule[i].text);
	}
}

int cmd_status(const struct command *cmd, int argc, char **argv)
{
	bool is_json = false, is_plain = false;
	struct view view = { .vm = NULL };
	int option, status;

	while ((option = option_next(cmd, argc, argv, options)) >= 0) {
		is_json |= option == OPT_JSON;
		is_plain |= option == 'r';
	}
	arguments_count(cmd, argc, 0, 1);
	if (optind < argc)
		view.vm = argv[optind];
	status = view_read(&view);
	if (!status && !is_known(&view))
		status = fail(UCTL_NOTFOUND,
			      "%s has no channel, rule or server; type: usbctl serve %s",
			      view.vm, view.vm);
	if (!status && is_plain)
		print_plain_rules(&view);
	else if (!status && is_json)
		print_json(&view);
	else if (!status)
		print_text(&view);
	view_free(&view);
	return status;
}
