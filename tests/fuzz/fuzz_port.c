// SPDX-License-Identifier: GPL-2.0
/*
 * Port entries in memory that is rewritten meanwhile, and a port that its writer changes
 * while it is read. Input: struct usbif_port, then octets for the second writer.
 */
#include <linux/errno.h>
#include "fuzz.h"
#include "proto.h"

static struct usbif_port shared;

static void check_state(void *arg)
{
	struct usbif_port_state st;
	enum usbif_why why;
	int ret;

	(void)arg;
	ret = usbif_port_read(&st, &shared, &why);
	check(why < USBIF_WHY_MAX && (ret == -EPROTO) == !!why);
	check(!ret || ret == -EAGAIN || ret == -EPROTO);
	if (ret)
		return;
	check(st.status <= USBIF_PORT_CONNECTED);
	check((st.status == USBIF_PORT_CONNECTED) == !!st.speed);
	check(st.speed <= USBIF_SPEED_SUPER_PLUS_X2);
	check(st.reason <= USBIF_REASON_BACKEND);
	check(st.epoch || st.status == USBIF_PORT_EMPTY);
}

static bool writing;

/* Epoch and wakeup are always the same number: a mixed reading is seen. */
static void *write_port(void *arg)
{
	struct usbif_port_state st = {
		.status = USBIF_PORT_CONNECTED, .speed = USBIF_SPEED_HIGH,
	};
	u8 version = 0;

	while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
		st.epoch = st.epoch % 1000000 + 1;
		st.wakeup = st.epoch;
		usbif_port_write(&shared, &st, &version);
	}
	return arg;
}

/*
 * Good only while fewer than 128 changes fit into one reading, as the version has eight
 * bits. A reader that is put to sleep in between may see more: such a one is the
 * scheduler's doing, not the reader's, so a few are let pass.
 */
static void check_honest_writer(void)
{
	struct usbif_port_state st;
	enum usbif_why why;
	pthread_t thread;
	int i, mixed = 0;

	memset(&shared, 0, sizeof(shared));
	writing = true;
	check(!pthread_create(&thread, NULL, write_port, NULL));
	for (i = 0; i < 20000; i++) {
		int ret = usbif_port_read(&st, &shared, &why);

		check(ret != -EPROTO);
		mixed += !ret && st.epoch != st.wakeup;
	}
	__atomic_store_n(&writing, false, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	check(mixed <= 2);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	static unsigned int runs;

	take(&in, &shared, sizeof(shared));
	check_state(NULL);
	with_flipper(&shared, sizeof(shared), &in, check_state, NULL);
	if (runs++ % 1024 == 0)
		check_honest_writer();
	return 0;
}
