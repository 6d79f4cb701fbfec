# SPDX-License-Identifier: GPL-2.0
"""The Media Transfer Protocol, as far as files are copied by it.

    with Endpoints(vm, busid) as ends:
        mtp = Mtp(ends)
        mtp.open(); handles = mtp.handles(); mtp.info(handle); mtp.get(handle)
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import NamedTuple

from endpoints import Endpoints
from tap import expect_equal
from vm import VM

CONTAINER = struct.Struct("<IHHI")
COMMAND, DATA, RESPONSE = 1, 2, 3
OPEN_SESSION, CLOSE_SESSION, GET_STORAGES, GET_HANDLES = (0x1002, 0x1003, 0x1004,
                                                          0x1007)
GET_INFO, GET_OBJECT, DELETE_OBJECT, SEND_INFO, SEND_OBJECT, GET_PARTIAL = (
    0x1008, 0x1009, 0x100b, 0x100c, 0x100d, 0x101b)
OK, OBJECT_ADDED = 0x2001, 0x4002
FOLDER, FILE = 0x3001, 0x3000
ROOT = 0xffffffff
BULK_IN, BULK_OUT, INTERRUPT = 0x81, 0x02, 0x83
PIECE = 256 << 10


class Info(NamedTuple):
    """What is known of an object."""

    format: int
    size: int
    name: str


def u32s(data: bytes) -> list[int]:
    """An array as it is sent."""
    count, = struct.unpack_from("<I", data)
    return list(struct.unpack_from(f"<{count}I", data, 4))


class Mtp:
    """A session with one device."""

    def __init__(self, ends: Endpoints) -> None:
        self.ends = ends
        self.transaction = 0

    def _send(self, kind: int, code: int, data: bytes) -> None:
        self.ends.write(BULK_OUT, CONTAINER.pack(
            CONTAINER.size + len(data), kind, code, self.transaction) + data)

    def _container(self) -> tuple[int, int, bytes]:
        """The next container, however many transfers it takes."""
        data = self.ends.read(BULK_IN, PIECE)
        length, kind, code, transaction = CONTAINER.unpack_from(data)
        expect_equal(transaction, self.transaction, "transaction")
        while len(data) < length:
            data += self.ends.read(BULK_IN, PIECE)
        expect_equal(len(data), length, "length of a container")
        return kind, code, data[CONTAINER.size:]

    def command(self, code: int, *parameters: int, sends: bytes | None = None
                ) -> bytes:
        """A command, perhaps with data; the data of its answer, if any, or
        else the parameters of the response."""
        self.transaction += 1
        self._send(COMMAND, code, struct.pack(f"<{len(parameters)}I",
                                              *parameters))
        if sends is not None:
            self._send(DATA, code, sends)
        kind, answer, data = self._container()
        if kind == DATA:
            expect_equal(answer, code, "code of the data")
            kind, answer, _ = self._container()
        expect_equal((kind, answer), (RESPONSE, OK), f"response to {code:#x}")
        return data

    def open(self) -> int:
        """Begin; the only storage."""
        self.command(OPEN_SESSION, 1)
        storages = u32s(self.command(GET_STORAGES))
        expect_equal(len(storages), 1, "number of storages")
        return storages[0]

    def handles(self, folder: int = ROOT) -> list[int]:
        """What is in a folder."""
        return u32s(self.command(GET_HANDLES, ROOT, 0, folder))

    def info(self, handle: int) -> Info:
        """Name, size and whether it is a folder."""
        data = self.command(GET_INFO, handle)
        count = data[52]
        name = data[53:53 + 2 * count].decode("utf-16-le").rstrip("\0")
        return Info(*struct.unpack_from("<4xH2xI", data), name)

    def get(self, handle: int) -> bytes:
        """The content of a file."""
        return self.command(GET_OBJECT, handle)

    def send(self, storage: int, name: str, content: bytes) -> int:
        """Write a file into the root; its handle."""
        text = (name + "\0").encode("utf-16-le")
        answer = self.command(
            SEND_INFO, storage, ROOT,
            sends=struct.pack("<IHHI40x", 0, FILE, 0, len(content))
            + bytes((len(text) // 2,)) + text + bytes(3))
        self.command(SEND_OBJECT, sends=content)
        return struct.unpack("<3I", answer)[2]

    def added(self) -> int:
        """Wait for the event of a new object; its handle."""
        event = self.ends.read(INTERRUPT, 64)
        _, _, code, _, handle = struct.unpack("<IHHII", event)
        expect_equal(code, OBJECT_ADDED, "event")
        return handle

    def tree(self, folder: int = ROOT, path: str = "") -> dict[str, bytes]:
        """All files, by path."""
        found: dict[str, bytes] = {}
        for handle in self.handles(folder):
            info = self.info(handle)
            if info.format == FOLDER:
                found |= self.tree(handle, f"{path}{info.name}/")
            else:
                found[path + info.name] = self.get(handle)
                expect_equal(len(found[path + info.name]), info.size, "size")
        return found


SIZES = {"empty": 0, "one": 1, "packet": 500, "sixty-four": 65524,
         "long": 3000001, "folder/inner": 300007, "folder/deeper/last": 4096}


def make_tree(root: Path) -> dict[str, bytes]:
    """Files to be found there."""
    files = {name: random.randbytes(size) for name, size in SIZES.items()}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def check(vm: VM, busid: str, root: Path, files: dict[str, bytes]) -> str:
    """All files are read; one comes, one is written and deleted again."""
    with Endpoints(vm, busid) as ends:
        mtp = Mtp(ends)
        storage = mtp.open()
        found = mtp.tree()
        expect_equal(sorted(found), sorted(files), "names")
        for name, content in files.items():
            expect_equal(found[name] == content, True, f"{name} is the same")

        new = random.randbytes(12345)
        (root.parent / "new").write_bytes(new)
        (root.parent / "new").rename(root / "new")
        handle = mtp.added()
        expect_equal(mtp.info(handle), (FILE, len(new), "new"))
        expect_equal(mtp.get(handle) == new, True, "the new file is the same")
        expect_equal(mtp.command(GET_PARTIAL, handle, 5000, 999) ==
                     new[5000:5999], True, "a part of it is the same")
        (root / "new").unlink()

        mine = random.randbytes(400001)
        handle = mtp.send(storage, "mine", mine)
        expect_equal((root / "mine").read_bytes() == mine, True,
                     "the written file is the same")
        mtp.command(DELETE_OBJECT, handle, 0)
        expect_equal((root / "mine").exists(), False, "it is still there")
        mtp.command(CLOSE_SESSION)
    return (f"{len(files)} files of {sum(map(len, files.values()))} octets "
            f"read, one of {len(mine)} written, an event")
