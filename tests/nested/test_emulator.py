#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The emulator of the nested machines: repaired outside, untouched inside."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import emulator  # noqa: E402
from cache import compile_tool  # noqa: E402
from nested import KvmHost  # noqa: E402
from tap import LONG, Suite, expect, expect_equal  # noqa: E402
from vm import VMError  # noqa: E402


def repaired() -> str:
    """The copy differs from the installed QEMU in one instruction."""
    stock = emulator.STOCK.read_bytes()
    copy = emulator.outer_emulator().read_bytes()
    expect_equal(len(copy), len(stock), "the size of the copy")
    offset, length = emulator.find(stock)
    expect_equal(copy[offset:offset + length], emulator.NOPS[length],
                 "what took the place of the store")
    expect_equal(copy[:offset], stock[:offset], "all before it")
    expect_equal(copy[offset + length:], stock[offset + length:],
                 "all behind it")
    return f"{stock[offset:offset + length].hex()} at {offset:#x}"


def refused() -> None:
    """Nothing is repaired that does not fit exactly once."""
    stock = emulator.STOCK.read_bytes()
    offset, length = emulator.find(stock)
    shifted = bytearray(stock)
    shifted[offset + 2] ^= 4
    for data in (b"", b"\x7fELF", stock[:4096], emulator.repaired(stock),
                 bytes(shifted)):
        try:
            emulator.find(data)
        except emulator.NotFound:
            continue
        raise AssertionError("a place was found in what has none")


def untouched() -> None:
    """The QEMU of the guests is the distribution's; the copy is not."""
    expect(emulator.packaged(), f"{emulator.STOCK} was modified")
    expect(not emulator.packaged(emulator.outer_emulator()),
           "the repaired copy passes for the distribution's")


def storm(fixed: bool, seconds: int) -> str:
    """Timer interrupts of both levels meet; the clock repeats the run."""
    ticks = compile_tool("ticks")
    with KvmHost(icount=True, repaired=fixed, boot_timeout=240) as host:
        host.put("/tmp/ticks", ticks.read_bytes(), "755")
        guest = host.start_guest("guest", binaries=[ticks], boot_timeout=240)
        guest.spawn("exec nice ticks 1000")
        guest.spawn("while :; do dd if=/dev/urandom of=/dev/null bs=64k "
                    "count=64 2>/dev/null; done")
        host.spawn("exec nice /tmp/ticks 97")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            uptime = guest.run("cat /proc/uptime", timeout=30).out
            time.sleep(0.2)
        host.check_log()
        guest.check_log()
    return f"the guest's clock is at {uptime.split()[0]} s"


def needed(seconds: int) -> str:
    """Without the repair, the same hangs or resets a machine."""
    try:
        storm(False, seconds)
    except VMError as why:
        return str(why).splitlines()[0]
    raise AssertionError("the repair seems not to be needed any more")


def main() -> None:
    with Suite() as t:
        t.case("one instruction is replaced in the outer emulator", repaired)
        t.case("a binary that does not fit is refused", refused)
        t.case("the guests' emulator is the distribution's", untouched)
        if LONG:
            t.case("a storm of timers in host and guest", storm, True, 120)
            t.case("the storm hangs the emulator as it is", needed, 300)


if __name__ == "__main__":
    main()
