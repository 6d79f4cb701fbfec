# SPDX-License-Identifier: GPL-2.0
"""The kernel's own USB tests (usbtest.ko and testusb) on a source/sink gadget.

    import usbtest
    usbtest.prepare(vm)                     # once for each VM
    usbtest.run(vm, busid, 10)              # raises unless it passes
    for number, name in usbtest.CASES.items(): ...

CASES are those for a dummy_hcd source/sink gadget: that one has no isochronous
transfers (15, 16, 22, 23) and no interrupt endpoints (25, 26), and can only be
read in whole packets.  ISO_CASES are for the device of usbip.py.  matrix.py runs
all of them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import kernels
from cache import compile_tool
from vm import VM


class Case(NamedTuple):
    """What a case does, and options of testusb for a short run of it."""

    name: str
    options: str
    count: int


CASES = {
    0: Case("no operation", "", 1),
    1: Case("bulk writes", "-s 4096", 60),
    2: Case("bulk reads", "-s 4096", 60),
    3: Case("bulk writes of all lengths", "-s 5000 -v 421", 60),
    4: Case("bulk reads of several lengths", "-s 5120 -v 1024", 60),
    5: Case("scatter-gather writes", "-s 1024 -g 32", 20),
    6: Case("scatter-gather reads", "-s 1024 -g 32", 20),
    7: Case("scatter-gather writes of several lengths",
            "-s 5120 -v 1024 -g 32", 20),
    8: Case("scatter-gather reads of several lengths",
            "-s 5120 -v 1024 -g 32", 20),
    9: Case("chapter 9 control requests", "", 10),
    10: Case("control requests queued", "-g 16", 10),
    11: Case("unlinked reads", "-s 1024", 20),
    12: Case("unlinked writes", "-s 1024", 20),
    13: Case("halts set and cleared", "-s 1024", 10),
    14: Case("control writes of all lengths", "-s 2000 -v 97", 20),
    17: Case("bulk writes at odd addresses", "-s 4096", 40),
    18: Case("bulk reads at odd addresses", "-s 4096", 40),
    19: Case("bulk writes at odd addresses, coherent", "-s 4096", 40),
    20: Case("bulk reads at odd addresses, coherent", "-s 4096", 40),
    21: Case("control writes at odd addresses", "-s 2000 -v 97", 20),
    24: Case("unlinked from the middle of a queue", "-s 1024 -g 16", 20),
    27: Case("bulk writes queued", "-s 16384 -g 32", 4),
    28: Case("bulk reads queued", "-s 16384 -g 32", 4),
    29: Case("toggles cleared between writes", "-s 1024", 20),
}

# What it takes a device with isochronous and interrupt endpoints for: see
# usbip.py. The length of the packets, and so of the requests, is the device's.
ISO_CASES = {
    15: Case("isochronous writes", "-g 4", 10),
    16: Case("isochronous reads", "-g 4", 10),
    22: Case("isochronous writes at odd addresses", "-g 4", 10),
    23: Case("isochronous reads at odd addresses", "-g 4", 10),
    25: Case("interrupt writes", "-s 64", 60),
    26: Case("interrupt reads", "-s 64", 60),
}


def program() -> str:
    """Path of testusb, here and in the guests."""
    source = kernels.source() / "tools/usb/testusb.c"
    return str(compile_tool("testusb", source=source))


def prepare(vm: VM) -> None:
    """Load the driver; the devices are bound as they come."""
    vm.run("grep -q '^usbtest ' /proc/modules || modprobe usbtest")


def command(busid: str, number: int, times: int = 1, more: str = "") -> str:
    """The command that runs one case on a device; more: options."""
    case = CASES.get(number) or ISO_CASES[number]
    return (f"cd /sys/bus/usb/devices/{busid} || exit; "
            "for i in 1 2 3 4 5 6 7 8 9; do "
            f"test -e {busid}:1.0/driver && break; sleep 0.3; done; "
            # A guest without our root has it in its path.
            f"exec $(command -v testusb || echo {program()}) -D $(printf /dev/bus/usb/%03d/%03d $(cat "
            f"busnum devnum)) -t {number} -c {case.count * times} "
            f"{case.options} {more}")


def run(vm: VM, busid: str, number: int, times: int = 1,
        timeout: float = 60, more: str = "") -> str:
    """Run one case on a device; returns how long it took there."""
    out = vm.run(command(busid, number, times, more), timeout * times,
                 check=False).out
    match = re.search(rf"test {number},\s+([\d.]+) secs", out)
    if not match:
        raise AssertionError(f"testusb case {number}: {out}")
    return f"{match[1]} s on the device"
