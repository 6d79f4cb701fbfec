# SPDX-License-Identifier: GPL-2.0
"""What make bench measures."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

# The devices, by serial number; all are gadgets at SuperSpeed.
ZERO, DISK, ECHO = "zero", "disk", "echo"


class Row(NamedTuple):
    """One line of the table."""

    key: str
    title: str
    device: str
    work: str                   # arguments of load.c; {node} is the disk
    value: Callable[[dict[str, Any]], float]
    more_is_better: bool = False
    most_exits: float = 0       # of the ring, for each request; 0: no limit


def _median_us(result: dict[str, Any]) -> float:
    return result["p50_ns"] / 1e3


def _mean_us(result: dict[str, Any]) -> float:
    return result["total_ns"] / result["count"] / 1e3


def _megabytes(result: dict[str, Any]) -> float:
    return result["bytes"] * 1e3 / result["total_ns"]


def _per_second(result: dict[str, Any]) -> float:
    return result["count"] * 1e9 / result["total_ns"]


ROWS = (
    Row("control", "GET_DESCRIPTOR, us (p50)", ZERO, "control zero 1000",
        _median_us),
    Row("out-1k", "bulk OUT 1 KiB, depth 1, us/URB", ZERO,
        "bulk zero out 1024 1 1000", _mean_us, most_exits=3),
    Row("in-1k", "bulk IN 1 KiB, depth 1, us/URB", ZERO,
        "bulk zero in 1024 1 1000", _mean_us, most_exits=3),
    Row("out-64k", "bulk OUT 64 KiB, depth 16, MB/s", ZERO,
        "bulk zero out 65536 16 512", _megabytes, True, most_exits=1),
    Row("in-64k", "bulk IN 64 KiB, depth 16, MB/s", ZERO,
        "bulk zero in 65536 16 1024", _megabytes, True, most_exits=1),
    Row("echo", "interrupt OUT + IN, us (p50)", ECHO, "echo echo 500",
        _median_us),
    Row("read-1m", "disk, read 1 MiB, depth 1, MB/s", DISK,
        "disk {node} seq 1048576 48", _megabytes, True),
    Row("read-4k", "disk, random read 4 KiB, depth 1, IOPS", DISK,
        "disk {node} random 4096 500", _per_second, True),
    Row("attach", "attach, ms until the driver is bound", DISK, "",
        lambda result: result["attach_ns"] / 1e6),
)
