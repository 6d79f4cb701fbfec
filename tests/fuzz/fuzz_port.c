// SPDX-License-Identifier: GPL-2.0
/*
 * Port entries in memory that is rewritten meanwhile. Input: struct usbif_port, then
 * octets for the second writer.
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

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };

	take(&in, &shared, sizeof(shared));
	check_state(NULL);
	with_flipper(&shared, sizeof(shared), &in, check_state, NULL);
	return 0;
}
