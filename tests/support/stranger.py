"""Somebody else's server: listens where it is told, answers everything the same way, and keeps all it hears.

A program of its own, stdlib only: `stranger.py PORT ANSWER FILE [ADDRESS]`. It shares the port with whoever the kernel
lets it (SO_REUSEADDR, SO_REUSEPORT). ANSWER is `silent` (takes connections, says nothing), `healthy` (200 and what a
healthy agent says) or `likeus` (401 without a password, 200 with any); ADDRESS is 127.0.0.1 unless named.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from pathlib import Path

HEALTHY = b'{"healthy":true,"version":"stranger"}'
SHAPES = {b"/session": b"[]", b"/session/status": b"{}"}
"""What a client takes apart, as an agent without a session says it."""


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard and (more := self.request.recv(65536)):
            heard += more
            with HEARD.open("ab") as file:
                file.write(more)
        if ANSWER == "silent":
            self.request.recv(1)
        elif ANSWER == "healthy" or b"authorization:" in heard.lower():
            path = heard.split(b" ", 2)[1].partition(b"?")[0] if heard.count(b" ") > 1 else b""
            body = SHAPES.get(path, HEALTHY)
            self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        else:
            self.request.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    allow_reuse_port = True
    daemon_threads = True
    address_family = socket.AF_INET6 if ":" in "".join(sys.argv[4:]) else socket.AF_INET


if __name__ == "__main__":
    ANSWER, HEARD = sys.argv[2], Path(sys.argv[3])
    ADDRESS = sys.argv[4] if sys.argv[4:] else "127.0.0.1"
    with Server((ADDRESS, int(sys.argv[1])), Handler) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        server.serve_forever()
