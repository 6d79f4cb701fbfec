// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into usbctl: what it would ask of usbback and usbfront goes to the
 * socket $FAKE_KERNEL, where fake.py answers for them.
 *
 * One connection stands for one open file. A message there is the length of the
 * rest, the request (the ioctl, or 0 for a write), then the octets; the answer a
 * result (0 or -errno) and the octets of the struct. Descriptors go along.
 *
 * Files below $FAKE_FULL are on a disk that is full.
 *
 * When a server tells of a guest, $FAKE_PROBE gets a line for each thing that it has
 * tried and should not be able to do: its name and the errno, 0 if it could.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "usbif_ioctl.h"

#define MAX_FD		1024
#define MAX_OCTETS	4096

static unsigned char is_ours[MAX_FD];

static int is_device(const char *path)
{
	const char *dev = getenv("USBIF_DEV");
	size_t length = dev ? strlen(dev) : 0;

	return length && !strncmp(path, dev, length) &&
	       (!strcmp(path + length, "/usbback") || !strcmp(path + length, "/usbfront"));
}

static int is_attribute(const char *path)
{
	return !!strstr(path, "/drivers/usbback/");
}

/* Devices, and files of the driver that are written. */
static int is_asked(const char *path, int flags)
{
	return is_device(path) || ((flags & O_ACCMODE) != O_RDONLY && is_attribute(path));
}

static int connect_as(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -1;
	strncpy(address.sun_path, getenv("FAKE_KERNEL"), sizeof(address.sun_path) - 1);
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) ||
	    send(sock, path, strlen(path), 0) < 0 || sock >= MAX_FD) {
		close(sock);
		errno = ENXIO;
		return -1;
	}
	is_ours[sock] = 1;
	return sock;
}

int open(const char *path, int flags, ...)
{
	static int (*next)(const char *path, int flags, ...);
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	if (!next)
		next = dlsym(RTLD_NEXT, "open");
	/* Files that are not there, or not allowed, are refused by the real one. */
	if (is_asked(path, flags) && !access(path, W_OK))
		return connect_as(path);
	return next(path, flags, mode);
}

int close(int fd)
{
	static int (*next)(int fd);

	if (!next)
		next = dlsym(RTLD_NEXT, "close");
	if (fd >= 0 && fd < MAX_FD)
		is_ours[fd] = 0;
	return next(fd);
}

static int exchange(int sock, uint32_t request, void *data, size_t size,
		    int *fds, int nr_send, int nr_receive)
{
	char octets[sizeof(uint32_t) + MAX_OCTETS];
	char control[CMSG_SPACE(3 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { .iov_base = octets, .iov_len = sizeof(request) + size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header = (struct cmsghdr *)control;
	ssize_t got;
	int32_t ret;

	memcpy(octets, &request, sizeof(request));
	memcpy(octets + sizeof(request), data, size);
	if (nr_send) {
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(nr_send * sizeof(int));
		memcpy(CMSG_DATA(header), fds, nr_send * sizeof(int));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr_send * sizeof(int));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
		return -ENODEV;
	iov.iov_len = sizeof(octets);
	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (got < (ssize_t)sizeof(ret))
		return -ENODEV;
	memcpy(&ret, octets, sizeof(ret));
	if ((size_t)got - sizeof(ret) <= size)
		memcpy(data, octets + sizeof(ret), got - sizeof(ret));
	header = CMSG_FIRSTHDR(&msg);
	if (nr_receive && header)
		memcpy(fds, CMSG_DATA(header), nr_receive * sizeof(int));
	return ret;
}

static int is_full(int fd)
{
	const char *dir = getenv("FAKE_FULL");
	char link[32], path[256];
	ssize_t length;

	if (!dir)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	path[length < 0 ? 0 : length] = '\0';
	return !strncmp(path, dir, strlen(dir));
}

ssize_t write(int fd, const void *data, size_t size)
{
	static ssize_t (*next)(int fd, const void *data, size_t size);
	char copy[MAX_OCTETS];
	int ret;

	if (!next)
		next = dlsym(RTLD_NEXT, "write");
	if (is_full(fd)) {
		errno = ENOSPC;
		return -1;
	}
	if (fd < 0 || fd >= MAX_FD || !is_ours[fd] || size > sizeof(copy))
		return next(fd, data, size);
	memcpy(copy, data, size);
	ret = exchange(fd, 0, copy, size, NULL, 0, 0);
	if (!ret)
		return size;
	errno = -ret;
	return -1;
}

static long try_write(const char *path, int flags)
{
	return syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC | flags, 0600);
}

static void report(FILE *out, const char *name, long ret)
{
	fprintf(out, "%s %d\n", name, ret < 0 ? errno : 0);
}

#define TRY(out, call, ...) report(out, #call, syscall(SYS_##call, ##__VA_ARGS__))

/* All of it is harmless if it can be done. */
static void probe(int cdev)
{
	static const char nowhere[] = "/nonexistent";
	const char *path = getenv("FAKE_PROBE"), *elsewhere = getenv("FAKE_ELSEWHERE");
	union bpf_attr attr = { 0 };
	FILE *out = path ? fopen(path, "w") : NULL;
	char new[256];

	if (!out)
		return;
	snprintf(new, sizeof(new), "%s.new", elsewhere);
	TRY(out, execve, nowhere, NULL, NULL);
	TRY(out, mount, nowhere, nowhere, NULL, 0, NULL);
	TRY(out, unshare, CLONE_FILES);
	TRY(out, ptrace, PTRACE_TRACEME, 0, NULL, NULL);
	TRY(out, bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
	TRY(out, kill, getpid(), 0);
	TRY(out, chmod, elsewhere, 0600);
	TRY(out, socket, AF_INET, SOCK_STREAM, 0);
	TRY(out, mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* The connection has no such request, and says so if it is asked. */
	TRY(out, ioctl, cdev, USBIF_IOC_DROP, NULL);
	report(out, "write", try_write(elsewhere, 0));
	report(out, "create", try_write(new, O_CREAT));
	report(out, "device", try_write("/dev/null", 0));
	fclose(out);
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int fd, unsigned long request, ...);
	struct usbif_ioc_create *create;
	struct usbif_ioc_adopt *adopt;
	int fds[3] = { -1, -1, -1 };
	va_list args;
	void *data;
	int ret;

	va_start(args, request);
	data = va_arg(args, void *);
	va_end(args);
	if (!next)
		next = dlsym(RTLD_NEXT, "ioctl");
	if (fd < 0 || fd >= MAX_FD || !is_ours[fd])
		return next(fd, request, data);
	if (request == USBIF_IOC_PEER)
		probe(fd);
	create = data;
	adopt = data;
	if (request == USBIF_IOC_CREATE) {
		fds[0] = create->memfd;
		fds[1] = create->in_fd;
		fds[2] = create->out_fd;
	}
	ret = exchange(fd, request, data, _IOC_SIZE(request), fds,
		       request == USBIF_IOC_CREATE ? 3 : 0,
		       request == USBIF_IOC_ADOPT ? 3 : 0);
	if (!ret && request == USBIF_IOC_ADOPT) {
		adopt->memfd = fds[0];
		adopt->in_fd = fds[1];
		adopt->out_fd = fds[2];
	}
	if (!ret)
		return 0;
	errno = -ret;
	return -1;
}
