// SPDX-License-Identifier: GPL-2.0
/*
 * The server of one guest, in QEMU's ivshmem protocol (docs/specs/ivshmem-spec).
 *
 * Peer 0 is the guest, peer 1 the backend. On a KVM host the backend is this
 * kernel: it is always there and only the guest connects. For a driver VM both
 * are QEMUs, each with a socket of its own, and nothing but this process knows
 * when one of them dies; it then acts for the dead in the region: the guest's
 * state word becomes "closing", the backend's "closed", and the other is rung.
 *
 * A peer gets version, its number, the memory, the other's doorbell and its own,
 * whether or not the other is there, and never anything more: doorbells are those
 * of the channel, whoever is at the other end. The notice that a peer has gone is
 * not sent: QEMU 7.2 frees its record of such a peer and writes to it when one
 * with that number comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "usbctl.h"

#define IVSHMEM_VERSION	0
#define SETUP_MS	5000	/* for a peer to read what it was sent */
#define LOOK_MS		20	/* how often to see whether it has */
#define LOOK_LATE_MS	250	/* and if it takes longer */
#define RETRY_MS	250	/* while a module that came back is not ready */
#define RETRIES		40
#define PAUSE_MS	1000	/* until there may be descriptors again */

enum peer_state {
	PEER_NONE,
	PEER_SETUP,	/* connected, has not read everything yet */
	PEER_JOINED,
	PEER_ADOPTED,	/* joined an earlier server: no socket */
};

enum setup_step {
	STEP_VERSION,
	STEP_ID,
	STEP_MEMORY,
	STEP_OTHER_BELL,
	STEP_OWN_BELL,
	STEP_DONE,
};

/**
 * struct peer - a QEMU
 * @state: what it has come to
 * @sock: connection, -1 if adopted or none
 * @pidfd: watched if adopted
 * @pid: of the process, 0 if it is in another pid namespace
 * @start_time: of the process
 * @step: next part of the setup to be sent
 * @deadline: of the setup, if somebody else wants to connect
 */
struct peer {
	enum peer_state state;
	int sock;
	int pidfd;
	pid_t pid;
	uint64_t start_time;
	enum setup_step step;
	long deadline;
};

/**
 * struct server - of one guest
 * @config: what was asked for
 * @region: memory and doorbells
 * @is_kernel: the backend is usbback here
 * @mirror: of its rules
 * @retries: left, while a module that came back is not ready; 0: nothing to do
 * @signals: signalfd
 * @listener: one for each peer that may connect, else -1
 * @pause: nobody is let in until then, 0: everybody
 * @peer: the QEMUs
 */
struct server {
	const struct server_config *config;
	struct region *region;
	bool is_kernel;
	struct mirror mirror;
	int retries;
	int signals;
	int listener[NR_ROLES];
	long pause;
	struct peer peer[NR_ROLES];
};

static const char * const role_text[NR_ROLES] = {
	[ROLE_GUEST] = "guest", [ROLE_BACKEND] = "driver VM",
};

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *vm_of(const struct server *server)
{
	return server->config->vm;
}

static int bell_of(const struct server *server, enum role role)
{
	return role == ROLE_BACKEND ? server->region->bell_back :
				      server->region->bell_front;
}

/* For usbctl status, and for the server after this one. */
int server_describe(const struct server *server)
{
	struct served served = {
		.server = getpid(),
		.size = server->region->size,
		.memory = region_memory_id(server->region),
		.rules = server->mirror.rules,
	};
	int role, ret;

	snprintf(served.vm, sizeof(served.vm), "%s", vm_of(server));
	for (role = 0; role < NR_ROLES; role++) {
		served.socket[role] = server->config->socket[role];
		served.peer[role] = server->peer[role].pid;
		served.start_time[role] = server->peer[role].start_time;
		served.bell[role] = bell_id(bell_of(server, role));
		served.is_adopted |= server->peer[role].state == PEER_ADOPTED;
	}
	ret = served_write(&served);
	if (!ret)
		return UCTL_OK;
	return fail(UCTL_FAILED, "%s: cannot write to %s: %s", vm_of(server), run_root(),
		    strerror(-ret));
}

/* ---- the kernel's side ---- */

bool server_has_guest(const struct server *server)
{
	return server->peer[ROLE_GUEST].state != PEER_NONE;
}

bool server_has_rules(const struct server *server)
{
	return server->mirror.rules.count;
}

static int create_again(struct server *server, int cdev)
{
	const struct peer *guest = &server->peer[ROLE_GUEST];
	int ret = cdev_create(cdev, vm_of(server), server->region, false, guest->pid);

	if (!ret && server_has_guest(server))
		ret = cdev_peer(cdev, vm_of(server), true, guest->pid,
				guest->start_time);
	return ret;
}

static bool has_channel(struct server *server, int cdev)
{
	struct region found = { .memfd = -1, .bell_back = -1, .bell_front = -1 };
	uint64_t start_time;
	pid_t pid;
	int ret = cdev_adopt(cdev, vm_of(server), &found, &pid, &start_time);

	region_close(&found);
	return ret != -ENOENT;
}

/* The module makes its files one after the other; give up after a while. */
static void retry_later(struct server *server)
{
	server->retries = server->retries ? server->retries - 1 : RETRIES;
}

/*
 * Makes the channel again if the module has come back without it, and then the
 * rules. Only then the mirror looks at the module again, or it would take the lack of
 * rules for an order.
 */
static void check_module(struct server *server)
{
	int cdev = cdev_open("usbback", true);
	int ret = 0;

	if (cdev < 0) {
		if (server->mirror.has_node)
			retry_later(server);
		else
			server->retries = 0;
		return;
	}
	if (!has_channel(server, cdev)) {
		region_write_identity(server->region);
		ret = create_again(server, cdev);
		say("%s: usbback was loaded again: %s", vm_of(server),
		    ret ? strerror(-ret) : "channel made again");
		if (!ret)
			limits_restore(vm_of(server));
		server->mirror.is_stale = true;
	}
	close(cdev);
	if ((server->mirror.is_stale && !mirror_restore(&server->mirror)) || ret)
		retry_later(server);
	else
		server->retries = 0;
}

void server_restore(struct server *server, struct rules *rules)
{
	/* Those of a driver VM are its own. */
	if (!server->is_kernel || !rules->count || server->mirror.rules.count)
		return;
	limits_restore(vm_of(server));
	mirror_inherit(&server->mirror, rules);
	if (!mirror_restore(&server->mirror))
		retry_later(server);
}

static void tell_kernel(struct server *server, bool has_joined)
{
	const struct peer *guest = &server->peer[ROLE_GUEST];
	int cdev, ret;

	cdev = cdev_open("usbback", true);
	if (cdev < 0) {
		say("%s: usbback is not loaded; type: modprobe usbback", vm_of(server));
		return;
	}
	ret = cdev_peer(cdev, vm_of(server), has_joined, guest->pid,
			guest->start_time);
	if (ret == -ENOENT && has_joined)
		ret = create_again(server, cdev);
	if (ret && ret != -ENOENT)
		say("%s: telling usbback of the guest: %s", vm_of(server),
		    strerror(-ret));
	close(cdev);
}

/* ---- peers ---- */

static void join(struct server *server, enum role role)
{
	if (role == ROLE_GUEST && server->is_kernel)
		tell_kernel(server, true);
}

static void leave(struct server *server, enum role role)
{
	if (role == ROLE_BACKEND)
		region_back_is_dead(server->region);
	else if (server->is_kernel)
		tell_kernel(server, false);
	else
		region_front_is_dead(server->region);
}

static void peer_gone(struct server *server, enum role role, const char *why)
{
	struct peer *peer = &server->peer[role];

	say("%s: %s (process %d) %s", vm_of(server), role_text[role],
	    (int)peer->pid, why);
	leave(server, role);
	fd_close(&peer->sock);
	fd_close(&peer->pidfd);
	memset(peer, 0, sizeof(*peer));
	peer->sock = -1;
	peer->pidfd = -1;
	server_describe(server);
}

static int send_step(struct server *server, enum role role)
{
	enum role other = role == ROLE_GUEST ? ROLE_BACKEND : ROLE_GUEST;
	const struct peer *peer = &server->peer[role];

	switch (peer->step) {
	case STEP_VERSION:
		return socket_send(peer->sock, IVSHMEM_VERSION, -1);
	case STEP_ID:
		return socket_send(peer->sock, role, -1);
	case STEP_MEMORY:
		return socket_send(peer->sock, -1, server->region->memfd);
	case STEP_OTHER_BELL:
		return socket_send(peer->sock, other, bell_of(server, other));
	case STEP_OWN_BELL:
		return socket_send(peer->sock, role, bell_of(server, role));
	case STEP_DONE:
		break;
	}
	return 0;
}

/* Sends what the peer does not know yet, as far as there is room. */
static void inform(struct server *server, enum role role)
{
	struct peer *peer = &server->peer[role];
	int ret = 0;

	while (!ret && peer->step < STEP_DONE) {
		ret = send_step(server, role);
		if (!ret)
			peer->step++;
	}
	if (ret && ret != -EAGAIN)
		peer_gone(server, role, "broke the connection");
}

static bool has_to_be_told(const struct server *server, enum role role)
{
	return server->peer[role].state == PEER_SETUP &&
	       server->peer[role].step < STEP_DONE;
}

/*
 * The protocol has no word for no, and QEMU waits for ever on a connection that is
 * only closed. A version that it does not know ends it, with the number in its message.
 */
static void refuse(int sock, int error)
{
	socket_send(sock, -error, -1);
	close(sock);
}

/*
 * A peer takes a descriptor, and while usbback is told of it two more. Without them it
 * waits in the queue of the socket; a poll that sees it there would come back at once.
 */
static bool has_room(struct server *server)
{
	int spare[3], error = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(spare); i++) {
		spare[i] = fcntl(server->signals, F_DUPFD_CLOEXEC, 0);
		if (spare[i] < 0)
			error = errno;
	}
	for (i = 0; i < ARRAY_SIZE(spare); i++)
		fd_close(&spare[i]);
	if (error && !server->pause)
		say("%s: nobody can join: %s; trying again each second", vm_of(server),
		    strerror(error));
	server->pause = error ? now_ms() + PAUSE_MS : 0;
	return !error;
}

static void peer_accept(struct server *server, enum role role)
{
	struct peer *peer = &server->peer[role];
	pid_t pid = 0;
	uid_t uid = 0;
	int sock;

	if (!has_room(server))
		return;
	sock = accept4(server->listener[role], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (sock < 0)
		return;
	if (!socket_is_allowed(sock, server->config, &pid, &uid)) {
		say("%s: process %d of user %u refused: add --user or --group to usbctl serve",
		    vm_of(server), (int)pid, (unsigned int)uid);
		refuse(sock, EACCES);
		return;
	}
	if (peer->state != PEER_NONE) {
		say("%s: process %d refused: the %s is process %d%s; end that first",
		    vm_of(server), (int)pid, role_text[role], (int)peer->pid,
		    peer->state == PEER_ADOPTED ?
			", which joined an earlier server" : "");
		refuse(sock, EBUSY);
		return;
	}
	peer->state = PEER_SETUP;
	peer->sock = sock;
	peer->pid = pid;
	peer->start_time = process_start_time(pid);
	peer->step = STEP_VERSION;
	peer->deadline = now_ms() + SETUP_MS;
	/* Before it can see the memory. */
	region_write_identity(server->region);
	join(server, role);
	inform(server, role);
}

static bool is_awaited(const struct server *server, enum role role)
{
	struct pollfd poller = { server->listener[role], POLLIN, 0 };

	return poll(&poller, 1, 0) > 0;
}

/*
 * QEMU connects first and reads the doorbells last, when it has loaded the guest. It
 * can't connect again, so nobody is dropped for being slow, unless others have to wait.
 */
static void peer_setup(struct server *server, enum role role)
{
	struct peer *peer = &server->peer[role];

	if (peer->state != PEER_SETUP)
		return;
	if (peer->step == STEP_DONE && socket_is_drained(peer->sock)) {
		peer->state = PEER_JOINED;
		say("%s: %s joined (process %d)", vm_of(server), role_text[role],
		    (int)peer->pid);
		server_describe(server);
	} else if (now_ms() > peer->deadline && is_awaited(server, role)) {
		peer_gone(server, role, "connected but does not read: dropped");
	}
}

/* QEMU never says anything: whatever can be read is an end or not QEMU's. */
static void peer_readable(struct server *server, enum role role)
{
	char octet;
	ssize_t got = recv(server->peer[role].sock, &octet, 1, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	peer_gone(server, role, got > 0 ?
		  "sent something, which QEMU never does: dropped" : "has gone");
}

void server_adopt(struct server *server, enum role role, pid_t pid,
		  uint64_t start_time)
{
	struct peer *peer = &server->peer[role];

	if (pid <= 0)
		return;
	peer->pid = pid;
	peer->start_time = start_time;
	peer->pidfd = pidfd_get(pid);
	/* Opened first, asked then: the number can't change hands in between. */
	if (peer->pidfd < 0 ||
	    (start_time && process_start_time(pid) != start_time)) {
		peer_gone(server, role, "has ended while nobody served it");
		return;
	}
	peer->state = PEER_ADOPTED;
	say("%s: %s (process %d) joined an earlier server and goes on",
	    vm_of(server), role_text[role], (int)pid);
}

/* ---- the loop ---- */

enum poll_index {
	POLL_SIGNAL,
	POLL_DEV,
	POLL_VPORTS,
	POLL_LISTEN,
	POLL_PEER = POLL_LISTEN + NR_ROLES,
	NR_POLL = POLL_PEER + NR_ROLES,
};

static void poll_prepare(const struct server *server, struct pollfd *poller)
{
	bool is_paused = server->pause > now_ms();
	const struct peer *peer;
	int role;

	poller[POLL_SIGNAL] = (struct pollfd){ server->signals, POLLIN, 0 };
	poller[POLL_DEV] = (struct pollfd){ server->mirror.inotify, POLLIN, 0 };
	poller[POLL_VPORTS] = (struct pollfd){ server->mirror.vports, POLLPRI, 0 };
	for (role = 0; role < NR_ROLES; role++) {
		peer = &server->peer[role];
		/* The next one waits until it is clear whether this one is good. */
		poller[POLL_LISTEN + role] = (struct pollfd){
			peer->state == PEER_SETUP || is_paused ? -1 : server->listener[role],
			POLLIN, 0 };
		poller[POLL_PEER + role] = (struct pollfd){
			peer->sock >= 0 ? peer->sock : peer->pidfd,
			POLLIN | (has_to_be_told(server, role) ? POLLOUT : 0), 0 };
	}
}

static int poll_timeout(const struct server *server)
{
	const struct peer *peer;
	int role;

	for (role = 0; role < NR_ROLES; role++) {
		peer = &server->peer[role];
		if (peer->state == PEER_SETUP)
			return now_ms() > peer->deadline ? LOOK_LATE_MS : LOOK_MS;
	}
	if (server->retries)
		return RETRY_MS;
	return server->pause > now_ms() ? PAUSE_MS : -1;
}

static void serve_peer(struct server *server, enum role role, short events)
{
	struct peer *peer = &server->peer[role];

	if (events && peer->state == PEER_ADOPTED)
		peer_gone(server, role, "has ended");
	else if (events & (POLLIN | POLLHUP | POLLERR) && peer->sock >= 0)
		peer_readable(server, role);
	if (has_to_be_told(server, role))
		inform(server, role);
	peer_setup(server, role);
}

static void serve_kernel(struct server *server, const struct pollfd *poller)
{
	bool has_changed = poller[POLL_VPORTS].revents;

	if (!server->is_kernel)
		return;
	if (poller[POLL_DEV].revents)
		has_changed |= mirror_drain(&server->mirror);
	if (!has_changed && !server->retries)
		return;
	if (!mirror_update(&server->mirror))
		server->mirror.is_stale = true;
	check_module(server);
	if (server->mirror.is_new)
		server_describe(server);
	server->mirror.is_new = false;
}

int server_run(struct server *server)
{
	struct pollfd poller[NR_POLL];
	int role, ready;

	for (;;) {
		poll_prepare(server, poller);
		ready = poll(poller, NR_POLL, poll_timeout(server));
		if (ready < 0 && errno != EINTR)
			return fail(UCTL_FAILED, "poll: %s", strerror(errno));
		if (ready < 0)
			continue;
		if (poller[POLL_SIGNAL].revents)
			return UCTL_OK;
		serve_kernel(server, poller);
		for (role = 0; role < NR_ROLES; role++)
			serve_peer(server, role, poller[POLL_PEER + role].revents);
		for (role = 0; role < NR_ROLES; role++) {
			if (poller[POLL_LISTEN + role].revents)
				peer_accept(server, role);
		}
	}
}

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_listeners(struct server *server)
{
	int role, sock;

	for (role = 0; role < NR_ROLES; role++) {
		if (!server->config->socket[role])
			continue;
		sock = socket_listen(server->config->socket[role], server->config);
		if (sock < 0)
			return -sock;
		server->listener[role] = sock;
	}
	return UCTL_OK;
}

int server_open(struct server **server, const struct server_config *config,
		struct region *region)
{
	struct server *new = xrealloc(NULL, sizeof(*new));
	int role, status;

	memset(new, 0, sizeof(*new));
	new->config = config;
	new->region = region;
	new->is_kernel = !config->socket[ROLE_BACKEND];
	new->mirror.inotify = -1;
	new->mirror.vports = -1;
	for (role = 0; role < NR_ROLES; role++) {
		new->listener[role] = -1;
		new->peer[role].sock = -1;
		new->peer[role].pidfd = -1;
	}
	new->signals = catch_signals();
	status = open_listeners(new);
	if (!status && new->is_kernel)
		status = mirror_open(&new->mirror, config->vm);
	if (status)
		server_close(new);
	else
		*server = new;
	return status;
}

void server_close(struct server *server)
{
	int role;

	for (role = 0; role < NR_ROLES; role++) {
		if (server->listener[role] >= 0)
			unlink(server->config->socket[role]);
		fd_close(&server->listener[role]);
		fd_close(&server->peer[role].sock);
		fd_close(&server->peer[role].pidfd);
	}
	mirror_close(&server->mirror);
	fd_close(&server->signals);
	free(server);
}
