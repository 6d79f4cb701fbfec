#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbctl with the real modules, in one guest: what it does to them by ioctl and
sysfs, and what it says of real devices."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import tap  # noqa: E402
from gadget import Dummies, Gadget, child_node, load_drivers  # noqa: E402
from tap import expect, expect_equal  # noqa: E402
from usbif import Backend  # noqa: E402
from vm import VM, Job  # noqa: E402

PEER = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import fake
peer = fake.Peer("/run/usbif/vm1.sock")
print("joined", peer.read(0, 4), flush=True)
while sys.stdin.readline():
    print("rung", peer.rung(), flush=True)
"""


class Host:
    """A machine with modules and devices."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.back = Backend(vm)
        load_drivers(vm)
        self.back.load()
        vm.put("/tmp/peer.py", PEER.encode())
        vm.run("truncate -s 16M /tmp/disk && mkfs.ext4 -q /tmp/disk")
        self.dummies = Dummies(vm, 2)
        self.disk: Gadget = self.dummies.mass_storage("stick", "/tmp/disk")
        self.busid = self.disk.busid()

    def usbctl(self, words: str, rc: int = 0) -> str:
        """Runs it."""
        result = self.vm.run(f"usbctl {words}", check=False)
        expect_equal(result.rc, rc, f"usbctl {words}: {result.out!r}")
        return result.out

    def json(self, words: str) -> Any:
        """What it prints with --json."""
        return json.loads(self.usbctl(words + " --json"))

    def state(self) -> str:
        """Of the stick's rule."""
        rows = [r for r in self.json("status")["vports"]
                if r["busid"] == self.busid]
        return str(rows[0]["state"]) if rows else ""

    def peer(self) -> Job:
        """A program in place of QEMU."""
        job = self.vm.spawn("exec /usr/bin/python3 /tmp/peer.py", stdin=True)
        job.wait_output("joined b'UIFI'", 20)
        return job

    def channel(self) -> Any:
        """Of vm1."""
        rows = [c for c in self.json("status")["channels"] if c["vm"] == "vm1"]
        return rows[0] if rows else None

    def wait_channel(self, **wanted: Any) -> None:
        """Until it is like that."""
        for _ in range(100):
            channel = self.channel()
            if all(channel[k] == v for k, v in wanted.items()):
                return
            self.vm.run("sleep 0.1")
        raise AssertionError(f"{channel} never had {wanted}")

    def wait_gone(self, pid: str) -> None:
        """Until a process has ended."""
        self.vm.wait_for(f"! kill -0 {pid}")

    def drop(self) -> None:
        """Nothing is left of vm1."""
        self.usbctl("drop vm1")
        expect_equal(self.channel(), None, "channel")

    def clean(self) -> None:
        """Whatever the last case has left."""
        self.vm.run("pkill -9 -f '[p]eer.py'; for vm in vm1 vm2 here; do usbctl drop $vm; "
                    "done; for b in $(usbctl status --rules); do "
                    "usbctl detach ${b%%:*}; done; true")


def loop(host: Host) -> None:
    """Both modules joined and parted."""
    host.vm.run(f"insmod {host.back.modules}/usbfront.ko")
    for size in ("1M", "16M", "64M"):
        host.usbctl(f"loop here --size {size}")
        host.vm.wait_for("usbctl status here | grep -q running")
        host.usbctl("loop here", 6)
        host.usbctl("drop here")
        host.usbctl("status here", 5)
    host.vm.run("sysctl -q vm.nr_hugepages=8")
    host.usbctl("loop here --size 16M --hugepages")
    host.vm.wait_for("usbctl status here | grep -q running")
    host.usbctl("loop there --size 16M --hugepages", 1)
    host.usbctl("drop here")
    host.vm.run("sysctl -q vm.nr_hugepages=0; rmmod usbfront")


def serve(host: Host) -> None:
    """A guest joins and goes; a server dies and is followed by another."""
    host.usbctl("serve vm1")
    channel = host.channel()
    expect_equal((channel["kind"], channel["state"], channel["pid"]),
                 ("fd", "idle", 0), "channel")
    expect("usbctl qemu-args vm1" in host.usbctl("status"), "no hint")
    peer = host.peer()
    pid = int(host.vm.run("pgrep -f '[p]eer.py'").out.split()[0])
    host.wait_channel(pid=pid)
    expect("vm1 is served already" in host.usbctl("serve vm1", 6), "no reason")
    server = host.vm.run("cat /run/usbif/vm1.pid").out.strip()
    host.vm.run(f"kill -9 {server}")
    host.wait_gone(server)
    expect_equal(host.channel()["pid"], pid, "pid without server")
    expect("nobody serves it" in host.usbctl("status"), "no hint")
    host.usbctl("serve vm1")
    expect("joined before this server" in host.usbctl("status"), "no hint")
    peer.kill(9)
    peer.wait(10)
    host.wait_channel(pid=0)
    host.peer().kill(9)
    host.wait_channel(pid=0)
    host.drop()


def rules(host: Host) -> None:
    """A real device: attach, move, detach, and what the host does with it."""
    row = next(r for r in host.json("list") if r["busid"] == host.busid)
    expect_equal((row["id"], row["name"], row["driver"], row["speed"]),
                 ("0525:a4a5", "usbif usbif test stick", "usb-storage", "480"))
    node = "/dev/" + child_node(host.vm, host.busid, "block/sd?")
    said = host.usbctl(f"attach {host.busid} vm1")
    expect("usbctl serve vm1" in said, said)
    host.vm.wait_for(f"! test -e {node}")
    expect("vm1:0:1 (waiting-guest)" in host.usbctl("list"), "list")
    host.usbctl(f"attach {host.busid} vm2", 6)
    host.usbctl(f"move {host.busid} vm2:1:4")
    expect("vm2:1:4" in host.usbctl("status vm2"), "status")
    host.usbctl("detach vm2:1:4")
    host.vm.wait_for(f"test -e {node}")
    host.usbctl(f"detach {host.busid}", 5)


def in_use(host: Host) -> None:
    """A mounted stick."""
    node = "/dev/" + child_node(host.vm, host.busid, "block/sd?")
    host.vm.run(f"mkdir -p /tmp/mnt && mount {node} /tmp/mnt")
    try:
        said = host.usbctl(f"attach {host.busid} vm1", 6)
        expect(f"{node} is mounted on /tmp/mnt" in said
               and "--force" in said, said)
        expect_equal(len(said.splitlines()), 1, said)
        expect_equal(host.state(), "", "rule")
    finally:
        host.vm.run("umount /tmp/mnt")
    host.usbctl(f"attach {host.busid} vm1")
    host.usbctl(f"detach {host.busid}")


def reload_module(host: Host) -> None:
    """usbback is removed and loaded again under a server and a guest."""
    host.usbctl("serve vm1")
    peer = host.peer()
    host.usbctl(f"attach {host.busid} vm1:0:3")
    host.usbctl("attach 9-1 vm1:0:4")
    host.usbctl("attach 9-2 vm2")
    for _ in range(3):
        host.back.unload()
        expect("modprobe usbback" in host.usbctl("attach 9-3 vm1", 3), "reason")
        host.back.load()
        host.vm.wait_for("usbctl status vm1 | grep -q 9-1")
        expect_equal(host.usbctl("status --rules").split(),
                     [f"{host.busid}:vm1:0:3", "9-1:vm1:0:4"], "rules")
        pid = int(host.vm.run("pgrep -f '[p]eer.py'").out.split()[0])
        host.wait_channel(pid=pid)
    peer.kill(9)
    host.wait_channel(pid=0)
    host.drop()
    host.usbctl("detach 9-1")
    host.usbctl(f"detach {host.busid}")


def stopped(host: Host) -> None:
    """SIGTERM leaves the channel, drop ends it, rmmod ends all."""
    host.usbctl("serve vm1 --size 1M")
    server = host.vm.run("cat /run/usbif/vm1.pid").out.strip()
    host.vm.run(f"kill {server}")
    host.wait_gone(server)
    expect(host.channel(), "the channel has gone with the server")
    host.usbctl("serve vm1 --size 2M")
    host.usbctl("serve vm2 --size 1M")
    host.back.unload()
    host.usbctl("status", 0)
    host.usbctl("drop vm1")
    host.usbctl("drop vm2")
    host.usbctl("status", 3)
    host.back.load()


def opened(host: Host) -> None:
    """A stick that a program has open."""
    node = "/dev/" + child_node(host.vm, host.busid, "block/sd?")
    job = host.vm.spawn(f"exec sh -c 'exec 3>{node}; echo open; cat' ", stdin=True)
    job.wait_output("open", 10)
    try:
        said = host.usbctl(f"attach {host.busid} vm1", 6)
        expect("in use by the host" in said, said)
        expect_equal(host.state(), "", "rule")
    finally:
        job.close_input()
        job.wait(10)
    host.usbctl(f"attach {host.busid} vm1")
    host.usbctl(f"detach {host.busid}")


SHELL = """
i=0
while [ $((i += 1)) -le 2 ]; do
    busid=$(echo %(busid)s 9-1 9-2 9-3 | cut -d' ' -f$((1 + ($1 + i) %% 4)))
    for words in "attach $busid vm1:0:$((1 + $1 %% 5))" "detach $busid"; do
        said=$(usbctl $words 2>&1) || echo "$? $said"
    done
done
"""


def shells(host: Host) -> str:
    """16 at once: each rule is there or not, no port twice, and afterwards all is as if
    one had done it."""
    host.vm.put("/tmp/shell", (SHELL % {"busid": host.busid}).encode())
    out = host.vm.run("for n in $(seq 16); do sh /tmp/shell $n & done; wait", 120).out
    for line in out.splitlines():
        # Taken, gone, or gone again before it was looked at.
        expect(line[:2] in ("6 ", "5 ") or line.endswith("the rule has gone; the end of "
                                                         "dmesg says why"), line)
    rules = [line.split(":", 1) for line in host.usbctl("status --rules").split()]
    for column in zip(*rules):
        expect_equal(len(set(column)), len(column), f"rows of {rules}")
    for busid, _ in rules:
        host.usbctl(f"detach {busid}")
    child_node(host.vm, host.busid, "block/sd?", 20)
    host.usbctl(f"attach {host.busid} vm1:0:5")
    expect_equal(host.state(), "waiting-guest", "state")
    host.usbctl(f"detach {host.busid}")
    return f"{len(out.splitlines())} of 64 refused"


CASES = {"loop": loop, "serve": serve, "rules": rules, "F52 mounted stick": in_use,
         "F52 opened stick": opened, "F51 16 shells": shells,
         "usbback is removed and loaded": reload_module, "the end": stopped}


def main() -> None:
    """All of it on each kernel."""
    with tap.Suite() as suite:
        for kernel in ("6.1", "6.12"):
            names = {f"{name} ({kernel})": case for name, case in CASES.items()}
            if not any(suite.wanted(name) for name in names):
                continue
            vm = VM("host", kernel=kernel, memory=768)
            with vm:
                host = Host(vm)
                for name, case in names.items():
                    suite.case(name, case, host)
                    host.clean()


if __name__ == "__main__":
    main()
