"""The PATH of the user's login shell: what a person finds in a terminal, also where systemd started the controller."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.git import subprocesses
from reconciler.system import files

if TYPE_CHECKING:
    from reconciler.settings import Settings

LIMIT: Final = 5.0
"""Seconds that a shell may take to read its files; it is asked once for each controller."""
_MARK: Final = "--opencode-manager--"
_PASSED: Final = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What it begins with, as after a login."""
_ODD: Final = frozenset({"nologin", "false"})
_asking: Final[dict[Path, asyncio.Task[ShellPath]]] = {}
"""By file: one that is asked at this moment."""


@dataclass(frozen=True)
class ShellPath:
    """What a login shell said."""

    folders: tuple[str, ...] = ()
    problem: str = ""
    """Why there are none: a clause."""


async def refresh(settings: Settings) -> ShellPath:
    """Ask the shell, unless it is being asked, and keep what it says for `known`. It may say that it failed."""
    path = _file(settings)
    if path not in _asking:
        _asking[path] = asyncio.create_task(_ask(settings), name="login shell")
        _asking[path].add_done_callback(lambda _: _asking.pop(path, None))
    return await asyncio.shield(_asking[path])


def known(settings: Settings) -> ShellPath | None:
    """Return what was said last; None: it was never asked."""
    found = files.read_json(_file(settings))
    if found is None or not isinstance(found.get("folders"), list):
        return None
    return ShellPath(tuple(map(str, found["folders"])), str(found.get("problem", "")))


def merged(first: tuple[str, ...], controllers: str, shell: ShellPath) -> str:
    """Return the PATH of an agent.

    What only the controller has was put there for it, like a virtual environment, so it comes before what the shell
    finds; where the controller has the system's folders alone, the order is the shell's.

    Args:
        first: folders of the spec.
        controllers: PATH of the controller.
        shell: of the user.
    """
    own = [folder for folder in controllers.split(":") if folder]
    ours = [folder for folder in own if folder not in shell.folders]
    return ":".join(dict.fromkeys([*first, *(ours if shell.folders else own), *shell.folders]))


async def _ask(settings: Settings) -> ShellPath:
    try:
        found = await _said(settings)
    except (OSError, TimeoutError) as error:
        found = ShellPath(problem=str(error))
    path = _file(settings)
    with contextlib.suppress(OSError):  # then the next one that needs it asks again
        files.private_folder(path.parent)
        files.keep_file(path, json.dumps(asdict(found)).encode())
    return found


async def _said(settings: Settings) -> ShellPath:
    shell = settings.environment.get("SHELL") or _shell_of_user()
    if not shell or Path(shell).name in _ODD:
        return ShellPath(problem=f"the user has no login shell{f' ({shell})' if shell else ''}")
    passed = {name: settings.environment[name] for name in _PASSED if name in settings.environment}
    # Interactive too: on many systems PATH is completed in files that only such a shell reads.
    command = (shell, "-i", "-l", "-c", f"echo {_MARK}; /usr/bin/env; echo {_MARK}")
    done = await subprocesses.run(
        command, env={**passed, "PATH": _PATH, "TERM": "dumb", "SHELL": shell}, timeout=LIMIT, cwd=Path("/")
    )
    lines = done.out.partition(f"{_MARK}\n")[2].partition(_MARK)[0].splitlines()
    paths = [line.removeprefix("PATH=") for line in lines if line.startswith("PATH=")]
    folders = tuple(dict.fromkeys(one for one in ":".join(paths[:1]).split(":") if one.startswith("/")))
    return ShellPath(folders) if folders else ShellPath(problem=f"{shell} did not say its PATH")


def _shell_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_shell
    except KeyError:
        return ""


def _file(settings: Settings) -> Path:
    return settings.home.controller / "login-path.json"
