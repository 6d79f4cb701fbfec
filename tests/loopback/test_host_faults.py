#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The host's part that goes, fails or is late while a guest works: backend, drivers,
processors, clocks, doorbells, by the numbers (F) of Documentation/reliability.rst.

The guest, which is usbfront of the same kernel, writes and verifies a disk meanwhile.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import numbered  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from emulated import Emulated, with_image  # noqa: E402
from faulted import DEBUG, Bells, idle, tool  # noqa: E402
from gadget import (Dummies, child_node, device_node,  # noqa: E402
                    find_device, load_drivers)
from usbif import SYSFS, Loop, LoopCases  # noqa: E402
from vm import VM, Job  # noqa: E402
from workload import verified, verify  # noqa: E402

MIB = 8
DISK_PORT, HID_PORT = 1, 2
GUESTS = 8
SHELLS = 16
# What usbctl may end with if others change the same rules: the rule has been removed
# already, no such rule, busy.
RACED = {0, 1, 5, 6}
# Keeps a processor from everybody else for as many seconds.
HOG = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
end = time.monotonic() + int(sys.argv[2])
while time.monotonic() < end:
    pass
"""


class Cases(LoopCases):
    """The cases, with what they need."""

    def __init__(self, vm: VM, loop: Loop, dummies: Dummies) -> None:
        super().__init__(vm, loop, dummies)
        self.disk = Emulated(vm, "disk", "usb-storage", drive="image", port="1")
        self.source = self.disk.source()

    # ---- the disk of the guest

    def node(self, name: str = Loop.NAME) -> str:
        """The guest's disk, routed if it is not yet."""
        if self.source not in self.loop.vports():
            self.loop.rule(f"{self.source}:{name}:0:{DISK_PORT}")
        self.loop.wait(self.source, "attached", 40)
        return "/dev/" + child_node(self.vm, self.virtual(), "block/sd?", 30)

    def virtual(self) -> str:
        """Its bus ID there."""
        return find_device(self.vm, "disk", 40, other_than=self.source)

    def verify(self, seconds: int) -> Job:
        """Write and read it."""
        job = verify(self.vm, self.node(), MIB, seconds)
        self.at = self.virtual()
        return job

    def release(self) -> None:
        """It is the host's."""
        for busid in self.loop.vports():
            self.loop.remove(busid)
        self.vm.wait_for("test $(grep -lsx disk /sys/bus/usb/devices/*/serial | "
                         "wc -l) = 1", 20)

    def lost(self, job: Job) -> None:
        """The guest was told at once, and has no disk any more."""
        began = time.monotonic()
        tap.expect(job.wait(20) == 1, f"the end of verify: {job.output()}")
        tap.expect(time.monotonic() - began < 10, "it was told late")
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{self.at}", 20)

    def back(self, seconds: int = 2) -> str:
        """It is there again, and works."""
        return verified(self.verify(seconds), seconds, gap=1)

    def undisturbed(self, seconds: int, do: Callable[[], object], gap: int) -> str:
        """What is done does not cost the guest a single error or reset."""
        job = self.verify(seconds)
        time.sleep(0.5)
        since = self.vm.mark()
        do()
        told = verified(job, seconds, gap)
        tap.expect("reset" not in self.vm.klog(since), "there was a reset")
        return told

    # ---- the backend

    def removed_idle(self) -> str:
        """Nothing moves; the guest sees its device go."""
        self.node()
        idle(self.vm, self.loop.NAME)
        busid = self.virtual()
        took = self.vm.run("rmmod usbback", 60).seconds
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        self.reload()
        return f"{took:.1f} s"

    def reload(self) -> None:
        """What usbctl serve does for guests of QEMU has to be done here."""
        self.vm.run(f"usbctl drop loop; insmod {self.loop.modules}/usbback.ko", 30)
        self.loop.join()

    def removed_busy(self) -> str:
        """Under the load of eight guests."""
        dummies = self.dummies
        zeros = [dummies.source_sink(f"zero{n}") for n in range(GUESTS)]
        busids = []
        for n, zero in enumerate(zeros):
            self.vm.run(f"usbctl loop guest{n}", 30)
            source = zero.source()
            self.loop.rule(f"{source}:guest{n}:0:1")
            busids.append(find_device(self.vm, zero.name, 40, other_than=source))
        jobs = [self.vm.spawn(usbtest.command(busid, 28 - n % 2, 100000), stdin=False)
                for n, busid in enumerate(busids)]
        time.sleep(2)
        took = self.vm.run("rmmod usbback", 60).seconds
        for job in jobs:
            tap.expect(job.wait(30) != 137, "the load had to be killed")
        for busid in busids:
            self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}", 20)
        for zero in zeros:
            usbtest.run(self.vm, zero.busid(), 1)
        self.vm.run("for n in $(seq 0 7); do usbctl drop guest$n; done", 60)
        self.reload()
        dummies.clear()
        return f"{took:.1f} s"

    def rebound(self) -> str:
        """One device is the host's again, and then the guest's; another one's guest
        does not notice. The driver core offers no "unbind": rules say who has it."""
        self.vm.run(f"truncate -s {MIB}M /tmp/other")
        second = self.dummies.mass_storage("second", "/tmp/other")
        node = child_node(self.vm, self.loop.attach(second, 5), "block/sd?", 30)
        other = verify(self.vm, f"/dev/{node}", MIB, 1000)
        job = self.verify(60)
        time.sleep(1)
        self.vm.run(f"test ! -e {SYSFS}/unbind")
        self.loop.remove(self.source)
        self.lost(job)
        told = self.back()
        tap.expect(other.rc is None, f"the other one ended: {other.output()}")
        other.kill(9)
        other.wait(20)
        self.loop.detach(second)
        self.dummies.clear()
        return told

    def controller_gone(self) -> str:
        """The host controller loses its driver, and gets it again."""
        job = self.verify(60)
        address = self.vm.run("basename /sys/bus/pci/drivers/xhci_hcd/0*").out.strip()
        time.sleep(1)
        self.vm.run(f"echo {address} > /sys/bus/pci/drivers/xhci_hcd/unbind", 60)
        self.lost(job)
        self.loop.wait(self.source, "waiting-device")
        self.vm.run(f"echo {address} > /sys/bus/pci/drivers/xhci_hcd/bind", 60)
        return self.back()

    def processor_gone(self) -> str:
        """Each processor goes, and comes again."""
        def off_and_on() -> None:
            for n in range(tap.scaled(1, 5)):
                for value in (0, 1):
                    self.vm.run(f"echo {value} > /sys/devices/system/cpu/cpu1/online",
                                60)
                    time.sleep(0.5)

        return self.undisturbed(tap.scaled(4, 15), off_and_on, gap=2)

    def unauthorized(self) -> str:
        """Authorization is withdrawn in use: one error, not one after the other."""
        job = self.verify(60)
        time.sleep(1)
        since = self.vm.mark()
        path = f"/sys/bus/usb/devices/{self.source}/authorized"
        self.vm.run(f"echo 0 > {path}")
        try:
            self.lost(job)
            self.loop.wait(self.source, "refused is not authorized on the host")
        finally:
            log = self.vm.klog(since)
            self.vm.run(f"echo 1 > {path}")
        lines = len(log.splitlines())
        tap.expect(lines < 20, log)
        # Refused is refused, until somebody asks for it again.
        self.loop.rule(f"{self.source}:{self.loop.NAME}:0:{DISK_PORT}")
        return f"{lines} lines, {self.back()}"

    # ---- the tool

    def raced(self) -> str:
        """Shells attach and detach the same devices; the last state is one that all
        agree on."""
        zeros = [self.dummies.source_sink(f"zero{n}") for n in range(4)]
        sources = [zero.source() for zero in zeros]
        turns = tap.scaled(2, 20)
        script = "\n".join(
            f"(for t in $(seq {turns}); do usbctl attach {sources[n % 4]} "
            f"loop:0:{n % 6 + 4}; echo rc $?; usbctl detach {sources[(n + 1) % 4]}; "
            "echo rc $?; done) 2>&1 &" for n in range(SHELLS))
        out = self.vm.run(f"{script}\nwait", tap.scaled(100, 600)).out
        codes = {int(n) for n in re.findall(r"^rc (\d+)$", out, re.M)}
        said = [line for line in out.splitlines()
                if line.startswith("usbctl: ") and "has no rule" not in line]
        tap.expect(codes <= RACED, f"exit codes {codes}: {said}")
        rules = self.vm.run("usbctl status --rules").out.split()
        tap.expect_equal(sorted(rule.split(":")[0] for rule in rules),
                         sorted(self.loop.vports()), "rules")
        ports = [rule.split(":", 1)[1] for rule in rules]
        tap.expect_equal(len(set(ports)), len(ports), "ports")
        for rule in rules:
            busid = rule.split(":")[0]
            self.loop.wait(busid, "attached", 30)
            if busid in sources:
                self.loop.remove(busid)
        for zero in zeros:
            self.vm.wait_for(f"! grep -q '^{zero.source()} ' {SYSFS}/grabbed_devices")
            usbtest.run(self.vm, zero.source(), 1)
        self.dummies.clear()
        return f"{2 * SHELLS * turns} commands, exit codes {sorted(codes)}"

    # ---- resources

    def full(self) -> str:
        """More than any ring or pool holds waits; what is urgent gets through."""
        self.vm.run("usbctl loop small --size 1M", 20)
        device = usbip.Emulated(self.vm, "usbip_faulty", "faulty", "high")
        source = device.busid()
        self.loop.rule(f"{source}:small:0:1")
        busid = find_device(self.vm, "faulty", 20, other_than=source)
        told = self.vm.run(f"{tool('faulty')} {device_node(self.vm, busid)} 0 "
                           f"full 1000", 60).out.strip()
        idle(self.vm, "small")
        self.loop.remove(source)
        device.remove()
        self.vm.run("usbctl drop small", 30)
        return told

    # ---- doorbells

    def on_bells(self, function: Callable[[Bells], str]) -> str:
        """With the disk and an echo on a channel of that kind."""
        self.release()
        bells = Bells(self.vm, "bells")
        echo = self.dummies.hid_echo("echo")
        source = echo.source()
        self.loop.rule(f"{source}:bells:0:{HID_PORT}")
        busid = find_device(self.vm, "echo", 30, other_than=source)
        self.echo = child_node(self.vm, busid, "hidraw/hidraw*")
        node = self.node("bells")
        self.vm.run(f"head -c 1M /dev/urandom > /tmp/pattern; dd if=/tmp/pattern of={node} "
                    "bs=64k oflag=direct 2>&1")
        try:
            return function(bells)
        finally:
            self.release()
            bells.end()
            self.dummies.clear()

    def compare(self, timeout: float = 100) -> float:
        """A MiB of the disk, and how long it took."""
        return self.vm.run(
            f"dd if={self.node('bells')} of=/tmp/read bs=64k count=16 iflag=direct "
            "2>/dev/null && cmp /tmp/read /tmp/pattern", timeout).seconds

    def latency(self) -> str:
        """Reports there and back."""
        return self.vm.run(f"{compile_tool('hid_client')} /dev/{self.echo} "
                           f"{tap.scaled(50, 500)}", 120).out.strip()

    def dropped(self) -> str:
        """Doorbells get lost, in one direction and both."""
        return self.on_bells(self.drop)

    def drop(self, bells: Bells) -> str:
        """Some of them; then all, for a while, after which everything goes on."""
        told = []
        for percent in (1, 10, 50) if tap.LONG else (50,):
            for back, front in ((percent, percent), (percent, 0), (0, percent)):
                bells.tell(f"drop {back} {front}")
                took = self.compare()
                told.append(f"{back} % and {front} %: {took:.1f} s, {self.latency()}")
                tap.expect(bells.tell("good")[1], "none was dropped")
        bells.tell("drop 100 100")
        job = self.vm.spawn(f"dd if={self.node('bells')} of=/tmp/read bs=64k count=16 "
                            "iflag=direct 2>&1", stdin=False)
        time.sleep(2)
        all_lost = job.rc is None
        bells.tell("good")
        tap.expect_equal(job.wait(30), 0, job.output())
        self.vm.run("cmp /tmp/read /tmp/pattern")
        idle_names = "nothing moved" if all_lost else "it went on"
        return "; ".join([*told, f"100 %: {idle_names} before"])

    def strange(self) -> str:
        """Doorbells come twice, late, and without end."""
        return self.on_bells(self.confuse)

    def confuse(self, bells: Bells) -> str:
        """One after the other."""
        told = []
        for words in ("double", "delay 15"):
            bells.tell(words)
            told.append(f"{words}: {self.compare():.1f} s, {self.latency()}")
        bells.tell("good")
        job = self.vm.spawn(f"sleep 0.3; dd if={self.node('bells')} of=/tmp/read "
                            "bs=64k count=16 iflag=direct 2>&1", stdin=False)
        passed = bells.tell(f"storm {tap.scaled(1, 10)}")[0]
        tap.expect_equal(job.wait(60), 0, job.output())
        self.vm.run("cmp /tmp/read /tmp/pattern")
        self.compare()
        return "; ".join([*told, f"storm: {passed} doorbells"])

    def wrapped(self) -> str:
        """Sessions whose indices begin shortly before they wrap."""
        return self.on_bells(self.wrap)

    def wrap(self, bells: Bells) -> str:
        """Some hundred requests lead across."""
        for start in (0xffd0, 0x7fffffd0, 0xffffffd0):
            self.vm.run(f"echo {start} > {DEBUG}/usbback/bells/ring_start")
            bells.tell("again")
            self.loop.wait(self.source, "attached", 30)
            self.compare()
            self.vm.run(f"grep '^session .* ring_start {start} ' "
                        f"{DEBUG}/usbback/bells/channel")
            cons = int(self.vm.run("sed -n 's/^sq: cons \\([0-9]*\\).*/\\1/p' "
                                   f"{DEBUG}/usbback/bells/channel").out)
            done = (cons - start) % (1 << 32)
            tap.expect(0x30 < done < 1 << 20, f"{start:#x} -> {cons:#x}")
        return "3 sessions"

    # ---- time

    def clock(self) -> str:
        """The clock jumps ahead and back by an hour."""
        node = self.node()
        since = self.vm.mark()
        self.vm.run(f"head -c 4M /dev/urandom > /tmp/pattern; dd if=/tmp/pattern "
                    f"of={node} bs=64k oflag=direct 2>&1", 60)
        job = self.vm.spawn(f"while dd if={node} of=/tmp/read bs=64k count=64 "
                            "iflag=direct 2>/dev/null && cmp /tmp/read /tmp/pattern; "
                            "do echo same; done", stdin=False)
        for hours in ("+1", "-1"):
            self.vm.run("sleep 0.7; date -s @$(($(date +%s) "
                        f"{hours[0]} 3600)) > /dev/null; sleep 0.7")
        tap.expect(job.rc is None, job.output())
        self.vm.run("sleep 0.5")
        job.kill(9)
        tap.expect(job.output().count("same") > 1, "it stood still")
        tap.expect("reset" not in self.vm.klog(since), "there was a reset")
        return f"{4 * job.output().count('same')} MiB compared"

    def starved(self) -> str:
        """A program with real-time priority on each processor."""
        seconds = tap.scaled(3, 6)

        def hog() -> None:
            self.vm.put("/tmp/hog.py", HOG.encode())
            self.vm.run("echo -1 > /proc/sys/kernel/sched_rt_runtime_us")
            jobs = [self.vm.spawn(f"exec /usr/bin/python3 /tmp/hog.py {cpu} {seconds}",
                                  stdin=False) for cpu in (0, 1)]
            for job in jobs:
                job.wait(60, check=True)

        return self.undisturbed(seconds + 4, hog, gap=seconds + 2)


# By number; those of a short run first.
SHORT = {45: Cases.unauthorized, 51: Cases.raced, 67: Cases.starved}
LONG = {36: Cases.removed_idle, 37: Cases.removed_busy, 39: Cases.rebound,
        43: Cases.controller_gone, 44: Cases.processor_gone, 59: Cases.full,
        63: Cases.dropped, 64: Cases.strange, 66: Cases.clock, 68: Cases.wrapped}


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    wanted = SHORT | (LONG if tap.LONG else {})
    vm = t.vm(with_image("host-faults", series, MIB, memory=768))
    load_drivers(vm)
    usbip.prepare(vm)
    usbtest.prepare(vm)
    loop = Loop(vm)
    loop.load()
    cases = Cases(vm, loop, Dummies(vm, GUESTS))
    titles = numbered.titles("F")
    for number, case in wanted.items():
        t.case(f"{series} F{number} {titles.get(number)}", cases.settles, case, cases)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
