"""The nursery: a small process that has imported all a keeper needs, and has one forked for the next request.

A fork costs 1 ms and shares its memory; a fresh interpreter for each service costs 20 ms and 5 MB (measured). It is
forked ahead of the request, since whoever waits for a restart waits for that millisecond too.

Belongs here: requests, forking, and giving the fork its own name. Standard library only, imports nothing of ours but
`crash`: it is what every keeper's memory begins as. Does not belong here: what a keeper does (`keeper`).

A request on stdin, a sequenced-packet socket, is a number, the crash point of tests, and the keeper's arguments,
separated by NUL, with the keeper's stdin and stdout. The answer is the number, with a pidfd of the keeper.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import ctypes
import gc
import os
import signal

from reconciler import crash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 1024
"""Bytes of spare arguments a nursery is started with, so that its keepers can write their own over them."""
_PACKET = 8192
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None)


def serve(keep: Callable[..., int], command: list[str]) -> int:
    """Fork keepers until the controller is gone; they go on.

    Args:
        keep: what a keeper does with its arguments.
        command: the beginning of a keeper's command line, for whoever lists processes.
    """
    channel = _socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: nobody waits for a keeper
    gc.collect()
    gc.freeze()  # a collection in a keeper must not touch, and so copy, what it shares with us
    while not _is_over(channel):
        busy, tell = os.pipe()
        if os.fork() == 0:
            os._exit(_wait_and_keep(channel, tell, keep, command))
        os.close(tell)
        os.read(busy, 1)  # the one in waiting has got its request, or was killed
        os.close(busy)
    return 0


def _is_over(channel: _socket.socket) -> bool:
    """Whether the controller is gone."""
    try:
        return not channel.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _wait_and_keep(channel: _socket.socket, tell: int, keep: Callable[..., int], command: list[str]) -> int:
    """In the fork: wait for a request, then be the keeper."""
    text, controls, _, _ = channel.recvmsg(_PACKET, _socket.CMSG_SPACE(2 * 4))
    os.write(tell, b"!")
    if not text:
        return 0
    handles = array.array("i", controls[0][2])
    number, point, *arguments = text.decode().split("\0")
    me = array.array("i", [os.pidfd_open(os.getpid())])
    with contextlib.suppress(BrokenPipeError):
        channel.sendmsg([number.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, me)])
    _become(handles, point, [*command, *arguments])
    return keep(*arguments)


def _become(handles: array.array[int], point: str, command: list[str]) -> None:
    """Own descriptors, own signals, own name."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    os.closerange(3, 1 << 16)
    if point:
        os.environ[crash.VARIABLE] = point
    _rename(command)


def _rename(command: list[str]) -> None:
    """Let /proc/PID/cmdline say who this is: people, `ps` and old kernels' proofs of identity read it."""
    with open("/proc/self/stat", "rb", buffering=0) as file:  # noqa: PTH123  pathlib costs half a megabyte
        fields = file.readall().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = "\0".join(command).encode()[: end - start - 1]
    ctypes.memmove(start, text + bytes(end - start - len(text)), end - start)
    _libc.prctl(_PR_SET_NAME, b"ocm-keeper", 0, 0, 0)
