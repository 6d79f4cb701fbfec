# SPDX-License-Identifier: GPL-2.0
"""Faults of a channel, and what must hold after one.

    bells = Bells(vm, "bells")  # joins both modules; its doorbells fail as told
    bells.tell("drop 50 50")
    idle(vm, "loop")            # nothing is in flight at either end, no memory in use
    tool("faulty")              # of tests/tools, with the headers that it has
"""

from __future__ import annotations

from pathlib import Path

import tap
from cache import TREE, compile_tool
from vm import VM

DEBUG = "/sys/kernel/debug"


class Bells:
    """A channel with doorbells that fail: tests/tools/bells.c."""

    def __init__(self, vm: VM, name: str) -> None:
        self.vm = vm
        self.name = name
        self.job = vm.spawn(f"exec {compile_tool('bells')} {name}",
                            stdin=True)
        self.job.wait_output("joined", 20)
        self.told = 0

    def tell(self, words: str, timeout: float = 30) -> tuple[int, int]:
        """A command; how many doorbells passed before it, and how many did not."""
        self.job.write(f"{words}\n".encode())
        self.told += 1
        found = self.job.wait_output(rf"(?s)(?:done.*?){{{self.told - 1}}}"
                                     r"done (\d+) (\d+)\n", timeout)
        return int(found[1]), int(found[2])

    def end(self) -> None:
        """Both sides end."""
        self.job.close_input()
        tap.expect_equal(self.job.wait(30), 0, self.job.output()[-200:])


def tool(name: str) -> Path:
    """A program of tests/tools that includes headers from there."""
    return compile_tool(name, watch=list((TREE / "tests/tools").glob("*.h")))


def idle(vm: VM, name: str, timeout: float = 20,
         guest: VM | None = None) -> None:
    """Wait until nothing is in flight on a channel: one of the loopback, or the
    only one of that guest."""
    back = f"{DEBUG}/usbback/{name}/channel"
    front = f"{DEBUG}/usbfront/{'*' if guest else name}"
    vm.wait_for(f"grep -q '^live 0 inflight 0 ' {back} || "
                f"{{ cat {back}; false; }}", timeout)
    (guest or vm).wait_for(
        f"grep -q '^requests: .* live 0 .* lost 0 ' {front} && "
        f"sed -n 's/^pool: blocks \\(.*\\) free/\\1/p' {front} | "
        "{ read -r all free; [ \"$all\" = \"$free\" ]; } && "
        f"! grep -qE '^port .* (ids|blocks) [1-9]' {front} || "
        f"{{ cat {front}; false; }}", timeout)
