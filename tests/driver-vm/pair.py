# SPDX-License-Identifier: GPL-2.0
"""A driver VM with a USB controller, one guest, and disks to plug in.

    with Pair(scratch, "6.1") as pair:
        pair.start()
        disk = Disk(scratch, "stick", mib=8)
        disk.plug(pair.driver, port=1)
        pair.route(disk.busid(pair.driver), port=1)
        disk.compare(pair.guest)

machines.py has more of them, for who wants guests that disturb each other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from served import Served  # noqa: E402
from tap import expect  # noqa: E402
from usbif import Backend, ivshmem_addresses  # noqa: E402
from vm import VM  # noqa: E402

NAME = "one"
CONTROLLER = "qemu-xhci,id=xhci,p2=8,p3=8"


class Pair:
    """Both machines and the channel between them."""

    def __init__(self, scratch: Path, kernel: str = "6.1") -> None:
        self.kernel = kernel
        self.served = Served(scratch)
        self.driver: VM
        self.guest: VM
        self.back: Backend

    def __enter__(self) -> Pair:
        self.served.serve(NAME)
        return self

    def __exit__(self, *_: Any) -> None:
        for vm in ("guest", "driver"):
            if hasattr(self, vm):
                getattr(self, vm).close()
        self.served.run(f"drop {NAME}", None)

    def start(self, driver: Iterable[str] = (), guest: Iterable[str] = (),
              driver_memory: int = 384, guest_memory: int = 384,
              smp: int = 1) -> None:
        """Boot both, with these further arguments, and join them."""
        self.smp = smp
        self.driver = VM(
            "driver", self.kernel, memory=driver_memory, devices=[CONTROLLER], smp=smp,
            args=[*self.served.qemu_args(f"--backend {NAME}"), *driver])
        self.boot_guest(guest, guest_memory)
        self.load_back()
        self.load_front()

    def boot_guest(self, more: Iterable[str] = (), memory: int = 384,
                   **options: Any) -> None:
        """Boot the guest, with as many processors as the driver VM if nothing else
        is said; nothing is loaded."""
        self.guest = VM("guest", self.kernel, memory=memory,
                        args=[*self.served.qemu_args(NAME), *more],
                        **{"smp": self.smp, **options})

    def load_back(self) -> None:
        """What the driver VM needs after a boot, and the name of its channel."""
        self.back = Backend(self.driver)
        self.driver.run("modprobe -a xhci-pci usb-storage sd_mod")
        self.back.load()
        address, = ivshmem_addresses(self.driver)
        self.driver.run(f"usbctl name {address} {NAME}")

    def load_front(self) -> None:
        """What the guest needs."""
        self.guest.run("modprobe -a usb-storage uas sd_mod && insmod "
                       f"{kernels.build(self.kernel)}/usbfront.ko")

    def route(self, busid: str, port: int) -> None:
        """Give a device to the guest."""
        self.back.rule(f"{busid}:{NAME}:0:{port}")
        self.back.wait(busid, "attached", 30)


class Disk:
    """A USB disk of a VM; its image is a file here."""

    def __init__(self, scratch: Path, name: str, mib: int,
                 random: bool = True) -> None:
        self.name = name
        self.mib = mib
        self.image = scratch / f"{name}.img"
        with open(self.image, "wb") as f:
            f.write(os.urandom(mib << 20) if random else b"")
            f.truncate(mib << 20)

    def plug(self, vm: VM, port: int, uas: bool = False) -> None:
        """Plug it into the controller of a VM."""
        nodes = [n["node-name"] for n in vm.qmp("query-named-block-nodes")]
        if self.name not in nodes:
            vm.qmp("blockdev-add", driver="file", node_name=self.name,
                   filename=str(self.image))
        where = {"bus": "xhci.0", "port": str(port), "serial": self.name}
        if not uas:
            vm.device_add("usb-storage", id=self.name, drive=self.name, **where)
            return
        vm.device_add("usb-uas", id=self.name, **where)
        vm.device_add("scsi-hd", id=f"{self.name}-hd", bus=f"{self.name}.0",
                      drive=self.name)
        vm.qmp("qom-set", path=f"/machine/peripheral/{self.name}",
               property="attached", value=True)

    def pull(self, vm: VM) -> None:
        """Pull it out again."""
        vm.device_del(self.name)

    def busid(self, vm: VM, timeout: float = 20) -> str:
        """Its bus ID in a VM."""
        return find_device(vm, self.name, timeout)

    def node(self, vm: VM, timeout: float = 40) -> str:
        """The block device that a VM has of it, once there is one."""
        return "/dev/" + child_node(vm, self.busid(vm, timeout), "block/sd?",
                                    timeout)

    def wait_gone(self, vm: VM, timeout: float = 30) -> None:
        """Wait until a VM does not see it any more."""
        vm.wait_for(f"! grep -qsx {self.name} /sys/bus/usb/devices/*/serial",
                    timeout)

    def compare(self, vm: VM) -> None:
        """What a VM reads is what is on it, octet by octet."""
        node = self.node(vm)
        vm.run(f"dd if={node} of=/share/{self.name} bs=256k iflag=direct 2>&1",
               120)
        read = (vm.share / self.name).read_bytes()
        (vm.share / self.name).unlink()
        self.same(read, self.image.read_bytes())

    def write(self, vm: VM, kib: int = 1024) -> None:
        """What a VM writes is on it, and nothing else has changed."""
        data = os.urandom(kib << 10)
        wanted = bytearray(self.image.read_bytes())
        at = len(wanted) // 3 // 65536
        wanted[at * 65536:at * 65536 + len(data)] = data
        vm.put("/tmp/new", data)
        vm.run(f"dd if=/tmp/new of={self.node(vm)} bs=64k seek={at} "
               "oflag=direct conv=fsync 2>&1; rm /tmp/new", 60)
        self.same(self.image.read_bytes(), bytes(wanted))

    def same(self, found: bytes, wanted: bytes) -> None:
        """Both are the same, or where they are not."""
        if found != wanted:
            first = next((i for i, (a, b) in enumerate(zip(found, wanted))
                          if a != b), min(len(found), len(wanted)))
            expect(False, f"{self.name}: {len(found)} octets, should be "
                   f"{len(wanted)}; the first that differs is {first}")
