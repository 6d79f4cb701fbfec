#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Devices come and go, and modules too, many times, while a disk is being verified:
nothing is left behind of it, and the memory that the kernel has is what it was.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from emulated import Emulated, with_image  # noqa: E402
from gadget import Dummies, child_node, load_drivers  # noqa: E402
from usbif import SYSFS, Loop  # noqa: E402
from vm import VM, Job  # noqa: E402
from workload import (HOURS, leaks, objects, slabs,  # noqa: E402
                      stood_still, verify)

MIB = 8
CYCLES = tap.scaled(100, 1000)
RELOADS = tap.scaled(10, 100)
# What the kernel may have more of in the end, in KiB: a slab or two for each cache in
# use, whose objects lie elsewhere by then.
GROWTH = 768
WARM_UP = 10
# Processes come and go too: with less, an object a time does not show.
MANY = 300
DISK_PORT, FIRST_PORT = 1, 2
DEVICES = 5
# Between two writes, so that others get a processor.
PAUSE_MS = 20


class Cases:
    """A disk that is in use, and devices that come and go."""

    def __init__(self, vm: VM, loop: Loop) -> None:
        self.vm = vm
        self.loop = loop
        self.disk = Emulated(vm, "disk", "usb-storage", drive="image", port="1")
        dummies = Dummies(vm, DEVICES)
        self.zeros = [dummies.source_sink(f"zero{n}") for n in range(DEVICES)]
        # The virtual bus that they come to.
        self.bus = loop.attach(self.zeros[0], FIRST_PORT).split("-")[0]
        loop.detach(self.zeros[0])

    def load(self) -> Job:
        """The disk is written and read from now on."""
        source = self.disk.source()
        if source not in self.loop.vports():
            self.loop.rule(f"{source}:{Loop.NAME}:0:{DISK_PORT}")
        self.loop.wait(source, "attached", 40)
        node = child_node(self.vm, self.loop.virtual(self.disk), "block/sd?", 40)
        job = verify(self.vm, f"/dev/{node}", MIB, HOURS, PAUSE_MS)
        time.sleep(0.5)
        return job

    def grown(self, before: int) -> str:
        """How the memory has changed."""
        after = slabs(self.vm)
        tap.expect(after - before < GROWTH, f"memory grew: {before} -> {after} KiB")
        return f"{before} -> {after} KiB"

    def cycle(self, count: int) -> None:
        """A rule, the device is there; no rule, it is the host's. All at once, with
        that many cycles together."""
        script = "cd /sys/bus/usb/devices; "
        for port, zero in enumerate(self.zeros, FIRST_PORT):
            source, there = zero.source(), f"{self.bus}-{port}:1.0/driver"
            script += (
                f"for i in $(seq {count // DEVICES}); do "
                f"echo {source}:{Loop.NAME}:0:{port} > {SYSFS}/new_vport; "
                f"until [ -e {there} ]; do sleep 0.1; done; "
                f"echo {source} > {SYSFS}/remove_vport; "
                f"until [ -e {source}:1.0/driver ] && [ ! -e {there} ]; do sleep 0.1; "
                "done; done & ")
        self.vm.run(f"{script} wait", 30 + 10 * count)

    def cycles(self) -> str:
        """Rule and no rule."""
        job = self.load()
        self.cycle(WARM_UP)
        before = slabs(self.vm)
        taken = [objects(self.vm)]
        for _ in range(2):
            self.cycle(CYCLES // 2)
            taken.append(objects(self.vm))
        tap.expect_equal(leaks(taken, max(MANY, CYCLES // 2)), {}, "slab growth")
        told = self.grown(before)
        tap.expect_equal(job.rc, None, f"end of verify ({job.output()[-300:]})")
        still, text = stood_still(job)
        tap.expect(not still, f"it stood still in seconds {still}")
        job.kill(9)
        job.wait(10)
        for zero in self.zeros:
            usbtest.run(self.vm, zero.busid(), 1)
        return f"{CYCLES} times, {told}, {text}"

    def reload(self, module: str) -> None:
        """A module goes while the disk is in use, and comes again."""
        job = self.load()
        time.sleep(0.3)
        self.vm.run(f"rmmod {module}", 60)
        tap.expect_equal(job.wait(30), 1, f"end of verify ({job.output()[-300:]})")
        self.vm.run(f"usbctl drop {Loop.NAME}; "
                    f"insmod {self.loop.modules}/{module}.ko", 60)
        self.loop.join()

    def reloads(self) -> str:
        """Both modules, in turns."""
        before, taken = 0, []
        for n in range(RELOADS):
            if n == WARM_UP // 2:
                before = slabs(self.vm)
            if n in (WARM_UP // 2, (WARM_UP // 2 + RELOADS) // 2):
                taken.append(objects(self.vm))
            self.reload("usbback" if n % 2 else "usbfront")
        job = self.load()
        job.kill(9)
        job.wait(10)
        told = self.grown(before)
        taken.append(objects(self.vm))
        tap.expect_equal(leaks(taken, MANY), {}, "slab growth")
        return f"{RELOADS} times, {told}"


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(with_image("cycles", series, MIB))
    load_drivers(vm)
    vm.run("echo 0 > /sys/module/usb_storage/parameters/delay_use")
    usbtest.prepare(vm)
    loop = Loop(vm)
    loop.load()
    cases = Cases(vm, loop)
    t.case(f"{series}: attached and detached under load", cases.cycles)
    t.case(f"{series}: modules reloaded under load", cases.reloads)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
