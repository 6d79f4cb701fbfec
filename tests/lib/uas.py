# SPDX-License-Identifier: GPL-2.0
"""A disk that speaks UAS: QEMU's usb-uas, and a file out here behind it.

    from uas import Disk

    disk = Disk(vm, loop, "xhci")       # the controller it is to be plugged into
    disk.plug()                         # with random octets on it
    disk.busid; virtual = disk.route(); disk.image.read_bytes()
    disk.unplug()
"""

from __future__ import annotations

import os
from pathlib import Path

from gadget import find_device
from usbif import Loop
from vm import VM

MIB = 32
SERIAL = "uasdisk"


class Disk:
    """A disk of QEMU."""

    def __init__(self, vm: VM, loop: Loop, bus: str) -> None:
        self.vm = vm
        self.loop = loop
        self.bus = bus
        self.image = Path(vm.share) / "disk.img"
        self.busid = ""

    def plug(self, port: str = "1") -> None:
        """Plug it in, with random octets on it."""
        self.image.write_bytes(os.urandom(MIB << 20))
        self.vm.qmp("blockdev-add", driver="file", node_name="disk",
                    filename=str(self.image))
        self.vm.device_add("usb-uas", id="uas", bus=f"{self.bus}.0",
                           serial=SERIAL, port=port)
        self.vm.device_add("scsi-hd", id="hd", bus="uas.0", drive="disk")
        self.vm.qmp("qom-set", path="/machine/peripheral/uas",
                    property="attached", value=True)
        self.busid = find_device(self.vm, SERIAL)

    def unplug(self) -> None:
        """Pull it out.

        While processors stand still, nothing is under way to or from the image: with
        a request that is, QEMU may end in an assertion of its own (usb_uas_cancel_io:
        "canceled usb packet not found"). What the guest has in flight stays so.
        """
        self.vm.pause()
        self.vm.device_del("uas")
        self.vm.cont()
        # Also on the other side, where the next one would be looked for, too.
        self.vm.wait_for(f"! grep -qx {SERIAL} /sys/bus/usb/devices/*/serial")
        self.vm.qmp("blockdev-del", node_name="disk")

    def route(self) -> str:
        """Give it to the other side; its bus ID there."""
        self.loop.rule(f"{self.busid}:{self.loop.NAME}:0:1")
        self.loop.wait(self.busid, "attached", 30)
        return self.virtual()

    def virtual(self) -> str:
        """Its bus ID on the other side."""
        return find_device(self.vm, SERIAL, 30, other_than=self.busid)

    def driver(self, busid: str) -> str:
        """Who is bound to its interface."""
        return self.vm.run(f"basename $(readlink /sys/bus/usb/devices/{busid}"
                           f"/{busid}:1.0/driver)").out.strip()
