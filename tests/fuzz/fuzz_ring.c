// SPDX-License-Identifier: GPL-2.0
/*
 * Both ends of a ring against a peer that writes what it likes. The input is a list of
 * steps; each lets us do something or the peer store an index. Then a second thread
 * rewrites indices and slots while a consumer decodes submissions, as a backend does.
 */
#include <linux/errno.h>
#include "fuzz.h"
#include "proto.h"
#include "ring.h"
#include "samples.h"

#define SIZE	32
#define SLOT	sizeof(struct usbif_req)

static struct {
	__le32 prod;
	__le32 cons;
	__le32 event;
	u8 slots[SIZE * SLOT];
} shared;

static struct usbif_prod p;
static struct usbif_cons c;
static struct usbif_layout lay;

static void init(u32 start)
{
	memset(&shared, 0, sizeof(shared));
	usbif_cons_init(&c, shared.slots, SLOT, SIZE, &shared.prod,
			&shared.cons, &shared.event, start);
	usbif_prod_init(&p, shared.slots, SLOT, SIZE, &shared.prod,
			&shared.cons, &shared.event, start);
}

static void produce(void)
{
	struct usbif_req entry = {};
	int room = usbif_prod_room(&p);

	check(room == -EPROTO || (room >= 0 && room <= SIZE));
	if (room <= 0)
		return;
	usbif_prod_push(&p, &entry);
	check(p.prod - p.cons <= SIZE);
}

static void consume(void)
{
	struct usbif_req entry;
	struct usbif_request req;
	enum usbif_why why;
	int avail = usbif_cons_avail(&c);

	check(avail == -EPROTO || (avail >= 0 && avail <= SIZE));
	if (avail <= 0)
		return;
	usbif_cons_pop(&c, &entry);
	check(c.prod - c.cons < SIZE);
	if (usbif_req_decode(&req, &entry, &lay, SAMPLE_SESSION, &why))
		return;
	/* Of the copy: nobody may have changed it since. */
	check(!(req.endpoint & 0x70));
	check(req.length <= lay.max_transfer);
	check(req.vusb < lay.nr_vusb && req.port <= lay.nr_ports);
}

static void step(struct input *in)
{
	int unconsumed;
	u8 what = take_u8(in);

	switch (what & 15) {
	case 0: case 1:
		produce();
		break;
	case 2:
		usbif_prod_publish(&p);
		break;
	case 3:
		usbif_prod_need_kick(&p);
		check(!usbif_prod_need_kick(&p));
		break;
	case 4:
		unconsumed = usbif_prod_unconsumed(&p);
		check(unconsumed == -EPROTO ||
		      (unconsumed >= 0 && unconsumed <= SIZE));
		break;
	case 5: case 6:
		consume();
		break;
	case 7:
		usbif_cons_commit(&c);
		break;
	case 8:
		usbif_cons_arm(&c);
		break;
	case 9:
		usbif_cons_disarm(&c);
		break;
	case 10:
		usbif_word_write(&shared.prod, take_u32(in));
		break;
	case 11:
		usbif_word_write(&shared.cons, take_u32(in));
		break;
	case 12:
		usbif_word_write(&shared.event, take_u32(in));
		break;
	case 13:
		usbif_word_write(&shared.prod, c.prod + (what >> 4) - 4);
		break;
	case 14:
		usbif_word_write(&shared.cons, p.cons + (what >> 4) - 4);
		break;
	case 15:
		take(in, shared.slots + (what >> 4) * SLOT, SLOT);
		break;
	}
}

static void both(void *arg)
{
	(void)arg;
	consume();
	usbif_cons_commit(&c);
	produce();
	usbif_prod_publish(&p);
	usbif_prod_need_kick(&p);
	usbif_cons_arm(&c);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	int steps = 0;

	sample_layout(&lay);
	init(take_u32(&in));
	while (in.size && steps++ < 500)
		step(&in);
	in.data = data;
	in.size = size;
	with_flipper(&shared, sizeof(shared), &in, both, NULL);
	return 0;
}
