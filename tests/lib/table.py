# SPDX-License-Identifier: GPL-2.0
"""The table of testusb: each case, on the bare device and through each channel.

    from table import Table, case_name

    case_name(9, "high", "fd", "chapter 9 control requests", bare=True)
    table = Table()
    table.feed(line)        # of TAP, from whatever program; True if it is in
    print(table)            # one block for each speed

A program says in the remark of a case that it "fails": on the bare device, which
is no fault of ours, or through the channel, too, which then is none either.
"""

from __future__ import annotations

import re

SPEEDS = ("full", "high", "super")
FORMS = ("fd", "driver VM", "nested")
BARE = "bare for "
# In the order in which one hides the other, if kernels differ.
FAILED, FAILS, PASSES = "FAILED", "fails", "passes"
LINE = re.compile(r"(not )?ok\b\s*\d+ - (?:[\d.]+: )?testusb (\d+) at (\w+) "
                  rf"speed, ({BARE})?({'|'.join(FORMS)}): ([^#]*[^# ])"
                  r"(?: # (.*))?$")


def case_name(number: int, speed: str, form: str, what: str,
              bare: bool = False) -> str:
    """The name under which a case is run."""
    return (f"testusb {number} at {speed} speed, {BARE if bare else ''}{form}: "
            f"{what}")


class Table:
    """What has been seen so far."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.cells: dict[tuple[str, int, str], str] = {}

    def feed(self, line: str) -> bool:
        """Take a line into account; tells whether it belongs here."""
        match = LINE.match(line)
        if not match:
            return False
        number, speed = int(match[2]), match[3]
        remark = match[7] or ""
        result = (FAILED if match[1] else
                  FAILS if remark.startswith(FAILS) else PASSES)
        key = (speed, number, (match[4] or "") + match[5])
        self.names[number] = match[6]
        self.cells[key] = min(result, self.cells.get(key, PASSES),
                              key=(FAILED, FAILS, PASSES).index)
        return True

    def _bare(self, speed: str, number: int) -> str:
        """On which machines it passes without us."""
        seen = {form: self.cells[key] for form in FORMS
                if (key := (speed, number, BARE + form)) in self.cells}
        fails = [form for form in seen if seen[form] != PASSES]
        if not seen:
            return "-"
        if not fails:
            return PASSES
        return FAILS if len(fails) == len(seen) else \
            f"{FAILS} ({', '.join(fails)})"

    def rows(self, speed: str) -> list[list[str]]:
        """A block of the table, without its head."""
        numbers = sorted({n for s, n, _ in self.cells if s == speed})
        return [[str(number), self.names[number], self._bare(speed, number),
                 *(self.cells.get((speed, number, form), "-")
                   for form in FORMS)] for number in numbers]

    def __str__(self) -> str:
        blocks = []
        for speed in SPEEDS:
            rows = self.rows(speed)
            if not rows:
                continue
            rows.insert(0, ["", f"testusb at {speed} speed", "bare", *FORMS])
            sizes = [max(map(len, column)) for column in zip(*rows)]
            blocks.append("\n".join(
                "  ".join([row[0].rjust(sizes[0]),
                           *(text.ljust(size) for text, size in
                             zip(row[1:], sizes[1:]))]).rstrip()
                for row in rows))
        return "\n\n".join(blocks)
