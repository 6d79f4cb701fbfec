// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of /dev/usbback and /dev/usbfront.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "usbctl.h"
#include "usbif_ioctl.h"

static int open_failed(const char *module, const char *path, int error)
{
	switch (error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return fail(UCTL_NOMODULE, "%s is not loaded here; type: modprobe %s",
			    module, module);
	case EACCES:
	case EPERM:
		return fail(UCTL_PERM, "not allowed to open %s; run usbctl as root", path);
	default:
		return fail(status_of(error), "cannot open %s: %s", path,
			    strerror(error));
	}
}

int cdev_open(const char *module, bool is_quiet)
{
	char *path = xasprintf("%s/%s", dev_root(), module);
	struct usbif_ioc_info info = { .size = sizeof(info) };
	/* Ioctls are all there is, so a server may be kept from writing to devices. */
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = UCTL_OK;

	if (fd < 0) {
		status = is_quiet ? UCTL_NOMODULE : open_failed(module, path, errno);
	} else if (ioctl(fd, USBIF_IOC_INFO, &info)) {
		status = is_quiet ? UCTL_FAILED :
			 fail(UCTL_FAILED, "%s is not the device of %s: %s", path, module,
			      strerror(errno));
	} else if (info.abi_version != USBIF_ABI_VERSION) {
		status = is_quiet ? UCTL_FAILED :
			 fail(UCTL_FAILED,
			      "%s has control interface %u, this usbctl knows %u; install usbctl and modules of one release",
			      module, info.abi_version, USBIF_ABI_VERSION);
	}
	if (status)
		fd_close(&fd);
	free(path);
	return status ? -status : fd;
}

int cdev_create(int fd, const char *name, const struct region *region,
		bool is_front, pid_t pid)
{
	struct usbif_ioc_create arg = {
		.size = sizeof(arg),
		.memfd = region->memfd,
		.in_fd = is_front ? region->bell_front : region->bell_back,
		.out_fd = is_front ? region->bell_back : region->bell_front,
		.pid = pid,
	};

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	return ioctl(fd, USBIF_IOC_CREATE, &arg) ? -errno : 0;
}

int cdev_adopt(int fd, const char *name, struct region *region, pid_t *pid,
	       uint64_t *start_time)
{
	struct usbif_ioc_adopt arg = { .size = sizeof(arg) };
	struct stat stat;

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(fd, USBIF_IOC_ADOPT, &arg))
		return -errno;
	region->memfd = arg.memfd;
	region->bell_back = arg.in_fd;
	region->bell_front = arg.out_fd;
	region->size = fstat(arg.memfd, &stat) ? 0 : stat.st_size;
	*pid = arg.pid;
	*start_time = arg.start_time;
	return 0;
}

int cdev_peer(int fd, const char *name, bool has_joined, pid_t pid,
	      uint64_t start_time)
{
	struct usbif_ioc_peer arg = {
		.size = sizeof(arg),
		.event = has_joined ? USBIF_PEER_JOINED : USBIF_PEER_GONE,
		.pid = pid,
		.start_time = start_time,
	};

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	return ioctl(fd, USBIF_IOC_PEER, &arg) ? -errno : 0;
}

int cdev_drop(int fd, const char *name)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg) };

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	return ioctl(fd, USBIF_IOC_DROP, &arg) ? -errno : 0;
}
