# SPDX-License-Identifier: GPL-2.0
"""USB devices of QEMU, plugged into a VM while it runs.

    vm = VM("host", devices=["qemu-xhci,id=xhci"])
    mouse = Emulated(vm, "mouse", "usb-mouse")
    busid = mouse.source()
    mouse.remove()

    vm = with_image("disks", "6.1", mib=8)      # for a disk, drive="image"

Such a device is found by its serial number, which is its name, as a gadget is.
"""

from __future__ import annotations

import shlex
import tempfile
from typing import Any

from vm import VM


def source(vm: VM, where: str, serial: str) -> str:
    """Bus ID of the device with that serial number below a controller."""
    out = vm.wait_for(
        f"cd {where} && for s in $(find . -name serial -path '*/usb*'); do "
        f"[ \"$(cat $s)\" = {shlex.quote(serial)} ] && d=${{s%/serial}} && "
        "echo ${d##*/} && exit 0; done; exit 1").out
    return out.split()[0]


def with_image(name: str, series: str, mib: int, **options: Any) -> VM:
    """A machine whose controller takes a disk, drive="image", of so many MiB."""
    # QEMU keeps it open.
    with tempfile.NamedTemporaryFile(prefix=f"usbif-{name}.") as image:
        image.truncate(mib << 20)
        return VM(f"{name}-{series}", kernel=series, smp=2,
                  devices=["qemu-xhci,id=xhci,p2=4,p3=4"], args=[
                      "-blockdev", "driver=raw,node-name=image,file.driver="
                      f"file,file.filename={image.name}"], **options)


class Emulated:
    """One device of QEMU on its xHCI controller."""

    def __init__(self, vm: VM, name: str, driver: str, bus: str = "xhci.0",
                 **properties: Any) -> None:
        self.vm = vm
        self.name = name
        vm.device_add(driver, id=name, bus=bus, serial=name, **properties)

    def source(self) -> str:
        """Its bus ID where it really is plugged in."""
        return source(self.vm, "/sys/devices/pci*", self.name)

    def remove(self) -> None:
        """Pull it out, wait until that has been noticed everywhere."""
        self.vm.device_del(self.name)
        self.vm.wait_for(
            f"! grep -qsx {shlex.quote(self.name)} /sys/bus/usb/devices/*/serial")
