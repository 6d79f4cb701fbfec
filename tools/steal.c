// SPDX-License-Identifier: GPL-2.0
/*
 * A server of a driver VM that died left nothing in the kernel, but its peers go on
 * with region and doorbells. They are the same files still: get them from a peer.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "usbctl.h"

static uint64_t fdinfo_eventfd(const char *path)
{
	char *text = file_read(path);
	char *line = text ? strstr(text, "eventfd-id:") : NULL;
	unsigned long long id = 0;

	/* Numbers begin with 0, and 0 is to mean "unknown". */
	if (line && sscanf(line, "eventfd-id: %llu", &id) == 1)
		id++;
	free(text);
	return id;
}

uint64_t bell_id(int fd)
{
	char *path = xasprintf("/proc/self/fdinfo/%d", fd);
	uint64_t id = fdinfo_eventfd(path);

	free(path);
	return id;
}

uint64_t region_memory_id(const struct region *region)
{
	struct stat stat;

	return fstat(region->memfd, &stat) ? 0 : stat.st_ino;
}

static bool is_memory(pid_t pid, const char *fd, const struct served *old)
{
	char *path = xasprintf("/proc/%d/fd/%s", (int)pid, fd);
	char *label = xasprintf("/memfd:usbif-%s (deleted)", old->vm);
	char target[128];
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	struct stat file;
	bool is;

	target[length < 0 ? 0 : length] = '\0';
	is = !strcmp(target, label) && !stat(path, &file) &&
	     file.st_ino == old->memory;
	free(label);
	free(path);
	return is;
}

static void take(int *fd, int pidfd, const char *number)
{
	if (*fd < 0)
		*fd = syscall(SYS_pidfd_getfd, pidfd, atoi(number), 0);
}

static void search(struct region *region, pid_t pid, int pidfd,
		   const struct served *old)
{
	char *dir = xasprintf("/proc/%d/fdinfo", (int)pid);
	DIR *fds = opendir(dir);
	struct dirent *entry;
	uint64_t id;
	char *path;

	while (fds && (entry = readdir(fds))) {
		if (entry->d_name[0] == '.')
			continue;
		path = xasprintf("%s/%s", dir, entry->d_name);
		id = fdinfo_eventfd(path);
		free(path);
		if (id && id == old->bell[ROLE_BACKEND])
			take(&region->bell_back, pidfd, entry->d_name);
		else if (id && id == old->bell[ROLE_GUEST])
			take(&region->bell_front, pidfd, entry->d_name);
		else if (!id && is_memory(pid, entry->d_name, old))
			take(&region->memfd, pidfd, entry->d_name);
	}
	if (fds)
		closedir(fds);
	free(dir);
}

/* Its owner may have put another file there after we had looked, one that blocks. */
static void bell_check(int *bell, uint64_t id)
{
	if (*bell >= 0 && bell_id(*bell) != id)
		fd_close(bell);
}

/* Its owner may have put a file there that can shrink, under those who have it mapped. */
static bool is_sound(const struct region *region, const struct served *old)
{
	int seals = fcntl(region->memfd, F_GET_SEALS);
	struct stat stat;

	return seals >= 0 && seals & F_SEAL_SHRINK && seals & F_SEAL_GROW &&
	       !fstat(region->memfd, &stat) && stat.st_ino == old->memory &&
	       (uint64_t)stat.st_size == region->size;
}

static int bell_replace(int *bell)
{
	if (*bell < 0)
		*bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *bell < 0;
}

bool region_steal(struct region *region, const struct served *old)
{
	int role, pidfd;

	memset(region, 0, sizeof(*region));
	region->size = old->size;
	region->memfd = -1;
	region->bell_back = -1;
	region->bell_front = -1;
	for (role = 0; role < NR_ROLES; role++) {
		if (old->peer[role] <= 0)
			continue;
		pidfd = pidfd_get(old->peer[role]);
		if (pidfd >= 0 && old->start_time[role] &&
		    process_start_time(old->peer[role]) == old->start_time[role])
			search(region, old->peer[role], pidfd, old);
		fd_close(&pidfd);
	}
	bell_check(&region->bell_back, old->bell[ROLE_BACKEND]);
	bell_check(&region->bell_front, old->bell[ROLE_GUEST]);
	/* A doorbell that no living peer holds may be a new one. */
	if (region->memfd >= 0 && is_sound(region, old) &&
	    !bell_replace(&region->bell_back) && !bell_replace(&region->bell_front) &&
	    !region_map(region))
		return true;
	region_close(region);
	return false;
}
