"""List the TCP sockets that listen on this machine, and its connections.

Over netlink (sock_diag(7)) the kernel searches the listening sockets alone: 0.05 ms. /proc/net/tcp makes it walk all
connections: 6 ms on an ordinary machine (measured). It is read only where netlink has no sock_diag, as in gVisor.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.keeper import identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_ESTABLISHED, _LISTEN = 1, 10
_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port id."""
_QUERY: Final = struct.Struct("=BBBxI2s46x")
"""struct inet_diag_req_v2: family, protocol, extensions, states, then the source port and nothing of the rest."""
_FOUND: Final = struct.Struct("=4x2s2x16s44xI")
"""struct inet_diag_msg: the source port and address, and the inode."""
_CONNECTED: Final = struct.Struct("=4x2s2s60xI")
"""The same: both ports, and the inode."""
_REACHED: Final = frozenset({b"\x7f\0\0\1" + bytes(12), bytes(16), bytes(10) + b"\xff\xff\x7f\0\0\1"})
"""Local addresses that a connection to 127.0.0.1 can reach: itself, any (of both families), itself mapped into IPv6."""
_LIMIT: Final = 5.0


def listening(port: int = 0) -> dict[int, set[int]]:
    """Return the inodes of the sockets that may answer on 127.0.0.1, by port; of one port only, if it is given."""
    try:
        return _by_port(_ask(port))
    except OSError:
        return _by_port(_read(port))


def connections() -> Sequence[tuple[int, int, int]]:
    """Return each end of each connection on this machine: its port, the other one's, and its inode.

    The kernel walks all of them: a few milliseconds. Raises OSError where it does not tell.
    """
    try:
        return [
            (int.from_bytes(near, "big"), int.from_bytes(far, "big"), inode)
            for near, far, inode in map(_CONNECTED.unpack_from, _dump(_ESTABLISHED))
        ]
    except OSError:
        if not identity.read_bytes("/proc/net/tcp"):
            raise
        rows = (fields for fields in _rows() if int(fields[3], 16) == _ESTABLISHED)
        return [(_number(fields[1]), _number(fields[2]), int(fields[9])) for fields in rows]


def _by_port(found: Iterator[tuple[int, int]]) -> dict[int, set[int]]:
    answer: dict[int, set[int]] = {}
    for port, inode in found:
        answer.setdefault(port, set()).add(inode)
    return answer


def _ask(port: int) -> Iterator[tuple[int, int]]:
    """Query netlink. Raises OSError where it cannot tell."""
    for message in _dump(_LISTEN, port):
        number, address, inode = _FOUND.unpack_from(message)
        if address in _REACHED:
            yield int.from_bytes(number, "big"), inode


def _dump(state: int, port: int = 0) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
        link.settimeout(_LIMIT)
        for family in (socket.AF_INET, socket.AF_INET6):
            query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, 1 << state, port.to_bytes(2, "big"))
            link.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + query)
            yield from _messages(link)


def _messages(link: socket.socket) -> Iterator[bytes]:
    """Return the bodies of one answer."""
    while True:
        data = link.recv(1 << 16)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError("netlink cannot list sockets")
            yield data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _read(port: int) -> Iterator[tuple[int, int]]:
    """Read the tables in /proc, which write addresses as words in the machine's byte order."""
    for fields in _rows():
        words, found = fields[1].partition(":")[0], _number(fields[1])
        if int(fields[3], 16) == _LISTEN and port in {0, found}:
            numbers = (int(words[at : at + 8], 16) for at in range(0, len(words), 8))
            address = b"".join(one.to_bytes(4, "little") for one in numbers)
            if address.ljust(16, b"\0") in _REACHED:
                yield found, int(fields[9])


def _rows() -> Iterator[list[str]]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        yield from map(str.split, identity.read_bytes(table).decode().splitlines()[1:])


def _number(address: str) -> int:
    return int(address.partition(":")[2], 16)
