// SPDX-License-Identifier: GPL-2.0
/*
 * See kcov.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcov.h>
#include <linux/types.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "kcov.h"
#include "usbif.h"

#define WORDS		(256u << 10)
#define BITS		(1u << 20)

_Noreturn void die(const char *fmt, ...);

static unsigned long *words;
static u8 pairs[BITS / 8], blocks[BITS / 8];
static unsigned int nr_blocks;

void cover_open(void)
{
	struct kcov_remote_arg arg = {
		.trace_mode = KCOV_TRACE_PC,
		.area_size = WORDS,
		.common_handle = kcov_remote_handle(KCOV_SUBSYSTEM_COMMON,
						    getpid()),
	};
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, WORDS))
		die("kcov: %s", strerror(errno));
	words = mmap(NULL, WORDS * sizeof(*words), PROT_READ | PROT_WRITE,
		     MAP_SHARED, fd, 0);
	if (words == MAP_FAILED || ioctl(fd, KCOV_REMOTE_ENABLE, &arg))
		die("kcov: %s", strerror(errno));
}

void cover_begin(void)
{
	__atomic_store_n(&words[0], 0, __ATOMIC_RELAXED);
}

static bool is_new(u8 *map, unsigned long what)
{
	u32 bit = (what * 0x9e3779b97f4a7c15ul) >> 44;
	bool news = !(map[bit / 8] & 1 << bit % 8);

	map[bit / 8] |= 1 << bit % 8;
	return news;
}

unsigned int cover_news(void)
{
	unsigned long i, n = __atomic_load_n(&words[0], __ATOMIC_ACQUIRE);
	unsigned int found, news = 0;
	unsigned long before = 0;

	if (n >= WORDS)
		n = WORDS - 1;
	for (i = 1; i <= n; i++) {
		found = is_new(blocks, words[i]);
		nr_blocks += found;
		news += found + is_new(pairs, before * 3 ^ words[i]);
		before = words[i];
	}
	return news;
}

unsigned int cover_blocks(void)
{
	return nr_blocks;
}
