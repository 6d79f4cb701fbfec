// SPDX-License-Identifier: GPL-2.0
/*
 * reports /dev/hidrawN SECONDS WINDOW - numbered reports to an echoing HID device
 *
 * Up to WINDOW reports are on their way at a time, fewer than hidraw keeps for a reader
 * that is late. Each has to come back as it was sent, in its turn: the first that is lost,
 * comes twice or differs ends the program with 1. When the time is over none may be left,
 * and none come that was not sent.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REPORT		64
#define DEADLINE_MS	20000
#define QUIET_MS	1000

static void make(uint8_t *report, uint32_t number)
{
	int i;

	for (i = 0; i < REPORT; i++)
		report[i] = number * 31 + i * 7 + (number >> 8);
	memcpy(report, &number, sizeof(number));
}

static bool give(int fd, uint32_t number)
{
	uint8_t out[1 + REPORT] = { 0 };	/* no report IDs */

	make(out + 1, number);
	if (write(fd, out, sizeof(out)) == sizeof(out))
		return true;
	perror("write");
	return false;
}

static bool comes(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static bool take(int fd, uint32_t number)
{
	uint8_t in[REPORT], wanted[REPORT];
	uint32_t found;
	ssize_t n;

	if (!comes(fd, DEADLINE_MS)) {
		printf("report %u did not come\n", number);
		return false;
	}
	n = read(fd, in, sizeof(in));
	if (n != sizeof(in)) {
		printf("report %u has %zd octets\n", number, n);
		return false;
	}
	make(wanted, number);
	memcpy(&found, in, sizeof(found));
	if (!memcmp(in, wanted, sizeof(in)))
		return true;
	printf("report %u came where %u should have\n", found, number);
	return false;
}

int main(int argc, char **argv)
{
	uint32_t sent = 0, seen = 0, window;
	time_t until;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: reports /dev/hidrawN SECONDS WINDOW\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	until = time(NULL) + atoi(argv[2]);
	window = atoi(argv[3]);
	while (time(NULL) < until || seen != sent) {
		if (time(NULL) < until && sent - seen < window && !comes(fd, 0)) {
			if (!give(fd, sent++))
				return 1;
		} else if (!take(fd, seen++)) {
			return 1;
		}
	}
	if (comes(fd, QUIET_MS)) {
		printf("there are more than the %u reports that were sent\n", sent);
		return 1;
	}
	printf("%u reports\n", seen);
	return 0;
}
