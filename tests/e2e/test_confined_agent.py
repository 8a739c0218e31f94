"""The real OpenCode within bubblewrap: it works as ever, and cannot reach what is not its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Phase, Service
from reconciler.engines.local import facts as local
from reconciler.engines.local.processes import listener
from tests.support.bridge import call
from tests.support.bubblewrap import bubblewrap_or_skip
from tests.support.fakemodel import FakeModel, provider
from tests.support.live import say, use
from tests.support.local_project import a_project
from tests.support.world import git, make_repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("opencode"), pytest.mark.long]
STOLEN = "the-users-private-key"
STEAL = "cat {home}/.ssh/id {sandbox}/.env {sandbox}/run/*; ls -a {home}/.ssh {sandbox}/..; cat /proc/*/environ; id"


def furnish(user: Path, program: Path) -> dict[str, str]:
    """Make a user's home with a name to commit with, a key, and the provided OpenCode; return its environment."""
    user.joinpath(".ssh").mkdir(parents=True)
    user.joinpath(".ssh/id").write_text(STOLEN)
    user.joinpath(".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.org\n")
    version, toolchains = program.parent.parent, user.parent / "home/opencode-toolchains"
    toolchains.mkdir(parents=True, mode=0o700)
    toolchains.joinpath(version.name).symlink_to(version)
    return {"PATH": os.environ["PATH"], "HOME": str(user)}


async def test_it_answers_writes_and_commits(
    tmp_path: Path, ports: tuple[range, range], opencode_program: Path
) -> None:
    """A prompt, a file, a commit; no secret of anybody; and after the stop nothing is left."""
    bubblewrap_or_skip()
    user, origin = tmp_path / "user", make_repository(tmp_path / "origin")
    environment = furnish(user, opencode_program)
    with FakeModel() as model:
        environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
        async with a_project(tmp_path, ports, origin, environment) as project:
            for service in (Service.AGENT, Service.BRIDGE):
                await project.start(service)
            repo, facts = project.sandbox.repo, await project.observe()
            async with project.client() as client:
                session = (await call(client, "session-create", title="t"))["sessionId"]
                written = await say(client, session, use("write", filePath=str(repo / "new.txt"), content="new\n"))
                await say(
                    client, session, use("bash", command="git add . && git commit -qm Work", description="commit")
                )
                repo.joinpath("steal.sh").write_text(STEAL.format(home=user, sandbox=project.sandbox.path))
                await say(client, session, use("bash", command="sh steal.sh > stolen 2>&1", description="steal"))
            family = listener.family(local.process(facts.agent).keeper_pid or 0)
            await project.stop(Service.AGENT)
            after = await project.observe()

    stolen = repo.joinpath("stolen").read_text()
    assert (facts.confinement, written["text"]) == ("bubblewrap", "All done.")
    assert repo.joinpath("new.txt").read_text() == "new\n"
    assert git(repo, "log", "-1", "--format=%an %s").strip() == "Ann Work"
    assert "uid=" in stolen
    assert [word for word in (STOLEN, "MCP_TOOL_BEARER_TOKEN") if word in stolen] == []
    assert after.agent.phase is Phase.EXITED
    assert [pid for pid in family if os.path.exists(f"/proc/{pid}")] == []  # noqa: PTH110
