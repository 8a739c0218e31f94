"""The door to where projects run: everything above knows this and nothing behind it.

Belongs here: what the controller asks of an engine. The first engine is `engines.local` (processes of this machine);
another (Kubernetes) runs the same specs and is the second implementation of this protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Ledger, Now, Probe, ProjectFacts, Service, ServiceFacts
    from reconciler.core.reasons import Reason
    from reconciler.core.spec import Spec


class Report(Protocol):
    """Called while an action goes on."""

    def __call__(self, reason: Reason, message: str, seen: tuple[Service, ServiceFacts] | None = None) -> None:
        """Say what goes on.

        Args:
            reason: of the condition meanwhile.
            message: a clause.
            seen: what has just become of a service.
        """


class Events:
    """What an engine tells unasked. Who listens to none of it needs no more than this."""

    def happened(self, name: str) -> None:
        """Something of this project is not as it was: a process ended, or a service says something else."""

    def probed(self, name: str, service: Service, probe: Probe) -> None:
        """A service was asked and is as it was."""


class Engine(Protocol):
    """Looks at projects and acts on them. Every call may be cancelled at any await and asked again."""

    def now(self) -> Now:
        """The clock."""

    async def observe(self, name: str, spec: Spec, ledger: Ledger) -> ProjectFacts:
        """Everything a plan may look at, as it is now."""

    async def perform(self, name: str, spec: Spec, action: Action, report: Report) -> Outcome:
        """Do one planned action."""

    def fingerprint(self, name: str) -> object:
        """Changes when a person edited something of the project beside its spec. Cheap."""

    async def watch(self, hint: Callable[[], None]) -> None:
        """Call `hint` whenever a fingerprint may have changed, until cancelled. It may be late or missing."""

    def describe(self, name: str) -> str:
        """Where the project lives, for people."""

    def tidy(self) -> None:
        """Housekeeping that may be broken off. Blocking: called in a thread."""

    async def close(self) -> None:
        """Let go of everything watched; what runs goes on."""
