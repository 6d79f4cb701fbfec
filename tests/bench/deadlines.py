#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make deadlines: what the table in Documentation/reliability.rst promises.

One emulated KVM host with both modules of a stock kernel; its clock counts
instructions, as that of bench.py does, so that figures repeat whatever else this
machine does. Each time is taken ROUNDS times; least, middle and most are printed,
in milliseconds. It fails if one is longer than what was promised.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from pathlib import Path as File
from typing import Callable

sys.path.insert(0, str(File(__file__).resolve().parents[1] / "lib"))
import peers  # noqa: E402
from cache import compile_tool, say  # noqa: E402
from faulted import Bells  # noqa: E402
from gadget import (Dummies, Gadget, child_node, device_node,  # noqa: E402
                    find_device)
from nested import KvmHost  # noqa: E402
from usbif import SYSFS, Backend, Loop  # noqa: E402
from workload import verify  # noqa: E402

STOPWATCH = File(__file__).resolve().parent / "stopwatch.py"
ROUNDS = int(os.environ.get("ROUNDS") or 10)
IN, PEER_IN = "0x81", "0x82"
MIB = 8
GUEST = "vm1"


class Clock:
    """Times of one machine."""

    def __init__(self, host: KvmHost) -> None:
        self.host = host

    def ms(self, words: str, timeout: float = 300) -> float:
        """What the stopwatch says."""
        out = self.host.run(f"/usr/bin/python3 {STOPWATCH} {words}", timeout).out
        return float(out.split()[-1])

    def loaded(self, node: str, words: str) -> float:
        """The same while a disk is written and read all the time."""
        load = verify(self.host, node, MIB, 3600)
        load.wait_output(r"^\d+ [1-9]\d*$", 300)
        try:
            return self.ms(words)
        finally:
            load.kill(9)
            load.wait(30)


class Joined(Clock):
    """Both modules, joined."""

    def __init__(self, host: KvmHost, disk: Gadget) -> None:
        super().__init__(host)
        self.loop = Loop(host)
        self.loop.load()
        self.disk = disk
        self.busid = self.loop.attach(self.disk)

    def node(self) -> str:
        """The disk as the guest has it."""
        return "/dev/" + child_node(self.host, self.busid, "block/sd?", 60)

    def yank(self) -> float:
        """Pulled out in the middle of reading."""
        took = self.loaded(self.node(), f"gone /sys/bus/usb/devices/{self.busid}"
                           f" {self.disk.dir}/UDC ''")
        self.disk.plug()
        self.loop.wait(self.loop.source(self.disk), "attached", 60)
        return took

    def unlink(self) -> float:
        """A transfer that waits for a device with nothing to say."""
        host = self.host
        self.node()
        host.run(f"echo {self.busid}:1.0 > /sys/bus/usb/drivers/usb-storage/unbind")
        took = self.ms(f"unlink {device_node(host, self.busid)} {IN}")
        host.run(f"echo {self.busid}:1.0 > /sys/bus/usb/drivers/usb-storage/bind")
        return took

    def front(self) -> float:
        """rmmod usbfront."""
        took = self.loaded(self.node(), "unload usbfront")
        self.host.run(f"insmod {self.loop.modules}/usbfront.ko && usbctl drop "
                      f"{self.loop.NAME}", 60)
        self.loop.join()
        self.loop.wait(self.loop.source(self.disk), "attached", 60)
        return took

    def back(self) -> float:
        """rmmod usbback."""
        source = self.loop.source(self.disk)
        took = self.loaded(self.node(), "unload usbback")
        self.host.run(f"rmmod usbfront; insmod {self.loop.modules}/usbback.ko; "
                      f"insmod {self.loop.modules}/usbfront.ko", 60)
        self.loop.join()
        self.loop.rule(f"{source}:{self.loop.NAME}:0:1")
        self.loop.wait(source, "attached", 60)
        return took

    def end(self) -> None:
        """Leave the machine as it was."""
        self.loop.unload()
        self.host.run("rmmod usbfront usbback 2>/dev/null; true", 60)


class Lossy(Clock):
    """Both modules, joined by something that loses doorbells."""

    def __init__(self, host: KvmHost, echo: Gadget) -> None:
        super().__init__(host)
        self.back = Backend(host)
        self.back.load()
        host.run(f"insmod {self.back.modules}/usbfront.ko")
        self.bells = Bells(host, "bells")
        self.source = echo.source()
        self.back.rule(f"{self.source}:bells:0:1")
        busid = find_device(host, echo.name, 60, other_than=self.source)
        self.node = child_node(host, busid, "hidraw/hidraw*")

    def lost(self) -> float:
        """Every second doorbell does, both ways; a report there and back."""
        self.bells.tell("drop 50 50", 60)
        out = self.host.run(f"{compile_tool('hid_client')} /dev/{self.node} 200",
                            300).out
        self.bells.tell("good", 60)
        return int(re.findall(r"p99 (\d+) us", out)[0]) / 1000

    def end(self) -> None:
        """Leave the machine as it was."""
        self.back.remove(self.source)
        self.bells.end()
        self.host.run("rmmod usbfront usbback", 60)


class Peer(Clock):
    """usbfront, and a backend that is a program."""

    def __init__(self, host: KvmHost) -> None:
        super().__init__(host)
        self.peer = peers.Peer(host)
        self.peer.disk()

    def stopped(self) -> float:
        """The backend has stopped for ever."""
        host = self.host
        busid = find_device(host, "back-disk", 60)
        child_node(host, busid, "block/sd?", 60)
        host.run(f"echo {busid}:1.0 > /sys/bus/usb/drivers/usb-storage/unbind")
        pid = host.run("pgrep -x back_disk").out.strip()
        took = self.ms(f"unlink {device_node(host, busid)} {PEER_IN} {pid}")
        self.peer.end()
        self.peer.start()
        self.peer.disk()
        return took

    def end(self) -> None:
        """Leave the machine as it was."""
        self.peer.end()
        self.host.run("rmmod usbfront", 60)


class Guest(Clock):
    """A guest of the host, with a server."""

    def __init__(self, host: KvmHost, disk: Gadget) -> None:
        super().__init__(host)
        host.install()
        self.rule = f"{disk.busid()}:{GUEST}:0:1"
        host.load()
        host.run(f"usbctl serve {GUEST}")
        host.rule(self.rule)

    def killed(self) -> float:
        """kill -9 of a guest that reads."""
        host = self.host
        guest = host.start_front(GUEST, modules=("usb_storage", "sd_mod"))
        guest.wait_for("ls /dev/sda", 300)
        guest.spawn("while cat /dev/sda > /dev/null; do :; done")
        pid = host.run(f"pgrep -f 'qemu.* -name {GUEST} '").out.split()[0]
        took = self.ms(f"killed {pid} {SYSFS}/vports "
                       f"'{self.rule} waiting-guest'")
        guest.close()
        host.guests.remove(guest)
        return took


def take(what: str, most: int, function: Callable[[], float],
         rounds: int = ROUNDS) -> bool:
    """Measure, say, judge by what it may take at most, in milliseconds."""
    times = sorted(function() for _ in range(rounds))
    print(f"{what:58} {times[0]:9.2f} {statistics.median(times):9.2f} "
          f"{times[-1]:9.2f}  of {most}", flush=True)
    return times[-1] <= most


def main() -> int:
    """All of them."""
    say("booting the host")
    print(f"{'milliseconds':58} {'least':>9} {'median':>9} {'most':>9}")
    with KvmHost(controller=None, icount=True, memory=3072) as host:
        host.run("echo 0 > /proc/sys/kernel/hung_task_timeout_secs")
        host.run("modprobe -a usb-storage sd_mod usbhid hid-generic; "
                 f"truncate -s {MIB}M /tmp/image")
        dummies = Dummies(host, 2)
        disk = dummies.mass_storage("disk", "/tmp/image")
        joined = Joined(host, disk)
        good = [take("yank, until the device is gone from the guest", 1000,
                     joined.yank),
                take("unlink, until giveback", 50, joined.unlink),
                take("usbfront unloaded under load", 5000, joined.front),
                take("usbback unloaded under load", 5000, joined.back)]
        joined.end()
        lossy = Lossy(host, dummies.hid_echo("echo"))
        good.append(take("a report there and back, half of the doorbells lost", 500,
                         lossy.lost, min(ROUNDS, 3)))
        lossy.end()
        peer = Peer(host)
        good.append(take("unlink, until giveback, with a backend that stands still",
                         5500, peer.stopped, min(ROUNDS, 3)))
        peer.end()
        good.append(take("QEMU killed, until the device is free", 2000,
                         Guest(host, disk).killed, min(ROUNDS, 3)))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
