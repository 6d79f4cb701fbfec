# SPDX-License-Identifier: GPL-2.0
"""TAP for test programs in Python.

    import tap
    from vm import VM

    def reads(vm): ...

    with tap.Suite() as t:
        vm = t.vm(VM("front"))          # closed at the end of the suite
        t.case("reads a sector", reads, vm)
        if t.wanted("long way round"):  # to spare a costly preparation
            ...

A case fails if its function raises, or if the kernel log of any running VM
holds a failure afterwards.  The exit code is 1 if a case failed.  A suite that
breaks off between cases prints "Bail out!".

Environment, as tests/run sets it: USBIF_ONLY, a regular expression for the
names of the cases to run; USBIF_DONE, a file with one line for each case that
passed in an earlier run of a resumable round and is not run again; LONG=1 for
larger counts (tap.LONG, tap.scaled(short, long)). USBIF_ALL_CASES=1, of group
debug: all numbered attacks of a peer, as under LONG=1, with the counts of a
short run (tap.ALL_CASES).
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable

import checkers
import kernels
from vm import VM

# The case that ends each program on a debug kernel.
CHECKED = "nothing is lost, and all checkers were at work to the end"
LONG = os.environ.get("LONG", "") not in ("", "0")
ALL_CASES = LONG or os.environ.get("USBIF_ALL_CASES", "") not in ("", "0")


def scaled(short: int, long: int) -> int:
    """A count: short normally, long under LONG=1."""
    return long if LONG else short


def some_kernels(short: str) -> tuple[str, ...]:
    """What kernels a program runs on: that one, or all under LONG=1.

    For what is the same on all of them but in the kernel's own code.
    """
    every = tuple(kernels.SUITES)
    return (short,) if short in every and not LONG else every


class Skip(Exception):
    """Raised by a case that can't be; to be used with good reason only."""


class Suite:
    """The cases of one program."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or Path(sys.argv[0]).stem
        self.number = 0
        self.failed = 0
        self._vms: list[VM] = []
        self._only = os.environ.get("USBIF_ONLY", "")
        path = os.environ.get("USBIF_DONE")
        self._done_file = Path(path) if path else None
        self._done: set[str] = set()
        if self._done_file and self._done_file.exists():
            self._done = set(self._done_file.read_text("utf-8").splitlines())

    def __enter__(self) -> Suite:
        print("TAP version 13", flush=True)
        return self

    def __exit__(self, kind: Any, error: BaseException | None,
                 trace: Any) -> None:
        for vm in self._vms:
            vm.close()
        if error is None and self.number and kernels.DEBUG in kernels.SUITES:
            self._judge()
        if isinstance(error, Exception):
            self.diag("".join(traceback.format_exception(error)))
            print(f"Bail out! {type(error).__name__}: "
                  f"{str(error).splitlines()[0] if str(error) else ''}",
                  flush=True)
            sys.stdout.flush()
            os._exit(1)
        if error is None:
            print(f"1..{self.number}", flush=True)
            sys.exit(1 if self.failed else 0)

    def _judge(self) -> None:
        """Whatever cases ran: what the debug kernel has to say at the end."""
        only, self._only = self._only, ""
        self.case(f"{kernels.DEBUG}: {CHECKED}", checkers.FINDINGS.judge)
        self._only = only

    def vm(self, vm: VM) -> VM:
        """Have a VM closed when the suite ends."""
        self._vms.append(vm)
        return vm

    def diag(self, text: str) -> None:
        """A remark for people."""
        for line in text.splitlines():
            print(f"# {line}")
        sys.stdout.flush()

    def wanted(self, name: str) -> bool:
        """Will a case of that name be run?"""
        return ((not self._only or re.search(self._only, name) is not None)
                and f"{self.name}: {name}" not in self._done)

    def _report(self, good: bool, name: str, remark: str) -> None:
        self.number += 1
        self.failed += not good
        name = name.replace("#", "no. ")
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}"
              f"{' # ' + remark if remark else ''}", flush=True)

    def _finish(self, good: bool, name: str, remark: str) -> None:
        self._report(good, name, remark)
        # That a device "fails" without us is found out anew in each run.
        if good and self._done_file and not remark.startswith("fails"):
            with open(self._done_file, "a", encoding="utf-8") as f:
                f.write(f"{self.name}: {name}\n")

    def case(self, name: str, function: Callable[..., Any], *args: Any,
             **kwargs: Any) -> bool:
        """Run one case; tells whether it passed."""
        if not self.wanted(name):
            if f"{self.name}: {name}" in self._done:
                self._report(True, name, "passed in an earlier run")
            return True
        began = time.monotonic()
        good, remark = True, ""
        try:
            result = function(*args, **kwargs)
            if isinstance(result, str):
                remark = result.replace("\n", " ")
        except Skip as e:
            remark = f"SKIP {e}"
        except Exception as e:      # whatever it is, it is this case's
            good = False
            frames = traceback.extract_tb(e.__traceback__)
            where = frames[-1] if len(frames) == 1 else next(
                (f for f in reversed(frames)
                 if Path(f.filename).parent.name != "lib"), frames[-1])
            self.diag(f"{type(e).__name__} at {Path(where.filename).name}:"
                      f"{where.lineno} ({where.line}): {e}")
        for vm in list(VM.live):
            try:
                vm.check_log()
            except Exception as e:
                good = False
                self.diag(str(e))
        seconds = f"{time.monotonic() - began:.1f} s"
        if not remark.startswith("SKIP"):
            remark = f"{remark}, {seconds}" if remark else seconds
        self._finish(good, name, remark)
        return good


def expect(condition: Any, text: str) -> None:
    """Fail the case with text unless condition holds."""
    if not condition:
        raise AssertionError(text)


def expect_equal(found: Any, wanted: Any, what: str = "value") -> None:
    """Fail the case unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, should be {wanted!r}")
