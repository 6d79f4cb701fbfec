#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Bulk streams: disks that speak UAS, from usbback to usbfront of one kernel.

QEMU's usb-uas on its xHCI is the disk, and its image, a file out here, tells
what really arrived.  What the host's controller was asked to do is read from
its own trace events, which name the stream of each transfer.
"""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (child_node, device_node, find_device,  # noqa: E402
                    load_drivers)
from uas import Disk  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402
from workload import fio  # noqa: E402

TRACE = "/sys/kernel/tracing"
# The ioctl SG_SCSI_RESET: what sg_reset(8) does.
SG_RESET = ("import fcntl, os, struct, sys; "
            "fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK), "
            "0x2284, struct.pack('i', int(sys.argv[2])))")
DEVICE_RESET = 1


class Cases:
    """The cases, with what they need."""

    def __init__(self, vm: VM, loop: Loop) -> None:
        self.vm = vm
        self.loop = loop
        self.disk = Disk(vm, loop, "xhci")
        self.mark = vm.mark()

    def begin(self, bus: str = "xhci") -> str:
        """A fresh disk, routed; its block device."""
        self.mark = self.vm.mark()
        self.disk = Disk(self.vm, self.loop, bus)
        self.disk.plug()
        child_node(self.vm, self.disk.busid, "block/sd?")
        return self.node(self.disk.route())

    def node(self, busid: str) -> str:
        """The block device behind a bus ID."""
        node = "/dev/" + child_node(self.vm, busid, "block/sd?", 30)
        self.vm.wait_for(f"test -b {node}")
        return node

    def end(self) -> None:
        """Without the disk and its rule; nobody had a reason to complain."""
        if self.disk.busid:
            self.disk.unplug()
            self.loop.remove(self.disk.busid)
            self.vm.wait_for("! grep -q . /sys/bus/usb/drivers/usbback/vports")
            self.disk.busid = ""
        log = self.vm.klog(self.mark)
        tap.expect("has streams on" not in log, "streams were left behind")
        tap.expect("violates" not in log, "the protocol was violated")

    def data(self, node: str) -> None:
        """What is on the disk is read, what is written lands there."""
        self.vm.run(f"dd if={node} of=/tmp/read bs=1M iflag=direct 2>&1 && "
                    f"cmp /tmp/read /share/{self.disk.image.name}", 120)
        for size, at, mib in (("1M", 3, 4), ("256k", 37, 2), ("4k", 4711, 1)):
            self.vm.run(
                f"head -c {mib}M /dev/urandom > /tmp/piece; "
                f"dd if=/tmp/piece of={node} bs={size} seek={at} "
                f"oflag=direct conv=fsync 2>&1", 120)
            self.vm.run(f"dd if={node} bs={size} skip={at} iflag=direct "
                        f"count=$(({mib} * 1024 * 1024 / $(numfmt --from=iec "
                        f"{size.upper()}))) | cmp - /tmp/piece", 120)
            piece = self.vm.get("/tmp/piece")
            start = at * {"1M": 1 << 20, "256k": 1 << 18, "4k": 4096}[size]
            tap.expect(self.disk.image.read_bytes()[
                start:start + len(piece)] == piece, f"{size}: other data")

    def bound(self) -> str:
        """Driver and depth are the same on both sides."""
        disk = self.disk = Disk(self.vm, self.loop, "xhci")
        disk.plug()
        here = child_node(self.vm, disk.busid, "block/sd?")
        tap.expect_equal(disk.driver(disk.busid), "uas", "driver on the host")
        depth = self.vm.run(f"cat /sys/block/{here}/device/queue_depth").out
        virtual = disk.route()
        node = self.node(virtual)
        tap.expect_equal(disk.driver(virtual), "uas", "driver in the guest")
        tap.expect_equal(self.vm.run(
            f"cat /sys/block/{Path(node).name}/device/queue_depth").out,
            depth, "queue depth")
        self.data(node)
        return f"queue depth {depth.strip()}"

    def depth(self) -> str:
        """Commands are on the host's controller at once, each on its stream."""
        node = self.begin()
        self.vm.run(f"cd {TRACE}; echo 8192 > buffer_size_kb; echo > trace; "
                    "for e in enqueue giveback; do "
                    "echo 1 > events/xhci-hcd/xhci_urb_$e/enable; done")
        self.vm.run(fio(node, 3), 60)
        self.vm.run(f"cd {TRACE}; for e in enqueue giveback; do "
                    "echo 0 > events/xhci-hcd/xhci_urb_$e/enable; done; "
                    "cat trace > /share/trace")
        text = (Path(self.vm.share) / "trace").read_text("utf-8")
        live: dict[str, tuple[str, int]] = {}
        seen: set[int] = set()
        peak = 0
        for what, ep, urb, stream in re.findall(
                r"xhci_urb_(\w+): (?:.* )?(ep\d+\w+)-bulk: urb (\S+) .* stream (\d+)",
                text):
            if what == "giveback":
                live.pop(urb, None)
                continue
            if ep == "ep1out":
                continue
            tap.expect(int(stream) > 0, f"{ep} without a stream")
            tap.expect((ep, int(stream)) not in live.values(),
                       f"{ep}: two commands with stream {stream}")
            live[urb] = (ep, int(stream))
            seen.add(int(stream))
            peak = max(peak, len({s for _, s in live.values()}))
        tap.expect(peak >= 4, f"only {peak} streams at once")
        return f"{peak} streams at once, {len(seen)} in all"

    def resets(self) -> str:
        """Device resets by SCSI under load lose no data."""
        node = self.begin()
        load = self.vm.spawn(fio(node, tap.scaled(12, 30)))
        for number in range(tap.scaled(3, 10)):
            self.vm.run(f"sleep 2; python3 -c \"{SG_RESET}\" {node} "
                        f"{DEVICE_RESET}", 60)
        load.wait(120, check=True)
        log = self.vm.klog(self.mark)
        resets = len(re.findall(r"usbback .*: reset SuperSpeed", log))
        tap.expect(resets >= 3, f"{resets} resets reached the device")
        self.data(node)
        return f"{resets} resets of the device"

    def unplugged(self) -> None:
        """A disk may be pulled out under load; the next one is routed again."""
        node = self.begin()
        load = self.vm.spawn(fio(node, 60))
        self.vm.run("sleep 2")
        virtual = self.disk.virtual()
        self.disk.unplug()
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{virtual}")
        load.wait(30)
        self.disk.plug()
        self.loop.wait(self.disk.busid, "attached", 30)
        self.data(self.node(self.disk.virtual()))

    def rule_removed(self) -> None:
        """The rule may go under load; the host's uas has the disk then."""
        node = self.begin()
        for _ in range(tap.scaled(1, 10)):
            load = self.vm.spawn(fio(node, 60))
            self.vm.run("sleep 1")
            virtual = self.disk.virtual()
            self.loop.remove(self.disk.busid)
            self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{virtual}")
            # It may have opened the host's disk, which is of the same name.
            load.kill(9)
            load.wait(30)
            node = self.node(self.disk.busid)
            tap.expect_equal(self.disk.driver(self.disk.busid), "uas")
            self.vm.run(f"dd if={node} bs=1M iflag=direct | "
                        f"cmp - /share/{self.disk.image.name}", 60)
            node = self.node(self.disk.route())
        self.data(node)

    def rebound(self) -> None:
        """Binding the driver again and again: streams come and go."""
        self.begin()
        virtual = self.disk.virtual()
        for _ in range(30):
            self.vm.run(f"cd /sys/bus/usb/drivers/uas; echo {virtual}:1.0 > "
                        f"unbind; echo {virtual}:1.0 > bind")
        self.data(self.node(virtual))

    def front_gone(self) -> None:
        """usbfront may be removed under load, and comes back."""
        node = self.begin()
        load = self.vm.spawn(fio(node, 60))
        self.vm.run("sleep 1; rmmod usbfront && usbctl drop loop", 30)
        load.kill(9)
        load.wait(30)
        self.vm.run(f"insmod {self.loop.modules}/usbfront.ko", 20)
        self.loop.join()
        self.data(self.node(self.disk.virtual()))

    def long_commands(self) -> str:
        """Transfers longer than a request on all streams, and than the pool."""
        self.begin()
        self.vm.run("echo 256 > /sys/module/usbcore/parameters/usbfs_memory_mb")
        node = device_node(self.vm, self.disk.virtual())
        out = ""
        for streams, blocks in ((2, 6001), (4, 4096), (16, 4000), (15, 37)):
            out += self.vm.run(
                f"{compile_tool('uas_raw')} {node} "
                f"/share/{self.disk.image.name} {streams} {blocks}",
                120).out.strip() + ", "
        return out.rstrip(", ")

    def no_streams(self) -> None:
        """Behind a controller without streams a disk is left to usb-storage."""
        image = Path(self.vm.share) / "bot.img"
        image.write_bytes(os.urandom(8 << 20))
        self.vm.run("modprobe vhci-hcd")
        program = Path(__file__).resolve().parents[1] / "tools/usbip_disk.py"
        disk = self.vm.spawn(f"exec {program} /share/{image.name} usbipdisk")
        disk.wait_output("attached")
        source = find_device(self.vm, "usbipdisk")
        child_node(self.vm, source, "block/sd?", 30)
        tap.expect_equal(self.disk.driver(source), "usb-storage")
        self.loop.rule(f"{source}:{self.loop.NAME}:0:2")
        self.loop.wait(source, "attached", 30)
        virtual = find_device(self.vm, "usbipdisk", 30, other_than=source)
        node = self.node(virtual)
        tap.expect_equal(self.disk.driver(virtual), "usb-storage")
        self.vm.wait_log("usbfront.0 does not support streams", 1, self.mark)
        self.vm.run(f"dd if={node} bs=1M iflag=direct | cmp - "
                    f"/share/{image.name}; head -c 4M /dev/urandom > /tmp/bot;"
                    f" dd if=/tmp/bot of={node} bs=256k seek=5 oflag=direct "
                    "conv=fsync 2>&1", 120)
        piece = self.vm.get("/tmp/bot")
        at = 5 * (256 << 10)
        tap.expect(image.read_bytes()[at:at + len(piece)] == piece, "other data")
        # With that one gone, the next disk has streams again.
        self.loop.remove(source)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{virtual}")
        disk.kill(9)
        self.begin()
        tap.expect_equal(self.disk.driver(self.disk.virtual()), "uas")

    def high_speed(self) -> None:
        """At high speed uas works without streams."""
        node = self.begin("ehci")
        virtual = self.disk.virtual()
        tap.expect_equal(self.vm.run(
            f"cat /sys/bus/usb/devices/{virtual}/speed").out.strip(), "480")
        tap.expect_equal(self.disk.driver(virtual), "uas")
        self.data(node)


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"streams-{series}", kernel=series, smp=2,
                 devices=["qemu-xhci,id=xhci,p2=4,p3=4", "usb-ehci,id=ehci"]))
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    vm.run("modprobe ehci-pci")
    cases = Cases(vm, loop)
    for case in (cases.bound, cases.depth, cases.resets, cases.unplugged,
                 cases.rule_removed, cases.front_gone, cases.long_commands,
                 *([cases.rebound, cases.high_speed, cases.no_streams]
                   if tap.LONG else [])):
        if t.case(f"{series}: {case.__name__}", case):
            t.case(f"{series}: nothing is left of {case.__name__}", cases.end)
        else:
            break
    vm.close()


def main() -> None:
    """The cases, on one kernel or more."""
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            run(t, series)


if __name__ == "__main__":
    main()
