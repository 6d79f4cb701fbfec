# SPDX-License-Identifier: GPL-2.0
"""A KVM host in QEMU, and guests that it runs with the distribution's QEMU.

    from nested import KvmHost

    with KvmHost(controller="qemu-xhci,id=xhci",
                 devices=["usb-kbd,id=kbd,bus=xhci.0"]) as host:
        host.run("usbctl serve vm1 ...")
        guest = host.start_guest("vm1", args=["-device", "ivshmem-..."],
                                 modules=["usbhid"], files={...})
        guest.run("lsusb -t")
        guest.kill()

The host is a VM as in vm.py, and so is each guest. On a machine without usable
virtualisation the host is emulated, with AMD's virtualisation, by a repaired
copy of the installed QEMU (emulator.py); where virtualisation really works,
guests are nested in hardware. What runs inside the host is always
/usr/bin/qemu-system-x86_64 as the package brought it, with -accel kvm.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterable, Mapping

import emulator
import initramfs
import kernels
from cache import TREE, cache_dir, lock, say
from vm import KVM_HOST_CPU, VM, VMError

ICOUNT = ("-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm",
          "-seed", "1")


def _nesting() -> bool:
    """Does the kernel of this machine let guests have guests?"""
    for name in ("kvm_amd", "kvm_intel"):
        path = Path(f"/sys/module/{name}/parameters/nested")
        if path.exists() and path.read_text(encoding="ascii")[0] in "1Y":
            return True
    return False


@functools.lru_cache
def hardware() -> bool:
    """Is there virtualisation here that works, for two levels?

    The presence of /dev/kvm proves nothing, so a guest is booted once.
    """
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b",
                      Path("/proc/cpuinfo").read_text(encoding="ascii"), re.M)
    if (not flags or not os.access("/dev/kvm", os.R_OK | os.W_OK)
            or not _nesting()):
        return False
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    memory = cache_dir() / "hardware.json"
    try:
        known = json.loads(memory.read_text(encoding="ascii"))
        if known["boot"] == boot_id:
            return known["works"]
    except (OSError, ValueError, KeyError):
        pass
    try:
        with VM("probe", root=None, initrd=initramfs.alone("6.1"),
                accel="kvm", cpu="host", boot_timeout=20) as probe:
            probe.run("true", timeout=10)
        works = True
    except VMError as why:
        say(f"/dev/kvm does not work here, emulating instead: "
            f"{str(why).splitlines()[0]}")
        works = False
    memory.write_text(json.dumps({"boot": boot_id, "works": works}),
                      encoding="ascii")
    return works


def usbctl_binary() -> Path:
    """usbctl of this tree, built if need be."""
    with lock("usbctl"):
        subprocess.run(["make", "-s", "-C", str(TREE / "tools")], check=True,
                       stdout=subprocess.DEVNULL)
    return TREE / "tools" / "usbctl"


class KvmHost(VM):
    """A machine with a USB controller and KVM guests."""

    SYSFS = "/sys/bus/usb/drivers/usbback"

    def __init__(self, name: str = "host", kernel: str = "6.1", *,
                 controller: str | None = "qemu-xhci,id=xhci",
                 devices: Iterable[str] = (), args: Iterable[str] = (),
                 icount: bool = False, repaired: bool = True,
                 memory: int = 2048, **options: Any) -> None:
        if icount:
            args = [*args, *ICOUNT]
        if not icount and hardware():
            options.setdefault("accel", "kvm")
            options.setdefault("cpu", "host")
            options.setdefault("smp", 2)
        else:
            # With a thread for each of two processors, guests were reset or
            # stood still now and then; with one thread never.
            options.setdefault("cpu", KVM_HOST_CPU)
            options.setdefault("accel", "tcg,thread=single,tb-size=512")
            options.setdefault("smp", 1)
        options.setdefault("boot_timeout", 120)
        options.setdefault("qemu", str(emulator.outer_emulator() if repaired
                                       else emulator.STOCK))
        self.guests: list[VM] = []
        plugged = [controller] if controller else []
        super().__init__(name, kernel, memory=memory, args=args,
                         devices=[*plugged, *devices], **options)

    def start(self) -> None:
        """Boot, and load KVM."""
        super().start()
        self.run("modprobe -a kvm-amd 2>/dev/null || modprobe kvm-intel; "
                 "test -c /dev/kvm", timeout=60)

    def start_guest(self, name: str, *, args: Iterable[str] = (),
                    modules: Iterable[str] = (),
                    extra_modules: Iterable[str] = (),
                    binaries: Iterable[str | Path] = (),
                    files: Mapping[str, str | Path | bytes] | None = None,
                    initrd: Path | None = None,
                    memory: int = 256, wait: bool = True,
                    **options: Any) -> VM:
        """Boot a second-level guest; wait=False returns at once."""
        if not emulator.packaged():
            raise VMError(f"{emulator.STOCK} is not the one of its package")
        options.setdefault("boot_timeout", 120)
        image = initrd or initramfs.alone(
            self.kernel, modules, extra_modules, binaries, files, "guest")
        guest = VM(name, self.kernel, host=self, root=None, initrd=image,
                   accel="kvm", cpu="host", qemu=str(emulator.STOCK),
                   memory=memory, args=args, start=False, **options)
        self.guests.append(guest)
        guest.boot()
        if wait:
            guest.wait_ready()
        return guest

    # --- what a user of usbif does there --------------------------------

    def install(self) -> None:
        """Bring modules and usbctl in: a tree in /tmp is not seen there."""
        built = kernels.build(self.kernel)
        for name in ("usbback.ko", "usbfront.ko"):
            shutil.copy(built / name, self.share)
        shutil.copy(usbctl_binary(), self.share / "usbctl")
        self.run("install -D /share/usbctl /usr/local/bin/usbctl")

    def load(self) -> None:
        """Load usbback."""
        self.run("insmod /share/usbback.ko")

    def write(self, name: str, text: str) -> None:
        """Write to a file of usbback in sysfs."""
        self.run(f"echo {shlex.quote(text)} > {self.SYSFS}/{name}")

    def rule(self, text: str) -> None:
        """Add a rule."""
        self.write("new_vport", text)

    def vports(self) -> str:
        """The rules and their states."""
        return self.run(f"cat {self.SYSFS}/vports").out

    def server(self, name: str) -> int:
        """Process id, there, of the usbctl that serves a guest."""
        out = self.run(f"pgrep -f 'usbctl serve {name}( |$)'").out
        return int(out.split()[0])

    def start_front(self, name: str, *, load: bool = True,
                    files: Mapping[str, str | Path | bytes] | None = None,
                    **options: Any) -> VM:
        """Boot the guest of a channel, with usbfront loaded unless not."""
        words = self.run(f"usbctl qemu-args {name}").out
        guest = self.start_guest(
            name, args=shlex.split(words),
            files={"/usbfront.ko": self.share / "usbfront.ko",
                   **(files or {})}, **options)
        if load and options.get("wait", True):
            guest.run("insmod /usbfront.ko")
        return guest

    def close(self) -> None:
        """End the guests, then the host."""
        for guest in self.guests:
            guest.close()
        super().close()
