"""Write YAML that readers of YAML 1.1 and 1.2 understand alike.

The two versions disagree on what an unquoted text means (`no`, `1e3`, `0o7`, `12:30`). So a text stays unquoted only
when it begins like a word or a path and has only such characters; everything else is quoted.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

Scalar = str | int | float | bool | None

_PLAIN: Final = re.compile(r"(?:[A-Za-z/]|~/|\.\.?/)(?:[\w./~@+=-]|:(?=[\w./~@+=-]))*", re.ASCII)
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""What a version of YAML reads as something else than text, in any case of letters."""


_HIDDEN: Final = re.compile(r"[\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f]")
"""What no editor shows as what it is, and the dumper would write as it is."""


class _Dumper(yaml.SafeDumper):
    """Block style, keys in the given order, no anchors, no line breaks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002  PyYAML's signature
        """Write a value that occurs twice twice, instead of an alias."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_plain(value) else '"')


_Dumper.add_representer(str, _text)


def is_plain(text: str) -> bool:
    """Tell whether every reader takes this for text without quotes."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def dump(data: Any) -> str:  # noqa: ANN401  what JSON has
    """Return plain data (mappings, lists and scalars) as a document in block style."""
    return _dump(data)


def scalar(value: Scalar, style: str | None = None) -> str:
    """Return one value to be inserted in a text: quoted where needed, or where `style` (a quote) asks for it."""
    if isinstance(value, str):
        if style == "'" and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        if style != '"' and is_plain(value):
            return value
        style = '"'
    else:
        style = None
    return _dump(value, default_style=style).removesuffix("\n").removesuffix("\n...")


def _dump(data: Any, default_style: str | None = None) -> str:  # noqa: ANN401  what JSON has
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        default_style=default_style,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04X}", text)  # it is within double quotes, as all but ASCII is
