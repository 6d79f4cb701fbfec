// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of a test guest, and the end in the guest of tests/lib/vm.py.
 *
 * As /init of the initramfs it loads the modules that /modules.list names, builds the root (an
 * overlay over the machine's own root, or the initramfs itself), and then runs commands that
 * come in over a virtio port, any number at a time.  Static and alone, because a Python or a
 * shell takes seconds to start on an emulated processor.
 *
 * Called as "agent connect PATH" it joins standard input and output to a socket: so a second-level
 * guest is reached through the agent of the first.
 *
 * A frame is a header (length, id, type) and length octets.  To the guest: 'X' run, 'I' input,
 * 'E' end of input, 'K' signal.  From it: 'R' ready, 'O' output, 'X' ended.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_JOBS	64
#define PORT_NAME	"usbif.agent"
#define MODULE_INIT_COMPRESSED_FILE 4

struct frame {
	uint32_t len;
	uint32_t id;
	uint32_t type;
};

struct job {
	uint32_t id;
	pid_t pid;
	int status;
	bool used, ended;
	int out;		/* what the command prints */
	int in;			/* its standard input, or -1 */
	bool eof;		/* close the input once it is written */
	char *pending;
	size_t n_pending;
};

static struct job jobs[MAX_JOBS];
static int port = -1;

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	sync();
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	exit(1);
}

static void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			poll(&pfd, 1, 100);
			continue;
		}
		if (n < 0)
			die("write");
		p += n;
		len -= n;
	}
}

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static void send_frame(uint32_t type, uint32_t id, const void *data, uint32_t len)
{
	static char buf[sizeof(struct frame) + 65536];
	struct frame f = { .len = len, .id = id, .type = type };

	memcpy(buf, &f, sizeof(f));
	memcpy(buf + sizeof(f), data, len);
	write_all(port, buf, sizeof(f) + len);
}

static struct job *job_find(uint32_t id)
{
	for (int i = 0; i < MAX_JOBS; i++)
		if (jobs[i].used && !jobs[i].ended && jobs[i].id == id)
			return &jobs[i];
	return NULL;
}

static void job_close_input(struct job *j)
{
	if (j->in >= 0)
		close(j->in);
	j->in = -1;
	free(j->pending);
	j->pending = NULL;
	j->n_pending = 0;
}

static void job_child(const char *cmd, int in, int out)
{
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	closefrom(3);
	execl("/bin/sh", "sh", "-c", cmd, NULL);
	_exit(127);
}

static void job_start(uint32_t id, const char *cmd)
{
	uint32_t failed = 126;
	struct job *j = NULL;
	int in[2], out[2];

	for (int i = 0; i < MAX_JOBS && !j; i++)
		if (!jobs[i].used)
			j = &jobs[i];
	if (!j || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		send_frame('X', id, &failed, sizeof(failed));
		return;
	}
	memset(j, 0, sizeof(*j));
	j->id = id;
	j->used = true;
	j->in = in[1];
	j->out = out[0];
	fcntl(j->in, F_SETFL, O_NONBLOCK);
	fcntl(j->out, F_SETFL, O_NONBLOCK);
	j->pid = fork();
	if (j->pid < 0)
		die("fork");
	if (!j->pid)
		job_child(cmd, in[0], out[1]);
	close(in[0]);
	close(out[1]);
}

static void job_release(struct job *j)
{
	if (j->ended && j->out < 0)
		j->used = false;
}

/* Pass on what the command printed; false once there is no more for now. */
static bool job_output(struct job *j)
{
	static char buf[65536];
	ssize_t n = read(j->out, buf, sizeof(buf));

	if (n > 0) {
		if (!j->ended)
			send_frame('O', j->id, buf, n);
		return true;
	}
	if (n == 0 || errno != EAGAIN) {
		close(j->out);
		j->out = -1;
		job_release(j);
	}
	return false;
}

static void job_feed(struct job *j)
{
	ssize_t n;

	if (j->n_pending) {
		n = write(j->in, j->pending, j->n_pending);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			job_close_input(j);
			return;
		}
		if (n > 0) {
			j->n_pending -= n;
			memmove(j->pending, j->pending + n, j->n_pending);
		}
	}
	if (!j->n_pending && j->eof)
		job_close_input(j);
}

static void job_input(struct job *j, const char *data, size_t len)
{
	if (j->in < 0)
		return;
	j->pending = realloc(j->pending, j->n_pending + len + 1);
	if (!j->pending)
		die("realloc");
	memcpy(j->pending + j->n_pending, data, len);
	j->n_pending += len;
	job_feed(j);
}

/*
 * A command has ended when its first process has: what that one left in the background may hold
 * the pipe for ever, and is read but no longer passed on.
 */
static void job_end(struct job *j, int status)
{
	uint32_t rc = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	while (j->out >= 0 && job_output(j))
		;
	j->ended = true;
	job_close_input(j);
	send_frame('X', j->id, &rc, sizeof(rc));
	job_release(j);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < MAX_JOBS; i++)
			if (jobs[i].used && !jobs[i].ended && jobs[i].pid == pid)
				job_end(&jobs[i], status);
}

static void port_frame(void)
{
	struct frame f;
	struct job *j;
	uint32_t sig;
	char *data;

	if (!read_all(port, &f, sizeof(f)))
		die("the port was closed");
	data = malloc(f.len + 1);
	if (!data || !read_all(port, data, f.len))
		die("short frame");
	data[f.len] = 0;
	j = f.type == 'X' ? NULL : job_find(f.id);
	if (f.type == 'X') {
		job_start(f.id, data);
	} else if (j && f.type == 'I') {
		job_input(j, data, f.len);
	} else if (j && f.type == 'E') {
		j->eof = true;
		job_feed(j);
	} else if (j && f.type == 'K' && f.len == sizeof(sig)) {
		memcpy(&sig, data, sizeof(sig));
		if (kill(-j->pid, sig))
			kill(j->pid, sig);
	}
	free(data);
}

static void serve(void)
{
	struct pollfd pfds[2 + 2 * MAX_JOBS];
	struct signalfd_siginfo si;
	sigset_t set;
	int sfd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sfd < 0)
		die("signalfd");
	for (;;) {
		int n = 2;

		pfds[0] = (struct pollfd){ .fd = port, .events = POLLIN };
		pfds[1] = (struct pollfd){ .fd = sfd, .events = POLLIN };
		for (int i = 0; i < MAX_JOBS; i++) {
			struct job *j = &jobs[i];

			pfds[n++] = (struct pollfd){ .fd = j->used ? j->out : -1,
						     .events = POLLIN };
			pfds[n++] = (struct pollfd){ .fd = j->used && j->n_pending ? j->in : -1,
						     .events = POLLOUT };
		}
		if (poll(pfds, n, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < MAX_JOBS; i++) {
			if (pfds[2 + 2 * i].revents)
				job_output(&jobs[i]);
			if (pfds[3 + 2 * i].revents)
				job_feed(&jobs[i]);
		}
		if (pfds[1].revents) {
			while (read(sfd, &si, sizeof(si)) > 0)
				;
			reap();
		}
		if (pfds[0].revents & POLLIN)
			port_frame();
		else if (pfds[0].revents & POLLHUP)
			poll(NULL, 0, 50);
	}
}

/* The value of a word NAME=value of the kernel command line, or NULL. */
static const char *option(const char *name)
{
	static char line[4096], value[4096];
	size_t len = strlen(name);
	char *p, *save = NULL;
	FILE *f;

	f = fopen("/proc/cmdline", "re");
	if (!f)
		return NULL;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	for (p = strtok_r(line, " \n", &save); p; p = strtok_r(NULL, " \n", &save)) {
		if (!strncmp(p, name, len) && p[len] == '=') {
			strcpy(value, p + len + 1);
			return value;
		}
	}
	return NULL;
}

static int try_mount(const char *what, const char *where, const char *type, unsigned long flags,
		     const char *data)
{
	mkdir(where, 0755);
	return mount(what, where, type, flags, data);
}

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags,
		       const char *data)
{
	if (try_mount(what, where, type, flags, data))
		die(where);
}

static void load_modules(void)
{
	char line[512];
	FILE *f;

	f = fopen("/modules.list", "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char *args;
		int fd;

		line[strcspn(line, "\n")] = 0;
		args = strchr(line, ' ');
		if (args)
			*args++ = 0;
		fd = open(line, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, args ? args : "", 0) &&
			       errno != EEXIST))
			fprintf(stderr, "agent: %s: %s\n", line, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	fclose(f);
}

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in, out;
	ssize_t n;

	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (in < 0 || out < 0)
		die(to);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		write_all(out, buf, n);
	close(in);
	close(out);
}

/* The machine's root, read-only over 9p, with all that is written kept in memory. */
static void enter_shared_root(void)
{
	must_mount("root", "/lower", "9p", MS_RDONLY | MS_NOATIME,
		   "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	must_mount("tmpfs", "/upper", "tmpfs", 0, "mode=755");
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	must_mount("overlay", "/newroot", "overlay", 0,
		   "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work,xino=off");
	must_mount("tmpfs", "/newroot/run", "tmpfs", 0, "mode=755");
	mkdir("/newroot/run/usbif-test", 0755);
	copy_file("/init", "/newroot/run/usbif-test/agent");
	if (chdir("/newroot") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("chroot");
}

static void mount_kernel_filesystems(void)
{
	must_mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("sysfs", "/sys", "sysfs", 0, NULL);
}

static void make_path(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
	mkdir(path, 0755);
}

/*
 * An empty /tmp; but what the test needs of the machine's own (usbif.keep=PATH,PATH) stays where
 * it is.
 */
static void mount_tmp(void)
{
	const char *keep = option("usbif.keep");
	char *paths = strdup(keep ? keep : "");
	char *path[8], link[64], *save = NULL;
	int fd[8], n = 0;

	for (char *p = strtok_r(paths, ",", &save); p && n < 8; p = strtok_r(NULL, ",", &save)) {
		path[n] = p;
		fd[n] = open(p, O_PATH | O_CLOEXEC);
		if (fd[n] < 0)
			die(p);
		n++;
	}
	must_mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
	while (n--) {
		make_path(path[n]);
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd[n]);
		if (mount(link, path[n], NULL, MS_BIND, NULL))
			die(path[n]);
		close(fd[n]);
	}
	free(paths);
}

static void mount_rest(void)
{
	mkdir("/dev/pts", 0755);
	try_mount("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666");
	try_mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
	mount_tmp();
	try_mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	try_mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	try_mount("configfs", "/sys/kernel/config", "configfs", 0, NULL);
	try_mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFFLAGS, &ifr)) {
		ifr.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &ifr);
	}
	close(fd);
}

static void settings(void)
{
	const char *value;
	struct rlimit core = { 0, 0 };

	value = option("usbif.modules");
	if (value && try_mount(value, "/lib/modules", NULL, MS_BIND, NULL))
		die("/lib/modules");
	if (option("usbif.share"))
		must_mount("share", "/share", "9p", 0,
			   "trans=virtio,version=9p2000.L,msize=512000,cache=none");
	value = option("usbif.hostname");
	if (value)
		sethostname(value, strlen(value));
	value = option("usbif.loglevel");
	if (value)
		klogctl(8, NULL, atoi(value));
	loopback_up();
	setrlimit(RLIMIT_CORE, &core);
	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LANG", "C", 1);
	setenv("TERM", "dumb", 1);
}

/* The device node of our port, or -1 while it isn't there. */
static int open_port(void)
{
	char path[300], name[64];
	struct dirent *e;
	int fd = -1;
	DIR *d;
	FILE *f;

	d = opendir("/sys/class/virtio-ports");
	if (!d)
		return -1;
	while (fd < 0 && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strcmp(name, PORT_NAME "\n")) {
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(f);
	}
	closedir(d);
	return fd;
}

static void init(void)
{
	struct utsname uts;
	const char *root;

	mount_kernel_filesystems();
	load_modules();
	root = option("usbif.root");
	if (root && !strcmp(root, "9p")) {
		enter_shared_root();
		mount_kernel_filesystems();
	} else {
		must_mount("tmpfs", "/run", "tmpfs", 0, "mode=755");
		mkdir("/run/usbif-test", 0755);
		symlink("/init", "/run/usbif-test/agent");
	}
	mount_rest();
	settings();
	for (int i = 0; i < 1000 && port < 0; i++) {
		port = open_port();
		if (port < 0)
			usleep(10000);
	}
	if (port < 0)
		die("no virtio port called " PORT_NAME);
	uname(&uts);
	send_frame('R', 0, uts.release, strlen(uts.release));
}

static int open_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(sa.sun_path))
		return -1;
	strcpy(sa.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int join_socket(const char *path)
{
	struct pollfd pfds[2];
	char buf[65536];
	int fd = open_socket(path);

	if (fd < 0) {
		fprintf(stderr, "agent: %s: %s\n", path, strerror(errno));
		return 1;
	}
	pfds[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
	pfds[1] = (struct pollfd){ .fd = fd, .events = POLLIN };
	while (poll(pfds, 2, -1) >= 0 || errno == EINTR) {
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (!pfds[i].revents)
				continue;
			n = read(pfds[i].fd, buf, sizeof(buf));
			if (n <= 0)
				return 0;
			write_all(i ? 1 : fd, buf, n);
		}
	}
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "connect"))
		return join_socket(argv[2]);
	if (getpid() != 1) {
		fprintf(stderr, "usage: agent connect PATH\n");
		return 2;
	}
	init();
	serve();
	return 0;
}
