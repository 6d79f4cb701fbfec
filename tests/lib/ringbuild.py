# SPDX-License-Identifier: GPL-2.0
"""Programs of ring/ in user space, piece by piece.

tests/unit/Makefile compiles a program at once.  Here ring/ is compiled with flags
of its own, and one piece can be taken for another.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterable

TOP = Path(__file__).resolve().parents[2]
UNIT = TOP / "tests/unit"
FUZZ = TOP / "tests/fuzz"
CORPUS = FUZZ / "corpus"
RING = tuple(TOP / "ring" / f"{name}.c"
             for name in ("layout", "proto", "ring", "status"))
# Unit tests of these, the quickest first, and what else their linker is told.
TESTS: dict[str, tuple[str, ...]] = {
    "rewritten": ("-Wl,--wrap=usbif_word_read",
                  "-Wl,--wrap=usbif_word_read_acquire"),
    "layout": (), "status": (), "ring": (), "proto": ()}
FUZZERS = tuple(sorted(p.stem[len("fuzz_"):] for p in FUZZ.glob("fuzz_*.c")))

FLAGS = ["-std=gnu11", "-w", "-pthread",
         *(f"-I{TOP / path}" for path in
           ("tests/shim", "include", "ring", "tests/lib", "tests/unit",
            "tests/fuzz"))]


def cc(*args: str | Path) -> None:
    """Call the compiler; raises with what it said."""
    done = subprocess.run(["gcc", *FLAGS, *map(str, args)], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"gcc {' '.join(map(str, args))}: {done.stdout}")


class Pieces:
    """Objects in a directory, and programs made of them."""

    def __init__(self, directory: Path, ring_flags: Iterable[str],
                 flags: Iterable[str], link_flags: Iterable[str] = ()) -> None:
        self.dir = directory
        self.ring_flags = list(ring_flags)
        self.flags = list(flags)
        self.link_flags = list(link_flags)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.ring = {source.name: self.compile(source, self.ring_flags)
                     for source in RING}
        self.samples = self.compile(UNIT / "samples.c", self.flags)
        self.mains: dict[str, list[Path]] = {}

    def compile(self, source: Path, flags: list[str],
                name: str = "") -> Path:
        """An object, of that name if it is not the source's."""
        target = self.dir / f"{name or source.stem}.o"
        cc(*flags, "-c", "-o", target, source)
        return target

    def test(self, name: str) -> str:
        """Compile a unit test, but for ring/."""
        self.mains[f"test_{name}"] = [
            self.compile(UNIT / f"test_{name}.c", self.flags), self.samples]
        return f"test_{name}"

    def fuzzer(self, name: str) -> str:
        """Compile a fuzzer that is given its inputs by name."""
        replay = self.dir / "replay.o"
        if not replay.exists():
            self.compile(FUZZ / "replay.c", self.flags)
        self.mains[f"fuzz_{name}"] = [
            self.compile(FUZZ / f"fuzz_{name}.c", self.flags), replay,
            self.samples]
        return f"fuzz_{name}"

    def link(self, program: str, ring: dict[str, Path] | None = None,
             target: Path | None = None) -> Path:
        """A program, with other objects of ring/ if there are."""
        target = target or self.dir / program
        objects = {**self.ring, **(ring or {})}
        wrap = TESTS.get(program.removeprefix("test_"), ())
        cc(*self.link_flags, *wrap, "-o", target, *self.mains[program],
           *objects.values())
        return target
