"""The MCP tools: what a chat can ask for and look at, and beside them the tools of each project's agent.

Each tool writes first and waits then, with a heartbeat, because clients give up on a silent call after 60 s; a client
that goes away in the middle loses nothing but the answer.
"""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    DeclinedElicitation,
    Elicit,
    ElicitationResult,
    Resolve,
)
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from reconciler import __version__
from reconciler.api import client, reader, results
from reconciler.core.names import valid_name
from reconciler.frontends.cli import render
from reconciler.frontends.mcp import history, toolset
from reconciler.frontends.mcp.callers import Callers
from reconciler.frontends.mcp.inbox import InboxTools
from reconciler.frontends.mcp.router import Router
from reconciler.frontends.mcp.wire import schema, without_empty
from reconciler.mcpkit.binding import bound, offered
from reconciler.mcpkit.endpoint import without
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.mcpserver.tools import Tool

    from reconciler.api.client import SpecChange
    from reconciler.api.results import Listing, ProjectResult
    from reconciler.core.history import Author
    from reconciler.settings import Settings

DEFAULT_WAIT: Final = 20.0
LONGEST_WAIT: Final = 300.0

INSTRUCTIONS: Final = (
    "Keeps an OpenCode coding agent ready in each of the user's repositories. opencode_start brings a project up; when"
    " it answers waiting_for_key, show the user the public key; it goes on by itself once the key is added. Secrets"
    " never go through this chat: they are in the sandbox's .env. The opencode-... tools work inside one project, named"
    " by project, once it runs: begin with opencode-session-create, talk with opencode-session-message, and look at the"
    " outcome with opencode-vcs-diff. When the answer's state is running, call again without content."
)

Name = Annotated[str, Field(description="Name of the project: 1 to 63 of a-z, 0-9 and inner hyphens")]
Wait = Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait for that")]


IN_FULL: Final = (
    *("git_ref", "ready", "reconciling", "stalled", "opencode_restarts", "opencode_last_exit"),
    *("mcp_tool_restarts", "mcp_tool_last_exit", "planned", "activity", "needs", "observed"),
    *("confinement", "handed_over"),
)
"""Fields that only a status in full has."""


Answer: Final = schema(results.ProjectResult, "project", "status", "message", without=IN_FULL)
FullAnswer: Final = schema(results.ProjectResult, "project", "status", "message")
Line: Final = schema(results.Summary, "project", "desired", "actual", "reason")
Lines: Final = schema(results.Listing, "projects", "controller_running", items=Line, message=(str, ...))


class DestroyConfirmation(BaseModel):
    """The answer to the question before a destroy."""

    project_name: str = Field(description="The project's name once more, to go on")


async def ask_before_destroy(
    project_name: str, confirm: str, ctx: Context[Any, Any]
) -> DestroyConfirmation | Elicit[DestroyConfirmation]:
    """Ask the person where the client offers it; else the model's own `confirm` has to do."""
    offered = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    # A capability that names neither kind means forms; one that names only urls cannot ask this.
    if offered is None or (offered.form is None and offered.url is not None):
        return DestroyConfirmation(project_name=confirm)
    question = f"Destroy {_shown(project_name)}? Its sandbox is moved to the trash. Give its name to go on."
    return Elicit(question, DestroyConfirmation)


def _confirmed(project_name: str, sure: ElicitationResult[DestroyConfirmation], confirm: str) -> str:
    """Return the name that confirms a destroy: the person's or, where nobody could be asked, the model's.

    A client without a person at it may offer to ask and then cancel: that is no answer, a `decline` is one.

    Raises:
        ToolError: the person said no, or there was nobody to ask and `confirm` is not the name.
    """
    if isinstance(sure, AcceptedElicitation):
        return sure.data.project_name
    name = _shown(project_name)
    theirs = f"opencode-manager destroy {name}"
    if isinstance(sure, DeclinedElicitation):
        raise ToolError(
            f"cannot destroy {name}: the user was asked and said no; the user alone still can, with: {theirs}"
        )
    if confirm != project_name:
        raise ToolError(
            f"cannot destroy {name}: nobody could be asked; give its name in confirm, or let the user run: {theirs}"
        )
    return confirm


def _shown(project_name: str) -> str:
    return project_name if valid_name(project_name) else "this"


class Tools:
    """The six tools on one home."""

    def __init__(self, settings: Settings, stopping: asyncio.Event, callers: Callers) -> None:
        self._settings = settings
        self._stopping = stopping
        self._callers = callers

    async def start(
        self,
        project_name: Name,
        git_url: Annotated[str, Field(description="SSH git URL, like git@github.com:user/repo.git")],
        ctx: Context[Any, Any],
        user_ssh_key: Annotated[str, Field(description="Path of a private key; never its text")] = "",
        wait_seconds: Wait = DEFAULT_WAIT,
    ) -> Annotated[CallToolResult, Answer]:
        """Start (create, run) a project: clone its git repository, run its OpenCode agent and its MCP bridge.

        Safe to call again. Once it runs, go on with opencode-session-create.
        """
        return await self._ask(
            lambda author: client.start(self._settings, project_name, git_url, user_ssh_key, author=author),
            "opencode_start",
            wait_seconds,
            ctx,
        )

    async def status(self, project_name: Name) -> Annotated[CallToolResult, FullAnswer]:
        """Status of a project: desired and actual state, processes, ports, what it waits for, and what to do next."""
        try:
            result, raw, stale = reader.look(self._settings, project_name)
        except UserError as error:
            raise ToolError(str(error)) from None
        text = render.render_status(raw) if raw else render.render_result(result)
        return answer(result, f"{text}\n\nWarning: {stale}" if raw and stale else text)

    async def stop(
        self, project_name: Name, ctx: Context[Any, Any], wait_seconds: Wait = DEFAULT_WAIT
    ) -> Annotated[CallToolResult, Answer]:
        """Stop a project: end its agent and bridge processes. The sandbox is kept; opencode_start starts it again."""
        return await self._ask(
            lambda author: client.stop(self._settings, project_name, author=author), "opencode_stop", wait_seconds, ctx
        )

    async def restart(
        self, project_name: Name, ctx: Context[Any, Any], wait_seconds: Wait = DEFAULT_WAIT
    ) -> Annotated[CallToolResult, Answer]:
        """Restart a project: its agent and its bridge, once."""
        return await self._ask(
            lambda author: client.restart(self._settings, project_name, author=author),
            "opencode_restart",
            wait_seconds,
            ctx,
        )

    async def destroy(
        self,
        project_name: Name,
        ctx: Context[Any, Any],
        sure: Annotated[ElicitationResult[DestroyConfirmation], Resolve(ask_before_destroy)],
        confirm: Annotated[str, Field(description="The project's name once more")] = "",
        discard_unpushed: Annotated[bool, Field(description="Even if unpushed work would be lost")] = False,
        wait_seconds: Wait = DEFAULT_WAIT,
    ) -> Annotated[CallToolResult, Answer]:
        """DESTRUCTIVE: destroy (delete) a project and move its sandbox to the trash. Unpushed work blocks it."""
        confirmed = _confirmed(project_name, sure, confirm)
        return await self._ask(
            lambda author: client.destroy(
                self._settings, project_name, confirm=confirmed, discard_unpushed=discard_unpushed, author=author
            ),
            "opencode_destroy",
            wait_seconds,
            ctx,
        )

    async def list(self) -> Annotated[CallToolResult, Lines]:
        """List all projects with their states and addresses: the place to begin."""
        try:
            return listed(reader.list_projects(self._settings))
        except UserError as error:
            raise ToolError(str(error)) from None

    async def _ask(
        self, write: Callable[[Author], SpecChange], tool: str, seconds: float, ctx: Context[Any, Any]
    ) -> CallToolResult:
        """Write the change, then wait for its result."""

        async def progress(waited: float, result: ProjectResult) -> None:
            await ctx.report_progress(waited, seconds, f"{result.reason}: {result.message}".rstrip(": "))

        try:
            # In a thread: it may wait for a lock. Even if this call is cancelled, the file is written whole.
            written = await asyncio.to_thread(write, self._callers.author(ctx, tool))
            result = await client.wait(self._settings, written, seconds, progress, self._stopping)
        except UserError as error:
            raise ToolError(str(error)) from None
        return answer(result, render.render_result(result))


def answer(result: ProjectResult, text: str) -> CallToolResult:
    """Build an answer in both forms: half of the clients show their model the text, half the object; each says it all.

    Args:
        result: how it stands.
        text: the same for people; what comes next is added.
    """
    said = " ".join(text.split()).casefold()
    missing = "; ".join(one for one in results.sentences(result) if " ".join(one.split()).casefold() not in said)
    if missing:
        text += "\n\n" + textwrap.fill(f"Next: {missing}", render.WIDTH, break_on_hyphens=False, break_long_words=False)
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content=fields(result),
        is_error=result.status == "error",
    )


def fields(result: ProjectResult) -> dict[str, Any]:
    """Return the answer as an object, with its whole message and without empty fields."""
    return without_empty(asdict(result) | {"message": "; ".join(results.sentences(result))})


def listed(listing: Listing) -> CallToolResult:
    """Build the list of all projects in both forms."""
    lines = [
        f"{one.project}: desired {one.desired}, actual {one.actual} ({one.reason})"
        + (f", OpenCode {one.opencode_url} (PID {one.opencode_pid})" if one.opencode_pid else "")
        + (f", MCP {one.mcp_tool_url}" if one.mcp_tool_pid else "")
        + (f"\n  {one.message}" if one.message else "")
        for one in listing.projects
    ]
    found = lines_of(listing)
    text = "\n".join(filter(None, (*lines, found["message"], listing.warning)))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=found)


def lines_of(listing: Listing) -> dict[str, Any]:
    """Return all projects as an object, with what comes next."""
    message = "opencode_status tells more of one; opencode-session-create begins work in one that runs"
    if not listing.projects:
        message = "there are no projects yet; opencode_start makes one from its git url"
    found = {"message": message, **asdict(listing)}
    return without_empty(found) | {"projects": [without_empty(one) for one in found["projects"]]}


def make_server(settings: Settings, stopping: asyncio.Event) -> MCPServer[Any]:
    """Make the MCP server of one home.

    Args:
        settings: where specs are written, and statuses and the agents' secrets read.
        stopping: set when the process is about to end: calls that wait are answered then.
    """
    # Without `subscriptions/listen`: a stream that never ends would hold up the end of the process, and no client at
    # hand listens to a status.
    router = Router(settings, stopping)
    callers = Callers()
    tools = Tools(settings, stopping, callers)
    waiting = InboxTools(settings, callers)
    six = [
        _tool(tools.start, "opencode_start", "Start a project", idempotent=True, open_world=True),
        _tool(tools.status, "opencode_status", "Status of a project", read_only=True, idempotent=True),
        _tool(tools.stop, "opencode_stop", "Stop a project", idempotent=True),
        _tool(tools.restart, "opencode_restart", "Restart a project"),
        _tool(tools.destroy, "opencode_destroy", "Destroy a project", destructive=True, idempotent=True),
        _tool(tools.list, "opencode_list", "List all projects", read_only=True, idempotent=True),
    ]
    more = [
        _tool(history.tool(settings), "opencode_events", "What happened", read_only=True, idempotent=True),
        _tool(waiting.needs, "opencode_needs", "What waits for the user", read_only=True, idempotent=True),
        _tool(waiting.answer, "opencode_answer", "Answer what waits for the user", open_world=True),
    ]
    every = [*six, *more, *bound(toolset.every(), router.resolve, routed=True)]
    mcp: MCPServer[Any] = MCPServer(
        "ocm",
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        version=__version__,
        middleware=[without("prompts"), callers.listen],
        subscriptions=False,
        lifespan=router.open,
        tools=every,
    )
    _add_resources(mcp, settings)
    return mcp


def _add_resources(mcp: MCPServer[Any], settings: Settings) -> None:
    @mcp.resource("opencode://projects", mime_type="application/json")
    def projects() -> dict[str, Any]:
        """All projects, a line each."""
        try:
            return lines_of(reader.list_projects(settings))
        except UserError as error:
            raise ResourceNotFoundError(str(error)) from None

    @mcp.resource("opencode://events", mime_type="application/json")
    async def latest_events() -> dict[str, Any]:
        """What happened last, the newest at the end."""
        return await history.fields(settings)

    @mcp.resource("opencode://projects/{name}/status", mime_type="application/json")
    def status(name: str) -> dict[str, Any]:
        """One project in full."""
        try:
            return fields(results.in_full(reader.raw_status(settings, name)))
        except UserError as error:
            raise ResourceNotFoundError(str(error)) from None


def _tool(function: Any, name: str, title: str, **hints: bool) -> Tool:  # noqa: ANN401
    annotations = ToolAnnotations(
        title=title,
        read_only_hint=hints.get("read_only", False),
        destructive_hint=hints.get("destructive", False),
        idempotent_hint=hints.get("idempotent", False),
        open_world_hint=hints.get("open_world", False),
    )
    return offered(function, name=name, annotations=annotations)
