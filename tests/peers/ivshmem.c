// SPDX-License-Identifier: GPL-2.0
/*
 * See ivshmem.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ivshmem.h"

/* The registers of ivshmem, as in QEMU's docs/specs/ivshmem-spec.txt. */
#define IVSHMEM_REGS		256
#define IVSHMEM_POSITION	(8 / sizeof(u32))
#define IVSHMEM_DOORBELL	(12 / sizeof(u32))

/* Of the program: front.c or back.c. */
_Noreturn void die(const char *fmt, ...);

static int open_in(const char *dir, const char *file, int flags)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

/* A whole BAR, or @size octets of it. */
static void *map_bar(const char *dir, const char *file, u64 *size)
{
	int fd = open_in(dir, file, O_RDWR);
	struct stat st;
	void *at;

	if (!*size) {
		if (fstat(fd, &st))
			die("%s: %s", file, strerror(errno));
		*size = st.st_size;
	}
	at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die("%s: %s", file, strerror(errno));
	close(fd);
	return at;
}

void ivshmem_open(struct ivshmem *iv, const char *dir, enum usbif_role role)
{
	bool is_back = role == USBIF_ROLE_BACKEND;
	u8 other = is_back ? USBIF_ROLE_FRONTEND : USBIF_ROLE_BACKEND;
	const struct usbif_ident *ident;
	u64 size = IVSHMEM_REGS;
	unsigned int peer = 0;
	volatile u32 *regs;
	int fd;

	memset(iv, 0, sizeof(*iv));
	fd = open_in(dir, "enable", O_WRONLY);
	if (write(fd, "1", 1) != 1)
		die("%s/enable: %s", dir, strerror(errno));
	close(fd);
	regs = map_bar(dir, "resource0", &size);
	iv->region = map_bar(dir, "resource2", &iv->size);
	ident = iv->region + USBIF_IDENT_OFFSET;
	if (ident->magic != USBIF_IDENT_MAGIC ||
	    regs[IVSHMEM_POSITION] >= sizeof(ident->roles) ||
	    ident->roles[regs[IVSHMEM_POSITION]] != role)
		die("%s is no %s's", dir, is_back ? "backend" : "frontend");
	while (ident->roles[peer] != other)
		if (++peer == sizeof(ident->roles))
			die("%s has no %s", dir, is_back ? "frontend" : "backend");
	iv->bell = regs + IVSHMEM_DOORBELL;
	iv->ring = peer << 16;
}

void ivshmem_kick(const struct ivshmem *iv)
{
	atomic_thread_fence(memory_order_seq_cst);
	*iv->bell = iv->ring;
}
