// SPDX-License-Identifier: GPL-2.0
/*
 * lines NEAR FAR SECONDS - octets both ways over a serial line, compared
 *
 * Both ends are open all the time. Each sends octets that never repeat, as fast as they are
 * taken, in pieces of all lengths, and compares what the other one sends. The first octet
 * that differs, or none for a while, ends the program with 1; when the time is over all
 * that was sent has to arrive, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PIECE		2000
#define DEADLINE_MS	20000
#define QUIET_MS	1000

/* One way. */
struct way {
	const char *name;		/* of the end that receives */
	int from, to;
	uint64_t give, take;		/* states of the same generator */
	uint8_t piece[PIECE];
	size_t length, at;		/* of the piece that is being sent */
	unsigned long sent, seen;
};

static struct way ways[2];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 32;
}

static int open_line(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t))
		die(name);
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSANOW, &t))
		die(name);
	return fd;
}

static void send_some(struct way *w)
{
	ssize_t n;
	size_t i;

	if (w->at == w->length) {
		w->length = 1 + w->sent % PIECE;
		w->at = 0;
		for (i = 0; i < w->length; i++)
			w->piece[i] = next(&w->give);
	}
	n = write(w->from, w->piece + w->at, w->length - w->at);
	if (n < 0 && errno != EAGAIN)
		die("write");
	if (n > 0) {
		w->at += n;
		w->sent += n;
	}
}

static void take_some(struct way *w)
{
	uint8_t piece[PIECE];
	ssize_t n = read(w->to, piece, sizeof(piece)), i;

	if (n < 0 && errno != EAGAIN)
		die("read");
	for (i = 0; i < n; i++) {
		uint8_t wanted = next(&w->take);

		if (piece[i] != wanted) {
			printf("octet %lu at %s is %#x, not %#x\n", w->seen + i, w->name,
			       piece[i], wanted);
			exit(1);
		}
	}
	if (n > 0)
		w->seen += n;
}

/* False if nothing can be sent or received for that long. */
static bool move(bool sends, int ms)
{
	struct pollfd p[4];
	int i, n;

	for (i = 0; i < 2; i++) {
		p[i] = (struct pollfd){ .fd = ways[i].to, .events = POLLIN };
		/* A piece that was begun is sent to its end. */
		p[i + 2] = (struct pollfd){
			.fd = sends || ways[i].at < ways[i].length ? ways[i].from : -1,
			.events = POLLOUT,
		};
	}
	n = poll(p, 4, ms);
	for (i = 0; i < 2 && n > 0; i++) {
		if (p[i].revents)
			take_some(&ways[i]);
		if (p[i + 2].revents)
			send_some(&ways[i]);
	}
	return n > 0;
}

static bool all_seen(void)
{
	int i;

	for (i = 0; i < 2; i++)
		if (ways[i].at < ways[i].length || ways[i].seen != ways[i].sent)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	time_t until;
	int i, fd[2];

	if (argc != 4) {
		fprintf(stderr, "usage: lines NEAR FAR SECONDS\n");
		return 2;
	}
	for (i = 0; i < 2; i++)
		fd[i] = open_line(argv[1 + i]);
	for (i = 0; i < 2; i++) {
		ways[i].name = argv[2 - i];
		ways[i].from = fd[i];
		ways[i].to = fd[!i];
		ways[i].give = 0x9e3779b97f4a7c15 + i;
		ways[i].take = ways[i].give;
	}
	until = time(NULL) + atoi(argv[3]);
	while (time(NULL) < until || !all_seen())
		if (!move(time(NULL) < until, DEADLINE_MS)) {
			printf("of %lu and %lu octets %lu and %lu arrived\n", ways[0].sent,
			       ways[1].sent, ways[0].seen, ways[1].seen);
			return 1;
		}
	if (move(false, QUIET_MS)) {
		printf("more arrived than was sent\n");
		return 1;
	}
	printf("%lu octets there, %lu back\n", ways[0].seen, ways[1].seen);
	return 0;
}
