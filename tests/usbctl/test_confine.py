#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a server of usbctl can do no more when it is ready; that all it has to do works
all the same is for test_serve and test_modules to show."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
from fake import Machine, Peer, wait_for  # noqa: E402
from serving import described, kernel, run_cases  # noqa: E402
from tap import expect, expect_equal  # noqa: E402

CAP_IPC_LOCK = 1 << 14
CAP_SYS_ADMIN = 1 << 21
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
# What has to fail, and how: by the filter, or because it is no file of the server's.
EPERM, EACCES = 1, 13
CALLS = {"execve": EPERM, "mount": EPERM, "unshare": EPERM, "ptrace": EPERM,
         "bpf": EPERM, "kill": EPERM, "chmod": EPERM, "socket": EPERM,
         "mmap": EPERM, "ioctl": EPERM}
FILES = {"write": EACCES, "create": EACCES, "device": EACCES}
SYS_LANDLOCK_CREATE_RULESET = 444


def has_landlock() -> bool:
    """Does this machine's kernel know it?"""
    return ctypes.CDLL(None).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1) > 0


def status(pid: int) -> dict[str, str]:
    """Of a process."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def start(machine: Machine, *words: str, **env: str) -> dict[str, str]:
    """A server; its status."""
    result = machine("serve", "vm1", *words, **env)
    expect_equal((result.rc, result.out, result.err), (0, "", ""), "serve")
    return status(machine.pid("vm1"))


def expect_confined(found: dict[str, str], capabilities: int) -> None:
    """No more than these capabilities, and a filter."""
    wanted = dict.fromkeys(SETS, f"{capabilities:016x}")
    wanted["CapInh"] = wanted["CapAmb"] = f"{0:016x}"
    expect_equal({name: found[name] for name in SETS}, wanted, "capabilities")
    expect_equal((found["NoNewPrivs"], found["Seccomp"]), ("1", "2"),
                 "no new privileges, filter")


def on_host(machine: Machine) -> None:
    """What usbback asks for at each ioctl and to pin memory, nothing else."""
    kernel(machine)
    expect_confined(start(machine), CAP_SYS_ADMIN | CAP_IPC_LOCK)


def for_driver_vm(machine: Machine) -> None:
    """Nothing at all."""
    expect_confined(start(machine, "--backend-socket", str(machine.dir / "driver.sock")),
                    0)


def foreground(machine: Machine) -> None:
    """The same under systemd."""
    kernel(machine)
    with machine.usbctl_popen("serve", "vm1", "--foreground") as server:
        wait_for("description", (machine.run_dir / "vm1.json").exists)
        wait_for("filter", lambda: status(server.pid)["Seccomp"] == "2")
        expect_confined(status(server.pid), CAP_SYS_ADMIN | CAP_IPC_LOCK)
        server.terminate()
        expect_equal(server.wait(10), 0, "exit code")
        assert server.stderr
        expect_equal(server.stderr.read(), "", "it says")


def tries(machine: Machine) -> str:
    """A server that tries what it should not: each fails, and it goes on."""
    back = kernel(machine)
    elsewhere = machine.dir / "elsewhere"
    elsewhere.touch()
    elsewhere.chmod(0o666)
    machine.run_dir.mkdir()
    tried = machine.run_dir / "tried"
    start(machine, FAKE_PROBE=str(tried), FAKE_ELSEWHERE=str(elsewhere))
    peer = Peer(machine.run_dir / "vm1.sock")
    wait_for("joined", lambda: described(machine)["guest"]["pid"] == os.getpid())
    found = {name: int(error) for name, error in
             (line.split() for line in tried.read_text("ascii").splitlines())}
    wanted = CALLS | (FILES if has_landlock() else dict.fromkeys(FILES, 0))
    expect_equal(found, wanted, "what came of it")
    expect_equal(elsewhere.stat().st_mode & 0o777, 0o666, "mode of a file")
    peer.close()
    wait_for("gone", lambda: back.events[-1][0] == "gone")
    return f"{len(found)} things tried, {'' if has_landlock() else 'no '}Landlock"


def sockets_go(machine: Machine) -> None:
    """Its sockets, also those elsewhere, are gone when it ends."""
    there = machine.dir / "there"
    there.mkdir()
    sockets = [there / "guest.sock", there / "driver.sock"]
    start(machine, "--socket", str(sockets[0]), "--backend-socket", str(sockets[1]))
    expect(all(path.exists() for path in sockets), "no sockets")
    expect_equal(machine("drop", "vm1").rc, 0, "exit code of drop")
    expect_equal(list(there.iterdir()), [], "left")


def killed(machine: Machine) -> None:
    """Those of one that was killed are gone after a drop."""
    kernel(machine)
    there = machine.dir / "there"
    there.mkdir()
    start(machine, "--socket", str(there / "guest.sock"))
    pid = machine.pid("vm1")
    os.kill(pid, 9)
    wait_for("its end", lambda: not Path(f"/proc/{pid}").exists())
    expect_equal(machine("drop", "vm1").rc, 0, "exit code of drop")
    expect_equal([list(there.iterdir()), list(machine.run_dir.iterdir())], [[], []],
                 "left")


CASES = {"KVM host: two capabilities": on_host,
         "driver VM: no capability": for_driver_vm,
         "in the foreground": foreground,
         "what is not its own is refused": tries,
         "sockets go with it": sockets_go,
         "sockets of one that was killed go with the channel": killed}

if __name__ == "__main__":
    run_cases(CASES)
