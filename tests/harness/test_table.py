#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The table of testusb says what its lines say."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
from table import Table, case_name  # noqa: E402


def line(result: str, number: int, form: str, bare: bool = False,
         kernel: str = "6.1: ", remark: str = "0.1 s") -> str:
    """A line of TAP."""
    name = case_name(number, "high", form, f"case {number}", bare)
    return f"{result} 7 - {kernel}{name} # {remark}"


def row(*lines: str) -> list[str]:
    """The only row of the table that these make."""
    table = Table()
    for text in lines:
        tap.expect(table.feed(text), f"not taken: {text}")
    rows = table.rows("high")
    tap.expect_equal(len(rows), 1, "rows")
    return rows[0][2:]


def passing() -> None:
    """Passed everywhere, or not run there."""
    tap.expect_equal(row(line("ok", 9, "fd", True), line("ok", 9, "fd"),
                         line("ok", 9, "nested", kernel="")),
                     ["passes", "passes", "-", "passes"], "row")


def failing() -> None:
    """What fails on one of two kernels has failed, in whatever order."""
    lines = [line("ok", 9, "fd"), line("not ok", 9, "fd", kernel="6.12: ")]
    for both in (lines, lines[::-1]):
        tap.expect_equal(row(*both), ["-", "FAILED", "-", "-"], "row")


def exempt() -> None:
    """What fails on a bare device is told with the machine that has it."""
    remark = "fails on the bare device, too: 22"
    lines = [line("ok", 9, "nested", True, remark="fails here, without us: 22"),
             line("ok", 9, "nested", remark=remark)]
    tap.expect_equal(row(*lines), ["fails", "-", "-", "fails"], "row")
    tap.expect_equal(row(line("ok", 9, "fd", True), *lines),
                     ["fails (nested)", "-", "-", "fails"], "row")


def others() -> None:
    """Other lines are none of its business."""
    table = Table()
    for text in ("ok 1 - 6.1: testusb 9, chapter 9 control requests # 1 s",
                 "# ok 1 - testusb 9 at high speed, fd: a remark", "1..7"):
        tap.expect(not table.feed(text), f"taken: {text}")
    tap.expect_equal(str(table), "", "table")


def main() -> None:
    with tap.Suite() as t:
        for case in (passing, failing, exempt, others):
            t.case(f"table: {case.__name__}", case)


if __name__ == "__main__":
    main()
