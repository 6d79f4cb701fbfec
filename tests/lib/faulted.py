# SPDX-License-Identifier: GPL-2.0
"""What must hold after a fault.

    idle(vm, "loop")            # nothing is in flight at either end, no memory in use
    tool("faulty")              # of tests/tools, with the headers that it has
"""

from __future__ import annotations

from pathlib import Path

from cache import TREE, compile_tool
from vm import VM

DEBUG = "/sys/kernel/debug"


def tool(name: str) -> Path:
    """A program of tests/tools that includes headers from there."""
    return compile_tool(name, watch=list((TREE / "tests/tools").glob("*.h")))


def idle(vm: VM, name: str, timeout: float = 20) -> None:
    """Wait until nothing is in flight on a channel of the loopback."""
    back, front = f"{DEBUG}/usbback/{name}/channel", f"{DEBUG}/usbfront/{name}"
    vm.wait_for(f"grep -q '^live 0 inflight 0 ' {back} && "
                f"grep -q '^requests: .* live 0 .* lost 0 ' {front} && "
                f"sed -n 's/^pool: blocks \\(.*\\) free/\\1/p' {front} | "
                "{ read -r all free; [ \"$all\" = \"$free\" ]; } || "
                f"{{ cat {back} {front}; false; }}", timeout)
