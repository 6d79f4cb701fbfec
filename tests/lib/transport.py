# SPDX-License-Identifier: GPL-2.0
"""Where a QEMU runs: on this machine, or inside a guest of it.

A host starts a process, joins one of its UNIX sockets, and keeps its files.
``LocalHost`` does it directly, ``GuestHost`` through the agent of a VM, so
that a VM object of a second-level guest works like that of a first-level one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Protocol, Sequence

if TYPE_CHECKING:
    from vm import VM


_launcher = ThreadPoolExecutor(max_workers=1)

# Who ends a test program wants its guests and files gone, too.
if (threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Stream(Protocol):
    """A connected socket."""

    def recv(self, size: int) -> bytes:
        """Some octets, at most size; none at the end."""

    def sendall(self, data: bytes) -> None:
        """Send all of data."""

    def close(self) -> None:
        """Let go of it."""


class Process(Protocol):
    """A running QEMU."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, once there is one."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""

    def kill(self) -> None:
        """SIGKILL it."""


class LocalHost:
    """This machine."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="usbif-vm."))

    def popen(self, argv: Sequence[str], console: Path) -> Process:
        """Start QEMU; its standard output is the guest's console."""
        # QEMU must not outlive a runner that was killed.  The signal comes
        # when the thread ends that started it, so that one has to last.
        tied = ["setpriv", "--pdeathsig", "KILL", *argv]
        with open(console, "ab") as out, \
                open(self.dir / "stderr", "ab") as err:
            return _launcher.submit(
                subprocess.Popen, tied, stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, start_new_session=True).result()

    def connect(self, path: str, alive: Callable[[], bool]) -> Stream:
        """Join a socket that QEMU makes as it starts."""
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path)
                return sock
            except OSError:
                sock.close()
                if not alive():
                    raise
                time.sleep(0.02)

    def stderr(self) -> str:
        """What QEMU said."""
        with contextlib.suppress(OSError):
            return (self.dir / "stderr").read_text(errors="replace")
        return ""

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.dir, ignore_errors=True)


class _GuestStream:
    """A socket in a guest, by way of a command there."""

    def __init__(self, vm: VM, path: str) -> None:
        self.chunks: queue.Queue[bytes] = queue.Queue()
        self.rest = b""
        self.job = vm.spawn(f"exec /run/usbif-test/agent connect {path}",
                            sink=self.chunks.put)

    def recv(self, size: int) -> bytes:
        if not self.rest:
            self.rest = self.chunks.get()
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def sendall(self, data: bytes) -> None:
        self.job.write(data)

    def close(self) -> None:
        self.job.kill()


class _GuestProcess:
    """A QEMU inside a guest."""

    def __init__(self, vm: VM, command: str, console: Path) -> None:
        self.vm = vm
        self.file = open(console, "ab", buffering=0)
        self.done = threading.Event()
        self.job = vm.spawn(command, sink=self._console)
        self.pid = -1

    def _console(self, data: bytes) -> None:
        if data:
            self.file.write(data)
        else:
            self.done.set()

    def poll(self) -> int | None:
        return self.job.rc if self.done.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        if not self.done.wait(timeout):
            raise subprocess.TimeoutExpired("qemu", timeout or 0)
        return -1 if self.job.rc is None else self.job.rc

    def kill(self) -> None:
        self.job.kill(signal.SIGKILL)


class GuestHost:
    """Inside a VM of this machine."""

    _count = 0

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        GuestHost._count += 1
        self.dir = Path(f"/run/usbif-test/vm{os.getpid()}.{GuestHost._count}")
        vm.run(f"mkdir -p {self.dir}")

    def popen(self, argv: Sequence[str], console: Path) -> Process:
        """Start QEMU; its standard output is the guest's console."""
        command = shlex.join(argv)
        return _GuestProcess(
            self.vm, f"exec {command} </dev/null 2>{self.dir}/stderr", console)

    def connect(self, path: str, alive: Callable[[], bool]) -> Stream:
        """Join a socket that QEMU makes as it starts."""
        while self.vm.run(f"test -S {path}", check=False).rc:
            if not alive():
                raise ConnectionError(path)
            time.sleep(0.1)
        return _GuestStream(self.vm, path)

    def stderr(self) -> str:
        """What QEMU said."""
        with contextlib.suppress(Exception):
            return self.vm.run(f"cat {self.dir}/stderr", check=False).out
        return ""

    def close(self) -> None:
        """Remove the files."""
        with contextlib.suppress(Exception):
            if self.vm.alive():
                self.vm.run(f"rm -rf {self.dir}", check=False)
