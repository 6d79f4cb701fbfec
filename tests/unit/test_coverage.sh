#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Which lines and branches of ring/ the unit tests and the inputs kept for the fuzzers
# reach: enough of them, and where it were not enough it would be said.

set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/lib/tap.sh
. ../lib/tap.sh

coverage=../lib/coverage.py
table=$(mktemp)
trap 'rm -f "$table" "$tap_out"' EXIT

enough() {
	$coverage --missed >"$table" || {
		cat "$table"
		return 1
	}
}

# What is left covers ring.c and little else.
too_little() {
	local program without=()

	for program in layout status proto rewritten; do
		without+=(--without "test_$program")
	done
	for program in ../fuzz/fuzz_*.c; do
		without+=(--without "$(basename "$program" .c)")
	done
	! $coverage "${without[@]}" >"$table" 2>&1 || return 1
	grep -q 'less than 95 % .* layout.c, proto.c, status.c, all' "$table"
}

tap_case "at least 95 % of the lines and 90 % of the branches" enough
sed 's/^/# /' "$table"
tap_case "less than that fails" too_little
tap_end
