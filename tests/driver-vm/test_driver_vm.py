#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Driver VM and guests: devices in use, and every machine and program that may
die. machines.py has the drawing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
from machines import GUESTS, RULES, Machines  # noqa: E402
import gadget  # noqa: E402
import kernels  # noqa: E402
from faulted import settled  # noqa: E402
from matrix import Matrix, Place  # noqa: E402
from table import SPEEDS  # noqa: E402
from tap import (LONG, Suite, expect, expect_equal, scaled,  # noqa: E402
                 some_kernels)
from workload import resets, side_by_side, verified  # noqa: E402

# At which testusb is run, unless at all.
SPEED = "super"


def names(m: Machines) -> str:
    """A channel takes no rule before root has said whose it is."""
    m.back.load()
    back, driver = m.back, m.driver
    out = driver.run("usbctl status").out
    expect_equal(len(re.findall(r"^-: channel ivshmem 0000:", out, re.M)), 2,
                 f"channels without name in {out!r}")
    back.rule("2-1:1:0:1")
    back.wait("2-1", "waiting-guest")
    out = driver.run("usbctl status").out
    expect(f"usbctl name {m.addresses()[0]} 1" in out, out)
    m.load_front("1")
    time.sleep(2)
    back.wait("2-1", "waiting-guest")
    for address, name in zip(m.addresses(), GUESTS):
        driver.run(f"usbctl name {address} {name}")
    expect_equal(driver.run(f"usbctl name {m.addresses()[0]} 9",
                            check=False).rc, 6, "exit code of a second name")
    back.wait("2-1", "attached", 20)
    return f"the guest shows {m.superspeed('1', 1)}"


def rules(m: Machines) -> str:
    """The classic rules and some more: every device gets where it belongs."""
    for rule in RULES:
        m.back.rule(rule)
    m.load_front("2")
    m.wait_attached()
    out = m.driver.run("usbctl status --rules").out.split()
    expect_equal(sorted(out), sorted(RULES), "rules")
    return m.guests["1"].run("cat /sys/bus/usb/devices/usb1/product").out.strip()


def storage(m: Machines) -> str:
    """Files come out as they are on the stick, and get there."""
    guest, driver = m.guests["1"], m.driver
    node = "/dev/" + gadget.child_node(guest, m.superspeed("1", 1),
                                       "block/sd?", 20)
    guest.run(f"mkdir -p /mnt && mount -t ext4 {node} /mnt")
    m.stick.compare(guest)
    guest.run("dd if=/dev/urandom of=/mnt/new bs=1M count=3 2>/dev/null && sync")
    digest = guest.run("sha256sum < /mnt/new; umount /mnt").out
    driver.run("usbctl detach 2-1")
    node = "/dev/" + gadget.child_node(driver, "2-1", "block/sd?", 20)
    driver.run(f"mkdir -p /mnt && mount -t ext4 {node} /mnt")
    expect_equal(driver.run("sha256sum < /mnt/new").out, digest, "checksum")
    out = driver.run("usbctl attach 2-1 1:0:1", check=False)
    expect(out.rc == 6 and "is mounted on /mnt" in out.out, out.out)
    driver.run("rm /mnt/new; umount /mnt; usbctl attach 2-1 1:0:1")
    m.back.wait("2-1", "attached", 20)
    return f"{len(m.stick.files)} files"


def keyboard(m: Machines) -> None:
    """Keys pressed at the driver VM arrive in guest 2."""
    m.keyboard.check(m.driver, m.guests["2"], "usbif123")


def moved_keyboard(m: Machines) -> None:
    """The same in guest 1, after a move, and back again."""
    m.driver.run("usbctl move 1-2.1 1:0:9")
    m.keyboard.check(m.driver, m.guests["1"], "usb")
    m.driver.run("usbctl move 1-2.1 2:0:2")
    m.keyboard.check(m.driver, m.guests["2"], "usb")


def both(m: Machines, seconds: int) -> str:
    """Each guest verifies its disk; both move in every second."""
    for name in GUESTS:
        m.disk(name)
    # Nothing is verified before a first part was written and read.
    return side_by_side(m.driver, {name: partial(m.verify, name, seconds)
                                   for name in GUESTS}, seconds, gap=1)


def killed_guest(m: Machines) -> str:
    """kill -9 of one guest's QEMU; the other does not suffer."""
    m.verify("1", 100)
    other = m.verify("2", 25)
    time.sleep(2)
    before = resets(m.driver, "2-5")
    m.guests["1"].kill()
    began = time.monotonic()
    m.driver.wait_for("! grep '^2-5:.*attached' /sys/bus/usb/drivers/usbback/vports",
                      10)
    noticed = time.monotonic() - began
    m.start_guest("1")
    m.wait_attached("1")
    text = verified(m.verify("1", 3), 3, gap=1)
    expect(resets(m.driver, "2-5") > before, "the next guest got it as it was")
    return f"noticed after {noticed:.1f} s, {text}, {verified(other, 25, gap=3)}"


def reset_guest(m: Machines) -> str:
    """The reset button: QEMU, and so the server, does not notice."""
    guest = m.guests["1"]
    m.verify("1", 100)
    time.sleep(2)
    before = resets(m.driver, "2-5")
    guest.reset()
    guest.run("modprobe -a usbcore usb-storage sd_mod")
    m.load_front("1")
    m.wait_attached("1")
    text = verified(m.verify("1", 3), 3, gap=1)
    expect(resets(m.driver, "2-5") > before, "it has the disk as it was")
    return text


def killed_driver(m: Machines) -> str:
    """kill -9 of the driver VM's QEMU: the guests see all devices go, and come
    back."""
    jobs = [m.verify(name, 100) for name in GUESTS]
    time.sleep(2)
    m.driver.kill()
    began = time.monotonic()
    for job in jobs:
        expect(job.wait(20) != 0, "verify did not see the disk go")
    noticed = time.monotonic() - began
    for guest in m.guests.values():
        guest.wait_for("! ls -d /sys/bus/usb/devices/*-[1-9]*", 20)
    m.start_driver()
    m.load_back(restore=True)
    m.wait_attached()
    texts = [verified(m.verify(name, 3), 3, gap=1) for name in GUESTS]
    return f"noticed after {noticed:.1f} s, {', '.join(texts)}"


def killed_server(m: Machines) -> str:
    """kill -9 of a server: nobody notices; the next serves guest after guest."""
    job = m.verify("1", 12)
    pid = m.server("1")
    os.kill(pid, signal.SIGKILL)
    time.sleep(2)
    expect("serve 1" in m.run("status 1"), "no hint")
    m.serve("1")
    expect("(process 0)" not in m.run("status 1"), m.run("status 1"))
    text = verified(job, 12, gap=1)
    m.guests["1"].kill()
    m.driver.wait_for("! grep '^2-5:.*attached' /sys/bus/usb/drivers/usbback/vports",
                      10)
    m.start_guest("1")
    m.wait_attached("1")
    return f"{text}, then {verified(m.verify('1', 3), 3, gap=1)}"


def reloaded_back(m: Machines) -> str:
    """rmmod usbback under load; usbctl restore brings names and rules."""
    jobs = [m.verify(name, 100) for name in GUESTS]
    time.sleep(2)
    began = time.monotonic()
    m.driver.run("rmmod usbback", timeout=30)
    took = time.monotonic() - began
    for job in jobs:
        expect(job.wait(30) != 0, "verify did not see the disk go")
    m.load_back(restore=True)
    m.wait_attached()
    texts = [verified(m.verify(name, 3), 3, gap=1) for name in GUESTS]
    return f"rmmod took {took:.1f} s, {', '.join(texts)}"


def reloaded_front(m: Machines) -> str:
    """rmmod usbfront under load; the rules are there still."""
    job = m.verify("1", 100)
    other = m.verify("2", 20)
    time.sleep(2)
    began = time.monotonic()
    m.guests["1"].run("rmmod usbfront", timeout=30)
    took = time.monotonic() - began
    expect(job.wait(30) != 0, "verify did not see the disk go")
    m.load_front("1")
    m.wait_attached("1")
    text = verified(m.verify("1", 3), 3, gap=1)
    return f"rmmod took {took:.1f} s, {text}, {verified(other, 20, gap=1)}"


def settles(function: Callable[[Machines], str], m: Machines) -> str:
    """A death; then nothing is in flight, and both ends agree on the devices."""
    told = function(m)
    for name in GUESTS:
        settled(m.driver, name, m.guests[name])
    return told


Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


def in_use(m: Machines, prefix: str, speeds: tuple[str, ...],
           seconds: int) -> Iterator[Case]:
    """Each device does what it is for."""
    yield f"{prefix}storage", storage, (m,)
    yield f"{prefix}keyboard", keyboard, (m,)
    yield f"{prefix}keyboard moved", moved_keyboard, (m,)
    yield f"{prefix}serial", lambda: m.serial.check(m.guests["2"]), ()
    yield f"{prefix}network", lambda: m.network.check(m.guests["1"]), ()
    matrix = Matrix("driver VM", lambda: Place(m.driver, m.guests["1"], "1", 5))
    for name, function, args in matrix.cases(speeds):
        yield f"{prefix}{name}", function, args
    yield f"{prefix}two guests at once", both, (m, seconds)


def deaths(m: Machines) -> Iterator[Case]:
    """Whatever can die does; of a short run's guests, servers and frontends those of
    test_faults, test_units and test_nested do."""
    guests = (("guest killed, F26", killed_guest), ("guest reset, F24", reset_guest),
              ("server killed, F47, F48", killed_server),
              ("usbfront reloaded, F30, F31", reloaded_front))
    for name, function in (
            *(guests if LONG else ()),
            ("usbback reloaded, F38", reloaded_back),
            ("driver VM killed, F40", killed_driver)):
        for turn in range(scaled(1, 3)):
            yield f"{name}{f', time {turn + 1}' if turn else ''}", settles, (function, m)


def run(suite: Suite, m: Machines, prefix: str, cases: Iterable[Case]) -> None:
    """Boots the machines, if there is anything to be done with them."""
    first: list[Case] = [(f"{prefix}channels get names", names, (m,)),
                         (f"{prefix}rules", rules, (m,))]
    later = list(cases)
    if not any(suite.wanted(name) for name, *_ in first + later):
        return
    with m:
        m.start()
        for name, function, args in first:
            suite.case(name, function, *args)
        m.complete()
        for name, function, args in later:
            suite.case(name, function, *args)


def main() -> None:
    """All of it on the first kernel, what devices do on the others."""
    scratch = Path(tempfile.mkdtemp(prefix="usbif-driver-vm."))
    try:
        with Suite() as suite:
            for kernel in some_kernels("6.1"):
                directory = scratch / kernel
                directory.mkdir()
                m = Machines(directory, kernel)
                first = kernel == kernels.SUITES[0]
                prefix = "" if kernel == "6.1" else f"{kernel}: "
                speeds = SPEEDS if LONG else (SPEED,)
                cases = list(in_use(m, prefix, speeds, scaled(12, 120)))
                if first:
                    cases += deaths(m)
                run(suite, m, prefix, cases)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
