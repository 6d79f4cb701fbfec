/* SPDX-License-Identifier: GPL-2.0 */
/*
 * usbctl: what its files share. One noun per file: util (errors, files, paths),
 * options, vports (files of usbback in sysfs), devices, rules, status, qemu,
 * cdev (ioctls), region, rundir (what runs), serve, ivshmem and listen (the
 * server), confine (its privileges), steal (its restart), mirror (rules of a served
 * guest), loop.
 */
#ifndef USBCTL_H
#define USBCTL_H

#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#ifndef __printf
#define __printf(a, b)		__attribute__((format(printf, a, b)))
#endif
#ifndef __aligned
#define __aligned(x)		__attribute__((aligned(x)))
#endif

#define USBCTL_VERSION	"0.1.0"
#define VM_NAME_MAX	31	/* octets, without the NUL */
#define BUSID_MAX	31
#define DEFAULT_SIZE	(16ull << 20)

/* Exit codes; documented in usbctl.8. Errors inside travel as these, too. */
enum status {
	UCTL_OK		= 0,
	UCTL_FAILED	= 1,
	UCTL_USAGE	= 2,
	UCTL_NOMODULE	= 3,
	UCTL_PERM	= 4,
	UCTL_NOTFOUND	= 5,
	UCTL_BUSY	= 6,
};

/**
 * struct command - a row of the command table
 * @name: first word
 * @run: gets the words from the name on; returns enum status
 * @usage: what follows the name
 * @help: one line
 * @more: further help, may be NULL
 */
struct command {
	const char *name;
	int (*run)(const struct command *cmd, int argc, char **argv);
	const char *usage;
	const char *help;
	const char *more;
};

int cmd_serve(const struct command *cmd, int argc, char **argv);
int cmd_qemu_args(const struct command *cmd, int argc, char **argv);
int cmd_libvirt_xml(const struct command *cmd, int argc, char **argv);
int cmd_list(const struct command *cmd, int argc, char **argv);
int cmd_attach(const struct command *cmd, int argc, char **argv);
int cmd_detach(const struct command *cmd, int argc, char **argv);
int cmd_move(const struct command *cmd, int argc, char **argv);
int cmd_status(const struct command *cmd, int argc, char **argv);
int cmd_name(const struct command *cmd, int argc, char **argv);
int cmd_restore(const struct command *cmd, int argc, char **argv);
int cmd_limit(const struct command *cmd, int argc, char **argv);
int cmd_loop(const struct command *cmd, int argc, char **argv);
int cmd_drop(const struct command *cmd, int argc, char **argv);

/* ---- options.c ---- */

#define OPT_HELP	1000
#define OPT_VERSION	1001
#define OPT_JSON	1002
#define HELP_OPTION	{ "help", no_argument, NULL, OPT_HELP }
#define VERSION_OPTION	{ "version", no_argument, NULL, OPT_VERSION }
#define JSON_OPTION	{ "json", no_argument, NULL, OPT_JSON }
#define LAST_OPTION	{ NULL, 0, NULL, 0 }

/* Next option or -1; --help, --version and unknown ones end the program. */
int option_next(const struct command *cmd, int argc, char **argv,
		const struct option *options);
/* For commands without options of their own; returns if --json was given. */
bool options_plain(const struct command *cmd, int argc, char **argv,
		   bool has_json);
/* Ends the program if there are not min to max words left. */
void arguments_count(const struct command *cmd, int argc, int min, int max);
void command_usage(const struct command *cmd, bool is_wanted);

/* ---- util.c ---- */

/* One line, to standard error or, in the background, the system log. */
void __printf(1, 2) say(const char *format, ...);
int __printf(2, 3) fail(enum status status, const char *format, ...);
/* The status that fits an errno. */
enum status status_of(int error);
void say_to_syslog(void);

char *xasprintf(const char *format, ...) __printf(1, 2);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
void fd_close(int *fd);

bool is_vm_name(const char *text);
bool is_busid(const char *text);
bool is_pci_address(const char *text);
/* Decimal, no sign or blanks, at most max. */
bool parse_number(const char *text, unsigned int max, unsigned int *value);
/* With suffix K, M or G. */
bool parse_size(const char *text, uint64_t *value);

const char *sysfs_root(void);
const char *dev_root(void);
const char *run_root(void);
const char *conf_root(void);

/* The whole file, NUL-terminated, or NULL with errno. */
char *file_read(const char *path);
char *fd_read(int fd);
/* First line of DIR/NAME, or NULL. */
char *attr_read(const char *dir, const char *name);
/* One write; 0 or -errno. */
int file_write(const char *path, const char *text);
/* Replaces the file in one step; 0 or -errno. */
int file_replace(const char *path, const char *text, mode_t mode);
/* Last component of the target of a link, or NULL. */
char *link_name(const char *path);
/* Start time of a process (field 22 of stat), 0 if there is none. */
uint64_t process_start_time(pid_t pid);
int pidfd_get(pid_t pid);
bool module_is_loaded(const char *module);

/* ---- vports.c: the files of usbback ---- */

struct vport {
	char vm[VM_NAME_MAX + 1];
	unsigned int vusb;
	unsigned int port;
};

struct rule {
	char busid[BUSID_MAX + 1];
	struct vport vport;
	bool is_forced;
	char text[96];		/* as it can be written again */
	char state[24];
	char *reason;		/* NULL for none */
};

struct rules {
	struct rule *rule;
	size_t count;
};

#define CHANNEL_COUNTERS 24

struct counter {
	char name[24];
	uint64_t value;
};

struct channel {
	char vm[VM_NAME_MAX + 1];	/* "-": no name yet */
	char kind[16];
	char address[64];
	char state[16];
	uint64_t session;
	uint64_t pid;
	struct counter counter[CHANNEL_COUNTERS];
	size_t nr_counters;
};

struct channels {
	struct channel *channel;
	size_t count;
};

/* Path of a file in the driver's directory; to be freed. */
char *driver_file(const char *name);
/* UCTL_OK, or says that the module is missing and gives UCTL_NOMODULE. */
int driver_present(void);
/* UCTL_OK or a status, with a line said. */
int rules_read(struct rules *rules);
void rules_parse(struct rules *rules, char *text);
void rules_free(struct rules *rules);
void rules_add(struct rules *rules, const struct rule *rule);
const struct rule *rules_find_busid(const struct rules *rules,
				    const char *busid);
const struct rule *rules_find_vport(const struct rules *rules,
				    const struct vport *vport);
int channels_read(struct channels *channels);
void channels_free(struct channels *channels);
const struct channel *channels_find(const struct channels *channels,
				    const char *vm);
/* VM[:VUSB[:PORT]]; *parts is how many there were. False if malformed. */
bool vport_parse(const char *text, struct vport *vport, unsigned int *parts);
/* BUSID:VM:VUSB:PORT[:force] */
bool rule_parse(const char *text, struct rule *rule);

/* ---- rules.c: what is written to the files of usbback ---- */

/* One write; 0 or -errno. */
int driver_write(const char *name, const char *text);
/* Says why a write failed, and what to do; the status for it. */
int write_failed(const char *file, const char *text, int error);

/* ---- limits.c ---- */

/* "VM NAME=NUMBER..." */
int limits_write(const char *line);
/* Those that /etc/usbif has for a guest, for a module that was loaded again. */
void limits_restore(const char *vm);

/* ---- keep.c ---- */

/*
 * Until its end this process alone keeps rules: what the kernel has and what the file says
 * change together. UCTL_OK or a status, with a line said.
 */
int rules_lock(const char *busid);
/* Has /etc/usbif/rules say this of the bus ID, nothing if @vport is NULL. */
int rule_keep(const char *busid, const struct vport *vport, bool is_forced);
/* Next line of such a file that says something, without its comment; NULL at the end. */
char *conf_line(char **rest);
/* Those of other bus IDs. */
void rules_read_kept(struct rules *rules, const char *busid);

/* ---- devices.c ---- */

struct device {
	char busid[BUSID_MAX + 1];
	char id[10];		/* vvvv:pppp */
	char speed[12];		/* Mbit/s */
	char *name;
	char *driver;		/* of device or interfaces, "a,b"; may be "" */
	bool is_hub;
	bool is_virtual;	/* on a controller of usbfront */
};

struct devices {
	struct device *device;
	size_t count;
};

int devices_read(struct devices *devices);
void devices_free(struct devices *devices);
const struct device *devices_find(const struct devices *devices,
				  const char *busid);
/* Why the host needs the device ("/dev/sda1 is mounted on /mnt"), or NULL. */
char *device_use(const char *busid);

/* ---- cdev.c: /dev/usbback and /dev/usbfront ---- */

/* A region and its doorbells, as one side sees them. */
struct region {
	uint64_t size;
	int memfd;
	int bell_back;		/* the frontend signals it */
	int bell_front;		/* the backend signals it */
	void *ctl;		/* first pages, mapped */
};

/* Descriptor, or -status with a line said (not if is_quiet). */
int cdev_open(const char *module, bool is_quiet);
/* These return 0 or -errno and say nothing. */
int cdev_create(int fd, const char *name, const struct region *region,
		bool is_front, pid_t pid);
int cdev_adopt(int fd, const char *name, struct region *region, pid_t *pid,
	       uint64_t *start_time);
int cdev_peer(int fd, const char *name, bool has_joined, pid_t pid,
	      uint64_t start_time);
int cdev_drop(int fd, const char *name);

/* ---- region.c ---- */

/* UCTL_OK or a status, with a line said. */
int region_create(struct region *region, const char *name, uint64_t size,
		  bool is_huge);
int region_map(struct region *region);
void region_close(struct region *region);
/* Which peer of the transport is what. */
void region_write_identity(const struct region *region);
/* Act for a peer that has died; see ivshmem.c. */
void region_front_is_dead(const struct region *region);
void region_back_is_dead(const struct region *region);
void bell_ring(int fd);
/* What tells files of a process apart, as steal.c looks for them; 0: unknown. */
uint64_t region_memory_id(const struct region *region);
uint64_t bell_id(int fd);
/* An option's size: power of two, 1 MiB to 1 GiB. */
bool region_size_parse(const char *text, uint64_t *size);

/* ---- rundir.c: what is known of running servers ---- */

/*
 * The value is the number of the peer on the transport. QEMU takes master=on, without
 * which the guest could not be saved, only for number 0.
 */
enum role { ROLE_GUEST = 0, ROLE_BACKEND = 1, NR_ROLES = 2 };

/* What a server tells others, as VM.json in the run directory. */
struct served {
	char vm[VM_NAME_MAX + 1];
	pid_t server;
	uint64_t size;
	char *socket[NR_ROLES];	/* backend's is NULL on a KVM host */
	pid_t peer[NR_ROLES];	/* QEMU, 0 for none */
	uint64_t start_time[NR_ROLES];
	uint64_t bell[NR_ROLES];	/* "eventfd-id" of the peer's doorbell */
	uint64_t memory;		/* inode of the region */
	struct rules rules;		/* of the guest; for a module that lost them */
	bool is_adopted;
};

struct served_list {
	struct served *served;
	size_t count;
};

/* 0 or -errno; rundir_make() says what went wrong. */
int run_root_make(void);
int rundir_make(void);
char *run_file(const char *vm, const char *suffix);
/* Descriptor of the lock, or -status with a line said. */
int run_lock(const char *vm);
/* Pid of the process that serves vm, 0 for none. */
pid_t run_server(const char *vm);
int served_write(const struct served *served);
/* False if there is nothing; served_clear() frees what it got. */
bool served_read(struct served *served, const char *vm);
void served_clear(struct served *served);
void served_list_read(struct served_list *list);
/*
 * The bus ID has no rule any more, or one of that other guest, which servers that do not
 * run have not seen.
 */
void served_strike(const char *busid, const char *except);
void served_list_free(struct served_list *list);
const struct served *served_find(const struct served_list *list,
				 const char *vm);
/* Ends the server and waits for it. UCTL_OK, UCTL_NOTFOUND (not said), ... */
int run_stop(const char *vm);

/* ---- loop.c ---- */

/* Ends server and channel of a guest; UCTL_OK or a status with a line said. */
int drop_vm(const char *vm);

/* ---- steal.c ---- */

/*
 * Gets the region of a dead server back from the processes that have joined it.
 * True if it could and one of them lives.
 */
bool region_steal(struct region *region, const struct served *old);

/* ---- mirror.c ---- */

/* The rules of one guest as last seen, and whether the module is there. */
struct mirror {
	const char *vm;
	int inotify;		/* of the device directory */
	int vports;		/* open file, -1 without module */
	bool has_node;		/* the device node exists */
	bool is_stale;		/* a module that has come back lacks the rules */
	bool is_new;		/* the rules are others than when this was false */
	struct rules rules;
};

int mirror_open(struct mirror *mirror, const char *vm);
/* Takes the present rules; false if the module has gone. */
bool mirror_update(struct mirror *mirror);
/* Empties inotify; true if the module's device node has come or gone. */
bool mirror_drain(struct mirror *mirror);
/* Writes the rules to a module that has come back; false: it is not ready yet. */
bool mirror_restore(struct mirror *mirror);
/* The rules are these, which a module that has come back lacks. Takes them away. */
void mirror_inherit(struct mirror *mirror, struct rules *rules);
void mirror_close(struct mirror *mirror);

/* ---- ivshmem.c: the server's side of QEMU's ivshmem protocol ---- */

struct server_config {
	const char *vm;
	char *socket[NR_ROLES];	/* backend's: NULL unless it is a driver VM */
	bool has_user;
	bool has_group;
	uid_t user;
	gid_t group;
};

struct server;

/* Listening sockets; UCTL_OK or a status with a line said. */
int server_open(struct server **server, const struct server_config *config,
		struct region *region);
/* That QEMU joined an earlier server of that name. */
void server_adopt(struct server *server, enum role role, pid_t pid,
		  uint64_t start_time);
/* In a file of the run directory. UCTL_OK or a status, with a line said. */
int server_describe(const struct server *server);
/* A module that has no rules of the guest gets these, and they are taken away. */
void server_restore(struct server *server, struct rules *rules);
bool server_has_guest(const struct server *server);
bool server_has_rules(const struct server *server);
/* Until SIGTERM or SIGINT. */
int server_run(struct server *server);
void server_close(struct server *server);

/* ---- confine.c ---- */

/* Gives up what a server that is ready needs no more; UCTL_OK or a status, said. */
int confine(const struct server_config *config);

/* ---- listen.c ---- */

/* Descriptor of a listening socket or -status with a line said. */
int socket_listen(const char *path, const struct server_config *config);
/* Removes the socket of a server that has died. */
void socket_forget(const char *path);
/* Who is at the other end, and may they? */
bool socket_is_allowed(int sock, const struct server_config *config, pid_t *pid,
		       uid_t *uid);
/* Message of the ivshmem protocol; 0 or -errno. fd -1 for none. */
int socket_send(int sock, int64_t message, int fd);
/* The other end has read all that was sent. */
bool socket_is_drained(int sock);

#endif /* USBCTL_H */
