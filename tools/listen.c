// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets of a server.
 */
#include <endian.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "usbctl.h"

#define SUFFIX		".new"
#define BACKLOG		16
#define GROUPS_MAX	256

/* A socket that nobody listens on is left of a server that died. */
static bool is_left(const char *path, mode_t mode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock, ret, error;

	if (!S_ISSOCK(mode) || strlen(path) >= sizeof(address.sun_path))
		return false;
	strcpy(address.sun_path, path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ret = connect(sock, (const struct sockaddr *)&address, sizeof(address));
	error = errno;
	fd_close(&sock);
	return ret && error == ECONNREFUSED;
}

void socket_forget(const char *path)
{
	struct stat stat;

	if (!lstat(path, &stat) && is_left(path, stat.st_mode))
		unlink(path);
}

static int make_room(const char *path)
{
	struct stat stat;

	socket_forget(path);
	if (lstat(path, &stat))
		return UCTL_OK;
	if (!S_ISSOCK(stat.st_mode))
		return fail(UCTL_BUSY, "%s exists and is no socket; give another --socket",
			    path);
	return fail(UCTL_BUSY, "another program listens on %s; end it or give another --socket",
		    path);
}

static int bind_failed(const char *path, int error)
{
	if (status_of(error) == UCTL_PERM)
		return fail(UCTL_PERM, "not allowed to make the socket %s; run usbctl as root",
			    path);
	return fail(status_of(error), "cannot make the socket %s: %s", path,
		    strerror(error));
}

/* By its name, which somebody else may have made a link of, if the directory is theirs. */
static int give_away(const char *path, const struct server_config *config)
{
	uid_t user = config->has_user ? config->user : (uid_t)-1;
	gid_t group = config->has_group ? config->group : (gid_t)-1;

	if ((config->has_user || config->has_group) && lchown(path, user, group))
		return fail(status_of(errno), "cannot give %s to user and group: %s", path,
			    strerror(errno));
	return UCTL_OK;
}

/* A path is to be had under its name only when it can be connected to. */
static int listen_at(int sock, const char *path, const char *temporary,
		     const struct server_config *config)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int status = UCTL_OK;
	mode_t mask;

	strcpy(address.sun_path, temporary);
	unlink(temporary);
	/* Nobody else's from the first moment on; the group is still our own. */
	mask = umask(config->has_group ? 0117 : 0177);
	if (bind(sock, (struct sockaddr *)&address, sizeof(address)))
		status = bind_failed(path, errno);
	umask(mask);
	if (status)
		return status;
	status = give_away(temporary, config);
	if (!status && (listen(sock, BACKLOG) || rename(temporary, path)))
		status = bind_failed(path, errno);
	if (status)
		unlink(temporary);
	return status;
}

int socket_listen(const char *path, const struct server_config *config)
{
	size_t longest = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1 - strlen(SUFFIX);
	char *temporary;
	int sock, status;

	if (strlen(path) > longest)
		return -fail(UCTL_USAGE, "%s is too long for a socket: at most %zu octets",
			     path, longest);
	status = make_room(path);
	if (status)
		return -status;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -bind_failed(path, errno);
	temporary = xasprintf("%s" SUFFIX, path);
	status = listen_at(sock, path, temporary, config);
	free(temporary);
	if (status)
		fd_close(&sock);
	return status ? -status : sock;
}

static bool is_in_group(int sock, gid_t gid, gid_t wanted)
{
	gid_t groups[GROUPS_MAX];
	socklen_t length = sizeof(groups);
	size_t i;

	if (gid == wanted)
		return true;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &length))
		return false;
	for (i = 0; i < length / sizeof(gid_t); i++) {
		if (groups[i] == wanted)
			return true;
	}
	return false;
}

bool socket_is_allowed(int sock, const struct server_config *config, pid_t *pid,
		       uid_t *uid)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return false;
	*pid = cred.pid;
	*uid = cred.uid;
	return cred.uid == 0 || cred.uid == geteuid() ||
	       (config->has_user && cred.uid == config->user) ||
	       (config->has_group && is_in_group(sock, cred.gid, config->group));
}

int socket_send(int sock, int64_t message, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	} };
	uint64_t wire = htole64(message);
	struct iovec iov = { .iov_base = &wire, .iov_len = sizeof(wire) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t put;

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	do {
		put = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	return put == sizeof(wire) ? 0 : -EPIPE;
}

bool socket_is_drained(int sock)
{
	int queued = 0;

	return !ioctl(sock, SIOCOUTQ, &queued) && !queued;
}
