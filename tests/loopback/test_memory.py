#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Memory that there is not enough of, by the numbers (F) of Documentation/reliability.rst:
for DMA on the host, and for the processes of one guest of two.

In long runs only.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import numbered  # noqa: E402
import tap  # noqa: E402
from faulted import DEBUG, settled  # noqa: E402
from gadget import Dummies, child_node, load_drivers  # noqa: E402
from uas import MIB, Disk  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402
from workload import counter, fio, verified, verify  # noqa: E402

# All DMA goes through so many buffers of 2 KiB, the least that there can be.
BOUNCE = "swiotlb=512,force"
CGROUP = "/tmp/cgroup"
LIMIT_MIB = 12
OTHER_MIB = 8


class Huge(Loop):
    """A pool that lies in one piece, longer than can be mapped at once."""

    def join(self) -> None:
        """With huge pages."""
        self.vm.run("echo 16 > /proc/sys/vm/nr_hugepages")
        self.vm.run(f"usbctl loop --hugepages {self.NAME}", timeout=20)


class Cases:
    """A guest with a UAS disk."""

    def __init__(self, vm: VM, loop: Loop) -> None:
        self.vm = vm
        self.loop = loop
        self.disk = Disk(vm, loop, "xhci")

    def begin(self) -> str:
        """The guest's block device."""
        if self.disk.busid:
            self.end()
        self.disk.plug()
        child_node(self.vm, self.disk.busid, "block/sd?")
        return "/dev/" + child_node(self.vm, self.disk.route(), "block/sd?", 30)

    def end(self) -> None:
        """Nothing of it is left."""
        settled(self.vm)
        self.loop.remove(self.disk.busid)
        self.disk.unplug()
        self.disk.busid = ""

    def retries(self) -> int:
        """Of the channel, at the backend."""
        return counter(self.vm.get(
            f"{DEBUG}/usbback/{self.loop.NAME}/channel").decode(), "retries")

    def dma(self) -> str:
        """Requests wait for others to end; the guest has no error."""
        node = self.begin()
        before, since = self.retries(), self.vm.mark()
        self.vm.run(fio(node, 20, sizes="256k-256k"), 120)
        # More than can be mapped in one piece.
        self.vm.run(f"dd if={node} of=/dev/null bs=512k iflag=direct 2>&1", 120)
        log = self.vm.klog(since)
        tap.expect("swiotlb buffer is full" in log, "there was room for all")
        tap.expect("reset" not in log, "there was a reset")
        retries = self.retries() - before
        tap.expect(retries > 0, "nothing was tried again")
        self.end()
        return f"{retries} requests tried again"

    def limited(self) -> str:
        """A guest whose processes may have less memory than they read."""
        node = self.begin()
        vm, dummies = self.vm, Dummies(self.vm, 1)
        vm.run(f"mkdir -p {CGROUP} && mount -t cgroup2 cgroup2 {CGROUP} && "
               f"echo +memory > {CGROUP}/cgroup.subtree_control && "
               f"mkdir {CGROUP}/guest && "
               f"echo {LIMIT_MIB}M > {CGROUP}/guest/memory.max && "
               f"truncate -s {OTHER_MIB}M /tmp/other && "
               f"cp /share/{self.disk.image.name} /tmp/image", 60)
        other = dummies.mass_storage("other", "/tmp/other")
        vm.run("usbctl loop neighbour", 20)
        source = other.source()
        self.loop.rule(f"{source}:neighbour:0:1")
        self.loop.wait(source, "attached")
        near = "/dev/" + child_node(vm, self.loop.virtual(other), "block/sd?", 30)
        seconds = 20
        job = verify(vm, near, OTHER_MIB, seconds)
        load = vm.spawn(
            f"echo $$ > {CGROUP}/guest/cgroup.procs; while cmp {node} "
            "/tmp/image; do echo same; done", stdin=False)
        told = verified(job, seconds, gap=2)
        tap.expect(load.rc is None, load.output())
        load.kill(9)
        events = vm.get(f"{CGROUP}/guest/memory.events").decode()
        times = load.output().count("same")
        tap.expect(times > 0, "nothing was read")
        most = counter(events, "max")
        tap.expect(most > 0 and "oom_kill 0" in events, events)
        self.loop.remove(source)
        self.end()
        return f"{times} times {MIB} MiB, {most} times at the limit; {told}"


CASES = {61: Cases.dma, 55: Cases.limited}


def run(t: tap.Suite, series: str) -> None:
    """Both on one kernel."""
    vm = t.vm(VM(f"memory-{series}", kernel=series, memory=768, smp=2,
                 devices=["qemu-xhci,id=xhci,p2=4,p3=4"], cmdline=BOUNCE))
    load_drivers(vm)
    loop = Huge(vm)
    loop.load()
    cases, titles = Cases(vm, loop), numbered.titles("F")
    for number, case in CASES.items():
        t.case(f"{series} F{number} {titles.get(number)}", case, cases)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1") if tap.LONG else ():
            run(t, series)


if __name__ == "__main__":
    main()
