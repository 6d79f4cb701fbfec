#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Debian kernels for the tests: image, modules, headers, and our modules.

  kernels.py path SERIES     directory of the unpacked kernel (6.1, 6.12, 6.1-debug)
  kernels.py release SERIES  its release, as uname -r prints it
  kernels.py headers SERIES  directory to give to make as KDIR
  kernels.py build SERIES    build usbback.ko and usbfront.ko for it, print
                             the directory they are in
  kernels.py rebuild SERIES [FLAG...]
                             the same from nothing and for nothing, to see the
                             warnings; flags as for make, such as C=2
  kernels.py source          directory with testusb.c, checkpatch.pl
  kernels.py fetch           all of the above but the builds

Packages come from the mirror the machine's own apt uses, through a private
apt state below the cache; the machine's package state is not touched and
nothing is installed.  What is unpacked once is used without the network.
"""

import argparse
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Iterable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cache import (TREE, cache_dir, fresh_dir, lock, say,  # noqa: E402
                   write_if_changed)

# The one that debugkernel.py builds.
DEBUG = "6.1-debug"
# UBSAN and KCOV are for what is tested; the kernel itself is built without them, and
# most of it without KASAN.
DEBUG_FLAGS = ("UBSAN_SANITIZE=y", "KASAN_SANITIZE=y", "KCOV_INSTRUMENT=y")
ARCHIVES = {
    "6.1": ("bookworm", "bookworm-updates", "bookworm-security"),
    "6.12": ("bookworm-backports",),
}
# Of another architecture; built for with a cross compiler.
FOREIGN = {
    "6.1-arm64": ARCHIVES["6.1"],
    "6.1-armmp": ("bookworm",),
    "6.1-rpi": ("bookworm",),
}
# All that come as Debian's packages.
PACKAGED = ARCHIVES | FOREIGN
# Those that no test boots.
HEADERS_ONLY = {"6.1-armmp"}
DEBIAN_ARCH = {"armmp": "armhf", "rpi": "armel"}
MAKE = {
    "arm64": ("ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"),
    "armmp": ("ARCH=arm", "CROSS_COMPILE=arm-linux-gnueabihf-"),
    "rpi": ("ARCH=arm", "CROSS_COMPILE=arm-linux-gnueabihf-"),
}
# The kernels that the tests run on.
SUITES = tuple(os.environ.get("USBIF_KERNELS", "").split() or ARCHIVES)
# With 32 bits. Debian's modpost for these that runs on amd64 takes the size of
# struct of_device_id from amd64; the one of armhf has it right.
SMALL = {"armmp", "rpi"}
MODPOST = "usr/lib/linux-kbuild-6.1/scripts/mod/modpost.real-lsb-32"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCE_FILES = ("tools/usb/testusb.c", "scripts/checkpatch.pl",
                "scripts/spelling.txt", "scripts/const_structs.checkpatch",
                "tools/testing/selftests/run_kselftest.sh",
                "tools/testing/selftests/kselftest/runner.sh",
                "tools/testing/selftests/kselftest/prefix.pl")


def flavour(series: str) -> str:
    """Debian's name of the kind of machine a kernel is for."""
    return series.partition("-")[2] if series in FOREIGN else "amd64"


def arch(series: str) -> str:
    """Debian's name of the architecture a kernel is for."""
    return DEBIAN_ARCH.get(flavour(series), flavour(series))


class Mirrors(NamedTuple):
    """Base addresses of the main and the security archive."""

    main: str
    security: str


def _entries() -> list[tuple[str, list[str]]]:
    """(URI, suites) of every binary source the machine's apt knows."""
    found = []
    etc = Path("/etc/apt")
    lists = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]
    for path in lists:
        if not path.exists():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            line = re.sub(r"\[[^]]*\]", "", line.split("#")[0])
            words = line.split()
            if len(words) >= 3 and words[0] == "deb":
                found.append((words[1], [words[2]]))
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf-8"))
        for stanza in re.split(r"\n\s*\n", text):
            text = re.sub(r"\n[ \t]+", " ", stanza)
            pairs = re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", text)
            field = {key.lower(): value.split() for key, value in pairs}
            if ("deb" not in field.get("types", [])
                    or field.get("enabled", ["yes"])[0].lower() == "no"):
                continue
            for uri in field.get("uris", []):
                found.append((uri, field.get("suites", [])))
    return found


def mirrors() -> Mirrors:
    """The archives this machine already uses for Debian packages."""
    main = security = ""
    for uri, suites in _entries():
        uri = uri.rstrip("/")
        if re.search(r"/debian$", uri) and not main:
            main = uri
        if (re.search(r"/debian-security$", uri)
                or any(s.endswith("-security") for s in suites)):
            security = security or uri
    if not main:
        sys.exit("kernels.py: no Debian archive in /etc/apt/sources.list or "
                 "/etc/apt/sources.list.d; add one (see sources.list(5))")
    return Mirrors(main, security or main + "-security")


class Apt:
    """An apt of our own: private lists, state and cache.

    What it installs, and it never does, would be for machine.
    """

    def __init__(self, series: str, name: str = "",
                 machine: str = "amd64") -> None:
        self.root = cache_dir() / "apt" / (name or series)
        for sub in ("etc/parts", "state/lists/partial",
                    "cache/archives/partial", "debs"):
            (self.root / sub).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        signed = f" [signed-by={KEYRING}]" if Path(KEYRING).exists() else ""
        where = mirrors()
        lines = []
        for suite in PACKAGED[series]:
            uri = (where.security if suite.endswith("-security")
                   else where.main)
            lines.append(f"deb{signed} {uri} {suite} main\n")
        (self.root / "etc/sources.list").write_text("".join(lines),
                                                    encoding="ascii")
        options = {
            "Dir::State": self.root / "state",
            "Dir::State::status": self.root / "state/status",
            "Dir::Cache": self.root / "cache",
            "Dir::Etc::sourcelist": self.root / "etc/sources.list",
            "Dir::Etc::sourceparts": self.root / "etc/parts",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": self.root / "etc/parts",
            "APT::Architecture": machine,
            "APT::Architectures": ",".join(sorted(
                {machine, arch(series)}
                | ({"armhf"} if flavour(series) in SMALL else set()))),
            "APT::Sandbox::User": "",
            "APT::Update::Post-Invoke-Success": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        self.options = [f"-o{key}={value}" for key, value in options.items()]

    def run(self, *args: str) -> None:
        """Run apt-get with its progress on standard error."""
        done = subprocess.run(["apt-get", "-q", *self.options, *args],
                              cwd=self.root / "debs", stdout=sys.stderr,
                              check=False)
        if done.returncode:
            sys.exit(f"kernels.py: 'apt-get {' '.join(args)}' failed; is the "
                     "network there?  Run again: what is done is kept")

    def show(self, package: str) -> dict[str, str]:
        """The fields of the candidate version of package."""
        out = subprocess.run(["apt-cache", *self.options, "show",
                              "--no-all-versions", package], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        return dict(re.findall(r"(?m)^([\w-]+): (.*)$", out))

    def depends(self, package: str) -> list[str]:
        """Names of the packages that package depends on."""
        text = self.show(package).get("Depends", "")
        return [d.split("|")[0].split("(")[0].strip()
                for d in text.split(",") if d.strip()]

    def closure(self, packages: Iterable[str]) -> list[str]:
        """Those packages and all that they need, on an empty machine."""
        done = subprocess.run(
            ["apt-get", "-q", *self.options, "--no-install-recommends",
             "--simulate", "install", *packages], check=False,
            stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"kernels.py: no {' '.join(packages)} for these suites")
        return re.findall(r"(?m)^Inst ([^ :]+)", done.stdout)

    def download(self, packages: list[str]) -> list[Path]:
        """Fetch packages, return the files in the same order."""
        files = []
        for name in packages:
            version = self.show(name)["Version"].replace(":", "%3a")
            plain, _, machine = name.partition(":")
            files.append((name, f"{plain}_{version}_{machine}"))
        debs = self.root / "debs"
        have = {p.name for p in debs.iterdir()}
        missing = [name for name, start in files
                   if not any(h.startswith(start) for h in have)]
        if missing:
            self.run("download", *missing)
        return [next(debs.glob(f"{start}*.deb")) for _, start in files]


def unpack(deb: Path, target: Path) -> None:
    """Unpack one package, leaving out what nothing here reads."""
    say(f"unpacking {deb.name}")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)],
                          stdout=subprocess.PIPE) as proc:
        subprocess.run(["tar", "-x", "-C", str(target), "--no-same-owner",
                        "--exclude=./usr/share/doc",
                        "--exclude=./usr/share/lintian"],
                       stdin=proc.stdout, check=True)
    if proc.returncode:
        sys.exit(f"kernels.py: dpkg-deb failed on {deb}")


def relocate(root: Path, final: Path) -> None:
    """Make unpacked headers usable from where they are."""
    for path in (root / "usr/src").glob("linux-headers-*/Makefile"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("/usr/src/", f"{final}/usr/src/"),
                        encoding="utf-8")
    for path in (root / "usr/src").glob("*/*"):
        if path.is_symlink():
            where = os.readlink(path)
            if where.startswith("/usr/"):
                path.unlink()
                path.symlink_to(f"{final}{where}")


def uncompressed(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage; it boots without unpacking itself."""
    head = int.from_bytes(image[0x1f1:0x1f2], "little")
    offset = (head + 1) * 512 + int.from_bytes(image[0x248:0x24c], "little")
    size = int.from_bytes(image[0x24c:0x250], "little")
    payload = image[offset:offset + size]
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        done = subprocess.run(["zstd", "-dcq"], input=payload,
                              stdout=subprocess.PIPE, check=False)
        return done.stdout
    return b""


def replace_modpost(root: Path, final: Path, deb: Path) -> None:
    """Have armhf's modpost run, in an emulator."""
    with tempfile.TemporaryDirectory() as tmp:
        unpack(deb, Path(tmp))
        shutil.copy(Path(tmp) / MODPOST, root / "modpost")
    (root / MODPOST).write_text(
        "#!/bin/sh\nexec qemu-arm -L /usr/arm-linux-gnueabihf "
        f'{final}/modpost "$@"\n', encoding="ascii")


def finish(root: Path, final: Path, series: str, version: str) -> None:
    """Turn the unpacked packages into what the tests use."""
    if series in HEADERS_ONLY:
        release = next((root / "usr/src").glob(
            f"linux-headers-*-{flavour(series)}")).name[len("linux-headers-"):]
    else:
        release = finish_image(root, series)
    relocate(root, final)
    (root / "headers").symlink_to(f"usr/src/linux-headers-{release}")
    info = {"series": series, "release": release, "version": version}
    (root / "info.json").write_text(json.dumps(info), encoding="ascii")


def finish_image(root: Path, series: str) -> str:
    """What is to be booted, and its modules; returns the kernel's release."""
    modules = next(p for p in (root / "lib/modules", root / "usr/lib/modules")
                   if p.is_dir())
    release = next(modules.iterdir()).name
    if modules != root / "lib/modules":
        (root / "lib").mkdir(exist_ok=True)
        modules.rename(root / "lib/modules")
    for name in ("build", "source"):
        link = root / "lib/modules" / release / name
        link.unlink(missing_ok=True)
        link.symlink_to("../../../headers")
    (root / "boot/vmlinuz").symlink_to(f"vmlinuz-{release}")
    elf = b""
    if series not in FOREIGN:
        elf = uncompressed((root / "boot/vmlinuz").read_bytes())
    if elf.startswith(b"\x7fELF"):
        (root / "boot/vmlinux").write_bytes(elf)
    say(f"indexing the modules of {release}")
    subprocess.run(["/sbin/depmod", "-b", str(root), release], check=True)
    return release


def is_complete(root: Path, series: str) -> bool:
    """Has it been fetched, with all that is wanted of it?"""
    return (root / "info.json").exists() and (
        series in HEADERS_ONLY or (root / "boot").exists())


def fetch(series: str) -> Path:
    """Directory of the kernel of that series, fetched if need be."""
    if series == DEBUG:
        import debugkernel      # which needs this module
        return debugkernel.build()
    if series not in PACKAGED:
        sys.exit(f"kernels.py: unknown series '{series}', "
                 f"known: {', '.join(PACKAGED)}, {DEBUG}")
    final = cache_dir() / "kernels" / series
    if is_complete(final, series):
        return final
    with lock(f"kernel-{series}"):
        if is_complete(final, series):
            return final
        apt = Apt(series)
        say(f"fetching the package lists for kernel {series}")
        apt.run("update")
        suffix = f":{arch(series)}" if series in FOREIGN else ""
        image = next(
            d for d in apt.depends(f"linux-image-{flavour(series)}{suffix}")
            if d.startswith("linux-image-")) + suffix
        version = apt.show(image)["Version"]
        headers = image.replace("linux-image-", "linux-headers-")
        # What runs while modules are built is for this machine.
        packages = [headers] + [
            d for d in apt.depends(headers)
            if re.match(r"linux-(headers|kbuild)-", d)]
        if series not in HEADERS_ONLY:
            packages.append(image)
        if series in FOREIGN and series not in HEADERS_ONLY:
            packages.append(f"busybox-static{suffix}")
        say(f"fetching {' '.join(packages)} {version}")
        debs = apt.download(packages)
        with fresh_dir(final) as root:
            for deb in debs:
                unpack(deb, root)
            if flavour(series) in SMALL:
                replace_modpost(root, final, *apt.download(
                    ["linux-kbuild-6.1:armhf"]))
            finish(root, final, series, version)
        shutil.rmtree(apt.root)
        say(f"kernel {series} is ready in {final}")
    return final


def release(series: str) -> str:
    """The release of the cached kernel, as uname -r prints it."""
    info = json.loads((fetch(series) / "info.json").read_bytes())
    return info["release"]


def busybox(series: str) -> Path:
    """A static busybox that runs on that kernel."""
    return (fetch(series) if series in FOREIGN else Path("/")) / "bin/busybox"


def headers(series: str) -> Path:
    """What to give to make as KDIR."""
    return fetch(series) / "headers"


def source_archive() -> Path:
    """The kernel's source as Debian packs it."""
    final = cache_dir() / "kernels" / "source" / "linux-source-6.1.tar.xz"
    if final.exists():
        return final
    with lock("kernel-archive"):
        if final.exists():
            return final
        apt = Apt("6.1", "source")
        say("fetching linux-source-6.1")
        apt.run("update")
        deb = apt.download(["linux-source-6.1"])[0]
        with fresh_dir(final.parent) as root:
            unpack(deb, root)
            next((root / "usr/src").glob("*.tar.xz")).rename(root / final.name)
            shutil.rmtree(root / "usr")
        shutil.rmtree(apt.root)
    return final


def source() -> Path:
    """Directory with the few files we use of the kernel's source package."""
    final = cache_dir() / "kernels" / "source-6.1"

    def complete() -> bool:
        return all((final / name).exists() for name in SOURCE_FILES)

    if complete():
        return final
    archive = source_archive()
    with lock("kernel-source"):
        if complete():
            return final
        say(f"unpacking the few files used of {archive.name}")
        with fresh_dir(final) as root:
            top = "linux-source-6.1"
            want = {f"{top}/{name}" for name in SOURCE_FILES}
            with tarfile.open(archive, "r|xz") as tar:
                for member in tar:
                    if member.name in want and want:
                        tar.extract(member, root)
                        want.discard(member.name)
                    if not want:
                        break
            if want:
                sys.exit(f"kernels.py: {archive.name} lacks {want}")
            for sub in ("tools", "scripts"):
                (root / top / sub).rename(root / sub)
            shutil.rmtree(root / top)
    return final


def sync_sources(target: Path) -> None:
    """Copy what the modules are built from; unchanged files stay as is."""
    wanted = {Path("Kbuild")}
    for sub in ("include", "ring", "usbback", "usbfront"):
        wanted |= {p.relative_to(TREE) for p in (TREE / sub).rglob("*")
                   if p.suffix in (".c", ".h", ".S") or p.name == "Kbuild"}
    for name in sorted(wanted):
        write_if_changed(target / name, (TREE / name).read_bytes())
    for path in target.rglob("*.[chS]"):
        if (path.relative_to(target) not in wanted
                and not path.name.endswith(".mod.c")):
            path.unlink()


def build_dir(series: str) -> Path:
    """Where the modules of this tree are built for a kernel."""
    key = f"{zlib.crc32(str(TREE).encode()):08x}"
    return cache_dir() / "build" / f"{series}-{key}"


# Said of every module that is built away from its kernel, or that shares an
# object with another one.
EXPECTED = re.compile(r"Skipping BTF generation|is added to multiple modules")


def make_modules(series: str, target: Path, *flags: str) -> None:
    """Run make in a copy of the sources; ends the program if it fails."""
    sync_sources(target)
    if series == DEBUG:
        flags += DEBUG_FLAGS
    done = subprocess.run(
        ["make", "-s", "-C", str(headers(series)), f"M={target}",
         f"-j{os.cpu_count()}", "W=1", *MAKE.get(flavour(series), ()), *flags,
         "modules"], check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in done.stdout.splitlines():
        if not EXPECTED.search(line):
            say(line.replace(f"{target}/", ""))
    if done.returncode:
        sys.exit(f"kernels.py: the modules don't build for {series}")


def build(series: str, *flags: str) -> Path:
    """Build the modules for a kernel; returns the directory they are in."""
    target = build_dir(series)
    target.mkdir(parents=True, exist_ok=True)
    with lock(f"build-{target.name}"):
        make_modules(series, target, *flags)
    return target


def rebuild(series: str, *flags: str) -> None:
    """Build all from nothing, for the sake of the warnings."""
    parent = build_dir(series).parent
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{series}.", dir=parent) as tmp:
        make_modules(series, Path(tmp), *flags)
        for name in ("usbback.ko", "usbfront.ko"):
            if not (Path(tmp) / name).exists():
                sys.exit(f"kernels.py: {name} was not built")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("path", "release", "headers",
                                            "build", "rebuild", "source",
                                            "fetch"))
    parser.add_argument("series", nargs="?", choices=(*PACKAGED, DEBUG))
    parser.add_argument("flags", nargs="*")
    args = parser.parse_args()
    if args.command == "source":
        print(source())
    elif args.command == "fetch":
        for series in PACKAGED:
            fetch(series)
        source()
    elif args.series is None:
        parser.error(f"{args.command} needs a series")
    elif args.command == "rebuild":
        rebuild(args.series, *args.flags)
    else:
        table = {"path": fetch, "release": release, "headers": headers,
                 "build": build}
        print(table[args.command](args.series))


if __name__ == "__main__":
    main()
