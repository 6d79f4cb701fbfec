# SPDX-License-Identifier: GPL-2.0
"""What usbctl needs of a machine, without modules and devices.

Machine: a directory with sysfs, /dev, /run and /etc of its own and a thread that
answers for usbback and usbfront (fake_kernel.c, preloaded, asks it).  Peer: what
QEMU does when it joins an ivshmem server.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

TREE = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("USBIF_TIMEOUT_SCALE", "1"))
SIZE = 16 << 20
RULE = re.compile(r"([0-9.-]+):([A-Za-z0-9_.-]{1,31}):(\d+):(\d+)(:force)?$")


def _ioc(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | 0xB7 << 8 | number


INFO = struct.Struct("<4IQ")
CREATE = struct.Struct("<II32s3iI4I")
ADOPT = struct.Struct("<II32s3iIQ4I")
PEER = struct.Struct("<II32sIIQ")
DROP = struct.Struct("<II32s")


class Answer(NamedTuple):
    """Of a fake ioctl."""

    ret: int
    data: bytes = b""
    fds: tuple[int, ...] = ()


class Channel:
    """Of kind fd, as the fake module keeps it."""

    def __init__(self, fds: list[int], pid: int) -> None:
        self.fds = fds
        self.pid = pid
        self.start_time = 0

    def close(self) -> None:
        """Gives the files back."""
        for fd in self.fds:
            os.close(fd)


class Module:
    """usbback or usbfront."""

    role = {"usbback": 1, "usbfront": 2}

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.channels: dict[str, Channel] = {}
        self.events: list[tuple[str, str, int]] = []
        self.refuse: dict[str, int] = {}
        self.abi_version = 1

    def unload(self) -> None:
        """rmmod."""
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()

    def info(self, data: bytes, _fds: list[int]) -> Answer:
        """USBIF_IOC_INFO"""
        return Answer(0, INFO.pack(INFO.size, self.abi_version, 1,
                                   self.role[self.name], 0))

    def create(self, data: bytes, fds: list[int]) -> Answer:
        """USBIF_IOC_CREATE"""
        size, flags, name, *rest = CREATE.unpack(data)
        vm = name.rstrip(b"\0").decode()
        assert size == CREATE.size and flags == 0 and rest[4:] == [0] * 4
        error = self.refuse.get("create", 0)
        if vm in self.channels:
            error = errno.EBUSY
        if error:
            for fd in fds:
                os.close(fd)
            return Answer(-error, data)
        self.channels[vm] = Channel(fds, rest[3])
        self.events.append(("create", vm, rest[3]))
        return Answer(0, data)

    def adopt(self, data: bytes, _fds: list[int]) -> Answer:
        """USBIF_IOC_ADOPT"""
        size, flags, name, *_ = ADOPT.unpack(data)
        assert size == ADOPT.size and flags == 0
        channel = self.channels.get(name.rstrip(b"\0").decode())
        if not channel:
            return Answer(-errno.ENOENT, data)
        return Answer(0, ADOPT.pack(size, 0, name, -1, -1, -1, channel.pid,
                                    channel.start_time, 0, 0, 0, 0),
                      tuple(channel.fds))

    def peer(self, data: bytes, _fds: list[int]) -> Answer:
        """USBIF_IOC_PEER"""
        size, event, name, pid, reserved, start = PEER.unpack(data)
        vm = name.rstrip(b"\0").decode()
        assert size == PEER.size and reserved == 0 and event in (1, 2)
        if vm not in self.channels:
            return Answer(-errno.ENOENT, data)
        channel = self.channels[vm]
        channel.pid = pid if event == 1 else 0
        channel.start_time = start if event == 1 else 0
        self.events.append(("joined" if event == 1 else "gone", vm, pid))
        return Answer(0, data)

    def drop(self, data: bytes, _fds: list[int]) -> Answer:
        """USBIF_IOC_DROP"""
        vm = DROP.unpack(data)[2].rstrip(b"\0").decode()
        if vm not in self.channels:
            return Answer(-errno.ENOENT, data)
        self.channels.pop(vm).close()
        self.events.append(("drop", vm, 0))
        return Answer(0, data)

    def ioctl(self, request: int, data: bytes, fds: list[int]) -> Answer:
        """Any of them."""
        table: dict[int, Callable[[bytes, list[int]], Answer]] = {
            _ioc(0, INFO.size): self.info, _ioc(1, CREATE.size): self.create,
            _ioc(2, ADOPT.size): self.adopt, _ioc(3, PEER.size): self.peer,
            _ioc(4, DROP.size): self.drop}
        return table[request](data, fds)


class Result(NamedTuple):
    """Of a run of usbctl."""

    rc: int
    out: str
    err: str


class Machine:
    """Everything usbctl sees."""

    def __init__(self, usbctl: Path, preload: Path) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="usbctl-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.usbctl = usbctl
        self.sys = self.dir / "sys"
        self.dev = self.dir / "dev"
        self.run_dir = self.dir / "run"
        self.conf = self.dir / "etc"
        self.driver = self.sys / "bus/usb/drivers/usbback"
        self.devices = self.sys / "bus/usb/devices"
        for directory in (self.devices, self.driver.parent, self.dev, self.conf,
                          self.sys / "module", self.sys / "class/block"):
            directory.mkdir(parents=True)
        self.rules: dict[str, list[str]] = {}
        self.forced: set[str] = set()
        self.states: dict[str, str] = {}
        self.busy: set[str] = set()
        self.writes: list[tuple[str, str]] = []
        self.names: dict[str, str] = {}
        self.extra_channels: list[str] = []
        self.limits: dict[str, str] = {}
        self.modules: dict[str, Module] = {}
        self._lock = threading.Lock()
        self.env = dict(os.environ, USBIF_SYSFS=str(self.sys),
                        USBIF_DEV=str(self.dev), USBIF_RUNDIR=str(self.run_dir),
                        USBIF_CONFDIR=str(self.conf), LC_ALL="C",
                        FAKE_KERNEL=str(self.dir / "kernel"),
                        ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0",
                        LD_PRELOAD=str(preload))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.env["FAKE_KERNEL"])
        self._listener.listen(16)
        (self.dir / "kernel").chmod(0o777)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: Any) -> None:
        # Closed under its thread, it could go on with the next machine's socket.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for path in self.run_dir.glob("*.pid"):
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(path.read_text("ascii")), signal.SIGKILL)
        shutil.rmtree(self.dir)

    # ---- modules and devices

    def load(self, name: str = "usbback") -> Module:
        """modprobe"""
        module = Module(self, name)
        (self.sys / "module" / name).mkdir()
        if name == "usbback":
            self.driver.mkdir()
            for file in ("new_vport", "move_vport", "remove_vport", "vports",
                         "channels", "grabbed_devices", "limits"):
                (self.driver / file).touch(0o600)
            self.rules.clear()
            self.limits.clear()
        self.modules[name] = module
        (self.dev / name).touch(0o600)
        self.show()
        return module

    def unload(self, name: str = "usbback") -> None:
        """rmmod"""
        with self._lock:
            module = self.modules.pop(name)
            (self.dev / name).unlink()
            (self.sys / "module" / name).rmdir()
            if name == "usbback":
                shutil.rmtree(self.driver)
            module.unload()

    def device(self, busid: str, **attributes: str) -> Path:
        """A device on the bus."""
        path = self.devices / busid
        path.mkdir()
        drivers = attributes.pop("drivers", "").split()
        for name, value in {"idVendor": "1234", "idProduct": "abcd",
                            "speed": "480", "bDeviceClass": "00",
                            **attributes}.items():
            (path / name).write_text(value + "\n", "utf-8")
        for number, driver in enumerate(drivers):
            interface = self.devices / f"{busid}:1.{number}"
            interface.mkdir()
            (interface / "driver").symlink_to(f"../../drivers/{driver}")
        return path

    def show(self) -> None:
        """Puts the state of the fake module into its files."""
        with self._lock:
            if "usbback" in self.modules:
                self._show()

    def _show(self) -> None:
        lines = []
        for busid, (rule, state) in self.rules.items():
            force = ":force" if busid in self.forced else ""
            lines.append(f"{busid}:{rule}{force} {state}\n")
        self._put("vports", "".join(lines))
        self._put("grabbed_devices", "".join(
            f"{busid} 1234:abcd 480 {rule} Stick\n"
            for busid, (rule, state) in self.rules.items()
            if state in ("attached", "waiting-guest")))
        self._put("limits", "".join(f"{vm} {words}\n"
                                    for vm, words in self.limits.items()))
        back = self.modules["usbback"]
        self._put("channels", "".join(
            [f"{vm} fd - running 3 {channel.pid} requests=70 completions=69 "
             "errors=1 cancels=0 in=4096 out=512 kicks=5 events=6\n"
             for vm, channel in back.channels.items()]
            + self.extra_channels))

    def _put(self, name: str, text: str) -> None:
        # In place, so that who has it open sees the change, as with sysfs.
        with open(self.driver / name, "r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()

    # ---- the fake kernel

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,),
                             daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            path = Path(os.fsdecode(sock.recv(4096)))
            while True:
                try:
                    data, fds, _, _ = socket.recv_fds(sock, 8192, 3)
                except OSError:
                    return
                if not data:
                    return
                request = struct.unpack_from("<I", data)[0]
                try:
                    answer = self._answer(path, request, data[4:], fds)
                except FileNotFoundError:
                    return      # the case is over, and its machine gone
                payload = struct.pack("<i", answer.ret) + answer.data
                try:
                    socket.send_fds(sock, [payload], list(answer.fds))
                except OSError:
                    return

    def _answer(self, path: Path, request: int, data: bytes,
                fds: list[int]) -> Answer:
        if request:
            module = self.modules.get(path.name)
            answer = (module.ioctl(request, data, fds) if module
                      else Answer(-errno.ENODEV))
        else:
            text = data.decode()
            self.writes.append((path.name, text))
            answer = Answer(-getattr(self, "_" + path.name)(text))
        self.show()
        return answer

    def _new_vport(self, text: str) -> int:
        return self._write_rule(text, False)

    def _move_vport(self, text: str) -> int:
        return self._write_rule(text, True)

    def _write_rule(self, text: str, is_move: bool) -> int:
        match = RULE.match(text)
        if not match or not 1 <= int(match[4]) <= 15:
            return errno.EINVAL
        busid, vport = match[1], ":".join(match.groups()[1:4])
        if is_move and busid not in self.rules:
            return errno.ENOENT
        if busid in self.busy and not match[5]:
            return errno.EBUSY
        if not is_move and self.rules.get(busid, [vport])[0] != vport:
            return errno.EBUSY
        if any(rule[0] == vport and other != busid
               for other, rule in self.rules.items()):
            return errno.EBUSY
        self.rules[busid] = [vport, self._state(busid, match[2])]
        if match[5]:
            self.forced.add(busid)
        else:
            self.forced.discard(busid)
        return 0

    def _state(self, busid: str, vm: str) -> str:
        if busid in self.states:
            return self.states[busid]
        if not (self.devices / busid).exists():
            return "waiting-device"
        has = vm in self.modules["usbback"].channels
        return "attached" if has else "waiting-guest"

    def _remove_vport(self, text: str) -> int:
        return 0 if self.rules.pop(text.split(":")[0], None) else errno.ENOENT

    def _channels(self, text: str) -> int:
        address, vm = text.split()
        if address not in self.names:
            return errno.ENOENT
        if self.names[address] not in ("", vm):
            return errno.EBUSY
        self.names[address] = vm
        return 0

    def _limits(self, text: str) -> int:
        vm, words = text.split(" ", 1)
        if not re.fullmatch(r"([a-z]+=\d+ ?)+|default", words):
            return errno.EINVAL
        self.limits[vm] = words
        return 0

    # ---- usbctl

    @contextlib.contextmanager
    def usbctl_popen(self, *words: str, uid: int | None = None,
                     **env: str) -> Iterator[subprocess.Popen[str]]:
        """Runs it for as long as the block lasts."""
        with subprocess.Popen([str(self.usbctl), *words], text=True,
                              env=dict(self.env, **env), user=uid,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=self.dir) as process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *words: str, uid: int | None = None,
                 timeout: float = 20, **env: str) -> Result:
        """Runs it to its end."""
        with self.usbctl_popen(*words, uid=uid, **env) as process:
            out, err = process.communicate(timeout=timeout * SCALE)
            return Result(process.returncode, out, err)

    def json(self, *words: str) -> Any:
        """What it prints with --json."""
        result = self(*words, "--json")
        assert result.rc == 0, result.err
        return json.loads(result.out)

    def pid(self, vm: str) -> int:
        """Of the server of a guest."""
        return int((self.run_dir / f"{vm}.pid").read_text("ascii"))


def wait_for(what: str, check: Callable[[], Any], seconds: float = 10) -> Any:
    """Until check() is true."""
    end = time.monotonic() + seconds * SCALE
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class Message(NamedTuple):
    """Of the ivshmem protocol."""

    value: int
    fd: int | None


class Peer:
    """A program that joins an ivshmem server as QEMU does."""

    def __init__(self, path: str | Path, join: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10 * SCALE)
        self.sock.connect(str(path))
        self.fds: list[int] = []
        self.id = -1
        self.memory = -1
        self.bells: dict[int, int] = {}
        if join:
            self.join()

    def message(self) -> Message:
        """The next one; EOFError at the end."""
        data, fds, _, _ = socket.recv_fds(self.sock, 8, 4)
        if not data:
            raise EOFError("the server has closed the connection")
        assert len(data) == 8 and len(fds) <= 1, (data, fds)
        self.fds += fds
        return Message(struct.unpack("<q", data)[0], fds[0] if fds else None)

    def join(self) -> None:
        """Version, id, memory, then the other's and the own doorbell."""
        version, number, memory, other, own = (self.message()
                                               for _ in range(5))
        assert version == (0, None), version
        assert number.value in (0, 1) and number.fd is None, number
        assert memory.value == -1 and memory.fd is not None, memory
        assert own.value == number.value and own.fd is not None, own
        assert other.value == 1 - own.value and other.fd is not None, other
        self.id = number.value
        self.memory = memory.fd
        self.bells = {own.value: own.fd, other.value: other.fd}

    def is_quiet(self) -> bool:
        """Connected still, and nothing more to be read."""
        return not select.select([self.sock], [], [], 0)[0]

    def ring(self) -> None:
        """The other peer."""
        os.eventfd_write(self.bells[1 - self.id], 1)

    def rung(self, seconds: float = 5) -> bool:
        """Has the other rung?"""
        own = self.bells[self.id]
        if not select.select([own], [], [], seconds * SCALE)[0]:
            return False
        os.eventfd_read(own)
        return True

    def is_refused(self, reason: int = errno.EBUSY) -> bool:
        """Was there a version that nobody knows, and the end?"""
        message = self.message()
        try:
            self.message()
        except EOFError:
            return message == (-reason, None)
        return False

    def read(self, offset: int, size: int) -> bytes:
        """Of the memory."""
        return os.pread(self.memory, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """To the memory."""
        os.pwrite(self.memory, data, offset)

    def close(self) -> None:
        """Dies."""
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def build(directory: Path) -> tuple[Path, Path]:
    """usbctl with sanitizers, and the library to be preloaded."""
    subprocess.run(["make", "-s", "-C", str(TREE / "tools"), "SAN=1",
                    f"O={directory}", "CFLAGS=-O1 -g"], check=True)
    preload = directory / "fake_kernel.so"
    subprocess.run(["gcc", "-O1", "-g", "-Wall", "-Wextra", "-shared", "-fPIC",
                    "-I", str(TREE / "include"), "-o", str(preload),
                    str(Path(__file__).with_name("fake_kernel.c")), "-ldl"],
                   check=True)
    asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True,
                          capture_output=True, text=True).stdout.strip()
    return directory / "usbctl-san", Path(f"{asan}:{preload}")
