"""Fetch the submodules of a new clone.

They are fetched with the project's own key, as a person would. But their URLs come from the repository, not from a
person: each is checked like `git.url`, a local path is followed only from a local repository, nothing in `.gitmodules`
is run, and there are limits for number, depth and time. A submodule that cannot be fetched does not keep the project
from running: it is reported.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from reconciler.core import git_url
from reconciler.core.git_url import Transport
from reconciler.engines.local.git.git import GitProblem, GitProblemKind, git, plain, problem, read
from reconciler.engines.local.git.remotes import write_known

if TYPE_CHECKING:
    from reconciler.engines.local.git.git_world import GitWorld

MAX_SUBMODULES: Final = 50
"""Of one clone, those within others included."""
MAX_DEPTH: Final = 4
"""Of submodules within submodules, as far as `work_at_risk` follows them too."""
TIMEOUT: Final = 1800.0
"""Seconds for all of one clone."""


@dataclass(frozen=True)
class Lack:
    """A missing submodule."""

    path: str
    """Within the clone."""
    why: str
    """A sentence that begins with "cannot"."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A submodule, as `.gitmodules` names it."""

    name: str
    path: str
    url: str


class _Fetcher:
    """Fetch the submodules of one clone, within its limits."""

    def __init__(self, world: GitWorld) -> None:
        self._world = world
        self._number = MAX_SUBMODULES
        self._until = asyncio.get_running_loop().time() + TIMEOUT
        self.lacks: list[Lack] = []

    async def fetch_in(self, tree: Path, url: str, prefix: str = "", depth: int = MAX_DEPTH) -> None:
        """Fetch all submodules of this work tree, whose remote is `url` and which lies at `prefix` within the clone."""
        try:
            entries = await _entries(self._world, tree)
        except GitProblem as error:
            self.lacks.append(Lack(f"{prefix}.gitmodules", str(error)))
            return
        for entry in entries:
            place = f"{prefix}{entry.path}"
            try:
                source = _source(entry.url, url)
                await self._fetch(tree, entry, source, url, depth)
            except GitProblem as error:
                shown = f" ({plain(entry.url)})"
                self.lacks.append(Lack(place, _sentence(place, shown, str(error), error.advice)))
            else:
                await self.fetch_in(tree / entry.path, source, f"{place}/", depth - 1)

    async def _fetch(self, tree: Path, entry: _Entry, source: str, main: str, depth: int) -> None:
        if not depth or not self._number:
            raise GitProblem(GitProblemKind.OTHER, "cannot: there are too many, or too deep in one another")
        self._number -= 1
        local = git_url.transport(source) is Transport.LOCAL
        # By its address a local repository is copied, not linked: spoiling one must spoil only one.
        address = f"file://{quote(source)}" if local else source
        for key, value in (("url", address), ("active", "true")):
            await read(self._world, "config", f"submodule.{entry.name}.{key}", value, folder=tree, what="note its url")
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            raise GitProblem(GitProblemKind.OTHER, "cannot: there was no time left for it")
        near = git_url.transport(self._world.rewrites.fetched(main)) is Transport.LOCAL
        allowed = ":".join(name for name in self._world.protocols if near or name != "file")
        result = await git(
            self._world,
            *("-c", "init.templateDir=", "--literal-pathspecs", "submodule", "update", "--checkout", "--", entry.path),
            folder=tree,
            timeout=left,
            variables={"GIT_ALLOW_PROTOCOL": allowed},
        )
        if result.code != 0:
            raise problem("", result, GitProblemKind.CHECKOUT)
        if not (tree / entry.path / ".git").is_file():
            raise GitProblem(GitProblemKind.OTHER, "cannot: git passed over it")
        where = ("rev-parse", "--absolute-git-dir")
        gitdir = await read(self._world, *where, folder=tree / entry.path, what="find its git folder")
        await write_known(self._world, Path(gitdir.rstrip("\n")))


async def fetch_submodules(tree: Path, url: str, world: GitWorld) -> tuple[Lack, ...]:
    """Fetch and check out the submodules of a work tree that only we have written in; return those that failed.

    Args:
        tree: the work tree.
        url: of its remote, to which their urls may be relative.
        world: what git runs in.
    """
    fetcher = _Fetcher(world)
    await fetcher.fetch_in(tree, url)
    return tuple(fetcher.lacks)


async def missing(world: GitWorld, tree: Path, place: Path) -> tuple[Lack, ...]:
    """Return the missing submodules of a clone; nothing is fetched, and its settings do not apply.

    Args:
        world: what git runs in.
        tree: the work tree.
        place: a view of its git folder.
    """
    paths = [entry.path for entry in await _entries(world, tree, f"--git-dir={place}")]
    why = "cannot: it came with another git.ref"
    return tuple(Lack(path, _sentence(path, "", why, "")) for path in paths if not (tree / path / ".git").exists())


async def _entries(world: GitWorld, tree: Path, *where: str) -> list[_Entry]:
    """Return what the checked-out commit names in `.gitmodules` and has as a submodule."""
    if not (tree / ".gitmodules").is_file():
        return []
    found: dict[str, dict[str, str]] = {}
    arguments = ("config", "--blob", "HEAD:.gitmodules", "--list", "-z")
    for setting in (await read(world, *where, *arguments, folder=tree, what="read .gitmodules")).split("\0"):
        key, _, value = setting.partition("\n")
        section, _, field = key.rpartition(".")
        if section.startswith("submodule."):
            found.setdefault(section.removeprefix("submodule."), {})[field] = value
    entries = [
        _Entry(name=name, path=fields.get("path", ""), url=fields.get("url", ""))
        for name, fields in found.items()
        if fields.get("update") != "none" and _safe(name) and _safe(fields.get("path", ""))
    ]
    listing = ("ls-tree", "-z", "HEAD", "--", *(entry.path for entry in entries[: 2 * MAX_SUBMODULES]))
    if not entries:
        return []
    out = await read(world, *where, "--literal-pathspecs", *listing, folder=tree, what="list submodules")
    links = {line.partition("\t")[2] for line in out.split("\0") if line.startswith("160000 ")}
    return [entry for entry in entries if entry.path in links]


def _safe(name: str) -> bool:
    """Tell whether the path stays below its place and is no option; git checks the same, the newer the better."""
    parts = PurePosixPath(name).parts
    inside = bool(parts) and not name.startswith(("-", "/")) and ".." not in parts
    return inside and ".git" not in [part.lower() for part in parts] and name.isprintable()


def _source(url: str, main: str) -> str:
    """Return what git may be given for it: absolute, checked, and a local path only if the main repository is local.

    Raises:
        GitProblem: it is none of these.
    """
    try:
        source = git_url.check_git_url(_resolved(url, main))
    except ValueError as error:
        raise GitProblem(GitProblemKind.OTHER, str(error)) from None
    if git_url.transport(source) is not Transport.LOCAL:
        return source
    if git_url.transport(main) is not Transport.LOCAL:
        message = "cannot use a path of this machine that a repository from elsewhere names"
        raise GitProblem(GitProblemKind.OTHER, message)
    if not source.startswith("/"):
        raise GitProblem(GitProblemKind.OTHER, "cannot use this path: begin it with ./, ../ or /")
    return source


def _resolved(url: str, main: str) -> str:
    """Resolve a URL that begins with ./ or ../ against the main one, by git's own rule.

    Raises:
        ValueError: it leads out of the server.
    """
    if not url.startswith(("./", "../")):
        return url
    base, separator = main.rstrip("/"), "/"
    while match := re.match(r"\.\.?/", url):
        url = url.removeprefix(match[0])
        if match[0] == "../":
            slash, colon = base.rfind("/"), base.rfind(":")
            cut, separator = (slash, "/") if slash >= 0 else (colon, ":")
            base = base[: max(cut, 0)]
    found = f"{base}{separator}{url}".rstrip("/")
    home, there = git_url.remote(main), git_url.remote(found)
    if home is not None and (there is None or (home.host, home.port) != (there.host, there.port)):
        raise ValueError("cannot use its url: it leads out of the server")
    return found


def _sentence(place: str, shown: str, why: str, advice: str) -> str:
    reason = re.sub(r"^cannot ?:? *", "", why)
    advice = f"; {advice}" if advice else ""
    return (
        f"cannot fetch submodule {plain(place)}{shown}: {reason}{advice}; the project runs without it: "
        f"fetch it in the clone with: git submodule update --init -- {plain(place)}"
    )
