// SPDX-License-Identifier: GPL-2.0
/*
 * The files of the driver in sysfs; Documentation/ABI/testing/sysfs-driver-usbback
 * says what is in them.
 *
 * The files to be read are binary attributes, because a text attribute ends after
 * one page, about 60 rules. sysfs reads a binary attribute page by page; so that a
 * reader sees one moment, the text is made when it begins, and kept for the open
 * file that began. The number of texts kept is bounded, the oldest goes first; who
 * loses his, because so many others read at the same time, goes on in a new one.
 */
#define pr_fmt(fmt) "usbback: " fmt

#include <linux/device.h>
#include <linux/mm.h>
#include <linux/sysfs.h>
#include <linux/usb.h>
#include "rules.h"

#define KEPT_TEXTS	8
#define TEXT_CHUNK	4096u

/**
 * struct usbback_text - what a file says
 * @buf: octets
 * @len: of them used
 * @size: of them allocated
 * @failed: no memory, the text is not complete
 * @file: whom it was made for, only to be compared
 */
struct usbback_text {
	char *buf;
	size_t len;
	size_t size;
	bool failed;
	const struct file *file;
};

static DEFINE_MUTEX(texts_lock);	/* outside of rules_lock */
static struct usbback_text texts[KEPT_TEXTS];
static unsigned int next_text;

/* The directory of the driver; the driver core does not tell it otherwise. */
static struct kobject *driver_kobj;

static void text_grow(struct usbback_text *text, size_t need)
{
	size_t size = round_up(text->len + need, TEXT_CHUNK);
	char *buf = kvmalloc(size, GFP_NOIO);

	if (!buf) {
		text->failed = true;
		return;
	}
	if (text->len)
		memcpy(buf, text->buf, text->len);
	kvfree(text->buf);
	text->buf = buf;
	text->size = size;
}

/**
 * usbback_text_printf - add to a text
 * @text: text
 * @fmt: as for printf
 *
 * Context: process
 */
void usbback_text_printf(struct usbback_text *text, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);

	/* One more for the NUL. */
	if (text->size - text->len <= len)
		text_grow(text, len + 1);
	if (text->failed)
		return;
	va_start(args, fmt);
	vsnprintf(text->buf + text->len, len + 1, fmt, args);
	va_end(args);
	text->len += len;
}

static void text_clear(struct usbback_text *text)
{
	kvfree(text->buf);
	memset(text, 0, sizeof(*text));
}

static struct usbback_text *text_find(const struct file *file)
{
	unsigned int i;

	lockdep_assert_held(&texts_lock);
	for (i = 0; i < KEPT_TEXTS; i++)
		if (texts[i].file == file)
			return &texts[i];
	return NULL;
}

static struct usbback_text *text_make(const struct file *file,
				      void (*print)(struct usbback_text *text))
{
	struct usbback_text *text = text_find(file);

	if (!text)
		text = &texts[next_text++ % KEPT_TEXTS];
	text_clear(text);
	print(text);
	text->file = file;
	return text;
}

static ssize_t read_text(const struct file *file, char *buf, loff_t off,
			 size_t count, void (*print)(struct usbback_text *text))
{
	struct usbback_text *text = NULL;
	ssize_t ret;

	mutex_lock(&texts_lock);
	if (off)
		text = text_find(file);
	if (!text)
		text = text_make(file, print);
	if (text->failed)
		ret = -ENOMEM;
	else
		ret = memory_read_from_buffer(buf, count, &off, text->buf,
					      text->len);
	/* At the end nobody needs it any more. */
	if (ret <= 0)
		text_clear(text);
	mutex_unlock(&texts_lock);
	return ret;
}

/* ---- files to be read ---- */

static ssize_t vports_read(struct file *file, struct kobject *kobj,
			   compat_bin_attribute *attr, char *buf, loff_t off,
			   size_t count)
{
	return read_text(file, buf, off, count, usbback_rules_print);
}

static ssize_t grabbed_devices_read(struct file *file, struct kobject *kobj,
				    compat_bin_attribute *attr, char *buf,
				    loff_t off, size_t count)
{
	return read_text(file, buf, off, count, usbback_rules_print_devices);
}

static ssize_t channels_read(struct file *file, struct kobject *kobj,
			     compat_bin_attribute *attr, char *buf, loff_t off,
			     size_t count)
{
	return read_text(file, buf, off, count, usbback_channels_print);
}

/* ---- files to be written ---- */

static ssize_t complain(const char *file, const char *why, int err)
{
	pr_notice("%s: %s\n", file, why);
	return err;
}

static ssize_t channels_write(struct file *file, struct kobject *kobj,
			      compat_bin_attribute *attr, char *buf, loff_t off,
			      size_t count)
{
	char address[32], vm[USBIF_NAME_MAX + 1];
	size_t len = count, n;
	int err;

	if (off)
		return complain("channels", "write it at once", -EINVAL);
	if (len && buf[len - 1] == '\n')
		len--;
	for (n = 0; n < len && buf[n] != ' '; n++)
		;
	if (!n || n >= sizeof(address) || memchr(buf, '\0', n))
		return complain("channels", "the first word is no PCI address or name of a device",
				-EINVAL);
	if (n == len || !usbback_spec_valid_vm(buf + n + 1, len - n - 1))
		return complain("channels",
				"the VM name is not 1 to 31 characters of A-Za-z0-9_.-",
				-EINVAL);
	memcpy(address, buf, n);
	address[n] = '\0';
	memcpy(vm, buf + n + 1, len - n - 1);
	vm[len - n - 1] = '\0';
	err = usbback_channels_name(address, vm);
	return err ?: count;
}

static ssize_t limits_read(struct file *file, struct kobject *kobj,
			   compat_bin_attribute *attr, char *buf, loff_t off,
			   size_t count)
{
	return read_text(file, buf, off, count, usbback_limits_print);
}

static ssize_t limits_write(struct file *file, struct kobject *kobj,
			    compat_bin_attribute *attr, char *buf, loff_t off,
			    size_t count)
{
	char line[128], *words = line, *vm, why[USBBACK_WHY_MAX] = "";
	size_t len = count;
	int err;

	if (off)
		return complain("limits", "write it at once", -EINVAL);
	if (len && buf[len - 1] == '\n')
		len--;
	if (len >= sizeof(line) || memchr(buf, '\0', len))
		return complain("limits", "the line is too long", -EINVAL);
	memcpy(line, buf, len);
	line[len] = '\0';
	vm = strsep(&words, " ");
	if (!usbback_spec_valid_vm(vm, strlen(vm)))
		return complain("limits",
				"the VM name is not 1 to 31 characters of A-Za-z0-9_.-",
				-EINVAL);
	if (!words)
		return complain("limits", "NAME=NUMBER or \"default\" has to follow",
				-EINVAL);
	err = usbback_limits_set(vm, words, why);
	return err ? complain("limits", why, err) : count;
}

static ssize_t write_rule(const char *file, const char *buf, size_t count,
			  int (*act)(const struct usbback_spec *spec, char *why))
{
	char why[USBBACK_WHY_MAX] = "";
	struct usbback_spec spec;
	const char *field;
	int err;

	err = usbback_spec_parse(buf, count, &spec, &field);
	if (err)
		return complain(file, field, err);
	err = act(&spec, why);
	if (err)
		return complain(file, why, err);
	usbback_rules_changed();
	return count;
}

static ssize_t new_vport_store(struct device_driver *drv, const char *buf,
			       size_t count)
{
	return write_rule("new_vport", buf, count, usbback_rules_new);
}

static ssize_t move_vport_store(struct device_driver *drv, const char *buf,
				size_t count)
{
	return write_rule("move_vport", buf, count, usbback_rules_move);
}

static ssize_t remove_vport_store(struct device_driver *drv, const char *buf,
				  size_t count)
{
	char why[USBBACK_WHY_MAX] = "";
	struct usbback_spec spec;
	const char *field;
	int err;

	err = usbback_spec_parse_name(buf, count, &spec, &field);
	if (err)
		return complain("remove_vport", field, err);
	err = usbback_rules_remove(&spec, why);
	if (err)
		return complain("remove_vport", why, err);
	usbback_rules_changed();
	return count;
}

static DRIVER_ATTR_WO(new_vport);
static DRIVER_ATTR_WO(move_vport);
static DRIVER_ATTR_WO(remove_vport);
static BIN_ATTR(vports, 0400, vports_read, NULL, 0);
static BIN_ATTR(grabbed_devices, 0400, grabbed_devices_read, NULL, 0);
static BIN_ATTR(channels, 0600, channels_read, channels_write, 0);
static BIN_ATTR(limits, 0600, limits_read, limits_write, 0);

static struct attribute *sysfs_attrs[] = {
	&driver_attr_new_vport.attr,
	&driver_attr_move_vport.attr,
	&driver_attr_remove_vport.attr,
	NULL,
};

static struct bin_attribute *sysfs_bin_attrs[] = {
	&bin_attr_vports,
	&bin_attr_grabbed_devices,
	&bin_attr_channels,
	&bin_attr_limits,
	NULL,
};

/* Called before the files appear, and the only one to be told the directory. */
static umode_t sysfs_is_visible(struct kobject *kobj, struct attribute *attr,
				int n)
{
	WRITE_ONCE(driver_kobj, kobj);
	return attr->mode;
}

static const struct attribute_group sysfs_group = {
	.attrs = sysfs_attrs,
	.bin_attrs = sysfs_bin_attrs,
	.is_visible = sysfs_is_visible,
};

const struct attribute_group *usbback_sysfs_groups[] = {
	&sysfs_group,
	NULL,
};

/**
 * usbback_sysfs_notify - wake whoever polls the files
 *
 * Context: process
 */
void usbback_sysfs_notify(void)
{
	struct kobject *kobj = READ_ONCE(driver_kobj);

	/* The USB core's notifier may be early. */
	if (!kobj)
		return;
	sysfs_notify(kobj, NULL, "vports");
	sysfs_notify(kobj, NULL, "grabbed_devices");
	sysfs_notify(kobj, NULL, "channels");
}

/**
 * usbback_sysfs_stop - the files are about to go
 *
 * The caller then waits for whoever may be in usbback_sysfs_notify().
 */
void usbback_sysfs_stop(void)
{
	WRITE_ONCE(driver_kobj, NULL);
}

/**
 * usbback_sysfs_exit - free what was kept; the files are gone
 */
void usbback_sysfs_exit(void)
{
	unsigned int i;

	for (i = 0; i < KEPT_TEXTS; i++)
		text_clear(&texts[i]);
}
