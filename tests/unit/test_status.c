// SPDX-License-Identifier: GPL-2.0
/* Completions, ports and statuses; for each check something that is good but for it. */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "samples.h"
#include "tap.h"

#define N	1024

static struct usbif_layout lay;
static bool seen[USBIF_WHY_MAX];

/* Stores a little-endian value of @size octets. */
static void spoil(void *where, size_t size, u64 value)
{
	u8 *octet = where;

	while (size--) {
		*octet++ = value;
		value >>= 8;
	}
}

#define RSP(field, value, why) \
	{ #field " = " #value, offsetof(struct usbif_rsp, field), \
	  sizeof(((struct usbif_rsp *)0)->field), value, USBIF_WHY_ ## why }

static const struct {
	const char *name;
	size_t offset;
	size_t size;
	u64 value;
	enum usbif_why why;
} rsp_cases[] = {
	RSP(id, 2 * N, ID),
	RSP(id, 0xffffffff, ID),
	RSP(id, 2 * N - 1, OK),
	RSP(session, SAMPLE_SESSION + 1, SESSION),
	RSP(session, SAMPLE_SESSION - 1, SESSION),
	RSP(status, USBIF_ST_MAX + 1, STATUS),
	RSP(status, 255, STATUS),
	RSP(status, USBIF_ST_MAX, OK),
	RSP(status, USBIF_ST_OK, FLAGS),
	RSP(flags, 2, FLAGS),
	RSP(flags, 0x8001, FLAGS),
	RSP(reserved0, 1, RESERVED),
	RSP(reserved1, 0x80000000, RESERVED),
	RSP(actual, USBIF_MAX_TRANSFER + 1, ACTUAL),
	RSP(actual, 0xffffffff, ACTUAL),
	RSP(actual, USBIF_MAX_TRANSFER, OK),
};

static void test_rsp(void)
{
	const struct usbif_response good = {
		.id = 17, .session = SAMPLE_SESSION, .status = USBIF_ST_STALL,
		.flags = USBIF_RSP_HELD, .actual = 0x1234, .value = 0x89abcdef,
		.start_frame = 0xfedcba98, .error_count = 0x1020304,
	};
	unsigned long long seed = 1;
	struct usbif_response rsp;
	struct usbif_rsp wire, again;
	enum usbif_why why;
	int ret, round;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rsp_cases); i++) {
		memset(&wire, 0xff, sizeof(wire));
		usbif_rsp_encode(&wire, &good);
		spoil((u8 *)&wire + rsp_cases[i].offset, rsp_cases[i].size,
		      rsp_cases[i].value);
		ret = usbif_rsp_decode(&rsp, &wire, &lay, SAMPLE_SESSION, &why);
		expect(ret == (rsp_cases[i].why ? -EPROTO : 0) &&
		       why == rsp_cases[i].why, "%d %s", ret,
		       usbif_why_name(why));
		seen[why] = true;
		tap_case("%s: completion: %s",
			 usbif_why_name(rsp_cases[i].why), rsp_cases[i].name);
	}

	usbif_rsp_encode(&wire, &good);
	wire.status = USBIF_ST_OK;
	wire.flags = 0;
	ret = usbif_rsp_decode(&rsp, &wire, &lay, SAMPLE_SESSION, &why);
	expect(!ret && !why, "%d %s", ret, usbif_why_name(why));
	tap_case("OK: completion of what ended well");

	for (round = 0; round < 100000; round++) {
		usbif_rsp_encode(&wire, &good);
		((u8 *)&wire)[tap_random(&seed) % sizeof(wire)] =
			tap_random(&seed) >> 8;
		((u8 *)&wire)[tap_random(&seed) % sizeof(wire)] =
			tap_random(&seed) >> 8;
		if (usbif_rsp_decode(&rsp, &wire, &lay, SAMPLE_SESSION, &why))
			continue;
		usbif_rsp_encode(&again, &rsp);
		expect(!memcmp(&again, &wire, sizeof(wire)), "round %d", round);
	}
	tap_case("random completions: what is accepted keeps all its octets");
}

#define STATE(status, speed, reason) ((status) | (speed) << 8 | (reason) << 16)

static const struct {
	const char *name;
	u32 state;
	u32 epoch;
	enum usbif_why why;
} port_cases[] = {
	{ "never used", 0, 0, USBIF_WHY_OK },
	{ "empty", STATE(0, 0, 2), 4, USBIF_WHY_OK },
	{ "empty, but fast", STATE(0, 3, 0), 0, USBIF_WHY_SPEED },
	{ "connected", STATE(1, 3, 1), 1, USBIF_WHY_OK },
	{ "connected, fastest", STATE(1, 6, 4), ~0u, USBIF_WHY_OK },
	{ "connected, no speed", STATE(1, 0, 1), 1, USBIF_WHY_SPEED },
	{ "connected, too fast", STATE(1, 7, 1), 1, USBIF_WHY_SPEED },
	{ "connected, no epoch", STATE(1, 3, 1), 0, USBIF_WHY_EPOCH },
	{ "unknown status", STATE(3, 0, 0), 1, USBIF_WHY_PORT_STATE },
	{ "unknown status", STATE(255, 3, 1), 1, USBIF_WHY_PORT_STATE },
	{ "unknown reason", STATE(1, 3, 6), 1, USBIF_WHY_PORT_STATE },
	{ "unknown reason", STATE(0, 0, 255), 1, USBIF_WHY_PORT_STATE },
};

static void test_ports(void)
{
	struct usbif_port_state st, back;
	struct usbif_port wire = {};
	enum usbif_why why;
	u8 version = 250;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(port_cases); i++) {
		wire.state = cpu_to_le32(port_cases[i].state | 0xee000000);
		wire.epoch = cpu_to_le32(port_cases[i].epoch);
		ret = usbif_port_read(&st, &wire, &why);
		expect(ret == (port_cases[i].why ? -EPROTO : 0) &&
		       why == port_cases[i].why, "%d %s", ret,
		       usbif_why_name(why));
		expect(st.version == 0xee, "version");
		seen[why] = true;
		tap_case("%s: port %s", usbif_why_name(port_cases[i].why),
			 port_cases[i].name);
	}

	wire.state = cpu_to_le32(USBIF_PORT_CHANGING | 0x100);
	expect(usbif_port_read(&st, &wire, &why) == -EAGAIN, "believed");
	tap_case("port being changed");

	for (i = 0; i < 20; i++) {
		u8 old = version;

		st = (struct usbif_port_state){
			.status = i & 1, .speed = i & 1 ? i % 6 + 1 : 0,
			.reason = i % 6, .epoch = 1000 + i, .wakeup = i * i,
		};
		usbif_port_write(&wire, &st, &version);
		ret = usbif_port_read(&back, &wire, &why);
		expect(!ret && (u8)(back.version - old) == 2 &&
		       back.version == version, "%d, version %u after %u", ret,
		       back.version, old);
		expect(back.status == st.status && back.speed == st.speed &&
		       back.reason == st.reason && back.epoch == st.epoch &&
		       back.wakeup == st.wakeup, "round trip");
	}
	tap_case("ports written and read");
}

static void test_statuses(void)
{
	u32 status;

	expect(usbif_status_to_errno(USBIF_ST_OK) == 0, "OK");
	for (status = 1; status <= USBIF_ST_MAX; status++) {
		int error = usbif_status_to_errno(status);

		expect(error < 0, "%u gives %d", status, error);
		expect(usbif_status_from_errno(error) ==
		       (status == USBIF_ST_NOENT ? USBIF_ST_CANCELLED : status),
		       "%u gives %d and that %u", status, error,
		       usbif_status_from_errno(error));
	}
	expect(usbif_status_to_errno(USBIF_ST_MAX + 1) == -EPROTO, "unknown");
	expect(usbif_status_to_errno(~0u) == -EPROTO, "unknown");
	expect(usbif_status_from_errno(0) == USBIF_ST_OK, "0");
	expect(usbif_status_from_errno(-ENOENT) == USBIF_ST_CANCELLED, "kill");
	expect(usbif_status_from_errno(-ETIMEDOUT) == USBIF_ST_TIMEOUT, "time");
	expect(usbif_status_from_errno(-ENOSR) == USBIF_ST_DATA, "overrun");
	expect(usbif_status_from_errno(-EILSEQ) == USBIF_ST_PROTO, "CRC");
	expect(usbif_status_from_errno(-EINPROGRESS) == USBIF_ST_PROTO, "odd");
	expect(usbif_status_from_errno(1) == USBIF_ST_PROTO, "positive");
	tap_case("statuses");
}

static void test_names(void)
{
	static const enum usbif_why mine[] = {
		USBIF_WHY_ID, USBIF_WHY_SESSION, USBIF_WHY_STATUS,
		USBIF_WHY_FLAGS, USBIF_WHY_RESERVED, USBIF_WHY_ACTUAL,
		USBIF_WHY_PORT_STATE, USBIF_WHY_SPEED, USBIF_WHY_EPOCH,
	};
	size_t i;
	int why;

	for (i = 0; i < ARRAY_SIZE(mine); i++)
		expect(seen[mine[i]], "nothing is refused for %s",
		       usbif_why_name(mine[i]));
	tap_case("each check refused something");

	for (why = 0; why < USBIF_WHY_MAX; why++)
		expect(usbif_why_name(why)[0] != '?', "%d has no name", why);
	expect(usbif_why_name(USBIF_WHY_MAX)[0] == '?', "one too many");
	expect(usbif_why_name(-1)[0] == '?', "-1");
	tap_case("each check has a name");
}

int main(void)
{
	sample_layout(&lay);
	test_rsp();
	test_ports();
	test_statuses();
	test_names();
	return tap_end();
}
