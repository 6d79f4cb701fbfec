#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# packaging/usbif-rules in the shells it is for, against a driver of pipes.

set -u
here=$(cd "$(dirname "$0")" && pwd)
script=$here/../../packaging/usbif-rules
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT
pipes=$work/pipes
driver=$work/sys/bus/usb/drivers/usbback
patience=0.3
export USBIF_SYSFS=$work/sys USBIF_CONFDIR=$work/etc USBIF_WAIT=0
mkdir -p "$work/etc" "$pipes" "${driver%/*}"
ln -s "$pipes" "$driver"

# What is written to both files arrives in $work/written, each write as it was.
run() {
	local rc reader

	: >"$work/written"
	(
		exec 3<>"$pipes/channels" 4<>"$pipes/new_vport"
		while read -r -t "$patience" -u 3 line; do
			echo "channels $line" >>"$work/written"
		done
		while read -r -t "$patience" -u 4 line; do
			echo "rule $line" >>"$work/written"
		done
	) &
	reader=$!
	timeout 10 "$@" "$script"
	rc=$?
	wait "$reader"
	return "$rc"
}

written() {
	run "${shell[@]}" && diff "$work/written" "$work/wanted"
}

absent() {
	USBIF_SYSFS=$work/nothing timeout 10 "${shell[@]}" "$script"
	[[ $? -eq 3 ]]
}

# It comes after the script has begun to wait.
late() {
	local rc

	mv "$driver" "$driver.later"
	(sleep 1.5 && mv "$driver.later" "$driver") &
	USBIF_WAIT=8 patience=3 written
	rc=$?
	wait
	return "$rc"
}

# A directory can't be written to, whoever one is.
refused() {
	local rc

	mv "$pipes/channels" "$work/channels" && mkdir "$pipes/channels"
	timeout 10 "${shell[@]}" "$script" >"$work/said" 2>&1 4<>"$pipes/new_vport"
	rc=$?
	rmdir "$pipes/channels" && mv "$work/channels" "$pipes/channels"
	cat "$work/said"
	[[ $rc -eq 1 ]] && grep -q '"38600000.usb-channel client" .* refused' \
		"$work/said"
}

mkfifo "$pipes/channels" "$pipes/new_vport"
printf '# names\n\n38600000.usb-channel client # the board\n' >"$work/etc/channels"
printf '1-1:client:0:1\n \t1-2.3:client:0:2:force#x\n#1-9:client:0:9\n2-1:client:0:1' \
	>"$work/etc/rules"
cat >"$work/wanted" <<'END'
channels 38600000.usb-channel client
rule 1-1:client:0:1
rule 1-2.3:client:0:2:force
rule 2-1:client:0:1
END

for name in dash "busybox sh"; do
	read -ra shell <<<"$name"
	tap_case "$name: each line is written" written
	tap_case "$name: usbback comes late" late
	tap_case "$name: a line is refused" refused
	tap_case "$name: no usbback" absent
done
mv "$work/etc/channels" "$work/etc/rules" "$work"
: >"$work/wanted"
tap_case "no files" written
tap_end
