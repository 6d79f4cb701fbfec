#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is built here for other machines: usbctl for arm64, without libraries, and the
# modules for 32 bits and for a kernel without PCI.

set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/lib/tap.sh
. "$top/tests/lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT
usbctl=$work/usbctl-static-arm64
export USBIF_SYSFS=$work/sys USBIF_CONFDIR=$work/etc
devices=$USBIF_SYSFS/bus/usb/devices

tools() {
	make -s -C "$top" ARCH=arm64 O="$work" tools
}

alone() {
	file_of=$(aarch64-linux-gnu-readelf -hl "$usbctl") || return
	[[ $file_of == *AArch64* && $file_of != *INTERP* ]]
}

usbctl() {
	qemu-aarch64 "$usbctl" "$@"
}

version() {
	[[ $(usbctl --version) == "usbctl "[0-9]* ]]
}

nothing() {
	[[ $(usbctl list) == *"no USB devices"* ]]
}

device() {
	mkdir -p "$devices/1-1"
	for pair in idVendor=0951 idProduct=1666 speed=480 bDeviceClass=00 \
		product=Stick busnum=1 devnum=2; do
		echo "${pair#*=}" >"$devices/1-1/${pair%=*}"
	done
	usbctl list | tee /dev/stderr | grep -q '^1-1 .*0951:1666 .*480 .*Stick'
}

json() {
	usbctl list --json | /usr/bin/python3 -c '
import json, sys
assert json.load(sys.stdin)[0]["busid"] == "1-1"'
}

no_module() {
	usbctl restore
	[[ $? -eq 3 ]]
}

mkdir -p "$devices" "$USBIF_CONFDIR"
tap_case "usbctl for arm64" tools
tap_case "usbctl for arm64: needs no library" alone
tap_case "usbctl for arm64: version" version
tap_case "usbctl for arm64: no devices" nothing
tap_case "usbctl for arm64: a device" device
tap_case "usbctl for arm64: JSON" json
tap_case "usbctl for arm64: no module" no_module

config() {
	grep -q "$1" "$("$top/tests/lib/kernels.py" headers "$2")/.config"
}

for series in 6.1-armmp 6.1-rpi; do
	"$top/tests/lib/kernels.py" path $series >/dev/null || {
		echo "Bail out! kernel $series could not be fetched"
		exit 1
	}
done
tap_case "6.1-armmp has 32 bits and high memory" config CONFIG_HIGHMEM=y 6.1-armmp
tap_case "6.1-rpi has no PCI" config '# CONFIG_PCI is not set' 6.1-rpi
for series in 6.1-armmp 6.1-rpi; do
	tap_quiet "modules for $series with W=1" \
		"$top/tests/lib/kernels.py" rebuild $series
done
tap_end
