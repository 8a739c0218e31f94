"""Print a script by which a shell completes commands, options and the names of projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import shtab

from reconciler.frontends.cli import catalogue, grammar, parsing
from reconciler.frontends.cli.grammar import Parser

if TYPE_CHECKING:
    import argparse
    from argparse import Namespace

    from reconciler.settings import Settings

SHELLS: Final = ("bash", "zsh", "fish")
_NAMES: Final = "opencode-manager list -o name 2>/dev/null"
_FUNCTION: Final = "_ocm_projects"
_PREAMBLE: Final = {
    "bash": f'{_FUNCTION}() {{ compgen -W "$({_NAMES})" -- "$1"; }}\n',
    "zsh": f'{_FUNCTION}() {{ compadd -- ${{(f)"$({_NAMES})"}}; }}\n',
}
_PROJECTS: Final = {"bash": _FUNCTION, "zsh": _FUNCTION, "fish": f"({_NAMES})"}
_BY_METAVAR: Final[dict[str, Any]] = {"NAME": _PROJECTS, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY}


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Put it where your shell looks for completions; zsh needs fpath+=~/.zfunc before compinit.",
        "completion bash > ~/.local/share/bash-completion/completions/opencode-manager",
        "completion zsh > ~/.zfunc/_opencode-manager",
        "completion fish > ~/.config/fish/completions/opencode-manager.fish",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")


def run(_settings: Settings, options: Namespace) -> int:
    """Print the script for one shell."""
    print(script(options.shell))
    return 0


def script(shell: str) -> str:
    """Return the script: made from the parsers themselves, so that it knows what they know."""
    top = Parser(prog=parsing.PROGRAM, description=parsing.SUMMARY)
    parsing.add_specs(top, help="the specs folder")
    top.add_argument("--version", action="version", version="", help="print the version")
    commands = top.add_subparsers(dest=grammar.COMMAND, metavar="COMMAND", parser_class=Parser)
    for command in catalogue.COMMANDS:
        parser = commands.add_parser(command.name, help=command.summary, description=command.summary)
        parsing.load(command).arguments(parser)
        parser.description = command.summary  # without the sentences: shells show it in a line
        for action in parser._actions:  # noqa: SLF001  it has no public name
            _completed(action)
    topics = commands.add_parser(catalogue.HELP.name, help=catalogue.HELP.summary)
    topics.add_argument("topic", nargs="?", choices=list(catalogue.BY_NAME))
    return shtab.complete(top, shell=shell, preamble=_PREAMBLE.get(shell, ""))


def _completed(action: argparse.Action) -> None:
    """Let the shell ask us for the names of projects, and complete paths by itself."""
    found = _BY_METAVAR.get(str(action.metavar))
    if found is not None:
        setattr(action, "complete", found)  # noqa: B010  argparse knows no such attribute; shtab reads it
