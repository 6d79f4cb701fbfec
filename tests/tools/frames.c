// SPDX-License-Identifier: GPL-2.0
/*
 * frames - Ethernet frames from one interface to another and back, compared
 *
 *	frames NEAR FAR COUNT [WINDOW [HEADER]]
 *
 * Sends COUNT frames of random octets and of lengths from 60 to 1514 from NEAR to FAR,
 * and as many back, WINDOW of them at a time. Each has to arrive in order and as it was
 * sent; one octet more is what some drivers pad with, and is counted. Then it says how
 * much went each way. With a HEADER, no frame is a multiple of 64 together with that.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL	0x88b5	/* IEEE 802: for local experiments */
#define MAX_WINDOW	8
#define LONGEST		1514
#define SHORTEST	60
#define TIMEOUT		10000

struct end {
	const char *name;
	int fd;
	uint8_t mac[ETH_ALEN];
};

static uint32_t state = 1;
static unsigned int window = MAX_WINDOW, header;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void open_end(struct end *end, const char *name)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PROTOCOL),
		.sll_ifindex = if_nametoindex(name),
	};
	struct ifreq ifr = { 0 };

	end->name = name;
	end->fd = socket(AF_PACKET, SOCK_RAW, htons(PROTOCOL));
	if (end->fd < 0 || bind(end->fd, (struct sockaddr *)&at, sizeof(at)))
		die(name);
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(end->fd, SIOCGIFHWADDR, &ifr))
		die(name);
	memcpy(end->mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

static int length_of(unsigned int number)
{
	/* Each length once before any comes again, the longest first. */
	int length = LONGEST - number * 37 % (LONGEST - SHORTEST + 1);

	return header && !((length + header) % 64) ? length - 1 : length;
}

static void make(uint8_t *frame, int length, const struct end *from,
		 const struct end *to)
{
	uint16_t protocol = htons(PROTOCOL);
	int i;

	memcpy(frame, to->mac, ETH_ALEN);
	memcpy(frame + ETH_ALEN, from->mac, ETH_ALEN);
	memcpy(frame + 2 * ETH_ALEN, &protocol, 2);
	for (i = ETH_HLEN; i < length; i++)
		frame[i] = next() >> 24;
}

static int arrives(const struct end *at, unsigned int number,
		   const uint8_t *wanted, int length)
{
	struct pollfd p = { .fd = at->fd, .events = POLLIN };
	uint8_t frame[2 * LONGEST];
	ssize_t got;

	if (poll(&p, 1, TIMEOUT) != 1) {
		printf("frame %u did not arrive at %s\n", number, at->name);
		exit(1);
	}
	got = recv(at->fd, frame, sizeof(frame), 0);
	if (got < length || got > length + 1 || memcmp(frame, wanted, length) ||
	    (got > length && frame[length])) {
		printf("frame %u of %d octets is another one of %zd at %s\n", number,
		       length, got, at->name);
		exit(1);
	}
	return got - length;
}

static void go(const struct end *from, const struct end *to, unsigned int count)
{
	static uint8_t frames[MAX_WINDOW][LONGEST];
	unsigned int i, j, padded = 0;
	unsigned long octets = 0;

	for (i = 0; i < count; i += window) {
		for (j = i; j < i + window && j < count; j++) {
			make(frames[j % window], length_of(j), from, to);
			if (send(from->fd, frames[j % window], length_of(j), 0) < 0)
				die(from->name);
		}
		for (j = i; j < i + window && j < count; j++) {
			padded += arrives(to, j, frames[j % window], length_of(j));
			octets += length_of(j);
		}
	}
	printf("%u frames of %lu octets, %u padded\n", count, octets, padded);
}

int main(int argc, char **argv)
{
	struct end near, far;

	if (argc > 4)
		window = atoi(argv[4]);
	if (argc > 5)
		header = atoi(argv[5]);
	if (argc < 4 || window < 1 || window > MAX_WINDOW) {
		fprintf(stderr, "usage: frames NEAR FAR COUNT [WINDOW [HEADER]]\n");
		return 2;
	}
	open_end(&near, argv[1]);
	open_end(&far, argv[2]);
	go(&near, &far, atoi(argv[3]));
	go(&far, &near, atoi(argv[3]));
	return 0;
}
