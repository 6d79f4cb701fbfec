#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbctl serve: the ivshmem protocol, bad clients, restarts of everybody; on a
made-up machine, with programs as peers."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import fake  # noqa: E402
from fake import Machine, Peer, wait_for  # noqa: E402
from serving import (described, is_alive, kernel, look, other_process,  # noqa: E402
                     run_cases, serve)
from tap import expect, expect_equal  # noqa: E402

NOBODY = 65534
SEALS = (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def fd_count(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def identity(peer: Peer) -> tuple[int, int, int, bytes]:
    """Magic, version, size, roles."""
    return struct.unpack("<IIQ8s", peer.read(0, 24))


# ---- KVM host

def handshake(machine: Machine) -> None:
    """What a guest's QEMU is told, in which order, and what usbback is."""
    back = kernel(machine)
    path = serve(machine)
    expect_equal(back.events, [("create", "vm1", 0)], "ioctls")
    peer = Peer(path)
    expect_equal(peer.id, 0, "id of the guest")
    mine = back.channels["vm1"].fds
    expect(os.path.sameopenfile(mine[0], peer.memory), "not the same memory")
    expect_equal(os.fstat(peer.memory).st_size, fake.SIZE, "size")
    expect_equal(fcntl.fcntl(peer.memory, fcntl.F_GET_SEALS) & SEALS, SEALS)
    peer.ring()
    expect_equal(os.eventfd_read(mine[1]), 1, "doorbell to the backend")
    os.eventfd_write(mine[2], 1)
    expect(peer.rung(), "doorbell to the guest")
    expect_equal(identity(peer), (0x49464955, 1, fake.SIZE,
                                  bytes([2, 1, 0, 0, 0, 0, 0, 0])), "identity")
    expect_equal(peer.read(24, 4096 - 24), bytes(4096 - 24), "rest of the page")
    wait_for("joined", lambda: described(machine)["guest"]["pid"] == os.getpid())
    channel = back.channels["vm1"]
    expect_equal(back.events[1:], [("joined", "vm1", os.getpid())], "ioctls")
    start = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
    expect_equal(channel.start_time, int(start[19]), "start time")
    peer.close()
    wait_for("gone", lambda: back.events[-1] == ("gone", "vm1", os.getpid()))


def again(machine: Machine) -> None:
    """The next guest finds the same memory, its identity mended."""
    back = kernel(machine)
    path = serve(machine, "--size", "1M")
    for _ in range(3):
        peer = Peer(path)
        expect_equal(identity(peer), (0x49464955, 1, 1 << 20,
                                      bytes([2, 1, 0, 0, 0, 0, 0, 0])))
        peer.write(0, b"\xff" * 64)
        peer.close()
        wait_for("gone", lambda: back.events[-1][0] == "gone")
    expect_equal([e[0] for e in back.events],
                 ["create"] + ["joined", "gone"] * 3, "ioctls")


def second_client(machine: Machine) -> None:
    """One QEMU at a time."""
    back = kernel(machine)
    path = serve(machine)
    first = Peer(path)
    for _ in range(3):
        expect(Peer(path, join=False).is_refused(), "a second one was let in")
    expect_equal([e[0] for e in back.events], ["create", "joined"], "ioctls")
    first.ring()
    expect_equal(os.eventfd_read(back.channels["vm1"].fds[1]), 1)
    first.close()
    wait_for("gone", lambda: back.events[-1][0] == "gone")
    Peer(path)


def second_message(machine: Machine) -> None:
    """What is refused is said."""
    kernel(machine)
    with machine.usbctl_popen("serve", "vm1", "--foreground") as server:
        path = machine.run_dir / "vm1.sock"
        wait_for("socket", path.exists)
        peer = Peer(path)
        expect(Peer(path, join=False).is_refused(), "a second one was let in")
        peer.close()
        time.sleep(0.2)
        server.terminate()
        said = server.stderr.read() if server.stderr else ""
        expect_equal(server.wait(10), 0, "exit code")
    expect("guest joined" in said and "has gone" in said, said)
    expect(f"the guest is process {os.getpid()}; end that first" in said, said)


def bad_clients(machine: Machine) -> None:
    """Garbage, descriptors, half a connection, nothing at all."""
    kernel(machine)
    path = serve(machine)
    pid = machine.pid("vm1")
    count = fd_count(pid)
    for garbage in (b"\0", b"GET / HTTP/1.1\r\n\r\n", bytes(100000)):
        peer = Peer(path, join=False)
        try:
            peer.sock.setblocking(False)
            peer.sock.send(garbage)
        except OSError:
            pass
        expect(wait_closed(peer), "garbage was taken")
        peer.close()
    null = os.open("/dev/null", os.O_RDONLY)
    peer = Peer(path)
    socket.send_fds(peer.sock, [b"x"], [null] * 100)
    expect(wait_closed(peer), "descriptors were taken")
    peer.close()
    os.close(null)
    peer = Peer(path, join=False)
    peer.sock.shutdown(socket.SHUT_RDWR)
    peer.close()
    wait_for("files closed", lambda: fd_count(pid) <= count)
    Peer(path)


def wait_closed(peer: Peer) -> bool:
    """Reads to the end."""
    peer.sock.settimeout(5 * fake.SCALE)
    try:
        while True:
            data, fds, _, _ = socket.recv_fds(peer.sock, 4096, 8)
            for fd in fds:
                os.close(fd)
            if not data:
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def stalled_client(machine: Machine) -> None:
    """One that connects and does not read is thrown out; the next gets in."""
    back = kernel(machine)
    path = serve(machine)
    stalled = [Peer(path, join=False) for _ in range(2)]
    good = Peer(path, join=False)
    good.sock.settimeout(20 * fake.SCALE)
    began = time.monotonic()
    good.join()
    expect(time.monotonic() - began > 3, "came before its turn")
    wait_for("joined", lambda: described(machine)["guest"]["pid"])
    expect_equal(back.events[-1][0], "joined", "last ioctl")
    for peer in stalled:
        expect(wait_closed(peer), "the stalled one is connected still")


def slow_client(machine: Machine) -> None:
    """One that reads late, as QEMU on a busy machine, is a guest all the same."""
    back = kernel(machine)
    peer = Peer(serve(machine), join=False)
    time.sleep(6)
    peer.join()
    wait_for("joined", lambda: described(machine)["guest"]["pid"])
    expect_equal(back.events[-1][0], "joined", "last ioctl")


def many_connects(machine: Machine) -> None:
    """A hundred guests one after the other; nothing is left of them."""
    back = kernel(machine)
    path = serve(machine)
    pid = machine.pid("vm1")
    count = fd_count(pid)
    for number in range(100):
        peer = Peer(path, join=number % 3 != 0)
        peer.close()
    wait_for("the last", lambda: back.events[-1][0] == "gone"
             and len(back.events) == 201)
    wait_for("files closed", lambda: fd_count(pid) <= count)
    expect_equal([e[0] for e in back.events[1:]], ["joined", "gone"] * 100)


def crowd(machine: Machine) -> str:
    """A thousand that connect at once and never read: the server opens no more
    files for them, and the next one gets in when they have gone."""
    kernel(machine)
    path = serve(machine)
    pid = machine.pid("vm1")
    count = fd_count(pid)
    inside: list[socket.socket] = []
    for _ in range(1000):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM
                             | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(path))
            inside.append(sock)
        except BlockingIOError:
            sock.close()
    time.sleep(0.5)
    expect(fd_count(pid) <= count + 16, f"{fd_count(pid)} files are open")
    for sock in inside:
        sock.close()
    wait_for("room", lambda: can_join(path))
    return f"{len(inside)} connected"


def can_join(path: Path) -> bool:
    """Is there room for one more, and does it get in?"""
    try:
        Peer(path).close()
    except BlockingIOError:
        return False
    return True


def users(machine: Machine) -> None:
    """Who may connect, and to whom the sockets belong."""
    kernel(machine)
    connect = ("import socket, sys; s = socket.socket(socket.AF_UNIX)\n"
               "s.connect(sys.argv[1]); sys.exit(9 if any(s.recv(8)) else 0)")

    def rc(path: Path, user: int, group: int, extra: list[int]) -> int:
        return subprocess.run(["/usr/bin/python3", "-c", connect, str(path)],
                              user=user, group=group, extra_groups=extra,
                              stderr=subprocess.DEVNULL, check=False).returncode

    machine.run_dir.mkdir(mode=0o755)
    path = serve(machine, "--user", str(NOBODY))
    expect_equal((path.stat().st_mode & 0o777, path.stat().st_uid),
                 (0o600, NOBODY), "mode and owner")
    expect_equal(rc(path, NOBODY, NOBODY, []), 0, "the user")
    path.chmod(0o666)
    expect_equal(rc(path, 4242, 4242, []), 9, "a stranger")
    path = serve(machine, "--group", "4343", vm="vm2")
    expect_equal((path.stat().st_mode & 0o777, path.stat().st_gid),
                 (0o660, 4343), "mode and group")
    expect_equal(rc(path, 4242, 4343, []), 0, "the group")
    path.chmod(0o666)
    expect_equal(rc(path, 4242, 4242, [4343]), 0, "one more group")
    expect_equal(rc(path, 4242, 4242, [1]), 9, "a stranger")
    path = serve(machine, vm="vm3")
    expect_equal(path.stat().st_mode & 0o777, 0o600, "mode")


def sockets(machine: Machine) -> None:
    """Sockets of one's own choice, and ones that are taken."""
    back = kernel(machine)
    path = machine.dir / "here"
    serve(machine, "--socket", "here")
    Peer(path)
    words = machine("qemu-args", "vm1").out
    expect(f"path={path}," in words, words)
    for args, words in ((["vm1"], ["vm1 is served already", "usbctl drop vm1"]),
                        (["vm2", "--socket", str(path)],
                         ["another program listens", "--socket"]),
                        (["vm2", "--socket", "/dev/null"], ["no socket"]),
                        (["vm2", "--socket", "/" + 120 * "x"], ["too long"])):
        result = machine("serve", *args)
        expect(result.rc in (2, 6), f"exit code {result.rc}: {result.err}")
        for word in words:
            expect(word in result.err, result.err)
        expect_equal(len(result.err.splitlines()), 1, result.err)
    # Who looks whether a socket is in use joins for a moment.
    wait_for("nobody", lambda: [what for what, vm, _ in back.events
                                if vm == "vm1"][-1] == "gone")
    pid = machine.pid("vm1")
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not is_alive(pid))
    serve(machine, "--socket", str(path))
    result = machine("serve", "vm4", "--hugepages", "--size", "1M")
    expect_equal(result.rc, 1)
    expect("huge pages" in result.err, result.err)


def notify(machine: Machine) -> None:
    """systemd is told when it is ready."""
    kernel(machine)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = machine.dir / "notify"
        listener.bind(str(path))
        listener.settimeout(10 * fake.SCALE)
        with machine.usbctl_popen("serve", "vm1", "--foreground",
                                  NOTIFY_SOCKET=str(path)) as server:
            expect_equal(listener.recv(100), b"READY=1")
            expect((machine.run_dir / "vm1.sock").exists(), "not ready")
            server.send_signal(signal.SIGINT)
            expect_equal(server.wait(10), 0, "exit code")


def adopts(machine: Machine) -> None:
    """A server that died, with and without a chance to say so."""
    back = kernel(machine)
    path = serve(machine)
    with other_process(f"""
peer = fake.Peer({str(path)!r})
print(peer.id == 0, flush=True)
sys.stdin.read()
""") as qemu:
        assert qemu.stdout and qemu.stdin
        expect_equal(qemu.stdout.readline(), "True\n")
        wait_for("joined", lambda: described(machine)["guest"]["pid"])
        for number in (signal.SIGKILL, signal.SIGTERM):
            pid = machine.pid("vm1")
            os.kill(pid, number)
            wait_for("its end", lambda: not is_alive(pid))
            expect("usbctl serve vm1" in machine("status", "vm1").out,
                   "no hint in status")
            serve(machine, says=f"process {qemu.pid}) joined an earlier server")
            expect(described(machine)["adopted"], "not adopted")
            expect_equal(described(machine)["guest"]["pid"], qemu.pid)
            expect("joined before this server" in machine("status").out, "no hint")
            expect(Peer(path, join=False).is_refused(), "a second one was let in")
        expect_equal([e[0] for e in back.events], ["create", "joined"], "ioctls")
        qemu.kill()
    wait_for("gone", lambda: back.events[-1] == ("gone", "vm1", qemu.pid))
    peer = Peer(path)
    expect(os.path.sameopenfile(peer.memory, back.channels["vm1"].fds[0]),
           "not the same memory")
    peer.close()


def adopts_dead(machine: Machine) -> None:
    """The guest died while nobody served it; its number has a new owner."""
    back = kernel(machine)
    serve(machine)
    pid = machine.pid("vm1")
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not is_alive(pid))
    channel = back.channels["vm1"]
    channel.pid, channel.start_time = os.getpid(), 1
    serve(machine, says="has ended while nobody served it")
    expect_equal(back.events[-1], ("gone", "vm1", os.getpid()), "last ioctl")
    expect(not described(machine)["adopted"], "adopted a stranger")


def reload_module(machine: Machine) -> None:
    """usbback is removed and comes back: channel, guest and rules too."""
    kernel(machine)
    machine.device("1-1")
    path = serve(machine)
    machine("attach", "1-1", "vm1")
    machine("attach", "1-2", "vm1:0:7")
    machine("attach", "1-3", "vm2")
    peer = Peer(path)
    wait_for("joined", lambda: described(machine)["guest"]["pid"])
    for _ in range(3):
        machine.unload()
        time.sleep(0.1)
        back = machine.load()
        wait_for("rules", lambda: len(machine.rules) == 2)
        expect_equal({busid: rule[0] for busid, rule in machine.rules.items()},
                     {"1-1": "vm1:0:1", "1-2": "vm1:0:7"}, "rules")
        expect_equal(back.events, [("create", "vm1", os.getpid()),
                                   ("joined", "vm1", os.getpid())], "ioctls")
        mine = back.channels["vm1"].fds
        expect(os.path.sameopenfile(mine[0], peer.memory), "not the same memory")
        peer.ring()
        expect_equal(os.eventfd_read(mine[1]), 1, "doorbell")
    peer.close()
    wait_for("gone", lambda: back.events[-1][0] == "gone")
    machine.unload()
    expect(is_alive(machine.pid("vm1")), "the server has ended")


def reload_without_server(machine: Machine) -> None:
    """usbback is removed and comes back while nobody serves the guest: the next server
    gets memory and doorbells from the guest's QEMU."""
    kernel(machine)
    path = serve(machine)
    with other_process(f"""
peer = fake.Peer({str(path)!r})
print(peer.id == 0, flush=True)
for line in sys.stdin:
    print(peer.rung(), flush=True)
    peer.ring()
""") as qemu:
        assert qemu.stdout and qemu.stdin
        expect_equal(qemu.stdout.readline(), "True\n")
        wait_for("joined", lambda: described(machine)["guest"]["pid"])
        for rule in (("1-2", "vm1:0:7"), ("1-3", "vm2:0:1")):
            machine("attach", *rule)
        look(machine)
        wait_for("rules", lambda: described(machine)["rules"] == ["1-2:vm1:0:7"])
        for number in (signal.SIGKILL, signal.SIGTERM):
            pid = machine.pid("vm1")
            os.kill(pid, number)
            wait_for("its end", lambda: not is_alive(pid))
            machine.unload()
            back = machine.load()
            serve(machine, says="joined an earlier server")
            expect_equal(back.events, [("create", "vm1", qemu.pid),
                                       ("joined", "vm1", qemu.pid)], "ioctls")
            wait_for("rules", lambda: machine.rules)
            expect_equal([busid + ":" + rule[0] for busid, rule in machine.rules.items()],
                         ["1-2:vm1:0:7"], "rules")
            mine = back.channels["vm1"].fds
            os.eventfd_write(mine[2], 1)
            qemu.stdin.write("\n")
            qemu.stdin.flush()
            expect_equal(qemu.stdout.readline(), "True\n", "doorbell to the guest")
            wait_for("doorbell", lambda: rung(mine[1]))
    wait_for("gone", lambda: back.events[-1] == ("gone", "vm1", qemu.pid))


def rung(bell: int) -> bool:
    """Has it been, since it was last asked?"""
    try:
        return bool(os.eventfd_read(bell))
    except BlockingIOError:
        return False


def rules_without_guest(machine: Machine) -> None:
    """The same without a guest: the rules are there again, once, and hold for the next.
    So do limits that are kept."""
    (machine.conf / "limits").write_text("vm10 kib=1\nvm1 requests=8\n", "ascii")
    kernel(machine)
    serve(machine)
    machine("attach", "1-2", "vm1:0:7")
    look(machine)
    wait_for("rules", lambda: described(machine)["rules"] == ["1-2:vm1:0:7"])
    for is_reloaded, end in ((True, signal.SIGKILL), (False, signal.SIGKILL),
                             (True, signal.SIGTERM), (False, signal.SIGTERM)):
        pid = machine.pid("vm1")
        os.kill(pid, end)
        wait_for("its end", lambda: not is_alive(pid))
        if is_reloaded:
            machine.unload()
            machine.load()
        machine.writes.clear()
        serve(machine, says="rule 1-2:vm1:0:7 restored" if is_reloaded else "")
        expect_equal([text for _, text in machine.writes],
                     ["vm1 requests=8", "1-2:vm1:0:7"] if is_reloaded else [], "written")
    Peer(machine.run_dir / "vm1.sock")


def rules_changed(machine: Machine) -> None:
    """What is changed while nobody serves the guest is not undone by the next server."""
    kernel(machine)
    for vm in ("vm1", "vm2"):
        serve(machine, vm=vm)
    for busid in ("1-2", "1-3", "1-4"):
        machine("attach", busid, f"vm1:0:{busid[-1]}")
    look(machine)
    wait_for("rules", lambda: len(described(machine)["rules"]) == 3)
    pid = machine.pid("vm1")
    os.kill(pid, signal.SIGTERM)
    wait_for("its end", lambda: not is_alive(pid))
    expect_equal(machine("detach", "1-2").rc, 0, "exit code")
    expect_equal(machine("move", "1-3", "vm2").rc, 0, "exit code")
    machine.unload()
    machine.load()
    serve(machine, says="rule 1-4:vm1:0:4 restored")
    expect_equal(sorted(machine.rules)[-1:], ["1-4"], "rules")
    expect("1-2" not in machine.rules, "a rule that was removed is back")
    expect(machine.rules.get("1-3", ["vm2"])[0].startswith("vm2"),
           "a rule that was moved is back where it was")


def stops(machine: Machine) -> None:
    """drop and --stop end server and channel; SIGTERM only the server."""
    back = kernel(machine)
    for words in (("drop", "vm1"), ("serve", "vm1", "--stop")):
        path = serve(machine)
        pid = machine.pid("vm1")
        expect_equal(machine(*words).rc, 0, "exit code")
        expect(not is_alive(pid), "the server lives")
        expect_equal(back.channels, {}, "channels")
        expect(not path.exists() and not list(machine.run_dir.iterdir()),
               "files are left")
        expect_equal(machine(*words).rc, 5, "exit code of a second one")
    serve(machine)
    os.kill(machine.pid("vm1"), signal.SIGTERM)
    wait_for("its end", lambda: not (machine.run_dir / "vm1.sock").exists())
    expect_equal(list(back.channels), ["vm1"], "channels")
    expect_equal(machine("drop", "vm1").rc, 0, "exit code")


def failures(machine: Machine) -> None:
    """The kernel says no."""
    back = kernel(machine)
    for error, words in ((12, "smaller --size"), (22, "dmesg"),
                         (16, "usbctl drop")):
        back.refuse["create"] = error
        result = machine("serve", "vm1")
        expect_equal(result.rc, 6 if error == 16 else 1, "exit code")
        expect(words in result.err, result.err)
    back.refuse.clear()
    serve(machine)


CASES = {"handshake": handshake, "guest after guest": again,
         "H77 a second client": second_client,
         "H77 a second client is told of": second_message,
         "H77 garbage": bad_clients, "H77 stalled client": stalled_client,
         "H77 slow client": slow_client,
         "H78 100 clients": many_connects, "H78 1000 at once": crowd,
         "H79 users and groups": users,
         "sockets": sockets, "readiness": notify,
         "F48 server dies and comes back": adopts,
         "guest dies without server": adopts_dead,
         "usbback is removed and comes back": reload_module,
         "usbback comes back without a server": reload_without_server,
         "rules come back without a server": rules_without_guest,
         "rules are changed without a server": rules_changed,
         "stop": stops, "usbback refuses": failures}


if __name__ == "__main__":
    run_cases(CASES)
