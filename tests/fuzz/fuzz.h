/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For all fuzzers: input as a stream of numbers, checks that end the run, and a thread
 * that rewrites shared memory while a decoder reads it.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define check(condition) do { \
	if (!(condition)) { \
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
			#condition); \
		abort(); \
	} \
} while (0)

/**
 * struct input - what is left of the input
 * @data: next octet
 * @size: octets left
 */
struct input {
	const u8 *data;
	size_t size;
};

/* Fills @dst; zeroes where the input has ended. */
__attribute__((unused))
static void take(struct input *in, void *dst, size_t size)
{
	size_t have = size < in->size ? size : in->size;

	memset(dst, 0, size);
	if (have)
		memcpy(dst, in->data, have);
	in->data += have;
	in->size -= have;
}

__attribute__((unused))
static u8 take_u8(struct input *in)
{
	u8 value;

	take(in, &value, sizeof(value));
	return value;
}

__attribute__((unused))
static u32 take_u32(struct input *in)
{
	u8 octets[4];

	take(in, octets, sizeof(octets));
	return octets[0] | octets[1] << 8 | octets[2] << 16 |
	       (u32)octets[3] << 24;
}

/**
 * struct flipper - a hostile peer
 * @memory: what it rewrites
 * @size: octets
 * @values: which it takes in turn
 * @nr_values: how many
 * @on: is it to
 */
struct flipper {
	u8 *memory;
	size_t size;
	const u8 *values;
	size_t nr_values;
	bool on;
};

__attribute__((unused))
static void *flip(void *arg)
{
	struct flipper *f = arg;
	unsigned int at = 1, i = 0;

	while (__atomic_load_n(&f->on, __ATOMIC_ACQUIRE)) {
		at = at * 1103515245 + 12345;
		__atomic_store_n(f->memory + (at >> 8) % f->size,
				 f->values[i++ % f->nr_values],
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Runs @decode while a thread puts octets of the input into the memory. */
__attribute__((unused))
static void with_flipper(void *memory, size_t size, struct input *in,
			 void (*decode)(void *), void *arg)
{
	struct flipper f = {
		.memory = memory, .size = size, .values = in->data,
		.nr_values = in->size, .on = true,
	};
	pthread_t thread;
	int i;

	if (!in->size)
		return;
	check(!pthread_create(&thread, NULL, flip, &f));
	for (i = 0; i < 50; i++)
		decode(arg);
	__atomic_store_n(&f.on, false, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

#endif /* FUZZ_H */
