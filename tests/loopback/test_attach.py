#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Rules with guests at the other end: who has a device when.

Two channels of the loopback stand for two guests.
"""

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
from emulated import Emulated  # noqa: E402
from faulted import settled, tool  # noqa: E402
from gadget import (Dummies, Gadget, child_node, device_node,  # noqa: E402
                    find_device, load_drivers)
from usbif import Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

# Tries what a program of the host could do to a device behind our back.
INTRUDER = """
import errno, fcntl, os, struct, sys
CLAIM, SETCONFIG = 0x8004550f, 0x80045505
f = os.open(sys.argv[1], os.O_RDWR)
for request, value in ((CLAIM, 0), (SETCONFIG, 1)):
    try:
        fcntl.ioctl(f, request, struct.pack("I", value))
    except OSError as e:
        print(errno.errorcode[e.errno])
    else:
        print("done")
"""

# Of the ways in which tests/tools/malformed.h spoils descriptors, those of a short run;
# the debug kernel has all of them, where it has the case at all.
FEW_WAYS = (7, 38)
EVERY_WAY = tap.LONG or kernels.DEBUG in kernels.SUITES


class Malformed(usbip.Emulated):
    """The device of tests/tools/usbip_faulty.c, with descriptors that cannot be."""

    way = 0

    def __init__(self, vm: VM, speed: str) -> None:
        super().__init__(vm, "usbip_faulty", "faulty", speed)

    def plug(self) -> None:
        self.job = self.vm.spawn(f"{self.command} 1 {self.way}")


class Cases(LoopCases):
    """The cases, with what they need."""

    def disk(self, name: str = "disk") -> Gadget:
        """A disk with random content in /tmp/image."""
        self.vm.run("head -c 8M /dev/urandom > /tmp/image")
        return self.dummies.mass_storage(name, "/tmp/image")

    def driver(self, busid: str) -> str:
        """Driver of a device or interface."""
        out = self.vm.run(f"readlink /sys/bus/usb/devices/{busid}/driver",
                          check=False).out
        return out.strip().rsplit("/", 1)[-1]

    def where(self, gadget: Gadget) -> str:
        """Controller and root port of the virtual side."""
        busid = self.loop.virtual(gadget)
        return self.vm.run(f"readlink -f /sys/bus/usb/devices/{busid}").out

    def own_bus(self) -> None:
        """A device on a virtual controller is refused, and so is its port."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, 1)
        bus = busid.split("-")[0]
        for rule in (f"{busid}:loop:0:2", f"{bus}-7:loop:0:7"):
            self.loop.rule(rule)
            self.loop.wait(rule.split(":")[0],
                           "refused is on a virtual controller of usbfront")
        tap.expect_equal(self.driver(busid), "usb", "driver")
        self.loop.wait(self.loop.source(zero), "attached")

    def moved(self) -> None:
        """A move takes the device from one guest to the other, and back."""
        disk = self.disk()
        source = self.loop.source(disk)
        self.loop.attach(disk, 3)
        first = self.where(disk)
        mark = self.vm.mark()
        for name, vport in (("other", "other:0:5"), ("loop", "loop:0:3")):
            self.loop.write("move_vport", f"{source}:{vport}")
            self.vm.wait_log(f"{source}: on port {vport}", since=mark)
            self.loop.wait(source, "attached")
            self.vm.wait_for("test -e /sys/block/sd?")
            node = child_node(self.vm, self.loop.virtual(disk), "block/sd?")
            self.vm.run(f"cmp /dev/{node} /tmp/image")
            path = self.where(disk)
            tap.expect((path == first) == (name == "loop"),
                       f"it is at {path} after the move to {name}")
        tap.expect(f"usb-storage {source}:" not in self.vm.klog(mark),
                   "the host had it in between")

    def intruder(self) -> None:
        """Programs of the host keep out of a device that a guest uses."""
        disk = self.disk()
        busid = self.loop.attach(disk, 2)
        child_node(self.vm, busid, "block/sd?")
        self.vm.put("/tmp/intruder.py", INTRUDER.encode())
        node = device_node(self.vm, self.loop.source(disk))
        out = self.vm.run(f"/usr/bin/python3 /tmp/intruder.py {node}").out
        tap.expect_equal(out.split(), ["EBUSY", "EBUSY"], "answers")

    def authorized(self) -> None:
        """A device that is no longer authorized goes, and comes again."""
        disk = self.disk()
        source = self.loop.source(disk)
        busid = self.loop.attach(disk, 2)
        child_node(self.vm, busid, "block/sd?")
        node = f"/sys/bus/usb/devices/{source}/authorized"
        self.vm.run(f"echo 0 > {node}")
        self.loop.wait(source, "refused is not authorized on the host")
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        self.vm.run(f"echo 1 > {node}")
        child_node(self.vm, self.loop.attach(disk, 2), "block/sd?")

    def became_hub(self) -> None:
        """A guest's device that comes back as a hub is not the host's for that."""
        busid = Emulated(self.vm, "mouse", "usb-mouse", port="1").source()
        self.loop.rule(f"{busid}:loop:0:6")
        self.loop.wait(busid, "attached")
        self.vm.device_del("mouse")
        self.vm.device_add("usb-hub", id="hub", bus="xhci.0", port="1")
        self.vm.device_add("usb-kbd", id="behind", bus="xhci.0", port="1.1")
        self.loop.wait(busid, "refused is a hub, where a guest had its device")
        self.vm.run(f"sleep 1; cd /sys/bus/usb/devices; test -e {busid} && "
                    f"test ! -e {busid}:1.0 && test ! -e {busid}.1")
        self.loop.remove(busid)
        self.vm.wait_for(f"test -e /sys/bus/usb/devices/{busid}.1", 20)
        self.vm.device_del("hub")

    def back(self) -> None:
        """The host gets the device as new, also in the middle of a transfer."""
        disk = self.disk()
        source = self.loop.source(disk)
        busid = self.loop.attach(disk, 4)
        node = child_node(self.vm, busid, "block/sd?")
        reader = self.vm.spawn(f"while cat /dev/{node} > /dev/null; do :; done; "
                               "exit 3")
        self.vm.run("sleep 0.3")
        self.loop.detach(disk)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        tap.expect_equal(reader.wait(10), 3, "the reader's end")
        node = child_node(self.vm, source, "block/sd?")
        self.vm.run(f"cmp /dev/{node} /tmp/image")

    def reloaded(self) -> None:
        """The rule waits while the guest has no driver."""
        disk = self.disk()
        source = self.loop.source(disk)
        self.loop.attach(disk, 4)
        self.vm.run("rmmod usbfront")
        self.loop.wait(source, "waiting-guest")
        tap.expect_equal(self.driver(source), "usbback", "driver")
        disk.unplug()
        self.loop.wait(source, "waiting-device")
        disk.plug()
        self.loop.wait(source, "waiting-guest")
        self.vm.run(f"insmod {self.loop.modules}/usbfront.ko && "
                    "usbctl drop loop && usbctl drop other && "
                    "usbctl loop loop && usbctl loop other", timeout=30)
        self.loop.wait(source, "attached")
        child_node(self.vm, self.loop.virtual(disk), "block/sd?")
        settled(self.vm)

    def unloaded(self) -> None:
        """Removing usbback hands the device back, and both come again."""
        disk = self.disk()
        source = self.loop.source(disk)
        busid = self.loop.attach(disk, 4)
        node = child_node(self.vm, busid, "block/sd?")
        reader = self.vm.spawn(f"while cat /dev/{node} > /dev/null; do :; done; "
                               "exit 3")
        self.vm.run("sleep 0.3")
        self.loop.unload()
        tap.expect_equal(reader.wait(10), 3, "the reader's end")
        node = child_node(self.vm, source, "block/sd?")
        self.vm.run(f"cmp /dev/{node} /tmp/image")

    # ---- hostile devices

    def malformed(self) -> str:
        """Descriptors that cannot be: the host refuses the device, or the guest does, or
        nobody; nothing else happens, and the next one in its place works."""
        usbip.prepare(self.vm)
        out = self.vm.run(f"{usbip.compile_device('usbip_faulty')} malformed").out
        refused: dict[str, list[str]] = {}
        for speed, port in (("high", 3), ("super", 4)):
            device = Malformed(self.vm, speed)
            source = device.busid()
            busid = usbip.route(self.loop, device, port)
            for way, what in re.findall(rf"^(\d+) {speed} (.*)$", out, re.M):
                if EVERY_WAY or int(way) in FEW_WAYS:
                    self.exchange(device, source, int(way))
                    refused.setdefault(self.refusal(source, busid), []).append(way)
                    self.exchange(device, source, 0)
                    self.loop.wait(source, "attached", 20)
                    node = device_node(self.vm, find_device(
                        self.vm, device.name, 20, other_than=source))
                    counts = self.vm.run(f"{tool('faulty')} {node} 0 counts").out
                    tap.expect_equal(counts.strip(), "generation 1 own 0 foreign 0", what)
            usbip.clear(self.loop, device)
        return "; ".join(f"refused by {who}: {' '.join(ways)}"
                         for who, ways in refused.items())

    def exchange(self, device: Malformed, source: str, way: int) -> None:
        """Pull the plug, until that was seen at both ends; plug in another one."""
        device.unplug()
        self.loop.wait(source, "waiting-device", 20)
        settled(self.vm)
        device.way, self.since = way, self.vm.mark()
        device.plug()

    def refusal(self, source: str, busid: str) -> str:
        """Who refuses a device; what vports says is true."""
        gives_up = r"usb usb{}-port{}: unable to enumerate USB device"
        here, there = (re.compile(gives_up.format(*b.split("-"))) for b in (source, busid))
        for _ in range(300):
            state, log = self.loop.vports()[source], self.vm.klog(self.since)
            if state == "waiting-device" and here.search(log):
                self.vm.run(f"test ! -e /sys/bus/usb/devices/{source}")
                return "the host"
            if state == "attached" and there.search(log):
                tap.expect_equal(self.driver(source), "usbback", "driver")
                return "the guest"
            if state == "attached" and self.driver(busid) == "usb":
                return "nobody"
            time.sleep(0.1)
        raise AssertionError(f"{state}: {log}")


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            vm = t.vm(VM("attach", kernel=series, memory=512,
                         devices=["qemu-xhci,id=xhci"]))
            load_drivers(vm)
            dummies = Dummies(vm, 2)
            loop = Loop(vm)
            loop.load()
            vm.run("usbctl loop other", timeout=20)
            cases = Cases(vm, loop, dummies)

            def fresh(case: str) -> object:
                cases.clear()
                return getattr(cases, case)()

            for name, case in (
                    ("virtual controllers are refused", "own_bus"),
                    ("moved between guests", "moved"),
                    ("host programs keep out", "intruder"),
                    ("authorization withdrawn", "authorized"),
                    ("a device that becomes a hub", "became_hub"),
                    ("back to the host", "back"),
                    ("hostile device: malformed descriptors, H105", "malformed"),
                    ("guest driver reloaded, F31", "reloaded"),
                    ("usbback removed in use", "unloaded")):
                t.case(f"{name} ({series})", fresh, case)
            vm.close()


if __name__ == "__main__":
    main()
