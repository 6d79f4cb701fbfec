#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The runner counts, chooses, and goes on where a round was broken off."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402

TESTS = Path(__file__).resolve().parents[1]
# Says that it ran; fails as long as no file tells it to be good.
PROGRAM = """#!/bin/sh
echo {name} >> "$RAN"
echo 1..1
[ {good} ] || printf 'not '
echo "ok 1 - {name}"
"""


class Tree:
    """A tree with three programs, of which "late" fails at first."""

    def __init__(self, top: Path) -> None:
        self.top, self.ran, self.mended = top, top / "ran", top / "mended"
        tests = top / "tests"
        shutil.copytree(TESTS / "lib", tests / "lib",
                        ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TESTS / "run", tests / "run")
        subprocess.run(["git", "init", "-q", str(top)], check=True)
        for group, name, good in (("unit", "early", "1"), ("unit", "other", "1"),
                                  ("usbctl", "late", f"-e {self.mended}")):
            path = tests / group / f"test_{name}.sh"
            path.parent.mkdir(exist_ok=True)
            path.write_text(PROGRAM.format(name=name, good=good), "ascii")
            path.chmod(0o755)

    def run(self, *args: str, only: str = "") -> tuple[str, list[str]]:
        """Its last line, and what ran."""
        env = {key: value for key, value in os.environ.items()
               if not key.startswith("USBIF_")}
        env |= {"XDG_CACHE_HOME": str(self.top / "cache"), "ONLY": only,
                "RAN": str(self.ran), "JOBS": "1"}
        self.ran.write_text("", "ascii")
        done = subprocess.run([str(self.top / "tests/run"), *args], env=env,
                              text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)
        last = done.stdout.splitlines()[-1]
        tap.expect_equal(done.returncode, int(not last.endswith(" 0 failed")),
                         "status")
        return last, self.ran.read_text("ascii").split()


def case(body):
    """A case with a tree of its own."""
    def run() -> None:
        with tempfile.TemporaryDirectory() as top:
            body(Tree(Path(top)))
    return run


def counting(tree: Tree) -> None:
    """All run, and again."""
    for _ in range(2):
        tap.expect_equal(tree.run(), ("2 passed, 1 failed",
                                      ["early", "other", "late"]), "a run")


def choosing(tree: Tree) -> None:
    """Programs, a group, nothing."""
    tap.expect_equal(tree.run(only="early"), ("1 passed, 0 failed", ["early"]),
                     "a program")
    tap.expect_equal(tree.run(only="unit/")[1], ["early", "other"], "a group")
    tap.expect_equal(tree.run(only="no such")[0], "0 passed, 1 failed",
                     "a run of nothing")


def resuming(only: str):
    """What passed is not run again, until all have passed."""
    def body(tree: Tree) -> None:
        every = ["early", "late"] if only else ["early", "other", "late"]
        good = len(every) - 1
        tap.expect_equal(tree.run("--resume", only=only),
                         (f"{good} passed, 1 failed", every), "the first run")
        tree.mended.touch()
        tap.expect_equal(tree.run("--resume", only=only),
                         (f"{good + 1} passed, 0 failed", ["late"]),
                         "the second run")
        tap.expect_equal(tree.run("--resume", only=only)[1], every,
                         "the next round")
    return body


def apart(tree: Tree) -> None:
    """A round of some is none of all."""
    tree.run("--resume", only="early|late")
    tap.expect_equal(tree.run("--resume")[1], ["early", "other", "late"],
                     "a round of all")


def main() -> None:
    with tap.Suite() as suite:
        suite.case("counts, and fails if anything did", case(counting))
        suite.case("runs what is asked for", case(choosing))
        suite.case("resumes a round", case(resuming("")))
        suite.case("resumes a round of some programs",
                   case(resuming("early|late")))
        suite.case("keeps rounds apart", case(apart))


if __name__ == "__main__":
    main()
