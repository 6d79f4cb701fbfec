#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Two arm64 guests with PCI: the same modules over ivshmem, joined by usbctl serve."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from arm64 import Machine  # noqa: E402
from cache import TREE  # noqa: E402
from gadget import Dummies, child_node, find_device  # noqa: E402
from served import Served  # noqa: E402
from usbif import SYSFS, ivshmem_addresses  # noqa: E402

MIB = 8
CASES = (1, 2, 10, 14) if not tap.LONG else tuple(usbtest.CASES)


class Cases:
    """A driver VM and a client."""

    def __init__(self, t: tap.Suite, served: Served) -> None:
        self.image = served.scratch / "stick.img"
        self.image.write_bytes(os.urandom(MIB << 20))
        served.serve("client")
        self.driver = t.vm(Machine(
            "driver", args=served.qemu_args("--backend client") + [
                "-blockdev", "driver=file,node-name=stick,"
                f"filename={self.image}"],
            devices=["qemu-xhci,id=xhci", "usb-storage,bus=xhci.0,"
                     "drive=stick,serial=stick,port=1"]))
        self.driver.setup()
        self.client = t.vm(Machine("client",
                                   args=served.qemu_args("client")))
        self.client.setup()
        self.zero = None

    def joined(self) -> str:
        """Names and rules are written by the script that systems boot with."""
        address, = ivshmem_addresses(self.driver)
        source = find_device(self.driver, "stick", 20)
        self.driver.put("/usbif-rules",
                        (TREE / "packaging/usbif-rules").read_bytes())
        self.driver.run(
            "insmod /usbback.ko; mkdir -p /etc/usbif; "
            f"echo {address} client > /etc/usbif/channels; "
            f"echo {source}:client:0:1 > /etc/usbif/rules; "
            "sh /usbif-rules")
        self.client.run("insmod /usbfront.ko")
        self.driver.wait_for(f"grep -q '^{source}:.* attached' {SYSFS}/vports",
                             30)
        return self.driver.run(f"cat {SYSFS}/channels").out.strip()

    def compare(self) -> None:
        """All of the disk, as the client reads it."""
        busid = find_device(self.client, "stick", 30)
        name = child_node(self.client, busid, "block/sd?", 30)
        self.client.run("echo 3 > /proc/sys/vm/drop_caches")
        out = self.client.run(f"sha256sum < /dev/{name}", 120).out
        here = subprocess.run(["sha256sum", str(self.image)], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        tap.expect_equal(out.split()[0], here.split()[0], "checksum")

    def disk(self) -> None:
        """What is on the disk, and what is written to it."""
        self.compare()
        busid = find_device(self.client, "stick")
        name = child_node(self.client, busid, "block/sd?")
        data = os.urandom(1 << 20)
        self.client.put("/tmp/data", data)
        self.client.run(f"dd if=/tmp/data of=/dev/{name} bs=64k seek=32 "
                        "conv=fsync 2>&1", 60)
        tap.expect(self.image.read_bytes()[2 << 20:3 << 20] == data,
                   "the image is not what was written")
        self.compare()

    def counts(self) -> list[int]:
        """Rung by the driver VM, arrived there, and the same of the client."""
        found = []
        for vm, name in (self.driver, "usbback"), (self.client, "usbfront"):
            text = vm.run("grep -rh ^doorbells_ "
                          f"/sys/kernel/debug/{name}").out.split()
            count = dict(zip(text[::2], map(int, text[1::2])))
            found += count["doorbells_out"], count["doorbells_in"]
        return found

    def bells(self) -> str:
        """They arrive on both sides; a few at once may count as one."""
        before = self.counts()
        self.compare()
        there, there_in, here, here_in = (
            now - then for now, then in zip(self.counts(), before))
        for rung, arrived in ((there, here_in), (here, there_in)):
            tap.expect(arrived >= MIB and 3 * arrived >= 2 * rung,
                       f"{arrived} of {rung} doorbells arrived")
        return f"{here_in} of {there} and {there_in} of {here}"

    def testusb(self, number: int) -> str:
        """One of the kernel's own tests."""
        if not self.zero:
            self.driver.run("modprobe usb_f_ss_lb")
            self.zero = Dummies(self.driver, 1).source_sink("zero")
            source = find_device(self.driver, "zero")
            self.driver.run(f"echo {source}:client:0:5 > {SYSFS}/new_vport")
        busid = find_device(self.client, "zero", 30)
        return usbtest.run(self.client, busid, number, timeout=120)

    def reloaded(self) -> None:
        """Either module goes and comes."""
        self.client.run("rmmod usbfront && insmod /usbfront.ko", 60)
        self.compare()
        self.driver.run("rmmod usbback && insmod /usbback.ko && "
                        "sh /usbif-rules", 60)
        self.compare()


def main() -> None:
    with tap.Suite() as t, tempfile.TemporaryDirectory() as scratch:
        served = Served(Path(scratch))
        try:
            cases = Cases(t, served)
            t.case("channel of a PCI device", cases.joined)
            t.case("disk", cases.disk)
            t.case("doorbells of both sides arrive", cases.bells)
            for number in CASES:
                t.case(f"testusb {number}, {usbtest.CASES[number].name}",
                       cases.testusb, number)
            t.case("modules reloaded", cases.reloaded)
        finally:
            served.run("drop client", None)


if __name__ == "__main__":
    main()
