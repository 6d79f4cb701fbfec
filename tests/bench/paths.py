# SPDX-License-Identifier: GPL-2.0
"""The ways from a program to a USB device that make bench compares.

Each path has a guest of its own (but for the bare device), which is stopped
while it is not its turn. A path takes a device, lends it to whoever measures,
and gives it back to the host.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path as File
from typing import Any

import rows
from gadget import Gadget, child_node, find_device
from nested import KvmHost
from vm import VM, Job

LOAD = "/run/bench/load"        # in the host
GUEST_LOAD = "/bin/load"
RUN = "/run/bench"
PORT = "usbif.mark"
# So that the guest does not exit for pages that it uses for the first time.
TOUCH_MEMORY = ("head -c $(awk '/MemFree/ {print int($2 * 0.8)}' "
                "/proc/meminfo)k /dev/zero > /fill; rm /fill")
STORAGE = ("usb_storage", "sd_mod")
PRODUCTS = {rows.ZERO: "525/a4a0/", rows.DISK: "525/a4a5/",
            rows.ECHO: "525/a4ac/"}
DEBUG = "/sys/kernel/debug"
# Minutes of the emulated clock pass while an idle host waits for its root.
NO_WATCHDOG = "echo 0 > /proc/sys/kernel/hung_task_timeout_secs"
TRACE = "/sys/kernel/tracing/events/kvm"
# Events of KVM that are counted on demand, and by what.
EVENTS = {"kvm_exit": "exit_reason.hex", "kvm_msr": "ecx.hex,write",
          "kvm_pio": "port.hex,rw", "kvm_mmio": "gpa.hex,type",
          "kvm_fast_mmio": "gpa.hex", "kvm_inj_virq": "vector.hex",
          "kvm_hypercall": "nr", "kvm_userspace_exit": "reason"}
VHCI = "/sys/devices/platform/vhci_hcd.0"


def result_of(job: Job, timeout: float = 300) -> dict[str, Any]:
    """What load.c printed at its end."""
    job.wait(timeout, check=True)
    return json.loads(job.output().strip().splitlines()[-1])


def samples(text: str) -> list[dict[str, str]]:
    """What the monitor printed: for each mark, the content of each file."""
    found = []
    for mark in re.findall(r"(?ms)^mark .\n(.*?)^end$", text):
        parts = re.split(r"(?m)^file (.*)\n", mark)
        found.append(dict(zip(parts[1::2], parts[2::2])))
    return found


class Path:
    """A way to a device; this one is the device itself, on the host."""

    key = "bare"
    title = "bare device"
    devices: tuple[str, ...] = (rows.ZERO, rows.DISK, rows.ECHO)
    modules: tuple[str, ...] = ()

    def __init__(self, host: KvmHost, load: File) -> None:
        self.host = host
        self.load = load
        self.where: VM = host
        self.traces: list[str] = []     # more files to read

    # --- life ---------------------------------------------------------

    def start(self) -> None:
        """Boot what it needs."""

    def enter(self) -> None:
        """Its turn comes."""

    def leave(self) -> None:
        """Its turn is over."""

    def counters(self) -> list[str]:
        """Files of the host to read around the measured part."""
        return []

    def trace(self) -> None:
        """Count exits by reason."""

    # --- devices ------------------------------------------------------

    def attach(self, gadget: Gadget) -> float:
        """Take the device; nanoseconds until its driver is bound, or 0."""
        busid = gadget.busid()
        if gadget.name != rows.DISK:
            return 0
        self.host.run(f"echo {busid} > /sys/bus/usb/drivers/usb/unbind")
        done = result_of(self.host.spawn(
            f"exec {LOAD} bound {PRODUCTS[gadget.name]} write "
            f"/sys/bus/usb/drivers/usb/bind {busid}", stdin=False))
        return done["bound"] - done["begun"]

    def detach(self, gadget: Gadget) -> None:
        """Give the device back."""

    def node(self, gadget: Gadget) -> str:
        """The disk, where the measuring program runs."""
        busid = find_device(self.where, gadget.name, 60)
        return "/dev/" + child_node(self.where, busid, "block/*", 60)

    # --- measuring ----------------------------------------------------

    def measure(self, work: str) -> tuple[dict[str, Any],
                                          list[dict[str, str]]]:
        """Run load.c; its result, and the counters before and after."""
        return result_of(self.host.spawn(f"exec {LOAD} {work}",
                                         stdin=False)), []


class GuestPath(Path):
    """A way into a guest."""

    key = ""

    def __init__(self, host: KvmHost, load: File) -> None:
        super().__init__(host, load)
        self.monitor: Job | None = None
        self.guest_counters = ""
        self.seen = 0

    def file(self, kind: str) -> str:
        """A file of this guest on the host."""
        return f"{RUN}/{self.key}.{kind}"

    def arguments(self) -> list[str]:
        """Arguments of QEMU beside the common ones."""
        return []

    def files(self) -> dict[str, str | File]:
        """Files in the guest."""
        return {GUEST_LOAD: self.load}

    def start(self) -> None:
        args = ["-pidfile", self.file("pid")]
        for kind in ("mark", "hmp"):
            args += ["-chardev", f"socket,id={kind},path={self.file(kind)},"
                     "server=on,wait=off"]
        args += ["-mon", "chardev=hmp,mode=readline", "-device",
                 f"virtserialport,bus=vser.0,chardev=mark,name={PORT}"]
        self.where = self.host.start_guest(
            self.key, args=args + self.arguments(), files=self.files(),
            modules=self.modules, boot_timeout=300)
        self.where.run(f"{NO_WATCHDOG}; mount -t debugfs d {DEBUG}",
                       check=False)
        self.where.run(TOUCH_MEMORY, timeout=200)
        if "usb_storage" in self.modules:
            self.where.run(
                "echo 0 > /sys/module/usb_storage/parameters/delay_use")
        self.prepare()
        self.leave()

    def prepare(self) -> None:
        """After the guest has booted."""

    def enter(self) -> None:
        self.where.cont()

    def leave(self) -> None:
        self.stop_monitor()
        self.where.pause()

    def kvm(self) -> str:
        """KVM's directory for this guest in debugfs."""
        pid = self.host.run(f"cat {self.file('pid')}").out.strip()
        return self.host.run(
            f"echo {DEBUG}/kvm/{pid}-*").out.strip()

    def counters(self) -> list[str]:
        kvm = self.kvm()
        return [f"{kvm}/exits", f"{kvm}/irq_injections",
                f"{kvm}/halt_exits", f"{kvm}/io_exits", f"{kvm}/mmio_exits",
                f"{kvm}/irq_exits", f"{kvm}/halt_successful_poll"]

    def trace(self) -> None:
        self.traces = [f"{TRACE}/{event}/hist" for event in EVENTS]
        self.host.run("; ".join(
            f"grep -q ^hist {TRACE}/{event}/trigger || "
            f"echo hist:keys={keys} > {TRACE}/{event}/trigger"
            for event, keys in EVENTS.items()), check=False)

    def start_monitor(self, *action: str) -> None:
        """Have the counters read, and action done, when the guest asks."""
        self.stop_monitor()
        words = [LOAD, "monitor", self.file("mark"), *self.counters(),
                 *self.traces, "--", *action]
        self.monitor = self.host.spawn(f"exec {shlex.join(words)}",
                                       stdin=False)
        self.monitor.wait_output("^ready")
        self.seen = 0

    def stop_monitor(self) -> None:
        """The guest won't ask for a while."""
        if self.monitor:
            self.monitor.kill(9)
            self.monitor.wait()
            self.monitor = None

    def action(self, gadget: Gadget) -> list[str]:
        """What attaches the device, done on the host."""
        return []

    def guest_action(self) -> list[str]:
        """What attaches the device, done in the guest."""
        return ["mark"]

    def attach(self, gadget: Gadget) -> float:
        action = shlex.join(self.guest_action())
        self.start_monitor(*self.action(gadget))
        assert self.monitor
        if gadget.name != rows.DISK:        # there is no driver in the guest
            self.where.run(f"{GUEST_LOAD} -m {PORT} do {action}", timeout=60)
            find_device(self.where, gadget.name, 60)
            return 0
        done = result_of(self.where.spawn(
            f"exec {GUEST_LOAD} -m {PORT} bound {PRODUCTS[gadget.name]} "
            f"{action}", stdin=False))
        acted = re.search(r"(?m)^acted (\d+)", self.monitor.output())
        if not acted:
            return done["bound"] - done["begun"]
        offset = int(self.host.run(f"cat {self.kvm()}/vcpu0/tsc-offset").out)
        return (done["bound"] - offset - int(acted[1])) % 2**64

    def measure(self, work: str) -> tuple[dict[str, Any],
                                          list[dict[str, str]]]:
        assert self.monitor
        options = f"-m {PORT}"
        if self.guest_counters:
            options += f" -f {self.guest_counters}"
        job = self.where.spawn(f"exec {GUEST_LOAD} {options} {work}",
                               stdin=False)
        result = result_of(job)
        self.monitor.wait_output(r"(?s)(^mark .*?^end$.*?){%d}"
                                 % (self.seen + 2))
        found = samples(self.monitor.output())[self.seen:]
        self.seen += 2
        for mark, ours in zip(found, samples(job.output())):
            mark.update(ours)
        return result, found


class UsbHost(GuestPath):
    """QEMU's usb-host device on its xHCI."""

    key = "usb-host"
    title = "QEMU usb-host"
    modules = (*STORAGE, "xhci_pci")

    def arguments(self) -> list[str]:
        return ["-device", "qemu-xhci,id=xhci"]

    def action(self, gadget: Gadget) -> list[str]:
        bus, port = gadget.busid().split("-")
        return ["line", self.file("hmp"),
                f"device_add usb-host,id=dev,bus=xhci.0,hostbus={bus},"
                f"hostport={port}"]

    def detach(self, gadget: Gadget) -> None:
        self.where.device_del("dev", 60)


class UsbIp(GuestPath):
    """usbip-host on the host, vhci-hcd in the guest, vhost-net between."""

    key = "usbip"
    title = "USB/IP"
    modules = (*STORAGE, "vhci_hcd", "virtio_net")
    number = "3240"
    port = ""

    def arguments(self) -> list[str]:
        return ["-netdev", "tap,id=net,ifname=bench0,script=no,downscript=no,"
                "vhost=on", "-device", "virtio-net-pci,netdev=net,romfile="]

    def start(self) -> None:
        self.host.run("modprobe -a tun vhost_net usbip_host && "
                      "ip tuntap add bench0 mode tap && "
                      "ip addr add 10.99.0.1/24 dev bench0 && "
                      "ip link set bench0 up")
        super().start()

    def prepare(self) -> None:
        self.where.run("ifconfig eth0 10.99.0.2 netmask 255.255.255.0 up && "
                       "ping -q -c 1 -w 30 10.99.0.1", timeout=60)
        # How many ports come before the first SuperSpeed one is configurable.
        self.port = self.where.run(
            f"grep -m1 ^ss {VHCI}/status | tr -s ' ' | cut -d' ' -f2"
            ).out.strip().lstrip("0")

    def guest_action(self) -> list[str]:
        return ["import", "10.99.0.1", self.number, self.port]

    def attach(self, gadget: Gadget) -> float:
        busid = gadget.busid()
        server = self.host.spawn(f"exec {LOAD} export {busid} {self.number}",
                                 stdin=False)
        server.wait_output("^ready")
        took = super().attach(gadget)
        server.wait(60, check=True)
        return took

    def detach(self, gadget: Gadget) -> None:
        self.where.run(f"echo {self.port} > {VHCI}/detach")
        busid = gadget.busid()
        self.host.wait_for(
            f"test $(cat /sys/bus/usb/devices/{busid}/usbip_status) = 1", 30)
        self.host.run(
            "cd /sys/bus/usb/drivers; "
            f"echo {busid} > usbip-host/unbind; "
            f"printf 'del {busid}' > usbip-host/match_busid && "
            f"echo {busid} > usb/bind || echo {busid} > usbip-host/rebind")


class VirtioBlk(GuestPath):
    """The host's block device, through virtio-blk."""

    key = "virtio-blk"
    title = "virtio-blk"
    devices = (rows.DISK,)
    modules = ("virtio_blk",)
    disk = ""

    def arguments(self) -> list[str]:
        return ["-drive", f"id=disk,if=none,format=raw,file={self.disk},"
                "cache=none,aio=native",
                "-device", "virtio-blk-pci,drive=disk"]

    def attach(self, gadget: Gadget) -> float:
        # The disk must not be held while other paths have it.
        self.disk = "/dev/" + child_node(self.host, gadget.busid(), "block/*",
                                         60)
        GuestPath.start(self)
        self.where.cont()
        self.start_monitor()
        return 0

    def start(self) -> None:
        pass

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def detach(self, gadget: Gadget) -> None:
        self.stop_monitor()
        self.where.kill()
        self.where.close()

    def node(self, gadget: Gadget) -> str:
        return "/dev/vda"


class Ring(GuestPath):
    """usbback on the host, usbfront in the guest."""

    key = "ring"
    title = "usbif"
    modules = STORAGE

    def arguments(self) -> list[str]:
        return shlex.split(self.host.run(f"usbctl qemu-args {self.key}").out)

    def files(self) -> dict[str, str | File]:
        return {**super().files(),
                "/usbfront.ko": self.host.share / "usbfront.ko"}

    def start(self) -> None:
        self.host.install()
        self.host.load()
        self.host.run(f"usbctl serve {self.key}")
        super().start()

    def prepare(self) -> None:
        self.where.run("insmod /usbfront.ko")
        self.guest_counters = self.where.wait_for(
            f"ls {DEBUG}/usbfront/*").out.strip()

    def counters(self) -> list[str]:
        return [*super().counters(), f"{DEBUG}/usbback/{self.key}/channel"]

    def action(self, gadget: Gadget) -> list[str]:
        return ["write", f"{self.host.SYSFS}/new_vport",
                f"{gadget.busid()}:{self.key}:0:1"]

    def detach(self, gadget: Gadget) -> None:
        self.host.write("remove_vport", gadget.busid())
        self.where.wait_for("! grep -qx " + shlex.quote(gadget.name)
                            + " /sys/bus/usb/devices/*/serial", 30)
