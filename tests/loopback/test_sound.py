#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A sound card of audio class 2: each sample, bare and through the ring.

The card is an emulated one (tests/tools/usbip_audio.c) behind the stock
vhci_hcd, bound by the stock snd-usb-audio.  Its clock is not the host's: a
feedback endpoint tells the driver how much to send, and the card counts whether
that was heeded.
"""

import re
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbip  # noqa: E402
from gadget import find_device  # noqa: E402
from sound import PATIENT, card, difference, noise  # noqa: E402
from usbif import SIDES, Loop  # noqa: E402
from usbip import Emulated, route  # noqa: E402
from vm import VM, Job  # noqa: E402

HEARD = "/tmp/heard"
RECORDED = "/tmp/recorded"
# Octets of a frame, by format; there are two channels.
FRAME = {"S16_LE": 4, "S32_LE": 8}
# How many frames the card may have too many or too few of those it asked for.
SLACK = 16


class Cases:
    """One card and where it is to be heard."""

    def __init__(self, vm: VM, loop: Loop) -> None:
        self.vm = vm
        self.loop = loop
        self.device = Emulated(vm, "usbip_audio", "sound", "high", more=HEARD)
        self.busid = self.source = self.device.busid()

    def route(self) -> None:
        """Give it to the guest."""
        self.busid = route(self.loop, self.device, 5)

    def start(self, program: str, form: str, rate: int, rest: str) -> Job:
        """Begin to play or to record."""
        number = card(self.vm, f"/{self.busid}/")
        return self.vm.spawn(f"exec {program} -q -D hw:{number},0 -t raw "
                             f"-f {form} -r {rate} -c 2 {PATIENT} {rest}")

    def player(self, sound: bytes, form: str, rate: int) -> Job:
        """Begin to play."""
        (self.vm.share / "sound").write_bytes(sound)
        return self.start("aplay", form, rate, "/share/sound")

    def recorder(self, seconds: int) -> Job:
        """Begin to record."""
        return self.start("arecord", "S32_LE", 48000, f"-d {seconds} {RECORDED}")

    def ended(self, job: Job) -> None:
        """The program has ended, and had nothing to say."""
        tap.expect_equal(job.wait(120), 0, job.output())
        tap.expect_equal(job.output(), "", "output")

    def heeded(self, since: int) -> str:
        """The card got as much as it asked for."""
        pattern = r"played (\d+) of (\d+) frames in (\d+) packets"
        for _ in range(50):
            seen = re.findall(pattern, self.device.job.output()[since:])
            if seen:
                break
            time.sleep(0.1)
        tap.expect(seen, "the card has not stopped to play")
        frames, wanted, packets = map(int, seen[-1])
        tap.expect(packets > 4000, f"only {packets} packets")
        tap.expect(abs(frames - wanted) <= SLACK,
                   f"{frames} frames, not {wanted}, in {packets} packets")
        return f"{frames} of {wanted} frames asked for"

    def check_played(self, sound: bytes) -> None:
        """What the card has got has the sound in it, without a gap."""
        wrong = difference(self.vm.get(HEARD), sound)
        tap.expect(not wrong, wrong)

    def play(self, form: str, rate: int) -> str:
        """What is played is what the card has got, sample for sample."""
        sound = noise(self.busid, FRAME[form] * rate * tap.scaled(1, 8))
        since = len(self.device.job.output())
        self.ended(self.player(sound, form, rate))
        heeded = self.heeded(since)
        self.check_played(sound)
        return f"{len(sound) // FRAME[form]} frames, {heeded}"

    def check_recorded(self, seconds: int) -> str:
        """Frames are numbered, and none is missing."""
        data = self.vm.get(RECORDED)
        count = len(data) // 8
        tap.expect_equal(count, 48000 * seconds, "number of frames")
        first = struct.unpack_from("<I", data)[0]
        for i, frame in enumerate(struct.iter_unpack("<II", data)):
            number = (first + i) & 0xffffffff
            wanted = (number, number * 2654435761 & 0xffffffff)
            tap.expect(frame == wanted, f"frame {i} is {frame}, not {wanted}")
        return f"{count} frames from {first}"

    def record(self) -> str:
        """What is recorded is what the card has sent."""
        seconds = tap.scaled(1, 8)
        self.ended(self.recorder(seconds))
        return self.check_recorded(seconds)

    def both(self) -> str:
        """Played and recorded at a time."""
        seconds = tap.scaled(1, 8)
        sound = noise("both" + self.busid, 8 * 48000 * seconds)
        recorder = self.recorder(seconds)
        self.ended(self.player(sound, "S32_LE", 48000))
        self.ended(recorder)
        self.check_played(sound)
        return self.check_recorded(seconds)

    def unplug(self) -> str:
        """Pulled out while it plays and records; then it comes again."""
        sound = noise("gone", 4 * 48000 * 60)
        jobs = [self.recorder(60), self.player(sound, "S16_LE", 48000)]
        self.vm.wait_for(f"test $(stat -c %s {HEARD}) -gt 100000")
        self.device.unplug()
        for job in jobs:
            tap.expect(job.wait(30) != 0, f"no error: {job.output()}")
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{self.busid}")
        self.device.plug()
        self.source = self.device.busid()
        self.loop.wait(self.source, "attached", 20)
        self.busid = find_device(self.vm, self.device.name, 20,
                                 other_than=self.source)
        return self.play("S16_LE", 48000)


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"sound-{series}", kernel=series, smp=2, memory=768))
    loop = Loop(vm)
    loop.load()
    usbip.prepare(vm)
    vm.run("modprobe snd-usb-audio")
    cases = Cases(vm, loop)
    for side in SIDES:
        if side == "ring":
            cases.route()
        for form, rate in (("S16_LE", 48000), ("S32_LE", 96000)):
            t.case(f"{series}: {side}: {form} at {rate} Hz is played",
                   cases.play, form, rate)
        t.case(f"{series}: {side}: recorded", cases.record)
        t.case(f"{series}: {side}: played and recorded", cases.both)
    t.case(f"{series}: ring: unplugged while in use", cases.unplug)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
