# SPDX-License-Identifier: GPL-2.0
"""All of testusb on one device after the other, bare, then in a guest.

    from matrix import Matrix, Place

    matrix = Matrix("driver VM", lambda: Place(driver, guest, "1", 5))
    for name, function, args in matrix.cases(("high",)):
        t.case(name, function, *args)

Each case is run on the machine that owns the device, without any of us, and when
all have been, in the guest. There it has to pass if it did here. What fails here
may fail there; that is found out anew in each run.

Two devices make up all cases: the source and sink on dummy_hcd, and for what it
cannot do (usbtest.py) the emulated one of usbip.py. The cases plug and route what
they need, so that single ones can be run. table.py shows what came out.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, NamedTuple

import usbip
import usbtest
from gadget import Dummies, Gadget, find_device
from table import case_name
from tap import scaled
from usbif import SYSFS
from usbip import Iso
from vm import VM, VMError

# Packets of an isochronous request, by speed.
PACKETS = {"full": 8, "high": 32, "super": 4}
CASES = {**usbtest.CASES, **usbtest.ISO_CASES}

Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


class Place(NamedTuple):
    """Where the devices are, and where they are routed to."""

    owner: VM       # with usbback
    guest: VM       # with usbfront; may be the same
    channel: str    # what the guest is called
    port: int       # one that is free


class Matrix:
    """The cases of one form of channel; find: its place, once it is there."""

    def __init__(self, form: str, find: Callable[[], Place]) -> None:
        self.form = form
        self.find = find
        self.place: Place | None = None
        self.dummies: Dummies | None = None
        self.device: Gadget | Iso | None = None
        self.source = ""        # bus ID at the owner
        self.routed = ""        # and in the guest
        self.fails: set[tuple[str, int]] = set()

    def cases(self, speeds: Iterable[str]) -> Iterator[Case]:
        """All of it, to be run in this order."""
        for speed in speeds:
            for cases in (usbtest.CASES, usbtest.ISO_CASES):
                yield from self._cases(speed, cases)
        yield f"testusb, {self.form}: device comes back", self.end, ()

    def _cases(self, speed: str, cases: dict[int, usbtest.Case]
               ) -> Iterator[Case]:
        for bare in (True, False):
            function = self.bare if bare else self.ring
            for number, case in cases.items():
                yield (case_name(number, speed, self.form, case.name, bare),
                       function, (speed, number))

    # ---- devices

    def _prepare(self) -> Place:
        """What there is to do once."""
        if not self.place:
            self.place = self.find()
            for vm in (self.place.owner, self.place.guest):
                usbtest.prepare(vm)
            usbip.prepare(self.place.owner)
            self.dummies = Dummies(self.place.owner, 1)
        return self.place

    def _plug(self, speed: str, number: int) -> Place:
        """Have the device for a case at its owner or in the guest."""
        place = self._prepare()
        is_emulated = number in usbtest.ISO_CASES
        # No name comes twice: nobody takes what has gone for what comes.
        name = f"{'iso' if is_emulated else 'zero'}-{speed}"
        if self.device and self.device.name == name:
            return place
        self._remove()
        assert self.dummies
        # One at a time: usbtest remembers the setting of the last that it saw.
        if is_emulated:
            self.device = Iso(place.owner, name, speed)
        else:
            self.device = self.dummies.source_sink(name, speed=f"{speed}-speed")
        self.source = self.device.busid()
        return place

    def _route(self) -> None:
        """Have it in the guest."""
        owner, guest, channel, port = self._prepare()
        if self.routed:
            return
        owner.run(f"echo {self.source}:{channel}:0:{port} > {SYSFS}/new_vport")
        owner.wait_for(f"grep '^{self.source}:.* attached' {SYSFS}/vports", 20)
        assert self.device
        self.routed = find_device(guest, self.device.name, 30, other_than=(
            self.source if guest is owner else ""))

    def _unroute(self) -> None:
        """Have it at the owner, bound by the driver there."""
        if not self.routed:
            return
        owner = self._prepare().owner
        owner.run(f"echo {self.source} > {SYSFS}/remove_vport")
        owner.wait_for("readlink /sys/bus/usb/devices/"
                       f"{self.source}:1.0/driver | grep -q /usbtest$", 20)
        self.routed = ""

    def _remove(self) -> None:
        """Pull it out."""
        self._unroute()
        if isinstance(self.device, Iso):
            self.device.remove()
        elif self.device:
            assert self.dummies
            self.dummies.remove(self.device)
        self.device = None

    # ---- cases

    def _run(self, vm: VM, busid: str, speed: str, number: int) -> str:
        """One case on one side."""
        more = ""
        if number in usbtest.ISO_CASES and CASES[number].options[:2] == "-g":
            more = f"-s {PACKETS[speed] * usbip.PACKET[speed]}"
        # What is taken back after a stall is easily overtaken.
        times = 30 if number == 10 else scaled(1, 5)
        return usbtest.run(vm, busid, number, times, more=more)

    def bare(self, speed: str, number: int) -> str:
        """On the machine that owns the device, without us."""
        owner = self._plug(speed, number).owner
        self._unroute()
        try:
            return self._run(owner, self.source, speed, number)
        except (AssertionError, VMError) as why:
            self.fails.add((speed, number))
            return f"fails here, without us: {why}"

    def ring(self, speed: str, number: int) -> str:
        """In the guest."""
        guest = self._plug(speed, number).guest
        self._route()
        try:
            return self._run(guest, self.routed, speed, number)
        except (AssertionError, VMError) as why:
            if (speed, number) not in self.fails:
                raise
            return f"fails on the bare device, too: {why}"

    def end(self) -> None:
        """What was routed last works at its owner again."""
        if self.device:
            name, speed = self.device.name.split("-")
            self._unroute()
            self._run(self._prepare().owner, self.source, speed,
                      25 if name == "iso" else 1)
            self._remove()
