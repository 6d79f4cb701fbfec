# SPDX-License-Identifier: GPL-2.0
"""A driver VM and two guests, joined by nothing but usbctl serve.

        this machine: usbctl serve 1, usbctl serve 2
             |                |                |
      +------+------+  +------+------+  +------+------+
      | driver VM   |  | guest 1     |  | guest 2     |
      | qemu-xhci   |  | usbfront    |  | usbfront    |
      |  usbback ===|==| region 1    |  |             |
      |          ===|==|=============|==| region 2    |
      +-------------+  +-------------+  +-------------+

USB devices of the driver VM (root hubs: bus 1 is USB 2, bus 2 is USB 3):

    2-1    stick with a file system     1-4    serial adapter
    1-2    hub                          2-5    disk of guest 1
    1-2.1  keyboard                     2-6    disk of guest 2
    1-2.3  network adapter              dummy_hcd, vhci_hcd: for testusb
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / d)
                for d in ("demo", "lib")]
import kernels  # noqa: E402
from devices import DRIVERS, Keyboard, Network, Serial, Stick  # noqa: E402
from gadget import child_node  # noqa: E402
from served import Served  # noqa: E402
from tap import expect  # noqa: E402
from usbif import Backend, ivshmem_addresses  # noqa: E402
from vm import VM, Job  # noqa: E402
from workload import verify  # noqa: E402

MIB = 32        # size of the disks
GUESTS = ("1", "2")
RULES = ("2-1:1:0:1", "2-5:1:0:2", "1-2.3:1:0:3",
         "1-4:2:0:1", "1-2.1:2:0:2", "2-6:2:0:3")
DISKS = {"1": 2, "2": 3}        # ports of the guests


class Machines(Served):
    """All of it."""

    def __init__(self, scratch: Path, kernel: str = "6.1") -> None:
        super().__init__(scratch)
        self.kernel = kernel
        self.stick = Stick(scratch)
        self.serial = Serial(scratch)
        self.network = Network(scratch)
        self.keyboard = Keyboard()
        for name in GUESTS:
            with open(scratch / f"disk{name}", "wb") as f:
                f.truncate(MIB << 20)
        self.driver: VM
        self.back: Backend
        self.guests: dict[str, VM] = {}

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: Any) -> None:
        for vm in (getattr(self, "driver", None), *self.guests.values()):
            if vm:
                vm.close()
        for name in GUESTS:
            self.run(f"drop {name}", None)

    # ---- machines

    def start(self) -> None:
        """Servers, the driver VM and the guests; usbif is loaded nowhere."""
        for name in GUESTS:
            self.serve(name)
        self.start_driver()
        for name in GUESTS:
            self.start_guest(name, load=False)

    def start_driver(self) -> VM:
        """Boots the driver VM; nothing is loaded."""
        args = self.stick.args() + self.serial.args() + self.network.args()
        disks = []
        for name in GUESTS:
            args += ["-blockdev", f"driver=file,node-name=file-{name},"
                     f"filename={self.scratch}/disk{name}", "-blockdev",
                     f"driver=raw,node-name=disk-{name},file=file-{name}"]
            disks.append(f"usb-storage,id=disk{name},bus=xhci.0,"
                         f"port={4 + int(name)},drive=disk-{name}")
            args += self.qemu_args(f"--backend {name}")
        self.driver = VM(
            "driver", self.kernel, memory=512, args=args, devices=[
                "qemu-xhci,id=xhci,p2=8,p3=8", self.stick.device(),
                "usb-hub,bus=xhci.0,port=2", self.keyboard.device(),
                self.network.device(),
                self.serial.device().replace("port=2.2", "port=4"), *disks])
        self.back = Backend(self.driver)
        self.driver.run("modprobe -a xhci-pci " + " ".join(DRIVERS))
        return self.driver

    def addresses(self) -> list[str]:
        """PCI addresses of the channels, in the order of GUESTS."""
        return ivshmem_addresses(self.driver)

    def load_back(self, restore: bool = False) -> None:
        """usbback, names, rules; by hand or by what is in /etc/usbif."""
        self.back.load()
        if restore:
            return self.restore_back()
        for address, name in zip(self.addresses(), GUESTS):
            self.driver.run(f"usbctl name {address} {name}")
        for rule in RULES:
            self.back.rule(rule)
        return None

    def write_config(self) -> None:
        """/etc/usbif of the driver VM."""
        names = "".join(f"{a} {n}\\n"
                        for a, n in zip(self.addresses(), GUESTS))
        rules = "\\n".join(RULES)
        self.driver.run("mkdir -p /etc/usbif && "
                        f"printf '{names}' > /etc/usbif/channels && "
                        f"printf '{rules}\\n' > /etc/usbif/rules")

    def restore_back(self) -> None:
        """What a unit does at boot."""
        self.write_config()
        out = self.driver.run("usbctl restore").out
        expect(f"2 channel names, {len(RULES)} rules" in out, out)

    def start_guest(self, name: str, load: bool = True) -> VM:
        """Boots a guest."""
        guest = VM(f"guest{name}", self.kernel, memory=384,
                   args=self.qemu_args(name))
        self.guests[name] = guest
        guest.run("modprobe -a usbcore " + " ".join(DRIVERS))
        if load:
            self.load_front(name)
        return guest

    def load_front(self, name: str) -> None:
        """usbfront."""
        self.guests[name].run(
            f"insmod {kernels.build(self.kernel)}/usbfront.ko")

    def complete(self) -> None:
        """Loads and writes what is missing still, whoever was to do it."""
        if self.driver.run("test -e /sys/module/usbback", check=False).rc:
            self.back.load()
        self.restore_back()
        for name in GUESTS:
            if self.guests[name].run("test -e /sys/module/usbfront",
                                     check=False).rc:
                self.load_front(name)
        self.wait_attached()

    # ---- what is seen

    def wait_attached(self, name: str | None = None, timeout: float = 40) -> None:
        """All devices (of one guest) are where their rules say."""
        for rule in RULES:
            busid, vm = rule.split(":")[:2]
            if name in (None, vm):
                self.back.wait(busid, "attached", timeout)

    def superspeed(self, name: str, port: int) -> str:
        """Bus ID of a port of the USB 3 root hub in a guest."""
        out = self.guests[name].wait_for(
            "for d in /sys/bus/usb/devices/usb*; do "
            "[ $(cat $d/speed) -ge 5000 ] && echo ${d##*usb} && exit 0; "
            "done; exit 1").out
        return f"{out.split()[0]}-{port}"

    def disk(self, name: str, timeout: float = 40) -> str:
        """The guest's own disk."""
        busid = self.superspeed(name, DISKS[name])
        return "/dev/" + child_node(self.guests[name], busid, "block/sd?",
                                    timeout)

    def verify(self, name: str, seconds: int) -> Job:
        """Writes and reads the guest's own disk for that long."""
        return verify(self.guests[name], self.disk(name), MIB, seconds)
