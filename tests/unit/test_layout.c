// SPDX-License-Identifier: GPL-2.0
/* Layout and identity: every size, every check, and a page that changes underneath. */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "tap.h"

#define REGION	(64ull << 20)
#define NONCE	0x1234u
#define ROLES	{ USBIF_ROLE_BACKEND, USBIF_ROLE_FRONTEND }

static bool seen[USBIF_WHY_MAX];

static void test_sizes(void)
{
	struct usbif_layout lay, back;
	struct usbif_back_page page;
	enum usbif_why why;
	u32 nonce;
	u64 size;

	for (size = USBIF_REGION_MIN; size <= USBIF_REGION_MAX; size <<= 1) {
		u64 end;

		memset(&page, 0xa5, sizeof(page));
		expect(!usbif_layout_compute(&lay, size, USBIF_F_ISO, 16, 15),
		       "compute %llu", size);
		end = lay.sq_offset + lay.ring_entries * 128ull;
		expect(lay.cq_offset == end, "cq of %llu", size);
		end += lay.ring_entries * 32ull;
		expect(lay.pool_offset >= end && lay.pool_offset - end < 4096,
		       "pool of %llu", size);
		expect(lay.pool_offset + lay.pool_size == size,
		       "end of %llu", size);
		expect(lay.pool_offset <= USBIF_CTL_SIZE, "ctl of %llu", size);
		expect(lay.nr_requests == (size >= 16u << 20 ? 1024 :
					   size >> 14), "n of %llu", size);
		expect(lay.max_transfer <= lay.pool_size / 4 &&
		       lay.max_transfer % 4096 == 0, "most of %llu", size);
		expect(size < 8u << 20 || lay.max_transfer == 1u << 20,
		       "most of %llu", size);

		usbif_layout_encode(&page, &lay, NONCE);
		memset(&back, 0xa5, sizeof(back));
		expect(!usbif_layout_decode(&back, &nonce, &page, size, &why),
		       "decode %llu: %s", size, usbif_why_name(why));
		expect(nonce == NONCE && !memcmp(&lay, &back, sizeof(lay)),
		       "round trip of %llu", size);
		expect(page.state == 0xa5a5a5a5, "state was touched");
	}
	tap_case("layout of all sizes");

	for (size = 1; size; size <<= 1) {
		bool good = size >= USBIF_REGION_MIN &&
			    size <= USBIF_REGION_MAX;

		expect(!usbif_layout_compute(&lay, size, 0, 1, 1) == good,
		       "%llu", size);
		expect(usbif_layout_compute(&lay, size + 1, 0, 1, 1) == -EINVAL,
		       "%llu", size + 1);
		expect(usbif_layout_compute(&lay, size * 3, 0, 1, 1) == -EINVAL,
		       "%llu", size * 3);
	}
	tap_case("sizes that are no powers of two or out of range");

	expect(usbif_layout_compute(&lay, REGION, 0, 0, 1) == -EINVAL, "0");
	expect(usbif_layout_compute(&lay, REGION, 0, 17, 1) == -EINVAL, "17");
	expect(usbif_layout_compute(&lay, REGION, 0, 1, 0) == -EINVAL, "0");
	expect(usbif_layout_compute(&lay, REGION, 0, 1, 16) == -EINVAL, "16");
	tap_case("numbers of virtual controllers and ports");
}

static void good_page(struct usbif_back_page *page, u64 features)
{
	struct usbif_layout lay;

	memset(page, 0, sizeof(*page));
	usbif_layout_compute(&lay, REGION, features, 2, 15);
	usbif_layout_encode(page, &lay, NONCE);
}

#define PAGE(field, value, why) \
	{ #field " = " #value, offsetof(struct usbif_back_page, field), \
	  sizeof(((struct usbif_back_page *)0)->field), value, \
	  USBIF_WHY_##why }

static const struct {
	const char *name;
	size_t offset;
	size_t size;
	u64 value;
	enum usbif_why why;
} page_cases[] = {
	PAGE(magic, USBIF_FRONT_MAGIC, MAGIC),
	PAGE(magic, 1, MAGIC),
	PAGE(version, 0, VERSION),
	PAGE(version, 2, VERSION),
	PAGE(region_size, REGION / 2, REGION_SIZE),
	PAGE(region_size, REGION * 2, REGION_SIZE),
	PAGE(region_size, REGION | 1ull << 32, REGION_SIZE),
	PAGE(nr_requests, 0, RING_SIZE),
	PAGE(nr_requests, 16, RING_SIZE),
	PAGE(nr_requests, 1023, RING_SIZE),
	PAGE(nr_requests, 2048, RING_SIZE),
	PAGE(nr_requests, 0x80000000u, RING_SIZE),
	PAGE(sq_entries, 1024, RING_SIZE),
	PAGE(sq_entries, 0, RING_SIZE),
	PAGE(sq_entries, 4096, RING_SIZE),
	PAGE(cq_entries, 1024, RING_SIZE),
	PAGE(cq_entries, 4096, RING_SIZE),
	PAGE(sq_offset, 0x3000, OFFSET),
	PAGE(sq_offset, 0x4000 | 1ull << 32, OFFSET),
	PAGE(cq_offset, 0x4000, OFFSET),
	PAGE(cq_offset, REGION, OFFSET),
	PAGE(pool_offset, 0x4000, POOL),
	PAGE(pool_offset, 0x54001, POOL),
	PAGE(pool_offset, 0x55000, POOL),
	PAGE(pool_offset, REGION, POOL),
	PAGE(pool_offset, ~0xfffull, POOL),
	PAGE(pool_size, 0, POOL),
	PAGE(pool_size, 4097, POOL),
	PAGE(pool_size, REGION, POOL),
	PAGE(pool_size, ~0xfffull, POOL),
	PAGE(max_transfer, 0, MAX_TRANSFER),
	PAGE(max_transfer, 4095, MAX_TRANSFER),
	PAGE(max_transfer, 2u << 20, MAX_TRANSFER),
	PAGE(nr_vusb, 0, VUSB_COUNT),
	PAGE(nr_vusb, 17, VUSB_COUNT),
	PAGE(nr_ports, 0, PORT_COUNT),
	PAGE(nr_ports, 16, PORT_COUNT),
	PAGE(max_iso_packets, 0, ISO_LIMIT),
	PAGE(max_iso_packets, 1025, ISO_LIMIT),
	PAGE(features, USBIF_F_FRAME, ISO_LIMIT),
	PAGE(nonce, 0, SESSION),
};

/* Stores a little-endian value of @size octets. */
static void spoil(void *where, size_t size, u64 value)
{
	u8 *octet = where;

	while (size--) {
		*octet++ = value;
		value >>= 8;
	}
}

static void test_page_checks(void)
{
	struct usbif_back_page page;
	struct usbif_layout lay;
	enum usbif_why why;
	u32 nonce;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(page_cases); i++) {
		good_page(&page, USBIF_F_ISO);
		spoil((u8 *)&page + page_cases[i].offset, page_cases[i].size,
		      page_cases[i].value);
		ret = usbif_layout_decode(&lay, &nonce, &page, REGION, &why);
		expect(ret == -EINVAL && why == page_cases[i].why, "%d %s",
		       ret, usbif_why_name(why));
		seen[why] = true;
		tap_case("layout refused: %s", page_cases[i].name);
	}

	/* What fits: a smaller pool, a backend with a feature of the future. */
	good_page(&page, 1ull << 63);
	spoil(&page.pool_offset, 8, 0x60000);
	spoil(&page.pool_size, 8, 0x100000);
	ret = usbif_layout_decode(&lay, &nonce, &page, REGION, &why);
	expect(!ret && lay.features == 1ull << 63 && lay.pool_blocks == 256,
	       "%d %s", ret, usbif_why_name(why));
	spoil(&page.pool_size, 8, 0xff000);
	ret = usbif_layout_decode(&lay, &nonce, &page, REGION, &why);
	expect(ret == -EINVAL && why == USBIF_WHY_MAX_TRANSFER, "%d %s",
	       ret, usbif_why_name(why));
	tap_case("layout with a smaller pool");

	spoil(&page.pool_size, 8, 0x100000);
	spoil(&page.pool_offset, 8, 0x60800);
	ret = usbif_layout_decode(&lay, &nonce, &page, REGION, &why);
	expect(ret == -EINVAL && why == USBIF_WHY_POOL, "%d %s", ret,
	       usbif_why_name(why));
	tap_case("layout with a pool that begins within a block");

	good_page(&page, 0);
	spoil(&page.magic, 4, 0);
	ret = usbif_layout_decode(&lay, &nonce, &page, REGION, &why);
	expect(ret == -EAGAIN, "%d", ret);
	tap_case("layout not there yet");
}

/* What the reader sees is no region, and the writer agrees with it. */
static void test_odd_sizes(void)
{
	static const u64 sizes[] = {
		0, USBIF_REGION_MIN / 2, 3 * USBIF_REGION_MIN,
		USBIF_REGION_MAX * 2ull, REGION | 1ull << 32,
	};
	const u8 roles[8] = ROLES;
	struct usbif_identity id;
	struct usbif_ident ident;
	struct usbif_back_page page;
	struct usbif_layout lay;
	enum usbif_why why;
	u32 nonce;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		good_page(&page, 0);
		spoil(&page.region_size, 8, sizes[i]);
		ret = usbif_layout_decode(&lay, &nonce, &page, sizes[i], &why);
		expect(ret == -EINVAL && why == USBIF_WHY_REGION_SIZE,
		       "layout of %llu: %d %s", sizes[i], ret,
		       usbif_why_name(why));
		usbif_ident_encode(&ident, sizes[i], roles);
		ret = usbif_ident_read(&id, &ident, sizes[i], &why);
		expect(ret == -EINVAL && why == USBIF_WHY_REGION_SIZE,
		       "identity of %llu: %d %s", sizes[i], ret,
		       usbif_why_name(why));
	}
	tap_case("sizes that no region has");
}

/* Pages that are right in themselves but for the number of requests. */
static void test_requests(void)
{
	static const struct {
		u32 n;
		bool good;
	} cases[] = {
		{ 16, false }, { 32, true }, { 48, false }, { 512, true },
		{ 1023, false }, { 1024, true }, { 2048, false },
		{ 0x10000, false },
	};
	struct usbif_layout lay, back;
	struct usbif_back_page page;
	enum usbif_why why;
	u32 nonce;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		usbif_layout_compute(&lay, REGION, 0, 1, 1);
		lay.nr_requests = cases[i].n;
		lay.ring_entries = 2 * cases[i].n;
		lay.cq_offset = lay.sq_offset + lay.ring_entries * 128ull;
		lay.pool_offset = 48u << 20;
		lay.pool_size = REGION - lay.pool_offset;
		usbif_layout_encode(&page, &lay, NONCE);
		ret = usbif_layout_decode(&back, &nonce, &page, REGION, &why);
		expect(!ret == cases[i].good, "%u: %d %s", cases[i].n, ret,
		       usbif_why_name(why));
		expect(!ret || why == USBIF_WHY_RING_SIZE, "%u: %s",
		       cases[i].n, usbif_why_name(why));
	}
	tap_case("layout with other numbers of requests");
}

#define IDENT(field, value, why) \
	{ #field " = " #value, offsetof(struct usbif_ident, field), \
	  sizeof(((struct usbif_ident *)0)->field), value, USBIF_WHY_##why }

static const struct {
	const char *name;
	size_t offset;
	size_t size;
	u64 value;
	enum usbif_why why;
} ident_cases[] = {
	IDENT(magic, 0, MAGIC),
	IDENT(magic, USBIF_BACK_MAGIC, MAGIC),
	IDENT(magic, USBIF_IDENT_MAGIC + 1, MAGIC),
	IDENT(version, 0, VERSION),
	IDENT(version, 2, VERSION),
	IDENT(region_size, REGION * 2, REGION_SIZE),
	IDENT(region_size, 0, REGION_SIZE),
	IDENT(roles, 0, ROLE),
	IDENT(roles, 0x0001, ROLE),
	IDENT(roles, 0x0200, ROLE),
	IDENT(roles, 0x0101, ROLE),
	IDENT(roles, 0x020201, ROLE),
	IDENT(roles, 0x010201, ROLE),
	IDENT(roles, 0x030201, ROLE),
	IDENT(roles, 0xff00000000000201ull, ROLE),
};

static void test_ident(void)
{
	const u8 swapped[8] = { 0, 0, USBIF_ROLE_FRONTEND, 0, 0, 0, 0,
				USBIF_ROLE_BACKEND };
	const u8 roles[8] = ROLES;
	struct usbif_identity id;
	struct usbif_ident ident;
	enum usbif_role role;
	enum usbif_why why;
	size_t i;
	u32 peer;
	int ret;

	for (i = 0; i < ARRAY_SIZE(ident_cases); i++) {
		usbif_ident_encode(&ident, REGION, roles);
		spoil((u8 *)&ident + ident_cases[i].offset, ident_cases[i].size,
		      ident_cases[i].value);
		ret = usbif_ident_read(&id, &ident, REGION, &why);
		expect(ret == -EINVAL && why == ident_cases[i].why, "%d %s",
		       ret, usbif_why_name(why));
		seen[why] = true;
		ret = usbif_ident_decode(&ident, REGION, 0, &role, &why);
		expect(ret == -EINVAL && why == ident_cases[i].why,
		       "role: %d %s", ret, usbif_why_name(why));
		tap_case("identity refused: %s", ident_cases[i].name);
	}

	usbif_ident_encode(&ident, REGION, roles);
	ret = usbif_ident_read(&id, &ident, REGION, &why);
	expect(!ret && !id.backend && id.frontend == 1, "%d %s", ret,
	       usbif_why_name(why));
	tap_case("roles of the first peers");

	memset(&ident, 0xff, sizeof(ident));
	usbif_ident_encode(&ident, REGION, swapped);
	ret = usbif_ident_read(&id, &ident, REGION, &why);
	expect(!ret && id.backend == 7 && id.frontend == 2 &&
	       id.region_size == REGION, "%d %s", ret, usbif_why_name(why));
	for (i = 0; i < sizeof(ident.reserved); i++)
		expect(!ident.reserved[i], "reserved octet %zu", i);
	for (peer = 0; peer < 10; peer++) {
		role = USBIF_ROLE_NONE;
		ret = usbif_ident_decode(&ident, REGION, peer, &role, &why);
		if (peer == 7)
			expect(!ret && role == USBIF_ROLE_BACKEND, "%d", ret);
		else if (peer == 2)
			expect(!ret && role == USBIF_ROLE_FRONTEND, "%d", ret);
		else
			expect(ret == -EINVAL && why == USBIF_WHY_ROLE, "%d",
			       ret);
	}
	tap_case("roles of all peers");
}

static void test_seen(void)
{
	static const enum usbif_why mine[] = {
		USBIF_WHY_MAGIC, USBIF_WHY_VERSION, USBIF_WHY_REGION_SIZE,
		USBIF_WHY_RING_SIZE, USBIF_WHY_OFFSET, USBIF_WHY_POOL,
		USBIF_WHY_MAX_TRANSFER, USBIF_WHY_VUSB_COUNT,
		USBIF_WHY_PORT_COUNT, USBIF_WHY_ISO_LIMIT, USBIF_WHY_ROLE,
		USBIF_WHY_SESSION,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mine); i++)
		expect(seen[mine[i]], "nothing is refused for %s",
		       usbif_why_name(mine[i]));
	tap_case("each check of layout and identity refused something");
}

int main(void)
{
	test_sizes();
	test_page_checks();
	test_odd_sizes();
	test_requests();
	test_ident();
	test_seen();
	return tap_end();
}
