#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Power: devices that are suspended where they are used, and wake up by themselves.

Gadgets and QEMU's devices of one kernel, routed from its usbback to its usbfront.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
from checks import KEY_A  # noqa: E402
from emulated import Emulated  # noqa: E402
from gadget import (Dummies, Gadget, child_node,  # noqa: E402
                    load_drivers, wait_opened)
from usbif import SYSFS, Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

DEVICES = "/sys/bus/usb/devices"
BACK = "/sys/kernel/debug/usbback/loop/channel"
FRONT = "/sys/kernel/debug/usbfront/loop"


class Cases(LoopCases):
    """The cases, with what they need."""

    # ---- what is seen

    def runtime(self, busid: str, status: str, timeout: float = 15) -> None:
        """Wait until a device is "active" or "suspended"."""
        path = f"{DEVICES}/{busid}/power"
        self.vm.wait_for(f"grep -qx {status} {path}/runtime_status || "
                         f"{{ grep . {path}/runtime_* {path}/control; "
                         f"cat {FRONT} {BACK} | grep port; false; }}", timeout)

    def count(self, name: str) -> int:
        """A counter of the only port of usbback."""
        out = self.vm.run(f"cat {BACK}").out
        return sum(int(n) for n in re.findall(rf" {name} (\d+)", out))

    def autosuspend(self, busid: str, node: str = "", delay: int = 0) -> None:
        """The guest wants a device (and its disk) to be suspended."""
        paths = [f"{DEVICES}/{busid}/power"]
        if node:
            paths.append(f"/sys/block/{node}/device/power")
        for path in paths:
            self.vm.run(f"echo {delay} > {path}/autosuspend_delay_ms && "
                        f"echo auto > {path}/control")

    def disk(self, speed: str) -> tuple[Gadget, str, str]:
        """A disk behind the ring: gadget, bus ID, block device."""
        self.vm.run("head -c 4M /dev/urandom > /tmp/image")
        disk = self.dummies.mass_storage("disk", "/tmp/image", speed=speed)
        busid = self.loop.attach(disk, 4)
        return disk, busid, child_node(self.vm, busid, "block/sd?")

    def compare(self, node: str) -> None:
        """The disk is its image."""
        self.vm.run(f"dd if=/dev/{node} of=/tmp/read bs=256k iflag=direct 2>&1 "
                    "&& cmp /tmp/read /tmp/image")

    # ---- one device

    def emulated_disk(self) -> tuple[str, str, str]:
        """The same with a SuperSpeed disk of QEMU."""
        disk = Emulated(self.vm, "disk", "usb-storage", drive="image")
        busid = self.loop.attach(disk, 5)
        self.emulated = disk
        return disk.source(), busid, child_node(self.vm, busid, "block/sd?")

    def unplug_emulated(self) -> None:
        """Pull out the device of QEMU."""
        self.emulated.remove()
        self.vm.wait_for(f"! grep -q waiting-guest {SYSFS}/vports")

    def disk_suspends(self) -> str:
        """A disk that idles is suspended on the host, and works again."""
        disk, busid, node = self.disk("high-speed")
        source = self.loop.source(disk)
        suspends = self.suspends(source, busid, node)
        self.loop.detach(disk)
        self.runtime(source, "active")
        out = self.vm.run(f"cat {DEVICES}/{source}/power/control").out
        tap.expect_equal(out.strip(), "on")
        return suspends

    def emulated_disk_suspends(self) -> str:
        """The same at SuperSpeed."""
        self.vm.run("cp /share/image /tmp/image")
        suspends = self.suspends(*self.emulated_disk())
        self.unplug_emulated()
        return suspends

    def sleepless(self) -> None:
        """A device that can't be suspended stays active on both sides.

        dummy_hcd refuses it at SuperSpeed.
        """
        disk, busid, node = self.disk("super-speed")
        self.autosuspend(busid, node, delay=200)
        self.vm.wait_for(f"grep -q 'sleepless [1-9]' {FRONT}")
        self.compare(node)
        self.runtime(busid, "active")
        self.runtime(self.loop.source(disk), "active")

    def active_ms(self, busid: str) -> int:
        """How long a device has not been suspended."""
        return int(self.vm.run(
            f"cat {DEVICES}/{busid}/power/runtime_active_time").out)

    def suspends(self, source: str, busid: str, node: str) -> str:
        """Let a disk idle, and use it, a few times."""
        self.compare(node)
        self.runtime(source, "active")
        self.autosuspend(busid, node, delay=200)
        for _ in range(3):
            self.runtime(busid, "suspended")
            self.runtime(source, "suspended")
            before = self.active_ms(source)
            self.compare(node)
            tap.expect(self.active_ms(source) > before,
                       "it was read while the host had it suspended")
        suspends = self.count("suspends")
        tap.expect(suspends >= 3, f"{suspends} suspends")
        self.runtime(source, "suspended")
        return f"{suspends} suspends"

    def stays_awake(self) -> None:
        """The host does not suspend what the guest has not suspended."""
        zero = self.dummies.source_sink("zero")
        busid = self.loop.attach(zero, 1)
        source = self.loop.source(zero)
        self.vm.run(f"echo 0 > {DEVICES}/{source}/power/autosuspend_delay_ms;"
                    f"echo auto > {DEVICES}/{source}/power/control; sleep 2")
        self.runtime(source, "active")
        self.runtime(busid, "active")

    def key(self, press) -> None:
        """A keyboard wakes up by itself, and what it was for arrives."""
        reader = self.vm.spawn("exec head -c 24 /dev/input/" + self.node)
        wait_opened(self.vm, f"/dev/input/{self.node}")
        self.runtime(self.busid, "suspended")
        self.runtime(self.source, "suspended")
        tap.expect(reader.rc is None, "a key without being pressed")
        before = self.count("wakeups")
        press()
        tap.expect_equal(reader.wait(10), 0)
        tap.expect_equal(self.count("wakeups") - before, 1, "wakeups")
        self.vm.wait_for("! find /proc/[0-9]*/fd -lname /dev/input/"
                         f"{self.node} -print -quit 2>/dev/null | grep -q .")

    def emulated_keyboard_wakes(self) -> None:
        """Remote wakeup of a keyboard of QEMU, on an xHCI controller."""
        self.emulated = Emulated(self.vm, "kbd", "usb-kbd")
        self.busid = self.loop.attach(self.emulated, 7)
        self.source = self.emulated.source()
        self.node = child_node(self.vm, self.busid, "input/input*/event*")
        self.autosuspend(self.busid, delay=500)

        def press() -> None:
            self.vm.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])

        for _ in range(3):
            self.key(press)
        self.unplug_emulated()

    def keyboard_wakes(self) -> None:
        """Remote wakeup of a gadget."""
        keyboard = self.dummies.keyboard("keys")
        self.busid = self.loop.attach(keyboard, 6)
        self.source = self.loop.source(keyboard)
        self.node = child_node(self.vm, self.busid, "input/input*/event*")
        # Time for the report to follow: drivers don't count a wakeup as use.
        self.autosuspend(self.busid, delay=500)

        def press() -> None:
            self.dummies.press(keyboard, KEY_A)
            keyboard.wake()

        for _ in range(3):
            self.key(press)


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    image = Path(tempfile.mkdtemp(prefix="usbif-power.")) / "image"
    image.write_bytes(os.urandom(4 << 20))
    vm = t.vm(VM(f"power-{series}", kernel=series, smp=2,
                 devices=["qemu-xhci,id=xhci"],
                 args=["-blockdev", "driver=file,node-name=file,"
                       f"filename={image}", "-blockdev",
                       "driver=raw,node-name=image,file=file"]))
    (vm.share / "image").write_bytes(image.read_bytes())
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    cases = Cases(vm, loop, Dummies(vm, 4))
    for function in (cases.disk_suspends, cases.emulated_disk_suspends,
                     cases.sleepless, cases.stays_awake, cases.keyboard_wakes,
                     cases.emulated_keyboard_wakes):
        t.case(f"{series}: {function.__name__}", function)
        cases.clear()
    vm.close()
    shutil.rmtree(image.parent)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            run(t, series)


if __name__ == "__main__":
    main()
