# SPDX-License-Identifier: GPL-2.0
"""The numbered cases of Documentation/reliability.rst.

    cases = titles()                    # {17: "completions that are ...", ...}
    faults = titles("F")
    where = shown()                     # {26: "...``test_nested``...", ...}
    others = bugs()                     # {"usbip, CVE-...": (["H90"], [("unit/test_x", "y")])}
    text = told(before, after, "sessions|refused_.*")    # of debugfs: "sessions 2"

A peer that runs cases by number lists those that it has: numbers(program).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cache import TREE

DOCUMENT = TREE / "Documentation" / "reliability.rst"


def titles(letter: str = "H") -> dict[int, str]:
    """What happens in each case, by number: what a peer does, or what fails (F)."""
    text = DOCUMENT.read_text("utf-8")
    return {int(number): title for number, title
            in re.findall(rf"^{letter}(\d+): (.+)$", text, re.M)}


def shown() -> dict[int, list[str]]:
    """The programs that show each fault; none for those that are not shown."""
    text = DOCUMENT.read_text("utf-8")
    return {int(number): re.findall(r"``(?:tests/)?([\w-]+/test_\w+)", body)
            for number, body
            in re.findall(r"^F(\d+): .+\n((?:\t.+\n)+)", text, re.M)}


def is_shown(number: int) -> bool:
    """Does any program have that case of a hostile peer?"""
    tests = TREE / "tests"
    paths = [*tests.glob("peers/hostile_*.c"), *tests.glob("*/*hostile*.py"),
             *tests.glob("loopback/test_peer_*.py")]
    case = re.compile(rf"\bH{number}\b|\{{ {number}, |\b{number}: |\[{number}\]")
    return any(case.search(path.read_text("utf-8")) for path in paths)


def bugs() -> dict[str, tuple[list[str], list[tuple[str, str]]]]:
    """What has gone wrong elsewhere: the cases that show it here, by number and by
    program and name."""
    text = DOCUMENT.read_text("utf-8").split("\nBugs of others\n", 1)[1]
    return {bug: (re.findall(r"\b[HF]\d+\b", body),
                  re.findall(r"``([\w-]+/test_\w+)``\s+(\w+)", body))
            for bug, body in re.findall(r"^(\w.+: .+)\n((?:\t.+\n)+)", text, re.M)}


def told(before: str, after: str, names: str) -> str:
    """Which counters of a file in debugfs have grown, and by how much."""
    def counters(text: str) -> dict[str, int]:
        return {name: int(count) for name, count
                in re.findall(rf"^({names}) (\d+)$", text, re.M)}

    old = counters(before)
    grown = {name: count - old.get(name, 0)
             for name, count in counters(after).items()}
    return ", ".join(f"{name} {count}" for name, count in grown.items() if count > 0)


def numbers(program: Path) -> list[int]:
    """The cases that a peer has, in their order."""
    done = subprocess.run([program, "list"], capture_output=True, text=True,
                          check=True)
    return sorted(map(int, done.stdout.split()))
