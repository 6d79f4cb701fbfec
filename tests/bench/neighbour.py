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
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path as File

sys.path.insert(0, str(File(__file__).resolve().parents[1] / "lib"))
import hostile  # noqa: E402
import numbered  # noqa: E402
from cache import compile_tool, say  # noqa: E402
from gadget import device_node  # noqa: E402
from nested import KvmHost  # noqa: E402
from usbif import Loop  # noqa: E402

FLOODS = (8, 15, 65, 70, 71, 72, 73, 74, 75)
PROMISED = 90           # percent
LENGTH, DEPTH = 4096, 16
COUNT = int(os.environ.get("COUNT") or 6000)


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
        node = device_node(self.back, self.loop.attach(source))
        program = compile_tool("load", source=File(__file__).with_name("load.c"))
        self.load = f"exec {program} bulk {node} in {LENGTH} {DEPTH} {COUNT}"
        self.attack()

    def throughput(self, number: int | None) -> float:
        """Octets a second of the neighbour, while a case is run again and again."""
        job = self.back.spawn(self.load)
        while job.rc is None:
            if number is None:
                job.wait(600)
            else:
                self.held(number)
        result = json.loads(job.output())
        return result["bytes"] * 1e9 / result["total_ns"]


def main() -> int:
    """All that floods."""
    titles = numbered.titles()
    worst = 100.0
    say("booting the machine")
    with KvmHost(controller=None, icount=True, memory=1024) as host:
        host.run("echo 0 > /proc/sys/kernel/hung_task_timeout_secs")
        beside = Beside(Loop(host))
        beside.begin()
        alone = beside.throughput(None)
        print(f"alone {alone / 1e3:.0f} kB/s", flush=True)
        for number in FLOODS:
            percent = 100 * beside.throughput(number) / alone
            worst = min(worst, percent)
            print(f"{percent:6.1f} %  H{number} {titles[number]}", flush=True)
        percent = 100 * beside.throughput(None) / alone
        print(f"{percent:6.1f} %  alone again", flush=True)
    print(f"{worst:.1f} % at worst, {PROMISED} promised")
    return 0 if worst >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
