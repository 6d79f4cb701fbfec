// SPDX-License-Identifier: GPL-2.0
/*
 * hid_echo /dev/hidgN - the device's side of a HID gadget that sends back every report
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REPORT	64

/* The gadget says ESHUTDOWN and the like while it is unplugged; it comes back. */
static int unplugged(void)
{
	return errno == ESHUTDOWN || errno == EAGAIN || errno == EINTR || errno == EIO ||
	       errno == ENODEV || errno == ECONNRESET;
}

int main(int argc, char **argv)
{
	char report[REPORT];
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: hid_echo /dev/hidgN\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		ssize_t n = read(fd, report, sizeof(report));

		if (n > 0)
			n = write(fd, report, n);
		if (n > 0)
			continue;
		if (n < 0 && !unplugged()) {
			fprintf(stderr, "hid_echo: %s\n", strerror(errno));
			return 1;
		}
		usleep(20000);
	}
}
