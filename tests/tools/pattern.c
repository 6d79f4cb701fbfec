// SPDX-License-Identifier: GPL-2.0
/*
 * pattern SEED MIB - print so many MiB, each octet of which follows from its place and SEED
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define WORDS	8192

int main(int argc, char **argv)
{
	static uint64_t words[WORDS];
	uint64_t left, x;
	unsigned int i;

	if (argc != 3) {
		fprintf(stderr, "usage: pattern SEED MIB\n");
		return 2;
	}
	x = atoll(argv[1]) * 0x9e3779b97f4a7c15ULL + 1;
	for (left = ((uint64_t)atoll(argv[2]) << 20) / sizeof(words); left; left--) {
		for (i = 0; i < WORDS; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			words[i] = x;
		}
		if (fwrite(words, sizeof(words), 1, stdout) != 1) {
			perror("pattern");
			return 1;
		}
	}
	if (fflush(stdout)) {
		perror("pattern");
		return 1;
	}
	return 0;
}
