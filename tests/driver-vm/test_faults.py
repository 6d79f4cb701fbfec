#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What happens to whole machines, by the numbers (F) of Documentation/reliability.rst.

A guest verifies a disk of the driver VM. Another disk is verified by a second guest,
which is usbfront in the driver VM itself and must not notice.

After each case nothing is in flight at either end, no memory of the pool is in use, and
both ends agree on which devices there are.
"""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import initramfs  # noqa: E402
import kernels  # noqa: E402
import numbered  # noqa: E402
from faulted import settled  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from pair import NAME, Disk, Pair  # noqa: E402
from tap import LONG, Suite, expect, scaled, some_kernels  # noqa: E402
from usbif import SYSFS, ivshmem_addresses  # noqa: E402
from vm import SCALE, VM, Job  # noqa: E402
from workload import slabs, verified, verify  # noqa: E402

MIB = 16
NEAR = "near"
# Ten times what is promised: others use the machine, too.
FREE_S = 20
# What a guest that stands still may cost the driver VM.
MOST_KIB = 32 << 10
# Sets or clears the mask of all MSI-X vectors of a PCI device.
MASK = """
import struct, sys
with open(f"/sys/bus/pci/devices/{sys.argv[1]}/config", "r+b", buffering=0) as f:
    config = f.read(256)
    at = config[0x34]
    while config[at] != 0x11:
        at = config[at + 1]
    word = struct.unpack_from("<H", config, at + 2)[0] & ~0x4000
    f.seek(at + 2)
    f.write(struct.pack("<H", word | 0x4000 * int(sys.argv[2])))
"""
# Loads a kernel with its initramfs, and starts it, if it is not for a crash.
KEXEC = """
import ctypes, os, sys
kernel, initrd, words, crash = sys.argv[1:]
files = [os.open(name, os.O_RDONLY) for name in (kernel, initrd)]
with open("/proc/cmdline", encoding="ascii") as f:
    line = f"{f.read().strip()} {words}".encode() + b"\\0"
syscall = ctypes.CDLL(None, use_errno=True).syscall
if syscall(320, *files, len(line), line, 2 * int(crash)):
    sys.exit(os.strerror(ctypes.get_errno()))
if crash == "0":
    syscall(169, 0xfee1dead, 0x28121969, 0x45584543, 0)
"""
# A guest that keeps a part of its memory for the kernel after a crash.
CRASH_MIB = 256
# What that kernel writes of the memory of the one before it.
DUMP_KIB = 2048
VCPUS = 64


class Cases:
    """The machines and what is done to them."""

    def __init__(self, pair: Pair, scratch: Path) -> None:
        self.pair = pair
        self.scratch = scratch
        self.disk = Disk(scratch, "disk", MIB)
        self.other = Disk(scratch, "other", MIB)
        self.disk.plug(pair.driver, 1)
        self.source = self.disk.busid(pair.driver)
        pair.route(self.source, 1)

    def verify(self, seconds: int) -> Job:
        """The guest's disk."""
        return verify(self.pair.guest, self.disk.node(self.pair.guest), MIB, seconds)

    def works(self) -> str:
        """The guest has its disk."""
        self.pair.back.wait(self.source, "attached", 40)
        return verified(self.verify(2), 2, gap=1)

    def free(self) -> str:
        """The driver VM has noticed that the guest is gone."""
        began = time.monotonic()
        self.pair.back.wait(self.source, "waiting-guest", FREE_S / SCALE)
        return f"noticed after {time.monotonic() - began:.1f} s"

    def next_guest(self, **options: Any) -> str:
        """Another one in its place."""
        self.replace_guest(**options)
        return self.works()

    def settles(self, case: Callable[[Any], str]) -> str:
        """Run a case; then nothing is in flight, and both ends agree on the devices."""
        told = case(self)
        settled(self.pair.driver, NAME, self.pair.guest)
        return told

    # ---- the guest

    def shut_down(self) -> str:
        """In order, with its disk in use."""
        self.verify(100)
        time.sleep(1)
        self.pair.guest.shutdown()
        return f"{self.free()}, {self.next_guest()}"

    def panics(self) -> str:
        """Its kernel panics; that ends its QEMU here."""
        self.verify(100)
        time.sleep(1)
        self.pair.guest.spawn("sleep 0.2; echo c > /proc/sysrq-trigger")
        self.pair.guest.wait_dead()
        return f"{self.free()}, {self.next_guest()}"

    def killed(self) -> str:
        """At a random moment."""
        before, times = 0, scaled(5, 100)
        for n in range(times):
            if n == times // 10:
                before = slabs(self.pair.driver, "Slab")
            self.verify(100)
            time.sleep(random.random() * 2)
            self.pair.guest.kill()
            self.free()
            # QEMU stands still in one of a hundred boots with two processors.
            self.next_guest(smp=1)
        after = slabs(self.pair.driver, "Slab")
        expect(after - before < 1024, f"slabs: {before} -> {after} KiB")
        return f"{times} times, slabs {before} -> {after} KiB"

    # ---- the guest in another kernel, or on another machine

    def another_kernel(self, words: str, crash: bool) -> Job:
        """Load one; start it, or have it for a crash."""
        kernel = kernels.fetch(self.pair.kernel) / "boot/vmlinuz"
        self.pair.guest.put("/tmp/kexec.py", KEXEC.encode())
        return self.pair.guest.spawn(
            f"exec /usr/bin/python3 /tmp/kexec.py {kernel} "
            f"{initramfs.shared_root(self.pair.kernel)} '{words}' {int(crash)}")

    def kexec(self) -> str:
        """In order, but with the disk in use; then by a crash."""
        self.verify(100)
        time.sleep(1)
        self.another_kernel("", False)
        self.pair.guest.wait_ready(120, boots=2)
        self.pair.load_front()
        told = self.works()
        return f"{told}; after a crash {self.crash_kernel()}"

    def crash_kernel(self) -> str:
        """The guest panics, and writes its memory to the disk that it has."""
        guest = self.replace_guest(memory=384 + CRASH_MIB,
                                   cmdline=f"crashkernel={CRASH_MIB}M")
        job = self.another_kernel("nr_cpus=1 reset_devices", True)
        expect(job.wait(60) == 0, job.output())
        self.verify(100)
        time.sleep(1)
        guest.allow_log("panic|Call Trace")
        guest.spawn("sleep 0.2; echo c > /proc/sysrq-trigger")
        guest.wait_ready(120, boots=2)
        self.pair.load_front()
        self.pair.back.wait(self.source, "attached", 40)
        node = self.disk.node(guest)
        guest.run(f"dd if=/proc/vmcore of={node} bs=64k count={DUMP_KIB // 64} "
                  f"oflag=direct iflag=fullblock 2>&1 && cmp -n {DUMP_KIB << 10} "
                  f"/proc/vmcore {node}", 120)
        told = f"{DUMP_KIB} KiB of its memory on the disk, {self.works()}"
        self.replace_guest()
        return told

    def replace_guest(self, **options: Any) -> VM:
        """Another guest, of another kind, at the same channel."""
        self.pair.guest.close()
        self.pair.boot_guest(**options)
        self.pair.load_front()
        self.pair.back.wait(self.source, "attached", 40)
        return self.pair.guest

    def many_processors(self) -> str:
        """With one processor each of the others runs."""
        guest = self.replace_guest(memory=1024, smp=VCPUS, boot_timeout=600)
        count = int(guest.run("nproc", 120).out)
        told = verified(self.verify(8), 8, gap=4)
        self.replace_guest()
        return f"{count} processors, {told}"

    def moved(self) -> str:
        """A QEMU that is to take the guest over gets no channel beside it."""
        job = self.verify(8)
        time.sleep(1)
        words = self.pair.served.qemu_args(NAME)
        other = subprocess.run(
            ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine",
             "q35", "-accel", "tcg", "-m", "384", "-incoming", "defer", *words],
            stderr=subprocess.PIPE, text=True, timeout=30 * SCALE, check=False)
        expect(other.returncode == 1, f"it has ended with {other.returncode}")
        expect(f"server sent version -{errno.EBUSY}" in other.stderr, other.stderr)
        return f"its QEMU says: version -{errno.EBUSY}; {verified(job, 8, gap=3)}"

    def available(self) -> int:
        """Memory of the driver VM that is not."""
        out = self.pair.driver.run("grep ^MemAvailable: /proc/meminfo").out
        return int(out.split()[1])

    def stopped(self) -> str:
        """Its processors stand still; then it goes on."""
        seconds = scaled(5, 60)
        job = self.verify(seconds + 20)
        time.sleep(2)
        before = self.available()
        self.pair.guest.pause()
        time.sleep(seconds)
        lost = before - self.available()
        self.pair.driver.run(f"grep -q '^{self.source}:.* attached' {SYSFS}/vports")
        self.pair.guest.cont()
        expect(lost < MOST_KIB, f"{lost} KiB less are available")
        return f"{lost} KiB, {verified(job, seconds + 20, gap=3)}"

    def hangs(self) -> str:
        """The second guest does not notice that the first one stands still."""
        near = self.near(scaled(8, 20))
        job = self.verify(100)
        time.sleep(2)
        self.pair.guest.pause()
        told = verified(near, scaled(8, 20), gap=1)
        self.pair.guest.cont()
        job.kill(9)
        job.wait(10)
        self.far()
        return f"{told}, {self.works()}"

    def near(self, seconds: int) -> Job:
        """The second guest at work."""
        driver = self.pair.driver
        driver.run(f"insmod {kernels.build(self.pair.kernel)}/usbfront.ko && "
                   f"usbctl loop {NEAR}", 30)
        self.other.plug(driver, 2)
        source = self.other.busid(driver)
        self.pair.back.rule(f"{source}:{NEAR}:0:1")
        busid = find_device(driver, "other", 30, other_than=source)
        return verify(driver, "/dev/" + child_node(driver, busid, "block/sd?", 30),
                      MIB, seconds)

    def far(self) -> None:
        """No second guest any more."""
        driver = self.pair.driver
        self.other.pull(driver)
        driver.run(f"usbctl drop {NEAR}; rmmod usbfront; "
                   f"cut -d: -f1 {SYSFS}/vports | grep -vx {self.source} | "
                   f"while read -r b; do echo $b > {SYSFS}/remove_vport; done", 60)

    # ---- the driver VM

    def reset_driver(self) -> str:
        """As by its button: no process but the kernel's notices."""
        job = self.verify(100)
        time.sleep(2)
        self.pair.driver.reset()
        self.pair.load_back()
        self.pair.route(self.source, 1)
        expect(job.wait(30) == 1, f"the end of verify: {job.output()}")
        return self.works()

    # ---- interrupts

    def undisturbed(self, seconds: int, do: Callable[[VM], None]) -> str:
        """What is done to both machines costs the guest no error."""
        job = self.verify(seconds)
        since = self.pair.guest.mark()
        for vm in (self.pair.driver, self.pair.guest):
            do(vm)
        told = verified(job, seconds, gap=4)
        expect("reset" not in self.pair.guest.klog(since), "there was a reset")
        return told

    def offline(self, vm: VM) -> None:
        """The processor that has the channel's interrupts goes and comes."""
        address, = ivshmem_addresses(vm)
        irqs = vm.run(f"ls /sys/bus/pci/devices/{address}/msi_irqs")
        for irq in irqs.out.split():
            vm.run(f"echo 2 > /proc/irq/{irq}/smp_affinity")
        time.sleep(0.5)
        for value in (0, 1):
            vm.run(f"echo {value} > /sys/devices/system/cpu/cpu1/online", 60)
            time.sleep(1)

    def masked(self, vm: VM) -> None:
        """None of its interrupts arrives for a while."""
        address, = ivshmem_addresses(vm)
        vm.put("/tmp/mask.py", MASK.encode())
        for value in (1, 0):
            vm.run(f"/usr/bin/python3 /tmp/mask.py {address} {value}")
            time.sleep(1)

    def processors(self) -> str:
        """On both machines."""
        return self.undisturbed(12, self.offline)

    def interrupts(self) -> str:
        """On both machines."""
        return self.undisturbed(12, self.masked)


SHORT = {26: Cases.killed}
ALL = {23: Cases.shut_down, 25: Cases.panics, 27: Cases.stopped, 32: Cases.kexec,
       34: Cases.moved, 35: Cases.hangs, 41: Cases.reset_driver,
       44: Cases.processors, 65: Cases.interrupts, 69: Cases.many_processors,
       26: Cases.killed}


def main() -> None:
    titles = numbered.titles("F")
    with Suite() as t:
        for kernel in some_kernels("6.1"):
            with tempfile.TemporaryDirectory(prefix="usbif-faults.") as scratch, \
                    Pair(Path(scratch), kernel) as pair:
                pair.start(smp=2 if LONG else 1)
                cases = Cases(pair, Path(scratch))
                for number, case in (ALL if LONG else SHORT).items():
                    t.case(f"{kernel} F{number} {titles.get(number)}", cases.settles, case)


if __name__ == "__main__":
    main()
