"""Clients defer tools and search them by name and description: what is alike must be told apart by what is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.alltools import make_endpoint, tools_of
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from mcp_types import Tool

SEARCHED = {
    "opencode_start": "start create run clone project",
    "opencode_status": "status project",
    "opencode_stop": "stop project",
    "opencode_restart": "restart project",
    "opencode_destroy": "destroy delete project",
    "opencode_list": "list projects begin",
    "opencode_needs": "waits user permissions questions keys",
    "opencode_answer": "answer waits user",
    "opencode_events": "events happened why whom",
    "opencode-server-health": "health server version",
    "opencode-config-get": "configuration settings",
    "opencode-providers-list": "list providers models",
    "opencode-session-create": "create session conversation",
    "opencode-session-list": "list sessions project",
    "opencode-session-get": "status one session",
    "opencode-session-status": "status all sessions busy",
    "opencode-session-delete": "delete session",
    "opencode-session-message": "send message prompt session",
    "opencode-session-messages": "read messages history session",
    "opencode-session-abort": "abort cancel turn session",
    "opencode-session-diff": "diff prompt session",
    "opencode-session-todo": "todo list tasks session",
    "opencode-vcs-diff": "git diff working tree",
    "opencode-find-files": "find files name",
    "opencode-search-content": "search grep files",
    "opencode-file-content": "read file",
    "opencode-permission-list": "list permission approval",
    "opencode-permission-reply": "allow approve reject permission",
    "opencode-question-list": "list questions",
    "opencode-question-reply": "answer questions",
}


@pytest.fixture(name="tools", scope="module")
def _tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    server = make_endpoint("address", make_settings(tmp_path_factory.mktemp("tools")))
    return {tool.name: tool for tool in asyncio.run(tools_of(server))}


def test_every_tool_has_the_words_one_searches_for(tools: dict[str, Tool]) -> None:
    """In its title or its first sentence."""
    assert tools.keys() == SEARCHED.keys()
    for name, words in SEARCHED.items():
        read = f"{tools[name].title} {(tools[name].description or '').partition('. ')[0]}".lower()
        assert [word for word in words.split() if word not in read] == [], name


def test_titles_and_first_sentences_are_all_different(tools: dict[str, Tool]) -> None:
    """Of a project, of a session, of a server; a project is stopped and a turn aborted."""
    assert len({tool.title for tool in tools.values()}) == 30
    assert len({(tool.description or "").partition(". ")[0] for tool in tools.values()}) == 30
    assert [name for name, tool in tools.items() if (tool.title or "").startswith("Stop")] == ["opencode_stop"]
    assert all(tool.annotations and tool.annotations.title == tool.title for tool in tools.values())


def test_what_a_model_pays_for_all_tools_stays_small(tools: dict[str, Tool]) -> None:
    """Name, description and input schema: 14,859 characters once, 93 of their keywords titles of no use."""
    shown = sum(len(f"{one.name}{one.description}{one.input_schema}") for one in tools.values())

    assert shown < 14_000
