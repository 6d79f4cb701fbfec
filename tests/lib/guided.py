# SPDX-License-Identifier: GPL-2.0
"""Fuzzers of a module's side of the ring, guided by which of its code has run
(tests/peers/guided.h). They need the debug kernel, which has KCOV.

    sides = [Usbback(vm), Usbfront(vm)]
    for side in sides:
        side.start(60, seed)        # both at once
    follow(sides, print)
    print(sides[0].result())
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

import hostile
import kernels
from gadget import Dummies
from peers import compile_peer
from tap import expect
from usbif import Backend
from usbip import Iso, prepare
from vm import VM

CHANNEL = "fuzz"
# Beyond the time that it is told, for the connections and checks under way.
PATIENCE = 100
LINE = re.compile(r"(\d+) s: (\d+) executions, (\d+) sessions, (\d+) broken, "
                  r"(\d+) blocks, (\d+) kept, generation (\d+)")


class Line(NamedTuple):
    """What the program says now and then, each since it began."""

    seconds: int
    executions: int
    sessions: int
    broken: int
    blocks: int
    kept: int
    generation: int


class Side:
    """One of the modules, and the program in place of its peer."""

    module = ""
    # What a sane peer alone reaches is less.
    least_blocks = 0

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        vm.run("mountpoint -q /sys/kernel/debug || "
               "mount -t debugfs debugfs /sys/kernel/debug")

    def program(self) -> Path:
        """The program."""
        raise NotImplementedError

    def start(self, seconds: int, seed: str) -> None:
        """For so long."""
        self.seed = seed
        self.errors = f"/tmp/{self.module}.errors"
        self.told = 0
        self.job = self.vm.spawn(f"exec {self.program()} {CHANNEL} {seconds} "
                                 f"{seed} 2> {self.errors}")
        self.until = time.monotonic() + seconds + PATIENCE

    def go_on(self, tell: Callable[[str], object]) -> bool:
        """Passes on what the program says; False when that has ended."""
        has_ended = self.job.rc is not None
        lines = self.job.output().splitlines()
        for line in lines[self.told:]:
            tell(f"{self.module}: {line}")
        self.told = len(lines)
        expect(has_ended or time.monotonic() < self.until,
               f"{self.module}, seed {self.seed}: does not end")
        return not has_ended

    def result(self) -> str:
        """What has come of it, if the program found all in order at the end, was
        connected, and was led on by what it found."""
        expect(self.job.rc == 0, f"{self.module}, seed {self.seed}: "
               f"{self.job.rc}\n{self.vm.run(f'tail -n 5 {self.errors}').out}")
        lines = [Line(*map(int, found.groups()))
                 for found in LINE.finditer(self.job.output())]
        expect(len(lines) > 1, f"{len(lines)} lines")
        first, last = lines[0], lines[-1]
        expect(last.blocks >= self.least_blocks,
               f"only {last.blocks} blocks of {self.module} have run")
        expect(last.blocks > first.blocks and last.kept > first.kept
               and last.generation > 2, f"nothing new after {first}: {last}")
        return (f"{last.executions} executions, {last.sessions} sessions, "
                f"{last.blocks} blocks, {first.blocks} of them at first, "
                f"{last.kept} inputs kept")


class Usbback(Side):
    """A hostile frontend with a disk, a source and sink, and isochronous streams."""

    module = "usbback"
    least_blocks = 650

    def __init__(self, vm: VM) -> None:
        super().__init__(vm)
        vm.run("truncate -s 8M /tmp/disk")
        prepare(vm)
        dummies = Dummies(vm, 2)
        devices = (dummies.mass_storage("disk", "/tmp/disk"),
                   dummies.source_sink("sink"),
                   Iso(vm, "stream", "high", packet=256))
        back = Backend(vm)
        back.load()
        for port, device in enumerate(devices, 1):
            back.rule(f"{hostile.source(device)}:{CHANNEL}:0:{port}")

    def program(self) -> Path:
        return compile_peer("front_kcov", "front", "guided", "kcov")


class Usbfront(Side):
    """A hostile backend with a device, and a driver for that."""

    module = "usbfront"
    least_blocks = 550

    def __init__(self, vm: VM) -> None:
        super().__init__(vm)
        vm.run(f"modprobe usbcore && "
               f"insmod {kernels.build(vm.kernel)}/usbfront.ko")

    def program(self) -> Path:
        return compile_peer("back_kcov", "back", "guided", "kcov", "kcov_device",
                            "kcov_driver")


SIDES = (Usbback, Usbfront)


def follow(sides: Sequence[Side], tell: Callable[[str], object]) -> None:
    """To the end, or until the log has something."""
    while any([side.go_on(tell) for side in sides]):
        time.sleep(1)
        for vm in {side.vm for side in sides}:
            vm.check_log()
