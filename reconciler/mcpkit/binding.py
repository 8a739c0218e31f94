"""How a tool becomes an MCP tool, for one project or for many.

A tool is an async function whose first parameter is the agent it works on. `bound` hides that parameter. For one
project that is all; a router gets a `project` argument in its place:

    bound(TOOLS, lambda _: the_agent)                 # this bridge
    bound(TOOLS, agent_of_project, routed=True)       # one address for all projects
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool as McpTool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.core import plain_text
from reconciler.mcpkit import redact
from reconciler.mcpkit.arguments import WrongArgumentsError, ignored, plain_schema, understand, wrong
from reconciler.mcpkit.failure import ToolFailureError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp.server.mcpserver import Context


class Subject(Protocol):
    """What a tool works on: its first argument, which no caller sees."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no result may contain."""


Function = Callable[..., Awaitable[CallToolResult]]
Resolve = Callable[[str], Awaitable[Subject]]
"""From a project's name (empty where there is one project only) to what its tools work on. Raises ToolError."""

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
    """Return the tools as a server offers them.

    Args:
        tools: which.
        resolve: finds the agent that a call is for.
        routed: whether callers say which project they mean.
    """
    return [
        offered(
            _bound(tool.function, resolve, routed=routed),
            name=tool.name,
            description=tool.function.__doc__,
            annotations=tool.annotations,
        )
        for tool in tools
    ]


def offered(function: Function, *, name: str, annotations: ToolAnnotations, description: str | None = None) -> McpTool:
    """Make a tool of a function: every tool of ours, at the one address and at a bridge, is made here.

    Args:
        function: what it does; its parameters are what the tool takes.
        name: on the wire.
        annotations: title and hints.
        description: its docstring when not given.
    """
    tool = _Tool.from_function(
        function,
        name=name,
        title=annotations.title,
        description=inspect.cleandoc(description or function.__doc__ or ""),
        annotations=annotations,
    )
    tool.parameters = plain_schema(tool.parameters)
    # What a field is when it is left out says nothing about what is sent, and names need no titles.
    drop = frozenset({"title", "default", "description"})
    tool.fn_metadata.output_schema = plain_schema(tool.fn_metadata.output_schema, drop)
    return tool


class _Tool(McpTool):
    """A tool that understands what is meant by its arguments, and refuses others in our own words."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: ANN401  as the base class has it
        """Run it. Every failure is one sentence, without the library's own words in front.

        Raises:
            ToolError: the arguments are wrong, or the tool refused.
            UnexpectedToolError: nobody foresaw it; the log has the rest.
        """
        fields = {field.alias or name: field for name, field in self.fn_metadata.arg_model.model_fields.items()}
        try:
            meant = understand(self.name, fields, arguments)
            result = await super().run(meant.arguments, context, convert_result)
        except WrongArgumentsError as error:
            raise ToolError(str(error)) from None
        except UnexpectedToolError as error:
            raise UnexpectedToolError(f"cannot finish {self.name}: internal error; see the log") from error
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(wrong(self.name, error.__cause__)) from None
            text = str(error).removeprefix(f"Error executing tool {self.name}: ")
            if text.startswith("Resolver "):  # the library's: a client said yes and left the form empty
                text = "the user's answer does not hold what was asked for; ask again"
            raise ToolError(text if text.startswith("cannot ") else f"cannot finish {self.name}: {text}") from None
        if meant.ignored and isinstance(result, CallToolResult):
            _remark(result, ignored(self.name, meant.ignored, fields))
        return result


def _remark(result: CallToolResult, sentence: str) -> None:
    """Add a sentence to both forms of an answer: clients show their model one of them."""
    result.content = [*result.content, TextContent(type="text", text=sentence)]
    result.structured_content = {**(result.structured_content or {}), "ignored": sentence}


def _bound(function: Function, resolve: Resolve, *, routed: bool) -> Function:
    """Return the function without its agent argument, with names as on the wire."""
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
        except ToolFailureError as error:
            raise ToolError(plain_text.visible(redact.without(str(error), agent.secrets))) from None
        return _clean(result, agent.secrets)

    call.__name__ = function.__name__
    # Both are looked at: by `inspect.signature` for the schema, by `get_type_hints` for the context.
    vars(call)["__signature__"] = signature.replace(parameters=shown)
    call.__annotations__ = {one.name: one.annotation for one in shown} | {"return": signature.return_annotation}
    return call


def _clean(result: CallToolResult, secrets: tuple[str, ...]) -> CallToolResult:
    """Return the result without these secrets, and with nothing in it that steers a terminal or hides from a person."""
    clean = redact.without(result.model_dump(by_alias=True, mode="json"), secrets)
    return CallToolResult.model_validate(_visible(clean))


def _visible(value: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
    if isinstance(value, str):
        return plain_text.visible(value)
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    return [_visible(item) for item in value] if isinstance(value, list) else value
