#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the ways to a USB device of another machine.

One run, one emulated KVM host with gadgets on dummy_hcd, a guest for each
path, the paths taken in turns. The host's clock counts instructions, so that
figures repeat whatever else this machine does; what they mean, and what not,
is in Documentation/performance.rst.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path as File
from typing import Any

sys.path.insert(0, str(File(__file__).resolve().parents[1] / "lib"))
sys.path.insert(0, str(File(__file__).resolve().parent))
import paths  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
from cache import compile_tool, say  # noqa: E402
from gadget import Dummies, Gadget  # noqa: E402
from nested import KvmHost  # noqa: E402

PATHS: tuple[type[paths.Path], ...] = (
    paths.Path, paths.UsbHost, paths.UsbIp, paths.VirtioBlk, paths.Ring)


def chosen(what: str, words: str, known: list[str]) -> list[str]:
    """The names in words, or all."""
    names = words.replace(",", " ").split() or known
    for name in names:
        if name not in known:
            sys.exit(f"bench.py: no {what} '{name}', there are: "
                     f"{' '.join(known)}")
    return names


def arguments() -> argparse.Namespace:
    """The command line; make gives its variables in the environment."""
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=env("ROWS", ""),
                        help=" ".join(r.key for r in rows.ROWS))
    parser.add_argument("--paths", default=env("PATHS", ""),
                        help=" ".join(p.key for p in PATHS))
    parser.add_argument("--rounds", type=int, default=int(env("ROUNDS", "2")))
    parser.add_argument("--kernel", default=env("KERNEL", "6.1"))
    parser.add_argument("--json", metavar="FILE", default=env("JSON"),
                        help="write all figures there (- for output)")
    parser.add_argument("--exits", action="store_true",
                        help="count exits by reason; figures of time and "
                        "throughput are worse then")
    return parser.parse_args()


def gadgets(host: KvmHost) -> dict[str, Gadget]:
    """The devices of the host."""
    host.run(f"mkdir -p {paths.RUN} && "
             "head -c 67108864 /dev/urandom > /dev/shm/disk", timeout=120)
    dummies = Dummies(host, 3)
    found = {
        rows.ZERO: dummies.source_sink(rows.ZERO, "super-speed"),
        rows.DISK: dummies.mass_storage(rows.DISK, "/dev/shm/disk",
                                        "super-speed"),
        rows.ECHO: dummies.hid_echo(rows.ECHO, "super-speed"),
    }
    host.run("modprobe -a usb-storage sd_mod && "
             "echo 0 > /sys/module/usb_storage/parameters/delay_use")
    return found


class Bench:
    """One run."""

    def __init__(self, args: argparse.Namespace) -> None:
        keys = chosen("row", args.rows, [r.key for r in rows.ROWS])
        self.rows = [r for r in rows.ROWS if r.key in keys]
        keys = chosen("path", args.paths, [p.key for p in PATHS])
        self.kinds = [p for p in PATHS if p.key in keys]
        self.args = args
        self.figures: dict[str, dict[str, list[dict[str, Any]]]] = {
            r.key: {p.key: [] for p in self.kinds} for r in self.rows}

    def run(self) -> None:
        """Boot, measure, shut down."""
        load = compile_tool("load", source=File(__file__).with_name("load.c"))
        with KvmHost(controller=None, icount=True, memory=3072,
                     kernel=self.args.kernel) as host:
            host.run(f"{paths.NO_WATCHDOG}; mkdir -p {paths.RUN} && "
                     f"cp {load} {paths.LOAD}")
            devices = gadgets(host)
            ways = [kind(host, load) for kind in self.kinds]
            for way in ways:
                say(f"starting: {way.title}")
                if self.args.exits:
                    way.trace()
                way.start()
            for number in range(self.args.rounds):
                for way in ways:
                    began = time.monotonic()
                    self.turn(way, devices)
                    say(f"round {number + 1} of {self.args.rounds}, "
                        f"{way.title}: {time.monotonic() - began:.0f} s")
                    host.check_log()

    def turn(self, way: paths.Path, devices: dict[str, Gadget]) -> None:
        """All rows of one path."""
        way.enter()
        for name in way.devices:
            todo = [r for r in self.rows if r.device == name]
            if not todo:
                continue
            took = way.attach(devices[name])
            _, idle = way.measure("nothing")
            for row in todo:
                self.figures[row.key][way.key] += self.measure(
                    way, devices[name], row, took, idle)
            way.where.check_log()
            way.detach(devices[name])
        way.leave()

    @staticmethod
    def measure(way: paths.Path, gadget: Gadget, row: rows.Row, took: float,
                idle: list[dict[str, str]]) -> list[dict[str, Any]]:
        """One row on one path; no figure where there can't be one."""
        if not row.work:
            return [{"value": row.value({"attach_ns": took})}] if took else []
        work = row.work
        if "{node}" in work:
            work = work.format(node=way.node(gadget))
        result, counts = way.measure(work)
        figure: dict[str, Any] = {"value": row.value(result), **result}
        if counts:
            figure["counts"] = report.per_request(counts, idle,
                                                  result["count"])
        return [figure]


def main() -> int:
    args = arguments()
    bench = Bench(args)
    began = time.monotonic()
    bench.run()
    summary = report.summary(bench.rows, bench.kinds, bench.figures)
    if args.json == "-":
        print(json.dumps(summary, indent=1))
    else:
        print(report.table(summary))
        if args.json:
            File(args.json).write_text(json.dumps(summary, indent=1) + "\n",
                                       encoding="ascii")
    say(f"{time.monotonic() - began:.0f} s")
    return 0 if summary["reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
