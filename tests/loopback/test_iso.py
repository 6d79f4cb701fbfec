#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Isochronous transfers: on the bare device, then on the far side of the ring.

The devices are emulated: one of our own behind the stock vhci_hcd (usbip.py), with
packets that carry sequence numbers and go wrong when told so, and QEMU's
usb-audio.  What passes on the bare device has to pass through the ring.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import libusb  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
import usbtest  # noqa: E402
from faulted import settled  # noqa: E402
from gadget import find_device  # noqa: E402
from peers import compile_peer  # noqa: E402
from sound import PATIENT, card, difference, noise  # noqa: E402
from usbif import SIDES, Loop  # noqa: E402
from usbip import Iso, clear, route  # noqa: E402
from vm import VM  # noqa: E402

DEBUGFS = "/sys/kernel/debug"
# Packets of a request and requests at a time, by speed: usbfs takes no more than
# 128 of the one and 16 MiB of all.
SHAPE = {"full": (32, 4), "high": (128, 6), "super": (16, 4)}
RATE = 48000


def seen(status: int | None, output: str) -> str:
    """What the program has seen, if all is well."""
    libusb.cases(status, output)
    return re.search(r"good .*", output)[0]


class Stream:
    """One emulated device, here or on the far side of the ring."""

    def __init__(self, vm: VM, busid: str, speed: str, packet: int) -> None:
        self.vm = vm
        self.busid = busid
        self.speed = speed
        self.packet = packet

    def long_requests(self) -> str:
        """1024 packets in one request, in and out."""
        times = 2 if tap.LONG or self.speed != "full" else 1
        return ", ".join(
            usbtest.run(self.vm, self.busid, number, more=f"-c {times} -g 2 -s "
                        f"{1024 * self.packet}") for number in (15, 16, 23))

    def command(self, mode: str, count: int, every: int = 0, kind: int = 0,
                shape: tuple[int, int] | None = None) -> str:
        """The command that runs tests/libusb/iso.c."""
        packets, requests = shape or SHAPE[self.speed]
        return libusb.command(
            self.busid, "iso", f"-M {mode} -p {packets} -q {requests} "
            f"-n {count} " + (f"-e {every}:{kind}" if every else ""))

    def run(self, *args, **kwargs) -> str:
        """Run it, return what it has seen."""
        result = self.vm.run(self.command(*args, **kwargs), 120, check=False)
        return seen(result.rc, result.out)

    def clean(self, mode: str) -> str:
        """A stream without faults has none."""
        told = self.run(mode, tap.scaled(30, 250))
        tap.expect(" errors 0 " in told, told)
        return told

    def faults(self, mode: str) -> str:
        """Every packet that goes wrong is reported as such, and no other."""
        return "; ".join(self.run(mode, tap.scaled(12, 60), every, kind)
                         for every, kind in ((7, 4), (1, 1), (3, 3)))

    def short_packets(self) -> str:
        """Packets shorter than asked for are no errors."""
        told = self.run("in", 8, 2, 5)
        tap.expect(" errors 0 " in told, told)
        return told

    def cancels(self) -> str:
        """Requests are cancelled in flight; then the stream is as before."""
        told = self.run("cancel", tap.scaled(20, 50))
        self.run("in", 8)
        return told


class Host:
    """The machine with the devices, and the guest's side in it."""

    def __init__(self, t: tap.Suite, series: str) -> None:
        # What the emulated sound card plays.
        self.dir = tempfile.TemporaryDirectory()
        self.wav = Path(self.dir.name) / "wav"
        self.vm = t.vm(VM(f"iso-{series}", kernel=series, smp=2, memory=768, devices=[
            "qemu-xhci,id=xhci", "usb-audio,audiodev=snd,bus=xhci.0,buffer=262144"],
            args=["-audiodev", f"wav,id=snd,path={self.wav},out.mixing-engine=off"]))
        self.loop = Loop(self.vm)
        self.loop.load()
        usbip.prepare(self.vm)

    def unplug(self, device: Iso, busid: str, speed: str,
               mode: str = "unplug") -> str:
        """Pulled out while it streams: all requests come back, and it can
        come again."""
        far = Stream(self.vm, busid, speed, device.packet)
        job = self.vm.spawn(far.command(mode, 0))
        job.wait_output("streaming")
        time.sleep(0.5)
        device.unplug()
        told = seen(job.wait(20), job.output())
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        device.plug()
        source = device.busid()
        self.loop.wait(source, "attached", 20)
        again = find_device(self.vm, device.name, 20, other_than=source)
        Stream(self.vm, again, speed, device.packet).run("in", 8)
        settled(self.vm)
        return told

    def without_rule(self, busid: str, source: str, speed: str) -> str:
        """The rule is removed while the device streams."""
        far = Stream(self.vm, busid, speed, 0)
        job = self.vm.spawn(far.command("unplug", 0))
        job.wait_output("streaming")
        time.sleep(0.5)
        self.loop.remove(source)
        told = seen(job.wait(20), job.output())
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        settled(self.vm)
        return told

    # ---- sound ----

    def play(self, side: str) -> str:
        """What is played is what the card has got, sample for sample."""
        data = noise(side, 4 * RATE * tap.scaled(2, 10))
        # The card forgets what it has not played yet when it is stopped.
        (self.vm.share / "sound").write_bytes(data + bytes(4 * RATE))
        before = self.wav.stat().st_size
        self.vm.run(f"aplay -q -D hw:{card(self.vm, side)},0 -t raw -f S16_LE "
                    f"-r {RATE} -c 2 {PATIENT} /share/sound", 120)
        for _ in range(20):
            time.sleep(0.5)
            wrong = difference(self.wav.read_bytes()[before:], data)
            if not wrong:
                return f"{len(data) // 4} samples"
        raise AssertionError(wrong)

    def route_sound(self) -> str:
        """The card is routed, and bound by its driver on the far side."""
        # Its controller has just got a driver.
        busid = self.vm.wait_for("cd /sys/bus/usb/devices && grep -l Audio */product "
                                 "| cut -d/ -f1 | grep .", 20).out.strip()
        self.loop.rule(f"{busid}:{self.loop.NAME}:0:9")
        self.loop.wait(busid, "attached")
        return busid

    def frames(self) -> str:
        """The guest's frame number moves with the host's."""
        def numbers() -> tuple[int, int]:
            out = self.vm.run(
                f"cat {DEBUGFS}/usbfront/{self.loop.NAME} {DEBUGFS}/usbback/*/"
                "channel | sed -n 's/.*frame \\([0-9]*\\).*/\\1/p'").out.split()
            return int(out[0]), int(out[1])

        self.vm.run(f"grep 'frame .*of the host' {DEBUGFS}/usbfront/"
                    f"{self.loop.NAME}")
        seen = []
        for _ in range(5):
            front, back = numbers()
            seen.append((back - front) % 2048)
            time.sleep(0.3)
        # Reading both takes some milliseconds, on an idle machine few.
        tap.expect(min((d + 4) % 2048 for d in seen) < 24,
                   f"differences {seen} ms")
        return f"differences {seen} ms"


def strange_frontend(host: Host) -> None:
    """A program in place of usbfront: see tests/peers/front_iso.c."""
    device = Iso(host.vm, "strange", "high", packet=256)
    busid = device.busid()
    host.loop.rule(f"{busid}:strange:0:1")
    done = host.vm.run(f"{compile_peer('front_iso', 'front')} strange", 120,
                       check=False)
    clear(host.loop, device)
    bad = [line for line in done.out.splitlines()
           if not line.startswith(("ok ", "# "))][1:-1]
    tap.expect(not bad, "\n".join(bad))
    tap.expect_equal(done.rc, 0, f"exit code of front_iso: {done.out}")


def streams(t: tap.Suite, host: Host, series: str, speed: str) -> None:
    """All cases at one speed, without and with the ring."""
    device = Iso(host.vm, "iso", speed)
    source = device.busid()
    busid = source
    for side in SIDES:
        if side == "ring":
            busid = route(host.loop, device, 3)
        stream = Stream(host.vm, busid, speed, device.packet)
        name = f"{series}: {side}, {speed} speed:"
        fault = ", F71" if side == "ring" else ""
        for mode in ("in", "out"):
            t.case(f"{name} {mode} in sequence{fault}", stream.clean, mode)
            t.case(f"{name} {mode} with faults", stream.faults, mode)
        t.case(f"{name} short packets", stream.short_packets)
        t.case(f"{name} cancelled in flight", stream.cancels)
    t.case(f"{series}: ring, {speed} speed: unplugged in flight, F7",
           host.unplug, device, busid, speed)
    if tap.LONG or speed == "high":
        busid = find_device(host.vm, device.name, 20, other_than=source)
        t.case(f"{series}: ring, {speed} speed: unplugged with output in flight, F8",
               host.unplug, device, busid, speed, "unplug-out")
    busid = find_device(host.vm, device.name, 20, other_than=device.busid())
    t.case(f"{series}: ring, {speed} speed: rule removed in flight",
           host.without_rule, busid, device.busid(), speed)
    clear(host.loop, device)


def long_requests(t: tap.Suite, host: Host, series: str, speed: str) -> None:
    """As many packets in a request as there may be."""
    packet = 200 if speed == "full" else 1024
    device = Iso(host.vm, f"long-{speed}", speed, packet=packet)
    busid = device.busid()
    for side in SIDES:
        if side == "ring":
            busid = route(host.loop, device, 4)
        t.case(f"{series}: {side}, {speed} speed: requests of 1024 packets",
               Stream(host.vm, busid, speed, packet).long_requests)
    clear(host.loop, device)


def sound(t: tap.Suite, host: Host, series: str) -> None:
    """The sound card, on the host and in the guest."""
    host.vm.run("modprobe -a xhci-pci snd-usb-audio")
    if "bare" in SIDES:
        t.case(f"{series}: bare: sound", host.play, "pci")
    if not t.case(f"{series}: sound card on the ring", host.route_sound):
        return
    t.case(f"{series}: ring: sound", host.play, "usbfront")
    t.case(f"{series}: frame numbers", host.frames)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            host = Host(t, series)
            for speed in usbip.PACKET:
                streams(t, host, series, speed)
                long_requests(t, host, series, speed)
            t.case(f"{series}: strange frontend", strange_frontend, host)
            sound(t, host, series)
            host.vm.close()


if __name__ == "__main__":
    main()
