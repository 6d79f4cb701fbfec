#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""ivshmem devices that are somebody else's, or not quite ours: both modules
leave them alone, and not an octet of them changes."""

from __future__ import annotations

import array
import hashlib
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib")]
import kernels  # noqa: E402
from tap import Suite, expect, expect_equal  # noqa: E402
from usbif import ivshmem_addresses  # noqa: E402
from vm import VM  # noqa: E402

MIB = 1 << 20
MAGIC = 0x49464955
BACK, FRONT = 1, 2


def identity(size: int, magic: int = MAGIC, version: int = 1,
             roles: tuple[int, ...] = (FRONT, BACK)) -> bytes:
    """struct usbif_ident"""
    return struct.pack("<IIQ8s40x", magic, version, size,
                       bytes(roles).ljust(8, b"\0"))


class Region:
    """Memory, and an ivshmem server for one QEMU at most."""

    def __init__(self, scratch: Path, name: str, start: bytes,
                 size: int = MIB, number: int = 0) -> None:
        self.name = name
        self.path = scratch / name.replace(" ", "-")
        self.number = number
        self.memory = os.memfd_create(name)
        os.ftruncate(self.memory, size)
        # Whatever is written to it would be seen.
        os.pwrite(self.memory, os.urandom(size - len(start)), len(start))
        os.pwrite(self.memory, start, 0)
        self.before = self.digest()
        self.bells = [os.eventfd(0), os.eventfd(0)]
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        sock, _ = self.listener.accept()
        self.sock = sock
        other = 1 - self.number
        for value, fd in ((0, None), (self.number, None), (-1, self.memory),
                          (other, self.bells[other]),
                          (self.number, self.bells[self.number])):
            fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                    array.array("i", [fd]))] if fd is not None else []
            sock.sendmsg([struct.pack("<q", value)], fds)

    def digest(self) -> str:
        """Of all of it."""
        size = os.fstat(self.memory).st_size
        return hashlib.sha256(os.pread(self.memory, size, 0)).hexdigest()

    def args(self) -> list[str]:
        """For QEMU."""
        return ["-chardev", f"socket,path={self.path},id={self.path.name}",
                "-device", "ivshmem-doorbell,vectors=1,"
                f"chardev={self.path.name},id=dev-{self.path.name}"]


def regions(scratch: Path) -> list[Region]:
    """All but the last are wrong in one thing."""
    good = identity(MIB)
    return [
        Region(scratch, "empty", bytes(4096)),
        Region(scratch, "of another program", b"LookingGlass".ljust(64, b"\1")),
        Region(scratch, "wrong magic", identity(MIB, magic=MAGIC + 1)),
        Region(scratch, "wrong version", identity(MIB, version=2)),
        Region(scratch, "version zero", identity(MIB, version=0)),
        Region(scratch, "wrong size", identity(2 * MIB)),
        Region(scratch, "too small", identity(MIB // 2), MIB // 2),
        Region(scratch, "no role", identity(MIB, roles=(0, 0))),
        Region(scratch, "role of another peer", identity(MIB, roles=(0, FRONT))),
        Region(scratch, "unknown role", identity(MIB, roles=(3, BACK))),
        Region(scratch, "alone", identity(MIB, roles=(FRONT, 0))),
        Region(scratch, "two of one role", identity(MIB, roles=(FRONT, FRONT))),
        Region(scratch, "ours", good),
    ]


def bound(vm: VM) -> list[str]:
    """Which module has each ivshmem device, in the order of the devices."""
    return [vm.run(f"basename $(readlink /sys/bus/pci/devices/{address}/driver) "
                   "2>&-", check=False).out.strip()
            for address in ivshmem_addresses(vm)]


def declined(vm: VM, region: Region, driver: str, address: str) -> None:
    """Neither by itself nor when it is told to."""
    result = vm.run(f"/bin/echo {address} > /sys/bus/pci/drivers/{driver}/bind",
                    check=False)
    expect(result.rc != 0 and "No such device" in result.out,
           f"bind said {result.out!r}")
    expect_equal(region.digest(), region.before, "digest of the memory")
    out = vm.run(f"cat /sys/bus/pci/devices/{address}/enable").out.strip()
    expect_equal(out, "0", "the device is enabled")


def unchanged(plain: Path) -> None:
    """The memory of a device of another kind."""
    expect(plain.read_bytes() == identity(MIB).ljust(MIB, b"\7"),
           "the memory has changed")


def main() -> None:
    """One guest with all of them."""
    scratch = Path(tempfile.mkdtemp(prefix="usbif-foreign."))
    try:
        with Suite() as suite:
            for kernel in kernels.SUITES:
                directory = scratch / kernel
                directory.mkdir()
                all_regions = regions(directory)
                plain = directory / "plain"
                plain.write_bytes(identity(MIB).ljust(MIB, b"\7"))
                args = [word for r in all_regions for word in r.args()]
                args += ["-object", "memory-backend-file,id=plain,share=on,"
                         f"mem-path={plain},size={MIB}",
                         "-device", "ivshmem-plain,memdev=plain"]
                vm = suite.vm(VM("foreign", kernel, args=args))
                built = kernels.build(kernel)
                vm.run(f"modprobe usbcore; insmod {built}/usbback.ko; "
                       f"insmod {built}/usbfront.ko")
                addresses = ivshmem_addresses(vm)
                for region, address in zip(all_regions[:-1], addresses):
                    for driver in ("usbback", "usbfront"):
                        suite.case(f"{kernel}: {region.name}, {driver}", declined,
                                   vm, region, driver, address)
                wanted = [""] * (len(all_regions) - 1) + ["usbfront", ""]
                suite.case(f"{kernel}: who has what",
                           lambda: expect_equal(bound(vm), wanted, "drivers"))
                suite.case(f"{kernel}: memory without doorbells", unchanged,
                           plain)
                suite.case(f"{kernel}: modules removed",
                           lambda: vm.run("rmmod usbfront usbback") and None)
                vm.close()
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
