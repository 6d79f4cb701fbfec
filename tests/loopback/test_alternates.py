#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Settings with other endpoints, chosen under traffic, bare and through the ring.

The device is an emulated one (tests/tools/usbip_alternates.c) behind the stock
vhci_hcd: bulk, interrupt, isochronous or no endpoints at one address.  Each octet
of each setting is compared, and those of another interface that streams all the
time (tests/tools/usb_alternates.c).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbip  # noqa: E402
from cache import TREE, compile_tool  # noqa: E402
from gadget import device_node  # noqa: E402
from usbif import Loop  # noqa: E402
from usbip import Emulated, clear, route  # noqa: E402
from vm import VM  # noqa: E402

SPEEDS = ("full", "high", "super")


def choose(vm: VM, busid: str) -> str:
    """Choose settings, and use each."""
    tool = compile_tool("usb_alternates",
                        watch=[TREE / "tests" / "tools" / "alternates.h"])
    result = vm.run(f"{tool} {device_node(vm, busid)} {tap.scaled(15, 100)}",
                    300, check=False)
    tap.expect(result.rc == 0, f"usb_alternates: {result.rc} {result.out}")
    return result.out.strip()


def descriptors(vm: VM, busid: str) -> str:
    """The descriptors of a device as its driver sees them."""
    return vm.run("od -An -tx1 -v /sys/bus/usb/devices/"
                  f"{busid}/descriptors").out


def same_descriptors(vm: VM, source: str, busid: str) -> None:
    """What the guest sees of settings is what the device says."""
    tap.expect_equal(descriptors(vm, busid), descriptors(vm, source),
                     "descriptors")


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"alternates-{series}", kernel=series, smp=2))
    loop = Loop(vm)
    loop.load()
    usbip.prepare(vm)
    for speed in SPEEDS:
        device = Emulated(vm, "usbip_alternates", "alternates", speed)
        source = device.busid()
        t.case(f"{series}: bare, {speed} speed: settings", choose, vm, source)
        busid = route(loop, device, 6)
        t.case(f"{series}: ring, {speed} speed: settings", choose, vm, busid)
        t.case(f"{series}: ring, {speed} speed: descriptors",
               same_descriptors, vm, source, busid)
        clear(loop, device)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
