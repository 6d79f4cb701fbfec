/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A channel as the modules see it: a region of shared memory, a doorbell out
 * and a doorbell in, whatever carries them.
 */
#ifndef USBIF_CHAN_H
#define USBIF_CHAN_H

#include <linux/device.h>
#include <linux/mm_types.h>
#include <linux/types.h>
#include "ring.h"
#include "usbif.h"

struct usbif_chan;
struct pci_dev;
struct platform_device;
struct usbif_ioc_create;
struct usbif_ioc_adopt;

/**
 * struct usbif_chan_ops - what a kind of channel provides
 * @kind: its name
 * @is_device: made and ended by the driver of a device, not by a program
 * @kick: ring the other side. Any context but NMI, interrupts on or off
 * @start: begin to deliver @event; process context. An event that came before
 *	is delivered now
 * @stop: no @event runs any more when it returns, none will; process context;
 *	idempotent
 * @release: free everything incl. @chan; process context, after stop
 */
struct usbif_chan_ops {
	const char *kind;
	bool is_device;
	void (*kick)(struct usbif_chan *chan);
	int (*start)(struct usbif_chan *chan);
	void (*stop)(struct usbif_chan *chan);
	void (*release)(struct usbif_chan *chan);
};

/**
 * struct usbif_chan - one end of a channel
 * @ops: of its kind
 * @dev: device for messages, and of the kind that a host controller may have as
 *	its sysdev (platform or PCI device, 64-bit DMA mask, dma_parms set)
 * @size: octets of the region
 * @ctl: identity, pages, port table and rings, mapped: the first @ctl_size octets
 * @ctl_size: at least up to the pool of a layout for @size
 * @pages: struct pages of the whole region (kind fd), or NULL
 * @base: the whole region mapped (other kinds), or NULL
 * @irq: interrupt of the doorbell, or 0 (kind fd)
 * @irq_started: it is requested
 * @peer: our number on the transport (ivshmem: IVPosition), 0 otherwise
 * @event: set before start: the other side has rung. Hard interrupt context or
 *	with a wait queue lock held and interrupts off: may only wake a thread
 * @priv: for @event
 * @kicks: doorbells rung (statistics)
 * @events: doorbells received
 *
 * A struct is made by one of the *_create functions and ends with
 * usbif_chan_release(). Between, the region stays mapped and pinned even if the
 * device or the file it came from is gone.
 */
struct usbif_chan {
	const struct usbif_chan_ops *ops;
	struct device *dev;
	u64 size;
	void __usbif *ctl;
	u64 ctl_size;
	struct page **pages;
	void __usbif *base;
	int irq;
	bool irq_started;
	unsigned int peer;
	void (*event)(struct usbif_chan *chan);
	void *priv;
	atomic_long_t kicks;
	atomic_long_t events;
};

/* fd kind (chan_fd.c). @dev: platform device made by the caller. */
struct usbif_chan *usbif_chan_fd_create(struct device *dev,
					const struct usbif_ioc_create *arg);
/* Descriptors for the files of a channel of kind fd, reserved but not open. */
struct usbif_chan_fds {
	struct file *files[3];
	int numbers[3];
};

int usbif_chan_fd_reserve(struct usbif_chan *chan, struct usbif_chan_fds *fds,
			  struct usbif_ioc_adopt *arg);
void usbif_chan_fd_install(struct usbif_chan_fds *fds);
void usbif_chan_fd_cancel(struct usbif_chan_fds *fds);

/*
 * ivshmem kind (chan_ivshmem.c). Maps, reads IVPosition and the identity; -ENODEV with
 * everything undone and nothing written if the region is not ours or our role is
 * not @role. Called from the probe of a pci_driver.
 */
struct usbif_chan *usbif_chan_ivshmem_create(struct pci_dev *pdev,
					     enum usbif_role role);

/* platform kind (chan_platform.c). Called from the probe of a platform_driver. */
struct usbif_chan *usbif_chan_platform_create(struct platform_device *pdev,
					      enum usbif_role role);
const char *usbif_chan_platform_label(struct platform_device *pdev);

/* What kinds with an interrupt and a region behind @chan->base have in common. */
int usbif_chan_map(struct usbif_chan *chan, resource_size_t start, u64 size);
void usbif_chan_unmap(struct usbif_chan *chan);
int usbif_chan_irq_start(struct usbif_chan *chan);
void usbif_chan_irq_stop(struct usbif_chan *chan);

int usbif_chan_start(struct usbif_chan *chan);
void usbif_chan_stop(struct usbif_chan *chan);
void usbif_chan_release(struct usbif_chan *chan);
void usbif_chan_kick(struct usbif_chan *chan);

/* The page of an offset in the region (kind fd), or NULL: no struct page, bounce. */
struct page *usbif_chan_page(struct usbif_chan *chan, u64 offset);
/* Copies to or from the region; @offset + @len was checked by the caller. Any context. */
void usbif_chan_read(struct usbif_chan *chan, u64 offset, void *dst, size_t len);
void usbif_chan_write(struct usbif_chan *chan, u64 offset, const void *src,
		      size_t len);

#endif /* USBIF_CHAN_H */
