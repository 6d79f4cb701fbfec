#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a guest may have of the host at once: the file "limits"."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (Dummies, child_node, device_node,  # noqa: E402
                    load_drivers)
from usbif import SYSFS, Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

NORMAL = "requests=1024 kib=1048576 batch=256 resets=4 lines=10"
CHANNEL = "/sys/kernel/debug/usbback/*/channel"
RESET = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
began = time.monotonic()
for _ in range(5):
    fcntl.ioctl(fd, 0x5514)
print(time.monotonic() - began)
"""


class Cases(LoopCases):
    """With a source and sink, and a disk."""

    def limits(self) -> dict[str, str]:
        """By guest."""
        out = self.vm.run(f"cat {SYSFS}/limits").out
        return dict(line.split(" ", 1) for line in out.splitlines())

    def waited(self) -> int:
        """How often an endpoint had no share."""
        return int(self.vm.run(f"sed -n 's/^limited //p' {CHANNEL}").out)

    def peak(self, port: int) -> int:
        """The most that was submitted at once for a port."""
        out = self.vm.run(f"cat {CHANNEL}").out
        found = re.search(rf"port 0:{port} .*\n.* peak (\d+)", out)
        assert found, out
        return int(found[1])

    def words(self) -> None:
        """What is written, refused and shown."""
        tap.expect_equal(self.limits(), {"loop": NORMAL})
        for text, why in (("loop", "has to follow"), ("", "VM name"),
                          ("l:p requests=1", "VM name"),
                          ("loop requests", "number from 1 to 1024"),
                          ("loop requests=0", "number from 1 to 1024"),
                          ("loop requests=1025", "number from 1 to 1024"),
                          ("loop requests=-1", "number from 1 to 1024"),
                          ("loop kib=1048577", "number from"),
                          ("loop lines=5 nonsense=1", "no limit of that name"),
                          ("loop " + "lines=5 " * 20, "too long")):
            self.loop.refused("limits", text, "Invalid argument", why)
        tap.expect_equal(self.limits(), {"loop": NORMAL}, "after refused writes")
        self.loop.write("limits", "loop resets=7 kib=64")
        self.loop.write("limits", "nobody requests=3")
        tap.expect_equal(self.limits(), {
            "loop": NORMAL.replace("=1048576", "=64").replace("=4 ", "=7 "),
            "nobody": NORMAL.replace("=1024", "=3")})
        self.loop.write("limits", "loop default")
        self.loop.write("limits", "nobody requests=1024")
        tap.expect_equal(self.limits(), {"loop": NORMAL}, "normal again")

    def queued(self, port: int, limit: str, most: int, *more: int) -> str:
        """32 requests of 16 KiB are queued, so many may be submitted."""
        if limit:
            self.loop.write("limits", f"loop {limit}")
        before = self.waited()
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, port)
        for number in (27, 28, *more):
            usbtest.run(self.vm, busid, number)
        peak, waited = self.peak(port), self.waited() - before
        self.loop.write("limits", "loop default")
        if most:
            tap.expect(peak <= most, f"{peak} at once")
            tap.expect(waited, "nothing had to wait")
        else:
            tap.expect(peak > 16, f"{peak} at once")
            tap.expect_equal(waited, 0, "had to wait")
        return f"{peak} at once, {waited} waited"

    def data(self) -> str:
        """A disk with one request at a time, changed while it works."""
        image = self.vm.share / "image"
        image.write_bytes(bytes(8 << 20))
        disk = self.dummies.mass_storage("disk", "/share/image")
        self.loop.write("limits", "loop requests=1 kib=1 batch=1")
        busid = self.loop.attach(disk, 4)
        node = child_node(self.vm, busid, "block/sd?", 30)
        job = self.vm.spawn(f"exec {compile_tool('verify')} /dev/{node} 0 8 6",
                            stdin=False)
        for limit in ("requests=4", "default", "requests=1", "default"):
            self.vm.run("sleep 1")
            self.loop.write("limits", f"loop {limit}")
        tap.expect_equal(job.wait(60), 0, job.output())
        return job.output().splitlines()[-1]

    def resets(self) -> str:
        """Five resets with one a second take four seconds."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, 5)
        self.vm.put("/tmp/reset.py", RESET.encode())
        node = device_node(self.vm, busid)
        self.loop.write("limits", "loop resets=1")
        slow = float(self.vm.run(f"python3 /tmp/reset.py {node}", 60).out)
        self.loop.write("limits", "loop resets=100")
        fast = float(self.vm.run(f"python3 /tmp/reset.py {node}", 60).out)
        self.loop.write("limits", "loop default")
        tap.expect(slow >= 3.9 and fast < slow, f"{slow} s, then {fast} s")
        return f"{slow:.1f} s, then {fast:.1f} s"

    def kept(self) -> None:
        """Limits are the name's, not the channel's."""
        self.loop.write("limits", "loop lines=3")
        self.vm.run("usbctl drop loop", 30)
        tap.expect("lines=3" in self.limits()["loop"], "gone with the channel")
        self.loop.join()
        tap.expect("lines=3" in self.limits()["loop"], "not there again")
        self.vm.run("rmmod usbfront && rmmod usbback", 60)
        self.loop.load()
        tap.expect_equal(self.limits(), {"loop": NORMAL}, "after a reload")


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            vm = t.vm(VM(f"limits-{series}", kernel=series, smp=2))
            load_drivers(vm)
            usbtest.prepare(vm)
            loop = Loop(vm)
            loop.load()
            cases = Cases(vm, loop, Dummies(vm, 2))
            for name, function, *args in (
                    ("what is written", cases.words),
                    ("no more than three", cases.queued, 1, "requests=3", 4,
                     10, 24),
                    ("no more than 32 KiB", cases.queued, 2, "kib=32", 3),
                    ("without limits", cases.queued, 3, "", 0),
                    ("data", cases.data),
                    ("resets", cases.resets),
                    ("kept", cases.kept)):
                t.case(f"{series}: {name}", function, *args)
                cases.clear()
            vm.close()


if __name__ == "__main__":
    main()
