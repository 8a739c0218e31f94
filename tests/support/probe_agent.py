#!/usr/bin/env -S python3 -S -E
"""A hostile agent: it tries everything that an agent should not be able to do, and tells what it could.

Named in a sandbox's OPENCODE_BIN, it starts in the clone, reads `targets.json` there, and writes `found.json`: by the
name of each attempt, whether it succeeded. Belongs here: attempts. Does not belong here: what is expected of them.
Nothing is changed that matters: files outside that could be written are left empty, and what only root can do to the
kernel is opened and not written. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
TARGETS = json.loads(Path("targets.json").read_text())
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REMOUNT, MS_BIND = 32, 4096
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def reads(path: str | Path) -> bool:
    """Whether its content can be seen: of a file its canary, of a folder any name."""
    if Path(path).is_dir():
        return bool(os.listdir(path))  # noqa: PTH208
    return TARGETS["canary"].encode() in Path(path).read_bytes()


def writes(folder: str) -> bool:
    place = Path(folder) / "written-by-the-probe"
    place.touch()
    place.unlink()
    return True


def through_a_symbolic_link() -> bool:
    Path("link").symlink_to(TARGETS["key"])
    return reads("link")


def through_a_hard_link() -> bool:
    os.link(TARGETS["key"], "hard")
    return reads("hard")


def through_the_parent() -> bool:
    return reads("../.env")


def through_descriptors() -> bool:
    """What was inherited, and what is above it."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            if stat.S_ISDIR(os.fstat(int(name)).st_mode):
                handle = os.open("../.env", os.O_RDONLY, dir_fd=int(name))
                return TARGETS["canary"].encode() in os.read(handle, 4096)
        except OSError:
            continue
    return False


def through_roots_of_processes() -> bool:
    found = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    return any(_quietly(reads, f"/proc/{name}/root{TARGETS['key']}") for name in [*found, "self"])


def environments() -> bool:
    """The bridge's token, and other agents' passwords."""
    found = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    return any(_quietly(reads, f"/proc/{name}/environ") for name in found)


def memory() -> bool:
    with Path(f"/proc/{TARGETS['bridge']}/mem").open("rb"):
        return bool(_keepers())  # else the number is another process's


def _keepers() -> list[int]:
    names = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    return [int(name) for name in names if b"keeper.py" in _bytes(f"/proc/{name}/cmdline")]


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def traces() -> bool:
    pid = TARGETS["bridge"]
    if not _keepers() or libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        return False
    os.waitpid(pid, 0x40000000)
    return bool(libc.ptrace(PTRACE_DETACH, pid, None, None) == 0)


def signals() -> bool:
    return bool(_keepers()) and any(_quietly(_signal, pid) for pid in (*_keepers(), TARGETS["bridge"]))


def _signal(pid: int) -> bool:
    os.kill(pid, 0)
    return True


def binds() -> bool:
    Path("bound").mkdir()
    return bool(libc.mount(TARGETS["ssh"].encode(), b"bound", None, MS_BIND, None) == 0 and libc.umount(b"bound") == 0)


def remounts() -> bool:
    """Open is what it could do, in a namespace of its own: the machine's mounts are left alone."""
    return bool(libc.unshare(CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, MS_REMOUNT | MS_BIND, None) == 0)


def has_user_namespaces() -> bool:
    return bool(libc.unshare(CLONE_NEWUSER) == 0)


def joins_namespaces() -> bool:
    """Those of the first process, or of the bridge."""
    for pid in (1, TARGETS["bridge"]):
        handle = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
        if libc.setns(handle, CLONE_NEWNS) == 0 and os.path.exists(TARGETS["key"]):  # noqa: PTH110
            return True
    return False


def leaves_its_root() -> bool:
    os.chroot("/proc/1/root")
    return reads(TARGETS["key"])


def opens_the_kernel() -> bool:
    """What root could change of the machine."""
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return True


def makes_devices() -> bool:
    os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    Path("device").unlink()
    return True


def gains_privileges() -> bool:
    """Whether a program with a set-user-id bit would get its rights."""
    return "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, TARGETS["sockets"][path]) as link:
        link.connect(path)
    return True


def _quietly(attempt: object, *arguments: object) -> bool:
    try:
        return bool(attempt(*arguments))  # type: ignore[operator]
    except (OSError, ValueError):
        return False


def _apart(attempt: object, *arguments: object) -> bool:
    """In a child: an attempt that succeeds may change what the next one sees."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os._exit(0 if _quietly(attempt, *arguments) else 1)
    return os.waitpid(pid, 0)[1] == 0


def main() -> None:
    found = {f"read {name}": _apart(reads, path) for name, path in TARGETS["read"].items()}
    found |= {f"write {name}": _apart(writes, path) for name, path in TARGETS["write"].items()}
    found |= {f"connect to {Path(path).name}": _apart(connects, path) for path in TARGETS["sockets"]}
    attempts = {
        "read a key through a symbolic link": through_a_symbolic_link,
        "read a key through a hard link": through_a_hard_link,
        "read .env through ..": through_the_parent,
        "read .env through a descriptor": through_descriptors,
        "read a key through /proc/PID/root": through_roots_of_processes,
        "read secrets in /proc/PID/environ": environments,
        "read the bridge's memory": memory,
        "trace the bridge": traces,
        "signal keeper and bridge": signals,
        "bind a hidden folder": binds,
        "mount the machine writable": remounts,
        "make a user namespace": has_user_namespaces,
        "join the namespaces of others": joins_namespaces,
        "leave its root": leaves_its_root,
        "set up the kernel": opens_the_kernel,
        "make a device": makes_devices,
        "gain privileges": gains_privileges,
    }
    found |= {name: _apart(attempt) for name, attempt in attempts.items()}
    Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    sys.exit(0)
