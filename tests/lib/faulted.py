# SPDX-License-Identifier: GPL-2.0
"""Faults of a channel, and what must hold after one.

    bells = Bells(vm, "bells")  # joins both modules; its doorbells fail as told
    bells.tell("drop 50 50")
    idle(vm, "loop")            # nothing is in flight at either end, no memory in use
    agreed(vm, "loop")          # both ends agree on which devices there are
    settled(vm)                 # both, on all channels; settled(vm, "one", guest) between two
    tool("faulty")              # of tests/tools, with the headers that it has
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import tap
from cache import TREE, compile_tool
from vm import SCALE, VM

DEBUG = "/sys/kernel/debug"
VPORTS = "/sys/bus/usb/drivers/usbback/vports"
MAX_VUSB = 16
# Who a device says it is.
IDENTITY = "$(cat $d/idVendor $d/idProduct $d/serial 2>/dev/null | tr '\\n ' :_)"
# What usbback has given to a guest: state, port and who it is, a line for each rule.
GIVEN = (f"cd /sys/bus/usb/devices; while read -r rule state _; do d=${{rule%%:*}}; "
         f"echo $state ${{rule#*:}} {IDENTITY}; done < {VPORTS}")
# What there is on the root hubs of usbfront: number of the controller, port, who it is.
SEEN = ("cd /sys/bus/usb/devices; for d in [0-9]*-*; do case $d in *[:.]*) continue; esac; "
        "w=$(readlink -f $d) || continue; "
        "case $w in */usbfront.*) n=${w##*/usbfront.}; "
        f"echo ${{n%%/*}} ${{d#*-}} {IDENTITY};; esac; done")

# Interfaces there that usbhid has: a request is out for each one that is in use, as all
# keyboards are by the console.
POLLED = ("cd /sys/bus/usb/drivers/usbhid 2>/dev/null || exit 0; for i in [0-9]*:*; do "
          "case $(readlink -f $i) in */usbfront.*) echo $i;; esac; done")


class Bells:
    """A channel with doorbells that fail: tests/tools/bells.c."""

    def __init__(self, vm: VM, name: str) -> None:
        self.vm = vm
        self.name = name
        self.job = vm.spawn(f"exec {compile_tool('bells')} {name}",
                            stdin=True)
        self.job.wait_output("joined", 20)
        self.told = 0

    def tell(self, words: str, timeout: float = 30) -> tuple[int, int]:
        """A command; how many doorbells passed before it, and how many did not."""
        self.job.write(f"{words}\n".encode())
        self.told += 1
        found = self.job.wait_output(rf"(?s)(?:done.*?){{{self.told - 1}}}"
                                     r"done (\d+) (\d+)\n", timeout)
        return int(found[1]), int(found[2])

    def end(self) -> None:
        """Both sides end."""
        self.job.close_input()
        tap.expect_equal(self.job.wait(30), 0, self.job.output()[-200:])


def tool(name: str) -> Path:
    """A program of tests/tools that includes headers from there."""
    return compile_tool(name, watch=list((TREE / "tests/tools").glob("*.h")))


def idle(vm: VM, name: str, timeout: float = 20,
         guest: VM | None = None) -> None:
    """Wait until nothing is in flight on a channel: one of the loopback, or the
    only one of that guest."""
    back = f"{DEBUG}/usbback/{name}/channel"
    front = f"{DEBUG}/usbfront/{'*' if guest else name}"
    vm.wait_for(f"grep -q '^live 0 inflight 0 ' {back} || "
                f"{{ cat {back}; false; }}", timeout)
    (guest or vm).wait_for(
        f"grep -q '^requests: .* live 0 .* lost 0 ' {front} && "
        f"sed -n 's/^pool: blocks \\(.*\\) free/\\1/p' {front} | "
        "{ read -r all free; [ \"$all\" = \"$free\" ]; } && "
        f"! grep -qE '^port .* (ids|blocks) [1-9]' {front} || "
        f"{{ cat {front}; false; }}", timeout)


def agreed(vm: VM, name: str, timeout: float = 40, guest: VM | None = None) -> None:
    """Wait until both ends of a channel agree on which devices there are: at each port
    of the guest's root hubs is what usbback has attached there, and nothing else."""
    end = time.monotonic() + timeout * SCALE
    where = guest or vm
    index = where.run("sed -n 's/^channel \\([0-9]*\\) .*/\\1/p' "
                      f"{DEBUG}/usbfront/{'*' if guest else name}").out
    first = int(index) * MAX_VUSB
    while True:
        rules = re.findall(rf"^(\S+) {re.escape(name)}:(\d+):(\d+) (.*)$",
                           vm.run(GIVEN).out, re.M)
        given = {(int(vusb), int(port), identity)
                 for state, vusb, port, identity in rules if state == "attached"}
        seen = {(int(number) - first, int(port), identity)
                for number, port, identity
                in re.findall(r"^(\d+) (\d+) (.*)$", where.run(SEEN).out, re.M)
                if 0 <= int(number) - first < MAX_VUSB}
        if given == seen and not any(state == "resetting" for state, *_ in rules):
            return
        tap.expect(time.monotonic() < end, f"on {name} usbback has given away {given}, "
                   f"its guest sees {seen}; the rules: {rules}")
        time.sleep(0.2)


def settled(vm: VM, name: str = "", guest: VM | None = None) -> None:
    """What holds after each fault, on a channel as above; without a name, on all those
    of the loopback. Whoever uses a device has been stopped, but for usbhid, which is
    taken from its devices meanwhile."""
    names = [name] if name else vm.run(f"ls {DEBUG}/usbback").out.split()
    tap.expect(names, "there is no channel")
    where = guest or vm
    for each in names:
        agreed(vm, each, guest=guest)
    polled = where.run(POLLED).out.split()
    for change in ("unbind", "bind"):
        for interface in polled:
            where.run(f"echo {interface} > /sys/bus/usb/drivers/usbhid/{change}")
        for each in names if change == "unbind" else ():
            idle(vm, each, guest=guest)
