#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What hangs on a routed disk: an encrypted file system, and a guest's memory.

The disks' images are files here, so what is really on them can be seen.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
from cache import compile_tool  # noqa: E402
from pair import Disk, Pair  # noqa: E402
from tap import (LONG, Suite, expect, expect_equal, scaled,  # noqa: E402
                 some_kernels)
from vm import VM, Job  # noqa: E402
from workload import counter  # noqa: E402

KEY = "correct horse battery staple"
# The key needs no stretching that takes an emulated processor a minute.
FORMAT = ("--batch-mode --type luks2 --pbkdf pbkdf2 "
          "--pbkdf-force-iterations 1000")
# In every line of a file, so that it would be found in plain text.
MARK = "this must not be read by who finds the stick"
MAPPED = "/dev/mapper/secret"
GUEST_MEMORY = 160
# Of the driver VM, which has one channel.
DEBUG = "/sys/kernel/debug/usbback/*"
# More than its kernel leaves it, which is about 110 MiB in all.
WANTED = scaled(112, 176)


class Encrypted:
    """A stick with a LUKS volume, used in the guest and in the driver VM."""

    def __init__(self, pair: Pair, stick: Disk) -> None:
        self.pair = pair
        self.stick = stick
        self.sums = ""

    def prepare(self) -> None:
        """Modules, and tools that know that there is no udev."""
        for vm in (self.pair.driver, self.pair.guest):
            vm.run("modprobe -a dm_crypt xts ext4 crc32c_generic; mkdir -p /mnt")

    def cryptsetup(self, vm: VM, words: str) -> None:
        """Run it, with the key on its standard input."""
        vm.run(f"DM_DISABLE_UDEV=1 cryptsetup {words}", 120, stdin=KEY.encode())

    def open(self, vm: VM) -> None:
        """Open and mount."""
        self.cryptsetup(vm, f"open --key-file - {self.stick.node(vm)} secret")
        vm.run(f"mount -t ext4 {MAPPED} /mnt")

    def close(self, vm: VM) -> None:
        """Unmount and close."""
        vm.run("umount /mnt")
        self.cryptsetup(vm, "close secret")

    def compare(self, vm: VM) -> None:
        """The files are those that were written."""
        vm.run("echo 3 > /proc/sys/vm/drop_caches")
        expect_equal(vm.run("cd /mnt && sha256sum text one two", 120).out, self.sums,
                     f"checksums in {vm.name}")

    def formatted(self) -> str:
        """Made in the guest, with files on it."""
        guest = self.pair.guest
        self.cryptsetup(guest, f"luksFormat {FORMAT} --key-file - "
                        f"{self.stick.node(guest)}")
        self.cryptsetup(guest,
                        f"open --key-file - {self.stick.node(guest)} secret")
        guest.run(f"mke2fs -q -t ext4 {MAPPED} && mount -t ext4 {MAPPED} /mnt "
                  f"&& cd /mnt && yes '{MARK}' | head -c 1500000 > text && "
                  "head -c 3000001 /dev/urandom > one && "
                  "head -c 70000 /dev/urandom > two && sync", 120)
        self.sums = guest.run("cd /mnt && sha256sum text one two", 60).out
        expect_equal(len(self.sums.splitlines()), 3, "files")
        guest.run(f"grep -q '{MARK}' {MAPPED}", 60)
        self.close(guest)
        self.open(guest)
        self.compare(guest)
        return guest.run("cryptsetup status secret | grep cipher").out.strip()

    def unreadable(self) -> None:
        """What is on the stick is not what the guest has written."""
        image = self.stick.image.read_bytes()
        expect(image.startswith(b"LUKS\xba\xbe"), f"it begins {image[:16]!r}")
        expect(MARK.encode() not in image, "plain text is on the stick")
        expect(b"\x53\xef" != image[(16 << 20) + 0x438:(16 << 20) + 0x43a],
               "a plain file system is on the stick")

    def replugged(self) -> None:
        """Closed, pulled out, put back, opened."""
        self.close(self.pair.guest)
        self.replug()
        self.open(self.pair.guest)
        self.compare(self.pair.guest)

    def replug(self) -> None:
        """Out of the driver VM, and back."""
        self.stick.pull(self.pair.driver)
        self.stick.wait_gone(self.pair.guest)
        self.stick.plug(self.pair.driver, 1)

    def pulled(self) -> None:
        """Pulled out while it is written to; what was synced is there."""
        guest = self.pair.guest
        job = guest.spawn("i=0; while echo $i; do i=$((i + 1)); dd "
                          "if=/dev/zero of=/mnt/busy bs=64k count=16 "
                          "conv=fsync 2>/dev/null || exit 1; done", stdin=False)
        job.wait_output("^2$")
        self.replug()
        expect_equal(job.wait(60), 1, "the end of the writer")
        self.close(guest)
        self.cryptsetup(guest,
                        f"open --key-file - {self.stick.node(guest)} secret")
        guest.run(f"e2fsck -fp {MAPPED}; test $? -le 1", 60)
        guest.run(f"mount -t ext4 {MAPPED} /mnt && rm -f /mnt/busy && sync")
        self.compare(guest)

    def handed_back(self) -> None:
        """Opened where the stick is plugged in, and then in the guest again."""
        driver, guest = self.pair.driver, self.pair.guest
        self.close(guest)
        busid = self.stick.busid(driver)
        self.pair.back.remove(busid)
        self.open(driver)
        self.compare(driver)
        driver.run("echo changed > /mnt/two && sync")
        self.sums = driver.run("cd /mnt && sha256sum text one two").out
        self.close(driver)
        self.pair.route(busid, 1)
        self.open(guest)
        self.compare(guest)
        self.close(guest)


class Swap:
    """A guest that needs more memory than it has."""

    def __init__(self, t: Suite, pair: Pair, swap: Disk, other: Disk) -> None:
        self.t = t
        self.pair = pair
        self.swap = swap
        self.other = other

    def on(self) -> None:
        """Swap on the one disk, a file system on the other."""
        guest = self.pair.guest
        other = self.other.node(guest)
        guest.run("echo 60 > /proc/sys/kernel/hung_task_timeout_secs; "
                  f"mkswap {self.swap.node(guest)} && "
                  f"swapon {self.swap.node(guest)} && modprobe ext4 && "
                  f"mke2fs -q -t ext4 {other} && mkdir -p /mnt && "
                  f"mount -t ext4 {other} /mnt && "
                  "head -c 2000001 /dev/urandom > /tmp/pattern", 60)

    def off(self) -> None:
        """No swap, and the file system is as it should be."""
        guest = self.pair.guest
        guest.run(f"swapoff {self.swap.node(guest)} && umount /mnt && "
                  f"e2fsck -fn {self.other.node(guest)}", 120)

    def files(self) -> Job:
        """Writes a file of the other disk and compares it, again and again."""
        return self.pair.guest.spawn(
            "while cp /tmp/pattern /mnt/file && sync /mnt/file && "
            "echo 1 > /proc/sys/vm/drop_caches && cmp /tmp/pattern /mnt/file; "
            "do echo same; done; echo failed", stdin=False)

    def pressed(self, seconds: int,
                filled: Callable[[], object] = lambda: None) -> str:
        """The guest verifies more memory than it has; filled is called when it
        has written all of it once."""
        guest = self.pair.guest
        files = self.files()
        files.wait_output("same", 60)
        before = self.swapped(guest)
        job = guest.spawn(f"exec {compile_tool('pressure')} {WANTED} {seconds}",
                          stdin=False)
        job.wait_output("^filled$", 200)
        filled()
        rc = job.wait(seconds + 300)
        expect_equal(rc, 0, f"the end of pressure ({job.output()[-300:]})")
        expect(f"all {WANTED} MiB verified" in job.output(), job.output())
        out, back = (a - b for a, b in zip(self.swapped(guest), before))
        expect(files.rc is None, f"the other disk: {files.output()[-300:]}")
        files.kill(9)
        files.wait(60)
        expect(back > 8 and out > 8, f"{out} MiB were swapped, {back} back")
        return (f"{self.most(job) >> 20} MiB verified, {out} MiB swapped out, "
                f"{back} MiB back, {files.output().count('same')} files")

    def reserve_only(self, seconds: int) -> str:
        """The same, for a while with nothing for buffers in the driver VM but
        the reserve of the channel."""
        driver = self.pair.driver

        def exhaust() -> None:
            driver.run(f"echo Y | tee {DEBUG}/no_memory")
            before = self.swapped(self.pair.guest)
            time.sleep(scaled(4, 30))
            found = self.swapped(self.pair.guest)
            driver.run(f"echo N | tee {DEBUG}/no_memory")
            expect(found != before, "nothing moved")

        text = self.pressed(seconds, exhaust)
        retries = int(driver.run(f"sed -n 's/^retries //p' {DEBUG}/channel").out)
        expect(retries, "nothing had to wait for the reserve")
        return f"{text}, {retries} retries"

    def pressed_both(self, seconds: int) -> str:
        """The same with a driver VM that has no memory to spare."""
        driver = self.pair.driver
        holder = driver.spawn(f"exec {compile_tool('pressure')} -16 3600",
                              stdin=False)
        driver.wait_for("test $(awk '/MemAvailable/ { print $2 }' "
                        "/proc/meminfo) -lt 24000", 60)
        text = self.reserve_only(seconds)
        expect(holder.rc is None, f"pressure has ended: {holder.output()}")
        holder.kill(9)
        holder.wait(30)
        return text

    @staticmethod
    def swapped(vm: VM) -> tuple[int, int]:
        """MiB that were swapped out and in."""
        out = vm.run("cat /proc/vmstat").out
        return counter(out, "pswpout") >> 8, counter(out, "pswpin") >> 8

    @staticmethod
    def most(job: Job) -> int:
        """Octets verified."""
        found = re.findall(r"^\d+ (\d+)$", job.output(), re.M)
        return int(found[-1]) if found else 0


def encrypted(t: Suite, prefix: str, pair: Pair, scratch: Path) -> None:
    """A LUKS volume."""
    stick = Disk(scratch, "stick", 32, random=False)
    stick.plug(pair.driver, 1)
    pair.route(stick.busid(pair.driver), 1)
    volume = Encrypted(pair, stick)
    volume.prepare()
    for name, case in (
            ("made in the guest", volume.formatted),
            ("unreadable from outside", volume.unreadable),
            ("replugged", volume.replugged),
            ("pulled out in use", volume.pulled),
            ("handed back, and over again", volume.handed_back)):
        t.case(f"{prefix}encrypted stick: {name}", case)


def swapping(t: Suite, prefix: str, pair: Pair, scratch: Path,
             uas: bool) -> None:
    """Memory on a disk."""
    kind = "uas" if uas else "usb-storage"
    swap = Disk(scratch, f"swap-{kind}", 256, random=False)
    other = Disk(scratch, f"other-{kind}", 16, random=False)
    for port, disk in ((2, swap), (3, other)):
        disk.plug(pair.driver, port, uas and disk is swap)
        pair.route(disk.busid(pair.driver), port)
    memory = Swap(t, pair, swap, other)
    t.case(f"{prefix}swap on {kind}: on", memory.on)
    t.case(f"{prefix}swap on {kind}: more than the memory, F54, F56",
           memory.reserve_only, scaled(2, 30))
    if LONG:
        t.case(f"{prefix}swap on {kind}: for five minutes, F56", memory.pressed, 300)
        t.case(f"{prefix}swap on {kind}: and none left in the driver VM",
               memory.pressed_both, 60)
    t.case(f"{prefix}swap on {kind}: off", memory.off)
    for disk in (swap, other):
        pair.back.remove(disk.busid(pair.driver))
        disk.wait_gone(pair.guest)
        disk.pull(pair.driver)


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-disks."))
    try:
        with Suite() as t:
            for kernel in some_kernels("6.1"):
                directory = scratch / kernel
                directory.mkdir()
                prefix = "" if kernel == "6.1" else f"{kernel}: "
                with Pair(directory, kernel) as pair:
                    pair.start(driver_memory=256, guest_memory=GUEST_MEMORY)
                    encrypted(t, prefix, pair, directory)
                    for uas in (False, True) if LONG else (False,):
                        swapping(t, prefix, pair, directory, uas)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
