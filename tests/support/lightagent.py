#!/usr/bin/env -S python3 -S -E
"""A light stand-in for the OpenCode server, for tests about processes: starts in 50 ms, and misbehaves on demand.

It is named in a sandbox's OPENCODE_BIN and takes OpenCode's arguments. It speaks just what readiness needs: 401 without
the password, 200 with it. The variable LIGHT_AGENT (in the spec's agent.env) chooses how it misbehaves:
die, deaf (never healthy), stubborn (ignores TERM), offspring (leaves a daemonised grandchild), open (asks no password),
deny (refuses the right password too),
hang (takes requests and never answers), html (a page for everybody), login (a page for who has the password),
slow=SECONDS (until it listens), late=SECONDS (listens at once, answers only then), wait=FILE (listens only once that
is there), sick=FILE (while that is there, answers 503), busy=FILE (while that is there, works hard and answers nobody),
idle=FILE (the same without working), leak=FILE (once that is there, takes memory without end), at=FILE (while that
is there, says that it works in a session).
The same stories run against the real OpenCode in test_story.py.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        with SILENCE:  # one thread looks for all: who asked in vain leaves one behind, and many that look are not idle
            while is_silent():
                if MODE == "busy":
                    sum(range(500_000))
                else:
                    NEVER.wait(None if MODE == "hang" else 0.05)
        password = os.environ["OPENCODE_SERVER_PASSWORD"]
        wanted = "Basic " + base64.b64encode(f"opencode:{password}".encode()).decode()
        allowed = MODE in {"open", "html"} or (MODE != "deny" and self.headers.get("authorization") == wanted)
        if MODE == "at":
            SHAPES["/session/status"] = b'{"ses_1":{"type":"busy"}}' if os.path.exists(ARGUMENT) else b"{}"  # noqa: PTH110
        said = SHAPES.get(self.path.partition("?")[0], b'{"healthy":true,"version":"light"}')
        page = b"<html>welcome</html>" if MODE in {"html", "login"} else said
        body = page if allowed else b""
        sick = MODE == "sick" and os.path.exists(ARGUMENT)  # noqa: PTH110  pathlib starts slowly
        self.send_response(503 if sick else 200 if allowed else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815  names the base class looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


def is_silent() -> bool:
    """Whether nobody is answered now."""
    if MODE in {"busy", "idle"}:
        return os.path.exists(ARGUMENT)  # noqa: PTH110  pathlib starts slowly
    return MODE == "hang" or (MODE == "late" and time.monotonic() < BORN + float(ARGUMENT))


def daemonise() -> None:
    """Leave a grandchild in a session of its own, with nothing in its environment and no descriptor of ours."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            os.execve("/bin/sleep", ["sleep", "1000"], {})  # noqa: S606  the point of it
        os._exit(0)
    os.wait()


def leak() -> None:
    """Take memory without end once the file is there."""
    hoard = []
    while True:
        if os.path.exists(ARGUMENT):  # noqa: PTH110  pathlib starts slowly
            hoard.append(b"x" * (1 << 20))
        else:
            NEVER.wait(0.02)


SHAPES = {"/session": b"[]", "/session/status": b"{}", "/permission": b"[]", "/question": b"[]"}
"""What a client takes apart, as an agent without a session says it."""
MODE, _, ARGUMENT = os.environ.get("LIGHT_AGENT", "").partition("=")
NEVER = threading.Event()
SILENCE = threading.Lock()
BORN = time.monotonic()

if __name__ == "__main__":
    if MODE == "die":
        sys.exit(3)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "offspring":
        daemonise()
    port = int(sys.argv[sys.argv.index("--port") + 1])
    if MODE == "deaf":
        signal.pause()
    if MODE == "slow":
        NEVER.wait(float(ARGUMENT))
    while MODE == "wait" and not os.path.exists(ARGUMENT):  # noqa: PTH110  pathlib starts slowly
        NEVER.wait(0.02)
    if MODE == "leak":
        threading.Thread(target=leak, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
