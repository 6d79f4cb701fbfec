#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbback with a frontend in user space, over the fd channel: a disk is read
through it, every rule of the protocol is broken that a guest can break, and all
that a guest may do is done at random.
"""

import os
import random
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbip  # noqa: E402
from gadget import Dummies  # noqa: E402
from peers import compile_peer  # noqa: E402
from usbif import Backend  # noqa: E402
from vm import VM  # noqa: E402

SECTOR = 512
DISK = 8 << 20
DEBUG = "/sys/kernel/debug"
TRACE = f"{DEBUG}/tracing"


class Bench:
    """A VM with a disk gadget and usbback."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.content = os.urandom(DISK)
        (vm.share / "disk").write_bytes(self.content)
        vm.run(f"cp /share/disk /tmp/disk; mountpoint -q {DEBUG} || "
               f"mount -t debugfs debugfs {DEBUG}")
        self.dummies = Dummies(vm, 2)
        self.disk = self.dummies.mass_storage("disk", "/tmp/disk")
        self.back = Backend(vm)
        self.back.load()
        self.back.rule(f"{self.disk.busid()}:vm1:0:1")
        self.sector = compile_peer("front_sector", "front")
        self.abuse = compile_peer("front_abuse", "front")

    def read(self, lba: int, count: int) -> None:
        """Read sectors through the ring and compare them."""
        out = self.vm.share / "sectors"
        self.vm.run(f"{self.sector} vm1 {lba} {count} > /share/sectors",
                    timeout=60)
        tap.expect(out.read_bytes() == self.content[lba * SECTOR:
                                                    (lba + count) * SECTOR],
                   f"{count} sectors from {lba} are not those of the disk")


def one_sector(bench: Bench) -> None:
    """The smallest thing that shows all of it at work."""
    bench.read(3, 1)


def many_sectors(bench: Bench) -> None:
    """Also the longest request there is."""
    bench.read(0, 2048)
    bench.read(17, 4999)


def traced(bench: Bench) -> None:
    """Trace submissions from now on."""
    bench.vm.run(f"echo > {TRACE}/trace; "
                 f"echo 1 > {TRACE}/events/usbback/usbback_submit/enable")


def long_requests(bench: Bench) -> list[tuple[str, str]]:
    """How the data of requests of 1 MiB went, and the first page frame."""
    trace = bench.vm.run(
        f"echo 0 > {TRACE}/events/usbback/usbback_submit/enable; "
        f"cat {TRACE}/trace").out
    found = re.findall(r"len=1048576 (\S+) nents=\d+ pfn=(\w+)", trace)
    tap.expect(found, f"no request of 1 MiB in the trace:\n{trace}")
    return found


def zero_copy(bench: Bench) -> None:
    """The host controller is given pages, and no copy."""
    traced(bench)
    bench.read(0, 2048)
    for how, pfn in long_requests(bench):
        tap.expect(how in ("direct", "direct-sg"), f"data went by {how}")
        tap.expect(int(pfn, 16), "no page frame in the trace")


def copied(bench: Bench) -> None:
    """The same without pages to hand over, as in a driver VM."""
    traced(bench)
    job = bench.vm.spawn(f"{bench.sector} vm1 1 8000 > /share/sectors")
    bench.vm.wait_for(f"echo 1 > {DEBUG}/usbback/vm1/copy_all", 10)
    tap.expect_equal(job.wait(60), 0, "exit code of front_sector")
    out = (bench.vm.share / "sectors").read_bytes()
    tap.expect(out == bench.content[SECTOR:8001 * SECTOR],
               "what was copied is not on the disk")
    ways = {how for how, _ in long_requests(bench)}
    tap.expect("bounce-sg" in ways, f"data went by {ways}")


def abused(bench: Bench) -> None:
    """Refusals, cancels, violations; the program says TAP itself."""
    done = bench.vm.run(
        f"{bench.abuse} vm1 {DEBUG}/usbback/vm1/ring_start", check=False,
        timeout=120)
    bad = [line for line in done.out.splitlines()
           if not line.startswith("ok ")][1:-1]
    tap.expect(not bad, "\n".join(bad))
    tap.expect_equal(done.rc, 0, "exit code of front_abuse")


def fuzzed(bench: Bench) -> str:
    """Damaged requests, while somebody scribbles over the shared memory."""
    seed = os.environ.get("USBIF_SEED") or str(random.randrange(1, 1 << 32))
    seconds = tap.scaled(6, 90)
    return bench.vm.run(
        f"{compile_peer('front_fuzz', 'front')} vm1 {seconds} {seed} 2>&1",
        timeout=seconds + 60).out.strip().replace("\n", ": ")


def killed(bench: Bench) -> None:
    """A frontend that dies leaves a channel, which can be dropped."""
    job = bench.vm.spawn(f"exec {bench.abuse} vm1")
    bench.vm.wait_for(f"grep -q running {DEBUG}/usbback/vm1/channel", 10)
    job.kill(9)
    job.wait(10)
    bench.vm.run("rmmod usbback")
    bench.back.load()
    bench.back.rule(f"{bench.disk.busid()}:vm1:0:1")
    bench.read(5, 7)


def unplugged(bench: Bench) -> None:
    """The disk goes in the middle of a transfer; its reader is told so at
    once, and after its return there is nothing to be done."""
    for _ in range(tap.scaled(3, 30)):
        job = bench.vm.spawn(f"{bench.sector} vm1 0 4096 1000000 > /dev/null")
        bench.vm.wait_for("grep -q 'in [0-9]\\{8\\}' "
                          f"{DEBUG}/usbback/vm1/channel", 20)
        bench.disk.unplug()
        tap.expect_equal(job.wait(5), 1, "exit code of front_sector")
        # Either the wire was dead first, or the device was gone.
        tap.expect(re.search("status [37]$", job.output()), job.output())
        bench.disk.plug()
        bench.read(1, 2)


def chaos(bench: Bench, copy_all: bool = False, yank: bool = False) -> str:
    """Everything a frontend may do, at random: see tests/peers/front_chaos.c."""
    zero = bench.dummies.source_sink("zero", pattern="1")
    seconds = tap.scaled(7, 90)
    seed = os.environ.get("USBIF_SEED") or str(random.randrange(1, 1 << 32))
    bench.back.rule(f"{zero.busid()}:vm2:0:1")
    job = bench.vm.spawn(
        f"exec {compile_peer('front_chaos', 'front')} vm2 {seconds} {seed}")
    if copy_all:
        bench.vm.wait_for(f"echo 1 > {DEBUG}/usbback/vm2/copy_all", 10)
    end = time.monotonic() + seconds - 5
    while yank and time.monotonic() < end:
        time.sleep(random.random() * 3)
        zero.unplug()
        time.sleep(random.random())
        zero.plug()
    rc = job.wait(seconds + 60)
    tap.expect_equal(rc, 0, f"exit code of front_chaos: {job.output()}")
    bench.back.remove(zero.busid())
    bench.dummies.remove(zero)
    return job.output().strip().splitlines()[-1]


def chaos_copied(bench: Bench) -> str:
    """The same with copies."""
    return chaos(bench, copy_all=True)


def chaos_unplugged(bench: Bench) -> str:
    """The same while somebody plays with the plug."""
    return chaos(bench, yank=True)


def successor(bench: Bench) -> None:
    """A guest goes and dies while its device keeps a transfer: the next one waits for
    the device, and no longer."""
    usbip.prepare(bench.vm)
    device = usbip.Emulated(bench.vm, "usbip_faulty", "faulty", "high")
    busid = device.busid()
    bench.back.rule(f"{busid}:vm3:0:1")
    job = bench.vm.spawn(f"exec {compile_peer('front_successor', 'front')} vm3")
    job.wait_output("asking", 20)
    bench.vm.wait_for(f"grep -q 'state ending' {DEBUG}/usbback/vm3/channel", 5)
    device.unplug()
    tap.expect_equal(job.wait(20), 0, job.output())
    bench.back.remove(busid)


CASES = [one_sector, many_sectors, zero_copy, copied, abused, fuzzed, killed,
         successor, unplugged, chaos, chaos_copied, chaos_unplugged]
# Not in a short run: hostile guests have copies made, too.
LATER = (chaos_copied,)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            if not any(t.wanted(f"{series} {case.__name__}")
                       for case in CASES):
                continue
            vm = t.vm(VM(f"front-{series}", kernel=series, smp=2))
            bench = Bench(vm)
            for case in CASES:
                if tap.LONG or case not in LATER:
                    t.case(f"{series} {case.__name__}", case, bench)
            vm.close()


if __name__ == "__main__":
    main()
