// SPDX-License-Identifier: GPL-2.0
/*
 * front_successor NAME: two guests, one after the other, in channel NAME. The first ends
 * its session and dies, while the device on port 0:1, tests/tools/usbip_faulty.c, keeps a
 * transfer of it. The second asks for a session meanwhile ("asking"), and gets it once
 * the device is gone ("session N").
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "../tools/faulty.h"
#include "front.h"

#define REGION		(4u << 20)
#define DATA_BLOCK	16

static void say(const char *word, unsigned int number)
{
	printf("%s %u\n", word, number);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct front f;
	struct usbif_request req;
	struct front_dev dev;

	if (argc < 2) {
		fprintf(stderr, "usage: front_successor NAME\n");
		return 2;
	}
	front_open(&f, argv[1], REGION);
	front_drop_at_exit(&f);
	front_connect(&f);
	front_enumerate(&dev, &f, 0, 1);
	req = front_control(&dev, 5, 0x40, SET_MODE, MODE_CLING, 0, 0, 0);
	if (front_call(&f, &req).status)
		die("the device does not obey");
	req = front_bulk(&dev, 6, dev.bulk_in, PACKET, DATA_BLOCK);
	front_submit(&f, &req);
	/* The first goes when the host controller has it, and dies; the second comes at once. */
	usleep(300 * 1000);
	usbif_word_write_release(&f.page->state, USBIF_FRONT_CLOSING);
	front_kick(&f);
	usleep(300 * 1000);
	front_gone(f.name);
	usleep(300 * 1000);
	front_ask(&f);
	say("asking", f.session);
	front_take_up(&f);
	say("session", f.session);
	front_close(&f);
	return 0;
}
