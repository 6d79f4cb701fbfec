#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""KVM guests of a KVM host: I/O, and parts that die under it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from matrix import Matrix, Place  # noqa: E402
from nested import KvmHost  # noqa: E402
from table import SPEEDS  # noqa: E402
from tap import LONG, Suite, expect, scaled  # noqa: E402
from vm import VM, Job  # noqa: E402
import workload  # noqa: E402
from workload import resets, side_by_side, verified  # noqa: E402

DRIVERS = ("usb-storage", "sd_mod", "usbhid", "hid-generic", "usbtest")
DISKS = {"vm1": 1, "vm2": 2}
MIB = 32


def disk(guest: VM, timeout: float = 60) -> str:
    """The routed disk of a guest, once it is there."""
    out = guest.wait_for(
        "for d in /sys/block/sd*; do "
        "[ \"$(cat $d/size 2>/dev/null)\" -gt 0 ] 2>/dev/null && "
        "echo /dev/${d##*/} && exit; done; false", timeout).out
    return out.strip()


def no_disk(guest: VM, timeout: float = 20) -> None:
    """Wait until the routed disk has gone."""
    guest.wait_for("! ls -d /sys/block/sd* 2>/dev/null", timeout)


def verify(guest: VM, seconds: int) -> Job:
    """Start to write and read back the disk of a guest."""
    return workload.verify(guest, disk(guest), MIB, seconds)


class Nested:
    """The machines and what is done to them."""

    def __init__(self, t: Suite) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="usbif-nested."))
        args, devices = [], []
        for name, port in DISKS.items():
            image = scratch / name
            with open(image, "wb") as f:
                f.truncate(MIB << 20)
            args += ["-blockdev", f"driver=file,node-name=file-{name},"
                     f"filename={image}", "-blockdev",
                     f"driver=raw,node-name={name},file=file-{name}"]
            devices.append(f"usb-storage,id=disk{port},bus=xhci.0,"
                           f"port={port},drive={name}")
        try:
            self.host = KvmHost(controller="qemu-xhci,id=xhci,p2=4,p3=4",
                                devices=devices, args=args)
        finally:
            # QEMU has them open.
            shutil.rmtree(scratch)
        t.vm(self.host)
        self.guests: dict[str, VM] = {}

    def begin(self) -> None:
        """Modules, channels, rules, guests."""
        host = self.host
        host.install()
        host.run("modprobe -a xhci-pci usb-storage sd_mod", timeout=60)
        host.load()
        for name, port in DISKS.items():
            host.run(f"usbctl serve {name}")
            host.rule(f"2-{port}:{name}:0:1")
        for name in DISKS:
            self.start(name)

    def start(self, name: str) -> VM:
        """Boot a guest."""
        guest = self.host.start_front(
            name, modules=DRIVERS,
            binaries=[compile_tool("verify"), usbtest.program()])
        self.guests[name] = guest
        return guest

    # --- cases ----------------------------------------------------------

    def both(self, seconds: int) -> str:
        """Both guests at once; requests of both in every second."""
        # What counts there is what was written and read back, a piece at a time.
        return side_by_side(self.host, {
            name: partial(verify, guest, seconds)
            for name, guest in self.guests.items()}, seconds, gap=2)

    def stopped(self) -> str:
        """With usbctl serve under SIGSTOP."""
        servers = " ".join(str(self.host.server(name)) for name in DISKS)
        self.host.run(f"kill -STOP {servers}")
        try:
            return self.both(8)
        finally:
            self.host.run(f"kill -CONT {servers}")

    def killed_guest(self) -> str:
        """SIGKILL for the QEMU of one guest; the other goes on."""
        vm1, vm2 = self.guests["vm1"], self.guests["vm2"]
        other = verify(vm2, 25)
        verify(vm1, 100)
        time.sleep(3)
        before = resets(self.host, "2-1")
        vm1.kill()
        began = time.monotonic()
        self.host.wait_for(f"! grep '^2-1:.*attached' {self.host.SYSFS}/"
                           "vports", 10)
        noticed = time.monotonic() - began
        vm1 = self.start("vm1")
        text = verified(verify(vm1, 5), 5)
        expect(resets(self.host, "2-1") > before, "the next guest got it as it was")
        # Booting beside it takes both processors.
        verified(other, 25, gap=3)
        return f"noticed after {noticed:.1f} s, {text}"

    def reset_guest(self) -> str:
        """The reset button of one guest; the other goes on."""
        vm1, vm2 = self.guests["vm1"], self.guests["vm2"]
        other = verify(vm2, 25)
        verify(vm1, 100)
        time.sleep(3)
        before = resets(self.host, "2-1")
        vm1.reset()
        vm1.run("insmod /usbfront.ko")
        text = verified(verify(vm1, 5), 5)
        expect(resets(self.host, "2-1") > before, "it has the disk as it was")
        verified(other, 25, gap=3)
        return text

    def killed_server(self) -> str:
        """SIGKILL for usbctl serve, which is then started again."""
        job = verify(self.guests["vm1"], 15)
        time.sleep(2)
        self.host.run(f"kill -9 {self.host.server('vm1')}")
        time.sleep(3)
        self.host.run("usbctl serve vm1")
        text = verified(job, 15)
        return f"{text}, {self.both(5)}"

    def reloaded_back(self) -> str:
        """rmmod usbback under load, and back by what serve knows."""
        host = self.host
        jobs = [verify(guest, 100) for guest in self.guests.values()]
        time.sleep(3)
        began = time.monotonic()
        host.run("rmmod usbback", timeout=30)
        took = time.monotonic() - began
        for job in jobs:
            expect(job.wait(30) != 0, "verify did not see the disk go")
        for guest in self.guests.values():
            no_disk(guest)
        host.load()
        return f"rmmod took {took:.1f} s, {self.both(5)}"

    def reloaded_front(self) -> str:
        """rmmod usbfront under load, and back by the rule."""
        vm1 = self.guests["vm1"]
        job = verify(vm1, 100)
        time.sleep(3)
        began = time.monotonic()
        vm1.run("rmmod usbfront", timeout=30)
        took = time.monotonic() - began
        expect(job.wait(30) != 0, "verify did not see the disk go")
        vm1.run("insmod /usbfront.ko")
        return f"rmmod took {took:.1f} s, {verified(verify(vm1, 5), 5)}"

    def pulled(self) -> str:
        """The stick is pulled and plugged in again under load."""
        vm1, host = self.guests["vm1"], self.host
        job = verify(vm1, 100)
        time.sleep(2)
        began = time.monotonic()
        host.qmp("device_del", id="disk1")
        expect(job.wait(10) != 0, "verify did not see the disk go")
        took = time.monotonic() - began
        expect(took < 1, f"the error came after {took:.2f} s")
        host.wait_event("DEVICE_DELETED", device="disk1")
        no_disk(vm1)
        host.device_add("usb-storage", id="disk1", bus="xhci.0", port="1",
                        drive="vm1")
        return f"error after {took:.2f} s, {verified(verify(vm1, 5), 5)}"


def testusb(nested: Nested, t: Suite) -> None:
    """The kernel's own USB tests, from a guest to devices of the host."""
    matrix = Matrix("nested", lambda: Place(nested.host, nested.guests["vm1"],
                                            "vm1", 2))
    for name, function, args in matrix.cases(SPEEDS if LONG else ("high",)):
        t.case(name, function, *args)


def main() -> None:
    with Suite() as t:
        nested = Nested(t)
        nested.begin()
        t.case("two guests at once", nested.both, scaled(12, 120))
        testusb(nested, t)
        # In a short run test_units has this.
        later = (("usbctl serve killed and restarted, F47, F48",
                  nested.killed_server),)
        for name, case in (
                ("usbctl serve stopped", nested.stopped),
                ("a device pulled and plugged in", nested.pulled),
                ("a guest killed, F26", nested.killed_guest),
                ("a guest reset, F24", nested.reset_guest),
                *(later if LONG else ()),
                ("usbfront reloaded", nested.reloaded_front),
                ("usbback reloaded, F38", nested.reloaded_back)):
            for turn in range(scaled(1, 3)):
                suffix = f", time {turn + 1}" if turn else ""
                t.case(f"{name}, under load{suffix}", case)


if __name__ == "__main__":
    main()
