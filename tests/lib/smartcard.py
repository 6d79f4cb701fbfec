# SPDX-License-Identifier: GPL-2.0
"""A smart card: what QEMU's reader has in it, and what CCID makes of it.

    card = Card("/path/of/the/socket")          # chardev of ccid-card-passthru
    card.insert(); card.remove(); card.close()

    Reader(endpoints).exchange(apdu)            # the other side of the reader
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import threading

from endpoints import Endpoints
from tap import expect_equal
from vm import VM

# What QEMU and the card say to each other.
HEADER = struct.Struct(">III")
ATR, REMOVED, APDU = 5, 6, 7

BULK_IN, BULK_OUT, INTERRUPT = 0x82, 0x03, 0x81
ABSENT, POWERED_OFF, ACTIVE = 2, 1, 0


class Card:
    """Answers each command with its checksum and some of its octets."""

    # One interface octet, eight historical ones.
    ATR = bytes((0x3b, 0x18, 0x11)) + b"usbif-1\x90"

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def answer(apdu: bytes) -> bytes:
        """What the card says to a command."""
        return (hashlib.sha256(apdu).digest()
                + bytes(b ^ 0xff for b in apdu[:250]) + b"\x90\x00")

    def _send(self, kind: int, data: bytes = b"") -> None:
        self.socket.sendall(HEADER.pack(kind, 0, len(data)) + data)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, _, length = HEADER.unpack(self._receive(HEADER.size))
                data = self._receive(length)
                if kind == APDU:
                    self._send(APDU, self.answer(data))

    def insert(self) -> None:
        """Put it into the reader."""
        self._send(ATR, self.ATR)

    def remove(self) -> None:
        """Take it out."""
        self._send(REMOVED)

    def close(self) -> None:
        """Away with it."""
        self.socket.close()


class Reader:
    """A reader, as its driver talks to it."""

    POWER_ON, POWER_OFF, STATUS, TRANSFER = 0x62, 0x63, 0x65, 0x6f

    def __init__(self, ends: Endpoints) -> None:
        self.ends = ends
        self.sequence = 0

    def message(self, kind: int, data: bytes = b"") -> tuple[int, bytes]:
        """Send a message; status and data of the answer."""
        self.sequence = (self.sequence + 1) % 256
        self.ends.write(BULK_OUT, struct.pack("<BIBBBH", kind, len(data), 0,
                                              self.sequence, 0, 0) + data)
        answer = self.ends.read(BULK_IN, 65536)
        _, length, _, sequence, status, error, _ = struct.unpack(
            "<BIBBBBB", answer[:10])
        expect_equal((sequence, error, len(answer)),
                     (self.sequence, 0, 10 + length), "header of the answer")
        return status, answer[10:]

    def changed(self) -> bool:
        """Wait until a card comes or goes: is there one now?"""
        kind, state = self.ends.read(INTERRUPT, 2)
        expect_equal((kind, state & 2), (0x50, 2), "notice of the slot")
        return bool(state & 1)


def check(vm: VM, busid: str, card: Card) -> str:
    """A card comes, answers and goes."""
    lengths = (4, 5, 13, 100, 261, 1000, 4089, 65000)
    rng = random.Random(3)
    with Endpoints(vm, busid) as ends:
        reader = Reader(ends)
        expect_equal(reader.message(reader.STATUS)[0], ABSENT, "without a card")
        card.insert()
        expect_equal(reader.changed(), True, "a card is there")
        expect_equal(reader.message(reader.POWER_ON), (ACTIVE, Card.ATR), "ATR")
        for length in lengths:
            apdu = rng.randbytes(length)
            expect_equal(reader.message(reader.TRANSFER, apdu),
                         (ACTIVE, Card.answer(apdu)), f"answer to {length}")
        expect_equal(reader.message(reader.POWER_OFF)[0], POWERED_OFF)
        card.remove()
        expect_equal(reader.changed(), False, "a card is there")
        expect_equal(reader.message(reader.STATUS)[0], ABSENT, "afterwards")
    return (f"ATR of {len(Card.ATR)} octets, {len(lengths)} commands of up to "
            f"{max(lengths)}, insertion and removal")
