"""Build the arguments of bubblewrap from what a program may access. Pure.

No value of a variable is ever among them: everybody can read arguments. Secrets come with the inherited environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class PathAccess(Enum):
    """What a program can do with a place, and with everything below it."""

    HIDDEN = "hidden"
    """It is empty, and stays so."""
    PRIVATE = "private"
    """Empty, writable, and gone at the end."""
    READ = "read"
    WRITE = "write"


class Network(Enum):
    """What a program can access of the network. A policy for what goes out would be another member."""

    MACHINE = "machine"
    """The machine's own, loopback and abstract sockets included."""


_NETWORK: Final[dict[Network, tuple[str, ...]]] = {Network.MACHINE: ()}
"""The arguments for each."""


NAMESPACES: Final = (
    "--unshare-user",
    "--disable-userns",  # in one of its own a program is root, and half of the kernel's errors are behind that
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    *("--cap-drop", "ALL"),
)
APART: Final = ("--user", "--map-current-user", "--mount", "--propagation", "private", "--")
"""Arguments of util-linux's unshare: what is mounted on the machine later does not come in. With bubblewrap alone a
disk plugged in later did, and could be written (measured)."""
ROOT: Final = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
"""The whole machine, read-only, with devices and processes of its own."""
KERNEL: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "driver", "mtrr")
"""Below /proc: what root could change of the machine. bubblewrap 0.8 left these writable to root (measured: a program
without any capability could name the program that the kernel runs for a core file)."""
CONTROL: Final = tuple(word for name in KERNEL for word in ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}"))


@dataclass(frozen=True, kw_only=True)
class Walls:
    """What a program may access. Paths are absolute and without links."""

    bubblewrap: str
    """Path of the program."""
    unshare: str = ""
    """The same; empty where it cannot be used."""
    folder: str = ""
    """It starts there; empty: where who runs it says."""
    places: Mapping[str, PathAccess]
    """The nearest one above a path counts; what is below none can be read."""
    files: frozenset[str] = field(default=frozenset())
    """Those of the hidden places that are no folders."""
    network: Network = Network.MACHINE
    ends_with_us: bool = False
    """Whether it dies with the process that starts it. An agent must not: its keeper may be killed and replaced."""
    own_session: bool = False
    """Whether it has no terminal: it can then type nothing into the one that it is run at."""


def command(walls: Walls) -> tuple[str, ...]:
    """Return what is put before a program and its arguments."""
    needed = list(_needed(walls.places))
    emptied = [path for path, access in needed if access is PathAccess.HIDDEN and path not in walls.files]
    return (
        *((walls.unshare, *APART) if walls.unshare else ()),
        walls.bubblewrap,
        *NAMESPACES,
        *_NETWORK[walls.network],
        *(("--die-with-parent",) if walls.ends_with_us else ()),
        *(("--new-session",) if walls.own_session else ()),
        *ROOT,
        *CONTROL,
        *(word for path, access in needed for word in _mount(path, access, is_file=path in walls.files)),
        *(word for path in emptied for word in ("--remount-ro", path)),  # last: mounts within make their own folders
        *(("--chdir", walls.folder) if walls.folder else ()),
        "--",
    )


def _needed(places: Mapping[str, PathAccess]) -> Iterator[tuple[str, PathAccess]]:
    """Yield the places that differ from what is round them, the outer ones first."""
    for path in sorted(places, key=lambda path: path.split("/")):
        around, access = access_of(places, path.rpartition("/")[0]), places[path]
        hidden = access is PathAccess.HIDDEN and around in {PathAccess.HIDDEN, PathAccess.PRIVATE}
        if access is PathAccess.PRIVATE or (access is not around and not hidden):
            yield path, access


def access_of(places: Mapping[str, PathAccess], path: str) -> PathAccess:
    """Return what can be done with a path."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition("/")[0]
    return PathAccess.READ


def _mount(path: str, access: PathAccess, *, is_file: bool) -> tuple[str, ...]:
    match access:
        case PathAccess.HIDDEN if is_file:
            return ("--ro-bind", "/dev/null", path)
        case PathAccess.HIDDEN | PathAccess.PRIVATE:
            return ("--tmpfs", path)
        case PathAccess.READ:
            return ("--ro-bind", path, path)
        case PathAccess.WRITE:
            return ("--bind", path, path)
