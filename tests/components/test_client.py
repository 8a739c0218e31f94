"""What frontends ask for, as specs; and waiting until the controller has acted on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio
import pytest
import yaml

from reconciler.api import client, reader
from reconciler.settings import UserError
from reconciler.specs import spec_folder
from tests.support.fakecontroller import KEY, URL, FakeController, a_fake_controller, make_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from typing import Any

    from reconciler.api.client import SpecChange
    from reconciler.api.results import ProjectResult
    from reconciler.settings import Settings

PATIENCE = 60.0
CANARY = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQcanary"
PRIVATE_KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture(name="controller")
def _controller(settings: Settings) -> Iterator[FakeController]:
    with a_fake_controller(settings) as controller:
        yield controller


def text(settings: Settings, name: str = "blog-api") -> str:
    return spec_folder.spec_path(settings.specs, name).read_text()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def version(settings: Settings, name: str = "blog-api") -> str:
    return spec_folder.token_of(spec_folder.spec_path(settings.specs, name).stat()).text


# -- what is asked for ------------------------------------------------------------------------------------------------


def test_the_first_start_writes_the_shortest_spec(settings: Settings) -> None:
    """Two lines, and the version by which its status will be known."""
    change = client.start(settings, "blog-api", URL)

    assert text(settings) == f"git:\n  url: {URL}\n"
    assert change.version == version(settings)


def test_starting_again_asks_the_controller_to_look_now(settings: Settings) -> None:
    """The text stays, the version is new: that is what "run the command again" means after a key was added."""
    first = client.start(settings, "blog-api", URL)
    before = text(settings)

    second = client.start(settings, "blog-api", f" {URL}\n")

    assert text(settings) == before
    assert second.version != first.version


def test_a_start_with_another_git_url_is_refused(settings: Settings) -> None:
    """A project is one repository's; the sentence names it, and the file stays as it is."""
    change = client.start(settings, "blog-api", URL)

    said = refusal(lambda: client.start(settings, "blog-api", "git@github.com:user/other.git"))

    assert said.startswith("cannot start blog-api")
    assert URL in said
    assert version(settings) == change.version


def test_stop_and_start_change_one_line_of_a_file_written_by_hand(settings: Settings) -> None:
    """Comments and order are the person's."""
    settings.specs.mkdir()
    spec_folder.spec_path(settings.specs, "blog-api").write_text(f"# Ours\ngit: {{url: {URL}}} # the blog\n")

    client.stop(settings, "blog-api")
    stopped = text(settings)
    client.start(settings, "blog-api")

    assert stopped == f"# Ours\ngit: {{url: {URL}}} # the blog\nstate: stopped\n"
    assert text(settings) == stopped.replace("stopped", "running")


def test_each_restart_is_a_new_value_and_starts_what_was_stopped(settings: Settings) -> None:
    """A time, in quotes, so that YAML keeps it a text."""
    client.start(settings, "blog-api", URL)
    client.stop(settings, "blog-api")

    client.restart(settings, "blog-api")

    first = yaml.safe_load(text(settings))
    assert first["state"] == "running"
    assert isinstance(first["restarted_at"], str)
    assert first["restarted_at"].startswith("20")


@pytest.mark.parametrize("name", ["", "Blog", "../up", "a/b", "-x", "x" * 64, "a b", "blog\napi"])
def test_a_name_that_is_none_is_refused(settings: Settings, name: str) -> None:
    """Before anything is written anywhere."""
    assert refusal(lambda: client.start(settings, name, URL)).startswith("cannot ")
    assert not settings.specs.exists()


@pytest.mark.parametrize("url", ["ext::sh -c id", "--upload-pack=id", "https://user:pa55word@host/x.git", "a\nb", ""])
def test_a_dangerous_git_url_is_refused_unechoed(settings: Settings, url: str) -> None:
    """It never reaches a file."""
    said = refusal(lambda: client.start(settings, "blog-api", url))

    assert said.startswith("cannot ")
    assert "pa55word" not in said
    assert not spec_folder.spec_path(settings.specs, "blog-api").exists()


@pytest.mark.parametrize("key", [PRIVATE_KEY, PRIVATE_KEY.replace("\n", ""), f"ssh-ed25519 {CANARY} me@here"])
@pytest.mark.parametrize("known", [False, True])
def test_the_text_of_a_key_is_refused_unechoed(settings: Settings, key: str, *, known: bool) -> None:
    """A path is wanted; the text appears neither in the sentence nor in a file."""
    if known:
        client.start(settings, "blog-api", URL)

    said = refusal(lambda: client.start(settings, "blog-api", URL, key))

    assert "path" in said
    assert CANARY not in said
    assert not any(CANARY in path.read_text() for path in settings.home.root.parent.rglob("*") if path.is_file())


@pytest.mark.parametrize("ask", [client.stop, client.restart])
def test_a_project_nobody_knows_is_answered_with_the_nearest(
    settings: Settings, ask: Callable[[Settings, str], SpecChange]
) -> None:
    """A typing error should cost one look."""
    client.start(settings, "blog-api", URL)

    said = refusal(lambda: ask(settings, "blog-app"))

    assert said.startswith("cannot ")
    assert said.endswith("did you mean blog-api?")


def test_destroy_wants_the_name_twice(settings: Settings) -> None:
    """Anything else changes nothing."""
    change = client.start(settings, "blog-api", URL)

    assert refusal(lambda: client.destroy(settings, "blog-api", confirm="yes")).startswith("cannot destroy")
    assert version(settings) == change.version

    client.destroy(settings, "blog-api", confirm="blog-api", discard_unpushed=True)
    assert yaml.safe_load(text(settings)) == {"git": {"url": URL}, "state": "absent", "discard_unpushed": True}


def test_a_project_without_its_file_can_still_be_destroyed(settings: Settings, controller: FakeController) -> None:
    """The tombstone is made from what was published."""
    controller.ready("blog-api", "")

    client.destroy(settings, "blog-api", confirm="blog-api")

    assert yaml.safe_load(text(settings)) == {"git": {"url": URL}, "state": "absent"}


def test_a_broken_file_is_left_to_its_person(settings: Settings) -> None:
    """The sentence has its line; nothing is written over it."""
    settings.specs.mkdir()
    spec_folder.spec_path(settings.specs, "blog-api").write_text("git:\n  url: [\n")

    said = refusal(lambda: client.stop(settings, "blog-api"))

    assert said.startswith("cannot stop blog-api before its spec is fixed")
    assert "blog-api.yaml:" in said
    assert text(settings) == "git:\n  url: [\n"


def test_the_running_controller_says_where_specs_are(
    settings: Settings, tmp_path: Path, controller: FakeController
) -> None:
    """A command given in another folder must not write where nobody looks."""
    del controller
    elsewhere = make_settings(tmp_path, OPENCODE_MANAGER_SPECS=str(tmp_path / "elsewhere"))

    client.start(elsewhere, "blog-api", URL)

    assert text(settings)


def test_a_project_that_was_not_looked_at_yet_is_not_called_unknown(
    settings: Settings, controller: FakeController
) -> None:
    """Its spec is there."""
    client.start(settings, "blog-api", URL)

    assert reader.status(settings, "blog-api").status == "in_progress"
    assert "ask again in a moment" in refusal(lambda: reader.raw_status(settings, "blog-api"))
    controller.close()
    assert "opencode-manager run" in refusal(lambda: reader.raw_status(settings, "blog-api"))


# -- waiting ----------------------------------------------------------------------------------------------------------


async def soon(awaitable: Awaitable[ProjectResult]) -> ProjectResult:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def test_without_a_controller_nobody_is_waited_for(settings: Settings) -> None:
    """The answer says how to start one."""
    change = client.start(settings, "blog-api", URL)

    result = await soon(client.wait(settings, change, PATIENCE * 2))

    assert result.status == "in_progress"
    assert "opencode-manager run" in result.message


async def test_only_the_status_of_the_written_version_counts(settings: Settings, controller: FakeController) -> None:
    """What was ready before the change says nothing about it."""
    controller.ready("blog-api", client.start(settings, "blog-api", URL).version)
    change = client.restart(settings, "blog-api")
    waiting = asyncio.create_task(client.wait(settings, change, PATIENCE * 2))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done

    controller.ready("blog-api", change.version)
    result = await soon(waiting)

    assert (result.status, result.opencode_pid, result.mcp_tool_port) == ("success", 12345, 5101)
    assert (result.generation, result.observed_generation, result.converged) == (1, 1, True)


async def test_a_key_to_be_added_ends_the_wait(settings: Settings, controller: FakeController) -> None:
    """With the key, and where it is kept."""
    change = client.start(settings, "blog-api", URL)
    controller.waiting_for_key("blog-api", change.version)

    result = await soon(client.wait(settings, change, PATIENCE * 2))

    assert (result.status, result.public_key) == ("waiting_for_key", KEY)
    assert result.public_key_path == f"{settings.home.deploy_key('blog-api')}.pub"


@pytest.mark.parametrize(("reason", "status"), [("WaitingForSecrets", "waiting_for_secrets"), ("PortTaken", "error")])
async def test_whatever_needs_a_person_ends_the_wait(
    settings: Settings, controller: FakeController, reason: str, status: str
) -> None:
    """With its reason and message."""
    change = client.start(settings, "blog-api", URL)
    controller.stalled("blog-api", change.version, reason, "cannot go on: do this")

    result = await soon(client.wait(settings, change, PATIENCE * 2))

    assert (result.status, result.reason, result.message) == (status, reason, "cannot go on: do this")


async def test_of_two_who_ask_at_once_both_get_the_answer(settings: Settings, controller: FakeController) -> None:
    """The later file says what the earlier said, so its status answers both."""
    first = client.start(settings, "blog-api", URL)
    second = client.start(settings, "blog-api", URL)
    controller.ready("blog-api", second.version)

    results = [await soon(client.wait(settings, change, PATIENCE * 2)) for change in (first, second)]

    assert [result.status for result in results] == ["success", "success"]


async def test_a_wait_is_bounded_and_says_how_far_it_is(settings: Settings, controller: FakeController) -> None:
    """Not in time is no error."""
    change = client.start(settings, "blog-api", URL)
    controller.working("blog-api", change.version)

    result = await soon(client.wait(settings, change, 0.5))

    assert (result.status, result.reason, result.converged) == ("in_progress", "Cloning", False)


async def test_progress_has_a_heartbeat_and_each_new_step(settings: Settings, controller: FakeController) -> None:
    """The seconds rise; a silent step is repeated, because clients give up on silence."""
    change = client.start(settings, "blog-api", URL)
    controller.working("blog-api", change.version)
    reported: list[tuple[float, str]] = []

    async def progress(waited: float, result: ProjectResult) -> None:
        reported.append((waited, result.reason))
        if len(reported) == 2:
            controller.working("blog-api", change.version, "StartService", "starting the agent")
        if len(reported) == 4:
            controller.ready("blog-api", change.version)

    result = await soon(client.wait(settings, change, 4.0, progress))

    seconds = [waited for waited, _ in reported]
    assert seconds == sorted(set(seconds))
    assert [reason for _, reason in reported[:3]] == ["Cloning", "Cloning", "StartService"]
    assert result.status in {"success", "in_progress"}


async def test_stopping_ends_a_wait_with_how_it_stands(settings: Settings, controller: FakeController) -> None:
    """A controller that ends leaves no caller without an answer."""
    change = client.start(settings, "blog-api", URL)
    controller.working("blog-api", change.version)
    stopping = asyncio.Event()
    waiting = asyncio.create_task(client.wait(settings, change, PATIENCE * 2, None, stopping))
    await asyncio.wait({waiting}, timeout=0.2)

    stopping.set()

    assert (await soon(waiting)).reason == "Cloning"


async def test_a_cancelled_wait_stops_nobody_else(settings: Settings, controller: FakeController) -> None:
    """A client that goes away must not end the controller: the event it shares stays unset."""
    change = client.start(settings, "blog-api", URL)
    controller.working("blog-api", change.version)
    stopping = asyncio.Event()

    async def wait() -> Any:
        return await client.wait(settings, change, PATIENCE * 2, None, stopping)

    waiting = asyncio.create_task(wait())
    await asyncio.wait({waiting}, timeout=0.3)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    with anyio.move_on_after(0.3):
        await wait()

    assert not stopping.is_set()


async def test_a_destroy_is_over_when_nothing_is_left(settings: Settings, controller: FakeController) -> None:
    """Neither the spec nor a status."""
    controller.ready("blog-api", client.start(settings, "blog-api", URL).version)
    change = client.destroy(settings, "blog-api", confirm="blog-api")
    waiting = asyncio.create_task(client.wait(settings, change, PATIENCE * 2))
    spec_folder.spec_path(settings.specs, "blog-api").unlink()

    controller.gone("blog-api")

    result = await soon(waiting)
    assert (result.status, result.converged) == ("success", True)
