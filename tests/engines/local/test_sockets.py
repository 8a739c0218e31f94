"""Which sockets listen on a port: two ways of asking the kernel, and they agree."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.processes import sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAYS = pytest.mark.parametrize("way", [sockets._ask, sockets._read], ids=["netlink", "proc"])


@WAYS
@pytest.mark.parametrize(
    ("family", "address", "reached"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),  # noqa: S104  closed at once
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET, "127.0.0.2", False),
        (socket.AF_INET6, "::1", False),
    ],
)
def test_a_listener_that_can_be_reached_is_found(
    way: Callable[[int], Iterator[tuple[int, int]]], family: socket.AddressFamily, address: str, reached: bool
) -> None:
    """By its inode; one on another address is not."""
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]

        found = {(port, os.fstat(listener.fileno()).st_ino)} if reached else set()
        assert set(way(port)) == found
        assert {one for one in way(0) if one[0] == port} == found


@WAYS
def test_who_only_has_the_port_does_not_listen(way: Callable[[int], Iterator[tuple[int, int]]]) -> None:
    """Neither bound nor connected."""
    with socket.socket() as bound, socket.socket() as listener, socket.socket() as client:
        bound.bind(("127.0.0.1", 0))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())

        assert set(way(bound.getsockname()[1])) == set()
        assert set(way(client.getsockname()[1])) == set()


def test_without_netlink_the_tables_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in gVisor, which has no sock_diag."""
    monkeypatch.setattr(sockets, "_SOCK_DIAG", 31)  # a protocol that nobody speaks
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        port = listener.getsockname()[1]
        assert sockets.listening(port) == {port: {os.fstat(listener.fileno()).st_ino}}
