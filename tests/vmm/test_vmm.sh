#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The example for a VMM in Documentation/vmm/ compiles for its processor with the names
# of libvmm before and since 0.2.0, does what it should, and its system description is
# well formed and agrees with the overlays.

set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lib/tap.sh
. "$here/../lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work" "$tap_out"' EXIT
vmm=$tree/Documentation/vmm
cflags=(-std=gnu11 -O2 -Wall -Wextra -Werror -I"$here" -I"$vmm" -I"$here/../lib")

compiles() {
	aarch64-linux-gnu-gcc "${cflags[@]}" -ffreestanding -nostdlib "$@" \
		-c -o "$work/usb_channel.o" "$vmm/usb_channel.c"
}

works() {
	gcc "${cflags[@]}" "$@" -o "$work/drive" "$here/drive.c" \
		"$vmm/usb_channel.c" && "$work/drive"
}

# Where overlays and system description say the region is and what interrupts there are.
agrees() {
	/usr/bin/python3 - "$vmm/usb.system" "$tree"/dts-overlays/maaxboard-*.dtso <<'END'
import re
import sys
import xml.etree.ElementTree as ET

root = ET.parse(sys.argv[1]).getroot()
number = lambda text: int(text.replace("_", ""), 0)
size = {m.get("name"): number(m.get("size")) for m in root.findall("memory_region")}
maps = root.findall(".//virtual_machine/map")
for m in maps:
    assert m.get("mr") in size, m.get("mr")
ring = [m for m in maps if m.get("mr") == "usb_ring"]
assert len(ring) == 2 and all(m.get("cached") == "true" for m in ring)
for path in sys.argv[2:]:
    text = open(path, encoding="ascii").read()
    at, length = re.search(r"usb-ring@.*?reg = <0x0 (\w+) 0x0 (\w+)>", text, re.S).groups()
    assert all(number(m.get("vaddr")) == int(at, 0) for m in ring), path
    assert size["usb_ring"] == int(length, 0), path
    bell = int(re.search(r"usb-channel@(\w+)", text).group(1), 16)
    for m in maps:
        start = number(m.get("vaddr"))
        assert not start <= bell < start + size[m.get("mr")], m.get("mr")
END
}

tap_quiet "compiles with libvmm 0.2.0" compiles
tap_quiet "compiles with libvmm 0.1.0" compiles -DOLD
tap_case "works with libvmm 0.2.0" works
tap_case "works with libvmm 0.1.0" works -DOLD
tap_quiet "system description and overlays agree" agrees
tap_end
