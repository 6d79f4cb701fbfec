# SPDX-License-Identifier: GPL-2.0
"""What a debug kernel can tell at the end of a guest's life only.

Most of its checkers write to the log when they find something, and klog.py has
these lines. But memory that was lost has to be looked for, and a checker that
gave up, such as lockdep after its first report, would find nothing more.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm import VM

# kmemleak takes nothing younger for lost, in seconds.
AGE = 5.5
KMEMLEAK = "/sys/kernel/debug/kmemleak"
# A gadget function of 6.1 that loses requests by itself whenever a configuration
# or a setting is chosen: hidg_set_alt().
LEAKS_ITSELF = "[usb_f_hid]"
# A file, and what is in it as long as the checker works.
AT_WORK = (("/proc/lockdep_stats", r"(?m)^ debug_locks:\s+1$"),
           ("/sys/kernel/debug/dma-api/disabled", r"^N$"),
           ("/sys/kernel/debug/dma-api/error_count", r"^0$"))


def leaks(vm: VM) -> list[str]:
    """Each piece of memory to which nothing points, with who allocated it."""
    # What was on its way during the first scan is somewhere in the second.
    vm.run(f"sync; echo scan > {KMEMLEAK}; sleep {AGE}; "
           f"echo scan > {KMEMLEAK}", timeout=240)
    out = vm.run(f"cat {KMEMLEAK}", timeout=60).out
    return ["unreferenced object" + part
            for part in out.split("unreferenced object")[1:]
            if LEAKS_ITSELF not in part]


def at_work(vm: VM) -> list[str]:
    """Checkers that have seen something, or given up."""
    found = []
    for path, wanted in AT_WORK:
        said = vm.run(f"cat {path}").out.strip("\n")
        if not re.search(wanted, said):
            lines = re.findall(r"debug_locks.*", said) or [said]
            found.append(f"{path} has '{lines[0].strip()}'")
    return found


def examine(vm: VM) -> list[str]:
    """What is wrong in a guest with a debug kernel."""
    return at_work(vm) + leaks(vm)


class Findings:
    """Of all guests of a program."""

    def __init__(self) -> None:
        self.guests: list[str] = []
        self.found: list[str] = []
        self.seconds = 0.0

    def add(self, vm: VM) -> None:
        """Examine a guest, right before it is closed."""
        began = time.monotonic()
        found: list[str] = []
        for look in (examine, type(vm).check_log):
            try:
                found += look(vm) or []
            except Exception as e:
                found.append(f"could not be examined: {e}")
        self.guests.append(vm.name)
        self.found += [f"{vm.name}: {text}" for text in found]
        self.seconds += time.monotonic() - began

    def judge(self) -> str:
        """The last case of a program on a debug kernel."""
        if self.found:
            raise AssertionError("\n".join(self.found))
        if not self.guests:
            raise AssertionError("no guest with a debug kernel was examined")
        return f"{', '.join(self.guests)}: {self.seconds:.1f} s"


FINDINGS = Findings()
