#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Speeds as devices have them, and controllers with all their ports in use.

SuperSpeed Plus is in test_peer_backend.py: no gadget has it.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import checks  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from gadget import Dummies, Gadget, load_drivers  # noqa: E402
from usbif import SYSFS, Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

DEVICES = "/sys/bus/usb/devices"
PORTS = 15
SPEEDS = {"full-speed": "12", "high-speed": "480", "super-speed": "5000"}


def ports(vusb: int) -> list[int]:
    """Ports of a controller that are used; in a short run, some.

    The kernel has 63 buses at most, and each socket takes two of them.
    """
    if not tap.LONG:
        return [1, 2, 8, PORTS - 1, PORTS]
    return list(range(1, PORTS + 1 if not vusb else PORTS - 1))


def sockets(controllers: int) -> int:
    """Ports of all controllers that are used."""
    return sum(len(ports(vusb)) for vusb in range(controllers))


class Cases(LoopCases):
    """The cases, with what they need."""

    def attribute(self, busid: str, name: str) -> str:
        """A file of a device."""
        return self.vm.run(f"cat {DEVICES}/{busid}/{name}").out.strip()

    def low_speed(self) -> None:
        """A keyboard at low speed is one, and works."""
        keyboard = self.dummies.keyboard("keys", speed="low-speed")
        busid = self.loop.attach(keyboard, 1)
        tap.expect_equal([self.attribute(busid, "speed"),
                          self.attribute(busid, "bMaxPacketSize0")],
                         ["1.5", "8"])
        checks.pressed(self.vm, busid,
                       lambda: self.dummies.press(keyboard, checks.KEY_A))
        self.loop.detach(keyboard)
        self.dummies.remove(keyboard)

    def fill(self, vusb: int, speed_of) -> list[Gadget]:
        """A device on every port of a controller that is used."""
        zeros = [self.dummies.source_sink(f"zero{vusb}.{port}",
                                          speed=speed_of(port))
                 for port in ports(vusb)]
        self.vm.wait_for(f"test $(cat {DEVICES}/*/serial | grep -c "
                         f"'^zero{vusb}[.]') -ge {len(zeros)}", 120)
        sources = {serial: busid
                   for busid, (serial, _) in self.devices().items()}
        self.vm.run("; ".join(
            f"echo {sources[zero.name]}:{self.loop.NAME}:{vusb}:{port} > "
            f"{SYSFS}/new_vport" for port, zero in zip(ports(vusb), zeros)), 120)
        return zeros

    def buses(self) -> dict[int, list[str]]:
        """USB 2 and USB 3 bus of each virtual controller."""
        out = self.vm.run(f"cd {DEVICES}; grep -H . usb*/product").out
        found = re.findall(r"^usb(\d+)/product:.*\(vusb (\d+)\)$", out, re.M)
        buses: dict[int, list[str]] = {}
        for bus, vusb in sorted(found, key=lambda pair: int(pair[0])):
            buses.setdefault(int(vusb), []).append(bus)
        return buses

    def devices(self) -> dict[str, tuple[str, str]]:
        """Serial number and speed of all devices, by bus ID."""
        out = self.vm.run(f"cd {DEVICES} && grep -H . */serial */speed").out
        found: dict[str, dict[str, str]] = {}
        for busid, name, value in re.findall(r"^(.*?)/(\w+):(.*)$", out, re.M):
            found.setdefault(busid, {})[name] = value
        return {busid: (of.get("serial", ""), of["speed"])
                for busid, of in found.items()}

    def check(self, vusb: int, zeros: list[Gadget], speed_of) -> None:
        """Every device is on the port that its rule says, and some work."""
        self.vm.wait_for(f"test $(cat {DEVICES}/usb*/product | "
                         f"grep -c '(vusb {vusb})$') -eq 2", 60)
        buses = self.buses()[vusb]
        wanted = {}
        for port, zero in zip(ports(vusb), zeros):
            speed = speed_of(port)
            bus = buses[speed == "super-speed"]
            wanted[f"{bus}-{port}"] = (zero.name, SPEEDS[speed])
        self.vm.wait_for(f"cd {DEVICES} && ls -d "
                         + " ".join(f"{busid}:1.0" for busid in wanted), 120)
        devices = self.devices()
        tap.expect_equal({busid: devices[busid] for busid in wanted}, wanted)
        for busid in list(wanted)[::len(wanted) - 1]:
            usbtest.run(self.vm, busid, 1)

    def all_ports(self, controllers: int) -> str:
        """Ports of controllers, USB 2 and USB 3 devices by turns; in the long form
        all of them, then the other way round."""
        speeds = list(SPEEDS)
        turns = tap.scaled(1, 2)
        seen: set[tuple[int, int, bool]] = set()
        for turn in range(turns):
            def speed_of(port: int, turn: int = turn) -> str:
                if (port + turn) % 2:
                    return "super-speed"
                return speeds[port // 2 % 2]

            filled = [(vusb, self.fill(vusb, speed_of))
                      for vusb in range(controllers)]
            for vusb, zeros in filled:
                self.check(vusb, zeros, speed_of)
                seen |= {(vusb, port, speed_of(port) == "super-speed")
                         for port in ports(vusb)}
            self.clear()
        tap.expect_equal(len(seen), turns * sockets(controllers), "ports used")
        return f"{len(seen)} ports"


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    controllers = tap.scaled(1, 2)
    vm = t.vm(VM(f"speeds-{series}", kernel=series, smp=2))
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    usbtest.prepare(vm)
    cases = Cases(vm, loop, Dummies(vm, sockets(controllers)))
    t.case(f"{series}: low speed", cases.low_speed)
    cases.clear()
    t.case(f"{series}: all ports of {controllers} controllers",
           cases.all_ports, controllers)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            run(t, series)


if __name__ == "__main__":
    main()
