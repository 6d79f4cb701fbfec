// SPDX-License-Identifier: GPL-2.0
/* reset - resets, configurations, settings, halts, and the kernel's driver */
#include "device.h"

#define QUEUE	16
#define COUNT	5

static struct device dev;

static const struct program program = {
	.name = "reset",
	.summary = "resets, configurations, settings, halts, and the kernel's driver",
	.fits = device_fits,
};

/* ---- resets ---- */

static void reset(void)
{
	int err = libusb_reset_device(dev.handle);

	expect(!err, "reset: %s", libusb_error_name(err));
	/* Interfaces are released meanwhile, which ends their setting. */
	if (dev.setting)
		libusb_set_interface_alt_setting(dev.handle, dev.interface, dev.setting);
}

static void resets(int times)
{
	int i;

	for (i = 0; i < times; i++) {
		reset();
		expect(device_works(&dev), "after reset %d", i);
	}
	tap_case("%d resets", times);
}

static int left, called[QUEUE];

static void LIBUSB_CALL done(struct libusb_transfer *t)
{
	called[(long)t->user_data]++;
	left--;
	expect(!t->actual_length, "status %d, %d octets of nothing", t->status,
	       t->actual_length);
}

/* Input waits, which comes back; libusb does not say why. */
static void in_flight(void)
{
	struct libusb_transfer *t[QUEUE];
	int i, err;

	memset(called, 0, sizeof(called));
	left = QUEUE;
	for (i = 0; i < QUEUE; i++) {
		t[i] = libusb_alloc_transfer(0);
		libusb_fill_bulk_transfer(t[i], dev.handle, dev.in, malloc(dev.packet),
					  dev.packet, done, (void *)(long)i, 0);
		t[i]->type = dev.type;
		err = libusb_submit_transfer(t[i]);
		if (err)
			die("submitting: %s", libusb_error_name(err));
	}
	reset();
	events_until(&left, 0, NULL);
	for (i = 0; i < QUEUE; i++) {
		expect(called[i] == 1, "transfer %d was called back %d times", i,
		       called[i]);
		free(t[i]->buffer);
		libusb_free_transfer(t[i]);
	}
	expect(device_works(&dev), "then");
	tap_case("a reset with %d transfers in flight", QUEUE);
}

/* ---- halts ---- */

static void halt(uint8_t endpoint)
{
	uint8_t buf[4096];
	int err;

	err = libusb_control_transfer(dev.handle, LIBUSB_RECIPIENT_ENDPOINT,
				      LIBUSB_REQUEST_SET_FEATURE, 0, endpoint, NULL, 0,
				      PATIENCE);
	expect(err >= 0, "halting %02x: %s", endpoint, libusb_error_name(err));
	err = device_transfer(&dev, endpoint, buf, dev.packet, PATIENCE, NULL);
	expect(err == LIBUSB_ERROR_PIPE, "halted %02x: %s", endpoint,
	       libusb_error_name(err));
	err = libusb_clear_halt(dev.handle, endpoint);
	expect(!err, "clearing the halt of %02x: %s", endpoint, libusb_error_name(err));
	expect(device_works(&dev), "after a halt of %02x", endpoint);
}

static void halts(int times)
{
	int i, err;

	for (i = 0; i < times; i++) {
		halt(dev.in);
		halt(dev.out);
		/* Nothing is wrong with these; their toggles are reset all the same. */
		err = libusb_clear_halt(dev.handle, dev.in);
		if (!err)
			err = libusb_clear_halt(dev.handle, dev.out);
		expect(!err, "clearing no halt: %s", libusb_error_name(err));
		expect(device_works(&dev), "after clearing no halt");
	}
	err = libusb_clear_halt(dev.handle, 0x8f);
	expect(err == LIBUSB_ERROR_NOT_FOUND, "clearing what is not there: %s",
	       libusb_error_name(err));
	tap_case("halts set and cleared");
}

/* ---- settings ---- */

static int count_settings(void)
{
	struct libusb_config_descriptor *config;
	int i, n = 0;

	if (libusb_get_active_config_descriptor(dev.dev, &config))
		return 0;
	for (i = 0; i < config->bNumInterfaces; i++)
		if (config->interface[i].altsetting->bInterfaceNumber == dev.interface)
			n = config->interface[i].num_altsetting;
	libusb_free_config_descriptor(config);
	return n;
}

static int get_setting(void)
{
	uint8_t setting = 0xff;

	libusb_control_transfer(dev.handle, 0x81, LIBUSB_REQUEST_GET_INTERFACE, 0,
				dev.interface, &setting, 1, PATIENCE);
	return setting;
}

static void settings(int times)
{
	int n = count_settings(), i, err;

	for (i = n * times - 1; i >= 0; i--) {
		err = libusb_set_interface_alt_setting(dev.handle, dev.interface, i % n);
		expect(!err, "setting %d: %s", i % n, libusb_error_name(err));
		expect(get_setting() == i % n, "the device is in setting %d, not %d",
		       get_setting(), i % n);
		if (i % n == dev.setting)
			expect(device_works(&dev), "in setting %d", i % n);
	}
	err = libusb_set_interface_alt_setting(dev.handle, dev.interface, n + 7);
	expect(err == LIBUSB_ERROR_NOT_FOUND, "setting %d: %s", n + 7,
	       libusb_error_name(err));
	libusb_set_interface_alt_setting(dev.handle, dev.interface, dev.setting);
	expect(device_works(&dev), "then");
	tap_case("%d settings, %d times", n, times);
}

/* ---- configurations ---- */

static int get_configuration(void)
{
	int value = -1, err = libusb_get_configuration(dev.handle, &value);

	if (err == LIBUSB_ERROR_NOT_FOUND)
		return 0;
	expect(!err, "asking for the configuration: %s", libusb_error_name(err));
	return value;
}

static void release(void)
{
	libusb_set_auto_detach_kernel_driver(dev.handle, 0);
	libusb_release_interface(dev.handle, dev.interface);
}

static void claim(void)
{
	libusb_set_auto_detach_kernel_driver(dev.handle, 1);
	device_claim(&dev);
}

static void configure(int value)
{
	int err;

	/* With its new interfaces the device is its drivers' again. */
	libusb_detach_kernel_driver(dev.handle, dev.interface);
	err = libusb_set_configuration(dev.handle, value);
	expect(!err, "configuration %d: %s", value, libusb_error_name(err));
	expect(get_configuration() == (value < 0 ? 0 : value),
	       "the configuration is %d, not %d", get_configuration(), value);
}

static void configurations(int times)
{
	struct libusb_device_descriptor desc;
	struct libusb_config_descriptor *config;
	int first = get_configuration(), i, n, err;

	libusb_get_device_descriptor(dev.dev, &desc);
	n = desc.bNumConfigurations;
	err = libusb_set_configuration(dev.handle, first);
	expect(err == LIBUSB_ERROR_BUSY, "with its interface in use: %s",
	       libusb_error_name(err));
	release();
	for (i = n * times - 1; i >= 0; i--) {
		if (libusb_get_config_descriptor(dev.dev, i % n, &config))
			continue;
		configure(config->bConfigurationValue);
		libusb_free_config_descriptor(config);
		if (!device_pick(&dev))
			continue;
		claim();
		expect(device_works(&dev), "in configuration %d of %d", i % n, n);
		release();
		if (i % 3 == 1)
			configure(-1);
	}
	err = libusb_set_configuration(dev.handle, 99);
	expect(err == LIBUSB_ERROR_NOT_FOUND, "configuration 99: %s",
	       libusb_error_name(err));
	configure(first);
	device_pick(&dev);
	claim();
	expect(device_works(&dev), "then");
	tap_case("%d configurations, %d times", n, times);
}

/* ---- the kernel's driver ---- */

static void drivers(int times)
{
	int i, err;

	libusb_release_interface(dev.handle, dev.interface);
	for (i = 0; i < times; i++) {
		libusb_set_auto_detach_kernel_driver(dev.handle, 0);
		err = libusb_kernel_driver_active(dev.handle, dev.interface);
		expect(err == 1, "the driver is not there: %d", err);
		err = libusb_claim_interface(dev.handle, dev.interface);
		expect(err == LIBUSB_ERROR_BUSY, "claimed beside the driver: %d", err);
		err = libusb_detach_kernel_driver(dev.handle, dev.interface);
		expect(!err, "detaching: %s", libusb_error_name(err));
		err = libusb_kernel_driver_active(dev.handle, dev.interface);
		expect(err == 0, "the driver is there: %d", err);
		device_claim(&dev);
		expect(device_works(&dev), "without the driver");
		libusb_release_interface(dev.handle, dev.interface);
		err = libusb_attach_kernel_driver(dev.handle, dev.interface);
		/* The number of interfaces that were bound, with some versions. */
		expect(err >= 0, "attaching: %s", libusb_error_name(err));
	}
	claim();
	expect(device_works(&dev), "then");
	tap_case("the driver detached and attached, %d times", times);
}

int main(int argc, char **argv)
{
	int count;

	device_init(&program, argc, argv);
	device_open(&dev, &program);
	count = options.count ?: COUNT;
	resets(count);
	if (dev.kind == ECHO)
		in_flight();
	halts(count);
	settings(count);
	configurations(count);
	if (dev.had_driver)
		drivers(count);
	device_close(&dev);
	return tap_end();
}
