"""Verify processes, locks and records of a run without asking anybody.

The keeper, the controller and the listener proof use it, so it is standard library only, imports nothing of ours but
`exchange_file`, and keeps to the few modules that every keeper can afford.
"""
# pathlib would cost every keeper half a megabyte:
# ruff: noqa: PTH113, PTH115, PTH208

from __future__ import annotations

import contextlib
import json
import os
import select

from reconciler.system import exchange_file, ofd_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]


class RunFiles:
    """The files of one service below its run folder."""

    def __init__(self, run_dir: str, service: str) -> None:
        stem = f"{run_dir}/{service}"
        self.folder = run_dir
        self.service = service
        self.run = f"{stem}.run.json"
        self.exit = f"{stem}.exit.json"
        self.keeper_lock = f"{stem}.keeper.lock"
        """Held by the keeper alone."""
        self.lock = f"{stem}.lock"
        """Held by the keeper and by every process of the service that keeps its descriptors."""
        self.keeper_guard = f"{service} keeper"
        """The same as the two locks, but it cannot be deleted."""
        self.guard = service


class Held(Exception):  # noqa: N818  a state, not a failure
    """Somebody else holds the service; the text is a clause."""


# -- who is who --------------------------------------------------------------------------------------------------------


_known: dict[str, Any] = {}
"""What cannot change while this process lives."""


def boot_id() -> str:
    """Return the id of this boot: pids and monotonic times mean nothing in another one."""
    if "boot" not in _known:
        _known["boot"] = read_bytes("/proc/sys/kernel/random/boot_id").decode().strip()
    found: str = _known["boot"]
    return found


def read_bytes(path: str) -> bytes:
    """Return a file's content; empty when it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    text = b""
    try:
        while piece := os.read(handle, 1 << 16):  # plain calls: a file object asks four times for its size and position
            text += piece
    except OSError:
        return b""
    finally:
        os.close(handle)
    return text


class Stat:
    """The content of /proc/PID/stat; `start` is 0 where there is no such process."""

    __slots__ = ("ended", "parent", "reaped", "session", "start", "status", "ticks")

    def __init__(self, pid: int) -> None:
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        whole = len(fields) > 49
        self.ended = not whole or fields[0] in {b"Z", b"X"}
        self.parent = int(fields[1]) if whole else 0
        self.session = int(fields[3]) if whole else 0
        self.start = int(fields[19]) if whole else 0
        """Clock ticks since boot."""
        self.ticks = int(fields[11]) + int(fields[12]) if whole else 0
        """Processor time used, in clock ticks."""
        self.reaped = int(fields[13]) + int(fields[14]) if whole else 0
        """The same of its children that have ended, and of theirs."""
        self.status = int(fields[49]) if whole else 0
        """Wait status, of a zombie."""


def real_folder(path: str) -> str:
    """Return the path without links. One open costs a tenth of `realpath`, which asks for each part."""
    try:
        handle = os.open(path, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return os.path.realpath(path)
    try:
        found = os.readlink(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
    return os.path.realpath(path) if found.endswith(" (deleted)") else found


def pids() -> list[int]:
    """Return the pids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def newest_pid() -> int:
    """Return the pid assigned last; 0 where the system does not tell. 0.01 ms: a list of all takes 0.3."""
    last = read_bytes("/proc/loadavg").rpartition(b" ")[2].strip()
    return int(last) if last.isdigit() else 0


def has_ended(pidfd: int) -> bool:
    """Tell whether this process is gone or a zombie."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


class MemoryKills:
    """Count the kernel's out-of-memory kills: on the machine, and in the cgroup of one process.

    The machine's count alone would blame memory shortage elsewhere; the cgroup's cannot be read everywhere.
    """

    def __init__(self, pid: int, groups: bytes, group: str, seen: list[int | None], folder: str = "") -> None:
        self._pid = pid
        self._folder = folder
        self._groups = groups
        self._group = group
        self.seen = seen

    @classmethod
    def of(cls, pid: int, folder: str = "") -> MemoryKills:
        """Count the kills so far, for a living process, and for the group that it is in, or is about to enter."""
        kills = cls(pid, b"", "", [], folder)
        kills.look()
        return kills

    def packed(self) -> tuple[int, bytes, str, list[int | None], str]:
        """Return the arguments that recreate it in another process."""
        return (self._pid, self._groups, self._group, self.seen, self._folder)

    def look(self) -> None:
        """Forget the kills so far; the process lives, and may be in another cgroup by now."""
        if self._folder:
            older = f"{self._folder}/memory.oom_control"
            self._group = older if os.path.isfile(older) else f"{self._folder}/memory.events.local"
        elif (groups := read_bytes(f"/proc/{self._pid}/cgroup")) != self._groups:
            self._groups, self._group = groups, _memory_group(groups)
        self.seen = self._count()

    def happened(self) -> bool:
        """Tell whether there was one since the last reset."""
        machine, group = (
            None if before is None or now is None else now > before
            for before, now in zip(self.seen, self._count(), strict=True)
        )
        return machine is True and group is not False

    def _count(self) -> list[int | None]:
        return [_kills("/proc/vmstat"), _kills(self._group)]


def memory_folder(run: Record) -> str:
    """Return the folder of the control group that a run was started in; empty where it has none of its own."""
    limits = run.get("limits")
    groups = limits.get("groups") if type(limits) is dict else None
    folder = groups.get("memory") if type(groups) is dict else None
    return folder if type(folder) is str else ""


def own_group(run: Record) -> str:
    """Return the file with the pids of the group that only this run's service ever entered; empty where it has none."""
    folder = memory_folder(run)
    ours = os.path.basename(os.path.dirname(folder)).startswith("ocm")  # noqa: PTH119, PTH120  pathlib costs memory
    return f"{folder}/cgroup.procs" if ours else ""


def _memory_group(groups: bytes) -> str:
    """Return the file with the count for a process in these cgroups (unified or older hierarchy)."""
    found = ""
    for line in groups.decode(errors="replace").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "memory":
            return f"/sys/fs/cgroup/memory{path}/memory.oom_control"
        if not kinds:
            found = f"/sys/fs/cgroup{path}/memory.events.local"  # without those of cgroups below it
    return found


def _kills(path: str) -> int | None:
    """Return the count in such a file; None where there is none."""
    _, found, rest = (b"\n" + read_bytes(path)).partition(b"\noom_kill ")
    return int(rest.split(maxsplit=1)[0]) if found else None


def identify(pid: int) -> Record:
    """Return what distinguishes a process from every other, past or future, with the same pid."""
    pidfd = os.pidfd_open(pid)
    try:
        return identify_open(pid, pidfd)
    finally:
        os.close(pidfd)


def identify_open(pid: int, pidfd: int) -> Record:
    """Identify a process whose pidfd was opened while it was certainly this one.

    Raises:
        Held: it has ended meanwhile, so the pid may be another's.
    """
    who = {"pid": pid, "start": Stat(pid).start, "inode": os.fstat(pidfd).st_ino}
    if has_ended(pidfd):
        raise Held(f"process {pid} was killed meanwhile")
    return who


def open_verified(who: Record, needle: str) -> int | None:
    """Open a pidfd of the living process that a record of this boot names, and verify it.

    Args:
        who: what `identify` said.
        needle: in its environment or command line; asked only of kernels before 6.9, whose pidfds are all alike.

    Returns:
        None when it has ended; its pid may be another's now.
    """
    try:
        pidfd = os.pidfd_open(who["pid"])
    except OSError:
        return None
    inode = os.fstat(pidfd).st_ino
    if (
        inode == who["inode"]
        and Stat(who["pid"]).start == who["start"]
        and not has_ended(pidfd)
        and (inode != _own_inode() or mentions(who["pid"], needle))
    ):
        return pidfd
    os.close(pidfd)
    return None


def _own_inode() -> int:
    """Return the inode of one of our own pidfds: before Linux 6.9 every pidfd has the same."""
    if "inode" not in _known:
        _known["inode"] = identify(os.getpid())["inode"]
    found: int = _known["inode"]
    return found


def mentions(pid: int, needle: str) -> bool:
    """Tell whether this is one of the arguments or environment entries of a process."""
    return has_variable(pid, needle) or os.fsencode(needle) in read_bytes(f"/proc/{pid}/cmdline").split(b"\0")


def has_variable(pid: int, entry: str) -> bool:
    """Tell whether NAME=VALUE is in the environment that a process was started with."""
    return os.fsencode(entry) in read_bytes(f"/proc/{pid}/environ").split(b"\0")


def holds_lock(pid: int, path: str) -> bool:
    """Tell whether a process holds the lock on this file, even if the file was deleted.

    Having the file open is not enough: a process that asks for a lock has it open for a moment.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}").removesuffix(" (deleted)") == path:
                    return b"\nlock:" in read_bytes(f"/proc/{pid}/fdinfo/{name}")
    return False


# -- records -----------------------------------------------------------------------------------------------------------


_FIELDS: tuple[tuple[type, str], ...] = (
    (str, "run_id boot_id marker digest log pid_file"),
    (int, "port"),
    (float, "grace started started_wall"),
    (bool, "stopping"),
)
"""Of a run record. A field that is added later must not be asked for here: older runs are still to be adopted."""


def read_record(path: str) -> Record:
    """Return a whole run or exit record; empty when there is none or it is broken."""
    try:
        record = json.loads(exchange_file.read(path))
        whole = type(record) is dict and all(type(record[key]) is str for key in ("run_id", "boot_id"))
        if path.endswith(".run.json"):
            whole &= all(type(record[key]) is kind for kind, keys in _FIELDS for key in keys.split())
            numbers = [record[who][key] for who in ("keeper", "leader") for key in ("pid", "start", "inode")]
            whole &= all(type(number) is int and 0 < number < 2**63 for number in numbers)
            whole &= record["leader"]["pid"] < 2**31 and record["keeper"]["pid"] < 2**31
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return record if whole else {}


def nobodys_run() -> Record:
    """Return a stand-in for a run whose record is lost: only its lock tells which processes belong to it."""
    nobody = {"pid": 0, "start": 0, "inode": 0}
    blank = {"run_id": "", "marker": "", "digest": "", "port": 0, "log": "", "pid_file": "", "stopping": False}
    times = {"grace": 2.0, "started": 0.0, "started_wall": 0.0}
    return {**blank, **times, "boot_id": boot_id(), "keeper": nobody, "leader": nobody}


def finished(run: Record, ended: Record) -> bool:
    """Tell whether nothing of a recorded run can be left."""
    return run["boot_id"] != boot_id() or (ended.get("run_id") == run["run_id"] and ended.get("emptied") is True)


def is_named(run: Record) -> bool:
    """Tell whether this run's pid file names its leader, as it does from the handover until nothing is left."""
    return read_bytes(run["pid_file"]).strip() == str(run["leader"]["pid"]).encode()


def began(run: Record, exit_record: str) -> bool:
    """Tell whether a run without an exit record ever reached its keeper: both may have been killed before.

    A broken exit record may be the one of its end, when its pid file went.
    """
    return is_named(run) or (os.path.isfile(exit_record) and not read_record(exit_record))


def write_record(path: str, record: Record, *, durable: bool = True) -> None:
    """Replace a record: a reader sees the old one or the new; with `durable`, also after a power cut.

    Which of the two does not matter: what was written before a power cut is of another boot after it.
    """
    exchange_file.swap_in(path, json.dumps(record).encode(), durable=durable)


# -- locks -------------------------------------------------------------------------------------------------------------


same_file = ofd_lock.same_file
lock_held = ofd_lock.held


def take_lock(path: str) -> int:
    """Return a descriptor that holds the exclusive lock on a file; processes that inherit it hold the lock too.

    Raises:
        Held: somebody else holds it.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            taken = ofd_lock.take(handle)
        except OSError:
            os.close(handle)
            raise
        if taken and same_file(path, handle):  # a file that was deleted meanwhile would allow two holders
            return handle
        os.close(handle)
        if not taken:
            raise Held("it runs already, or processes of its last run are left")
