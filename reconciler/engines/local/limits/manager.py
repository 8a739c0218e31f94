"""Let systemd limit a project: a slice of its own has the limits, and each service runs in a scope within it.

A keeper stays in the controller's unit: no limit is to end it, and what it supervises is found without it.
"""

from __future__ import annotations

import errno
import functools
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.engines.local.limits.means import Ceilings

_HAS_POLICY: Final = 253
"""The first version in which a scope has a policy of what happens after the kernel killed for want of memory."""
_PATIENCE: Final = 20.0
"""Seconds for a call, which takes 10 ms (measured)."""


def slice_name(group: str) -> str:
    """Return the name of a project's slice; an unescaped dash would put it into another one."""
    return group.replace("-", r"\x2d") + ".slice"


def run_in(slice_name: str, unit: str) -> tuple[str, ...]:
    """Return the arguments that put a program into a scope of this slice, and become it: it stays the same process.

    Raises:
        OSError: systemd-run is not there.
    """
    program = _program("systemd-run")
    # Else newer ones end all of a scope when the kernel has killed any process in it.
    policy = ("--property=OOMPolicy=continue",) if _version(program) >= _HAS_POLICY else ()
    return (program, "--scope", "--quiet", "--collect", f"--unit={unit}", f"--slice={slice_name}", *policy, "--")


@functools.cache
def _version(program: str) -> int:
    done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    number = done.stdout.split()[1:2]
    return int(number[0]) if number and number[0].isdigit() else 0


def properties(ceilings: Ceilings) -> tuple[str, ...]:
    """Return the limits as systemd writes them, those that are not set included."""
    return (
        f"MemoryMax={'infinity' if ceilings.memory is None else ceilings.memory}",
        f"MemorySwapMax={'infinity' if ceilings.memory is None else 0}",
        f"TasksMax={'infinity' if ceilings.tasks is None else ceilings.tasks}",
        f"CPUQuota={'' if ceilings.cpus is None else f'{max(1, round(ceilings.cpus * 100))}%'}",
    )


def limit(slice_name: str, ceilings: Ceilings) -> None:
    """Give a slice its limits; what runs in it has them at once. They are gone after a reboot. Blocking.

    Raises:
        OSError: systemd refuses.
    """
    _call("set-property", "--runtime", slice_name, *properties(ceilings))


def forget(slice_name: str, folders: Mapping[str, str]) -> None:
    """End a slice and its limits, unless another service is still in it. Best effort. Blocking.

    Args:
        slice_name: its name.
        folders: of a service's groups, which are below those of the slice.
    """
    if any(_has_processes(Path(folder).parent) for folder in folders.values()):
        return
    for verb in ("stop", "revert"):
        try:
            _call(verb, slice_name)
        except OSError:
            return


def _has_processes(folder: Path) -> bool:
    return any(file.read_text() for file in folder.glob("**/cgroup.procs"))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "it is not on PATH", name)
    return found


def _call(*arguments: str) -> None:
    command = [_program("systemctl"), "--no-ask-password", *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise TimeoutError(errno.ETIMEDOUT, f"systemctl {arguments[0]} took more than {_PATIENCE:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise OSError(errno.EIO, f"systemctl {arguments[0]}: {said[-1]}")
