#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The ring and what else is shared, on memory that orders nothing by itself: spin looks at
# every way in which stores become visible and loads are done early. With all barriers
# no entry is torn and no wakeup lost; without any one of them something goes wrong.

set -u
here=$(cd "$(dirname "$0")" && pwd)
ring=$here/../../ring
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT

# verifier MODEL SWITCH...: what spin makes of it is $work/MODEL/pan
verifier() {
	local model=$1

	shift
	rm -rf "${work:?}/$model"
	mkdir "$work/$model" && cp "$here"/*.pml "$work/$model" &&
		cd "$work/$model" &&
		spin "${@/#/-D}" -a "$model.pml" &&
		gcc -O0 -w -DSAFETY -DMEMLIM=2000 -o pan pan.c
}

# It looked at everything, found nothing, and nobody gets stuck.
holds() (
	verifier "$@" && ./pan -w20 -m100000 >"$work/out"
	cat "$work/out"
	grep -q 'errors: 0' "$work/out" &&
		! grep -q -e 'not completed' -e 'max search depth' "$work/out"
)

# An assertion fails.
fails() (
	verifier "$@" && ./pan -E -w20 -m100000 >"$work/out"
	grep -q 'assertion violated' "$work/out" && ! spin_trail "$1"
)

# The last steps, for who reads the log.
spin_trail() {
	spin -t -g "$1.pml" 2>/dev/null | tail -5
	return 1
}

# What orders memory in ring/, as in the table.
in_sources() {
	awk '
		/^[a-z].*\(/ && !/;$/ {
			match($0, /[a-z_0-9]+\(/)
			name = substr($0, RSTART, RLENGTH - 1)
		}
		/^\t/ && !/^\t+(\/\*| \*)/ {
			file = FILENAME
			sub(/.*\//, "", file)
			line = $0
			gsub(/usbif_word_read_acquire\(/, "@acquire(", line)
			gsub(/usbif_word_write_release\(/, "@release(", line)
			gsub(/virt_mb\(/, "@mb(", line)
			gsub(/virt_rmb\(/, "@rmb(", line)
			gsub(/virt_wmb\(/, "@wmb(", line)
			gsub(/[^_a-z]barrier\(/, " @barrier(", line)
			while (match(line, /@[a-z]+\(/)) {
				print file, name, substr(line, RSTART + 1, RLENGTH - 2)
				line = substr(line, RSTART + RLENGTH)
			}
		}' "$ring"/*.c | sort
}

in_table() {
	grep -v '^#' "$here/barriers" | cut -d' ' -f1-3 | sort
}

all_listed() {
	diff <(in_sources) <(in_table)
}

tap_quiet "each barrier of ring/ has a model" all_listed
for model in copy ident layout port ring session; do
	tap_case "$model: holds" holds "$model"
	tap_case "$model: gets to its end" fails "$model" REACH
done
while read -r model switch; do
	tap_case "$model: fails with $switch" fails "$model" "$switch"
done < <({
	grep -v '^#' "$here/barriers" | cut -d' ' -f4,5
	for switch in NO_ASK_RELEASE NO_ASKED_ACQUIRE NO_NONCE_RELEASE \
		NO_NONCE_ACQUIRE; do
		echo "session $switch"
	done
	echo "layout MAGIC_FIRST"
} | sort -u)
tap_end
