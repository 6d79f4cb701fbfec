// SPDX-License-Identifier: GPL-2.0
/*
 * pressure MIB SECONDS - use more memory than there is, and verify it
 *
 * Writes anonymous memory and comes back to it in random order, 64 KiB at a time: each octet is
 * compared with what was written there last, then written anew. All of it is verified once more in
 * the end. Each second a line says how many octets were found right so far. Ends with 1 at the
 * first that was not.
 *
 * pressure -MIB SECONDS - leave so much memory, as MemAvailable counts it, and hold the rest
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		(64 * 1024)
#define WORDS		(BLOCK / sizeof(uint64_t))
#define MIB		(1024 * 1024)

static atomic_ullong verified;
static uint64_t random_state = 0x9e3779b97f4a7c15ULL;

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void *report(void *arg)
{
	for (int i = 1;; i++) {
		sleep(1);
		printf("%d %llu\n", i, (unsigned long long)verified);
		fflush(stdout);
	}
	return arg;
}

/* What block number @nr holds the @turn-th time begins like this, and is never 0. */
static uint64_t seed(size_t nr, uint32_t turn)
{
	return ((uint64_t)(nr + 1) << 32 | turn) * 0x9e3779b97f4a7c15ULL | 1;
}

static void fill(uint64_t *block, uint64_t x)
{
	for (size_t i = 0; i < WORDS; i++)
		block[i] = next(&x);
}

static void compare(const uint64_t *block, uint64_t x, size_t nr)
{
	for (size_t i = 0; i < WORDS; i++) {
		uint64_t want = next(&x);

		if (block[i] == want)
			continue;
		printf("block %zu, word %zu is %016llx, not %016llx\n", nr, i,
		       (unsigned long long)block[i], (unsigned long long)want);
		exit(1);
	}
	verified += BLOCK;
}

static void use(uint64_t *memory, size_t blocks, time_t end)
{
	uint32_t *turns = calloc(blocks, sizeof(*turns));
	size_t nr;

	if (!turns)
		exit(2);
	for (nr = 0; nr < blocks; nr++)
		fill(memory + nr * WORDS, seed(nr, 0));
	printf("filled\n");
	fflush(stdout);
	while (time(NULL) < end) {
		nr = next(&random_state) % blocks;
		compare(memory + nr * WORDS, seed(nr, turns[nr]), nr);
		fill(memory + nr * WORDS, seed(nr, ++turns[nr]));
	}
	for (nr = 0; nr < blocks; nr++)
		compare(memory + nr * WORDS, seed(nr, turns[nr]), nr);
	printf("all %zu MiB verified\n", blocks * BLOCK / MIB);
}

static long available(void)
{
	char line[80];
	long kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib / 1024;
}

/* What the page cache holds is worth having, too: so this does not stop once it is there. */
static void hold(char *memory, size_t size, long left, time_t end)
{
	size_t at = 0;

	while (time(NULL) < end) {
		if (available() <= left || at == size) {
			usleep(20000);
			continue;
		}
		memset(memory + at, 0x5a, MIB);
		at += MIB;
	}
	printf("held %zu MiB, %ld MiB left\n", at / MIB, available());
}

int main(int argc, char **argv)
{
	pthread_t reporter;
	long mib, seconds;
	size_t size;
	void *memory;

	if (argc != 3) {
		fprintf(stderr, "usage: pressure [-]MIB SECONDS\n");
		return 2;
	}
	mib = atol(argv[1]);
	seconds = atol(argv[2]);
	size = (mib > 0 ? (size_t)mib : 4096) * MIB;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	madvise(memory, size, MADV_NOHUGEPAGE);
	if (mib <= 0) {
		hold(memory, size, -mib, time(NULL) + seconds);
		return 0;
	}
	pthread_create(&reporter, NULL, report, NULL);
	use(memory, size / BLOCK, time(NULL) + seconds);
	return 0;
}
