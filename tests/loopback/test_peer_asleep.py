#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A machine sleeps, wakes up and is switched off, and the backend of its usbfront answers
nothing, is dead, or dies meanwhile: H104 and H108 of Documentation/reliability.rst.

Its root is an initramfs: see test_sleep.py. All tasks are frozen before devices are
suspended, so the backend, which is one of them, is deaf while any of this happens.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import initramfs  # noqa: E402
import kernels  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
from peers import DISK, IMAGE, Peer, compile_peer  # noqa: E402
from vm import IN_TURN, SCALE, VM  # noqa: E402

MODULES = ("xhci-pci", "usb-storage", "sd_mod", "button")
F_SUSPEND = 4
ASLEEP = 5      # seconds in which nothing happens but timers
LIFE = 4        # of a backend that is to die meanwhile
# Ten times what the deadline of one unlink is, see Documentation/reliability.rst.
BOUND = 55
RMMOD = 8


class Sleeper(Peer):
    """The backend of peers.py in a machine without the machine's own root."""

    # pylint: disable=super-init-not-called
    def __init__(self, vm: VM) -> None:
        self.vm = self.driver = vm
        self.debug = "/sys/kernel/debug/usbfront/peer"
        self.program = Path("/bin/back_disk")
        vm.run("cp /image /tmp/image; echo 0 > /sys/module/usb_storage/parameters/delay_use")
        self.load()
        self.start(16, F_SUSPEND)
        self.disk()

    def load(self) -> None:
        """Load usbfront."""
        self.vm.run("insmod /usbfront.ko")

    def again(self) -> None:
        """Another backend, after the module has gone."""
        self.job.kill(9)
        self.job.wait(5)
        self.vm.run("rmmod usbfront", RMMOD)
        self.load()
        self.start(16, F_SUSPEND)
        self.compare(self.disk())

    def sleep(self, how: str) -> bool:
        """Sleep, and be woken up; or the kernel refuses."""
        self.vm.run(f"echo {'none' if how == 'ram' else 'devices'} > /sys/power/pm_test; "
                    f"echo {ASLEEP} > /sys/module/suspend/parameters/pm_test_delay")
        job = self.vm.spawn("echo mem > /sys/power/state")
        if how == "ram":
            self.vm.wait_event("SUSPEND", BOUND)
            self.vm.qmp("system_wakeup")
        return job.wait(BOUND) == 0

    def asleep(self, how: str = "test", may_refuse: bool = False) -> str:
        """The same: how long it took, which has a bound."""
        began = time.monotonic()
        slept = self.sleep(how)
        took = time.monotonic() - began
        tap.expect(slept or may_refuse, "the kernel did not go to sleep")
        tap.expect(took < BOUND * SCALE, f"it took {took:.1f} s")
        return f"{took:.1f} s{'' if slept else ', refused'}"


def well(peer: Sleeper) -> str:
    """With a backend that answers as soon as it runs again: the disk is there."""
    took = peer.asleep()
    peer.compare(peer.node())
    return took


def deaf(peer: Sleeper) -> str:
    """Nothing is answered, before and long after; then all is as it was."""
    peer.tell("deaf 1")
    took = peer.asleep()
    peer.tell("deaf 0")
    peer.compare(peer.node())
    return took


def deaf_in_use(peer: Sleeper) -> str:
    """The disk is being read. Who waits for a disk can't be frozen, whatever disk it is:
    the kernel says who that is and gives up, and all goes on."""
    peer.vm.allow_log("Call Trace")
    peer.tell("deaf 1")
    job = peer.vm.spawn(f"dd if={peer.node()} of=/tmp/read bs=256k iflag=direct 2>&1")
    took = peer.asleep(may_refuse=True)
    peer.tell("deaf 0")
    job.wait(60)
    peer.compare(peer.node())
    return took


def deaf_at_probe(peer: Sleeper) -> str:
    """The hub driver waits for an answer of a new device, and the kernel for that."""
    peer.tell("deaf 1")
    peer.tell(f"plug {DISK} high")
    took = peer.asleep(may_refuse=True)
    peer.tell("deaf 0")
    peer.compare(peer.node())
    return took


def deaf_in_ram(peer: Sleeper) -> str:
    """As deep as it goes."""
    peer.tell("deaf 1")
    took = peer.asleep("ram")
    peer.again()
    return took


def dead(peer: Sleeper, may_refuse: bool = False) -> str:
    """It was killed before."""
    peer.job.kill(9)
    tap.expect_equal(peer.job.wait(5), 137, "end of the backend")
    took = peer.asleep(may_refuse=may_refuse)
    peer.again()
    return took


def dead_at_probe(peer: Sleeper) -> str:
    """The same, as soon as there was a new device."""
    peer.tell(f"plug {DISK} super")
    return dead(peer, may_refuse=True)


def dies(peer: Sleeper) -> str:
    """It is killed while everything sleeps."""
    peer.tell(f"die {LIFE}")
    took = peer.asleep()
    tap.expect_equal(peer.job.wait(10), 137, "end of the backend")
    peer.again()
    return took


def off(peer: Sleeper) -> str:
    """Nothing is answered, not even to the hub driver, when the kernel shuts down its
    devices: the last case."""
    peer.tell("deaf 1")
    peer.tell(f"plug {DISK} high")
    began = time.monotonic()
    peer.vm.shutdown(BOUND)
    return f"{time.monotonic() - began:.1f} s"


CASES = ((104, well), (104, deaf), (104, deaf_at_probe), (104, deaf_in_ram), (108, dead),
         (108, dead_at_probe), (108, dies), (104, deaf_in_use), (104, off))
# Of a short run.
TYPICAL = (dies, off)


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-peer-asleep."))
    image = scratch / "image"
    image.write_bytes(os.urandom(IMAGE))
    titles = numbered.titles()
    program = compile_peer("back_disk", "back", "back_iso", "back_hostile")
    try:
        with tap.Suite() as t:
            for series in tap.some_kernels("6.1"):
                initrd = initramfs.alone(
                    series, MODULES, binaries=[program, "/usr/bin/dd"],
                    files={"/usbfront.ko": kernels.build(series) / "usbfront.ko",
                           "/image": image}, name="peer-asleep")
                vm = t.vm(VM(f"peer-asleep-{series}", kernel=series, smp=2, root=None,
                             accel=IN_TURN, machine="pc", initrd=initrd,
                             image=kernels.fetch(series) / "boot/vmlinuz"))
                peer = Sleeper(vm)
                for number, case in CASES:
                    if tap.LONG or case in TYPICAL:
                        t.case(f"{series} H{number} {titles[number]}: {case.__name__}",
                               case, peer)
                vm.close()
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
