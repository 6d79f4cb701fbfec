// SPDX-License-Identifier: GPL-2.0
/*
 * bells NAME - join usbback and usbfront of one kernel with doorbells that fail
 *
 * Does what usbctl loop does, but each side rings this program, which rings the other,
 * or does not. Reads commands, one a line, and answers each with "done PASSED DROPPED",
 * the doorbells since the last one:
 *
 *   drop B F	percent of those of the backend and of the frontend get lost
 *   double	each comes twice
 *   delay MS	each comes so much later
 *   good	as it should be
 *   storm S	both sides are rung without end for S seconds
 *   again	the frontend begins anew, with another session
 *
 * At the end of its input it ends both sides.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "../../include/usbif_ioctl.h"

#define SIZE	(16 << 20)

static const char *name;
static int control[2];		/* of the backend, of the frontend */

/* One way: from the side that rings to the one that is rung. */
static struct way {
	int from, to;
	unsigned int lost;	/* percent */
	long due;		/* ms; 0: nothing is on its way */
} ways[2];

static unsigned int times = 1;
static long delay;
static unsigned long passed, dropped;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void create(int side, int memfd)
{
	struct usbif_ioc_create arg = {
		.size = sizeof(arg),
		.memfd = memfd,
		.in_fd = ways[!side].to,
		.out_fd = ways[side].from,
		.pid = getpid(),
	};

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(control[side], USBIF_IOC_CREATE, &arg))
		die("create");
}

static void drop(int side)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg) };

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (ioctl(control[side], USBIF_IOC_DROP, &arg))
		die("drop");
}

static int bell(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		die("eventfd");
	return fd;
}

static int join(void)
{
	int i, memfd = memfd_create("bells", MFD_CLOEXEC);

	if (memfd < 0 || ftruncate(memfd, SIZE))
		die("memfd");
	for (i = 0; i < 2; i++) {
		control[i] = open(i ? "/dev/usbfront" : "/dev/usbback",
				  O_RDWR | O_CLOEXEC);
		if (control[i] < 0)
			die("control device");
		ways[i].from = bell();
		ways[i].to = bell();
	}
	create(0, memfd);
	create(1, memfd);
	return memfd;
}

static void ring(struct way *way)
{
	uint64_t one = 1;
	unsigned int i;

	for (i = 0; i < times; i++)
		if (write(way->to, &one, sizeof(one)) < 0 && errno != EAGAIN)
			die("ring");
	way->due = 0;
	passed++;
}

static void rung(struct way *way)
{
	uint64_t count;

	if (read(way->from, &count, sizeof(count)) < 0)
		return;
	if ((unsigned int)(rand() % 100) < way->lost)
		dropped++;
	else if (!delay)
		ring(way);
	else if (!way->due)
		way->due = now_ms() + delay;
}

static void storm(int seconds)
{
	long end = now_ms() + 1000 * seconds;
	uint64_t one = 1;
	int i;

	while (now_ms() < end)
		for (i = 0; i < 2; i++)
			if (write(ways[i].to, &one, sizeof(one)) > 0)
				passed++;
}

static void answer(void)
{
	printf("done %lu %lu\n", passed, dropped);
	fflush(stdout);
	passed = 0;
	dropped = 0;
}

/* In a thread, as either end of a session needs its doorbells. */
static void *again(void *memfd)
{
	drop(1);
	create(1, *(int *)memfd);
	answer();
	return NULL;
}

static void obey(const char *line, int *memfd)
{
	int i, a = 0, b = 0;
	pthread_t thread;

	if (sscanf(line, "%*s %d %d", &a, &b) == 1)
		b = 0;
	if (!strncmp(line, "again", 5)) {
		if (pthread_create(&thread, NULL, again, memfd))
			die("thread");
		pthread_detach(thread);
		return;
	}
	if (!strncmp(line, "storm", 5)) {
		storm(a);
	} else {
		times = strncmp(line, "double", 6) ? 1 : 2;
		delay = strncmp(line, "delay", 5) ? 0 : a;
		ways[0].lost = strncmp(line, "drop", 4) ? 0 : a;
		ways[1].lost = strncmp(line, "drop", 4) ? 0 : b;
		/* What had been lost is not rung for again by this. */
		for (i = 0; i < 2; i++)
			if (ways[i].due)
				ring(&ways[i]);
	}
	answer();
}

static int timeout(void)
{
	long left = -1, now = now_ms();
	int i;

	for (i = 0; i < 2; i++)
		if (ways[i].due) {
			long n = ways[i].due > now ? ways[i].due - now : 0;

			if (left < 0 || n < left)
				left = n;
		}
	return left;
}

int main(int argc, char **argv)
{
	struct pollfd p[3] = { { .fd = 0, .events = POLLIN } };
	char line[80];
	int i, memfd;

	if (argc != 2) {
		fprintf(stderr, "usage: bells NAME\n");
		return 2;
	}
	name = argv[1];
	setvbuf(stdin, NULL, _IONBF, 0);
	memfd = join();
	printf("joined\n");
	fflush(stdout);
	for (i = 0; i < 2; i++) {
		p[i + 1].fd = ways[i].from;
		p[i + 1].events = POLLIN;
	}
	for (;;) {
		if (poll(p, 3, timeout()) < 0 && errno != EINTR)
			die("poll");
		for (i = 0; i < 2; i++) {
			if (p[i + 1].revents)
				rung(&ways[i]);
			if (ways[i].due && ways[i].due <= now_ms())
				ring(&ways[i]);
		}
		if (!p[0].revents)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			break;
		obey(line, &memfd);
	}
	drop(1);
	drop(0);
	return 0;
}
