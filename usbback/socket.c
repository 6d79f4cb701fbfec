// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets. One with USB 3 has a port on each of two buses, and so two bus IDs.
 * The USB core knows which ports of the root hubs belong together, and shows it
 * as the link "peer" in sysfs; hubs number their ports alike on both buses.
 */
#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/kernfs.h>
#include <linux/sysfs.h>
#include "device.h"
#include "rules.h"

/* The port of a root hub that @busid begins with, with a reference, or NULL. */
static struct device *root_port_get(const char *busid)
{
	struct device *intf = NULL, *port = NULL;
	struct usb_device *hdev;
	unsigned int bus, port1;
	char name[32];

	if (sscanf(busid, "%u-%u", &bus, &port1) != 2)
		return NULL;
	snprintf(name, sizeof(name), "usb%u", bus);
	hdev = usbback_device_find(name);
	if (!hdev)
		return NULL;

	snprintf(name, sizeof(name), "%u-0:1.0", bus);
	intf = device_find_child_by_name(&hdev->dev, name);
	if (intf) {
		snprintf(name, sizeof(name), "usb%u-port%u", bus, port1);
		port = device_find_child_by_name(intf, name);
	}
	put_device(intf);
	usb_put_dev(hdev);
	return port;
}

/* struct usb_port is private to the USB core, its link in sysfs is not. */
static bool are_peers(struct device *a, struct device *b)
{
	struct kernfs_node *link = sysfs_get_dirent(a->kobj.sd, "peer");
	bool peers;

	if (!link)
		return false;
	peers = kernfs_type(link) == KERNFS_LINK &&
		link->symlink.target_kn == b->kobj.sd;
	sysfs_put(link);
	return peers;
}

/* What follows the port of the root hub: ".3.1" or "". */
static const char *path_behind_root(const char *busid)
{
	const char *dot = strchr(busid, '.');

	return dot ?: "";
}

/**
 * usbback_socket_same - whether two bus IDs are the halves of one socket
 * @a: bus ID
 * @b: another one
 *
 * Answers no if one of the two buses is not there.
 *
 * Context: process
 */
bool usbback_socket_same(const char *a, const char *b)
{
	struct device *port_a, *port_b;
	bool same = false;

	if (strcmp(path_behind_root(a), path_behind_root(b)))
		return false;
	port_a = root_port_get(a);
	port_b = root_port_get(b);
	if (port_a && port_b)
		same = are_peers(port_a, port_b);
	put_device(port_a);
	put_device(port_b);
	return same;
}
