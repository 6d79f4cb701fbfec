#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What usbctl links against, for machines of another architecture.

  libraries.py SERIES     directory with the unpacked packages, to be given to
                          pkg-config as PKG_CONFIG_SYSROOT_DIR

SERIES is a kernel of that architecture that kernels.py knows, such as
6.1-arm64; packages come in the way kernels do, from the same suites.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernels  # noqa: E402
from cache import cache_dir, fresh_dir, lock  # noqa: E402

PACKAGES = ("libjson-c-dev",)


def fetch(series: str) -> Path:
    """The directory, made if need be."""
    machine = kernels.arch(series)
    final = cache_dir() / "libraries" / machine
    with lock(f"libraries-{machine}"):
        if not final.exists():
            apt = kernels.Apt(series)
            apt.run("update")
            debs = apt.download([f"{name}:{machine}" for name in PACKAGES])
            with fresh_dir(final) as root:
                for deb in debs:
                    kernels.unpack(deb, root)
            shutil.rmtree(apt.root)
    return final


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in kernels.FOREIGN:
        sys.exit(__doc__)
    print(fetch(sys.argv[1]))
