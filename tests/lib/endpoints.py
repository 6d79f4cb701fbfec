# SPDX-License-Identifier: GPL-2.0
"""Bulk and interrupt endpoints of a device in a VM, used from out here.

    ends = Endpoints(vm, busid)                 # of its interface 0
    ends.write(0x02, b"request")
    answer = ends.read(0x81, 65536)
    ends.close()
"""

from __future__ import annotations

import struct

from cache import compile_tool
from gadget import device_node
from vm import VM, CommandFailed


class Endpoints:
    """What a program with usbfs would have of an interface."""

    def __init__(self, vm: VM, busid: str, interface: int = 0) -> None:
        node = device_node(vm, busid)
        vm.wait_for(f"test -c {node}")
        self.job = vm.spawn(f"exec {compile_tool('endpoints')} {node} "
                            f"{interface}")

    def __enter__(self) -> Endpoints:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _transfer(self, endpoint: int, length: int, timeout: float,
                  data: bytes) -> int:
        self.job.write(struct.pack("<III", endpoint, length,
                                   int(timeout * 1000)) + data)
        done, = struct.unpack("<i", self.job.read(4, timeout + 10))
        if done < 0:
            raise CommandFailed(f"transfer on endpoint {endpoint:#x}: {done}")
        return done

    def write(self, endpoint: int, data: bytes, timeout: float = 20) -> None:
        """One OUT transfer."""
        done = self._transfer(endpoint, len(data), timeout, data)
        if done != len(data):
            raise CommandFailed(f"only {done} of {len(data)} octets were sent")

    def read(self, endpoint: int, length: int, timeout: float = 20) -> bytes:
        """One IN transfer of up to that length."""
        done = self._transfer(endpoint, length, timeout, b"")
        return self.job.read(done) if done else b""

    def close(self) -> None:
        """Give the interface back."""
        self.job.close_input()
        self.job.wait()
