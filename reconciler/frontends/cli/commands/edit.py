"""Edit a spec in an editor; only what is valid is written."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.api import client, drafts, reader
from reconciler.core.names import valid_name
from reconciler.core.plain_text import visible
from reconciler.frontends.cli import flags, requests
from reconciler.settings import UserError
from reconciler.specs.yaml_reader import SpecFileError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.api.drafts import Draft
    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Opens $VISUAL, $EDITOR or vi. What is not valid is not written.", "edit blog-api")
    parser.add_argument("name", metavar="NAME", help="the project")
    flags.dry_run(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Edit a copy until it is a spec, show the difference, and replace the file if nobody else has changed it."""
    name = options.name
    path = drafts.path_of(drafts.specs_folder(settings), name) if valid_name(name) else None
    if path is None or not path.is_file():
        raise UserError(reader.unknown(published.read(settings.home), settings, name, "edit"))
    old = path.read_bytes()
    draft = _edited(settings, name, old)
    if draft is None:
        print("nothing has changed")
        return 0
    requests.preview([draft])
    if not options.dry_run:
        client.write(settings, draft, requests.author("edit"))
    return 0


def _edited(settings: Settings, name: str, old: bytes) -> Draft | None:
    """Return the edited spec; None where it stays as it was.

    Raises:
        UserError: it is not a spec, and nobody goes on editing; the text is kept.
    """
    with tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".yaml", delete=False) as file:
        file.write(old)
    copy = Path(file.name)
    while True:
        _open_editor(settings, copy)
        new = copy.read_bytes()
        if new == old:
            copy.unlink()
            return None
        try:
            draft = drafts.edited(settings, name, old, new.decode("utf-8", "replace"))
        except SpecFileError as error:
            print(visible(str(error)), file=sys.stderr)
            if not sys.stdin.isatty() or input("Edit it again? [Y/n] ").strip().lower() in {"n", "no"}:
                raise UserError(f"cannot write the spec of {name}: it is not valid; your text is in {copy}") from None
            continue
        copy.unlink()
        return draft


def _open_editor(settings: Settings, path: Path) -> None:
    environment = settings.environment
    editor = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError):
        raise UserError(f"cannot run the editor {editor!r}: set EDITOR to one that works; the copy is {path}") from None
