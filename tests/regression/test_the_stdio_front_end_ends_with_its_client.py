"""`opencode-manager mcp` ends when its client does, however that came about, and at the first Ctrl-C; no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler import settings as settings_module
from tests.support.fakecontroller import a_fake_controller, make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.settings import Settings

PATIENCE = 60.0
PROGRAM = [sys.executable, "-P", "-m", "reconciler", "mcp"]
CLIENT = """\
import os, subprocess, sys
read, command = int(sys.argv[1]), sys.argv[2:]
child = subprocess.Popen(command, stdin=read)
os.close(read)
child.wait()
"""
"""A client that starts us and waits. It has a stdin of its own, and somebody else writes into ours."""
PARAMS = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS}).encode() + b"\n"


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Iterator[Settings]:
    """Of a home with a controller, a fake one: none has to be started."""
    settings = make_settings(tmp_path)
    with a_fake_controller(settings):
        yield settings


def environment(settings: Settings) -> dict[str, str]:
    named = {settings_module.HOME_VARIABLE: settings.home.root, settings_module.SPECS_VARIABLE: settings.specs}
    return {"PATH": os.environ["PATH"], **{name: str(value) for name, value in named.items()}}


@contextlib.contextmanager
def on_pipes(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """One that has answered its client."""
    pipe = subprocess.PIPE
    with subprocess.Popen(PROGRAM, env=environment(settings), stdin=pipe, stdout=pipe, stderr=pipe) as program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(INITIALIZE)
            program.stdin.flush()
            assert b"serverInfo" in program.stdout.readline()
            yield program
        finally:
            program.kill()


def ended(program: subprocess.Popen[bytes]) -> int:
    """The exit code; it has said nothing on stderr."""
    code = program.wait(PATIENCE)
    assert program.stderr is not None
    assert program.stderr.read() == b""
    return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_at_the_first_signal(settings: Settings, number: signal.Signals) -> None:
    with on_pipes(settings) as program:
        program.send_signal(number)

        assert ended(program) == -number


@pytest.mark.parametrize("end", ["stdin", "stdout"])
def test_it_ends_when_its_client_closes_either_pipe(settings: Settings, end: str) -> None:
    with on_pipes(settings) as program:
        getattr(program, end).close()

        assert ended(program) == 0


def test_it_ends_without_a_traceback_when_nobody_reads_its_answer(settings: Settings) -> None:
    with on_pipes(settings) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(INITIALIZE * 50)
        program.stdin.flush()
        program.stdout.close()
        program.stdin.close()

        assert ended(program) == 0


@pytest.fixture(name="terminal")
def _terminal(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One at a terminal of its own that has answered, and the other end of that terminal."""
    master, slave = pty.openpty()
    command = ["setsid", "--ctty", *PROGRAM]
    with subprocess.Popen(command, env=environment(settings), stdin=slave, stdout=slave, stderr=slave) as program:
        os.close(slave)
        try:
            os.write(master, INITIALIZE)
            shown = b""
            while b"serverInfo" not in shown:
                shown += os.read(master, 65536)
            yield program, master
        finally:
            program.kill()
            with contextlib.suppress(OSError):
                os.close(master)


def test_the_first_ctrl_c_at_a_terminal_ends_it(terminal: tuple[subprocess.Popen[bytes], int]) -> None:
    program, master = terminal
    os.write(master, b"\x03")

    assert program.wait(PATIENCE) == -signal.SIGINT
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while more := os.read(master, 65536):
            shown += more
    assert b"Traceback" not in shown


def test_it_ends_when_its_terminal_is_closed(terminal: tuple[subprocess.Popen[bytes], int]) -> None:
    program, master = terminal
    os.close(master)

    assert program.wait(PATIENCE) == -signal.SIGHUP


@pytest.mark.parametrize("wrapper", [[], ["sh", "-c", '"$@"; exit $?', "sh"]], ids=["directly", "through a shell"])
def test_it_ends_when_its_client_was_killed_and_its_stdin_stays_open(settings: Settings, wrapper: list[str]) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    command = [sys.executable, "-c", CLIENT, str(read), *wrapper, *PROGRAM]
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(settings), pass_fds=[read], **options) as client:  # type: ignore[call-overload]
        os.close(read)
        try:
            os.write(write, INITIALIZE)
            assert b"serverInfo" in client.stdout.readline()
            ours = [one for one in psutil.Process(client.pid).children(recursive=True) if "mcp" in one.cmdline()][-1]
            client.kill()

            ours.wait(PATIENCE)
        finally:
            client.kill()
            os.close(write)
