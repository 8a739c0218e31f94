"""Hand a run over from its starter to its keeper: one message with every descriptor that holds something.

Standard library only, imports only `identity`.
"""

from __future__ import annotations

import _socket
import array
import marshal  # as small as can be: it is for one moment between two forks of the same program

from reconciler.engines.local.keeper.identity import MemoryKills, RunFiles, memory_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.engines.local.keeper.identity import Record

_MOST = 16
"""Descriptors."""
_PACKET = 1 << 16


class RunHandle:
    """A run, and the descriptors that hold it.

    Args:
        place: the service's files.
        run: its record.
        locks: descriptors by path: to be taken again should somebody delete them.
        ancestor: the run's processes are descendants of the keeper; else they were adopted.
        kills: those for want of memory until now; counted now when not given.
    """

    __slots__ = (
        "ancestor",
        "failed",
        "failure",
        "guards",
        "hub",
        "kills",
        "leader",
        "locks",
        "place",
        "point",
        "run",
        "stopping",
    )

    def __init__(
        self, place: RunFiles, run: Record, locks: dict[str, int], *, ancestor: bool, kills: MemoryKills | None = None
    ) -> None:
        self.place = place
        self.run = run
        self.locks = locks
        self.ancestor = ancestor
        self.kills = kills or MemoryKills.of(run["leader"]["pid"], memory_folder(run))
        self.guards: list[int] = []
        """Held besides, for as long as the keeper lives."""
        self.leader: int | None = None
        """A pidfd, of an adopted leader that lives."""
        self.hub = -1
        """A connection to the keeper that watches the log, where there is one."""
        self.stopping = False
        """A stop was requested already."""
        self.failure: int | None = None
        """A pipe that brings why the starter cannot become the service, or is closed when it did."""
        self.failed = -1
        """Its other end, which stays with the starter."""
        self.point = ""
        """At which the keeper dies, in tests."""


def give(outbox: _socket.socket, kept: RunHandle) -> None:
    """Send the run to the keeper, with our descriptors 1 and 2, which are the answer's pipe and the log.

    Raises:
        OSError: there is no keeper any more.
    """
    single = [handle for handle in (kept.leader, kept.failure) if handle is not None]  # never both
    handles = array.array("i", [1, 2, *kept.locks.values(), *single, *kept.guards])
    if kept.hub >= 0:
        handles.append(kept.hub)
    place = (kept.place.folder, kept.place.service)
    small = (kept.ancestor, kept.kills.packed(), bool(single), kept.hub >= 0, kept.stopping, kept.point)
    text = marshal.dumps((place, kept.run, list(kept.locks), small))
    outbox.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handles)])


def take(inbox: _socket.socket) -> tuple[RunHandle, int, int] | None:
    """Receive the run, and descriptors of answer pipe and log; None when the starter ended without sending."""
    text, controls, _, _ = inbox.recvmsg(_PACKET, _socket.CMSG_SPACE(_MOST * 4))
    if not text:
        return None
    handles = array.array("i", controls[0][2]).tolist()
    place, run, paths, (ancestor, kills, single, hub, stopping, point) = marshal.loads(text)  # noqa: S302  from our own starter
    kept = RunHandle(
        RunFiles(*place),
        run,
        dict(zip(paths, handles[2:], strict=False)),
        ancestor=ancestor,
        kills=MemoryKills(*kills),
    )
    rest = handles[2 + len(paths) :]
    if single:
        if ancestor:
            kept.failure = rest.pop(0)
        else:
            kept.leader = rest.pop(0)
    if hub:
        kept.hub = rest.pop()
    kept.guards, kept.stopping, kept.point = rest, stopping, point
    return kept, handles[0], handles[1]
