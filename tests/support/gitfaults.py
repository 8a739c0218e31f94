"""Git servers that fail as real ones do: an https one with its own CA, and an ssh one that says what a forge says.

Real git, ssh and TLS talk to them; only the words of a forge and the programs of `Programs`, which stand before git's
on PATH, are made up.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import os
import shlex
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.sshd import AsyncSshServer

if TYPE_CHECKING:
    from pathlib import Path

    import asyncssh

DAY: Final = dt.timedelta(days=1)
LOGIN: Final = "Basic " + base64.b64encode(b"ada:HUSH").decode()
REAL_GIT: Final = shutil.which("git") or "git"


class ForgeSshServer(AsyncSshServer):
    """Lets everybody with a known key in, and answers by the path that is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.answers: dict[str, tuple[str, str, int]] = {}
        """Path: what is printed as an answer, what as an error, and the exit code."""

    def says(self, name: str, error: str, code: int = 1, *, answer: str = "") -> str:
        """The url of a repository for which the forge says this."""
        self.answers[f"/{name}"] = (answer, error, code)
        return f"ssh://git@127.0.0.1:{self.port}/{name}"

    async def _run_gate(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        path = shlex.split(process.command or "x ''")[-1]
        if path not in self.answers:
            await super()._run_gate(process)
            return
        answer, error, code = self.answers[path]
        process.stdout.write(answer.encode())
        process.stderr.write(error.encode())
        process.exit(code)


class Authority:
    """A certificate authority of our own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test CA")])
        self.file = folder / "ca.pem"
        own = self._sign(self._name, self._key, "", authority=True)
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def context(self, name: str, host: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
        """What a server of this host needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(subject, key, host, days=-1 if expired else 2)
        file = self._folder / f"{name}.pem"
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private + certificate.public_bytes(pem))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, host: str, *, days: int = 2, authority: bool = False
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - 10 * DAY).not_valid_after(now + days * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        with contextlib.suppress(ValueError):
            names = [x509.IPAddress(ipaddress.ip_address(host))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class HttpsServer:
    """Answers `/status/NNN/...` with that status, most other paths with git's own http-backend.

    Below `/private/` it is the same for ada, whose password is HUSH, and nobody else.
    """

    def __init__(self, context: ssl.SSLContext | None, root: Path) -> None:
        self.sent: list[int] = []
        """Bytes of each answer of git's own."""
        self.answers_at_all = True
        """Else every answer is that it has no time."""
        handler = type("Handler", (_Handler,), {"root": root, "owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        """Of what lies at this path."""
        return f"https://127.0.0.1:{self.port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    root: Path
    owner: HttpsServer
    timeout = 10

    def handle(self) -> None:
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # the client did not like our certificate
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        self._send(407, "no")

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, _, rest = self.path.removeprefix("/").partition("/")
        match kind if self.owner.answers_at_all else "busy":
            case "busy":
                self._send(503, "no")
            case "status":
                self._send(int(rest[:3]), "no", {"WWW-Authenticate": 'Basic realm="x"'} if rest[:3] == "401" else {})
            case "private" if self.headers.get("Authorization") != LOGIN:
                self._send(401, "no", {"WWW-Authenticate": 'Basic realm="x"'})
            case "private":
                self._backend(rest, user="ada")
            case "page":
                self._send(200, "<html>\nwelcome\n</html>\n")
            case "plain":
                self._send(302, "", {"Location": f"http://127.0.0.1:{self.server.server_port}/x/{rest}"})  # type: ignore[attr-defined]
            case "loop":
                self._send(302, "", {"Location": f"/loop/x{rest}"})
            case "garbage":
                self._send(200, "garbage", {"Content-Type": "application/x-git-upload-pack-advertisement"})
            case "cut" if self.command == "GET":
                self._backend(rest)
            case "cut":
                self._backend(rest, keep=5000)
            case _:
                self._backend(self.path.removeprefix("/"))

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def _backend(self, rest: str, *, keep: int = -1, user: str = "") -> None:
        path, _, query = rest.partition("?")
        size = int(self.headers.get("Content-Length", 0))
        variables = {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": f"/{path}",
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(size),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            **({"REMOTE_USER": user} if user else {}),  # only who has logged in may push
        }
        argv = [REAL_GIT, "http-backend"]
        done = subprocess.run(argv, env=variables, input=self.rfile.read(size), capture_output=True, check=False)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200")[:3]))
        for name, value in {**fields, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.owner.sent.append(len(body))
        self.wfile.write(body[:keep] if keep >= 0 else body)


class Programs:
    """Programs found before all others: the only made-up thing is what they do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name: str, script: str) -> Path:
        """A shell script."""
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    @property
    def path(self) -> str:
        """For PATH."""
        return f"{self.folder}:{os.environ['PATH']}"
