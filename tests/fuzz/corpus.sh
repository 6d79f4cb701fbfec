#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the inputs in tests/fuzz/corpus anew: each fuzzer runs for FUZZ_SECONDS (60) from
# them and from the seeds; the smallest files that together reach as much are kept.

set -eu
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make -s -C ../unit fuzzers OUTPUT="$work"
"$work/mkseeds" "$work/seeds"
for fuzzer in "$work"/fuzz_*; do
	name=${fuzzer##*/fuzz_}
	mkdir -p "corpus/$name" "$work/found/$name" "$work/kept/$name"
	"$fuzzer" -max_total_time="$seconds" -timeout=20 -max_len=20000 \
		-artifact_prefix="$work/" "$work/found/$name" "corpus/$name" \
		"$work/seeds/$name" >"$work/log" 2>&1 || {
		tail -n 60 "$work/log"
		exit 1
	}
	# Counters aside: how often a line is run hardly matters in decoders.
	"$fuzzer" -merge=1 -use_counters=0 -max_len=20000 "$work/kept/$name" \
		"corpus/$name" "$work/seeds/$name" "$work/found/$name" \
		>"$work/log" 2>&1 || {
		tail -n 60 "$work/log"
		exit 1
	}
	rm -rf "corpus/$name"
	mkdir "corpus/$name"
	for file in "$work/kept/$name"/*; do
		sum=${file##*/}
		mv "$file" "corpus/$name/${sum:0:8}"
	done
	echo "$name: $(find "corpus/$name" -type f | wc -l) files," \
		"$(cat "corpus/$name"/* | wc -c) octets"
done
