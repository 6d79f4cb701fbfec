#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbctl's commands, on a made-up machine: what they write and read, what they
say, and how they end."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import fake  # noqa: E402
import tap  # noqa: E402
from fake import Machine, Result  # noqa: E402
from tap import expect, expect_equal  # noqa: E402

NOBODY = 65534
COMMANDS = ("serve", "drop", "qemu-args", "libvirt-xml", "list", "attach",
            "detach", "move", "status", "name", "limit", "restore", "loop")


def ends(result: Result, rc: int, *words: str) -> None:
    """The exit code, and that one line says it with these words."""
    expect_equal(result.rc, rc, f"exit code (said {result.err!r})")
    if rc:
        lines = result.err.splitlines()
        expect_equal(len(lines), 1, f"number of lines in {result.err!r}")
        expect(lines[0].startswith("usbctl: "), lines[0])
    said = result.err if rc else result.out
    for word in words:
        expect(word in said, f"{word!r} is not in {said!r}")


def sticks(machine: Machine) -> None:
    """A hub, a stick behind it and a keyboard."""
    machine.device("1-2", bDeviceClass="09", product="Hub", drivers="hub")
    machine.device("1-2.3", manufacturer="Acme", product="Stick\x01",
                   speed="5000", drivers="usb-storage")
    machine.device("1-4", product="Keyboard", speed="1.5",
                   drivers="usbhid usbhid")


def with_module(machine: Machine) -> None:
    """usbback and the devices."""
    machine.load()
    sticks(machine)


# ---- usage

def usage(machine: Machine) -> None:
    """Help, versions, wrong words."""
    expect_equal(machine().rc, 2)
    for word in ("help", "--help", "-h"):
        ends(machine(word), 0, *COMMANDS)
    ends(machine("--version"), 0, "usbctl ")
    ends(machine("frobnicate"), 2, "frobnicate", "usbctl help")
    for command in COMMANDS:
        ends(machine(command, "--help"), 0, f"usage: usbctl {command}")
        ends(machine("help", command), 0, f"usage: usbctl {command}")
        ends(machine(command, "--version"), 0, "usbctl ")
        result = machine(command, "--frobnicate")
        expect_equal(result.rc, 2, command)
        expect_equal(machine(command, "a", "b", "c", "d").rc, 2, command)


def bad_words(machine: Machine) -> None:
    """Arguments that mean nothing."""
    machine.load()
    for busid in ("x", "1", "1-", "1-0", "01-2", "1-2.", "1-2..3", "1-2:1.0",
                  "usb1", "-1", "1-2.3.4.5.6.7.8"):
        ends(machine("attach", "--", busid, "vm1"), 2, "bus ID", "usbctl list")
        ends(machine("move", "--", busid, "vm1"), 2, "bus ID")
    for target in ("", "a" * 32, "vm 1", "vm/1", "vm1:16", "vm1:0:0", "vm1:0:16",
                   "vm1:", "vm1:0:", "vm1:-1", "vm1:0:1:force", "vm1:00:1", ":0:1"):
        ends(machine("attach", "1-2", target), 2, "VM")
    ends(machine("detach", "vm1:0"), 2, "VM:VUSB:PORT")
    ends(machine("name", "05:00", "vm1"), 2, "PCI")
    ends(machine("name", "0000:00:05.0", "v/m"), 2, "name")
    for size in ("0", "512K", "3M", "2G", "x", "16MM", "-16M", ""):
        ends(machine("serve", "vm1", "--size", size), 2, "power of two")
        ends(machine("loop", "--size", size), 2, "power of two")
    ends(machine("serve", "v m"), 2, "name")
    ends(machine("serve", "vm1", "--user", "no-such-user"), 5, "no-such-user")
    ends(machine("serve", "vm1", "--group", "no-such-group"), 5, "no-such-group")
    expect_equal(machine.writes, [], "writes")


def no_module(machine: Machine) -> None:
    """usbback is not there."""
    sticks(machine)
    for words in (("attach", "1-2.3", "vm1"), ("detach", "1-2.3"),
                  ("detach", "vm1:0:1"), ("move", "1-2.3", "vm1"),
                  ("status",), ("restore",), ("name", "0000:00:05.0", "vm1"),
                  ("serve", "vm1"), ("loop",)):
        ends(machine(*words), 3, "usbback", "modprobe usbback")
    machine.load()
    ends(machine("loop"), 3, "modprobe usbfront")
    expect_equal(list(machine.modules["usbback"].channels), [], "channels")


def no_root(machine: Machine) -> None:
    """Somebody else calls it."""
    with_module(machine)
    for words in (("attach", "1-2.3", "vm1"), ("detach", "1-2.3"),
                  ("move", "1-2.3", "vm1"), ("status",),
                  ("name", "0000:00:05.0", "vm1"), ("serve", "vm1"),
                  ("loop",)):
        ends(machine(*words, uid=NOBODY), 4, "root")
    machine.run_dir.mkdir()
    ends(machine("serve", "vm1", uid=NOBODY), 4, "root")
    ends(machine("list", uid=NOBODY), 0, "1-2.3")


# ---- lists

def lists(machine: Machine) -> None:
    """usbctl list"""
    with_module(machine)
    machine("attach", "1-4", "vm1")
    table = machine("list")
    ends(table, 0)
    rows = {line.split()[0]: line for line in table.out.splitlines()}
    expect_equal(list(rows), ["BUS", "1-2", "1-2.3", "1-4"], "rows")
    for busid, words in {"1-2": ("hub",),
                         "1-2.3": ("1234:abcd", "5000", "Acme Stick?",
                                   "host (usb-storage)"),
                         "1-4": ("1.5", "vm1:0:1 (waiting-guest)")}.items():
        for word in words:
            expect(word in rows[busid], f"{word!r} is not in {rows[busid]!r}")
    data = {row["busid"]: row for row in machine.json("list")}
    expect_equal(data["1-2.3"], {
        "busid": "1-2.3", "id": "1234:abcd", "speed": "5000",
        "name": "Acme Stick?", "driver": "usb-storage", "hub": False,
        "virtual": False, "rule": None, "state": None}, "row")
    expect_equal(data["1-4"]["driver"], "usbhid")
    expect_equal(data["1-4"]["rule"], "1-4:vm1:0:1")


def list_is_empty(machine: Machine) -> None:
    """No devices, and no USB at all."""
    ends(machine("list"), 0, "no USB devices")
    expect_equal(machine.json("list"), [])
    shutil.rmtree(machine.devices)
    ends(machine("list"), 1, "usbcore")


# ---- rules

def attach(machine: Machine) -> None:
    """The ways a rule can be written."""
    with_module(machine)
    machine.modules["usbback"].channels["vm1"] = fake.Channel([], 0)
    ends(machine("attach", "1-2.3", "vm1"), 0, "attached, vm1:0:1")
    ends(machine("attach", "1-4", "vm1:0"), 0, "vm1:0:2")
    ends(machine("attach", "2-1", "vm2:3:15"), 0, "nothing is plugged in",
         "vm2:3:15")
    machine.device("2-2")
    ends(machine("attach", "2-2", "vm2"), 0, "usbctl serve vm2")
    expect_equal([text for _, text in machine.writes],
                 ["1-2.3:vm1:0:1", "1-4:vm1:0:2", "2-1:vm2:3:15", "2-2:vm2:0:1"])
    expect_equal({name for name, _ in machine.writes}, {"new_vport"})


def attach_again(machine: Machine) -> None:
    """The same once more is no error, another target is."""
    with_module(machine)
    machine("attach", "1-4", "vm1:0:3")
    for target in ("vm1", "vm1:0", "vm1:0:3"):
        ends(machine("attach", "1-4", target), 0, "vm1:0:3")
    for target in ("vm2", "vm1:1", "vm1:0:4"):
        ends(machine("attach", "1-4", target), 6, "vm1:0:3",
             f"usbctl move 1-4 {target}")
    ends(machine("attach", "1-2.3", "vm1:0:3"), 6, "1-4", "usbctl detach 1-4")


def attach_full(machine: Machine) -> None:
    """More devices than ports."""
    with_module(machine)
    for port in range(1, 16):
        ends(machine("attach", f"3-{port}", "vm1"), 0, f"vm1:0:{port}")
    ends(machine("attach", "1-4", "vm1"), 6, "all ports", "vm1:1")
    ends(machine("attach", "1-4", "vm1:1"), 0)


def attach_in_use(machine: Machine) -> None:
    """A mounted stick."""
    with_module(machine)
    machine.busy.add("1-2.3")
    ends(machine("attach", "1-2.3", "vm1"), 6, "1-2.3 is in use by the host",
         "dmesg", "--force")
    disk = machine.devices / "1-2.3/host0/block/sda/sda1"
    disk.mkdir(parents=True)
    number = os.stat("/").st_dev
    (disk / "dev").write_text(f"{os.major(number)}:{os.minor(number)}\n", "ascii")
    (machine.sys / "class/block/sda1").symlink_to(disk)
    ends(machine("attach", "1-2.3", "vm1:0:2"), 6, "/dev/sda1 is mounted on /",
         "umount /", "--force")
    (disk / "dev").write_text("999:999\n", "ascii")
    (disk / "holders/dm-0").mkdir(parents=True)
    ends(machine("attach", "1-2.3", "vm1:0:2"), 6, "/dev/sda1 is part of dm-0")
    ends(machine("attach", "1-2.3", "vm1:0:2", "--force"), 0)
    expect_equal(machine.writes[-1], ("new_vport", "1-2.3:vm1:0:2:force"))


def attach_refused(machine: Machine) -> None:
    """A rule that the kernel takes and does not follow."""
    with_module(machine)
    machine.states.update({"1-2": "refused is a hub",
                           "1-4": "refused sda1 is in use by the host"})
    ends(machine("attach", "1-2", "vm1"), 1, "is a hub", "usbctl detach 1-2")
    ends(machine("attach", "1-4", "vm1"), 6, "sda1 is in use by the host")
    machine.states["1-2.3"] = "resetting"
    with machine.usbctl_popen("attach", "1-2.3", "vm1") as process:
        fake.wait_for("the rule", lambda: "1-2.3" in machine.rules)
        machine.rules["1-2.3"][1] = "attached"
        machine.show()
        expect_equal(process.wait(10), 0)


def detach(machine: Machine) -> None:
    """By bus ID, by port, and what is not there."""
    with_module(machine)
    for busid, target in (("1-2.3", "vm1:0:1"), ("1-4", "vm1:0:2")):
        machine("attach", busid, target)
    ends(machine("detach", "1-2.3"), 0, "belongs to the host")
    ends(machine("detach", "1-2.3"), 5, "1-2.3", "usbctl status")
    ends(machine("detach", "vm1:0:2"), 0, "1-4")
    ends(machine("detach", "vm1:0:2"), 5, "vm1:0:2")
    expect_equal([text for name, text in machine.writes
                  if name == "remove_vport"], ["1-2.3", "1-2.3", "1-4"])


def move(machine: Machine) -> None:
    """In one step where the kernel can, in two where not."""
    with_module(machine)
    ends(machine("move", "1-4", "vm2"), 5, "usbctl attach 1-4 vm2")
    machine("attach", "1-4", "vm1")
    machine("attach", "1-2.3", "vm2")
    machine.writes.clear()
    ends(machine("move", "1-4", "vm2"), 0, "1-4")
    expect_equal(machine.writes, [("move_vport", "1-4:vm2:0:2")])
    ends(machine("move", "1-4", "vm2"), 0)
    expect_equal(len(machine.writes), 1, "writes")
    ends(machine("move", "1-4", "vm2:0:1"), 6, "1-2.3")
    expect_equal(machine.rules["1-4"][0], "vm2:0:2")
    (machine.driver / "move_vport").unlink()
    machine.writes.clear()
    ends(machine("move", "1-4", "vm1:1:5"), 0)
    expect_equal(machine.writes, [("remove_vport", "1-4"),
                                  ("new_vport", "1-4:vm1:1:5")])


def names(machine: Machine) -> None:
    """PCI channels of a driver VM."""
    machine.load()
    machine.names = {"0000:00:05.0": "", "0000:00:06.0": ""}
    ends(machine("name", "00:05.0", "vm1"), 0, "0000:00:05.0", "vm1")
    ends(machine("name", "0000:00:05.0", "vm1"), 0)
    ends(machine("name", "0000:00:05.0", "vm2"), 6, "0000:00:05.0",
         "usbctl status")
    ends(machine("name", "0000:00:07.0", "vm2"), 5, "0000:00:07.0",
         "usbctl status")


def restore(machine: Machine) -> None:
    """/etc/usbif"""
    with_module(machine)
    ends(machine("restore"), 0, "0 channel names, 0 rules")
    machine.names = {"0000:00:05.0": ""}
    (machine.conf / "channels").write_text("# mine\n00:05.0 \t vm1\n", "ascii")
    (machine.conf / "rules").write_text(
        "\n1-4:vm1:0:1   # keyboard\n  1-2.3:vm2:0:1:force\n", "ascii")
    ends(machine("restore"), 0, "1 channel names, 2 rules")
    expect_equal(machine.writes, [("channels", "0000:00:05.0 vm1"),
                                  ("new_vport", "1-4:vm1:0:1"),
                                  ("new_vport", "1-2.3:vm2:0:1:force")])
    (machine.conf / "rules").write_text("rubbish\n1-5:vm1:0:9\n", "ascii")
    result = machine("restore")
    expect_equal(result.rc, 1)
    expect("rubbish" in result.err, result.err)
    expect("1-5" in machine.rules, "stopped at the first bad line")
    ends(machine("status", "--rules"), 0)
    expect_equal(machine("status", "--rules").out.split(),
                 ["1-4:vm1:0:1", "1-2.3:vm2:0:1:force", "1-5:vm1:0:9"])


def limits(machine: Machine) -> None:
    """usbctl limit, and its file in /etc/usbif."""
    with_module(machine)
    ends(machine("limit"), 0)
    ends(machine("limit", "vm1"), 5, "vm1")
    ends(machine("limit", "vm1", "requests=8", "kib=64"), 0,
         "vm1 requests=8 kib=64")
    ends(machine("limit", "vm10", "lines=1"), 0, "vm10 lines=1")
    expect_equal(machine("limit", "vm1").out, "vm1 requests=8 kib=64\n")
    expect_equal(machine("limit").out,
                 "vm1 requests=8 kib=64\nvm10 lines=1\n")
    ends(machine("limit", "vm1", "requests="), 1, "dmesg")
    ends(machine("limit", "vm1", "requests"), 2, "requests")
    ends(machine("limit", "v:1", "requests=1"), 2, "v:1")
    ends(machine("limit", "vm1", "default"), 0)
    (machine.conf / "limits").write_text("# slow\nvm2 resets=1 batch=16\n",
                                         "ascii")
    ends(machine("restore"), 0, "limits of 1 guests")
    expect_equal(machine.limits["vm2"], "resets=1 batch=16")


def persist(machine: Machine) -> None:
    """Rules that are kept, in a file that has other things in it."""
    with_module(machine)
    file = machine.conf / "rules"
    if machine.conf.exists():
        machine.conf.rmdir()
    ends(machine("attach", "1-4", "vm1", "--persist"), 0, str(file))
    expect_equal(file.read_text("ascii"), "1-4:vm1:0:1\n")
    expect_equal(file.stat().st_mode & 0o777, 0o644, "mode")
    file.write_text("# mine\n\n 1-4:vm9:0:9 # keys\nrubbish\n1-4:vm8:0:1\n"
                    "1-40:vm1:0:3", "ascii")
    before = "# mine\n\n1-4:{} # keys\nrubbish\n1-40:vm1:0:3\n"
    ends(machine("attach", "1-4", "vm1", "--persist"), 0)
    expect_equal(file.read_text("ascii"), before.format("vm1:0:1"))
    ends(machine("move", "1-4", "vm2:1:3", "--persist"), 0)
    expect_equal(file.read_text("ascii"), before.format("vm2:1:3"))
    ends(machine("attach", "1-2.3", "vm1:0:2", "--force", "--persist"), 0)
    expect(file.read_text("ascii").endswith("\n1-2.3:vm1:0:2:force\n"),
           file.read_text("ascii"))
    kept = file.read_text("ascii")
    for words in (("move", "1-4", "vm1"), ("detach", "1-4"),
                  ("attach", "1-4", "vm3")):
        ends(machine(*words), 0)
        expect_equal(file.read_text("ascii"), kept, str(words))
    ends(machine("attach", "1-4", "vm5", "--persist"), 6)
    expect_equal(file.read_text("ascii"), kept, "a rule that is none")
    ends(machine("detach", "vm3:0:1", "--persist"), 0, "no longer")
    # Its port is its own after a reboot.
    ends(machine("detach", "1-2.3"), 0)
    ends(machine("attach", "1-4", "vm1:0:1"), 0)
    ends(machine("attach", "1-3", "vm1"), 0)
    expect_equal(machine.rules["1-3"][0], "vm1:0:4", "neither taken nor kept")
    lines = file.read_text("ascii")
    ends(machine("move", "1-4", "vm1:0:2", "--persist"), 6, "kept for 1-2.3")
    ends(machine("detach", "1-4"), 0)
    ends(machine("attach", "1-4", "vm1:0:3", "--persist"), 6, "kept for 1-40")
    expect_equal(file.read_text("ascii"), lines, "what is kept")
    # What was forced stays so.
    ends(machine("attach", "1-2.3", "vm1:0:2", "--force"), 0)
    ends(machine("move", "1-2.3", "vm1:0:5", "--persist"), 0)
    expect_equal(machine.writes[-1], ("move_vport", "1-2.3:vm1:0:5:force"))
    expect("1-2.3:vm1:0:5:force\n" in file.read_text("ascii"), "kept without force")
    ends(machine("attach", "1-2.3", "vm1:0:5", "--persist"), 0)
    expect("1-2.3:vm1:0:5:force\n" in file.read_text("ascii"), "kept without force")
    # One that is not in force.
    file.write_text(file.read_text("ascii") + "1-5:vm6:0:6\n", "ascii")
    ends(machine("detach", "vm6:0:6"), 5)
    ends(machine("detach", "vm6:0:6", "--persist"), 0, "no longer")
    ends(machine("detach", "vm6:0:6", "--persist"), 5)
    # Whoever can only look at the directory can't have others wait.
    directory = os.open(machine.conf, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    ends(machine("detach", "1-2.3", "--persist"), 0, "no longer")
    os.close(directory)
    expect_equal(file.read_text("ascii"),
                 "# mine\n\nrubbish\n1-40:vm1:0:3\n")
    expect_equal(sorted(p.name for p in machine.conf.iterdir()), ["rules"])


# ---- status

def status(machine: Machine) -> None:
    """Channels, rules, hints."""
    with_module(machine)
    ends(machine("status"), 0, "usbctl serve")
    machine.modules["usbback"].channels["vm1"] = fake.Channel([], 4711)
    machine.extra_channels = ["- ivshmem 0000:00:05.0 idle 0 0\n"]
    machine("attach", "1-4", "vm1")
    machine("attach", "1-2.3", "vm2")
    machine("attach", "5-1", "vm1:0:9")
    machine.states["1-2"] = "refused is a hub"
    machine("attach", "1-2", "vm1")
    text = machine("status")
    ends(text, 0, "vm1: channel fd, running, session 3, process 4711",
         "requests 70", "out 512", "nobody serves it",
         "-: channel ivshmem 0000:00:05.0, idle",
         "usbctl name 0000:00:05.0 VM", "1-4 -> vm1:0:1: attached",
         "1-2.3 -> vm2:0:1: waiting-guest", "usbctl name 0000:00:05.0 vm2",
         "5-1 -> vm1:0:9: waiting-device", "1-2 -> vm1:0:2: refused: is a hub")
    machine.extra_channels = []
    machine.show()
    ends(machine("status", "vm2"), 0, "usbctl serve vm2")
    expect("vm1" not in machine("status", "vm2").out, "vm1 shown, too")
    ends(machine("status", "vm3"), 5, "vm3", "usbctl serve vm3")
    machine.rules.clear()
    machine.show()
    ends(machine("status", "vm2"), 5, "vm2")


def status_json(machine: Machine) -> None:
    """The same for programs."""
    with_module(machine)
    expect_equal(machine.json("status"),
                 {"channels": [], "vports": [], "servers": []})
    machine.modules["usbback"].channels["vm1"] = fake.Channel([], 4711)
    machine.extra_channels = ["- ivshmem 0000:00:05.0 idle 0 0\n",
                              "vm7 platform soc:usb running 1 0 new=1 x\n"]
    machine("attach", "1-4", "vm1")
    data: dict[str, Any] = machine.json("status")
    first, second, third = data["channels"]
    expect_equal((first["vm"], first["kind"], first["state"], first["session"],
                  first["pid"]), ("vm1", "fd", "running", 3, 4711))
    expect_equal(first["counters"], {
        "requests": 70, "completions": 69, "errors": 1, "cancels": 0,
        "in": 4096, "out": 512, "kicks": 5, "events": 6}, "counters")
    expect_equal((second["vm"], second["address"]), (None, "0000:00:05.0"))
    expect_equal(third["counters"], {"new": 1}, "counters")
    row = data["vports"][0]
    expect_equal({k: v for k, v in row.items() if k != "hint"}, {
        "rule": "1-4:vm1:0:1", "busid": "1-4", "vm": "vm1", "vusb": 0,
        "port": 1, "state": "attached", "reason": None}, "row")
    expect_equal(len(machine.json("status", "vm7")["channels"]), 1)


# ---- what others are told

def qemu_args(machine: Machine) -> None:
    """The options for QEMU and libvirt."""
    result = machine("qemu-args", "vm1")
    expect_equal(result.rc, 0)
    path = machine.run_dir / "vm1.sock"
    expect_equal(result.out.split(), [
        "-chardev", f"socket,path={path},id=usbif-vm1", "-device",
        "ivshmem-doorbell,vectors=1,chardev=usbif-vm1,master=on"], "words")
    expect("usbctl serve vm1" in result.err, result.err)
    result = machine("libvirt-xml", "vm1")
    expect_equal(result.rc, 0)
    expect(re.search(r"<shmem name='usbif-vm1' role='master'>\s*"
                     r"<model type='ivshmem-doorbell'/>\s*"
                     rf"<server path='{path}'/>\s*<msi vectors='1'/>\s*"
                     r"</shmem>\s*$", result.out), result.out)
    ends(machine("qemu-args", "--backend", "vm1"), 5, "--backend-socket")
    ends(machine("qemu-args", "v m"), 2, "name")
    ends(machine("qemu-args", "vm1", USBIF_RUNDIR="/run/a b"), 1)


def loop(machine: Machine) -> None:
    """Both modules of one kernel."""
    back, front = machine.load("usbback"), machine.load("usbfront")
    ends(machine("loop", "--size", "2M"), 0, "usbctl drop loop")
    expect_equal(list(back.channels), ["loop"])
    expect_equal(list(front.channels), ["loop"])
    mine, theirs = back.channels["loop"].fds, front.channels["loop"].fds
    expect(os.path.sameopenfile(mine[0], theirs[0]), "not the same memory")
    os.eventfd_write(mine[2], 1)
    expect_equal(os.eventfd_read(theirs[1]), 1, "doorbell to the frontend")
    os.eventfd_write(theirs[2], 1)
    expect_equal(os.eventfd_read(mine[1]), 1, "doorbell to the backend")
    expect_equal(os.fstat(mine[0]).st_size, 2 << 20, "size")
    ends(machine("loop"), 6, "usbctl drop loop")
    ends(machine("drop", "loop"), 0)
    expect_equal((back.channels, front.channels), ({}, {}))
    ends(machine("drop", "loop"), 5, "loop")
    front.refuse["create"] = 12
    ends(machine("loop", "other"), 1, "usbfront", "Cannot allocate memory")
    expect_equal(back.channels, {}, "channels left in usbback")
    back.abi_version = 9
    ends(machine("loop"), 1, "one release")


def variants(directory: Path) -> None:
    """A static program, another compiler, installation."""
    tools = str(fake.TREE / "tools")
    strict = "CFLAGS=-O2 -Werror"
    if shutil.which("clang"):
        subprocess.run(["make", "-s", "-C", tools, "CC=clang", strict,
                        f"O={directory}/clang"], check=True)
    subprocess.run(["make", "-s", "-C", tools, strict, "install",
                    f"O={directory}/gcc", f"DESTDIR={directory}/root",
                    "PREFIX=/usr"], check=True)
    subprocess.run(["make", "-s", "-C", tools, "STATIC=1",
                    f"O={directory}/static"], check=True,
                   stderr=subprocess.DEVNULL)
    program = directory / "static/usbctl-static"
    expect(b"/ld-linux" not in program.read_bytes(), "it has an interpreter")
    subprocess.run([program, "--version"], check=True, capture_output=True)
    root = directory / "root"
    for name in ("usr/sbin/usbctl", "usr/share/man/man8/usbctl.8",
                 "usr/share/bash-completion/completions/usbctl",
                 "lib/systemd/system/usbif@.service",
                 "lib/systemd/system/usbif-restore.service"):
        expect((root / name).is_file(), f"{name} is not installed")
    unit = (root / "lib/systemd/system/usbif@.service").read_text("utf-8")
    expect("ExecStart=/usr/sbin/usbctl serve" in unit, unit)


def manual(machine: Machine) -> None:
    """The manual page has every command and option, and formats cleanly."""
    path = fake.TREE / "Documentation/usbctl.8"
    text = path.read_text("utf-8").replace("\\-", "-")
    for command in COMMANDS:
        expect(re.search(rf"^\.B(R|I)? usbctl {command}\b|^\.SS {command}\b|"
                         rf"\busbctl {command}\b", text, re.M), command)
        for option in re.findall(r"--[a-z-]+", machine(command, "--help").out):
            expect(option in text, f"{command} {option}")
    if shutil.which("man"):
        result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l",
                                 "-Tutf8", "-Z", str(path)], check=False,
                                capture_output=True, text=True)
        expect_equal((result.returncode, result.stderr), (0, ""), "man")


CASES = {"usage and help": usage, "arguments that mean nothing": bad_words,
         "no module": no_module, "not root": no_root, "list": lists,
         "list of nothing": list_is_empty, "attach": attach,
         "attach again": attach_again, "attach to a full controller": attach_full,
         "attach what the host uses": attach_in_use,
         "attach what is refused": attach_refused, "detach": detach,
         "move": move, "name": names, "restore, F50": restore, "limits": limits,
         "rules that are kept": persist,
         "status": status,
         "status for programs": status_json, "qemu-args and libvirt-xml": qemu_args,
         "loop and drop": loop, "manual page": manual}


def main() -> None:
    """Each case has a machine of its own."""
    directory = Path(tempfile.mkdtemp(prefix="usbctl-build-", dir="/tmp"))
    try:
        directory.chmod(0o755)
        with tap.Suite() as suite:
            suite.case("builds: clang, static, install", variants, directory)
            usbctl, preload = fake.build(directory)

            def run(function: Any) -> None:
                with Machine(usbctl, preload) as machine:
                    function(machine)

            for name, function in CASES.items():
                suite.case(name, run, function)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
