#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""usbfront with a backend in user space, over the fd channel.

The backend shows it a disk and a source and sink. It checks what it is sent to the
last bit, and it can be told to lie, to be silent and to die.
"""

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import usbtest  # noqa: E402
from cache import compile_tool  # noqa: E402
from gadget import device_node, find_device  # noqa: E402
from peers import DISK, LIES, PYTHON, SINK, Peer, late_answers, unanswered  # noqa: E402
from vm import VM  # noqa: E402

SPEEDS = {"full": "12", "high": "480", "super": "5000", "super-plus": "10000",
          "super-plus-x2": "20000"}
RESET = (PYTHON + " -c 'import fcntl; f = open(\"{}\", \"wb\"); "
         "print(\"now\", flush=True); fcntl.ioctl(f, 0x5514)'")


def disk_appears(peer: Peer) -> str:
    """A disk behind a controller that says what it is."""
    peer.disk()
    out = peer.vm.run("lsusb -t; cat /sys/bus/usb/devices/usb*/product").out
    tap.expect(re.search(r"Driver=usbfront/15p, 480M", out), out)
    tap.expect(re.search(r"Driver=usbfront/15p, 20000M", out), out)
    tap.expect(re.search(r"Driver=usb-storage, 480M", out), out)
    tap.expect("usbif virtual host controller (vusb 0)" in out, out)


def reads(peer: Peer) -> None:
    """All of it, in requests of several sizes."""
    node = peer.node()
    for size in ("1M", "120k", "4k"):
        peer.compare(node, size)


def writes(peer: Peer) -> None:
    """What is written is on the disk, and nothing else is changed."""
    node = peer.node()
    peer.vm.run(f"""set -e; cp /tmp/image /tmp/wanted
        head -c 3M /dev/urandom > /tmp/piece
        dd if=/tmp/piece of={node} bs=1M seek=2 oflag=direct 2>&1
        dd if=/tmp/piece of=/tmp/wanted bs=1M seek=2 conv=notrunc 2>&1
        dd if=/tmp/piece of={node} bs=512 count=9 seek=77 oflag=direct 2>&1
        dd if=/tmp/piece of=/tmp/wanted bs=512 count=9 seek=77 conv=notrunc
        cmp /tmp/wanted /tmp/image""", 60)
    peer.compare(node)


def speeds(peer: Peer) -> None:
    """Each speed on the root hub it belongs to; another epoch each time."""
    for speed, wanted in SPEEDS.items():
        node = peer.disk(speed)
        busid = find_device(peer.vm, "back-disk")
        out = peer.vm.run(f"cat /sys/bus/usb/devices/{busid}/speed").out
        tap.expect_equal(out.strip(), wanted)
        peer.compare(node)
    peer.disk()


def usbtest_cases(peer: Peer) -> None:
    """Queues, scatter-gather, unlinks."""
    for speed in ("high", "super") if tap.LONG else ("super",):
        busid = peer.sink(speed)
        for number in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 17, 18, 24, 27, 28):
            usbtest.run(peer.vm, busid, number, tap.scaled(1, 5))
        peer.unplug(SINK)


def small_region(peer: Peer) -> None:
    """The smallest region works too, with both devices at work."""
    peer.renew(1)
    node = peer.disk()
    busid = peer.sink()
    load = peer.vm.spawn(usbtest.command(busid, 28, tap.scaled(1, 3)))
    peer.compare(node)
    load.wait(120, check=True)
    tap.expect(peer.count("waits"), "nobody ever had to wait for the pool")
    peer.renew(16)
    peer.disk()


def idle_input(peer: Peer) -> None:
    """Input that never comes, more of it than the pool holds, keeps neither
    its own device nor a disk from moving."""
    peer.renew(1)
    node = peer.disk()
    busid = peer.sink()
    peer.tell("idle 1")
    idle = peer.vm.spawn(usbtest.command(busid, 28, 10))
    peer.vm.wait_for(f"! grep -qx 'waits 0' {peer.debug}")
    peer.compare(node)
    peer.compare(node, "4k")
    tap.expect_equal(idle.rc, None)
    idle.kill(9)
    peer.tell("idle 0")
    idle.wait(20)
    usbtest.run(peer.vm, busid, 27)
    peer.renew(16)
    peer.disk()


def pulled_out(peer: Peer) -> None:
    """The reader is told within a second, the disk comes back."""
    for _ in range(tap.scaled(3, 20)):
        node = peer.node()
        job = peer.vm.spawn(f"while dd if={node} of=/dev/null bs=64k "
                            "iflag=direct; do :; done 2>&1")
        peer.vm.run("sleep 0.3")
        peer.tell(f"unplug {DISK}")
        job.wait(3)
        peer.disk()
    peer.compare(peer.node())


def replugged_at_once(peer: Peer) -> None:
    """Another device on the port before anybody has looked."""
    for _ in range(tap.scaled(3, 20)):
        busid = find_device(peer.vm, "back-disk")
        number = peer.vm.run(f"cat /sys/bus/usb/devices/{busid}/devnum").out.strip()
        peer.job.write(f"unplug {DISK}\nplug {DISK} high\n".encode())
        peer.told += 2
        peer.vm.wait_for(
            "for s in /sys/bus/usb/devices/*/serial; do d=${s%/serial}; "
            f"grep -qx back-disk $s && test $(cat $d/devnum) != {number} && "
            "exit 0; done; exit 1")
    peer.compare(peer.node())


def hub_driver(peer: Peer) -> None:
    """All that can be done to a device, a port and a hub from outside."""
    busid = find_device(peer.vm, "back-disk")
    device = f"/sys/bus/usb/devices/{busid}"
    hub = f"/sys/bus/usb/devices/{busid.split('-')[0]}-0:1.0"
    port = f"{hub}/usb{busid.replace('-', '-port')}"
    gone = "! ls /dev/sd? 2> /dev/null"
    for off, on in (
            (f"echo 0 > {device}/authorized", f"echo 1 > {device}/authorized"),
            (f"echo 0 > {device}/bConfigurationValue",
             f"echo 1 > {device}/bConfigurationValue"),
            (f"echo {busid} > /sys/bus/usb/drivers/usb/unbind",
             f"echo {busid} > /sys/bus/usb/drivers/usb/bind"),
            (f"echo 1 > {port}/disable", f"echo 0 > {port}/disable"),
            (f"echo {hub.split('/')[-1]} > /sys/bus/usb/drivers/hub/unbind",
             f"echo {hub.split('/')[-1]} > /sys/bus/usb/drivers/hub/bind")):
        peer.vm.run(off)
        peer.vm.wait_for(gone)
        peer.vm.run(on)
        peer.compare(peer.node(), "120k")


def root_hubs(peer: Peer) -> str:
    """Requests of all kinds to both root hubs: what no hub knows stalls, and nothing of
    it is left behind."""
    peer.disk()
    since = peer.vm.mark()
    ours = peer.vm.run("grep -l '(vusb 0)' /sys/bus/usb/devices/usb*/product").out
    tap.expect_equal(len(ours.split()), 2, "root hubs")
    told = []
    for speed, path in zip(("high", "super"), sorted(ours.split())):
        peer.disk(speed)
        hub = device_node(peer.vm, path.split("/")[-2])
        told.append(peer.vm.run(f"{compile_tool('roothub')} {hub} 15 "
                                f"{'all' if tap.LONG else ''}",
                                tap.scaled(100, 400)).out.strip())
        peer.compare(peer.disk(speed))
    peer.disk()
    said = re.findall(r".*usbfront.*", peer.vm.klog(since))
    tap.expect_equal([line for line in said if "using usbfront" not in line], [],
                     "lines of the log")
    return "; ".join(told)


def resets(peer: Peer) -> None:
    """Resets from user space in the middle of reads, which go on."""
    node = peer.node()
    usbfs = device_node(peer.vm, find_device(peer.vm, "back-disk"))
    job = peer.vm.spawn(f"for i in 1 2 3 4 5 6 7 8 9; do dd if={node} bs=64k "
                        "iflag=direct | cmp - /tmp/image; done 2>&1 | "
                        "grep -v ^[0-9]")
    for _ in range(tap.scaled(3, 50)):
        peer.vm.run(RESET.format(usbfs))
    job.wait(90)
    tap.expect_equal(job.output(), "")


def suspends(peer: Peer) -> None:
    """Devices and hubs are suspended when idle, and woken by use or news."""
    node = peer.node()
    busid = find_device(peer.vm, "back-disk")
    target = f"/sys/block/{node[5:]}/device"
    for power in (f"/sys/bus/usb/devices/{busid}/power", f"{target}/power"):
        peer.vm.run(f"echo 0 > {power}/autosuspend_delay_ms; "
                    f"echo auto > {power}/control")
    bus = busid.split("-")[0]
    for name in (busid, f"usb{bus}"):
        peer.vm.wait_for(f"grep -q suspended /sys/bus/usb/devices/{name}/"
                         "power/runtime_status", 20)
    peer.compare(node)
    peer.unplug(DISK)
    peer.vm.wait_for(f"grep -q suspended /sys/bus/usb/devices/usb{bus}/"
                     "power/runtime_status", 20)
    peer.compare(peer.disk())


def failing(peer: Peer) -> None:
    """Errors on the wire are what usb-storage has always dealt with."""
    node = peer.node()
    for status in (2, 3, 4, 5, 6, 8, 9, 10, 14, 17):
        peer.tell(f"fail {status}")
        peer.vm.run(f"dd if={node} of=/tmp/read bs=64k count=8 iflag=direct "
                    "2>&1 && cmp -n 524288 /tmp/read /tmp/image", 60)


def behind_the_lost(peer: Peer) -> None:
    """What is queued behind a transfer of several pieces goes on although the
    unlink of that is never answered."""
    behind(peer, "in")


def behind(peer: Peer, way: str, spared: int = 0) -> None:
    """A transfer of 3 MiB is unlinked, which so many cancels are answered for."""
    busid = peer.sink()
    peer.tell("stubborn 1")
    peer.tell(f"spare {spared}")
    job = peer.vm.spawn(f"exec {compile_tool('usbfs')} "
                        f"{device_node(peer.vm, busid)} behind-{way} {3 << 20}")
    job.wait_output("unlinked", 20)
    peer.tell("stubborn 0")
    tap.expect_equal(job.wait(30), 0, job.output())
    peer.unplug(SINK)


def behind_the_half(peer: Peer) -> None:
    """The same for output that the pool has no room for at once; one of the pieces
    that are under way is given back."""
    peer.renew(1)
    behind(peer, "out", spared=1)
    peer.renew(16)
    peer.disk()


def one_is_stuck(peer: Peer) -> str:
    """Of a device whose unlinks are not answered, while another's requests are, only the
    first one is waited for long: drivers kill one URB after the other."""
    busid, node = peer.sink(), peer.node()
    load = peer.vm.spawn(f"while dd if={node} of=/dev/null bs=64k iflag=direct "
                         "2>/dev/null; do :; done")
    result, lost, _ = unanswered(peer, busid, 5, str(SINK))
    peer.tell("stubborn 0")
    load.kill(9)
    load.wait(10)
    tap.expect(lost > 2, f"{lost} lost: {result.out}")
    tap.expect(result.seconds < 5 + lost * 1.5,
               f"{result.seconds} s for {lost} unlinks")
    usbtest.run(peer.vm, busid, 2)
    peer.unplug(SINK)
    return f"{lost} lost, {result.seconds:.1f} s"


def silence(peer: Peer) -> None:
    """A backend that is away for two seconds is waited for."""
    node = peer.node()
    peer.tell("deaf 1")
    job = peer.vm.spawn(f"dd if={node} of=/dev/null bs=64k count=4 "
                        "iflag=direct")
    peer.vm.run("sleep 2")
    tap.expect_equal(job.rc, None)
    peer.tell("deaf 0")
    job.wait(10, check=True)
    tap.expect(peer.count("rerings") > 50, "the bell was not rung again")


def silence_at_reset(peer: Peer) -> str:
    """A reset that it has not taken is told again, as any request is."""
    usbfs = device_node(peer.vm, find_device(peer.vm, "back-disk"))
    peer.tell("deaf 1")
    before = peer.count("rerings")
    job = peer.vm.spawn(RESET.format(usbfs))
    job.wait_output("now", 20)
    peer.vm.run("sleep 2")
    rung = peer.count("rerings") - before
    peer.tell("deaf 0")
    job.wait(10, check=True)
    tap.expect(rung > 20, f"rung again {rung} times in 2 s")
    return f"{rung} times in 2 s"


def storm(peer: Peer) -> str:
    """Doorbells without end cost little: a look at every tick."""
    before = peer.count("wakeups")
    peer.tell("storm 2")
    wakeups = peer.count("wakeups") - before
    tap.expect(peer.count("paced") > 10, "nothing was done about it")
    tap.expect(wakeups < 2000, f"{wakeups} wakeups in 2 s")
    peer.compare(peer.node())
    return f"{wakeups} wakeups"


def lies(peer: Peer) -> None:
    """Each violation ends the session, once; the next one is as good as new."""
    for number, what in LIES.items():
        if number % 3 and not tap.LONG:
            continue
        before = peer.count("broken")
        said = peer.complaints()
        peer.tell(f"lie {number}")
        peer.vm.spawn("dd if=$(ls /dev/sd?) of=/dev/null bs=4k count=1 "
                      "iflag=direct")
        peer.vm.wait_for("! ls /dev/sd? 2> /dev/null")
        tap.expect_equal(peer.count("broken"), before + 1, what)
        tap.expect_equal(peer.complaints(), said + 1, f"lines about {what}")
        peer.tell("restart")
        peer.vm.wait_for("ls /dev/sd?", 20)
    peer.compare(peer.node())


def forgives(peer: Peer) -> None:
    """A backend that has lied once is tried again after a while."""
    peer.tell("lie 2")
    peer.vm.spawn("dd if=$(ls /dev/sd?) of=/dev/null bs=4k count=1 "
                  "iflag=direct")
    peer.vm.wait_for("! ls /dev/sd? 2> /dev/null")
    peer.vm.wait_for("ls /dev/sd?", 40)
    peer.compare(peer.node())


def comes_and_goes(peer: Peer) -> None:
    """A backend that stops takes its devices along and brings them back."""
    node = peer.node()
    job = peer.vm.spawn(f"while dd if={node} of=/dev/null bs=64k "
                        "iflag=direct; do :; done 2>&1")
    peer.vm.run("sleep 0.3")
    peer.tell("stop")
    job.wait(5)
    peer.vm.wait_for("! ls /dev/sd? 2> /dev/null")
    peer.tell("restart")
    peer.compare(peer.node())
    # What the lost session had is not the port's share any more.
    peer.vm.wait_for(f"! grep -E '^port .* (ids|blocks) [1-9]' {peer.debug}", 10)
    peer.tell("restart")
    peer.vm.wait_for("! ls /dev/sd? 2> /dev/null")
    peer.compare(peer.node())


def snubbed(peer: Peer) -> str:
    """A backend that takes a guest for the one before, which is dead, gives no answer:
    the guest comes with another nonce."""
    told = []
    for how in (1, 2):
        peer.tell(f"snub {how}")
        since = peer.vm.mark()
        peer.tell("restart")
        peer.vm.wait_for("! ls /dev/sd? 2> /dev/null")
        began = time.monotonic()
        peer.vm.wait_log(r": session \d+, ", 40, since)
        peer.compare(peer.node())
        told.append(f"{time.monotonic() - began:.0f} s")
    return ", ".join(told)


def mapping_outlives(peer: Peer) -> None:
    """Memory that user space has from a device may be there longer than the
    module."""
    usbfs = device_node(peer.vm, find_device(peer.vm, "back-disk"))
    job = peer.vm.spawn(
        f"{PYTHON} -c 'import mmap, os, sys; "
        f"m = mmap.mmap(os.open(\"{usbfs}\", os.O_RDWR), 65536); "
        "print(\"mapped\", flush=True); sys.stdin.read(); "
        "m[:] = bytes(65536); m.close()'", stdin=True)
    job.wait_output("mapped", 10)
    peer.vm.run("rmmod usbfront", 10)
    job.close_input()
    job.wait(5, check=True)
    peer.reload()


def rmmod_under_load(peer: Peer) -> str:
    """The module goes at once, with a backend that answers."""
    node = peer.node()
    busid = peer.sink()
    jobs = [peer.vm.spawn(f"dd if={node} of=/dev/null bs=64k iflag=direct"),
            peer.vm.spawn(usbtest.command(busid, 27, 10000))]
    peer.vm.run("sleep 1")
    seconds = peer.vm.run("rmmod usbfront", 10).seconds
    for job in jobs:
        job.wait(5)
    peer.reload()
    return f"{seconds:.1f} s"


def killed(peer: Peer) -> str:
    """A backend that dies without a word holds nobody."""
    node = peer.node()
    job = peer.vm.spawn(f"dd if={node} of=/dev/null bs=64k iflag=direct")
    peer.vm.run("sleep 0.3")
    peer.job.kill(9)
    peer.job.wait(5)
    seconds = peer.vm.run("rmmod usbfront", 15).seconds
    job.wait(5)
    tap.expect(seconds < 8, f"rmmod took {seconds} s")
    return f"{seconds:.1f} s"


CASES = [disk_appears, reads, writes, speeds, usbtest_cases, small_region,
         idle_input, pulled_out, replugged_at_once, hub_driver, root_hubs,
         resets, suspends, failing, late_answers, one_is_stuck, behind_the_lost,
         behind_the_half, silence, silence_at_reset, storm, lies, forgives,
         comes_and_goes, snubbed, mapping_outlives, rmmod_under_load, killed]


def main() -> None:
    with tap.Suite() as t:
        for series in tap.some_kernels("6.1"):
            if not any(t.wanted(f"{series} {case.__name__}")
                       for case in CASES):
                continue
            vm = t.vm(VM(f"peer-{series}", kernel=series, smp=2))
            peer = Peer(vm)
            for case in CASES:
                fault = ", F58" if case in (small_region, idle_input) else ""
                t.case(f"{series} {case.__name__}{fault}", case, peer)
            vm.close()


if __name__ == "__main__":
    main()
