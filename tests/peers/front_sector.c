// SPDX-License-Identifier: GPL-2.0
/*
 * front_sector NAME LBA COUNT [TIMES]: makes channel NAME with itself as the guest,
 * waits for a disk on port 0:1, and writes COUNT of its sectors to standard output,
 * once or more often. Says on standard error what it does.
 */
#include <stdio.h>
#include <stdlib.h>
#include "front.h"

#define DATA_BLOCK	16
#define MOST_SECTORS	2048	/* 1 MiB */
#define REGION		(16u << 20)

static void copy_out(struct front_dev *dev, unsigned int lba, unsigned int count)
{
	unsigned int part;

	for (; count; lba += part, count -= part) {
		part = count < MOST_SECTORS ? count : MOST_SECTORS;
		front_read_sectors(dev, lba, part, DATA_BLOCK);
		if (fwrite(front_block(dev->f, DATA_BLOCK), 512, part,
			   stdout) != part)
			die("cannot write");
	}
}

int main(int argc, char **argv)
{
	static struct front f;
	struct front_dev dev;
	unsigned int times;

	if (argc < 4) {
		fprintf(stderr, "usage: front_sector NAME LBA COUNT [TIMES]\n");
		return 2;
	}
	times = argc > 4 ? atoi(argv[4]) : 1;
	front_open(&f, argv[1], REGION);
	front_drop_at_exit(&f);
	fprintf(stderr, "channel %s\n", f.name);
	front_connect(&f);
	fprintf(stderr, "session %u\n", f.session);
	front_enumerate(&dev, &f, 0, 1);
	fprintf(stderr, "device %02x%02x:%02x%02x in %02x out %02x\n",
		dev.descriptor[9], dev.descriptor[8], dev.descriptor[11],
		dev.descriptor[10], dev.bulk_in, dev.bulk_out);
	while (times--)
		copy_out(&dev, atoi(argv[2]), atoi(argv[3]));
	if (fflush(stdout))
		die("cannot write");
	front_close(&f);
	return 0;
}
