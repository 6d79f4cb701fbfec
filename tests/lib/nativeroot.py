#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Debian for arm64 with all that building there takes, to be entered by chroot.

  nativeroot.py     print the directory it is in, made if need be

Nothing is installed: packages come in the way kernels do and are unpacked, and no
script of theirs runs.  The headers are those of the kernel that the tests boot.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernels  # noqa: E402
from cache import cache_dir, fresh_dir, lock, say  # noqa: E402

KERNEL = "6.1-arm64"
PACKAGES = ("base-files", "bash", "coreutils", "dash", "diffutils", "file",
            "findutils", "gcc", "grep", "kmod", "libc6-dev", "libjson-c-dev",
            "make", "mawk", "pkg-config", "sed")
# What the scripts of packages would make.
LINKS = {"usr/bin/awk": "mawk", "usr/bin/cc": "gcc"}
MOUNTS = ("dev", "proc", "sys", "src", "tmp")


def fetch() -> Path:
    """The directory, made if need be."""
    release = kernels.release(KERNEL)
    final = cache_dir() / "roots" / release
    with lock("roots"):
        if final.exists():
            return final
        apt = kernels.Apt(KERNEL, "native", kernels.arch(KERNEL))
        apt.run("update")
        names = apt.closure([*PACKAGES, f"linux-headers-{release}"])
        say(f"fetching {len(names)} packages to build on "
            f"{kernels.arch(KERNEL)}")
        apt.run("download", *names)
        with fresh_dir(final) as root:
            for deb in sorted((apt.root / "debs").glob("*.deb")):
                kernels.unpack(deb, root)
            for link, target in LINKS.items():
                (root / link).symlink_to(target)
            for name in MOUNTS:
                (root / name).mkdir(exist_ok=True)
        shutil.rmtree(apt.root)
    for old in final.parent.iterdir():
        if old != final and not old.name.startswith("."):
            shutil.rmtree(old)
    return final


if __name__ == "__main__":
    print(fetch())
