// SPDX-License-Identifier: GPL-2.0
/*
 * Channels of kind fd: a file on tmpfs or hugetlbfs and two eventfds.
 *
 * Lifetime. The channel holds references to the three files, so that neither their
 * descriptors nor the process that opened them need to stay, and USBIF_IOC_ADOPT can
 * hand them out again. All pages are pinned: whatever becomes of the file (truncated,
 * punched, swapped), the pages that we and the host controller use stay. Nothing is
 * left mapped in the process that made the channel.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dma-mapping.h>
#include <linux/eventfd.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include "chan.h"
#include "proto.h"
#include "usbif_ioctl.h"

/**
 * struct chan_fd - a channel of kind fd
 * @chan: what the modules see
 * @mem: file of the region
 * @in: eventfd that the other side signals
 * @out: eventfd that we signal
 * @in_ctx: of @in
 * @out_ctx: of @out
 * @pt: to find the wait queue of @in
 * @wait: our entry in it
 * @wqh: the wait queue, NULL while stopped
 * @nr_pages: of the region
 * @cred: of the user whose limit of locked memory the pages count against
 */
struct chan_fd {
	struct usbif_chan chan;
	struct file *mem;
	struct file *in;
	struct file *out;
	struct eventfd_ctx *in_ctx;
	struct eventfd_ctx *out_ctx;
	poll_table pt;
	wait_queue_entry_t wait;
	wait_queue_head_t *wqh;
	unsigned long nr_pages;
	const struct cred *cred;
};

static struct chan_fd *to_fd(struct usbif_chan *chan)
{
	return container_of(chan, struct chan_fd, chan);
}

static void chan_fd_kick(struct usbif_chan *chan)
{
	compat_eventfd_signal(to_fd(chan)->out_ctx);
}

/* Empties the counter, which has done its work, and tells the owner. */
static void deliver(struct chan_fd *fd)
{
	u64 count;

	lockdep_assert_held(&fd->wqh->lock);
	eventfd_ctx_do_read(fd->in_ctx, &count);
	atomic_long_inc(&fd->chan.events);
	fd->chan.event(&fd->chan);
}

static int chan_fd_wake(wait_queue_entry_t *wait, unsigned int mode, int sync,
			void *key)
{
	if (key_to_poll(key) & EPOLLIN)
		deliver(container_of(wait, struct chan_fd, wait));
	return 0;
}

static void chan_fd_queue(struct file *file, wait_queue_head_t *wqh,
			  poll_table *pt)
{
	struct chan_fd *fd = container_of(pt, struct chan_fd, pt);

	fd->wqh = wqh;
	add_wait_queue(wqh, &fd->wait);
}

static int chan_fd_start(struct usbif_chan *chan)
{
	struct chan_fd *fd = to_fd(chan);
	unsigned long flags;
	__poll_t events;

	if (fd->wqh)
		return -EBUSY;
	init_waitqueue_func_entry(&fd->wait, chan_fd_wake);
	init_poll_funcptr(&fd->pt, chan_fd_queue);
	events = vfs_poll(fd->in, &fd->pt);
	if (!fd->wqh)
		return -EINVAL;
	if (events & EPOLLIN) {
		spin_lock_irqsave(&fd->wqh->lock, flags);
		deliver(fd);
		spin_unlock_irqrestore(&fd->wqh->lock, flags);
	}
	return 0;
}

static void chan_fd_stop(struct usbif_chan *chan)
{
	struct chan_fd *fd = to_fd(chan);

	if (!fd->wqh)
		return;
	/* Callbacks run with the lock held that this takes. */
	remove_wait_queue(fd->wqh, &fd->wait);
	fd->wqh = NULL;
}

/*
 * The same limit that io_uring and perf count their pinned pages against. It is the
 * credentials that are held: most kernels 6.1 let no module put a user.
 */
static int pages_charge(struct chan_fd *fd)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	const struct cred *cred = get_current_cred();

	if (atomic_long_add_return(fd->nr_pages, &cred->user->locked_vm) > limit &&
	    !capable(CAP_IPC_LOCK)) {
		atomic_long_sub(fd->nr_pages, &cred->user->locked_vm);
		put_cred(cred);
		return -ENOMEM;
	}
	fd->cred = cred;
	return 0;
}

static void pages_uncharge(struct chan_fd *fd)
{
	atomic_long_sub(fd->nr_pages, &fd->cred->user->locked_vm);
	put_cred(fd->cred);
}

static long pages_pin_at(struct chan_fd *fd, unsigned long address)
{
	unsigned long done = 0;
	int ret;

	while (done < fd->nr_pages) {
		ret = pin_user_pages_fast(address + (done << PAGE_SHIFT),
					  min(fd->nr_pages - done, 1024UL),
					  FOLL_WRITE | FOLL_LONGTERM,
					  fd->chan.pages + done);
		if (ret <= 0) {
			unpin_user_pages(fd->chan.pages, done);
			return ret ?: -EFAULT;
		}
		done += ret;
		cond_resched();
	}
	return 0;
}

/*
 * Pinning needs the pages mapped for a moment. Another thread of the caller could map
 * something else there meanwhile; then its own memory is what it shares.
 */
static int pages_pin(struct chan_fd *fd)
{
	unsigned long address;
	long ret;

	fd->chan.pages = kvmalloc_array(fd->nr_pages, sizeof(*fd->chan.pages),
					GFP_KERNEL_ACCOUNT);
	if (!fd->chan.pages)
		return -ENOMEM;
	ret = pages_charge(fd);
	if (ret)
		goto err_free;
	address = vm_mmap(fd->mem, 0, fd->chan.size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, 0);
	if (IS_ERR_VALUE(address)) {
		ret = (long)address;
		goto err_uncharge;
	}
	ret = pages_pin_at(fd, address);
	vm_munmap(address, fd->chan.size);
	if (ret)
		goto err_uncharge;
	return 0;

err_uncharge:
	pages_uncharge(fd);
err_free:
	kvfree(fd->chan.pages);
	return ret;
}

static void pages_unpin(struct chan_fd *fd)
{
	unpin_user_pages_dirty_lock(fd->chan.pages, fd->nr_pages, true);
	pages_uncharge(fd);
	kvfree(fd->chan.pages);
}

static int ctl_map(struct chan_fd *fd)
{
	unsigned int count = PAGE_ALIGN(USBIF_CTL_SIZE) >> PAGE_SHIFT;

	fd->chan.ctl = (void __usbif __force *)
		vmap(fd->chan.pages, count, VM_MAP, PAGE_KERNEL);
	if (!fd->chan.ctl)
		return -ENOMEM;
	fd->chan.ctl_size = (u64)count << PAGE_SHIFT;
	return 0;
}

/* Only there do pinned pages and the pages of the file stay the same. */
static int mem_check(struct device *dev, struct file *mem, u64 *size)
{
	struct inode *inode = file_inode(mem);

	if (!S_ISREG(inode->i_mode) ||
	    (inode->i_sb->s_magic != TMPFS_MAGIC &&
	     inode->i_sb->s_magic != HUGETLBFS_MAGIC)) {
		dev_warn(dev, "memory is no file on tmpfs or hugetlbfs\n");
		return -EINVAL;
	}
	*size = i_size_read(inode);
	if (*size < USBIF_REGION_MIN || *size > USBIF_REGION_MAX ||
	    *size & (*size - 1)) {
		dev_warn(dev, "memory of %llu octets, not a power of two from %u to %u\n",
			 *size, USBIF_REGION_MIN, USBIF_REGION_MAX);
		return -EINVAL;
	}
	return 0;
}

static int mem_get(struct chan_fd *fd, int number)
{
	int ret;

	fd->mem = fget(number);
	if (!fd->mem) {
		dev_warn(fd->chan.dev, "memory descriptor %d is not open\n",
			 number);
		return -EBADF;
	}
	ret = mem_check(fd->chan.dev, fd->mem, &fd->chan.size);
	if (ret) {
		fput(fd->mem);
		return ret;
	}
	fd->nr_pages = fd->chan.size >> PAGE_SHIFT;
	return 0;
}

static int bell_get(struct chan_fd *fd, int number, struct file **file,
		    struct eventfd_ctx **ctx)
{
	*file = fget(number);
	if (!*file) {
		dev_warn(fd->chan.dev, "doorbell descriptor %d is not open\n",
			 number);
		return -EBADF;
	}
	*ctx = eventfd_ctx_fileget(*file);
	if (IS_ERR(*ctx)) {
		dev_warn(fd->chan.dev, "doorbell descriptor %d is no eventfd\n",
			 number);
		fput(*file);
		return PTR_ERR(*ctx);
	}
	return 0;
}

static void bell_put(struct file *file, struct eventfd_ctx *ctx)
{
	eventfd_ctx_put(ctx);
	fput(file);
}

static void chan_fd_release(struct usbif_chan *chan)
{
	struct chan_fd *fd = to_fd(chan);

	vunmap((void __force *)chan->ctl);
	pages_unpin(fd);
	bell_put(fd->out, fd->out_ctx);
	bell_put(fd->in, fd->in_ctx);
	fput(fd->mem);
	put_device(chan->dev);
	kfree(fd);
}

static const struct usbif_chan_ops chan_fd_ops = {
	.kind = "fd",
	.kick = chan_fd_kick,
	.start = chan_fd_start,
	.stop = chan_fd_stop,
	.release = chan_fd_release,
};

/**
 * usbif_chan_fd_create - make a channel of three descriptors
 * @dev: platform device of the channel; gets a 64-bit DMA mask
 * @arg: descriptors of the calling process
 *
 * Return: a channel, not started, or an ERR_PTR with everything undone.
 */
struct usbif_chan *usbif_chan_fd_create(struct device *dev,
					const struct usbif_ioc_create *arg)
{
	struct chan_fd *fd;
	int ret;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ERR_PTR(ret);
	dma_set_max_seg_size(dev, UINT_MAX);

	fd = kzalloc(sizeof(*fd), GFP_KERNEL);
	if (!fd)
		return ERR_PTR(-ENOMEM);
	fd->chan.ops = &chan_fd_ops;
	fd->chan.dev = get_device(dev);

	ret = mem_get(fd, arg->memfd);
	if (ret)
		goto err_free;
	ret = bell_get(fd, arg->in_fd, &fd->in, &fd->in_ctx);
	if (ret)
		goto err_put_mem;
	ret = bell_get(fd, arg->out_fd, &fd->out, &fd->out_ctx);
	if (ret)
		goto err_put_in;
	ret = pages_pin(fd);
	if (ret) {
		dev_warn(dev, "cannot pin %llu octets of memory: %d\n",
			 fd->chan.size, ret);
		goto err_put_out;
	}
	ret = ctl_map(fd);
	if (ret)
		goto err_unpin;
	return &fd->chan;

err_unpin:
	pages_unpin(fd);
err_put_out:
	bell_put(fd->out, fd->out_ctx);
err_put_in:
	bell_put(fd->in, fd->in_ctx);
err_put_mem:
	fput(fd->mem);
err_free:
	put_device(dev);
	kfree(fd);
	return ERR_PTR(ret);
}

/**
 * usbif_chan_fd_reserve - prepare to open the files of a channel once more
 * @chan: channel
 * @fds: all zero; for usbif_chan_fd_install() or usbif_chan_fd_cancel()
 * @arg: gets the descriptors, which the calling process will have
 *
 * The caller tells the process their numbers before they can be used: if that fails,
 * nothing was opened.
 *
 * Return: 0, -EINVAL if the channel is of another kind, or what opening gives; all
 * three or none.
 */
int usbif_chan_fd_reserve(struct usbif_chan *chan, struct usbif_chan_fds *fds,
			  struct usbif_ioc_adopt *arg)
{
	struct chan_fd *fd;
	int ret, i;

	if (chan->ops != &chan_fd_ops)
		return -EINVAL;
	fd = to_fd(chan);

	for (i = 0; i < 3; i++) {
		ret = get_unused_fd_flags(O_CLOEXEC);
		if (ret < 0)
			goto err_put;
		fds->numbers[i] = ret;
	}
	fds->files[0] = get_file(fd->mem);
	fds->files[1] = get_file(fd->in);
	fds->files[2] = get_file(fd->out);
	arg->memfd = fds->numbers[0];
	arg->in_fd = fds->numbers[1];
	arg->out_fd = fds->numbers[2];
	return 0;

err_put:
	while (i-- > 0)
		put_unused_fd(fds->numbers[i]);
	return ret;
}

/**
 * usbif_chan_fd_install - let the descriptors be used
 * @fds: of usbif_chan_fd_reserve(), or all zero
 */
void usbif_chan_fd_install(struct usbif_chan_fds *fds)
{
	int i;

	for (i = 0; i < 3 && fds->files[i]; i++)
		fd_install(fds->numbers[i], fds->files[i]);
}

/**
 * usbif_chan_fd_cancel - give the descriptors back instead
 * @fds: of usbif_chan_fd_reserve(), or all zero
 */
void usbif_chan_fd_cancel(struct usbif_chan_fds *fds)
{
	int i;

	for (i = 0; i < 3 && fds->files[i]; i++) {
		put_unused_fd(fds->numbers[i]);
		fput(fds->files[i]);
	}
}
