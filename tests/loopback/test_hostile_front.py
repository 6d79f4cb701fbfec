#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbback with a frontend that attacks it: the cases of
Documentation/reliability.rst, by number (tests/peers/front_hostile.c).

Beside it a guest as any other (usbfront of the same kernel) writes and verifies a disk
all the time; it must not see an error and not stand still. H17 is the fault F60 as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import hostile  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
from gadget import child_node  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402


class Here(hostile.Attack):
    """All in one machine, the channel is of kind fd."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.loop = loop

    def neighbour(self) -> tuple[VM, str]:
        self.loop.load()
        busid = self.loop.attach(self.dummies.mass_storage("clean", "/tmp/clean"))
        return self.back, "/dev/" + child_node(self.back, busid, "block/sd?")


def documented() -> str:
    """Every case that there is has its line in the document."""
    numbers = numbered.numbers(hostile.program())
    missing = set(numbers) - set(numbered.titles())
    tap.expect(not missing, f"not documented: {sorted(missing)}")
    return f"{len(numbers)} cases"


def main() -> None:
    with tap.Suite() as t:
        t.case("documented", documented)
        for series in tap.some_kernels("6.1"):
            called = hostile.names(series)
            if not any(map(t.wanted, called.values())):
                continue
            vm = t.vm(VM(f"hostile-{series}", kernel=series, smp=2))
            hostile.run_cases(t, called, Here(Loop(vm)),
                              f"{series} the neighbour")
            vm.close()


if __name__ == "__main__":
    main()
