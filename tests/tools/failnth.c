// SPDX-License-Identifier: GPL-2.0
/*
 * failnth CASE ARG... - one allocation after the other fails (/proc/self/fail-nth)
 *
 *   write FILE TEXT UNDO-FILE UNDO-TEXT
 *			TEXT is written to FILE; if that went well, it is undone
 *   create DEVICE	a channel of kind fd is made, and dropped again
 *   load MODULE	a module is loaded, and removed again
 *   bulk NODE		4096 octets to a sink, through usbfs
 *   control NODE	the device descriptor is read
 *   reset NODE		the device is reset
 *
 * The first time the first allocation of the system call fails, then the second, until none
 * did. Each time the call has to end, well or with an error that is fit for it; at last it
 * has to end well. Prints how often it ended how.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "../../include/usbif_ioctl.h"

#define NAME	"failnth"
#define MOST	5000

static char **args;
static int fd, nth_fd;
static uint8_t sink;
static int memory, bells[2];

noreturn static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what fails; 0, or the error that it ended with ---- */

static int write_text(const char *file, const char *text)
{
	int f = open(file, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (f < 0)
		return errno;
	if (write(f, text, strlen(text)) < 0)
		error = errno;
	close(f);
	return error;
}

static int op_write(void)
{
	return write_text(args[0], args[1]);
}

static int undo_write(void)
{
	return write_text(args[2], args[3]);
}

static void begin_create(void)
{
	int i;

	memory = memfd_create(NAME, MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, 1 << 20))
		die("memfd");
	for (i = 0; i < 2; i++)
		bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int op_create(void)
{
	struct usbif_ioc_create arg = {
		.size = sizeof(arg), .name = NAME, .memfd = memory,
		.in_fd = bells[0], .out_fd = bells[1],
	};

	return ioctl(fd, USBIF_IOC_CREATE, &arg) ? errno : 0;
}

static int undo_create(void)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg), .name = NAME };

	return ioctl(fd, USBIF_IOC_DROP, &arg) ? errno : 0;
}

static int op_load(void)
{
	return syscall(SYS_finit_module, fd, "", 0) ? errno : 0;
}

static int undo_load(void)
{
	char name[64];

	snprintf(name, sizeof(name), "%s", basename(args[0]));
	*strchrnul(name, '.') = '\0';
	return syscall(SYS_delete_module, name, 0) ? errno : 0;
}

/* The first bulk endpoint that goes out. */
static void begin_bulk(void)
{
	struct usbdevfs_disconnect_claim claim = { .interface = 0 };
	uint8_t buf[4096];
	ssize_t len = read(fd, buf, sizeof(buf));
	ssize_t at;

	for (at = 18; at + 2 <= len && buf[at] >= 2 && !sink; at += buf[at])
		if (buf[at + 1] == USB_DT_ENDPOINT && (buf[at + 3] & 3) == 2 &&
		    !(buf[at + 2] & USB_DIR_IN))
			sink = buf[at + 2];
	if (!sink || ioctl(fd, USBDEVFS_DISCONNECT_CLAIM, &claim))
		die("sink");
}

static int op_bulk(void)
{
	static uint8_t data[4096];
	struct usbdevfs_bulktransfer b = {
		.ep = sink, .len = sizeof(data), .timeout = 20000, .data = data,
	};
	int n = ioctl(fd, USBDEVFS_BULK, &b);

	return n < 0 ? errno : n == sizeof(data) ? 0 : EIO;
}

static int op_control(void)
{
	uint8_t data[18];
	struct usbdevfs_ctrltransfer c = {
		.bRequestType = USB_DIR_IN, .bRequest = USB_REQ_GET_DESCRIPTOR,
		.wValue = USB_DT_DEVICE << 8, .wLength = sizeof(data), .timeout = 20000,
		.data = data,
	};
	int n = ioctl(fd, USBDEVFS_CONTROL, &c);

	return n < 0 ? errno : n == sizeof(data) ? 0 : EIO;
}

static int op_reset(void)
{
	return ioctl(fd, USBDEVFS_RESET) ? errno : 0;
}

static const struct {
	const char *name;
	int nargs;
	int flags;		/* for open() */
	void (*begin)(void);
	int (*op)(void);
	int (*undo)(void);
} cases[] = {
	{ "write", 4, O_WRONLY, NULL, op_write, undo_write },
	{ "create", 1, O_RDWR, begin_create, op_create, undo_create },
	{ "load", 1, O_RDONLY, NULL, op_load, undo_load },
	{ "bulk", 1, O_RDWR, begin_bulk, op_bulk, NULL },
	{ "control", 1, O_RDWR, NULL, op_control, NULL },
	{ "reset", 1, O_RDWR, NULL, op_reset, NULL },
};

/* ---- one after the other ---- */

static void arm(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	/* It may be this that fails, once. */
	if (pwrite(nth_fd, text, len, 0) != len && pwrite(nth_fd, text, len, 0) != len)
		die("fail-nth");
}

/* Has an allocation failed since arm()? */
static bool has_failed(void)
{
	char text[16] = "";
	bool failed = pread(nth_fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	arm(0);
	return failed;
}

/*
 * Memory for what user space has passed is EFAULT to some. A device that was reset and can't
 * be compared with what it was is enumerated anew by the USB core. A device that has got no
 * name for lack of memory is invalid to the driver core.
 */
static bool is_fit(int error, int (*op)(void))
{
	return !error || error == ENOMEM || error == EFAULT ||
	       (error == ENODEV && op == op_reset) ||
	       (error == EINVAL && op == op_create);
}

static int run(int (*op)(void), int (*undo)(void))
{
	static unsigned int ends[256];
	unsigned int n, i, unfit = 0;
	bool failed;
	int error;

	for (n = 1; n < MOST; n++) {
		arm(n);
		error = op();
		failed = has_failed();
		ends[error < 256 ? error : 255]++;
		if (!is_fit(error, op)) {
			printf("allocation %u: %s; ", n, strerror(error));
			unfit++;
		}
		if (!error && undo && undo()) {
			printf("allocation %u: undoing it: %s\n", n, strerror(errno));
			return 1;
		}
		if (!failed)
			break;
		/* Not what it was before: the USB core has it enumerated anew. */
		if (error == ENODEV && op == op_reset) {
			error = 0;
			break;
		}
	}
	printf("%u allocations:", n - 1);
	for (i = 0; i < 256; i++)
		if (ends[i])
			printf(" %s %u", i ? strerrorname_np(i) : "well", ends[i]);
	printf("\n");
	return error || unfit || n == MOST;
}

int main(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc < 2 || strcmp(argv[1], cases[i].name) ||
		    argc != 2 + cases[i].nargs)
			continue;
		args = argv + 2;
		nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		if (nth_fd < 0)
			die("fail-nth");
		fd = open(args[0], O_CLOEXEC | cases[i].flags);
		if (fd < 0)
			die(args[0]);
		if (cases[i].begin)
			cases[i].begin();
		return run(cases[i].op, cases[i].undo);
	}
	fprintf(stderr, "usage: failnth CASE ARG...\n");
	return 2;
}
