#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A machine that sleeps with devices in use, usbback and usbfront in it.

Its root is an initramfs: one over 9p would not survive, nor what runs from it. Nor would
a kernel that was booted as ELF: only a bzImage is found again after suspend to RAM.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import initramfs  # noqa: E402
import kernels  # noqa: E402
import tap  # noqa: E402
from faulted import settled  # noqa: E402
from gadget import Dummies, child_node, find_device  # noqa: E402
from nested import usbctl_binary  # noqa: E402
from uas import MIB, Disk  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import IN_TURN, VM  # noqa: E402

MODULES = ("configfs", "libcomposite", "usb_f_hid", "xhci-pci", "ehci-pci", "usb-storage",
           "uas", "sd_mod", "usbhid", "hid-generic", "evdev", "button")
ASLEEP = "dmesg | grep -c 'PM: suspend exit'"


class AloneLoop(Loop):
    """The loop in a machine without the machine's own root."""

    # pylint: disable=super-init-not-called
    def __init__(self, vm: VM) -> None:
        self.vm = vm

    def load(self) -> None:
        """Load and join."""
        self.vm.run("insmod /usbback.ko && insmod /usbfront.ko")
        self.join()


class AloneDummies(Dummies):
    """Sockets there."""

    # pylint: disable=super-init-not-called
    def __init__(self, vm: VM, count: int) -> None:
        self.vm = vm
        vm.run(f"insmod /modules/dummy_hcd.ko num={count}; "
               "test -d /sys/kernel/config/usb_gadget || "
               "mount -t configfs none /sys/kernel/config")
        self.free = [f"dummy_udc.{n}" for n in range(count)]
        self.gadgets = []


class Cases:
    """The cases, with what they need."""

    def __init__(self, vm: VM, other: Path) -> None:
        self.vm = vm
        self.other = other
        self.is_test = False
        vm.run("cp /image /tmp/image")
        self.loop = AloneLoop(vm)
        self.loop.load()
        self.keyboard = AloneDummies(vm, 2).keyboard("keys")
        self.keys = self.loop.attach(self.keyboard, 6)
        self.plug()
        # One kernel: nothing but the order in which they came says that a
        # real device sleeps later than the one it is here.
        vm.run("echo 0 > /sys/power/pm_async")

    def plug(self) -> None:
        """Plug in a SuperSpeed disk."""
        self.vm.device_add("usb-storage", id="disk", bus="xhci.0", port="1",
                           drive="image", serial="qemu-disk")

    def attach(self) -> None:
        """Route it."""
        self.source = find_device(self.vm, "qemu-disk", 20)
        self.loop.rule(f"{self.source}:{self.loop.NAME}:0:5")
        self.node = self.disk()

    def disk(self) -> str:
        """The disk behind the ring."""
        busid = find_device(self.vm, "qemu-disk", 20, other_than=self.source)
        return "/dev/" + child_node(self.vm, busid, "block/sd?")

    def compare(self) -> None:
        """The disk is its image."""
        self.vm.run(f"dd if={self.node} of=/tmp/read bs=256k iflag=direct "
                    "2>&1 && cmp /tmp/read /tmp/image")

    def press(self) -> None:
        """A key arrives."""
        busid = find_device(self.vm, "keys", 20,
                            other_than=self.loop.source(self.keyboard))
        node = child_node(self.vm, busid, "input/input*/event*")
        reader = self.vm.spawn(f"exec head -c 24 /dev/input/{node}")
        self.vm.wait_for("ls -l /proc/[0-9]*/fd 2>/dev/null | "
                         f"grep -q ' /dev/input/{node}$'")
        hidg = self.vm.run("ls /dev/hidg*").out.strip()
        self.vm.run(f"printf '\\0\\0\\004\\0\\0\\0\\0\\0' > {hidg} && "
                    f"printf '\\0\\0\\0\\0\\0\\0\\0\\0' > {hidg}")
        tap.expect_equal(reader.wait(10), 0)

    def exits(self) -> int:
        """How often it has slept."""
        return int(self.vm.run(ASLEEP, check=False).out)

    def sleep(self, how: str) -> str:
        """Sleep, and be woken up."""
        before = self.exits()
        start = time.monotonic()
        job = self.vm.spawn(f"echo {how} > /sys/power/state; "
                            f"test $({ASLEEP}) -gt {before}")
        if how == "mem" and not self.is_test:
            self.vm.wait_event("SUSPEND", 30)
            took = time.monotonic() - start
            self.vm.qmp("system_wakeup")
        else:
            took = 0.0
        while how == "freeze" and job.rc is None:
            time.sleep(5)
            self.vm.qmp("system_powerdown")
        job.wait(60, check=True)
        return f"asleep after {took:.1f} s" if took else ""

    def sleeps(self, how: str) -> str:
        """Devices are in use before, while and after everything sleeps."""
        self.compare()
        load = self.vm.spawn(f"while dd if={self.node} of=/tmp/load bs=64k "
                             "iflag=direct 2>/dev/null && "
                             "cmp /tmp/load /tmp/image; do :; done")
        self.vm.wait_for("test -s /tmp/load")
        self.is_test = how == "test"
        self.vm.run(f"echo {'devices' if self.is_test else 'none'} > "
                    "/sys/power/pm_test")
        took = self.sleep("mem" if self.is_test else how)
        node = self.node
        self.compare()
        tap.expect_equal(self.disk(), node, "the disk")
        tap.expect(load.rc is None, f"the load has ended: {load.output()}")
        load.kill(9)
        load.wait(10)
        self.press()
        settled(self.vm)
        return took

    def no_image(self) -> None:
        """The machine's memory can't be written: USB 2 devices were told to sleep for
        the image, and nobody tells them that they are awake."""
        self.vm.qmp("blockdev-add", driver="file", node_name="other",
                    filename=str(self.other))
        self.vm.device_add("usb-storage", id="other", bus="usb2.0", port="1",
                           drive="other", serial="qemu-other")
        source = find_device(self.vm, "qemu-other", 20)
        self.loop.rule(f"{source}:{self.loop.NAME}:0:4")
        busid = find_device(self.vm, "qemu-other", 20, other_than=source)
        node = child_node(self.vm, busid, "block/sd?")
        since = self.vm.mark()
        self.vm.run("echo none > /sys/power/pm_test; ! echo disk > /sys/power/state",
                    60)
        log = self.vm.klog(since)
        tap.expect("hibernation: hibernation exit" in log, log)
        self.vm.run(f"dd if=/dev/{node} of=/tmp/read bs=256k iflag=direct 2>&1 && "
                    "cmp /tmp/read /image", 20)
        self.press()
        self.compare()

    def writes(self) -> str:
        """What was written before is there afterwards."""
        self.vm.run("head -c 1M /dev/urandom > /tmp/piece; dd if=/tmp/piece "
                    "of=/tmp/image conv=notrunc bs=1M seek=1; "
                    f"dd if=/tmp/piece of={self.node} bs=1M seek=1")
        took = self.sleep("mem")
        self.vm.run("echo 3 > /proc/sys/vm/drop_caches")
        self.compare()
        return took

    def streams(self) -> str:
        """A disk that speaks UAS loses its streams with its power."""
        disk = Disk(self.vm, self.loop, "xhci")
        disk.plug("2")
        virtual = disk.route()
        tap.expect_equal(disk.driver(virtual), "uas", "driver")
        node = "/dev/" + child_node(self.vm, virtual, "block/sd?")
        since = self.vm.mark()
        took = ""
        for _ in range(2):
            took = self.sleep("mem")
            # The first command fails, as the disk was reset, and its data is
            # cancelled. So it must be alone: QEMU's xHCI loses what is under way
            # on other streams when it stops their endpoint.
            # Commands that need a reset take half a minute first.
            self.vm.run(f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct 2>&1; "
                        f"dd if={node} of=/tmp/uas bs=1M iflag=direct 2>&1", 15)
            tap.expect(self.vm.get("/tmp/uas") == disk.image.read_bytes(),
                       f"{MIB} MiB: other data")
        tap.expect(disk.driver(virtual) == "uas"
                   and "uas_eh_" not in self.vm.klog(since), "commands were lost")
        disk.unplug()
        settled(self.vm)
        return took


def run(t: tap.Suite, series: str, image: Path) -> None:
    """All cases on one kernel."""
    modules = kernels.build(series)
    initrd = initramfs.alone(
        series, MODULES, extra_modules=["dummy_hcd"],
        binaries=[usbctl_binary(), "/usr/bin/dd"],
        files={"/usbback.ko": modules / "usbback.ko",
               "/usbfront.ko": modules / "usbfront.ko", "/image": image},
        name="sleep")
    vm = t.vm(VM(f"sleep-{series}", kernel=series, smp=2, root=None, accel=IN_TURN,
                 machine="pc", image=kernels.fetch(series) / "boot/vmlinuz",
                 initrd=initrd, devices=["qemu-xhci,id=xhci", "usb-ehci,id=usb2"],
                 args=["-blockdev", "driver=file,node-name=file,"
                       f"filename={image}", "-blockdev",
                       "driver=raw,node-name=image,file=file"]))
    other = image.with_suffix(".other")
    shutil.copy(image, other)
    cases = Cases(vm, other)
    t.case(f"{series}: a disk and a keyboard are routed", cases.attach)
    for name, how in (
            ("drivers suspend and resume", "test"),
            ("suspend to idle", "freeze"), ("suspend to RAM, F42", "mem"),
            ("suspend to RAM once more", "mem")):
        t.case(f"{series}: {name} under load", cases.sleeps, how)
    t.case(f"{series}: hibernation without swap", cases.no_image)
    t.case(f"{series}: writes", cases.writes)
    t.case(f"{series}: bulk streams come back", cases.streams)
    vm.close()


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-sleep."))
    try:
        with tap.Suite() as t:
            for series in tap.some_kernels("6.1"):
                image = scratch / f"image-{series}"
                image.write_bytes(os.urandom(4 << 20))
                run(t, series, image)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
