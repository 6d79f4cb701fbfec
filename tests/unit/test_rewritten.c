// SPDX-License-Identifier: GPL-2.0
/*
 * What is rewritten while it is read, between each two looks of the reader: the linker
 * puts functions of ours in the place of those that read words (--wrap).
 */
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "ring.h"
#include "tap.h"

#define REGION	(16ull << 20)
#define NONCE	100u

u32 __real_usbif_word_read(const __le32 *word);
u32 __real_usbif_word_read_acquire(const __le32 *word);
u32 __wrap_usbif_word_read(const __le32 *word);
u32 __wrap_usbif_word_read_acquire(const __le32 *word);

static int looks;
static int change_before;
static void (*change)(void);

static void look(void)
{
	if (change && looks == change_before)
		change();
	looks++;
}

u32 __wrap_usbif_word_read(const __le32 *word)
{
	look();
	return __real_usbif_word_read(word);
}

u32 __wrap_usbif_word_read_acquire(const __le32 *word)
{
	look();
	return __real_usbif_word_read_acquire(word);
}

/* From now on, before the look of that number. */
static void change_at(int number, void (*how)(void))
{
	looks = 0;
	change_before = number;
	change = how;
}

static struct usbif_back_page page;

static void write_page(u32 nonce, u32 nr_ports)
{
	struct usbif_layout lay;

	usbif_layout_compute(&lay, REGION, 0, 1, nr_ports);
	usbif_layout_encode(&page, &lay, nonce);
}

static void gone(void)
{
	page.magic = 0;
}

static void magic_more(void)
{
	page.magic = cpu_to_le32(USBIF_BACK_MAGIC + 1);
}

static void magic_less(void)
{
	page.magic = cpu_to_le32(USBIF_BACK_MAGIC - 1);
}

static void anew_more(void)
{
	write_page(NONCE + 1, 7);
}

static void anew_less(void)
{
	write_page(NONCE - 1, 7);
}

static void no_nonce(void)
{
	page.nonce = 0;
}

#define OLD	15	/* ports of the page as it was */
#define NEW	7	/* and of that which is written over it */

/* The looks: nonce, magic, then the copy, magic, nonce. */
#define NR_PAGE_LOOKS	4

static const struct {
	const char *name;
	void (*how)(void);
	/* Before which look: ports of the page that is taken, or an error. */
	int want[NR_PAGE_LOOKS];
} pages[] = {
	{ "gone", gone, { -EAGAIN, -EAGAIN, -EAGAIN, OLD } },
	{ "another magic, more", magic_more,
	  { -EINVAL, -EINVAL, -EAGAIN, OLD } },
	{ "another magic, less", magic_less,
	  { -EINVAL, -EINVAL, -EAGAIN, OLD } },
	{ "written anew, nonce more", anew_more,
	  { NEW, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "written anew, nonce less", anew_less,
	  { NEW, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "nonce gone", no_nonce,
	  { -EINVAL, -EAGAIN, -EAGAIN, -EAGAIN } },
};

static void test_pages(void)
{
	struct usbif_layout lay;
	enum usbif_why why;
	u32 nonce;
	size_t i;
	int at, ret;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		for (at = 0; at < NR_PAGE_LOOKS; at++) {
			change = NULL;
			write_page(NONCE, OLD);
			change_at(at, pages[i].how);
			ret = usbif_layout_decode(&lay, &nonce, &page, REGION,
						  &why);
			expect((ret ?: (int)lay.nr_ports) == pages[i].want[at],
			       "before look %d: %d, %u ports", at, ret,
			       lay.nr_ports);
			expect(looks <= NR_PAGE_LOOKS, "%d looks", looks);
		}
		tap_case("layout while it is read: %s", pages[i].name);
	}
}

static struct usbif_port port;

#define STATE(status, speed, reason, version) \
	((status) | (speed) << 8 | (reason) << 16 | (u32)(version) << 24)
#define STATE_OLD	STATE(USBIF_PORT_CONNECTED, 3, 1, 8)
#define EPOCH_OLD	4

static void changing(void)
{
	port.state = cpu_to_le32(STATE(USBIF_PORT_CHANGING, 0, 0, 9));
}

static void changing_wraps(void)
{
	port.state = cpu_to_le32(STATE(USBIF_PORT_CHANGING, 0, 0, 0));
}

static void only_version(void)
{
	port.state = cpu_to_le32(STATE_OLD + (2u << 24));
}

static void only_version_less(void)
{
	port.state = cpu_to_le32(STATE_OLD - (2u << 24));
}

static void only_epoch(void)
{
	port.epoch = cpu_to_le32(EPOCH_OLD + 1);
}

/* The looks: state, epoch, wakeup, state. */
#define NR_PORT_LOOKS	4

static const struct {
	const char *name;
	void (*how)(void);
	/* Before which look: epoch that is taken, or an error. */
	int want[NR_PORT_LOOKS];
} ports[] = {
	{ "being changed", changing,
	  { -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "being changed, version wraps", changing_wraps,
	  { -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "changed and back", only_version,
	  { EPOCH_OLD, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "changed and back, version less", only_version_less,
	  { EPOCH_OLD, -EAGAIN, -EAGAIN, -EAGAIN } },
	{ "epoch without its state", only_epoch,
	  { EPOCH_OLD + 1, EPOCH_OLD + 1, EPOCH_OLD, EPOCH_OLD } },
};

static void test_ports(void)
{
	struct usbif_port_state st;
	enum usbif_why why;
	size_t i;
	int at, ret;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		for (at = 0; at < NR_PORT_LOOKS; at++) {
			port.state = cpu_to_le32(STATE_OLD);
			port.epoch = cpu_to_le32(EPOCH_OLD);
			change_at(at, ports[i].how);
			ret = usbif_port_read(&st, &port, &why);
			expect((ret ?: (int)st.epoch) == ports[i].want[at],
			       "before look %d: %d, epoch %u", at, ret,
			       st.epoch);
			expect(!why, "%s", usbif_why_name(why));
			expect(looks <= NR_PORT_LOOKS, "%d looks", looks);
		}
		tap_case("port while it is read: %s", ports[i].name);
	}
}

int main(void)
{
	test_pages();
	test_ports();
	return tap_end();
}
