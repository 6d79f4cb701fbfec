// SPDX-License-Identifier: GPL-2.0
/*
 * failothers N NAME,NAME... CASE ARG - the N-th allocation of other tasks fails
 *
 *   run COMMAND	what the shell is told, until it ends
 *   join CHANNEL	the two ends of a channel are made, the frontend first: its thread is
 *			one of the tasks
 *   reset NODE		a device is reset, through usbfs
 *
 * Those are all tasks of the kernel whose names begin with one of NAME: workers and threads
 * that do what a system call only asks for. Each is told by /proc/PID/fail-nth right before
 * CASE begins, and no longer when it has ended. Prints how many allocations have failed, and
 * what the end was; fails if it could not even begin.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../../include/usbif_ioctl.h"

#define MOST		1024		/* tasks */
#define SIZE		(4 << 20)	/* of a channel */
#define LOOK_MS		2500		/* a frontend without a session looks once a second */

static char *names, *arg;
static int nth_fds[MOST];
static unsigned int nr;

noreturn static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- the tasks ---- */

static int open_of(const char *pid, const char *file)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	return open(path, (strcmp(file, "comm") ? O_RDWR : O_RDONLY) | O_CLOEXEC);
}

static int is_meant(const char *pid)
{
	char comm[64] = "", copy[200], *name, *rest = copy;
	int fd = open_of(pid, "comm");

	if (fd < 0)
		return 0;
	if (read(fd, comm, sizeof(comm) - 1) < 0)
		comm[0] = '\0';
	close(fd);
	snprintf(copy, sizeof(copy), "%s", names);
	while ((name = strsep(&rest, ",")))
		if (!strncmp(comm, name, strlen(name)))
			return 1;
	return 0;
}

static void find(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int fd;

	if (!proc)
		die("/proc");
	while ((e = readdir(proc))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_meant(e->d_name))
			continue;
		fd = open_of(e->d_name, "fail-nth");
		if (fd >= 0 && nr < MOST)
			nth_fds[nr++] = fd;
	}
	closedir(proc);
}

/* A worker may have ended: then there is nothing to fail. */
static void arm(const char *n)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (pwrite(nth_fds[i], n, strlen(n), 0) < 0 && errno != ESRCH)
			die("fail-nth");
}

static unsigned int disarm(void)
{
	unsigned int i, failed = 0;
	char text[16];

	for (i = 0; i < nr; i++) {
		memset(text, 0, sizeof(text));
		if (pread(nth_fds[i], text, sizeof(text) - 1, 0) > 0)
			failed += !atoi(text);
	}
	arm("0");
	return failed;
}

/* ---- the cases: what has to be there before, and what fails; 0 or an error ---- */

static int op_run(void)
{
	int status = system(arg);

	return status < 0 ? errno : status;
}

static int memory, bells[2];

static int create(const char *device, int in, int out)
{
	struct usbif_ioc_create create = {
		.size = sizeof(create), .memfd = memory, .in_fd = in, .out_fd = out,
	};
	int error, fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(device);
	snprintf(create.name, sizeof(create.name), "%s", arg);
	error = ioctl(fd, USBIF_IOC_CREATE, &create) ? errno : 0;
	close(fd);
	return error;
}

static void begin_join(void)
{
	memory = memfd_create("region", MFD_CLOEXEC);
	bells[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bells[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (memory < 0 || bells[0] < 0 || bells[1] < 0 || ftruncate(memory, SIZE))
		die("region");
	errno = create("/dev/usbfront", bells[0], bells[1]);
	if (errno)
		die("frontend");
}

static int op_join(void)
{
	int error = create("/dev/usbback", bells[1], bells[0]);

	usleep(LOOK_MS * 1000);
	return error;
}

static int node;

static void begin_reset(void)
{
	node = open(arg, O_RDWR | O_CLOEXEC);
	if (node < 0)
		die(arg);
}

static int op_reset(void)
{
	return ioctl(node, USBDEVFS_RESET) ? errno : 0;
}

static const struct {
	const char *name;
	void (*begin)(void);
	int (*op)(void);
} cases[] = {
	{ "run", NULL, op_run },
	{ "join", begin_join, op_join },
	{ "reset", begin_reset, op_reset },
};

int main(int argc, char **argv)
{
	unsigned int i;
	int error;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc != 5 || strcmp(argv[3], cases[i].name))
			continue;
		names = argv[2];
		arg = argv[4];
		if (cases[i].begin)
			cases[i].begin();
		find();
		if (!nr)
			die("no such tasks");
		arm(argv[1]);
		error = cases[i].op();
		printf("failed %u of %u, end %d\n", disarm(), nr, error);
		return 0;
	}
	fprintf(stderr, "usage: failothers N NAME,NAME... run|join|reset ARG\n");
	return 2;
}
