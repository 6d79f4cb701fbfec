// SPDX-License-Identifier: GPL-2.0
/*
 * hotplug - callbacks when a device comes and goes
 *
 * Each time it comes it has to be usable at once. What the program waits for is said in
 * a line such as "# 1: waiting until it leaves", or "until it arrives".
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define SECONDS	60

static int seconds = SECONDS;

static void option(int letter, const char *value)
{
	if (letter == 't')
		seconds = atoi(value);
}

static const struct program program = {
	.name = "hotplug",
	.summary = "callbacks when a device comes and goes",
	.letters = "t:",
	.help = "  -t SECONDS    patience with whoever plugs the device; -n is how often that is\n"
		"                to be, and 0 if it isn't given\n",
	.option = option,
	.fits = device_fits,
};

static char busid[32];
static libusb_device *here;	/* from its arrival until it leaves */
static int arrived, left, others;

/* Not at once: a callback may not wait for transfers. */
static int LIBUSB_CALL event(libusb_context *context, libusb_device *dev,
			     libusb_hotplug_event kind, void *data)
{
	char where[32];

	(void)context;
	expect(data == busid, "other data than were given");
	device_busid(dev, where, sizeof(where));
	if (strcmp(where, busid)) {
		others++;
		return 0;
	}
	if (kind == LIBUSB_HOTPLUG_EVENT_DEVICE_ARRIVED) {
		expect(!here, "arrived twice");
		here = libusb_ref_device(dev);
		arrived++;
		return 0;
	}
	expect(here == dev, "left, but had not arrived");
	if (here)
		libusb_unref_device(here);
	here = NULL;
	left++;
	return 0;
}

static bool wait_for(const int *count, const char *what, int number)
{
	time_t until = time(NULL) + seconds;
	int want = *count + 1;

	printf("# %d: waiting until it %s\n", number, what);
	while (*count < want && time(NULL) < until) {
		struct timeval tv = { .tv_sec = 1 };

		libusb_handle_events_timeout_completed(NULL, &tv, NULL);
	}
	return expect(*count == want, "%s %d times, not %d", what, *count, want);
}

/* It is told of before the kernel has chosen a configuration. */
static bool configured(libusb_device_handle *handle)
{
	int value = 0, i;

	for (i = 0; i < PATIENCE / 10 && value <= 0; i++) {
		usleep(10000);
		if (libusb_get_configuration(handle, &value))
			value = 0;
	}
	return value > 0;
}

static void usable(void)
{
	struct device d = { .dev = here };
	uint8_t desc[18];
	int err, n;

	err = libusb_open(d.dev, &d.handle);
	if (!expect(!err, "opening it: %s", libusb_error_name(err)))
		return;
	n = libusb_get_descriptor(d.handle, LIBUSB_DT_DEVICE, 0, desc, sizeof(desc));
	expect(n == sizeof(desc), "its descriptor: %d", n);
	libusb_set_auto_detach_kernel_driver(d.handle, 1);
	expect(configured(d.handle), "it has no configuration");
	if (device_pick(&d)) {
		device_claim(&d);
		expect(device_works(&d), "its data");
		libusb_release_interface(d.handle, d.interface);
	}
	libusb_close(d.handle);
}

static libusb_hotplug_callback_handle listen(int flags)
{
	libusb_hotplug_callback_handle handle;
	int err;

	err = libusb_hotplug_register_callback(NULL, LIBUSB_HOTPLUG_EVENT_DEVICE_ARRIVED |
					       LIBUSB_HOTPLUG_EVENT_DEVICE_LEFT, flags,
					       LIBUSB_HOTPLUG_MATCH_ANY,
					       LIBUSB_HOTPLUG_MATCH_ANY,
					       LIBUSB_HOTPLUG_MATCH_ANY, event, busid,
					       &handle);
	if (err)
		die("registering for events: %s", libusb_error_name(err));
	return handle;
}

/* Whoever listens hears of it, at once, and nobody else. */
static libusb_hotplug_callback_handle present(void)
{
	libusb_hotplug_callback_handle handle;

	expect(libusb_has_capability(LIBUSB_CAP_HAS_HOTPLUG), "libusb has no hotplug");
	handle = listen(0);
	expect(!arrived, "told of what had been there before");
	libusb_hotplug_deregister_callback(NULL, handle);
	handle = listen(LIBUSB_HOTPLUG_ENUMERATE);
	expect(arrived == 1, "told %d times of what is there", arrived);
	libusb_hotplug_deregister_callback(NULL, handle);
	if (here)
		libusb_unref_device(here);
	here = NULL;
	handle = listen(LIBUSB_HOTPLUG_ENUMERATE);
	expect(arrived == 2, "told %d times again", arrived - 1);
	if (here)
		usable();
	tap_case("a device that is there");
	return handle;
}

static bool replugged(int number)
{
	bool gone, back;

	gone = wait_for(&left, "leaves", number);
	expect(!gone || !here, "it has left and is here");
	back = gone && wait_for(&arrived, "arrives", number);
	if (back && here)
		usable();
	tap_case("gone and back, no. %d", number);
	return back;
}

int main(int argc, char **argv)
{
	libusb_hotplug_callback_handle handle;
	struct device d;
	int i;

	device_init(&program, argc, argv);
	device_find(&d, &program);
	memcpy(busid, d.busid, sizeof(busid));
	libusb_close(d.handle);
	libusb_unref_device(d.dev);
	handle = present();
	for (i = 1; i <= options.count && replugged(i); i++)
		;
	libusb_hotplug_deregister_callback(NULL, handle);
	printf("# arrived %d times, left %d times, %d events of others\n", arrived, left,
	       others);
	if (here)
		libusb_unref_device(here);
	libusb_exit(NULL);
	return tap_end();
}
