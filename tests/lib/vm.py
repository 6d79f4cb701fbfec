# SPDX-License-Identifier: GPL-2.0
"""Test guests: a Debian kernel in QEMU, driven from Python.

    from vm import VM

    with VM("front", kernel="6.1", memory=512,
            devices=["qemu-xhci,id=xhci"]) as vm:
        vm.run("modprobe dummy_hcd num=4")
        out = vm.run("lsusb -t", timeout=10).out
        job = vm.spawn("cat /dev/hidraw0")     # goes on in the background
        vm.put("/tmp/file", b"octets"); data = vm.get("/tmp/file")
        job.kill(); job.wait(); job.output()
        vm.qmp("device_add", driver="usb-kbd", id="kbd", bus="xhci.0")
        vm.device_del("kbd")                   # waits for DEVICE_DELETED
        vm.check_log()                         # raises on any kernel warning

The guest
    sees the whole of the machine's root (so every program and this tree, at
    the same paths) through a throw-away overlay; /run, /tmp (but for this
    tree and the cache, if they are there), /dev, /proc and /sys are its own; /lib/modules is that of its kernel; vm.share, a
    directory here, is /share there, writable from both sides.  debugfs,
    tracefs and configfs are mounted where they belong.  Everything runs as
    root, with /bin/sh, without a login, udev or systemd.

VM(name, **options), the options:
    kernel      series for kernels.py ("6.1", "6.12"), default 6.1
    memory      MiB, default 512;   smp: processors, default 1
    accel       default "tcg,thread=multi", or IN_TURN;  cpu, machine: as QEMU takes them
    devices     list of values for -device;  args: any further arguments
    cmdline     further words for the kernel's command line
    qemu        the binary;   root: "9p" or None (initramfs only)
    initrd, image       paths, in place of those of the cache
    host        a VM to run this one inside of: a second-level guest, which
                is driven in the same way (paths are then those of the host)
    share       False for a guest without /share
    boot_timeout        seconds, default 60
    start       False: call vm.start() yourself

run(cmd, timeout=30, check=True, stdin=None) -> Result(rc, out, seconds)
    out holds standard output and error as text.  check: CommandFailed when
    rc is not 0.  Out of time: prints what the guest's tasks wait for, raises
    VMTimeout.
spawn(cmd, stdin=False) -> Job: .wait(timeout) -> rc, .kill(sig), .output(),
    .wait_output(regex, timeout) -> match, .read(count, timeout) -> bytes,
    .write(bytes), .close_input(), .rc
klog() -> text, mark() -> position, check_log(since=None), wait_log(regex,
    timeout, since=0) -> match; allow_log(regex): expected lines that look bad
qmp(command, **arguments) -> return value, or QMPError; hmp(line) -> text;
    wait_event(name, timeout=10, **data); device_add(driver, **properties)
kill() is SIGKILL for QEMU; reset(), pause(), cont(), shutdown(), wait_dead()
alive(), pid, name, release, share, console (path of the log)

When QEMU dies, whoever waits for the guest gets VMDied at once.  Times given
are stretched by the environment variable USBIF_TIMEOUT_SCALE.  With
USBIF_KEEP=DIR the console logs are copied to DIR.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checkers  # noqa: E402
import initramfs  # noqa: E402
import kernels  # noqa: E402
import klog  # noqa: E402
from cache import TREE, cache_dir, say  # noqa: E402
from transport import GuestHost, LocalHost, Process, Stream  # noqa: E402

# How much longer everything takes on the kernels of this run.
SLOWER = 4 if kernels.DEBUG in kernels.SUITES else 1
SCALE = float(os.environ.get("USBIF_TIMEOUT_SCALE", "1")) * SLOWER
HEADER = struct.Struct("<III")
CMDLINE = ("console=ttyS0 panic=-1 mitigations=off nokaslr loglevel=7 "
           "printk.time=1 no_timer_check tsc=reliable audit=0 apparmor=0 "
           "random.trust_cpu=on cryptomgr.notests "
           "rcupdate.rcu_cpu_stall_timeout=60 watchdog_thresh=30 "
           "workqueue.cpu_intensive_thresh_us=200000")
# One processor runs at a time. Of two that do at once, one now and then goes on with code
# that the other has changed already, as both do while processors come and go.
IN_TURN = "tcg,thread=single,tb-size=256"
# A table that runs full ends the checks. KASAN alone takes an eighth of the
# memory and, with what it does not give back at once, about as much again as
# is in use.
DEBUG_CMDLINE = "dma_debug_entries=65536 panic_on_warn=1"
DEBUG_MEMORY = 2.5


class VMError(Exception):
    """Anything wrong with a guest."""


class VMDied(VMError):
    """QEMU has ended."""


class VMTimeout(VMError):
    """Something took too long."""


class CommandFailed(VMError):
    """A command in the guest returned an error."""


class LogError(VMError):
    """The kernel log of a guest holds a failure."""


class QMPError(VMError):
    """QEMU refused a command."""


# The processor for a guest that is to run guests of its own under plain
# emulation: AMD's virtualisation, which QEMU emulates, but no XSAVE, because
# it does not emulate the intercept that KVM keeps its CPUID right with.
KVM_HOST_CPU = "EPYC,-xsave"


class Result(NamedTuple):
    """The end of a command."""

    rc: int
    out: str
    seconds: float


class Job:
    """A command that runs in a guest."""

    def __init__(self, vm: VM, number: int, cmd: str,
                 sink: Callable[[bytes], None] | None = None) -> None:
        self.vm = vm
        self.id = number
        self.cmd = cmd
        self.rc: int | None = None
        self._sink = sink
        self._data = bytearray()

    def _receive(self, data: bytes) -> None:
        if self._sink:
            self._sink(data)
        else:
            self._data += data

    def _finish(self, rc: int) -> None:
        self.rc = rc
        if self._sink:
            self._sink(b"")

    def raw(self) -> bytes:
        """All it has printed so far."""
        return bytes(self._data)

    def output(self) -> str:
        """All it has printed so far, as text."""
        return self.raw().decode(errors="replace")

    def write(self, data: bytes) -> None:
        """Give it input."""
        for at in range(0, len(data), 32768):
            self.vm._send("I", self.id, data[at:at + 32768])

    def close_input(self) -> None:
        """End its input."""
        self.vm._send("E", self.id)

    def kill(self, sig: int = 15) -> None:
        """Send it (its whole process group) a signal; fine if it has ended."""
        if self.rc is None and self.vm.alive():
            with contextlib.suppress(OSError):
                self.vm._send("K", self.id, struct.pack("<I", sig))

    def wait(self, timeout: float = 30, check: bool = False) -> int:
        """Wait for its end; returns its exit code, 128 + signal if killed."""
        self.vm._wait(lambda: self.rc is not None, timeout, f"'{self.cmd}'")
        assert self.rc is not None
        if check and self.rc:
            raise CommandFailed(f"{self.vm.name}: '{self.cmd}' returned "
                                f"{self.rc}:\n{self.output()}")
        return self.rc

    def read(self, count: int, timeout: float = 30) -> bytes:
        """Wait for that many octets of its output, and take them away."""
        def there() -> bool:
            if len(self._data) < count and self.rc is not None:
                raise CommandFailed(f"{self.vm.name}: '{self.cmd}' ended "
                                    f"({self.rc}) too early:\n{self.output()}")
            return len(self._data) >= count

        self.vm._wait(there, timeout, f"{count} octets of '{self.cmd}'")
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    def wait_output(self, regex: str, timeout: float = 30) -> re.Match[str]:
        """Wait until what it printed matches."""
        found: list[re.Match[str]] = []

        def matches() -> bool:
            match = re.search(regex, self.output(), re.M)
            if match:
                found.append(match)
            elif self.rc is not None:
                raise CommandFailed(
                    f"{self.vm.name}: '{self.cmd}' ended ({self.rc}) without "
                    f"printing /{regex}/:\n{self.output()}")
            return bool(match)

        self.vm._wait(matches, timeout, f"/{regex}/ from '{self.cmd}'")
        return found[0]


class VM:
    """A guest; see the head of this file."""

    live: list[VM] = []

    def __init__(self, name: str = "vm", kernel: str = "6.1", *,
                 memory: int = 512, smp: int = 1,
                 accel: str = "tcg,thread=multi,tb-size=256",
                 cpu: str = "max,la57=off", machine: str = "q35",
                 devices: Iterable[str] = (), args: Iterable[str] = (),
                 cmdline: str = "", qemu: str = "qemu-system-x86_64",
                 root: str | None = "9p",
                 initrd: Path | str | None = None,
                 image: Path | str | None = None,
                 host: VM | None = None, share: bool = True,
                 boot_timeout: float = 60, start: bool = True) -> None:
        self.name = name
        self.kernel = kernel
        self.boot_timeout = boot_timeout
        self.release = ""
        self.host = host
        self._cond = threading.Condition()
        self._send_lock = threading.Lock()
        self._qmp_lock = threading.Lock()
        self._ids = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._ready = 0
        self._dead = False
        self._closing = False
        self._events: list[dict[str, Any]] = []
        self._replies: dict[str, dict[str, Any]] = {}
        self._allowed: list[str] = []
        self._marked = 0
        self._logged: set[str] = set()
        self._proc: Process | None = None
        self._agent: Stream | None = None
        self._qmp: Stream | None = None
        self._dir = Path(tempfile.mkdtemp(prefix=f"usbif-{name}."))
        self._place = GuestHost(host) if host else LocalHost()
        self.console = self._dir / "console"
        self.share = self._dir / "share"
        self.share.mkdir()
        self._argv = self._arguments(
            memory, smp, accel, cpu, machine, list(devices), list(args),
            cmdline, qemu, root, initrd, image, share and root == "9p")
        VM.live.append(self)
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    # --- life ---------------------------------------------------------

    def _arguments(self, memory: int, smp: int, accel: str, cpu: str,
                   machine: str, devices: list[str], args: list[str],
                   cmdline: str, qemu: str, root: str | None,
                   initrd: Path | str | None, image: Path | str | None,
                   share: bool) -> list[str]:
        words = [CMDLINE, f"usbif.hostname={self.name}"]
        if self.kernel == kernels.DEBUG:
            words.append(DEBUG_CMDLINE)
            memory = int(memory * DEBUG_MEMORY)
        if self.host:
            # There each character costs an exit of both machines, and the
            # kernel waits for it: check_log() reads the log another way.
            words.append("loglevel=3")
        place = self._place.dir
        argv = [qemu, "-name", self.name, "-nodefaults", "-no-user-config",
                "-display", "none", "-action", "reboot=shutdown", "-machine", machine,
                "-accel", accel, "-cpu", cpu, "-m", str(memory),
                "-smp", str(smp),
                "-chardev", "file,id=console,path=/proc/self/fd/1,append=on",
                "-serial", "chardev:console",
                "-chardev",
                f"socket,id=agent,path={place}/agent,server=on,wait=off",
                "-device", "virtio-serial-pci,id=vser,max_ports=4",
                "-device", "virtserialport,bus=vser.0,chardev=agent,"
                "name=usbif.agent",
                "-chardev",
                f"socket,id=qmp,path={place}/qmp,server=on,wait=off",
                "-mon", "chardev=qmp,mode=control",
                "-object", "rng-random,id=rng,filename=/dev/urandom",
                "-device", "virtio-rng-pci,rng=rng"]
        if root == "9p":
            modules = kernels.fetch(self.kernel) / "lib/modules"
            words += ["usbif.root=9p", f"usbif.modules={modules}"]
            kept = [str(p.resolve()) for p in (TREE, cache_dir())
                    if p.resolve().parts[1] == "tmp"]
            if kept:
                words.append(f"usbif.keep={','.join(kept)}")
            argv += ["-virtfs", "local,path=/,mount_tag=root,readonly=on,"
                     "security_model=none,multidevs=remap"]
        if share:
            words.append("usbif.share=1")
            argv += ["-virtfs", f"local,path={self.share},mount_tag=share,"
                     "security_model=none,multidevs=remap"]
        if image is None:
            boot = kernels.fetch(self.kernel) / "boot"
            image = boot / "vmlinux"
            if not Path(image).exists():
                image = boot / "vmlinuz"
        if initrd is None:
            initrd = initramfs.shared_root(self.kernel)
        argv += ["-kernel", str(image), "-initrd", str(initrd),
                 "-append", " ".join([*words, cmdline]).strip()]
        for device in devices:
            argv += ["-device", device]
        return argv + args

    def start(self) -> None:
        """Boot; returns when commands can be run."""
        half = self.boot_timeout / 2
        self.boot()
        with contextlib.suppress(VMTimeout):
            return self.wait_ready(half)
        said = self.mark()
        with contextlib.suppress(VMTimeout):
            return self.wait_ready(half / 2)
        if self.mark() != said:
            return self.wait_ready(half)
        # Seldom, QEMU's processors spin, mostly before the kernel has said a word.
        say(f"{self.name}: nothing happens on the console; reset")
        return self.reset()

    def boot(self) -> None:
        """Start QEMU and return; wait_ready() does the rest."""
        proc = self._place.popen(self._argv, self.console)
        self._proc = proc
        threading.Thread(target=self._reaper, args=(proc,),
                         daemon=True).start()
        try:
            self._qmp = self._place.connect(f"{self._place.dir}/qmp",
                                            self._running)
            self._agent = self._place.connect(f"{self._place.dir}/agent",
                                              self._running)
        except OSError as e:
            raise VMDied(self._death()) from e
        threading.Thread(target=self._qmp_reader, daemon=True).start()
        threading.Thread(target=self._agent_reader, daemon=True).start()
        self.qmp("qmp_capabilities")

    def wait_ready(self, timeout: float | None = None, boots: int = 1) -> None:
        """Wait until the guest takes commands (boots: how often in all)."""
        self._wait(lambda: self._ready >= boots, timeout or self.boot_timeout,
                   "the guest to boot", dump=False)

    def _running(self) -> bool:
        return self._proc is not None and self._proc.poll() is None

    def alive(self) -> bool:
        """Is QEMU running?"""
        return not self._dead and self._running()

    @property
    def pid(self) -> int:
        """Process id of QEMU (here; -1 for one inside a guest)."""
        assert self._proc is not None
        return self._proc.pid

    def _reaper(self, proc: Process) -> None:
        proc.wait()
        time.sleep(0.05)        # let the readers see the last words
        with self._cond:
            self._dead = True
            for job in self._jobs.values():
                if job.rc is None and job._sink:
                    job._sink(b"")
            self._cond.notify_all()

    def _death(self) -> str:
        rc = self._proc.poll() if self._proc else None
        said = self._place.stderr().strip()
        return (f"{self.name}: QEMU has ended ({rc})"
                f"{': ' + said if said else ''}\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The end of the console."""
        text = "\n".join(self.klog().splitlines()[-lines:])
        return f"--- console of {self.name} ---\n{text}\n---"

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str,
              dump: bool = True) -> None:
        end = time.monotonic() + timeout * SCALE
        with self._cond:
            while not condition():
                if self._dead:
                    raise VMDied(f"waiting for {what}: {self._death()}")
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._cond.wait(min(left, 1))
            else:
                return
        if dump:
            self._dump_tasks()
        raise VMTimeout(f"{self.name}: waited {timeout * SCALE:.0f} s for "
                        f"{what}\n{self.tail(50)}")

    def _dump_tasks(self) -> None:
        """Have the guest say what its tasks wait for; never waits long."""
        with contextlib.suppress(Exception):
            self._send("X", next(self._ids),
                       b"dmesg | tail -n 50 > /dev/console; "
                       b"echo 8 > /proc/sys/kernel/printk; "
                       b"echo w > /proc/sysrq-trigger")
            size = -1
            for _ in range(20):
                time.sleep(0.5)
                if size == self.console.stat().st_size:
                    break
                size = self.console.stat().st_size

    # --- commands -----------------------------------------------------

    def _send(self, kind: str, number: int, data: bytes = b"") -> None:
        if self._agent is None or self._dead:
            raise VMDied(self._death())
        with self._send_lock:
            try:
                self._agent.sendall(HEADER.pack(len(data), number, ord(kind))
                                    + data)
            except OSError as e:
                raise VMDied(self._death()) from e

    def _agent_reader(self) -> None:
        stream, buffer = self._agent, bytearray()
        assert stream is not None
        while True:
            try:
                data = stream.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            while len(buffer) >= HEADER.size:
                length, number, kind = HEADER.unpack_from(buffer)
                if len(buffer) < HEADER.size + length:
                    break
                body = bytes(buffer[HEADER.size:HEADER.size + length])
                del buffer[:HEADER.size + length]
                self._frame(chr(kind), number, body)

    def _frame(self, kind: str, number: int, body: bytes) -> None:
        with self._cond:
            job = self._jobs.get(number)
            if kind == "R":
                self.release = body.decode()
                self._ready += 1
                for old in self._jobs.values():
                    if old.rc is None:      # of the boot before this one
                        old._finish(-1)
                self._jobs.clear()
            elif kind == "O" and job:
                job._receive(body)
            elif kind == "X" and job:
                job._finish(struct.unpack("<I", body)[0])
                del self._jobs[number]
            self._cond.notify_all()

    def spawn(self, cmd: str, stdin: bool = True,
              sink: Callable[[bytes], None] | None = None) -> Job:
        """Start a command; sink gets its output as it comes, then b""."""
        job = Job(self, next(self._ids), cmd, sink)
        with self._cond:
            self._jobs[job.id] = job
        self._send("X", job.id, cmd.encode())
        if not stdin:
            job.close_input()
        return job

    def renumber(self) -> None:
        """The agent is one that another QEMU had, and still has jobs of then."""
        with self._cond:
            self._jobs.clear()
            self._ids = itertools.count(1 << 16)

    def run(self, cmd: str, timeout: float = 30, check: bool = True,
            stdin: bytes | None = None) -> Result:
        """Run a command to its end."""
        began = time.monotonic()
        job = self.spawn(cmd, stdin=stdin is not None)
        if stdin is not None:
            job.write(stdin)
            job.close_input()
        try:
            job.wait(timeout, check)
        except VMTimeout:
            job.kill(9)
            raise
        assert job.rc is not None
        return Result(job.rc, job.output(), time.monotonic() - began)

    def put(self, path: str, data: bytes, mode: str = "644") -> None:
        """Write a file in the guest."""
        self.run(f"cat > '{path}' && chmod {mode} '{path}'", stdin=data)

    def get(self, path: str) -> bytes:
        """Read a file of the guest."""
        job = self.spawn(f"cat '{path}'", stdin=False)
        job.wait(check=True)
        return job.raw()

    def wait_for(self, cmd: str, timeout: float = 10,
                 every: float = 0.1) -> Result:
        """Run a command again and again until it returns 0."""
        end = time.monotonic() + timeout * SCALE
        while True:
            result = self.run(cmd, check=False)
            if result.rc == 0:
                return result
            if time.monotonic() > end:
                self._dump_tasks()
                raise VMTimeout(f"{self.name}: '{cmd}' did not come true in "
                                f"{timeout * SCALE:.0f} s: {result.out}\n"
                                f"{self.tail(50)}")
            time.sleep(every)

    # --- kernel log ---------------------------------------------------

    def klog(self, since: int = 0) -> str:
        """The console, which is the kernel log, from a position on."""
        with open(self.console, "rb") as f:
            f.seek(since)
            text = f.read().decode(errors="replace")
        return text.replace("\r", "")

    def mark(self) -> int:
        """The position after the last line of the log."""
        return self.console.stat().st_size

    def allow_log(self, regex: str) -> None:
        """Lines that match are expected from now on."""
        self._allowed.append(regex)

    def check_log(self, since: int | None = None) -> None:
        """Raise LogError if a failure was logged since the last check."""
        start = self._marked if since is None else since
        if not self.console.exists():
            return
        end = self.mark()
        text = self.klog(start)
        if since is None:
            self._marked = end
        text += self._new_messages()
        bad = klog.bad_lines(text, self._allowed)
        if bad:
            raise LogError(f"{self.name}: {len(bad)} bad lines in the kernel "
                           f"log, first: {bad[0]}\n"
                           f"{klog.excerpt(text, bad)}")

    def _new_messages(self) -> str:
        """What a second-level guest logged since the last call."""
        if not self.host or not self.alive() or not self._ready:
            return ""
        lines = self.run("dmesg", check=False).out.splitlines(True)
        new = [line for line in lines if line not in self._logged]
        self._logged = set(lines)
        return "".join(new)

    def wait_log(self, regex: str, timeout: float = 10,
                 since: int = 0) -> re.Match[str]:
        """Wait for a line of the kernel log."""
        end = time.monotonic() + timeout * SCALE
        while True:
            match = re.search(regex, self.klog(since), re.M)
            if match:
                return match
            if not self.alive():
                raise VMDied(self._death())
            if time.monotonic() > end:
                raise VMTimeout(f"{self.name}: no /{regex}/ in the kernel log "
                                f"in {timeout * SCALE:.0f} s\n{self.tail()}")
            time.sleep(0.05)

    # --- QEMU ---------------------------------------------------------

    def _qmp_reader(self) -> None:
        stream, buffer = self._qmp, b""
        assert stream is not None
        while True:
            try:
                data = stream.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            with self._cond:
                for line in lines:
                    message = json.loads(line)
                    if "event" in message:
                        self._events.append(message)
                    elif "id" in message:
                        self._replies[message["id"]] = message
                self._cond.notify_all()

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A QMP command; underscores in argument names become dashes."""
        ident = str(next(self._ids))
        request = {"execute": command, "id": ident, "arguments":
                   {k.replace("_", "-"): v for k, v in arguments.items()}}
        with self._qmp_lock:
            if self._qmp is None:
                raise VMDied(self._death())
            try:
                self._qmp.sendall(json.dumps(request).encode() + b"\n")
            except OSError as e:
                raise VMDied(self._death()) from e
        self._wait(lambda: ident in self._replies, 30, f"QMP {command}",
                   dump=False)
        reply = self._replies.pop(ident)
        if "error" in reply:
            raise QMPError(f"{self.name}: {command}: {reply['error']['desc']}")
        return reply["return"]

    def hmp(self, line: str) -> str:
        """A command of QEMU's monitor for people."""
        return self.qmp("human-monitor-command", command_line=line)

    def wait_event(self, name: str, timeout: float = 10, **data: Any) -> None:
        """Wait for a QMP event with this data and forget it."""
        def arrived() -> bool:
            for event in self._events:
                if event["event"] == name and all(
                        event.get("data", {}).get(k) == v
                        for k, v in data.items()):
                    self._events.remove(event)
                    return True
            return False

        self._wait(arrived, timeout, f"QMP event {name} {data or ''}")

    def device_add(self, driver: str, **properties: Any) -> None:
        """Plug a device."""
        self.qmp("device_add", driver=driver, **properties)

    def device_del(self, ident: str, timeout: float = 10) -> None:
        """Pull a device, wait until it is gone."""
        self.qmp("device_del", id=ident)
        self.wait_event("DEVICE_DELETED", timeout, device=ident)

    def reset(self) -> None:
        """Reset the guest, as the button does; wait until it is up again."""
        boots = self._ready + 1
        # For as long as it boots: the firmware itself resets once more.
        self.qmp("set-action", reboot="reset")
        self.qmp("system_reset")
        self.wait_ready(boots=boots)
        self.qmp("set-action", reboot="shutdown")

    def pause(self) -> None:
        """Stop the guest's processors."""
        self.qmp("stop")

    def cont(self) -> None:
        """Let them go on."""
        self.qmp("cont")

    def kill(self) -> None:
        """SIGKILL QEMU and wait for its end."""
        if self._proc is not None and self._running():
            self._proc.kill()
            self._proc.wait(30)
            self.wait_dead()

    def wait_dead(self, timeout: float = 30) -> None:
        """Wait for QEMU's end, of whatever cause."""
        end = time.monotonic() + timeout * SCALE
        with self._cond:
            while not self._dead:
                if time.monotonic() > end:
                    raise VMTimeout(f"{self.name}: QEMU is still there")
                self._cond.wait(0.2)

    def shutdown(self, timeout: float = 30) -> None:
        """Power off in order: the kernel's shutdown paths run."""
        if self.alive():
            with contextlib.suppress(VMDied):
                self.spawn("sync; echo 1 > /proc/sys/kernel/sysrq; "
                           "exec busybox poweroff -f")
            self.wait_dead(timeout)

    def close(self) -> None:
        """Kill it if it runs, and remove its files."""
        if self._closing:
            return
        self._closing = True
        if self.kernel == kernels.DEBUG and self._ready and self.alive():
            checkers.FINDINGS.add(self)
        with contextlib.suppress(Exception):
            self.kill()
        for stream in (self._agent, self._qmp):
            if stream is not None:
                with contextlib.suppress(Exception):
                    stream.close()
        self._place.close()
        keep = os.environ.get("USBIF_KEEP")
        if keep and self.console.exists():
            Path(keep).mkdir(parents=True, exist_ok=True)
            names = itertools.chain([""], map("-{}".format, itertools.count(2)))
            paths = (Path(keep) / f"{self.name}{n}.log" for n in names)
            shutil.copy(self.console, next(p for p in paths if not p.exists()))
        shutil.rmtree(self._dir, ignore_errors=True)
        if self in VM.live:
            VM.live.remove(self)

    def __enter__(self) -> VM:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
