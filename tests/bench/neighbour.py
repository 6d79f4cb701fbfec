#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make neighbour: what a guest keeps of its throughput while another one attacks.

One emulated machine with both modules of a stock kernel; its clock counts
instructions, as that of bench.py does, so that figures repeat whatever else this
machine does. The neighbour reads from a full-speed device, sixteen transfers in
flight, as fast as the device sends; the attacker (tests/peers/front_hostile.c) does
again and again what would fill rings, logs, queues or the processor, of which there
is just one. Printed is the throughput during each case, in percent of what it is
with an attacker that does nothing. It fails if one is below what is promised.

The last one is a backend that rings (tests/peers/back_hostile.c); the neighbour is
other hardware of its guest then, which that reads from without a channel.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path as File
from typing import Callable

sys.path.insert(0, str(File(__file__).resolve().parents[1] / "lib"))
import hostile  # noqa: E402
import numbered  # noqa: E402
from cache import compile_tool, say  # noqa: E402
from gadget import device_node  # noqa: E402
from nested import KvmHost  # noqa: E402
from peers import Peer  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402

FLOODS = (8, 15, 65, 70, 71, 72, 73, 74, 75)
DOORBELLS = 106
PROMISED = 90           # percent
LENGTH, DEPTH = 4096, 16
COUNT = int(os.environ.get("COUNT") or 6000)


def load(node: str) -> str:
    """What reads from a device."""
    program = compile_tool("load", source=File(__file__).with_name("load.c"))
    return f"exec {program} bulk {node} in {LENGTH} {DEPTH} {COUNT}"


def throughput(vm: VM, command: str, attack: Callable[[], object] | None = None
               ) -> float:
    """Octets a second of the neighbour, while it is attacked again and again."""
    job = vm.spawn(command)
    while job.rc is None:
        if attack:
            attack()
        else:
            job.wait(600)
    result = json.loads(job.output())
    return result["bytes"] * 1e9 / result["total_ns"]


class Beside(hostile.Attack):
    """Attacker and neighbour in one machine."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.loop = loop
        self.load = ""

    def begin(self) -> None:
        """The neighbour has a device, and the attacker what it needs."""
        self.loop.load()
        source = self.dummies.source_sink("neighbour", "full-speed")
        self.load = load(device_node(self.back, self.loop.attach(source)))
        self.attack()

    def throughput(self, number: int | None) -> float:
        """While a case is run."""
        attack = None if number is None else lambda: self.held(number)
        return throughput(self.back, self.load, attack)


class Behind(Peer):
    """A guest whose backend attacks."""

    def load(self) -> None:
        """That has been done."""

    def ring(self) -> None:
        """For a second."""
        self.tell("storm 1")


def attacked_guest(beside: Beside) -> float:
    """What its own hardware keeps, in percent."""
    vm = beside.back
    own = beside.dummies.source_sink("own", "full-speed")
    command = load(device_node(vm, own.busid()))
    peer = Behind(vm)
    alone = throughput(vm, command)
    return 100 * throughput(vm, command, peer.ring) / alone


def main() -> int:
    """All that floods."""
    titles = numbered.titles()
    percents = []

    def tell(number: int, percent: float) -> None:
        print(f"{percent:6.1f} %  H{number} {titles[number]}", flush=True)
        percents.append(percent)

    say("booting the machine")
    with KvmHost(controller=None, icount=True, memory=1024) as host:
        host.run("echo 0 > /proc/sys/kernel/hung_task_timeout_secs")
        beside = Beside(Loop(host))
        beside.begin()
        alone = beside.throughput(None)
        print(f"alone {alone / 1e3:.0f} kB/s", flush=True)
        for number in FLOODS:
            tell(number, 100 * beside.throughput(number) / alone)
        tell(DOORBELLS, attacked_guest(beside))
        percent = 100 * beside.throughput(None) / alone
        print(f"{percent:6.1f} %  alone again", flush=True)
    worst = min(percents)
    print(f"{worst:.1f} % at worst, {PROMISED} promised")
    return 0 if worst >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
