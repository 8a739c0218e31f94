"""Recognise by content what OpenCode writes by itself into the clone that it works in.

At every start it puts a `$schema` line into a configuration that has none, and for each `.opencode` folder it installs
`@opencode-ai/plugin` with npm: `package.json`, `package-lock.json` and `node_modules` there, and a `.gitignore` that
names all of them and itself, so that git says nothing unless the repository has a `.gitignore` or a `package.json` of
its own there. A name alone proves nothing: a file counts only while it has exactly what OpenCode makes of the committed
one. Any further edit is somebody's work.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = ".opencode"
MODULES: Final = f"{FOLDER}/node_modules"
CONFIGS: Final = frozenset({"opencode.json", "opencode.jsonc", f"{FOLDER}/opencode.json", f"{FOLDER}/opencode.jsonc"})
PACKAGE: Final = f"{FOLDER}/package.json"
LOCK: Final = f"{FOLDER}/package-lock.json"
MOST: Final = 4 * 2**20
"""Bytes of a file that is read; a larger one counts as work."""

_PLUGIN: Final = "@opencode-ai/plugin"
_LINE: Final = '{\n  "$schema": "https://opencode.ai/config.json",'
_NPMS_OWN: Final = frozenset({".bin", ".package-lock.json"})


def known(name: str) -> bool:
    """Tell whether OpenCode may have written this path; only then is its content worth reading."""
    return name in CONFIGS or name in {PACKAGE, LOCK} or name == MODULES or name.startswith(f"{MODULES}/")


def is_own(tree: Path, name: str, committed: str | None) -> bool:
    """Tell whether OpenCode alone wrote the difference to the committed file. False in any doubt.

    Args:
        tree: the work tree.
        name: the file's path in it, or that of a folder of which nothing is tracked.
        committed: the text in HEAD; None when it is not there.
    """
    try:
        if name.rstrip("/") == MODULES or name.startswith(f"{MODULES}/"):
            return committed is None and _is_installed(tree / MODULES)
        text = _text(tree, name)
        if name in CONFIGS:
            return committed is not None and _lines(text) == _lines(with_schema(committed))
        package = json.loads(text if name == PACKAGE else _text(tree, PACKAGE))
        if name == PACKAGE:
            return bool(package == _with_plugin(json.loads(committed or "{}"), package))
        return name == LOCK and committed is None and _is_lock_of(json.loads(text), package)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def with_schema(text: str) -> str:
    """Return a configuration as OpenCode leaves it: nothing before the first brace, the schema line after it."""
    return re.sub(r"^\s*\{", lambda _: _LINE, text.removeprefix("\ufeff"), count=1)


def _lines(text: str) -> str:
    """Drop what a git that converts line ends would change."""
    return text.replace("\r\n", "\n")


def _text(tree: Path, name: str) -> str:
    """Return the file's text. Raises OSError; ValueError for a file that OpenCode would not write."""
    folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in name.split("/")[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(name.rpartition("/")[2], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST:
            raise ValueError(name)
        return file.read(MOST).decode()


def _with_plugin(package: Any, after: Any) -> dict[str, Any]:  # noqa: ANN401  whatever JSON may hold
    """Return the package with the one dependency that OpenCode adds, in the version found afterwards."""
    version = after["dependencies"][_PLUGIN]
    if not isinstance(version, str):
        raise TypeError
    return {**package, "dependencies": {**package.get("dependencies", {}), _PLUGIN: version}}


def _is_lock_of(lock: Any, package: Any) -> bool:  # noqa: ANN401  whatever JSON may hold
    """Tell whether it says no more than the package: npm makes it again from that."""
    root, kinds = lock["packages"][""], ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
    return _PLUGIN in root["dependencies"] and all(root.get(kind) == package.get(kind) for kind in kinds)


def _is_installed(modules: Path) -> bool:
    """Tell whether npm's own list of what it installed accounts for everything in it; links lead nowhere else."""
    if modules.is_symlink() or modules.parent.is_symlink():
        return False
    listed = json.loads(files.read_regular(modules / ".package-lock.json"))["packages"]
    if f"node_modules/{_PLUGIN}" not in listed:
        return False
    names = [name for name in os.listdir(modules) if name not in _NPMS_OWN]  # noqa: PTH208  names
    scoped = [f"{scope}/{name}" for scope in names if scope[0] == "@" for name in os.listdir(modules / scope)]  # noqa: PTH208
    return all(f"node_modules/{name}" in listed for name in (*scoped, *(name for name in names if name[0] != "@")))
