#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Ten minutes of streams, reports, serial lines and network frames at once, by
the numbers (F) of Documentation/reliability.rst: LONG=1 only.

Everything is on one channel. USBIF_ENDURANCE=SECONDS makes it shorter.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import libusb  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
from cache import compile_tool  # noqa: E402
from faulted import idle  # noqa: E402
from gadget import Dummies, child_node, load_drivers  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM, Job  # noqa: E402

SECONDS = int(os.environ.get("USBIF_ENDURANCE", "600"))
# Of an isochronous packet, eight of which there are in a millisecond.
PACKET = 188
PACKETS, URBS = 128, 6
# One in so many packets goes wrong, in all ways in turn: usbip_iso.c. A prime,
# so that it is each packet of a request at some time.
FAULTY = 997
EVERY_KIND = 4
# Reports that are on their way; hidraw keeps 64.
WINDOW = 8
# Each length of a frame once.
FRAMES = 1455


class Load:
    """Devices of one case, in use from start() to done()."""

    def __init__(self, vm: VM, loop: Loop, dummies: Dummies) -> None:
        self.vm = vm
        self.loop = loop
        self.dummies = dummies
        self.busids: dict[str, str] = {}
        self.jobs: list[Job] = []
        self.since = 0

    def prepare(self) -> None:
        """Plug and route the devices."""
        raise NotImplementedError

    def commands(self) -> list[str]:
        """What uses them for SECONDS."""
        raise NotImplementedError

    def told(self, outputs: list[str]) -> str:
        """What has been counted."""
        raise NotImplementedError

    def number(self, busid: str) -> str:
        """Another one each time that a device is enumerated."""
        return self.vm.run(f"cat /sys/bus/usb/devices/{busid}/devnum").out

    def routed(self, busid: str) -> str:
        """Take that device into account."""
        self.busids[busid] = self.number(busid)
        return busid

    def start(self) -> None:
        """Use the devices from now on."""
        commands = self.commands()
        self.since = self.vm.mark()
        self.jobs = [self.vm.spawn(command, stdin=False)
                     for command in commands]

    def done(self) -> str:
        """The time is over, and nothing was wrong."""
        outputs = []
        for job in self.jobs:
            rc = job.wait(SECONDS + 120)
            tap.expect_equal(rc, 0, f"the end of '{job.cmd}' "
                             f"({job.output()[-600:]})")
            outputs.append(job.output())
        for busid, number in self.busids.items():
            tap.expect_equal(self.number(busid), number, f"devnum of {busid}")
            again = re.findall(rf"usb {busid}: (?:USB disconnect|reset).*",
                               self.vm.klog(self.since))
            tap.expect(not again, f"{again}")
        return self.told(outputs)


class Streams(Load):
    """Isochronous packets with sequence numbers, in and out; some go wrong."""

    def prepare(self) -> None:
        self.devices = [usbip.Iso(self.vm, mode, "high", n, PACKET)
                        for n, mode in enumerate(("in", "out"))]
        for port, device in enumerate(self.devices, 1):
            self.routed(usbip.route(self.loop, device, port))

    def commands(self) -> list[str]:
        return [libusb.command(busid, "iso", f"-M {device.name} -t {SECONDS} "
                               f"-p {PACKETS} -q {URBS} "
                               f"-e {FAULTY}:{EVERY_KIND}")
                for busid, device in zip(self.busids, self.devices)]

    def told(self, outputs: list[str]) -> str:
        texts = []
        for device, output in zip(self.devices, outputs):
            libusb.cases(0, output)
            good, errors, silent = map(int, re.search(
                r"good (\d+) errors (\d+) .*silent (\d+)", output).groups())
            packets = good + errors
            # The program has compared that with what the device has counted.
            tap.expect_equal(errors, packets // FAULTY, "faults reported")
            tap.expect(errors, f"too few packets: {packets}")
            texts.append(f"{device.name}: {packets} packets, {errors} faults, "
                         f"each reported, {silent} gaps without")
        return "; ".join(texts)


class Reports(Load):
    """Numbered reports of a HID device."""

    def prepare(self) -> None:
        echo = self.dummies.hid_echo("echo")
        busid = self.routed(self.loop.attach(echo, 3))
        self.node = child_node(self.vm, busid, "hidraw/hidraw*")

    def commands(self) -> list[str]:
        return [f"exec {compile_tool('reports')} /dev/{self.node} {SECONDS} "
                f"{WINDOW}"]

    def told(self, outputs: list[str]) -> str:
        return f"{outputs[0].strip()}, none lost, none twice"


class Adapters(Load):
    """A serial adapter and one for a network."""

    def prepare(self) -> None:
        serial = self.dummies.acm("serial")
        busid = self.routed(self.loop.attach(serial, 4))
        near = child_node(self.vm, busid, "tty/ttyACM*")
        self.line = f"/dev/{near} {serial.tty()}"
        net = self.dummies.ncm("net")
        busid = self.routed(self.loop.attach(net, 5))
        near, far = child_node(self.vm, busid, "net/*"), net.ifname()
        self.link = f"{near} {far}"
        self.vm.run(f"ip link set {near} up && ip link set {far} up")
        self.vm.wait_for(f"grep -qx 1 /sys/class/net/{near}/carrier && "
                         f"grep -qx 1 /sys/class/net/{far}/carrier")

    def commands(self) -> list[str]:
        return [f"exec {compile_tool('lines')} {self.line} {SECONDS}",
                f"end=$(($(date +%s) + {SECONDS})); "
                "while [ $(date +%s) -lt $end ]; do "
                f"{compile_tool('frames')} {self.link} {FRAMES} || exit 1; "
                "done"]

    def told(self, outputs: list[str]) -> str:
        frames = re.findall(r"^(\d+) frames of (\d+) octets", outputs[1], re.M)
        count, octets = (sum(map(int, column)) for column in zip(*frames))
        return (f"serial: {outputs[0].strip()}; network: {count} frames of "
                f"{octets} octets; 0 differences, 0 reconnects")


ALL = {71: Streams, 72: Reports, 73: Adapters}


def nothing_left(vm: VM, loop: Loop, dummies: Dummies) -> None:
    """Without rules nothing is in flight, and no memory of the pool in use."""
    for busid in loop.vports():
        loop.remove(busid)
    vm.wait_for("! readlink /sys/bus/usb/devices/*-* | grep usbfront | "
                "grep -v -- -0:", 20)
    idle(vm, loop.NAME)
    dummies.clear()


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel, at the same time."""
    titles = numbered.titles("F")
    names = {number: f"{series} F{number} {titles.get(number)}"
             for number in ALL}
    vm = t.vm(VM(f"endurance-{series}", kernel=series, smp=2, memory=768))
    load_drivers(vm)
    usbip.prepare(vm)
    loop = Loop(vm)
    loop.load()
    dummies = Dummies(vm, 3)
    loads = {number: load(vm, loop, dummies) for number, load in ALL.items()}
    wanted = [loads[number] for number in ALL if t.wanted(names[number])]
    for load in wanted:
        load.prepare()
    for load in wanted:
        load.start()
    for number, load in loads.items():
        t.case(names[number], load.done)
    t.case(f"{series}: nothing is left of it", nothing_left, vm, loop, dummies)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        if tap.LONG:
            run(t, tap.some_kernels("6.1")[0])


if __name__ == "__main__":
    main()
