// SPDX-License-Identifier: GPL-2.0
/*
 * Joins both modules of this kernel, as "usbctl loop loop" does, with system calls alone:
 * for 32-bit ARM processors that are older than what the cross compiler's C library is for.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/types.h>

#include "../../include/usbif_ioctl.h"

#define REGION_SIZE	(4 << 20)

/* Compilers call it for an initializer. */
void *memset(void *at, int value, unsigned long len)
{
	volatile char *p = at;

	while (len--)
		*p++ = value;
	return at;
}

static long call(long number, long a, long b, long c)
{
	register long r7 asm("r7") = number;
	register long r0 asm("r0") = a;
	register long r1 asm("r1") = b;
	register long r2 asm("r2") = c;

	asm volatile("svc 0" : "+r" (r0) : "r" (r1), "r" (r2), "r" (r7) : "memory");
	return r0;
}

static void must(int step, long ret)
{
	if (ret < 0)
		call(__NR_exit, step, 0, 0);
}

static void create(int step, const char *path, int memfd, int in, int out)
{
	struct usbif_ioc_create create = {
		.size = sizeof(create),
		.name = "loop",
		.memfd = memfd,
		.in_fd = in,
		.out_fd = out,
	};
	long fd = call(__NR_open, (long)path, O_RDWR, 0);

	must(step, fd);
	must(step + 1, call(__NR_ioctl, fd, USBIF_IOC_CREATE, (long)&create));
}

/* Ends with the number of the step that failed, or 0. */
void _start(void)
{
	long memfd = call(__NR_memfd_create, (long)"loop", 0, 0);
	long back = call(__NR_eventfd2, 0, O_NONBLOCK, 0);
	long front = call(__NR_eventfd2, 0, O_NONBLOCK, 0);

	must(1, memfd);
	must(2, back);
	must(3, front);
	must(4, call(__NR_ftruncate, memfd, REGION_SIZE, 0));
	create(5, "/dev/usbback", memfd, back, front);
	create(7, "/dev/usbfront", memfd, front, back);
	call(__NR_exit, 0, 0, 0);
}
