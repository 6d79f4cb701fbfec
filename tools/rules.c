// SPDX-License-Identifier: GPL-2.0
/*
 * attach, detach, move, name, restore: what is written to usbback.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "usbctl.h"

#define SETTLE_MS	5000	/* a grab takes a reset, at worst a few */
#define MAX_PORT	15
#define PERSIST_OPTION	{ "persist", no_argument, NULL, 'p' }

int write_failed(const char *file, const char *text, int error)
{
	switch (-error) {
	case EACCES:
	case EPERM:
		return fail(UCTL_PERM, "not allowed to write %s; run usbctl as root", file);
	case ENODEV:
		return fail(UCTL_NOMODULE,
			    "usbback is being unloaded; type: modprobe usbback");
	case EINVAL:
		return fail(UCTL_FAILED,
			    "usbback refuses \"%s\"; the end of dmesg says why", text);
	default:
		return fail(status_of(error), "writing \"%s\" to %s: %s", text, file,
			    strerror(-error));
	}
}

int driver_write(const char *name, const char *text)
{
	char *path = driver_file(name);
	int ret = file_write(path, text);

	free(path);
	return ret;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Sleeps until the file says that it has changed, 100 ms at most. */
static void driver_wait(const char *name)
{
	struct pollfd poller = { .events = POLLPRI };
	char *path = driver_file(name);
	char *text;

	poller.fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (poller.fd >= 0) {
		text = fd_read(poller.fd);
		free(text);
	}
	poll(&poller, 1, 100);
	fd_close(&poller.fd);
}

static bool is_plugged_in(const char *busid)
{
	char *path = xasprintf("%s/bus/usb/devices/%s", sysfs_root(), busid);
	bool is = !access(path, F_OK);

	free(path);
	return is;
}

/* The kernel looks at a new rule a moment after it was written. */
static bool is_on_its_way(const struct rule *rule)
{
	return !strcmp(rule->state, "resetting") ||
	       (!strcmp(rule->state, "waiting-device") && is_plugged_in(rule->busid));
}

/* Copy of the rule once it is no longer on its way. */
static bool rule_settled(const char *busid, struct rule *found)
{
	long end = now_ms() + SETTLE_MS;
	const struct rule *rule;
	struct rules rules;
	bool is_moving;

	do {
		if (rules_read(&rules))
			return false;
		rule = rules_find_busid(&rules, busid);
		if (!rule) {
			rules_free(&rules);
			return false;
		}
		*found = *rule;
		found->reason = rule->reason ? xstrdup(rule->reason) : NULL;
		rules_free(&rules);
		is_moving = is_on_its_way(found);
		if (is_moving && now_ms() < end) {
			free(found->reason);
			driver_wait("vports");
		}
	} while (is_moving && now_ms() < end);
	return true;
}

static void say_waiting(const char *busid, const struct vport *vport)
{
	const struct channel *channel;
	struct channels channels;

	if (channels_read(&channels))
		return;
	channel = channels_find(&channels, vport->vm);
	if (channel)
		printf("%s: waits for guest %s, port %u:%u: no usbfront runs there yet\n",
		       busid, vport->vm, vport->vusb, vport->port);
	else
		printf("%s: waits for guest %s:%u:%u: it has no channel; type: usbctl serve %s\n",
		       busid, vport->vm, vport->vusb, vport->port, vport->vm);
	channels_free(&channels);
}

static int refused(const struct rule *rule)
{
	const char *reason = rule->reason ? rule->reason : "see dmesg";
	bool is_used = !!strstr(reason, "in use");
	char *use = is_used ? device_use(rule->busid) : NULL;
	int status;

	status = fail(is_used ? UCTL_BUSY : UCTL_FAILED,
		      "%s is kept from %s:%u:%u: %s%s%s%s; drop the rule: usbctl detach %s",
		      rule->busid, rule->vport.vm, rule->vport.vusb,
		      rule->vport.port, reason, use ? " (" : "", use ? use : "",
		      use ? ")" : "", rule->busid);
	free(use);
	return status;
}

/* Tells what has become of a rule that was written. */
static int report(const char *busid)
{
	int status = UCTL_OK;
	struct rule rule;

	if (!rule_settled(busid, &rule))
		return fail(UCTL_FAILED, "%s: the rule has gone; the end of dmesg says why",
			    busid);
	if (!strcmp(rule.state, "refused"))
		status = refused(&rule);
	else if (!strcmp(rule.state, "waiting-guest"))
		say_waiting(busid, &rule.vport);
	else if (!strcmp(rule.state, "waiting-device"))
		printf("%s: nothing is plugged in; goes to %s:%u:%u when it is\n", busid,
		       rule.vport.vm, rule.vport.vusb, rule.vport.port);
	else
		printf("%s: %s, %s:%u:%u\n", busid, rule.state, rule.vport.vm,
		       rule.vport.vusb, rule.vport.port);
	free(rule.reason);
	return status;
}

static bool is_same(const struct vport *a, const struct vport *b,
		    unsigned int parts)
{
	return !strcmp(a->vm, b->vm) && (parts < 2 || a->vusb == b->vusb) &&
	       (parts < 3 || a->port == b->port);
}

/* If it is a rule that is in the way; another may have been faster. */
static int say_taken(const char *busid, const struct vport *vport, const struct rules *rules)
{
	const struct rule *other = rules_find_vport(rules, vport);

	if (other && strcmp(other->busid, busid))
		return fail(UCTL_BUSY,
			    "%s: port %s:%u:%u belongs to %s; take another, or: usbctl detach %s",
			    busid, vport->vm, vport->vusb, vport->port, other->busid,
			    other->busid);
	other = rules_find_busid(rules, busid);
	if (other && !is_same(&other->vport, vport, 3))
		return fail(UCTL_BUSY, "%s already goes to %s:%u:%u; type: usbctl move %s %s:%u:%u",
			    busid, other->vport.vm, other->vport.vusb, other->vport.port, busid,
			    vport->vm, vport->vusb, vport->port);
	return UCTL_OK;
}

/* EBUSY has several causes; find out which and say it. */
static int say_busy(const char *busid, const struct vport *vport)
{
	struct rules rules;
	int status;
	char *use;

	status = rules_read(&rules);
	if (!status)
		status = say_taken(busid, vport, &rules);
	rules_free(&rules);
	if (status)
		return status;
	use = device_use(busid);
	status = fail(UCTL_BUSY,
		      "%s is in use by the host%s%s; or add --force (data may be lost)",
		      busid, use ? ": " : " (the end of dmesg says how)",
		      use ? use : "");
	free(use);
	return status;
}

static bool is_port_free(const struct rules *rules, const struct vport *vport)
{
	return !rules_find_vport(rules, vport);
}

/* Fills in the port that was left open. One that is another's after a reboot is not free. */
static int choose_port(const struct rules *rules, const struct rules *kept,
		       struct vport *vport, unsigned int first)
{
	for (vport->port = first; vport->port <= MAX_PORT; vport->port++) {
		if (is_port_free(rules, vport) && is_port_free(kept, vport))
			return UCTL_OK;
	}
	return fail(UCTL_BUSY, "all ports of %s:%u are taken; name the next controller: %s:%u",
		    vport->vm, vport->vusb, vport->vm, vport->vusb + 1);
}

static int parse_target(const char *busid, const char *text,
			struct vport *vport, unsigned int *parts)
{
	if (!is_busid(busid))
		return fail(UCTL_USAGE, "\"%s\" is not a bus ID such as 1-2.3; see: usbctl list",
			    busid);
	if (!vport_parse(text, vport, parts))
		return fail(UCTL_USAGE,
			    "\"%s\" is not VM[:VUSB[:PORT]] (VM: A-Za-z0-9_.-, VUSB: 0-15, PORT: 1-15)",
			    text);
	return UCTL_OK;
}

static int write_rule(const char *file, const char *busid,
		      const struct vport *vport, bool is_forced)
{
	char *text = xasprintf("%s:%s:%u:%u%s", busid, vport->vm, vport->vusb,
			       vport->port, is_forced ? ":force" : "");
	int ret = driver_write(file, text), status = UCTL_OK;

	if (ret == -EBUSY)
		status = UCTL_BUSY;
	else if (ret)
		status = write_failed(file, text, ret);
	free(text);
	return status;
}

/* Somebody else may take the port that was free: go on to the next. */
static int try_ports(const char *file, const char *busid, const struct rules *kept,
		     struct vport *vport, bool is_forced)
{
	unsigned int first = 1;
	struct rules rules;
	bool is_taken;
	int status;

	for (;;) {
		status = rules_read(&rules);
		if (status)
			return status;
		status = choose_port(&rules, kept, vport, first);
		rules_free(&rules);
		if (status)
			return status;
		status = write_rule(file, busid, vport, is_forced);
		if (status != UCTL_BUSY)
			return status;
		if (rules_read(&rules))
			return UCTL_BUSY;
		is_taken = !is_port_free(&rules, vport);
		rules_free(&rules);
		if (!is_taken)
			return say_busy(busid, vport);
		first = vport->port + 1;
	}
}

static int write_some_port(const char *file, const char *busid,
			   struct vport *vport, bool is_forced)
{
	struct rules kept;
	int status;

	rules_read_kept(&kept, busid);
	status = try_ports(file, busid, &kept, vport, is_forced);
	rules_free(&kept);
	return status;
}

/* What the kernel has taken is kept, also if the device can't be routed at present. */
static int settle(const char *busid, const struct vport *vport, bool is_kept, bool is_forced)
{
	int status = report(busid), kept = UCTL_OK;

	served_strike(busid, vport->vm);
	if (is_kept)
		kept = rule_keep(busid, vport, is_forced);
	return status ? status : kept;
}

static int write_vport(const char *file, const char *busid, struct vport *vport,
		       unsigned int parts, bool is_forced)
{
	int status;

	if (parts < 3) {
		status = write_some_port(file, busid, vport, is_forced);
	} else {
		status = write_rule(file, busid, vport, is_forced);
		if (status == UCTL_BUSY)
			status = say_busy(busid, vport);
	}
	return status;
}

/* The rule of the bus ID at present, if any. */
static int present_rule(const char *busid, struct rule *present, bool *has)
{
	const struct rule *rule;
	struct rules rules;
	int status = rules_read(&rules);

	memset(present, 0, sizeof(*present));
	if (status)
		return status;
	rule = rules_find_busid(&rules, busid);
	*has = rule;
	if (rule)
		*present = *rule;
	present->reason = NULL;
	rules_free(&rules);
	return UCTL_OK;
}

/*
 * After a reboot the port is another device's: or both are halves of one socket, and then
 * that one has its rule in force.
 */
static int check_kept(const char *busid, const struct vport *vport)
{
	const struct rule *other, *live;
	struct rules kept, rules;
	int status = rules_read(&rules);

	rules_read_kept(&kept, busid);
	other = rules_find_vport(&kept, vport);
	live = other ? rules_find_busid(&rules, other->busid) : NULL;
	if (!status && other && (!live || !is_same(&live->vport, vport, 3)))
		status = fail(UCTL_BUSY,
			      "%s: port %s:%u:%u is kept for %s; take another, or: usbctl detach %s --persist",
			      busid, vport->vm, vport->vusb, vport->port, other->busid,
			      other->busid);
	rules_free(&kept);
	rules_free(&rules);
	return status;
}

/* For commands that have no other option of their own: was --persist given? */
static bool option_persist(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		HELP_OPTION, VERSION_OPTION, PERSIST_OPTION, LAST_OPTION
	};
	bool is_given = false;

	while (option_next(cmd, argc, argv, options) >= 0)
		is_given = true;
	return is_given;
}

int cmd_attach(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		HELP_OPTION,
		VERSION_OPTION,
		{ "force", no_argument, NULL, 'f' },
		PERSIST_OPTION,
		LAST_OPTION
	};
	bool is_forced = false, is_kept = false, has_rule;
	struct rule present;
	struct vport vport;
	unsigned int parts;
	const char *busid;
	int option, status;

	while ((option = option_next(cmd, argc, argv, options)) >= 0) {
		is_forced |= option == 'f';
		is_kept |= option == 'p';
	}
	arguments_count(cmd, argc, 2, 2);
	busid = argv[optind];
	status = parse_target(busid, argv[optind + 1], &vport, &parts);
	if (!status && is_kept)
		status = rules_lock(busid);
	if (!status)
		status = present_rule(busid, &present, &has_rule);
	if (status)
		return status;
	if (has_rule && !is_same(&present.vport, &vport, parts))
		return fail(UCTL_BUSY, "%s already goes to %s:%u:%u; type: usbctl move %s %s",
			    busid, present.vport.vm, present.vport.vusb, present.vport.port,
			    busid, argv[optind + 1]);
	if (has_rule) {
		/* Written again, a rule that was refused is tried again. */
		vport = present.vport;
		is_forced |= present.is_forced;
		parts = 3;
	}
	if (is_kept && parts == 3)
		status = check_kept(busid, &vport);
	if (status)
		return status;
	status = write_vport("new_vport", busid, &vport, parts, is_forced);
	return status ? status : settle(busid, &vport, is_kept, is_forced);
}

static int move_in_two_steps(const char *busid, struct vport *vport,
			     unsigned int parts, bool is_forced)
{
	int ret = driver_write("remove_vport", busid);

	if (ret)
		return write_failed("remove_vport", busid, ret);
	return write_vport("new_vport", busid, vport, parts, is_forced);
}

int cmd_move(const struct command *cmd, int argc, char **argv)
{
	bool is_kept = option_persist(cmd, argc, argv);
	struct rule present;
	struct vport vport;
	unsigned int parts;
	const char *busid;
	bool has_rule, is_there;
	int status;
	char *path;

	arguments_count(cmd, argc, 2, 2);
	busid = argv[optind];
	status = parse_target(busid, argv[optind + 1], &vport, &parts);
	if (!status && is_kept)
		status = rules_lock(busid);
	if (!status)
		status = present_rule(busid, &present, &has_rule);
	if (status)
		return status;
	if (!has_rule)
		return fail(UCTL_NOTFOUND, "%s has no rule yet; type: usbctl attach %s %s",
			    busid, busid, argv[optind + 1]);
	is_there = is_same(&present.vport, &vport, parts);
	if (is_there)
		vport = present.vport;
	if (is_kept && (is_there || parts == 3))
		status = check_kept(busid, &vport);
	if (status)
		return status;
	path = driver_file("move_vport");
	if (!is_there && !access(path, F_OK))
		status = write_vport("move_vport", busid, &vport, parts, present.is_forced);
	else if (!is_there)
		status = move_in_two_steps(busid, &vport, parts, present.is_forced);
	free(path);
	return status ? status : settle(busid, &vport, is_kept, present.is_forced);
}

static bool is_grabbed(const char *busid)
{
	char *path = driver_file("grabbed_devices");
	char *text = file_read(path), *rest = text, *line;
	size_t length = strlen(busid);
	bool is = false;

	while (rest && !is && (line = strsep(&rest, "\n")))
		is = !strncmp(line, busid, length) && line[length] == ' ';
	free(text);
	free(path);
	return is;
}

static int detach_live(const char *busid)
{
	long end = now_ms() + SETTLE_MS;
	int ret = driver_write("remove_vport", busid);

	if (ret == -ENOENT)
		return fail(UCTL_NOTFOUND, "%s has no rule; usbctl status shows those there are",
			    busid);
	if (ret)
		return write_failed("remove_vport", busid, ret);
	served_strike(busid, NULL);
	while (is_grabbed(busid)) {
		if (now_ms() > end) {
			printf("%s: rule removed; the device is still on its way back\n",
			       busid);
			return UCTL_OK;
		}
		driver_wait("grabbed_devices");
	}
	printf("%s: rule removed, the device belongs to the host\n", busid);
	return UCTL_OK;
}

/*
 * A rule that is kept goes whether or not it is in force. It is to be called with the
 * rules locked then.
 */
static int detach_one(const char *busid, bool is_kept)
{
	int status = detach_live(busid);
	int second = is_kept ? rule_keep(busid, NULL, false) : UCTL_OK;

	return status ? status : second;
}

static int detach_port(const char *name, const struct vport *vport, bool is_kept)
{
	struct rules rules;
	int status, second, found = 0;
	size_t i;

	status = rules_read(&rules);
	if (status)
		return status;
	/* Both halves of one socket may have the port. */
	for (i = 0; !status && i < rules.count; i++) {
		if (!is_same(&rules.rule[i].vport, vport, 3))
			continue;
		found++;
		status = detach_one(rules.rule[i].busid, is_kept);
	}
	rules_free(&rules);
	if (is_kept)
		rules_read_kept(&rules, "");
	/* Also one that is not in force. */
	for (i = 0; i < rules.count; i++) {
		if (!is_same(&rules.rule[i].vport, vport, 3))
			continue;
		found++;
		second = rule_keep(rules.rule[i].busid, NULL, false);
		status = status ? status : second;
	}
	rules_free(&rules);
	if (!status && !found)
		status = fail(UCTL_NOTFOUND, "%s has no rule; usbctl status shows those there are",
			      name);
	return status;
}

int cmd_detach(const struct command *cmd, int argc, char **argv)
{
	bool is_kept = option_persist(cmd, argc, argv);
	int status = UCTL_OK;
	struct vport vport;
	unsigned int parts;
	const char *name;

	arguments_count(cmd, argc, 1, 1);
	name = argv[optind];
	if (is_busid(name))
		status = driver_present();
	else if (!vport_parse(name, &vport, &parts) || parts != 3)
		status = fail(UCTL_USAGE,
			      "\"%s\" is neither a bus ID (1-2.3) nor a port (VM:VUSB:PORT)",
			      name);
	if (!status && is_kept)
		status = rules_lock(name);
	if (status)
		return status;
	return is_busid(name) ? detach_one(name, is_kept) : detach_port(name, &vport, is_kept);
}

static int name_channel(const char *address, const char *vm)
{
	char *text = xasprintf("%s %s", address, vm);
	int ret = driver_write("channels", text), status = UCTL_OK;

	if (ret == -ENOENT)
		status = fail(UCTL_NOTFOUND,
			      "no usbif channel at PCI address %s; usbctl status lists them",
			      address);
	else if (ret == -EBUSY)
		status = fail(UCTL_BUSY,
			      "%s: named already, or %s is another channel; see: usbctl status",
			      address, vm);
	else if (ret)
		status = write_failed("channels", text, ret);
	free(text);
	return status;
}

/* Address as sysfs has it, from one with or without the domain. */
static char *full_address(const char *text)
{
	char *address = xasprintf("%s%s", strlen(text) == 7 ? "0000:" : "", text);

	if (is_pci_address(address))
		return address;
	free(address);
	return NULL;
}

int cmd_name(const struct command *cmd, int argc, char **argv)
{
	const char *vm;
	char *address;
	int status;

	options_plain(cmd, argc, argv, false);
	arguments_count(cmd, argc, 2, 2);
	vm = argv[optind + 1];
	if (!is_vm_name(vm))
		return fail(UCTL_USAGE, "\"%s\" is not a name: 1 to 31 characters A-Za-z0-9_.-",
			    vm);
	address = full_address(argv[optind]);
	if (!address)
		return fail(UCTL_USAGE, "\"%s\" is not a PCI address such as 0000:00:05.0",
			    argv[optind]);
	status = driver_present();
	if (!status)
		status = name_channel(address, vm);
	if (!status)
		printf("%s: channel of %s\n", address, vm);
	free(address);
	return status;
}

static int restore_rule(char *line)
{
	struct rule rule;
	int ret;

	if (!rule_parse(line, &rule))
		return fail(UCTL_FAILED, "\"%s\" is not BUSID:VM:VUSB:PORT[:force]", line);
	ret = driver_write("new_vport", line);
	if (ret == -EBUSY)
		return say_busy(rule.busid, &rule.vport);
	return ret ? write_failed("new_vport", line, ret) : UCTL_OK;
}

static int restore_channel(char *line)
{
	char *rest = line;
	char *address = full_address(strsep(&rest, " \t"));
	int status;

	if (rest)
		rest += strspn(rest, " \t");
	if (!address || !rest || !is_vm_name(rest))
		status = fail(UCTL_FAILED, "\"%s\" is not PCI-ADDRESS VM", line);
	else
		status = name_channel(address, rest);
	free(address);
	return status;
}

static int restore_limits(char *line)
{
	return limits_write(line);
}

/* Every line is tried; the first failure is what it returns. */
static int restore_file(const char *name, int (*restore)(char *line), int *count)
{
	char *path = xasprintf("%s/%s", conf_root(), name);
	char *text = file_read(path), *rest = text, *line;
	int first = UCTL_OK, status;

	if (!text && errno != ENOENT)
		first = fail(status_of(errno), "cannot read %s: %s", path,
			     strerror(errno));
	while ((line = conf_line(&rest))) {
		status = restore(line);
		*count += !status;
		if (!first)
			first = status;
	}
	free(text);
	free(path);
	return first;
}

int cmd_restore(const struct command *cmd, int argc, char **argv)
{
	int channels = 0, rules = 0, limits = 0, status, second, third;

	options_plain(cmd, argc, argv, false);
	arguments_count(cmd, argc, 0, 0);
	status = driver_present();
	if (status)
		return status;
	status = restore_file("channels", restore_channel, &channels);
	second = restore_file("rules", restore_rule, &rules);
	third = restore_file("limits", restore_limits, &limits);
	printf("restored from %s: %d channel names, %d rules, limits of %d guests\n",
	       conf_root(), channels, rules, limits);
	return status ? status : second ? second : third;
}
