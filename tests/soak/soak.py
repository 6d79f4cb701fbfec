#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make soak HOURS=N [SEED=N] [KERNEL=6.12]: everything at random, for hours.

A driver VM and two guests, as in tests/driver-vm/machines.py. Devices of each
kind are used with all data compared, and between that guests, servers, modules
and the driver VM die, each while disks are being verified. It says what it did,
stops at the first thing that is wrong, and ends with 0 if nothing was.

The order follows from the seed, which is said at the start.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / d) for d in ("driver-vm", "demo", "lib")]
import test_driver_vm as driver_vm  # noqa: E402
from machines import RULES, Machines  # noqa: E402
from tap import expect, expect_equal  # noqa: E402
from usbif import SYSFS  # noqa: E402
from vm import VM  # noqa: E402
from workload import slabs  # noqa: E402

SETTLED = 12            # actions in the life of a driver VM until memory counts
GROWTH = 4096           # KiB that its kernel may have taken since
Action = Callable[[Machines], object]


def pulled(m: Machines) -> str:
    """The stick is pulled out while it is read, and plugged in again."""
    guest = m.guests["1"]
    reader = guest.spawn(f"dd if={m.stick.disk(guest)} of=/dev/null bs=64k "
                         "iflag=direct")
    time.sleep(random.random())
    m.stick.pull(m.driver)
    expect(reader.wait(20) != 0 or "records" in reader.output(),
           reader.output())
    m.stick.plug(m.driver)
    m.back.wait("2-1", "attached", 40)
    return driver_vm.storage(m)


def serial(m: Machines) -> None:
    """Octets both ways."""
    m.serial.check(m.guests["2"])


def network(m: Machines) -> None:
    """Frames both ways."""
    m.network.check(m.guests["1"])


def both(m: Machines) -> str:
    """Both guests verify their disks."""
    return driver_vm.both(m, 20)


# What is done, how often one with regard to the others.
ACTIONS: dict[Action, int] = {
    both: 4, driver_vm.storage: 3, driver_vm.keyboard: 2,
    driver_vm.moved_keyboard: 2, serial: 2, network: 2, pulled: 4,
    driver_vm.killed_guest: 2, driver_vm.reset_guest: 2,
    driver_vm.killed_server: 1, driver_vm.reloaded_front: 2,
    driver_vm.reloaded_back: 2, driver_vm.killed_driver: 1,
}


class Soak:
    """The machines, and what is seen of them between two actions."""

    def __init__(self, m: Machines) -> None:
        self.m = m
        self.driver: VM | None = None
        self.actions = 0
        self.before = 0

    def after(self) -> str:
        """No log has a warning, all devices are where they should be, and
        memory is what it was."""
        m = self.m
        for vm in (m.driver, *m.guests.values()):
            vm.check_log()
        m.wait_attached()
        grabbed = m.driver.run(f"cat {SYSFS}/grabbed_devices").out.split("\n")
        expect_equal(len([g for g in grabbed if g]), len(RULES),
                     f"devices that are grabbed ({grabbed})")
        if m.driver is not self.driver:
            self.driver, self.actions = m.driver, 0
        self.actions += 1
        if self.actions < SETTLED:
            return ""
        kib = slabs(self.m.driver)
        if self.actions == SETTLED:
            self.before = kib
        expect(kib - self.before < GROWTH,
               f"memory grew from {self.before} to {kib} KiB")
        return f", {kib - self.before:+} KiB"


def title(action: Action) -> str:
    """What an action is called."""
    return action.__name__.replace("_", " ")


def run(soak: Soak, seconds: float) -> dict[str, int]:
    """Acts until the time is over; how often each was done."""
    began = time.monotonic()
    done = dict.fromkeys(map(title, ACTIONS), 0)
    while (now := time.monotonic() - began) < seconds:
        action, = random.choices(list(ACTIONS), list(ACTIONS.values()))
        print(f"{now / 3600:7.3f} h  {title(action)}", end="", flush=True)
        text = action(soak.m)
        print(f": {text or 'good'}{soak.after()}", flush=True)
        done[title(action)] += 1
    return done


def main() -> int:
    """Until the hours are over, or something is wrong."""
    hours = float(os.environ.get("HOURS") or 1)
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))
    random.seed(seed)
    print(f"SEED={seed} HOURS={hours:g}: a driver VM, two guests, "
          f"{len(RULES)} devices", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix="usbif-soak."))
    try:
        with Machines(scratch, os.environ.get("KERNEL") or "6.1") as m:
            soak = Soak(m)
            m.start()
            m.complete()
            done = run(soak, hours * 3600)
    except Exception as error:      # pylint: disable=broad-except
        print(f"\n{type(error).__name__}: {error}\n"
              f"after it began with SEED={seed}", flush=True)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("\n".join(f"{n:6} {name}" for name, n in done.items()))
    print(f"{sum(done.values())} actions, nothing was wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
