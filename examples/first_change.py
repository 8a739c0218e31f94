"""From nothing to "the agent wrote this file, here is the diff", through MCP only, for two projects at one address.

    python examples/first_change.py > examples/transcript.md

Everything is temporary: the manager's home, two git repositories, and a model that costs nothing and obeys directives
in double brackets. What is real: the controller, OpenCode, git, MCP. The words it prints are the tools' own.
"""  # noqa: INP001  a script, not a package

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import watchfiles
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mcp_types import CallToolResult

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = {"blog": "Writing", "shop": "Selling"}
LIMIT = 600
"""Seconds for everything: the first run fetches OpenCode, unless it is installed."""
INTRODUCTION = """\
# A first change, through MCP only

Real output of `python examples/first_change.py`. Two projects, one address: each tool that works inside a project takes
its name as `project`. Paths, ids, ports and processes differ from run to run.

The model here is a fake, so that this costs nothing and needs no account: it does what stands in `[[...]]`. With a real
one you leave the brackets out and say what you want in plain words. To give the agents one, set
`OPENCODE_CONFIG_CONTENT` in the controller's environment to the OpenCode configuration that all of them get, with the
key in a file of mode 0600, and call `opencode_restart` where an agent runs already:

```json
{"model": "PROVIDER/MODEL", "provider": {"PROVIDER": {"options": {"apiKey": "{file:/home/you/.provider-key}"}}}}
```

Nothing else changes, but that a real model takes its time and may ask before it acts: when the state is `running`, call
`opencode-session-message` again without content; when it is `waiting_permission` or `waiting_question`, answer with
`opencode-permission-reply` or `opencode-question-reply` first.

```text"""


class Manager:
    """A client that shows what it asks and what it gets."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def both(self, tool: str, **arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Call a tool for both projects at once, each argument given by project; the structured answers.

        Raises:
            RuntimeError: one of them is an error.
        """
        calls = [{name: values[project] for name, values in arguments.items()} for project in PROJECTS]
        results = await asyncio.gather(*(self._client.call_tool(tool, call) for call in calls))
        return [self._show(tool, call, result) for call, result in zip(calls, results, strict=True)]

    def _show(self, tool: str, arguments: dict[str, Any], result: CallToolResult) -> dict[str, Any]:
        shown = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
        text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
        say(f"\n> {tool}({shown})", *(f"  {line}".rstrip() for line in text.strip().splitlines()))
        if result.is_error or result.structured_content is None:
            raise RuntimeError(f"cannot go on: {tool} failed")
        return dict(result.structured_content)


def say(*lines: str) -> None:
    """Add to the transcript."""
    print("\n".join(lines), flush=True)  # noqa: T201  the whole purpose


async def story(manager: Manager, origins: dict[str, str]) -> None:
    """What a person would ask for in a chat."""
    names = {name: name for name in PROJECTS}
    limits = dict.fromkeys(PROJECTS, 300)
    try:
        await manager.both("opencode_start", project_name=names, git_url=origins, wait_seconds=limits)
        sessions = await manager.both("opencode-session-create", project=names, title=dict.fromkeys(PROJECTS, "Slogan"))
        ids = {name: session["sessionId"] for name, session in zip(PROJECTS, sessions, strict=True)}
        content = {name: prompt(text) for name, text in PROJECTS.items()}
        await manager.both(
            "opencode-session-message", project=names, sessionId=ids, content=content, waitSeconds=limits
        )
        diffs = await manager.both("opencode-vcs-diff", project=names)
        for text, diff in zip(PROJECTS.values(), diffs, strict=True):
            if f"+{text} made simple" not in diff["patch"]:
                raise RuntimeError(f"cannot find {text!r} in the diff")
    finally:
        yes = dict.fromkeys(PROJECTS, True)
        await manager.both(
            "opencode_destroy", project_name=names, confirm=names, discard_unpushed=yes, wait_seconds=limits
        )


def prompt(text: str) -> str:
    """A prompt; the part in brackets is for the fake model."""
    arguments = json.dumps({"filePath": "slogan.txt", "content": f"{text} made simple\n"})
    return f"Write a slogan. [[tool:write {arguments}]]"


def make_repository(path: Path) -> str:
    """A git repository with one commit."""
    path.mkdir()
    path.joinpath("README.md").write_text(f"# {path.name}\n")
    identity = ("-c", "user.name=Example", "-c", "user.email=example@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*identity, "commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *command], cwd=path, check=True)
    return str(path)


@contextlib.contextmanager
def running(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:  # noqa: ANN401  as Popen has them
    """A program that runs within."""
    # Ctrl-C is for this script alone, which then ends the others in order.
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def environment(place: Path, model: str) -> dict[str, str]:
    """Of a controller that keeps to the temporary folder."""
    place.joinpath("specs").mkdir()
    return {
        **os.environ,
        "ENVIRONMENT": "development",
        "OPENCODE_MANAGER_HOME": str(place / "home"),
        "OPENCODE_MANAGER_SPECS": str(place / "specs"),
        "OPENCODE_MANAGER_PORT": "0",
        "OPENCODE_CONFIG_CONTENT": model,
    }


async def published(home: Path, controller: subprocess.Popen[str]) -> dict[str, Any]:
    """What the controller says of itself, once it serves."""
    home.mkdir(mode=0o700)
    async for _ in watchfiles.awatch(home, recursive=False, rust_timeout=500, yield_on_timeout=True):
        if controller.poll() is not None:
            break
        with contextlib.suppress(FileNotFoundError):
            index: dict[str, Any] = json.loads(home.joinpath("opencode-state.json").read_text())["controller"]
            if index["http_port"]:
                return index
    raise RuntimeError("cannot go on: the controller ended")


@contextlib.asynccontextmanager
async def connected(home: Path, port: int) -> AsyncIterator[Client]:
    """A client of the controller."""
    headers = {"Authorization": f"Bearer {home.joinpath('opencode-controller/token').read_text().strip()}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=LIMIT, trust_env=False) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)) as client,
    ):
        yield client


async def main() -> None:
    """Everything, and nothing left of it."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="first-change-")))
        model = stack.enter_context(running(["tests.support.fakemodel"], stdout=subprocess.PIPE))
        if model.stdout is None:
            raise RuntimeError("cannot go on: the model has no output")
        settings = environment(place, model.stdout.readline())
        controller = stack.enter_context(running(["reconciler", "run", "--quiet"], env=settings))
        port = (await published(place / "home", controller))["http_port"]
        say(INTRODUCTION, f"$ opencode-manager run &  # MCP at http://127.0.0.1:{port}/mcp")
        async with asyncio.timeout(LIMIT), connected(place / "home", port) as client:
            await story(Manager(client), {name: make_repository(place / name) for name in PROJECTS})
        say("```")


if __name__ == "__main__":
    asyncio.run(main())
