#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The emulator that stands in for the outer machine.

QEMU's TCG has a bug that hangs nested guests at random. After helper_vmrun()
has injected an external interrupt (EVENTINJ type INTR) it leaves the vector in
CPUState::exception_index. The vector is delivered from the helper's argument;
the store has no use there. But when the vCPU returns to its outer loop before
the next VMEXIT, the loop finds an exception pending and delivers the vector a
second time, whatever the nested guest's interrupt flag says.

outer_emulator() gives a copy of the installed QEMU with that one store
replaced by NOPs. The store is looked for by what surrounds it, not at a known
address, and the copy is only made when exactly one place fits. Otherwise the
installed binary is used as it is, and a warning says so.

The QEMU that runs the guests under test is never repaired: packaged() tells
whether a file is the distribution's, unmodified.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cache import cache_dir, fresh_dir, lock, say  # noqa: E402

STOCK = Path("/usr/bin/qemu-system-x86_64")
MD5SUMS = Path("/var/lib/dpkg/info/qemu-system-x86.md5sums")

# How far before the call of do_interrupt_x86_hardirq() the INTR case begins
# at most, and how far away the other cases of the switch may be placed.
CASE_SPAN = 112
SWITCH_SPAN = 2048

# NOPs of the length of the store, which mean the same behind any REX prefix.
NOPS = {6: b"\x66\x0f\x1f\x44\x00\x00", 7: b"\x0f\x1f\x80\x00\x00\x00\x00"}

SHT_PROGBITS, SHT_DYNSYM, SHF_EXECINSTR, EM_X86_64 = 1, 11, 4, 62


class NotFound(Exception):
    """The store was not found, or not found once."""


class Section(NamedTuple):
    """A section header of a 64-bit ELF file."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


class Elf:
    """As much of an x86-64 ELF file as the search needs."""

    def __init__(self, data: bytes) -> None:
        if (data[:6] != b"\x7fELF\x02\x01"
                or struct.unpack_from("<H", data, 18)[0] != EM_X86_64):
            raise NotFound("not an x86-64 ELF file")
        self.data = data
        offset, = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        self.sections = [
            Section(*struct.unpack_from("<IIQQQQIIQQ", data,
                                        offset + number * size))
            for number in range(count)]

    def text(self) -> list[Section]:
        """The sections with code."""
        return [s for s in self.sections
                if s.type == SHT_PROGBITS and s.flags & SHF_EXECINSTR]

    def symbol(self, name: str) -> int:
        """Address of a function in the dynamic symbol table."""
        wanted = name.encode() + b"\0"
        for table in self.sections:
            if table.type != SHT_DYNSYM:
                continue
            names = self.sections[table.link].offset
            for at in range(table.offset, table.offset + table.size, 24):
                label, _, _, _, value, _ = struct.unpack_from(
                    "<IBBHQQ", self.data, at)
                if value and self.data.startswith(wanted, names + label):
                    return value
        raise NotFound(f"no symbol {name}")


class Store(NamedTuple):
    """A store to [base + disp32]; start is behind the REX prefix."""

    start: int
    end: int
    base: int
    disp: int
    value: int | None


def stores(code: bytes) -> list[Store]:
    """Every octet sequence in code that reads as such a store.

    mov %r32, disp32(%base) and mov[lq] $imm32, disp32(%base); a base of
    %rsp is a stack slot and of no interest, %r12 takes an index octet.
    """
    found = []
    pattern = re.compile(rb"(?=[\x89\xc7][\x80-\xbf].{9})", re.S)
    for match in pattern.finditer(code):
        start = match.start()
        opcode, modrm = code[start:start + 2]
        rex = code[start - 1] if start else 0
        if not 0x40 <= rex <= 0x4f:
            rex = 0
        base = modrm & 7 | (rex & 1) << 3
        end = start + 2
        if modrm & 7 == 4:
            if base != 12 or code[end] != 0x24:
                continue
            end += 1
        disp, = struct.unpack_from("<i", code, end)
        end += 4
        value = None
        if opcode == 0xc7:
            if modrm & 0x38:
                continue
            value, = struct.unpack_from("<i", code, end)
            end += 4
        elif rex & 8:
            continue
        found.append(Store(start, end, base, disp, value))
    return found


def case_store(case: bytes, switch: bytes) -> list[Store]:
    """Stores of the vector in case, the code before one call.

    In the INTR case three stores go to env: error_code, exception_is_int (0)
    and exception_next_eip (-1), which lie side by side, and one, through the
    same base register, to CPUState::exception_index. That this is
    exception_index shows in the NMI case, which stores EXCP02_NMI there.
    """
    seen = stores(case)
    nmi = [(s.base, s.disp) for s in stores(switch) if s.value == 2]
    fits = []
    for zero in seen:
        env = {(s.disp - zero.disp, s.value)
               for s in seen if s.base == zero.base}
        if zero.value != 0 or not {(-4, None), (4, -1)} <= env:
            continue
        fits += [s for s in seen
                 if s.base == zero.base and s.value is None
                 and abs(s.disp - zero.disp) > 4
                 and (s.base, s.disp) in nmi]
    return fits


def calls(data: bytes, section: Section, target: int) -> list[int]:
    """Offsets of what reads as a call of target."""
    found = []
    end = section.offset + section.size
    at = data.find(b"\xe8", section.offset, end)
    while 0 <= at <= end - 5:
        distance, = struct.unpack_from("<i", data, at + 1)
        if section.addr + at - section.offset + 5 + distance == target:
            found.append(at)
        at = data.find(b"\xe8", at + 1, end)
    return found


def find(data: bytes) -> tuple[int, int]:
    """Offset and length of the one store in the file data."""
    hits = set()
    try:
        elf = Elf(data)
        target = elf.symbol("do_interrupt_x86_hardirq")
        for section in elf.text():
            for at in calls(data, section, target):
                case = max(section.offset, at - CASE_SPAN)
                around = data[max(section.offset, at - SWITCH_SPAN):
                              at + SWITCH_SPAN]
                for store in case_store(data[case:at], around):
                    hits.add((case + store.start, store.end - store.start))
    except (struct.error, IndexError) as why:
        raise NotFound("not a sound ELF file") from why
    if len(hits) != 1:
        raise NotFound(f"{len(hits)} places fit instead of one")
    return hits.pop()


def repaired(data: bytes) -> bytes:
    """data without the store; a REX prefix stays where it is."""
    offset, length = find(data)
    return data[:offset] + NOPS[length] + data[offset + length:]


def make_copy(data: bytes, final: Path) -> None:
    """Put a repaired copy in the directory final.

    QEMU looks for firmware relative to its own place, hence the links.
    """
    with fresh_dir(final) as made:
        (made / "bin").mkdir()
        for name in ("share", "lib"):
            (made / name).symlink_to(Path("/usr") / name)
        binary = made / "bin" / STOCK.name
        binary.write_bytes(repaired(data))
        binary.chmod(0o755)
        subprocess.run([binary, "--version"], check=True, timeout=30,
                       stdout=subprocess.DEVNULL)


def outer_emulator(stock: Path = STOCK) -> Path:
    """The QEMU to run the outer machine with."""
    data = stock.read_bytes()
    # A change of this file may mean a change of the copy.
    key = hashlib.sha256(data + Path(__file__).read_bytes()).hexdigest()[:16]
    final = cache_dir() / "emulator" / key
    copy = final / "bin" / STOCK.name
    try:
        with lock("emulator"):
            if not copy.exists():
                make_copy(data, final)
        return copy
    except (NotFound, OSError, subprocess.SubprocessError) as why:
        say(f"WARNING: {stock} is used as it is, without the repair: {why}\n"
            "WARNING: nested guests can hang at random "
            "(an interrupt is injected twice after VMRUN)")
        return stock


def packaged(path: Path = STOCK, md5sums: Path = MD5SUMS) -> bool:
    """Is path the file that its Debian package brought?"""
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    lines = md5sums.read_text(encoding="ascii").splitlines()
    wanted = {name: md5 for md5, name in (line.split() for line in lines)}
    return wanted.get(str(path.resolve()).lstrip("/")) == digest


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Print the emulator for the outer machine.")
    parser.add_argument("--stock", type=Path, default=STOCK,
                        help="the installed binary")
    parser.add_argument("--where", action="store_true",
                        help="print offset and octets of the store")
    args = parser.parse_args()
    if not args.where:
        print(outer_emulator(args.stock))
        return 0
    data = args.stock.read_bytes()
    try:
        offset, length = find(data)
    except NotFound as why:
        say(f"not found: {why}")
        return 1
    print(f"{offset:#x}: {data[offset:offset + length].hex(' ')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
