// SPDX-License-Identifier: GPL-2.0
/*
 * verify DEVICE FIRST-MIB MIB SECONDS [PAUSE-MS] - write and read back part of a disk
 *
 * Patterns that never repeat are written past all caches, read back and compared, again and
 * again. Each second a line says how many octets were found right so far; a line is printed also
 * when nothing moves, so that whoever reads them sees a stall. Ends with 1 at the first error.
 * With PAUSE-MS it rests after each quarter of a MiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		(64 * 1024)
#define RUN		4	/* blocks written before they are read */

static atomic_ullong verified;

static void *report(void *seconds)
{
	int left = *(int *)seconds;

	for (int i = 1; i <= left; i++) {
		sleep(1);
		printf("%d %llu\n", i, (unsigned long long)verified);
		fflush(stdout);
	}
	return NULL;
}

static void fill(uint64_t *words, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;

	for (unsigned int i = 0; i < BLOCK / sizeof(*words); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
}

static int complain(const char *what, off_t at, ssize_t got)
{
	if (got < 0)
		printf("%s at %lld: %s\n", what, (long long)at, strerror(errno));
	else
		printf("%s at %lld: %zd octets\n", what, (long long)at, got);
	return 1;
}

static int compare(const uint64_t *want, const uint64_t *got, off_t at)
{
	for (unsigned int i = 0; i < BLOCK / sizeof(*want); i++) {
		if (want[i] != got[i]) {
			printf("wrong data at %lld: %016llx, not %016llx\n",
			       (long long)(at + i * sizeof(*want)), (unsigned long long)got[i],
			       (unsigned long long)want[i]);
			return 1;
		}
	}
	return 0;
}

static int one_run(int fd, off_t at, uint64_t seed, uint64_t *want, uint64_t *got)
{
	ssize_t n;

	for (int i = 0; i < RUN; i++) {
		fill(want, seed + i);
		n = pwrite(fd, want, BLOCK, at + i * BLOCK);
		if (n != BLOCK)
			return complain("write", at + i * BLOCK, n);
	}
	for (int i = 0; i < RUN; i++) {
		fill(want, seed + i);
		n = pread(fd, got, BLOCK, at + i * BLOCK);
		if (n != BLOCK)
			return complain("read", at + i * BLOCK, n);
		if (compare(want, got, at + i * BLOCK))
			return 1;
		verified += BLOCK;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t *want, *got, seed;
	off_t first, size, at = 0;
	pthread_t reporter;
	int fd, seconds;
	time_t end;

	if (argc < 5) {
		fprintf(stderr, "usage: verify DEVICE FIRST-MIB MIB SECONDS [PAUSE-MS]\n");
		return 2;
	}
	first = atoll(argv[2]) << 20;
	size = atoll(argv[3]) << 20;
	seconds = atoi(argv[4]);
	fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	want = aligned_alloc(4096, BLOCK);
	got = aligned_alloc(4096, BLOCK);
	if (fd < 0 || !want || !got) {
		perror(argv[1]);
		return 2;
	}
	seed = (uint64_t)time(NULL) << 20 ^ getpid();
	end = time(NULL) + seconds + 1;
	pthread_create(&reporter, NULL, report, &seconds);
	while (time(NULL) < end) {
		if (one_run(fd, first + at, seed, want, got))
			return 1;
		seed += RUN;
		at = (at + RUN * BLOCK) % size;
		usleep(argc > 5 ? 1000 * atoi(argv[5]) : 0);
	}
	pthread_join(reporter, NULL);
	return 0;
}
