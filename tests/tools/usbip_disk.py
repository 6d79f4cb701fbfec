#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbip_disk.py IMAGE SERIAL - a SuperSpeed disk on vhci_hcd, until killed

It can speak BOT (setting 0) and claims to speak UAS (setting 1), as the disks
that there are do.  vhci_hcd has no streams, so only the first is ever used.
"""

import socket
import struct
import sys
from pathlib import Path

VHCI = Path("/sys/devices/platform/vhci_hcd.0")
SUBMIT, UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
HEADER = struct.Struct(">IIIIIIiiii8s")
ANSWER = struct.Struct(">IIIIIiiiii8x")
EPIPE, ECONNRESET = -32, -104
USB_SPEED_SUPER = 5
BULK_IN, BULK_OUT, STATUS_IN, COMMAND_OUT = 0x81, 0x02, 0x83, 0x04

DEVICE = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0300, 0, 0, 0, 9, 0x0525,
                     0xa4a6, 0x0100, 1, 2, 3, 1)
BOS = struct.pack("<BBHB", 5, 15, 22, 2) + struct.pack(
    "<BBBI", 7, 16, 2, 0) + struct.pack("<BBBBHBBH", 10, 16, 3, 0, 8, 3, 0, 0)


def endpoint(address: int, streams: int = 0, pipe: int = 0) -> bytes:
    """Descriptors of a bulk endpoint."""
    text = struct.pack("<BBBBHB", 7, 5, address, 2, 1024, 0)
    text += struct.pack("<BBBBH", 6, 48, 0, streams, 0)
    return text + (struct.pack("<BBBB", 4, 36, pipe, 0) if pipe else b"")


def configuration() -> bytes:
    """One interface, two settings."""
    text = struct.pack("<9B", 9, 4, 0, 0, 2, 8, 6, 80, 0)
    text += endpoint(BULK_IN) + endpoint(BULK_OUT)
    text += struct.pack("<9B", 9, 4, 0, 1, 4, 8, 6, 98, 0)
    text += endpoint(COMMAND_OUT, 0, 1) + endpoint(STATUS_IN, 4, 2)
    text += endpoint(BULK_IN, 4, 3) + endpoint(BULK_OUT, 4, 4)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(text), 1, 1, 0, 0x80,
                       50) + text


class Disk:
    """BOT and as much of SCSI as a disk needs."""

    def __init__(self, image: Path, serial: str) -> None:
        self.file = open(image, "r+b", buffering=0)
        self.blocks = image.stat().st_size // 512
        self.strings = ["", "usbif", "usbif test disk", serial]
        self.tag = 0
        self.left = 0           # octets that are still to come
        self.replies: list[bytes] = []

    def descriptor(self, value: int) -> bytes | None:
        """A descriptor by wValue."""
        kind, index = value >> 8, value & 0xff
        if kind == 1:
            return DEVICE
        if kind == 2:
            return configuration()
        if kind == 15:
            return BOS
        if kind == 3 and index < 4:
            text = (self.strings[index].encode("utf-16-le") if index
                    else struct.pack("<H", 0x0409))
            return bytes((len(text) + 2, 3)) + text
        return None

    def control(self, setup: bytes) -> bytes | None:
        """A control request; None stalls."""
        kind, request, value, _, length = struct.unpack("<BBHHH", setup)
        if (kind, request) == (0x80, 6):
            text = self.descriptor(value)
            return None if text is None else text[:length]
        if (kind, request) == (0x80, 0):
            return b"\1\0"[:length]
        if (kind, request) == (0xa1, 0xfe):
            return b"\0"
        if (kind, request) == (0x21, 0xff):
            self.left, self.replies = 0, []
            return b""
        return b"" if not kind & 0x80 else None

    def command(self, text: bytes) -> None:
        """A command block wrapper."""
        _, self.tag, length, _, _, size = struct.unpack("<IIIBBB", text[:15])
        cdb = text[15:15 + size]
        data: bytes | None = b""
        status = 0
        if cdb[0] in (0x28, 0x2a):
            at, blocks = struct.unpack(">IxH", cdb[2:9])
            self.file.seek(at * 512)
            if cdb[0] == 0x2a:
                self.left = blocks * 512
            else:
                data = self.file.read(blocks * 512)
        elif cdb[0] == 0x12:
            data = (b"\0\x80\6\2\x1f\0\0\0" + b"usbif   " +
                    b"disk".ljust(16) + b"1   ")
        elif cdb[0] == 0x25:
            data = struct.pack(">II", self.blocks - 1, 512)
        elif cdb[0] == 0x03:
            data = b"\x70\0\5\0\0\0\0\x0a\0\0\0\0\x20\0\0\0\0\0"
        elif cdb[0] == 0x1a:
            data = b"\3\0\0\0"
        elif cdb[0] not in (0x00, 0x1b, 0x35, 0x1e):
            status = 1
        data = data[:length]
        if length and not self.left and (data or status):
            self.replies.append(data)
        self.replies.append(struct.pack(
            "<IIIB", 0x53425355, self.tag,
            0 if self.left else length - len(data), status))

    def out(self, data: bytes) -> None:
        """Octets from the host: a command, or what it announced."""
        if self.left:
            self.file.write(data)
            self.left -= len(data)
        else:
            self.command(data)


class Server:
    """The far end of vhci_hcd's socket."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.sock, self.far = socket.socketpair()
        self.waiting: list[tuple[int, int]] = []    # IN: seqnum, length

    def attach(self) -> None:
        """Plug in at the first port for this speed."""
        for line in (VHCI / "status").read_text("ascii").splitlines()[1:]:
            hub, port, status = line.split()[:3]
            if hub == "ss" and int(status) == 4:
                break
        (VHCI / "attach").write_text(
            f"{int(port)} {self.far.fileno()} 1 {USB_SPEED_SUPER}", "ascii")
        self.far.close()

    def read(self, length: int) -> bytes:
        """Exactly that many octets."""
        data = bytearray()
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                sys.exit(0)
            data += part
        return bytes(data)

    def answer(self, seqnum: int, status: int, actual: int,
               data: bytes = b"", kind: int = RET_SUBMIT) -> None:
        """A URB has ended."""
        self.sock.sendall(ANSWER.pack(kind, seqnum, 0, 0, 0, status, actual,
                                      0, 0, 0) + data)

    def feed(self) -> None:
        """Answer the input that waits, as far as there is some."""
        while self.waiting and self.disk.replies and not self.disk.left:
            seqnum, length = self.waiting.pop(0)
            data = self.disk.replies[0][:length]
            rest = self.disk.replies.pop(0)[length:]
            if rest:
                self.disk.replies.insert(0, rest)
            self.answer(seqnum, 0, len(data), data)

    def submit(self, seqnum: int, is_in: bool, number: int, length: int,
               setup: bytes) -> None:
        """A URB."""
        data = b"" if is_in else self.read(length)
        if not number:
            reply = self.disk.control(setup)
            self.answer(seqnum, EPIPE if reply is None else 0,
                        len(reply or b"") if is_in else length,
                        (reply or b"") if is_in else b"")
        elif is_in and number == BULK_IN & 15:
            self.waiting.append((seqnum, length))
        elif not is_in and number == BULK_OUT:
            self.disk.out(data)
            self.answer(seqnum, 0, length)
        else:
            self.answer(seqnum, EPIPE, 0)
        self.feed()

    def run(self) -> None:
        """Serve until the far end has gone."""
        while True:
            (kind, seqnum, _, direction, number, flags, length, _, _, _,
             setup) = HEADER.unpack(self.read(HEADER.size))
            if kind == SUBMIT:
                self.submit(seqnum, bool(direction), number, length, setup)
            elif kind == UNLINK:
                before = len(self.waiting)
                self.waiting = [w for w in self.waiting if w[0] != flags]
                self.answer(seqnum, ECONNRESET if before != len(self.waiting)
                            else 0, 0, kind=RET_UNLINK)


def main() -> None:
    """Plug in and serve."""
    server = Server(Disk(Path(sys.argv[1]), sys.argv[2]))
    server.attach()
    print("attached", flush=True)
    server.run()


if __name__ == "__main__":
    main()
