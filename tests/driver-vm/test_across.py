#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""USB devices that go from machine to machine with the stock usbip as well.

      desk                        driver VM                  guest
    +--------------+   network  +-------------+  channel  +-------------+
    | stick, zero  |============| vhci_hcd    |           |             |
    |  usbip-host  |            |   usbback ==|===========|== usbfront  |
    |              |            |  own, sink  |           |             |
    |  vhci_hcd    |            +-------------+  network  |  usbip-host |
    |            ==|==========================================          |
    +--------------+                                      +-------------+

Imported: a device of the desk, which the driver VM attaches with usbip and
routes into the guest. Exported: one of the driver VM's own that is routed into
the guest, from where the desk attaches it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import Dummies, Gadget, find_device  # noqa: E402
from pair import CONTROLLER, Disk, Pair  # noqa: E402
from stockusbip import attach, detach, export, imported, serve  # noqa: E402
from tap import LONG, Suite, expect, some_kernels  # noqa: E402
from vm import VM  # noqa: E402

# Addresses on the two links: the desk's and the other's.
TO_DRIVER = ("10.9.1.1", "10.9.1.2")
TO_GUEST = ("10.9.2.1", "10.9.2.2")
# usbip-host uses a request after it was freed when it is told to unlink one that
# is just complete (stub_recv_cmd_unlink), so nothing that unlinks.
NUMBERS = (tuple(sorted(usbtest.CASES.keys() - {11, 12, 24})) if LONG
           else (2, 3, 9, 10))


def link(scratch: Path, name: str, end: int) -> list[str]:
    """For QEMU: one end of a cable, a datagram socket here."""
    here, there = scratch / f"{name}{end}", scratch / f"{name}{1 - end}"
    return ["-netdev", f"dgram,id={name},local.type=unix,local.path={here},"
            f"remote.type=unix,remote.path={there}",
            "-device", f"virtio-net-pci,netdev={name},"
            f"mac=52:54:00:00:{len(name):02x}:{end:02x}"]


def network(vm: VM, *addresses: str) -> None:
    """Addresses of eth0, eth1, ..."""
    vm.run("modprobe virtio_net; " + "; ".join(
        f"ip addr add {address}/24 dev eth{n} && ip link set eth{n} up"
        for n, address in enumerate(addresses)))


class Across:
    """The three machines and what is done to them."""

    def __init__(self, t: Suite, scratch: Path, pair: Pair) -> None:
        self.t = t
        self.scratch = scratch
        self.pair = pair
        self.stick = Disk(scratch, "stick", 8)
        self.own = Disk(scratch, "own", 8)
        self.desk: VM
        self.passed: dict[str, set[int]] = {}

    def begin(self) -> None:
        """Boots all."""
        self.start_desk()
        self.pair.start(driver=link(self.scratch, "driver", 1),
                        guest=link(self.scratch, "guest", 1))
        network(self.pair.driver, TO_DRIVER[1])
        network(self.pair.guest, TO_GUEST[1])
        usbtest.prepare(self.pair.guest)

    def start_desk(self) -> None:
        """Boots the desk, with its devices plugged in and exported."""
        self.desk = self.t.vm(VM(
            "desk", self.pair.kernel, memory=384, devices=[CONTROLLER],
            args=[*link(self.scratch, "driver", 0),
                  *link(self.scratch, "guest", 0)]))
        network(self.desk, TO_DRIVER[0], TO_GUEST[0])
        self.desk.run("modprobe -a xhci-pci usb-storage sd_mod")
        serve(self.desk)
        self.stick.plug(self.desk, 1)
        export(self.desk, self.stick.busid(self.desk))

    def import_stick(self) -> str:
        """The driver VM attaches the stick of the desk; its bus ID there."""
        attach(self.pair.driver, TO_DRIVER[0], self.stick.busid(self.desk))
        return imported(self.pair.driver, self.stick.name)

    # ---- imported

    def imported_disk(self) -> str:
        """The desk's stick in the guest, read and written."""
        busid = self.import_stick()
        self.pair.route(busid, 1)
        self.stick.compare(self.pair.guest)
        self.stick.write(self.pair.guest)
        self.stick.compare(self.pair.guest)
        return f"{busid} in the driver VM"

    def imported_zero(self) -> None:
        """A source and sink of the desk, tested in the driver VM before the
        guest gets it."""
        zero = Dummies(self.desk, 1).source_sink("zero")
        export(self.desk, zero.busid())
        usbtest.prepare(self.pair.driver)
        attach(self.pair.driver, TO_DRIVER[0], zero.busid())
        busid = imported(self.pair.driver, zero.name)
        self.bare("imported", self.pair.driver, busid)
        self.pair.route(busid, 3)

    def pulled(self) -> str:
        """The stick is pulled out of the desk in use, and put back."""
        busid = imported(self.pair.driver, self.stick.name)
        job = self.load()
        self.stick.pull(self.desk)
        self.lost(busid, job)
        self.stick.plug(self.desk, 1)
        export(self.desk, self.stick.busid(self.desk))
        return self.returned(busid)

    def desk_dies(self) -> str:
        """The desk dies in use. No connection is closed, so the driver VM has
        to be told; the next desk exports the same stick."""
        return self.killed(lambda: detach(self.pair.driver, "stick"))

    def desk_reboots(self) -> str:
        """The same, but the next desk says that it knows of no connection."""
        return self.killed(self.start_desk)

    def killed(self, tell: Callable[[], object]) -> str:
        """The desk is killed, then the driver VM learns of it."""
        busid = imported(self.pair.driver, self.stick.name)
        job = self.load()
        self.desk.kill()
        dead = self.desk
        tell()
        self.lost(busid, job)
        if self.desk is dead:
            self.start_desk()
        return self.returned(busid)

    def load(self):
        """The guest uses the imported stick."""
        job = self.pair.guest.spawn(
            f"exec {compile_tool('verify')} {self.stick.node(self.pair.guest)} "
            f"0 {self.stick.mib} 600", stdin=False)
        job.wait_output("^1 ")
        return job

    def lost(self, busid: str, job) -> None:
        """The guest loses the stick, the rule stays."""
        began = time.monotonic()
        expect(job.wait(40) != 0, "verify did not see the disk go")
        self.stick.wait_gone(self.pair.guest)
        self.pair.back.wait(busid, "waiting-device")
        self.took = time.monotonic() - began

    def returned(self, busid: str) -> str:
        """Imported again it has the same bus ID, and the guest has it."""
        again = self.import_stick()
        expect(again == busid, f"it is {again} now, not {busid}")
        self.pair.back.wait(busid, "attached", 30)
        self.stick.compare(self.pair.guest)
        return f"gone from the guest after {self.took:.1f} s"

    # ---- exported

    def exported_disk(self) -> str:
        """A disk of the driver VM that is routed to the guest, at the desk."""
        driver, guest = self.pair.driver, self.pair.guest
        self.own.plug(driver, 2)
        self.pair.route(self.own.busid(driver), 2)
        self.own.compare(guest)
        serve(guest)
        busid = self.own.busid(guest)
        export(guest, busid)
        attach(self.desk, TO_GUEST[1], busid)
        self.own.compare(self.desk)
        self.own.write(self.desk)
        self.own.compare(self.desk)
        return f"{busid} in the guest"

    def exported_zero(self) -> None:
        """A source and sink of the driver VM, tested in the guest before the
        desk gets it."""
        sink: Gadget = Dummies(self.pair.driver, 1).source_sink("sink")
        self.pair.route(sink.busid(), 4)
        busid = find_device(self.pair.guest, sink.name, 20)
        self.bare("exported", self.pair.guest, busid)
        export(self.pair.guest, busid)
        usbtest.prepare(self.desk)
        attach(self.desk, TO_GUEST[1], busid)
        find_device(self.desk, sink.name, 20)

    def taken_back(self) -> None:
        """The guest has its disk again for itself, without a replug."""
        guest = self.pair.guest
        busid = self.own.busid(guest)
        detach(self.desk, "own")
        self.own.wait_gone(self.desk)
        guest.run(f"usbip unbind -b {busid}", 60)
        self.own.compare(guest)
        export(guest, busid)
        attach(self.desk, TO_GUEST[1], busid)
        self.own.compare(self.desk)

    def rule_removed(self) -> None:
        """The driver VM takes an exported disk, in use, away from the guest."""
        driver = self.pair.driver
        busid = self.own.busid(driver)
        job = self.desk.spawn(f"exec {compile_tool('verify')} "
                              f"{self.own.node(self.desk)} 0 8 600", stdin=False)
        job.wait_output("^1 ")
        self.pair.back.remove(busid)
        expect(job.wait(40) != 0, "verify did not see the disk go")
        self.own.wait_gone(self.desk)
        self.own.wait_gone(self.pair.guest)
        self.own.compare(driver)

    # ---- testusb

    def bare(self, way: str, vm: VM, busid: str) -> None:
        """What passes one machine nearer to the device."""
        self.passed[way] = set()
        for number in NUMBERS:
            try:
                usbtest.run(vm, busid, number)
                self.passed[way].add(number)
            except AssertionError as why:
                self.t.diag(f"in {vm.name}: {why}")

    def testusb(self, way: str, serial: str, number: int) -> str:
        """A case that passes there passes here."""
        vm = self.desk if way == "exported" else self.pair.guest
        busid = find_device(vm, serial, 20)
        try:
            return usbtest.run(vm, busid, number)
        except AssertionError:
            if number in self.passed[way]:
                raise
            return "fails one machine nearer to the device, too"


def cases(a: Across, prefix: str) -> Iterator[tuple[Any, ...]]:
    """Names, functions, arguments."""
    yield f"{prefix}imported: a disk", a.imported_disk
    yield f"{prefix}imported: source and sink", a.imported_zero
    for number in NUMBERS:
        yield (f"{prefix}imported: testusb {number}, "
               f"{usbtest.CASES[number].name}", a.testusb, "imported",
               "zero", number)
    yield f"{prefix}exported: a disk", a.exported_disk
    yield f"{prefix}exported: source and sink", a.exported_zero
    for number in NUMBERS:
        yield (f"{prefix}exported: testusb {number}, "
               f"{usbtest.CASES[number].name}", a.testusb, "exported",
               "sink", number)
    yield f"{prefix}exported: taken back", a.taken_back
    yield f"{prefix}exported: the rule removed", a.rule_removed
    yield f"{prefix}imported: pulled out of the other machine", a.pulled
    yield f"{prefix}imported: the other machine dies", a.desk_dies
    if LONG:
        yield f"{prefix}imported: the other machine reboots", a.desk_reboots


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-across."))
    try:
        with Suite() as t:
            for kernel in some_kernels("6.1"):
                directory = scratch / kernel
                directory.mkdir()
                pair = Pair(directory, kernel)
                across = Across(t, directory, pair)
                todo = list(cases(across,
                                  "" if kernel == "6.1" else f"{kernel}: "))
                if not any(t.wanted(name) for name, *_ in todo):
                    continue
                with pair:
                    across.begin()
                    for name, function, *args in todo:
                        t.case(name, function, *args)
                    across.desk.close()
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
