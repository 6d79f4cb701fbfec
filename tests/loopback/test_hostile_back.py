#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbfront with a backend that attacks it over the fd channel: the cases of
Documentation/reliability.rst, by number (tests/lib/hostile_back.py). H104, a backend
that takes nothing, is F46 as well: a thread that has died looks like this.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import hostile_back  # noqa: E402
import tap  # noqa: E402
from vm import VM  # noqa: E402

# One of each kind, for a short run.
TYPICAL = (85, 87, 89, 92, 97, 99, 104, 106, 109)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            called = hostile_back.names(series, typical=TYPICAL)
            if not any(map(t.wanted, called.values())):
                continue
            vm = t.vm(VM(f"hostile-back-{series}", kernel=series, smp=2))
            hostile_back.run_cases(t, called, hostile_back.Attack(vm),
                                   f"{series} the other hardware")
            vm.close()


if __name__ == "__main__":
    main()
