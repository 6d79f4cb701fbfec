#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Rules: what new_vport, move_vport and remove_vport take and refuse, which
devices are grabbed when, and that the host gets them back.

No guest is needed for that: a grabbed device waits for one.
"""

import os
import re
import struct
import sys
import time
from pathlib import Path
from typing import Callable, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
from gadget import load_drivers  # noqa: E402
from vm import VM  # noqa: E402
from workload import leaks, objects  # noqa: E402

DRIVER = "/sys/bus/usb/drivers/usbback"
SUPER_BUS, HIGH_BUS = "2", "1"      # of qemu-xhci

EINVAL, EBUSY = "Invalid argument", "Device or resource busy"
ENOENT = "No such file or directory"

CLAIM_PORT = 0x80045518         # USBDEVFS_CLAIM_PORT

# What stands in place of the one good field of "1-1:vm1:0:1", and what the log
# says then.
BUSIDS = ("", "1", "1-", "-1", "1-.1", "1-1.", "1-1..1", "1-1-1", "1.1", "01-1",
          "1-01", "1-1.0", "0-1", "1-0", "+1-1", "1-+1", "1-1.x", "x-1", "usb1",
          "usb", "1-1.1.1.1.1.1.1", "1-256", "1000-1", "4294967297-1", " 1-1",
          "1-1 ", "1-1\0", "1-1\n")
VMS = ("", "a b", "a/b", "a:b", "ä", "a" * 32, "a\n", "a\0", "a*")
VUSBS = ("", "-1", "+0", "00", "16", "0x0", "4294967296", " 0", "0 ", "a", "0\0")
PORTS = ("", "0", "16", "-1", "01", "+1", "1x", "1 ", "4294967297", "1\n")
FIFTHS = ("", "Force", "force ", "forc", "1", "force:", "force:force", "\n")

GOOD = ("1-2.3:1:0:3", "1-4:2:0:1", "1-2.1:2:0:2", "9-1:a:0:1", "9-2:A.b_c-9:15:15",
        "9-1.2.3.4.5.6:" + "x" * 31 + ":0:1", "9-3:vm1:0:1:force")


def write(vm: VM, name: str, text: str) -> str:
    """Write to a file of the driver; returns the error as text, or ""."""
    done = vm.run(f"LC_ALL=C cat > {DRIVER}/{name}", check=False,
                  stdin=text.encode())
    return done.out.strip().rsplit(": ", 1)[-1] if done.rc else ""


def accept(vm: VM, name: str, text: str) -> None:
    """A write that has to succeed."""
    tap.expect_equal(write(vm, name, text), "", f"{text!r} to {name}")


def refuse(vm: VM, name: str, text: str, error: str, log: str = "") -> None:
    """A write that has to fail, with one line in the log."""
    mark = vm.mark()
    tap.expect_equal(write(vm, name, text), error, f"{text!r} to {name}")
    lines = [line for line in vm.klog(mark).splitlines()
             if f"usbback: {name}: " in line]
    tap.expect_equal(len(lines), 1, f"number of log lines about {text!r}")
    tap.expect(re.search(log, lines[0]),
               f"the log line for {text!r} does not say {log!r}: {lines[0]}")


def rules(vm: VM) -> dict[str, str]:
    """The file vports: state and reason by rule."""
    lines = vm.run(f"cat {DRIVER}/vports").out.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def state(vm: VM, rule: str) -> Optional[str]:
    """State of a rule."""
    return rules(vm).get(rule)


def wait_state(vm: VM, rule: str, wanted: str, timeout: float = 15) -> str:
    """Wait for a state that matches; returns it."""
    end = time.monotonic() + timeout
    while True:
        found = state(vm, rule)
        if found is not None and re.fullmatch(wanted, found):
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{rule} is {found!r}, should be {wanted!r}")
        time.sleep(0.1)


def grabbed(vm: VM) -> list[str]:
    """Bus IDs of the grabbed devices."""
    lines = vm.run(f"cat {DRIVER}/grabbed_devices").out.splitlines()
    return [line.split()[0] for line in lines]


def restore(vm: VM) -> None:
    """Before each case: as after boot, whatever the case before has left."""
    vm.run(f"while read rule state; do echo ${{rule%%:*}} > "
           f"{DRIVER}/remove_vport; done < {DRIVER}/vports", check=False)
    for line in vm.hmp("info usb").splitlines():
        found = re.search(r"ID: (\S+)", line)
        # What is on a hub goes with it.
        if found and not re.search(r"Port \d+\.", line):
            vm.device_del(found[1])
    vm.wait_for(f"test -z \"$(cat {DRIVER}/vports {DRIVER}/grabbed_devices)\" "
                "&& ! ls /sys/bus/usb/devices | grep -q '^[0-9]*-[0-9.]*$'",
                timeout=20)


def clean(vm: VM) -> None:
    """Remove all rules, wait until the devices are handed back."""
    vm.run(f"for r in $(cut -d' ' -f1 {DRIVER}/vports); do "
           f"echo $r > {DRIVER}/remove_vport; done")
    vm.wait_for(f"test -z \"$(cat {DRIVER}/grabbed_devices {DRIVER}/vports)\"",
                30)


def partitioned() -> bytes:
    """First sector of a disk with partitions of 3 and 8 MiB."""
    def entry(start: int, size: int) -> bytes:
        return struct.pack("<B3xB3xII", 0, 0x83, start, size)

    return (bytes(446) + entry(2048, 6144) + entry(8192, 16384) + bytes(32) +
            b"\x55\xaa")


class Stick:
    """A disk of the machine, on a port of its xHCI controller."""

    def __init__(self, vm: VM, name: str, port: str, bus: str = SUPER_BUS,
                 fill: bool = False) -> None:
        self.vm, self.name, self.port = vm, name, port
        self.busid = f"{bus}-{port}"
        image = Path(vm.share) / f"{name}.img"
        with open(image, "wb") as f:
            f.write(partitioned())
            if fill:
                f.write(os.urandom(1 << 20))
            f.truncate(16 << 20)
        vm.qmp("blockdev-add", driver="raw", **{
            "node-name": f"{name}-image",
            "file": {"driver": "file", "filename": str(image)}})

    def plug(self) -> None:
        """Put it in."""
        self.vm.device_add("usb-storage", id=self.name, bus="xhci.0",
                           port=self.port, drive=f"{self.name}-image")

    def pull(self) -> None:
        """Pull it out, and wait until the machine has seen it."""
        self.vm.device_del(self.name)
        self.vm.wait_for(f"test ! -e /sys/bus/usb/devices/{self.busid}", 60)

    def disk(self, timeout: float = 15) -> str:
        """Its name as a disk of the machine, once it is one."""
        out = self.vm.wait_for(
            f"ls -d /sys/bus/usb/devices/{self.busid}/*/host*/target*/*/"
            "block/sd? 2>/dev/null | grep . && sleep 0.2", timeout).out
        return out.split()[0].rsplit("/", 1)[1]

    def driver(self) -> str:
        """The driver that has it as a device."""
        return driver_of(self.vm, self.busid)


def driver_of(vm: VM, busid: str) -> str:
    """Name of the driver of a device or interface, or ""."""
    out = vm.run(f"readlink /sys/bus/usb/devices/{busid}/driver",
                 check=False).out
    return out.strip().rsplit("/", 1)[-1]


def malformed(vm: VM) -> str:
    """Each bad field is EINVAL, with a line that names it."""
    cases = [(f"{b}:vm1:0:1", "bus ID") for b in BUSIDS]
    cases += [(f"1-1:{n}:0:1", "VM name|virtual controller") for n in VMS]
    cases += [(f"1-1:vm1:{n}:1", "virtual controller") for n in VUSBS]
    cases += [(f"1-1:vm1:0:{n}\n", "port") for n in PORTS]
    cases += [(f"1-1:vm1:0:1:{n}\n", "fifth|five fields") for n in FIFTHS]
    cases += [(t, "missing|bus ID") for t in
              ("\n", "1-1", "1-1:vm1", "1-1:vm1:0", ":::", "junk")]
    for text, log in cases:
        refuse(vm, "new_vport", text, EINVAL, log)
        refuse(vm, "move_vport", text, EINVAL, log)
    for text in ("\n", "junk", "1-1:", "1-1:vm1", "1-1:vm1:0", "usb1", "1-1 ",
                 "1-1:vm1:0:1:x"):
        refuse(vm, "remove_vport", text, EINVAL)
    for text in ("\n", "0000:00:04.0", "0000:00:04.0 ", " vm1", "x a b", "x ä"):
        refuse(vm, "channels", text, EINVAL)
    mark = vm.mark()
    tap.expect_equal(write(vm, "channels", "0000:00:1f.7 vm1"), ENOENT)
    vm.wait_log("usbback: channel.*0000:00:1f.7.*no device with such", since=mark)
    tap.expect_equal(rules(vm), {}, "rules")
    return f"{len(cases)} lines"


def wellformed(vm: VM) -> None:
    """Good rules are accepted, shown in order, and removed."""
    for text in GOOD:
        accept(vm, "new_vport", text)
    shown = [text.strip() for text in GOOD]
    tap.expect_equal(list(rules(vm)), shown, "rules")
    tap.expect_equal(set(rules(vm).values()), {"waiting-device"}, "states")
    accept(vm, "new_vport", "1-4:2:0:1\n")
    tap.expect_equal(list(rules(vm)), shown, "rules after one was repeated")
    accept(vm, "remove_vport", shown[0] + "\n")
    accept(vm, "remove_vport", "1-4")
    accept(vm, "remove_vport", "1-2.1:2:0:2:force\n")
    tap.expect_equal(list(rules(vm)), shown[3:], "rules")
    clean(vm)


def conflicts(vm: VM) -> None:
    """A taken port or bus ID is EBUSY, what is not there ENOENT."""
    accept(vm, "new_vport", "9-1:vm1:0:1")
    refuse(vm, "new_vport", "9-2:vm1:0:1", EBUSY, "taken by the rule of 9-1")
    refuse(vm, "new_vport", "9-1:vm1:0:2", EBUSY, "9-1 has a rule for vm1:0:1")
    refuse(vm, "new_vport", "9-1:vm2:0:1:force", EBUSY, "has a rule")
    accept(vm, "new_vport", "9-2:vm1:1:1")
    refuse(vm, "move_vport", "9-2:vm1:0:1", EBUSY, "taken")
    refuse(vm, "move_vport", "9-3:vm1:0:3", ENOENT, "9-3 has no rule")
    accept(vm, "move_vport", "9-2:vm1:0:2")
    accept(vm, "new_vport", "9-3:vm1:1:1")
    refuse(vm, "remove_vport", "9-4", ENOENT, "9-4 has no rule")
    refuse(vm, "remove_vport", "9-1:vm1:0:2", ENOENT, "is for vm1:0:1")
    refuse(vm, "remove_vport", "9-1:vm2:0:1", ENOENT, "is for vm1:0:1")
    tap.expect_equal(sorted(rules(vm)),
                     ["9-1:vm1:0:1", "9-2:vm1:0:2", "9-3:vm1:1:1"], "rules")
    clean(vm)
    refuse(vm, "remove_vport", "9-1:vm1:0:1", ENOENT)


def sockets(vm: VM) -> None:
    """Both halves of a socket may share a vport; the device there gets it."""
    high, super_ = f"{HIGH_BUS}-3", f"{SUPER_BUS}-3"
    accept(vm, "new_vport", f"{high}:vm1:0:1")
    refuse(vm, "new_vport", f"{SUPER_BUS}-2:vm1:0:1", EBUSY, "taken")
    refuse(vm, "new_vport", f"{super_}.1:vm1:0:1", EBUSY, "taken")
    accept(vm, "new_vport", f"{super_}:vm1:0:1")
    accept(vm, "new_vport", f"{high}.1.2:vm1:0:2")
    accept(vm, "new_vport", f"{super_}.1.2:vm1:0:2")
    refuse(vm, "new_vport", f"{super_}.2.1:vm1:0:2", EBUSY, "taken")
    stick = Stick(vm, "socket", "3")
    stick.plug()
    wait_state(vm, f"{super_}:vm1:0:1", "waiting-guest")
    tap.expect_equal(state(vm, f"{high}:vm1:0:1"), "waiting-device")
    stick.pull()
    vm.device_add("usb-kbd", id="socket-keys", bus="xhci.0", port="3")
    wait_state(vm, f"{high}:vm1:0:1", "waiting-guest")
    tap.expect_equal(state(vm, f"{super_}:vm1:0:1"), "waiting-device")
    vm.device_del("socket-keys")
    wait_state(vm, f"{high}:vm1:0:1", "waiting-device")
    clean(vm)


def handed_back(vm: VM, stick: Stick) -> None:
    """A rule takes a disk from the host; removing it brings the disk back."""
    stick.plug()
    disk = stick.disk()
    rule = f"{stick.busid}:vm1:0:1"
    before = vm.run(f"md5sum < /dev/{disk}").out
    number = vm.run(f"cat /sys/bus/usb/devices/{stick.busid}/devnum").out
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "waiting-guest")
    tap.expect_equal(grabbed(vm), [stick.busid], "grabbed devices")
    line = vm.run(f"cat {DRIVER}/grabbed_devices").out
    tap.expect_equal(line, f"{stick.busid} 46f4:0001 5000 vm1:0:1 "
                     "QEMU QEMU USB HARDDRIVE\n", "grabbed_devices")
    vm.run(f"test ! -e /sys/block/{disk}")
    tap.expect_equal(stick.driver(), "usbback", "driver")
    accept(vm, "remove_vport", rule)
    disk = stick.disk()
    tap.expect_equal(driver_of(vm, f"{stick.busid}:1.0"), "usb-storage",
                     "driver of the interface")
    tap.expect_equal(vm.run(f"md5sum < /dev/{disk}").out, before, "content")
    after = vm.run(f"cat /sys/bus/usb/devices/{stick.busid}/devnum").out
    tap.expect_equal(after, number, "device number")
    tap.expect_equal(rules(vm), {}, "rules")
    stick.pull()


def grabbed_first(vm: VM, stick: Stick) -> None:
    """With a rule, no host driver sees the device, at any plug."""
    rule = f"{stick.busid}:vm1:0:1"
    mark = vm.mark()
    accept(vm, "new_vport", rule)
    for _ in range(3):
        stick.plug()
        wait_state(vm, rule, "waiting-guest")
        tap.expect_equal(stick.driver(), "usbback", "driver")
        tap.expect_equal(vm.run(f"ls /sys/bus/usb/devices/{stick.busid} | "
                                "grep -c : || true").out.strip(), "0",
                         "interfaces")
        stick.pull()
        wait_state(vm, rule, "waiting-device")
    tap.expect(not re.search("usb-storage|scsi host", vm.klog(mark)),
               "a host driver had the device")
    stick.plug()
    wait_state(vm, rule, "waiting-guest")
    accept(vm, "remove_vport", stick.busid)
    stick.disk()
    stick.pull()


def in_use(vm: VM, stick: Stick) -> None:
    """A disk that the host uses is EBUSY in each way, unless forced."""
    stick.plug()
    disk = stick.disk()
    rule = f"{stick.busid}:vm1:0:1"
    vm.run(f"modprobe ext4 && mkfs.ext4 -q /dev/{disk}2 && mkswap /dev/{disk}1",
           timeout=60)
    vm.run(f"mkdir -p /mnt/x && mount /dev/{disk}2 /mnt/x")
    refuse(vm, "new_vport", rule, EBUSY, f"{disk}2 is in use by the host")
    vm.run("umount /mnt/x")
    vm.run(f"swapon /dev/{disk}1")
    refuse(vm, "new_vport", rule, EBUSY, f"{disk}1 is in use by the host")
    vm.run(f"swapoff /dev/{disk}1")
    for node in (disk, f"{disk}1"):
        job = vm.spawn(f"exec sleep 1000 < /dev/{node}")
        vm.wait_for(f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/{node}$")
        refuse(vm, "new_vport", rule, EBUSY, f"{node} is open on the host")
        job.kill(9)
        job.wait(5)
    tap.expect_equal(rules(vm), {}, "rules")
    # Somebody who looks at it for a moment is no use.
    vm.spawn(f"exec sleep 0.4 < /dev/{disk}")
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "waiting-guest")
    accept(vm, "remove_vport", rule)
    disk = stick.disk()

    vm.run(f"mount -o ro,noload /dev/{disk}2 /mnt/x")
    refuse(vm, "new_vport", rule, EBUSY)
    accept(vm, "new_vport", rule + ":force")
    wait_state(vm, rule + ":force", "waiting-guest")
    vm.run("umount /mnt/x")
    clean(vm)
    stick.disk()
    stick.pull()


def hubs(vm: VM) -> None:
    """A hub is refused, goes on working, and no longer is in the way."""
    busid = f"{HIGH_BUS}-2"
    rule = f"{busid}:vm1:0:1"
    vm.device_add("usb-hub", id="hub", bus="xhci.0", port="2")
    vm.wait_for(f"test -e /sys/bus/usb/devices/{busid}:1.0/driver")
    mark = vm.mark()
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "refused is a hub")
    vm.wait_log("refused: is a hub", since=mark)
    tap.expect_equal(driver_of(vm, f"{busid}:1.0"), "hub", "driver")
    vm.device_del("hub")
    wait_state(vm, rule, "waiting-device")

    # Plugged into a socket that is waited for it works all the same.
    vm.device_add("usb-hub", id="hub", bus="xhci.0", port="2")
    wait_state(vm, rule, "refused is a hub")
    vm.wait_for(f"test -e /sys/bus/usb/devices/{busid}:1.0/driver")
    vm.device_del("hub")
    wait_state(vm, rule, "waiting-device")

    vm.device_add("usb-kbd", id="keys", bus="xhci.0", port="2")
    wait_state(vm, rule, "waiting-guest")
    vm.device_del("keys")
    wait_state(vm, rule, "waiting-device")
    clean(vm)


def behind_hub(vm: VM) -> None:
    """The classic rules, hub and all: it comes and goes with what is on it."""
    expected = {"1-2.3:1:0:3": "waiting-guest", "1-4:2:0:1": "waiting-device",
                "1-2.1:2:0:2": "waiting-guest"}
    for rule in expected:
        accept(vm, "new_vport", rule)
    mark = vm.mark()
    for _ in range(2):
        vm.device_add("usb-hub", id="hub", bus="xhci.0", port="2")
        vm.device_add("usb-kbd", id="a", bus="xhci.0", port="2.3")
        vm.device_add("usb-mouse", id="b", bus="xhci.0", port="2.1")
        vm.device_add("usb-tablet", id="c", bus="xhci.0", port="2.2")
        for rule, wanted in expected.items():
            wait_state(vm, rule, wanted)
        vm.wait_for("test -e /sys/bus/usb/devices/1-2.2:1.0/driver")
        tap.expect_equal(sorted(grabbed(vm)), ["1-2.1", "1-2.3"], "grabbed")
        vm.device_del("hub")
        for rule in expected:
            wait_state(vm, rule, "waiting-device")
    tap.expect(not re.search("input: QEMU QEMU USB (Keyboard|Mouse)",
                             vm.klog(mark)), "a host driver had a device")
    clean(vm)


def claimed(vm: VM, hub: str, port: int) -> bool:
    """Is a port of a hub claimed?"""
    out = vm.run("/usr/bin/python3 -", stdin=(
        "import fcntl, os, struct\n"
        f"d = '/sys/bus/usb/devices/{hub}/'\n"
        "n = [int(open(d + f).read()) for f in ('busnum', 'devnum')]\n"
        "f = os.open('/dev/bus/usb/%03d/%03d' % tuple(n), os.O_RDWR)\n"
        "try:\n"
        f"    fcntl.ioctl(f, {CLAIM_PORT:#x}, struct.pack('I', {port}))\n"
        "except OSError as e:\n"
        "    print('claimed' if e.errno == 16 else e)\n").encode()).out
    return out.strip() == "claimed"


def hub_rebound(vm: VM) -> None:
    """Unbinding the driver of a hub does not lose the claim on its port."""
    rule = "1-2.3:vm1:0:3"
    vm.device_add("usb-hub", id="hub", bus="xhci.0", port="2")
    vm.device_add("usb-kbd", id="a", bus="xhci.0", port="2.3")
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "waiting-guest")
    tap.expect(claimed(vm, "1-2", 3), "port 3 is not claimed")
    tap.expect(not claimed(vm, "1-2", 4), "port 4 is claimed")
    vm.run("echo 1-2:1.0 > /sys/bus/usb/drivers/hub/unbind")
    wait_state(vm, rule, "waiting-device")
    vm.run("echo 1-2:1.0 > /sys/bus/usb/drivers/hub/bind")
    wait_state(vm, rule, "waiting-guest")
    tap.expect(claimed(vm, "1-2", 3), "port 3 is not claimed any more")
    clean(vm)
    tap.expect(not claimed(vm, "1-2", 3), "port 3 is still claimed")
    vm.wait_for("test -e /sys/bus/usb/devices/1-2.3:1.0/driver")
    vm.device_del("hub")


def usbfs(vm: VM, stick: Stick) -> None:
    """A port that a program has claimed is not taken from it."""
    program = ("import fcntl, glob, os, struct, sys, time; "
               "f = os.open('/dev/bus/usb/002/001', os.O_RDWR); "
               f"fcntl.ioctl(f, {CLAIM_PORT:#x}, struct.pack('I', 6)); "
               "print('claimed', flush=True); time.sleep(1000)")
    job = vm.spawn(f"exec /usr/bin/python3 -c \"{program}\"")
    rule = f"{stick.busid}:vm1:0:1"
    try:
        job.wait_output("claimed")
        stick.plug()
        accept(vm, "new_vport", rule)
        wait_state(vm, rule, "refused .*program.*")
    finally:
        job.kill(9)
        job.wait(5)
    stick.pull()
    stick.plug()
    wait_state(vm, rule, "waiting-guest")
    stick.pull()
    clean(vm)


def many(vm: VM) -> None:
    """300 rules, which is more than a page, are shown in one piece."""
    vm.run("for i in $(seq 300); do echo 9-$((i % 250 + 1)).$((i / 250 + 1))"
           f":virtual-machine-$((i / 15)):0:$((i % 15 + 1)) > "
           f"{DRIVER}/new_vport; done", timeout=60)
    text = vm.run(f"cat {DRIVER}/vports").out
    tap.expect(len(text) > 8192, "too short to be a test")
    tap.expect_equal(len(set(text.splitlines())), 300, "rules")

    # A reader sees the rules of one moment even if they change under it.
    script = ("import subprocess\n"
              f"f = open('{DRIVER}/vports', 'rb', buffering=0)\n"
              "first = f.read(100)\n"
              f"g = open('{DRIVER}/vports', 'rb').read()\n"
              f"subprocess.run('for i in $(seq 10 90); do echo 9-$i.1 > "
              f"{DRIVER}/remove_vport; done', shell=True, check=True)\n"
              "rest = b''\n"
              "while True:\n"
              "    more = f.read(1000)\n"
              "    if not more: break\n"
              "    rest += more\n"
              "assert first + rest == g, 'torn'\n"
              f"new = open('{DRIVER}/vports', 'rb').read()\n"
              "assert new.count(b'\\n') == 219, new.count(b'\\n')\n")
    vm.run("/usr/bin/python3 -", stdin=script.encode(), timeout=60)
    clean(vm)


def polled(vm: VM) -> None:
    """Whoever polls vports is woken by a change."""
    script = ("import select\n"
              f"f = open('{DRIVER}/vports')\n"
              "f.read()\n"
              "p = select.poll()\n"
              "p.register(f, select.POLLPRI | select.POLLERR)\n"
              "p.poll(500)\n"
              "assert not p.poll(500), 'woken by nothing'\n"
              "print('polling', flush=True)\n"
              "assert p.poll(10000), 'not woken'\n"
              "f.seek(0)\n"
              "print('then', f.read(), flush=True)\n")
    vm.put("/tmp/poll.py", script.encode())
    job = vm.spawn("exec /usr/bin/python3 /tmp/poll.py")
    job.wait_output("polling")
    accept(vm, "new_vport", "9-1:vm1:0:1")
    tap.expect_equal(job.wait(15), 0, "exit code")
    tap.expect("then 9-1:vm1:0:1" in job.output(), "the change is not shown")
    clean(vm)


def moved(vm: VM, stick: Stick) -> None:
    """A move changes the rule and never gives the host a look."""
    rule = f"{stick.busid}:vm1:0:1"
    accept(vm, "new_vport", rule)
    stick.plug()
    wait_state(vm, rule, "waiting-guest")
    mark = vm.mark()
    accept(vm, "move_vport", f"{stick.busid}:vm2:3:4")
    wait_state(vm, f"{stick.busid}:vm2:3:4", "waiting-guest")
    tap.expect_equal(list(rules(vm)), [f"{stick.busid}:vm2:3:4"], "rules")
    tap.expect_equal(grabbed(vm), [stick.busid], "grabbed devices")
    tap.expect("usb-storage" not in vm.klog(mark), "the host had the disk")
    clean(vm)
    stick.disk()
    stick.pull()


def cycles(vm: VM) -> str:
    """Grabbing and handing back leaves nothing behind."""
    busid = f"{HIGH_BUS}-4"
    count = tap.scaled(8, 100)
    vm.device_add("usb-kbd", id="cycles", bus="xhci.0", port="4")
    vm.wait_for(f"test -e /sys/bus/usb/devices/{busid}:1.0/driver")
    script = (f"for i in $(seq %d); do "
              f"echo {busid}:vm1:0:1 > {DRIVER}/new_vport; "
              f"until grep -q waiting-guest {DRIVER}/vports; do sleep 0.02; "
              f"done; echo {busid} > {DRIVER}/remove_vport; "
              f"until test -e /sys/bus/usb/devices/{busid}:1.0/driver; do "
              f"sleep 0.02; done; done")
    vm.run(script % 10, timeout=120)
    taken, grown = [objects(vm)], {}
    # What else goes on may take a few objects now and then: a leak takes them always.
    while len(taken) < 3 or grown and len(taken) < 8:
        vm.run(script % count, timeout=20 * count)
        taken.append(objects(vm))
        grown = leaks(taken, count)
    tap.expect_equal(grown, {}, "slab growth")
    vm.device_del("cycles")
    return f"{(len(taken) - 1) * count} cycles"


def storm(vm: VM, stick: Stick) -> None:
    """Rules that come and go while the device does."""
    rule = f"{stick.busid}:vm1:0:1"
    vm.run("rm -f /tmp/stop")
    job = vm.spawn(f"until test -e /tmp/stop; do "
                   f"echo {rule} > {DRIVER}/new_vport; "
                   f"echo {stick.busid}:vm2:0:1 > {DRIVER}/move_vport; "
                   f"echo {stick.busid} > {DRIVER}/remove_vport; done")
    try:
        for i in range(tap.scaled(5, 50)):
            stick.plug()
            time.sleep(0.3 + 0.1 * (i % 8))
            stick.pull()
    finally:
        vm.run("touch /tmp/stop")
        job.wait(20)
    # A device pulled out while it is being enumerated costs the USB core time.
    clean(vm)
    stick.plug()
    stick.disk(60)
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "waiting-guest")
    clean(vm)
    stick.disk()
    stick.pull()


def unloaded(vm: VM, stick: Stick, mods: Path) -> None:
    """Removing the module hands everything back; it can be loaded again."""
    rule = f"{stick.busid}:vm1:0:1"
    stick.plug()
    stick.disk()
    vm.device_add("usb-kbd", id="keys", bus="xhci.0", port="4")
    for text in (rule, "1-4:vm1:0:2", "9-1:vm1:0:3"):
        accept(vm, "new_vport", text)
    wait_state(vm, rule, "waiting-guest")
    wait_state(vm, "1-4:vm1:0:2", "waiting-guest")
    vm.run("rmmod usbback")
    stick.disk()
    tap.expect_equal(driver_of(vm, "1-4:1.0"), "usbhid", "driver")
    stick.pull()
    stick.plug()
    stick.disk()
    vm.run(f"insmod {mods}/usbback.ko")
    tap.expect_equal(rules(vm), {}, "rules")
    accept(vm, "new_vport", rule)
    wait_state(vm, rule, "waiting-guest")
    vm.run("rmmod usbback")
    stick.disk()
    stick.pull()
    vm.device_del("keys")
    vm.run(f"insmod {mods}/usbback.ko")


def fresh(function: Callable[..., Optional[str]], vm: VM,
          *args: object) -> Optional[str]:
    """A case that does not depend on those before it."""
    restore(vm)
    return function(vm, *args)


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            mods = kernels.build(series)
            vm = t.vm(VM("rules", kernel=series, memory=512,
                         devices=["qemu-xhci,id=xhci,p2=8,p3=8"]))
            load_drivers(vm)
            vm.run(f"insmod {mods}/usbback.ko")
            stick = Stick(vm, "stick", "6", fill=True)
            for name, function, *args in (
                    ("malformed rules", malformed),
                    ("good rules", wellformed),
                    ("conflicts", conflicts),
                    ("two halves of a socket", sockets),
                    ("taken and handed back", handed_back, stick),
                    ("grabbed before host drivers", grabbed_first, stick),
                    ("disks in use, F52", in_use, stick),
                    ("hubs are refused", hubs),
                    ("devices behind a hub", behind_hub),
                    ("hub driver bound again", hub_rebound),
                    ("port claimed through usbfs", usbfs, stick),
                    ("more than a page of rules", many),
                    ("vports can be polled", polled),
                    ("moved", moved, stick),
                    ("slab use over cycles", cycles),
                    ("everything at once", storm, stick),
                    ("module removed", unloaded, stick, mods)):
                t.case(f"{name} ({series})", fresh, function, vm, *args)
            vm.close()


if __name__ == "__main__":
    main()
