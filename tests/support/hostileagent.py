"""A fake agent that means harm: every text in every answer of its API steers terminals and hides words.

Its answers have OpenCode's shapes; elsewhere OpenCode is real.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE: Final = "a\x1b[2J\x1b]0;owned\x07b\x00\x9b31m\r\u202egnp\u2066.\u200b\U000e0041\u2028" + "x" * 20_000
SESSION: Final = "ses_1"

_TIMES: Final = {"created": 1000, "updated": 2000, "completed": 3000}
_ERROR: Final = {"name": HOSTILE, "data": {"message": HOSTILE}}
_TOOL: Final = {"type": "tool", "tool": HOSTILE, "state": {"status": HOSTILE, "title": HOSTILE}}
_MESSAGES: Final = [
    {"info": {"id": "msg_1", "role": "user", "time": _TIMES}, "parts": [{"type": "text", "id": "p", "text": HOSTILE}]},
    {
        "info": {"id": "msg_2", "role": "assistant", "parentID": "msg_1", "time": _TIMES, "error": _ERROR},
        "parts": [{"type": "text", "id": "q", "text": f"one\n\ttwo\n{HOSTILE}"}, _TOOL],
    },
]
_ASKED: Final = {"id": "per_1", "sessionID": "ses_other", "permission": HOSTILE, "patterns": [HOSTILE, HOSTILE]}
_QUESTION: Final = {"question": HOSTILE, "options": [{"label": HOSTILE}, {"label": HOSTILE}]}
_CHANGE: Final = {"file": HOSTILE, "status": HOSTILE, "patch": f"@@ -1 +1 @@\n-{HOSTILE}", "additions": 1}
_SESSION: Final = {"id": SESSION, "title": HOSTILE, "time": _TIMES}
ANSWERS: Final[dict[str, Any]] = {
    "/global/health": {"healthy": True, "version": HOSTILE},
    "/session/status": {"ses_2": {"type": "retry", "attempt": 4, "message": HOSTILE}, "ses_3": {"type": HOSTILE}},
    "/session": [_SESSION],
    f"/session/{SESSION}": _SESSION,
    f"/session/{SESSION}/message": _MESSAGES,
    f"/session/{SESSION}/diff": [_CHANGE],
    f"/session/{SESSION}/todo": [{"content": HOSTILE, "status": HOSTILE, "priority": HOSTILE}],
    "/permission": [{**_ASKED, "metadata": {"command": HOSTILE}}],
    "/question": [{"id": "que_1", "sessionID": "ses_other", "questions": [_QUESTION]}],
    "/vcs/diff": [_CHANGE],
    "/find/file": [HOSTILE],
    "/config": {"model": HOSTILE, HOSTILE[:50]: {"a": [HOSTILE]}},
    "/config/providers": {"providers": [{"id": HOSTILE, "name": HOSTILE, "models": {HOSTILE: {}}}]},
}
CALLS: Final[dict[str, dict[str, Any]]] = {
    "server-health": {},
    "session-list": {},
    "session-get": {"sessionId": SESSION},
    "session-messages": {"sessionId": SESSION},
    "session-message": {"sessionId": SESSION, "waitSeconds": 30},
    "session-status": {},
    "session-diff": {"sessionId": SESSION},
    "session-todo": {"sessionId": SESSION},
    "vcs-diff": {},
    "find-files": {"query": "a"},
    "search-content": {"pattern": "needle"},
    "config-get": {},
    "providers-list": {},
    "permission-list": {},
    "question-list": {},
}
"""Every tool that shows what the agent says, with arguments."""


_EVENTS: Final = (
    {"type": "server.connected", "properties": {}},
    {"type": "message.part.updated", "properties": {"part": {"id": "t", "sessionID": SESSION, **_TOOL}}},
)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer, or refuse as hostilely."""
        if self.path == "/event":
            self.send_response(200)
            self.end_headers()
            self.wfile.write("".join(f"data: {json.dumps(event)}\n\n" for event in _EVENTS).encode())
            return
        known = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(_ERROR if known is None else known).encode()
        self.send_response(400 if known is None else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def a_hostile_agent() -> Iterator[str]:
    """Its URL, within."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
