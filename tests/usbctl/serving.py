# SPDX-License-Identifier: GPL-2.0
"""Servers on a made-up machine (fake.py): what the programs that test them share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import fake  # noqa: E402
import tap  # noqa: E402
from fake import Machine, Module  # noqa: E402
from tap import expect, expect_equal  # noqa: E402


def serve(machine: Machine, *words: str, vm: str = "vm1",
          says: str = "") -> Path:
    """Starts a server; the guest's socket."""
    result = machine("serve", vm, *words)
    expect_equal((result.rc, result.out), (0, ""), f"serve ({result.err!r})")
    expect(says in result.err and bool(says) == bool(result.err), result.err)
    return machine.run_dir / f"{vm}.sock"


def kernel(machine: Machine) -> Module:
    """A machine with usbback."""
    return machine.load()


def described(machine: Machine, vm: str = "vm1") -> Any:
    """What the server says of itself."""
    return json.loads((machine.run_dir / f"{vm}.json").read_text("utf-8"))


def is_alive(pid: int) -> bool:
    """Is there such a process, and no zombie?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def look(machine: Machine) -> None:
    """Has the server look at the module: files that are made up can't tell it to."""
    node = machine.dev / "usbback"
    node.rename(node.with_suffix(".old"))
    node.with_suffix(".old").rename(node)


@contextlib.contextmanager
def other_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A program in Python, so that there is one that can be killed."""
    with subprocess.Popen(["/usr/bin/python3", "-c", "import sys, fake\n" + code],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=str(HERE))) as process:
        try:
            yield process
        finally:
            process.kill()


def run_cases(cases: dict[str, Callable[[Machine], Any]]) -> None:
    """Each case has a machine of its own."""
    directory = Path(tempfile.mkdtemp(prefix="usbctl-build-", dir="/tmp"))
    try:
        directory.chmod(0o755)
        with tap.Suite() as suite:
            usbctl, preload = fake.build(directory)

            def run(function: Any) -> Any:
                with Machine(usbctl, preload) as machine:
                    return function(machine)

            for name, function in cases.items():
                suite.case(name, run, function)
    finally:
        shutil.rmtree(directory)
