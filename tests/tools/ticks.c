// SPDX-License-Identifier: GPL-2.0
/* ticks USEC - sleep again and again for so long, so that timer interrupts come */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct itimerspec every = { 0 };
	uint64_t passed;
	int fd;

	if (argc != 2)
		return 2;
	every.it_interval.tv_nsec = atol(argv[1]) * 1000;
	every.it_value = every.it_interval;
	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	if (fd < 0 || timerfd_settime(fd, 0, &every, NULL)) {
		perror("timerfd");
		return 1;
	}
	while (read(fd, &passed, sizeof(passed)) == sizeof(passed))
		;
	return 1;
}
