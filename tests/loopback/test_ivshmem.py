#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Which ivshmem devices the modules take, and that they leave the others as
they were: regions of many kinds in one guest, served from here.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import mmap
import os
import select
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
from vm import VM  # noqa: E402

SIZE = 1 << 20
IDENT_MAGIC = 0x49464955
BACK_MAGIC = 0x42464955
FRONT_MAGIC = 0x46464955
BACKEND, FRONTEND = 1, 2
BACK_PAGE, FRONT_PAGE = 0x1000, 0x2000
BACK_STATE = BACK_PAGE + 0x80
FRONT_STATE = FRONT_PAGE + 0x14
READY, CONNECT = 1, 1


def identity(roles: dict[int, int], size: int = SIZE, version: int = 1,
             magic: int = IDENT_MAGIC) -> bytes:
    """struct usbif_ident"""
    table = bytes(roles.get(peer, 0) for peer in range(8))
    return struct.pack("<IIQ8s40x", magic, version, size, table)


def back_page(nonce: int) -> bytes:
    """The static part of struct usbif_back_page for a region of SIZE."""
    n = 64
    submissions = 0x4000
    completions = submissions + 2 * n * 128
    pool = completions + 2 * n * 32
    return struct.pack("<IIQIIIIQQQQQIIII40x", BACK_MAGIC, 1, SIZE, n, 2 * n,
                       2 * n, 0x30000, submissions, completions, pool,
                       SIZE - pool, 0, 1, 4, 0, nonce)


class Region:
    """A region, an ivshmem server for it, and the other peer."""

    def __init__(self, directory: str, name: str, peer: int,
                 content: bytes) -> None:
        self.name = name
        self.peer = peer
        self.path = f"{directory}/{name}"
        self.memory = os.memfd_create(name)
        os.ftruncate(self.memory, SIZE)
        self.map = mmap.mmap(self.memory, SIZE)
        self.map[:len(content)] = content
        self.guest_bell = os.eventfd(0)
        self.our_bell = os.eventfd(0)
        self.before = self.digest()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _send(self, number: int, fd: int | None = None) -> None:
        assert self.client
        rights = [] if fd is None else [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.client.sendmsg([struct.pack("<q", number)], rights)

    def _serve(self) -> None:
        self.client, _ = self.listener.accept()
        other = 1 if self.peer != 1 else 0
        self._send(0)                           # version of the protocol
        self._send(self.peer)
        self._send(-1, self.memory)
        self._send(other, self.our_bell)
        self._send(self.peer, self.guest_bell)

    def digest(self) -> str:
        """Of all that is in the region."""
        return hashlib.sha256(self.map[:]).hexdigest()

    def word(self, offset: int) -> int:
        """A word of the region."""
        return struct.unpack_from("<I", self.map, offset)[0]

    def put_word(self, offset: int, value: int) -> None:
        """Write a word."""
        struct.pack_into("<I", self.map, offset, value)

    def ring(self) -> None:
        """Ring the guest."""
        os.eventfd_write(self.guest_bell, 1)

    def rung(self, timeout: float) -> bool:
        """Did the guest ring?"""
        if not select.select([self.our_bell], [], [], timeout)[0]:
            return False
        os.eventfd_read(self.our_bell)
        return True

    def close(self) -> None:
        """Everything goes."""
        if self.client:
            self.client.close()
        self.listener.close()
        self.map.close()
        for fd in (self.memory, self.guest_bell, self.our_bell):
            os.close(fd)


# Name, number of the guest among the peers, what is in the region, who takes it.
REGIONS = [
    ("blank", 0, b"", None),
    ("noise", 0, bytes(range(256)) * 16, None),
    ("frontend", 0, identity({0: FRONTEND, 1: BACKEND}), "usbfront"),
    ("backend", 1, identity({0: FRONTEND, 1: BACKEND}), "usbback"),
    ("other-size", 0, identity({0: FRONTEND, 1: BACKEND}, size=2 * SIZE), None),
    ("other-version", 0, identity({0: FRONTEND, 1: BACKEND}, version=2), None),
    ("other-magic", 0, identity({0: FRONTEND, 1: BACKEND}, magic=1), None),
    ("no-role", 3, identity({0: FRONTEND, 1: BACKEND}), None),
    ("no-backend", 0, identity({0: FRONTEND}), None),
    ("two-frontends", 0, identity({0: FRONTEND, 1: BACKEND, 2: FRONTEND}),
     None),
]
FIRST_SLOT = 0x10


def address(number: int) -> str:
    """PCI address of the device of a region."""
    return f"0000:00:{FIRST_SLOT + number:02x}.0"


def driver(vm: VM, number: int) -> str | None:
    """The driver that has a device."""
    link = f"/sys/bus/pci/devices/{address(number)}/driver"
    result = vm.run(f"readlink {link}", check=False)
    return result.out.strip().rpartition("/")[2] or None


def config(vm: VM, number: int) -> str:
    """Configuration space of a device, and whether it is enabled."""
    path = f"/sys/bus/pci/devices/{address(number)}"
    return vm.run(f"od -An -tx1 {path}/config; cat {path}/enable").out


def check_taken(vm: VM, region: Region, number: int, wanted: str | None,
                before: str) -> None:
    """Who has the device, and what did it do to it?"""
    tap.expect_equal(driver(vm, number), wanted, "driver")
    if wanted:
        return
    tap.expect_equal(region.digest(), region.before, "content")
    tap.expect_equal(config(vm, number), before, "configuration")


def speed(vm: VM) -> None:
    """Emulated memory is as fast as memory: no warning."""
    tap.expect("times slower" not in vm.klog(), "warned of slow memory")


def silent(region: Region) -> None:
    """Without a layout there is nothing to say."""
    tap.expect(not region.rung(2.5), "rang")
    tap.expect_equal(region.digest(), region.before, "content")


def handshake(region: Region) -> None:
    """The backend comes late; the frontend hears it."""
    page = back_page(0x1234567)
    region.map[BACK_PAGE + 4:BACK_PAGE + len(page)] = page[4:]
    region.put_word(BACK_STATE, READY)
    region.put_word(BACK_PAGE, BACK_MAGIC)
    region.ring()
    tap.expect(region.rung(5), "the frontend did not ring")
    tap.expect_equal(region.word(FRONT_PAGE), FRONT_MAGIC, "magic")
    tap.expect_equal(region.word(FRONT_STATE), CONNECT, "state")


def backend_page(region: Region) -> None:
    """The backend wrote its page as the header says."""
    page = region.map[BACK_PAGE:BACK_PAGE + 0x80]
    magic, version, size, n = struct.unpack_from("<IIQI", page)
    tap.expect_equal((magic, version, size, n), (BACK_MAGIC, 1, SIZE, 64))
    tap.expect_equal(region.word(BACK_STATE), READY, "state")


def unload(vm: VM, regions: list[Region]) -> None:
    """Both modules go and leave their devices disabled."""
    vm.run("rmmod usbback && rmmod usbfront")
    for number, (name, _, _, taken) in enumerate(REGIONS):
        enabled = vm.run(
            f"cat /sys/bus/pci/devices/{address(number)}/enable").out.strip()
        tap.expect_equal(enabled, "0", f"enabled after the end: {name}")
        if not taken:
            tap.expect_equal(regions[number].digest(), regions[number].before,
                             name)


def again(vm: VM, modules: Path) -> None:
    """The other module first: the same come to the same."""
    for module in ("usbfront", "usbback"):
        vm.run(f"insmod {modules}/{module}.ko")
    for number, (name, _, _, taken) in enumerate(REGIONS):
        tap.expect_equal(driver(vm, number), taken, name)
    vm.run("rmmod usbfront && rmmod usbback")


def run_all(suite: tap.Suite, kernel: str) -> None:
    """All regions, in one guest."""
    modules = kernels.build(kernel)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        regions = []
        args, devices = [], []
        for number, (name, peer, content, _) in enumerate(REGIONS):
            region = Region(directory, name, peer, content)
            stack.callback(region.close)
            regions.append(region)
            args += ["-chardev", f"socket,path={region.path},id=c{number}"]
            devices.append(f"ivshmem-doorbell,vectors=1,chardev=c{number},"
                           f"addr={FIRST_SLOT + number:#x}")
        vm = stack.enter_context(VM(f"ivshmem-{kernel}", kernel=kernel,
                                    args=args, devices=devices))
        before = [config(vm, number) for number in range(len(regions))]
        vm.run("modprobe usbcore")
        for module in ("usbback", "usbfront"):
            vm.run(f"insmod {modules}/{module}.ko")
        by_name = {region.name: region for region in regions}
        for number, (name, _, _, taken) in enumerate(REGIONS):
            suite.case(f"{kernel}: region {name}: {taken or 'left alone'}",
                       check_taken, vm, regions[number], number, taken,
                       before[number])
        suite.case(f"{kernel}: no warning of slow memory", speed, vm)
        suite.case(f"{kernel}: no bell without a layout", silent,
                   by_name["frontend"])
        suite.case(f"{kernel}: a late backend is heard", handshake,
                   by_name["frontend"])
        suite.case(f"{kernel}: page of the backend", backend_page,
                   by_name["backend"])
        suite.case(f"{kernel}: unload", unload, vm, regions)
        suite.case(f"{kernel}: load in the other order", again, vm, modules)


def main() -> None:
    with tap.Suite() as suite:
        for kernel in kernels.SUITES:
            run_all(suite, kernel)


if __name__ == "__main__":
    main()
