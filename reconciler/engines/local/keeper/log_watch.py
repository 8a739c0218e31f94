"""Notice at once that a log has outgrown its limit, at no cost while it is quiet.

Polling is too late: a program writes a gigabyte per second. The kernel reports each write (inotify), but a user has 128
such watchers in all by default, so not every keeper can have one. Of the keepers of a folder the first is the hub: it
has the socket there, and up to MEMBERS others send it a descriptor of their log. It examines a log that was written
to, at most every PAUSE, and notifies its keeper when it is too large. When the hub ends, its members see that at once,
and one of them is the next. A full hub stops listening, so that the next keeper is a hub. The socket lies in the folder
of the logs, where no confined agent finds it. Standard library only, imports only `name_lock` and `log_cap`.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import ctypes
import fcntl
import os
import select
import stat
import struct
import time

from reconciler.engines.local.keeper.log_cap import LOG_LIMIT
from reconciler.system import name_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE = 0.01
"""Seconds between two checks of logs that are written to: at 1 GB/s, 10 MB, a log's limit."""
MEMBERS = 100
"""Per hub: each costs it two descriptors, of which a process often has 1024."""
REJOIN = 1.0
"""Seconds: a keeper that loses two hubs within that time, as when one has no descriptors left, watches alone."""
_TRIES = 5
_BETWEEN = 10
"""Milliseconds between tries: a hub that has its name listens in a moment."""
NAME = ".hub-2"
"""Of the hub's socket; the number is that of this protocol. One that ended leaves it, and nobody listens there."""
_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)
_lent: list[tuple[int, int]] = []
"""A watcher that was opened before this process was forked, and by whom."""


def prepare() -> None:
    """Open a watcher for the keepers to be forked.

    Closing one that nobody else has open takes a process 8 to 16 ms (measured), just when its service is to be
    restarted.
    """
    if not _lent and (watcher := _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)) >= 0:
        _lent.append((watcher, os.getpid()))


def find(log: int, folder: str) -> int:
    """Send a log to the hub of its folder; return a connection, or -1 when there is no hub.

    A message on it says that the log is too large, its end that the hub has ended.
    """
    hub = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    with contextlib.suppress(OSError):
        hub.setblocking(False)
        with _opened(folder) as place:
            hub.connect(_address(place))
        if _peer(hub) == os.getuid() and stat.S_ISREG(os.fstat(log).st_mode):  # everybody writes to /dev/null
            hub.sendmsg([b"!"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [log]))])
            return hub.detach()
    hub.close()
    return -1


def join(log: int, folder: str, *, alone: bool = False) -> Watch | int | None:
    """Join the hub of a log's folder, or become it; return None where that is impossible, or for what is no file.

    Args:
        log: a descriptor.
        folder: the log's, whose keepers share a hub.
        alone: look for no hub, and be none.
    """
    if not stat.S_ISREG(os.fstat(log).st_mode):
        return None
    watch = Watch(log)
    for _ in range(0 if alone else _TRIES):
        if (hub := find(log, folder)) >= 0:
            return hub
        if watch.lead(folder):
            return watch
        select.poll().poll(_BETWEEN)
    return watch if watch.observe() else None  # somebody else has the name


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)


def _address(place: int) -> str:
    """Return the hub's address in an open folder: the folder's own path may be longer than an address can be."""
    return f"/proc/self/fd/{place}/{NAME}"


class Watch:
    """Watch one keeper's log and, as a hub, others'.

    Args:
        log: a descriptor.
    """

    def __init__(self, log: int) -> None:
        self._log = log
        self._listener: _socket.socket | None = None
        self._inotify = -1
        self._guard: _socket.socket | None = None
        """The owner of the shared inotify has this name: two hubs would read each other's events."""
        self._members: dict[int, _Member] = {}
        """By the descriptor of their connection."""
        self._own = -1
        self._resume_at = 0.0

    def lead(self, folder: str) -> bool:
        """Become the hub of a folder, unless another keeper is, or becomes it just now."""
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        with contextlib.suppress(OSError), _opened(folder) as place:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _listens(_address(place)) and self._bind(listener, place):
                self._listener = listener
                return True
        listener.close()
        return False

    def _bind(self, listener: _socket.socket, place: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=place)
        listener.bind(_address(place))
        listener.setblocking(False)
        if self.observe():
            listener.listen(2 * MEMBERS)
            return True
        return False

    def observe(self) -> bool:
        """Have the kernel report writes to our log, unless this user has too many watchers."""
        with contextlib.suppress(OSError, name_lock.Taken):
            for watcher, lender in _lent:
                self._guard = name_lock.take("/", f"watcher {lender}")
                self._inotify = watcher
        if self._inotify < 0:
            self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._own = self._add(self._log)
        return self._own >= 0

    def handles(self) -> list[int]:
        """Return what is to be polled now."""
        found = [*self._members]
        if self._listener is not None:
            found.append(self._listener.fileno())
        if time.monotonic() >= self._resume_at:
            found.append(self._inotify)
        return found

    def deadline(self) -> float:
        """Return when `handles` changes although nothing happens, in monotonic seconds."""
        return self._resume_at if time.monotonic() < self._resume_at else float("inf")

    def serve(self, ready: list[int]) -> bool:
        """Serve those of our handles that are ready; return whether our own log may be too large."""
        due = False
        for handle in ready:
            if handle == self._inotify:
                due |= self._written()
            elif self._listener is not None and handle == self._listener.fileno():
                self._admit()
            elif handle in self._members:
                self._receive(self._members[handle])
        return due

    def close(self) -> None:
        """Stop watching."""
        for member in list(self._members.values()):
            self._drop(member)
        if self._inotify >= 0:
            _libc.inotify_rm_watch(self._inotify, self._own)
            if self._guard is None:
                os.close(self._inotify)
        for channel in (self._guard, self._listener):
            if channel is not None:
                channel.close()

    def _add(self, log: int) -> int:
        """Return the number of the watch over a log, or -1."""
        watch: int = _libc.inotify_add_watch(self._inotify, b"/proc/self/fd/%d" % log, _IN_MODIFY)
        return watch

    def _admit(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            member = _Member(_socket.socket(fileno=self._listener._accept()[0]))  # type: ignore[attr-defined]  # noqa: SLF001  all that `socket` adds is in its module
            if _peer(member.channel) == os.getuid():
                self._members[member.channel.fileno()] = member
            else:
                member.channel.close()
        if len(self._members) >= MEMBERS:
            self._listener.close()
            self._listener = None

    def _receive(self, member: _Member) -> None:
        """Receive a member's log, or its end."""
        try:
            text, controls, _, _ = member.channel.recvmsg(1, _socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            text, controls = b"", []
        if text and controls and member.log < 0:
            [member.log] = array.array("i", controls[0][2])
            member.watch = self._add(member.log)
            self._notify(member)  # of what was written before
        else:
            self._drop(member)

    def _drop(self, member: _Member) -> None:
        del self._members[member.channel.fileno()]
        member.channel.close()
        if member.log >= 0:
            os.close(member.log)
            others = (self._own, *(other.watch for other in self._members.values()))
            if member.watch not in others:  # the next keeper of the same log
                _libc.inotify_rm_watch(self._inotify, member.watch)

    def _written(self) -> bool:
        """Notify the keepers of logs that are too large; return whether ours is."""
        with contextlib.suppress(OSError):
            events = os.read(self._inotify, 1 << 16)
            written = {events[at : at + 4] for at in range(0, len(events), _EVENT.size)}
            self._resume_at = time.monotonic() + PAUSE
            for member in self._members.values():
                if struct.pack("i", member.watch) in written:
                    self._notify(member)
        return _too_large(self._log)

    def _notify(self, member: _Member) -> None:
        if _too_large(member.log):
            with contextlib.suppress(OSError):
                member.channel.send(b"!")


class _Member:
    """Another keeper, as its hub knows it."""

    __slots__ = ("channel", "log", "watch")

    def __init__(self, channel: _socket.socket) -> None:
        channel.setblocking(False)
        self.channel = channel
        self.log = -1
        self.watch = -1


def _listens(address: str) -> bool:
    """Tell whether a hub listens there."""
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        probe.setblocking(False)
        probe.connect(address)
    except BlockingIOError:  # so many keepers ask it at once
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _too_large(log: int) -> bool:
    return os.fstat(log).st_size > LOG_LIMIT


def _peer(channel: _socket.socket) -> int:
    """Return the user at the other end."""
    found: tuple[int, int, int] = struct.unpack("3i", channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return found[1]
