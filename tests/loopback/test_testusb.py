#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""All of the kernel's testusb, bare and through the ring: at three speeds in a long
run, at full speed, which no other program has then, in a short one.

The columns "bare" and "fd" of the table; the driver VM and the nested guests of
other programs have the rest. matrix.py tells what counts.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
from matrix import Matrix, Place  # noqa: E402
from table import SPEEDS  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402


def run(t: tap.Suite, series: str) -> None:
    """All of it on one kernel."""
    def place() -> Place:
        vm = t.vm(VM(f"testusb-{series}", kernel=series, smp=2))
        loop = Loop(vm)
        loop.load()
        return Place(vm, vm, loop.NAME, 1)

    matrix = Matrix("fd", place)
    # Short runs have nothing of this on the debug kernel.
    every = tap.LONG or series == kernels.DEBUG
    for name, function, args in matrix.cases(SPEEDS if every else ("full",)):
        t.case(f"{series}: {name}", function, *args)
    if matrix.place:
        matrix.place.owner.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
