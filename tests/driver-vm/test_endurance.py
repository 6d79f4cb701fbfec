#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A file system of 2 GiB is written and compared while others suffer, by the
numbers (F) of Documentation/reliability.rst: LONG=1 only.

Machines are those of machines.py, with a large disk for guest 1. Guest 2 uses
its own disk and is killed again and again; a third guest, which is usbfront in
the driver VM itself, verifies a disk while half of its doorbells get lost.
USBIF_ENDURANCE_MIB makes the disk smaller (128 at least).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import kernels  # noqa: E402
import numbered  # noqa: E402
from cache import compile_tool  # noqa: E402
from faulted import Bells, idle  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from machines import GUESTS, Machines  # noqa: E402
from pair import Disk  # noqa: E402
from tap import (LONG, Suite, expect, expect_equal,  # noqa: E402
                 some_kernels)
from vm import SCALE  # noqa: E402
from workload import HOURS, stood_still, verify  # noqa: E402

MIB = int(os.environ.get("USBIF_ENDURANCE_MIB", "2048"))
# As many as fit beside what the file system has for itself.
FILES, FILE_MIB = 30, MIB // 32
# What it may take at most: a machine that does nothing else needs a tenth.
LIMIT = (300 + MIB) * SCALE
NEAR, NEAR_PORT, NEAR_MIB = "near", 7, 16
# Of the disk of guest 2, in the driver VM.
KILLED = "2-6"
PAUSE_MS = 20
# Little is dirty at a time: nothing waits for minutes on a slow machine.
WORK = """
set -e
echo 16777216 > /proc/sys/vm/dirty_bytes
mke2fs -q -t ext4 -b 4096 -m 0 -T largefile -J size=4 {node}
mkdir -p /mnt
mount -t ext4 {node} /mnt
for n in $(seq {files}); do {pattern} $n {mib} > /mnt/$n; echo wrote $n; done
sync
echo 3 > /proc/sys/vm/drop_caches
for n in $(seq {files}); do
	{pattern} $n {mib} | cmp - /mnt/$n
	echo same $n
done
umount /mnt
e2fsck -f -n {node}
"""


class Near:
    """The third guest, in the driver VM, on a channel that loses doorbells."""

    def __init__(self, m: Machines) -> None:
        self.driver = m.driver
        self.driver.run(f"insmod {kernels.build(m.kernel)}/usbfront.ko", 60)
        self.bells = Bells(self.driver, NEAR)
        disk = Disk(m.scratch, "near", NEAR_MIB)
        disk.plug(self.driver, NEAR_PORT)
        source = disk.busid(self.driver)
        m.back.rule(f"{source}:{NEAR}:0:1")
        busid = find_device(self.driver, "near", 40, other_than=source)
        node = child_node(self.driver, busid, "block/sd?", 40)
        self.bells.tell("drop 50 50")
        self.job = verify(self.driver, f"/dev/{node}", NEAR_MIB, HOURS,
                          PAUSE_MS)

    def done(self) -> str:
        """It was at work to the end, and half of its doorbells got lost."""
        passed, lost = self.bells.tell("good")
        expect_equal(self.job.rc, None,
                     f"end of verify ({self.job.output()[-300:]})")
        self.job.kill(9)
        self.job.wait(60)
        still, text = stood_still(self.job)
        expect(abs(passed - lost) < (passed + lost) // 10,
               f"{passed} doorbells passed, {lost} were lost")
        return (f"{text}, {lost} of {passed + lost} doorbells lost, "
                f"{len(still)} s still")


class Endurance:
    """Guest 1 at work, and what happens to the others."""

    def __init__(self, m: Machines) -> None:
        self.m = m

    def start(self) -> None:
        """All machines, and what the third and the first guest do."""
        m = self.m
        os.truncate(m.scratch / "disk1", MIB << 20)
        m.start()
        m.complete()
        self.near = Near(m)
        self.guest = m.guests["1"]
        self.since = self.guest.mark()
        self.job = self.guest.spawn(WORK.format(
            node=m.disk("1"), pattern=compile_tool("pattern"), files=FILES,
            mib=FILE_MIB), stdin=False)

    def kill(self) -> None:
        """Guest 2 dies with its disk in use; there is another one."""
        m = self.m
        job = m.verify("2", HOURS)
        job.wait_output(r"^\d+ [1-9]", 60)
        time.sleep(random.random() * 3)
        m.guests["2"].kill()
        m.back.wait(KILLED, "waiting-guest", 30)
        m.guests["2"].check_log()
        m.guests["2"].close()
        m.start_guest("2")
        m.wait_attached("2", 60)

    def run(self) -> str:
        """Until all is written and compared."""
        self.start()
        began, kills = time.monotonic(), 0
        while self.job.rc is None:
            took = time.monotonic() - began
            expect(took < LIMIT,
                   f"after {took:.0f} s: {self.job.output()[-300:]}")
            self.kill()
            kills += 1
        out = self.job.output()
        expect_equal(self.job.rc, 0, f"the end of guest 1 ({out[-600:]})")
        same = len(re.findall(r"^same \d+$", out, re.M))
        expect_equal(same, FILES, "files that are the same")
        expect(kills > 1, f"killed {kills} times only")
        bad = re.findall(r".*(?:USB disconnect|: reset | error).*",
                         self.guest.klog(self.since))
        expect(not bad, f"guest 1 has noticed: {bad}")
        near = self.near.done()
        self.nothing_left()
        return (f"{same} files, {same * FILE_MIB} MiB, 0 differences, e2fsck: "
                f"{out.splitlines()[-1]}; guest 2 killed {kills} times; "
                f"{near}")

    def nothing_left(self) -> None:
        """Without rules nothing is in flight on any of the channels."""
        self.m.back.clear()
        for name in GUESTS:
            idle(self.m.driver, name, 40, self.m.guests[name])
        idle(self.m.driver, NEAR, 40)
        self.near.bells.end()


def main() -> None:
    kernel = some_kernels("6.1")[0]
    scratch = Path(tempfile.mkdtemp(prefix="usbif-endurance."))
    try:
        with Suite() as t:
            if LONG:
                with Machines(scratch, kernel) as m:
                    t.case(f"{kernel} F70 {numbered.titles('F')[70]}",
                           Endurance(m).run)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
