"""A real OpenCode puts `$schema` into the repository's configuration; nobody is told that this is somebody's work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mcp import Client
from mcp.server import MCPServer

from reconciler.agents.opencode import clone as bridge_clone
from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.toolset import TOOLS
from reconciler.bridge.config import from_environment
from reconciler.mcpkit.binding import bound
from tests.support.bridge import Bridge, call, connect
from tests.support.clones import work_at_risk
from tests.support.gitrepo import Origin, git
from tests.support.opencode import OpenCode

if TYPE_CHECKING:
    from pathlib import Path


def cloned(folder: Path) -> Path:
    """A clone whose configuration has no `$schema`, and whose `.opencode` has a `.gitignore` of its own."""
    origin = Origin(folder / "origin")
    (origin.path / ".opencode").mkdir()
    for name, text in {"opencode.json": '{\n  "instructions": []\n}\n', ".opencode/.gitignore": "tmp\n"}.items():
        origin.commit(name, text)
    git(folder, "clone", "--quiet", str(origin.path), "repo")
    return folder / "repo"


async def changes(agent: OpenCode) -> dict[str, Any]:
    """What the tool for the diff says."""
    config = from_environment(Bridge(agent_url=agent.url, repo=agent.repo, log=agent.sandbox / "log").environment())
    one = OpenCodeAgent(project="a", opencode=connect(config), repo=agent.repo, stopping=asyncio.Event(), secrets=())

    async def only(_: str) -> OpenCodeAgent:
        return one

    async with Client(MCPServer("one", tools=bound(TOOLS, only))) as client:
        found = await call(client, "vcs-diff")
    await one.opencode.close()
    return found


async def test_a_start_alone_leaves_no_diff_and_nothing_to_lose(tmp_path: Path, opencode_program: Path) -> None:
    """An edit beside the line is shown, and is work."""
    clone = cloned(tmp_path)
    with OpenCode(opencode_program, tmp_path, {}) as agent:
        assert "$schema" in (clone / "opencode.json").read_text()
        found = await changes(agent)
        assert (found["files"], found["patch"]) == ([], "")
        assert "opencode.json" in found["note"]
        assert await work_at_risk(clone) == ()

        (clone / "opencode.json").write_text((clone / "opencode.json").read_text().replace("[]", '["AGENTS.md"]'))
        assert [one["file"] for one in (await changes(agent))["files"]] == ["opencode.json"]
        assert await work_at_risk(clone) == ("changed file opencode.json",)


async def test_an_untracked_configuration_and_other_files_are_shown(tmp_path: Path) -> None:
    """By content, never by name."""
    clone = cloned(tmp_path)
    (clone / "opencode.jsonc").write_text('{\n  "$schema": "https://opencode.ai/config.json",}')
    names = ["opencode.json", "opencode.jsonc", "README.md", ".opencode/node_modules/x/y", ".opencode/package.json"]

    assert await bridge_clone.written_by_opencode(clone, names) == frozenset()
