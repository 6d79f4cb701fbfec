// SPDX-License-Identifier: GPL-2.0
/*
 * hid_client /dev/hidrawN COUNT - send reports to an echoing HID device and compare what comes
 *
 * Prints the median and the 99th percentile of the time there and back.  Fails at the first report
 * that differs, or that takes more than five seconds.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REPORT		64
#define DEADLINE_MS	5000

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int echo(int fd, unsigned int number)
{
	unsigned char out[1 + REPORT], in[REPORT];
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	ssize_t n;

	out[0] = 0;		/* no report numbers */
	for (int i = 0; i < REPORT; i++)
		out[1 + i] = number * 31 + i * 7;
	memcpy(out + 1, &number, sizeof(number));
	n = write(fd, out, sizeof(out));
	if (n != sizeof(out)) {
		perror("hid_client: write");
		return 1;
	}
	if (poll(&pfd, 1, DEADLINE_MS) != 1) {
		fprintf(stderr, "hid_client: no answer to report %u\n", number);
		return 1;
	}
	n = read(fd, in, sizeof(in));
	if (n != sizeof(in) || memcmp(in, out + 1, sizeof(in))) {
		fprintf(stderr, "hid_client: report %u came back wrong\n", number);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int count;
	double *times;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: hid_client /dev/hidrawN COUNT\n");
		return 2;
	}
	count = strtoul(argv[2], NULL, 0);
	times = calloc(count + 1, sizeof(*times));
	fd = open(argv[1], O_RDWR);
	if (fd < 0 || !times) {
		perror(argv[1]);
		return 1;
	}
	for (unsigned int i = 0; i < count; i++) {
		double start = now_us();

		if (echo(fd, i))
			return 1;
		times[i] = now_us() - start;
	}
	qsort(times, count, sizeof(*times), by_value);
	printf("%u echoes, p50 %.0f us, p99 %.0f us\n", count, times[count / 2],
	       times[count * 99 / 100]);
	return 0;
}
