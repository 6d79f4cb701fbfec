#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Devices that go or fail at the worst moment, by the numbers (F) of
Documentation/reliability.rst, which tells what shows those that are not here.

After each case nothing is in flight at either end, no memory of the pool is in use, and
both ends agree on which devices there are.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import numbered  # noqa: E402
import tap  # noqa: E402
import usbip  # noqa: E402
from cache import TREE, compile_tool  # noqa: E402
from emulated import Emulated, with_image  # noqa: E402
from faulted import idle, tool  # noqa: E402
from gadget import (Dummies, child_node, device_node,  # noqa: E402
                    find_device, load_drivers, wait_opened)
from usbif import Loop, LoopCases  # noqa: E402
from vm import SCALE, VM, CommandFailed  # noqa: E402

# What a host controller may say of a transfer: wire errors, no answer, too much data.
ERRORS = {"EPROTO": 71, "EILSEQ": 84, "ETIME": 62, "EOVERFLOW": 75, "EPIPE": 32}
MODE_SLOW = 16
SLOW_MS = 30
MICE = 8
# What a driver may be told of a device that has gone; when, where it comes at once, and
# how much later than without a channel: of a reset both USB cores try another one.
GONE = ("ENODEV", "ESHUTDOWN", "EPROTO")
AT_ONCE_MS, LATER_MS = 1000, 2000


class Faulty(usbip.Emulated):
    """The device that tests/tools/usbip_faulty.c is."""

    generation = 1

    def __init__(self, vm: VM) -> None:
        super().__init__(vm, "usbip_faulty", "faulty", "high")

    def plug(self) -> None:
        self.start("")

    def start(self, before: str) -> None:
        """Plug it in, after that shell command."""
        self.job = self.vm.spawn(f"{before} echo pid $$; {self.command} "
                                 f"{self.generation}")
        self.pid = int(self.job.wait_output(r"pid (\d+)")[1])

    def is_plugged(self) -> bool:
        """Has nobody pulled it out?"""
        return self.job.rc is None

    def renew(self) -> None:
        """Pull it out and plug another one in at once."""
        self.generation += 1
        self.start(f"kill -9 {self.pid};")


class Held(usbip.Emulated):
    """The one that tests/tools/gadget_faulty.c is: whose controller gives all back when
    it goes."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.name = "held"
        vm.run("modprobe gadgetfs && mkdir -p /dev/gadget && "
               "mount -t gadgetfs none /dev/gadget")
        self.command = ("exec "
                        f"{tool('gadget_faulty')} /dev/gadget/dummy_udc {self.name}")
        self.plug()

    def again(self) -> None:
        """Put it into its socket once the last one has gone everywhere."""
        self.job.wait(10)
        self.vm.wait_for(f"! grep -qsx {self.name} /sys/bus/usb/devices/*/serial", 20)
        self.plug()

    def plug(self) -> None:
        self.job = self.vm.spawn(f"echo pid $$; {self.command}")
        self.pid = int(self.job.wait_output(r"pid (\d+)")[1])

    def busid(self) -> str:
        return find_device(self.vm, self.name, 20)

    def remove(self) -> None:
        super().remove()
        self.vm.run("umount /dev/gadget")


class Cases(LoopCases):
    """The cases, with what they need."""

    def __init__(self, vm: VM, loop: Loop, dummies: Dummies) -> None:
        super().__init__(vm, loop, dummies)
        self.device = Faulty(vm)
        self.source = self.device.busid()

    # ---- the device

    def there(self) -> str:
        """Plugged in and routed; its bus ID at the guest."""
        if not self.device.is_plugged():
            self.device.plug()
            tap.expect_equal(self.device.busid(), self.source, "bus ID")
        if self.source not in self.loop.vports():
            self.loop.rule(f"{self.source}:{self.loop.NAME}:0:1")
        self.loop.wait(self.source, "attached", 20)
        return find_device(self.vm, self.device.name, 20, other_than=self.source)

    def gone(self) -> None:
        """Both ends have seen it go, and nothing is left of what it did."""
        self.device.job.wait(10)
        self.loop.wait(self.source, "waiting-device", 20)
        self.vm.wait_for(f"! grep -qsx {self.device.name} "
                         "/sys/bus/usb/devices/*/serial", 20)
        idle(self.vm, self.loop.NAME)

    def away(self) -> None:
        """Nobody's, and out."""
        if self.source in self.loop.vports():
            self.loop.remove(self.source)
        self.device.remove()

    def run(self, busid: str, words: str, pid: int = 0, timeout: float = 60) -> str:
        """Run our program on it."""
        return self.vm.run(f"{tool('faulty')} {device_node(self.vm, busid)} {pid} "
                           f"{words}", timeout).out.strip()

    def pull(self, *cases: str) -> str:
        """The plug is pulled while those are under way, one after the other."""
        told = []
        for words in cases:
            told.append(self.run(self.there(), words, self.device.pid))
            self.gone()
        return "; ".join(told)

    # ---- plugs

    def control_in(self) -> str:
        """In the data stage of a control request."""
        return self.pull("in")

    def control_out(self) -> str:
        """The same, out."""
        return self.pull("out")

    def bulk(self) -> str:
        """One transfer waits."""
        return self.pull("queue 1")

    def half(self) -> str:
        """Out of 64 KiB the device has taken two transfers of its own."""
        echo = self.dummies.loopback("echo", bulk_buflen="4096", qlen="2")
        told = []
        for there in (echo.busid, lambda: self.loop.attach(echo, 2)):
            node = device_node(self.vm, there())
            job = self.vm.spawn(f"exec {compile_tool('usbfs')} {node} half 65536",
                                stdin=False)
            job.wait_output("waiting", 20)
            time.sleep(0.3)
            echo.unplug()
            tap.expect_equal(job.wait(20), 0, job.output())
            told.append(job.output().splitlines()[-1])
            echo.plug()
        # Natively it may be told as unlinked.
        octets = [re.search(r"(\d+) octets", line)[1] for line in told]
        tap.expect(octets[0] == octets[1] != "0", f"natively and on the ring: {told}")
        self.loop.detach(echo)
        self.dummies.remove(echo)
        return f"natively {told[0]}, through the ring {told[1]}"

    def keyboard(self) -> None:
        """Somebody waits for a key."""
        keys = self.dummies.keyboard("keys")
        busid = self.loop.attach(keys, 2)
        node = child_node(self.vm, busid, "input/input*/event*")
        reader = self.vm.spawn(f"exec head -c 24 /dev/input/{node}")
        wait_opened(self.vm, f"/dev/input/{node}")
        keys.unplug()
        tap.expect(reader.wait(20) is not None, "it waits still")
        self.vm.wait_for(f"test ! -e /dev/input/{node} && "
                         f"test ! -e /sys/bus/usb/devices/{busid}")
        idle(self.vm, self.loop.NAME)
        for source in set(self.loop.vports()) - {self.source}:
            self.loop.remove(source)
        self.dummies.remove(keys)

    def interrupt(self) -> str:
        """Interrupt transfers wait, in and out."""
        return self.pull("interrupt")

    def queue(self) -> str:
        """A thousand transfers over eight endpoints."""
        return self.pull("queue 1000")

    def enumeration(self) -> str:
        """At several moments of the guest's first look at it."""
        times = tap.scaled(2, 12)
        for n in range(times):
            self.away()
            self.device.plug()
            self.run(self.device.busid(), f"mode {MODE_SLOW} {SLOW_MS}")
            since = self.vm.mark()
            self.loop.rule(f"{self.source}:{self.loop.NAME}:0:1")
            self.vm.wait_log("device number .* using usbfront", 20, since)
            time.sleep(SLOW_MS * (n * 12 // times) / 1000)
            self.device.unplug()
            self.gone()
        self.run(self.there(), "counts")
        return f"{times} times"

    def choosing(self) -> str:
        """While configuration or setting are being changed."""
        return self.as_without("configuration", "setting")

    def reset(self) -> str:
        """While the port is being reset."""
        return self.as_without("reset")

    def as_without(self, *cases: str) -> str:
        """The plug is pulled while those are under way, whose caller holds the device's
        lock: behind vhci_hcd, which gives back what others wait for when they have it,
        and behind dummy_hcd, which gives back at once; without and with a channel."""
        told = []
        for words in cases:
            self.away()
            self.device.plug()
            natively = self.run(self.device.busid(), words, self.device.pid)
            through = self.pull(words)
            compare(natively, through, words)
            told.append(f"{words}: vhci_hcd natively {natively}, through the ring {through}")
            self.away()
        held = Held(self.vm)
        for words in cases:
            natively = self.run(held.busid(), words, held.pid)
            held.again()
            source = held.busid()
            self.loop.rule(f"{source}:{self.loop.NAME}:0:2")
            self.loop.wait(source, "attached", 20)
            busid = find_device(self.vm, held.name, 20, other_than=source)
            through = self.run(busid, words, held.pid)
            self.loop.wait(source, "waiting-device", 20)
            compare(natively, through, words)
            error, ms = ended(through)
            tap.expect(error in GONE and (words == "reset" or ms < AT_ONCE_MS * SCALE),
                       f"{words}: {through}")
            told.append(f"{words}: dummy_hcd natively {natively}, through the ring {through}")
            self.loop.remove(source)
            held.again()
        held.remove()
        return "; ".join(told)

    def unlinks(self) -> str:
        """Eight unlinks wait for their answer."""
        return self.pull("unlinks")

    def replugged(self) -> str:
        """Another device in the same socket at once gets nothing of the old one's."""
        times, told = tap.scaled(2, 20), ""
        for _ in range(times):
            old = self.device.generation
            job = self.vm.spawn(f"exec {tool('faulty')} "
                                f"{device_node(self.vm, self.there())} 0 stream {old}",
                                stdin=False)
            job.wait_output("streaming", 20)
            time.sleep(0.2)
            self.device.renew()
            tap.expect_equal(job.wait(30), 0, job.output())
            told = job.output().splitlines()[-1]
            tap.expect_equal(self.counts(old + 1),
                             f"generation {old + 1} own 0 foreign 0")
            idle(self.vm, self.loop.NAME)
        return f"{times} times; {told}"

    def counts(self, generation: int) -> str:
        """What the device has counted, once it is that one that the guest sees."""
        found = ""
        for _ in range(40):
            try:
                found = self.run(self.there(), "counts")
            except CommandFailed as error:
                found = str(error)
            if found.startswith(f"generation {generation} "):
                break
            time.sleep(0.5)
        return found

    def hub(self) -> str:
        """A hub with eight mice of two guests is pulled out, twice."""
        self.vm.run("usbctl loop other", timeout=20)
        rules = {f"1-2.{n}": f"{('loop', 'other')[n % 2]}:0:{n}"
                 for n in range(1, MICE + 1)}
        for busid, vport in rules.items():
            self.loop.rule(f"{busid}:{vport}")
        for _ in range(2):
            self.vm.device_add("usb-hub", id="hub", bus="xhci.0", port="2")
            for n in range(1, MICE + 1):
                self.vm.device_add("usb-mouse", id=f"mouse{n}", serial=f"mouse{n}",
                                   bus="xhci.0", port=f"2.{n}")
            for busid in rules:
                self.loop.wait(busid, "attached", 60)
            for n in range(1, MICE + 1):
                child_node(self.vm, find_device(
                    self.vm, f"mouse{n}", 40, other_than=f"1-2.{n}"),
                    "input/input*/event*", 40)
            self.vm.device_del("hub")
            for busid in rules:
                self.loop.wait(busid, "waiting-device", 20)
            self.vm.wait_for("! grep -qs ^mouse /sys/bus/usb/devices/*/serial", 20)
            for name in ("loop", "other"):
                idle(self.vm, name)
        for busid in rules:
            self.loop.remove(busid)
        self.vm.run("usbctl drop other", 30)
        return f"{MICE} devices, twice"

    # ---- errors

    def babble(self) -> str:
        """More comes than there is room for."""
        echo = self.dummies.loopback("echo")
        told = [self.vm.run(f"{compile_tool('usbfs')} {device_node(self.vm, busid)} "
                            "babble").out.strip()
                for busid in (echo.busid(), self.loop.attach(echo, 2))]
        tap.expect(told[0] == told[1] and "status -75 " in told[1],
                   f"natively and on the ring: {told}")
        self.loop.detach(echo)
        self.dummies.remove(echo)
        return told[1]

    def wire(self) -> str:
        """What the host controller says of a transfer, the driver is told."""
        commands = [f"error {number}" for number in ERRORS.values()]
        self.away()
        self.device.plug()
        natively = [self.run(self.device.busid(), c) for c in commands]
        busid = self.there()
        for name, command, wanted in zip(ERRORS, commands, natively):
            # There is one word for all errors on the wire.
            wanted = wanted.replace(str(ERRORS["EILSEQ"]), str(ERRORS["EPROTO"]))
            tap.expect_equal(self.run(busid, command), wanted, name)
        return f"{', '.join(ERRORS)}: {'; '.join(natively)}"

    def forever(self) -> str:
        """A device that has nothing to say: an unlink, and its rule removed."""
        busid = self.there()
        told = self.run(busid, "forever")
        job = self.vm.spawn(f"exec {tool('faulty')} {device_node(self.vm, busid)} 0 "
                            "forever", stdin=False)
        tap.expect_equal(job.wait(30), 0, job.output())
        began = time.monotonic()
        self.loop.remove(self.source)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        return f"{told}; without rule after {time.monotonic() - began:.1f} s"

    def stuck(self) -> str:
        """A host controller that does not give back what is unlinked."""
        busid = self.there()
        told = self.run(busid, "stuck")
        front = f"/sys/kernel/debug/usbfront/{self.loop.NAME}"
        self.vm.run(f"grep -q ' lost 1 ' {front} || {{ cat {front}; false; }}")
        self.run(busid, "mode 0 0")
        idle(self.vm, self.loop.NAME)
        tap.expect(self.run(busid, "counts"), "it does not answer")
        return told

    def port_off(self) -> str:
        """The host switches the port of a disk in use off, and on again."""
        disk = Emulated(self.vm, "disk", "usb-storage", drive="image", port="1")
        source = disk.source()
        busid = self.loop.attach(disk, 3)
        node = child_node(self.vm, busid, "block/sd?", 20)
        load = self.vm.spawn(f"while dd if=/dev/{node} of=/dev/null bs=64k "
                             "iflag=direct; do :; done 2>&1", stdin=False)
        hub, port = source.split("-")
        switch = (f"/sys/bus/usb/devices/{hub}-0:1.0/usb{hub}-port{port}/disable")
        since = self.vm.mark()
        self.vm.run(f"sleep 0.3; echo 1 > {switch}")
        load.wait(20)
        self.loop.wait(source, "waiting-device", 20)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
        line = self.vm.wait_log(rf"usbback.*{source}.*", 5, since)[0]
        idle(self.vm, self.loop.NAME)
        self.vm.run(f"echo 0 > {switch}")
        child_node(self.vm, self.loop.virtual(disk), "block/sd?", 20)
        self.loop.remove(source)
        disk.remove()
        return line


def ended(line: str) -> tuple[str, int]:
    """With which error, and after how many milliseconds; there is one word for all
    timeouts."""
    found = re.fullmatch(r"(\w+) ended after (\d+) ms", line)
    tap.expect(found, line)
    return found[1].replace("ETIMEDOUT", "ETIME"), int(found[2])


def compare(natively: str, through: str, what: str) -> None:
    """The same error, and hardly later."""
    (error, ms), (own, own_ms) = ended(natively), ended(through)
    tap.expect(own == error and own_ms < ms + LATER_MS * SCALE,
               f"{what}: natively {natively}, through the ring {through}")


# By number; those of a short run first.
SHORT = {1: Cases.control_in, 9: Cases.queue, 13: Cases.unlinks, 15: Cases.replugged}
LONG = {2: Cases.control_out, 3: Cases.bulk, 4: Cases.half, 5: Cases.keyboard,
        6: Cases.interrupt, 10: Cases.enumeration, 11: Cases.choosing, 12: Cases.reset,
        16: Cases.hub, 18: Cases.babble, 19: Cases.wire, 20: Cases.forever,
        22: Cases.port_off, 62: Cases.stuck}


def documented() -> str:
    """Each fault is in the document, and where that says it is shown it is."""
    titles, shown = numbered.titles("F"), numbered.shown()
    tap.expect_equal(sorted(titles), list(range(1, 74)), "numbers")
    for number, programs in shown.items():
        for program in programs:
            path = next((TREE / "tests").glob(f"{program}.*"))
            tap.expect(re.search(rf"\bF{number}\b|\b{number}[:,] [A-Z]", path.read_text("utf-8")),
                       f"{program} does not know of F{number}")
    missing = sum(not programs for programs in shown.values())
    return f"{len(titles) - missing} shown, {missing} not; {others_bugs(shown)}"


def others_bugs(shown: dict[int, list[str]]) -> str:
    """For each bug of others there are the cases that are named."""
    bugs = numbered.bugs()
    for bug, (numbers, programs) in bugs.items():
        tap.expect(numbers or programs, f"nothing shows '{bug}'")
        for name in numbers:
            number = int(name[1:])
            tap.expect(shown[number] if name[0] == "F" else numbered.is_shown(number),
                       f"nobody has {name}")
        for program, case in programs:
            path = next((TREE / "tests").glob(f"{program}.*"))
            tap.expect(re.search(rf"def {case}\(|^static void {case}\(",
                                 path.read_text("utf-8"), re.M), f"{program} has no {case}")
    return f"{len(bugs)} bugs of others"


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    wanted: dict[int, Callable] = SHORT | (LONG if tap.LONG else {})
    vm = t.vm(with_image("faults", series, 8))
    load_drivers(vm)
    usbip.prepare(vm)
    loop = Loop(vm)
    loop.load()
    cases = Cases(vm, loop, Dummies(vm, 2))
    titles = numbered.titles("F")
    for number, case in wanted.items():
        t.case(f"{series} F{number} {titles.get(number)}", cases.settles, case, cases)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        t.case("documented", documented)
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
