#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""One allocation after the other fails: F53, F54 of Documentation/reliability.rst.

fail-nth lets the n-th allocation of a task fail, with whatever there is to be
undone: of the task that asks (tests/tools/failnth.c), and of the workers and
threads that do what it has asked for (tests/tools/failothers.c). Then the same must
be possible as before, and at the end the debug kernel must not know of memory
that was lost.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import numbered  # noqa: E402
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from faulted import DEBUG, idle  # noqa: E402
from gadget import Dummies, child_node, device_node, find_device  # noqa: E402
from usbif import SYSFS, Loop  # noqa: E402
from vm import VM  # noqa: E402
from workload import verified, verify  # noqa: E402

MIB = 8
USBTEST = "/sys/bus/usb/drivers/usbtest"
# Workers: of the rules and ports of usbback; those of one processor, which usbcore's
# hubs and usbfront's controllers have.
UNBOUND = "kworker/u"
BOUND = "kworker/0,kworker/1"
THREADS = "usbback,usbfront"
# In a row without an allocation that failed: there are no more.
QUIET = 3
# So many are tried at most in the long form, further and further apart; others of the
# kernel's workers allocate, too.
MOST = 24
APART = 6


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

    # ---- what workers and threads do ----

    def others(self, n: int, tasks: str, case: str, arg: str) -> int:
        """The n-th allocation of each of those tasks fails; how many did."""
        out = self.vm.run(f"{compile_tool('failothers')} {n} {tasks} {case} "
                          f"{shlex.quote(arg)}", 120).out
        match = re.search(r"^failed (\d+) of", out, re.M)
        assert match, out
        return int(match[1])

    def steps(self, short: int, step: Callable[[int], tuple[int, str]]) -> str:
        """Step n = 1, 2... until nothing fails any more; how each was got over."""
        quiet = total = tried = n = 0
        ends: dict[str, int] = {}
        while quiet < QUIET and tried < tap.scaled(short, MOST):
            tried += 1
            n += 1 + n // APART
            failed, end = step(n)
            total += failed
            quiet = 0 if failed else quiet + 1
            if failed:
                ends[end] = ends.get(end, 0) + 1
        tap.expect(total, "nothing has failed")
        return f"{tried} times, up to the {n}th, {total} allocations: " + " ".join(
            f"{end} {count}" for end, count in sorted(ends.items()))

    def in_guest(self, source: str) -> str:
        """Command: its driver has the device there."""
        return f"ls -d {USBTEST}/*:1.0 2>/dev/null | grep -qv '/{source}:'"

    def on_host(self, source: str) -> str:
        """Command: its driver has it here."""
        return (f"test -e {USBTEST}/{source}:1.0 && "
                f"! grep -q '^{source} ' {SYSFS}/grabbed_devices")

    def until(self, condition: str) -> str:
        """Command: a while, or until that or until a rule is refused."""
        return (f"for i in $(seq 40); do {{ {condition}; }} && break; "
                f"grep -q refused {SYSFS}/vports && break; sleep 0.1; done")

    def comes_back(self, source: str, rule: str) -> str:
        """The rule by itself; the device in the guest too, or else as of a bare one that
        its hub could not enumerate: after a replug, or with another controller."""
        self.loop.wait(source, "attached", 30)
        if self.is_back(source, 30):
            return "by itself"
        since = self.vm.mark()
        self.loop.remove(source)
        self.is_given_back(source, since)
        self.loop.rule(rule)
        self.loop.wait(source, "attached", 20)
        if self.is_back(source, 100):
            return "plugged in again"
        self.vm.run(f"usbctl drop {self.loop.NAME}", 60)
        self.loop.join()
        self.loop.wait(source, "attached", 20)
        self.vm.wait_for(self.in_guest(source), 20)
        return "joined again"

    def is_back(self, source: str, tenths: int) -> bool:
        """Has the guest a driver for it, soon? If not, that is no failure yet."""
        return self.holds(self.in_guest(source), tenths)

    def holds(self, condition: str, tenths: int) -> bool:
        """Is that so, soon?"""
        return self.vm.run(f"for i in $(seq {tenths}); do {{ {condition}; }} && exit 0; "
                           "sleep 0.1; done; exit 1", 60, check=False).rc == 0

    def is_given_back(self, source: str, since: int) -> bool:
        """The host's driver has it by itself; or else as of a bare one whose interface
        the USB core could not add: when it is configured again, which was not needed."""
        if self.holds(self.on_host(source), 50):
            return True
        log = self.vm.klog(since)
        tap.expect(re.search(rf"usb {source}: (device_add\(|can't set config)|"
                             rf"probe of {source}:1.0 failed", log), log)
        self.vm.run(f"echo 1 > /sys/bus/usb/devices/{source}/bConfigurationValue")
        self.vm.wait_for(self.on_host(source), 20)
        return False

    def attach_step(self, n: int, tasks: str, source: str) -> tuple[int, str]:
        """A device is given to the guest, and then back to the host."""
        rule = f"{source}:{self.loop.NAME}:0:1"
        failed = self.others(n, tasks, "run", f"echo {rule} > {SYSFS}/new_vport; "
                             + self.until(self.in_guest(source)))
        end = self.comes_back(source, rule)
        since = self.vm.mark()
        failed += self.others(n, tasks, "run", f"echo {source} > {SYSFS}/remove_vport; "
                              + self.until(self.on_host(source)))
        if not self.is_given_back(source, since):
            end += ", configured again"
        return failed, end

    def with_zero(self, step: Callable[[int, str, str], tuple[int, str]], tasks: str,
                  short: int, attached: bool) -> str:
        """Steps with a device, which is as good as new after them."""
        source = self.dummies.source_sink("zero").source()
        rule = f"{source}:{self.loop.NAME}:0:1"
        self.vm.wait_for(self.on_host(source), 20)
        if attached:
            self.loop.rule(rule)
            self.vm.wait_for(self.in_guest(source), 20)
        try:
            told = self.steps(short, lambda n: step(n, tasks, source))
            if not attached:
                self.loop.rule(rule)
            self.loop.wait(source, "attached")
            self.vm.wait_for(self.in_guest(source), 20)
            usbtest.run(self.vm, find_device(self.vm, "zero", 20, other_than=source), 10)
        finally:
            self.loop.clear()
            self.dummies.clear()
        idle(self.vm, self.loop.NAME)
        return told

    def taken(self) -> str:
        """What the work items of rules and ports allocate, to take and to give back."""
        return self.with_zero(self.attach_step, UNBOUND, 3, False)

    def enumerated(self) -> str:
        """What the hub's worker allocates."""
        return self.with_zero(self.attach_step, BOUND, 6, False)

    def begin_step(self, n: int, tasks: str, source: str) -> tuple[int, str]:
        """Both ends are made anew, and their session begins."""
        self.vm.run(f"usbctl drop {self.loop.NAME}", 60)
        failed = self.others(n, tasks, "join", self.loop.NAME)
        return failed, self.comes_back(source, f"{source}:{self.loop.NAME}:0:1")

    def begun(self) -> str:
        """What the channel's threads allocate when a session begins."""
        return self.with_zero(self.begin_step, THREADS, 3, True)

    def controlled(self) -> str:
        """What the worker allocates that makes the guest's controller."""
        return self.with_zero(self.begin_step, BOUND, 3, True)

    def reset_step(self, n: int, tasks: str, source: str) -> tuple[int, str]:
        """The guest resets the device."""
        node = device_node(self.vm, find_device(self.vm, "zero", 20, other_than=source))
        failed = self.others(n, tasks, "reset", node)
        return failed, self.comes_back(source, f"{source}:{self.loop.NAME}:0:1")

    def renewed(self) -> str:
        """What the port's worker and the hubs' allocate for a reset."""
        return self.with_zero(self.reset_step, f"{UNBOUND},{BOUND}", 6, True)

    def sleep_step(self, n: int, tasks: str, source: str) -> tuple[int, str]:
        """The guest suspends the device, and resumes it."""
        busid = find_device(self.vm, "zero", 20, other_than=source)
        power = f"/sys/bus/usb/devices/{busid}/power"
        failed = self.others(n, tasks, "run", (
            f"echo {busid}:1.0 > {USBTEST}/unbind; echo 0 > {power}/autosuspend_delay_ms; "
            f"echo auto > {power}/control; "
            + self.until(f"grep -q suspended {power}/runtime_status")
            + f"; echo on > {power}/control; "
            + self.until(f"grep -q active {power}/runtime_status")))
        self.vm.run(f"echo {busid}:1.0 > {USBTEST}/bind", check=False)
        return failed, self.comes_back(source, f"{source}:{self.loop.NAME}:0:1")

    def suspended(self) -> str:
        """What workers allocate to suspend and to resume."""
        return self.with_zero(self.sleep_step, f"{UNBOUND},{BOUND}", 6, True)

    def loaded(self) -> str:
        """Modules are loaded; the last case, as the kernel itself has to say
        something, with a trace, of memory for them."""
        self.vm.run("usbctl drop loop; rmmod usbfront; rmmod usbback; "
                    "echo 0 > /proc/sys/kernel/panic_on_warn", 60)
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
         ("taken by workers", 53, Failures.taken),
         ("begun by threads", 53, Failures.begun),
         ("controlled by workers", 53, Failures.controlled),
         ("enumerated by workers", 53, Failures.enumerated),
         ("reset by workers", 53, Failures.renewed),
         ("suspended by workers", 53, Failures.suspended),
         ("channels", 53, Failures.channels), ("used", 53, Failures.used),
         ("threads", 54, Failures.threads), ("modules", 53, Failures.loaded))
SHORT = CASES[:4]


def main() -> None:
    titles = numbered.titles("F")
    with tap.Suite() as t:
        vm = t.vm(VM("failures", kernels.DEBUG, memory=512, smp=2,
                     boot_timeout=240))
        failures = Failures(vm)
        for name, number, case in CASES if tap.LONG else SHORT:
            t.case(f"F{number} {titles.get(number)}: {name}", case, failures)


if __name__ == "__main__":
    main()
