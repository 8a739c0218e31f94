#!/usr/bin/env -S python3 -S -E
"""A light stand-in for OpenCode that asks leave, for tests of needs: what waits is files.

It is named in a sandbox's OPENCODE_BIN. The variable ASKING (in the spec's agent.env) names a folder:
waiting/per_X, waiting/que_X: a permission, a question that waits; the file's text is the command or the question
replies: a line for each reply that reached it: ID, OK or GONE, and what it said
broken: while that is there, a session was interrupted; a prompt ends it and is a line of replies
It sends an event when that folder changes, a heartbeat every ten seconds, and a hundred words a second while `chatty`
is there.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER = os.environ.get("ASKING", "")
WAITING = f"{FOLDER}/waiting"
LOCK = threading.Lock()
WORD = b'data: {"type":"message.part.delta","properties":{"field":"text","delta":"a word of many"}}\n\n'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what is asked."""
        path = self.path.partition("?")[0]
        if not self.allowed():
            return
        if path == "/event":
            self.tell()
            return
        self.reply(200, ANSWERS[path]() if path in ANSWERS else {"healthy": True, "version": "asking"})

    def do_POST(self) -> None:
        """Take replies and prompts."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        if not self.allowed():
            return
        match self.path.strip("/").split("/"):
            case ["permission" | "question", name, "reply" | "reject"]:
                with LOCK:
                    waits = remove(f"{WAITING}/{name}")
                    write(f"{name} {'OK' if waits else 'GONE'} {body.get('reply') or body.get('answers')}")
                self.reply(200 if waits else 404, waits)
            case ["session", name, "prompt_async"]:
                with LOCK:
                    write(f"{name} {'OK' if remove(f'{FOLDER}/broken') else 'GONE'}")
                self.reply(204, None)
            case _:
                self.reply(200, True)

    def allowed(self) -> bool:
        """Whether the caller has the password; else it is refused."""
        wanted = "Basic " + base64.b64encode(f"opencode:{os.environ['OPENCODE_SERVER_PASSWORD']}".encode()).decode()
        if self.headers.get("authorization") == wanted:
            return True
        self.reply(401, None)
        return False

    def reply(self, status: int, body: object) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def tell(self) -> None:
        """Say what changes for as long as somebody listens."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        seen, beat = 0, 0.0
        try:
            while True:
                now, changed = time.monotonic(), os.stat(WAITING).st_mtime_ns  # noqa: PTH116  pathlib starts slowly
                if changed != seen:
                    self.wfile.write(b'data: {"id":"evt_1","type":"permission.asked","properties":{}}\n\n')
                elif now > beat:
                    self.wfile.write(b'data: {"type":"server.heartbeat","properties":{}}\n\n')
                    beat = now + 10
                if os.path.exists(f"{FOLDER}/chatty"):  # noqa: PTH110
                    self.wfile.write(WORD)
                seen = changed
                TICK.wait(0.01)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


def write(line: str) -> None:
    """Take down what reached it."""
    with open(f"{FOLDER}/replies", "a") as file:  # noqa: PTH123
        file.write(f"{line}\n")


def remove(path: str) -> bool:
    """Whether it was there."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return False
    return True


def listed(prefix: str) -> list[str]:
    """The ids of what waits."""
    return sorted(name for name in os.listdir(WAITING) if name.startswith(prefix))  # noqa: PTH208


def text(name: str) -> str:
    try:
        with open(f"{WAITING}/{name}") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        return ""


def permissions() -> list[dict[str, object]]:
    return [
        {
            "id": name,
            "sessionID": "ses_1",
            "permission": "bash",
            "patterns": [text(name)],
            "metadata": {"command": text(name)},
            "always": ["ls *"],
        }
        for name in listed("per_")
    ]


def questions() -> list[dict[str, object]]:
    options = [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cool"}]
    return [
        {"id": name, "sessionID": "ses_1", "questions": [{"question": text(name), "header": "?", "options": options}]}
        for name in listed("que_")
    ]


def messages() -> list[dict[str, object]]:
    broken = os.path.exists(f"{FOLDER}/broken")  # noqa: PTH110
    ended = {} if broken else {"completed": 2}
    return [{"info": {"role": "assistant", "time": {"created": 1, **ended}}, "parts": []}]


ANSWERS = {
    "/permission": permissions,
    "/question": questions,
    "/session": lambda: [{"id": "ses_1", "title": "t", "time": {"created": 1, "updated": 1}}],
    "/session/status": lambda: {"ses_1": {"type": "busy"}} if os.listdir(WAITING) else {},  # noqa: PTH208
    "/session/ses_1/message": messages,
}
TICK = threading.Event()

if __name__ == "__main__":
    os.makedirs(WAITING, exist_ok=True)  # noqa: PTH103
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
