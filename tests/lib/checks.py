# SPDX-License-Identifier: GPL-2.0
"""What a device does with its class driver, compared with what its far end saw.

Each function takes the VM where the driver runs and the device's bus ID there,
so the same is done natively and behind the ring.  It returns what was
compared, in words.
"""

from __future__ import annotations

import random
import socket
import struct
from typing import Callable, Iterable

from cache import compile_tool
from gadget import Dummies, Gadget, child_node, wait_opened
from tap import expect_equal
from vm import VM

EVENT = struct.Struct("<qqHHi")
EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_MSC, EV_LED = 0, 1, 2, 3, 4, 17
MSC_SCAN = 4
SYN = (EV_SYN, 0, 0)
KEY_PAGE = 0x70000
KEY_A = 0x04            # its HID usage

Event = tuple[int, int, int]


def identity(vm: VM, busid: str) -> str:
    """What the system makes of a device: descriptors, strings, speed."""
    return vm.run(f"cd /sys/bus/usb/devices/{busid}; sha256sum < descriptors; "
                  "cat speed idVendor idProduct bcdDevice "
                  "bConfigurationValue; cat manufacturer product serial 2>&1"
                  ).out


def drivers(vm: VM, busid: str) -> list[str]:
    """The drivers of its interfaces, in their order."""
    out = vm.run(f"cd /sys/bus/usb/devices/{busid}; for i in {busid}:*; do "
                 "d=$(readlink $i/driver) && echo ${d##*/} || echo none; done"
                 ).out
    return out.split()


# ---- storage

def disk(vm: VM, busid: str, image: str,
         reads: Iterable[tuple[str, int]] = (("1M", 8), ("4k", 64), ("512", 64)),
         ) -> str:
    """A disk shows its image, and what is written lands there.

    image: the path of what it consists of, where the VM sees it.
    """
    node = child_node(vm, busid, "block/sd?")
    vm.wait_for(f"test -b /dev/{node}")
    octets = 0
    for size, count in reads:
        out = vm.run(f"dd if=/dev/{node} of=/tmp/read bs={size} count={count} "
                     "iflag=direct 2>&1 && stat -c 'read %s' /tmp/read && "
                     "cmp -n $(stat -c %s /tmp/read) /tmp/read "
                     f"{image}", 120).out
        octets += int(out.split("read ")[1].split()[0])
    vm.run("head -c 3M /dev/urandom > /tmp/piece && "
           f"dd if=/tmp/piece of=/dev/{node} bs=1M seek=2 conv=fsync "
           "oflag=direct 2>&1 && "
           f"tail -c +2097153 {image} | head -c 3M | cmp - /tmp/piece", 120)
    return f"{octets >> 10} KiB read and 3072 KiB written"


# ---- serial lines

def raw(vm: VM, *nodes: str) -> None:
    """Have serial lines carry octets as they are."""
    vm.run("; ".join(f"stty -F {node} raw -echo" for node in nodes))


def serial(vm: VM, busid: str, far: str, count: int = 20000) -> str:
    """A serial adapter carries octets in both directions."""
    near = "/dev/" + child_node(vm, busid, "tty/ttyACM*")
    vm.wait_for(f"test -c {near}")
    raw(vm, near, far)
    vm.run(f"head -c {count} /dev/urandom > /tmp/bytes")
    for sender, receiver in ((near, far), (far, near)):
        reader = vm.spawn(f"head -c {count} {receiver} | cmp - /tmp/bytes")
        wait_opened(vm, receiver)
        vm.run(f"cat /tmp/bytes > {sender}")
        expect_equal((reader.wait(20), reader.output()), (0, ""))
    return f"{count} octets each way"


def serial_socket(vm: VM, busid: str, path: str, count: int = 8000) -> str:
    """The same with a far end that is a socket out here."""
    near = "/dev/" + child_node(vm, busid, "ttyUSB*")
    vm.wait_for(f"test -c {near}")
    raw(vm, near)
    octets = random.randbytes(count)
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(path)
        far.settimeout(30)
        reader = vm.spawn(f"exec cat {near}")
        wait_opened(vm, near)
        far.sendall(octets)
        expect_equal(reader.read(count), octets, "what was received")
        vm.run(f"cat > {near}", stdin=octets[::-1])
        sent = b""
        while len(sent) < count:
            piece = far.recv(65536)
            if not piece:
                break
            sent += piece
        expect_equal(sent, octets[::-1], "what was sent")
        reader.kill()
        reader.wait()
    return f"{count} octets each way"


# ---- networks

def network(vm: VM, busid: str, far: str, count: int = 200,
            options: str = "") -> str:
    """A network adapter carries frames of all lengths in both directions.

    options: of the program frames.
    """
    near = child_node(vm, busid, "net/*")
    vm.run(f"ip link set {near} up && ip link set {far} up")
    vm.wait_for(f"grep -qx 1 /sys/class/net/{near}/carrier && "
                f"grep -qx 1 /sys/class/net/{far}/carrier")
    out = vm.run(f"{compile_tool('frames')} {near} {far} {count} "
                 f"{options}", 120).out
    there, back = out.splitlines()
    expect_equal(back.split(",")[0], there.split(",")[0], "what came back")
    return f"{there} to the device, as many from it"


# ---- input

class Input:
    """The event node of an input device."""

    def __init__(self, vm: VM, busid: str) -> None:
        self.vm = vm
        self.node = "/dev/input/" + child_node(vm, busid, "input/input*/event*")
        vm.wait_for(f"test -c {self.node}")
        self.reader = vm.spawn(f"exec cat {self.node}")
        wait_opened(vm, self.node)

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.kill()
        self.reader.wait()

    def event(self) -> Event:
        """The next one, but for keys that repeat by themselves."""
        while True:
            event = EVENT.unpack(self.reader.read(EVENT.size))[2:]
            if not (event[0] == EV_KEY and event[2] == 2
                    or event == (EV_SYN, 0, 1)):
                return event

    def expect(self, wanted: list[Event]) -> None:
        """The next events are these, one by one."""
        found = [self.event() for _ in wanted]
        expect_equal(found, wanted, "events")

    def led(self, number: int, on: bool) -> None:
        """Switch a LED."""
        self.vm.run(f"cat > {self.node}", stdin=b"".join(
            EVENT.pack(0, 0, *event) for event in ((EV_LED, number, on), SYN)))


def key_events(usage: int, key: int, down: bool) -> list[Event]:
    """What a key of a keyboard is seen as."""
    return [(EV_MSC, MSC_SCAN, KEY_PAGE + usage), (EV_KEY, key, int(down)), SYN]


def pressed(vm: VM, busid: str, press: Callable[[], None]) -> None:
    """A pressed and released A arrives as just that."""
    with Input(vm, busid) as keys:
        press()
        for down in (True, False):
            keys.expect(key_events(KEY_A, 30, down))


def gadget_keyboard(vm: VM, busid: str, dummies: Dummies,
                    keyboard: Gadget) -> str:
    """Keys arrive as evdev events, and LEDs at the device."""
    count = 0
    with Input(vm, busid) as keys:
        for usage, key in ((KEY_A, 30), (0x1d, 44), (0x27, 11), (0x3a, 59)):
            dummies.press(keyboard, usage)
            for down in (True, False):
                keys.expect(key_events(usage, key, down))
                count += 3
        lights = vm.spawn(f"exec cat {keyboard.hidg()}")
        wait_opened(vm, keyboard.hidg())
        states = ((1, True, 2), (2, True, 6), (1, False, 4), (2, False, 0))
        for number, on, wanted in states:
            keys.led(number, on)
            # What its keyboard driver wanted earlier may come before it.
            while lights.read(1)[0] & 6 != wanted:
                pass
        lights.kill()
        lights.wait()
    return f"{count} events, {len(states)} states of LEDs"


def gadget_mouse(vm: VM, busid: str, dummies: Dummies, mouse: Gadget) -> str:
    """Moves, the wheel and buttons arrive as evdev events."""
    moves: list[tuple[tuple[int, int, int, int], list[Event]]] = [
        ((0, 5, -3, 0), [(EV_REL, 0, 5), (EV_REL, 1, -3)]),
        ((0, -127, 127, 0), [(EV_REL, 0, -127), (EV_REL, 1, 127)]),
        ((1, 0, 0, 0), [(EV_MSC, MSC_SCAN, 0x90001), (EV_KEY, 0x110, 1)]),
        ((5, 1, 0, 0), [(EV_MSC, MSC_SCAN, 0x90003), (EV_KEY, 0x112, 1),
                        (EV_REL, 0, 1)]),
        ((0, 0, 0, 0), [(EV_MSC, MSC_SCAN, 0x90001), (EV_KEY, 0x110, 0),
                        (EV_MSC, MSC_SCAN, 0x90003), (EV_KEY, 0x112, 0)]),
        ((0, 0, 0, -2), [(EV_REL, 8, -2), (EV_REL, 11, -240)])]
    with Input(vm, busid) as events:
        for report, wanted in moves:
            dummies.report(mouse, struct.pack("<Bbbb", *report))
            events.expect(wanted + [SYN])
    return f"{sum(len(wanted) + 1 for _, wanted in moves)} events"


def emulated_input(vm: VM, busid: str,
                   script: Iterable[tuple[list[dict], list[Event]]]) -> str:
    """Events of QEMU arrive as evdev events: steps of a script, what is sent
    and what has to be seen."""
    count = 0
    with Input(vm, busid) as events:
        for sent, wanted in script:
            vm.qmp("input-send-event", events=sent)
            events.expect(wanted + [SYN])
            count += len(wanted) + 1
    return f"{count} events"


# ---- MIDI

def midi_message(rng: random.Random) -> bytes:
    """A message of any kind, complete, without running status."""
    def data(count: int) -> bytes:
        return bytes(rng.randrange(128) for _ in range(count))

    kind = rng.choice((0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0, 0xf1,
                       0xf2, 0xf3, 0xf6, 0xf8, 0xfa, 0xfc))
    if kind == 0xf0:
        return b"\xf0" + data(rng.randrange(1, 60)) + b"\xf7"
    if kind in (0xf1, 0xf3):
        return bytes((kind,)) + data(1)
    if kind == 0xf2:
        return bytes((kind,)) + data(2)
    if kind > 0xf0:
        return bytes((kind,))
    return (bytes((kind + rng.randrange(16),))
            + data(1 if kind in (0xc0, 0xd0) else 2))


def midi(vm: VM, busid: str, gadget: Gadget, messages: int = 150) -> str:
    """Messages of all kinds arrive in both directions."""
    near = "/dev/snd/" + child_node(vm, busid, "midiC*D*")
    out = vm.wait_for(f"find /sys/devices/platform/{gadget.udc} "
                      "-name 'midiC*D*' | grep .").out
    far = "/dev/snd/" + out.split()[0].rsplit("/", 1)[1]
    vm.wait_for(f"test -c {near} && test -c {far}")
    rng = random.Random(7)
    octets = 0
    for sender, receiver in ((near, far), (far, near)):
        # No more than the kernel's buffer holds: nothing stops the sender.
        stream = b"".join(midi_message(rng) for _ in range(messages))
        octets += len(stream)
        reader = vm.spawn(f"exec cat {receiver}")
        # What comes before it reads is thrown away.
        vm.wait_for("grep -qs rawmidi_read /proc/[0-9]*/wchan")
        vm.run(f"cat > {sender}", stdin=stream)
        expect_equal(reader.read(len(stream)).hex(), stream.hex(), receiver)
        reader.kill()
        reader.wait()
    return f"{2 * messages} messages, {octets} octets"


# ---- printer

STATUS = ("import fcntl, sys; f = open(sys.argv[1], 'r+b', buffering=0); "
          "b = bytearray(4); fcntl.ioctl(f, 0x060b, b); print(b[0])")


def printer(vm: VM, busid: str, ident: str, far: str = "/dev/g_printer0",
            count: int = 100000) -> str:
    """What is printed is what the printer has got, what it says comes back."""
    near = "/dev/usb/" + child_node(vm, busid, "usbmisc/lp*")
    vm.wait_for(f"test -c {near} && test -c {far}")
    out = vm.run(f"cat /sys/bus/usb/devices/{busid}/{busid}:1.0/ieee1284_id"
                 ).out.strip()
    # The gadget forgets the two octets of the length at the end.
    expect_equal(out, ident[:-2], "IEEE 1284 ID")
    status = f"python3 -c \"{STATUS}\" {near}"
    vm.run(f"head -c {count} /dev/urandom > /tmp/page")
    expect_equal(vm.run(status).out.strip(), "8", "status, off line")
    paper = vm.spawn(f"head -c {count} {far} | cmp - /tmp/page")
    wait_opened(vm, far)
    expect_equal(vm.run(status).out.strip(), "24", "status, on line")
    vm.run(f"cat /tmp/page > {near}")
    expect_equal((paper.wait(30), paper.output()), (0, ""))
    back = vm.spawn(f"exec cat {near}")
    wait_opened(vm, near)
    answer = random.randbytes(5000)
    vm.run(f"cat > {far}", stdin=answer)
    expect_equal(back.read(len(answer)), answer, "what it answered")
    back.kill()
    back.wait()
    return f"{count} octets printed, {len(answer)} back, ID, status"
