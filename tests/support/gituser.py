"""One user with git settings, and one project of theirs: what the manager's git and the agent's do there.

Belongs here: the user, the project without a controller, and git run with precisely what the agent is given. Does not
belong here: what is expected.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from reconciler import settings as settings_module
from reconciler.core import spec as specs
from reconciler.core.actions import Done
from reconciler.engines.base import Events
from reconciler.engines.local import actions, services
from reconciler.engines.local import facts as local
from reconciler.engines.local.engine import LocalEngine
from reconciler.engines.local.world import world
from reconciler.state.ledger import Ledgers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import ObservedProject
    from reconciler.engines.local.launch import LaunchContext

NAME: Final = "app"
_TELLING: Final = ("SSL", "PROXY", "CERT", "CURL_CA", "REQUESTS_CA", "GIT_", "XDG_", "SSH_AUTH_SOCK")
"""In the names of variables that would make a test another on another machine."""


class GitUser:
    """A user whose home is new, and who writes a spec."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = folder / "user"
        self.home.mkdir()
        self._folder, self._monkeypatch = folder, monkeypatch
        for name in [each for each in os.environ if any(part in each.upper() for part in _TELLING)]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(self.home))

    def setenv(self, name: str, value: str) -> None:
        """For the user's controller."""
        self._monkeypatch.setenv(name, value)

    def has(self, text: str, place: str = ".gitconfig") -> Path:
        """Write a file of the user's."""
        file = self.home / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def wants(self, url: object, state: str = "running", **git: str) -> GitUser:
        """Write the spec; itself."""
        variables = {
            **os.environ,
            "OPENCODE_MANAGER_HOME": str(self._folder / "memory"),
            "OPENCODE_MANAGER_SPECS": str(self._folder),
            "ENVIRONMENT": "development",
        }
        self.settings = settings_module.load(environment=variables)
        self.spec = specs.parse({"state": state, "git": {"url": str(url), **git}})
        ledgers = Ledgers(self.settings.home)
        ledgers.accept(NAME, self.spec)
        self._ledgers = ledgers
        self.engine = LocalEngine(self.settings, ledgers, Events(), dry=True)
        return self

    @property
    def sandbox(self) -> settings_module.Sandbox:
        return self.settings.home.sandbox(NAME)

    @property
    def project(self) -> LaunchContext:
        """What the agent would be started from."""
        ledger = self._ledgers.get(NAME)
        assert ledger is not None
        return self.engine._observer.project(NAME, self.spec, ledger)

    async def observe(self) -> ObservedProject:
        ledger = self._ledgers.get(NAME)
        assert ledger is not None
        return await self.engine.observe(NAME, self.spec, ledger)

    async def perform(self, action: Action) -> Outcome:
        return await self.engine.perform(NAME, self.spec, action)

    async def clone(self) -> Outcome:
        """What comes of making the sandbox and the clone."""
        for action in (actions.PrepareSandbox, actions.WriteSecrets):
            assert isinstance(await self.perform(action(cause="test")), Done)
        key = local.details(await self.observe()).key
        if key.needed and not key.exists:
            assert isinstance(await self.perform(actions.GenerateKey(cause="test")), Done)
        return await self.perform(actions.CloneRepo(cause="test"))

    async def cloned(self) -> GitUser:
        """Make a clone, and what an agent finds at its start; itself."""
        outcome = await self.clone()
        assert isinstance(outcome, Done), outcome
        services._prepare_agent(self.project)
        return self

    async def work_at_risk(self) -> tuple[str, ...]:
        """What the manager says that a destroy would lose."""
        found = (
            await self.wants(self.spec.git.url, "absent", credentials=self.spec.git.credentials).observe()
        ).work_at_risk
        assert found is not None
        return found

    def try_agent(self, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run git as the agent's shell tool does: in the clone, with precisely the environment that the agent gets.

        Where there is no clone: in the sandbox.
        """
        environment = world.build(self.project).environment()
        argv = [*wrapper, "git", *arguments]
        place = self.sandbox.repo if self.sandbox.repo.exists() else self.sandbox.path
        return subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def agent(self, *arguments: str, wrapper: tuple[str, ...] = ()) -> str:
        """What the agent's git prints, which must succeed."""
        done = self.try_agent(*arguments, wrapper=wrapper)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
