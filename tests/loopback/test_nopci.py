#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A kernel without CONFIG_PCI, of a machine with 32 bits: Debian's for a Raspberry Pi Zero.

Both modules are loaded in the one machine and joined in two ways: by nodes of the device
tree, a pair for each of two channels, whose doorbells we turn into interrupts, and by the
ioctl. A disk at the board's own controller is routed, compared and written each time. The
machine has no port for the agent of the other tests: a script does it all, by echo, and says
in the kernel's log how it went.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import initramfs  # noqa: E402
import kernels  # noqa: E402
import klog  # noqa: E402
import tap  # noqa: E402
from cache import TREE, compile_tool  # noqa: E402
from vm import SCALE  # noqa: E402

KERNEL = "6.1-rpi"
BLOB = "usr/lib/linux-image-{}/bcm2835-rpi-zero.dtb"
MIB = 2
WRITTEN = (1 << 20, 128 << 10)      # where in the disk, and how much
# The processor's instructions are older than those of the compiler's C library.
FLAGS = ("-march=armv6", "-marm", "-mfloat-abi=soft", "-nostdlib",
         "-ffreestanding")
# The emulator has no registers of the power domains that this driver is for.
CMDLINE = ("console=ttyAMA0 rdinit=/init panic=-1 printk.devkmsg=on "
           "initcall_blacklist=bcm2835_power_driver_init")
RINGS, BELLS = 0x10000000, 0x10800000
CHANNELS = ("one", "two")
IRQ = 4                             # and the next three
CONTROLLER = "/machine/soc/peripherals/ic"
# The board's root has one cell for an address.
OVERLAY = """/dts-v1/; /plugin/;
/ {{ fragment@0 {{ target-path = "/"; __overlay__ {{
    reserved-memory {{ {regions}
        bells@{bells:x} {{ reg = <{bells:#x} 0x200000>; no-map; }}; }};
    {nodes}
    fixed: clock {{ compatible = "fixed-clock"; #clock-cells = <0>;
        clock-frequency = <48000000>; }}; }}; }};
{quirks}
fragment@1 {{ target-path = "/soc/usb@7e980000"; __overlay__ {{
    dr_mode = "host"; }}; }}; }};
"""
# The emulator's clocks stand still; some drivers divide by their rate.
CLOCKED = {"serial@7e201000": "clocks = <&fixed>, <&fixed>;",
           "i2c@7e205000": 'status = "disabled";',
           "i2c@7e804000": 'status = "disabled";',
           "i2c@7e805000": 'status = "disabled";'}
QUIRK = """fragment@{n} {{ target-path = "/soc/{name}"; __overlay__ {{
    {text} }}; }};"""
REGION = "ring{n}: ring@{at:x} {{ reg = <{at:#x} 0x200000>; no-map; }};"
# Nothing in the tree has these interrupts of that bank.
NODE = """usb-channel@{bell:x} {{ compatible = "usbif,channel";
    reg = <{bell:#x} 0x4>; reg-names = "doorbell"; interrupts = <1 {irq}>;
    memory-region = <&ring{n}>; dma-coherent;
    usbif,role = "{role}"; label = "{label}"; }};"""
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev

say() { echo "SAID $*" > /dev/kmsg; }

until_true() {
        for i in $(seq 100); do eval "$1" && return; usleep 100000; done
        say "never: $1"
}

device() {
        for file in /sys/bus/usb/devices/*/serial; do
                grep -q stick $file && busid=$(basename ${file%/serial}) && return
        done
        false
}

disk() {
        for path in /sys/block/sd?; do
                [ -e "$path" ] || continue      # none there, and a moment later one
                where=$(readlink -f $path/device)
                name=${path#/sys/block/}
                expr $where : ".*$1" > /dev/null && return
        done
        false
}

compare() {
        sync; echo 3 > /proc/sys/vm/drop_caches
        say $1 sum $(sha256sum < /dev/$name)
}

# a channel, and where its host controller is
route() {
        echo $busid:$1:0:1 > new_vport
        until_true "grep -q '^$busid:$1:0:1 attached' vports"
        say $1 rule $(grep $busid vports)
        say $1 channel $(grep -w $1 channels)
        until_true "disk $2"
        say $1 disk $where
        compare $1
        dd if=/data.$1 of=/dev/$name bs=64k seek=16 conv=fsync,notrunc 2> /dev/null
        compare $1
        echo $busid > remove_vport
        until_true "! disk $2"
}

[ -e /sys/bus/pci ] || say no PCI on $(uname -m)
until_true device
while read -r module; do insmod $module; done < /modules.list
insmod /usbback.ko && insmod /usbfront.ko && say loaded
cd /sys/bus/usb/drivers/usbback
route one 10800004.usb-channel
route two 1080000c.usb-channel
/join; say joined $?
route loop usbfront
until_true "disk 20980000.usb"
say given back $where
rmmod usbfront && rmmod usbback && say removed
reboot -f
sleep 60
"""


def overlay() -> str:
    """Both ends of two channels, beside the board's own devices."""
    regions, nodes = [], []
    for n, label in enumerate(CHANNELS):
        regions.append(REGION.format(n=n, at=RINGS + (n << 21)))
        for i, role in enumerate(("backend", "frontend"), 2 * n):
            nodes.append(NODE.format(n=n, bell=BELLS + 4 * i, irq=IRQ + i,
                                     role=role, label=label))
    quirks = [QUIRK.format(n=n, name=name, text=text)
              for n, (name, text) in enumerate(CLOCKED.items(), 2)]
    return OVERLAY.format(regions="\n".join(regions), bells=BELLS,
                          nodes="\n".join(nodes), quirks="\n".join(quirks))


def image(data: dict[str, bytes]) -> bytes:
    """The initramfs."""
    modules = kernels.build(KERNEL)
    archive = initramfs.Cpio()
    archive.console()
    archive.file("init", INIT.encode(), 0o755)
    archive.file("bin/busybox", kernels.busybox(KERNEL).read_bytes(), 0o755)
    for name in ("proc", "sys", "dev"):
        archive.directory(name)
    lines = initramfs.add_modules(archive, initramfs.module_files(
        KERNEL, ("usb_storage", "sd_mod")), True)
    archive.file("modules.list", "".join(lines).encode())
    for name in ("usbback.ko", "usbfront.ko"):
        archive.file(name, (modules / name).read_bytes())
    tool = compile_tool("join", *FLAGS, arch="armel",
                        watch=[TREE / "include/usbif_ioctl.h"])
    archive.file("join", tool.read_bytes(), 0o755)
    for name, octets in data.items():
        archive.file(f"data.{name}", octets)
    return archive.bytes()


def tree(scratch: Path) -> Path:
    """The board's device tree, with ours in it."""
    blob = kernels.fetch(KERNEL) / BLOB.format(kernels.release(KERNEL))
    ours, made = scratch / "ours.dtbo", scratch / "zero.dtb"
    subprocess.run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o",
                    str(ours)], input=overlay(), text=True, check=True)
    subprocess.run(["fdtoverlay", "-i", str(blob), "-o", str(made),
                    str(ours)], check=True)
    return made


class Bells:
    """Turns the doorbells of the nodes into interrupts, over qtest.

    The board's controller knows levels only: a line stays up long enough to be seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Bells:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._path.exists():
            if self._end.wait(0.1):
                return
        # The machine may go first.
        with contextlib.suppress(OSError), \
                socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._path))
            while not self._end.wait(0.001):
                self._look(line)

    @staticmethod
    def _ask(line: socket.socket, command: str) -> str:
        line.sendall(f"{command}\n".encode())
        answer = line.recv(256).decode()
        if not answer.startswith("OK"):
            raise ConnectionError(answer)
        return answer[2:].strip()

    def _look(self, line: socket.socket) -> None:
        ends = 2 * len(CHANNELS)
        words = bytes.fromhex(
            self._ask(line, f"read {BELLS:#x} {4 * ends:#x}")[2:])
        for n in range(ends):
            if not any(words[4 * n:4 * n + 4]):
                continue
            self._ask(line, f"write {BELLS + 4 * n:#x} 4 0x00000000")
            level = f"set_irq_in {CONTROLLER} gpu-irq {IRQ + (n ^ 1)}"
            self._ask(line, f"{level} 1")
            time.sleep(0.001)
            self._ask(line, f"{level} 0")


def boot(scratch: Path, disk: Path, data: dict[str, bytes]) -> str:
    """All that the machine says."""
    (scratch / "initrd").write_bytes(image(data))
    serial, qtest = scratch / "serial", scratch / "qtest"
    serial.touch()
    with contextlib.suppress(subprocess.TimeoutExpired), Bells(qtest):
        subprocess.run(
            ["qemu-system-arm", "-machine", "raspi0", "-display", "none",
             "-monitor", "none", "-no-reboot", "-serial", f"file:{serial}",
             "-qtest", f"unix:{qtest},server=on,wait=off",
             "-qtest-log", "none",
             "-kernel", str(kernels.fetch(KERNEL) / "boot/vmlinuz"),
             "-dtb", str(tree(scratch)), "-initrd", str(scratch / "initrd"),
             "-append", CMDLINE,
             "-drive", f"if=none,id=stick,format=raw,file={disk}",
             "-device", "usb-storage,drive=stick,serial=stick"],
            check=False, timeout=120 * SCALE, stdin=subprocess.DEVNULL)
    if keep := os.environ.get("USBIF_KEEP"):
        Path(keep).mkdir(parents=True, exist_ok=True)
        shutil.copy(serial, Path(keep) / "zero.log")
    return serial.read_text("utf-8", "replace").replace("\r", "")


def said(log: str, pattern: str) -> str:
    """A line of the script."""
    found = re.search(rf"\] SAID ({pattern}.*)$", log, re.M)
    tap.expect(found, f"not said: {pattern}\n" + log[-4000:])
    return found[1]


def compared(log: str, channel: str, sums: list[str]) -> None:
    """What the disk was when it was routed, and what it was made."""
    found = re.findall(rf"\] SAID {channel} sum (\w+)", log)
    tap.expect_equal(found, sums, "checksums")


def clean(log: str) -> None:
    """No warnings, and nothing that had to be waited for in vain."""
    bad = klog.bad_lines(log) + re.findall(r"SAID never.*", log)
    tap.expect(not bad, f"{bad}")


class Disk:
    """What the disk has to hold: each channel has its own write something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        octets = bytearray(os.urandom(MIB << 20))
        path.write_bytes(octets)
        self.data, self.sums = {}, {}
        for name in (*CHANNELS, "loop"):
            before = hashlib.sha256(octets).hexdigest()
            data = self.data[name] = os.urandom(WRITTEN[1])
            octets[WRITTEN[0]:WRITTEN[0] + len(data)] = data
            self.sums[name] = [before, hashlib.sha256(octets).hexdigest()]

    def written(self) -> None:
        """The image itself."""
        tap.expect_equal(hashlib.sha256(self.path.read_bytes()).hexdigest(),
                         self.sums["loop"][1], "checksum of the image")


def channel_cases(t: tap.Suite, log: str, name: str, kind: str, where: str,
                  sums: list[str]) -> None:
    """The disk behind one channel."""
    t.case(f"{name}: device attached", said, log,
           rf"{name} rule \S+:{name}:0:1 attached")
    t.case(f"{name}: channel of kind {kind}", said, log,
           rf"{name} channel .*{kind} .*running")
    t.case(f"{name}: disk at the virtual controller", said, log,
           rf"{name} disk \S*{where}")
    t.case(f"{name}: disk compared, written, compared", compared, log, name,
           sums)


def main() -> None:
    with tap.Suite() as t, tempfile.TemporaryDirectory() as tmp:
        disk = Disk(Path(tmp) / "disk")
        log = boot(Path(tmp), disk.path, disk.data)
        t.case("kernel without PCI, 32 bits", said, log, "no PCI on arm")
        t.case("both modules loaded", said, log, "loaded")
        for n, name in enumerate(CHANNELS):
            channel_cases(t, log, name, "platform",
                          f"/{BELLS + 8 * n + 4:x}.usb-channel/",
                          disk.sums[name])
        channel_cases(t, log, "loop", "fd", "usbfront", disk.sums["loop"])
        t.case("written", disk.written)
        t.case("device given back to its driver", said, log,
               r"given back \S*20980000.usb/")
        t.case("both modules removed", said, log, "removed")
        t.case("no warnings", clean, log)


if __name__ == "__main__":
    main()
