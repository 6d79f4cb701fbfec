#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Turns off each check in ring/, one at a time, and wants the tests to notice.

    mutate.py [--sample N] [--match REGEX] [--jobs N] [--show]

A mutant (mutants.py says which there are) is killed if one of the unit tests
fails with it or, if none does, if a fuzzer fails on one of the inputs kept for
it, with the sanitizers.  What makes no difference is listed in the file
"equivalent", each with the reason.  Fails if a mutant survives that is not
listed, and if the list has one that is killed or that does not exist.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import mutants  # noqa: E402
import ringbuild  # noqa: E402

LISTED = HERE / "equivalent"
LIMIT = 30 * float(os.environ.get("USBIF_TIMEOUT_SCALE", "1"))
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# What is likely to notice first.
FIRST = {"layout.c": "layout", "status.c": "status", "ring.c": "ring",
         "proto.c": "proto"}


class Unfit(Exception):
    """The list or the tests are not fit for this."""


def listed(file: Path) -> dict[str, str]:
    """The mutants of the list and why they make no difference."""
    reasons: dict[str, str] = {}
    key = ""
    for line in file.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            key = line.strip()
            if key in reasons:
                raise Unfit(f"listed twice: {key}")
            reasons[key] = ""
        else:
            reasons[key] = f"{reasons[key]} {line.strip()}".strip()
    for key, reason in reasons.items():
        if not reason:
            raise Unfit(f"listed without a reason: {key}")
    return reasons


def notices(program: Path, *args: Path) -> bool:
    """Does a program fail?  Ends it as soon as it has said so."""
    env = {k: v for k, v in os.environ.items() if k != "USBIF_ONLY"}
    with subprocess.Popen([program, *args], env=env, text=True,
                          errors="replace", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as proc:
        # One that never ends has failed, too.
        timer = threading.Timer(LIMIT, proc.kill)
        timer.start()
        try:
            assert proc.stdout
            for line in proc.stdout:
                if line.startswith("not ok"):
                    proc.kill()
                    return True
            return proc.wait() != 0
        finally:
            timer.cancel()


@dataclass
class Tests:
    """What may kill a mutant."""

    unit: list[str]
    fuzzers: list[str]


class Runner:
    """Compiles mutants and runs the tests on them."""

    def __init__(self, work: Path, tests: Tests) -> None:
        self.work = work
        self.tests = tests
        self.lock = threading.Lock()
        self.plain = ringbuild.Pieces(work / "unit", ["-O0"],
                                      ["-O2", "-DROUNDS=20000"])
        for name in tests.unit:
            self.plain.test(name)
        self._checked: ringbuild.Pieces | None = None

    def checked(self) -> ringbuild.Pieces:
        """The fuzzers, when they are needed first."""
        with self.lock:
            if not self._checked:
                pieces = ringbuild.Pieces(
                    self.work / "fuzz", ["-O1", *SANITIZE], ["-O1", *SANITIZE],
                    SANITIZE)
                for name in self.tests.fuzzers:
                    fuzzer = pieces.link(pieces.fuzzer(name))
                    if notices(fuzzer, ringbuild.CORPUS / name):
                        raise Unfit(f"fuzz_{name} fails without any mutant")
                self._checked = pieces
            return self._checked

    def intact(self) -> None:
        """All unit tests pass without any mutant."""
        for name in self.tests.unit:
            program = self.plain.link(f"test_{name}")
            if notices(program):
                raise Unfit(f"test_{name} fails without any mutant")

    def fails(self, pieces: ringbuild.Pieces, program: str, source: Path,
              target: Path) -> bool:
        """Does a program fail with the mutant in the place of its file?"""
        binary = source.parent / program
        pieces.link(program, {source.name: target}, binary)
        inputs = ([ringbuild.CORPUS / program.removeprefix("fuzz_")]
                  if program.startswith("fuzz_") else [])
        result = notices(binary, *inputs)
        binary.unlink()
        return result

    def killer(self, mutant: mutants.Mutant) -> str:
        """What kills a mutant, "" if nothing does."""
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            source = Path(name) / mutant.file.name
            source.write_text(mutant.apply(mutant.file.read_text("utf-8")),
                              "utf-8")
            target = source.with_suffix(".o")
            ringbuild.cc(*self.plain.ring_flags, "-c", "-o", target, source)
            first = FIRST[mutant.file.name]
            for test in sorted(self.tests.unit, key=lambda t: t != first):
                if self.fails(self.plain, f"test_{test}", source, target):
                    return f"test_{test}"
            if not self.tests.fuzzers:
                return ""
            checked = self.checked()
            ringbuild.cc(*checked.ring_flags, "-c", "-o", target, source)
            for fuzzer in self.tests.fuzzers:
                if self.fails(checked, f"fuzz_{fuzzer}", source, target):
                    return f"fuzz_{fuzzer}"
        return ""


def sample(every: list[mutants.Mutant], count: int) -> list[mutants.Mutant]:
    """Some of them, always the same, from everywhere."""
    if not count or count >= len(every):
        return every
    return [every[(2 * i + 1) * len(every) // (2 * count)]
            for i in range(count)]


def report(chosen: list[mutants.Mutant], killers: list[str],
           reasons: dict[str, str], stale: list[str]) -> int:
    """Say what became of them; the exit status."""
    known = killed = fuzz = survived = 0
    for mutant, killer in zip(chosen, killers):
        place = f"ring/{mutant.file.name}:{mutant.line}"
        if killer:
            killed += 1
            fuzz += killer.startswith("fuzz")
            if mutant.key in reasons:
                stale.append(f"{mutant.key} ({killer} kills it)")
        elif mutant.key in reasons:
            known += 1
        else:
            survived += 1
            print(f"{place}: survived: {mutant.key}")
    for key in stale:
        print(f"listed in vain: {key}")
    print(f"{len(chosen)} mutants: {killed} killed, {fuzz} of them by kept "
          f"inputs of fuzzers only; {known} listed, {survived} survived")
    return int(bool(survived or stale))


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, metavar="N",
                        help="only so many, always the same")
    parser.add_argument("--match", default="", metavar="REGEX",
                        help="only mutants whose name has it")
    parser.add_argument("--jobs", type=int, metavar="N",
                        default=int(os.environ.get("JOBS") or 1))
    parser.add_argument("--listed", type=Path, default=LISTED, metavar="FILE")
    parser.add_argument("--unit", default=",".join(ringbuild.TESTS),
                        metavar="NAME,...", help="unit tests to run")
    parser.add_argument("--fuzzers", default=",".join(ringbuild.FUZZERS),
                        metavar="NAME,...", help="fuzzers to run")
    parser.add_argument("--show", action="store_true",
                        help="name the mutants only")
    return parser.parse_args()


def run(args: argparse.Namespace, chosen: list[mutants.Mutant]) -> list[str]:
    """What kills each."""
    tests = Tests([t for t in args.unit.split(",") if t],
                  [f for f in args.fuzzers.split(",") if f])
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="usbif-mutate.",
                                     dir=memory) as work:
        runner = Runner(Path(work), tests)
        runner.intact()
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                return list(pool.map(runner.killer, chosen))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("mutate.py: terminated"))
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    every = [m for file in ringbuild.RING for m in mutants.of(file)]
    reasons = listed(args.listed)
    stale = sorted(set(reasons) - {m.key for m in every})
    chosen = [m for m in every if re.search(args.match, m.key)]
    if args.sample:
        chosen = sample([m for m in chosen if m.key not in reasons], args.sample)
    if args.show:
        print("\n".join(m.key for m in chosen))
        return 0
    began = time.monotonic()
    status = report(chosen, run(args, chosen), reasons, stale)
    print(f"{time.monotonic() - began:.0f} s")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unfit as e:
        sys.exit(f"mutate.py: {e}")
