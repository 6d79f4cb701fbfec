# SPDX-License-Identifier: GPL-2.0
"""Where downloads and builds are kept between runs, and how they are locked.

Everything the tests leave behind is below ``cache_dir()``.  A directory there
is either complete or absent: work is done in a temporary directory beside the
final one and renamed, under a lock, so an interrupted run costs nothing but
the work of that step.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Sequence

TREE = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """The directory that holds all that is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(base) / "usbif"
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    """Progress for a person; standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock called name; says so when it has to wait."""
    directory = cache_dir() / "locks"
    directory.mkdir(exist_ok=True)
    with open(directory / name, "w", encoding="ascii") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that holds the lock '{name}'")
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def fresh_dir(final: Path) -> Iterator[Path]:
    """A temporary directory that becomes final if the block succeeds."""
    final.parent.mkdir(parents=True, exist_ok=True)
    tmp = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield tmp
        tmp.chmod(0o755)
        if final.exists():
            shutil.rmtree(final)
        tmp.rename(final)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def write_if_changed(path: Path, data: bytes) -> bool:
    """Write data to path only if it differs, so make sees no false change."""
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}")
    tmp.write_bytes(data)
    tmp.rename(path)
    return True


def newer_than(target: Path, *sources: Path) -> bool:
    """Is target there and newer than all sources?"""
    try:
        stamp = target.stat().st_mtime
    except FileNotFoundError:
        return False
    return all(s.stat().st_mtime <= stamp for s in sources)


COMPILERS = {"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc",
             "armel": "arm-linux-gnueabihf-gcc"}


def compile_tool(name: str, *flags: str, source: Path | None = None,
                 also: Sequence[Path] = (), watch: Sequence[Path] = (),
                 static: bool = True, arch: str = "amd64") -> Path:
    """Build the guest program tests/tools/NAME.c once, return its path.

    Static, because it also has to run where nothing but a kernel is, unless
    one of its libraries is shared only.  For another arch, by Debian's name of
    it, a cross compiler is used.  Further files to compile are also,
    those it includes watch.
    """
    source = source or TREE / "tests" / "tools" / f"{name}.c"
    target = cache_dir() / "bin" / (name if arch == "amd64" else
                                    f"{name}.{arch}")
    with lock("bin"):
        if newer_than(target, source, *also, *watch):
            return target
        target.parent.mkdir(exist_ok=True)
        tmp = target.with_name(f".{name}.{os.getpid()}")
        subprocess.run([COMPILERS[arch], "-std=gnu11", "-O2", "-Wall", "-Wextra",
                        *(["-static"] if static else []),
                        "-o", str(tmp), str(source),
                        *map(str, also), "-lpthread", *flags], check=True)
        tmp.rename(target)
    return target
