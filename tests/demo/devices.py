# SPDX-License-Identifier: GPL-2.0
"""USB devices of the emulated controller, and what one can tell of them.

Each class stands for one device. It knows how QEMU is told of it, acts on its
far end (a key is pressed, a line is sent), and checks on a machine, whichever
that is, that this arrives there through the drivers of its kernel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from vm import VM, Job, VMError

MIB = 1 << 20
# How long, in seconds, something may take that is not timed; ends what hangs.
PATIENCE = 60
KEYS = {"u": 22, "s": 31, "b": 48, "i": 23, "f": 33, "1": 2, "2": 3, "3": 4}
EVENT = struct.Struct("<qqHHi")

# Loaded in whoever is to use the devices.
DRIVERS = ("usb-storage", "sd_mod", "ext4", "crc32c_generic", "usbhid",
           "hid-generic", "evdev", "ftdi_sio", "cdc_ether", "rndis_host")


class Failed(Exception):
    """Something that was to be shown did not happen."""


def sha256(path: Path) -> str:
    """The checksum of a file here."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def wait_for(vm: VM, cmd: str, what: str, timeout: float = PATIENCE) -> str:
    """Wait for a command to come true; what it printed."""
    try:
        return vm.wait_for(cmd, timeout, every=0.05).out.strip()
    except VMError as why:
        if vm.alive():
            raise Failed(f"{what}: waited {timeout:.0f} s") from why
        raise


class Stick:
    """A USB stick with a file system and files."""

    NAME = "stick"
    BIG = "holiday.mov"

    def __init__(self, scratch: Path, extra: Path | None = None) -> None:
        self.image = scratch / "stick.img"
        self.files: dict[str, str] = {}
        self.extra = ""         # name on the stick
        content = scratch / "stick"
        content.mkdir()
        for name, size in (("notes.txt", 3000), ("photo.jpg", 2 * MIB),
                           (self.BIG, 16 * MIB)):
            (content / name).write_bytes(os.urandom(size))
        if extra:
            self.extra = "FILE." + re.sub(r"[^\w.-]", "_", extra.name,
                                          flags=re.ASCII)[-200:]
            shutil.copyfile(extra, content / self.extra)
        for name in self.names(content):
            self.files[name] = sha256(content / name)
        size = sum((content / n).stat().st_size for n in self.files)
        blocks = (size + size // 16 + 16 * MIB) // 4096
        tool = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if not tool:
            raise Failed("mke2fs is missing; install the package e2fsprogs")
        with open(self.image, "wb") as image:
            image.truncate(blocks * 4096)
        subprocess.run([tool, "-q", "-F", "-t", "ext4", "-b", "4096", "-O",
                        "^has_journal", "-d", str(content), str(self.image),
                        str(blocks)], check=True)
        shutil.rmtree(content)

    @staticmethod
    def names(directory: Path) -> list[str]:
        """The files of a directory."""
        return sorted(p.name for p in directory.iterdir())

    def args(self) -> list[str]:
        """For QEMU: the medium, whose speed can be changed."""
        return ["-object", "throttle-group,id=brake",
                "-blockdev", f"driver=file,node-name=file0,"
                f"filename={self.image}",
                "-blockdev", "driver=raw,node-name=raw0,file=file0",
                "-blockdev", "driver=throttle,node-name=medium,"
                "throttle-group=brake,file=raw0"]

    def device(self) -> str:
        """For QEMU: the stick in port 1 of the controller."""
        return f"usb-storage,id={self.NAME},bus=xhci.0,port=1,drive=medium"

    def speed(self, host: VM, rate: int) -> None:
        """Let it read at most rate octets a second; 0: as it can."""
        host.qmp("qom-set", path="/objects/brake", property="limits",
                 value={"bps-total": rate})

    def pull(self, host: VM) -> None:
        """Pull it out, at once."""
        host.qmp("device_del", id=self.NAME)

    def plug(self, host: VM) -> None:
        """Put it in where it was."""
        with contextlib.suppress(VMError):
            host.wait_event("DEVICE_DELETED", 5, device=self.NAME)
        host.device_add("usb-storage", id=self.NAME, bus="xhci.0", port="1",
                        drive="medium")

    def disk(self, vm: VM, timeout: float = PATIENCE) -> str:
        """The block device it is on that machine, once it is there."""
        return wait_for(
            vm, "for d in /sys/block/sd*; do "
            "[ \"$(cat $d/size 2>/dev/null)\" -gt 0 ] 2>/dev/null && "
            "echo /dev/${d##*/} && exit; done; false",
            f"no USB disk appeared in {vm.name}", timeout)

    def mount(self, vm: VM, timeout: float = PATIENCE) -> str:
        """Mount it at /mnt there."""
        disk = self.disk(vm, timeout)
        vm.run(f"mkdir -p /mnt; mount -t ext4 {disk} /mnt")
        return disk

    def compare(self, vm: VM) -> dict[str, str]:
        """Read all files there; the checksums, which have to be right."""
        seen = {}
        for name, digest in self.files.items():
            out = vm.run(f"cd /mnt && sha256sum < {shlex.quote(name)}",
                         timeout=300, check=False).out
            seen[name] = out.partition(" ")[0]
            if seen[name] != digest:
                raise Failed(f"{name} as read in {vm.name} is not what is on "
                             f"the stick: {out}")
        return seen

    @staticmethod
    def sectors(vm: VM, disk: str) -> int:
        """How many sectors were read from it there."""
        name = disk.removeprefix("/dev/")
        return int(vm.run(f"cat /sys/block/{name}/stat").out.split()[2])


class Keyboard:
    """A USB keyboard; keys are pressed on the machine's own."""

    @staticmethod
    def device() -> str:
        """For QEMU: in port 1 of the external hub."""
        return "usb-kbd,id=keyboard,bus=xhci.0,port=2.1"

    def listen(self, vm: VM, timeout: float = PATIENCE) -> Job:
        """Collect the input events there, once there is a keyboard."""
        node = wait_for(
            vm, "for e in /sys/class/input/event*; do "
            "grep -q 'USB Keyboard' $e/device/name 2>/dev/null && "
            "echo /dev/input/${e##*/} && exit; done; false",
            f"no USB keyboard appeared in {vm.name}", timeout)
        return vm.spawn(f"exec 3< {node}; echo listening >&2; exec cat <&3",
                        stdin=False)

    @staticmethod
    def heard(job: Job) -> list[int]:
        """Codes of the keys pressed so far, as the kernel there saw them."""
        data = job.raw().removeprefix(b"listening\n")
        events = EVENT.iter_unpack(data[:len(data) // EVENT.size * EVENT.size])
        return [code for _, _, kind, code, value in events
                if kind == 1 and value == 1]

    @staticmethod
    def press(host: VM, text: str) -> None:
        """Press and release keys on the host's keyboard."""
        for key in text:
            for down in (True, False):
                host.qmp("input-send-event", events=[{
                    "type": "key", "data": {
                        "down": down, "key": {"type": "qcode", "data": key}}}])
                time.sleep(0.02)

    def check(self, host: VM, vm: VM, text: str,
              timeout: float = PATIENCE) -> None:
        """Keys pressed at the host arrive there, all and in order."""
        job = self.listen(vm, timeout)
        try:
            job.wait_output("^listening", timeout)
            self.press(host, text)
            wanted = [KEYS[key] for key in text]
            end = time.monotonic() + timeout
            while self.heard(job) != wanted:
                if time.monotonic() > end:
                    raise Failed(f"keys {wanted} were pressed, {vm.name} saw "
                                 f"{self.heard(job)}")
                time.sleep(0.05)
        finally:
            job.kill(9)


class Serial:
    """A USB serial adapter with a line on its other side."""

    def __init__(self, scratch: Path) -> None:
        self.path = scratch / "line"

    def args(self) -> list[str]:
        """For QEMU: the line."""
        return ["-chardev",
                f"socket,id=line,path={self.path},server=on,wait=off"]

    @staticmethod
    def device() -> str:
        """For QEMU: in port 2 of the external hub."""
        return "usb-serial,id=serial,bus=xhci.0,port=2.2,chardev=line," \
            "always-plugged=on"

    def check(self, vm: VM, size: int = 4096,
              timeout: float = PATIENCE) -> None:
        """Data goes through in both directions, unchanged."""
        node = wait_for(vm, "ls /dev/ttyUSB*",
                        f"no USB serial line appeared in {vm.name}", timeout)
        vm.run(f"stty -F {node} raw -echo 115200")
        down, up = os.urandom(size), os.urandom(size)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.path))
            line.settimeout(timeout)
            reader = vm.spawn(f"exec 3< {node}; echo open; "
                              f"exec head -c {size} <&3", stdin=False)
            reader.wait_output("^open\n", timeout)
            line.sendall(down)
            reader.wait(timeout)
            if reader.raw().removeprefix(b"open\n") != down:
                raise Failed(f"{vm.name} read something else from the serial "
                             "line than was sent")
            vm.run(f"cat > {node}", timeout=timeout, stdin=up)
            got = b""
            while len(got) < size:
                got += line.recv(size)
            if got != up:
                raise Failed(f"what {vm.name} wrote to the serial line did "
                             "not come out as it was")


class Network:
    """A USB network adapter; behind it a small network with a file server."""

    def __init__(self, scratch: Path, size: int = 512 << 10) -> None:
        self.served = scratch / "served"
        self.served.mkdir()
        (self.served / "page").write_bytes(os.urandom(size))
        self.digest = sha256(self.served / "page")

    def args(self) -> list[str]:
        """For QEMU: the network."""
        return ["-netdev", f"user,id=net,restrict=on,tftp={self.served}"]

    @staticmethod
    def device() -> str:
        """For QEMU: in port 3 of the external hub."""
        return "usb-net,id=network,bus=xhci.0,port=2.3,netdev=net"

    def check(self, vm: VM, timeout: float = PATIENCE) -> None:
        """The neighbour answers, and a file arrives whole."""
        name = wait_for(vm, "ls /sys/class/net | grep -Ev '^lo$'",
                        f"no USB network adapter appeared in {vm.name}",
                        timeout)
        vm.run(f"busybox ip link set {name} up; "
               f"busybox ip addr add 10.0.2.15/24 dev {name} 2>/dev/null; "
               "busybox ping -c 3 -W 5 10.0.2.2", timeout=timeout)
        vm.run("cd /tmp && busybox tftp -g -b 1400 -r page -l page 10.0.2.2",
               timeout=timeout)
        got = vm.run("sha256sum /tmp/page; rm /tmp/page").out.split()[0]
        if got != self.digest:
            raise Failed(f"the file that {vm.name} fetched over the network "
                         "is not what was sent")
