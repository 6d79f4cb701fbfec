// SPDX-License-Identifier: GPL-2.0
/*
 * channels DEVICE CASE - make channels of kind fd in right and wrong ways
 *
 * Exits with 0 if the module does as include/usbif_ioctl.h says; else says what it did.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <unistd.h>
#include "../../include/usbif_ioctl.h"

#define MIB	(1 << 20)
#define NAME	"channels"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static int control;
static int failures;
static bool is_backend;

__attribute__((format(printf, 2, 3)))
static void expect(bool good, const char *format, ...)
{
	va_list args;

	if (good || failures++ > 5)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static int memory(off_t size, unsigned int flags)
{
	int fd = memfd_create("region", MFD_CLOEXEC | flags);

	if (fd < 0 || ftruncate(fd, size))
		die("memfd");
	return fd;
}

static int bell(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		die("eventfd");
	return fd;
}

static int create(int mem, int in, int out)
{
	struct usbif_ioc_create arg = {
		.size = sizeof(arg), .name = NAME, .memfd = mem, .in_fd = in,
		.out_fd = out,
	};

	return ioctl(control, USBIF_IOC_CREATE, &arg) ? errno : 0;
}

static int drop(void)
{
	struct usbif_ioc_drop arg = { .size = sizeof(arg), .name = NAME };

	return ioctl(control, USBIF_IOC_DROP, &arg) ? errno : 0;
}

static int adopt(struct usbif_ioc_adopt *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	strcpy(arg->name, NAME);
	return ioctl(control, USBIF_IOC_ADOPT, arg) ? errno : 0;
}

/* A channel must be refused with @error, and be possible once all is right. */
static void refused(const char *what, int mem, int in, int out, int error)
{
	int ret = create(mem, in, out);

	expect(ret == error, "%s: %s, not %s", what, strerror(ret),
	       strerror(error));
	if (!ret)
		drop();
}

static void case_files(void)
{
	int in = bell(), out = bell(), mem = memory(MIB, 0);
	int disk = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int dir = open("/tmp", O_RDONLY | O_CLOEXEC);
	int pipes[2], sealed = memory(MIB, MFD_ALLOW_SEALING);
	char path[64];
	int readonly;

	if (disk < 0 || dir < 0 || pipe2(pipes, O_CLOEXEC))
		die("files");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	if (fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE))
		die("seal");

	refused("closed memory", 999, in, out, EBADF);
	refused("memory -1", -1, in, out, EBADF);
	refused("file on a disk", disk, in, out, EINVAL);
	refused("directory", dir, in, out, EINVAL);
	refused("pipe", pipes[0], in, out, EINVAL);
	refused("eventfd as memory", in, in, out, EINVAL);
	refused("read-only memory", readonly, in, out, EACCES);
	refused("memory sealed against writing", sealed, in, out, EPERM);
	refused("closed bell in", mem, 999, out, EBADF);
	refused("closed bell out", mem, in, 999, EBADF);
	refused("memory as bell in", mem, mem, out, EINVAL);
	refused("pipe as bell out", mem, in, pipes[1], EINVAL);
	expect(!create(mem, in, out), "good ones: %s", strerror(errno));
	expect(create(mem, in, out) == EBUSY, "twice: %s", strerror(errno));
	expect(!drop(), "drop: %s", strerror(errno));
	expect(drop() == ENOENT, "dropped twice: %s", strerror(errno));
}

static void case_sizes(void)
{
	static const off_t wrong[] = {
		0, 1, 4096, MIB / 2, MIB - 4096, MIB - 1, MIB + 1, MIB + 4096,
		3 * MIB, 512ll * MIB + 4096, 1536ll * MIB, 2048ll * MIB,
		1ll << 40,
	};
	static const off_t right[] = { MIB, 2 * MIB, 64 * MIB };
	int in = bell(), out = bell();
	char what[64];
	size_t i;
	int mem;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		mem = memory(wrong[i], 0);
		snprintf(what, sizeof(what), "%lld octets", (long long)wrong[i]);
		refused(what, mem, in, out, EINVAL);
		close(mem);
	}
	for (i = 0; i < ARRAY_SIZE(right); i++) {
		mem = memory(right[i], 0);
		expect(!create(mem, in, out), "%lld octets: %s",
		       (long long)right[i], strerror(errno));
		expect(!drop(), "drop: %s", strerror(errno));
		close(mem);
	}
}

/* Needs huge pages: echo 2 > /proc/sys/vm/nr_hugepages. */
static void case_huge(void)
{
	int mem = memory(4 * MIB, MFD_HUGETLB);

	expect(!create(mem, bell(), bell()), "huge pages: %s", strerror(errno));
	expect(!drop(), "drop: %s", strerror(errno));
	close(mem);
	mem = memory(4096ll * MIB, MFD_HUGETLB);
	refused("too much", mem, bell(), bell(), EINVAL);
	close(mem);
	/* More than there are: the fault that pinning meets is SIGBUS. */
	mem = memory(512ll * MIB, MFD_HUGETLB);
	expect(create(mem, bell(), bell()), "more huge pages than there are");
}

static void case_locked(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct caps[2];
	struct rlimit limit = { 2 * MIB, 2 * MIB };
	int in = bell(), out = bell();

	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    syscall(SYS_capget, &header, caps))
		die("limits");
	expect(!create(memory(4 * MIB, 0), in, out), "with CAP_IPC_LOCK: %s",
	       strerror(errno));
	expect(!drop(), "drop: %s", strerror(errno));
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, caps))
		die("capset");
	refused("over RLIMIT_MEMLOCK", memory(4 * MIB, 0), in, out, ENOMEM);
	/* What was refused, or dropped, counts no more. */
	refused("over RLIMIT_MEMLOCK", memory(4 * MIB, 0), in, out, ENOMEM);
	expect(!create(memory(2 * MIB, 0), in, out), "just the limit: %s",
	       strerror(errno));
	expect(!drop(), "drop: %s", strerror(errno));
	expect(!create(memory(2 * MIB, 0), in, out), "again: %s",
	       strerror(errno));
	expect(!drop(), "drop: %s", strerror(errno));
}

static bool same_file(int one, int other)
{
	return !syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, one, other);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void case_adopt(void)
{
	struct rlimit old, limit;
	struct usbif_ioc_adopt arg, *page;
	int mem = memory(MIB, 0), in = bell(), out = bell();
	int before, ret, top;

	expect(adopt(&arg) == ENOENT, "without a channel: %s", strerror(errno));
	expect(!create(mem, in, out), "create: %s", strerror(errno));
	ret = adopt(&arg);
	expect(!ret, "adopt: %s", strerror(ret));
	expect(same_file(mem, arg.memfd) && same_file(in, arg.in_fd) &&
	       same_file(out, arg.out_fd), "other files");
	expect(fcntl(arg.memfd, F_GETFD) & FD_CLOEXEC &&
	       fcntl(arg.in_fd, F_GETFD) & FD_CLOEXEC &&
	       fcntl(arg.out_fd, F_GETFD) & FD_CLOEXEC, "not close-on-exec");
	top = arg.out_fd;
	close(arg.memfd);
	close(arg.in_fd);
	close(arg.out_fd);

	/* Room for two of the three. */
	before = open_files();
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = top;
	setrlimit(RLIMIT_NOFILE, &limit);
	ret = adopt(&arg);
	setrlimit(RLIMIT_NOFILE, &old);
	expect(ret == EMFILE, "without room: %s", strerror(ret));
	expect(open_files() == before, "files were left open");

	/* Nowhere to put the numbers. */
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*page = (struct usbif_ioc_adopt){ .size = sizeof(*page), .name = NAME };
	mprotect(page, 4096, PROT_READ);
	ret = ioctl(control, USBIF_IOC_ADOPT, page) ? errno : 0;
	munmap(page, 4096);
	expect(ret == EFAULT, "to read-only memory: %s", strerror(ret));
	expect(open_files() == before, "files were left open");
	expect(!drop(), "drop: %s", strerror(errno));
}

/* True if somebody else empties the counter. */
static bool drained(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (!poll(&pfd, 1, 0))
			return true;
		usleep(10000);
	}
	return false;
}

static void ring(int fd, uint64_t count)
{
	if (write(fd, &count, sizeof(count)) != sizeof(count))
		die("eventfd");
}

static void case_bells(void)
{
	int mem = memory(MIB, 0), in = bell(), out = bell();
	uint64_t count;
	int i;

	ring(in, 3);
	expect(!create(mem, in, out), "create: %s", strerror(errno));
	expect(drained(in), "rung before: not heard");
	for (i = 0; i < 100; i++) {
		ring(in, 1ull << (i % 40));
		expect(drained(in), "rung: not heard");
	}
	/* A backend says that it is there; a frontend waits for that. */
	if (is_backend)
		expect(poll(&(struct pollfd){ out, POLLIN, 0 }, 1, 3000) == 1,
		       "not rung");
	expect(!drop(), "drop: %s", strerror(errno));
	ring(in, 1);
	usleep(50000);
	expect(read(in, &count, sizeof(count)) == sizeof(count) && count == 1,
	       "heard after the end");

	/* One eventfd for both directions rings itself. */
	expect(!create(mem, in, in), "create: %s", strerror(errno));
	ring(in, 1);
	expect(!drop(), "drop: %s", strerror(errno));

	/* Of the semaphore kind, one is taken at a time. */
	in = eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	expect(!create(mem, in, out), "create: %s", strerror(errno));
	ring(in, 1);
	expect(!drop(), "drop: %s", strerror(errno));
}

/* The caller's descriptors go, the memory shrinks: the channel does not mind. */
static void case_rude(void)
{
	int mem = memory(4 * MIB, 0), in = bell(), out = bell();
	int keep = dup(in);
	int i;

	expect(!create(mem, in, out), "create: %s", strerror(errno));
	if (ftruncate(mem, 0) || ftruncate(mem, 64 * MIB) ||
	    fallocate(mem, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB))
		die("truncate");
	close(mem);
	close(in);
	close(out);
	for (i = 0; i < 50; i++) {
		ring(keep, 1);
		usleep(1000);
	}
	expect(drained(keep), "not heard");
	expect(!drop(), "drop: %s", strerror(errno));
}

static unsigned long long vmstat(const char *name)
{
	int refresh = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);
	FILE *f = fopen("/proc/vmstat", "re");
	unsigned long long value;
	char word[64];

	/* Each processor counts for itself; this adds it up. */
	if (refresh < 0 || write(refresh, "1", 1) != 1)
		die("stat_refresh");
	close(refresh);
	while (f && fscanf(f, "%63s %llu", word, &value) == 2)
		if (!strcmp(word, name)) {
			fclose(f);
			return value;
		}
	die(name);
	return 0;
}

static long long pinned(void)
{
	return vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
}

static void case_many(void)
{
	unsigned long long shmem;
	long long before = pinned();
	int i;

	shmem = vmstat("nr_shmem");
	for (i = 0; i < 100; i++) {
		int mem = memory(4 * MIB, 0), in = bell(), out = bell();

		expect(!create(mem, in, out), "create: %s", strerror(errno));
		expect(create(mem, 999, out) == EBUSY, "name in use");
		close(mem);
		close(in);
		close(out);
		expect(pinned() - before >= 1024, "%lld pages pinned",
		       pinned() - before);
		expect(!drop(), "drop: %s", strerror(errno));
		mem = memory(4 * MIB, 0);
		expect(create(mem, 999, 999) == EBADF, "bad bells");
		close(mem);
	}
	expect(pinned() == before, "%lld pages stay pinned",
	       pinned() - before);
	expect(vmstat("nr_shmem") < shmem + 2048, "%lld pages leaked",
	       (long long)(vmstat("nr_shmem") - shmem));
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "files", case_files }, { "sizes", case_sizes },
	{ "huge", case_huge }, { "locked", case_locked },
	{ "adopt", case_adopt }, { "bells", case_bells },
	{ "rude", case_rude }, { "many", case_many },
};

int main(int argc, char **argv)
{
	size_t i;

	if (argc != 3)
		goto usage;
	control = open(argv[1], O_RDWR | O_CLOEXEC);
	if (control < 0)
		die(argv[1]);
	is_backend = strstr(argv[1], "back");
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		if (!strcmp(argv[2], cases[i].name)) {
			cases[i].run();
			return failures > 0;
		}
usage:
	fprintf(stderr, "usage: %s DEVICE CASE\n", argv[0]);
	return 2;
}
