# SPDX-License-Identifier: GPL-2.0
"""The peers in user space, tests/peers/NAME.c: ring/ and a program."""

from __future__ import annotations

import os
from pathlib import Path

import kernels
from cache import TREE, compile_tool
from gadget import child_node, find_device
from vm import VM
from workload import counter

IMAGE = 8 << 20
DISK, SINK, ISO = 1, 2, 3
DEBUG = "/sys/kernel/debug/usbfront/peer"
PYTHON = "/usr/bin/python3"


def compile_peer(name: str, *libs: str) -> Path:
    """Build a peer of tests/peers/NAME.c and the libs beside it."""
    peers, ring = TREE / "tests" / "peers", TREE / "ring"
    also = [peers / f"{lib}.c" for lib in libs]
    also += [ring / f"{part}.c" for part in ("ring", "proto", "status",
                                             "layout")]
    watch = [*peers.glob("*.h"), *ring.glob("*.h"), *(TREE / "include").glob("*.h")]
    return compile_tool(name, *(f"-I{TREE / path}" for path in
                                ("tests/shim", "include", "ring")),
                        source=peers / f"{name}.c", also=also, watch=watch)


class Peer:
    """The backend of tests/peers/back_disk.c, and what it shows."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.modules = kernels.build(vm.kernel)
        self.program = compile_peer("back_disk", "back", "back_iso",
                                    "back_hostile")
        self.content = os.urandom(IMAGE)
        (vm.share / "image").write_bytes(self.content)
        # Disks come and go by the dozen: not a second for each.
        vm.run("cp /share/image /tmp/image; modprobe usb-storage delay_use=0; "
               "modprobe -a usbcore sd_mod uas usbtest")
        self.load()
        self.start()

    def load(self) -> None:
        """Load usbfront."""
        self.vm.run(f"insmod {self.modules}/usbfront.ko")

    def start(self, mib: int = 16, features: int = 0) -> None:
        """Make the channel, get a session."""
        self.job = self.vm.spawn(f"exec {self.program} peer /tmp/image {mib} "
                                 f"{features}", stdin=True)
        self.job.wait_output("session 1")
        self.told = 0

    def tell(self, command: str) -> str:
        """Give the backend a command, return what it says."""
        self.job.write(command.encode() + b"\n")
        self.told += 1
        self.job.wait_output(rf"^done {self.told} ", 10)
        return self.job.output()

    def disk(self, speed: str = "high") -> str:
        """Plug in the disk, after pulling it out; its block device."""
        self.unplug(DISK)
        self.tell(f"plug {DISK} {speed}")
        return self.node()

    def node(self) -> str:
        """The block device of the disk."""
        busid = find_device(self.vm, "back-disk", 20)
        return "/dev/" + child_node(self.vm, busid, "block/sd?")

    def sink(self, speed: str = "high") -> str:
        """Plug in source and sink; its bus ID."""
        self.tell(f"plug {SINK} {speed}")
        return find_device(self.vm, "back-sink", 20)

    def unplug(self, port: int) -> None:
        """Pull out what is on a port, wait until that has been noticed."""
        self.tell(f"unplug {port}")
        name = "back-disk" if port == DISK else "back-sink"
        self.vm.wait_for(f"! grep -qx {name} /sys/bus/usb/devices/*/serial")

    def end(self) -> None:
        """Have the channel dropped by the backend."""
        self.job.write(b"quit\n")
        self.job.wait(10, check=True)
        self.vm.wait_for("! test -e /sys/bus/usb/devices/*/serial || "
                         "! grep -q back- /sys/bus/usb/devices/*/serial")

    def count(self, name: str) -> int:
        """A counter of the channel."""
        return counter(self.vm.run(f"cat {DEBUG}").out, name)

    def complaints(self) -> int:
        """Lines in the log about a backend that lies."""
        return int(self.vm.run("dmesg | grep -c 'violates the protocol'",
                               check=False).out)

    def compare(self, node: str, size: str = "1M") -> None:
        """The disk is its image, read in pieces of a size."""
        self.vm.run(f"dd if={node} of=/tmp/read bs={size} iflag=direct 2>&1 "
                    "&& cmp /tmp/read /tmp/image", 60)
