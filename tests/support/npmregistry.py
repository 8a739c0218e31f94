"""A tiny npm registry of our own, for tests without a network: it has the one package that OpenCode installs.

Another one takes connections and never answers.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import socket
import tarfile
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from reconciler.agents.opencode.kind import OPENCODE

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGIN: Final = "@opencode-ai/plugin"


class Registry(http.server.ThreadingHTTPServer):
    """Serves the package; knows what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.tarball = _tarball()
        self.asked: list[str] = []

    @property
    def about(self) -> bytes:
        """The package as registries describe one."""
        digest = base64.b64encode(hashlib.sha512(self.tarball).digest()).decode()
        dist = {"tarball": f"{self.url}plugin.tgz", "integrity": f"sha512-{digest}"}
        version = OPENCODE.default_version
        one = {"name": PLUGIN, "version": version, "dist": dist}
        return json.dumps({"name": PLUGIN, "dist-tags": {"latest": version}, "versions": {version: one}}).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        """The package, or nothing."""
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(path)
        body = {f"/{PLUGIN}": self.server.about, "/plugin.tgz": self.server.tarball}.get(path)
        self.send_response(404 if body is None else 200)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _tarball() -> bytes:
    text = json.dumps({"name": PLUGIN, "version": OPENCODE.default_version}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        about = tarfile.TarInfo("package/package.json")
        about.size = len(text)
        archive.addfile(about, io.BytesIO(text))
    return packed.getvalue()


@contextlib.contextmanager
def a_registry() -> Iterator[Registry]:
    """One that serves within."""
    registry = Registry()
    thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        registry.server_close()
        thread.join()


@contextlib.contextmanager
def a_silent_registry() -> Iterator[str]:
    """The url of one that takes connections within, and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
