"""Perform what people answer: from a demand of a frontend to the agent, once, and back what became of it.

The first answer to a need is taken down on disk before it is sent. A controller that is killed in between asks the
agent first whether it still waits, so no answer is lost and none is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

import structlog

from reconciler.agents.base import CallError, Consent, NotWaitingError, Reply, ReplyError
from reconciler.controller.events import AnswerGiven, StatusAged, StatusChanged
from reconciler.core import answers
from reconciler.core.answers import Fate
from reconciler.core.history import Author, Via
from reconciler.core.needs import RESUME, NeedKind, UnfitAnswerError, understand
from reconciler.core.reasons import Reason
from reconciler.engines.base import ProjectGone, Recorded
from reconciler.state import demands
from reconciler.state.answer_book import AnswerBook
from reconciler.system import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.controller.project import Project
    from reconciler.core.answers import AnswerRecord, Demand
    from reconciler.core.needs import Need, Said
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Engine, Events
    from reconciler.settings import Settings

TRIES: Final = 3
"""Times that an answer is sent to an agent that does not answer, if it still waits."""
PAUSE: Final = 1.0
"""Seconds between two of them."""
AUTHOR: Final = Author(Via.CONTROLLER, detail="restart.resume")
"""Of what a spec has answered."""
AT_ONCE: Final = 20
"""Answers on their way at once: each is a connection."""

log = structlog.stdlib.get_logger(__name__)


class Answering:
    """Gives agents what people answer.

    Args:
        settings: of the controller.
        engine: where projects run.
        projects: all of them, with what waits in each.
        events: the sink.
    """

    def __init__(self, settings: Settings, engine: Engine, projects: Mapping[str, Project], events: Events) -> None:
        self._settings = settings
        self._home = settings.home
        self._engine = engine
        self._projects = projects
        self._events = events
        self._book = AnswerBook(settings.home)
        self._hint = asyncio.Event()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        """By demand."""
        self._waiting = False
        """Whether a demand waits for its project to be seen."""
        self._places = asyncio.Semaphore(AT_ONCE)
        self._known: dict[str, set[str]] = {}
        """The ids of what waits in each project, as recorded."""
        self._resumed: set[tuple[str, str, float]] = set()
        """Interruptions that the spec has had resumed: project, need and since when."""
        events.subscribe(StatusChanged, lambda event: self._changed(event.status))
        events.subscribe(ProjectGone, self._gone)
        events.subscribe(StatusAged, lambda _event: self._seen_again())

    async def run(self) -> None:
        """Take up demands as they come, until cancelled."""
        bell = self._open_bell()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._hint.clear()
                    self._take(tasks)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._settings.poll):
                            await self._hint.wait()
        finally:
            if bell is not None:
                asyncio.get_running_loop().remove_reader(bell)
                os.close(bell)

    def _open_bell(self) -> int | None:
        try:
            bell = demands.open_bell(self._home)
        except OSError as error:
            log.warning("demands are polled", error=str(error))
            return None

        def rung() -> None:
            demands.heard(bell)
            self._hint.set()

        asyncio.get_running_loop().add_reader(bell, rung)
        return bell

    def _seen_again(self) -> None:
        if self._waiting:
            self._hint.set()

    def _gone(self, event: ProjectGone) -> None:
        self._known.pop(event.name, None)

    def _changed(self, status: ProjectStatus) -> None:
        self._seen_again()
        before, now = self._known.get(status.name), {need.id for need in status.needs}
        self._known[status.name] = now
        if before is not None:  # else an earlier controller has recorded what there is
            for need in status.needs:
                if need.id not in before:
                    self._record(status.name, Reason.WAITING_FOR_PERSON, f"{need.kind} {need.id}: {need.message}")
        project = self._projects.get(status.name)
        if project is None or project.desired.spec is None or not project.desired.spec.restart.resume:
            return
        for need in status.needs:
            key = (status.name, need.id, need.since)
            if need.kind is NeedKind.INTERRUPTED and key not in self._resumed:
                self._resumed.add(key)
                with contextlib.suppress(OSError):
                    demands.write(self._home, status.name, need.id, (RESUME,), AUTHOR)

    def _take(self, tasks: asyncio.TaskGroup) -> None:
        self._waiting = False
        found = demands.pending(self._home)
        if found:
            demands.prune(self._home)
        for demand in found:
            if demand.id not in self._at_work:
                self._begin(tasks, demand)

    def _begin(self, tasks: asyncio.TaskGroup, demand: Demand) -> None:
        """Decide without an await, so that of two answers exactly one is the first."""
        need, seen, wall = self._need(demand), self._seen(demand.project), self._engine.now().wall
        record, again = self._book.of(demand.id), True
        if record is None:
            age = time.time() - demand.written
            found = answers.judge(demand, need, self._book.records, wall, age=age, seen=seen)
            if found is None:
                self._waiting = True
                return
            (record, _), again = found, False
            self._book.note(record)
        elif record.fate is Fate.SENDING and need is None and not seen:
            self._waiting = True  # an earlier controller has begun to send it
            return
        task = tasks.create_task(self._perform(demand, record, need, again=again), name=f"answer {demand.need}")
        self._at_work[demand.id] = task
        task.add_done_callback(lambda _task: self._at_work.pop(demand.id, None))

    def _need(self, demand: Demand) -> Need | None:
        project = self._projects.get(demand.project)
        waiting = project.status.needs if project is not None and project.status is not None else ()
        return next((need for need in waiting if need.id == demand.need), None)

    def _seen(self, name: str) -> bool:
        """Return whether this controller has seen all that waits in a project."""
        project = self._projects.get(name)
        if project is None or project.status is None:
            return False
        agent = project.attempt.facts.agent
        return agent.probe.working is not None or (project.attempt.settled and not agent.alive)

    async def _perform(self, demand: Demand, record: AnswerRecord, need: Need | None, *, again: bool) -> None:
        sent = again
        try:
            if record.fate is Fate.SENDING:
                await self._book.save()
                failpoint.point("before:Answer")
                sent = True
                async with self._places:
                    record = await self._send(demand, record, need, again=again)
                failpoint.point("after:Answer")
                self._book.note(record)
            await self._book.save()
            demands.conclude(self._home, record)
        except OSError as error:  # of our own files: it is taken up again by the next poll
            log.warning("an answer could not be kept", project=demand.project, error=str(error))
            if not sent:
                self._book.drop(demand.id)
            return
        log.info("answered", project=record.project, need=record.need, fate=record.fate, by=record.author.text)
        self._events.publish(AnswerGiven(record))
        if record.fate is Fate.ANSWERED:
            message = f"{record.kind} {record.need} answered: {record.said}"
            self._record(record.project, Reason.ANSWERED, message, record.author)

    def _record(self, name: str, reason: Reason, message: str, author: Author | None = None) -> None:
        self._events.publish(Recorded(name=name, reason=reason, message=message, author=author))

    async def _send(self, demand: Demand, record: AnswerRecord, need: Need | None, *, again: bool) -> AnswerRecord:
        project = self._projects.get(demand.project)
        if need is None or project is None or project.desired.spec is None:
            return record.ended(Fate.ANSWERED)  # it was sent by an earlier controller, and does not wait any more
        problem = ""
        for number in range(TRIES):
            try:
                said = understand(need, demand.words)
                if need.kind is NeedKind.INTERRUPTED:
                    await self._engine.resume(demand.project, project.desired.spec, need.sessions)
                else:
                    reply = _reply(said)
                    await self._engine.answer(
                        demand.project, project.desired.spec, need.request, reply, again=again or number > 0
                    )
                return record.ended(Fate.ANSWERED)
            except NotWaitingError:
                if again or number:
                    return record.ended(Fate.ANSWERED)
                return record.ended(
                    Fate.ELSEWHERE,
                    f"cannot answer {need.id}: it was answered in the agent itself, or its conversation ended",
                )
            except (ReplyError, UnfitAnswerError) as error:
                return record.ended(Fate.REFUSED, str(error))
            except CallError as error:
                problem = str(error)
                await asyncio.sleep(PAUSE)
        message = f"cannot answer {need.id} of {demand.project}: the agent does not take it ({problem}); try again"
        return record.ended(Fate.FAILED, message)


def _reply(said: Said) -> Reply:
    return Reply(consent=Consent(said.decision) if said.decision else None, word=said.word, answers=said.answers)
