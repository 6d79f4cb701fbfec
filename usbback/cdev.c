// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/usbback: makes channels of descriptors, include/usbif_ioctl.h.
 *
 * An open file pins the module, a channel does not: the caller closes the device
 * and the channel stays until it is dropped or the module goes.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>
#include "backend.h"
#include "spec.h"
#include "usbif_ioctl.h"

/* Copies a struct that begins with its size; -E2BIG for what we don't know. */
static int arg_get(void *arg, size_t known, void __user *user, u32 *size)
{
	if (get_user(*size, (u32 __user *)user))
		return -EFAULT;
	if (*size < sizeof(*size))
		return -EINVAL;
	return copy_struct_from_user(arg, known, user, *size);
}

static int arg_put(void __user *user, const void *arg, size_t known, u32 size)
{
	return copy_to_user(user, arg, min_t(size_t, known, size)) ? -EFAULT : 0;
}

static bool name_valid(const char *name)
{
	size_t len = strnlen(name, USBIF_IOC_NAME_LEN);

	return len < USBIF_IOC_NAME_LEN && usbback_spec_valid_vm(name, len);
}

static long ioc_info(void __user *user)
{
	struct usbif_ioc_info arg;
	u32 size;
	int ret;

	ret = arg_get(&arg, sizeof(arg), user, &size);
	if (ret)
		return ret;
	arg = (struct usbif_ioc_info) {
		.size = size,
		.abi_version = USBIF_ABI_VERSION,
		.protocol_version = USBIF_VERSION,
		.role = USBIF_ROLE_BACKEND,
		.features = USBBACK_FEATURES,
	};
	return arg_put(user, &arg, sizeof(arg), size);
}

/* The device that messages of a channel name and that its memory is counted on. */
static struct platform_device *channel_device(void)
{
	return platform_device_register_simple("usbback", PLATFORM_DEVID_AUTO,
					       NULL, 0);
}

static int channel_create(const struct usbif_ioc_create *arg)
{
	struct platform_device *pdev = channel_device();
	struct usbif_chan *chan;
	struct usbback *ub;
	int ret;

	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	chan = usbif_chan_fd_create(&pdev->dev, arg);
	if (IS_ERR(chan)) {
		ret = PTR_ERR(chan);
		goto err_unregister;
	}
	ub = usbback_create(chan, arg->name, arg->pid);
	if (IS_ERR(ub)) {
		ret = PTR_ERR(ub);
		goto err_release;
	}
	return 0;

err_release:
	usbif_chan_release(chan);
err_unregister:
	platform_device_unregister(pdev);
	return ret;
}

static void channel_destroy(struct usbback *ub)
{
	struct device *dev = get_device(ub->chan->dev);

	usbback_destroy(ub);
	platform_device_unregister(to_platform_device(dev));
	put_device(dev);
}

static long ioc_create(void __user *user)
{
	struct usbif_ioc_create arg;
	bool taken;
	u32 size;
	int ret;

	ret = arg_get(&arg, sizeof(arg), user, &size);
	if (ret)
		return ret;
	if (arg.flags || memchr_inv(arg.reserved, 0, sizeof(arg.reserved)) ||
	    !name_valid(arg.name))
		return -EINVAL;
	/* Asked again when it is put into the list; this saves the work. */
	usbback_lock_list();
	taken = usbback_find(arg.name);
	usbback_unlock_list();
	return taken ? -EBUSY : channel_create(&arg);
}

static long ioc_adopt(void __user *user)
{
	struct usbif_chan_fds fds = {};
	struct usbif_ioc_adopt arg;
	struct usbback *ub;
	u32 size;
	int ret;

	ret = arg_get(&arg, sizeof(arg), user, &size);
	if (ret)
		return ret;
	if (arg.flags || memchr_inv(arg.reserved, 0, sizeof(arg.reserved)) ||
	    !name_valid(arg.name))
		return -EINVAL;
	usbback_lock_list();
	ub = usbback_find_ready(arg.name);
	ret = ub ? usbif_chan_fd_reserve(ub->chan, &fds, &arg) : -ENOENT;
	if (!ret) {
		arg.pid = ub->pid;
		arg.start_time = ub->pid_start;
	}
	usbback_unlock_list();
	ret = ret ?: arg_put(user, &arg, sizeof(arg), size);
	if (ret)
		usbif_chan_fd_cancel(&fds);
	else
		usbif_chan_fd_install(&fds);
	return ret;
}

/* With the list locked. */
static void peer_event(struct usbback *ub, const struct usbif_ioc_peer *arg)
{
	bool joined = arg->event == USBIF_PEER_JOINED;
	bool same = joined && arg->pid == ub->pid &&
		    arg->start_time == ub->pid_start;

	ub->pid = joined ? arg->pid : 0;
	ub->pid_start = joined ? arg->start_time : 0;
	/* Another guest: whoever had the session is dead. */
	if (!same && (!joined || READ_ONCE(ub->state) == USBBACK_RUNNING))
		usbback_peer_gone(ub);
}

static long ioc_peer(void __user *user)
{
	struct usbif_ioc_peer arg;
	struct usbback *ub;
	u32 size;
	int ret;

	ret = arg_get(&arg, sizeof(arg), user, &size);
	if (ret)
		return ret;
	if (arg.reserved || !name_valid(arg.name) ||
	    (arg.event != USBIF_PEER_JOINED && arg.event != USBIF_PEER_GONE))
		return -EINVAL;
	usbback_lock_list();
	ub = usbback_find_ready(arg.name);
	if (ub)
		peer_event(ub, &arg);
	usbback_unlock_list();
	return ub ? 0 : -ENOENT;
}

static long ioc_drop(void __user *user)
{
	struct usbif_ioc_drop arg;
	struct usbback *ub;
	u32 size;
	int ret;

	ret = arg_get(&arg, sizeof(arg), user, &size);
	if (ret)
		return ret;
	if (arg.flags || !name_valid(arg.name))
		return -EINVAL;
	ub = usbback_take(arg.name);
	if (!ub)
		return -ENOENT;
	channel_destroy(ub);
	return 0;
}

static long usbback_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	if (_IOC_TYPE(cmd) != USBIF_IOC_TYPE)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	/* The size in the number is that of the caller's struct, which says it too. */
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(USBIF_IOC_INFO):
		return ioc_info(user);
	case _IOC_NR(USBIF_IOC_CREATE):
		return ioc_create(user);
	case _IOC_NR(USBIF_IOC_ADOPT):
		return ioc_adopt(user);
	case _IOC_NR(USBIF_IOC_PEER):
		return ioc_peer(user);
	case _IOC_NR(USBIF_IOC_DROP):
		return ioc_drop(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations usbback_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = usbback_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice usbback_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "usbback",
	.fops = &usbback_fops,
	.mode = 0600,
};

int usbback_cdev_init(void)
{
	return misc_register(&usbback_misc);
}

void usbback_cdev_exit(void)
{
	struct usbback *ub;

	misc_deregister(&usbback_misc);
	while ((ub = usbback_take(NULL)))
		channel_destroy(ub);
}
