// SPDX-License-Identifier: GPL-2.0
/* The text of rules. What is accepted is what would be written for it again. */
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#include <stdlib.h>
#include "../../usbback/spec.h"
#include "tap.h"

#define MAX_TEXT	128

static const char * const good[] = {
	"1-2.3:1:0:3", "1-4:2:0:1", "1-2.1:2:0:2", "1-1:vm1:0:1:force",
	"999-255.255.255.255.255.255:A.b_c-9:15:15",
	"1-1:1234567890123456789012345678901:0:1", "1-10:-:10:10", "1-1:..:0:9",
};

/* What is wrong with it, and a word of what has to be said about it. */
static const struct {
	const char *text;
	const char *why;
} bad[] = {
	{ "", "bus ID" }, { "\n", "bus ID" }, { ":vm:0:1", "bus ID" },
	{ "usb1:vm:0:1", "root hub" }, { "1:vm:0:1", "bus ID" },
	{ "-1:vm:0:1", "bus number" }, { "0-1:vm:0:1", "bus number" },
	{ "01-1:vm:0:1", "bus number" }, { "1000-1:vm:0:1", "bus number" },
	{ "4294967297-1:vm:0:1", "bus number" }, { " 1-1:vm:0:1", "bus number" },
	{ "1-:vm:0:1", "port number" }, { "1-0:vm:0:1", "port number" },
	{ "1-256:vm:0:1", "port number" }, { "1-1.:vm:0:1", "port number" },
	{ "1-1..1:vm:0:1", "port number" }, { "1-1-1:vm:0:1", "port number" },
	{ "1-01:vm:0:1", "port number" }, { "1.1:vm:0:1", "bus number" },
	{ "1-1.1.1.1.1.1.1:vm:0:1", "too many" }, { "1-1 :vm:0:1", "port" },
	{ "1-1", "missing" }, { "1-1:vm", "missing" }, { "1-1:vm:0", "missing" },
	{ "1-1::0:1", "VM name" }, { "1-1:a b:0:1", "VM name" },
	{ "1-1:a/b:0:1", "VM name" }, { "1-1:a\n:0:1", "VM name" },
	{ "1-1:12345678901234567890123456789012:0:1", "VM name" },
	{ "1-1:vm::1", "controller" }, { "1-1:vm:16:1", "controller" },
	{ "1-1:vm:-1:1", "controller" }, { "1-1:vm:+1:1", "controller" },
	{ "1-1:vm:00:1", "controller" }, { "1-1:vm:0x0:1", "controller" },
	{ "1-1:vm:4294967296:1", "controller" }, { "1-1:vm:0 :1", "controller" },
	{ "1-1:vm:0:", "port" }, { "1-1:vm:0:0", "port" },
	{ "1-1:vm:0:16", "port" }, { "1-1:vm:0:01", "port" },
	{ "1-1:vm:0:1 ", "port" }, { "1-1:vm:0:1\n\n", "port" },
	{ "1-1:vm:0:1\nx", "port" }, { "1-1:vm:0:1\r\n", "port" },
	{ "1-1:vm:0:1:", "fifth" }, { "1-1:vm:0:1:Force", "fifth" },
	{ "1-1:vm:0:1:forc", "fifth" }, { "1-1:vm:0:1:forcee", "fifth" },
	{ "1-1:vm:0:1:force:", "more than five" },
	{ "1-1:vm:0:1:force:force", "more than five" },
};

/* Exactly as long as it is, so that a sanitizer sees a read behind it. */
static int parse(int (*fn)(const char *, size_t, struct usbback_spec *,
			   const char **),
		 const char *text, size_t len, struct usbback_spec *spec,
		 const char **why)
{
	char *copy = malloc(len ?: 1);
	int ret;

	memcpy(copy, text, len);
	ret = fn(copy, len, spec, why);
	free(copy);
	return ret;
}

static void print(char *text, const struct usbback_spec *spec)
{
	snprintf(text, MAX_TEXT, "%s:%s:%u:%u%s", spec->busid, spec->vm,
		 spec->vusb, spec->port, spec->force ? ":force" : "");
}

static void expect_good(const char *text, size_t len)
{
	struct usbback_spec spec;
	char again[MAX_TEXT];
	const char *why;
	int ret = parse(usbback_spec_parse, text, len, &spec, &why);

	if (!expect(!ret && !why, "'%.*s': %d %s", (int)len, text, ret,
		    why ?: ""))
		return;
	print(again, &spec);
	if (len && text[len - 1] == '\n')
		len--;
	expect(strlen(again) == len && !memcmp(again, text, len),
	       "'%.*s' is read as '%s'", (int)len, text, again);
	expect(strlen(again) < USBBACK_SPEC_MAX + 6, "'%s' is too long", again);
}

static void test_good(void)
{
	char text[MAX_TEXT];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		expect_good(good[i], strlen(good[i]));
		snprintf(text, sizeof(text), "%s\n", good[i]);
		expect_good(text, strlen(text));
	}
	tap_case("good rules");
}

static void test_bad(void)
{
	struct usbback_spec spec;
	const char *why;
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ret = parse(usbback_spec_parse, bad[i].text,
			    strlen(bad[i].text), &spec, &why);
		expect(ret == -EINVAL, "'%s': %d", bad[i].text, ret);
		expect(why && strstr(why, bad[i].why), "'%s': %s", bad[i].text,
		       why ?: "accepted");
	}
	expect(parse(usbback_spec_parse, "1-1:v\0:0:1", 10, &spec, &why) ==
	       -EINVAL, "NUL in the name");
	expect(parse(usbback_spec_parse, "1-1:v:0:1\0", 10, &spec, &why) ==
	       -EINVAL, "NUL at the end");
	tap_case("%zu bad rules", ARRAY_SIZE(bad));
}

static void test_names(void)
{
	struct usbback_spec spec;
	const char *why;

	expect(!parse(usbback_spec_parse_name, "1-2.3\n", 6, &spec, &why),
	       "bus ID");
	expect(!strcmp(spec.busid, "1-2.3") && !spec.vm[0], "%s", spec.busid);
	expect(!parse(usbback_spec_parse_name, "1-2.3:vm:1:2", 12, &spec, &why),
	       "rule");
	expect(!strcmp(spec.vm, "vm") && spec.vusb == 1 && spec.port == 2,
	       "%s:%u:%u", spec.vm, spec.vusb, spec.port);
	expect(parse(usbback_spec_parse_name, "1-2.3:vm:1", 10, &spec, &why),
	       "three fields");
	expect(parse(usbback_spec_parse_name, "1-2.3:", 6, &spec, &why),
	       "colon");
	expect(parse(usbback_spec_parse_name, "usb1", 4, &spec, &why), "hub");
	tap_case("rules and bus IDs");
}

static void test_same(void)
{
	static const char * const other[] = {
		"1-1:vm:1:2", "1-1:vm2:0:2", "1-1:v:0:2", "1-1:vm:0:3",
	};
	struct usbback_spec a, b;
	const char *why;
	unsigned int i;

	parse(usbback_spec_parse, "1-1:vm:0:2", 10, &a, &why);
	parse(usbback_spec_parse, "2-1:vm:0:2:force", 16, &b, &why);
	expect(usbback_spec_same_vport(&a, &b), "not the same");
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		parse(usbback_spec_parse, other[i], strlen(other[i]), &b, &why);
		expect(!usbback_spec_same_vport(&a, &b), "%s", other[i]);
	}
	tap_case("the same vport");
}

/* Changes a good one a little; what is still accepted must be what it says. */
static void test_random(void)
{
	static const char letters[] = "0123456789-.:usbforcevm_ +\n";
	unsigned long long seed = 1;
	unsigned int round, accepted = 0;
	struct usbback_spec spec;
	const char *why;

	for (round = 0; round < 200000; round++) {
		char text[MAX_TEXT];
		size_t len, changes = 1 + tap_random(&seed) % 3;

		strcpy(text, good[tap_random(&seed) % ARRAY_SIZE(good)]);
		len = strlen(text);
		while (changes--) {
			size_t at = tap_random(&seed) % len;

			if (tap_random(&seed) % 4)
				text[at] = letters[tap_random(&seed) %
						   (sizeof(letters) - 1)];
			else
				len = at + 1;
		}
		if (parse(usbback_spec_parse, text, len, &spec, &why)) {
			expect(why && *why, "no reason");
			continue;
		}
		accepted++;
		expect_good(text, len);
	}
	expect(accepted > 1000, "only %u accepted", accepted);
	tap_case("changed at random");
}

int main(void)
{
	test_good();
	test_bad();
	test_names();
	test_same();
	test_random();
	return tap_end();
}
