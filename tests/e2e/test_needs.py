"""What waits for a person: seen, answered once, and still known after the controller was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reconciler.core.history import Author, Via
from reconciler.state import answer_book, demands, published
from tests.support import storm
from tests.support.asking import Asking
from tests.support.fakemodel import FakeModel, provider
from tests.support.frontends import ERAS, connect, said
from tests.support.hookreceiver import HookReceiver
from tests.support.storm import Storm
from tests.support.world import PATIENCE, World, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

ADA = Author(Via.WEB, "ada")
POINTS = ("before:Answer", "after:Answer")


@pytest.fixture(name="asking")
def _asking(world: World) -> Asking:
    """A project that runs and asks nothing yet."""
    asking = Asking(world)
    world.start()
    world.ready("app")
    return asking


def test_a_permission_is_seen_answered_once_and_remembered(asking: Asking) -> None:
    """Who comes second hears who was first; the history has both."""
    world = asking.world
    asking.ask("per_1", "rm -rf build\nls")
    need = asking.need("per_1")
    assert (need["kind"], need["command"]) == ("permission", "rm -rf build\nls")
    assert world.status("app")["activity"]["state"] == "waiting"
    shown = world.run("needs")
    assert "| rm -rf build\n" in shown
    assert f"-> opencode-manager answer app {need['id']} once|always|deny" in shown
    assert f"{need['id']} permission" in world.run("status", "app")

    assert "answered (once)" in world.run("answer", "app", need["id"], "once")
    second = world.run("answer", "app", need["id"], "deny", code=1)

    assert asking.replies() == ["per_1 OK once"]
    assert f"cannot answer {need['id']}: answered 0 s ago by " in second
    assert asking.gone("per_1")
    assert world.run("needs") == "Nothing waits for you.\n"
    assert [record.fate for record in answer_book.read(world.home)] == ["answered", "already"]


def test_a_question_is_answered_with_the_number_of_an_option(asking: Asking) -> None:
    """What does not fit is refused, and it still waits."""
    asking.ask("que_1", "Which colour?")
    asking.ask("per_1")
    need, other = asking.need("que_1"), asking.need("per_1")

    assert "say once or always or deny" in asking.world.run("answer", "app", other["id"], "perhaps", code=1)
    asking.world.run("answer", "app", need["id"], "2")

    assert asking.replies() == ["que_1 OK [['Blue']]"]
    assert asking.gone("que_1")
    assert [one["id"] for one in asking.inbox()] == [other["id"]]
    assert "nothing waits there" in asking.world.run("answer", "app", "00000000", "once", code=1)


def test_needs_that_are_followed_come_by_themselves(asking: Asking) -> None:
    """Each once, in a line."""
    world = asking.world
    with subprocess.Popen(
        world.command("needs", "-f", "-o", "jsonl"), env=world.environment, stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        asking.ask("per_1")
        first = json.loads(follower.stdout.readline())
        world.run("answer", "app", first["id"], "once")
        asking.ask("que_1", "Why?")
        second = json.loads(follower.stdout.readline())
        follower.kill()

    assert (first["request"], second["request"]) == ("per_1", "que_1")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_chat_sees_what_waits_and_answers_it(asking: Asking, mode: str) -> None:
    """With the name of the client in the history; secrets are not answered there."""
    world = asking.world
    port = world.until(lambda: _port(world), "the MCP endpoint")
    asking.ask("per_1")
    need = asking.need("per_1")
    async with connect(world, port, mode) as client:
        listed = (await client.call_tool("opencode_needs", {})).structured_content
        assert listed is not None
        assert [one["id"] for one in listed["needs"]] == [need["id"]]
        arguments: dict[str, Any] = {"project_name": "app", "need_id": need["id"], "answer": ["deny", "not now"]}
        first = await client.call_tool("opencode_answer", arguments)
        second = await client.call_tool("opencode_answer", arguments)

        assert not first.is_error, said(first)
        assert second.is_error
        assert "answered 0 s ago by " in said(second)
        assert "(mcp opencode_answer): deny" in said(second)
        recent = (await client.call_tool("opencode_needs", {})).structured_content
        assert recent is not None
        assert [one["fate"] for one in recent["answered"]] == ["already", "answered"]
    assert asking.replies() == ["per_1 OK reject"]


def _port(world: World) -> int:
    found = published.read(world.home)
    return found.controller.http_port if found.controller and found.running else 0


def test_missing_secrets_are_a_need_that_names_the_command(world: World) -> None:
    """It is not answered: no secret goes through a frontend."""
    world.environment["ENVIRONMENT"] = "production"
    world.write("web", f"git: {{url: {world.origin}}}\n")
    world.start()
    world.wait("web", lambda status: bool(status["needs"]))
    (need,) = json.loads(world.run("needs", "-o", "json"))

    assert (need["kind"], need["do"]) == ("secrets", "opencode-manager secrets web")
    refused = world.run("answer", "web", need["id"], "hunter2-hunter2", code=1)
    assert "here: run: opencode-manager secrets web" in refused
    assert "hunter2" not in refused + (world.home.controller / "answers.json").read_text()


def test_another_controller_has_the_same_needs_since_the_same_time(asking: Asking) -> None:
    """Killed as hard as can be."""
    asking.ask("per_1")
    before = asking.need("per_1")
    activity = asking.world.wait("app", lambda status: status["activity"]["state"] == "waiting")["activity"]
    asking.world.kill()
    pid = published.read(asking.world.home).controller
    asking.world.start()
    asking.world.until(lambda: published.read(asking.world.home).controller != pid, "another controller")
    asking.world.wait("app", lambda status: status["activity"]["state"] == "waiting")

    assert asking.need("per_1") == before
    assert asking.world.status("app")["activity"]["since"] == activity["since"]


@pytest.mark.parametrize("point", POINTS)
def test_an_answer_survives_the_controller_at_any_point(world: World, point: str) -> None:
    """Killed before or after it was sent: the next one sees whether the agent still waits."""
    asking = Asking(world)
    world.environment["OCM_FAILPOINT"] = point
    controller = world.start()
    world.ready("app")
    asking.ask("per_1")
    need = asking.need("per_1")
    demands.write(world.home, "app", need["id"], ["once"], ADA)
    controller.wait()
    world.controllers.clear()
    assert asking.replies() == (["per_1 OK once"] if point.startswith("after") else [])
    late = demands.write(world.home, "app", need["id"], ["deny"], ADA._replace(name="bob"))
    del world.environment["OCM_FAILPOINT"]
    world.start()
    hears = world.until(lambda: demands.outcome(world.home, late), "what became of the second")

    assert hears is not None
    assert hears.fate == "already"
    assert "by ada (web): once" in hears.message
    world.until(asking.replies, "the first to be given")
    assert asking.gone("per_1")
    assert asking.replies() == ["per_1 OK once"]


def test_interrupted_sessions_wait_until_somebody_resumes_them(asking: Asking) -> None:
    """Never unasked."""
    (asking.folder / "broken").touch()
    asking.world.kill()
    asking.world.start()
    status = asking.world.wait("app", lambda status: any(one["kind"] == "interrupted" for one in status["needs"]))
    (need,) = status["needs"]
    assert (need["message"], need["answers"]) == ("1 session was interrupted: ses_1", ["resume"])
    assert asking.replies() == []

    asking.world.run("answer", "app", need["id"], "resume")

    assert asking.replies() == ["ses_1 OK"]
    asking.world.wait("app", lambda status: not status["needs"])


def test_a_spec_may_have_interrupted_sessions_resumed(world: World) -> None:
    """Then nobody needs to."""
    asking = Asking(world, restart="{resume: true}")
    (asking.folder / "broken").touch()
    world.start()
    world.until(asking.replies, "it to be resumed")

    assert asking.replies() == ["ses_1 OK"]


def test_who_is_away_is_notified(world: World) -> None:
    """As the settings file says; a broken one ends nothing."""
    with HookReceiver() as receiver:
        asking = Asking(world)
        file = world.home.root / "opencode-settings.yaml"
        notify = {"notify": [{"url": receiver.url, "events": ["needs"]}]}
        file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | notify))  # which is YAML
        world.start()
        world.ready("app")
        asking.ask("per_1")
        with receiver.came:
            assert receiver.came.wait_for(receiver.taken, PATIENCE), world.story()
        need = asking.need("per_1")
        assert json.loads(receiver.hooks[0].body)["id"].split()[:2] == ["app", need["id"]]
        file.write_text("notify: 3\n")
        world.stop()
        world.start()
        world.until(lambda: "nobody is notified: cannot accept 'notify'" in world.story(), "the problem to be said")
        world.ready("app")


def test_of_fifty_needs_none_is_lost_or_answered_twice(asking: Asking) -> None:
    """Two answer each of them at once, and the controller is killed again and again. The battery has a thousand."""
    found = Storm(asking, count=50, kills=4, seed=1)

    found.run()

    storm.check(found)


# -- the real thing


@pytest.fixture(name="model")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.mark.long
@pytest.mark.xdist_group("opencode")
def test_the_real_opencode_asks_and_gets_its_answers(real_world: World, model: FakeModel) -> None:
    """A permission and a question appear in what is followed, and the agent goes on with the answer."""
    permission = {"permission": {"bash": {"*": "ask"}, "question": "allow"}}
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url) | permission)
    real_world.environment["OPENCODE_MANAGER_LIVENESS"] = "60"  # what is seen earlier was heard of
    real_world.write("app", f"git: {{url: {real_world.origin}}}\n")
    real_world.start()
    status = real_world.ready("app")
    opencode = _OpenCode(real_world, status["agent"]["url"])
    command = real_world.command("needs", "-f", "-o", "jsonl")
    with subprocess.Popen(command, env=real_world.environment, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        opencode.prompt('[[tool:bash {"command": "touch asked.txt", "description": "x"}]]')
        need = json.loads(follower.stdout.readline())
        assert (need["kind"], need["tool"], need["command"]) == ("permission", "bash", "touch asked.txt")
        real_world.run("answer", "app", need["id"], "once")
        made = real_world.home.sandbox("app").repo / "asked.txt"
        real_world.until(made.exists, "the command to be run")

        asked = {"question": "Which?", "header": "Pick", "options": [{"label": "Blue", "description": "cool"}]}
        opencode.prompt(f"[[tool:question {json.dumps({'questions': [asked]})}]]")
        need = json.loads(follower.stdout.readline())
        assert need["questions"][0]["options"][0]["label"] == "Blue"
        real_world.run("answer", "app", need["id"], "blue")
        real_world.wait("app", lambda status: status["activity"]["state"] == "idle")
        follower.kill()


@pytest.mark.long
@pytest.mark.xdist_group("opencode")
def test_the_real_opencode_is_quiet_only_without_background_and_clients_and_resumes(
    real_world: World, model: FakeModel
) -> None:
    """One start serves all: what keeps it from being put to sleep, and that it goes on after kill -9."""
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url) | {"permission": "allow"})
    real_world.environment["OPENCODE_MANAGER_LIVENESS"] = "1"
    real_world.write("app", f"git: {{url: {real_world.origin}}}\n")
    real_world.start()
    status = real_world.ready("app")
    opencode = _OpenCode(real_world, status["agent"]["url"])
    real_world.wait("app", lambda status: status["activity"]["quiet_since"])
    with socket.create_connection(("127.0.0.1", status["agent"]["port"])):
        real_world.wait("app", lambda status: status["activity"]["why"] == "a client is connected")
    background = "(until [ -e end ]; do sleep 1; done) >/dev/null 2>&1 &"
    opencode.prompt(f"[[tool:bash {json.dumps({'command': background, 'description': 'x'})}]]")
    about = "a background process: "
    seen = real_world.wait("app", lambda status: status["activity"]["why"].startswith(about))["activity"]
    assert (seen["state"], seen["quiet_since"]) == ("idle", None)

    opencode.prompt("[[hold]] doomed")
    assert model.stalled.wait(PATIENCE)
    os.kill(status["agent"]["pid"], signal.SIGKILL)
    status = real_world.wait("app", lambda status: any(one["kind"] == "interrupted" for one in status["needs"]))
    (need,) = status["needs"]
    asked = len(model.prompts)
    real_world.run("answer", "app", need["id"], "resume")
    real_world.wait("app", lambda status: not status["needs"] and status["activity"]["state"] == "idle")
    assert len(model.prompts) > asked


class _OpenCode:
    """A rightful client of the real one."""

    def __init__(self, world: World, url: str) -> None:
        self._url = url
        self._password = read_env(world.home.sandbox("app").env_file)["OPENCODE_SERVER_PASSWORD"]

    def prompt(self, text: str) -> None:
        auth = ("opencode", self._password)
        with httpx2.Client(base_url=self._url, auth=auth, timeout=60, trust_env=False) as http:
            session = http.post("/session", json={"title": "t"}).json()["id"]
            body = {"parts": [{"type": "text", "text": text}]}
            http.post(f"/session/{session}/prompt_async", json=body).raise_for_status()
