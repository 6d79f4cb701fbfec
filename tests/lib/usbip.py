# SPDX-License-Identifier: GPL-2.0
"""Devices of our own: emulators behind the stock vhci_hcd.

    from usbip import Emulated, Iso, route

    prepare(vm)                             # once for each VM
    iso = Iso(vm, "iso", "high")            # plugged in
    other = Emulated(vm, "usbip_camera", "camera", "super", port=1)
    busid = iso.busid()                     # on vhci_hcd
    virtual = route(loop, iso, port=3)      # on our controller
    iso.unplug(); iso.plug()

dummy_hcd and usbip-vudc have no isochronous transfers, and what QEMU emulates
has few kinds of them.  tests/tools/usbip_device.h tells what the devices have in
common, the head of tests/tools/usbip_NAME.c what one does.
"""

from __future__ import annotations

import struct
from pathlib import Path

from cache import TREE, compile_tool
from stockusbip import imported
from usbif import Loop
from vm import VM, VMTimeout

# Octets of an isochronous packet and Mbit/s as sysfs tells it, by speed.
PACKET = {"full": 1023, "high": 3 * 1024, "super": 16 * 3 * 1024}
SPEED = {"full": "12", "high": "480", "super": "5000"}
COUNTS = ("in_packets in_lost in_late in_skips out_packets out_lost out_late "
          "out_bad out_gaps max_packets cancelled late").split()


def prepare(vm: VM) -> None:
    """Load the controller that the devices are behind."""
    vm.run("modprobe vhci-hcd && modprobe usbtest")


def compile_device(program: str) -> Path:
    """Build the emulator tests/tools/PROGRAM.c."""
    tools = TREE / "tests" / "tools"
    return compile_tool(program, also=[tools / "usbip_device.c"],
                        watch=list(tools.glob("*.h")))


class Emulated:
    """One emulated device."""

    def __init__(self, vm: VM, program: str, name: str, speed: str,
                 port: int = 0, more: str = "") -> None:
        self.vm = vm
        self.name = name
        self.speed = speed
        # The ports of its USB 3 root hub come after those of the other.
        port += 8 if speed == "super" else 0
        self.command = (f"exec {compile_device(program)} {speed} {name} "
                        f"{port} {more}")
        self.plug()

    def plug(self) -> None:
        """Put the device into its socket."""
        self.job = self.vm.spawn(self.command)

    def unplug(self) -> None:
        """Pull it out."""
        self.job.kill(9)
        self.job.wait(10)

    def remove(self) -> None:
        """Pull it out, wait until nobody has it any more."""
        self.unplug()
        self.vm.wait_for("! grep -qx '" + self.name + "' "
                         "/sys/bus/usb/devices/*/serial 2>/dev/null")

    def busid(self) -> str:
        """Its bus ID, where it really is plugged in."""
        try:
            return imported(self.vm, self.name)
        except VMTimeout as error:
            raise AssertionError(f"{self.name} is on no port: "
                                 f"{self.job.output()}") from error


class Iso(Emulated):
    """The device that usbtest and usb_iso want."""

    def __init__(self, vm: VM, name: str, speed: str, port: int = 0,
                 packet: int = 0) -> None:
        self.packet = packet or PACKET[speed]
        super().__init__(vm, "usbip_iso", name, speed, port,
                         str(packet or ""))


def route(loop: Loop, device: Emulated, port: int) -> str:
    """Route a device to a port, return its bus ID there."""
    return loop.route(device.busid(), device.name, port)


def clear(loop: Loop, device: Emulated) -> None:
    """Take everything off the ring and pull the device out."""
    for busid in loop.vports():
        loop.remove(busid)
    device.remove()


def counts(data: bytes) -> dict[str, int]:
    """What the device has counted, by name."""
    return dict(zip(COUNTS, struct.unpack(f"<{len(COUNTS)}I", data)))
