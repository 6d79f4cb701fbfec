#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A camera: each frame compared, on the bare device and through the ring.

The camera is an emulated one (tests/tools/usbip_camera.c) behind the stock
vhci_hcd, bound by the stock uvcvideo.  What a frame holds follows from its
number, so tests/tools/v4l2_frames.c knows what it has to find, and which frames
have to be marked because the camera lets them go wrong.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbip  # noqa: E402
from cache import TREE, compile_tool  # noqa: E402
from gadget import find_device  # noqa: E402
from usbif import SIDES, Loop  # noqa: E402
from usbip import Emulated, clear, route  # noqa: E402
from vm import VM, Job  # noqa: E402

SPEEDS = ("high", "super")
SIZES = ((160, 120), (320, 240), (640, 480))
# Each size wants another setting; in a short run not all of both formats.
SHORT = (("yuyv", 160, 120), ("mjpeg", 320, 240), ("yuyv", 640, 480))
LONG = tuple((form, *size) for form in ("yuyv", "mjpeg") for size in SIZES)


class Cases:
    """One camera and where it is to be seen."""

    def __init__(self, vm: VM, loop: Loop, speed: str) -> None:
        self.vm = vm
        self.loop = loop
        self.camera = Emulated(vm, "usbip_camera", "camera", speed)
        self.source = self.camera.busid()
        self.busid = self.source

    def route(self) -> None:
        """Give it to the guest."""
        self.busid = route(self.loop, self.camera, 2)

    def node(self) -> str:
        """Its node that has pictures; another one has their clocks."""
        return "/dev/" + self.vm.wait_for(
            f"for p in $(find /sys/bus/usb/devices/{self.busid}/ -path "
            "'*/video4linux/video*' -name index); do grep -qx 0 $p && "
            "basename ${p%/index} && exit 0; done; exit 1", 20).out.strip()

    def command(self, form: str, width: int, height: int, count: int,
                gain: int = 0) -> str:
        """The command that looks at frames."""
        tool = compile_tool("v4l2_frames",
                            watch=[TREE / "tests" / "tools" / "camera.h"])
        return (f"exec {tool} {self.node()} {form} {width} {height} {count} "
                f"{gain}")

    def look(self, *args: int | str) -> str:
        """Look at frames, return what was seen of them."""
        result = self.vm.run(self.command(*args), 240, check=False)
        tap.expect(result.rc == 0, f"v4l2_frames: {result.rc} {result.out}")
        return result.out.strip()

    def frames(self) -> str:
        """All is well: every frame is as it was sent, none is marked."""
        return "; ".join(f"{form} {width}x{height} " + self.look(
            form, width, height, tap.scaled(12, 90))
            for form, width, height in tap.LONG and LONG or SHORT)

    def losses(self) -> str:
        """What has lost something on its way is marked, and nothing else."""
        return "; ".join(f"{form} " + self.look(
            form, 640, 480, tap.scaled(16, 90), gain)
            for form, gain in (("yuyv", 3), ("mjpeg", 2)))

    def streaming(self) -> Job:
        """Frames are looked at until the camera has gone."""
        job = self.vm.spawn(self.command("yuyv", 640, 480, 0))
        job.wait_output("streaming", 60)
        time.sleep(0.5)
        return job

    def ended(self, job: Job) -> str:
        """The program has noticed, and there is no camera any more."""
        tap.expect_equal(job.wait(30), 0, job.output())
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{self.busid}")
        return job.output().strip().split("\n")[-1]

    def unplug(self) -> str:
        """Pulled out while it streams; then it comes again."""
        job = self.streaming()
        self.camera.unplug()
        seen = self.ended(job)
        self.camera.plug()
        self.source = self.camera.busid()
        self.loop.wait(self.source, "attached", 20)
        self.busid = find_device(self.vm, self.camera.name, 20,
                                 other_than=self.source)
        return f"{seen}, then " + self.look("yuyv", 320, 240, 5)

    def without_rule(self) -> str:
        """The rule is removed while it streams; then the host has it."""
        job = self.streaming()
        self.loop.remove(self.source)
        seen = self.ended(job)
        self.busid = self.source
        return f"{seen}, then " + self.look("yuyv", 320, 240, 5)


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"camera-{series}", kernel=series, smp=2, memory=768))
    loop = Loop(vm)
    loop.load()
    usbip.prepare(vm)
    # Otherwise it keeps to itself what is marked.
    vm.run("modprobe uvcvideo nodrop=1")
    for speed in SPEEDS:
        cases = Cases(vm, loop, speed)
        for side in SIDES:
            if side == "ring":
                cases.route()
            name = f"{series}: {side}, {speed} speed:"
            t.case(f"{name} frames", cases.frames)
            if tap.LONG or speed == SPEEDS[0]:
                t.case(f"{name} frames that go wrong", cases.losses)
        t.case(f"{name} unplugged while it streams", cases.unplug)
        t.case(f"{name} rule removed while it streams", cases.without_rule)
        clear(loop, cases.camera)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
