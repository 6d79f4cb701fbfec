# SPDX-License-Identifier: GPL-2.0
"""The libusb programs of tests/libusb: built, run in a guest, their TAP read.

    import libusb

    cases = libusb.run(vm, busid, "async", "-n 500")    # names of those that passed
    job = vm.spawn(libusb.command(busid, "iso", "-M unplug"))
    job.wait(20)
    libusb.cases(job.rc, job.output())
    libusb.install(vm.share / "kselftest")              # with the kernel's runner
"""

from __future__ import annotations

import re
import subprocess
import zlib
from functools import lru_cache
from pathlib import Path

import kernels
from cache import TREE, cache_dir, lock
from vm import VM


def _make(*arguments: str) -> Path:
    """Run make in tests/, return where it puts what it builds."""
    key = f"{zlib.crc32(str(TREE).encode()):08x}"
    out = cache_dir() / "build" / f"tests-{key}"
    with lock(f"build-{out.name}"):
        subprocess.run(["make", "-s", "-C", str(TREE / "tests"),
                        f"OUTPUT={out}", "TARGETS=libusb", *arguments],
                       check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
    return out


@lru_cache(maxsize=None)
def programs() -> Path:
    """The directory with all of them, built if need be."""
    return _make("all") / "libusb"


def install(where: Path) -> None:
    """Install them as one of the kernel's selftests, with its runner."""
    _make("install", f"INSTALL_PATH={where}",
          f"KSELFTEST={kernels.source()}/tools/testing/selftests")


def command(busid: str, name: str, options: str = "") -> str:
    """The command that runs one of them on a device."""
    return f"exec {programs()}/{name} -d {busid} {options}"


def cases(status: int | None, output: str) -> list[str]:
    """Names of the cases; all have passed, or it raises."""
    results = re.findall(r"(?m)^(not )?ok (\d+)(?: - )?(.*)$", output)
    plan = re.search(r"(?m)^1\.\.(\d+)$", output)
    if (status or not plan or int(plan[1]) != len(results) or not results
            or any(bad or "# SKIP" in name for bad, _, name in results)):
        raise AssertionError(f"ended with {status}\n{output}")
    return [name for _, _, name in results]


def run(vm: VM, busid: str, name: str, options: str = "",
        timeout: float = 120) -> list[str]:
    """Run one, return the names of its cases."""
    result = vm.run(command(busid, name, options), timeout, check=False)
    return cases(result.rc, result.out)
