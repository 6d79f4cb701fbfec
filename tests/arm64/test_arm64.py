#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Two arm64 guests whose whole world is a device tree: a driver VM and its client.

See tests/lib/arm64.py for what is between them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from arm64 import Board, Machine  # noqa: E402
from gadget import Dummies, child_node, find_device  # noqa: E402

SYSFS = "/sys/bus/usb/drivers/usbback"
MIB = 8
STICK = {"driver": "usb-storage", "id": "stick", "bus": "xhci.0",
         "drive": "stick", "serial": "stick", "port": "1"}
KEYBOARD = {"driver": "usb-kbd", "id": "kbd", "bus": "xhci.0",
            "serial": "kbd", "port": "2"}

NODES = {
    "no role": ("usbif,role", "missing", {"role": ""}),
    "odd role": ("usbif,role", "neither", {"role": 'usbif,role = "host";'}),
    "no region": ("memory-region", "missing", {"region": ""}),
    "small region": ("memory-region", "too small",
                     {"region": "memory-region = <&small>;"}),
    "odd region": ("memory-region", "power of two",
                   {"region": "memory-region = <&odd>;"}),
    "memory of the kernel": ("memory-region", "no-map is missing",
                             {"region": "memory-region = <&own>;"}),
    "no doorbell": ("reg", "doorbell", {"names": 'reg-names = "bell";'}),
    "odd doorbell": ("reg", "aligned", {"reg": "0x0 0x63fff00%x 0x0 0x2"}),
    "no interrupt": ("interrupts", "missing", {"irq": ""}),
    "level": ("interrupts", "edge", {"irq": "interrupts = <0 %d 4>;"}),
    "not coherent": ("dma-coherent", "missing", {"dma": ""}),
}


def node(number: int, role: str = 'usbif,role = "backend";',
         region: str = "memory-region = <&ring>;",
         names: str = 'reg-names = "doorbell";',
         reg: str = "0x0 0x63fff00%x 0x0 0x4",
         irq: str = "interrupts = <0 %d 1>;",
         dma: str = "dma-coherent;") -> str:
    """A node as the binding has it, but for what is given."""
    reg = reg % (number % 4 * 4)
    if "%d" in irq:
        irq = irq % (90 + number)
    return (f'usb-channel-{number} {{ compatible = "usbif,channel"; '
            f"reg = <{reg}>; {names} {irq} {region} {dma} {role} }};\n")


def odd_tree() -> str:
    """An overlay of nodes that are all wrong in one way."""
    nodes = "".join(node(i, **odd) for i, (_, _, odd) in
                    enumerate(NODES.values()))
    return f"""/dts-v1/; /plugin/;
        / {{ fragment@0 {{ target-path = "/"; __overlay__ {{
            #address-cells = <2>; #size-cells = <2>;
            reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges;
                ring: ring@60000000 {{
                    reg = <0x0 0x60000000 0x0 0x2000000>; no-map; }};
                small: small@62000000 {{
                    reg = <0x0 0x62000000 0x0 0x1000>; no-map; }};
                own: own@50000000 {{
                    reg = <0x0 0x50000000 0x0 0x200000>; }};
                odd: odd@62200000 {{
                    reg = <0x0 0x62200000 0x0 0x180000>; no-map; }};
                gap@62001000 {{
                    reg = <0x0 0x62001000 0x0 0x1ff000>; no-map; }};
                rest@62380000 {{
                    reg = <0x0 0x62380000 0x0 0x1c80000>; no-map; }};
            }};
            {nodes}
        }}; }}; }};"""


class Cases:
    """What users do with two guests on a board."""

    def __init__(self, t: tap.Suite, board: Board) -> None:
        self.t = t
        self.board = board
        self.image = board.dir / "stick.img"
        self.image.write_bytes(os.urandom(MIB << 20))
        self.driver = self.start_driver()
        self.client: Machine = None  # type: ignore[assignment]
        self.zero = None

    def start_driver(self) -> Machine:
        """The machine that has the controller."""
        return self.t.vm(self.board.start(
            "driver", devices=["qemu-xhci,id=xhci"]))

    def start_client(self) -> Machine:
        """The machine that has nothing."""
        client = self.t.vm(self.board.start("client"))
        client.run("insmod /usbfront.ko")
        return client

    def rule(self, source: str, port: int) -> None:
        """A rule, by echo."""
        self.driver.run(f"echo {source}:client:0:{port} > {SYSFS}/new_vport")

    def state(self, source: str, state: str, timeout: float = 20) -> None:
        """Wait for the state of a rule."""
        self.driver.wait_for(f"grep -q '^{source}:[^ ]* {state}' "
                             f"{SYSFS}/vports || {{ cat {SYSFS}/vports; "
                             "false; }", timeout)

    # ---- cases ----

    def loaded(self) -> str:
        """Channels have the names that the nodes' labels are."""
        self.driver.run("insmod /usbback.ko")
        self.rule("1-2", 2)
        self.state("1-2", "waiting-")
        self.client = self.start_client()
        out = self.driver.wait_for(
            f"grep -w client {SYSFS}/channels").out.strip()
        return out.splitlines()[-1]

    def disk(self) -> None:
        """A disk is what its image is, and the image is what is written."""
        self.plug()
        source = find_device(self.driver, "stick", 20)
        self.rule(source, 1)
        self.state(source, "attached")
        self.compare()
        data = os.urandom(1 << 20)
        self.client.put("/tmp/data", data)
        name = self.block()
        self.client.run(f"dd if=/tmp/data of=/dev/{name} bs=64k seek=32 "
                        "conv=fsync 2>&1", 60)
        found = self.image.read_bytes()[2 << 20:3 << 20]
        tap.expect(found == data, "the image is not what was written")
        self.compare()

    def plug(self) -> None:
        """Put the stick into its socket."""
        self.driver.qmp("blockdev-add", driver="file", node_name="stick",
                        filename=str(self.image))
        self.driver.device_add(**STICK)

    def block(self) -> str:
        """Name of the disk in the client."""
        busid = find_device(self.client, "stick", 30)
        return child_node(self.client, busid, "block/sd?", 30)

    def compare(self, timeout: float = 60) -> None:
        """All of the disk, as the client reads it."""
        name = self.block()
        self.client.run("echo 3 > /proc/sys/vm/drop_caches")
        out = self.client.run(f"sha256sum < /dev/{name}", timeout).out
        here = subprocess.run(["sha256sum", str(self.image)], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        tap.expect_equal(out.split()[0], here.split()[0], "checksum")

    def keys(self) -> None:
        """A key pressed on the board arrives in the client."""
        self.driver.device_add(**KEYBOARD)
        busid = find_device(self.client, "kbd", 20)
        event = child_node(self.client, busid, "input/input*/event*")
        reader = self.client.spawn(f"exec head -c 24 /dev/input/{event}")
        self.client.wait_for("ls -l /proc/[0-9]*/fd 2>/dev/null | "
                             f"grep -q ' /dev/input/{event}$'")
        self.driver.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
        tap.expect_equal(reader.wait(10), 0, "reader")

    def replugged(self) -> None:
        """What comes back comes back without a word."""
        self.driver.device_del("stick")
        self.client.wait_for("! grep -q sd /proc/partitions", 20)
        self.driver.qmp("blockdev-del", node_name="stick")
        self.plug()
        self.compare()

    def bells(self, mode: str) -> str:
        """Doorbells that get lost, come twice, or late."""
        bells = self.board.bells
        before = sum(bells.rung.values())
        bells.mode = mode
        try:
            self.compare(300)
        finally:
            bells.mode = ""
        if mode == "drop":
            tap.expect(bells.dropped, "no doorbell was dropped")
        return f"{sum(bells.rung.values()) - before} doorbells"

    def load(self):
        """The client reads and compares as fast as it can."""
        name = self.block()
        job = self.client.spawn(
            f"sum=$(sha256sum < /dev/{name}); while sleep 0.1; do "
            "echo 3 > /proc/sys/vm/drop_caches; "
            f"[ \"$(sha256sum < /dev/{name})\" = \"$sum\" ] || break; "
            "echo same; done")
        job.wait_output("same", 60)
        return job

    def client_killed(self) -> None:
        """A client that is killed while it reads gets its devices again."""
        self.load()
        self.board.stop("client")
        self.client = self.start_client()
        self.compare()

    def driver_killed(self) -> None:
        """So does one whose driver VM is killed."""
        self.load()
        self.board.stop("driver")
        self.driver = self.start_driver()
        self.driver.run("insmod /usbback.ko")
        self.rule("2-1", 1)
        self.plug()
        source = find_device(self.driver, "stick", 20)
        if source != "2-1":
            self.rule(source, 1)
        self.state(source, "attached")
        self.compare()

    def gadget(self) -> str:
        """The source and sink gadget, in the client."""
        if not self.zero:
            self.driver.run("modprobe usb_f_ss_lb")
            self.zero = Dummies(self.driver, 1).source_sink("zero")
            source = find_device(self.driver, "zero")
            self.rule(source, 5)
            self.state(source, "attached")
        return find_device(self.client, "zero", 20)

    def testusb(self, number: int) -> str:
        """One of the kernel's own tests."""
        return usbtest.run(self.client, self.gadget(), number, timeout=120)

    def reloaded(self) -> None:
        """Both modules go and come under load."""
        self.load()
        self.client.run("rmmod usbfront && insmod /usbfront.ko", 60)
        self.compare()
        self.load()
        self.driver.run("rmmod usbback && insmod /usbback.ko", 60)
        source = find_device(self.driver, "stick", 20)
        self.rule(source, 1)
        self.compare()


def odd_nodes(t: tap.Suite) -> None:
    """What is wrong with a node is said, and by its name."""
    names = {name: f"node refused: {name}" for name in NODES}
    if not any(t.wanted(name) for name in names.values()):
        return
    with Board() as board:
        vm = board.start("driver", odd_tree())
        vm.run("insmod /usbback.ko; insmod /usbfront.ko")
        log = vm.run("dmesg").out
        for number, (name, (prop, why, _)) in enumerate(NODES.items()):
            t.case(names[name], said, log, number, prop, why)
        vm.check_log()


def said(log: str, number: int, prop: str, why: str) -> str:
    """The line about one node."""
    lines = re.findall(rf"usb-channel-{number}: (.*)", log)
    found = [line for line in lines if line.startswith(f"{prop}: ")
             and why in line]
    tap.expect(found, f"no '{prop}: ...{why}' in {lines}")
    return found[0]


def board_cases(t: tap.Suite) -> None:
    """The two machines."""
    with Board() as board:
        cases = Cases(t, board)
        t.case("channel of a device tree node", cases.loaded)
        t.case("disk", cases.disk)
        t.case("keys", cases.keys)
        t.case("replugged", cases.replugged)
        for number, case in usbtest.CASES.items():
            t.case(f"testusb {number}, {case.name}", cases.testusb, number)
        for mode in ("drop", "double", "delay"):
            t.case(f"doorbells: {mode}, {'F63' if mode == 'drop' else 'F64'}",
                   cases.bells, mode)
        for turn in range(tap.scaled(1, 3)):
            suffix = f", time {turn + 1}" if turn else ""
            t.case(f"client killed{suffix}", cases.client_killed)
            t.case(f"modules reloaded{suffix}", cases.reloaded)
            t.case(f"driver VM killed{suffix}, F40", cases.driver_killed)


def main() -> None:
    with tap.Suite() as t:
        odd_nodes(t)
        board_cases(t)


if __name__ == "__main__":
    main()
