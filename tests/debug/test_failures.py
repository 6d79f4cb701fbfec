#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""One allocation after the other fails: F53, F54 of Documentation/reliability.rst.

fail-nth lets the n-th allocation of a task fail, with whatever there is to be
undone (tests/tools/failnth.c). Then the same must be possible as before, and
at the end the debug kernel must not know of memory that was lost.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from faulted import DEBUG, idle  # noqa: E402
from gadget import Dummies, child_node, device_node  # noqa: E402
from usbif import SYSFS, Loop  # noqa: E402
from vm import VM  # noqa: E402
from workload import verified, verify  # noqa: E402

MIB = 8


class Failures:
    """The cases, with what they need."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        vm.run("modprobe -a usb-storage sd_mod; for d in failslab fail_page_alloc "
               f"fail_usercopy; do cd {DEBUG}/$d && echo 0 > verbose; done; "
               f"cd {DEBUG}; echo N > failslab/ignore-gfp-wait; "
               "echo N > fail_page_alloc/ignore-gfp-wait")
        usbtest.prepare(vm)
        self.dummies = Dummies(vm, 2)
        self.loop = Loop(vm)
        self.loop.load()

    def fail(self, words: str) -> str:
        """Run our program; the same works afterwards."""
        return self.vm.run(f"{compile_tool('failnth')} {words}",
                           tap.scaled(60, 300)).out.strip()

    def rules(self) -> str:
        """Rules are written, for a device that is not there and for one that is."""
        told = [self.fail(f"write {SYSFS}/new_vport 9-1:loop:0:9 "
                          f"{SYSFS}/remove_vport 9-1"),
                self.fail(f"write {SYSFS}/limits 'loop lines=3' "
                          f"{SYSFS}/limits 'loop default'")]
        tap.expect_equal(self.loop.vports(), {}, "rules")
        return "; ".join(told)

    def attached(self) -> str:
        """The same with a device: each time it is taken and handed back."""
        zero = self.dummies.source_sink("zero")
        source = zero.source()
        told = self.fail(f"write {SYSFS}/new_vport {source}:loop:0:1 "
                         f"{SYSFS}/remove_vport {source}")
        self.loop.clear()
        usbtest.run(self.vm, self.loop.attach(zero), 1)
        self.loop.detach(zero)
        self.dummies.clear()
        return told

    def channels(self) -> str:
        """Channels are made."""
        told = [self.fail(f"create /dev/{name}") for name in ("usbback", "usbfront")]
        self.vm.run("usbctl loop again && usbctl drop again", 60)
        return "; ".join(told)

    def loaded(self) -> str:
        """Modules are loaded; the last case, as the kernel itself has to say
        something, with a trace, of memory for them."""
        self.vm.run("usbctl drop loop; rmmod usbfront; rmmod usbback", 60)
        self.vm.allow_log("Call Trace|page allocation failure|"
                          "WARNING: .* at kernel/trace/")
        told = [self.fail(f"load {self.loop.modules}/{name}.ko")
                for name in ("usbback", "usbfront")]
        self.loop.load()
        return "; ".join(told)

    def used(self) -> str:
        """A device is used through usbfs."""
        zero = self.dummies.source_sink("zero", pattern="2")
        node = device_node(self.vm, self.loop.attach(zero))
        told = [f"{words}: {self.fail(f'{words} {node}')}"
                for words in ("control", "bulk", "reset")]
        usbtest.run(self.vm, self.loop.virtual(zero), 10)
        self.loop.detach(zero)
        self.dummies.clear()
        idle(self.vm, self.loop.NAME)
        return "; ".join(told)

    def threads(self) -> str:
        """Both ends' threads, while a disk is verified: nothing of that is lost."""
        self.vm.run(f"truncate -s {MIB}M /tmp/image")
        disk = self.dummies.mass_storage("disk", "/tmp/image")
        busid = self.loop.attach(disk)
        node = child_node(self.vm, busid, "block/sd?", 30)
        tids = self.vm.run("grep -lE '^(usbback|usbfront)' /proc/[0-9]*/comm | "
                           "cut -d/ -f3").out.split()
        tap.expect(len(tids) >= 2, f"threads {tids}")
        seconds = tap.scaled(5, 30)
        job = verify(self.vm, f"/dev/{node}", MIB, seconds)
        self.vm.run(f"end=$(($(date +%s) + {seconds - 1})); n=1; failed=0; "
                    "while [ $(date +%s) -lt $end ]; do "
                    f"for t in {' '.join(tids)}; do [ $(cat /proc/$t/fail-nth) = 0 ] "
                    "&& failed=$((failed + 1)); echo $((n % 17 + 1)) > "
                    "/proc/$t/fail-nth; done; n=$((n + 1)); sleep 0.05; done; "
                    f"for t in {' '.join(tids)}; do echo 0 > /proc/$t/fail-nth; done; "
                    "echo failed $failed > /tmp/failed", seconds + 60)
        told = verified(job, seconds, gap=seconds)
        failed = self.vm.run("cat /tmp/failed").out.strip()
        tap.expect(int(failed.split()[1]) > len(tids), "nothing has failed")
        self.loop.detach(disk)
        self.dummies.clear()
        idle(self.vm, self.loop.NAME)
        return f"{told}, {failed} allocations"


CASES = (("rules", 53, Failures.rules), ("attached", 53, Failures.attached),
         ("channels", 53, Failures.channels), ("used", 53, Failures.used),
         ("threads", 54, Failures.threads), ("modules", 53, Failures.loaded))


def main() -> None:
    titles = numbered.titles("F")
    with tap.Suite() as t:
        vm = t.vm(VM("failures", kernels.DEBUG, memory=512, smp=2,
                     boot_timeout=240))
        failures = Failures(vm)
        for name, number, case in CASES if tap.LONG else CASES[:1]:
            t.case(f"F{number} {titles.get(number)}: {name}", case, failures)


if __name__ == "__main__":
    main()
