"""What a chat is told about a project that was never made: no word of a file that nobody has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client

from reconciler.frontends.mcp.tools import make_server
from reconciler.specs import spec_folder
from tests.support.bothforms import text_of
from tests.support.fakecontroller import URL, make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_types import CallToolResult

    from reconciler.settings import Settings


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


async def start(settings: Settings, **arguments: Any) -> CallToolResult:
    async with Client(make_server(settings, asyncio.Event())) as client:
        return await client.call_tool("opencode_start", {"project_name": "k1", "wait_seconds": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"git_url": "git@github.com:" + "a" * 300_000}, "300015 characters: give one of at most 4096"),
        ({"git_url": URL, "user_ssh_key": "/k" * 3000}, "6000 characters: give one of at most 4096"),
        ({"git_url": URL, "user_ssh_key": 'a"b'}, "give a path without quotes"),
        ({"git_url": "ext::sh -c id"}, "cannot use a git url"),
        ({"git_url": "file:///tmp/x"}, "cannot use file:// in a git url"),
        ({"git_url": "git@host:a\nb"}, "control characters"),
    ],
)
async def test_a_refused_start_names_no_file(settings: Settings, arguments: dict[str, Any], said: str) -> None:
    """There is none yet, and none is left behind."""
    result = await start(settings, **arguments)

    assert result.is_error
    assert text_of(result).startswith("cannot ")
    assert said in text_of(result)
    assert ".yaml" not in text_of(result)
    assert len(text_of(result)) < 300
    assert not spec_folder.spec_path(settings.specs, "k1").exists()


@pytest.mark.parametrize("empty", ["", None])
async def test_an_empty_key_is_no_key(settings: Settings, empty: str | None) -> None:
    """The spec is the shortest, as if the argument had been left out."""
    result = await start(settings, git_url=URL, user_ssh_key=empty)

    assert not result.is_error
    assert spec_folder.spec_path(settings.specs, "k1").read_text() == f"git:\n  url: {URL}\n"


async def test_a_known_project_keeps_its_key_when_an_empty_one_is_sent(settings: Settings) -> None:
    """A model that fills in every argument changes nothing."""
    await start(settings, git_url=URL, user_ssh_key="/keys/mine")
    await start(settings, git_url=URL, user_ssh_key="")

    assert "ssh_key: /keys/mine" in spec_folder.spec_path(settings.specs, "k1").read_text()
