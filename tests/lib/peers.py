# SPDX-License-Identifier: GPL-2.0
"""The peers in user space, tests/peers/NAME.c: ring/ and a program."""

from __future__ import annotations

from pathlib import Path

from cache import TREE, compile_tool


def compile_peer(name: str, *libs: str) -> Path:
    """Build a peer of tests/peers/NAME.c and the libs beside it."""
    peers, ring = TREE / "tests" / "peers", TREE / "ring"
    also = [peers / f"{lib}.c" for lib in libs]
    also += [ring / f"{part}.c" for part in ("ring", "proto", "status",
                                             "layout")]
    watch = [peers / f"{lib}.h" for lib in libs]
    watch += [*ring.glob("*.h"), *(TREE / "include").glob("*.h")]
    return compile_tool(name, *(f"-I{TREE / path}" for path in
                                ("tests/shim", "include", "ring")),
                        source=peers / f"{name}.c", also=also, watch=watch)
