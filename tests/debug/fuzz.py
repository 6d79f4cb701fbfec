#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make fuzz [SECONDS=N] [SEED=N] [SIDE=usbback|usbfront]: each module with a peer that
writes the ring as it pleases, guided by the code of theirs that has run.

It says how far it is, stops at the first thing that the kernel's log has, and ends
with 0 if there was none. With the same seed it does the same but for what depends on
time.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

os.environ["USBIF_KERNELS"] = "6.1-debug"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import checkers  # noqa: E402
import guided  # noqa: E402
import kernels  # noqa: E402
from vm import VM  # noqa: E402


def run(wanted: str, seconds: int, seed: str) -> None:
    """In one machine, both at once."""
    vm = VM("fuzz", kernels.DEBUG, memory=1024, smp=2, boot_timeout=240)
    try:
        sides = [side(vm) for side in guided.SIDES
                 if wanted in ("", side.module)]
        for side in sides:
            side.start(seconds, seed)
        guided.follow(sides, lambda line: print(line, flush=True))
        for side in sides:
            print(f"{side.module}: {side.result()}", flush=True)
    finally:
        vm.close()
    checkers.FINDINGS.judge()


def main() -> int:
    """Until the time is over, or something is wrong."""
    seconds = int(os.environ.get("SECONDS") or 600)
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))
    wanted = os.environ.get("SIDE") or ""
    if wanted not in ("", *(side.module for side in guided.SIDES)):
        print(f"SIDE={wanted}: neither usbback nor usbfront")
        return 2
    print(f"SEED={seed} SECONDS={seconds}", flush=True)
    try:
        run(wanted, seconds, seed)
    except Exception as error:      # pylint: disable=broad-except
        print(f"\n{type(error).__name__}: {error}\n"
              f"after it began with SEED={seed}", flush=True)
        return 1
    print("nothing was wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
