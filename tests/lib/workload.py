# SPDX-License-Identifier: GPL-2.0
"""Guests that write and verify their disks, and whether each of them moves.

    job = verify(guest, "/dev/sda", mib=32, seconds=10)
    text = verified(job, 10)            # all was right, and it never stood still

    vm.spawn(fio("/dev/sda", 60))       # the same, at random and many at a time

    before = slabs(host)                # kernel memory, without caches
    before = resets(host, "1-2")        # by the host's USB core, so far
    retries = counter(text, "retries")  # of "retries 5", as in debugfs
    side_by_side(host, {"vm1": start1, "vm2": start2}, seconds=30)
"""

from __future__ import annotations

import re
import time
from typing import Callable, Mapping

from cache import compile_tool
from tap import expect, expect_equal
from vm import SCALE, SLOWER, VM, Job

CHANNELS = "/sys/bus/usb/drivers/usbback/channels"
# Seconds of what is to last until it is ended.
HOURS = 4 * 3600
# Empty slabs are given back.
SHRINK = "for s in /sys/kernel/slab/*/shrink; do echo 1 > $s; done 2>/dev/null"
# What /proc/meminfo knows the use of; memory of vmalloc is not among it.
ACCOUNTED = ("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab",
             "PageTables", "KernelStack", "Percpu")
# Free pages that processors keep for themselves, in KiB.
PAGES = 1024


def verify(vm: VM, disk: str, mib: int, seconds: int,
           pause_ms: int = 0) -> Job:
    """Write and read back a disk for that long, each octet compared.

    pause_ms: after each quarter of a MiB, so that others get a processor.
    """
    # A guest without our root has it in its path.
    return vm.spawn(f"exec $(command -v verify || echo {compile_tool('verify')})"
                    f" {disk} 0 {mib} {seconds} {pause_ms}", stdin=False)


def verified(job: Job, seconds: int, gap: int = 0) -> str:
    """The end of a verify: all was right, and it never stood still.

    gap: how many seconds without progress are allowed.
    """
    rc = job.wait(seconds + 60)
    expect_equal(rc, 0, f"the end of verify ({job.output()})")
    counts = [int(n) for n in re.findall(r"^\d+ (\d+)$", job.output(), re.M)]
    expect_equal(len(counts), seconds, "number of seconds")
    still = sum(now == before for before, now in zip([0, *counts], counts))
    expect(still <= gap * SLOWER, f"it stood still for {still} s:\n{job.output()}")
    return f"{counts[-1] >> 20} MiB verified in {job.vm.name}"


def fio(node: str, seconds: int, name: str = "load", depth: int = 14,
        sizes: str = "4k-256k") -> str:
    """The command that verifies random reads and writes, many at a time."""
    return (f"fio --name={name} --filename={node} --direct=1 --rw=randrw "
            f"--bsrange={sizes} --iodepth={depth} --ioengine=libaio "
            "--allow_file_create=0 --verify=crc32c --verify_fatal=1 "
            "--size=24M --loops=1000 "
            f"--runtime={seconds} --time_based --minimal 2>&1")


def stood_still(job: Job) -> tuple[list[int], str]:
    """Of a verify that has no end: the seconds after its first in which it had not
    moved for two or more, as many as timeouts are longer here; and what it did. On a
    machine with more to do than it can, a single second says nothing."""
    counts = [int(n) for n in re.findall(r"^\d+ (\d+)$", job.output(), re.M)]
    span = max(2, round(SCALE / SLOWER))
    still = [n for n in range(span, len(counts)) if counts[n] == counts[n - span]]
    return still, f"{counts[-1] >> 20} MiB verified beside it in {len(counts)} s"


def counter(text: str, name: str) -> int:
    """A counter that has a line of its own in a file of the kernel's."""
    found = re.search(rf"^{name} (\d+)$", text, re.M)
    expect(found, f"no {name} in {text!r}")
    assert found
    return int(found[1])


def resets(vm: VM, busid: str) -> int:
    """How often the USB core there has reset a device, as far as the log goes."""
    return int(vm.run(f"dmesg | grep -c ' {busid}: reset .* USB device'",
                      check=False).out)


def slabs(vm: VM, line: str = "SUnreclaim") -> int:
    """KiB of kernel memory in use, by that line of /proc/meminfo, when all that
    nobody needs was given back."""
    vm.run(f"sync; echo 3 > /proc/sys/vm/drop_caches; sleep 0.5; {SHRINK}", 60)
    return int(vm.run(f"grep ^{line}: /proc/meminfo").out.split()[1])


def objects(vm: VM) -> dict[str, int]:
    """Objects in use by slab cache, KiB of pages that nobody accounts for as "pages"."""
    out = vm.run(f"{SHRINK}; cat /proc/slabinfo", timeout=60).out
    # The kernel keeps freed areas for a while; usbhid uses two at each probe.
    used = {f[0]: int(f[1]) for f in
            (line.split() for line in out.splitlines()[2:])
            if f[0] != "vmap_area"}
    memory = {name: int(kib) for name, kib in
              re.findall(r"(?m)^(\w+): +(\d+) kB$", vm.run("cat /proc/meminfo").out)}
    used["pages"] = memory["MemTotal"] - sum(memory[name] for name in ACCOUNTED)
    return used


def leaks(taken: list[dict[str, int]], count: int) -> dict[str, list[int]]:
    """Caches that grew by an object, or by a page, in most of so many cycles, in each of
    the intervals between what objects() has said; one may grow by a slab."""
    growth = {name: [b.get(name, 0) - a.get(name, 0)
                     for a, b in zip(taken, taken[1:])] for name in taken[0]}
    most = {"pages": max(PAGES, 3 * count)}
    return {name: n for name, n in growth.items()
            if min(n) >= most.get(name, count * 3 // 4)}


def requests(host: VM) -> dict[str, int]:
    """Requests taken from each guest so far."""
    out = host.run(f"cat {CHANNELS}").out
    return {line.split()[0]: int(re.findall(r" requests=(\d+)", line)[0])
            for line in out.splitlines()}


def side_by_side(host: VM, starts: Mapping[str, Callable[[], Job]],
                 seconds: int, gap: int) -> str:
    """All guests verify at once; requests of each in every second.

    starts: by guest, what starts its verify for that many seconds.
    """
    end = time.monotonic() + seconds - 2
    jobs = [start() for start in starts.values()]
    counts = [requests(host)]
    while time.monotonic() < end:
        time.sleep(1)
        counts.append(requests(host))
    for name in starts:
        still = [n for n, (a, b) in enumerate(zip(counts, counts[1:]))
                 if a[name] == b[name]]
        expect(not still, f"no requests of guest {name} in seconds {still}")
    return ", ".join([verified(job, seconds, gap) for job in jobs])
