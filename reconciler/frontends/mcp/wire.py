"""Results as MCP clients get them: what is not known or empty is left out, so that nothing is null."""

from __future__ import annotations

from types import GenericAlias, NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

if TYPE_CHECKING:
    from collections.abc import Collection


def schema(
    of: type,
    *required: str,
    without: Collection[str] = (),
    items: Any = None,  # noqa: ANN401  a type
    **more: Any,  # noqa: ANN401
) -> type[BaseModel]:
    """Return the model of a result on the wire: what is not known or empty is left out, so nothing there is null."""

    def wire(hint: Any) -> Any:  # noqa: ANN401  a type
        inner = get_args(hint)
        if get_origin(hint) is tuple:
            return GenericAlias(list, items or inner[0])
        return next(one for one in inner if one is not NoneType) if NoneType in inner else hint

    hints = {name: wire(hint) for name, hint in get_type_hints(of).items() if name not in without}
    fields: Any = {name: (hint, ... if name in required else None) for name, hint in hints.items()}
    return create_model(of.__name__, **more, **fields)


def without_empty(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data as JSON has it, without what is empty."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
    return {key: value for key, value in plain.items() if value is not None and value not in ("", [])}
