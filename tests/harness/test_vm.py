#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The harness sees what goes wrong in a guest, and at once."""

import sys
import time
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
from gadget import find_device, load_drivers  # noqa: E402
from vm import (VM, CommandFailed, LogError, QMPError, VMDied,  # noqa: E402
                VMTimeout)


def raises(kind: type[Exception], function: Callable[..., Any],
           *args: Any, **kwargs: Any) -> str:
    """What function complains of; fails if it doesn't."""
    try:
        function(*args, **kwargs)
    except kind as e:
        return str(e)
    raise AssertionError(f"no {kind.__name__}")


def commands(vm: VM) -> None:
    result = vm.run("echo out; echo err >&2; exit 3", check=False)
    tap.expect_equal((result.rc, result.out), (3, "out\nerr\n"))
    raises(CommandFailed, vm.run, "false")
    data = bytes(range(256)) * 1000
    vm.put("/tmp/file", data)
    tap.expect(vm.get("/tmp/file") == data, "a file came back changed")
    (vm.share / "here").write_text("from here", "ascii")
    tap.expect_equal(vm.run("cat /share/here; echo there > /share/x").out,
                     "from here")
    tap.expect_equal((vm.share / "x").read_text("ascii"), "there\n")


def jobs(vm: VM) -> None:
    began = time.monotonic()
    many = [vm.spawn(f"sleep 2; echo {n}") for n in range(20)]
    for n, job in enumerate(many):
        tap.expect_equal((job.wait(), job.output()), (0, f"{n}\n"))
    tap.expect(time.monotonic() - began < 20, "jobs ran one after the other")
    job = vm.spawn("cat")
    job.write(b"word\n")
    job.wait_output("word", 5)
    job.kill(9)
    tap.expect_equal(job.wait(5), 137)
    job = vm.spawn("sleep 1000 & echo started")
    tap.expect_equal(job.wait(5), 0)
    tap.expect_equal(vm.spawn("exec head -c 3000000 /dev/zero").wait(30), 0)


def timeouts(vm: VM) -> None:
    began = time.monotonic()
    text = raises(VMTimeout, vm.run, "sleep 100", timeout=1)
    tap.expect("console of" in text, "no console in the message")
    tap.expect(time.monotonic() - began < 20, "it took too long")


def warnings(vm: VM) -> None:
    for line in ("WARNING: CPU: 0 PID: 1 at x.c", "BUG: unable to handle",
                 "possible circular locking dependency detected",
                 "INFO: task x:1 blocked for more than 120 seconds.",
                 "workqueue: x hogged CPU", "refcount_t: underflow",
                 "UBSAN: shift-out-of-bounds", "rcu: INFO: rcu_preempt "
                 "detected stalls on CPUs/tasks:"):
        vm.run(f"echo '<4>{line}' > /dev/kmsg")
        raises(LogError, vm.check_log)
        vm.check_log()
    since = vm.mark()
    vm.run("echo 'harmless line' > /dev/kmsg")
    vm.wait_log("harmless line", 5, since)
    vm.check_log()
    vm.allow_log("expected")
    vm.run("echo 'WARNING: expected' > /dev/kmsg")
    vm.check_log()


def monitor(vm: VM) -> None:
    load_drivers(vm)
    vm.device_add("usb-kbd", id="keys", bus="usb.0", serial="keys")
    busid = find_device(vm, "keys")
    vm.device_del("keys")
    vm.wait_for(f"test ! -e /sys/bus/usb/devices/{busid}")
    raises(QMPError, vm.device_add, "no-such-device", id="x")
    vm.pause()
    raises(VMTimeout, vm.run, "true", timeout=1)
    vm.cont()
    vm.run("true")


def reset(vm: VM) -> None:
    job = vm.spawn("sleep 1000")
    vm.run("touch /tmp/mark")
    vm.reset()
    tap.expect(job.rc is not None, "a command outlived the reset")
    vm.run("test ! -e /tmp/mark")


def panic() -> None:
    with VM("panic") as vm:
        began = time.monotonic()
        job = vm.spawn("sleep 1; echo c > /proc/sysrq-trigger; sleep 1000")
        raises(VMDied, job.wait, 100)
        tap.expect(time.monotonic() - began < 20, "noticed too late")
        tap.expect("crash" in raises(LogError, vm.check_log), "no reason seen")


def killed() -> None:
    with VM("killed") as vm:
        job = vm.spawn("sleep 1000")
        vm.kill()
        began = time.monotonic()
        raises(VMDied, job.wait, 100)
        raises(VMDied, vm.run, "true")
        tap.expect(time.monotonic() - began < 2, "noticed too late")
    with VM("off") as vm:
        vm.shutdown()
        tap.expect(not vm.alive(), "it is still there")


def bad_arguments() -> None:
    text = raises(VMDied, VM, "bad", devices=["no-such-device"])
    tap.expect("no-such-device" in text, f"QEMU's words are missing: {text}")


def main() -> None:
    with tap.Suite() as t:
        vm = t.vm(VM("guest", devices=["qemu-xhci,id=usb"]))
        for function in (commands, jobs, timeouts, monitor, warnings, reset):
            t.case(function.__name__, function, vm)
        vm.close()
        for function in (panic, killed, bad_arguments):
            t.case(function.__name__, function)


if __name__ == "__main__":
    main()
