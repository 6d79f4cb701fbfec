#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The main job, end to end, for somebody to watch: make demo.

A KVM host runs in QEMU. Its USB controller carries a stick and, behind an
external hub, a keyboard, a serial adapter and a network adapter. usbback hands
them to two guests that run usbfront, and the demo uses them there.

FILE=path puts that file on the stick and prints its SHA-256 as read in the
guest. BREAK=usbfront leaves usbfront.ko out; the demo must then fail.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import FrameType
from typing import Callable

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import emulator  # noqa: E402
import kernels  # noqa: E402
from devices import (DRIVERS, PATIENCE, Failed, Keyboard,  # noqa: E402
                     Network, Serial, Stick, wait_for)
from nested import KvmHost, hardware, usbctl_binary  # noqa: E402
from vm import VM, VMError  # noqa: E402

KERNEL = "6.1"
# Nothing here takes nearly as long; it ends what hangs all the same.
LIMIT = 600
WIDTH = 79
TRACING = "/sys/kernel/tracing"
PROBES = f"{TRACING}/events/usbif"


class Teller:
    """Says what goes on, with the time, and keeps what was seen."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seen: list[str] = []

    def clock(self) -> str:
        """Time since the start."""
        return f"{time.monotonic() - self.began:5.1f} s"

    def _print(self, mark: str, text: str) -> None:
        head = f"{self.clock()}  {mark} "
        for line in textwrap.wrap(text, WIDTH - len(head),
                                  break_long_words=False,
                                  break_on_hyphens=False):
            print(head + line, flush=True)
            head = " " * len(head)

    def title(self, text: str) -> None:
        """A new part."""
        print(flush=True)
        self._print("==", text)

    def does(self, text: str) -> None:
        """What is being done."""
        self._print("  ", text)

    def shows(self, text: str) -> None:
        """What a machine printed."""
        for line in text.rstrip().splitlines():
            print(" " * 13 + "| " + line, flush=True)

    def saw(self, text: str) -> None:
        """What was seen, for the summary too."""
        self._print("ok", text)
        self.seen.append(text)


class Demo:
    """One run."""

    def __init__(self, scratch: Path, extra: Path | None, broken: str) -> None:
        self.teller = Teller()
        self.broken = broken
        self.writes = 0         # as the kernel of the host counts them
        self.extra = extra
        self.stick = Stick(scratch, extra)
        self.keyboard = Keyboard()
        self.serial = Serial(scratch)
        self.network = Network(scratch)
        self.host: KvmHost
        self.guests: dict[str, VM] = {}

    # --- what the user does ---------------------------------------------

    def write(self, name: str, text: str) -> None:
        """Write to one of the files of usbback in sysfs."""
        command = f"echo {text} > {KvmHost.SYSFS}/{name}"
        self.teller.does(f"host# {command}")
        self.host.run(command)

    def usbctl(self, words: str) -> str:
        """Run usbctl on the host."""
        self.teller.does(f"host# usbctl {words}")
        return self.host.run(f"usbctl {words}").out

    def count_writes(self) -> int:
        """How often one of the files was written, whoever did it."""
        out = self.host.run(
            f"if ! test -e {PROBES}; then "
            "for n in new move remove; do "
            "echo p:usbif/$n usbback:${n}_vport_store; "
            f"done > {TRACING}/kprobe_events && "
            f"echo 1 > {PROBES}/enable; fi && "
            f"awk '{{n += $2}} END {{print n}}' {TRACING}/kprobe_profile").out
        self.writes = int(out)
        return self.writes

    def vports(self) -> None:
        """Show the rules and their states."""
        self.teller.does(f"host# cat {KvmHost.SYSFS}/vports")
        self.teller.shows(self.host.run(f"cat {KvmHost.SYSFS}/vports").out)

    # --- the parts ------------------------------------------------------

    def prepare(self) -> None:
        """Everything that is needed is built."""
        self.teller.title("Building usbback.ko, usbfront.ko and usbctl for "
                          f"kernel {kernels.release(KERNEL)}")
        self.modules = kernels.build(KERNEL)
        usbctl_binary()

    def boot_host(self) -> None:
        """The KVM host comes up with its devices."""
        tell = self.teller
        how = ("this machine's virtualisation" if hardware()
               else "an emulated processor with AMD's virtualisation")
        tell.title(f"Booting a KVM host in QEMU, on {how}")
        self.host = KvmHost(
            controller="qemu-xhci,id=xhci,p2=4,p3=4",
            devices=["usb-hub,id=hub,bus=xhci.0,port=2", self.stick.device(),
                     self.keyboard.device(), self.serial.device(),
                     self.network.device()],
            args=[*self.stick.args(), *self.serial.args(),
                  *self.network.args()], start=False)
        host = self.host
        host.start()
        host.install()
        host.run(f"modprobe -a xhci-pci {' '.join(DRIVERS)}", timeout=120)
        self.stick.disk(host)
        host.wait_for("test -e /dev/ttyUSB0 && ls -d /dev/input/event* && "
                      "ls /sys/class/net | grep -v ^lo", PATIENCE)
        tell.does("host# usbctl list")
        tell.shows(host.run("usbctl list", check=False).out)
        tell.saw("the KVM host is up; its own drivers have the stick, the "
                 "keyboard, the serial and the network adapter")

    def set_up(self) -> None:
        """Module, two channels, and rules for guests that are not there."""
        tell, host = self.teller, self.host
        tell.title("Loading usbback, making channels, writing rules: no "
                   "guest exists yet")
        tell.does("host# insmod usbback.ko")
        host.run("insmod /share/usbback.ko")
        self.count_writes()
        self.usbctl("serve vm1")
        self.usbctl("serve vm2")
        tell.does("The stick's socket has a USB 2 and a USB 3 half, so two "
                  "rules name one vport:")
        self.write("new_vport", "1-1:vm1:0:1")
        self.write("new_vport", "2-1:vm1:0:1")
        tell.does("The keyboard, behind the hub:")
        self.write("new_vport", "1-2.1:vm1:0:3")
        wait_for(host, "! ls /dev/sd? 2>/dev/null", "the host kept the stick")
        self.vports()
        tell.saw("usbback has taken the stick and the keyboard from the "
                 "host's drivers and keeps them for a guest to come")

    def boot_guests(self) -> None:
        """Two guests, as a user would start them."""
        tell, host = self.teller, self.host
        tell.title("Booting two guests with the distribution's QEMU and KVM")
        if not emulator.packaged():
            raise Failed(f"{emulator.STOCK} is not as its package brought it")
        tell.does("/usr/bin/qemu-system-x86_64 is unmodified: its checksum is "
                  "that of the Debian package")
        files: dict[str, Path] = {}
        if self.broken != "usbfront":
            files["/usbfront.ko"] = self.modules / "usbfront.ko"
        for name in ("vm1", "vm2"):
            words = host.run(f"usbctl qemu-args {name}").out
            tell.does(f"host# qemu-system-x86_64 -accel kvm -cpu host ... "
                      f"{words.strip()}")
            self.guests[name] = host.start_guest(
                name, args=shlex.split(words), modules=DRIVERS, files=files,
                wait=False)
        for guest in self.guests.values():
            guest.wait_ready(240)
        tell.saw("two KVM guests are up")
        for guest in self.guests.values():
            if self.broken == "usbfront":
                tell.does(f"{guest.name}: usbfront.ko is left out, as asked "
                          "by BREAK=usbfront")
                continue
            tell.does(f"{guest.name}# insmod usbfront.ko")
            guest.run("insmod /usbfront.ko")
        tell.does("Rules for the rest, now that the guests exist:")
        self.write("new_vport", "1-2.2:vm2:0:1")
        self.write("new_vport", "1-2.3:vm2:0:2")

    def use_stick(self) -> None:
        """Files are read, one is written and checked on the host."""
        tell, host, vm1 = self.teller, self.host, self.guests["vm1"]
        stick = self.stick
        tell.title("The stick, in vm1")
        disk = stick.mount(vm1)
        self.vports()
        tell.does(f"vm1# mount {disk} /mnt; cd /mnt; sha256sum *")
        seen = stick.compare(vm1)
        tell.saw(f"the {len(stick.files)} files on the stick read in vm1 have "
                 "the right SHA-256 checksums")
        if stick.extra:
            tell.saw(f"SHA-256 of {self.extra}, read in vm1: "
                     f"{seen[stick.extra]}")
        tell.does("vm1# dd if=/dev/urandom of=/mnt/written bs=64k count=32; "
                  "umount /mnt")
        vm1.run("dd if=/dev/urandom of=/mnt/written bs=64k count=32 "
                "2>/dev/null")
        digest = vm1.run("sha256sum < /mnt/written && umount /mnt",
                         timeout=PATIENCE).out.split()[0]
        stick.files["written"] = digest
        self.write("remove_vport", "2-1")
        stick.mount(host)
        stick.compare(host)
        host.run("umount /mnt")
        tell.saw("a file written in vm1 reads back the same on the host, "
                 "after the stick was detached from the guest")
        self.write("new_vport", "2-1:vm1:0:1")
        stick.disk(vm1)

    def use_keyboard(self) -> None:
        """Keys arrive where the keyboard is."""
        tell, host = self.teller, self.host
        tell.title("The keyboard, in vm1, in vm2, and in vm1 again")
        vm1, vm2 = self.guests["vm1"], self.guests["vm2"]
        self.keyboard.check(host, vm1, "usbif1")
        tell.saw("keys pressed on the host's keyboard arrive as input events "
                 "in vm1")
        self.usbctl("move 1-2.1 vm2:0:3")
        self.keyboard.check(host, vm2, "usbif2")
        tell.saw("after 'usbctl move', they arrive in vm2")
        self.usbctl("move 1-2.1 vm1:0:3")
        self.keyboard.check(host, vm1, "usbif3")
        tell.saw("and, moved back, in vm1")

    def use_serial_and_network(self) -> None:
        """Both carry data, while the other guest reads the stick."""
        tell, vm1, vm2 = self.teller, self.guests["vm1"], self.guests["vm2"]
        tell.title("The serial and the network adapter, in vm2, while vm1 "
                   "reads the stick")
        disk = self.stick.disk(vm1)
        before = self.stick.sectors(vm1, disk)
        reader = vm1.spawn(f"while cat {disk} > /dev/null; do "
                           "echo 3 > /proc/sys/vm/drop_caches; done")
        self.serial.check(vm2)
        tell.saw("4 KiB each way over the serial adapter arrived unchanged")
        self.network.check(vm2)
        tell.saw("a neighbour answers pings over the network adapter, and a "
                 "file fetched through it is whole")
        count = (self.stick.sectors(vm1, disk) - before) >> 11
        if reader.rc is not None or not count:
            raise Failed(f"vm1 did not go on reading: {reader.output()}")
        reader.kill(9)
        reader.wait()
        tell.saw(f"meanwhile vm1 read {count} MiB from the stick")

    def pull_stick(self) -> None:
        """Out in the middle of a read, and in again."""
        tell, host, vm1 = self.teller, self.host, self.guests["vm1"]
        stick, writes = self.stick, self.count_writes()
        tell.title("Pulling the stick out in the middle of a read")
        vm1.run(f"mount -t ext4 -o ro {stick.disk(vm1)} /mnt; "
                "echo 3 > /proc/sys/vm/drop_caches")
        stick.speed(host, 1 << 20)
        reader = vm1.spawn(f"cat /mnt/{stick.BIG} > /dev/null")
        time.sleep(1.5)
        if reader.rc is not None:
            raise Failed("the read was over before the stick was pulled: "
                         f"{reader.output()}")
        pulled = time.monotonic()
        stick.pull(host)
        rc = reader.wait(10)
        took = time.monotonic() - pulled
        tell.does(f"vm1: {reader.output().strip()}")
        if rc == 0 or took > 1:
            raise Failed(f"the reader ended with {rc} after {took:.2f} s")
        tell.saw(f"the reader in vm1 got an error {took:.2f} s after the stick "
                 "was pulled")
        vm1.run("umount -l /mnt")
        wait_for(vm1, "! ls /sys/block/sd* 2>/dev/null",
                 "the disk did not go from vm1")
        self.keyboard.check(host, vm1, "fib")
        tell.saw("nothing hangs: the keyboard in vm1 still works")
        stick.speed(host, 0)
        stick.plug(host)
        tell.does("The stick is plugged in again; nothing else is done")
        stick.mount(vm1)
        stick.compare(vm1)
        vm1.run("umount /mnt")
        if self.count_writes() != writes:
            raise Failed("sysfs was written to")
        tell.saw("it is back on its vport in vm1, all files whole, without a "
                 f"write to sysfs: {self.writes} were made in all, as a probe "
                 f"in usbback counts them, {self.writes - writes} of them "
                 "since it was pulled")

    def check_logs(self) -> None:
        """No kernel complained."""
        for vm in (self.host, *self.guests.values()):
            vm.check_log()
        self.teller.saw("no warning in the kernel logs of the three machines")

    # --- all of it ------------------------------------------------------

    def run(self) -> None:
        """Everything in order."""
        parts: list[Callable[[], None]] = [
            self.prepare, self.boot_host, self.set_up, self.boot_guests,
            self.use_stick, self.use_keyboard, self.use_serial_and_network,
            self.pull_stick, self.check_logs]
        for part in parts:
            part()

    def close(self) -> None:
        """End all machines."""
        if hasattr(self, "host"):
            self.host.close()

    def summary(self, failure: str) -> None:
        """The end, good or bad."""
        tell = self.teller
        print("\nSeen:")
        for text in tell.seen:
            print(textwrap.fill(text, WIDTH, initial_indent="  * ",
                                subsequent_indent="    "))
        if failure:
            print(f"\nFAILED after {tell.clock().strip()}: {failure}")
            if self.broken:
                print(f"(BREAK={self.broken}: this failure was asked for)")
        else:
            print(f"\nAll of it works. {tell.clock().strip()}, "
                  f"{self.writes} writes to sysfs.")


def overdue(_signum: int, _frame: FrameType | None) -> None:
    """The demo hangs."""
    raise Failed(f"not done after {LIMIT} s")


def options() -> tuple[Path | None, str]:
    """FILE and BREAK, from the environment or as words NAME=VALUE."""
    given = {name: os.environ.get(name, "") for name in ("FILE", "BREAK")}
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name not in given:
            sys.exit(f"{__doc__}\nusage: demo.py [FILE=path] "
                     "[BREAK=usbfront]")
        given[name] = value
    if given["BREAK"] not in ("", "usbfront"):
        sys.exit("demo.py: BREAK can only be usbfront")
    extra = Path(given["FILE"]) if given["FILE"] else None
    if extra and not extra.is_file():
        sys.exit(f"demo.py: FILE={extra}: there is no such file")
    return extra, given["BREAK"]


def main() -> int:
    extra, broken = options()
    scratch = Path(tempfile.mkdtemp(prefix="usbif-demo."))
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(LIMIT)
    failure = ""
    demo = None
    try:
        demo = Demo(scratch, extra, broken)
        demo.run()
    except (Failed, VMError) as why:
        failure = str(why)
    except KeyboardInterrupt:
        failure = "interrupted"
    finally:
        signal.alarm(0)
        if demo:
            demo.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if demo:
        demo.summary(failure)
    else:
        print(f"FAILED: {failure}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
