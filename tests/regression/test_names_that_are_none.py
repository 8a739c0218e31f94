"""A name with capitals, an underscore or a dot, at every frontend; and names that are never offered."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from mcp import Client

from reconciler.api import client, reader
from reconciler.frontends.cli import main
from reconciler.frontends.mcp.tools import make_server
from reconciler.settings import Home, Settings, UserError, load
from reconciler.specs import writer
from reconciler.state import published

if TYPE_CHECKING:
    from pathlib import Path

SENTENCE = "cannot use 'My_App' as a project name: names are 1 to 63 of a-z, 0-9 and inner hyphens; use my-app"
COMMANDS = [
    ("start", "My_App", "git@host:me/app.git"),
    ("start", "My_App"),
    ("stop", "My_App"),
    ("restart", "My_App"),
    ("destroy", "My_App", "--yes"),
    ("status", "My_App"),
    ("logs", "My_App"),
    ("secrets", "My_App", "--generate"),
    ("plan", "My_App"),
    ("confirm-missing", "My_App"),
]


@pytest.fixture(name="settings")
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENCODE_MANAGER_SPECS", str(tmp_path / "specs"))
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "blog.yaml").write_text("git: {url: here}\n")
    return load()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]}-{len(command)}")
def test_every_command_gives_the_nearest_valid_name(
    settings: Settings, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(list(command)) == 1
    assert f"{SENTENCE}\n" in capsys.readouterr().err
    assert [path.name for path in settings.specs.iterdir()] == ["blog.yaml"]


def test_every_writer_of_specs_gives_the_nearest_valid_name(settings: Settings) -> None:
    text = writer.new_text("here")
    for write in (
        lambda: writer.create(settings.specs, settings.home, "My_App", text),
        lambda: writer.edit(settings.specs, settings.home, "My_App", {("state",): "stopped"}),
        lambda: client.start(settings, "My_App", "here"),
        lambda: client.destroy(settings, "My_App", confirm="My_App"),
    ):
        with pytest.raises(UserError) as refused:
            write()
        assert str(refused.value) == SENTENCE


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("opencode_start", {"project_name": "My_App", "git_url": "here"}),
        ("opencode_status", {"project_name": "My_App"}),
        ("opencode_stop", {"project_name": "My_App"}),
        ("opencode_restart", {"project_name": "My_App"}),
        ("opencode_destroy", {"project_name": "My_App", "confirm": "My_App"}),
        ("opencode-session-list", {"project": "My_App"}),
    ],
)
async def test_every_tool_gives_the_nearest_valid_name(
    settings: Settings, tool: str, arguments: dict[str, str]
) -> None:
    async with Client(make_server(settings, asyncio.Event())) as client_of_a_chat:
        result = await client_of_a_chat.call_tool(tool, arguments)

    assert result.is_error
    assert SENTENCE in str(result.content)


@pytest.mark.parametrize("name", ["App", "nosuch"])
def test_names_of_files_that_are_no_specs_are_never_offered(settings: Settings, name: str) -> None:
    good = settings.specs / "blog.yaml"
    for other in ("Upper.yaml", "App.yaml", "app (conflicted copy).yaml", "007_.yaml", "x.yml"):
        shutil.copy(good, settings.specs / other)
    (settings.specs / ".#x.yaml").symlink_to("me@host.1:2")
    (settings.specs / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (settings.specs / "deploy.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\n")

    sentence = reader.unknown(published.read(Home(settings.home.root)), settings, name, "stop")

    if name == "App":
        assert sentence.endswith("; use app")
    else:
        assert sentence == "cannot stop nosuch: there is no such project; there are blog"
