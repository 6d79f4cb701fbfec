// SPDX-License-Identifier: GPL-2.0
/*
 * Messages, memory, names, small files, processes.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>
#include "usbctl.h"

static bool is_in_background;

void say_to_syslog(void)
{
	openlog("usbctl", LOG_PID, LOG_DAEMON);
	is_in_background = true;
}

static void __printf(1, 0) say_args(const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	if (is_in_background)
		syslog(LOG_NOTICE, "%s", line);
	else
		fprintf(stderr, "usbctl: %s\n", line);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(format, args);
	va_end(args);
}

int fail(enum status status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(format, args);
	va_end(args);
	return status;
}

enum status status_of(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return UCTL_OK;
	case EACCES:
	case EPERM:
		return UCTL_PERM;
	case ENOENT:
		return UCTL_NOTFOUND;
	case EBUSY:
	case EEXIST:
	case EADDRINUSE:
		return UCTL_BUSY;
	default:
		return UCTL_FAILED;
	}
}

void *xrealloc(void *old, size_t size)
{
	void *new = realloc(old, size);

	if (!new) {
		say("out of memory");
		exit(UCTL_FAILED);
	}
	return new;
}

char *xstrdup(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(xrealloc(NULL, size), text, size);
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text;
	int ret;

	va_start(args, format);
	ret = vasprintf(&text, format, args);
	va_end(args);
	if (ret < 0) {
		say("out of memory");
		exit(UCTL_FAILED);
	}
	return text;
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool is_vm_name(const char *text)
{
	size_t length;

	for (length = 0; text[length]; length++) {
		if (!isalnum((unsigned char)text[length]) &&
		    !strchr("_.-", text[length]))
			return false;
	}
	return length > 0 && length <= VM_NAME_MAX;
}

/* Bus, "-", ports joined by "."; as many levels as USB has. */
bool is_busid(const char *text)
{
	char end = '-';
	int parts;

	if (strlen(text) > BUSID_MAX)
		return false;
	for (parts = 0; parts < 7; parts++) {
		if (*text < '1' || *text > '9')
			return false;
		text += strspn(text, "0123456789");
		if (!*text)
			return parts > 0;
		if (*text++ != end)
			return false;
		end = '.';
	}
	return false;
}

bool is_pci_address(const char *text)
{
	static const char pattern[] = "xxxx:xx:xx.x";
	size_t i;

	for (i = 0; pattern[i]; i++) {
		if (pattern[i] == 'x' ? !isxdigit((unsigned char)text[i]) :
					text[i] != pattern[i])
			return false;
	}
	return !text[i];
}

bool parse_number(const char *text, unsigned int max, unsigned int *value)
{
	unsigned long number = 0;
	const char *c;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (c = text; *c; c++) {
		if (!isdigit((unsigned char)*c))
			return false;
		number = number * 10 + (*c - '0');
		if (number > max)
			return false;
	}
	*value = number;
	return true;
}

bool parse_size(const char *text, uint64_t *value)
{
	static const char suffixes[] = "KMG";
	unsigned long long number;
	const char *suffix;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || end[1] || number > (1ull << 32))
			return false;
		number <<= 10 * (suffix - suffixes + 1);
	}
	*value = number;
	return true;
}

static const char *root(const char *variable, const char *standard)
{
	const char *value = getenv(variable);

	return value && *value ? value : standard;
}

const char *sysfs_root(void)
{
	return root("USBIF_SYSFS", "/sys");
}

const char *dev_root(void)
{
	return root("USBIF_DEV", "/dev");
}

const char *run_root(void)
{
	return root("USBIF_RUNDIR", "/run/usbif");
}

const char *conf_root(void)
{
	return root("USBIF_CONFDIR", "/etc/usbif");
}

char *fd_read(int fd)
{
	size_t size = 4096, used = 0;
	char *text = xrealloc(NULL, size);
	ssize_t got;

	for (;;) {
		got = read(fd, text + used, size - used - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += got;
		if (used + 1 == size)
			text = xrealloc(text, size *= 2);
	}
	if (got < 0) {
		int error = errno;

		free(text);
		errno = error;
		return NULL;
	}
	text[used] = '\0';
	return text;
}

char *file_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;
	int error;

	if (fd < 0)
		return NULL;
	text = fd_read(fd);
	error = errno;
	close(fd);
	errno = error;
	return text;
}

char *attr_read(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	char *text = file_read(path);

	free(path);
	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

int file_write(const char *path, const char *text)
{
	size_t length = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t put;
	int ret = 0;

	if (fd < 0)
		return -errno;
	put = write(fd, text, length);
	if (put < 0)
		ret = -errno;
	else if ((size_t)put != length)
		ret = -EIO;
	close(fd);
	return ret;
}

int file_replace(const char *path, const char *text, mode_t mode)
{
	char *temp = xasprintf("%s.new", path);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	size_t length = strlen(text);
	ssize_t put;
	int ret = 0;

	if (fd < 0) {
		ret = -errno;
		goto out;
	}
	put = write(fd, text, length);
	if (put < 0 || fchmod(fd, mode) || fsync(fd))
		ret = -errno;
	else if ((size_t)put != length)
		ret = -ENOSPC;
	close(fd);
	if (!ret && rename(temp, path))
		ret = -errno;
	if (ret)
		unlink(temp);
out:
	free(temp);
	return ret;
}

char *link_name(const char *path)
{
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	if (length < 0)
		return NULL;
	target[length] = '\0';
	return xstrdup(basename(target));
}

uint64_t process_start_time(pid_t pid)
{
	char *path = xasprintf("/proc/%d/stat", (int)pid);
	char *text = file_read(path);
	unsigned long long start = 0;
	char *c;
	int i;

	free(path);
	if (!text)
		return 0;
	/* The name, field 2, may hold anything: begin after its ")". */
	c = strrchr(text, ')');
	for (i = 2; c && i < 22; i++) {
		c = strchr(c, ' ');
		if (c)
			c++;
	}
	if (c)
		start = strtoull(c, NULL, 10);
	free(text);
	return start;
}

int pidfd_get(pid_t pid)
{
	return syscall(SYS_pidfd_open, pid, 0);
}

bool module_is_loaded(const char *module)
{
	char *path = xasprintf("%s/module/%s", sysfs_root(), module);
	bool is_loaded = !access(path, F_OK);

	free(path);
	return is_loaded;
}
