#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a driver must not do is a failure on the debug kernel."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import checkers  # noqa: E402
import kernels  # noqa: E402
from tap import Suite, expect  # noqa: E402
from vm import VM, LogError  # noqa: E402

# A fault, and what the log has to say of it. lockdep goes off after its only
# report, and with the reports of others that come after it here.
LOGGED = (("beyond", "UBSAN: array-index-out-of-bounds"),
          ("dma", "DMA-API: .*not allocated"),
          ("order", "possible circular locking"),
          ("sleep", "BUG: scheduling while atomic|sleeping function"),
          ("freed", "KASAN: .*use-after-free"))


def module(directory: Path) -> Path:
    """Build faults.ko for the debug kernel."""
    (directory / "Kbuild").write_text("obj-m := faults.o\n", "ascii")
    (directory / "faults.c").write_bytes((HERE / "faults.c").read_bytes())
    subprocess.run(["make", "-s", "-C", str(kernels.headers(kernels.DEBUG)),
                    f"M={directory}", *kernels.DEBUG_FLAGS, "modules"],
                   check=True)
    return directory / "faults.ko"


def logged(vm: VM, how: str, regex: str) -> str:
    """It is in the log, and the log is found to be bad for that."""
    since = vm.mark()
    vm.run(f"insmod /tmp/faults.ko how={how}", check=False)
    line = vm.wait_log(f".*({regex}).*", 30, since)[0]
    try:
        vm.check_log()
    except LogError:
        return line
    raise AssertionError(f"'{line}' is a bad line, and was not found")


def lost(vm: VM) -> str:
    """Lost memory is found, and who lost it."""
    vm.run("insmod /tmp/faults.ko how=leak", check=False)
    # Of a module that is gone there are no names.
    found = [text for text in checkers.leaks(vm) if '"insmod"' in text]
    expect(found, "nothing was found")
    return f"{len(found)} of 20 pieces"


def blind(vm: VM) -> str:
    """That lockdep and DMA API debugging have seen something is known."""
    found = checkers.at_work(vm)
    expect(len(found) == 2, f"found {found}")
    return ", ".join(found)


def main() -> None:
    with Suite() as suite:
        # It has to live on with each of them.
        vm = suite.vm(VM("faults", kernels.DEBUG, memory=384,
                         boot_timeout=240, cmdline="panic_on_warn=0"))
        vm.put("/tmp/faults.ko", module(Path(os.environ["TMPDIR"])).read_bytes())
        suite.case("lost memory", lost, vm)
        for how, regex in LOGGED:
            suite.case(f"fault '{how}'", logged, vm, how, regex)
        suite.case("a checker that gave up", blind, vm)
        vm.kill()


if __name__ == "__main__":
    main()
