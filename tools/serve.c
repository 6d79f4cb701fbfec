// SPDX-License-Identifier: GPL-2.0
/*
 * usbctl serve: gets region and sockets ready, goes to the background, serves.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "usbctl.h"

/* What the command line asks for. */
struct request {
	struct server_config config;
	uint64_t size;
	bool has_size;
	bool is_huge;
	bool is_foreground;
	bool is_stop;
};

/* Who takes part already when the server starts, and what usbback has to be told. */
struct inherited {
	pid_t pid[NR_ROLES];
	uint64_t start_time[NR_ROLES];
	struct rules rules;
	bool is_new;		/* channel in the kernel */
};

static const struct option options[] = {
	HELP_OPTION,
	VERSION_OPTION,
	{ "socket", required_argument, NULL, 's' },
	{ "size", required_argument, NULL, 'z' },
	{ "backend-socket", required_argument, NULL, 'b' },
	{ "user", required_argument, NULL, 'u' },
	{ "group", required_argument, NULL, 'g' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "hugepages", no_argument, NULL, 'h' },
	{ "stop", no_argument, NULL, 'x' },
	LAST_OPTION
};

static int find_user(struct server_config *config, const char *name)
{
	struct passwd *entry = getpwnam(name);
	unsigned int number;

	if (entry)
		config->user = entry->pw_uid;
	else if (parse_number(name, INT_MAX, &number))
		config->user = number;
	else
		return fail(UCTL_NOTFOUND, "there is no user \"%s\" here", name);
	config->has_user = true;
	return UCTL_OK;
}

static int find_group(struct server_config *config, const char *name)
{
	struct group *entry = getgrnam(name);
	unsigned int number;

	if (entry)
		config->group = entry->gr_gid;
	else if (parse_number(name, INT_MAX, &number))
		config->group = number;
	else
		return fail(UCTL_NOTFOUND, "there is no group \"%s\" here", name);
	config->has_group = true;
	return UCTL_OK;
}

/* The server leaves the present directory. */
static char *absolute(const char *path)
{
	char here[PATH_MAX];

	if (*path == '/' || !getcwd(here, sizeof(here)))
		return xstrdup(path);
	return xasprintf("%s/%s", here, path);
}

static int take_option(struct request *request, int option)
{
	struct server_config *config = &request->config;

	switch (option) {
	case 's':
		free(config->socket[ROLE_GUEST]);
		config->socket[ROLE_GUEST] = absolute(optarg);
		return UCTL_OK;
	case 'b':
		free(config->socket[ROLE_BACKEND]);
		config->socket[ROLE_BACKEND] = absolute(optarg);
		return UCTL_OK;
	case 'z':
		request->has_size = true;
		if (region_size_parse(optarg, &request->size))
			return UCTL_OK;
		return fail(UCTL_USAGE, "--size %s: it has to be a power of two from 1M to 1G",
			    optarg);
	case 'u':
		return find_user(config, optarg);
	case 'g':
		return find_group(config, optarg);
	case 'f':
		request->is_foreground = true;
		return UCTL_OK;
	case 'h':
		request->is_huge = true;
		return UCTL_OK;
	default:
		request->is_stop = true;
		return UCTL_OK;
	}
}

static int parse(const struct command *cmd, int argc, char **argv,
		 struct request *request)
{
	struct server_config *config = &request->config;
	int option, status;

	memset(request, 0, sizeof(*request));
	request->size = DEFAULT_SIZE;
	while ((option = option_next(cmd, argc, argv, options)) >= 0) {
		status = take_option(request, option);
		if (status)
			return status;
	}
	arguments_count(cmd, argc, 1, 1);
	config->vm = argv[optind];
	if (!is_vm_name(config->vm))
		return fail(UCTL_USAGE, "\"%s\" is not a name: 1 to 31 characters A-Za-z0-9_.-",
			    config->vm);
	if (!config->socket[ROLE_GUEST])
		config->socket[ROLE_GUEST] = run_file(config->vm, "sock");
	return UCTL_OK;
}

static int create_failed(const char *vm, uint64_t size, int error)
{
	switch (-error) {
	case EBUSY:
		return fail(UCTL_BUSY,
			    "usbback has another kind of channel %s; end it with: usbctl drop %s",
			    vm, vm);
	case ENOMEM:
		return fail(UCTL_FAILED,
			    "no memory to pin %llu octets for %s; use a smaller --size or raise ulimit -l",
			    (unsigned long long)size, vm);
	default:
		return fail(status_of(error),
			    "usbback refuses channel %s: %s; the end of dmesg says why",
			    vm, strerror(-error));
	}
}

/* What can't be changed any more: what there is already has another size. */
static void say_size(const struct region *region, const struct request *request)
{
	if (request->has_size && region->size != request->size)
		say("%s: its channel keeps %llu octets; to change --size: usbctl drop %s",
		    request->config.vm, (unsigned long long)region->size,
		    request->config.vm);
}

/* The region of a server that died, from those who have joined it, and its rules. */
static bool take_region(struct region *region, const struct request *request,
			struct inherited *inherited)
{
	struct served old;
	bool is_old;
	int role;

	is_old = served_read(&old, request->config.vm) && region_steal(region, &old);
	for (role = 0; is_old && role < NR_ROLES; role++) {
		inherited->pid[role] = old.peer[role];
		inherited->start_time[role] = old.start_time[role];
	}
	if (is_old)
		say_size(region, request);
	/* They hold for the next guest as well. */
	inherited->rules = old.rules;
	memset(&old.rules, 0, sizeof(old.rules));
	served_clear(&old);
	return is_old;
}

static int create_channel(int cdev, const struct region *region, const struct request *request,
			  struct inherited *inherited)
{
	const char *vm = request->config.vm;
	pid_t pid = inherited->pid[ROLE_GUEST];
	int ret = cdev_create(cdev, vm, region, false, pid);

	inherited->is_new = !ret;
	if (!ret && pid)
		ret = cdev_peer(cdev, vm, true, pid, inherited->start_time[ROLE_GUEST]);
	return ret ? create_failed(vm, region->size, ret) : UCTL_OK;
}

/*
 * The backend is usbback here: a channel that it has, one that it has lost because it
 * was loaded again while nobody served the guest, or a new one.
 */
static int open_kernel(struct region *region, const struct request *request,
		       struct inherited *inherited)
{
	const char *vm = request->config.vm;
	int cdev = cdev_open("usbback", false);
	int status = UCTL_OK, ret;

	if (cdev < 0)
		return -cdev;
	ret = cdev_adopt(cdev, vm, region, &inherited->pid[ROLE_GUEST],
			 &inherited->start_time[ROLE_GUEST]);
	if (!ret) {
		close(cdev);
		status = region_map(region);
		if (!status)
			say_size(region, request);
		return status;
	}
	if (ret == -EINVAL)
		status = create_failed(vm, request->size, -EBUSY);
	else if (take_region(region, request, inherited))
		region_write_identity(region);
	else
		status = region_create(region, vm, request->size, request->is_huge);
	if (!status)
		status = create_channel(cdev, region, request, inherited);
	close(cdev);
	return status;
}

/* A server that does not come to serve leaves no channel that was not there before. */
static void undo_kernel(const char *vm)
{
	int cdev = cdev_open("usbback", true);

	if (cdev < 0)
		return;
	cdev_drop(cdev, vm);
	close(cdev);
}

/* A region has one backend. */
static bool is_kernel_backend(const char *vm)
{
	struct channels channels;
	bool is = false;
	int cdev = cdev_open("usbback", true);

	if (cdev < 0)
		return false;
	close(cdev);
	if (!channels_read(&channels)) {
		is = channels_find(&channels, vm);
		channels_free(&channels);
	}
	return is;
}

/* The backend is a QEMU: the region of a server that died, or a new one. */
static int open_driver_vm(struct region *region, const struct request *request,
			  struct inherited *inherited)
{
	const char *vm = request->config.vm;

	if (is_kernel_backend(vm))
		return fail(UCTL_BUSY,
			    "%s is a channel of this machine's usbback; end it with: usbctl drop %s",
			    vm, vm);
	if (take_region(region, request, inherited))
		return UCTL_OK;
	return region_create(region, vm, request->size, request->is_huge);
}

static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static const char text[] = "READY=1";
	size_t length = path ? strlen(path) : 0;
	int sock;

	if (!length || length >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, length);
	if (*path == '@')
		address.sun_path[0] = '\0';
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return;
	sendto(sock, text, sizeof(text) - 1, MSG_NOSIGNAL,
	       (struct sockaddr *)&address,
	       offsetof(struct sockaddr_un, sun_path) + length);
	close(sock);
}

/* Lets go of the terminal and of the one who waits on @ready. */
static void detach(int ready, int null)
{
	static const char done;

	say_to_syslog();
	if (chdir("/"))
		say("cannot change to /: %s", strerror(errno));
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (write(ready, &done, 1) != 1)
		say("nobody waited for the server");
	close(ready);
}

static int serve(const struct request *request, int ready)
{
	const struct server_config *config = &request->config;
	struct region region = { .memfd = -1, .bell_back = -1, .bell_front = -1 };
	struct inherited inherited = { .pid = { 0 } };
	struct server *server = NULL;
	int null = -1, lock, role, status;
	bool is_known;
	char *path;

	lock = run_lock(config->vm);
	if (lock < 0)
		return -lock;
	if (config->socket[ROLE_BACKEND])
		status = open_driver_vm(&region, request, &inherited);
	else
		status = open_kernel(&region, request, &inherited);
	if (!status)
		status = server_open(&server, config, &region);
	if (status)
		goto out;
	for (role = 0; role < NR_ROLES; role++)
		server_adopt(server, role, inherited.pid[role], inherited.start_time[role]);
	server_restore(server, &inherited.rules);
	if (ready >= 0)
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Whoever waits for us may want to read it. */
	status = server_describe(server);
	if (!status)
		status = confine(config);
	if (!status) {
		inherited.is_new = false;
		if (ready >= 0)
			detach(ready, null);
		notify_ready();
		status = server_run(server);
	}
	/*
	 * With it the next server finds the region again, if nobody else has it, and the
	 * rules, if usbback is loaded again before.
	 */
	is_known = config->socket[ROLE_BACKEND] || server_has_guest(server) ||
		   server_has_rules(server);
	server_close(server);
	if (!is_known) {
		path = run_file(config->vm, "json");
		unlink(path);
		free(path);
	}
out:
	if (inherited.is_new)
		undo_kernel(config->vm);
	rules_free(&inherited.rules);
	region_close(&region);
	close(lock);
	return status;
}

/* Returns in the parent when the server is ready or has failed. */
static int serve_in_background(const struct request *request)
{
	int ready[2], status;
	char done;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC))
		return fail(UCTL_FAILED, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return fail(UCTL_FAILED, "fork: %s", strerror(errno));
	if (!pid) {
		close(ready[0]);
		setsid();
		exit(serve(request, ready[1]));
	}
	close(ready[1]);
	if (read(ready[0], &done, 1) == 1)
		return UCTL_OK;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return fail(UCTL_FAILED, "the server of %s died", request->config.vm);
	return WEXITSTATUS(status);
}

int cmd_serve(const struct command *cmd, int argc, char **argv)
{
	struct request request;
	int status, role;

	status = parse(cmd, argc, argv, &request);
	if (!status && request.is_stop)
		status = drop_vm(request.config.vm);
	else if (!status)
		status = rundir_make();
	if (!status && !request.is_stop)
		status = request.is_foreground ? serve(&request, -1) :
						 serve_in_background(&request);
	for (role = 0; role < NR_ROLES; role++)
		free(request.config.socket[role]);
	return status;
}
