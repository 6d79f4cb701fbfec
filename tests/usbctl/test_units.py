#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The units: a VM boots them with systemd, and servers die while a guest works.

The guest is this very kernel: a program joins the channel as QEMU does and gives its end
to usbfront."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import kernels  # noqa: E402
import tap  # noqa: E402
from booted import Booted  # noqa: E402
from cache import TREE  # noqa: E402
from gadget import Dummies, child_node, find_device, load_drivers  # noqa: E402
from tap import expect, expect_equal  # noqa: E402
from vm import VM, Job  # noqa: E402

UNIT = "usbif@vm1"
# What systemd-analyze says of each, 0 (best) to 10; printed by the case.
EXPOSURE = {"usbif@.service": 2.7, "usbif-restore.service": 1.6}
CAPABILITIES = "0000000000204000"
SIZE = 4 << 20
GUEST = f"""
import fcntl, os, sys
sys.path.insert(0, {str(HERE)!r})
import fake
peer = fake.Peer("/run/usbif/vm1.sock")
words = fake.CREATE.pack(fake.CREATE.size, 0, b"guest", peer.memory, peer.bells[0],
                         peer.bells[1], 0, 0, 0, 0, 0)
front = os.open("/dev/usbfront", os.O_RDWR)
fcntl.ioctl(front, fake._ioc(1, fake.CREATE.size), bytearray(words))
print("joined", flush=True)
sys.stdin.read()
fcntl.ioctl(front, fake._ioc(4, fake.DROP.size),
            bytearray(fake.DROP.pack(fake.DROP.size, 0, b"guest")))
"""
READ = """
for round in $(seq 100000); do
    dd if=$1 iflag=direct bs=256k count=16 2>/dev/null | cmp - /tmp/first || exit 1
    echo round $round
done
"""


class Host:
    """A machine with a stick and a guest, which systemd boots."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.modules = kernels.build(vm.kernel)
        load_drivers(vm)
        vm.put("/tmp/guest.py", GUEST.encode())
        vm.put("/tmp/read.sh", READ.encode())
        vm.run(f"head -c {SIZE} /dev/urandom > /tmp/first && cp /tmp/first /tmp/disk && "
               "truncate -s 16M /tmp/disk")
        self.disk = Dummies(vm, 2).mass_storage("stick", "/tmp/disk")
        self.busid = self.disk.busid()
        self.booted = Booted(vm)
        self.guest: Job | None = None
        # What modprobe does where the modules are installed.
        vm.put("/etc/modprobe.d/usbif.conf",
               f"install usbback /sbin/insmod {self.modules}/usbback.ko\n".encode())

    def virtual(self) -> str:
        """Bus ID of the stick as the guest has it."""
        return find_device(self.vm, "stick", 20, other_than=self.busid)

    def reload(self, start: str = "true") -> None:
        """usbback goes and comes back, and then the guest's stick, as another device."""
        path = f"/sys/bus/usb/devices/{self.virtual()}/devnum"
        old = self.vm.run(f"cat {path}").out.strip()
        self.booted.run(f"rmmod usbback && modprobe usbback && {start}")
        self.vm.wait_for(f"test $(cat {path}) != {old}", 30)

    def node(self) -> str:
        """The disk as the guest has it."""
        return "/dev/" + child_node(self.vm, self.virtual(), "block/sd?")

    def compare(self) -> None:
        """What the guest reads is what is there."""
        self.vm.run(f"dd if={self.node()} iflag=direct bs=256k count=16 2>/dev/null | "
                    "cmp - /tmp/first")

    def server(self) -> str:
        """Process number of the server, once there is one that is ready."""
        self.booted.wait(f"systemctl -q is-active {UNIT}")
        return self.booted.show(UNIT, "MainPID")

    def kill_server(self) -> None:
        """SIGKILL; systemd starts another."""
        old = self.server()
        self.booted.run(f"systemctl kill -s KILL {UNIT}")
        self.booted.wait(f"case $(systemctl show -P MainPID {UNIT}) in 0 | {old}) false;; "
                         f"esac && systemctl -q is-active {UNIT}")


def boots(host: Host) -> None:
    """Rules, limits and the channel are there, and the server has given up the rest."""
    host.vm.put("/etc/usbif/rules", f"{host.busid}:vm1:0:3 # a stick\n9-1:vm2:0:1\n".encode())
    host.vm.put("/etc/usbif/limits", b"vm1 requests=64\n")
    host.vm.put("/etc/usbif/vm1.conf", b"USBCTL_SERVE_OPTIONS='--size 2M'\n")
    host.booted.enable(UNIT, "usbif-restore")
    host.vm.run("! test -e /dev/usbback")
    host.booted.start()
    for unit in (UNIT, "usbif-restore"):
        expect_equal(host.booted.show(unit, "ActiveState"), "active", unit)
    expect_equal(host.booted.run("usbctl status --rules").out.split(),
                 [f"{host.busid}:vm1:0:3", "9-1:vm2:0:1"], "rules")
    expect("requests=64" in host.booted.run("usbctl limit vm1").out, "no limit")
    expect_equal(host.vm.run("stat -Lc %s /proc/$(pgrep -x usbctl)/fd/* | "
                             "grep -c '^2097152$'").out.strip(), "1", "files of 2 MiB")
    status = host.booted.run(f"cat /proc/{host.server()}/status").out
    found = dict(re.findall(r"^(CapEff|NoNewPrivs|Seccomp):\s(.*)$", status, re.M))
    expect_equal(found, {"CapEff": CAPABILITIES, "NoNewPrivs": "1", "Seccomp": "2"},
                 "status")


def server_killed(host: Host) -> str:
    """The guest reads on, and each server is followed by another."""
    host.vm.run(f"insmod {host.modules}/usbfront.ko")
    host.guest = host.vm.spawn(host.booted.inside("exec /usr/bin/python3 /tmp/guest.py"),
                               stdin=True)
    host.guest.wait_output("joined", 30)
    reader = host.vm.spawn(f"sh /tmp/read.sh {host.node()}")
    reader.wait_output("round 1\n", 30)
    times = tap.scaled(1, 5)
    for _ in range(times):
        host.kill_server()
        count = reader.output().count("round")
        reader.wait_output(rf"round {count + 2}\n", 60)
        expect("joined before this server" in host.booted.run("usbctl status").out,
               "status does not tell of the guest")
    expect_equal(reader.rc, None, f"the reader ended: {reader.output()[-200:]}")
    reader.kill()
    reader.wait(10)
    expect_equal(host.booted.show(UNIT, "NRestarts"), str(times), "restarts")
    return f"{reader.output().count('round')} times {SIZE >> 20} MiB read"


def reloaded(host: Host) -> None:
    """usbback goes and comes back: under a server that has adopted its guest, while
    systemd starts another, and while there is none."""
    host.reload()
    host.compare()
    host.booted.run(f"systemctl kill -s KILL {UNIT}")
    host.reload()
    host.compare()
    host.booted.run(f"systemctl stop {UNIT}")
    host.reload(f"systemctl start {UNIT}")
    host.compare()


def stopped(host: Host) -> None:
    """What systemctl does leaves the guest alone, but for its end."""
    for verb in ("stop", "start", "restart"):
        host.booted.run(f"systemctl {verb} {UNIT}")
        host.compare()
    assert host.guest
    host.guest.close_input()
    host.guest.wait(10)
    host.booted.wait(f"usbctl status | grep '^{host.busid} .*waiting-guest' || "
                     "{ usbctl status; false; }")


def restore_fails(host: Host) -> None:
    """A line that is refused: the unit has failed, the others hold."""
    host.vm.run("printf '9-1:vm2:0:1\\n9-2:vm2\\n9-3:vm2:0:3\\n' > /etc/usbif/rules")
    host.booted.run("systemctl restart usbif-restore", rc=1)
    expect_equal(host.booted.show("usbif-restore", "Result"), "exit-code", "result")
    expect_equal(host.booted.run("usbctl status --rules").out.split(),
                 [f"{host.busid}:vm1:0:3", "9-1:vm2:0:1", "9-3:vm2:0:3"], "rules")


def installed(directory: Path) -> Path:
    """The units as "make install" writes them, for programs that are here."""
    units = directory / "units"
    subprocess.run(["make", "-s", "-C", str(TREE / "tools"), "install",
                    f"PREFIX={directory}/usr", f"UNITDIR={units}",
                    f"SYSCONFDIR={directory}/etc"], check=True, timeout=300)
    return units


def verify() -> None:
    """systemd finds nothing to say of them."""
    with tempfile.TemporaryDirectory() as name:
        units = installed(Path(name))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                               *sorted(map(str, units.iterdir()))], text=True, timeout=60,
                              capture_output=True, check=False)
        expect_equal((done.returncode, done.stdout + done.stderr), (0, ""), "verify")


def exposure() -> str:
    """What systemd-analyze makes of what they give up."""
    said = []
    with tempfile.TemporaryDirectory() as name:
        units = installed(Path(name))
        for unit, most in EXPOSURE.items():
            done = subprocess.run(["systemd-analyze", "security", "--offline=yes",
                                   "--no-pager", str(units / unit)], text=True,
                                  timeout=60, capture_output=True, check=True)
            level = re.search(r"exposure level.*: ([\d.]+)", done.stdout)
            assert level, done.stdout
            expect(float(level[1]) <= most, f"{unit}: {level[1]}, was {most}")
            said.append(f"{unit} {level[1]}")
    return ", ".join(said)


CASES = {"boot: rules, limits, channel": boots,
         "F47 server killed, a guest reads": server_killed,
         "F48 usbback reloaded": reloaded,
         "F48 stop, start, restart, end of the guest": stopped,
         "F50 restore fails half way": restore_fails}


def main() -> None:
    """All of it in one VM."""
    with tap.Suite() as suite:
        suite.case("verify", verify)
        suite.case("exposure", exposure)
        for kernel in tap.some_kernels("6.1"):
            names = {f"{name} ({kernel})": case for name, case in CASES.items()}
            if not any(suite.wanted(name) for name in names):
                continue
            with VM("booted", kernel=kernel, memory=768) as vm:
                host = Host(vm)
                for name, case in names.items():
                    suite.case(name, case, host)


if __name__ == "__main__":
    main()
