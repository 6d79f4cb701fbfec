#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""How long something takes, by the clock of the machine this runs on.

  stopwatch.py gone PATH FILE TEXT          from writing TEXT to FILE until PATH
                                            is no more
  stopwatch.py killed PID FILE TEXT         from SIGKILL until FILE has TEXT
  stopwatch.py unlink NODE ENDPOINT [PID]   from USBDEVFS_DISCARDURB of a transfer
                                            that waits until it is there; with
                                            PID stopped before
  stopwatch.py unload MODULE                delete_module(2)

Prints milliseconds. Nothing is read from a file system meanwhile: on a clock that
counts instructions that may take minutes.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from typing import Callable

SUBMITURB, DISCARDURB, REAPURB = 0x8038550a, 0x550b, 0x4008550c
CLAIMINTERFACE = 0x8004550f
BULK = 3
DELETE_MODULE = 176


LIBC = ctypes.CDLL(None, use_errno=True)


class Urb(ctypes.Structure):
    """struct usbdevfs_urb"""

    _fields_ = [("type", ctypes.c_ubyte), ("endpoint", ctypes.c_ubyte),
                ("status", ctypes.c_int), ("flags", ctypes.c_uint),
                ("buffer", ctypes.c_void_p), ("buffer_length", ctypes.c_int),
                ("actual_length", ctypes.c_int), ("start_frame", ctypes.c_int),
                ("number_of_packets", ctypes.c_int),
                ("error_count", ctypes.c_int), ("signr", ctypes.c_uint),
                ("usercontext", ctypes.c_void_p)]


def until(condition: Callable[[], bool]) -> None:
    """Waits with a processor."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            sys.exit("stopwatch.py: not within a minute")
        time.sleep(0.0002)


def write(path: str, text: str) -> None:
    """As echo does."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{text}\n")


def has(path: str, text: str) -> bool:
    """The file says so."""
    with open(path, encoding="ascii") as file:
        return text in file.read()


def unlink(node: str, endpoint: str, pid: str = "") -> float:
    """A transfer that nothing will end but this."""
    fd = os.open(node, os.O_RDWR)
    fcntl.ioctl(fd, CLAIMINTERFACE, ctypes.c_uint(0))
    buffer = ctypes.create_string_buffer(512)
    urb = Urb(type=BULK, endpoint=int(endpoint, 0), buffer_length=512,
              buffer=ctypes.addressof(buffer))
    fcntl.ioctl(fd, SUBMITURB, urb)
    time.sleep(0.1)
    if pid:
        os.kill(int(pid), signal.SIGSTOP)
    began = time.monotonic()
    fcntl.ioctl(fd, DISCARDURB, urb)
    fcntl.ioctl(fd, REAPURB, ctypes.c_void_p())
    took = time.monotonic() - began
    if pid:
        os.kill(int(pid), signal.SIGCONT)
    return took


def main(what: str, *words: str) -> float:
    """The time that it took."""
    if what == "unlink":
        return unlink(*words)
    began = time.monotonic()
    if what == "gone":
        path, file, text = words
        write(file, text)
        until(lambda: not os.path.exists(path))
    elif what == "killed":
        pid, file, text = words
        os.kill(int(pid), signal.SIGKILL)
        until(lambda: has(file, text))
    else:
        ret = LIBC.syscall(DELETE_MODULE, words[0].encode("ascii"), os.O_NONBLOCK)
        if ret:
            sys.exit(f"stopwatch.py: {os.strerror(ctypes.get_errno())}")
    return time.monotonic() - began


if __name__ == "__main__":
    print(f"{main(*sys.argv[1:]) * 1000:.2f}")
