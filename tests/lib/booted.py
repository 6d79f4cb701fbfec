# SPDX-License-Identifier: GPL-2.0
"""systemd as process 1 of a part of a VM, with usbif's units as "make install" puts them.

    booted = Booted(vm)
    booted.enable("usbif@vm1")      # before it starts, as on a machine that is off
    booted.start()                  # to multi-user.target
    booted.run("systemctl kill -s KILL usbif@vm1")
    booted.show("usbif@vm1", "MainPID")

The agent of the VM stays its process 1; systemd has namespaces of processes and mounts
and the cgroups, and /tmp, /run, /dev, /sys in common with everything else. It knows of
these units and the targets only, not of what else the machine has installed.
"""

from __future__ import annotations

import shlex
import subprocess

from cache import TREE
from tap import expect_equal
from vm import VM, Job, Result

BOOT = "/tmp/boot"
UNITS = "/usr/lib/systemd/system"
START = f"""
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=usbif SYSTEMD_UNIT_PATH={BOOT}/etc/systemd/system:{BOOT}{UNITS}
exec /lib/systemd/systemd --system --unit=multi-user.target --show-status=no \\
    --log-target=kmsg --log-level=notice
"""


class Booted:
    """The part of the VM that systemd has."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.pid = 0
        self.job: Job | None = None
        root = vm.share / "root"
        subprocess.run(["make", "-s", "-C", str(TREE / "tools"), "install",
                        f"DESTDIR={root}", "PREFIX=/usr", f"UNITDIR={UNITS}"],
                       check=True, timeout=300)
        # Without a machine ID systemd would take it for a first boot.
        vm.run(f"cp -r /share/root/usr/. /usr && mkdir -p {BOOT}{UNITS} /etc/usbif && "
               f"cp -L {UNITS}/*.target {UNITS}/usbif* {BOOT}{UNITS} && "
               "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")

    def enable(self, *units: str) -> None:
        """So that they start at boot."""
        self.vm.run(f"systemctl --root={BOOT} enable {' '.join(units)}")

    def start(self) -> None:
        """To the end of booting."""
        self.vm.put("/tmp/start-systemd", START.encode())
        self.job = self.vm.spawn("exec unshare --pid --fork --mount --mount-proc "
                                 "sh /tmp/start-systemd")
        self.pid = int(self.vm.wait_for("pgrep -f '^/lib/systemd/systemd --system'",
                                        10).out.split()[0])
        # "degraded", if a unit has failed, is an end as well.
        self.wait("case $(systemctl is-system-running) in running | degraded) ;; "
                  "*) false;; esac", 60)

    def inside(self, cmd: str) -> str:
        """A command for the VM that runs this one there."""
        return f"nsenter -t {self.pid} -m -p sh -c {shlex.quote(cmd)}"

    def run(self, cmd: str, rc: int | None = 0, timeout: float = 30) -> Result:
        """Runs a command there."""
        result = self.vm.run(self.inside(cmd), timeout, check=False)
        if rc is not None:
            expect_equal(result.rc, rc, f"{cmd}: {result.out!r}")
        return result

    def wait(self, cmd: str, timeout: float = 20) -> Result:
        """Until the command succeeds."""
        return self.vm.wait_for(self.inside(cmd), timeout)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show -P {name} {unit}").out.strip()
