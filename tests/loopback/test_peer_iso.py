#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbfront with a backend in user space that can do less than ours, or says of
isochronous packets and of streams what cannot be.

tests/tools/iso_urbs.c submits the URBs and looks at each octet of their buffers and
around them.
"""

import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import device_node, find_device  # noqa: E402
from peers import DISK, ISO, PYTHON, Peer  # noqa: E402
from vm import VM  # noqa: E402

F_ISO, F_STREAMS = 1, 2
URBS = 8
# enum back_lie in tests/peers/back.h: those about any request.
LIES = {1: "id out of range", 2: "id not live", 3: "cancel never sent",
        4: "completed twice", 5: "too many octets", 6: "unknown status",
        7: "other session", 8: "reserved octets"}
TYPICAL = (4, 5, 6)
# enum iso_lie in tests/peers/back_iso.h.
BREAKING = {1: "H93 a packet too long", 2: "H93 packets larger than the region",
            3: "H93 lengths that wrap"}
HARMLESS = {4: "H94 more errors than packets", 5: "H93 unknown statuses of packets",
            6: "endpoint held", 8: "H94 no results"}
REWRITE = 7
NOSPACE = 11
# USBDEVFS_ALLOC_STREAMS: 4 streams on endpoint 0x84.
ALLOC = ("import fcntl, os, struct, sys; f = os.open(sys.argv[1], os.O_RDWR); "
         "fcntl.ioctl(f, 0x8008551c, struct.pack('IIB', 4, 1, 0x84))")


class Urbs:
    """What iso_urbs has printed of one run."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = dict(re.findall(r"(\w+) (\d+)", text))
        tap.expect("wrong" in found, f"iso_urbs: {text}")
        self.counts = {name: int(number) for name, number in found.items()}

    def check(self, submitted: int = URBS, failed: int | None = 0) -> None:
        """Each came back once, and nothing was written but what was sent."""
        wanted = {"submitted": submitted, "back": submitted, "twice": 0,
                  "excess": 0, "outside": 0, "wrong": 0}
        if failed is not None:
            wanted["failed"] = failed
        seen = {name: self.counts[name] for name in wanted}
        tap.expect_equal(seen, wanted, f"result ({self.text.strip()})")


def device(peer: Peer) -> str:
    """The device's node in usbfs."""
    return device_node(peer.vm, find_device(peer.vm, "back-iso", 30))


def iso_urbs(peer: Peer, steps: str) -> str:
    """Run iso_urbs."""
    return peer.vm.run(f"{compile_tool('iso_urbs')} {device(peer)} {steps}",
                       60).out


def begin(peer: Peer, features: int) -> None:
    """A channel with a backend that offers these features."""
    peer.end()
    peer.start(features=features)


def no_iso(peer: Peer) -> None:
    """Without the feature submission fails as documented; the rest works."""
    peer.tell(f"plug {ISO} high")
    for mode in ("in", "out"):
        out = iso_urbs(peer, f"1 {mode}")
        tap.expect("setting 1: good\nsubmission: ENXIO\n" in out, out)
        Urbs(out.split("ENXIO")[1]).check(submitted=0)
    peer.compare(peer.disk("high"))


def on_bot(peer: Peer) -> None:
    """The disk is one for usb-storage, and its content is right."""
    node = peer.disk("super")
    busid = find_device(peer.vm, "back-disk")
    out = peer.vm.run(f"cat /sys/bus/usb/devices/{busid}/speed; readlink "
                      f"/sys/bus/usb/devices/{busid}:1.0/driver").out
    tap.expect(re.match(r"5000\n.*/usb-storage\n", out), out)
    peer.compare(node)
    result = peer.vm.run(f"{PYTHON} -c {shlex.quote(ALLOC)} "
                         f"{device_node(peer.vm, busid)}", check=False)
    tap.expect("Invalid argument" in result.out, f"streams: {result.out}")


def no_streams(peer: Peer) -> None:
    """Without the feature a UAS disk is run without streams."""
    peer.tell("uas 1")
    on_bot(peer)


def streams_refused(peer: Peer) -> None:
    """The same where the feature is offered, but not for this device."""
    begin(peer, F_ISO | F_STREAMS)
    peer.tell("uas 1")
    on_bot(peer)


def streams_beyond(peer: Peer) -> None:
    """More streams granted than were asked for end the session."""
    before = peer.count("broken")
    peer.tell("grant 4096")
    peer.tell(f"unplug {DISK}")
    peer.tell(f"plug {DISK} super")
    peer.vm.wait_for(f"grep -qx 'broken {before + 1}' "
                     "/sys/kernel/debug/usbfront/peer", 20)
    peer.tell("grant 0")
    peer.tell("restart")
    on_bot(peer)
    peer.unplug(DISK)


def streams_unanswered(peer: Peer) -> str:
    """A driver that goes waits for the end of its streams once, not for long: it may be
    the hub driver that unbinds it."""
    peer.tell("grant 4")
    peer.tell(f"plug {DISK} super")
    busid = find_device(peer.vm, "back-disk", 20)
    bound = f"/sys/bus/usb/drivers/uas/{busid}:1.0"
    peer.vm.wait_for(f"test -e {bound}", 20)
    peer.tell("deaf 1")
    took = peer.vm.run(f"echo {busid}:1.0 > /sys/bus/usb/drivers/uas/unbind", 60).seconds
    tap.expect(took < 25, f"unbinding took {took:.1f} s")
    peer.tell("deaf 0")
    peer.tell("grant 0")
    peer.unplug(DISK)
    return f"{took:.1f} s"


def honest(peer: Peer) -> None:
    """What a device that does all right is like, in both directions."""
    begin(peer, F_ISO)
    peer.tell(f"plug {ISO} high")
    out = iso_urbs(peer, "1 in out in").splitlines()
    tap.expect_equal(out[0], "setting 1: good")
    for line in out[1:]:
        Urbs(line).check()


def refused_setting(peer: Peer) -> None:
    """No bandwidth for a setting: the old one works as before. It has to be set once
    more: usbcore takes its endpoints away before it asks for the other."""
    out = iso_urbs(peer, "1 in 2 1 in out").splitlines()
    tap.expect_equal([out[0], *out[2:4]], ["setting 1: good",
                                           "setting 2: ENOSPC",
                                           "setting 1: good"])
    for line in (out[1], *out[4:]):
        Urbs(line).check()


def refused_request(peer: Peer) -> None:
    """No bandwidth for a request: one URB fails, then the next submission."""
    peer.tell(f"fail {NOSPACE}")
    out = iso_urbs(peer, "1 in").split("\n", 1)[1]
    if out.startswith("submission: ENOSPC\n"):
        out = out.split("\n", 1)[1]
    urbs = Urbs(out)
    urbs.check(submitted=urbs.counts["submitted"], failed=1)
    peer.vm.run("sleep 0.3")
    honest_again(peer)


def honest_again(peer: Peer) -> None:
    """After a lie."""
    peer.tell("iso 0")
    Urbs(iso_urbs(peer, "1 in").split("\n", 1)[1]).check()


def broken(peer: Peer, lie: str, modes: str = "in out") -> None:
    """A lie that ends the session, once; all URBs come back, and the next session
    is as good as new."""
    for mode in modes.split():
        before, said = peer.count("broken"), peer.complaints()
        job = peer.vm.spawn(f"exec {compile_tool('iso_urbs')} {device(peer)} 1 "
                            f"wait {mode}", stdin=True)
        job.wait_output("waiting", 20)
        peer.tell(lie)
        job.write(b"\n")
        job.wait(60, check=True)
        urbs = Urbs(job.output().split("waiting\n")[1])
        # Those before the lie have been all right.
        urbs.check(submitted=urbs.counts["submitted"], failed=None)
        tap.expect(urbs.counts["submitted"] and urbs.counts["failed"] and
                   not urbs.counts["partial"], urbs.text)
        tap.expect_equal(peer.count("broken"), before + 1, "broken sessions")
        tap.expect_equal(peer.complaints(), said + 1, "lines about it")
        peer.tell("iso 0")
        peer.tell("restart")
    honest_again(peer)


def harmless(peer: Peer, number: int) -> str:
    """A lie that is not one about memory is bounded, and the stream goes on."""
    before = peer.count("broken")
    peer.tell(f"iso {number}")
    out = iso_urbs(peer, "1 in out")
    for line in out.splitlines()[1:]:
        Urbs(line).check(failed=URBS if "statuses" in HARMLESS[number] else
                         None)
    tap.expect_equal(peer.count("broken"), before, "broken sessions")
    honest_again(peer)
    return out.splitlines()[1]


def rewritten(peer: Peer) -> str:
    """Results that change while they are read: what counts was checked."""
    seen: list[int] = []
    while len(seen) < tap.scaled(3, 40) or not any(seen):
        tap.expect(len(seen) < 60, "it never read what cannot be")
        before = peer.count("broken")
        device(peer)
        peer.tell(f"iso {REWRITE}")
        urbs = Urbs(iso_urbs(peer, "1 in").split("\n", 1)[1])
        urbs.check(submitted=urbs.counts["submitted"], failed=None)
        seen.append(urbs.counts["failed"])
        peer.tell("iso 0")
        if peer.count("broken") > before:
            peer.tell("restart")
    honest_again(peer)
    return f"URBs that failed: {seen}"


def run(t: tap.Suite, series: str) -> None:
    """All of it on one kernel."""
    vm = t.vm(VM(f"peer-iso-{series}", kernel=series, smp=2))
    peer = Peer(vm)
    for case in (no_iso, no_streams, streams_refused, streams_beyond,
                 streams_unanswered, honest,
                 refused_setting, refused_request):
        t.case(f"{series}: {case.__name__}", case, peer)
    for number, what in LIES.items():
        if tap.ALL_CASES or number in TYPICAL:
            t.case(f"{series}: lie: {what}", broken, peer, f"lie {number}",
                   "in")
    for number, what in BREAKING.items():
        t.case(f"{series}: lie: {what}", broken, peer, f"iso {number}")
    for number, what in HARMLESS.items():
        t.case(f"{series}: lie: {what}", harmless, peer, number)
    t.case(f"{series}: H94 results rewritten", rewritten, peer)
    vm.close()


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            run(t, series)


if __name__ == "__main__":
    main()
