# SPDX-License-Identifier: GPL-2.0
"""USB devices for the tests: gadgets on dummy_hcd, inside a VM.

    from gadget import Dummies

    load_drivers(vm)                            # there is no udev
    dummies = Dummies(vm, 4)                    # four empty sockets
    zero = dummies.source_sink("zero")          # in the first free socket
    disk = dummies.mass_storage("disk", "/tmp/image", speed="super-speed")
    busid = zero.busid()                        # "1-1", once enumerated
    zero.unplug(); zero.plug(); zero.remove()

A gadget is found by its serial number, which is its name, also through any
number of virtual controllers: find_device(guest, "zero").

Speeds: "full-speed", "high-speed" (default), "super-speed".
"""

from __future__ import annotations

import shlex
from typing import Iterable, Mapping

from cache import compile_tool
from emulated import source
from vm import VM, Job

CONFIGFS = "/sys/kernel/config/usb_gadget"

# Vendor page, one report of 64 octets in each direction.
ECHO_REPORT = bytes((
    0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01,
    0x09, 0x02, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40,
    0x81, 0x02,
    0x09, 0x03, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40,
    0x91, 0x02, 0xc0))

# Boot keyboard: eight modifiers, a reserved octet, six keys, five LEDs.
KEYBOARD_REPORT = bytes((
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7,
    0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0x95, 0x01,
    0x75, 0x08, 0x81, 0x03, 0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01,
    0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x03, 0x95, 0x06,
    0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65,
    0x81, 0x00, 0xc0))

# Boot mouse with a wheel: three buttons, padding, X, Y, wheel.
MOUSE_REPORT = bytes((
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09,
    0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25, 0x01, 0x95, 0x03, 0x75, 0x01,
    0x81, 0x02, 0x95, 0x01, 0x75, 0x05, 0x81, 0x03, 0x05, 0x01, 0x09, 0x30,
    0x09, 0x31, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03,
    0x81, 0x06, 0xc0, 0xc0))


def find_device(vm: VM, serial: str, timeout: float = 10,
                other_than: str = "") -> str:
    """Bus ID of the device with that serial number, once it is there.

    other_than: a bus ID where it is too, which is not meant.
    """
    out = vm.wait_for(
        "cd /sys/bus/usb/devices; for d in */serial; do d=${d%/serial}; "
        f"[ $d != '{other_than}' ] && "
        f"[ \"$(cat $d/serial 2>/dev/null)\" = {shlex.quote(serial)} ] && "
        "echo $d && exit 0; done; exit 1", timeout).out
    return out.split()[0]


def device_node(vm: VM, busid: str) -> str:
    """The usbfs node of a device."""
    out = vm.run(f"cd /sys/bus/usb/devices/{busid} && "
                 "printf '/dev/bus/usb/%03d/%03d' $(cat busnum devnum)").out
    return out.strip()


def child_node(vm: VM, busid: str, pattern: str, timeout: float = 10) -> str:
    """Name of what a driver made of a device: child_node(vm, "1-1",
    "block/*"), "hidraw/*", "tty/*", "net/*"; waits for it."""
    out = vm.wait_for(f"for p in $(find /sys/bus/usb/devices/{busid}/ "
                      f"-path '*/{pattern}'); do echo ${{p##*/}}; exit 0; "
                      "done; exit 1", timeout).out
    return out.split()[0]


def load_drivers(vm: VM) -> None:
    """Load what binds to the devices here: nothing else does it in a VM."""
    vm.run("modprobe -a xhci-pci usb-storage uas sd_mod usbhid hid-generic "
           "evdev cdc-acm cdc-ncm")


def wait_opened(vm: VM, path: str, timeout: float = 10) -> None:
    """Wait until some process has that file open."""
    vm.wait_for(f"find /proc/[0-9]*/fd -lname {path} -print -quit "
                "2>/dev/null | grep -q .", timeout)


class Gadget:
    """One device in one socket."""

    def __init__(self, vm: VM, name: str, udc: str,
                 functions: Iterable[tuple[str, Mapping[str, str]]],
                 speed: str = "high-speed", vendor: int = 0x0525,
                 product: int = 0xa4a0, setup: str = "",
                 wakeup: bool = False) -> None:
        self.vm = vm
        self.name = name
        self.udc = udc
        self.dir = f"{CONFIGFS}/{name}"
        self.helpers: list[Job] = []
        self._functions = [function for function, _ in functions]
        lines = [
            "set -e", f"mkdir {self.dir}", f"cd {self.dir}",
            f"echo {vendor:#06x} > idVendor",
            f"echo {product:#06x} > idProduct",
            f"echo {speed} > max_speed",
            "mkdir strings/0x409 configs/c.1 configs/c.1/strings/0x409",
            f"echo {name} > strings/0x409/serialnumber",
            "echo usbif > strings/0x409/manufacturer",
            f"echo 'usbif test {name}' > strings/0x409/product",
            "echo config > configs/c.1/strings/0x409/configuration",
            f"echo {0xa0 if wakeup else 0x80:#x} > configs/c.1/bmAttributes",
        ]
        for function, attributes in functions:
            lines.append(f"mkdir functions/{function}")
            for key, value in attributes.items():
                lines.append(f"printf %s {shlex.quote(value)} > "
                             f"functions/{function}/{key}")
        lines.append(setup)
        lines += [f"ln -s functions/{f} configs/c.1/" for f in self._functions]
        vm.run("\n".join(lines))

    def plug(self) -> None:
        """Put the device into its socket."""
        self.vm.run(f"echo {self.udc} > {self.dir}/UDC")

    def unplug(self) -> None:
        """Pull the device out of its socket."""
        self.vm.run(f"echo > {self.dir}/UDC")

    def wait_gone(self) -> None:
        """Wait until the host side of the socket has noticed, too."""
        number = self.udc.rsplit(".", 1)[1]
        self.vm.wait_for(f"cd /sys/devices/platform/dummy_hcd.{number}; "
                         "! find . -name serial | xargs -r cat 2>/dev/null | "
                         f"grep -qx {self.name}")

    def busid(self, timeout: float = 10) -> str:
        """Its bus ID, once it is enumerated here."""
        return find_device(self.vm, self.name, timeout)

    def source(self) -> str:
        """Its bus ID where it really is plugged in, wherever else it shows."""
        number = self.udc.rsplit(".", 1)[1]
        return source(self.vm, f"/sys/devices/platform/dummy_hcd.{number}",
                      self.name)

    def remove(self) -> None:
        """Pull it out for good and free its socket."""
        for job in self.helpers:
            job.kill(9)
            job.wait(10)
        lines = ["set -e", f"cd {self.dir}",
                 "test -z \"$(cat UDC)\" || echo > UDC"]
        lines += [f"rm configs/c.1/{f}" for f in self._functions]
        lines += ["rmdir configs/c.1/strings/0x409 configs/c.1"]
        lines += [f"rmdir functions/{f}" for f in self._functions]
        lines += ["rmdir strings/0x409", "cd /", f"rmdir {self.dir}"]
        self.vm.run("\n".join(lines))
        self.wait_gone()

    def wake(self) -> None:
        """Remote wakeup; the host must have enabled and suspended it."""
        self.vm.run(f"echo 1 > /sys/class/udc/{self.udc}/srp")

    def hidg(self) -> str:
        """Device node of its HID function."""
        number = self.vm.run(
            f"cat {self.dir}/functions/{self._functions[0]}/dev").out.strip()
        minor = number.split(":")[1]
        return f"/dev/hidg{minor}"

    def ifname(self) -> str:
        """Interface of its network function, on the device's side."""
        return self.vm.run(
            f"cat {self.dir}/functions/{self._functions[0]}/ifname").out.strip()

    def tty(self) -> str:
        """Device node of its serial function, on the device's side."""
        number = self.vm.run(
            f"cat {self.dir}/functions/{self._functions[0]}/port_num").out
        return f"/dev/ttyGS{number.strip()}"


class Dummies:
    """A number of sockets (UDCs of dummy_hcd) in a VM."""

    def __init__(self, vm: VM, count: int = 4) -> None:
        self.vm = vm
        vm.run(f"modprobe dummy_hcd num={count} is_super_speed=1 && "
               "modprobe libcomposite")
        self.free = [f"dummy_udc.{n}" for n in range(count)]
        self.gadgets: list[Gadget] = []

    def add(self, name: str, functions: Iterable[tuple[str, Mapping[str, str]]],
            speed: str = "high-speed", vendor: int = 0x0525,
            product: int = 0xa4a0, udc: int | None = None,
            setup: str = "", wakeup: bool = False) -> Gadget:
        """A gadget with any configfs functions, in a free socket."""
        socket = f"dummy_udc.{udc}" if udc is not None else self.free[0]
        self.free.remove(socket)
        gadget = Gadget(self.vm, name, socket, list(functions), speed, vendor,
                        product, setup, wakeup)
        self.gadgets.append(gadget)
        gadget.plug()
        return gadget

    def remove(self, gadget: Gadget) -> None:
        """Remove a gadget; its socket is free again."""
        gadget.remove()
        self.gadgets.remove(gadget)
        self.free.insert(0, gadget.udc)

    def clear(self) -> None:
        """Remove all gadgets."""
        for gadget in list(self.gadgets):
            self.remove(gadget)

    def close(self) -> None:
        """Remove all gadgets and the sockets."""
        self.clear()
        self.vm.run("modprobe -r dummy_hcd")

    def source_sink(self, name: str, speed: str = "high-speed",
                    udc: int | None = None, **attributes: str) -> Gadget:
        """Endless source and sink, what usbtest wants."""
        return self.add(name, [("SourceSink.0", attributes)], speed, udc=udc)

    def loopback(self, name: str, speed: str = "high-speed",
                 udc: int | None = None, **attributes: str) -> Gadget:
        """Sends back what it is sent."""
        return self.add(name, [("Loopback.0", attributes)], speed, udc=udc)

    def mass_storage(self, name: str, image: str, speed: str = "high-speed",
                     udc: int | None = None, removable: bool = True,
                     read_only: bool = False) -> Gadget:
        """A disk whose content is a file of the VM."""
        attributes = {"stall": "1",
                      "lun.0/removable": str(int(removable)),
                      "lun.0/ro": str(int(read_only)),
                      "lun.0/file": image}
        return self.add(name, [("mass_storage.0", attributes)], speed,
                        product=0xa4a5, udc=udc)

    def _hid(self, name: str, report: bytes, length: int, speed: str,
             udc: int | None, protocol: int, product: int,
             wakeup: bool = False) -> Gadget:
        octal = "".join(f"\\{b:03o}" for b in report)
        function = f"hid.{name}"
        attributes = {"protocol": str(protocol),
                      "subclass": str(int(protocol > 0)),
                      "report_length": str(length)}
        setup = f"printf '{octal}' > functions/{function}/report_desc"
        return self.add(name, [(function, attributes)], speed,
                        product=product, udc=udc, setup=setup, wakeup=wakeup)

    def hid_echo(self, name: str, speed: str = "high-speed",
                 udc: int | None = None) -> Gadget:
        """Interrupt endpoints: sends back each report of 64 octets."""
        gadget = self._hid(name, ECHO_REPORT, 64, speed, udc, 0, 0xa4ac)
        program = compile_tool("hid_echo")
        gadget.helpers.append(self.vm.spawn(f"exec {program} {gadget.hidg()}"))
        return gadget

    def keyboard(self, name: str, speed: str = "full-speed",
                 udc: int | None = None) -> Gadget:
        """A keyboard; press() types on it, wake() is its remote wakeup."""
        return self._hid(name, KEYBOARD_REPORT, 8, speed, udc, 1, 0xa4ad,
                         wakeup=True)

    def mouse(self, name: str, speed: str = "full-speed",
              udc: int | None = None) -> Gadget:
        """A mouse; report() moves it."""
        return self._hid(name, MOUSE_REPORT, 4, speed, udc, 2, 0xa4ae)

    def report(self, gadget: Gadget, *reports: bytes) -> None:
        """Have a HID gadget send reports."""
        self.vm.run(" && ".join(
            "printf '{}' > {}".format("".join(f"\\{b:03o}" for b in report),
                                      gadget.hidg()) for report in reports))

    def press(self, keyboard: Gadget, *codes: int) -> None:
        """Press and release keys, by HID usage."""
        for code in codes:
            self.report(keyboard, bytes((0, 0, code, 0, 0, 0, 0, 0)), bytes(8))

    def acm(self, name: str, speed: str = "high-speed",
            udc: int | None = None) -> Gadget:
        """A serial adapter; its far end is gadget.tty()."""
        return self.add(name, [(f"acm.{name}", {})], speed, product=0xa4a7,
                        udc=udc)

    def network(self, name: str, kind: str, speed: str = "high-speed",
                udc: int | None = None) -> Gadget:
        """A network adapter ("ncm", "ecm", "rndis"); its far end is the
        interface gadget.ifname() of the VM."""
        return self.add(name, [(f"{kind}.{name}", {})], speed, product=0xa4a1,
                        udc=udc)

    def ncm(self, name: str, speed: str = "high-speed",
            udc: int | None = None) -> Gadget:
        """The best of them."""
        return self.network(name, "ncm", speed, udc)

    def midi(self, name: str, speed: str = "high-speed",
             udc: int | None = None) -> Gadget:
        """A MIDI interface; its far end is the sound card of its UDC."""
        return self.add(name, [(f"midi.{name}", {})], speed, product=0xa4af,
                        udc=udc)

    def printer(self, name: str, ident: str, speed: str = "high-speed",
                udc: int | None = None) -> Gadget:
        """A printer with an IEEE 1284 ID; its far end is /dev/g_printer0."""
        return self.add(name, [(f"printer.{name}", {"pnp_string": ident})],
                        speed, product=0xa4a8, udc=udc)
