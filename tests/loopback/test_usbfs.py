#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Sizes, order, resets and settings, as a program meets them through usbfs.

Each case runs natively first and then through the ring: what holds there holds
here.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (Dummies, Gadget, child_node, device_node,  # noqa: E402
                    find_device, load_drivers)
from usbif import SYSFS, Loop  # noqa: E402
from vm import VM  # noqa: E402

SPEEDS = ("full-speed", "high-speed", "super-speed")
BUFFER = 3 << 20


class Cases:
    """The cases, with what they need."""

    def __init__(self, vm: VM, loop: Loop, dummies: Dummies) -> None:
        self.vm = vm
        self.loop = loop
        self.dummies = dummies

    def clear(self) -> None:
        """No rules, no devices: what every case begins with."""
        self.vm.run(f"cut -d: -f1 {SYSFS}/vports | while read -r busid; do "
                    f"echo $busid > {SYSFS}/remove_vport; done")
        self.dummies.clear()

    def usbfs(self, busid: str, command: str, timeout: float = 240) -> str:
        """Run our program on a device."""
        return self.vm.run(f"{compile_tool('usbfs')} "
                           f"{device_node(self.vm, busid)} {command}",
                           timeout).out.strip()

    def both(self, gadget: Gadget, command: str) -> str:
        """The same natively and through the ring."""
        natively = self.usbfs(gadget.busid(), command)
        through = self.usbfs(self.loop.attach(gadget), command)
        return f"natively {natively}, through the ring {through}"

    def echo(self, speed: str = "high-speed", length: int = BUFFER,
             qlen: int = 4) -> Gadget:
        """A device that sends back transfers of up to that length."""
        return self.dummies.loopback("echo", speed, bulk_buflen=str(length),
                                     qlen=str(qlen))

    def sizes(self, speed: str) -> str:
        """Transfers of any length, far longer than one request."""
        return self.both(self.echo(speed), "sizes")

    def mapped(self) -> str:
        """Buffers that usbfs has mapped, at odd addresses."""
        return self.both(self.echo(), "mapped")

    def order(self, speed: str) -> str:
        """Unlinks and halts in the middle of the queue change no order."""
        return self.both(self.echo(speed, 4096, 32),
                         f"order {tap.scaled(5000, 100000)}")

    def flight(self) -> str:
        """What waits comes back at a reset that reaches the device."""
        echo = self.echo()
        self.usbfs(echo.busid(), "flight")
        busid = self.loop.attach(echo)
        since = self.vm.mark()
        self.usbfs(busid, "flight")
        source = self.loop.source(echo)
        self.vm.wait_log(f"usbback {source}: reset high-speed USB device", 5,
                         since)
        return ""


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"usbfs-{series}", kernel=series, smp=2))
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    cases = Cases(vm, loop, Dummies(vm, 4))
    for speed in SPEEDS:
        t.case(f"{series}: sizes at {speed}", cases.sizes, speed)
        cases.clear()
    t.case(f"{series}: mapped buffers", cases.mapped)
    cases.clear()
    for speed in SPEEDS:
        t.case(f"{series}: order at {speed}", cases.order, speed)
        cases.clear()
    for case in (cases.flight,):
        t.case(f"{series}: {case.__name__}", case)
        cases.clear()
    vm.close()


def main() -> None:
    """All kernels that there are."""
    with tap.Suite() as t:
        for series in kernels.SUITES:
            run(t, series)


if __name__ == "__main__":
    main()
