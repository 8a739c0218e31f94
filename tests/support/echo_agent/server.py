"""The echo agent: a server that wants its key in a header of its own.

GET  /alive             {"echo": version}
GET  /rooms             {"rooms": {ROOM: "thinking" | "asking"}}: those in which it is at work
POST /rooms             {"room": ROOM}
POST /rooms/ROOM/say    {"text"} -> {"said"}; a text that ends with "..." keeps it thinking, one with "?" asking
POST /rooms/ROOM/answer {"text"}: ends the asking; 404 where nothing is asked
POST /rooms/ROOM/hush   ends either
GET  /broken            {"broken": [ROOM]}: those whose last answer broke off
POST /rooms/ROOM/break  breaks it off
POST /rooms/ROOM/resume {}: goes on
GET  /tells             endless: {"tells":"room"} whenever one of them changes, {"tells":"nothing"} every 10 seconds
GET  /given             {"given": {ROOM: how many answers it was sent}}
POST /leave             ends the helper process that it started, and nothing else
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.pop("ECHO_KEY", "")
BUSY = {"...": "thinking", "?": "asking"}
busy: dict[str, str] = {}
rooms: list[str] = []
broken: list[str] = []
given: dict[str, int] = {}
listeners: set[queue.Queue[str]] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what is asked."""
        if not self.allowed():
            return
        if self.path == "/tells":
            self.tell()
            return
        answers: dict[str, object] = {
            "/alive": {"echo": "1.0"},
            "/rooms": {"rooms": dict(busy)},
            "/broken": {"broken": broken},
            "/given": {"given": given},
        }
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
                        changed()
                self.reply(200, {"said": text})
            case ["rooms", room, "answer"]:
                given[room] = given.get(room, 0) + 1
                waits = busy.get(room) == "asking" and body["text"]
                self.reply(200 if waits and busy.pop(room) else 404, {})
                changed()
            case ["rooms", room, "hush"]:
                busy.pop(room, None)
                self.reply(200, {})
                changed()
            case ["rooms", room, "break"]:
                broken.append(room)
                self.reply(200, {})
            case ["rooms", room, "resume"]:
                self.reply(200 if room in broken else 404, {})
                given[room] = given.get(room, 0) + 1
                broken[:] = [one for one in broken if one != room]
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

    def tell(self) -> None:
        """Say what changes for as long as somebody listens."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        mine: queue.Queue[str] = queue.Queue()
        listeners.add(mine)
        try:
            while True:
                try:
                    what = mine.get(timeout=10.0)
                except queue.Empty:
                    what = "nothing"
                self.wfile.write(f'data: {{"tells":"{what}"}}\n\n'.encode())
                self.wfile.flush()
        except OSError:
            self.close_connection = True
        finally:
            listeners.discard(mine)

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


def changed() -> None:
    """Tell everybody who listens."""
    for one in tuple(listeners):
        one.put("room")


if __name__ == "__main__":
    helper = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--listen") + 1])), Handler).serve_forever()
