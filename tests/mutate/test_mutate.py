#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Whether the unit tests and the fuzzers' inputs miss a check of ring/.

Some mutants, or all of them with LONG=1; and that what survives, and what is
listed in vain, would be told.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import tap  # noqa: E402

SAMPLE = 20
# Noticed only by tests of completions, and there by any that is refused.
MUTANT = "status.c usbif_rsp_decode: only 0 of *why ? -EPROTO : 0"


def mutate(*args: str) -> tuple[int, str]:
    """Run it: the exit status and what it said."""
    done = subprocess.run([HERE / "mutate.py", *args], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def killed(*args: str) -> str:
    """All that it tries are killed, or listed."""
    status, said = mutate(*args)
    tap.expect(not status, said)
    return said.strip()


def one(*args: str) -> tuple[int, str]:
    """The same for the one above."""
    return mutate("--match", "usbif_rsp_decode: only 0", *args)


def survivor() -> None:
    """One that no test kills is named."""
    status, said = one("--unit", "layout", "--fuzzers", "")
    tap.expect(status == 1 and f"survived: {MUTANT}" in said, said)


def fuzzed() -> None:
    """A kept input of a fuzzer kills it as well."""
    status, said = one("--unit", "layout", "--fuzzers", "rsp")
    tap.expect(not status and "1 killed, 1 of them by kept" in said, said)


def in_vain(entry: str, complaint: str) -> None:
    """A list with an entry that should not be there."""
    with tempfile.NamedTemporaryFile("w", suffix=".list") as file:
        file.write((HERE / "equivalent").read_text("utf-8") + entry)
        file.flush()
        status, said = one("--listed", file.name, "--unit", "status",
                           "--fuzzers", "")
    tap.expect(status == 1 and complaint in said, said)


def main() -> None:
    with tap.Suite() as t:
        if tap.LONG:
            t.case("all mutants are killed or listed", killed)
        else:
            t.case(f"{SAMPLE} mutants are killed", killed, "--sample",
                   str(SAMPLE))
        t.case("a mutant that survives is told", survivor)
        t.case("an input that was kept kills it", fuzzed)
        t.case("a listed mutant that is killed is told", in_vain,
               f"{MUTANT}\n\tNobody minds.\n", f"listed in vain: {MUTANT} (")
        t.case("a listed mutant that is none is told", in_vain,
               "ring.c nothing: is here\n\tNobody minds.\n",
               "listed in vain: ring.c nothing: is here")
        t.case("a listed mutant without a reason is told", in_vain,
               f"{MUTANT}\n", f"listed without a reason: {MUTANT}")


if __name__ == "__main__":
    main()
