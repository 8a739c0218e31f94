"""What a tool returns: an object that is small on the wire, and the same in words."""

from __future__ import annotations

from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel


class ToolResult(BaseModel):
    """Snake case here, camel case on the wire; what may be left out and is empty, is."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        fields = type(self).model_fields.items()
        optional = {name for key, one in fields if not one.is_required() for name in (key, one.alias)}
        return {key: value for key, value in dumped.items() if key not in optional or value not in ("", [])}


def said(text: str, result: ToolResult) -> CallToolResult:
    """Make a tool's result: a short text for the model, and the same as an object.

    Half of the clients show one of them, half the other, so a note stands in both.
    """
    structured = result.model_dump(by_alias=True, mode="json")
    text = "\n".join(filter(None, (text, structured.get("note"))))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)
