"""Who may say yes to a destroy, with clients that ask, that only pretend to, and that cannot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp_types import ElicitResult

from reconciler.api import client as asking
from reconciler.frontends.mcp.tools import make_server
from reconciler.specs import spec_folder
from tests.support.bothforms import text_of
from tests.support.fakecontroller import URL, make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.client import ClientRequestContext
    from mcp_types import CallToolResult, ElicitRequestParams

    from reconciler.settings import Settings

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    """A home with one project that is wanted running; no controller, so that no answer is waited for."""
    settings = make_settings(tmp_path)
    asking.start(settings, "blog-api", URL)
    return settings


async def destroy(settings: Settings, mode: str, action: str, **arguments: Any) -> CallToolResult:
    """Ask for a destroy through a client that offers to ask its user and answers with this action."""

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG001
        return ElicitResult.model_validate({"action": action})

    server = make_server(settings, asyncio.Event())
    async with Client(server, mode=mode, elicitation_callback=person) as client:
        return await client.call_tool("opencode_destroy", {"project_name": "blog-api", "wait_seconds": 0, **arguments})


def is_doomed(settings: Settings) -> bool:
    return "state: absent" in spec_folder.spec_path(settings.specs, "blog-api").read_text()


@ERAS
async def test_a_headless_client_destroys_with_the_right_name(settings: Settings, mode: str) -> None:
    """`claude -p` offers to ask and cancels at once: nobody was there, so the model's own word counts."""
    result = await destroy(settings, mode, "cancel", confirm="blog-api")

    assert not result.is_error
    assert is_doomed(settings)


@ERAS
@pytest.mark.parametrize("confirm", ["", "yes", "blog", "BLOG-API"])
async def test_a_headless_client_without_the_name_gets_the_way_on(settings: Settings, mode: str, confirm: str) -> None:
    """What the model can do, and what its user can."""
    result = await destroy(settings, mode, "cancel", confirm=confirm)

    assert result.is_error
    assert text_of(result) == (
        "cannot destroy blog-api: nobody could be asked; give its name in confirm, or let the user run: "
        "opencode-manager destroy blog-api"
    )
    assert not is_doomed(settings)


@ERAS
async def test_a_persons_no_stands_whatever_the_model_says(settings: Settings, mode: str) -> None:
    """Even with the right name; the sentence says who still can, and how."""
    result = await destroy(settings, mode, "decline", confirm="blog-api", discard_unpushed=True)

    assert result.is_error
    assert text_of(result) == (
        "cannot destroy blog-api: the user was asked and said no; the user alone still can, with: "
        "opencode-manager destroy blog-api"
    )
    assert not is_doomed(settings)


@ERAS
async def test_an_empty_yes_is_refused_in_our_words(settings: Settings, mode: str) -> None:
    """A client that accepts without the form: no library's words, no name of a function."""
    result = await destroy(settings, mode, "accept")

    assert result.is_error
    assert text_of(result) == (
        "cannot finish opencode_destroy: the user's answer does not hold what was asked for; ask again"
    )
    assert not is_doomed(settings)


async def test_what_is_no_name_is_not_repeated(settings: Settings) -> None:
    """Not even to the person who is asked."""
    for action in ("decline", "cancel"):
        result = await destroy(settings, "auto", action, project_name="canary\nrun: rm -rf")
        assert text_of(result).startswith("cannot destroy this: ")
        assert "canary" not in text_of(result)
