"""Decide what one project's agent may reach, from what there is on this machine."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import settings_file
from reconciler.core import spec as specs
from reconciler.engines.local.confinement import private_places
from reconciler.engines.local.confinement.walls import PathAccess, access_of
from reconciler.engines.local.git import repo
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.world.world import World

_USERS: Final = Path("/etc/passwd")


def places(project: LaunchContext, given: World, program: str = "") -> dict[str, PathAccess]:
    """Return what the agent may reach, as `walls` wants it: real paths of what exists.

    What is hidden comes first, then what of it the agent is given or allowed; the manager's own has the last word.

    Args:
        project: whose agent it is.
        given: what of the user's is handed over.
        program: that is to be run, wherever it lies.

    Raises:
        UserError: something that is allowed does not exist, or is nobody's to allow.
    """
    settings, spec = project.settings, project.spec
    extra, homes = settings_file.load(settings.home.root).confinement, _homes(settings.environment)
    found = dict.fromkeys(_real(_hidden(homes)), PathAccess.HIDDEN)
    found |= dict.fromkeys(_real(homes), PathAccess.READ)
    for home in homes:
        places = private_places.of_user({**settings.environment, "HOME": home})
        found |= dict.fromkeys(_real(places), PathAccess.HIDDEN)
    found |= dict.fromkeys(_real(_expanded(extra.hide)), PathAccess.HIDDEN)
    found |= dict.fromkeys(_real(private_places.PRIVATE), PathAccess.PRIVATE)
    found |= dict.fromkeys(_real((*private_places.STILL_READ, *_expanded(extra.read))), PathAccess.READ)
    # Of a copy the agent has its own: what the user's file will hold tomorrow was not handed over.
    handed = (str(each.source) for each in given.files if not each.how.startswith("copy"))
    found |= dict.fromkeys(_real(handed), PathAccess.READ)
    allowed = spec.confinement_allow
    found |= dict.fromkeys(_allowed(project, allowed.read, "read"), PathAccess.READ)
    found |= dict.fromkeys(_allowed(project, allowed.write, "write"), PathAccess.WRITE)
    found |= dict.fromkeys(_real([str(settings.home.root)]), PathAccess.HIDDEN)
    for folder in _real([str(settings.specs)]):
        if access_of(found, folder) is PathAccess.WRITE:  # who writes those is confined by nothing
            found[folder] = PathAccess.READ
    return found | _own(project, program, found)


def _own(project: LaunchContext, program: str, around: Mapping[str, PathAccess]) -> dict[str, PathAccess]:
    """Return what is the agent's own of the manager's folders."""
    sandbox, keys = project.sandbox, [project.key, project.key and project.key.with_name(f"{project.key.name}.pub")]
    read = [*filter(None, keys), sandbox.known_hosts, project.settings.home.toolchains]
    # To fetch from it, whichever of both git asks for: a path that is rewritten it looks for all the same.
    urls = (repo.source_of(project.spec.git.url, project.settings.specs), project.git.fetch_url)
    read += [Path(url.removeprefix("file://")) for url in urls if specs.transport(url) is specs.Transport.LOCAL]
    found = dict.fromkeys(_real(map(str, read)), PathAccess.READ)
    found |= dict.fromkeys(_real(map(str, (sandbox.repo, sandbox.home, sandbox.xdg, sandbox.tmp))), PathAccess.WRITE)
    for path in _real([program]) if program else ():
        folder = _provided(project, path)
        if access_of({**around, **found}, path) in {PathAccess.HIDDEN, PathAccess.PRIVATE}:
            found[folder or path] = PathAccess.READ
    return found


def _provided(project: LaunchContext, program: str) -> str:
    """Return the folder of a toolchain that a program is of, should that be kept elsewhere by a link."""
    for version in _children(project.settings.home.toolchains):
        folder = os.path.realpath(version)
        if program.startswith(f"{folder}/"):
            return folder
    return ""


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _homes(environment: Mapping[str, str]) -> list[str]:
    """Return the user's own homes: the one in use, and the one that the system knows."""
    homes = [environment.get("HOME", "")]
    with contextlib.suppress(KeyError):
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return list(dict.fromkeys(home.rstrip("/") for home in homes if home.startswith("/")))


def _hidden(homes: Iterable[str]) -> Iterator[str]:
    """Yield what is private of a machine and of its other users."""
    yield from private_places.OF_THE_MACHINE
    for pattern in private_places.OF_SSH_SERVERS:
        yield from glob.glob(pattern)  # noqa: PTH207  of an absolute pattern
    try:
        users = _USERS.read_text(errors="surrogateescape")
    except OSError:
        users = ""
    yield from private_places.of_others(users, homes)


def _allowed(project: LaunchContext, paths: Iterable[str], how: str) -> Iterator[str]:
    root = os.path.realpath(project.settings.home.root)
    for given in paths:
        where = f"confinement_allow.{how} of {project.name}"
        path = os.path.realpath(_expanded([given])[0])
        if not os.path.exists(path):  # noqa: PTH110  it says False where pathlib raises
            raise UserError(f"cannot let the agent {how} {given}: it is not there; make it, or remove it from {where}")
        if path == root or path.startswith(f"{root}/"):
            raise UserError(f"cannot let the agent {how} {given}: it is the manager's own; remove it from {where}")
        if path == "/":
            raise UserError(
                f"cannot let the agent {how} all of the machine: name folders in {where}, or set confinement: none"
            )
        yield path


def _expanded(paths: Iterable[str]) -> list[str]:
    return [str(files.expanded(path)) for path in paths]


def _real(paths: Iterable[str]) -> Iterator[str]:
    """Yield those that exist and that we can see, without links: a mount is made where a link leads."""
    for path in paths:
        # First whether it is there, since most are not: to follow links takes ten times as long.
        if path and os.path.exists(path) and (real := os.path.realpath(path)) != "/":  # noqa: PTH110  as above
            yield real
