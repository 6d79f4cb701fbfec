#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Gadgets of one kernel, routed from its usbback to its usbfront.

What test_bare.py does with the devices themselves is done with them here, on
the far side of the ring; test_testusb.py has what usbtest does.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import checks  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from faulted import DEBUG  # noqa: E402
from gadget import (Dummies, child_node, find_device,  # noqa: E402
                    load_drivers)
from usbif import SYSFS, Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

# In Documentation/reliability.rst.
FAULTS = {"front_under_load": ", F30", "in_use": ", F52", "interrupt": ", F72",
          "serial": ", F73", "network": ", F73"}
SPEEDS = {"full-speed": "12", "high-speed": "480", "super-speed": "5000"}


class Cases(LoopCases):
    """The cases, with what they need."""

    def speeds(self) -> None:
        """Each speed is the same on the far side."""
        for number, (speed, wanted) in enumerate(SPEEDS.items(), 1):
            zero = self.dummies.source_sink("zero", speed=speed)
            busid = self.loop.attach(zero, number)
            out = self.vm.run(f"cd /sys/bus/usb/devices/{busid}; "
                              "cat speed idVendor product").out.split("\n")
            tap.expect_equal(out[:3], [wanted, "0525", "usbif test zero"])
            self.loop.detach(zero)
            self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
            self.dummies.remove(zero)

    def storage(self) -> str:
        """A disk shows its image, and a write to it lands there."""
        self.vm.run("head -c 16M /dev/urandom > /tmp/image")
        disk = self.dummies.mass_storage("disk", "/tmp/image",
                                         speed="super-speed")
        return checks.disk(self.vm, self.loop.attach(disk, 4), "/tmp/image",
                           (("1M", 16), ("4k", 64), ("512", 64)))

    def interrupt(self) -> str:
        """Reports come back over the interrupt endpoints."""
        echo = self.dummies.hid_echo("echo")
        busid = self.loop.attach(echo, 5)
        node = child_node(self.vm, busid, "hidraw/hidraw*")
        return self.vm.run(f"{compile_tool('hid_client')} /dev/{node} "
                           f"{tap.scaled(200, 2000)}", 120).out.strip()

    def keys(self) -> None:
        """A pressed key is an input event."""
        keyboard = self.dummies.keyboard("keys")
        checks.pressed(self.vm, self.loop.attach(keyboard, 6),
                       lambda: self.dummies.press(keyboard, checks.KEY_A))

    def serial(self) -> str:
        """A serial adapter carries octets in both directions."""
        acm = self.dummies.acm("serial")
        return checks.serial(self.vm, self.loop.attach(acm, 7), acm.tty())

    def network(self) -> str:
        """A network adapter carries packets."""
        ncm = self.dummies.network("net", "ncm")
        return checks.network(self.vm, self.loop.attach(ncm, 8), ncm.ifname())

    def replug(self) -> None:
        """A rule holds before the device is there and after it has gone."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.source(zero)
        zero.unplug()
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        self.loop.rule(f"{busid}:{self.loop.NAME}:0:9")
        tap.expect_equal(self.loop.vports(), {busid: "waiting-device"})
        for _ in range(tap.scaled(3, 20)):
            zero.plug()
            self.loop.wait(busid, "attached")
            virtual = self.loop.virtual(zero)
            zero.unplug()
            self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{virtual}")
            self.loop.wait(busid, "waiting-device")
        zero.plug()
        usbtest.run(self.vm, self.loop.virtual(zero), 1)

    def hands_back(self) -> None:
        """The driver that had the device has it again, without replugging."""
        disk = self.disk()
        busid = self.loop.source(disk)
        child_node(self.vm, busid, "block/sd?")
        virtual = self.loop.attach(disk, 10)
        child_node(self.vm, virtual, "block/sd?")
        self.loop.detach(disk)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{virtual}")
        node = child_node(self.vm, busid, "block/sd?")
        self.vm.run(f"cmp /dev/{node} /tmp/image")

    def disk(self):
        """A small disk in a free socket."""
        self.vm.run("head -c 2M /dev/urandom > /tmp/image")
        return self.dummies.mass_storage("disk", "/tmp/image")

    def in_use(self) -> None:
        """A mounted disk is refused with a reason, unless forced."""
        disk = self.disk()
        busid = self.loop.source(disk)
        node = child_node(self.vm, busid, "block/sd?")
        self.vm.run(f"mkfs.vfat /dev/{node} && modprobe vfat && "
                    f"mount /dev/{node} /mnt")
        self.loop.refused("new_vport", f"{busid}:loop:0:1", "busy", node)
        tap.expect_equal(self.loop.vports(), {})
        self.vm.run("umount /mnt")
        self.loop.rule(f"{busid}:loop:0:1")
        self.loop.wait(busid, "attached")

    def malformed(self) -> None:
        """What is no rule is refused, and the log says which field."""
        for text, field in (("1-1:loop:0", "fields"),
                            ("1-1:loop:0:0", "port"),
                            ("1-1:loop:0:16", "port"),
                            ("1-1:loop:x:1", "controller"),
                            ("1-1:" + "v" * 32 + ":0:1", "VM"),
                            ("1-1::0:1", "VM"), ("1-1:a/b:0:1", "VM"),
                            ("usb1:loop:0:1", "bus ID"), ("", "bus ID"),
                            ("1-1:loop:0:1:now", "force")):
            self.loop.refused("new_vport", text, "Invalid argument", field)
        self.loop.rule("99-1:loop:0:1")
        self.loop.refused("new_vport", "99-2:loop:0:1", "busy", "99-1")
        self.loop.refused("remove_vport", "99-3", "No such file", "99-3")
        for rule in ("1-2.3:1:0:3", "1-4:2:0:1", "1-2.1:2:0:2"):
            self.loop.rule(rule)
        tap.expect_equal(self.loop.vports(), {
            busid: "waiting-device"
            for busid in ("99-1", "1-2.3", "1-4", "1-2.1")})

    def own_controller(self) -> None:
        """A device on our own virtual controller is not routed again."""
        zero = self.dummies.source_sink("zero")
        virtual = self.loop.attach(zero, 11)
        self.loop.rule(f"{virtual}:other:0:1")
        self.loop.wait(virtual, "refused")
        usbtest.run(self.vm, virtual, 1)

    def second_controller(self) -> None:
        """A device on another controller, beside one on the first."""
        first, second = (self.dummies.source_sink(name)
                         for name in ("first", "second"))
        busids = [self.loop.attach(first, 1),
                  self.loop.attach(second, 1, vusb=1)]
        out = self.vm.run("cat /sys/bus/usb/devices/usb*/product").out
        for number in (0, 1):
            tap.expect_equal(out.count(f"(vusb {number})"), 2, "root hubs")
        jobs = [self.vm.spawn(usbtest.command(busid, 27, 5))
                for busid in busids]
        for job in jobs:
            job.wait(60, check=True)

    def no_addresses(self) -> None:
        """No file of ours, and no line of the log, has an address of the kernel."""
        usbtest.run(self.vm, self.loop.attach(self.dummies.source_sink("zero"), 3), 1)
        told = self.vm.run(f"head -v -c 64k $(find {DEBUG}/usbback {DEBUG}/usbfront {SYSFS} "
                           "-type f -perm -400) 2>&1; dmesg | grep usb").out
        tap.expect("attached" in told and "sq: cons" in told, told)
        tap.expect_equal(re.findall(r"\n.*\bf{4}[89a-f][0-9a-f]{11}\b.*", told), [])

    def rule_under_load(self) -> None:
        """A rule can be removed while its device transfers."""
        zero = self.dummies.source_sink("zero")
        for number in (27, 28):
            busid = self.loop.attach(zero, 2)
            load = self.vm.spawn(usbtest.command(busid, number, 10000))
            self.vm.wait_for(f"dmesg | tail -3 | grep -q 'TEST {number}'")
            self.loop.detach(zero)
            tap.expect(load.wait(10) != 137, "the load had to be killed")
            self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
            usbtest.run(self.vm, self.loop.source(zero), 1)

    def front_under_load(self) -> None:
        """usbfront can be removed while it transfers, and comes back."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, 13)
        load = self.vm.spawn(usbtest.command(busid, 27, 10000))
        self.vm.wait_for("dmesg | tail -3 | grep -q 'TEST 27'")
        self.vm.run("rmmod usbfront", 20)
        tap.expect(load.wait(20) != 137, "the load had to be killed")
        self.loop.wait(self.loop.source(zero), "waiting-guest")
        self.vm.run(f"usbctl drop {self.loop.NAME}; "
                    f"insmod {self.loop.modules}/usbfront.ko", 20)
        self.loop.join()
        usbtest.run(self.vm, self.loop.virtual(zero), 1)

    def back_under_load(self) -> None:
        """usbback can be removed while it transfers."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, 14)
        load = self.vm.spawn(usbtest.command(busid, 28, 10000))
        self.vm.wait_for("dmesg | tail -3 | grep -q 'TEST 28'")
        self.vm.run("rmmod usbback", 20)
        load.wait(20)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        usbtest.run(self.vm, find_device(self.vm, "zero"), 1)
        self.vm.run("rmmod usbfront", 20)


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"loop-{series}", kernel=series, smp=2))
    loop = Loop(vm)
    loop.load()
    t.case(f"{series}: modules are loaded and joined", vm.run,
           "usbctl status loop")
    load_drivers(vm)
    usbtest.prepare(vm)
    cases = Cases(vm, loop, Dummies(vm, 4))
    for function in (cases.speeds, cases.storage, cases.interrupt, cases.keys,
                     cases.serial, cases.network, cases.replug,
                     cases.hands_back, cases.in_use, cases.malformed,
                     cases.own_controller, cases.second_controller, cases.no_addresses,
                     cases.rule_under_load, cases.front_under_load):
        t.case(f"{series}: {function.__name__}"
               f"{FAULTS.get(function.__name__, '')}",
               *([cases.settles] if function == cases.front_under_load else []), function)
        cases.clear()
    t.case(f"{series}: back_under_load", cases.back_under_load)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            run(t, series)


if __name__ == "__main__":
    main()
