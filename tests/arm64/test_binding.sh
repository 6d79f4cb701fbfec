#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The binding is one that dt-schema takes, and the overlays fit it: QEMU's on the tree
# that QEMU makes, the Maaxboard's on one that has the nodes they name.

set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

bindings=$tree/Documentation/devicetree/bindings
work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT

# apply BASE.dtb OVERLAY.dtso OUT.dtb
apply() {
	dtc -q -@ -I dts -O dtb -o "$work/overlay.dtbo" "$2" &&
		fdtoverlay -i "$1" -o "$3" "$work/overlay.dtbo"
}

# What dt-schema has to say of our nodes.
complaints() {
	dt-validate -s "$work/schema.json" "$1" 2>&1 | grep usb-channel
}

fits() {
	apply "$work/$1.dtb" "$tree/dts-overlays/$2.dtso" "$work/out.dtb" || return
	fdtget "$work/out.dtb" "$3" compatible || return
	! complaints "$work/out.dtb"
}

notices() {
	sed "$1" "$tree/dts-overlays/qemu-virt-driver-vm.dtso" >"$work/bad.dtso"
	apply "$work/virt.dtb" "$work/bad.dtso" "$work/bad.dtb" &&
		complaints "$work/bad.dtb" | grep -q "$2"
}

well_formed() (
	cd "$bindings" && dt-doc-validate -u . usbif,channel.yaml
)

dt-mk-schema -j -o "$work/schema.json" "$bindings" || exit 1
qemu-system-aarch64 -display none -cpu cortex-a53 \
	-machine "virt,dumpdtb=$work/virt.dtb" 2>/dev/null
dtc -q -I dts -O dtb -o "$work/maaxboard.dtb" "$here/maaxboard.dts"

tap_quiet "the binding is well formed" well_formed
tap_case "overlay of a driver VM on QEMU's virt" \
	fits virt qemu-virt-driver-vm /usb-channel@63fff000
tap_case "overlay of a client on QEMU's virt" \
	fits virt qemu-virt-client-vm /usb-channel@63fff004
tap_case "overlay of a driver VM on the Maaxboard" \
	fits maaxboard maaxboard-driver-vm /usb-channel@38600000
tap_case "overlay of a client on the Maaxboard" \
	fits maaxboard maaxboard-client-vm /usb-channel@38600000
tap_case "another role is noticed" notices 's/"backend"/"host"/' "'host'"
tap_case "memory that is not coherent is noticed" \
	notices '/dma-coherent/d' dma-coherent
tap_case "a doorbell without a name is noticed" notices '/reg-names/d' reg-names
tap_end
