#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Modules and usbctl built on arm64 itself, by "make" and "make -C tools".

An emulated machine with Debian's compiler and the headers of its kernel builds them, loads
them, joins them, and has a device routed. That takes minutes: LONG=1.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import nativeroot  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from arm64 import Machine, image  # noqa: E402
from cache import TREE  # noqa: E402
from gadget import Dummies, find_device  # noqa: E402
from usbif import SYSFS  # noqa: E402

SOURCES = ("Makefile", "Kbuild", "include", "ring", "usbback", "usbfront",
           "tools", "tests/shim")
ROOT = "/native"


def is_source(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Nothing that was built here."""
    path = Path(info.name)
    good = info.isdir() or path.suffix in (".c", ".h") or path.name in (
        "Makefile", "Kbuild")
    return info if good and not path.name.endswith(".mod.c") else None


def sources() -> bytes:
    """What is built, as people get it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in SOURCES:
            tar.add(TREE / name, name, filter=is_source)
    return data.getvalue()


class Native:
    """The machine."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm
        vm.setup()
        vm.run(f"mkdir {ROOT} && mount -t 9p -o trans=virtio,version=9p2000.L,"
               f"msize=512000,cache=loose,ro native {ROOT}; cd {ROOT} && "
               "mount -t tmpfs none src && mount -t tmpfs none tmp && "
               "mount -t tmpfs none run && "
               "mount -t proc none proc && mount -t sysfs none sys && "
               "mount -t devtmpfs none dev")
        vm.run(f"tar -x -C {ROOT}/src", stdin=sources(), timeout=60)

    def native(self, cmd: str, timeout: float = 30) -> str:
        """Run a command in the root that has the compiler."""
        return self.vm.run(f"exec chroot {ROOT} /bin/sh -c 'cd /src && {cmd}'",
                           timeout).out

    def make(self, what: str, timeout: float) -> str:
        """Build; a warning is a failure."""
        out = self.native(f"make {what}", timeout)
        tap.expect("warning:" not in out, out)
        return f"{len(out.splitlines())} lines"

    def magic(self) -> str:
        """The modules are this kernel's."""
        out = self.native("for m in usbback usbfront; do "
                          "/sbin/modinfo -F vermagic $m.ko; file $m.ko; done")
        tap.expect(out.count(f"{self.vm.release} SMP") == 2
                   and out.count("ELF 64-bit LSB relocatable, ARM aarch64")
                   == 2, out)
        return out.splitlines()[0]

    def loaded(self) -> None:
        """They load."""
        for name in ("usbback", "usbfront"):
            self.vm.run(f"insmod {ROOT}/src/{name}.ko")

    def usbctl(self) -> str:
        """usbctl joins them."""
        out = self.native("file tools/usbctl; tools/usbctl loop")
        tap.expect("ARM aarch64" in out and "are joined" in out, out)
        return self.vm.run(f"grep -w loop {SYSFS}/channels").out.strip()

    def device(self) -> str:
        """A device is routed and used."""
        self.vm.run("modprobe usb_f_ss_lb")
        Dummies(self.vm, 1).source_sink("zero")
        source = find_device(self.vm, "zero")
        self.native(f"tools/usbctl attach {source} loop:0:1")
        self.vm.wait_for(f"grep -q '^{source}:.* attached' {SYSFS}/vports", 30)
        virtual = self.vm.wait_for(
            "for d in /sys/bus/usb/devices/*; do readlink -f $d | grep -q "
            "usbfront && grep -qs zero $d/serial && basename $d && exit; "
            "done; false").out.strip()
        return usbtest.run(self.vm, virtual, 1, timeout=120)

    def removed(self) -> None:
        """And they go."""
        self.vm.run("rmmod usbfront && rmmod usbback", 60)


def cases(t: tap.Suite) -> None:
    """All of it, in one machine."""
    vm = t.vm(Machine("native", memory=1024, initrd=image("9p", "9pnet_virtio"),
                      args=["-virtfs", f"local,path={nativeroot.fetch()},"
                            "mount_tag=native,readonly=on,security_model=none,"
                            "multidevs=remap"]))
    native = Native(vm)
    t.case("make", native.make, "", 1800)
    t.case("make -C tools", native.make, "-C tools", 1800)
    t.case("vermagic", native.magic)
    t.case("modules loaded", native.loaded)
    t.case("usbctl loop", native.usbctl)
    t.case("device", native.device)
    t.case("modules removed", native.removed)


def main() -> None:
    with tap.Suite() as t:
        if tap.LONG:
            cases(t)


if __name__ == "__main__":
    main()
