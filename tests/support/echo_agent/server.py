"""The echo agent: a server that wants its key in a header of its own.

GET  /alive             {"echo": version}
GET  /rooms             {"rooms": {ROOM: "thinking" | "asking"}}: those in which it is at work
POST /rooms             {"room": ROOM}
POST /rooms/ROOM/say    {"text"} -> {"said"}; a text that ends with "..." keeps it thinking, one with "?" asking
POST /rooms/ROOM/answer {"text"}: ends the asking; 404 where nothing is asked
POST /rooms/ROOM/hush   ends either
POST /leave             ends the helper process that it started, and nothing else
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.pop("ECHO_KEY", "")
BUSY = {"...": "thinking", "?": "asking"}
busy: dict[str, str] = {}
rooms: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what is asked."""
        if self.allowed():
            answers = {"/alive": {"echo": "1.0"}, "/rooms": {"rooms": busy}}
            self.reply(200 if self.path in answers else 404, answers.get(self.path))

    def do_POST(self) -> None:
        """Do what is told."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        if not self.allowed():
            return
        match self.path.strip("/").split("/"):
            case ["rooms"]:
                rooms.append(f"room-{len(rooms) + 1}")
                self.reply(201, {"room": rooms[-1]})
            case ["rooms", room, "say"] if room in rooms:
                text = body["text"]
                for end, state in BUSY.items():
                    if text.endswith(end):
                        busy[room] = state
                self.reply(200, {"said": text})
            case ["rooms", room, "answer"]:
                waits = busy.get(room) == "asking" and body["text"]
                self.reply(200 if waits and busy.pop(room) else 404, {})
            case ["rooms", room, "hush"]:
                busy.pop(room, None)
                self.reply(200, {})
            case ["leave"]:
                helper.kill()
                helper.wait()
                self.reply(200, {})
            case _:
                self.reply(404, None)

    def allowed(self) -> bool:
        """Whether the caller has the key; else it is refused."""
        if self.headers.get("x-echo-key") == KEY:
            return True
        self.reply(401, {"refused": True})
        return False

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


if __name__ == "__main__":
    helper = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--listen") + 1])), Handler).serve_forever()
