// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/usbfront: channels of memory and two eventfds; see usbif_ioctl.h. The file keeps
 * nothing: a channel lives until it is dropped or the module goes.
 */
#include <linux/ctype.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include "makers.h"
#include "usbif_ioctl.h"

#define KIND_FD		"fd"

/* Held while a channel is made or dropped, so that its name is free when drop is over. */
static DEFINE_MUTEX(cdev_mutex);

static bool is_name_good(const char name[USBIF_IOC_NAME_LEN])
{
	size_t len = strnlen(name, USBIF_IOC_NAME_LEN);
	size_t i;

	if (!len || len == USBIF_IOC_NAME_LEN)
		return false;
	for (i = 0; i < len; i++)
		if (!isascii(name[i]) ||
		    (!isalnum(name[i]) && !strchr("_.-", name[i])))
			return false;
	return true;
}

static bool is_fd(const struct usbfront *uf)
{
	return !strcmp(uf->chan->ops->kind, KIND_FD);
}

/* With usbfront_mutex. */
static struct usbfront *find_fd(const char *name)
{
	struct usbfront *uf = is_name_good(name) ? usbfront_find(name) : NULL;

	return uf && is_fd(uf) ? uf : NULL;
}

/* ---- requests ---- */

static long ioc_info(struct usbif_ioc_info *arg)
{
	arg->abi_version = USBIF_ABI_VERSION;
	arg->protocol_version = USBIF_VERSION;
	arg->role = USBIF_ROLE_FRONTEND;
	arg->features = USBFRONT_FEATURES;
	return 0;
}

/* What the controllers of this channel have as sysdev. */
static struct platform_device *device_create_fd(void)
{
	struct platform_device *pdev;
	int ret;

	pdev = platform_device_alloc("usbfront-fd", PLATFORM_DEVID_AUTO);
	if (!pdev)
		return ERR_PTR(-ENOMEM);
	ret = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (!ret)
		ret = platform_device_add(pdev);
	if (ret) {
		platform_device_put(pdev);
		return ERR_PTR(ret);
	}
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	return pdev;
}

static bool is_taken(const char *name)
{
	bool ret;

	mutex_lock(&usbfront_mutex);
	ret = usbfront_find(name);
	mutex_unlock(&usbfront_mutex);
	return ret;
}

static int channel_create(const struct usbif_ioc_create *arg)
{
	struct platform_device *pdev;
	struct usbif_chan *chan;
	struct usbfront *uf;

	if (is_taken(arg->name))
		return -EBUSY;
	pdev = device_create_fd();
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	chan = usbif_chan_fd_create(&pdev->dev, arg);
	if (IS_ERR(chan)) {
		platform_device_unregister(pdev);
		return PTR_ERR(chan);
	}
	uf = usbfront_create(chan, arg->name);
	if (IS_ERR(uf)) {
		platform_device_unregister(pdev);
		return PTR_ERR(uf);
	}
	uf->pid = arg->pid;
	return 0;
}

static long ioc_create(const struct usbif_ioc_create *arg)
{
	int ret;

	if (arg->flags || memchr_inv(arg->reserved, 0, sizeof(arg->reserved)) ||
	    !is_name_good(arg->name))
		return -EINVAL;
	mutex_lock(&cdev_mutex);
	ret = channel_create(arg);
	mutex_unlock(&cdev_mutex);
	return ret;
}

static long ioc_adopt(struct usbif_ioc_adopt *arg, struct usbif_chan_fds *fds)
{
	struct usbfront *uf;
	int ret = -ENOENT;

	if (arg->flags || memchr_inv(arg->reserved, 0, sizeof(arg->reserved)))
		return -EINVAL;
	mutex_lock(&usbfront_mutex);
	uf = find_fd(arg->name);
	if (uf) {
		arg->pid = uf->pid;
		arg->start_time = uf->start_time;
		ret = usbif_chan_fd_reserve(uf->chan, fds, arg);
	}
	mutex_unlock(&usbfront_mutex);
	return ret;
}

static long ioc_peer(const struct usbif_ioc_peer *arg)
{
	bool has_joined = arg->event == USBIF_PEER_JOINED;
	struct usbfront *uf;

	if (arg->reserved || (!has_joined && arg->event != USBIF_PEER_GONE))
		return -EINVAL;
	mutex_lock(&usbfront_mutex);
	uf = find_fd(arg->name);
	if (uf) {
		uf->pid = has_joined ? arg->pid : 0;
		uf->start_time = has_joined ? arg->start_time : 0;
		usbfront_wake(uf, has_joined ? USBFRONT_EV_PEER_JOINED :
					       USBFRONT_EV_PEER_GONE);
	}
	mutex_unlock(&usbfront_mutex);
	return uf ? 0 : -ENOENT;
}

/* Takes a channel from the list: whoever does that is the one to end it. */
static struct usbfront *claim(const char *name)
{
	struct usbfront *uf, *found = NULL;

	mutex_lock(&usbfront_mutex);
	list_for_each_entry(uf, &usbfront_list, node) {
		if (is_fd(uf) && (!name || !strcmp(uf->name, name))) {
			found = uf;
			list_del_init(&uf->node);
			break;
		}
	}
	mutex_unlock(&usbfront_mutex);
	return found;
}

static void drop(struct usbfront *uf)
{
	struct platform_device *pdev = to_platform_device(uf->dev);

	usbfront_destroy(uf);
	platform_device_unregister(pdev);
}

static long ioc_drop(const struct usbif_ioc_drop *arg)
{
	struct usbfront *uf = NULL;

	if (arg->flags)
		return -EINVAL;
	mutex_lock(&cdev_mutex);
	if (is_name_good(arg->name))
		uf = claim(arg->name);
	if (uf)
		drop(uf);
	mutex_unlock(&cdev_mutex);
	return uf ? 0 : -ENOENT;
}

static long run(unsigned int cmd, void *arg, struct usbif_chan_fds *fds)
{
	switch (cmd) {
	case USBIF_IOC_INFO:
		return ioc_info(arg);
	case USBIF_IOC_CREATE:
		return ioc_create(arg);
	case USBIF_IOC_ADOPT:
		return ioc_adopt(arg, fds);
	case USBIF_IOC_PEER:
		return ioc_peer(arg);
	case USBIF_IOC_DROP:
		return ioc_drop(arg);
	default:
		return -ENOTTY;
	}
}

/* Requests differ in size from one ABI to the next; type and number tell which it is. */
static unsigned int our_version(unsigned int cmd)
{
	static const unsigned int cmds[] = {
		USBIF_IOC_INFO, USBIF_IOC_CREATE, USBIF_IOC_ADOPT,
		USBIF_IOC_PEER, USBIF_IOC_DROP,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		if (_IOC_TYPE(cmd) == _IOC_TYPE(cmds[i]) &&
		    _IOC_NR(cmd) == _IOC_NR(cmds[i]))
			return cmds[i];
	return 0;
}

static long usbfront_ioctl(struct file *file, unsigned int cmd,
			   unsigned long user)
{
	void __user *ptr = (void __user *)user;
	unsigned int ours = our_version(cmd);
	struct usbif_chan_fds fds = {};
	union {
		struct usbif_ioc_info info;
		struct usbif_ioc_create create;
		struct usbif_ioc_adopt adopt;
		struct usbif_ioc_peer peer;
		struct usbif_ioc_drop drop;
	} arg;
	u32 size;
	long ret;

	if (!ours)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)ptr))
		return -EFAULT;
	if (size < sizeof(size) || size > PAGE_SIZE)
		return -EINVAL;
	memset(&arg, 0, sizeof(arg));
	ret = copy_struct_from_user(&arg, _IOC_SIZE(ours), ptr, size);
	if (ret)
		return ret;
	ret = run(ours, &arg, &fds);
	/* What can't be told must not have been done: others have nothing to tell. */
	if (!ret && (ours == USBIF_IOC_INFO || ours == USBIF_IOC_ADOPT) &&
	    copy_to_user(ptr, &arg, min_t(u32, size, _IOC_SIZE(ours))))
		ret = -EFAULT;
	if (ret)
		usbif_chan_fd_cancel(&fds);
	else
		usbif_chan_fd_install(&fds);
	return ret;
}

static const struct file_operations usbfront_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= usbfront_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice usbfront_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= USBFRONT_NAME,
	.fops	= &usbfront_fops,
	.mode	= 0600,
};

/**
 * usbfront_cdev_init - make /dev/usbfront
 *
 * Return: 0 or a negative errno.
 */
int usbfront_cdev_init(void)
{
	return misc_register(&usbfront_misc);
}

/**
 * usbfront_cdev_exit - remove it; the channels made with it end
 */
void usbfront_cdev_exit(void)
{
	struct usbfront *uf;

	misc_deregister(&usbfront_misc);
	while ((uf = claim(NULL)))
		drop(uf);
}
