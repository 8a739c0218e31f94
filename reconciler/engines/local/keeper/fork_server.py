"""The fork server: a small process that has imported everything a keeper needs, and forks one per request.

A fork costs 1 ms and shares the fork server's memory; a fresh interpreter for each service costs 20 ms and 5 MB
(measured). One is forked ahead of the request, because a restart would wait for that millisecond too.

A request on stdin, a sequenced-packet socket, is a number, the failpoint of tests, and the keeper's arguments,
separated by NUL, with the keeper's stdin and stdout. The answer is the number, with a pidfd of the keeper. Standard
library only; imports nothing of ours but `failpoint`.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import ctypes
import gc
import os
import select
import signal

from reconciler.system import failpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 1024
"""Bytes of spare arguments the fork server is started with, so that its keepers can write their own over them."""
_PACKET = 8192
_STDERR = 2
_PR_SET_NAME = 15
_prctl = ctypes.CDLL(None).prctl


class Name:
    """The command line of this process and of its forks, which is overwritten in place.

    People, `ps` and the identity checks on old kernels read it in /proc.

    Args:
        command: the beginning of a keeper's command line.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        with open("/proc/self/stat", "rb", buffering=0) as file:  # noqa: PTH123  pathlib costs half a megabyte
            fields = file.readall().rpartition(b")")[2].split()
        self._start, self._room = int(fields[45]), int(fields[46]) - int(fields[45])

    def write(self, *arguments: str) -> None:
        """Show these arguments to programs that list processes."""
        text = "\0".join([*self._command, *arguments]).encode()[: self._room - 1]
        ctypes.memmove(self._start, text + bytes(self._room - len(text)), self._room)
        _prctl(_PR_SET_NAME, b"ocm-keeper", 0, 0, 0)


def serve(live: Callable[[_socket.socket, int, Name], int], warm_up: Callable[[], None], command: list[str]) -> int:
    """Fork keepers until the controller is gone; the keepers go on.

    Args:
        live: what a fork does with the channel of requests and a pipe that is closed when it has served one.
        warm_up: what is run once before the first fork.
        command: the beginning of a keeper's command line, for programs that list processes.
    """
    for handle in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  pathlib costs half a megabyte
        if handle > _STDERR:  # what the controller was started with, like a shell's lock, is no service's
            with contextlib.suppress(OSError):
                os.close(handle)
    channel, name = _socket.socket(fileno=0), Name(command)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: nobody waits for a keeper
    gc.collect()
    gc.freeze()  # a collection in a keeper must not touch, and so copy, what it shares with us
    while not _is_over(channel):
        busy, request_pipe = os.pipe()
        if os.fork() == 0:
            os.close(busy)
            os._exit(live(channel, request_pipe, name))
        os.close(request_pipe)
        os.read(busy, 1)  # the one in waiting has got its request, or was killed
        poll = select.poll()
        poll.register(busy, select.POLLIN)
        poll.register(channel, select.POLLIN)
        poll.poll()  # it is done, or there is another request: before that a fork would only be in its way
        os.close(busy)
    return 0


def _is_over(channel: _socket.socket) -> bool:
    """Tell whether the controller is gone."""
    try:
        return not channel.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def take_request(channel: _socket.socket, request_pipe: int, keeper: int) -> list[str]:
    """Wait for a request, answer it, and take over its descriptors; return its arguments, none when there are no more.

    Args:
        channel: it comes from there.
        request_pipe: a pipe to the fork server.
        keeper: a pidfd.
    """
    text, controls, _, _ = channel.recvmsg(_PACKET, _socket.CMSG_SPACE(2 * 4))
    os.write(request_pipe, b"!")
    if not text:
        return []
    number, point, *arguments = text.decode().split("\0")
    with contextlib.suppress(BrokenPipeError):
        answer = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [keeper]))]
        channel.sendmsg([number.encode()], answer)
    for target, handle in enumerate(array.array("i", controls[0][2])):
        os.dup2(handle, target)
        os.close(handle)
    if point:
        os.environ[failpoint.VARIABLE] = point
    return arguments
