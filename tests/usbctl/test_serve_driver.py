#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbctl serve for a driver VM: what the two QEMUs are told of each other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import fake  # noqa: E402
import tap  # noqa: E402
from fake import Machine, Peer, wait_for  # noqa: E402
from serving import (described, is_alive, kernel, look, other_process,  # noqa: E402
                     run_cases, serve)
from tap import expect, expect_equal  # noqa: E402

FRONT_STATE = 0x2000 + 0x14
BACK_STATE = 0x1000 + 0x80


class Pair:
    """Server of a driver VM and a guest."""

    def __init__(self, machine: Machine, says: str = "") -> None:
        self.driver_path = machine.dir / "driver.sock"
        self.path = serve(machine, "--backend-socket", str(self.driver_path),
                          says=says)

    def driver(self) -> Peer:
        """Its QEMU starts."""
        peer = Peer(self.driver_path)
        expect_equal(peer.id, 1, "id of the driver VM")
        return peer

    def guest(self) -> Peer:
        """Its QEMU starts."""
        peer = Peer(self.path)
        expect_equal(peer.id, 0, "id of the guest")
        return peer


def two_peers(machine: Machine) -> None:
    """Two QEMUs are introduced, without usbback here."""
    pair = Pair(machine)
    words = machine("qemu-args", "--backend", "vm1")
    expect_equal(words.rc, 0)
    expect(f"path={pair.driver_path}," in words.out
           and "master=off" in words.out, words.out)
    guest = pair.guest()
    driver = pair.driver()
    expect(os.path.sameopenfile(guest.memory, driver.memory), "two memories")
    for a, b in ((guest, driver), (driver, guest)):
        expect(not b.rung(0), "rung for nothing")
        a.ring()
        expect(b.rung(), "a doorbell was lost")
    expect("no guest yet" not in machine("status").out, "status")
    expect_equal(machine.json("status")["servers"][0]["guest"]["pid"],
                 os.getpid())


def peers_come_and_go(machine: Machine) -> None:
    """Who stays learns it from the memory, and from nothing else."""
    pair = Pair(machine)
    driver = pair.driver()
    for _ in range(5):
        guest = pair.guest()
        guest.write(FRONT_STATE, struct.pack("<I", 2))
        guest.close()
        expect(driver.rung(), "not rung")
        expect_equal(driver.read(FRONT_STATE, 4), b"\3\0\0\0", "guest's state")
    guest = pair.guest()
    for _ in range(5):
        driver.write(BACK_STATE, struct.pack("<I", 2))
        driver.close()
        expect(guest.rung(), "not rung")
        expect_equal(guest.read(BACK_STATE, 4), b"\3\0\0\0", "backend's state")
        expect(guest.is_quiet(), "QEMU does not survive to be told of that")
        driver = pair.driver()
    guest.ring()
    expect(driver.rung(), "a doorbell was lost")


def server_dies(machine: Machine) -> None:
    """A new server of a driver VM finds memory and doorbells again."""
    pair = Pair(machine)
    code = f"""
peer = fake.Peer({str(pair.path)!r})
print(peer.id == 0, flush=True)
for line in sys.stdin:
    print(peer.rung(), flush=True)
    peer.write(0x5000, b"guest")
    peer.ring()
"""
    driver = pair.driver()
    with other_process(code) as qemu:
        assert qemu.stdout and qemu.stdin
        expect_equal(qemu.stdout.readline(), "True\n")
        wait_for("joined", lambda: described(machine)["guest"]["pid"])
        pid = machine.pid("vm1")
        os.kill(pid, signal.SIGKILL)
        wait_for("its end", lambda: not is_alive(pid))
        expect("usbctl serve vm1" in machine("status").out, "no hint in status")
        memory = driver.memory
        Pair(machine, says="joined an earlier server")
        expect(described(machine)["adopted"], "not adopted")
        driver.ring()
        qemu.stdin.write("\n")
        qemu.stdin.flush()
        expect_equal(qemu.stdout.readline(), "True\n")
        expect(driver.rung(), "a doorbell was lost")
        qemu.kill()
        wait_for("gone", lambda: described(machine)["guest"]["pid"] == 0)
    expect(driver.rung(), "not rung at the guest's end")
    guest = pair.guest()
    expect(os.path.sameopenfile(guest.memory, memory), "another memory")
    expect_equal(guest.read(0x5000, 5), b"guest", "memory")
    guest.ring()
    expect(driver.rung(), "the doorbell is another one")
    driver.ring()
    expect(guest.rung(), "a doorbell was lost")


def bell_taken(machine: Machine) -> None:
    """A guest fills the driver VM's doorbell, makes writes to it wait, and dies while
    nobody is there to take it: the server waits for nobody."""
    pair = Pair(machine)
    guest = pair.guest()
    os.set_blocking(guest.bells[1], True)
    os.eventfd_write(guest.bells[1], 2 ** 64 - 2)
    guest.close()
    wait_for("gone", lambda: described(machine)["guest"]["pid"] == 0)
    guest = pair.guest()
    expect(pair.driver().rung(), "not rung")
    # The same while the server rings.
    for _ in range(tap.scaled(20, 3000)):
        bell, done = os.dup(guest.bells[1]), threading.Event()
        thread = threading.Thread(target=fill, args=(bell, done), daemon=True)
        thread.start()
        guest.close()
        wait_for("gone", lambda: described(machine)["guest"]["pid"] == 0)
        done.set()
        thread.join()
        os.close(bell)
        guest = pair.guest()


def fill(bell: int, done: threading.Event) -> None:
    """Has a doorbell full and waiting in one moment, and neither in the next."""
    while not done.is_set():
        os.set_blocking(bell, False)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(bell)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(bell, 2 ** 64 - 2)
        os.set_blocking(bell, True)


def other_backend(machine: Machine) -> None:
    """A server is killed, and the next one is for a driver VM: not as long as usbback
    here is the backend, and then without its rules."""
    kernel(machine)
    serve(machine)
    machine("attach", "1-2", "vm1:0:7")
    look(machine)
    wait_for("rules", lambda: described(machine)["rules"] == ["1-2:vm1:0:7"])
    pid = machine.pid("vm1")
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not is_alive(pid))
    words = ("--backend-socket", str(machine.dir / "driver.sock"))
    result = machine("serve", "vm1", *words)
    expect_equal(result.rc, 6, "exit code")
    expect("usbctl drop vm1" in result.err, result.err)
    machine.unload()
    machine.load()
    serve(machine, *words)
    expect(is_alive(machine.pid("vm1")), "the server has ended")
    expect_equal(dict(machine.rules), {}, "rules")


# ---- stock QEMU

class Qemu:
    """A machine that is never started."""

    def __init__(self, directory: Path, args: str) -> None:
        self.path = directory / f"qmp-{time.monotonic_ns()}"
        self.stream: TextIO | None = None
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-S", "-accel", "tcg", "-m", "64",
             "-display", "none", "-nodefaults", "-monitor", "none", "-qmp",
             f"unix:{self.path},server=on,wait=off", *args.split()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)

    def connect(self) -> None:
        """To its QMP."""
        wait_for("QEMU", lambda: self.path.exists()
                 or self.process.poll() is not None)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20 * fake.SCALE)
        sock.connect(str(self.path))
        self.stream = sock.makefile("rw")
        self.stream.readline()
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: Any) -> Any:
        """QMP."""
        if not self.stream:
            self.connect()
        assert self.stream
        try:
            return self.ask(name, arguments)
        except (OSError, ValueError) as error:
            raise AssertionError(f"QEMU says: {self.kill()}") from error

    def ask(self, name: str, arguments: dict[str, Any]) -> Any:
        """One question."""
        assert self.stream
        self.stream.write(json.dumps({"execute": name,
                                      "arguments": arguments}) + "\n")
        self.stream.flush()
        answer = json.loads(self.stream.readline())
        while "return" not in answer and "error" not in answer:
            answer = json.loads(self.stream.readline())
        return answer["return"]

    def has_device(self) -> bool:
        """Is there an ivshmem device with our memory?"""
        text = self.command("human-monitor-command",
                            **{"command-line": "info pci"})
        return "PCI device 1af4:1110" in text

    def kill(self) -> str:
        """SIGKILL; what it said."""
        self.process.kill()
        said = self.process.communicate(timeout=10)[1]
        return said


def qemus(machine: Machine) -> None:
    """Two QEMUs at one server, then each again."""
    serve(machine, "--backend-socket", str(machine.dir / "driver.sock"))
    guest_args = machine("qemu-args", "vm1").out
    driver_args = machine("qemu-args", "--backend", "vm1").out
    running: list[Qemu] = []
    try:
        running.append(Qemu(machine.dir, guest_args))
        running.append(Qemu(machine.dir, driver_args))
        for qemu in running:
            expect(qemu.has_device(), "no ivshmem device")

        def joined() -> bool:
            data = described(machine)
            return (data["guest"]["pid"] == running[0].process.pid
                    and data["backend"]["pid"] == running[1].process.pid)

        wait_for("both", joined)
        for _ in range(2):
            third = Qemu(machine.dir, guest_args)
            said = third.process.communicate(timeout=20 * fake.SCALE)[1]
            expect(third.process.returncode != 0, "a second QEMU was let in")
            expect("server sent version -16" in said, said)
        for number, args in enumerate((guest_args, driver_args)):
            expect_equal(running[number].kill(), "", "QEMU says")
            wait_for("its end", lambda: not joined())
            running[number] = Qemu(machine.dir, args)
            expect(running[number].has_device(), "no ivshmem device")
            wait_for("both", joined)
        for qemu in running:
            expect_equal(qemu.command("query-status")["status"], "prelaunch")
    finally:
        for qemu in running:
            qemu.kill()


CASES = {"driver VM: two peers": two_peers,
         "driver VM: peers come and go": peers_come_and_go,
         "H77 driver VM: a doorbell that is full": bell_taken,
         "driver VM: in place of usbback": other_backend,
         "F48 driver VM: server dies and comes back": server_dies,
         "driver VM: stock QEMU": qemus}


if __name__ == "__main__":
    run_cases(CASES)
