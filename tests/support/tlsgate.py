"""An https server that serves nothing, with a certificate of its own."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import ssl
import threading
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Nothing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Whatever it is, it is not there."""
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _certificate(path: Path) -> None:
    """Write a key and a certificate for 127.0.0.1 that everybody who knows the file trusts."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name, day = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]), dt.timedelta(days=1)
    where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    own = builder.add_extension(where, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(own.public_bytes(serialization.Encoding.PEM) + private)


@contextlib.contextmanager
def nothing_over_https(folder: Path) -> Iterator[tuple[str, Path]]:
    """Its URL, and the file by which it is trusted, within."""
    path = folder / "certificate.pem"
    _certificate(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
