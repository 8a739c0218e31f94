"""A model that costs nothing: an OpenAI-compatible, streaming server that obeys directives in the prompt.

It speaks the protocol as OpenCode does. Directives in the newest user message:

    [[tool:NAME {json}]]   call this tool; several are called one after another, then the answer is "All done."
    [[hold]]               say a few words, then stall until `release()` (or the client leaves)
    [[sleep:8]]            the same, for at most that many seconds
    [[error:500]]          refuse with this HTTP status
    [[halves:WORD]]        say half of the word, stall until `release()`, then say the other half
    [[words:40]]           an answer of that many words, each in a frame of its own

Anything else is echoed. Run it by hand with `python -m tests.support.fakemodel [PORT]`.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

KEY: Final = "sk-fake-model-key-0123456789"
STALLED: Final = "Thinking about it"
"""What is said before a stall."""

_TOOL: Final = re.compile(r"\[\[tool:(\w+) (\{.*?\})\]\]", re.DOTALL)
_STALL: Final = re.compile(r"\[\[(?:hold|sleep:(\d+))\]\]")
_ERROR: Final = re.compile(r"\[\[error:(\d{3})\]\]")
_HALVES: Final = re.compile(r"\[\[halves:(\S+)\]\]")
_WORDS: Final = re.compile(r"\[\[words:(\d+)\]\]")


class FakeModel:
    """The server, on a free port of 127.0.0.1; a context manager that stops it."""

    def __init__(self, port: int = 0) -> None:
        self.prompts: list[str] = []
        """The newest user message of every answered request with tools, oldest first."""
        self.stalled = threading.Event()
        """Set once a stall has begun."""
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL for a provider's configuration."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every stall and stop."""
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def release(self) -> None:
        """End every stall that is going on now."""
        self._released.set()
        self.stalled.clear()
        self._released = threading.Event()

    def stall(self, seconds: float | None) -> None:
        """Wait for a release: called by the request's own thread."""
        released = self._released
        self.stalled.set()
        released.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], model: FakeModel) -> None:
        super().__init__(address, _Handler)
        self.model = model

    def handle_error(self, *_: object) -> None:
        """A client that left is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """One completion."""
        request = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        if self.headers.get("authorization") != f"Bearer {KEY}":
            self.send_error(401)
            return
        messages = request["messages"]
        prompt = _newest_prompt(messages)
        if "tools" not in request:
            self._stream([{"content": "Fake title"}], "stop")
            return
        self.server.model.prompts.append(prompt)
        if refused := _ERROR.search(prompt):
            self.send_error(int(refused[1]))
            return
        calls = _TOOL.findall(prompt)
        made = _calls_made(messages)
        if made < len(calls):
            self._call(made, *calls[made])
        else:
            self._answer(prompt, used_tools=bool(calls))

    def _call(self, number: int, name: str, arguments: str) -> None:
        function = {"name": name, "arguments": arguments}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        self._stream([{"tool_calls": [call]}], "tool_calls")

    def _answer(self, prompt: str, *, used_tools: bool) -> None:
        if stall := _STALL.search(prompt):
            self._begin()
            self._frame({"content": STALLED})
            self.server.model.stall(float(stall[1]) if stall[1] else None)
            self._end([{"content": ", and that is it."}], "stop")
            return
        if halves := _HALVES.search(prompt):
            word = halves[1]
            self._begin()
            self._frame({"content": word[: len(word) // 2]})
            self.server.model.stall(None)
            self._end([{"content": word[len(word) // 2 :]}], "stop")
            return
        if words := _WORDS.search(prompt):
            self._stream([{"content": f"word{number} "} for number in range(int(words[1]))], "stop")
            return
        self._stream([{"content": "All done." if used_tools else f"You said: {prompt}"}], "stop")

    def _stream(self, deltas: list[dict[str, Any]], reason: str) -> None:
        self._begin()
        self._end(deltas, reason)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()

    def _end(self, deltas: list[dict[str, Any]], reason: str) -> None:
        for delta in deltas:
            self._frame(delta)
        self._frame({}, reason)
        self.wfile.write(b"data: [DONE]\n\n")

    def _frame(self, delta: dict[str, Any], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m1", "choices": [choice]}
        if reason:
            frame["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.wfile.write(f"data: {json.dumps(frame)}\n\n".encode())
        self.wfile.flush()


def _newest_prompt(messages: list[dict[str, Any]]) -> str:
    """The text of the newest message of the user."""
    content = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _calls_made(messages: list[dict[str, Any]]) -> int:
    """How many tools have answered since the user's newest message."""
    made = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        made += message["role"] == "tool"
    return made


def provider(url: str) -> dict[str, Any]:
    """The part of OpenCode's configuration that makes this model its only one; `dead/m1` is a model nobody serves."""

    def one(base: str) -> dict[str, Any]:
        models = {"m1": {"name": "m1", "tool_call": True, "limit": {"context": 32000, "output": 4000}}}
        options = {"baseURL": base, "apiKey": KEY}
        return {"npm": "@ai-sdk/openai-compatible", "name": "Fake", "options": options, "models": models}

    return {
        "enabled_providers": ["fake", "dead"],
        "model": "fake/m1",
        "small_model": "fake/m1",
        "provider": {"fake": one(url), "dead": one("http://127.0.0.1:9/v1")},
    }


if __name__ == "__main__":
    with FakeModel(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as served:
        sys.stdout.write(json.dumps(provider(served.url)) + "\n")
        sys.stdout.flush()
        threading.Event().wait()
