#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines and branches of ring/ the unit tests and the inputs kept for the
fuzzers reach, counted by gcov.

    coverage.py [--without PROGRAM]... [--missed]

Fails below 95 % of the lines or 90 % of the branches of all files together, or of
one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ringbuild  # noqa: E402

LINES, BRANCHES = 95.0, 90.0
LIMIT = 300 * float(os.environ.get("USBIF_TIMEOUT_SCALE", "1"))


@dataclass
class Count:
    """What was reached of how much."""

    lines: int = 0
    lines_hit: int = 0
    branches: int = 0
    branches_hit: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Take the counts of another file in."""
        self.lines += other.lines
        self.lines_hit += other.lines_hit
        self.branches += other.branches
        self.branches_hit += other.branches_hit

    def good(self) -> bool:
        """Is it enough?"""
        return (percent(self.lines_hit, self.lines) >= LINES
                and percent(self.branches_hit, self.branches) >= BRANCHES)

    def row(self, name: str) -> str:
        """A line of the table."""
        return (f"{name:16s} {self.lines_hit:4d} of {self.lines:4d} lines "
                f"{percent(self.lines_hit, self.lines):5.1f} %  "
                f"{self.branches_hit:4d} of {self.branches:4d} branches "
                f"{percent(self.branches_hit, self.branches):5.1f} %")


def percent(part: int, whole: int) -> float:
    """How much that is; nothing of nothing is nothing."""
    return 100 * part / whole if whole else 0.0


def run(program: Path, *args: Path) -> None:
    """Run a program that must end well."""
    env = {k: v for k, v in os.environ.items() if k != "USBIF_ONLY"}
    done = subprocess.run([program, *args], env=env, check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"{program.name} ended with {done.returncode}:\n"
                           + "\n".join(done.stdout.splitlines()[-20:]))


def counted(source: Path, objects: Path) -> Count:
    """What gcov knows of a file."""
    done = subprocess.run(
        ["gcov", "--json-format", "--stdout", "--branch-probabilities",
         "--object-directory", str(objects), str(source)], check=True,
        cwd=objects, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    result = Count()
    for entry in json.loads(done.stdout)["files"]:
        if Path(objects, entry["file"]).resolve() != source:
            continue        # a header
        for line in entry["lines"]:
            hit = [branch["count"] > 0 for branch in line["branches"]]
            result.lines += 1
            result.lines_hit += line["count"] > 0
            result.branches += len(hit)
            result.branches_hit += sum(hit)
            if not line["count"] or not all(hit):
                result.missed.append(
                    f"{source.name}:{line['line_number']}: "
                    + (f"branches {sum(hit)} of {len(hit)}" if line["count"]
                       else "never"))
    return result


def measure(work: Path, without: list[str]) -> dict[str, Count]:
    """Build, run, count."""
    pieces = ringbuild.Pieces(work, ["-O0", "--coverage"],
                              ["-O1", "-DROUNDS=50000"], ["--coverage"])
    makers = {f"test_{name}": pieces.test for name in ringbuild.TESTS}
    makers |= {f"fuzz_{name}": pieces.fuzzer for name in ringbuild.FUZZERS}
    if unknown := set(without) - set(makers):
        raise SystemExit(f"coverage.py: no {' '.join(unknown)} among "
                         + " ".join(makers))
    for program, maker in makers.items():
        if program in without:
            continue
        kind, _, name = program.partition("_")
        maker(name)
        run(pieces.link(program),
            *([ringbuild.CORPUS / name] if kind == "fuzz" else []))
    return {source.name: counted(source, work) for source in ringbuild.RING}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--without", metavar="PROGRAM", action="append",
                        default=[], help="not this one")
    parser.add_argument("--missed", action="store_true",
                        help="name the lines, too")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="usbif-coverage."))
    try:
        counts = measure(work, args.without)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    whole = Count()
    for name, count in counts.items():
        whole.add(count)
        print(count.row(f"ring/{name}"))
        for text in count.missed if args.missed else []:
            print(f"    {text}")
    print(whole.row("all"))
    bad = [name for name, count in [*counts.items(), ("all", whole)]
           if not count.good()]
    if bad:
        print(f"less than {LINES:.0f} % of the lines or {BRANCHES:.0f} % of "
              f"the branches: {', '.join(bad)}", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
