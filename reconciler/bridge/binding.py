"""How a tool becomes an MCP tool, for one project or for many.

Belongs here: names on the wire, the project argument, errors made readable, secrets kept out of results.
Does not belong here: what the tools do.

A tool is an async function whose first parameter is the agent it works on. `bound` hides that parameter. For one
project that is all; a router gets a `project` argument in its place:

    bound(TOOLS, lambda _: the_agent)                 # this bridge
    bound(TOOLS, agent_of_project, routed=True)       # one address for all projects
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as McpTool
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from reconciler.bridge import redact
from reconciler.bridge.clone import CloneError
from reconciler.bridge.opencode import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.bridge.agent import Agent

Function = Callable[..., Awaitable[CallToolResult]]
Resolve = Callable[[str], Awaitable["Agent"]]
"""From a project's name (empty where there is one project only) to its agent. Raises ToolError."""

_PROJECT: Final = inspect.Parameter(
    "project",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[str, Field(description="Name of the project; opencode_list shows them")],
)
_WIRE_NAMES: Final = {"parent_id": "parentID", "agent_name": "agent"}
"""The first as the original tool has it; all others are plain camel case."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool. Hints are for clients, which may ask their user before a destructive call."""

    name: str
    title: str
    function: Function
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    @property
    def annotations(self) -> ToolAnnotations:
        """The hints as MCP has them."""
        return ToolAnnotations(
            title=self.title,
            read_only_hint=self.read_only,
            destructive_hint=self.destructive,
            idempotent_hint=self.read_only or self.idempotent,
            open_world_hint=self.open_world,
        )


def bound(tools: Iterable[Tool], resolve: Resolve, *, routed: bool = False) -> list[McpTool]:
    """The tools as a server offers them.

    Args:
        tools: which.
        resolve: finds the agent that a call is for.
        routed: whether callers say which project they mean.
    """
    return [
        discreet(
            McpTool.from_function(
                _bound(tool.function, resolve, routed=routed),
                name=tool.name,
                title=tool.title,
                description=inspect.cleandoc(tool.function.__doc__ or ""),
                annotations=tool.annotations,
            )
        )
        for tool in tools
    ]


def discreet(tool: McpTool, *, extra: Literal["ignore", "forbid"] = "ignore") -> McpTool:
    """The tool made not to repeat in a refusal what was sent.

    Args:
        tool: as the SDK makes it.
        extra: what becomes of an argument nobody knows. The agents' tools ignore it, as the original ones do.
    """
    loose = tool.fn_metadata.arg_model
    model = create_model(loose.__name__, __base__=loose)
    model.model_config |= ConfigDict(extra=extra, hide_input_in_errors=True)
    model.model_rebuild(force=True)
    tool.fn_metadata.arg_model, tool.parameters = model, model.model_json_schema(by_alias=True)
    return tool


def _bound(function: Function, resolve: Resolve, *, routed: bool) -> Function:
    """The same function without its agent, with names as they are on the wire."""
    signature = inspect.signature(function, eval_str=True)
    # A position means nothing on the wire; as keywords, a required parameter may follow one with a default.
    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in list(signature.parameters.values())[1:]]
    names = {_WIRE_NAMES.get(one.name, to_camel(one.name)): one.name for one in own}
    shown = [one.replace(name=wire) for one, wire in zip(own, names, strict=True)]
    shown = [_PROJECT, *shown] if routed else shown

    async def call(**arguments: Any) -> CallToolResult:  # noqa: ANN401  typed by the signature given to it below
        agent = await resolve(arguments.pop("project") if routed else "")
        try:
            result = await function(agent, **{names[wire]: value for wire, value in arguments.items()})
        except (AgentError, CloneError) as error:
            raise ToolError(redact.without(str(error), agent.secrets)) from None
        return _without_secrets(result, agent.secrets)

    call.__name__ = function.__name__
    # Both are looked at: by `inspect.signature` for the schema, by `get_type_hints` for the context.
    vars(call)["__signature__"] = signature.replace(parameters=shown)
    call.__annotations__ = {one.name: one.annotation for one in shown} | {"return": signature.return_annotation}
    return call


def _without_secrets(result: CallToolResult, secrets: tuple[str, ...]) -> CallToolResult:
    clean = redact.without(result.model_dump(by_alias=True, mode="json"), secrets)
    return CallToolResult.model_validate(clean)
