#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbback with a frontend that attacks it: the cases of
Documentation/reliability.rst, by number (tests/peers/front_hostile.c).

Beside it a guest as any other (usbfront of the same kernel) writes and verifies a disk
all the time; it must not see an error and not stand still.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import numbered  # noqa: E402
import tap  # noqa: E402
from gadget import Dummies, Gadget, child_node  # noqa: E402
from peers import compile_peer  # noqa: E402
from usbif import Loop  # noqa: E402
from usbip import Iso, prepare  # noqa: E402
from vm import VM  # noqa: E402
from workload import verify  # noqa: E402

DEBUG = "/sys/kernel/debug"
IMAGE = 8 << 20
# What the kernel may say of one guest in five seconds, and of its devices.
LINES = 10
LOG = "evil: protocol violated|evil: session"
HOURS = 4 * 3600
PAUSE_MS = 50
LOG_FLOOD = 73


def program() -> Path:
    """The hostile frontend."""
    return compile_peer("front_hostile", "front", "hostile_words",
                        "hostile_requests", "hostile_ends", "hostile_floods")


def source(device: Gadget | Iso) -> str:
    """Bus ID of a device."""
    return device.busid() if isinstance(device, Iso) else device.source()


class Bench:
    """A VM with an honest guest and a hostile one."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        vm.run(f"mountpoint -q {DEBUG} || mount -t debugfs debugfs {DEBUG}; "
               f"truncate -s {IMAGE} /tmp/clean /tmp/disk; "
               "modprobe usb-storage delay_use=0; modprobe sd_mod")
        prepare(vm)
        self.dummies = Dummies(vm, 4)
        self.loop = Loop(vm)
        self.loop.load()
        self.neighbour()
        self.sink = self.dummies.source_sink("sink", pattern="2")
        devices = [self.dummies.mass_storage("disk", "/tmp/disk"), self.sink,
                   self.dummies.keyboard("keys"),
                   Iso(vm, "stream", "high", packet=256)]
        for port, device in enumerate(devices, 1):
            self.loop.rule(f"{source(device)}:evil:0:{port}")
        mode = "long" if tap.LONG else ""
        self.job = vm.spawn(f"exec {program()} evil {DEBUG}/usbback/evil {mode}",
                            stdin=True)
        self.job.wait_output("ready", 30)

    def neighbour(self) -> None:
        """Its disk is in use from now on."""
        clean = self.dummies.mass_storage("clean", "/tmp/clean")
        busid = self.loop.attach(clean)
        node = child_node(self.vm, busid, "block/sd?")
        self.vm.wait_for(f"test -b /dev/{node}")
        self.clean = verify(self.vm, f"/dev/{node}", IMAGE >> 20, HOURS,
                            PAUSE_MS)

    def verified(self) -> list[int]:
        """Octets that the neighbour has found right, second by second."""
        return [int(n) for n in re.findall(r"^\d+ (\d+)$", self.clean.output(),
                                           re.M)]

    def said(self) -> int:
        """Lines of the log about the hostile guest."""
        return int(self.vm.run(f"dmesg | grep -Ec '{LOG}'", check=False).out)

    def case(self, number: int) -> None:
        """One attack; the neighbour must not notice."""
        begin = len(self.job.output())
        self.job.write(f"{number}\n".encode())
        told = self.told(number, begin)
        tap.expect(told.endswith(" held"), told)
        tap.expect_equal(self.clean.rc, None,
                         f"end of the neighbour ({self.clean.output()[-300:]})")

    def flood(self, number: int) -> str:
        """The same for what would fill the log."""
        said, begun = self.said(), time.monotonic()
        self.case(number)
        most = (1 + (time.monotonic() - begun) / 5) * LINES
        said = self.said() - said
        tap.expect(said <= most, f"{said} lines in the log")
        return f"{said} lines"

    def told(self, number: int, begin: int) -> str:
        """What the program says of a case; plugs are pulled as it wishes."""
        while True:
            pattern = rf"(H{number} [^\n]*|unplug|plug other|plug)\n"
            self.job.wait_output(rf"(?s)\A.{{{begin}}}.*?{pattern}",
                                 tap.scaled(60, 400))
            found = re.compile(pattern).search(self.job.output(), begin)
            begin = found.end()
            if found[1].startswith("H"):
                return found[1]
            self.plug(found[1])

    def plug(self, word: str) -> None:
        """Pull the plug of the sink, or put it back in."""
        if word == "unplug":
            self.sink.unplug()
            return
        if word == "plug other":
            self.vm.run(f"echo 0xa4aa > {self.sink.dir}/idProduct")
        self.sink.plug()

    def end(self) -> str:
        """The neighbour has gone on all the time."""
        self.job.close_input()
        tap.expect_equal(self.job.wait(20), 0, "exit code of front_hostile")
        counts = self.verified()
        still = [n for n, (a, b) in enumerate(zip(counts, counts[1:]), 1)
                 if a == b]
        tap.expect(not still, f"the neighbour stood still in seconds {still}")
        self.clean.kill(9)
        self.clean.wait(10)
        return f"{counts[-1] >> 20} MiB verified beside it in {len(counts)} s"


def documented() -> str:
    """Every case that there is has its line in the document."""
    missing = set(numbered.numbers(program())) - set(numbered.titles())
    tap.expect(not missing, f"not documented: {sorted(missing)}")
    return f"{len(numbered.numbers(program()))} cases"


def main() -> None:
    with tap.Suite() as t:
        t.case("documented", documented)
        titles = numbered.titles()
        for series in tap.some_kernels("6.1"):
            names = {n: f"{series} H{n} {titles.get(n)}"
                     for n in numbered.numbers(program())}
            if not any(map(t.wanted, names.values())):
                continue
            vm = t.vm(VM(f"hostile-{series}", kernel=series, smp=2))
            bench = Bench(vm)
            for number, name in names.items():
                t.case(name, bench.flood if number == LOG_FLOOD else bench.case,
                       number)
            t.case(f"{series} the neighbour", bench.end)
            vm.close()


if __name__ == "__main__":
    main()
