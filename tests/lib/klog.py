# SPDX-License-Identifier: GPL-2.0
"""What in a kernel log is a failure."""

import re
from typing import Iterable

BAD = re.compile(r"""
    WARNING: | \bBUG: | \bkernel\ BUG\b | \bOops\b | \bKASAN\b | \bUBSAN\b | \bKCSAN\b | \bKFENCE\b
  | possible\ (circular|recursive)\ locking | inconsistent\ lock\ state
  | suspicious\ RCU\ usage | INFO:\ task\ .*\ blocked | hogged\ CPU
  | refcount_t | list_(add|del)\ corruption | Call\ Trace | detected\ (expedited\ )?stalls
  | self-detected\ stall | general\ protection | unable\ to\ handle | [Kk]ernel\ panic
  | soft\ lockup | hard\ LOCKUP | scheduling\ while\ atomic | sleeping\ function
  | DMA-API: | slab-out-of-bounds | use-after-free | double\ free | Bad\ page\ state
  | Objects\ remaining\ in | still\ has\ objects | ODEBUG | stack-protector
  | still\ waiting\ for\ | nobody\ cared | page\ allocation\ failure | invalid\ opcode
  | divide\ error | stack\ guard\ page | NMI\ watchdog | trying\ to\ register\ non-static\ key
  | usbback\ .*\ usage\ count\ underflow | segfault\ at | traps: | Invalid\ wait\ context | held\ lock\ freed | with\ locks\ held
""", re.X)

# Said by every guest at boot or by the emulator, and no fault of any kernel.
HARMLESS = re.compile(r"""
    NMI\ watchdog:\ (Perf|Enabled) | kfence:\ initialized | lockdep:\ fixing
  | Unknown\ kernel\ command\ line | Spectre | mitigation
  | using\ mwait | DEBUG\ | debug: | kmemleak:\ Kernel\ memory\ leak\ detector\ initialized
  | refcount_t:\ .*selftest | DMA-API:\ (preallocated|debugging\ enabled)
""", re.X | re.I)


def bad_lines(text: str, allow: Iterable[str] = ()) -> list[str]:
    """The lines of a kernel log that are failures."""
    permitted = [re.compile(a) for a in allow]
    return [line for line in text.splitlines()
            if BAD.search(line) and not HARMLESS.search(line)
            and not any(p.search(line) for p in permitted)]


def excerpt(text: str, bad: list[str], around: int = 40) -> str:
    """The part of the log a person wants to see of the first failure."""
    lines = text.splitlines()
    if not bad:
        return "\n".join(lines[-around:])
    at = lines.index(bad[0])
    return "\n".join(lines[max(0, at - 8):at + around])
