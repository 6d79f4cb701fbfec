#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""One row for each class of devices, with its class driver.

Each device is used natively first, by the driver of the machine that owns it, and
then through the ring by the same driver; the same function looks at both, and what
it says has to be the same, as have descriptors, strings, speed and drivers.

Sound is in test_iso.py, UAS in test_streams.py.
"""

import sys
import tempfile
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import checks  # noqa: E402
import mtp  # noqa: E402
import smartcard  # noqa: E402
import tap  # noqa: E402
from checks import (EV_ABS, EV_KEY, EV_MSC, EV_REL, MSC_SCAN,  # noqa: E402
                    key_events)
from emulated import Emulated  # noqa: E402
from gadget import Dummies, Gadget, load_drivers  # noqa: E402
from usbif import Loop  # noqa: E402
from vm import VM  # noqa: E402

IDENT = "MFG:usbif;MDL:test printer;CLS:PRINTER;CMD:none;  "
# QEMU's adapter lets frames that come close together overtake each other, and
# loses its place where the driver pads, after an RNDIS header of 44 octets.
QUIRKS = "1 44"
IMAGE_SIZE = 8 << 20

# Of drivers that another row has, too: not in a short run.
SPARED = ("HID keyboard (f_hid)", "HID mouse (f_hid)", "storage, BOT (usb-storage)",
          "network, ECM (f_ecm)", "network, RNDIS (f_rndis)")

Check = Callable[[str], str]


def key(name: str, usage: int, code: int) -> list:
    """A key of QEMU's keyboard, pressed and released."""
    return [([{"type": "key", "data": {"down": down, "key": {
                "type": "qcode", "data": name}}}],
             key_events(usage, code, down)[:-1]) for down in (True, False)]


def move(kind: str, x: int, y: int) -> list:
    """A move of a pointer of QEMU."""
    wanted = EV_REL if kind == "rel" else EV_ABS
    return [([{"type": kind, "data": {"axis": axis, "value": value}}
              for axis, value in (("x", x), ("y", y))],
             [(wanted, 0, x), (wanted, 1, y)])]


def button(name: str, number: int) -> list:
    """A button of a pointer of QEMU, pressed and released."""
    return [([{"type": "btn", "data": {"down": down, "button": name}}],
             [(EV_MSC, MSC_SCAN, 0x90001 + number),
              (EV_KEY, 0x110 + number, int(down))]) for down in (True, False)]


def wheel(name: str, by: int) -> list:
    """The wheel of a pointer of QEMU; there is no report of its release."""
    return [([{"type": "btn", "data": {"down": True, "button": name}}],
             [(EV_REL, 8, by), (EV_REL, 11, 120 * by)])]


BUTTONS = (button("left", 0) + button("right", 1) + button("middle", 2)
           + wheel("wheel-up", 1) + wheel("wheel-down", -1))
KEYS = (key("a", 0x04, 30) + key("z", 0x1d, 44) + key("0", 0x27, 11)
        + key("shift", 0xe1, 42) + key("f5", 0x3e, 63) + key("up", 0x52, 103)
        + key("kp_5", 0x5d, 76))
MOVES = move("rel", 5, -3) + move("rel", -127, 127) + BUTTONS
PLACES = (move("abs", 1, 32767) + move("abs", 12345, 23456)
          + move("abs", 32767, 1) + BUTTONS)


class Classes:
    """The rows, with what they need."""

    def __init__(self, t: tap.Suite, series: str) -> None:
        self.t = t
        self.series = series
        self.dir = tempfile.TemporaryDirectory()
        path = self.dir.name
        self.vm = t.vm(VM(
            f"classes-{series}", kernel=series, smp=2, machine="q35,i8042=off",
            devices=["qemu-xhci,id=xhci", "virtio-net-pci,netdev=far"],
            args=["-netdev", "hubport,id=near,hubid=1",
                  "-netdev", "hubport,id=far,hubid=1",
                  "-chardev", f"socket,id=line,path={path}/line,server=on,wait=off",
                  "-chardev", f"socket,id=card,path={path}/card,server=on,wait=off"]))
        self.loop = Loop(self.vm)
        self.loop.load()
        load_drivers(self.vm)
        self.vm.run("modprobe -a virtio-net ftdi_sio cdc_ether rndis_host usblp "
                    "snd-usb-audio")
        self.dummies = Dummies(self.vm, 2)
        self.emulated: list[Emulated] = []
        self.port = 0

    def emulate(self, name: str, driver: str, **properties: object) -> Emulated:
        """A device of QEMU."""
        device = Emulated(self.vm, name, driver, **properties)
        self.emulated.append(device)
        return device

    def clear(self) -> None:
        """No rules, no devices."""
        self.loop.clear()
        self.dummies.clear()
        while self.emulated:
            self.emulated.pop().remove()

    def look(self, busid: str, check: Check) -> tuple[str, ...]:
        """All that is to be the same on both sides."""
        said = check(busid)
        return (said, checks.identity(self.vm, busid),
                " ".join(checks.drivers(self.vm, busid)))

    def both(self, device: Gadget | Emulated, check: Check) -> str:
        """The row: natively, then through the ring."""
        natively = self.look(device.source(), check)
        self.port = self.port % 15 + 1
        through = self.look(self.loop.attach(device, self.port), check)
        tap.expect_equal(through, natively, "what was seen through the ring")
        return f"{natively[2]}: natively and through the ring {natively[0]}"

    # ---- input

    def keyboard(self) -> str:
        keyboard = self.dummies.keyboard("keyboard")
        return self.both(keyboard, lambda busid: checks.gadget_keyboard(
            self.vm, busid, self.dummies, keyboard))

    def mouse(self) -> str:
        mouse = self.dummies.mouse("mouse")
        return self.both(mouse, lambda busid: checks.gadget_mouse(
            self.vm, busid, self.dummies, mouse))

    def emulated_input(self, driver: str, script: list) -> str:
        device = self.emulate("input", driver)
        return self.both(device, lambda busid: checks.emulated_input(
            self.vm, busid, script))

    # ---- storage

    def storage(self) -> str:
        self.vm.run(f"head -c {IMAGE_SIZE} /dev/urandom > /tmp/image")
        disk = self.dummies.mass_storage("disk", "/tmp/image")
        return self.both(disk, lambda busid: checks.disk(
            self.vm, busid, "/tmp/image"))

    def emulated_storage(self) -> str:
        image = Path(self.vm.share) / "image"
        self.vm.run(f"head -c {IMAGE_SIZE} /dev/urandom > /share/image")
        self.vm.qmp("blockdev-add", driver="file", node_name="image",
                    filename=str(image))
        disk = self.emulate("disk", "usb-storage", drive="image")
        try:
            return self.both(disk, lambda busid: checks.disk(
                self.vm, busid, "/share/image"))
        finally:
            self.clear()
            self.vm.qmp("blockdev-del", node_name="image")

    # ---- serial lines

    def acm(self) -> str:
        acm = self.dummies.acm("acm")
        return self.both(acm, lambda busid: checks.serial(
            self.vm, busid, acm.tty()))

    def ftdi(self) -> str:
        line = self.emulate("ftdi", "usb-serial", chardev="line",
                            always_plugged=True)
        return self.both(line, lambda busid: checks.serial_socket(
            self.vm, busid, f"{self.dir.name}/line"))

    # ---- networks

    def network(self, kind: str) -> str:
        net = self.dummies.network("net", kind)
        return self.both(net, lambda busid: checks.network(
            self.vm, busid, net.ifname(), tap.scaled(200, 1455)))

    def emulated_network(self, configuration: int) -> str:
        far = self.vm.run("ls /sys/bus/virtio/drivers/virtio_net/virtio*/net"
                          ).out.strip()
        net = self.emulate("net", "usb-net", netdev="near")

        def check(busid: str) -> str:
            node = f"/sys/bus/usb/devices/{busid}/bConfigurationValue"
            self.vm.wait_for(f"grep -q . {node}")
            self.vm.run(f"grep -qx {configuration} {node} || "
                        f"echo {configuration} > {node}")
            return checks.network(self.vm, busid, far, tap.scaled(200, 1455),
                                  QUIRKS)

        return self.both(net, check)

    # ---- the rest

    def midi(self) -> str:
        midi = self.dummies.midi("midi")
        return self.both(midi, lambda busid: checks.midi(self.vm, busid, midi))

    def printer(self) -> str:
        printer = self.dummies.printer("printer", IDENT)
        return self.both(printer, lambda busid: checks.printer(
            self.vm, busid, IDENT))

    def files(self) -> str:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "root"
            files = mtp.make_tree(root)
            device = self.emulate("mtp", "usb-mtp", rootdir=str(root),
                                  readonly=False)
            try:
                return self.both(device, lambda busid: mtp.check(
                    self.vm, busid, root, files))
            finally:
                self.clear()

    def smart_card(self) -> str:
        card = smartcard.Card(f"{self.dir.name}/card")
        reader = self.emulate("reader", "usb-ccid")
        self.vm.device_add("ccid-card-passthru", chardev="card",
                           bus="reader.0")
        try:
            return self.both(reader, lambda busid: smartcard.check(
                self.vm, busid, card))
        finally:
            card.close()


def run(t: tap.Suite, series: str) -> None:
    """All rows on one kernel."""
    rows = Classes(t, series)
    for name, row, *arguments in (
            ("HID keyboard (f_hid)", rows.keyboard),
            ("HID keyboard (usb-kbd)", rows.emulated_input, "usb-kbd", KEYS),
            ("HID mouse (f_hid)", rows.mouse),
            ("HID mouse (usb-mouse)", rows.emulated_input, "usb-mouse", MOVES),
            ("HID tablet (usb-tablet)", rows.emulated_input, "usb-tablet", PLACES),
            ("storage, BOT (f_mass_storage)", rows.storage),
            ("storage, BOT (usb-storage)", rows.emulated_storage),
            ("serial, ACM (f_acm)", rows.acm),
            ("serial, FTDI (usb-serial)", rows.ftdi),
            ("network, NCM (f_ncm)", rows.network, "ncm"),
            ("network, ECM (f_ecm)", rows.network, "ecm"),
            ("network, RNDIS (f_rndis)", rows.network, "rndis"),
            ("network, RNDIS (usb-net)", rows.emulated_network, 2),
            ("network, ECM (usb-net)", rows.emulated_network, 1),
            ("MIDI (f_midi)", rows.midi),
            ("printer (f_printer)", rows.printer),
            ("MTP (usb-mtp)", rows.files),
            ("smart card, CCID (usb-ccid)", rows.smart_card)):
        if name in SPARED and not tap.LONG:
            continue
        t.case(f"{series}: {name}", row, *arguments)
        rows.clear()
    rows.vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
