#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The debug kernel of the tests: Debian's source, tests/debug/kernel.config.

  debugkernel.py         build it if need be, print the directory it is in
  debugkernel.py path    print where it is, or would be

kernels.py knows it as the series "6.1-debug"; what is built has the layout of
the unpacked packages of the other series.  It is built once for each state of
the configuration, the patch and the source package.  A build that is stopped
is taken up again where it was.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernels  # noqa: E402
from cache import TREE, cache_dir, fresh_dir, lock, say  # noqa: E402

CONFIG = TREE / "tests/debug/kernel.config"
PATCH = TREE / "tests/debug/peers.patch"

# What takes the most room in the source and is compiled for no configuration
# of ours; make and Kconfig read their own files in all directories.
UNUSED = tuple(f"{name}/*.{suffix}" for suffix in ("[chS]", "dts*", "json")
               for name in ("arch/[!x]*", "drivers/gpu/drm", "drivers/staging",
                            "drivers/net/ethernet", "drivers/net/wireless",
                            "drivers/infiniband", "drivers/media/pci",
                            "drivers/media/platform", "sound/soc", "sound/pci",
                            "drivers/media/dvb-frontends", "tools/testing",
                            "tools/perf")) + ("Documentation/*/*",)

# KASAN knows of all memory, but only what handles URBs and their buffers is
# compiled to ask it: in all of the kernel that takes several times as long.
ASKS = ("block", "drivers/base%", "drivers/hid%", "drivers/input%",
        "drivers/media%", "drivers/net/usb%", "drivers/scsi%", "drivers/usb%",
        "lib", "sound%")
FLAGS = (f"KASAN_SANITIZE=$(if $(filter {' '.join(ASKS)},$(obj)),y,n)",)

# What building a module for it takes, beyond include/ and scripts/.
HEADERS = ("Makefile", ".config", "Module.symvers", "arch/x86/include",
           "arch/x86/Makefile*", "arch/x86/Kbuild", "arch/x86/*/Makefile",
           "tools/objtool/objtool", "scripts", "include")


def key() -> str:
    """Names the state of all that the kernel is made from."""
    stock = kernels.fetch("6.1") / "info.json"
    version = json.loads(stock.read_bytes())["version"]
    parts = (CONFIG.read_bytes(), PATCH.read_bytes(), version.encode(),
             " ".join(FLAGS).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def path() -> Path:
    """Where it is, or will be."""
    return cache_dir() / "kernels" / f"{kernels.DEBUG}-{key()}"


def options(text: str) -> dict[str, str]:
    """What a configuration says of each option."""
    return dict(re.findall(r"(?m)^(CONFIG_\w+)=(.*)$", text))


class Build:
    """A source tree in which a kernel is being built."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.log = work / "build.log"

    def unpack(self) -> None:
        """The source with our patch, whole or not at all."""
        if (self.work / "Makefile").exists():
            return
        archive = kernels.source_archive()
        say(f"unpacking {archive.name}")
        with fresh_dir(self.work) as tree:
            subprocess.run(["tar", "-xJf", str(archive), "-C", str(tree),
                            "--strip-components=1", "--no-same-owner",
                            *(f"--exclude=linux-source-*/{name}"
                              for name in UNUSED)], check=True)
            subprocess.run(["patch", "-s", "-p1", "-i", str(PATCH)], cwd=tree,
                           check=True, stdout=sys.stderr)

    def make(self, *words: str) -> None:
        """Run make; say now and then how far it is, and why it failed."""
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "V", "O")}
        env.update(LC_ALL="C", KBUILD_BUILD_USER="tests",
                   KBUILD_BUILD_HOST="tests")
        began = said = time.monotonic()
        compiled = 0
        with open(self.log, "a", encoding="utf-8") as log, subprocess.Popen(
                ["make", "-C", str(self.work), *words], env=env, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, errors="replace") as proc:
            assert proc.stdout is not None
            for line in proc.stdout:
                log.write(line)
                compiled += bool(re.match(r"\s+(CC|AS)\b", line))
                now = time.monotonic()
                if now - said > 30:
                    said = now
                    say(f"debug kernel: {compiled} files in "
                        f"{(now - began) / 60:.1f} min")
        if proc.returncode:
            lines = self.log.read_text("utf-8").splitlines()
            say("\n".join(lines[-40:]))
            sys.exit(f"debugkernel.py: 'make {' '.join(words)}' failed; all "
                     f"it said is in {self.log}")

    def configure(self) -> None:
        """Write .config; every option asked for has to be in it."""
        if (self.work / ".config").exists():
            return
        self.make(f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig")
        config = self.work / ".config"
        got = options(config.read_text("ascii"))
        lost = [f"{name}={value}"
                for name, value in options(CONFIG.read_text("ascii")).items()
                if got.get(name) != value]
        if lost:
            config.unlink()
            sys.exit(f"debugkernel.py: this kernel has no {', '.join(lost)}")

    def install(self, root: Path) -> str:
        """Copy what is kept; returns the release."""
        name = "include/config/kernel.release"
        release = (self.work / name).read_text("ascii").strip()
        self.make("-s", f"INSTALL_MOD_PATH={root}", "DEPMOD=true",
                  "modules_install")
        (root / "boot").mkdir()
        shutil.copy(self.work / "arch/x86/boot/bzImage", root / "boot/vmlinuz")
        kept = [found.relative_to(self.work) for pattern in HEADERS
                for found in self.work.glob(pattern)]
        (root / "headers").mkdir()
        subprocess.run(["cp", "-a", "--parents", "-t", str(root / "headers"),
                        *map(str, kept)], cwd=self.work, check=True)
        for name in ("build", "source"):
            link = root / "lib/modules" / release / name
            link.unlink(missing_ok=True)
            link.symlink_to("../../../headers")
        subprocess.run(["/sbin/depmod", "-b", str(root), release], check=True)
        return release


def forget(keep: Path) -> None:
    """Remove what was built for another state and not used for two days."""
    for old in keep.parent.glob(f"{kernels.DEBUG}-*"):
        if old != keep and old.stat().st_mtime < time.time() - 2 * 86400:
            shutil.rmtree(old, ignore_errors=True)


def build() -> Path:
    """Directory of the debug kernel, built if need be."""
    final = path()
    info = final / "info.json"
    if not info.exists():
        with lock(f"kernel-{kernels.DEBUG}"):
            if not info.exists():
                build_anew(final)
    os.utime(final)
    return final


def build_anew(final: Path) -> None:
    """Build it; to be called with the lock held."""
    work = final.parent / f".{final.name}.build"
    for other in final.parent.glob(f".{kernels.DEBUG}-*.build"):
        if other != work:
            shutil.rmtree(other)
    say("building the debug kernel; this takes about ten minutes of two "
        "processors, once")
    began = time.monotonic()
    tree = Build(work)
    tree.unpack()
    tree.configure()
    tree.make(f"-j{os.environ.get('USBIF_BUILD_JOBS') or os.cpu_count()}",
              *FLAGS, "bzImage", "modules")
    with fresh_dir(final) as root:
        release = tree.install(root)
        minutes = round((time.monotonic() - began) / 60, 1)
        (root / "info.json").write_text(json.dumps(
            {"series": kernels.DEBUG, "release": release,
             "version": final.name, "minutes": minutes}), encoding="ascii")
    shutil.rmtree(work)
    forget(final)
    say(f"debug kernel {release}: ready after {minutes} min in {final}")


if __name__ == "__main__":
    print(path() if sys.argv[1:] == ["path"] else build())
