// SPDX-License-Identifier: GPL-2.0
/*
 * The run directory: one lock, one description and the sockets of each server.
 * The lock belongs to the open file, so it survives the way to the background
 * and ends with the server, however that ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "usbctl.h"

#define STOP_MS 5000

static const char * const role_names[NR_ROLES] = {
	[ROLE_GUEST] = "guest", [ROLE_BACKEND] = "backend",
};

int run_root_make(void)
{
	const char *dir = run_root();

	/* QEMUs of other users look for their sockets there, whatever the umask is. */
	if (!mkdir(dir, 0755) && !chmod(dir, 0755))
		return 0;
	return errno == EEXIST ? 0 : -errno;
}

int rundir_make(void)
{
	const char *dir = run_root();
	int ret = run_root_make();

	if (!ret)
		return UCTL_OK;
	if (status_of(-ret) == UCTL_PERM)
		return fail(UCTL_PERM, "not allowed to make %s; run usbctl as root", dir);
	return fail(UCTL_FAILED, "cannot make %s: %s", dir, strerror(-ret));
}

char *run_file(const char *vm, const char *suffix)
{
	return xasprintf("%s/%s.%s", run_root(), vm, suffix);
}

int run_lock(const char *vm)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char *path = run_file(vm, "pid");
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int status = UCTL_OK;

	if (fd < 0 && status_of(errno) == UCTL_PERM)
		status = fail(UCTL_PERM, "not allowed to write %s; run usbctl as root", path);
	else if (fd < 0)
		status = fail(UCTL_FAILED, "cannot open %s: %s", path, strerror(errno));
	else if (fchmod(fd, 0600))	/* whoever can open it can lock it, too */
		status = fail(UCTL_FAILED, "cannot protect %s: %s", path, strerror(errno));
	else if (fcntl(fd, F_OFD_SETLK, &lock))
		status = fail(UCTL_BUSY,
			      "%s is served already, by process %d; end it with: usbctl drop %s",
			      vm, (int)run_server(vm), vm);
	else if (ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0)
		status = fail(UCTL_FAILED, "cannot write %s: %s", path, strerror(errno));
	if (status)
		fd_close(&fd);
	free(path);
	return status ? -status : fd;
}

pid_t run_server(const char *vm)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char *path = run_file(vm, "pid");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	pid_t pid = 0;
	char *text;

	free(path);
	if (fd < 0)
		return 0;
	if (!fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK) {
		text = fd_read(fd);
		if (text)
			pid = atoi(text);
		free(text);
	}
	close(fd);
	return pid > 1 ? pid : 0;
}

int run_stop(const char *vm)
{
	pid_t pid = run_server(vm);
	struct pollfd poller = { .events = POLLIN };
	int status = UCTL_OK;

	if (!pid)
		return UCTL_NOTFOUND;
	poller.fd = pidfd_get(pid);
	if (kill(pid, SIGTERM) && errno != ESRCH)
		status = fail(status_of(errno), "cannot end process %d that serves %s: %s",
			      (int)pid, vm, strerror(errno));
	else if (poller.fd >= 0 && poll(&poller, 1, STOP_MS) == 0)
		status = fail(UCTL_FAILED, "process %d that serves %s does not end",
			      (int)pid, vm);
	fd_close(&poller.fd);
	return status;
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key,
			       text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

static void add_rules(struct json_object *object, const struct rules *rules)
{
	struct json_object *array = json_object_new_array();
	size_t i;

	for (i = 0; i < rules->count; i++)
		json_object_array_add(array, json_object_new_string(rules->rule[i].text));
	json_object_object_add(object, "rules", array);
}

int served_write(const struct served *served)
{
	struct json_object *top = json_object_new_object(), *peer;
	char *path = run_file(served->vm, "json");
	int role, ret;

	add_text(top, "vm", served->vm);
	add_number(top, "server", served->server);
	add_number(top, "size", served->size);
	json_object_object_add(top, "adopted",
			       json_object_new_boolean(served->is_adopted));
	for (role = 0; role < NR_ROLES; role++) {
		peer = json_object_new_object();
		add_text(peer, "socket", served->socket[role]);
		add_number(peer, "pid", served->peer[role]);
		add_number(peer, "start_time", served->start_time[role]);
		add_number(peer, "bell", served->bell[role]);
		json_object_object_add(top, role_names[role], peer);
	}
	add_number(top, "memory", served->memory);
	add_rules(top, &served->rules);
	ret = file_replace(path, json_object_to_json_string(top), 0644);
	json_object_put(top);
	free(path);
	return ret;
}

static const char *get_text(struct json_object *object, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

static uint64_t get_number(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ?
	       (uint64_t)json_object_get_int64(value) : 0;
}

static void get_rules(struct served *served, struct json_object *top)
{
	struct json_object *array;
	struct rule rule;
	const char *text;
	size_t i;

	if (!json_object_object_get_ex(top, "rules", &array) ||
	    !json_object_is_type(array, json_type_array))
		return;
	for (i = 0; i < json_object_array_length(array); i++) {
		text = json_object_get_string(json_object_array_get_idx(array, i));
		if (text && rule_parse(text, &rule) && !strcmp(rule.vport.vm, served->vm))
			rules_add(&served->rules, &rule);
	}
}

static void served_parse(struct served *served, struct json_object *top)
{
	struct json_object *value;
	const char *text;
	int role;

	served->size = get_number(top, "size");
	served->memory = get_number(top, "memory");
	get_rules(served, top);
	if (json_object_object_get_ex(top, "adopted", &value))
		served->is_adopted = json_object_get_boolean(value);
	for (role = 0; role < NR_ROLES; role++) {
		if (!json_object_object_get_ex(top, role_names[role], &value) ||
		    !json_object_is_type(value, json_type_object))
			continue;
		text = get_text(value, "socket");
		if (text)
			served->socket[role] = xstrdup(text);
		served->peer[role] = get_number(value, "pid");
		served->start_time[role] = get_number(value, "start_time");
		served->bell[role] = get_number(value, "bell");
	}
}

/* Only root can see the lock. Others believe what the server has written. */
static pid_t server_told(const char *vm, struct json_object *top)
{
	char *path = run_file(vm, "pid");
	pid_t pid = 0;

	if (access(path, R_OK) && errno == EACCES)
		pid = get_number(top, "server");
	free(path);
	return pid > 1 && (!kill(pid, 0) || errno == EPERM) ? pid : 0;
}

bool served_read(struct served *served, const char *vm)
{
	char *path = run_file(vm, "json");
	char *text = file_read(path);
	struct json_object *top = text ? json_tokener_parse(text) : NULL;
	bool is_good = top && json_object_is_type(top, json_type_object);

	memset(served, 0, sizeof(*served));
	snprintf(served->vm, sizeof(served->vm), "%s", vm);
	served->server = run_server(vm);
	if (is_good)
		served_parse(served, top);
	if (is_good && !served->server)
		served->server = server_told(vm, top);
	json_object_put(top);
	free(text);
	free(path);
	return is_good;
}

void served_clear(struct served *served)
{
	int role;

	for (role = 0; role < NR_ROLES; role++) {
		free(served->socket[role]);
		served->socket[role] = NULL;
	}
	rules_free(&served->rules);
}

void served_list_read(struct served_list *list)
{
	struct dirent **entry;
	struct served served;
	char *dot, *name;
	int count, i;

	memset(list, 0, sizeof(*list));
	count = scandir(run_root(), &entry, NULL, versionsort);
	for (i = 0; i < count; i++) {
		name = entry[i]->d_name;
		dot = strrchr(name, '.');
		if (dot && !strcmp(dot, ".json")) {
			*dot = '\0';
			if (is_vm_name(name) && served_read(&served, name)) {
				list->served = xrealloc(list->served,
							(list->count + 1) *
							sizeof(served));
				list->served[list->count++] = served;
			}
		}
		free(entry[i]);
	}
	if (count >= 0)
		free(entry);
}

void served_list_free(struct served_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		served_clear(&list->served[i]);
	free(list->served);
	memset(list, 0, sizeof(*list));
}

static bool strike(struct rules *rules, const char *busid)
{
	size_t i, count = 0;
	bool has = false;

	for (i = 0; i < rules->count; i++) {
		if (strcmp(rules->rule[i].busid, busid))
			rules->rule[count++] = rules->rule[i];
		else
			has = true;
	}
	rules->count = count;
	return has;
}

void served_strike(const char *busid, const char *except)
{
	struct served_list list;
	struct served *served;
	int lock;
	size_t i;

	served_list_read(&list);
	for (i = 0; i < list.count; i++) {
		served = &list.served[i];
		if (served->server || (except && !strcmp(served->vm, except)) ||
		    !strike(&served->rules, busid))
			continue;
		lock = run_lock(served->vm);
		if (lock < 0)
			continue;
		served_write(served);
		close(lock);
	}
	served_list_free(&list);
}

const struct served *served_find(const struct served_list *list,
				 const char *vm)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (!strcmp(list->served[i].vm, vm))
			return &list->served[i];
	}
	return NULL;
}
