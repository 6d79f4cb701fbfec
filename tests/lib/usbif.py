# SPDX-License-Identifier: GPL-2.0
"""What a user of usbif does on a machine: load, write rules, look at states.

    from usbif import Backend, Loop

    back = Backend(vm)              # usbback in that VM
    back.load()
    back.rule("1-1:vm1:0:1"); back.wait("1-1", "attached"); back.vports()
    back.refused("1-1:vm1:0", errno="Invalid argument", log="port")

    loop = Loop(vm)                 # both modules of one kernel, joined
    loop.load()
    busid = loop.attach(gadget, port=3)     # its bus ID on the virtual side
    loop.detach(gadget)

    vm.run(f"usbctl name {ivshmem_addresses(vm)[0]} vm1")

    class Cases(LoopCases):         # vm, loop, dummies, clear()
        def case(self): ...
    cases.settles(cases.case)       # a case, and what holds after each fault

Where a gadget is meant, a device of emulated.py will do.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Callable

import kernels
import tap
from emulated import Emulated
from faulted import settled
from gadget import Dummies, Gadget, find_device
from nested import usbctl_binary
from vm import VM

SYSFS = "/sys/bus/usb/drivers/usbback"
# Where programs that say so use a device: also without us in a long run only.
SIDES = ("bare", "ring") if tap.LONG else ("ring",)


def ivshmem_addresses(vm: VM) -> list[str]:
    """PCI addresses of the shared memory devices of a VM, lowest first."""
    out = vm.run("grep -l 0x1110 /sys/bus/pci/devices/*/device").out
    return sorted(path.split("/")[5] for path in out.split())


class Backend:
    """usbback in a VM."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.modules = kernels.build(vm.kernel)
        vm.run(f"install -D {usbctl_binary()} /usr/local/bin/usbctl")

    def clear(self) -> None:
        """Remove all rules; the devices are back when this returns."""
        self.vm.run(f"cut -d: -f1 {SYSFS}/vports | while read -r busid; do "
                    f"echo $busid > {SYSFS}/remove_vport; done")
        self.vm.wait_for(f"test -z \"$(cat {SYSFS}/grabbed_devices)\"", 60)

    def load(self) -> None:
        """Load usbback."""
        self.vm.run(f"modprobe usbcore && insmod {self.modules}/usbback.ko")

    def unload(self) -> None:
        """Remove usbback."""
        self.vm.run("rmmod usbback")

    def write(self, name: str, text: str) -> None:
        """Write one command to a file in sysfs."""
        self.vm.run(f"echo {shlex.quote(text)} > {SYSFS}/{name}")

    def rule(self, text: str) -> None:
        """Add a rule."""
        self.write("new_vport", text)

    def remove(self, text: str) -> None:
        """Remove a rule."""
        self.write("remove_vport", text)

    def vports(self) -> dict[str, str]:
        """State (and reason) of every rule, by bus ID."""
        out = self.vm.run(f"cat {SYSFS}/vports").out
        states = {}
        for line in out.splitlines():
            rule, _, state = line.partition(" ")
            states[rule.split(":")[0]] = state
        return states

    def wait(self, busid: str, state: str, timeout: float = 10) -> None:
        """Wait until the rule of a bus ID is in a state."""
        self.vm.wait_for(f"grep -q '^{busid}:[^ ]* {state}' {SYSFS}/vports "
                         f"|| {{ cat {SYSFS}/vports; false; }}", timeout)

    def refused(self, name: str, text: str, error: str, log: str) -> None:
        """A write has to fail with that error and say why in the log."""
        since = self.vm.mark()
        result = self.vm.run(f"/bin/echo {shlex.quote(text)} > {SYSFS}/{name}",
                             check=False)
        tap.expect(result.rc != 0, f"'{text}' was accepted by {name}")
        tap.expect(error in result.out, f"'{text}' in {name}: {result.out}")
        line = self.vm.wait_log(rf"usbback: {name}.*", 5, since)[0]
        tap.expect(re.search(log, line), f"/{log}/ is not in '{line}'")


class Loop(Backend):
    """usbback and usbfront of one kernel, joined by usbctl loop."""

    NAME = "loop"

    def load(self) -> None:
        """Load both modules and join them."""
        super().load()
        self.vm.run(f"insmod {self.modules}/usbfront.ko")
        self.join()

    def join(self) -> None:
        """Make the channel between them; there are virtual ports then."""
        self.vm.run(f"usbctl loop {self.NAME}", timeout=20)

    def attach(self, gadget: Gadget | Emulated, port: int = 1, vusb: int = 0,
               timeout: float = 20) -> str:
        """Route a gadget to a port, return its bus ID there."""
        return self.route(self.source(gadget), gadget.name, port, vusb,
                          timeout)

    def route(self, busid: str, serial: str, port: int, vusb: int = 0,
              timeout: float = 20) -> str:
        """The same for any device, whose serial number is given."""
        self.rule(f"{busid}:{self.NAME}:{vusb}:{port}")
        self.wait(busid, "attached")
        return find_device(self.vm, serial, timeout, other_than=busid)

    def source(self, gadget: Gadget | Emulated) -> str:
        """Bus ID of a gadget where it really is plugged in."""
        return gadget.source()

    def virtual(self, gadget: Gadget | Emulated, timeout: float = 20) -> str:
        """Bus ID of a gadget behind the virtual controller."""
        return find_device(self.vm, gadget.name, timeout,
                           other_than=self.source(gadget))

    def detach(self, gadget: Gadget | Emulated) -> None:
        """Take the rule of a gadget away, wait until the host has it back."""
        busid = self.source(gadget)
        self.remove(busid)
        self.vm.wait_for(f"! grep -q '^{busid} ' {SYSFS}/grabbed_devices && "
                         f"! readlink /sys/bus/usb/devices/{busid}/driver | "
                         "grep -q usbback")


class LoopCases:
    """Cases with gadgets and a loop, and what they have in common."""

    def __init__(self, vm: VM, loop: Loop, dummies: Dummies) -> None:
        self.vm = vm
        self.loop = loop
        self.dummies = dummies

    def clear(self) -> None:
        """No rules, no devices: what every case begins with."""
        self.loop.clear()
        self.dummies.clear()

    def settles(self, case: Callable[..., str | None], *args: Any) -> str | None:
        """Run a case; then nothing is in flight, and both ends agree on the devices."""
        told = case(*args)
        settled(self.vm)
        return told
