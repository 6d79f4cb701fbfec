# SPDX-License-Identifier: GPL-2.0
"""A frontend that attacks usbback (tests/peers/front_hostile.c), beside a guest
as any other that writes and verifies a disk all the time.

    class Here(Attack):
        '''Where both are, and what joins them.'''
        def neighbour(self) -> tuple[VM, str]: ...

    attack = Here(Loop(vm))
    run_cases(t, "6.1", attack)
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Collection

import numbered
import tap
from gadget import Dummies, Gadget
from peers import compile_peer
from usbif import Backend
from usbip import Iso, prepare
from vm import VM, Job
from workload import HOURS, slabs, stood_still, verify

DEBUG = "/sys/kernel/debug"
GUEST = "evil"
IMAGE = 8 << 20
# What the kernel may say of one guest in five seconds, and of its devices.
LINES = 10
# What the kernel may have more of after many sessions, in KiB.
GROWTH = 1024
LOG = f"{GUEST}: protocol violated|{GUEST}: session"
PAUSE_MS = 50
LOG_FLOOD = 73
# Sessions, and in how many of them the disk is used.
SESSIONS, USES = 69, tap.scaled(4, 334)
# What is a fault as well.
ALSO = {17: ", F60"}
COUNTERS = r"sessions|violations|stalls|paced|limited|refused_\w+"
# What it says, beside the end of a case, and wants to have done.
WORDS = r"H\d+ [^\n]*|unplug|plug other|plug|counter \w+|ring_start \d+"


def program() -> Path:
    """The hostile frontend."""
    return compile_peer("front_hostile", "front", "hostile_words",
                        "hostile_requests", "hostile_iso", "hostile_ends",
                        "hostile_floods")


def source(device: Gadget | Iso) -> str:
    """Bus ID of a device on its own controller."""
    return device.busid() if isinstance(device, Iso) else device.source()


class Attack:
    """The machine with usbback, the honest guest and the hostile one."""

    def __init__(self, usbback: Backend) -> None:
        self.usbback = usbback
        self.back = back = usbback.vm
        back.run(f"mountpoint -q {DEBUG} || mount -t debugfs debugfs {DEBUG}; "
                 f"truncate -s {IMAGE} /tmp/clean /tmp/disk; "
                 "modprobe usb-storage delay_use=0; modprobe sd_mod")
        prepare(back)
        self.dummies = Dummies(back, 5)
        self.sink: Gadget
        self.disk = ""
        self.clean: Job
        self.job: Job

    def neighbour(self) -> tuple[VM, str]:
        """Give the honest guest the disk "clean"; its node there."""
        raise NotImplementedError

    def attacker(self) -> Job:
        """Start the program, beside usbback unless another class knows better."""
        return self.back.spawn(f"exec {program()} {GUEST} {DEBUG}/usbback/{GUEST} "
                               f"{'long' if tap.LONG else ''}", stdin=True)

    def start(self) -> None:
        """Both are at work from now on."""
        vm, node = self.neighbour()
        vm.wait_for(f"test -b {node}")
        self.clean = verify(vm, node, IMAGE >> 20, HOURS, PAUSE_MS)
        self.attack()

    def attack(self) -> None:
        """Start the attacker, with its devices."""
        self.sink = self.dummies.source_sink("sink", pattern="2")
        devices = [self.dummies.mass_storage("disk", "/tmp/disk"), self.sink,
                   self.dummies.keyboard("keys"),
                   Iso(self.back, "stream", "high", packet=256)]
        self.disk = source(devices[0])
        for port, device in enumerate(devices, 1):
            self.usbback.rule(f"{source(device)}:{GUEST}:0:{port}")
        self.job = self.attacker()
        self.job.wait_output("ready", 30)

    def said(self) -> int:
        """Lines of the log about the hostile guest."""
        return int(self.back.run(f"dmesg | grep -Ec '{LOG}'", check=False).out)

    def held(self, number: int) -> None:
        """One attack, which has to fail."""
        begin = len(self.job.output())
        self.job.write(f"{number}\n".encode())
        told = self.told(begin)
        tap.expect(told.endswith(" held"), told)

    def channel(self) -> str:
        """What usbback says of the attacker's channel."""
        return self.back.run(f"cat {DEBUG}/usbback/{GUEST}/channel").out

    def case(self, number: int) -> str:
        """The same; the neighbour must not notice. What usbback has counted."""
        before = self.channel()
        self.held(number)
        tap.expect_equal(self.clean.rc, None,
                         f"end of the neighbour ({self.clean.output()[-300:]})")
        return numbered.told(before, self.channel(), COUNTERS)

    def sessions(self, number: int) -> str:
        """The same for many sessions; none gets a device as the last one left it."""
        since, before = self.back.mark(), slabs(self.back)
        counted = self.case(number)
        resets = len(re.findall(f"{self.disk}: reset .* USB device",
                                self.back.klog(since)))
        tap.expect(resets >= USES, f"{resets} resets of a disk used {USES} times")
        grown = slabs(self.back) - before
        tap.expect(grown < GROWTH, f"memory grew by {grown} KiB")
        return f"{resets} resets, {grown} KiB, {counted}"

    def flood(self, number: int) -> str:
        """The same for what would fill the log."""
        said, begun = self.said(), time.monotonic()
        counted = self.case(number)
        # An interval of printk's limit may have been nearly over when this began.
        most = (2 + (time.monotonic() - begun) / 5) * LINES
        said = self.said() - said
        tap.expect(said <= most, f"{said} lines in the log")
        return f"{said} lines, {counted}"

    def told(self, begin: int) -> str:
        """What the program says of a case; what it wants until then is done."""
        while True:
            self.job.wait_output(rf"(?s)\A.{{{begin}}}.*?({WORDS})\n",
                                 tap.scaled(60, 400))
            found = re.compile(f"({WORDS})\n").search(self.job.output(), begin)
            assert found
            begin = found.end()
            if found[1].startswith("H"):
                return found[1]
            self.do(found[1])

    def do(self, word: str) -> None:
        """Pull the plug of the sink, put it back in, or look into debugfs."""
        channel = f"{DEBUG}/usbback/{GUEST}"
        name, _, value = word.partition(" ")
        if name == "counter":
            out = self.back.run(f"sed -n 's/^{value} //p' {channel}/channel").out
            self.job.write(f"{out.split()[0]}\n".encode())
        elif name == "ring_start":
            self.back.run(f"echo {value} > {channel}/ring_start")
            self.job.write(b"0\n")
        elif name == "unplug":
            self.sink.unplug()
        else:
            if value == "other":
                self.back.run(f"echo 0xa4aa > {self.sink.dir}/idProduct")
            self.sink.plug()

    def end(self) -> str:
        """The neighbour has gone on all the time."""
        self.job.close_input()
        tap.expect_equal(self.job.wait(20), 0, "exit code of front_hostile")
        still, text = stood_still(self.clean)
        tap.expect(not still, f"the neighbour stood still in seconds {still}")
        self.clean.kill(9)
        self.clean.wait(10)
        return text


def names(series: str, where: str = "", but: Collection[int] = ()
          ) -> dict[int, str]:
    """What the cases are called, by number."""
    titles = numbered.titles()
    return {n: f"{series} {where}H{n} {titles.get(n)}{ALSO.get(n, '')}"
            for n in numbered.numbers(program()) if n not in but}


def run_cases(t: tap.Suite, called: dict[int, str], attack: Attack,
              last: str) -> None:
    """All of them, and what the neighbour has to say."""
    attack.start()
    for number, name in called.items():
        special = {LOG_FLOOD: attack.flood, SESSIONS: attack.sessions}
        t.case(name, special.get(number, attack.case), number)
    t.case(last, attack.end)
