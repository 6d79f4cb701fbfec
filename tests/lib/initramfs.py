#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Initial RAM file systems of test guests, made without root and cached.

``shared_root(series)``
    what a guest needs to reach the machine's own root over 9p: the agent and
    the modules for it.
``alone(series, modules=..., binaries=..., files=...)``
    a whole small guest: the agent, busybox, chosen modules (all are loaded at
    boot but those given in ``extra_modules``, which only lie there), chosen
    programs with their libraries, chosen files.  For second-level guests,
    where a root over 9p would be too slow.
"""

import hashlib
import lzma
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Iterable, Mapping

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernels  # noqa: E402
from cache import cache_dir, compile_tool  # noqa: E402

BASE_MODULES = ("virtio_pci", "virtio_console")
SHARED_ROOT_MODULES = (*BASE_MODULES, "9p", "9pnet_virtio", "overlay",
                       "configfs")


class Cpio:
    """A newc archive; device nodes in it need no root."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.seen: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes = b"",
               rdev: tuple[int, int] = (0, 0)) -> None:
        encoded = name.encode() + b"\0"
        fields = (len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0,
                  *rdev, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + encoded
        self.parts.append(head + b"\0" * (-len(head) % 4)
                          + data + b"\0" * (-len(data) % 4))

    def parents(self, name: str) -> None:
        """Make the directories name lies in."""
        for parent in reversed(Path(name).parents):
            if str(parent) not in (".", "/"):
                self.directory(str(parent))

    def directory(self, name: str) -> None:
        """Add a directory once."""
        name = name.lstrip("/")
        if name not in self.seen:
            self.parents(name)
            self.seen.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file once."""
        name = name.lstrip("/")
        if name not in self.seen:
            self.parents(name)
            self.seen.add(name)
            self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link once."""
        name = name.lstrip("/")
        if name not in self.seen:
            self.parents(name)
            self.seen.add(name)
            self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self) -> None:
        """Add /dev/console, which the kernel opens for init."""
        self.directory("dev")
        self._entry("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))

    def bytes(self) -> bytes:
        """The archive."""
        self._entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def _dependencies(modules: Path) -> dict[str, list[str]]:
    """Name of every module: its file, then what it needs."""
    table = {}
    for line in (modules / "modules.dep").read_text("ascii").splitlines():
        path, needs = line.split(":")
        name = Path(path).name.split(".")[0].replace("-", "_")
        table[name] = [path, *needs.split()]
    return table


def module_files(series: str, names: Iterable[str]) -> list[Path]:
    """The files of modules and all they need, in the order to load them."""
    modules = (kernels.fetch(series) / "lib/modules" / kernels.release(series))
    table = _dependencies(modules)
    builtin = (modules / "modules.builtin").read_text("ascii")
    builtins = {Path(line).stem.replace("-", "_")
                for line in builtin.splitlines()}
    ordered: list[Path] = []
    for name in names:
        name = name.replace("-", "_")
        if name in builtins and name not in table:
            continue
        if name not in table:
            raise ValueError(f"kernel {series} has no module {name}")
        for path in reversed(table[name]):
            if modules / path not in ordered:
                ordered.append(modules / path)
    return ordered


def _module_data(path: Path) -> bytes:
    """A module as the kernel takes it."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _libraries(binary: Path) -> list[Path]:
    """The shared libraries of a program, with its loader."""
    out = subprocess.run(["ldd", str(binary)], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, check=False)
    return [Path(p) for p in re.findall(r"(?:=> |^\s+)(/\S+) \(", out.stdout,
                                        re.M)]


def _store(archive: Cpio, name: str) -> Path:
    """Keep an archive in the cache under its own checksum."""
    data = archive.bytes()
    key = hashlib.sha256(data).hexdigest()[:12]
    path = cache_dir() / "initramfs" / f"{name}-{key}.img"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        for old in path.parent.glob(f"{name}-*.img"):
            if old.stat().st_mtime < path.parent.stat().st_mtime - 86400:
                old.unlink(missing_ok=True)
        tmp = path.with_name(f".{path.name}.{os.getpid()}")
        tmp.write_bytes(data)
        tmp.rename(path)
    return path


def _agent(archive: Cpio, series: str) -> None:
    archive.console()
    agent = compile_tool("agent", arch=kernels.arch(series))
    archive.file("init", agent.read_bytes(), 0o755)


def _modprobe(archive: Cpio, series: str, names: Iterable[str]) -> None:
    """What modprobe needs to find the modules that only lie there."""
    lines = []
    for name in names:
        paths = [f"/modules/{p.name.removesuffix('.xz')}"
                 for p in module_files(series, [name])]
        lines.append(f"{paths[-1]}: {' '.join(reversed(paths[:-1]))}\n")
    archive.file(f"lib/modules/{kernels.release(series)}/modules.dep",
                 "".join(lines).encode())


def add_modules(archive: Cpio, paths: Iterable[Path], load: bool) -> list[str]:
    """Put modules into an archive; the lines of modules.list, if they are to be loaded."""
    lines = []
    for path in paths:
        name = f"/modules/{path.name.removesuffix('.xz')}"
        archive.file(name, _module_data(path))
        if load:
            lines.append(name + "\n")
    return lines


def shared_root(series: str) -> Path:
    """The initramfs of a guest whose root is the machine's own."""
    archive = Cpio()
    _agent(archive, series)
    lines = add_modules(archive, module_files(series, SHARED_ROOT_MODULES),
                        True)
    archive.file("modules.list", "".join(lines).encode())
    return _store(archive, f"root-{series}")


def alone(series: str, modules: Iterable[str] = (),
          extra_modules: Iterable[str] = (),
          binaries: Iterable[str | Path] = (),
          files: Mapping[str, str | Path | bytes] | None = None,
          name: str = "alone") -> Path:
    """The initramfs of a guest that has nothing else.

    files maps a path in the guest to a path here, or to its content.
    """
    archive = Cpio()
    _agent(archive, series)
    busybox = kernels.busybox(series).read_bytes()
    archive.file("bin/busybox", busybox, 0o755)
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()
    chosen = [Path(b) for b in binaries]
    for path in chosen:
        archive.file(f"bin/{path.name}", path.read_bytes(), 0o755)
        for lib in _libraries(path):
            archive.file(str(lib), lib.read_bytes(), 0o755)
    for applet in applets:
        archive.symlink(f"bin/{applet}", "busybox")
    archive.symlink("sbin", "bin")
    archive.symlink("usr/bin", "../bin")
    archive.symlink("usr/sbin", "../bin")
    archive.directory("root")
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    lines = add_modules(archive,
                        module_files(series, (*BASE_MODULES, *modules)), True)
    extra_modules = tuple(extra_modules)
    add_modules(archive, module_files(series, extra_modules), False)
    _modprobe(archive, series, extra_modules)
    archive.file("modules.list", "".join(lines).encode())
    for target, origin in (files or {}).items():
        if isinstance(origin, bytes):
            archive.file(target, origin)
        else:
            origin = Path(origin)
            archive.file(target, origin.read_bytes(),
                         stat.S_IMODE(origin.stat().st_mode))
    return _store(archive, f"{name}-{series}")


if __name__ == "__main__":
    print(shared_root(sys.argv[1]) if len(sys.argv) == 2
          else alone(sys.argv[1], sys.argv[2:]))
