"""A project whose agent asks leave on demand (`askingagent`): made, answered and counted by tests of needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.world import World

ASKING_AGENT = Path(__file__).with_name("askingagent.py")


class Asking:
    """One such project."""

    def __init__(self, world: World, name: str = "app", **fields: str) -> None:
        self.world = world
        self.name = name
        self.folder = world.root / f"asking-{name}"
        self.waiting = self.folder / "waiting"
        self.waiting.mkdir(parents=True)
        world.light(name, agent=f"{{env: {{ASKING: {self.folder}}}}}", **fields)
        env = world.home.sandbox(name).env_file
        lines = [line for line in env.read_text().splitlines() if not line.startswith("OPENCODE_BIN=")]
        env.write_text("\n".join([*lines, f"OPENCODE_BIN={ASKING_AGENT}"]) + "\n")

    def ask(self, request: str, text: str = "ls") -> None:
        """Let the agent ask: `per_...` leave, `que_...` a question."""
        new = self.folder / f"new-{request}"
        new.write_text(text)
        new.rename(self.waiting / request)

    def replies(self) -> list[str]:
        """What reached the agent, a line each."""
        try:
            return (self.folder / "replies").read_text().splitlines()
        except FileNotFoundError:
            return []

    def needs(self) -> list[dict[str, Any]]:
        """What is published."""
        return list(self.world.status(self.name).get("needs", ()))

    def need(self, request: str) -> dict[str, Any]:
        """The published need of a request, once it is there."""

        def found() -> dict[str, Any] | None:
            return next((need for need in self.needs() if need.get("request") == request), None)

        need = self.world.until(found, f"a need for {request}")
        assert need
        return need

    def gone(self, request: str) -> bool:
        """Wait until it is published no more."""
        return self.world.until(
            lambda: all(need.get("request") != request for need in self.needs()), f"{request} to be answered"
        )

    def inbox(self) -> list[dict[str, Any]]:
        """What `needs` prints."""
        found: list[dict[str, Any]] = json.loads(self.world.run("needs", "-o", "json"))
        return found
