// SPDX-License-Identifier: GPL-2.0
/*
 * Rules that outlive a reboot: lines of /etc/usbif/rules.
 *
 * The file is the administrator's. Only the line of the bus ID in question changes, with
 * what follows it as a comment; all others stay as they are, whatever they say.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "usbctl.h"

#define KEPT_MODE	0644

static int keep_failed(const char *path, const char *busid, int error)
{
	return fail(status_of(error), "the rule of %s could not be kept in %s: %s", busid, path,
		    strerror(error));
}

/* Does a line of the file, comment and all, have a rule for the bus ID? */
static bool is_rule_of(const char *line, const char *busid)
{
	size_t length = strlen(busid);

	line += strspn(line, " \t");
	return !strncmp(line, busid, length) && line[length] == ':';
}

/* The text with @rule, which may be NULL, in place of what it has for the bus ID. */
static char *text_with(const char *old, const char *busid, const char *rule)
{
	size_t size = strlen(old) + (rule ? strlen(rule) : 0) + 3;
	char *text = xrealloc(NULL, size), *end = text;
	char *copy = xstrdup(old), *rest = copy, *line;
	const char *comment;

	while ((line = strsep(&rest, "\n"))) {
		if (!rest && !*line)
			break;
		if (!is_rule_of(line, busid)) {
			end += sprintf(end, "%s\n", line);
			continue;
		}
		/* A second line for the same bus ID would be refused. */
		if (!rule)
			continue;
		comment = strchr(line, '#');
		end += sprintf(end, "%s%s%s\n", rule, comment ? " " : "", comment ? comment : "");
		rule = NULL;
	}
	if (rule)
		end += sprintf(end, "%s\n", rule);
	*end = '\0';
	free(copy);
	return text;
}

/*
 * Nobody else rewrites the file until this process has ended. Only root can open what is
 * locked, so nobody else can have it locked for ever. A descriptor or -errno.
 */
static int conf_lock(void)
{
	static int fd = -1;
	char *path;
	int ret;

	if (fd >= 0)
		return fd;
	if (mkdir(conf_root(), 0755) && errno != EEXIST)
		return -errno;
	ret = run_root_make();
	if (ret)
		return ret;
	path = xasprintf("%s/rules.lock", run_root());
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	ret = fd < 0 || flock(fd, LOCK_EX) ? -errno : 0;
	free(path);
	if (!ret)
		return fd;
	fd_close(&fd);
	return ret;
}

/* Its name in the directory, too, has to outlive a loss of power. */
static int conf_sync(void)
{
	int fd = open(conf_root(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd < 0 || fsync(fd) ? -errno : 0;

	fd_close(&fd);
	return ret;
}

int rules_lock(const char *busid)
{
	char *path = xasprintf("%s/rules", conf_root());
	int lock = conf_lock(), status = UCTL_OK;

	if (lock < 0)
		status = keep_failed(path, busid, -lock);
	free(path);
	return status;
}

static int rewrite(const char *path, const char *busid, const char *rule)
{
	char *old = file_read(path), *text;
	struct stat st;
	int ret = 0;

	if (!old && errno != ENOENT)
		return -errno;
	if (stat(path, &st))
		st.st_mode = KEPT_MODE;
	text = text_with(old ? old : "", busid, rule);
	if (strcmp(text, old ? old : ""))
		ret = file_replace(path, text, st.st_mode & 0777) ?: conf_sync();
	free(text);
	free(old);
	return ret;
}

char *conf_line(char **rest)
{
	size_t length;
	char *line;

	while (*rest && (line = strsep(rest, "\n"))) {
		line[strcspn(line, "#")] = '\0';
		line += strspn(line, " \t");
		for (length = strlen(line); length && strchr(" \t\r", line[length - 1]);)
			line[--length] = '\0';
		if (length)
			return line;
	}
	return NULL;
}

void rules_read_kept(struct rules *rules, const char *busid)
{
	char *path = xasprintf("%s/rules", conf_root());
	char *text = file_read(path), *rest = text, *line;
	struct rule rule;

	memset(rules, 0, sizeof(*rules));
	while ((line = conf_line(&rest)))
		if (rule_parse(line, &rule) && strcmp(rule.busid, busid))
			rules_add(rules, &rule);
	free(text);
	free(path);
}

int rule_keep(const char *busid, const struct vport *vport, bool is_forced)
{
	char *path = xasprintf("%s/rules", conf_root());
	char *rule = NULL;
	int lock = conf_lock(), ret = lock;

	if (vport)
		rule = xasprintf("%s:%s:%u:%u%s", busid, vport->vm, vport->vusb, vport->port,
				 is_forced ? ":force" : "");
	if (lock >= 0)
		ret = rewrite(path, busid, rule);
	if (ret < 0)
		keep_failed(path, busid, -ret);
	else if (vport)
		printf("%s: kept in %s\n", busid, path);
	else
		printf("%s: no longer in %s\n", busid, path);
	free(rule);
	free(path);
	return ret < 0 ? (int)status_of(-ret) : UCTL_OK;
}
