#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Channels of kind fd: what the control devices take and refuse, and that
nothing of a channel stays behind.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import kernels  # noqa: E402
import tap  # noqa: E402
from cache import compile_tool  # noqa: E402
from vm import VM  # noqa: E402

CASES = {
    "files": "only files on tmpfs and eventfds are taken",
    "sizes": "only powers of two from 1 MiB are taken",
    "huge": "huge pages are taken",
    "locked": "pages count against the limit of locked memory",
    "adopt": "files are handed out again, all or none",
    "bells": "doorbells are heard from before the start to the end",
    "rude": "memory and descriptors may go",
    "many": "a hundred channels leave nothing pinned",
}


def run(vm: VM, tool: Path, module: str, case: str) -> None:
    """One case of tests/tools/channels.c."""
    vm.run(f"{tool} /dev/{module} {case}", timeout=120)


def run_all(suite: tap.Suite, kernel: str) -> None:
    """Every case with both modules."""
    tool = compile_tool("channels")
    modules = kernels.build(kernel)
    with VM(f"channels-{kernel}", kernel=kernel, memory=512) as vm:
        vm.run("modprobe usbcore && echo 4 > /proc/sys/vm/nr_hugepages")
        for module in ("usbback", "usbfront"):
            vm.run(f"insmod {modules}/{module}.ko")
            for case, text in CASES.items():
                suite.case(f"{module}, {kernel}: {text}", run, vm, tool,
                           module, case)
            suite.case(f"{module}, {kernel}: unloads", vm.run,
                       f"rmmod {module}")


def main() -> None:
    with tap.Suite() as suite:
        for kernel in kernels.SUITES:
            run_all(suite, kernel)


if __name__ == "__main__":
    main()
