# SPDX-License-Identifier: GPL-2.0
"""The peers in user space, tests/peers/NAME.c: ring/ and a program."""

from __future__ import annotations

import os
from pathlib import Path

import kernels
import tap
import usbtest
from cache import TREE, compile_tool
from gadget import child_node, find_device
from usbif import ivshmem_addresses
from vm import VM, Result
from workload import counter

IMAGE = 8 << 20
DISK, SINK, ISO = 1, 2, 3
PYTHON = "/usr/bin/python3"
# enum back_lie in tests/peers/back.h; the first ones need a completion.
LIES = {1: "id out of range", 2: "id not live", 3: "cancel never sent",
        4: "completed twice", 5: "too many octets", 6: "unknown status",
        7: "other session", 8: "reserved octets", 9: "index far ahead",
        10: "index moved back", 11: "consumer far ahead",
        12: "impossible port"}


def compile_peer(name: str, *libs: str) -> Path:
    """Build a peer of tests/peers/NAME.c and the libs beside it."""
    peers, ring = TREE / "tests" / "peers", TREE / "ring"
    also = [peers / f"{lib}.c" for lib in (*libs, "ivshmem")]
    also += [ring / f"{part}.c" for part in ("ring", "proto", "status",
                                             "layout")]
    watch = [*peers.glob("*.h"), *ring.glob("*.h"), *(TREE / "include").glob("*.h")]
    return compile_tool(name, *(f"-I{TREE / path}" for path in
                                ("tests/shim", "include", "ring")),
                        source=peers / f"{name}.c", also=also, watch=watch)


class Peer:
    """The backend of tests/peers/back_disk.c, and what it shows.

    driver: a machine of its own for it, joined to the other one by ivshmem. Without, a
    channel of kind fd.
    """

    def __init__(self, vm: VM, driver: VM | None = None) -> None:
        self.vm = vm
        self.driver = driver or vm
        name = "peer" if driver is None else ivshmem_addresses(vm)[0]
        self.debug = f"/sys/kernel/debug/usbfront/{name}"
        self.modules = kernels.build(vm.kernel)
        self.program = compile_peer("back_disk", "back", "back_iso",
                                    "back_hostile")
        self.content = os.urandom(IMAGE)
        for machine in {vm, self.driver}:
            (machine.share / "image").write_bytes(self.content)
            machine.run("cp /share/image /tmp/image")
        # Disks come and go by the dozen: not a second for each.
        vm.run("modprobe usb-storage delay_use=0; "
               "modprobe -a usbcore sd_mod uas usbtest")
        self.load()
        self.start()

    def load(self) -> None:
        """Load usbfront."""
        self.vm.run(f"insmod {self.modules}/usbfront.ko")

    def start(self, mib: int = 16, features: int = 0) -> None:
        """Make the channel, get a session. Over ivshmem its region is what it is."""
        what = f"peer /tmp/image {mib}"
        if self.driver is not self.vm:
            address, = ivshmem_addresses(self.driver)
            what = f"pci /sys/bus/pci/devices/{address} /tmp/image"
        self.job = self.driver.spawn(f"exec {self.program} {what} {features}",
                                     stdin=True)
        self.job.wait_output("session 1")
        self.told = 0

    def tell(self, command: str, seconds: float = 0) -> str:
        """Give the backend a command that takes so long, return what it says."""
        self.job.write(command.encode() + b"\n")
        self.told += 1
        self.job.wait_output(rf"^done {self.told} ", 10 + seconds)
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

    def renew(self, mib: int) -> None:
        """Another channel. The old one is dropped by a backend that can't answer
        meanwhile, which must not take long."""
        self.end()
        self.start(mib)

    def reload(self) -> None:
        """After the module has gone."""
        self.job.kill(9)
        self.job.wait(5)
        self.load()
        self.start()
        self.compare(self.disk())

    def count(self, name: str) -> int:
        """A counter of the channel."""
        return counter(self.vm.run(f"cat {self.debug}").out, name)

    def complaints(self) -> int:
        """Lines in the log about a backend that lies."""
        return int(self.vm.run("dmesg | grep -c 'violates the protocol'",
                               check=False).out)

    def compare(self, node: str, size: str = "1M") -> None:
        """The disk is its image, read in pieces of a size."""
        self.vm.run(f"dd if={node} of=/tmp/read bs={size} iflag=direct 2>&1 "
                    "&& cmp /tmp/read /tmp/image", 60)


def unanswered(peer: Peer, busid: str, times: int = 1,
               port: str = "") -> tuple[Result, int, str]:
    """Unlinks that nobody answers: how that went, how many were lost, and the command
    that succeeds when all of them are answered after all."""
    before, late = peer.count("lost"), peer.count("late")
    peer.tell(f"stubborn 1 {port}")
    result = peer.vm.run(usbtest.command(busid, 11).replace("-c 20", f"-c {times}"),
                         30, check=False)
    lost = peer.count("lost") - before
    return result, lost, f"grep -qx 'late {late + lost}' {peer.debug}"


def late_answers(peer: Peer) -> str:
    """An unlink that is never answered ends all the same, and what comes
    later harms nobody."""
    busid = peer.sink()
    result, lost, answered = unanswered(peer, busid)
    tap.expect(3 < result.seconds < 20, f"{result.seconds} s: {result.out}")
    tap.expect(lost, "nothing was lost")
    peer.tell("stubborn 0")
    peer.vm.wait_for(answered)
    usbtest.run(peer.vm, busid, 2)
    peer.unplug(SINK)
    return f"{lost} lost, {result.seconds:.1f} s"
