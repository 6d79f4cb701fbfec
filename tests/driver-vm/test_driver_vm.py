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
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
from machines import GUESTS, RULES, Machines, verified  # noqa: E402
import gadget  # noqa: E402
import usbtest  # noqa: E402
from tap import Suite, expect, expect_equal, scaled  # noqa: E402


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
    end = time.monotonic() + seconds - 2
    jobs = {name: m.verify(name, seconds) for name in GUESTS}
    counts = [m.requests()]
    while time.monotonic() < end:
        time.sleep(1)
        counts.append(m.requests())
    for name in GUESTS:
        still = [n for n, (a, b) in enumerate(zip(counts, counts[1:]))
                 if a[name] == b[name]]
        expect(not still, f"no requests of guest {name} in seconds {still}")
    return ", ".join(verified(job, seconds) for job in jobs.values())


def killed_guest(m: Machines) -> str:
    """kill -9 of one guest's QEMU; the other does not suffer."""
    m.verify("1", 100)
    other = m.verify("2", 40)
    time.sleep(2)
    m.guests["1"].kill()
    began = time.monotonic()
    m.driver.wait_for("! grep '^2-5:.*attached' /sys/bus/usb/drivers/usbback/vports",
                      10)
    noticed = time.monotonic() - began
    m.start_guest("1")
    m.wait_attached("1")
    text = verified(m.verify("1", 3), 3, gap=1)
    return f"noticed after {noticed:.1f} s, {text}, {verified(other, 40, gap=3)}"


def reset_guest(m: Machines) -> str:
    """The reset button: QEMU, and so the server, does not notice."""
    guest = m.guests["1"]
    m.verify("1", 100)
    time.sleep(2)
    guest.reset()
    guest.run("modprobe -a usbcore usb-storage sd_mod")
    m.load_front("1")
    m.wait_attached("1")
    return verified(m.verify("1", 3), 3, gap=1)


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


def testusb(suite: Suite, m: Machines, prefix: str) -> None:
    """The kernel's own USB tests, from guest 1 to a gadget of the driver VM."""
    cases = {number: f"{prefix}testusb {number}: {case.name}"
             for number, case in usbtest.CASES.items()}
    if not any(suite.wanted(name) for name in cases.values()):
        return
    busid = m.plug_zero().busid()
    m.back.rule(f"{busid}:1:0:5")
    guest = m.guests["1"]
    usbtest.prepare(guest)
    virtual = gadget.find_device(guest, "zero", 20)
    for number, name in cases.items():
        suite.case(name, usbtest.run, guest, virtual, number)
    m.back.remove(busid)


def begin(suite: Suite, m: Machines, prefix: str = "") -> None:
    """Everything up to rules."""
    for name in GUESTS:
        m.serve(name)
    m.start_driver()
    for name in GUESTS:
        m.start_guest(name, load=False)
    suite.case(f"{prefix}channels get names", names, m)
    suite.case(f"{prefix}rules", rules, m)


def in_use(suite: Suite, m: Machines, prefix: str = "") -> None:
    """Each device does what it is for."""
    suite.case(f"{prefix}storage", storage, m)
    suite.case(f"{prefix}keyboard", keyboard, m)
    suite.case(f"{prefix}keyboard moved", moved_keyboard, m)
    suite.case(f"{prefix}serial", lambda: m.serial.check(m.guests["2"]))
    suite.case(f"{prefix}network", lambda: m.network.check(m.guests["1"]))
    testusb(suite, m, prefix)


DEATHS = {"guest killed": killed_guest, "guest reset": reset_guest,
          "server killed": killed_server, "usbfront reloaded": reloaded_front,
          "usbback reloaded": reloaded_back, "driver VM killed": killed_driver}


def main() -> None:
    """The machines are booted once."""
    scratch = Path(tempfile.mkdtemp(prefix="usbif-driver-vm."))
    try:
        with Suite() as suite:
            with Machines(scratch) as m:
                begin(suite, m)
                in_use(suite, m)
                suite.case("two guests at once", both, m, scaled(30, 300))
                for name, case in DEATHS.items():
                    for turn in range(scaled(1, 5)):
                        again = f", time {turn + 1}" if turn else ""
                        suite.case(f"{name}{again}", case, m)
            newer = Path(tempfile.mkdtemp(dir=scratch))
            with Machines(newer, "6.12") as m:
                begin(suite, m, "6.12: ")
                in_use(suite, m, "6.12: ")
                suite.case("6.12: two guests at once", both, m, scaled(10, 300))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
