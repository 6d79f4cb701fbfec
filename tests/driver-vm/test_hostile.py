#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbback in a driver VM, and a guest that attacks it over ivshmem: the cases of
test_hostile_front. Its program maps the device's memory and rings its doorbell; no
driver has it.

Another guest writes and verifies its disk all the time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import hostile  # noqa: E402
import kernels  # noqa: E402
import tap  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from served import Served  # noqa: E402
from usbif import Backend, ivshmem_addresses  # noqa: E402
from vm import VM, Job  # noqa: E402

CLEAN = "clean"
GUESTS = (CLEAN, hostile.GUEST)
# Its region is a file that the attacker has; here QEMU has it.
HERE_ONLY = (76,)
# A short run has these only: a bit of each kind.
TYPICAL = (1, 7, 11, 15, 16, 18, 28, 36, 39, 59, 63, 67, 69, 73, 74, 75)


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
                          if tap.LONG or number in TYPICAL}
                if not any(map(t.wanted, called.values())):
                    continue
                with Machines(scratch, series, t) as machines:
                    machines.start()
                    hostile.run_cases(t, called, Apart(machines),
                                      f"{series} ivshmem, the neighbour")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
