#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each fuzzer for FUZZ_SECONDS (5; with LONG=1, 90), from tests/fuzz/corpus and seeds that
# are made here.  An input that a fuzzer fails on is kept in tests/unit/build/fuzz/crash
# and run first.

set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/lib/tap.sh
. ../lib/tap.sh

build=build/fuzz
corpus=../fuzz/corpus
crash=$build/crash
work=$(mktemp -d)
trap 'rm -rf "$tap_out" "$work"' EXIT

seconds=5
[[ ${LONG:-0} == 0 || -z ${LONG:-} ]] || seconds=90
seconds=${FUZZ_SECONDS:-$seconds}

compile() {
	make -s fuzzers OUTPUT="$build" && "$build/mkseeds" "$work" && mkdir -p "$crash"
}

again() {
	local old

	for old in "$crash/$1"-*; do
		[[ ! -e $old ]] || "$build/fuzz_$1" "$old" || return 1
	done
}

fuzz() {
	"$build/fuzz_$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
		-max_len=20000 -artifact_prefix="$crash/$1-" -print_final_stats=1 \
		"$work/$1" "$corpus/$1" >"$work/$1.log" 2>&1 || {
		tail -n 60 "$work/$1.log"
		return 1
	}
	[[ $(find "$corpus/$1" -type f | wc -l) -gt 5 ]] || {
		echo "nothing was kept for it"
		return 1
	}
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
	[[ ${runs:-0} -gt 100 ]] || {
		echo "only ${runs:-no} runs"
		return 1
	}
}

tap_case "fuzzers compile" compile
for name in req rsp layout port ring; do
	tap_case "fuzzer $name: inputs it failed on before" again $name
	tap_case "fuzzer $name" fuzz $name
	echo "# ${runs:-?} runs"
done
tap_end
