"""Print specs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from reconciler.api import drafts
from reconciler.core.plain_text import visible
from reconciler.frontends.cli import flags, output, selection
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "As the files have them; with --full or in a format for programs, as they are understood.",
        "get blog-api",
        "get blog-api --key agent.version",
        "get --all -o jsonl",
    )
    flags.projects(parser)
    parser.add_argument("--key", metavar="KEY", help="only this value, like git.url")
    parser.add_argument("--full", action="store_true", help="with every default")
    flags.output(parser, watch=False)


def run(settings: Settings, options: Namespace) -> int:
    """Print each spec: its text, or what it means."""
    names = selection.chosen(settings, options, "get the spec of")
    folder = drafts.specs_folder(settings)
    found = {name: drafts.read_spec(settings, folder, name, "get the spec of").spec for name in names}
    meant = {name: spec.model_dump(mode="json", exclude_defaults=not options.full) for name, spec in found.items()}
    if options.key:
        for name, spec in found.items():
            value = _shown(_value(spec.model_dump(mode="json"), options.key))
            print(value if len(found) == 1 else f"{name}  {value}")
    elif options.output not in output.FOR_PEOPLE:
        records = [{"name": name, **spec} for name, spec in meant.items()]
        output.show(options.output, records, alone=selection.one_by_name(options))
    else:
        texts = [
            output.text("yaml", [meant[name]], alone=True)
            if options.full
            else visible(drafts.path_of(folder, name).read_text(encoding="utf-8", errors="replace")).rstrip("\n")
            for name in names
        ]
        titles = [f"# {name}\n" if len(names) > 1 else "" for name in names]
        print("\n---\n".join(title + text for title, text in zip(titles, texts, strict=True)))
    return 0


def _value(spec: Any, key: str) -> Any:  # noqa: ANN401  what YAML gives
    for part in key.split("."):
        if not isinstance(spec, dict) or part not in spec:
            known = f"; there are {', '.join(spec)}" if isinstance(spec, dict) and spec else ""
            raise UserError(f"cannot get {key}: there is no {part!r}{known}")
        spec = spec[part]
    return spec


def _shown(value: Any) -> str:  # noqa: ANN401  what YAML gives
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else visible(str(value))
