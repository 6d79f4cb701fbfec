#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Faults of server and commands by number, on a made-up machine: what is removed, full
or used up, files that are wrong, many shells at once. With the real modules they are in
test_modules and test_units."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import tap  # noqa: E402
from fake import Machine, Peer, Result, wait_for  # noqa: E402
from serving import is_alive, kernel, run_cases, serve  # noqa: E402
from tap import expect, expect_equal  # noqa: E402

SHELLS = 16
ROUNDS = tap.scaled(3, 12)


def limited(machine: Machine, kind: int, value: int, *words: str) -> Result:
    """Runs usbctl with a limit; what goes beyond it is an error, not the end."""
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(kind, (value, value))

    done = subprocess.run([str(machine.usbctl), *words], env=machine.env, text=True,
                          preexec_fn=limit, restore_signals=False, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def expect_refused(machine: Machine, result: Result, *words: str) -> None:
    """One line, exit code 1, and nothing is left but the file of the lock."""
    expect_equal((result.rc, result.out), (1, ""), f"exit code ({result.err!r})")
    expect_equal(len(result.err.splitlines()), 1, f"lines in {result.err!r}")
    for word in words:
        expect(word in result.err, result.err)
    expect_nothing(machine)


def expect_nothing(machine: Machine) -> None:
    """No channel, server or file but that of the lock."""
    left = [path.name for path in machine.run_dir.iterdir() if path.suffix != ".pid"]
    expect_equal((left, list(machine.modules["usbback"].channels)), ([], []),
                 "files and channels that are left")


def socket_removed(machine: Machine) -> None:
    """Status says so and what to do; that is done, and the guest goes on meanwhile."""
    back = kernel(machine)
    path = serve(machine)
    peer = Peer(path)
    wait_for("joined", lambda: machine.json("status")["servers"][0]["guest"]["pid"])
    path.unlink()
    pid = machine.pid("vm1")
    for said in (machine("status").out, machine.json("status")["channels"][0]["hint"]):
        expect(f"{path} was removed" in said and f"kill {pid}, then usbctl serve vm1" in said,
               said)
    os.kill(pid, signal.SIGTERM)
    wait_for("its end", lambda: not is_alive(pid))
    serve(machine, says="joined an earlier server")
    expect("was removed" not in machine("status").out, "status says so still")
    expect(path.exists(), "no socket")
    peer.ring()
    expect_equal(os.eventfd_read(back.channels["vm1"].fds[1]), 1, "doorbell")
    expect_equal([e[0] for e in back.events], ["create", "joined"], "ioctls")


def driver_socket_removed(machine: Machine) -> None:
    """The same for that of a driver VM."""
    path = machine.dir / "driver.sock"
    serve(machine, "--backend-socket", str(path))
    path.unlink()
    expect(f"{path} was removed" in machine("status").out, "status does not say so")


def disk_full(machine: Machine) -> None:
    """At each of the files that a server needs, then with room again."""
    kernel(machine)
    machine.run_dir.mkdir()
    result = limited(machine, resource.RLIMIT_FSIZE, 0, "serve", "vm1")
    expect_refused(machine, result, "cannot write", "vm1.pid")
    result = limited(machine, resource.RLIMIT_FSIZE, 4096, "serve", "vm1")
    expect_refused(machine, result, "shared memory")
    result = machine("serve", "vm1", FAKE_FULL=str(machine.run_dir))
    expect_refused(machine, result, f"cannot write to {machine.run_dir}", "No space left")
    Peer(serve(machine))


def rules_full(machine: Machine) -> None:
    """A rule that can't be kept: it is said, the file is as it was."""
    kernel(machine)
    rules = machine.conf / "rules"
    rules.write_text("1-1:vm1:0:1\n", "ascii")
    result = machine("attach", "1-2", "vm1:0:2", "--persist",
                     FAKE_FULL=str(machine.conf))
    expect_equal((result.rc, len(result.err.splitlines())), (1, 1), result.err)
    expect("1-2 could not be kept" in result.err and "No space left" in result.err,
           result.err)
    expect_equal([path.name for path in machine.conf.iterdir()], ["rules"], "files")
    expect_equal(rules.read_text("ascii"), "1-1:vm1:0:1\n", "rules")
    expect_equal(machine("attach", "1-2", "vm1:0:2", "--persist").rc, 0, "again")
    expect_equal(rules.read_text("ascii"), "1-1:vm1:0:1\n1-2:vm1:0:2\n", "rules")


def too_few_files(machine: Machine) -> str:
    """A server with any number of descriptors: it serves or leaves nothing."""
    kernel(machine)
    machine.run_dir.mkdir()
    refused = 0
    for number in range(4, 40):
        result = limited(machine, resource.RLIMIT_NOFILE, number, "serve", "vm1")
        if not result.rc:
            break
        # The loader needs some itself, and says so in its own words.
        if result.rc != 127:
            expect_refused(machine, result)
            refused += 1
    expect(refused > 3, f"refused only {refused} times")
    expect_equal((result.rc, result.err), (0, ""), "with 40 descriptors")
    expect_equal(machine("drop", "vm1").rc, 0, "exit code of drop")
    return f"serves with {number}"


def cpu_ticks(pid: int) -> int:
    """Time that a process has had."""
    stat = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def no_more_files(machine: Machine) -> None:
    """A server that has used up its descriptors says so once, does not spin, and lets
    the guest that waits in when there are some again."""
    back = kernel(machine)
    with machine.usbctl_popen("serve", "vm1", "--foreground") as server:
        path = machine.run_dir / "vm1.sock"
        wait_for("description", (machine.run_dir / "vm1.json").exists)
        count = len(os.listdir(f"/proc/{server.pid}/fd"))
        for number in (count, count + 2):
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (number, 4096))
            peer = Peer(path, join=False)
            time.sleep(0.2)
            ticks = cpu_ticks(server.pid)
            time.sleep(1.5)
            expect(cpu_ticks(server.pid) - ticks < 20, "it spins")
            expect(peer.is_quiet(), "the guest was told something")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4096, 4096))
            peer.join()
            peer.close()
            wait_for("gone", lambda: back.events[-1][0] == "gone")
        server.terminate()
        said = server.stderr.read() if server.stderr else ""
        expect_equal(server.wait(10), 0, "exit code")
    expect_equal([e[0] for e in back.events], ["create"] + ["joined", "gone"] * 2, "ioctls")
    expect_equal(said.count("nobody can join: Too many open files"), 2, said)


def restore_fails(machine: Machine) -> None:
    """Lines that are wrong, in the midst of others, and a file that can't be read: each
    is named, what was in force stays, and what is right is applied."""
    kernel(machine)
    machine("attach", "1-1", "vm1:0:1")
    (machine.conf / "rules").write_text("1-2:vm1:0:2\n1-3:vm1:0\n1-4:vm1:0:1\n1-1:vm1:0:4\n1-5:vm1:0:5\n",
                                        "ascii")
    (machine.conf / "limits").write_text("vm1 requests=many\nvm1 requests=7\n", "ascii")
    (machine.conf / "channels").mkdir()
    result = machine("restore")
    said = result.err.splitlines()
    expect_equal((result.rc, len(said)), (1, 5), f"exit code and lines in {result.err!r}")
    for line, words in zip(said, (("cannot read", "channels"), ('"1-3:vm1:0" is not',),
                                  ("belongs to 1-1",),
                                  ("1-1 already goes to vm1:0:1",), ("requests=many",))):
        for word in words:
            expect(word in line, f"{word!r} is not in {line!r}")
    expect("0 channel names, 2 rules, limits of 1 guests" in result.out, result.out)
    expect_equal({busid: rule[0] for busid, rule in machine.rules.items()},
                 {"1-1": "vm1:0:1", "1-2": "vm1:0:2", "1-5": "vm1:0:5"}, "rules")
    expect_equal(machine.limits, {"vm1": "requests=7"}, "limits")


def shells(machine: Machine) -> str:
    """16 at once change the same four rules and keep them: one after the other, and at the
    end the file says what usbback has."""
    kernel(machine)
    rules = machine.conf / "rules"
    rules.write_text("# mine\n9-9:vm9:0:1 # stays\n", "ascii")

    def shell(number: int) -> list[tuple[str, Result]]:
        done = []
        for step in range(ROUNDS):
            busid = f"1-{1 + (number + step) % 4}"
            if (number * 7 + step) % 3:
                words = ("attach", busid, f"vm1:0:{1 + number % 5}", "--persist")
            else:
                words = ("detach", busid, "--persist")
            done.append((words[0], machine(*words, timeout=60)))
        return done

    with ThreadPoolExecutor(SHELLS) as pool:
        results = [result for part in pool.map(shell, range(SHELLS)) for result in part]
    for name, result in results:
        expect(result.rc in ((0, 6) if name == "attach" else (0, 5)),
               f"{name}: {result.rc}, {result.err}")
    kept = [line for line in rules.read_text("ascii").splitlines()
            if not line.startswith(("#", "9-9"))]
    expect_equal(sorted(kept), sorted(f"{busid}:{rule[0]}"
                                      for busid, rule in machine.rules.items()), "kept")
    expect(rules.read_text("ascii").startswith("# mine\n9-9:vm9:0:1 # stays\n"),
           "other lines changed")
    good = sum(not result.rc for _, result in results)
    expect(good > SHELLS / 2, f"only {good} went well")
    return f"{good} of {len(results)} took effect"


CASES = {"F49 the socket is removed": socket_removed,
         "F49 the socket of a driver VM is removed": driver_socket_removed,
         "F49 disk full when a server starts": disk_full,
         "F49 disk full when a rule is kept": rules_full,
         "F49 too few descriptors": too_few_files,
         "F49 no more descriptors": no_more_files,
         "F50 restore fails half way": restore_fails,
         "F51 16 shells": shells}

if __name__ == "__main__":
    run_cases(CASES)
