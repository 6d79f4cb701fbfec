// SPDX-License-Identifier: GPL-2.0
/*
 * endpoints - transfers on the bulk and interrupt endpoints of an interface, as
 * standard input says
 *
 *	endpoints /dev/bus/usb/BUS/DEVICE INTERFACE
 *
 * Each request is endpoint, length and timeout in milliseconds, three 32-bit numbers,
 * and for an OUT endpoint the data. The answer is the number of octets transferred, or
 * a negative errno, and for an IN endpoint the data.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LONGEST		(1 << 20)
#define DIR_IN		0x80

struct request {
	uint32_t endpoint, length, timeout;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static bool take(void *to, size_t length)
{
	size_t done = 0;
	ssize_t n;

	while (done < length) {
		n = read(0, (char *)to + done, length - done);
		if (n < 0)
			die("read");
		if (!n)
			return false;
		done += n;
	}
	return true;
}

static void give(const void *from, size_t length)
{
	size_t done = 0;
	ssize_t n;

	while (done < length) {
		n = write(1, (const char *)from + done, length - done);
		if (n < 0)
			die("write");
		done += n;
	}
}

int main(int argc, char **argv)
{
	static char data[LONGEST];
	unsigned int interface;
	struct request r;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: endpoints DEVICE INTERFACE\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	interface = atoi(argv[2]);
	if (fd < 0 || ioctl(fd, USBDEVFS_CLAIMINTERFACE, &interface))
		die(argv[1]);

	while (take(&r, sizeof(r)) && r.length <= LONGEST) {
		struct usbdevfs_bulktransfer bulk = {
			.ep = r.endpoint, .len = r.length,
			.timeout = r.timeout, .data = data,
		};
		int32_t done;

		if (!(r.endpoint & DIR_IN) && !take(data, r.length))
			break;
		done = ioctl(fd, USBDEVFS_BULK, &bulk);
		if (done < 0)
			done = -errno;
		give(&done, sizeof(done));
		if (r.endpoint & DIR_IN && done > 0)
			give(data, done);
	}
	return 0;
}
