"""Webhooks and commands: a real HTTP receiver of ours that fails, hangs and is slow."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.controller import notifier
from reconciler.controller.events import StatusChanged
from reconciler.controller.notifier import Notifier
from reconciler.controller.notifying import Notifying
from reconciler.core import restarts
from reconciler.core.activity import AgentActivity, Doing
from reconciler.core.reasons import Reason
from reconciler.engines.base import Events, ProjectGone
from reconciler.settings import Home, Settings
from reconciler.settings_file import NAME, NotifyTarget
from tests.support.hookreceiver import HookReceiver
from tests.unit.test_notices import NEED, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from reconciler.core.status import ProjectStatus

SEEN = AgentActivity(state=Doing.WAITING)
ASKS = status(needs=(NEED,), activity=SEEN)
CALM = status(activity=AgentActivity(state=Doing.IDLE))
PATIENCE = 60.0


@pytest.fixture(name="receiver")
def _receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookReceiver]:
    """With short limits."""
    monkeypatch.setattr(restarts, "BASE", 0.01)
    monkeypatch.setattr(notifier, "LIMIT", 1.0)
    with HookReceiver() as receiver:
        yield receiver


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    home = Home(tmp_path)
    home.controller.mkdir(parents=True)
    return Settings(home=home, specs=tmp_path, environment={"PATH": "/usr/bin:/bin", "PLACE": str(tmp_path)})


@contextlib.asynccontextmanager
async def notifying(settings: Settings, *targets: NotifyTarget) -> AsyncIterator[Callable[[ProjectStatus], None]]:
    """What the controller publishes goes out meanwhile."""
    events = Events()
    task = asyncio.create_task(Notifier(settings, targets, events).run())
    try:
        yield lambda status: events.publish(StatusChanged(status))
        events.publish(ProjectGone("other"))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(receiver: HookReceiver, wanted: Callable[[], object]) -> None:
    """Wait for requests until it is so."""

    def wait() -> bool:
        with receiver.came:
            return receiver.came.wait_for(lambda: bool(wanted()), PATIENCE)

    assert await asyncio.to_thread(wait), receiver.hooks


def hook(receiver: HookReceiver, **fields: Any) -> NotifyTarget:
    return NotifyTarget(url=receiver.url, **fields)


async def test_a_need_is_sent_once_until_it_clears(receiver: HookReceiver, settings: Settings) -> None:
    """By the next controller too, which has not seen everything at first."""
    later = replace(ASKS, needs=(replace(NEED, since=99.0),))
    async with notifying(settings, hook(receiver)) as publish:
        publish(ASKS)
        await until(receiver, receiver.taken)
        publish(replace(ASKS, message="other"))
    async with notifying(settings, hook(receiver)) as publish:
        publish(status())
        publish(ASKS)
        publish(CALM)
        publish(later)
        await until(receiver, lambda: len(receiver.taken()) == 2)

    assert [json.loads(one.body)["id"] for one in receiver.hooks] == ["app 1f3a 7", "app 1f3a 99"]
    assert "rm -rf" not in receiver.hooks[0].body.decode()


async def test_a_receiver_that_fails_and_hangs_gets_it_later(receiver: HookReceiver, settings: Settings) -> None:
    """And another one has it meanwhile."""
    receiver.failing, receiver.hanging = 2, 1
    with HookReceiver() as other:
        async with notifying(settings, hook(receiver), NotifyTarget(url=other.url)) as publish:
            publish(ASKS)
            await until(other, other.taken)
            await until(receiver, receiver.taken)

    assert sorted(one.status for one in receiver.hooks) == [0, 200, 500, 500]
    assert len({one.body for one in receiver.hooks}) == 1


async def test_what_has_cleared_before_it_could_be_sent_is_not_sent(receiver: HookReceiver, settings: Settings) -> None:
    """Nobody is woken for it."""
    receiver.hanging = 1
    async with notifying(settings, hook(receiver)) as publish:
        publish(ASKS)
        await until(receiver, lambda: receiver.hooks)
        publish(CALM)
        publish(status(Reason.CRASH_LOOP))
        await until(receiver, receiver.taken)

    assert [json.loads(one.body)["kind"] for one in receiver.taken()] == ["parked"]


async def test_parked_and_recovered(receiver: HookReceiver, settings: Settings) -> None:
    """A receiver gets what it is meant to get."""
    with HookReceiver() as other:
        target = NotifyTarget(url=other.url, events=["recovered"])
        async with notifying(settings, hook(receiver), target) as publish:
            publish(status(Reason.CRASH_LOOP))
            await until(receiver, receiver.taken)
            publish(CALM)
            await until(other, other.taken)
            await until(receiver, lambda: len(receiver.taken()) == 2)

        assert [json.loads(one.body)["kind"] for one in other.hooks] == ["recovered"]


async def test_requests_are_signed_with_a_key_from_a_file(
    receiver: HookReceiver, settings: Settings, tmp_path: Path
) -> None:
    """The time is part of what is signed; the key goes nowhere."""
    (tmp_path / "key").write_text("the-key-0123456789\n")
    target = hook(receiver, secret_file=str(tmp_path / "key"), words=True)
    async with notifying(settings, target) as publish:
        publish(ASKS)
        await until(receiver, receiver.taken)
    (got,) = receiver.hooks
    said = f"{got.headers['x-opencode-manager-time']}.".encode() + got.body

    wanted = hmac.new(b"the-key-0123456789", said, hashlib.sha256).hexdigest()
    assert got.headers["x-opencode-manager-signature"] == f"sha256={wanted}"
    assert "rm -rf /srv" in json.loads(got.body)["message"]
    assert not any("the-key" in path.read_text() for path in settings.home.controller.iterdir())


async def test_a_key_that_is_missing_is_waited_for(receiver: HookReceiver, settings: Settings, tmp_path: Path) -> None:
    """Nothing goes out unsigned."""
    key = tmp_path / "key"
    key.touch()
    async with notifying(settings, hook(receiver, secret_file=str(key))) as publish:
        publish(ASKS)
        await asyncio.to_thread(key.write_text, "the-key-0123456789")
        await until(receiver, receiver.taken)

    assert all("x-opencode-manager-signature" in one.headers for one in receiver.hooks)


async def test_the_shape_of_ntfy(receiver: HookReceiver, settings: Settings) -> None:
    """Text and headers."""
    async with notifying(settings, hook(receiver, shape="ntfy")) as publish:
        publish(ASKS)
        await until(receiver, receiver.taken)

    assert (receiver.hooks[0].headers["title"], receiver.hooks[0].body[:3]) == ("app needs you", b"app")


async def test_a_command_gets_it_on_its_standard_input(
    receiver: HookReceiver, settings: Settings, tmp_path: Path
) -> None:
    """One that fails or hangs is run again."""
    script = "test -e $PLACE/tried || { touch $PLACE/tried; exit 3; }; "
    script += "test -e $PLACE/hung || { touch $PLACE/hung; exec sleep 100; }"
    script += "; cat > $PLACE/got.new; mv $PLACE/got.new $PLACE/got"
    async with asyncio.timeout(PATIENCE), notifying(settings, NotifyTarget(command=["sh", "-c", script])) as publish:
        publish(ASKS)
        while not (tmp_path / "got").exists():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.02)

    assert json.loads((tmp_path / "got").read_text())["title"] == "app needs you"
    assert receiver.hooks == []


async def test_who_is_notified_changes_with_the_settings_file(receiver: HookReceiver, settings: Settings) -> None:
    """Without a restart: a new one is told what waits already, one that is gone nothing, and nobody twice."""
    file, events, said = settings.home.root / NAME, Events(), asyncio.Queue[str]()
    notifying = Notifying(replace(settings, poll=0.01), events, lambda: [ASKS], said.put_nowait)
    task = asyncio.create_task(notifying.run())
    with HookReceiver() as other:
        write(file, receiver.url)
        await until(receiver, receiver.taken)
        write(file, receiver.url, other.url)
        await until(other, other.taken)
        file.write_text("notify: 3\n")
        async with asyncio.timeout(PATIENCE):
            problem = await said.get()
        events.publish(StatusChanged(later(99.0)))
        await until(receiver, lambda: len(receiver.taken()) == 2)
        await until(other, lambda: len(other.taken()) == 2)
        write(file, other.url)
        notifying._look()
        events.publish(StatusChanged(later(100.0)))
        await until(other, lambda: len(other.taken()) == 3)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert problem.startswith("those are notified that were before: cannot accept 'notify'")
    assert said.empty()
    assert len(receiver.hooks) == 2


def later(since: float) -> ProjectStatus:
    """Another need of the same project."""
    return replace(ASKS, needs=(replace(NEED, since=since),))


def write(file: Path, *urls: str) -> None:
    """A settings file, replaced as an editor does."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"notify": [{"url": url} for url in urls]}))  # which is YAML
    new.rename(file)
