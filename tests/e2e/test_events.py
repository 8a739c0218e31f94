"""What happened, and by whom: the real controller, and each way to change a project and to read its history."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from mcp import Client
from mcp_types import Implementation

from reconciler.core.history import Author, KeyChange, Type, Via
from reconciler.core.reasons import Reason
from reconciler.frontends.cli.main import main
from reconciler.frontends.mcp.tools import make_server
from reconciler.state import history_files
from reconciler.state.history import History
from reconciler.system import users
from tests.components.test_commits import commit, git
from tests.support.fakecontroller import make_settings
from tests.support.frontends import ERAS, connect, fields, said, serving
from tests.support.hostileagent import HOSTILE
from tests.support.terminal import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.history import HistoryRecord
    from reconciler.settings import Home, Settings
    from tests.support.world import World

BOT = Implementation(name="claude-code", version="1.0")
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b\U000e0000-\U000e007f]")


@pytest.fixture(name="settings")
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a home with a history of three projects."""
    settings = make_settings(tmp_path)
    for name, setting in settings.environment.items():
        monkeypatch.setenv(name, setting)
    settings.home.controller.mkdir(mode=0o700, parents=True)
    history = History(settings.home)
    history.record(Reason.CONTROLLER_STARTED, message="version 1")
    for name in ("app", "blog-api", "blog-web"):
        history.record(Reason.SPEC_ACCEPTED, name, "accepted", changes=(KeyChange("state", "running", "stopped"),))
        history.record(Reason.START_SERVICE, name, "start agent", cause="it never ran")
        history.record(Reason.SERVICE_ENDED, name, "agent ended: exit code 3", kind=Type.WARNING)
    history.close()
    return settings


async def story(world: World, port: int, mode: str) -> None:
    """A person writes a spec, a chat stops it, a person starts it on the command line and edits it by hand."""
    world.light("app")
    await asyncio.to_thread(world.ready, "app")
    async with connect(world, port, mode, client_info=BOT) as client:
        answer = await client.call_tool("opencode_stop", {"project_name": "app", "wait_seconds": 60})
        assert fields(answer)["status"] == "success"
    await asyncio.to_thread(world.run, "start", "app")
    await asyncio.to_thread(world.run, "set", "app", "restart.policy=on-failure", "--wait", "60")
    world.light("app", "die")
    await asyncio.to_thread(world.wait, "app", lambda status: status["agent"]["restarts"] > 1)
    world.write("app", "git: [\n")
    await asyncio.to_thread(world.wait, "app", lambda status: status["stalled"]["status"])


@pytest.mark.parametrize("mode", ERAS)
async def test_every_line_of_a_story_has_its_author(world: World, mode: str) -> None:
    """By chat, by hand and on the command line, and what the controller did about it."""
    port = serving(world)
    await story(world, port, mode)
    world.stop()
    me, lines = users.name_of(os.getuid()), history_files.latest(world.home)
    judged = [one for one in lines if one.author.via is not Via.CONTROLLER]

    assert [(one.reason, one.author.text, [each.text for each in one.changes][-1:]) for one in judged] == [
        ("SpecAccepted", f"{me} (file)", [f"git.url: (none) -> {world.origin}"]),
        ("SpecAccepted", "claude-code (mcp opencode_stop)", ["state: running -> stopped"]),
        ("SpecAccepted", f"{me} (cli start)", ["state: stopped -> running"]),
        ("SpecAccepted", f"{me} (cli set)", ["restart.policy: always -> on-failure"]),
        ("SpecAccepted", f"{me} (file)", ["restart.policy: on-failure -> always"]),
        ("SpecInvalid", f"{me} (file)", []),
    ]
    assert "app.yaml:" in judged[-1].message
    assert {one.author.text for one in lines} == {"controller", *(one.author.text for one in judged)}
    assert [one.index for one in _by_index(lines)] == sorted({one.index for one in lines})
    known = {(one.reason, one.type, one.message) for one in lines if one.reason in {"ServiceStarted", "ServiceEnded"}}
    assert ("ServiceStarted", "Normal", "agent started") in known
    assert ("ServiceEnded", "Warning", "agent ended: exit code 3") in known
    assert all(one.cause for one in lines if one.reason in {"StartService", "StopService", "CloneRepo"})
    assert [one.reason for one in lines if not one.project] == ["ControllerStarted", "ControllerStopped"]


def test_a_commit_has_its_author(world: World) -> None:
    """Also where it is pulled; what is edited after it is the editor's."""
    git(world.specs, "init", "-q")
    world.light("app")
    ada = commit(world.specs, "app.yaml", world.specs.joinpath("app.yaml").read_text(), who="Ada Lovelace")
    world.start()
    world.ready("app")
    world.light("app", idle_timeout="2h")

    def accepted() -> list[HistoryRecord]:
        return [one for one in history_files.latest(world.home) if one.reason == "SpecAccepted"]

    world.until(lambda: accepted()[1:], "the edit to be accepted")
    world.stop()
    first, second = accepted()

    assert first.author.text == f"Ada Lovelace (git {ada.detail})"
    assert second.author.text == f"{users.name_of(os.getuid())} (file)"


def _by_index(lines: list[HistoryRecord]) -> list[HistoryRecord]:
    return sorted(lines, key=lambda one: one.index)


def test_a_killed_controller_goes_on_with_its_history(world: World) -> None:
    """The index goes on, and a project that was left as it is makes no noise."""
    world.light("app")
    world.start()
    world.ready("app")
    world.kill()
    before = history_files.last_index(world.home)
    world.start()
    world.ready("app")
    world.run("stop", "app")
    world.stop()
    after = [one for one in history_files.latest(world.home) if one.index > before]

    assert after[0].reason == "ControllerStarted"
    assert after[0].index == before + 1
    assert ("app", "SpecAccepted") in [(one.project, one.reason) for one in after]
    assert [one.message for one in after if one.reason == "SpecAccepted"] == ["accepted"]


def test_following_shows_what_happens_while_it_happens(world: World) -> None:
    """Of some projects only."""
    command = world.command("events", "b*", "-f", "-o", "jsonl")
    world.start()
    world.until(history_files.current(world.home).exists, "a controller")
    with subprocess.Popen(command, env=world.environment, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        world.light("app")
        world.light("blog")
        seen = []
        for line in follower.stdout:
            seen.append(json.loads(line))
            if seen[-1]["reason"] == "Running":
                break
        follower.terminate()

    assert {one["project"] for one in seen} == {"blog"}
    assert seen[0]["reason"] == "SpecAccepted"
    assert seen[0]["author"] == {"via": "file", "name": users.name_of(os.getuid()), "detail": ""}


# -- the command, without a controller ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["-o", "name"], "7\n8\n9\n10\n"),
        (["--all", "-o", "name", "-n", "1"], "10\n"),
        (["blog-web", "-l", "team=web", "-o", "name", "-n", "1"], "10\n"),
        (["-l", "team=web", "-o", "name", "-n", "9"], "8\n9\n10\n"),
    ],
)
def test_the_options_of_other_commands_are_those_of_events_too(
    settings: Settings, capsys: pytest.CaptureFixture[str], words: list[str], shown: str
) -> None:
    """Names, labels, all, and each format; without a label the controller's own events are there."""
    settings.specs.mkdir(exist_ok=True)
    settings.specs.joinpath("blog-web.yaml").write_text("git: {url: /somewhere}\nlabels: {team: web}\n")

    assert main(["events", *(words if "-n" in words else [*words, "-n", "4"])]) == 0
    assert capsys.readouterr().out == shown


def test_the_formats_for_programs_say_the_same(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """What is nothing is an empty list; without titles a table has no titles."""
    assert settings.home.root.is_dir()
    found = []
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        assert main(["events", "-o", form]) == 0
        found.append(read(capsys.readouterr().out))
        assert main(["events", "nothing-at-all", "-o", form]) == 0
        assert read(capsys.readouterr().out) == []
    assert found[0] == found[1]
    assert len(found[0]) == 10
    for words, first in ((["-o", "wide"], "TIME"), (["--no-headers", "-o", "wide"], found[0][0]["time"][:2])):
        assert main(["events", *words]) == 0
        assert capsys.readouterr().out.startswith(first)


def test_the_command_shows_a_short_table(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Aligned, the newest last, by pattern and number."""
    assert settings.home.root.is_dir()
    assert main(["events", "blog-*", "-n", "3"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()

    assert head.split() == ["TIME", "PROJECT", "TYPE", "REASON", "BY", "MESSAGE"]
    assert [line[19:].split(maxsplit=4) for line in lines] == [
        ["blog-api", "Warning", "ServiceEnded", "controller", "agent ended: exit code 3"],
        ["blog-web", "Normal", "SpecAccepted", "controller", "accepted; state: running -> stopped"],
        ["blog-web", "Normal", "StartService", "controller", "start agent: it never ran"],
        ["blog-web", "Warning", "ServiceEnded", "controller", "agent ended: exit code 3"],
    ][1:]
    assert len({line.index("controller") for line in lines}) == 1


@pytest.mark.parametrize(
    ("arguments", "count"),
    [((), 10), (("app",), 3), (("--since", "1h"), 10), (("--since", "2999-01-01"), 0), (("-n", "0"), 0)],
)
def test_programs_get_json(
    settings: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], count: int
) -> None:
    """One document, or one a line."""
    assert settings.home.root.is_dir()
    assert main(["events", *arguments, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["events", *arguments, "-o", "jsonl"]) == 0

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == document
    assert len(document) == count
    assert all(one["author"]["via"] == "controller" for one in document)


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("--since", "soon"), "cannot understand 'soon' as a time: give a duration like 90s", 1),
        (("-f", "-o", "json"), "-f has no end, which one JSON document needs: use -o jsonl", 64),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(
    settings: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str, code: int
) -> None:
    """With what to give instead."""
    assert settings.home.root.is_dir()
    assert main(["events", *arguments]) == code
    assert says in capsys.readouterr().err


def test_nothing_found_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: a script reads nothing."""
    assert settings.home.root.is_dir()
    assert main(["events", "nobody", "--since", "1h"]) == 0

    assert capsys.readouterr() == ("", "there are no events of nobody since 1h\n")


def test_a_terminal_gets_lines_that_fit(world: World) -> None:
    """A long message is cut, and warnings have a colour."""
    world.home.controller.mkdir(mode=0o700, parents=True)
    History(world.home).record(Reason.SPEC_INVALID, "app", "cannot " + "x" * 300, kind=Type.WARNING)
    _, shown = on_terminal(world.command("events"), world.environment, columns=120)

    assert "\x1b[33m" in shown
    plain = re.sub(r"\x1b\[\d+m", "", shown).splitlines()
    assert max(map(len, plain)) <= 120
    assert plain[-1].endswith("...")


def test_what_a_command_loads_is_little(world: World) -> None:
    """As `status`: neither asyncio nor pydantic."""
    heavy = ("asyncio", "pydantic", "structlog", "watchfiles", "yaml", "mcp")
    program = "import sys; from reconciler.frontends.cli.main import main; main(['events']); print(*sys.modules)\n"
    done = subprocess.run(
        [world.python, "-c", program], env=world.environment, capture_output=True, text=True, check=True
    )

    assert set(heavy) & set(done.stdout.split()) == set()


# -- the tool ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
async def test_a_chat_asks_what_happened(settings: Settings, mode: str) -> None:
    """Both forms say the same, as the schema has it; and the resource holds the newest."""
    async with Client(make_server(settings, asyncio.Event()), mode=mode) as client:
        schema = {tool.name: tool for tool in (await client.list_tools()).tools}["opencode_events"].output_schema
        answer = await client.call_tool("opencode_events", {"names": ["blog-*"], "limit": 2, "since": "1h"})
        nothing = await client.call_tool("opencode_events", {"names": ["nobody"]})
        wrong = await client.call_tool("opencode_events", {"since": "soon"})
        resource = await client.read_resource("opencode://events")

    found = fields(answer)
    jsonschema.validate(found, schema or False)
    assert [one["message"] for one in found["events"]] == ["start agent", "agent ended: exit code 3"]
    assert found["index"] == 10
    assert "blog-web" in said(answer)
    assert (fields(nothing)["events"], said(nothing)) == ([], "there are no such events")
    assert (wrong.is_error, said(wrong)[:24]) == (True, "cannot understand 'soon'")
    content: Any = resource.contents[0]
    assert [one["index"] for one in json.loads(content.text)["events"]] == list(range(1, 11))


# -- hostile text ------------------------------------------------------------------------------------------------------


def write_hostile(home: Home) -> None:
    """Write events of which every part is hostile: as we would, and as an agent could that is not confined."""
    history = History(home)
    author = Author(Via.MCP, HOSTILE, HOSTILE)
    record = history.record(
        Reason.SPEC_ACCEPTED, HOSTILE, HOSTILE, author=author, cause=HOSTILE, changes=(KeyChange(HOSTILE, HOSTILE, 1),)
    )
    history.close()
    forged = record.to_dict() | {"index": 99, "message": HOSTILE, "reason": HOSTILE, "type": HOSTILE, "time": HOSTILE}
    with history_files.current(home).open("a") as file:
        file.write(json.dumps(forged) + "\n")


async def test_no_event_steers_a_terminal(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the table, nor in JSON, nor in what a chat gets."""
    write_hostile(settings.home)
    for output in ("table", "json", "jsonl"):
        main(["events", "-o", output])
    async with Client(make_server(settings, asyncio.Event())) as client:
        answer = await client.call_tool("opencode_events")

    printed = capsys.readouterr().out
    assert "owned" not in printed
    for text in (printed, said(answer), json.dumps(answer.structured_content, ensure_ascii=False)):
        assert "(mcp a b" in text.replace("31m", "")
        assert [line[:80] for line in text.splitlines() if HARMFUL.search(line)] == []
