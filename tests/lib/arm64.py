# SPDX-License-Identifier: GPL-2.0
"""Two arm64 machines that share memory and doorbells, and nothing else.

    from arm64 import Board

    with Board(scratch) as board:
        driver = board.start("driver", overlay, devices=["qemu-xhci,id=xhci"])
        client = board.start("client", overlay)
        board.bells.mode = "drop"

Each machine is QEMU's "virt", emulated, with a stock Debian kernel and a device
tree to which an overlay of ours was applied. Its second NUMA node is a file
that both have. A doorbell is a word in the file's last page: a thread here
takes what a machine stores there and raises an interrupt of the other one over
qtest. So it is what a hypervisor is for such guests, and it can be a bad one.
"""

from __future__ import annotations

import mmap
import random
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import initramfs
import kernels
from cache import TREE, compile_tool
from vm import VM

KERNEL = "6.1-arm64"
OVERLAYS = TREE / "dts-overlays"
OWN, SHARED = 512, 64
SPI = 80
# The word of each machine in the last page of what is shared.
BELLS = {"driver": 0, "client": 4}
DRIVERS = ("xhci_pci", "usb_storage", "sd_mod", "usbhid", "hid_generic",
           "evdev", "usbtest", "configfs")
EXTRA = ("dummy_hcd", "libcomposite", "usb_f_ss_lb")


class Bells:
    """The doorbells between the machines."""

    def __init__(self, memory: Path) -> None:
        with memory.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SHARED << 20)
        self.mode = ""          # or "drop", "double", "delay"
        self.rung = dict.fromkeys(BELLS, 0)
        self.dropped = 0
        self._lines: dict[str, tuple[socket.socket, str]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._late: list[tuple[float, str]] = []
        self._random = random.Random(1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def connect(self, name: str, path: Path, gic: str) -> None:
        """Interrupts of a machine, from now on."""
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(10)
        line.connect(str(path))
        with self._lock:
            self._lines[name] = (line, gic)

    def forget(self, name: str) -> None:
        """It has gone."""
        with self._lock:
            line = self._lines.pop(name, None)
        if line:
            line[0].close()

    def _raise(self, name: str) -> None:
        with self._lock:
            if name not in self._lines:
                return
            line, gic = self._lines[name]
            try:
                for level in (1, 0):
                    line.sendall(f"set_irq_in {gic} unnamed-gpio-in {SPI} "
                                 f"{level}\n".encode())
                    line.recv(64)
            except OSError:
                del self._lines[name]

    def _ring(self, name: str) -> None:
        self.rung[name] += 1
        if self.mode == "drop" and self._random.random() < 0.3:
            self.dropped += 1
        elif self.mode == "delay":
            self._late.append((time.monotonic() + self._random.random() / 50,
                               name))
        else:
            self._raise(name)
            if self.mode == "double":
                self._raise(name)

    def _run(self) -> None:
        base = (SHARED << 20) - 4096
        other = {"driver": "client", "client": "driver"}
        while not self._end.is_set():
            for name, at in BELLS.items():
                word = struct.unpack_from("<I", self._map, base + at)[0]
                if word:
                    struct.pack_into("<I", self._map, base + at, 0)
                    self._ring(other[name])
            now = time.monotonic()
            for entry in [e for e in self._late if e[0] <= now]:
                self._late.remove(entry)
                self._raise(entry[1])
            time.sleep(0.0003)

    def close(self) -> None:
        """No more of it."""
        self._end.set()
        self._thread.join()
        for name in list(self._lines):
            self.forget(name)


def image(*more: str) -> Path:
    """The initramfs of both machines; more modules may be loaded in others."""
    modules = kernels.build(KERNEL)
    files: dict[str, Any] = {f"/{name}.ko": modules / f"{name}.ko"
                             for name in ("usbback", "usbfront")}
    source = kernels.source() / "tools/usb/testusb.c"
    files["/bin/testusb"] = compile_tool("testusb", source=source,
                                         arch="arm64")
    return initramfs.alone(KERNEL, modules=(*DRIVERS, *more),
                           extra_modules=EXTRA, files=files, name="arm64")


class Machine(VM):
    """An arm64 guest."""

    def __init__(self, name: str, *, args: list[str] | None = None,
                 memory: int = 512, **options: Any) -> None:
        options.setdefault("machine", "virt")
        options["initrd"] = options.get("initrd") or image()
        super().__init__(
            name, KERNEL, root=None,
            image=kernels.fetch(KERNEL) / "boot/vmlinuz",
            qemu="qemu-system-aarch64", cpu="cortex-a53", memory=memory,
            accel="tcg,tb-size=128", cmdline="console=ttyAMA0",
            args=args or [], **options)

    def setup(self) -> None:
        """What an init would do."""
        self.run("mount -t debugfs none /sys/kernel/debug; "
                 "mount -t configfs none /sys/kernel/config; true")


class Board:
    """Both machines, and what is between them."""

    def __init__(self) -> None:
        self._tmp = tempfile.TemporaryDirectory(prefix="usbif-arm64.")
        self.dir = Path(self._tmp.name)
        self.memory = self.dir / "shared"
        with self.memory.open("wb") as file:
            file.truncate(SHARED << 20)
        self.bells = Bells(self.memory)
        self.machines: dict[str, Machine] = {}

    def _memory(self) -> list[str]:
        return ["-object", f"memory-backend-ram,id=m0,size={OWN}M",
                "-object", f"memory-backend-file,id=m1,size={SHARED}M,"
                f"mem-path={self.memory},share=on",
                "-numa", "node,memdev=m0,cpus=0", "-numa", "node,memdev=m1"]

    def tree(self, name: str, overlay: Path | str) -> Path:
        """The device tree of a machine, with an overlay (or its text)."""
        base, blob = self.dir / "base.dtb", self.dir / f"{name}.dtbo"
        if not base.exists():
            subprocess.run(
                ["qemu-system-aarch64", "-machine", f"virt,dumpdtb={base}",
                 "-cpu", "cortex-a53", "-m", str(OWN + SHARED),
                 "-display", "none", *self._memory()], check=True,
                stderr=subprocess.DEVNULL)
        text = overlay.read_text() if isinstance(overlay, Path) else overlay
        subprocess.run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o",
                        str(blob)], input=text, text=True, check=True)
        made = self.dir / f"{name}.dtb"
        subprocess.run(["fdtoverlay", "-i", str(base), "-o", str(made),
                        str(blob)], check=True)
        return made

    def start(self, name: str, overlay: Path | str = "",
              **options: Any) -> Machine:
        """Boot a machine with its own overlay, or another one."""
        tree = self.tree(name, overlay or
                         OVERLAYS / f"qemu-virt-{name}-vm.dtso")
        qtest = self.dir / f"{name}.qtest"
        qtest.unlink(missing_ok=True)
        vm = Machine(name, memory=OWN + SHARED, args=[
            *self._memory(), "-dtb", str(tree),
            "-qtest", f"unix:{qtest},server=on,wait=off",
            "-qtest-log", "none"], **options)
        self.machines[name] = vm
        self.bells.connect(name, qtest, self._gic(vm))
        vm.setup()
        return vm

    @staticmethod
    def _gic(vm: Machine) -> str:
        for entry in vm.qmp("qom-list", path="/machine/unattached"):
            if re.fullmatch(r"child<arm[_-]gic(v3)?>", entry["type"]):
                return f"/machine/unattached/{entry['name']}"
        raise LookupError("no interrupt controller")

    def stop(self, name: str) -> None:
        """SIGKILL for a machine."""
        self.bells.forget(name)
        self.machines.pop(name).close()

    def close(self) -> None:
        """All of it."""
        for name in list(self.machines):
            self.stop(name)
        self.bells.close()
        self._tmp.cleanup()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
