// SPDX-License-Identifier: GPL-2.0
/*
 * Identity and layout in memory that is rewritten meanwhile. Input: log2 of the size of
 * the region, struct usbif_ident, the static part of struct usbif_back_page, then octets
 * for the second writer.
 */
#include <linux/errno.h>
#include <linux/stddef.h>
#include "fuzz.h"
#include "proto.h"

static struct {
	struct usbif_ident ident;
	struct usbif_back_page page;
} shared;

static u64 region;

static void check_ident(void)
{
	struct usbif_identity id;
	enum usbif_role role;
	enum usbif_why why;
	int ret;

	ret = usbif_ident_read(&id, &shared.ident, region, &why);
	check(!ret == !why && why < USBIF_WHY_MAX);
	if (!ret) {
		check(id.backend < 8 && id.frontend < 8);
		check(id.backend != id.frontend);
		check(id.region_size == region);
	}
	ret = usbif_ident_decode(&shared.ident, region, 1, &role, &why);
	check(!ret == !why && why < USBIF_WHY_MAX);
	check(ret || role == USBIF_ROLE_BACKEND || role == USBIF_ROLE_FRONTEND);
}

static void check_layout(void)
{
	struct usbif_layout lay;
	enum usbif_why why;
	u32 nonce = 0;
	int ret;

	ret = usbif_layout_decode(&lay, &nonce, &shared.page, region, &why);
	check(why < USBIF_WHY_MAX && (ret == -EINVAL) == !!why);
	check(!ret || ret == -EAGAIN || ret == -EINVAL);
	if (ret)
		return;
	check(nonce);
	check(lay.region_size == region);
	check(lay.nr_requests >= 32 && lay.nr_requests <= 1024);
	check(!(lay.nr_requests & (lay.nr_requests - 1)));
	check(lay.ring_entries == 2 * lay.nr_requests);
	check(lay.sq_offset >= USBIF_SQ_OFFSET);
	check(lay.sq_offset + lay.ring_entries * 128 <= lay.cq_offset);
	check(lay.cq_offset + lay.ring_entries * 32 <= lay.pool_offset);
	check(lay.cq_offset + lay.ring_entries * 32 <= USBIF_CTL_SIZE);
	check(lay.pool_offset < region && lay.pool_size <= region);
	check(lay.pool_offset + lay.pool_size <= region);
	check(lay.pool_offset % 4096 == 0);
	check(lay.pool_blocks && lay.pool_blocks * 4096ull == lay.pool_size);
	check(lay.max_transfer && lay.max_transfer <= lay.pool_size);
	check(lay.max_transfer <= USBIF_MAX_TRANSFER);
	check(lay.nr_vusb >= 1 && lay.nr_vusb <= USBIF_MAX_VUSB);
	check(lay.nr_ports >= 1 && lay.nr_ports <= USBIF_MAX_PORTS);
	check(lay.max_iso_packets <= USBIF_MAX_ISO_PACKETS);
}

static void check_both(void *arg)
{
	(void)arg;
	check_ident();
	check_layout();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };

	memset(&shared, 0, sizeof(shared));
	region = 1ull << take_u8(&in) % 64;
	take(&in, &shared.ident, sizeof(shared.ident));
	take(&in, &shared.page, offsetof(struct usbif_back_page, state));
	check_both(NULL);
	with_flipper(&shared, sizeof(shared), &in, check_both, NULL);
	return 0;
}
