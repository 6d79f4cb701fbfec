# SPDX-License-Identifier: GPL-2.0
"""Backends that attack usbfront (tests/peers/back_hostile.c), by the numbers of
Documentation/reliability.rst.

    peer = Attack(vm)                   # over fd, or, with a machine for the backend,
    peer = Attack(guest, driver)        # over ivshmem
    run_cases(t, names("6.1"), peer, "6.1 the other hardware")

Beside it other hardware of the guest, a disk behind dummy_hcd, is written and verified
all the time; it must not see an error and not stand still.
"""

from __future__ import annotations

import re
import time
from typing import Callable, Collection

import numbered
import tap
import usbtest
from gadget import Dummies, child_node
from peers import DISK, LIES, SINK, Peer, late_answers, unanswered
from vm import VM
from workload import HOURS, stood_still, verify

PAUSE_MS = 50
READ = ("dd if=$(ls /dev/sd? | grep -v $(cat /tmp/clean.node)) of=/dev/null "
        "bs=4k count=1 iflag=direct")
# Words of the backend's page.
(MAGIC, VERSION, REGION, NR_REQUESTS, SQ_ENTRIES, CQ_ENTRIES, MAX_TRANSFER) = (
    0, 1, 2, 4, 5, 6, 7)
SQ_OFFSET, CQ_OFFSET, POOL_OFFSET, POOL_SIZE = 8, 10, 12, 14
FEATURES, NR_VUSB, NR_PORTS, ISO_PACKETS, NONCE = 16, 18, 19, 20, 21
STATE, SESSION, SQ_CONS, CQ_PROD = 32, 33, 64, 80
READY, CLOSED = 1, 3
F_STREAMS = 2
# Words of a completion.
STATUS, ACTUAL = 2, 3
EREMOTEIO = 121
COUNTERS = "sessions|broken|lost|late|paced"


class Attack(Peer):
    """A backend that lies, and other hardware beside it."""

    def __init__(self, vm: VM, driver: VM | None = None) -> None:
        self.dummies = Dummies(vm, 2)
        vm.run("modprobe usb-storage delay_use=0; modprobe sd_mod; "
               "truncate -s 8M /tmp/clean")
        gadget = self.dummies.mass_storage("clean", "/tmp/clean")
        node = "/dev/" + child_node(vm, gadget.busid(), "block/sd?")
        vm.run(f"echo {node} > /tmp/clean.node")
        self.clean = verify(vm, node, 8, HOURS, PAUSE_MS)
        super().__init__(vm, driver)
        self.disk()

    def still_good(self) -> None:
        """The disk behind the backend can be read, in this session or another."""
        node = self.node()
        self.vm.run(f"dd if={node} of=/tmp/read bs=64k count=4 iflag=direct 2>&1"
                    " && cmp -n 262144 /tmp/read /tmp/image", 60)

    def again(self) -> None:
        """Another session."""
        self.tell("restart")
        self.still_good()

    def breaks(self, what: str, *commands: str, trigger: str = READ) -> None:
        """The session ends at once, with one line in the log."""
        broken, said = self.count("broken"), self.complaints()
        for command in commands:
            self.tell(command)
        job = self.vm.spawn(f"{trigger} 2>&1")
        self.vm.wait_for(f"grep -qx 'broken {broken + 1}' {self.debug}", 10)
        tap.expect_equal(self.complaints(), said + 1, f"lines about {what}")
        job.wait(20)
        self.again()

    def spent(self, command: str) -> float:
        """Share of a processor that the thread takes during a command."""
        def used() -> tuple[float, int]:
            up, stat = self.vm.run(
                "cat /proc/uptime $(grep -l ^usbfront/ /proc/[0-9]*/comm | "
                "sed s/comm$/stat/)").out.splitlines()
            ticks = stat.rpartition(")")[2].split()[11:13]
            return float(up.split()[0]), sum(map(int, ticks))

        begun, before = used()
        self.tell(command)
        ended, after = used()
        return (after - before) / 100 / (ended - begun)

    def run(self, case: Callable[[Attack], str | None]) -> str:
        """One attack; the other hardware must not notice."""
        before = self.channel()
        told = case(self)
        tap.expect_equal(self.clean.rc, None,
                         f"end of the other disk ({self.clean.output()[-300:]})")
        counted = numbered.told(before, self.channel(), COUNTERS)
        self.still_good()
        return "; ".join(filter(None, (told, counted)))

    def channel(self) -> str:
        """What usbfront says of its channel, if it has any."""
        return self.vm.run(f"cat {self.debug}", check=False).out

    def finish(self) -> str:
        """The other disk has gone on all the time."""
        still, text = stood_still(self.clean)
        tap.expect(not still, f"the other disk stood still in seconds {still}")
        self.clean.kill(9)
        self.clean.wait(10)
        return text


def some(*values: int) -> tuple[int, ...]:
    """All of them in long runs, else the first two."""
    return values if tap.LONG else values[:2]


# ---- the page

def refuses(peer: Attack, *words: tuple[int, int]) -> None:
    """There is no session with such a page, and no end of lines in the log."""
    peer.tell("stop")
    for word, value in words:
        sessions = peer.count("sessions")
        peer.tell("repage")
        for command in (f"page {word} {value}", f"page {STATE} {READY}"):
            peer.tell(command)
        peer.vm.run("sleep 0.15")
        tap.expect_equal(peer.count("sessions"), sessions,
                         f"sessions with {value:#x} in word {word}")
        peer.tell(f"page {STATE} {CLOSED}")
    peer.again()


def header(peer: Attack) -> None:
    """Also while it changes."""
    refuses(peer, (MAGIC, 0x12345678), (VERSION, 0), (VERSION, 2),
            (NONCE, 0), *((NR_REQUESTS, n) for n in some(0, 1, 33, 1 << 31)),
            *((CQ_ENTRIES, n) for n in some(0, 0xffffffff)))
    peer.tell("nonce 300")
    peer.again()


def small_region(peer: Attack) -> None:
    """What the page says does not fit into the region."""
    refuses(peer, (REGION, 32 << 20), (REGION, 1 << 20), (POOL_OFFSET, 64 << 20),
            (POOL_SIZE, 64 << 20), (POOL_OFFSET + 1, 1), (SQ_OFFSET, 0x1000),
            (CQ_OFFSET, 0xfffff000), (MAX_TRANSFER, 0), (MAX_TRANSFER, 1 << 30))


def port_counts(peer: Attack) -> None:
    """And it stays with what it was, whatever is written later."""
    refuses(peer, (NR_PORTS, 0), (NR_PORTS, 16), (NR_PORTS, 255), (NR_VUSB, 0),
            (NR_VUSB, 17), (NR_VUSB, 0xffffffff))
    for value in (0, 1, 255):
        peer.tell(f"page {NR_PORTS} {value}")
        peer.tell(f"page {NR_VUSB} {value}")
        peer.still_good()


def other_features(peer: Attack) -> None:
    """Nothing of the page is read again while the session lasts."""
    for word in (FEATURES, FEATURES + 1, NR_REQUESTS, MAX_TRANSFER, POOL_OFFSET,
                 POOL_SIZE, VERSION, MAGIC, ISO_PACKETS):
        for value in some(0xffffffff, 0):
            peer.tell(f"page {word} {value}")
            peer.still_good()
    peer.again()


# ---- rings and completions

def producer(peer: Attack) -> None:
    """Indices ahead of what there is, or back."""
    for lie in (9, 10, 11):
        peer.breaks(LIES[lie], f"lie {lie}")
    for value in some(0x7fffffff, 0x80000000):
        peer.breaks("index", f"page {CQ_PROD} {value}")


def busy(peer: Attack) -> str:
    """Completions as fast as they can be made leave time for others."""
    busid = peer.sink()
    job = peer.vm.spawn(usbtest.command(busid, 28, tap.scaled(2, 50)))
    peer.still_good()
    job.wait(120)
    peer.unplug(SINK)
    return f"{peer.count('completed')} URBs"


def bad_ids(peer: Attack) -> None:
    """Ids that are none, or not live."""
    for lie in (1, 2, 3, 7):
        peer.breaks(LIES[lie], f"lie {lie}")


def twice(peer: Attack) -> None:
    """The same completion again."""
    peer.breaks(LIES[4], "lie 4")


def rewritten_completions(peer: Attack) -> None:
    """Each is copied once: good or not, not one after the other."""
    peer.tell("flip 1 1")
    peer.vm.run(f"{READ} bs=64k count=64 2>&1", 60, check=False)
    peer.tell("flip 1 0")
    peer.again()


def long_actual(peer: Attack) -> None:
    """More octets than were asked for."""
    peer.breaks(LIES[5], "lie 5")
    for value in some(0x80000000, 0xffffffff):
        peer.breaks("octets", f"completion {ACTUAL} {value}")


def long_out(peer: Attack) -> None:
    """More octets than were sent."""
    for value in some(0x00100001, 0xffffffff):
        busid = peer.sink()
        peer.breaks("octets sent", f"completion {ACTUAL} {value}",
                    trigger=usbtest.command(busid, 1, 1))
        peer.unplug(SINK)


def statuses(peer: Attack) -> None:
    """Statuses that are none; and a short transfer that is well, which the
    driver had asked not to be."""
    for value in some(18, 0x00020000, 255, 0xff00):
        peer.breaks("status", f"completion {STATUS} {value}")
    busid = peer.sink()
    peer.tell("short 1")
    done = peer.vm.run(usbtest.command(busid, 2, 1), 60, check=False)
    peer.tell("short 0")
    tap.expect(f"{EREMOTEIO}" in done.out, f"short transfers: {done.out}")
    peer.unplug(SINK)


def rewritten_data(peer: Attack) -> None:
    """What a driver has been given stays as it is; only what it got is wrong."""
    peer.tell("flip 2 1")
    for _ in range(tap.scaled(3, 50)):
        peer.vm.run(f"{READ} bs=1M count=4 2>&1", 120, check=False)
    peer.tell("flip 2 0")
    peer.again()


def leaks(peer: Attack) -> None:
    """Nothing is in the pool but what was sent, to the octet."""
    peer.again()
    peer.tell("leaks 1")
    node = peer.node()
    peer.vm.run("head -c 700k /dev/urandom > /tmp/secret")
    for size in ("512", "1536", "5k", "100k"):
        peer.vm.run(f"dd if=/tmp/image of={node} bs={size} count=6 oflag=direct "
                    f"2>&1; dd if={node} of=/dev/null bs={size} count=6 "
                    "iflag=direct 2>&1")
    busid = peer.sink()
    for number in (1, 2, 5, 6, 17, 18):
        usbtest.run(peer.vm, busid, number, 1)
    peer.tell("leaks 0")
    peer.unplug(SINK)


def front_words(peer: Attack) -> None:
    """The frontend's own words are not read back."""
    for word in (0, 1, 2, 6, 7, 16, 32, 33, 48, 49):
        for value in some(0xa5a5a5a5, 0):
            peer.tell(f"front {word} {value}")
    peer.still_good()


# ---- ports

def strange_ports(peer: Attack) -> None:
    """What can't be breaks the session, what means nothing is not looked at."""
    port = 4 * 4
    sessions = peer.count("sessions")
    for word in (0, 1, 3 * 64 + 4, 15 * 64 + 60):
        peer.tell(f"ports {word} 0x301")
    peer.tell("unplug 5")
    peer.tell(f"ports {port} 2")
    peer.still_good()
    tap.expect_equal(peer.count("sessions"), sessions)
    peer.tell(f"ports {port} 0")
    for value in some(0x0301, 0x0701, 0x0001, 3, 0x0300, 0x060000):
        peer.breaks("port", f"ports {port + 1} 0", f"ports {port} {value}",
                    trigger="true")


def flapping(peer: Attack) -> str:
    """Of all that happens the latest counts, and it costs little."""
    share = peer.spent("gen 1000")
    tap.expect(share < 0.5, f"port_gen takes {share:.0%} of a processor")
    ms = tap.scaled(500, 10000)
    there, since = "grep -qx back-disk /sys/bus/usb/devices/*/serial", peer.vm.mark()
    peer.tell(f"flap {DISK} {ms}", ms / 1000)
    found = peer.vm.run(f"for i in $(seq 50); do {there} && exit; sleep 0.1; done; exit 1",
                        30, check=False)
    if found.rc:
        # The last change came when the hub driver gave up, as it may on any hub.
        tap.expect("connect-debounce failed" in peer.vm.klog(since), "no device")
        peer.tell(f"unplug {DISK}")
        peer.tell(f"plug {DISK} high")
        peer.vm.wait_for(there, 30)
    peer.tell("flip 3 1")
    peer.vm.run("sleep 0.5")
    peer.tell("flip 3 0")
    peer.again()
    return f"{share:.0%} of a processor"


def swapped(peer: Attack) -> None:
    """Another device each time the port is reset, until it stays."""
    peer.tell("swap 3")
    peer.unplug(DISK)
    peer.tell(f"plug {DISK} high")
    peer.still_good()


def no_reset(peer: Attack) -> str:
    """A reset that is not answered ends; other hardware comes up meanwhile.
    When the answer comes after all, the device is found."""
    since = peer.vm.mark()
    peer.tell("noreset 1")
    peer.unplug(DISK)
    peer.tell(f"plug {DISK} high")
    gadget = peer.dummies.source_sink("other")
    gadget.busid(10)
    peer.dummies.remove(gadget)
    peer.vm.wait_log("reset not answered", 20, since)
    peer.vm.wait_log("port1: unable to enumerate", 20, since)
    peer.vm.run("sleep 10")
    given_up = peer.vm.klog(since).count("port1: unable to enumerate")
    tap.expect_equal(given_up, 1, "times that the hub driver has given up")
    peer.tell("noreset 0")
    peer.node()
    peer.end()
    peer.start(16, F_STREAMS)
    peer.tell("noquery 1")
    peer.disk("super")
    peer.tell("noquery 0")
    peer.renew(16)
    peer.disk()
    return "another device was found meanwhile"


def deaf(peer: Attack) -> str:
    """Nothing is answered: other hardware, and the end of the module, go on."""
    peer.tell("deaf 1")
    job = peer.vm.spawn(f"{READ} 2>&1")
    gadget = peer.dummies.source_sink("other")
    gadget.busid(10)
    peer.dummies.remove(gadget)
    seconds = peer.vm.run("rmmod usbfront", 15).seconds
    job.wait(20)
    peer.reload()
    return f"rmmod {seconds:.1f} s"


def descriptors(peer: Attack) -> None:
    """Descriptors that cannot be are for the USB core to refuse."""
    wanted = range(1, 16) if tap.LONG else (1, 6, 7, 11, 12, 14)
    for number in wanted:
        peer.tell(f"unplug {DISK}")
        peer.tell(f"descriptor {number}")
        peer.tell(f"plug {DISK} high")
        peer.vm.run("sleep 0.7")
    peer.tell("descriptor 0")
    peer.tell(f"unplug {DISK}")
    peer.vm.run("sleep 0.3")
    peer.tell(f"plug {DISK} high")


def released(peer: Attack) -> str:
    """What nobody has answered keeps its blocks, and gives them back then."""
    def used() -> int:
        every, free = re.search(r"^pool: blocks (\d+) free (\d+)", peer.vm.get(
            peer.debug).decode(), re.M).groups()
        return int(every) - int(free)

    busid = peer.sink()
    _, lost, answered = unanswered(peer, busid)
    kept = used()
    tap.expect(lost and kept, f"{lost} lost, {kept} blocks in use")
    peer.tell("stubborn 0")
    peer.vm.wait_for(answered)
    tap.expect_equal(used(), 0, "blocks in use")
    usbtest.run(peer.vm, busid, 2)
    peer.unplug(SINK)
    return f"{lost} answered late, {kept} blocks"


# ---- events, sessions

def storm(peer: Attack) -> str:
    """Doorbells without end: one look in each tick."""
    wakeups, paced = peer.count("wakeups"), peer.count("paced")
    share = peer.spent("storm 2")
    tap.expect(share < 0.5, f"doorbells take {share:.0%} of a processor")
    wakeups = peer.count("wakeups") - wakeups
    # A jiffy is a millisecond at the least. From a slow machine less than that arrive.
    tap.expect(wakeups < 64 + 1100 * 2, f"{wakeups} wakeups")
    tap.expect(wakeups < 64 + 250 * 2 or peer.count("paced") > paced,
               f"{wakeups} wakeups, and nothing was done about it")
    return f"{share:.0%} of a processor, {wakeups} wakeups"


def epochs(peer: Attack) -> str:
    """Another session number, and restarts as fast as they go, in flight."""
    node = peer.node()
    job = peer.vm.spawn(f"dd if={node} of=/dev/null bs=64k iflag=direct 2>&1")
    peer.vm.run("sleep 0.3")
    peer.tell(f"page {SESSION} 77777")
    job.wait(10)
    peer.again()
    sessions = peer.count("sessions")
    ms = tap.scaled(1000, 20000)
    peer.tell(f"nonce {ms}", ms / 1000)
    made = peer.count("sessions") - sessions
    tap.expect(made <= ms / 100 + 3, f"{made} sessions in {ms} ms")
    peer.again()
    return f"{made} sessions in {ms} ms"


def vanishes(peer: Attack) -> str:
    """The backend dies while a device is looked at, then the module goes; and while the
    module goes."""
    peer.unplug(DISK)
    peer.tell(f"plug {DISK} high")
    peer.job.kill(9)
    peer.job.wait(5)
    seconds = [peer.vm.run("rmmod usbfront", 15).seconds]
    peer.reload()
    # And at some moments of the module's end.
    for ms in some(0, 30, 10, 100):
        job = peer.vm.spawn(f"exec dd if={peer.node()} of=/dev/null bs=64k iflag=direct 2>&1")
        begun, rmmod = time.monotonic(), peer.vm.spawn("exec rmmod usbfront")
        time.sleep(ms / 1000)
        peer.job.kill(9)
        rmmod.wait(15, check=True)
        seconds.append(time.monotonic() - begun)
        peer.job.wait(5)
        job.wait(20)
        peer.reload()
    tap.expect(max(seconds) < 8, f"rmmod took {seconds} s")
    return f"rmmod {', '.join(f'{s:.1f}' for s in seconds)} s"


def old_image(peer: Attack) -> None:
    """The region of some time ago."""
    peer.again()
    peer.tell("save")
    for _ in range(3):
        peer.still_good()
    peer.breaks("an old image", "load", trigger="true")


CASES = {
    82: header, 83: small_region, 84: port_counts, 85: producer, 86: busy,
    87: bad_ids, 88: twice, 89: rewritten_completions, 90: long_actual,
    91: long_out, 92: statuses, 95: rewritten_data, 96: leaks, 97: front_words,
    98: strange_ports, 99: flapping, 100: swapped, 101: no_reset,
    102: late_answers, 103: released, 104: deaf, 105: descriptors, 106: storm,
    107: epochs, 108: vanishes, 109: old_image, 110: other_features,
}

# That the thread of the backend has died looks like this, for one.
ALSO = {104: ", F46"}


def names(series: str, where: str = "", typical: Collection[int] = ()
          ) -> dict[int, str]:
    """What the cases are called, by number: all, or in a short run the typical ones."""
    titles = numbered.titles()
    return {n: f"{series} {where}H{n} {titles[n]}{ALSO.get(n, '')}" for n in CASES
            if tap.ALL_CASES or n in typical}


def run_cases(t: tap.Suite, called: dict[int, str], peer: Attack,
              last: str) -> None:
    """Those, and what has become of the other hardware."""
    for number, name in called.items():
        t.case(name, peer.run, CASES[number])
    t.case(last, peer.finish)
