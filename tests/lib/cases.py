#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What became of the numbered cases of Documentation/reliability.rst in a run.

  tests/run 2>&1 | tee LOG; tests/lib/cases.py LOG... > Documentation/reliability-cases.rst

Each line of TAP with a number (H17, F26) counts; what stands behind its "#" is
what was seen. Several logs are taken together, in their order; of a case that was run
again in the same program the last line counts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numbered  # noqa: E402

HEAD = """.. SPDX-License-Identifier: GPL-2.0
.. Made by tests/lib/cases.py from the output of a run.

=========================
Numbered cases, as tested
=========================

What became of the cases of Documentation/reliability.rst, which says of each what must
happen, in the runs that Documentation/testing.rst names last, all programs and kernels together.
Where a number stands behind a name that is a counter of usbback (``sessions``,
``violations``, ``refused_...``) or usbfront (``broken``, ``lost``, ``late``) in debugfs,
and how much it grew in the case.
"""
# Of one program that runs alone, or of several side by side.
LINE = re.compile(r"^=== (?P<alone>[\w-]+/\w+)(?:\.\w+)?$|"
                  r"^(?:(?P<program>[\w-]+/\w+): )?(?P<good>ok|not ok) \d+ - "
                  r"(?P<text>.*?)(?: # (?P<remark>.*))?$", re.M)
NUMBER = re.compile(r"\b([HF])(\d+)\b")
# What a case took is no finding.
TIME = re.compile(r"(?:, |^)[\d.]+ s$")
WIDTHS = (6, 44, 8, 8, 32, 60)


class Row(NamedTuple):
    """One case that was run."""

    program: str
    good: bool
    remark: str


def rows(text: str) -> dict[tuple[str, int], list[Row]]:
    """By letter and number."""
    found: dict[tuple[str, int], dict[tuple[str, str], Row]] = {}
    alone = ""
    for line in LINE.finditer(text):
        if line["alone"]:
            alone = line["alone"]
            continue
        remark = TIME.sub("", line["remark"] or "")
        row = Row(line["program"] or alone, line["good"] == "ok", remark)
        for letter, number in set(NUMBER.findall(line["text"])):
            # What was run again counts once.
            found.setdefault((letter, int(number)), {})[
                row.program, line["text"]] = row
    return {key: list(lines.values()) for key, lines in found.items()}


def wrapped(text: str, width: int) -> list[str]:
    """Lines of words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def escaped(text: str) -> str:
    """What means something to docutils does not."""
    return re.sub(r"([*`|\\]|_\b)", r"\\\1", text)


def cells(case: str, title: str, found: list[Row]) -> list[list[str]]:
    """One row of the table."""
    programs = " ".join(dict.fromkeys(row.program for row in found))
    remarks = [row.remark for row in found if row.remark]
    passed = sum(row.good for row in found)
    columns = (case, title, str(passed), str(len(found) - passed), programs,
               remarks[-1] if remarks else "")
    return [wrapped(escaped(text), width)
            for text, width in zip(columns, WIDTHS)]


def table(found: dict[tuple[str, int], list[Row]], letter: str) -> str:
    """All cases with that letter, also those that were not run."""
    rule = "  ".join("=" * width for width in WIDTHS)
    lines = [rule, "  ".join(f"{word:{width}}" for word, width in zip(
        ("case", "what happens", "passed", "failed", "programs", "seen"),
        WIDTHS)).rstrip(), rule]
    for number, title in sorted(numbered.titles(letter).items()):
        parts = cells(f"{letter}{number}", title, found.get((letter, number), []))
        for i in range(max(map(len, parts))):
            lines.append("  ".join(
                f"{part[i] if i < len(part) else '':{width}}"
                for part, width in zip(parts, WIDTHS)).rstrip())
    return "\n".join([*lines, rule, ""])


def main() -> None:
    """The document."""
    found = rows("\n".join(Path(name).read_text("utf-8", "replace")
                           for name in sys.argv[1:]))
    print(HEAD)
    for letter, title in (("H", "Hostile peers and devices"), ("F", "Faults")):
        print(f"{title}\n{'=' * len(title)}\n\n{table(found, letter)}")


if __name__ == "__main__":
    main()
