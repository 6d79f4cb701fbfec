#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbback in a driver VM, and a guest that attacks it over ivshmem: the cases of
test_hostile_front. Its program maps the device's memory and rings its doorbell; no
driver has it. And what it could reach of the other guest.

Another guest writes and verifies its disk all the time.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import hostile  # noqa: E402
import kernels  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from served import Served  # noqa: E402
from usbif import Backend, ivshmem_addresses  # noqa: E402
from vm import VM, Job  # noqa: E402
from workload import counter  # noqa: E402

CLEAN = "clean"
GUESTS = (CLEAN, hostile.GUEST)
# Its region is a file that the attacker has; here QEMU has it.
HERE_ONLY = (76,)
# A short run has these only: a bit of each kind.
TYPICAL = (1, 7, 11, 15, 16, 18, 28, 36, 39, 59, 63, 67, 69, 73, 74, 75)
# Every vector and some more of every peer that there can be.
RING = """
import mmap, os, struct, sys
device = f"/sys/bus/pci/devices/{sys.argv[1]}"
with open(f"{device}/enable", "w", encoding="ascii") as f:
    f.write("1")
registers = mmap.mmap(os.open(f"{device}/resource0", os.O_RDWR), 256)
for peer in range(1 << 16):
    for vector in (0, 1, 255):
        struct.pack_into("<I", registers, 12, peer << 16 | vector)
"""


class Machines:
    """A driver VM and two guests."""

    def __init__(self, scratch: Path, series: str, t: tap.Suite) -> None:
        self.served = Served(scratch)
        self.series = series
        self.suite = t
        self.vms: dict[str, VM] = {}
        self.back: Backend

    def __enter__(self) -> Machines:
        for name in GUESTS:
            self.served.serve(name)
        return self

    def __exit__(self, *_: Any) -> None:
        for vm in self.vms.values():
            vm.close()
        for name in GUESTS:
            self.served.run(f"drop {name}", None)

    def start(self) -> None:
        """Boot them and name the channels."""
        args = {name: self.served.qemu_args(name) for name in GUESTS}
        args["driver"] = [word for name in GUESTS for word
                          in self.served.qemu_args(f"--backend {name}")]
        for name in ("driver", *GUESTS):
            self.vms[name] = self.suite.vm(VM(
                f"hostile-{name}", self.series, memory=384, args=args[name]))
        driver = self.vms["driver"]
        self.back = Backend(driver)
        self.back.load()
        for address, name in zip(ivshmem_addresses(driver), GUESTS):
            driver.run(f"usbctl name {address} {name}")

    def doorbells(self, name: str) -> int:
        """That usbback has heard of a channel."""
        text = self.vms["driver"].get(f"{hostile.DEBUG}/usbback/{name}/channel")
        return counter(text.decode(), "doorbells_in")

    def ring(self) -> str:
        """Only the attacker's own channel hears of it."""
        before = {name: self.doorbells(name) for name in GUESTS}
        guest = self.vms[hostile.GUEST]
        guest.put("/tmp/ring.py", RING.encode())
        address, = ivshmem_addresses(guest)
        guest.run(f"/usr/bin/python3 /tmp/ring.py {address}", 100)
        heard = {name: self.doorbells(name) - before[name] for name in GUESTS}
        tap.expect_equal(heard, {CLEAN: 0, hostile.GUEST: 1}, "doorbells")
        return f"{heard[hostile.GUEST]} doorbell of {3 << 16} arrived"

    def held(self, name: str) -> tuple[set[int], set[str]]:
        """Regions and eventfds that the QEMU of a guest has."""
        proc = Path(f"/proc/{self.vms[name].pid}")
        regions, events = set(), set()
        for fd in (proc / "fd").iterdir():
            target = os.readlink(fd)
            if target.startswith("/memfd:"):
                regions.add(fd.stat().st_ino)
            elif target == "anon_inode:[eventfd]":
                info = (proc / "fdinfo" / fd.name).read_text("ascii")
                events |= set(re.findall(r"^eventfd-id:\s*(\d+)$", info, re.M))
        return regions, events

    def apart(self) -> str:
        """Neither has anything of the other."""
        (one, ours), (other, theirs) = map(self.held, GUESTS)
        tap.expect_equal((len(one), len(other)), (1, 1), "regions")
        tap.expect(not one & other, "both have the same region")
        tap.expect(ours and theirs, "no eventfds")
        tap.expect(not ours & theirs, f"eventfds of both: {ours & theirs}")
        return f"1 region and {len(theirs)} eventfds, the other {len(ours)}"


class Apart(hostile.Attack):
    """Each in a machine of its own."""

    def __init__(self, machines: Machines) -> None:
        super().__init__(machines.back)
        self.vms = machines.vms
        self.series = machines.series

    def neighbour(self) -> tuple[VM, str]:
        disk = self.dummies.mass_storage("clean", "/tmp/clean")
        guest = self.vms[CLEAN]
        guest.run("modprobe -a usb-storage sd_mod && insmod "
                  f"{kernels.build(self.series)}/usbfront.ko")
        self.usbback.rule(f"{hostile.source(disk)}:{CLEAN}:0:1")
        busid = find_device(guest, "clean", 30)
        return guest, "/dev/" + child_node(guest, busid, "block/sd?", 30)

    def attacker(self) -> Job:
        guest = self.vms[hostile.GUEST]
        address, = ivshmem_addresses(guest)
        return guest.spawn(f"exec {hostile.program()} pci "
                           f"/sys/bus/pci/devices/{address} "
                           f"{'long' if tap.LONG else ''}", stdin=True)


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-hostile."))
    try:
        with tap.Suite() as t:
            for series in tap.some_kernels("6.1"):
                called = {number: name for number, name in
                          hostile.names(series, "ivshmem, ", HERE_ONLY).items()
                          if tap.ALL_CASES or number in TYPICAL}
                outside = {number: f"{series} ivshmem, H{number} {title}"
                           for number, title in numbered.titles().items()
                           if number in (80, 81)}
                if not any(map(t.wanted, (*called.values(), *outside.values()))):
                    continue
                with Machines(scratch, series, t) as machines:
                    machines.start()
                    t.case(outside[80], machines.ring)
                    t.case(outside[81], machines.apart)
                    hostile.run_cases(t, called, Apart(machines),
                                      f"{series} ivshmem, the neighbour")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
