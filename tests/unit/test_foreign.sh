#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# ring/ on other processors, emulated: the unit tests again with 32 bits (armhf) and
# with the big end first (s390x). What they expect of octets is the same everywhere.

set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT

build() {
	make -s -C "$here" all OUTPUT="$work/$1" CC="$1-gcc" \
		CFLAGS="-O2 -static -DROUNDS=50000"
}

for pair in arm-linux-gnueabihf:qemu-arm s390x-linux-gnu:qemu-s390x; do
	triplet=${pair%:*}
	tap_quiet "$triplet: builds" build "$triplet"
	for program in layout ring proto status rewritten spec; do
		tap_case "$triplet: test_$program" env -u USBIF_ONLY \
			"${pair#*:}" "$work/$triplet/test_$program"
	done
	tap_case "$triplet: test_ring_pair, two threads" "${pair#*:}" \
		"$work/$triplet/test_ring_pair" spin 20000 0xfffff000
	tap_case "$triplet: test_ring_race" env -u USBIF_ONLY \
		"${pair#*:}" "$work/$triplet/test_ring_race" 20000
done
tap_end
