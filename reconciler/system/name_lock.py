"""Lock a name that only one process of this machine can have at a time, and that cannot be deleted.

A name is an abstract socket's. It is free again however its holder ends, and a process that inherits the socket holds
it too. But every program that shares our network can read the names and take one, also a confined agent: so who has a
name counts only if it holds the lock file too, which may be deleted by now. Standard library only, imports nothing of
ours.
"""
# pathlib would cost every keeper half a megabyte:
# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import _socket
import binascii
import contextlib
import errno
import os


class Taken(Exception):  # noqa: N818  a state, not a failure
    """Another process has the name."""


def take(run_dir: str, part: str, lock: str = "") -> _socket.socket:
    """Take the name of this part of a run folder until the socket is closed.

    Args:
        run_dir: the folder; it needs not exist.
        part: of it.
        lock: real path of the lock file that the rightful holder of the name holds too. A stranger who has it is left
            alone: the lock file must do then. Without one, every holder counts.

    Raises:
        Taken: somebody else has it.
    """
    guard = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        guard.bind(address(run_dir, part))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and lock and not taken(run_dir, part, lock):
            return guard
        guard.close()
        if error.errno == errno.EADDRINUSE:
            raise Taken from None
        raise
    return guard


def taken(run_dir: str, part: str, lock: str = "") -> bool:
    """Tell whether somebody has it, and holds the lock file if one is given, without changing anything."""
    with open("/proc/net/unix", "rb", buffering=0) as table:
        ending = b" @" + _name(run_dir, part)
        lines = [line for line in table.readall().split(b"\n") if line.endswith(ending)]
    if not (lines and lock):
        return bool(lines)
    sockets = {f"socket:[{int(line.removesuffix(ending).split()[-1])}]" for line in lines}
    return any(_holds(name, sockets, lock) for name in os.listdir("/proc") if name.isdecimal())


def _holds(pid: str, sockets: set[str], lock: str) -> bool:
    """Tell whether a process has one of these sockets and the lock on a file, even if the file was deleted."""
    found, folder = {}, f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # another user's, or gone
        for handle in os.listdir(folder):
            with contextlib.suppress(OSError):
                found[handle] = os.readlink(f"{folder}/{handle}")
    if sockets.isdisjoint(found.values()):
        return False
    locks = [handle for handle, target in found.items() if target.removesuffix(" (deleted)") == lock]
    return any(_is_locked(f"/proc/{pid}/fdinfo/{handle}") for handle in locks)


def _is_locked(about: str) -> bool:
    """Tell whether an open file is locked: who only asks for a lock has it open for a moment."""
    with contextlib.suppress(OSError), open(about, "rb", buffering=0) as text:
        return b"\nlock:" in text.readall()
    return False


def address(folder: str, part: str) -> bytes:
    """Return the address of a socket that has this name."""
    return b"\0" + _name(folder, part)


def _name(run_dir: str, part: str) -> bytes:
    """Return a name that is short enough for a socket (107 bytes), and never another folder's."""
    path = run_dir.encode(errors="surrogateescape")
    return b"opencode-manager %08x %s %s" % (binascii.crc32(path), part.encode(), path[-48:].replace(b"\n", b"?"))
