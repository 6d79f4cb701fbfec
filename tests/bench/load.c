// SPDX-License-Identifier: GPL-2.0
/*
 * The program that does the work of make bench, the same on every path to a device.
 *
 *   load [OPTIONS] control SERIAL COUNT              GET_DESCRIPTOR, one after the other
 *   load [OPTIONS] bulk SERIAL in|out LEN DEPTH COUNT
 *   load [OPTIONS] echo SERIAL COUNT                 interrupt OUT, then interrupt IN
 *   load [OPTIONS] disk NODE seq|random BLOCK COUNT  O_DIRECT reads
 *   load [OPTIONS] nothing                           what the marks themselves cost
 *   load [OPTIONS] bound PRODUCT ACTION...           do it, wait for the driver to be bound
 *   load [OPTIONS] do ACTION...
 *   load monitor SOCKET FILE... [-- ACTION...]       the other end of PORT, on the host
 *   load export BUSID PORT                           take the device, serve one connection
 *
 * SERIAL may be a node of /dev/bus/usb, too, if several devices have the same.
 *
 * ACTION is one of: write FILE TEXT; line SOCKET TEXT; import ADDRESS PORT ROOT_PORT; mark.
 *
 * With -m PORT the program writes an octet to the virtio port of that name and waits for the
 * answer, right before and right after the measured part. On the host the monitor prints
 * the content of the files (counters) in between, so they are read at the right moment of
 * the guest's time, whatever the machine that emulates it all is doing. With -f FILE after
 * it, the program does the same with a file of the guest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define USB_DEVICES	"/sys/bus/usb/devices"
#define USB_DRIVERS	"/sys/bus/usb/drivers"
#define VHCI		"/sys/devices/platform/vhci_hcd.0"
#define MAX_DEPTH	64
#define WARM_UP		16
#define TIMEOUT_MS	5000
/* Shorter than a packet, or the gadget sends an empty one after it. */
#define REPORT		60

static int marker = -1;		/* the virtio port, or -1 */
static char *counters[2];	/* a file of the guest, too */

#define __noreturn	__attribute__((__noreturn__))
#define __printf(a, b)	__attribute__((__format__(printf, a, b)))

static void __noreturn __printf(1, 2) die(const char *format, ...)
{
	int err = errno;
	va_list args;

	fprintf(stderr, "load: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, err ? ": %s\n" : "\n", strerror(err));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (!*text || *end)
		die("'%s': digits expected", text);
	return value;
}

static bool read_text(char *buf, size_t size, const char *format, ...)
{
	char path[512];
	va_list args;
	ssize_t n;
	int fd;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("%s < '%s'", path, text);
	close(fd);
}

static void *buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory");
	return p;
}

/* --- marks --- */

static void open_marker(const char *name)
{
	char text[64], node[300];
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/virtio-ports");

	while (dir && (entry = readdir(dir))) {
		if (read_text(text, sizeof(text), "/sys/class/virtio-ports/%s/name",
			      entry->d_name) && !strcmp(text, name)) {
			snprintf(node, sizeof(node), "/dev/%s", entry->d_name);
			marker = open(node, O_RDWR);
		}
	}
	if (marker < 0)
		die("no virtio port %s", name);
	closedir(dir);
}

static void mark(char what)
{
	if (marker < 0)
		return;
	if (write(marker, &what, 1) != 1 || read(marker, &what, 1) != 1)
		die("the monitor does not answer");
}

/* What the files say now. */
static void sample(char what, char **files)
{
	char buf[65536];
	ssize_t n;

	printf("mark %c\n", what);
	for (; *files && strcmp(*files, "--"); files++) {
		int fd = open(*files, O_RDONLY);

		printf("file %s\n", *files);
		while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
			fwrite(buf, 1, n, stdout);
		if (fd >= 0)
			close(fd);
	}
	printf("end\n");
	fflush(stdout);
}

/* --- results --- */

struct result {
	uint64_t *times;	/* of each request, if there is one at a time */
	size_t count;
	uint64_t start, total;
	uint64_t bytes;
};

static void begin(struct result *r, size_t count, bool single)
{
	memset(r, 0, sizeof(*r));
	r->count = count;
	if (single)
		r->times = buffer(count * sizeof(*r->times));
	if (counters[0])
		sample('b', counters);
	mark('B');
	r->start = now_ns();
}

static void finish(struct result *r)
{
	r->total = now_ns() - r->start;
	mark('E');
	if (counters[0])
		sample('e', counters);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print(struct result *r)
{
	uint64_t p50 = 0, p99 = 0;

	if (r->times && r->count) {
		qsort(r->times, r->count, sizeof(*r->times), compare);
		p50 = r->times[r->count / 2];
		p99 = r->times[r->count * 99 / 100];
	}
	printf("{\"count\": %zu, \"total_ns\": %llu, \"bytes\": %llu, ", r->count,
	       (unsigned long long)r->total, (unsigned long long)r->bytes);
	printf("\"p50_ns\": %llu, \"p99_ns\": %llu}\n", (unsigned long long)p50,
	       (unsigned long long)p99);
}

/* --- usbfs --- */

struct device {
	int fd;
	unsigned char in, out;	/* endpoint addresses */
};

static bool find_node(const char *serial, char *node, size_t size)
{
	char text[128], bus[16], dev[16];
	struct dirent *entry;
	DIR *dir = opendir(USB_DEVICES);
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		if (!read_text(text, sizeof(text), USB_DEVICES "/%s/serial", entry->d_name) ||
		    strcmp(text, serial))
			continue;
		if (!read_text(bus, sizeof(bus), USB_DEVICES "/%s/busnum", entry->d_name) ||
		    !read_text(dev, sizeof(dev), USB_DEVICES "/%s/devnum", entry->d_name))
			continue;
		snprintf(node, size, "/dev/bus/usb/%03d/%03d", atoi(bus), atoi(dev));
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The first IN and OUT endpoint of that type in alternate setting 0 of interface 0. */
static void find_endpoints(struct device *d, unsigned char type)
{
	unsigned char desc[4096];
	ssize_t n = pread(d->fd, desc, sizeof(desc), 0);
	bool here = false;

	for (ssize_t at = 0; at + 1 < n && desc[at]; at += desc[at]) {
		const unsigned char *p = desc + at;

		if (p[1] == USB_DT_INTERFACE)
			here = p[2] == 0 && p[3] == 0;
		if (!here || p[1] != USB_DT_ENDPOINT || (p[3] & 3) != type)
			continue;
		if (p[2] & USB_DIR_IN)
			d->in = d->in ?: p[2];
		else
			d->out = d->out ?: p[2];
	}
	if (!d->in || !d->out)
		die("no endpoints of type %d", type);
}

static void open_device(struct device *d, const char *serial, unsigned char type)
{
	struct usbdevfs_disconnect_claim claim = { .interface = 0 };
	char node[64];

	memset(d, 0, sizeof(*d));
	if (*serial == '/')
		snprintf(node, sizeof(node), "%s", serial);
	else if (!find_node(serial, node, sizeof(node)))
		die("no device with serial number %s", serial);
	d->fd = open(node, O_RDWR);
	if (d->fd < 0)
		die("%s", node);
	if (type == USB_ENDPOINT_XFER_CONTROL)
		return;
	find_endpoints(d, type);
	if (ioctl(d->fd, USBDEVFS_DISCONNECT_CLAIM, &claim))
		die("claim interface 0 of %s", serial);
}

static void submit(struct device *d, struct usbdevfs_urb *urb)
{
	if (ioctl(d->fd, USBDEVFS_SUBMITURB, urb))
		die("submit");
}

static struct usbdevfs_urb *reap(struct device *d, int len)
{
	struct usbdevfs_urb *urb;

	if (ioctl(d->fd, USBDEVFS_REAPURB, &urb))
		die("reap");
	errno = 0;
	if (urb->status)
		die("URB on endpoint %02x ended with %d", urb->endpoint, urb->status);
	if (urb->actual_length != len)
		die("URB on endpoint %02x: %d of %d octets", urb->endpoint,
		    urb->actual_length, len);
	return urb;
}

static void control_once(struct device *d)
{
	unsigned char desc[18];
	struct usbdevfs_ctrltransfer ctrl = {
		.bRequestType = USB_DIR_IN, .bRequest = USB_REQ_GET_DESCRIPTOR,
		.wValue = USB_DT_DEVICE << 8, .wLength = sizeof(desc),
		.timeout = TIMEOUT_MS, .data = desc,
	};
	int n = ioctl(d->fd, USBDEVFS_CONTROL, &ctrl);

	if (n != sizeof(desc) || desc[1] != USB_DT_DEVICE)
		die("GET_DESCRIPTOR returned %d", n);
}

static void do_control(char **argv)
{
	size_t count = number(argv[1]);
	struct result r;
	struct device d;

	open_device(&d, argv[0], USB_ENDPOINT_XFER_CONTROL);
	for (size_t n = 0; n < WARM_UP; n++)
		control_once(&d);
	begin(&r, count, true);
	for (size_t n = 0; n < count; n++) {
		uint64_t t = now_ns();

		control_once(&d);
		r.times[n] = now_ns() - t;
	}
	finish(&r);
	print(&r);
}

static void bulk_run(struct device *d, struct usbdevfs_urb *urbs, size_t depth, size_t count,
		     uint64_t *times)
{
	size_t submitted = 0, done = 0;
	uint64_t last = now_ns();

	for (; submitted < depth && submitted < count; submitted++)
		submit(d, &urbs[submitted]);
	while (done < count) {
		struct usbdevfs_urb *urb = reap(d, urbs->buffer_length);

		if (times) {
			uint64_t t = now_ns();

			times[done] = t - last;
			last = t;
		}
		done++;
		if (submitted < count) {
			submit(d, urb);
			submitted++;
		}
	}
}

static void do_bulk(char **argv)
{
	bool in = !strcmp(argv[1], "in");
	size_t len = number(argv[2]), depth = number(argv[3]), count = number(argv[4]);
	struct usbdevfs_urb urbs[MAX_DEPTH] = { };
	struct result r;
	struct device d;

	if (depth < 1 || depth > MAX_DEPTH)
		die("depth is from 1 to %d", MAX_DEPTH);
	open_device(&d, argv[0], USB_ENDPOINT_XFER_BULK);
	for (size_t n = 0; n < depth; n++) {
		urbs[n].type = USBDEVFS_URB_TYPE_BULK;
		urbs[n].endpoint = in ? d.in : d.out;
		urbs[n].buffer = buffer(len);
		urbs[n].buffer_length = len;
	}
	/* Long enough for the guest to have touched all the memory it will use. */
	bulk_run(&d, urbs, depth, depth + count / 4, NULL);
	begin(&r, count, depth == 1);
	bulk_run(&d, urbs, depth, count, r.times);
	finish(&r);
	r.bytes = count * len;
	print(&r);
}

static void echo_once(struct device *d, struct usbdevfs_urb *out, struct usbdevfs_urb *in)
{
	unsigned char *sent = out->buffer;

	(*sent)++;
	submit(d, out);
	reap(d, REPORT);
	submit(d, in);
	reap(d, REPORT);
	if (memcmp(out->buffer, in->buffer, REPORT))
		die("what came back is not what was sent");
}

static void do_echo(char **argv)
{
	struct usbdevfs_urb out = { .type = USBDEVFS_URB_TYPE_INTERRUPT, .buffer_length = REPORT };
	struct usbdevfs_urb in = { .type = USBDEVFS_URB_TYPE_INTERRUPT, .buffer_length = 64 };
	size_t count = number(argv[1]);
	struct result r;
	struct device d;

	open_device(&d, argv[0], USB_ENDPOINT_XFER_INT);
	out.endpoint = d.out;
	out.buffer = buffer(64);
	in.endpoint = d.in;
	in.buffer = buffer(64);
	for (size_t n = 0; n < WARM_UP; n++)
		echo_once(&d, &out, &in);
	begin(&r, count, true);
	for (size_t n = 0; n < count; n++) {
		uint64_t t = now_ns();

		echo_once(&d, &out, &in);
		r.times[n] = now_ns() - t;
	}
	finish(&r);
	print(&r);
}

/* --- storage --- */

static void disk_read(int fd, void *buf, size_t block, uint64_t at)
{
	ssize_t n = pread(fd, buf, block, at);

	if (n != (ssize_t)block)
		die("read at %llu returned %zd", (unsigned long long)at, n);
}

static void do_disk(char **argv)
{
	bool random = !strcmp(argv[1], "random");
	size_t block = number(argv[2]), count = number(argv[3]);
	uint64_t seed = 1, blocks;
	struct result r;
	void *buf;
	int fd = open(argv[0], O_RDONLY | O_DIRECT);

	if (fd < 0)
		die("%s", argv[0]);
	blocks = lseek(fd, 0, SEEK_END) / block;
	if (!blocks)
		die("%s is too small", argv[0]);
	buf = buffer(block);
	for (size_t n = 0; n < 4; n++)
		disk_read(fd, buf, block, (blocks - 1 - n) * block);
	begin(&r, count, true);
	for (size_t n = 0; n < count; n++) {
		uint64_t t = now_ns(), at = n;

		if (random) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			at = seed >> 33;
		}
		disk_read(fd, buf, block, at % blocks * block);
		r.times[n] = now_ns() - t;
	}
	finish(&r);
	r.bytes = count * block;
	print(&r);
}

/* --- attaching --- */

static int unix_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("%s", path);
	return fd;
}

static void send_line(const char *path, const char *text)
{
	int fd = unix_socket(path);

	if (dprintf(fd, "%s\n", text) < 0)
		die("%s", path);
	/* Left open: the monitor of QEMU drops what it has not read yet of a closed one. */
}

static int tcp_socket(const char *address, const char *port, struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	addr->sin_port = htons(number(port));
	inet_pton(AF_INET, address, &addr->sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* What "usbip attach" does, without the dialogue before it. */
static void import(const char *address, const char *port, const char *root_port)
{
	struct sockaddr_in addr;
	int fd = tcp_socket(address, port, &addr);
	unsigned int devid, speed;
	char text[64] = "";

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("%s port %s", address, port);
	if (recv(fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%u %u", &devid, &speed) != 2)
		die("the exporter said '%s'", text);
	snprintf(text, sizeof(text), "%s %d %u %u", root_port, fd, devid, speed);
	write_text(VHCI "/attach", text);
	close(fd);
}

/* What "usbip bind" does. */
static void usbip_bind(const char *busid)
{
	char text[64];

	snprintf(text, sizeof(text), "add %s", busid);
	write_text(USB_DRIVERS "/usbip-host/match_busid", text);
	write_text(USB_DRIVERS "/usb/unbind", busid);
	write_text(USB_DRIVERS "/usbip-host/bind", busid);
}

/* What usbipd does; the device is taken from its driver when the guest asks for it. */
static void do_export(char **argv)
{
	int fd, on = 1, speed, bus, dev;
	struct sockaddr_in addr;
	char path[128], text[16];

	fd = tcp_socket("0.0.0.0", argv[1], &addr);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1))
		die("listen at port %s", argv[1]);
	printf("ready\n");
	fflush(stdout);
	fd = accept(fd, NULL, NULL);
	if (fd < 0)
		die("accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	usbip_bind(argv[0]);
	if (!read_text(text, sizeof(text), USB_DEVICES "/%s/speed", argv[0]))
		die("no device %s", argv[0]);
	speed = atoi(text) >= 5000 ? USB_SPEED_SUPER : USB_SPEED_HIGH;
	read_text(text, sizeof(text), USB_DEVICES "/%s/busnum", argv[0]);
	bus = atoi(text);
	read_text(text, sizeof(text), USB_DEVICES "/%s/devnum", argv[0]);
	dev = atoi(text);
	dprintf(fd, "%d %d", bus << 16 | dev, speed);
	snprintf(path, sizeof(path), USB_DEVICES "/%s/usbip_sockfd", argv[0]);
	snprintf(text, sizeof(text), "%d\n", fd);
	write_text(path, text);
}

static void act(char **argv)
{
	if (!*argv)
		return;
	if (!strcmp(*argv, "mark") && marker >= 0) {
		if (write(marker, "A", 1) != 1)
			die("the monitor is not there");
	} else if (!strcmp(*argv, "write") && argv[1] && argv[2]) {
		write_text(argv[1], argv[2]);
	} else if (!strcmp(*argv, "line") && argv[1] && argv[2]) {
		send_line(argv[1], argv[2]);
	} else if (!strcmp(*argv, "import") && argv[1] && argv[2] && argv[3]) {
		import(argv[1], argv[2], argv[3]);
	} else {
		die("unknown action '%s'", *argv);
	}
}

/* Does this message of the kernel say that a driver is bound to an interface of that product? */
static bool is_bound(const char *msg, size_t len, const char *product)
{
	bool bind = false, interface = false, ours = false;

	for (const char *p = msg; p < msg + len; p += strlen(p) + 1) {
		bind |= !strcmp(p, "ACTION=bind");
		interface |= !strcmp(p, "DEVTYPE=usb_interface");
		ours |= !strncmp(p, "PRODUCT=", 8) && !strncmp(p + 8, product, strlen(product));
	}
	return bind && interface && ours;
}

static void do_bound(char **argv)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
	struct timeval patience = { .tv_sec = 120 };
	unsigned long long begun;
	char msg[8192];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("netlink");
	begun = __rdtsc();
	act(argv + 1);
	do {
		n = recv(fd, msg, sizeof(msg) - 1, 0);
		if (n < 0)
			die("no driver was bound to %s", argv[0]);
		msg[n] = 0;
	} while (!is_bound(msg, n, argv[0]));
	printf("{\"begun\": %llu, \"bound\": %llu}\n", begun, (unsigned long long)__rdtsc());
}

/* --- the host's end of the marks --- */

static void do_monitor(char **argv)
{
	int fd = unix_socket(argv[0]);
	char **files = argv + 1, **action = files, what;

	while (*action && strcmp(*action, "--"))
		action++;
	if (*action)
		action++;
	printf("ready\n");
	fflush(stdout);
	while (read(fd, &what, 1) == 1) {
		if (what == 'A') {
			printf("acted %llu\n", (unsigned long long)__rdtsc());
			act(action);
			fflush(stdout);
			continue;
		}
		sample(what, files);
		if (write(fd, &what, 1) != 1)
			break;
	}
}

static void do_nothing(char **argv)
{
	struct result r;

	(void)argv;
	begin(&r, 0, false);
	finish(&r);
	print(&r);
}

static const struct command {
	const char *name;
	int args;
	void (*run)(char **argv);
} commands[] = {
	{ "control", 2, do_control }, { "bulk", 5, do_bulk }, { "echo", 2, do_echo },
	{ "disk", 4, do_disk }, { "nothing", 0, do_nothing }, { "bound", 2, do_bound },
	{ "do", 1, act },
	{ "monitor", 1, do_monitor }, { "export", 2, do_export },
};

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "-m")) {
		open_marker(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc > 3 && !strcmp(argv[1], "-f")) {
		counters[0] = argv[2];
		argv += 2;
		argc -= 2;
	}
	for (size_t n = 0; argc > 1 && n < sizeof(commands) / sizeof(*commands); n++) {
		if (strcmp(argv[1], commands[n].name) || argc - 2 < commands[n].args)
			continue;
		commands[n].run(argv + 2);
		return 0;
	}
	fprintf(stderr, "load: bad arguments, see the head of load.c\n");
	return 2;
}
