"""A child program that misbehaves on purpose, for tests about processes. Standard library only; starts in 20 ms.

    misbehave.py FIFO MODE [ARGUMENT]

It and its offspring each write one line `ROLE PID` into the named pipe once they are as bad as they mean to be, so
that a test waits for events and knows every process. `MODES` lists the ways to misbehave.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIFO = sys.argv[1]
MODE = sys.argv[2]
ARGUMENT = sys.argv[3] if len(sys.argv) > 3 else ""


def tell(role: str) -> None:
    """One short line, which a pipe takes whole."""
    handle = os.open(FIFO, os.O_WRONLY)
    os.write(handle, f"{role} {os.getpid()}\n".encode())
    os.close(handle)


def live(role: str) -> None:
    """Tell, and stay until a signal ends it."""
    tell(role)
    while True:
        signal.pause()


def deaf() -> None:
    """Ignore what asks nicely."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def die() -> None:
    """End at once with an exit code."""
    tell("leader")
    sys.exit(int(ARGUMENT))


def die_later() -> None:
    """End with an exit code when sent SIGUSR1."""
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(int(ARGUMENT)))
    live("leader")


def ignore() -> None:
    """Ignore TERM."""
    deaf()
    live("leader")


def swallow() -> None:
    """Ignore the first TERM, exit 5 on the second."""
    seen: list[int] = []

    def on_term(*_: object) -> None:
        seen.append(1)
        if len(seen) == 2:
            os._exit(5)

    signal.signal(signal.SIGTERM, on_term)
    live("leader")


def hang() -> None:
    """Stop itself: TERM alone would stay pending."""
    tell("leader")
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()


def daemonise(*, scrubbed: bool) -> None:
    """Leave a grandchild, reparented, in its own session; scrubbed: without environment and descriptors."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        deaf()
        if scrubbed:
            os.closerange(0, 256)
            os.open(os.devnull, os.O_RDWR)
            os.execve(sys.executable, [sys.executable, "-S", "-E", __file__, FIFO, "grandchild"], {})  # noqa: S606
        live("grandchild")
    os.wait()


def daemon() -> None:
    """A daemonised grandchild that ignores TERM."""
    daemonise(scrubbed=False)
    live("leader")


def hidden() -> None:
    """The same, with an empty environment and no descriptor of ours."""
    daemonise(scrubbed=True)
    live("leader")


def marked() -> None:
    """The same, with its environment but no descriptor of ours: the marker alone tells."""
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 256)
        if os.fork() == 0:
            deaf()
            live("grandchild")
        os._exit(0)
    live("leader")


def grandchild() -> None:
    """What `hidden` leaves."""
    deaf()
    live("grandchild")


def group() -> None:
    """Exit 0, leaving a child in the group that ignores TERM."""
    ready, writer = os.pipe()
    if os.fork() == 0:
        deaf()
        tell("child")
        os.close(writer)
        signal.pause()
    os.close(writer)
    os.read(ready, 1)
    tell("leader")


def family() -> None:
    """Live with a child in the group that ignores TERM."""
    if os.fork() == 0:
        deaf()
        live("child")
    live("leader")


def crowd() -> None:
    """Live with this many children in the group that ignore TERM."""
    for _ in range(int(ARGUMENT)):
        if os.fork() == 0:
            deaf()
            live("child")
    live("leader")


def storm() -> None:
    """Walkers that fork and exit so fast that no list of them is ever right; bounded."""
    for _ in range(3):
        if os.fork() == 0:
            deaf()
            os.setsid()
            for _ in range(int(ARGUMENT)):
                if os.fork() != 0:
                    os._exit(0)
            live("walker")
    live("leader")


def orphans() -> None:
    """Make orphans that end at once: somebody must reap them."""
    for _ in range(5):
        if os.fork() == 0:
            if os.fork() != 0:
                os._exit(0)
            tell("orphan")
            os._exit(0)
        os.wait()
    live("leader")


def noisy() -> None:
    """Print this many bytes, then a last line at each SIGUSR1, with an orphan that ends."""
    left = int(ARGUMENT)
    while left > 0:
        left -= os.write(1, b"x" * 99 + b"\n") if left > 100 else os.write(1, b"x" * left)

    def again(*_: object) -> None:
        os.write(1, b"the last line\n")
        if os.fork() == 0:
            if os.fork() == 0:
                tell("orphan")
            os._exit(0)
        os.wait()

    signal.signal(signal.SIGUSR1, again)
    live("leader")


PACE = 0.0002
"""Seconds after each 64 kB."""


def flood() -> None:
    """At SIGUSR1 print numbered lines. ARGUMENT is BYTES:FILE; the file gets the most its folder held.

    At some 250 MB/s, faster than most disks: at full speed the result would depend on how busy the processors are.
    """
    amount, _, file = ARGUMENT.partition(":")
    folder = os.path.dirname(os.readlink("/proc/self/fd/1"))  # noqa: PTH115, PTH120
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    tell("leader")
    signal.sigwait({signal.SIGUSR1})
    number, printed, most = 0, 0, 0
    while printed < int(amount):
        text = b"".join(b"line %09d %s\n" % (number + each, b"x" * 984) for each in range(64))
        number += 64
        while text:
            done = os.write(1, text)
            printed, text = printed + done, text[done:]
        most = max(most, sum(_size(entry) for entry in os.scandir(folder)))
        signal.sigtimedwait({signal.SIGUSR2}, PACE)
    os.write(1, b"the last line\n")
    with open(file, "w") as found:  # noqa: PTH123
        found.write(str(most))
    tell("flooded")
    signal.pause()


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # renamed meanwhile
        return 0


def report() -> None:
    """Write what it was given into the file named by the argument: environment, descriptors, signals, umask."""
    status = open("/proc/self/status").read()  # noqa: PTH123, SIM115  nothing but the standard descriptors may be open
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    fds = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            fds[name] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except FileNotFoundError:
            continue
    found = {
        "env": dict(os.environ),
        "fds": fds,
        "cwd": os.getcwd(),  # noqa: PTH109
        "session": os.getsid(0),
        "umask": fields["Umask"],
        "blocked": fields["SigBlk"],
    }
    with open(ARGUMENT, "w") as file:  # noqa: PTH123
        json.dump(found, file)
    live("leader")


def serve() -> None:
    """Serve /health on a port: ARGUMENT is PORT[:ok|sick|html|slow]; `ok` wants the password "secret"."""
    port, _, manner = ARGUMENT.partition(":")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if manner == "slow":
                threading.Event().wait()
            allowed = manner != "ok" or self.headers.get("authorization") == "secret"
            body = b"<html></html>" if manner == "html" else b'{"healthy":true}'
            self.send_response(503 if manner == "sick" else 200 if allowed else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    tell("leader")
    server.serve_forever()


def serve_below() -> None:
    """The same, in a child."""
    if os.fork() == 0:
        serve()
    signal.pause()


MODES = {
    function.__name__: function
    for function in (
        die,
        die_later,
        ignore,
        swallow,
        hang,
        daemon,
        hidden,
        marked,
        grandchild,
        group,
        family,
        crowd,
        storm,
        orphans,
        noisy,
        flood,
        report,
        serve,
        serve_below,
    )
}

if __name__ == "__main__":
    MODES[MODE]()
