// SPDX-License-Identifier: GPL-2.0
/*
 * The text of a rule. Strict: what is accepted here is compared with names of
 * devices and shown again, so there is one way to write each value.
 */
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/string.h>
#include "spec.h"

#define MAX_FIELDS	5
#define MAX_BUS		999
#define MAX_HUB_PORT	255
/* Hubs are nested five deep at most (USB 2.0, 4.1.1): six ports to a device. */
#define MAX_DEPTH	6

/* "999-" and six times "255." */
static_assert(4 + MAX_DEPTH * 4 - 1 <= USBBACK_BUSID_MAX);

struct field {
	const char *text;
	size_t len;
};

static bool field_is(const struct field *f, const char *word)
{
	return f->len == strlen(word) && !memcmp(f->text, word, f->len);
}

/* Decimal, no sign, no leading zero. False if anything else or out of range. */
static bool number(const char *text, size_t len, unsigned int min,
		   unsigned int max, unsigned int *value)
{
	unsigned int v = 0;
	size_t i;

	if (!len || (len > 1 && text[0] == '0'))
		return false;
	for (i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = 10 * v + (text[i] - '0');
		if (v > max)
			return false;
	}
	*value = v;
	return v >= min;
}

/* The length of @text up to @end or the first @sep. */
static size_t span(const char *text, const char *end, char sep)
{
	const char *p = text;

	while (p < end && *p != sep)
		p++;
	return p - text;
}

static const char *check_busid(const struct field *f)
{
	const char *p = f->text, *end = f->text + f->len;
	unsigned int value, depth = 0;
	char sep = '-';
	size_t n;

	if (!f->len)
		return "the bus ID is empty";
	if (f->len >= 3 && !memcmp(p, "usb", 3))
		return "the bus ID names a root hub, which cannot be given away";
	n = span(p, end, sep);
	if (!number(p, n, 1, MAX_BUS, &value))
		return "the bus ID does not begin with a bus number";
	for (p += n; p < end; p += n, sep = '.') {
		if (*p++ != sep)
			return "the bus ID is not of the form 1-2.3";
		n = span(p, end, '.');
		if (!number(p, n, 1, MAX_HUB_PORT, &value))
			return "the bus ID has a malformed port number";
		if (++depth > MAX_DEPTH)
			return "the bus ID has too many port numbers";
	}
	if (!depth)
		return "the bus ID is not of the form 1-2.3";
	return NULL;
}

/**
 * usbback_spec_valid_vm - whether text can be the name of a guest's channel
 * @text: need not end with a NUL
 * @len: of @text
 */
bool usbback_spec_valid_vm(const char *text, size_t len)
{
	size_t i;

	if (!len || len > USBIF_NAME_MAX)
		return false;
	for (i = 0; i < len; i++) {
		char c = text[i];

		if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
		    !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '-')
			return false;
	}
	return true;
}

/* Cuts @text at its colons; the last field takes what is left over. */
static unsigned int split(const char *text, size_t len,
			  struct field fields[MAX_FIELDS + 1])
{
	const char *end = text + len;
	unsigned int n = 0;

	for (;;) {
		struct field *f = &fields[n++];

		f->text = text;
		f->len = n > MAX_FIELDS ? (size_t)(end - text) :
			 span(text, end, ':');
		text += f->len;
		if (text == end)
			return n;
		text++;
	}
}

static size_t strip_newline(const char *text, size_t len)
{
	return len && text[len - 1] == '\n' ? len - 1 : len;
}

static const char *parse(const struct field *fields, unsigned int n,
			 struct usbback_spec *spec)
{
	unsigned int vusb, port;
	const char *why = check_busid(&fields[0]);

	if (why)
		return why;
	if (n < 4)
		return "fields are missing: it takes BUSID:VM:VUSB:PORT";
	if (!usbback_spec_valid_vm(fields[1].text, fields[1].len))
		return "the VM name is not 1 to 31 characters of A-Za-z0-9_.-";
	if (!number(fields[2].text, fields[2].len, 0, USBIF_MAX_VUSB - 1, &vusb))
		return "the virtual controller is not a number from 0 to 15";
	if (!number(fields[3].text, fields[3].len, 1, USBIF_MAX_PORTS, &port))
		return "the port is not a number from 1 to 15";
	if (n > 4 && !field_is(&fields[4], "force"))
		return "the fifth field is not \"force\"";
	if (n > 5)
		return "there are more than five fields";

	memcpy(spec->busid, fields[0].text, fields[0].len);
	memcpy(spec->vm, fields[1].text, fields[1].len);
	spec->vusb = vusb;
	spec->port = port;
	spec->force = n > 4;
	return NULL;
}

/**
 * usbback_spec_parse - read BUSID:VM:VUSB:PORT[:force]
 * @text: need not end with a NUL; one line feed at the end is no part of it
 * @len: of @text
 * @spec: filled in on success
 * @why: on error, names the field and what it should be
 *
 * Return: 0 or -EINVAL
 */
int usbback_spec_parse(const char *text, size_t len, struct usbback_spec *spec,
		       const char **why)
{
	struct field fields[MAX_FIELDS + 1];
	unsigned int n = split(text, strip_newline(text, len), fields);

	memset(spec, 0, sizeof(*spec));
	*why = parse(fields, n, spec);
	return *why ? -EINVAL : 0;
}

/**
 * usbback_spec_parse_name - read a rule or only its bus ID
 * @text: as for usbback_spec_parse()
 * @len: of @text
 * @spec: filled in on success; its vm is empty if only a bus ID was given
 * @why: on error, names the field and what it should be
 *
 * Return: 0 or -EINVAL
 */
int usbback_spec_parse_name(const char *text, size_t len,
			    struct usbback_spec *spec, const char **why)
{
	struct field fields[MAX_FIELDS + 1];
	unsigned int n = split(text, strip_newline(text, len), fields);

	memset(spec, 0, sizeof(*spec));
	if (n > 1) {
		*why = parse(fields, n, spec);
	} else {
		*why = check_busid(&fields[0]);
		if (!*why)
			memcpy(spec->busid, fields[0].text, fields[0].len);
	}
	return *why ? -EINVAL : 0;
}

/**
 * usbback_spec_same_vport - whether two rules name the same port of a guest
 * @a: one
 * @b: the other
 */
bool usbback_spec_same_vport(const struct usbback_spec *a,
			     const struct usbback_spec *b)
{
	return a->vusb == b->vusb && a->port == b->port && !strcmp(a->vm, b->vm);
}
