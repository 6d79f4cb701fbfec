#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A driver VM and a guest, of which only one sleeps.

Their roots are initramfs: see tests/loopback/test_sleep.py.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import initramfs  # noqa: E402
import kernels  # noqa: E402
import tap  # noqa: E402
from faulted import settled  # noqa: E402
from gadget import child_node, find_device  # noqa: E402
from nested import usbctl_binary  # noqa: E402
from usbif import SYSFS, ivshmem_addresses  # noqa: E402
from vm import IN_TURN, SCALE, VM, Job  # noqa: E402
from workload import counter  # noqa: E402

MODULES = ("xhci-pci", "usb-storage", "sd_mod", "usbhid", "hid-generic",
           "evdev", "button", "virtio_blk")
PORTS = {"disk": "1", "kbd": "2"}
CHANNEL = "/sys/kernel/debug/usbback/one/channel"
# In Documentation/reliability.rst.
FAULTS = {"guest_sleeps": ", F28", "driver_sleeps": ", F42", "unplugged": ", F14",
          "guest_stands_still": ", F27", "restored": ", F33",
          "hibernated": ", F29", "driver_stands_still": ", H104",
          "driver_dies": ", H108", "goes_down": ", H104"}
# Processors and timers go on for a second with devices asleep, and then all wakes up,
# before the guest's USB core is out of patience.
DEVICES_SLEEP = ("echo N > /sys/module/printk/parameters/console_suspend && "
                 "echo 1 > /sys/module/suspend/parameters/pm_test_delay && "
                 "echo devices > /sys/power/pm_test && echo mem > /sys/power/state")
# Ten times what unlinks are promised to take, which is what takes longest.
BOUND = 55


class Pair:
    """Both machines, and what is routed between them."""

    def __init__(self, t: tap.Suite, series: str, scratch: Path) -> None:
        self.scratch = scratch
        self.series = series
        self.image = scratch / "image"
        self.image.write_bytes(os.urandom(4 << 20))
        self.env = dict(os.environ, USBIF_RUNDIR=str(scratch / "run"))
        self.usbctl(f"serve one --backend-socket {scratch}/driver.sock")
        self.suite = t
        self.boot_driver()
        # All that can be written to has to be saved with the guest.
        for name in ("state", "swap"):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                            scratch / name, "1G"], check=True)
        self.guest_args = [
            "-blockdev", f"driver=file,node-name=file,filename={scratch / 'state'}",
            "-blockdev", "driver=qcow2,node-name=state,file=file",
            "-drive", f"file={scratch / 'swap'},if=virtio,format=qcow2"]
        self.boot_guest()

    def boot_driver(self) -> None:
        """Nothing of ours is loaded there either."""
        self.driver = self.suite.vm(self.machine(
            "driver", "--backend one", ["qemu-xhci,id=xhci"],
            ["-blockdev", f"driver=file,node-name=file,filename={self.image}",
             "-blockdev", "driver=raw,node-name=image,file=file"]))

    def boot_guest(self) -> None:
        """Nothing of ours is loaded."""
        self.guest = self.suite.vm(self.machine("guest", "one", [],
                                                self.guest_args))

    def usbctl(self, words: str) -> str:
        """usbctl on this machine."""
        return subprocess.run([str(usbctl_binary()), *words.split()],
                              env=self.env, check=True, timeout=60, text=True,
                              stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL).stdout

    def machine(self, name: str, end: str, devices: list[str],
                args: list[str]) -> VM:
        """One of the two."""
        modules = kernels.build(self.series)
        ours = "usbback" if name == "driver" else "usbfront"
        initrd = initramfs.alone(
            self.series, MODULES,
            binaries=[usbctl_binary(), "/usr/bin/dd"],
            files={f"/{ours}.ko": modules / f"{ours}.ko",
                   "/image": self.image}, name=f"asleep-{name}")
        return VM(f"{name}-{self.series}", self.series, root=None,
                  memory=384, machine="pc", initrd=initrd, devices=devices,
                  # One of them waits for the end of a sleep that is a test.
                  smp=2 if name == "driver" else 1, accel=IN_TURN,
                  image=kernels.fetch(self.series) / "boot/vmlinuz",
                  # What has a directory of its host's can't be saved.
                  share=False,
                  args=args + shlex.split(self.usbctl(f"qemu-args {end}")))

    def plug(self, what: str) -> None:
        """Plug in a device of QEMU."""
        properties = {"drive": "image"} if what == "disk" else {}
        self.driver.device_add("usb-storage" if what == "disk" else "usb-kbd",
                               id=what, bus="xhci.0", port=PORTS[what],
                               serial=what, **properties)

    def settles(self, case: Callable[[], str | None]) -> str | None:
        """Run a case; then nothing is in flight, and both ends agree on the devices, if
        there still are two."""
        told = case()
        if self.guest.alive():
            settled(self.driver, "one", self.guest)
        return told

    def join(self) -> None:
        """Load, name, route."""
        self.guest.run("cp /image /tmp/image; insmod /usbfront.ko")
        self.route()

    def route(self) -> None:
        """What there is to do in the driver VM."""
        self.driver.run("insmod /usbback.ko")
        address, = ivshmem_addresses(self.driver)
        self.driver.run(f"usbctl name {address} one")
        for port, what in enumerate(PORTS, 1):
            self.plug(what)
            busid = find_device(self.driver, what)
            self.driver.run(f"echo {busid}:one:0:{port} > {SYSFS}/new_vport")
        self.node = self.disk()
        self.compare()

    def disk(self) -> str:
        """The disk in the guest."""
        return "/dev/" + child_node(self.guest, find_device(
            self.guest, "disk", 20), "block/sd?")

    def compare(self, timeout: float = 60) -> None:
        """The disk is its image."""
        self.guest.run(f"dd if={self.node} of=/tmp/read bs=256k iflag=direct "
                       "2>&1 && cmp /tmp/read /tmp/image", timeout)

    def load(self):
        """Reads and compares until it is killed or fails."""
        return self.guest.spawn(
            f"while dd if={self.node} of=/tmp/load bs=64k iflag=direct "
            "2>/dev/null && cmp /tmp/load /tmp/image; do echo ok; done")

    def sleep(self, vm: VM) -> float:
        """Suspend one to RAM; how long that took."""
        start = time.monotonic()
        self.job = vm.spawn("echo mem > /sys/power/state")
        vm.wait_event("SUSPEND", 30)
        return time.monotonic() - start

    def wake(self, vm: VM) -> None:
        """Wake it up."""
        vm.qmp("system_wakeup")
        self.job.wait(60, check=True)

    def guest_sleeps(self) -> str:
        """The guest sleeps in the middle of its work."""
        load = self.load()
        load.wait_output("ok")
        took = self.sleep(self.guest)
        self.driver.run(f"grep -c ' attached' {SYSFS}/vports")
        self.wake(self.guest)
        self.compare()
        tap.expect(load.rc is None, load.output())
        load.kill(9)
        tap.expect_equal(self.disk(), self.node, "the disk")
        return f"asleep after {took:.1f} s"

    def slow(self, per_second: int) -> None:
        """So many reads a second of the disk; 0: as it can."""
        self.driver.qmp("human-monitor-command", command_line="block_set_io_throttle "
                        f"/machine/peripheral/disk/disk.0/legacy[0] 0 0 0 {per_second} 0 0")

    def takebacks(self) -> int:
        """Requests taken from the host controller that are submitted once more."""
        return counter(self.driver.run(f"cat {CHANNEL}").out, "takebacks")

    def driver_sleeps(self) -> str:
        """The driver VM does, when what is under way has ended, and the guest's work waits
        for it: not so a reset, for which the guest's USB core has four seconds."""
        load = self.load()
        load.wait_output("ok")
        before = self.takebacks()
        self.slow(5)
        time.sleep(0.5)
        took = self.sleep(self.driver)
        time.sleep(1)
        self.guest.run("true")
        self.slow(0)
        self.wake(self.driver)
        self.compare()
        # Of the keyboard a report is asked for all the time.
        tap.expect(self.takebacks() - before < 2, "the disk had requests in flight")
        tap.expect(load.rc is None, load.output())
        load.kill(9)
        tap.expect_equal(self.disk(), self.node, "the disk")
        return f"asleep after {took:.1f} s"

    def configured(self) -> None:
        """The driver VM's devices sleep while its guest configures one all the time."""
        busid = find_device(self.guest, "kbd", 20)
        config = f"/sys/bus/usb/devices/{busid}/bConfigurationValue"
        before = self.disconnects()
        job = self.guest.spawn(f"while echo 1 > {config} || :; do :; done")
        for _ in range(tap.scaled(1, 5)):
            self.driver.run(DEVICES_SLEEP, 30)
        job.kill(9)
        job.wait(10)
        self.driver.run("echo none > /sys/power/pm_test")
        self.guest.run(f"echo 1 > {config}")
        self.press()
        tap.expect_equal(self.disconnects(), before, "devices gone from the guest")

    def suspended(self) -> None:
        """A device that its guest has suspended is wanted while all of them sleep."""
        busid = find_device(self.guest, "kbd", 20)
        power = f"/sys/bus/usb/devices/{busid}/power"
        before = self.disconnects()
        for _ in range(tap.scaled(1, 5)):
            self.guest.run(f"echo auto > {power}/control")
            self.guest.wait_for(f"grep -q suspended {power}/runtime_status")
            since = self.driver.mark()
            job = self.driver.spawn(DEVICES_SLEEP)
            self.driver.wait_log("suspend debug: Waiting", 20, since)
            wake = self.guest.spawn(f"echo on > {power}/control")
            job.wait(30, check=True)
            wake.wait(10, check=True)
            self.press()
        self.driver.run("echo none > /sys/power/pm_test")
        tap.expect_equal(self.disconnects(), before, "devices gone from the guest")

    def disconnects(self) -> int:
        """Devices that the guest has seen go."""
        return int(self.guest.run("dmesg | grep -c 'USB disconnect'",
                                  check=False).out)

    def replugged(self) -> None:
        """A stick that was pulled out and put back while the guest slept is
        the same: its block device is."""
        self.compare()
        before = self.disconnects()
        self.sleep(self.guest)
        self.driver.device_del("disk")
        self.plug("disk")
        self.driver.wait_for(f"grep -q ':one:0:1 attached' {SYSFS}/vports")
        self.wake(self.guest)
        tap.expect_equal(self.disk(), self.node, "the disk")
        self.guest.run("echo 3 > /proc/sys/vm/drop_caches")
        self.compare()
        tap.expect_equal(self.disconnects(), before, "disconnects")

    def unplugged(self) -> None:
        """One that is not there any more is gone."""
        self.sleep(self.guest)
        self.driver.device_del("disk")
        self.wake(self.guest)
        self.guest.wait_for(f"test ! -e {self.node}")
        self.plug("disk")
        self.node = self.disk()
        self.compare()

    def restored(self) -> None:
        """A guest that is set back in time has its disk as after a replug."""
        self.compare()
        session = self.session()
        tap.expect_equal(self.guest.hmp("savevm one").strip(), "", "savevm")
        self.compare()
        tap.expect_equal(self.guest.hmp("loadvm one").strip(), "", "loadvm")
        # Whoever has the disk open is told.
        self.guest.run(f"dd if={self.node} of=/dev/null bs=64k iflag=direct", 120,
                       check=False)
        self.driver.wait_for(f"! grep -q '^{session} ' {CHANNEL} && "
                             f"test $(grep -c ' attached' {SYSFS}/vports) = 2", 60)
        time.sleep(3)
        self.node = self.disk()
        self.compare()

    def hibernated(self) -> str:
        """A guest that was switched off wakes up in another QEMU with its disk
        as after a replug. Its agent goes on in the middle of what it did."""
        self.compare()
        self.guest.run("mkswap /dev/vda && swapon /dev/vda")
        self.guest.spawn("echo shutdown > /sys/power/disk; "
                         "echo disk > /sys/power/state")
        self.guest.wait_dead(120)
        self.guest.close()
        self.driver.wait_for(f"test $(grep -c waiting-guest {SYSFS}/vports) = 2")
        self.boot_guest()
        device = self.guest.run("cat /sys/class/block/vda/dev").out.strip()
        self.guest.spawn(f"echo {device} > /sys/power/resume")
        self.guest.wait_log("PM: hibernation: hibernation exit", 120)
        self.guest.renumber()
        self.guest.run("test -e /tmp/image && swapoff /dev/vda")
        self.driver.wait_for(f"test $(grep -c ' attached' {SYSFS}/vports) = 2", 60)
        time.sleep(3)
        self.node = self.disk()
        self.compare()
        return "compared"

    def session(self) -> str:
        """Number of the session that runs."""
        return self.driver.run("grep -o '^session [0-9]*' " + CHANNEL).out.strip()

    def guest_stands_still(self) -> str:
        """A guest that does nothing does not keep the driver VM awake."""
        load = self.load()
        load.wait_output("ok")
        self.guest.pause()
        took = self.sleep(self.driver)
        self.wake(self.driver)
        self.guest.cont()
        self.compare()
        load.kill(9)
        tap.expect(took < 10 * SCALE, f"asleep after {took:.1f} s")
        return f"asleep after {took:.1f} s"

    def driver_stands_still(self) -> str:
        """A driver VM that does nothing does not keep the guest awake.

        Drivers unlink their URBs and the USB core asks for remote wakeup, and
        The first unlink waits for 5 s before it gives up, all others hardly, and
        the USB core waits for 5 s when it asks for remote wakeup.
        """
        self.driver.device_del("disk")
        self.guest.wait_for(f"test ! -e {self.node}")
        self.driver.pause()
        took = self.sleep(self.guest)
        self.driver.cont()
        self.wake(self.guest)
        self.press()
        self.plug("disk")
        self.node = self.disk()
        self.compare()
        tap.expect(took < 23 * SCALE, f"asleep after {took:.1f} s")
        return f"asleep after {took:.1f} s"

    def driver_dies(self) -> str:
        """The driver VM is killed while the guest sleeps: that wakes up all the same, and
        has its devices again from the next one."""
        self.compare()
        self.sleep(self.guest)
        self.driver.kill()
        self.driver.close()
        began = time.monotonic()
        self.wake(self.guest)
        self.guest.wait_for(f"test ! -e {self.node}")
        took = time.monotonic() - began
        tap.expect(took < BOUND * SCALE, f"awake after {took:.1f} s")
        self.boot_driver()
        self.route()
        return f"awake after {took:.1f} s"

    def goes_down(self) -> str:
        """The guest is switched off while the driver VM does nothing. A disk with a cache
        would be told to write it first, for which Linux has the patience of a minute."""
        self.compare()
        self.guest.run("for d in /sys/class/scsi_disk/*; do "
                       "echo temporary write through > $d/cache_type; done")
        self.driver.pause()
        began = time.monotonic()
        self.guest.shutdown(BOUND)
        took = time.monotonic() - began
        self.driver.cont()
        self.driver.wait_for(f"test $(grep -c waiting-guest {SYSFS}/vports) = 2")
        return f"off after {took:.1f} s"

    def press(self) -> None:
        """A key arrives in the guest."""
        node = child_node(self.guest, find_device(self.guest, "kbd", 20),
                          "input/input*/event*")
        reader = self.guest.spawn(f"exec head -c 24 /dev/input/{node}")
        self.guest.wait_for("ls -l /proc/[0-9]*/fd 2>/dev/null | "
                            f"grep -q ' /dev/input/{node}$'")
        self.driver.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
        tap.expect_equal(reader.wait(10), 0)

    def key_wakes(self) -> None:
        """A key ends the guest's suspend to idle."""
        job = self.freeze()
        self.driver.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
        job.wait(30, check=True)
        self.press()
        self.compare()

    def freeze(self) -> Job:
        """The guest goes to sleep, to idle."""
        since = self.guest.mark()
        job = self.guest.spawn("echo freeze > /sys/power/state")
        self.guest.wait_log("PM: suspend entry", 10, since)
        time.sleep(6)
        tap.expect(job.rc is None, "it did not sleep")
        return job

    def both_sleep(self) -> None:
        """So does a key if the driver VM slept when the guest went to sleep."""
        self.sleep(self.driver)
        driver = self.job
        job = self.freeze()
        # Its USB core has patience with each of its devices, which don't answer.
        time.sleep(10)
        self.driver.qmp("system_wakeup")
        driver.wait(60, check=True)
        time.sleep(3)
        tap.expect(job.rc is None, "it woke up with the driver VM")
        self.driver.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
        job.wait(30, check=True)
        self.press()
        self.compare()

    def no_image(self) -> None:
        """And if the driver VM has tried to hibernate meanwhile, and had no place for it."""
        job = self.freeze()
        self.driver.run("! echo disk > /sys/power/state", 60)
        time.sleep(3)
        self.driver.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
        job.wait(30, check=True)
        self.press()
        self.compare()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            with tempfile.TemporaryDirectory(prefix="usbif-asleep.") as d:
                pair = Pair(t, series, Path(d))
                t.case(f"{series}: joined", pair.join)
                for case in (pair.guest_sleeps, pair.driver_sleeps,
                             *([pair.configured] if tap.LONG else []),
                             pair.suspended,
                             pair.guest_stands_still,
                             pair.driver_stands_still, pair.key_wakes,
                             *([pair.both_sleep, pair.no_image] if tap.LONG else []),
                             pair.replugged, pair.unplugged,
                             *([pair.driver_dies, pair.restored,
                                pair.hibernated] if tap.LONG else []),
                             pair.goes_down):
                    t.case(f"{series}: {case.__name__}"
                           f"{FAULTS.get(case.__name__, '')}", pair.settles, case)
                pair.guest.close()
                pair.driver.close()
                pair.usbctl("drop one")


if __name__ == "__main__":
    main()
