#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The libusb programs of tests/libusb, natively and then through the ring.

Each has to run the same cases on both sides, and pass.  The devices: gadgets on
dummy_hcd that check or send back what they are sent, an emulated one with
isochronous endpoints (usbip.py), and QEMU's disk that speaks UAS.
"""

import re
import sys
from pathlib import Path
from typing import Callable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import libusb  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
from gadget import Dummies, Gadget, child_node, load_drivers  # noqa: E402
from uas import Disk  # noqa: E402
from usbif import SYSFS, Loop  # noqa: E402
from vm import VM, Job  # noqa: E402

# What the same programs with another kind of device show as well: not in a short run.
SPARED = (("devmem", "source"), ("async", "source"), ("reset", "source"),
          ("sync", "source"), ("cancel", "source"), ("reset", "echo"))
SPEEDS = ("full-speed", "high-speed", "super-speed")
ECHO_BUFFER = 128 << 10
# Isochronous ones of a transfer, by speed.
PACKETS = {"full": 32, "high": 64, "super": 8}
# QEMU's xHCI loses a stream whose ring is in another lap than the first when one of
# the same endpoint is cancelled, bare as well. A ring has 510 entries; of pages that
# lie apart half a MiB takes 128 and 48 KiB, otherwise used, 12; two are read before.
BIG_CANCELS = 1
COLLECTION = "usbif/libusb"
# How the runner is told arguments of a program; those that are slow otherwise.
FEW = ("KSELFTEST_ASYNC_ARGS='-n 128' KSELFTEST_CANCEL_ARGS='-n 300' "
       "KSELFTEST_DEVMEM_ARGS='-m 65536' KSELFTEST_RESET_ARGS='-n 1'")


class Run(NamedTuple):
    """A program on a kind of device, and how many cases that has."""

    name: str
    kind: str
    options: str
    cases: int


def runs(speed: str) -> list[Run]:
    """All programs on all gadgets; full speed is slow."""
    slow = speed == "full-speed"
    sync = f"-m {65536 if slow else tap.scaled(300000, 1 << 20)}"
    memory = f"-m {65536 if slow else tap.scaled(1 << 20, 3000001)} -n 5"
    many = f"-n {1000 if slow else tap.scaled(1000, 10000)}"
    storm = f"-n {tap.scaled(3000, 50000)}"
    rounds = f"-n {tap.scaled(2, 10)}"
    return [
        Run("sync", "echo", sync, 8),
        Run("async", "echo", many, 3),
        Run("cancel", "echo", storm, 5),
        Run("devmem", "echo", memory, 6),
        Run("reset", "echo", rounds, 6),
        Run("sync", "source", sync, 6),
        Run("async", "source", many, 4),
        Run("cancel", "source", storm, 1),
        Run("devmem", "source", memory, 6),
        Run("reset", "source", rounds, 5),
        Run("sync", "reports", "-k echo", 5),
        Run("async", "reports", f"-k echo -n {tap.scaled(200, 2000)}", 3),
        Run("cancel", "reports", f"-k echo -n {tap.scaled(500, 5000)}", 5),
    ]


def wanted(run: Run, speed: str) -> bool:
    """Is that in the short form?"""
    if speed == "high-speed":
        return tap.LONG or (run.name, run.kind) not in SPARED
    return tap.LONG


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

    def add(self, kind: str, speed: str) -> Gadget:
        """A gadget of one of the kinds."""
        if kind == "echo":
            return self.dummies.loopback("echo", speed, qlen="32",
                                         bulk_buflen=str(ECHO_BUFFER))
        if kind == "source":
            return self.dummies.source_sink("source", speed, pattern="1")
        return self.dummies.hid_echo("reports", speed)

    def bound(self, busid: str) -> None:
        """A driver has it, which the program is to take it from."""
        self.vm.wait_for("test -e /sys/bus/usb/devices/"
                         f"{busid}/{busid}:1.0/driver")

    def both(self, name: str, natively: str, route: Callable[[], str],
             options: str, count: int) -> str:
        """The same cases on the bare device and on the ring."""
        self.bound(natively)
        bare = libusb.run(self.vm, natively, name, options, 240)
        tap.expect_equal(len(bare), count, f"number of cases in {bare}")
        virtual = route()
        self.bound(virtual)
        ring = libusb.run(self.vm, virtual, name, options, 240)
        tap.expect_equal(ring, bare, "cases through the ring")
        return ", ".join(bare)

    def program(self, run: Run, speed: str) -> str:
        """A program on a gadget."""
        gadget = self.add(run.kind, speed)
        return self.both(run.name, gadget.busid(),
                         lambda: self.loop.attach(gadget), run.options,
                         run.cases)

    def configurations(self) -> str:
        """A device with two configurations: a source, and an echo."""
        two = self.dummies.add(
            "two", [("SourceSink.0", {"pattern": "1"})], "high-speed",
            setup="mkdir functions/Loopback.0 configs/c.2; "
                  f"echo {ECHO_BUFFER} > functions/Loopback.0/bulk_buflen; "
                  "ln -s functions/Loopback.0 configs/c.2/")
        try:
            return self.both("reset", two.busid(),
                             lambda: self.loop.attach(two), "-n 2", 5)
        finally:
            self.vm.run(f"cd {two.dir}; echo > UDC; rm configs/c.2/Loopback.0;"
                        " rmdir configs/c.2 functions/Loopback.0")

    def emulated(self, name: str, speed: str, options: str,
                 count: int) -> str:
        """The device with isochronous endpoints, which has two settings."""
        device = usbip.Iso(self.vm, "numbers", speed)
        try:
            return self.both(name, device.busid(),
                             lambda: usbip.route(self.loop, device, 5),
                             options, count)
        finally:
            self.clear()
            device.remove()

    # ---- streams ----

    def streams(self) -> str:
        """A disk; its driver has it again afterwards, with what was written."""
        disk = Disk(self.vm, self.loop, "xhci")
        disk.plug()
        image = f"/share/{disk.image.name}"
        child_node(self.vm, disk.busid, "block/sd?")
        try:
            result = self.both("streams", disk.busid, disk.route,
                               f"-f {image} -w -n {tap.scaled(3, 30)}", 9)
            if tap.LONG:
                libusb.run(self.vm, disk.virtual(), "streams",
                           f"-m 524288 -q 16 -n {BIG_CANCELS} -w -f {image}")
            node = child_node(self.vm, disk.virtual(), "block/sd?", 30)
            tap.expect_equal(disk.driver(disk.virtual()), "uas")
            self.vm.run(f"dd if=/dev/{node} bs=1M iflag=direct | cmp - {image}",
                        60)
        finally:
            self.clear()
            disk.unplug()
        return result

    # ---- hotplug ----

    def turns(self, busid: str, out: Callable[[], None],
              back: Callable[[], None]) -> str:
        """The program hears of it each time, and can use what has come."""
        count = tap.scaled(2, 10)
        job = self.vm.spawn(libusb.command(busid, "hotplug",
                                           f"-n {count} -t 60"))
        for i in range(1, count + 1):
            job.wait_output(f"# {i}: waiting until it leaves")
            out()
            job.wait_output(f"# {i}: waiting until it arrives")
            back()
        names = libusb.cases(job.wait(60), job.output())
        tap.expect_equal(len(names), count + 1, f"number of cases in {names}")
        return re.search(r"# (arrived .*)", job.output())[1]

    def udevd(self) -> Job:
        """libusb's hotplug is udev's, in Debian."""
        job = self.vm.spawn("exec /lib/systemd/systemd-udevd")
        self.vm.wait_for("test -S /run/udev/control")
        return job

    def hotplug(self) -> str:
        """Gadgets that are pulled out, and rules that come and go."""
        echo = self.add("echo", "high-speed")
        udevd = self.udevd()
        try:
            busid = echo.busid()
            told = [self.turns(busid, echo.unplug, echo.plug)]
            rule = f"{busid}:{self.loop.NAME}:0:1"
            virtual = self.loop.attach(echo)
            told.append(self.turns(virtual, echo.unplug, echo.plug))
            self.loop.wait(busid, "attached")
            told.append(self.turns(virtual, lambda: self.loop.detach(echo),
                                   lambda: self.loop.rule(rule)))
        finally:
            udevd.kill(15)
            udevd.wait(20)
        return "; ".join(told)

    # ---- kselftest ----

    def selftests(self, environment: str = "",
                  what: str = f"-c {COLLECTION}") -> dict[str, str]:
        """What the kernel's runner says of each program."""
        out = self.vm.run(f"{environment} /share/kselftest/run_kselftest.sh "
                          f"{what} | cat", 240).out
        results = re.findall(r"(?m)^((?:not )?ok) \d+ selftests: "
                             rf"{COLLECTION}: (\w+)(.*)$", out)
        return {name: word + rest for word, name, rest in results}

    def kselftest(self) -> str:
        """Installed, and run by the kernel's own runner on the ring."""
        libusb.install(self.vm.share / "kselftest")
        names = self.vm.run("/share/kselftest/run_kselftest.sh -l").out.split()
        what = f"-c {COLLECTION}" if tap.LONG else f"-t {COLLECTION}:sync"
        without = self.selftests(what=what)
        tap.expect_equal(set(without.values()), {"ok # SKIP"}, "without device")
        tap.expect_equal([f"{COLLECTION}:{name}" for name in without],
                         names if tap.LONG else [f"{COLLECTION}:sync"], "programs")
        busid = self.loop.attach(self.add("source", "high-speed"))
        # For two of them the device is of the wrong kind.
        wanted = {name: "ok # SKIP" if name in ("iso", "streams") else "ok"
                  for name in without}
        found = self.selftests(f"USBIF_DEVICE={busid} {FEW}", what)
        tap.expect_equal(found, wanted, "results")
        # One that fails is seen to fail: the device is no echo.
        found = self.selftests(f"USBIF_DEVICE={busid} "
                               "KSELFTEST_ASYNC_ARGS='-k echo'",
                               f"-t {COLLECTION}:async")
        tap.expect_equal(found, {"async": "not ok # exit=1"}, "with failures")
        return f"{len(wanted)} of {len(names)} programs"


def run_all(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"libusb-{series}", kernel=series, smp=2, memory=768,
                 devices=["qemu-xhci,id=xhci,p2=4,p3=4"]))
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    usbip.prepare(vm)
    cases = Cases(vm, loop, Dummies(vm, 4))
    for speed in SPEEDS:
        for program in runs(speed):
            if wanted(program, speed):
                t.case(f"{series}: {program.name} with {program.kind} at "
                       f"{speed}", cases.program, program, speed)
                cases.clear()
    if tap.LONG:
        t.case(f"{series}: reset with two configurations", cases.configurations)
        cases.clear()
    for speed, packets in PACKETS.items():
        if tap.LONG or speed == "high":
            t.case(f"{series}: iso at {speed} speed", cases.emulated, "iso",
                   speed, f"-p {packets} -n {tap.scaled(12, 200)}", 11)
            t.case(f"{series}: reset with two settings at {speed} speed",
                   cases.emulated, "reset", speed, "-n 2", 5)
    t.case(f"{series}: streams", cases.streams)
    t.case(f"{series}: hotplug", cases.hotplug)
    cases.clear()
    t.case(f"{series}: kselftest", cases.kselftest)
    cases.clear()
    vm.close()


def main() -> None:
    """All kernels that there are; without LONG, the first."""
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run_all(t, series)


if __name__ == "__main__":
    main()
