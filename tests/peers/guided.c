// SPDX-License-Identifier: GPL-2.0
/*
 * See guided.h.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "guided.h"
#include "kcov.h"

#define CORPUS		4096
#define SANE_EVERY	1024	/* inputs */
#define FIRST		32	/* inputs until the first line */
#define SAY_SECONDS	10

_Noreturn void die(const char *fmt, ...);

u64 guided_seed;
static const struct guided *side;
static struct input corpus[CORPUS];
static unsigned int nr_corpus, generations;
static unsigned long inputs, sessions, broken;
static atomic_bool stop, is_scribbling;

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

u32 rnd(u64 *seed, u32 below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (*seed >> 32) % below;
}

u32 odd_value(u64 *seed)
{
	static const u32 values[] = {
		0, 1, 2, 8, 16, 32, 255, 256, 4095, 4096, 4097, 0x7fffffff,
		0x80000000, 0xfffff000, 0xfffffffe, 0xffffffff,
	};

	return rnd(seed, 3) ? values[rnd(seed, 16)] : rnd(seed, 0xffffffff);
}

/* ---- inputs ---- */

static void fresh_step(struct step *step)
{
	memset(step, 0, sizeof(*step));
	step->fix = (1 << side->nr_fix) - 1;
	step->arg = rnd(&guided_seed, 512);
	step->value = odd_value(&guided_seed);
	side->fresh(step);
}

static void change_step(struct step *step)
{
	u32 octet = rnd(&guided_seed, side->wire_size);

	switch (rnd(&guided_seed, 8)) {
	case 0:
		step->arg = rnd(&guided_seed, 4) ? rnd(&guided_seed, 64) :
						   odd_value(&guided_seed);
		break;
	case 1:
		step->value = odd_value(&guided_seed);
		break;
	case 2:
		step->fix ^= 1 << rnd(&guided_seed, side->nr_fix);
		break;
	case 3:
		step->wire.octets[octet] ^= 1 << rnd(&guided_seed, 8);
		break;
	case 4:
		step->wire.octets[octet] = odd_value(&guided_seed);
		break;
	case 5:
		step->wire.octets[octet] += rnd(&guided_seed, 2) ? 1 : -1;
		break;
	default:
		step->wire.words[octet / 4] = odd_value(&guided_seed);
	}
}

static void insert_step(struct input *in, const struct step *step)
{
	unsigned int at = rnd(&guided_seed, in->nr_steps + 1);

	if (in->nr_steps == GUIDED_STEPS)
		return;
	memmove(&in->steps[at + 1], &in->steps[at],
		(in->nr_steps - at) * sizeof(*step));
	in->steps[at] = *step;
	in->nr_steps++;
}

static void insert_fresh(struct input *in)
{
	struct step step;

	fresh_step(&step);
	insert_step(in, &step);
}

static void remove_step(struct input *in)
{
	unsigned int at = rnd(&guided_seed, in->nr_steps);

	if (in->nr_steps == 1)
		return;
	in->nr_steps--;
	memmove(&in->steps[at], &in->steps[at + 1],
		(in->nr_steps - at) * sizeof(*in->steps));
}

/* The latest most often; seldom those that end a session, as another one takes time. */
static const struct input *some_input(void)
{
	const struct input *in;
	unsigned int tries;

	for (tries = 0; tries < 4; tries++) {
		in = &corpus[rnd(&guided_seed, nr_corpus)];
		if (nr_corpus > 64 && rnd(&guided_seed, 2))
			in = &corpus[nr_corpus - 1 - rnd(&guided_seed, 64)];
		if (!in->breaks)
			break;
	}
	return in;
}

static void change_input(struct input *in)
{
	const struct input *other;

	switch (rnd(&guided_seed, 8)) {
	case 0:
	case 1:
		insert_fresh(in);
		break;
	case 2:
		other = some_input();
		insert_step(in, &other->steps[rnd(&guided_seed,
						  other->nr_steps)]);
		break;
	case 3:
		remove_step(in);
		break;
	default:
		change_step(&in->steps[rnd(&guided_seed, in->nr_steps)]);
	}
}

static void make_input(struct input *in)
{
	unsigned int n;

	if (!nr_corpus || !rnd(&guided_seed, 16)) {
		memset(in, 0, sizeof(*in));
		for (n = 1 + rnd(&guided_seed, 6); n; n--)
			insert_fresh(in);
		return;
	}
	*in = *some_input();
	in->generation++;
	for (n = 1 + rnd(&guided_seed, 4); n; n--)
		change_input(in);
}

/* ---- runs ---- */

static void connect(void)
{
	sessions++;
	side->connect();
}

static void run_input(struct input *in)
{
	unsigned int i;

	if (!side->is_running())
		connect();
	cover_begin();
	is_scribbling = !rnd(&guided_seed, 8);
	for (i = 0; i < in->nr_steps; i++)
		side->step(&in->steps[i]);
	side->settle();
	is_scribbling = false;
	in->breaks = !side->is_running();
	broken += in->breaks;
	inputs++;
}

static void keep(const struct input *in)
{
	/* The oldest have had their turn. */
	corpus[nr_corpus < CORPUS ? nr_corpus++ : rnd(&guided_seed, CORPUS)] = *in;
	if (in->generation > generations)
		generations = in->generation;
}

static void *scribbler(void *arg)
{
	u64 seed = *(u64 *)arg;

	while (!stop) {
		if (is_scribbling)
			side->scribble(&seed);
		else
			usleep(1000);
	}
	return NULL;
}

static void say(u64 began)
{
	printf("%3llu s: %lu executions, %lu sessions, %lu broken, ",
	       (now_ns() - began) / 1000000000ull, inputs, sessions, broken);
	printf("%u blocks, %u kept, generation %u\n", cover_blocks(), nr_corpus,
	       generations);
	fflush(stdout);
}

static void check(void)
{
	sessions++;
	side->check();
}

/* Until @seconds are over. */
static void run(unsigned int seconds, u64 seed)
{
	u64 began = now_ns(), end = began + seconds * 1000000000ull, said = began;
	u64 other = seed * 7919 + 1;
	static struct input in;
	pthread_t thread;

	guided_seed = seed * 2 + 1;
	check();
	if (pthread_create(&thread, NULL, scribbler, &other))
		die("no thread");
	while (now_ns() < end) {
		make_input(&in);
		run_input(&in);
		if (cover_news())
			keep(&in);
		if (inputs % SANE_EVERY == 0)
			check();
		if (inputs == FIRST || now_ns() > said + SAY_SECONDS * 1000000000ull) {
			said = now_ns();
			say(began);
		}
	}
	stop = true;
	pthread_join(thread, NULL);
	check();
	say(began);
}

int guided_main(const struct guided *which, int argc, char **argv)
{
	side = which;
	if (argc != 4) {
		fprintf(stderr, "usage: %s NAME SECONDS SEED\n", side->program);
		return 2;
	}
	cover_open();
	side->open(argv[1]);
	run(atoi(argv[2]), strtoull(argv[3], NULL, 0));
	return 0;
}
