#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The ring and what else is shared, on memory that orders nothing by itself: spin looks at
# every way in which stores become visible and loads are done early. With all barriers
# no entry is torn and no wakeup lost; without any one of them something goes wrong.
#
# Requests and the handshake, with a peer that lies: whatever it does, and whenever, each
# request ends once, no block of the pool is used again too early, and nobody waits for
# ever; without any one check something goes wrong. Each model says what it covers.

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
		gcc -O0 -w "-D${look_for:-SAFETY}" -DMEMLIM=2000 -o pan pan.c
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

# Nobody goes round in circles.
rests() (
	look_for=NP
	verifier "$@" && ./pan -l -w20 -m100000 >"$work/out"
	cat "$work/out"
	grep -q 'errors: 0' "$work/out" &&
		! grep -q -e 'not completed' -e 'max search depth' "$work/out"
)

# Somebody does.
circles() (
	look_for=NP
	verifier "$@" && ./pan -l -w20 -m100000 >"$work/out"
	grep -q 'non-progress cycle (' "$work/out" && ! spin_trail "$1"
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
# Models, and who the peers are where that differs.
while read -r -a which; do
	name=${which[*]}
	tap_case "$name: holds" holds "${which[@]}"
	tap_case "$name: gets to its end" fails "${which[@]}" REACH
	[ "${which[0]}" != handshake ] ||
		tap_case "$name: comes to rest" rests "${which[@]}"
done <<-EOF
	copy
	ident
	layout
	port
	ring
	session
	heartbeat
	handshake
	handshake LYING_BACK
	handshake LYING_FRONT
	requests
	requests LATE
	requests LYING
	intake
EOF
tap_case "handshake: goes round in circles with IMPATIENT" circles handshake IMPATIENT
while read -r -a which; do
	name="${which[0]}: fails with ${which[*]:1}"
	tap_case "$name" fails "${which[@]}"
done < <({
	grep -v '^#' "$here/barriers" | cut -d' ' -f4,5
	cat <<-EOF
		session NO_ASK_RELEASE
		session NO_ASKED_ACQUIRE
		session NO_NONCE_RELEASE
		session NO_NONCE_ACQUIRE
		layout MAGIC_FIRST
		heartbeat SEEN_BEFORE
		heartbeat NO_STATE_MB
		heartbeat NO_HEARTBEAT_MB
		handshake NO_NONCE_CHECK
		handshake EARLY_SESSION
		handshake LYING_FRONT KEEP_GONE
		handshake LYING_BACK NO_RETRY
		requests NO_QUARANTINE
		requests NO_LOST_ID
		requests NO_SPENT
		requests NO_REPEAT_CHECK
		requests NO_FILL_WAIT
		requests DOUBLE_CANCEL
		requests EARLY_SESSION
		requests LATE NO_SESSION_CHECK
		requests LYING NO_LIVE_CHECK
		requests LYING NO_CANCEL_CHECK
		requests LYING NO_FILL_CHECK
		requests LYING NO_TIMEOUT
		intake NO_LIVE_CHECK
		intake NO_BLOCK_CHECK
		intake NO_ROOM_CHECK
		intake CANCEL_FREES
		intake DROP_FREES
		intake ANSWER_DROPPED
		intake EARLY_SESSION
	EOF
} | sort -u)
tap_end
