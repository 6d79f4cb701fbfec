#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The devices the other tests route, without any routing.

What fails here is a fault of the harness, not of the modules; what passes here
has to pass wherever the device is routed to.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (Dummies, child_node, find_device,  # noqa: E402
                    load_drivers, wait_opened)
from vm import VM  # noqa: E402


def storage(vm: VM, dummies: Dummies) -> None:
    """A disk shows its image, and a write to it lands there."""
    vm.run("head -c 8M /dev/urandom > /tmp/image")
    disk = dummies.mass_storage("disk", "/tmp/image", speed="super-speed")
    node = child_node(vm, disk.busid(), "block/sd?")
    vm.run(f"cmp /dev/{node} /tmp/image && "
           f"head -c 1M /dev/urandom > /tmp/piece && "
           f"dd if=/tmp/piece of=/dev/{node} bs=1M seek=3 oflag=direct && "
           "tail -c +3145729 /tmp/image | head -c 1M | cmp - /tmp/piece")
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
    node = child_node(vm, keyboard.busid(), "input/input*/event*")
    reader = vm.spawn(f"head -c 24 /dev/input/{node} | wc -c")
    wait_opened(vm, f"/dev/input/{node}")
    dummies.press(keyboard, 0x04)
    tap.expect_equal(reader.wait(10), 0)
    tap.expect_equal(reader.output().strip(), "24", "size of an event")
    dummies.remove(keyboard)


def serial(vm: VM, dummies: Dummies) -> None:
    """What is written at one end of a serial adapter is read at the other."""
    acm = dummies.acm("serial")
    node = child_node(vm, acm.busid(), "tty/ttyACM*")
    vm.run(f"stty -F /dev/{node} raw -echo; stty -F {acm.tty()} raw -echo")
    reader = vm.spawn(f"head -c 10000 {acm.tty()} | sha256sum")
    wait_opened(vm, acm.tty())
    wanted = vm.run("head -c 10000 /dev/urandom > /tmp/bytes; "
                    f"cat /tmp/bytes > /dev/{node}; sha256sum < /tmp/bytes")
    tap.expect_equal(reader.wait(10), 0)
    tap.expect_equal(reader.output(), wanted.out, "checksum")
    dummies.remove(acm)


def network(vm: VM, dummies: Dummies) -> None:
    """A network adapter carries packets."""
    ncm = dummies.ncm("net")
    node = child_node(vm, ncm.busid(), "net/*")
    far = vm.run(f"cat {ncm.dir}/functions/ncm.net/ifname").out.strip()
    vm.run(f"""set -e
        ip netns add far; ip link set {far} netns far
        ip -n far addr add 10.9.9.2/24 dev {far}; ip -n far link set {far} up
        ip addr add 10.9.9.1/24 dev {node}; ip link set {node} up""")
    vm.wait_for("busybox ping -c 1 -W 1 -s 1400 10.9.9.2")
    vm.run("ip netns del far")
    dummies.remove(ncm)


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
        for series in kernels.SUITES:
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
