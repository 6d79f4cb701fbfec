// SPDX-License-Identifier: GPL-2.0
/*
 * What a server gives up as soon as it is ready, so that somebody who gets hold of it
 * has got hold of little.
 *
 * On a KVM host it has to open /dev/usbback and write rules when guests come and go and
 * when the module is loaded again. An open file would pin the module, and device and
 * files are root's and new each time, so it stays root, with two capabilities: usbback
 * asks for CAP_SYS_ADMIN at each ioctl, and CAP_IPC_LOCK lets it pin the memory once
 * more. For a driver VM it needs none. Landlock then keeps root from writing elsewhere,
 * and system calls other than those of the loop in ivshmem.c fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif
#include "usbctl.h"
#include "usbif_ioctl.h"

#define CAP(name)	(1ull << (name))

/* All of the first version but reading; what later ones add is none of ours. */
#define WRITING	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |	\
		 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |	\
		 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |	\
		 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |	\
		 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |	\
		 LANDLOCK_ACCESS_FS_MAKE_SYM)
#define REPLACING	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | \
			 LANDLOCK_ACCESS_FS_REMOVE_FILE)

/* ---- files ---- */

static void allow(int ruleset, const char *dir, uint64_t access)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = access,
		.parent_fd = open(dir, O_PATH | O_CLOEXEC),
	};

	/* What is not there is not to be written, either. */
	if (beneath.parent_fd < 0)
		return;
	syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
	close(beneath.parent_fd);
}

static void allow_files(int ruleset, const struct server_config *config)
{
	char *path;
	int role;

	allow(ruleset, run_root(), REPLACING);
	for (role = 0; role < NR_ROLES; role++) {
		if (!config->socket[role])
			continue;
		path = xstrdup(config->socket[role]);
		allow(ruleset, dirname(path), LANDLOCK_ACCESS_FS_REMOVE_FILE);
		free(path);
	}
	if (config->socket[ROLE_BACKEND])
		return;
	/* usbback's directory comes and goes with the module. */
	path = xasprintf("%s/bus/usb/drivers", sysfs_root());
	allow(ruleset, path, LANDLOCK_ACCESS_FS_WRITE_FILE);
	free(path);
}

static int confine_files(const struct server_config *config)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = WRITING };
	int ruleset, ret = 0;

	ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	/* A kernel without it, or that was not told to use it, or somebody's filter. */
	if (ruleset < 0)
		return 0;
	allow_files(ruleset, config);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		ret = -errno;
	close(ruleset);
	return ret;
}

/* ---- capabilities ---- */

static int keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int i;

	/* Not all may do that. It is for those who look: nothing is executed any more. */
	for (i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
		if (!(keep & CAP(i)))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data))
		return -errno;
	for (i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= keep >> 32 * i;
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* ---- system calls ---- */

#ifdef HAVE_SECCOMP

static const int calls[] = {
	/* the loop: peers, their processes, the kernel's files */
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(accept4), SCMP_SYS(getsockopt),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(lseek), SCMP_SYS(_llseek),
	SCMP_SYS(close), SCMP_SYS(pidfd_open), SCMP_SYS(geteuid), SCMP_SYS(geteuid32),
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(fstat), SCMP_SYS(fstat64), SCMP_SYS(stat),
	SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(statx),
	/* its description; the sockets at its end */
	SCMP_SYS(fchmod), SCMP_SYS(fsync), SCMP_SYS(rename), SCMP_SYS(renameat),
	SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
	/* the way to the background, and the system log, which has to be found again */
	SCMP_SYS(chdir), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(connect),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(fcntl), SCMP_SYS(fcntl64),
	/* a doorbell that makes writers wait */
	SCMP_SYS(setitimer),
	/* what the C library does by itself */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(futex_time64), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(getrandom), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
	SCMP_SYS(sched_yield), SCMP_SYS(writev), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static const unsigned long kernel_ioctls[] = {
	USBIF_IOC_INFO, USBIF_IOC_CREATE, USBIF_IOC_ADOPT, USBIF_IOC_PEER,
};

static int allow_ioctl(scmp_filter_ctx filter, unsigned long request)
{
	/* The kernel looks at 32 bits of it, whatever stands in the others. */
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, request));
}

/* No code that was not there from the beginning. */
static int allow_memory(scmp_filter_ctx filter, int call)
{
	int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
				   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	return ret == -EDOM ? 0 : ret;
}

static int allow_calls(scmp_filter_ctx filter, bool is_kernel)
{
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < ARRAY_SIZE(calls); i++) {
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
		/* This processor has no such call. */
		if (ret == -EDOM)
			ret = 0;
	}
	ret = ret ?: allow_memory(filter, SCMP_SYS(mmap));
	ret = ret ?: allow_memory(filter, SCMP_SYS(mmap2));
	ret = ret ?: allow_memory(filter, SCMP_SYS(mprotect));
	ret = ret ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				      SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
	/* abort() */
	ret = ret ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				      SCMP_A0(SCMP_CMP_EQ, getpid(), 0));
	ret = ret ?: allow_ioctl(filter, SIOCOUTQ);
	for (i = 0; !ret && is_kernel && i < ARRAY_SIZE(kernel_ioctls); i++)
		ret = allow_ioctl(filter, kernel_ioctls[i]);
	return ret;
}

/*
 * They fail instead of being fatal: what a C library to come tries first is refused, and
 * the server goes on.
 */
static int confine_calls(bool is_kernel)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret = filter ? 0 : -ENOMEM;

	ret = ret ?: allow_calls(filter, is_kernel);
	ret = ret ?: seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return ret;
}

#else

static int confine_calls(bool is_kernel)
{
	(void)is_kernel;
	return 0;
}

#endif

int confine(const struct server_config *config)
{
	bool is_kernel = !config->socket[ROLE_BACKEND];
	int ret = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = -errno;
	ret = ret ?: confine_files(config);
	ret = ret ?: keep_capabilities(is_kernel ? CAP(CAP_SYS_ADMIN) | CAP(CAP_IPC_LOCK) : 0);
	/* The kernel may have been built without. */
	if (!ret && confine_calls(is_kernel))
		say("%s: no filter for system calls on this kernel", config->vm);
	if (!ret)
		return UCTL_OK;
	return fail(UCTL_FAILED, "%s: cannot give up privileges: %s", config->vm, strerror(-ret));
}
