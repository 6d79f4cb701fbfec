// SPDX-License-Identifier: GPL-2.0
/*
 * Writes the inputs that the fuzzers start from: mkseeds DIRECTORY makes DIRECTORY/req,
 * rsp, layout, port and ring, with a few small files in each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/stddef.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "ring.h"
#include "samples.h"

static const char *top;

static void save(const char *fuzzer, int number, const void *data, size_t size)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, fuzzer);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%02d", top, fuzzer, number);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd)) {
		perror(path);
		exit(1);
	}
}

static void requests(void)
{
	struct sample s;
	u8 out[sizeof(s.req) + sizeof(s.table)];
	u32 table;
	int i;

	for (i = 0; i < NR_SAMPLES; i++) {
		sample_get(&s, i);
		table = le32_to_cpu(s.req.table_length);
		memcpy(out, &s.req, sizeof(s.req));
		memcpy(out + sizeof(s.req), s.table, table);
		save("req", i, out, sizeof(s.req) + table);
	}
}

static void responses(void)
{
	struct usbif_response rsp = {
		.session = SAMPLE_SESSION, .actual = 512, .value = 1,
		.start_frame = 2, .error_count = 3,
	};
	struct usbif_rsp wire;

	for (; rsp.status <= USBIF_ST_MAX; rsp.status++) {
		rsp.id = rsp.status * 60;
		rsp.flags = rsp.status % 2 ? USBIF_RSP_HELD : 0;
		usbif_rsp_encode(&wire, &rsp);
		save("rsp", rsp.status, &wire, sizeof(wire));
	}
}

static void layouts(void)
{
	const u8 roles[8] = { USBIF_ROLE_BACKEND, USBIF_ROLE_FRONTEND };
	size_t part = offsetof(struct usbif_back_page, state);
	struct usbif_back_page page = {};
	struct usbif_ident ident;
	struct usbif_layout lay;
	u8 out[1 + sizeof(ident) + sizeof(page) + 3] = {};
	int shift;

	for (shift = 20; shift <= 30; shift++) {
		usbif_layout_compute(&lay, 1ull << shift, shift % 2, 1, 15);
		usbif_layout_encode(&page, &lay, shift);
		usbif_ident_encode(&ident, 1ull << shift, roles);
		out[0] = shift;
		memcpy(out + 1, &ident, sizeof(ident));
		memcpy(out + 1 + sizeof(ident), &page, part);
		save("layout", shift, out, 1 + sizeof(ident) + part + 3);
	}
}

static void ports(void)
{
	struct usbif_port_state st = { .reason = USBIF_REASON_ATTACHED };
	struct usbif_port wire = {};
	u8 out[sizeof(wire) + 3];
	u8 version = 0;

	for (; st.speed <= USBIF_SPEED_SUPER_PLUS_X2; st.speed++) {
		st.status = st.speed ? USBIF_PORT_CONNECTED : USBIF_PORT_EMPTY;
		st.epoch = st.speed * 3;
		usbif_port_write(&wire, &st, &version);
		memset(out, st.speed, sizeof(out));
		memcpy(out, &wire, sizeof(wire));
		save("port", st.speed, out, sizeof(out));
	}
}

/* Steps of fuzz_ring.c: start, then what an honest peer would do, then a lie. */
static void rings(void)
{
	u8 out[4 + 200];
	size_t i;

	memset(out, 0xff, 4);
	for (i = 4; i < sizeof(out); i++)
		out[i] = "\0\0\2\3\5\6\7\10"[i % 8];
	save("ring", 0, out, sizeof(out));
	for (i = 4; i < sizeof(out); i += 16)
		out[i] = 0x5d;
	save("ring", 1, out, sizeof(out));
	for (i = 9; i < sizeof(out); i += 16)
		out[i] = 0x0e;
	save("ring", 2, out, sizeof(out));
	out[0] = 15;
	save("ring", 3, out, 150);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	top = argv[1];
	mkdir(top, 0777);
	requests();
	responses();
	layouts();
	ports();
	rings();
	return 0;
}
