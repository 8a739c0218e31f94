"""A real SSH server on 127.0.0.1 with git behind it: OpenSSH's where it is installed, else asyncssh.

It handles connections, keys and faults; what a user may run is `sshgate`.

The server lives in a thread with a loop of its own, so that any test can use it. It takes connections itself and hands
each to the SSH implementation: so it can hang, and no port is ever guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import asyncssh
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

GATE = Path(__file__).with_name("sshgate.py")
LIMIT = 30.0
"""Seconds for anything the server does on request."""


class SshServer(ABC):
    """A context manager; everything it has begun is gone at its end. Its methods may be called from any thread."""

    kind: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """A server that keeps its files in this folder, which is made."""
        self._folder = folder
        self._hanging = False
        self._limit = -1
        self._stalled = threading.Event()
        self._connected = threading.Event()
        self._open: list[socket.socket] = []
        self._gates: set[asyncio.StreamWriter] = set()
        folder.mkdir(mode=0o700, parents=True)

    def __enter__(self) -> Self:
        self.change_host_key()
        self.revoke_all()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"sshd-{self.port}")
        self._thread.start()
        self._call(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    def url(self, repository: Path) -> str:
        """How this repository is cloned from here."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    @property
    def _keys(self) -> Path:
        return self._folder / "authorized_keys"

    @property
    def _host_key(self) -> Path:
        return self._folder / "host_key"

    def authorize(self, public_key: str) -> None:
        """Let the owner of this key in."""
        with self._keys.open("a") as file:
            file.write(public_key.strip() + "\n")

    def revoke_all(self) -> None:
        """Let nobody in."""
        self._keys.write_text("")
        self._keys.chmod(0o600)

    def change_host_key(self) -> None:
        """Be another machine from the next connection on."""
        for part in (self._host_key, self._host_key.with_name("host_key.pub")):
            part.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._host_key)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

    def hang(self) -> None:
        """Take connections from now on, and never say a word."""
        self._connected.clear()
        self._hanging = True

    def stall_after(self, size: int) -> None:
        """Send this many bytes of git's answer on each connection from now on, and then nothing more."""
        self._limit = size

    def wait_stalled(self) -> None:
        """Wait until a connection has come that far."""
        if not self._stalled.wait(LIMIT):
            raise AssertionError("nothing stalled")

    def wait_connected(self) -> None:
        """Wait until somebody has connected to a server that hangs."""
        if not self._connected.wait(LIMIT):
            raise AssertionError("nobody connected")

    def drop_connections(self) -> None:
        """End every connection at once, as a server that dies; new ones are served."""
        self._call(self._drop())

    def _call(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    async def _begin(self) -> None:
        self._control = await asyncio.start_server(self._gate_asks, "127.0.0.1", 0)
        self._control_port = self._control.sockets[0].getsockname()[1]
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._connected.set()
            if self._hanging:
                self._open.append(connection)
            else:
                self._serve(connection)

    @abstractmethod
    def _serve(self, connection: socket.socket) -> None:
        """Speak SSH on this connection."""

    async def _gate_asks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gates.add(writer)
        writer.write(f"{self._limit}\n".encode())
        with contextlib.suppress(ConnectionError):
            if await reader.read(1):
                self._stalled.set()
                await reader.read()
        self._gates.discard(writer)
        writer.close()

    async def _drop(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()
        for writer in list(self._gates):
            writer.close()

    async def _finish(self) -> None:
        self._loop.remove_reader(self._listener)
        await self._drop()
        self._control.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, late = await asyncio.wait(others, timeout=LIMIT)
            for task in late:
                task.cancel()
        await self._loop.shutdown_default_executor()


class OpenSshServer(SshServer):
    """OpenSSH's sshd, one process a connection (`-i`), as whoever runs the tests."""

    kind = "sshd"

    def _configure(self) -> Path:
        config = self._folder / "sshd_config"
        gate = shlex.join([sys.executable, str(GATE), str(self._control_port)])
        lines = [
            f"HostKey {self._host_key}",
            f"AuthorizedKeysFile {self._keys}",
            f"ForceCommand {gate}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AllowTcpForwarding no",
            f"SetEnv PATH={os.environ['PATH']}",
        ]
        config.write_text("\n".join(lines) + "\n")
        return config

    async def _begin(self) -> None:
        await super()._begin()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._config = self._configure()

    def _serve(self, connection: socket.socket) -> None:
        argv = [sshd_program(), "-i", "-f", str(self._config), "-E", str(self._folder / "log")]
        with connection:
            process = subprocess.Popen(
                argv, stdin=connection.fileno(), stdout=connection.fileno(), stderr=subprocess.DEVNULL
            )
        self._processes.append(process)

    async def _drop(self) -> None:
        await super()._drop()
        await asyncio.to_thread(self._end_processes)

    def _end_processes(self) -> None:
        """Children first: then their sshd reaps them, ends by itself, and leaves init nothing to do."""
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for member in reversed(psutil.Process(process.pid).children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


class AsyncSshServer(SshServer):
    """asyncssh, for machines without sshd."""

    kind = "asyncssh"

    async def _begin(self) -> None:
        await super()._begin()
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._sessions: set[asyncio.Task[object]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def _serve(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._speak(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _speak(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(asyncssh.Error, OSError):
            options = asyncssh.SSHServerConnectionOptions(
                server_factory=functools.partial(_Login, self._keys),
                server_host_keys=[str(self._host_key)],
                process_factory=self._run_gate,
                encoding=None,
            )
            speaker = await asyncssh.run_server(connection, options=options)
            self._connections.append(speaker)
            await speaker.wait_closed()

    async def _run_gate(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if session := asyncio.current_task():
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, str(GATE), str(self._control_port)),
            env={**os.environ, "SSH_ORIGINAL_COMMAND": process.command or ""},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise AssertionError("pipes were asked for")
        ways = ((process.stdin, child.stdin), (child.stdout, process.stdout), (child.stderr, process.stderr))
        asking, *telling = [asyncio.create_task(_pump(source, target)) for source, target in ways]
        try:
            await asyncio.gather(*telling)
            process.exit(await child.wait())
        finally:
            for pump in (asking, *telling):
                pump.cancel()
            await asyncio.gather(asking, *telling, return_exceptions=True)
            child.stdin.close()
            if child.returncode is None:
                child.kill()
            await child.communicate()  # its end is noticed only when all it has printed was read

    async def _drop(self) -> None:
        await super()._drop()
        for connection in self._connections:
            connection.abort()
        for session in self._sessions:
            session.cancel()  # it may wait for a client that is gone to take what it sends
        await asyncio.gather(*self._sessions, return_exceptions=True)
        for connection in self._connections:
            await connection.wait_closed()
        self._connections.clear()


class _Login(asyncssh.SSHServer):
    """Lets in whose key is in the file now."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002  asyncssh's signature
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  asyncssh's signature
        allowed = [asyncssh.import_public_key(line) for line in self._keys.read_text().splitlines()]
        return any(key.public_data == other.public_data for other in allowed)


async def _pump(
    source: asyncio.StreamReader | asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter | asyncssh.SSHWriter[bytes]
) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


def sshd_program() -> str:
    """Where sshd is; empty when it is not installed."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin") or ""


@functools.cache
def sshd_usable() -> bool:
    """Whether sshd would run for us: as root it needs a folder that only an installed service makes."""
    if not sshd_program():
        return False
    return os.geteuid() != 0 or Path("/run/sshd").is_dir() or Path("/var/empty/sshd").is_dir()


def kinds() -> list[type[SshServer]]:
    """The servers that work here: at least one, so that no test ever skips."""
    return [OpenSshServer, AsyncSshServer] if sshd_usable() else [AsyncSshServer]


def best() -> Callable[[Path], SshServer]:
    """The server to use where one will do."""
    return kinds()[0]
