#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The devices the other tests route, without any routing.

What fails here is a fault of the harness, not of the modules; what passes here
has to pass wherever the device is routed to.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import checks  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (Dummies, child_node, find_device,  # noqa: E402
                    load_drivers)
from vm import VM  # noqa: E402


def storage(vm: VM, dummies: Dummies) -> None:
    """A disk shows its image, and a write to it lands there."""
    vm.run("head -c 8M /dev/urandom > /tmp/image")
    disk = dummies.mass_storage("disk", "/tmp/image", speed="super-speed")
    checks.disk(vm, disk.busid(), "/tmp/image")
    node = child_node(vm, disk.busid(), "block/sd?")
    disk.unplug()
    vm.wait_for(f"test ! -e /sys/block/{node}")
    disk.plug()
    child_node(vm, disk.busid(), "block/sd?")
    dummies.remove(disk)


def interrupt(vm: VM, dummies: Dummies) -> str:
    """Reports come back over the interrupt endpoints."""
    echo = dummies.hid_echo("echo")
    node = child_node(vm, echo.busid(), "hidraw/hidraw*")
    out = vm.run(f"{compile_tool('hid_client')} /dev/{node} 200").out
    dummies.remove(echo)
    return out.strip()


def keys(vm: VM, dummies: Dummies) -> None:
    """A pressed key is an input event."""
    keyboard = dummies.keyboard("keys")
    checks.pressed(vm, keyboard.busid(),
                   lambda: dummies.press(keyboard, checks.KEY_A))
    dummies.remove(keyboard)


def serial(vm: VM, dummies: Dummies) -> str:
    """What is written at one end of a serial adapter is read at the other."""
    acm = dummies.acm("serial")
    said = checks.serial(vm, acm.busid(), acm.tty())
    dummies.remove(acm)
    return said


def network(vm: VM, dummies: Dummies) -> str:
    """A network adapter carries packets."""
    ncm = dummies.network("net", "ncm")
    said = checks.network(vm, ncm.busid(), ncm.ifname())
    dummies.remove(ncm)
    return said


def replug(vm: VM, dummies: Dummies) -> None:
    """A gadget goes and comes, at each speed."""
    for speed, wanted in (("full-speed", "12"), ("high-speed", "480"),
                          ("super-speed", "5000")):
        zero = dummies.source_sink("replug", speed=speed)
        busid = zero.busid()
        out = vm.run(f"cat /sys/bus/usb/devices/{busid}/speed").out.strip()
        tap.expect_equal(out, wanted, f"speed of {speed}")
        zero.unplug()
        vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        zero.plug()
        find_device(vm, "replug")
        dummies.remove(zero)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            vm = t.vm(VM(f"bare-{series}", kernel=series))
            dummies = Dummies(vm, 2)
            load_drivers(vm)
            usbtest.prepare(vm)
            zero = dummies.source_sink("zero")
            busid = zero.busid()
            for number, case in usbtest.CASES.items():
                t.case(f"{series}: testusb {number}, {case.name}",
                       usbtest.run, vm, busid, number)
            dummies.remove(zero)
            for function in (replug, storage, interrupt, keys, serial,
                             network):
                t.case(f"{series}: {function.__name__}", function, vm,
                       dummies)
                dummies.clear()
            t.case(f"{series}: all can be removed", dummies.close)
            vm.close()


if __name__ == "__main__":
    main()
