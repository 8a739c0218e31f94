"""Tell people who are away: webhooks and local commands of the settings file, each with a queue of its own.

Loaded only where something is configured. A receiver that fails, hangs or is slow holds up nobody else; what it did not
take is sent again with back-off while its cause lasts, also by the next controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import structlog

from reconciler import __version__
from reconciler.controller.events import StatusChanged
from reconciler.core import notices, restarts
from reconciler.core.activity import Doing
from reconciler.engines.base import ProjectGone
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.core.notices import Notice
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Events
    from reconciler.settings import Home, Settings
    from reconciler.settings_file import NotifyTarget

LIMIT: Final = 10.0
"""Seconds for one delivery, whatever the receiver does."""
MOST: Final = 1000
"""Notices that wait for one receiver."""
_KILL: Final = 1.0
"""Seconds that a command has to end after it was asked to."""

log = structlog.stdlib.get_logger(__name__)


class DeliveryError(Exception):
    """It was not taken; the text says why, without what was sent."""


class Notifier:
    """Sends notices.

    Args:
        settings: of the controller.
        targets: who is notified.
        events: the sink.
    """

    def __init__(self, settings: Settings, targets: Iterable[NotifyTarget], events: Events) -> None:
        self._settings = settings
        self._path = notified_file(settings.home)
        known = files.read_json(self._path) or {}
        self._parked = frozenset(map(str, known.get("parked", ())))
        self._sent: dict[str, Any] = dict(known.get("sent", {}))
        """By receiver, also of those that are not notified now."""
        self._receivers: list[Receiver] = []
        self._news = asyncio.Event()
        self.retarget(targets, ())
        events.subscribe(StatusChanged, lambda event: self._changed(event.status))
        events.subscribe(ProjectGone, self._gone)

    async def run(self) -> None:
        """Deliver until cancelled."""
        running: dict[Receiver, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for receiver in running.keys() - set(self._receivers):
                    running.pop(receiver).cancel()
                for receiver in self._receivers:
                    if receiver not in running:
                        running[receiver] = tasks.create_task(receiver.run())
                await self._news.wait()

    def retarget(self, targets: Iterable[NotifyTarget], statuses: Iterable[ProjectStatus]) -> None:
        """Notify these from now on, and new ones of what waits already; the others go on as they were.

        Args:
            targets: all who are notified.
            statuses: of all projects.
        """
        before = list(self._receivers)
        self._sent |= {receiver.name: sorted(receiver.sent) for receiver in self._receivers}
        self._receivers, added = [], []
        for target in targets:
            receiver = next((one for one in before if one.target == target), None)
            if receiver is None:
                receiver = Receiver(self._settings, target, self._sent, self._save)
                added.append(receiver)
            self._receivers.append(receiver)
        for status in statuses if added else ():
            for notice in notices.of(status, self._parked):
                for receiver in added:
                    receiver.offer(notice)
        self._news.set()

    def _changed(self, status: ProjectStatus) -> None:
        found = list(notices.of(status, self._parked))
        self._parked = notices.parked(status, self._parked)
        causes = frozenset(notice.cause for notice in found)
        for receiver in self._receivers:
            if status.activity.state is not Doing.UNKNOWN:  # else what waits may just not have been seen yet
                receiver.clear(status.name, causes)
            for notice in found:
                receiver.offer(notice)

    def _gone(self, event: ProjectGone) -> None:
        self._parked -= {event.name}
        for receiver in self._receivers:
            receiver.clear(event.name, frozenset())

    def _save(self) -> None:
        """Remember what was sent. Not durable: after a power cut something may be sent once more."""
        sent = {receiver.name: sorted(receiver.sent) for receiver in self._receivers}
        self._sent |= sent
        with contextlib.suppress(OSError):
            data = json.dumps({"parked": sorted(self._parked), "sent": sent}).encode()
            files.replace_file(self._path, data, durable=False)


class Receiver:
    """One of those who are notified.

    Args:
        settings: of the controller.
        target: how it is reached.
        sent: what each receiver got from an earlier controller.
        save: called when something was delivered or has cleared.
    """

    def __init__(self, settings: Settings, target: NotifyTarget, sent: Mapping[str, Any], save: Any) -> None:  # noqa: ANN401
        self.target = target
        self._environment = settings.environment
        self._save = save
        self.name = hashlib.sha256(repr((target.url, target.command)).encode()).hexdigest()[:16]
        self.sent = set(map(str, sent.get(self.name, ())))
        """Causes that it knows, and that have not cleared."""
        self._waiting: dict[str, Notice] = {}
        self._hint = asyncio.Event()

    def offer(self, notice: Notice) -> None:
        """Tell it, unless it knows."""
        if notice.kind.value in self.target.events and notice.cause not in self.sent and len(self._waiting) < MOST:
            self._waiting.setdefault(notice.cause, notice)
            self._hint.set()

    def clear(self, project: str, causes: frozenset[str]) -> None:
        """Forget what has cleared: if it comes again, it is sent again. A recovery is sent all the same."""
        of_project = f"{project} "
        over = {cause for cause in self.sent if cause.startswith(of_project) and cause not in causes}
        for cause in [cause for cause in self._waiting if cause.startswith(of_project) and cause not in causes]:
            if self._waiting[cause].kind is not notices.NoticeKind.RECOVERED:
                del self._waiting[cause]
        if over:
            self.sent -= over
            self._save()

    async def run(self) -> None:
        """Deliver one after another, until cancelled."""
        failures = 0
        while True:
            self._hint.clear()
            if not self._waiting:
                await self._hint.wait()
                continue
            notice = next(iter(self._waiting.values()))
            try:
                async with asyncio.timeout(LIMIT):
                    await self._deliver(notice)
            except (DeliveryError, TimeoutError, OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                failures += 1
                after = max(restarts.BASE, restarts.delay(failures, f"{self.name}{failures}"))
                why = str(error) or "it takes too long"
                log.warning("cannot notify", receiver=self.name, error=why, failures=failures, again=round(after, 1))
                await asyncio.sleep(after)
                continue
            failures = 0
            self._waiting.pop(notice.cause, None)
            if notice.kind is not notices.NoticeKind.RECOVERED:
                self.sent.add(notice.cause)
            self._save()

    async def _deliver(self, notice: Notice) -> None:
        body = notice.body(words=self.target.words)
        if self.target.command:
            await self._run(json.dumps(body).encode())
        else:
            await self._post(body)

    async def _post(self, body: dict[str, Any]) -> None:
        data, headers = json.dumps(body).encode(), {"content-type": "application/json"}
        if self.target.shape == "ntfy":
            data, headers = notices.ntfy(body)
        headers["user-agent"] = f"opencode-manager/{__version__}"
        if key := self._key():
            headers |= signed(data, key, int(time.time()))
        async with httpx2.AsyncClient(timeout=LIMIT, follow_redirects=False) as client:
            answer = await client.post(self.target.url, content=data, headers=headers)
        if not answer.is_success:
            raise DeliveryError(f"it answers {answer.status_code}")

    def _key(self) -> bytes:
        if not self.target.secret_file:
            return b""
        key = Path(files.expanded(self.target.secret_file)).read_bytes().strip()
        if not key:
            raise DeliveryError("its secret_file is empty")
        return key

    async def _run(self, data: bytes) -> None:
        program = await asyncio.create_subprocess_exec(
            *self.target.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(self._environment),
            start_new_session=True,
        )
        try:
            await program.communicate(data)
        finally:
            if program.returncode is None:
                program.kill()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_KILL):
                        await program.wait()
        if program.returncode:
            raise DeliveryError(f"it ended with exit code {program.returncode}")


def notified_file(home: Home) -> Path:
    """Return where it is remembered what was sent."""
    return home.controller / "notified.json"


def signed(data: bytes, key: bytes, at: int) -> dict[str, str]:
    """Return the headers by which a receiver knows us: HMAC-SHA256 of the time, a dot and the body."""
    digest = hmac.new(key, f"{at}.".encode() + data, hashlib.sha256).hexdigest()
    return {"x-opencode-manager-time": str(at), "x-opencode-manager-signature": f"sha256={digest}"}
