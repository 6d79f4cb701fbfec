# SPDX-License-Identifier: GPL-2.0
"""Runs programs of other groups once more, on the debug kernel.

    import again

    again.main({"loopback/test_loop.py": "storage|replug", ...})

Each program is run as it is, with USBIF_KERNELS set; what it prints becomes
part of one TAP stream.  The regular expression says which of its cases are run
in a short run; with none, and without LONG, the program is left out.  With
LONG all cases run, with the counts of a short run: those that a program has in
a short run and, with USBIF_ALL_CASES set, all numbered attacks of peers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lib"))
import kernels  # noqa: E402

LONG = os.environ.get("LONG", "") not in ("", "0")
ONLY = os.environ.get("USBIF_ONLY", "")


class Output:
    """One stream of TAP out of several."""

    LINE = re.compile(r"(not ok|ok)\b\s*\d*\s*(?:- )?(.*)")

    def __init__(self) -> None:
        self.number = 0
        self.failed = 0
        print("TAP version 13", flush=True)

    def case(self, verdict: str, text: str) -> None:
        """A case of any program."""
        self.number += 1
        self.failed += verdict != "ok"
        print(f"{verdict} {self.number} - {text}", flush=True)

    def run(self, name: str, only: str) -> None:
        """Run a program to its end."""
        env = dict(os.environ, USBIF_KERNELS=kernels.DEBUG, USBIF_ONLY=only)
        if env.pop("LONG", None) and LONG:
            env["USBIF_ALL_CASES"] = "1"
        label = Path(name).stem
        plan = None
        with subprocess.Popen([str(TESTS / name)], env=env, text=True,
                              stdin=subprocess.DEVNULL, errors="replace",
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as proc:
            assert proc.stdout is not None
            for line in map(str.rstrip, proc.stdout):
                if match := self.LINE.match(line):
                    self.case(match[1], f"{label}, {match[2]}")
                elif line.startswith("1.."):
                    plan = line
                elif line.startswith("Bail out!"):
                    print(f"# {line}", flush=True)
                elif not line.startswith("TAP version"):
                    print(line if line.startswith("#") else f"# {line}",
                          flush=True)
        if plan is None:
            self.case("not ok", f"{label} broke off ({proc.returncode})")


def main(programs: dict[str, str]) -> None:
    """Run those programs, or what is asked for of them."""
    output = Output()
    for name, short in programs.items():
        if ONLY or LONG or short:
            output.run(name, ONLY or ("" if LONG else short))
    print(f"1..{output.number}", flush=True)
    sys.exit(1 if output.failed else 0)
