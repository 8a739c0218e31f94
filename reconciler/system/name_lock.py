"""Lock a name that only one process of this machine can have at a time, and that cannot be deleted.

A name is an abstract socket's. It is free again however its holder ends, and a process that inherits the socket holds
it too. Standard library only, imports nothing of ours.
"""

from __future__ import annotations

import _socket
import binascii
import errno


class Taken(Exception):  # noqa: N818  a state, not a failure
    """Another process has the name."""


def take(run_dir: str, part: str) -> _socket.socket:
    """Take the name of this part of a run folder until the socket is closed.

    Raises:
        Taken: somebody else has it.
    """
    guard = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        guard.bind(address(run_dir, part))
    except OSError as error:
        guard.close()
        if error.errno == errno.EADDRINUSE:
            raise Taken from None
        raise
    return guard


def taken(run_dir: str, part: str) -> bool:
    """Tell whether somebody has it, without changing anything."""
    with open("/proc/net/unix", "rb", buffering=0) as table:  # noqa: PTH123  pathlib costs half a megabyte
        return b" @" + _name(run_dir, part) + b"\n" in table.readall() + b"\n"


def address(folder: str, part: str) -> bytes:
    """Return the address of a socket that has this name."""
    return b"\0" + _name(folder, part)


def _name(run_dir: str, part: str) -> bytes:
    """Return a name that is short enough for a socket (107 bytes), and never another folder's."""
    path = run_dir.encode(errors="surrogateescape")
    return b"opencode-manager %08x %s %s" % (binascii.crc32(path), part.encode(), path[-48:].replace(b"\n", b"?"))
