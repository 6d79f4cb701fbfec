// SPDX-License-Identifier: GPL-2.0
/*
 * The USB devices of the machine, and who has them.
 */
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "usbctl.h"

#define CLASS_HUB "09"

static char *device_path(const char *busid)
{
	return xasprintf("%s/bus/usb/devices/%s", sysfs_root(), busid);
}

/* What the device says of itself; it may say anything. */
static void make_printable(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

static char *read_name(const char *dir)
{
	char *maker = attr_read(dir, "manufacturer");
	char *product = attr_read(dir, "product");
	char *name = xasprintf("%s%s%s", maker ? maker : "",
			       maker && product ? " " : "",
			       product ? product : "");

	make_printable(name);
	free(maker);
	free(product);
	return name;
}

static char *driver_of(const char *dir)
{
	char *path = xasprintf("%s/driver", dir);
	char *driver = link_name(path);

	free(path);
	return driver;
}

static bool list_has(const char *list, const char *word)
{
	size_t length = strlen(word);
	const char *c = list;

	while ((c = strstr(c, word))) {
		if ((c == list || c[-1] == ',') && (!c[length] || c[length] == ','))
			return true;
		c += length;
	}
	return false;
}

/* Drivers of the interfaces, each once. */
static char *interface_drivers(const char *busid)
{
	char *dir = xasprintf("%s/bus/usb/devices", sysfs_root());
	char *list = xstrdup(""), *path, *driver, *longer;
	size_t length = strlen(busid);
	struct dirent **entry;
	int count, i;

	count = scandir(dir, &entry, NULL, alphasort);
	for (i = 0; i < count; i++) {
		if (strncmp(entry[i]->d_name, busid, length) ||
		    entry[i]->d_name[length] != ':')
			goto next;
		path = xasprintf("%s/%s", dir, entry[i]->d_name);
		driver = driver_of(path);
		free(path);
		if (driver && !list_has(list, driver)) {
			longer = xasprintf("%s%s%s", list, *list ? "," : "", driver);
			free(list);
			list = longer;
		}
		free(driver);
next:
		free(entry[i]);
	}
	if (count >= 0)
		free(entry);
	free(dir);
	return list;
}

static bool is_on_virtual_controller(const char *busid)
{
	char *name = xasprintf("usb%.*s", (int)strspn(busid, "0123456789"), busid);
	char *dir = device_path(name);
	char *maker = attr_read(dir, "product");
	bool is_virtual = maker && strstr(maker, "usbif");

	free(maker);
	free(dir);
	free(name);
	return is_virtual;
}

static void read_device(struct device *device, const char *busid)
{
	char *dir = device_path(busid);
	char *vendor = attr_read(dir, "idVendor");
	char *product = attr_read(dir, "idProduct");
	char *speed = attr_read(dir, "speed");
	char *class = attr_read(dir, "bDeviceClass");
	char *driver = driver_of(dir);

	memset(device, 0, sizeof(*device));
	snprintf(device->busid, sizeof(device->busid), "%.*s", BUSID_MAX, busid);
	snprintf(device->id, sizeof(device->id), "%.4s:%.4s",
		 vendor ? vendor : "0000", product ? product : "0000");
	snprintf(device->speed, sizeof(device->speed), "%s", speed ? speed : "?");
	device->is_hub = class && !strcmp(class, CLASS_HUB);
	device->is_virtual = is_on_virtual_controller(busid);
	device->name = read_name(dir);
	/* "usb" is what every device has that nobody special has taken. */
	if (driver && strcmp(driver, "usb"))
		device->driver = xstrdup(driver);
	else
		device->driver = interface_drivers(busid);
	free(vendor);
	free(product);
	free(speed);
	free(class);
	free(driver);
	free(dir);
}

int devices_read(struct devices *devices)
{
	char *dir = xasprintf("%s/bus/usb/devices", sysfs_root());
	int status = UCTL_OK, count, i;
	struct dirent **entry;

	memset(devices, 0, sizeof(*devices));
	count = scandir(dir, &entry, NULL, versionsort);
	if (count < 0) {
		status = fail(UCTL_FAILED,
			      "no USB here: cannot read %s: %s; is usbcore loaded?",
			      dir, strerror(errno));
		goto out;
	}
	for (i = 0; i < count; i++) {
		if (is_busid(entry[i]->d_name)) {
			devices->device = xrealloc(devices->device,
						   (devices->count + 1) *
						   sizeof(struct device));
			read_device(&devices->device[devices->count++],
				    entry[i]->d_name);
		}
		free(entry[i]);
	}
	free(entry);
out:
	free(dir);
	return status;
}

void devices_free(struct devices *devices)
{
	size_t i;

	for (i = 0; i < devices->count; i++) {
		free(devices->device[i].name);
		free(devices->device[i].driver);
	}
	free(devices->device);
	memset(devices, 0, sizeof(*devices));
}

const struct device *devices_find(const struct devices *devices,
				  const char *busid)
{
	size_t i;

	for (i = 0; i < devices->count; i++) {
		if (!strcmp(devices->device[i].busid, busid))
			return &devices->device[i];
	}
	return NULL;
}

/* Where the block device with this number is mounted, or NULL. */
static char *mounted_on(const char *number)
{
	char *text = file_read("/proc/self/mountinfo"), *rest = text, *line;
	char device[32], directory[PATH_MAX];
	char *found = NULL;

	while (text && !found && (line = strsep(&rest, "\n"))) {
		if (sscanf(line, "%*d %*d %31s %*s %4095s", device, directory) == 2 &&
		    !strcmp(device, number))
			found = xstrdup(directory);
	}
	free(text);
	return found;
}

static bool is_swap(const char *name)
{
	char *text = file_read("/proc/swaps");
	char *line = xasprintf("\n/dev/%s ", name);
	bool is = text && strstr(text, line);

	free(line);
	free(text);
	return is;
}

/* First entry of the directory of those built upon the device, or NULL. */
static char *holder_of(const char *dir)
{
	char *path = xasprintf("%s/holders", dir);
	DIR *holders = opendir(path);
	struct dirent *entry;
	char *found = NULL;

	while (holders && !found && (entry = readdir(holders))) {
		if (entry->d_name[0] != '.')
			found = xstrdup(entry->d_name);
	}
	if (holders)
		closedir(holders);
	free(path);
	return found;
}

static char *block_use(const char *name, const char *dir)
{
	char *number = attr_read(dir, "dev");
	char *where = number ? mounted_on(number) : NULL;
	char *holder = holder_of(dir);
	char *use = NULL;

	if (where)
		use = xasprintf("/dev/%s is mounted on %s; type: umount %s", name,
				where, where);
	else if (is_swap(name))
		use = xasprintf("/dev/%s is swap space; type: swapoff /dev/%s", name,
				name);
	else if (holder)
		use = xasprintf("/dev/%s is part of %s", name, holder);
	free(number);
	free(where);
	free(holder);
	return use;
}

char *device_use(const char *busid)
{
	char *root = xasprintf("%s/class/block", sysfs_root());
	char *part = xasprintf("/%s/", busid);
	char *use = NULL, *dir;
	DIR *blocks = opendir(root);
	struct dirent *entry;
	char real[PATH_MAX];

	while (blocks && !use && (entry = readdir(blocks))) {
		if (entry->d_name[0] == '.')
			continue;
		dir = xasprintf("%s/%s", root, entry->d_name);
		if (realpath(dir, real) && strstr(real, part))
			use = block_use(entry->d_name, dir);
		free(dir);
	}
	if (blocks)
		closedir(blocks);
	free(part);
	free(root);
	return use;
}

/* What the list says of who has a device. */
static char *owner_of(const struct device *device, const struct rules *rules)
{
	const struct rule *rule = rules_find_busid(rules, device->busid);

	if (rule)
		return xasprintf("%s:%u:%u (%s%s%s)", rule->vport.vm,
				 rule->vport.vusb, rule->vport.port, rule->state,
				 rule->reason ? ": " : "",
				 rule->reason ? rule->reason : "");
	if (device->is_virtual)
		return xasprintf("host (%s, lent by another system)",
				 *device->driver ? device->driver : "no driver");
	if (device->is_hub)
		return xstrdup("host (hub, its ports can be routed)");
	return xasprintf("host (%s)", *device->driver ? device->driver : "no driver");
}

static void print_json(const struct devices *devices, const struct rules *rules)
{
	struct json_object *list = json_object_new_array(), *row;
	const struct device *device;
	const struct rule *rule;
	size_t i;

	for (i = 0; i < devices->count; i++) {
		device = &devices->device[i];
		rule = rules_find_busid(rules, device->busid);
		row = json_object_new_object();
		json_object_object_add(row, "busid",
				       json_object_new_string(device->busid));
		json_object_object_add(row, "id", json_object_new_string(device->id));
		json_object_object_add(row, "speed",
				       json_object_new_string(device->speed));
		json_object_object_add(row, "name",
				       json_object_new_string(device->name));
		json_object_object_add(row, "driver",
				       json_object_new_string(device->driver));
		json_object_object_add(row, "hub",
				       json_object_new_boolean(device->is_hub));
		json_object_object_add(row, "virtual",
				       json_object_new_boolean(device->is_virtual));
		json_object_object_add(row, "rule",
				       rule ? json_object_new_string(rule->text) : NULL);
		json_object_object_add(row, "state",
				       rule ? json_object_new_string(rule->state) : NULL);
		json_object_array_add(list, row);
	}
	puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
}

static void print_table(const struct devices *devices, const struct rules *rules)
{
	const struct device *device;
	char *owner;
	size_t i;

	printf("%-10s %-9s %6s  %-28s %s\n", "BUS ID", "ID", "MBIT/S", "NAME",
	       "WHO HAS IT");
	for (i = 0; i < devices->count; i++) {
		device = &devices->device[i];
		owner = owner_of(device, rules);
		printf("%-10s %-9s %6s  %-28s %s\n", device->busid, device->id,
		       device->speed, *device->name ? device->name : "-", owner);
		free(owner);
	}
	if (!devices->count)
		puts("no USB devices");
}

int cmd_list(const struct command *cmd, int argc, char **argv)
{
	bool is_json = options_plain(cmd, argc, argv, true);
	struct rules rules = { NULL, 0 };
	struct devices devices;
	char *path, *text;
	int status;

	arguments_count(cmd, argc, 0, 0);
	status = devices_read(&devices);
	if (status)
		return status;
	/* Without the module, or not as root, the list is still of use. */
	path = driver_file("vports");
	text = file_read(path);
	if (text)
		rules_parse(&rules, text);
	if (is_json)
		print_json(&devices, &rules);
	else
		print_table(&devices, &rules);
	free(text);
	free(path);
	rules_free(&rules);
	devices_free(&devices);
	return UCTL_OK;
}
