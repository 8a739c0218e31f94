"""A real `opencode serve` in a sandbox of its own, for tests.

It is started, probed, killed and ended here, in a git repository of its own, not by the product: these tests are about
what talks to it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import psutil

from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSWORD: Final = "agent-password-for-tests-0123456789"
START_LIMIT: Final = 90.0
"""Seconds; a start takes 1.5 s alone and 15 s with many at once."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def make_repository(path: Path) -> Path:
    """A git repository with one commit: README.md and src/app.py."""
    (path / "src").mkdir(parents=True)
    (path / "README.md").write_text("# A project\n\nIt greets people.\n")
    (path / "src" / "app.py").write_text('def greet(name: str) -> str:\n    return f"Hello, {name}"\n')
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.invalid")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*identity, "commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *command], cwd=path, check=True, capture_output=True)
    return path


@dataclass
class OpenCode:
    """One server; a context manager that starts it and leaves nothing behind."""

    program: Path
    sandbox: Path
    config: Mapping[str, Any]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def repo(self) -> Path:
        """The git repository it works in."""
        return self.sandbox / "repo"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Make the sandbox and start."""
        for name in ("home", "tmp", "xdg"):
            (self.sandbox / name).mkdir(parents=True, exist_ok=True)
        if not self.repo.exists():
            make_repository(self.repo)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers: a new connection each time, as what arrives too early is never answered."""
        with (self.sandbox / "opencode.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "serve", "--hostname", "127.0.0.1", "--port", str(self.port)],
                cwd=self.repo,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        record_leader(self.sandbox / "run", self.process.pid)
        deadline = time.monotonic() + START_LIMIT
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.sandbox / "opencode.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"opencode did not start: {said}")

    def call(self, method: str, path: str, body: object = None, limit: float = 30.0) -> tuple[int, Any]:
        """One call past the bridge: status and decoded answer. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit)
        pair = base64.b64encode(f"opencode:{PASSWORD}".encode()).decode()
        headers = {"authorization": f"Basic {pair}", "content-type": "application/json"}
        try:
            connection.request(method, quote(path, safe="/?=&"), None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def kill(self) -> None:
        """KILL it and all its descendants, as a crash would not: the shells of an agent outlive it."""
        if self.process is None:
            return
        tree = []
        if self.process.poll() is None:
            tree = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for child in tree:
            if child.is_running():
                child.kill()
        psutil.wait_procs(tree, timeout=10)
        self.process = None

    def stop(self) -> None:
        """Let it end what it started, then end it."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.call("POST", "/global/dispose", limit=5)
        self.kill()

    def _ready(self) -> bool:
        try:
            status, _ = self.call("GET", "/global/health", limit=0.5)
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)  # nothing announces that it listens
            return False
        return status == 200 and self.call("GET", "/session/status", limit=START_LIMIT)[0] == 200

    def _environment(self) -> dict[str, str]:
        xdg = self.sandbox / "xdg"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.sandbox / "home"),
            "XDG_DATA_HOME": str(xdg / "data"),
            "XDG_CONFIG_HOME": str(xdg / "config"),
            "XDG_STATE_HOME": str(xdg / "state"),
            "XDG_CACHE_HOME": str(xdg / "cache"),
            "TMPDIR": str(self.sandbox / "tmp"),
            "OPENCODE_SERVER_PASSWORD": PASSWORD,
            "OPENCODE_CONFIG_CONTENT": json.dumps({"autoupdate": False, "share": "disabled", **self.config}),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "npm_config_offline": "true",
        }
