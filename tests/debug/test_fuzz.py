#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Both modules with a peer that writes the ring as it pleases, guided by the code of
theirs that has run; on the debug kernel."""

import os
import random
import sys
from pathlib import Path

os.environ["USBIF_KERNELS"] = "6.1-debug"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import guided  # noqa: E402
import kernels  # noqa: E402
import tap  # noqa: E402
from vm import VM  # noqa: E402

SECONDS = tap.scaled(120, 1200)


def fuzzed(t: tap.Suite, side: guided.Side) -> str:
    """The log says nothing, and a sane peer finds all in order."""
    guided.follow([side], t.diag)
    return side.result()


def main() -> None:
    seed = os.environ.get("USBIF_SEED") or str(random.randrange(1, 1 << 32))
    with tap.Suite() as t:
        names = {side: f"{side.module} fuzzed from its ring for {SECONDS} s"
                 for side in guided.SIDES}
        if any(map(t.wanted, names.values())):
            vm = t.vm(VM("fuzz", kernels.DEBUG, memory=768, smp=2,
                         boot_timeout=240))
            t.diag(f"USBIF_SEED={seed}")
            sides = {side(vm): name for side, name in names.items()}
            for side in sides:
                side.start(SECONDS, seed)
            for side, name in sides.items():
                t.case(name, fuzzed, t, side)


if __name__ == "__main__":
    main()
