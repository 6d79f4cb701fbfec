#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A driver VM whose backend attacks its guest over ivshmem: the cases of
loopback/test_hostile_back. Its program maps the device's memory and rings its doorbell;
usbback is not there.
"""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import hostile_back  # noqa: E402
import tap  # noqa: E402
from served import Served  # noqa: E402
from vm import VM  # noqa: E402

GUEST = "guest"
# A short run has these only.
TYPICAL = (86, 90, 104, 109)


def attack(t: tap.Suite, called: dict[int, str], series: str, served: Served) -> None:
    """All of them with one pair of machines."""
    vms = [t.vm(VM(f"hostile-back-{name}", series, memory=384, smp=smp,
                   args=served.qemu_args(words)))
           for name, smp, words in (("driver", 1, f"--backend {GUEST}"),
                                    (GUEST, 2, GUEST))]
    driver, guest = vms
    hostile_back.run_cases(t, called, hostile_back.Attack(guest, driver),
                           f"{series} ivshmem, the other hardware of the guest")
    for vm in vms:
        vm.close()


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="usbif-hostile-back."))
    served = Served(scratch)
    try:
        with tap.Suite() as t:
            for series in tap.some_kernels("6.1"):
                called = hostile_back.names(series, "ivshmem, ", TYPICAL)
                if not any(map(t.wanted, called.values())):
                    continue
                served.serve(GUEST)
                try:
                    attack(t, called, series, served)
                finally:
                    served.run(f"drop {GUEST}", None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
