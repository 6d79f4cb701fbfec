// SPDX-License-Identifier: GPL-2.0
/* Completions, and what becomes of their statuses. Input: struct usbif_rsp. */
#include <linux/errno.h>
#include "fuzz.h"
#include "proto.h"
#include "samples.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct usbif_rsp copy, again;
	struct usbif_response rsp;
	struct usbif_layout lay;
	enum usbif_why why;
	int ret;

	sample_layout(&lay);
	take(&in, &copy, sizeof(copy));
	ret = usbif_rsp_decode(&rsp, &copy, &lay, SAMPLE_SESSION, &why);
	check(!ret == !why && why < USBIF_WHY_MAX);
	check(usbif_status_to_errno(rsp.status) <= 0);
	check(usbif_status_from_errno(rsp.value) <= USBIF_ST_MAX);
	if (ret)
		return 0;
	check(rsp.id < 2 * lay.nr_requests);
	check(rsp.session == SAMPLE_SESSION);
	check(rsp.actual <= lay.max_transfer);
	check((usbif_status_to_errno(rsp.status) == 0) == !rsp.status);
	usbif_rsp_encode(&again, &rsp);
	check(!memcmp(&again, &copy, sizeof(copy)));
	return 0;
}
