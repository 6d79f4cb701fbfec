/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * usbif - control interface of /dev/usbback and /dev/usbfront
 *
 * Both devices (root, 0600) take the same requests. A channel made here belongs
 * to the kernel, not to the file descriptor: the caller may close everything.
 *
 * Every struct begins with its size as the caller knows it; a larger one whose
 * excess is not zero is refused with E2BIG, a smaller one is filled up with
 * zeroes. Reserved fields must be zero.
 */
#ifndef USBIF_IOCTL_H
#define USBIF_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define USBIF_ABI_VERSION	1
#define USBIF_IOC_NAME_LEN	32	/* with the NUL */

/**
 * struct usbif_ioc_info - what the module is
 * @size: of this struct
 * @abi_version: out: USBIF_ABI_VERSION
 * @protocol_version: out: USBIF_VERSION of usbif.h
 * @role: out: enum usbif_role
 * @features: out: USBIF_F_* offered or understood
 */
struct usbif_ioc_info {
	__u32 size;
	__u32 abi_version;
	__u32 protocol_version;
	__u32 role;
	__u64 features;
};

/**
 * struct usbif_ioc_create - make a channel of memory and two doorbells
 * @size: of this struct
 * @flags: 0
 * @name: of the guest at the other end (usbback), of the channel (usbfront);
 *	1 to 31 characters of A-Za-z0-9_.-
 * @memfd: the region: a file on tmpfs or hugetlbfs, whole, sealed or not; its
 *	size is the size of the region
 * @in_fd: eventfd that the other side signals
 * @out_fd: eventfd that is signalled to wake the other side
 * @pid: of the process that serves the channel's guest, 0 for none; kept for
 *	USBIF_IOC_ADOPT
 *
 * Errors: EEXIST is never given: EBUSY if the name has a channel, EINVAL for bad
 * names, sizes or files, EPERM, ENOMEM, E2BIG.
 */
struct usbif_ioc_create {
	__u32 size;
	__u32 flags;
	char name[USBIF_IOC_NAME_LEN];
	__s32 memfd;
	__s32 in_fd;
	__s32 out_fd;
	__u32 pid;
	__u32 reserved[4];
};

/**
 * struct usbif_ioc_adopt - get the descriptors of a channel of kind fd again
 * @size: of this struct
 * @flags: 0
 * @name: of the channel
 * @memfd: out: new descriptor, close-on-exec
 * @in_fd: out
 * @out_fd: out
 * @pid: out: pid of the last USBIF_PEER_JOINED, 0 if the peer is gone
 * @start_time: out: its start time in clock ticks since boot (field 22 of
 *	/proc/pid/stat), as given with USBIF_PEER_JOINED
 *
 * Errors: ENOENT.
 */
struct usbif_ioc_adopt {
	__u32 size;
	__u32 flags;
	char name[USBIF_IOC_NAME_LEN];
	__s32 memfd;
	__s32 in_fd;
	__s32 out_fd;
	__u32 pid;
	__u64 start_time;
	__u32 reserved[4];
};

enum usbif_ioc_peer_event {
	USBIF_PEER_JOINED	= 1,	/* a (new) guest maps the region */
	USBIF_PEER_GONE		= 2,	/* it is dead: end the session, free devices */
};

/**
 * struct usbif_ioc_peer - tell what happened to the process at the other end
 * @size: of this struct
 * @event: enum usbif_ioc_peer_event
 * @name: of the channel
 * @pid: of the process that joined
 * @reserved: zero
 * @start_time: of that process, see struct usbif_ioc_adopt
 *
 * Errors: ENOENT, EINVAL.
 */
struct usbif_ioc_peer {
	__u32 size;
	__u32 event;
	char name[USBIF_IOC_NAME_LEN];
	__u32 pid;
	__u32 reserved;
	__u64 start_time;
};

/**
 * struct usbif_ioc_drop - end a channel; its rules stay
 * @size: of this struct
 * @flags: 0
 * @name: of the channel
 *
 * Returns when every request is ended, devices are detached from the guest and
 * memory is unpinned. Errors: ENOENT.
 */
struct usbif_ioc_drop {
	__u32 size;
	__u32 flags;
	char name[USBIF_IOC_NAME_LEN];
};

#define USBIF_IOC_TYPE		0xB7
#define USBIF_IOC_INFO		_IOWR(USBIF_IOC_TYPE, 0, struct usbif_ioc_info)
#define USBIF_IOC_CREATE	_IOWR(USBIF_IOC_TYPE, 1, struct usbif_ioc_create)
#define USBIF_IOC_ADOPT		_IOWR(USBIF_IOC_TYPE, 2, struct usbif_ioc_adopt)
#define USBIF_IOC_PEER		_IOWR(USBIF_IOC_TYPE, 3, struct usbif_ioc_peer)
#define USBIF_IOC_DROP		_IOWR(USBIF_IOC_TYPE, 4, struct usbif_ioc_drop)

#endif /* USBIF_IOCTL_H */
