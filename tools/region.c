// SPDX-License-Identifier: GPL-2.0
/*
 * The shared memory of a channel and its doorbells.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
#include "proto.h"
#include "usbctl.h"

#define BELL_US	100000	/* that a write to one may wait */

bool region_size_parse(const char *text, uint64_t *size)
{
	return parse_size(text, size) && *size >= USBIF_REGION_MIN &&
	       *size <= USBIF_REGION_MAX && !(*size & (*size - 1));
}

static uint64_t huge_page_size(void)
{
	char *text = file_read("/proc/meminfo");
	char *line = text ? strstr(text, "Hugepagesize:") : NULL;
	unsigned long long kib = 0;

	if (line)
		sscanf(line, "Hugepagesize: %llu", &kib);
	free(text);
	return kib << 10;
}

/* The pages are there before anybody relies on them: no SIGBUS later. */
static int reserve(struct region *region, bool is_huge)
{
	unsigned long long size = region->size;
	uint64_t page = is_huge ? huge_page_size() : 0;

	if (is_huge && (!page || size % page))
		return fail(UCTL_FAILED,
			    "huge pages have %llu KiB here: --size must be a multiple of that",
			    (unsigned long long)page >> 10);
	if (ftruncate(region->memfd, size))
		return fail(UCTL_FAILED, "cannot make %llu octets of shared memory: %s",
			    size, strerror(errno));
	if (!is_huge)
		return UCTL_OK;
	if (fallocate(region->memfd, 0, 0, size))
		return fail(UCTL_FAILED,
			    "no %llu huge pages free (%s); type: sysctl vm.nr_hugepages=N, with N larger by that",
			    size / (unsigned long long)page, strerror(errno));
	return UCTL_OK;
}

int region_map(struct region *region)
{
	region->ctl = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   region->memfd, 0);
	if (region->ctl != MAP_FAILED)
		return UCTL_OK;
	region->ctl = NULL;
	return fail(UCTL_FAILED, "cannot map the shared memory: %s", strerror(errno));
}

/* A guest must not take memory away from under this process and the kernel. */
static int seal(struct region *region)
{
	if (!fcntl(region->memfd, F_ADD_SEALS,
		   F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return UCTL_OK;
	return fail(UCTL_FAILED, "cannot seal the shared memory: %s", strerror(errno));
}

int region_create(struct region *region, const char *name, uint64_t size,
		  bool is_huge)
{
	char *label = xasprintf("usbif-%s", name);
	int status;

	memset(region, 0, sizeof(*region));
	region->size = size;
	region->memfd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING |
				     (is_huge ? MFD_HUGETLB : 0));
	region->bell_back = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	region->bell_front = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	free(label);
	if (region->memfd < 0 || region->bell_back < 0 || region->bell_front < 0)
		status = fail(UCTL_FAILED, "cannot make memfd and eventfds: %s",
			      strerror(errno));
	else
		status = reserve(region, is_huge);
	if (!status)
		status = seal(region);
	if (!status)
		status = region_map(region);
	if (status)
		region_close(region);
	else
		region_write_identity(region);
	return status;
}

void region_close(struct region *region)
{
	if (region->ctl)
		munmap(region->ctl, region->size);
	region->ctl = NULL;
	fd_close(&region->memfd);
	fd_close(&region->bell_back);
	fd_close(&region->bell_front);
}

void region_write_identity(const struct region *region)
{
	static const u8 roles[8] = {
		[ROLE_BACKEND] = USBIF_ROLE_BACKEND,
		[ROLE_GUEST] = USBIF_ROLE_FRONTEND,
	};

	usbif_ident_encode(region->ctl, region->size, roles);
}

static void woken(int signal)
{
	(void)signal;
}

/*
 * The other end has the same open file: that writing does not wait, it can change, and fill
 * the counter, at any moment. A doorbell that is full need not be rung. The alarm goes off
 * again and again, as it may before the write begins.
 */
void bell_ring(int fd)
{
	static const struct itimerval often = { { 0, BELL_US }, { 0, BELL_US } }, never;
	static const struct sigaction wake = { .sa_handler = woken };
	struct pollfd bell = { .fd = fd, .events = POLLOUT };

	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) || poll(&bell, 1, 0) != 1)
		return;
	sigaction(SIGALRM, &wake, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	eventfd_write(fd, 1);
	setitimer(ITIMER_REAL, &never, NULL);
}

void region_front_is_dead(const struct region *region)
{
	struct usbif_front_page *page = (void *)((char *)region->ctl +
						 USBIF_FRONT_OFFSET);

	usbif_word_write_release(&page->state, USBIF_FRONT_CLOSING);
	bell_ring(region->bell_back);
}

void region_back_is_dead(const struct region *region)
{
	struct usbif_back_page *page = (void *)((char *)region->ctl +
						USBIF_BACK_OFFSET);

	usbif_word_write_release(&page->state, USBIF_BACK_CLOSED);
	bell_ring(region->bell_front);
}
