# SPDX-License-Identifier: GPL-2.0
"""Channels of this machine's usbctl: what joins a driver VM and its guests.

    served = Served(scratch)            # its sockets and pids are below there
    served.serve("vm1")
    VM("driver", args=served.qemu_args("--backend vm1"))
    VM("vm1", args=served.qemu_args("vm1"))
    served.run("status vm1"); served.server("vm1"); served.run("drop vm1")
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from nested import usbctl_binary
from tap import expect_equal


class Served:
    """Some servers with a directory of their own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.usbctl = usbctl_binary()
        self.env = dict(os.environ, USBIF_RUNDIR=str(scratch / "run"))

    def run(self, words: str, rc: int | None = 0) -> str:
        """usbctl on this machine."""
        result = subprocess.run([str(self.usbctl), *words.split()], text=True,
                                env=self.env, check=False, timeout=60,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        if rc is not None:
            expect_equal(result.returncode, rc,
                         f"usbctl {words} ({result.stdout.strip()})")
        return result.stdout

    def serve(self, name: str) -> None:
        """The server of a guest."""
        self.run(f"serve {name} --backend-socket "
                 f"{self.scratch}/driver-{name}.sock")

    def server(self, name: str) -> int:
        """Its process."""
        return int((self.scratch / f"run/{name}.pid").read_text("ascii"))

    def qemu_args(self, words: str) -> list[str]:
        """What QEMU is to be told of a channel."""
        return shlex.split(self.run(f"qemu-args {words}"))
