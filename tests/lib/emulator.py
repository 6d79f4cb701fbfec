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

import argparse
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from typing import NamedTuple, Optional

STOCK = "/usr/bin/qemu-system-x86_64"
MD5SUMS = "/var/lib/dpkg/info/qemu-system-x86.md5sums"

# How far before the call of do_interrupt_x86_hardirq() the INTR case begins
# at most, and how far away the other cases of the switch may be placed.
CASE_SPAN = 112
SWITCH_SPAN = 2048

# The repair itself is part of the cache key: a change here makes new copies.
REPAIR = 1


class NotFound(Exception):
	"""The store was not found, or not found once."""


class Elf:
	"""As much of an x86-64 ELF file as the search needs."""

	def __init__(self, data: bytes) -> None:
		if data[:6] != b"\x7fELF\x02\x01" or \
		   struct.unpack_from("<H", data, 18)[0] != 62:
			raise NotFound("not an x86-64 ELF file")
		self.data = data
		self.sections = self._sections()

	def _sections(self) -> list[tuple[int, ...]]:
		offset, = struct.unpack_from("<Q", self.data, 40)
		size, count = struct.unpack_from("<HH", self.data, 58)
		return [struct.unpack_from("<IIQQQQIIQQ", self.data,
					   offset + n * size)
			for n in range(count)]

	def text(self) -> list[tuple[int, int, int]]:
		"""Executable sections as (address, offset, size)."""
		return [(s[3], s[4], s[5]) for s in self.sections
			if s[1] == 1 and s[2] & 4]

	def symbol(self, name: str) -> int:
		"""Address of a function in the dynamic symbol table."""
		wanted = name.encode()
		for section in self.sections:
			if section[1] != 11:
				continue
			names = self.sections[section[6]][4]
			for at in range(section[4], section[4] + section[5], 24):
				label, _, _, _, value, _ = \
					struct.unpack_from("<IBBHQQ", self.data, at)
				start = names + label
				end = start + len(wanted)
				if value and self.data[start:end] == wanted and \
				   self.data[end] == 0:
					return value
		raise NotFound(f"no symbol {name}")


class Store(NamedTuple):
	"""A store to [base + disp32]; start is behind the REX prefix."""
	start: int
	end: int
	base: int
	disp: int
	value: Optional[int]


def stores(code: bytes) -> list[Store]:
	"""Every octet sequence in @code that reads as such a store.

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
	"""Stores of the vector in @case, the code before one call.

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
			 if s.base == zero.base and s.value is None and
			 abs(s.disp - zero.disp) > 4 and
			 (s.base, s.disp) in nmi]
	return fits


def find(data: bytes) -> tuple[int, int]:
	"""Offset and length of the one store in the file @data."""
	elf = Elf(data)
	target = elf.symbol("do_interrupt_x86_hardirq")
	hits = set()
	for address, offset, size in elf.text():
		end = offset + size
		at = data.find(b"\xe8", offset, end)
		while 0 <= at <= end - 5:
			to, = struct.unpack_from("<i", data, at + 1)
			if address + at - offset + 5 + to == target:
				low = max(offset, at - CASE_SPAN)
				around = data[max(offset, at - SWITCH_SPAN):
					      min(end, at + SWITCH_SPAN)]
				for store in case_store(data[low:at], around):
					hits.add((low + store.start,
						  store.end - store.start))
			at = data.find(b"\xe8", at + 1, end)
	if len(hits) != 1:
		raise NotFound(f"{len(hits)} places fit instead of one")
	return hits.pop()


def repaired(data: bytes) -> bytes:
	"""@data without the store.

	A REX prefix stays where it is; these NOPs mean the same behind any.
	"""
	nops = {6: b"\x66\x0f\x1f\x44\x00\x00",
		7: b"\x0f\x1f\x80\x00\x00\x00\x00"}
	offset, length = find(data)
	return data[:offset] + nops[length] + data[offset + length:]


def cache_dir() -> str:
	base = os.environ.get("XDG_CACHE_HOME") or \
		os.path.expanduser("~/.cache")
	return os.path.join(base, "usbif", "emulator")


def make_copy(data: bytes, where: str) -> None:
	"""Puts a repaired copy in @where, in one step.

	QEMU looks for firmware relative to its own place, hence the links.
	"""
	os.makedirs(os.path.dirname(where), exist_ok=True)
	made = tempfile.mkdtemp(dir=os.path.dirname(where))
	try:
		os.mkdir(os.path.join(made, "bin"))
		for name in ("share", "lib"):
			os.symlink(os.path.join("/usr", name),
				   os.path.join(made, name))
		binary = os.path.join(made, "bin", os.path.basename(STOCK))
		with open(binary, "wb") as out:
			out.write(repaired(data))
		os.chmod(binary, 0o755)
		subprocess.run([binary, "--version"], check=True, timeout=30,
			       stdout=subprocess.DEVNULL)
		os.chmod(made, 0o755)
		os.rename(made, where)
	except OSError:
		# Somebody else was faster; theirs is as good.
		if not os.path.isdir(where):
			raise
	finally:
		shutil.rmtree(made, ignore_errors=True)


def outer_emulator(stock: str = STOCK) -> str:
	"""Path of the QEMU to run the outer machine with."""
	with open(stock, "rb") as binary:
		data = binary.read()
	key = hashlib.sha256(data + bytes([REPAIR])).hexdigest()[:16]
	where = os.path.join(cache_dir(), key)
	copy = os.path.join(where, "bin", os.path.basename(STOCK))
	if os.path.exists(copy):
		return copy
	try:
		make_copy(data, where)
	except (NotFound, OSError, subprocess.SubprocessError) as why:
		print(f"WARNING: {stock} is used as it is, not repaired: {why}.\n"
		      "WARNING: nested guests can hang at random "
		      "(double injection after VMRUN).", file=sys.stderr)
		return stock
	return copy


def packaged(path: str = STOCK, md5sums: str = MD5SUMS) -> bool:
	"""Whether @path is the file its Debian package brought."""
	with open(path, "rb") as binary:
		digest = hashlib.md5(binary.read()).hexdigest()
	with open(md5sums, encoding="ascii") as sums:
		wanted = dict(line.split()[::-1] for line in sums)
	return wanted.get(os.path.realpath(path).lstrip("/")) == digest


def main() -> int:
	parser = argparse.ArgumentParser(
		description="Prints the emulator for the outer machine.")
	parser.add_argument("--stock", default=STOCK,
			    help="the installed binary")
	parser.add_argument("--where", action="store_true",
			    help="print offset and octets of the store")
	args = parser.parse_args()
	if not args.where:
		print(outer_emulator(args.stock))
		return 0
	with open(args.stock, "rb") as binary:
		data = binary.read()
	try:
		offset, length = find(data)
	except NotFound as why:
		print(f"not found: {why}", file=sys.stderr)
		return 1
	print(f"{offset:#x}: {data[offset:offset + length].hex(' ')}")
	return 0


if __name__ == "__main__":
	sys.exit(main())
