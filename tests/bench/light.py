"""The light service where there is no C compiler: the same as light.c, some 15 ms later. See there."""

from __future__ import annotations

import base64
import os
import socket
import sys
import time


def option(name: str) -> str:
    """The value after an option; empty where it is not given."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv[:-1] else ""


def tell(port: int, now: int) -> None:
    """Say when this process started."""
    fifo = option("--starts") or os.environ.get("LIGHT_STARTS") or os.environ.get("HOME", "") + "/starts"
    handle = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(handle, b"%d %d %d\n" % (port, os.getpid(), now))
    os.close(handle)


def wanted() -> bytes:
    """What a rightful client sends; empty where everybody is one."""
    if password := os.environ.get("OPENCODE_SERVER_PASSWORD"):
        return b"basic " + base64.b64encode(f"opencode:{password}".encode())
    return f"bearer {token}".encode() if (token := os.environ.get("MCP_BEARER_TOKEN")) else b""


def answer(client: socket.socket, secret: bytes) -> None:
    """One request and its answer."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = client.recv(16384)
        if not piece:
            return
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        missing -= len(client.recv(16384)) or missing
    allowed = secret.lower() in fields.get(b"authorization", b"")
    head = b"200 OK\r\ncontent-type: application/json" if allowed else b"401 Unauthorized"
    body = b"{}" if allowed else b""
    client.sendall(b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, len(body), body))


def main() -> None:
    """Tell, listen, answer for ever."""
    now = time.monotonic_ns()
    port = int(option("--port") or 0)
    if port == 0:
        return
    tell(port, now)
    with socket.create_server(("127.0.0.1", port), backlog=64) as server:
        while True:
            client, _ = server.accept()
            with client:
                answer(client, wanted())


if __name__ == "__main__":
    main()
