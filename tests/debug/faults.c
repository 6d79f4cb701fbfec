// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does what a driver must not do, to see that it is noticed. Loading it always
 * fails.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *how = "";
module_param(how, charp, 0);

static DEFINE_MUTEX(one);
static DEFINE_MUTEX(other);
static DEFINE_SPINLOCK(spin);

/* Several: a pointer to the last one may lie on a stack for long. */
static noinline void faults_leak(void)
{
	void *p;
	int i;

	for (i = 0; i < 20; i++) {
		p = kmalloc(100, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(p);
	}
}

static noinline void faults_freed(void)
{
	char *p = kmalloc(100, GFP_KERNEL);

	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[3], 1);
}

/* Beyond the array, not beyond the variable: KASAN sees nothing wrong. */
static noinline void faults_beyond(void)
{
	static struct {
		int array[4], next[4];
	} both;
	int i = 5;

	OPTIMIZER_HIDE_VAR(i);
	WRITE_ONCE(both.next[0], both.array[i]);
}

static noinline void faults_order(void)
{
	mutex_lock(&one);
	mutex_lock(&other);
	mutex_unlock(&other);
	mutex_unlock(&one);
	mutex_lock(&other);
	mutex_lock(&one);
	mutex_unlock(&one);
	mutex_unlock(&other);
}

static noinline void faults_sleep(void)
{
	spin_lock(&spin);
	msleep(20);
	spin_unlock(&spin);
}

static noinline void faults_dma(void)
{
	struct platform_device *dev = platform_device_register_simple("faults", -1, NULL, 0);

	if (IS_ERR(dev))
		return;
	if (!dma_coerce_mask_and_coherent(&dev->dev, DMA_BIT_MASK(32)))
		dma_unmap_single(&dev->dev, 0x10000, 100, DMA_TO_DEVICE);
	platform_device_unregister(dev);
}

static int __init faults_init(void)
{
	static const struct {
		const char *name;
		void (*function)(void);
	} faults[] = {
		{ "leak", faults_leak }, { "beyond", faults_beyond }, { "freed", faults_freed },
		{ "dma", faults_dma }, { "sleep", faults_sleep }, { "order", faults_order },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (!strcmp(how, faults[i].name))
			faults[i].function();
	return -ECANCELED;
}

module_init(faults_init);
MODULE_DESCRIPTION("Faults for checkers to find");
MODULE_LICENSE("GPL");
