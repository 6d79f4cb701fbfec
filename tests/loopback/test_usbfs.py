#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Sizes, order, resets and settings, as a program meets them through usbfs.

Each case runs natively first and then through the ring: what holds there holds
here.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import (Dummies, Gadget, child_node, device_node,  # noqa: E402
                    load_drivers)
from usbif import Loop, LoopCases  # noqa: E402
from vm import VM  # noqa: E402

SPEEDS = ("full-speed", "high-speed", "super-speed")
BUFFER = 3 << 20
# The ioctl SG_SCSI_RESET with SG_SCSI_RESET_BUS, as sg_reset(8) does it: for
# usb-storage a reset of the port, while a device reset is one of its class.
SG_RESET = ("import fcntl, os, struct, sys; "
            "fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK), "
            "0x2284, struct.pack('i', 2))")


class Cases(LoopCases):
    """The cases, with what they need."""

    def usbfs(self, busid: str, command: str, timeout: float = 240) -> str:
        """Run our program on a device."""
        return self.vm.run(f"{compile_tool('usbfs')} "
                           f"{device_node(self.vm, busid)} {command}",
                           timeout).out.strip()

    def both(self, gadget: Gadget, command: str) -> str:
        """The same natively and through the ring."""
        natively = self.usbfs(gadget.busid(), command)
        through = self.usbfs(self.loop.attach(gadget), command)
        return f"natively {natively}, through the ring {through}"

    def echo(self, speed: str = "high-speed", length: int = BUFFER,
             qlen: int = 4) -> Gadget:
        """A device that sends back transfers of up to that length."""
        return self.dummies.loopback("echo", speed, bulk_buflen=str(length),
                                     qlen=str(qlen))

    def sizes(self, speed: str) -> str:
        """Transfers of any length, far longer than one request."""
        return self.both(self.echo(speed), "sizes")

    def mapped(self) -> str:
        """Buffers that usbfs has mapped, at odd addresses."""
        return self.both(self.echo(), "mapped")

    def order(self, speed: str) -> str:
        """Unlinks and halts in the middle of the queue change no order."""
        return self.both(self.echo(speed, 4096, 32),
                         f"order {tap.scaled(5000, 30000)}")

    def flight(self) -> str:
        """What waits comes back at a reset that reaches the device."""
        echo = self.echo()
        self.usbfs(echo.busid(), "flight")
        busid = self.loop.attach(echo)
        since = self.vm.mark()
        self.usbfs(busid, "flight")
        source = self.loop.source(echo)
        self.vm.wait_log(f"usbback {source}: reset high-speed USB device", 5,
                         since)
        return ""

    def product(self, busid: str) -> str:
        """What the guest believes the device to be."""
        return self.vm.run(f"cat /sys/bus/usb/devices/{busid}/idProduct || :"
                           ).out.strip()

    def renewed(self, echo: Gadget, before: str, product: str) -> None:
        """The same vport has the new device, which works; the rule holds."""
        path = f"/sys/bus/usb/devices/{before}"
        self.vm.wait_for(f"test \"$(cat {path}/idProduct)\" = {product}", 20)
        source = self.loop.source(echo)
        self.loop.wait(source, "attached")
        tap.expect_equal(self.loop.virtual(echo), before, "virtual bus ID")
        self.usbfs(before, "length 100001")

    def changed(self) -> None:
        """With other descriptors after a reset it is another device."""
        echo = self.echo()
        busid = self.loop.attach(echo)
        for product in ("a4b1", "a4b2"):
            self.vm.run(f"echo 0x{product} > {echo.dir}/idProduct")
            tap.expect(self.product(busid) != product, "without a reset")
            since = self.vm.mark()
            self.vm.run(f"{compile_tool('usbfs')} "
                        f"{device_node(self.vm, busid)} reset", 30, check=False)
            self.renewed(echo, busid, product)
            log = self.vm.klog(since)
            for word in ("firmware changed", "USB disconnect"):
                tap.expect(word in log, f"'{word}' is not in the log")

    def switched(self) -> None:
        """A device that comes back as another one by itself."""
        echo = self.echo()
        busid = self.loop.attach(echo)
        waiting = self.vm.spawn(f"{compile_tool('usbfs')} "
                                f"{device_node(self.vm, busid)} flight")
        waiting.wait(30)
        self.vm.run(f"cd {echo.dir}; echo > UDC; echo 0xa4b3 > idProduct; "
                    f"echo {echo.udc} > UDC")
        self.renewed(echo, busid, "a4b3")

    def scsi_resets(self) -> str:
        """Resets by SCSI under load lose no data."""
        self.vm.run("head -c 16M /dev/zero > /tmp/image")
        disk = self.dummies.mass_storage("disk", "/tmp/image")
        busid = self.loop.attach(disk)
        node = "/dev/" + child_node(self.vm, busid, "block/sd?")
        since = self.vm.mark()
        load = self.vm.spawn(f"{compile_tool('verify')} {node} 0 16 "
                             f"{tap.scaled(8, 30)}")
        for _ in range(tap.scaled(3, 10)):
            self.vm.run(f"sleep 1.5; python3 -c \"{SG_RESET}\" {node}", 60)
        load.wait(120, check=True)
        resets = self.vm.klog(since).count(
            f"usbback {self.loop.source(disk)}: reset high-speed")
        tap.expect(resets >= 3, f"{resets} resets reached the device")
        verified = int(load.output().split()[-1])
        tap.expect(verified > 0, "nothing was verified")
        return f"{resets} resets, {verified >> 10} KiB verified"

    def settings(self) -> None:
        """A setting ends what waits on the interface; the device works on."""
        echo = self.echo()
        for busid in (echo.busid(), self.loop.attach(echo)):
            for _ in range(tap.scaled(3, 30)):
                self.usbfs(busid, "setting 0")
                self.usbfs(busid, "length 5001")

    def configurations(self) -> None:
        """A device with two configurations, switched to and fro."""
        two = self.dummies.add(
            "two", [("SourceSink.0", {})], "super-speed",
            setup="mkdir functions/Loopback.0 configs/c.2; "
                  f"echo {BUFFER} > functions/Loopback.0/bulk_buflen; "
                  "echo 4 > functions/Loopback.0/qlen; "
                  "ln -s functions/Loopback.0 configs/c.2/")
        try:
            self.switch_to_and_fro(self.loop.attach(two))
        finally:
            self.vm.run(f"cd {two.dir}; echo > UDC; rm configs/c.2/Loopback.0;"
                        " rmdir configs/c.2 functions/Loopback.0")

    def switch_to_and_fro(self, busid: str) -> None:
        """A source in the first configuration, an echo in the second."""
        value = f"/sys/bus/usb/devices/{busid}/bConfigurationValue"
        usbtest.run(self.vm, busid, 1)
        for _ in range(tap.scaled(3, 20)):
            self.vm.run(f"echo 2 > {value}; grep -q 2 {value}")
            self.usbfs(busid, "length 1100001")
            self.vm.run(f"echo 0 > {value}; echo 1 > {value}")
            usbtest.run(self.vm, busid, 2)
        # A reset keeps what was chosen.
        self.vm.run(f"echo 2 > {value}")
        self.usbfs(busid, "reset")
        self.vm.run(f"grep -q 2 {value}")
        self.usbfs(busid, "length 5001")


def run(t: tap.Suite, series: str) -> None:
    """All cases on one kernel."""
    vm = t.vm(VM(f"usbfs-{series}", kernel=series, smp=2))
    loop = Loop(vm)
    loop.load()
    load_drivers(vm)
    usbtest.prepare(vm)
    cases = Cases(vm, loop, Dummies(vm, 4))
    # At full speed these are minutes of waiting for frames.
    for speed in SPEEDS if tap.LONG else SPEEDS[2:]:
        t.case(f"{series}: sizes at {speed}", cases.sizes, speed)
        cases.clear()
    t.case(f"{series}: mapped buffers", cases.mapped)
    cases.clear()
    for speed in SPEEDS if tap.LONG else SPEEDS[::2]:
        t.case(f"{series}: order at {speed}, F17", cases.settles, cases.order, speed)
        cases.clear()
    for case in (cases.flight, cases.changed, cases.switched,
                 cases.scsi_resets, cases.settings, cases.configurations):
        fault = ", F21" if case == cases.switched else ""
        t.case(f"{series}: {case.__name__}{fault}", cases.settles, case)
        cases.clear()
    vm.close()


def main() -> None:
    """The cases, on one kernel or more."""
    with tap.Suite() as t:
        for series in tap.some_kernels("6.12"):
            run(t, series)


if __name__ == "__main__":
    main()
