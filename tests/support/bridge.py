"""A real bridge process, and real MCP clients that talk to it, for tests.

It starts and ends `python -P -m reconciler.bridge` and calls its tools. OpenCode is in `opencode`, its model in
`fakemodel`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from reconciler.agents.opencode import toolset
from reconciler.bridge.connect import connection
from tests.support.bothforms import check_both_forms
from tests.support.opencode import PASSWORD, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from reconciler.agents.opencode.api import OpenCode
    from reconciler.bridge.config import Config

    Progress = Callable[[float, float | None, str | None], Awaitable[None]]

TOKEN: Final = "bridge-token-for-tests-0123456789"
START_LIMIT: Final = 60.0


def connect(config: Config) -> OpenCode:
    """The client that a bridge with this configuration would have."""
    return toolset.connect(connection(config.project, config.access, config.way, asyncio.Event())).opencode


@dataclass
class Bridge:
    """One bridge process."""

    agent_url: str
    repo: Path
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def run(self) -> Path:
        """The run folder whose record identifies its agent."""
        return self.repo.absolute().parent / "run"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """All it is told."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.log.parent),
            "MCP_TOOL_BEARER_TOKEN": TOKEN,
            "MCP_TOOL_PORT": str(self.port),
            "OPENCODE_URL": self.agent_url,
            "OPENCODE_SERVER_PASSWORD": PASSWORD,
            "OCM_PROJECT": "demo",
            "OCM_REPO": str(self.repo),
            "OCM_RUN": str(self.run),
        }

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "reconciler.bridge"]
            self.process = subprocess.Popen(
                command, env=self.environment(), cwd=self.log.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_LIMIT
        while True:
            with contextlib.suppress(httpx2.TransportError):
                httpx2.get(f"{self.url}/health", timeout=10)
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the bridge did not start: {self.log.read_text()}")
            time.sleep(0.02)  # nothing announces that it listens

    def stop(self) -> int:
        """TERM it; its wait status. Raises subprocess.TimeoutExpired when it does not end."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    @contextlib.asynccontextmanager
    async def client(self, mode: str = "auto", token: str = TOKEN) -> AsyncIterator[Client]:
        """An MCP client: `auto` speaks the newest protocol, `legacy` the one with a handshake."""
        headers = {"authorization": f"Bearer {token}"}
        # As SDK clients do: a call may be silent for a while, but not for ever.
        async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=120), trust_env=False) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client


@contextlib.contextmanager
def running(agent_url: str, repo: Path, log: Path) -> Iterator[Bridge]:
    """A bridge that runs within."""
    bridge = Bridge(agent_url=agent_url, repo=repo, log=log)
    try:
        bridge.start()
        yield bridge
    finally:
        bridge.stop()


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the tool returns, as an object; the tool's name without `opencode-`. Fails the test on a tool's error.

    Whatever is called, its answer must say what to do in both forms.
    """
    result = await client.call_tool(f"opencode-{tool}", arguments)
    assert not result.is_error, said(result.content)
    assert result.structured_content is not None
    check_both_forms(result)
    return dict(result.structured_content)


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """The text of the error that the tool answers."""
    result = await client.call_tool(f"opencode-{tool}", arguments)
    assert result.is_error, json.dumps(result.structured_content)
    return said(result.content)


def said(content: list[Any]) -> str:
    """The text for the model."""
    return "\n".join(one.text for one in content if isinstance(one, TextContent))
