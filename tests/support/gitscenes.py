"""Where git fails: servers, repositories, settings and clones, each broken in the way that a test asks for.

Each test gets one `Scene`; all tests of a module share what is slow to make.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import spec as specs
from reconciler.engines.local.act import Actor
from reconciler.engines.local.git import cloning, repo
from reconciler.engines.local.git import git as product_git
from reconciler.engines.local.secrets import ssh_keys
from reconciler.engines.local.world import git_config
from reconciler.settings import Sandbox
from reconciler.state.ledger import Ledgers
from tests.support.clones import git_world, refused
from tests.support.fakecontroller import make_settings
from tests.support.gitfaults import REAL_GIT, Authority, ForgeSshServer, HttpsServer, Programs
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from reconciler.core.actions import Outcome
    from reconciler.engines.local.git.git import GitProblem
    from reconciler.engines.local.git.git_world import GitWorld
    from reconciler.engines.local.world.git_config import GitConfig

BIG: Final = 200_000
"""Bytes that do not compress, so that a transfer can be cut."""
LFS: Final = '[filter "lfs"]\n\trequired\n\tclean = cat\n\tsmudge = git-lfs smudge -- %f\n'
LFS_PROCESS: Final = f"{LFS}\tprocess = git-lfs filter-process\n"


@dataclass(kw_only=True)
class Shared:
    """What all tests of a module use, and none changes."""

    origin: Origin
    lfs: Origin
    authority: Authority
    forge: ForgeSshServer
    key: Path
    https: HttpsServer
    expired: HttpsServer
    other_host: HttpsServer
    http: HttpsServer


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Shared]:
    """Three repositories' worth of servers."""
    origin, lfs, authority = Origin(folder / "origin"), Origin(folder / "lfs"), Authority(folder / "ca")
    origin.commit("a", "one")
    origin.commit("big", os.urandom(BIG))
    origin.commit("a", "two", branch="dev")
    lfs.commit(".gitattributes", "*.bin filter=lfs\n")
    lfs.commit("x.bin", "pointer")
    root = origin.path.parent
    with contextlib.ExitStack() as stack:
        forge = stack.enter_context(ForgeSshServer(folder / "ssh"))
        asyncio.run(ssh_keys.generate_key(folder / "key", comment="app"))
        forge.authorize((folder / "key.pub").read_text())
        yield Shared(
            origin=origin,
            lfs=lfs,
            authority=authority,
            forge=forge,
            key=folder / "key",
            https=stack.enter_context(HttpsServer(authority.context("good"), root)),
            expired=stack.enter_context(HttpsServer(authority.context("expired", expired=True), root)),
            other_host=stack.enter_context(HttpsServer(authority.context("other", "10.0.0.1"), root)),
            http=stack.enter_context(HttpsServer(None, root)),
        )


class Scene:
    """One place where git is run, as the product runs it."""

    def __init__(self, base: Shared, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = base
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.dest = folder / "sandbox" / "repo"
        self.key = base.key
        self.options: dict[str, str] = {}
        """Options of ssh, and what they are instead."""
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(cloning, "_futile", {})  # pytest gives the folder of an earlier test again
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("GIT_SSL_CAINFO", str(base.authority.file))

    def setenv(self, name: str, value: str) -> None:
        """For git, and whatever it starts."""
        self._monkeypatch.setenv(name, value)

    def tell_git(self, name: str, value: str) -> None:
        """A variable that the product itself never sets."""
        self._monkeypatch.setitem(product_git._FIXED, name, value)

    def every_disk_is_small(self) -> None:
        """What is free on this one counts as nearly nothing (made up: a full disk needs root)."""
        self._monkeypatch.setattr(cloning, "_LITTLE", 1 << 62)

    def user_settings(self, text: str) -> None:
        """The user's own git settings."""
        (self.home / ".gitconfig").write_text(text)

    def program(self, name: str, script: str) -> None:
        """A program of our own that is found before all others."""
        programs = Programs(self.folder / f"bin-{name}")
        programs.add(name, script)
        self.setenv("PATH", programs.path)

    def git_within(self, limit: str) -> None:
        """Real git, with less than it needs."""
        self.program("git", f'{limit}\nexec {REAL_GIT} "$@"')

    def count_clones(self, before: str = "") -> Path:
        """A file that gets a line for each time git is to clone."""
        log = self.folder / "clones"
        log.touch()
        self.git_within(f'case "$*" in *" clone "*) echo x >> {log}; {before}:;; esac')
        return log

    def only(self, *programs: str) -> None:
        """These programs are all there is."""
        folder = self.folder / "few"
        folder.mkdir()
        for name in programs:
            (folder / name).symlink_to(shutil.which(name) or name)
        self.setenv("PATH", str(folder))

    @property
    def ssh(self) -> str:
        """As for a project with this key."""
        command = ssh_keys.ssh_command(self.key, self.folder / "known_hosts")
        for old, new in self.options.items():
            assert old in command
            command = command.replace(old, new)
        return command

    def settings(self, url: str = "https://example.invalid/") -> GitConfig:
        """The user's git settings, as a project with this url is given them."""
        return git_config.read(
            git_config.GitConfigRequest(
                sandbox=Sandbox(self.dest.parent),
                url=url,
                user=False,
                environment=dict(os.environ),
                variables={},
            )
        )

    @property
    def world(self) -> GitWorld:
        """What its git runs in."""
        (self.dest.parent / "run").mkdir(parents=True, exist_ok=True)
        settings = self.settings()
        settings.put()
        given = git_world(self.ssh)
        own = {**settings.variables, **settings.manager_variables}
        return replace(
            given,
            environment={**given.environment, **own, "HOME": str(self.dest.parent)},
            rewrites=settings.rewrites,
            protocols=settings.protocols,
            kept_back=settings.kept_back,
            problem=settings.problem,
        )

    @contextlib.contextmanager
    def unreadable(self) -> Iterator[None]:
        """Nothing of this place may be read; who runs the tests as root is nobody for that moment."""
        nobody, root = 65534, os.geteuid() == 0
        self.folder.chmod(0o000)
        if root:
            os.setresuid(nobody, nobody, 0)  # an exec makes all three the same
        try:
            yield
        finally:
            if root:
                os.setresuid(0, 0, 0)
            self.folder.chmod(0o700)

    def copy(self, origin: Origin | None = None) -> Path:
        """A repository of which something may be broken."""
        place = self.folder / "source.git"
        shutil.copytree((origin or self.base.origin).path, place)
        return place

    def tree(self, name: str) -> str:
        """A repository whose one file has a name that no file system takes, or that git refuses."""
        place = self.copy()
        blob = bytes.fromhex(git(place, "rev-parse", "main:a"))
        argv = [REAL_GIT, "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
        data = f"100644 {name}".encode() + b"\0" + blob
        tree = subprocess.run(argv, cwd=place, input=data, capture_output=True, check=True).stdout.decode().strip()
        commit = git(place, "commit-tree", tree, "-m", "odd")
        git(place, "update-ref", "refs/heads/main", commit)
        return str(place)

    async def reach(self, url: str) -> GitProblem:
        """What comes of asking this remote."""
        return await refused(repo.test_access(url, world=self.world))

    async def clone(self, url: str, ref: str | None = None) -> GitProblem:
        """What comes of cloning this."""
        return await refused(repo.clone(url, ref, self.dest, world=self.world))

    async def cloned(self) -> Path:
        """A whole clone."""
        await repo.clone(str(self.base.origin.path), None, self.dest, world=self.world)
        return self.dest

    async def switch(self, ref: str) -> GitProblem:
        """What comes of bringing that clone to another ref."""
        return await refused(repo.checkout(self.dest, ref, world=self.world))

    def outcome(self, problem: GitProblem, url: str) -> Outcome:
        """What a project with this url is said."""
        settings = make_settings(self.folder)
        nobody: Any = SimpleNamespace(key_path=lambda *_: Path("the-key"), git=lambda *_: self.settings(url))
        spec = specs.parse({"git": {"url": url}})
        return Actor(settings, Ledgers(settings.home), nobody, nobody, nobody, nobody)._git_outcome(
            "app", spec, problem
        )
