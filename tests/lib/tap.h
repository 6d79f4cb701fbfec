/* SPDX-License-Identifier: GPL-2.0 */
/* TAP for test programs in C: a case passes if no expect() in it fails. */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif

/* Weak: one of each, in however many files of a program this is included. */
__attribute__((weak)) int tap_cases;
__attribute__((weak)) int tap_failures;
__attribute__((weak)) int tap_complaints;

/* Says what is wrong, a few times per case. */
__attribute__((format(printf, 4, 5), unused))
static bool tap_expect(bool good, const char *file, int line,
		       const char *format, ...)
{
	va_list args;

	if (good)
		return true;
	if (tap_complaints++ < 5) {
		va_start(args, format);
		printf("# %s:%d: ", file, line);
		vprintf(format, args);
		printf("\n");
		va_end(args);
	}
	return false;
}

#define expect(condition, ...) \
	tap_expect(condition, __FILE__, __LINE__, __VA_ARGS__)

/* Ends a case. */
__attribute__((format(printf, 1, 2), unused))
static void tap_case(const char *format, ...)
{
	va_list args;

	tap_cases++;
	tap_failures += tap_complaints > 0;
	printf("%sok %d - ", tap_complaints ? "not " : "", tap_cases);
	va_start(args, format);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	tap_complaints = 0;
}

/* For main() to return. */
__attribute__((unused))
static int tap_end(void)
{
	printf("1..%d\n", tap_cases);
	return tap_failures > 0;
}

/* The same numbers in every run; xorshift64*. */
__attribute__((unused))
static unsigned long long tap_random(unsigned long long *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

#endif /* TAP_H */
