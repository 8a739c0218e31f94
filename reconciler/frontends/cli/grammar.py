"""Parse the command line and lay out its help: argparse with grouped help, suggestions and exit code 64."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USAGE: Final = 64
"""Exit code of a usage error (EX_USAGE); 2 means pending."""
_WIDEST: Final = 100


class Parser(argparse.ArgumentParser):
    """Parse one command."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  argparse's own
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print one sentence about the problem and exit."""
        self.print_usage(sys.stderr)
        see = " See" if message.endswith("?") else "; see"
        self.exit(USAGE, f"cannot understand the command line: {message}{see} {self.prog} --help\n")

    def parse_known_args(  # type: ignore[override]  # typeshed has overloads for namespaces of other types
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse unknown options here: only this parser knows which of its options is near."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return found, []

    def _refuse(self, argument: str) -> NoReturn:
        if not argument.startswith("-"):
            self.error(f"{argument!r} is an unexpected argument")
        option = argument.partition("=")[0]
        self.error(f"there is no option {option!r}{_near(option, self._option_string_actions)}")

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Print, and report an error of that: argparse ignores it, as if the help had been seen."""
        print(message, end="", file=file or sys.stderr)

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401  argparse's own
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  it has no public name
            self.error(f"{value!r} is not a command{_near(str(value), names)}")
        shown = _near(str(value), names) or f": use {', '.join(names)}"
        raise argparse.ArgumentError(action, f"{value!r} is not one of its values{shown}")


def _near(given: str, names: Iterable[str]) -> str:
    near = importlib.import_module("difflib").get_close_matches(given, list(names), n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""


class Top(Parser):
    """Parse the whole command line; its help lists the commands in groups."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  argparse's own
        super().__init__(**options, add_help=False)
        self.add_argument("-h", "--help", action="help", help="show this")
        self._groups: dict[str, list[tuple[str, str]]] = {}

    def begin_group(self, title: str) -> None:
        """Begin a new group of commands."""
        self._groups[title] = []

    def list_command(self, name: str, text: str) -> None:
        """List a command with what it does."""
        self._groups[list(self._groups)[-1]].append((name, text))

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; show the help if there is no argument."""
        given = list(sys.argv[1:] if args is None else args)
        if not given:
            self.print_help(sys.stderr)
            self.exit(USAGE)
        # Else what follows it would be taken for the command.
        if given[0].startswith("-") and given[0].partition("=")[0] not in self._option_string_actions:
            self._refuse(given[0])
        return super().parse_known_args(given, namespace)

    def format_usage(self) -> str:
        """Return the usage in one line."""
        return f"usage: {self.prog} [--specs DIR] COMMAND ...\n"

    def format_help(self) -> str:
        """Return all commands in groups, and the options."""
        options = [(", ".join(one.option_strings), one.metavar, one.help or "") for one in self._actions]
        shown = [(f"{names} {metavar or ''}".strip(), text) for names, metavar, text in options if names]
        groups = {**self._groups, "options": shown}
        width = 2 + max(len(name) for group in groups.values() for name, _ in group)
        lines = [self.format_usage(), str(self.description), ""]
        for title, group in groups.items():
            lines.append(f"{title}:")
            lines += [line for name, text in group for line in _row(name, text, width)]
            lines.append("")
        return "\n".join([*lines, str(self.epilog), f"How to use a command: {self.prog} help COMMAND\n"])


def _row(name: str, text: str, width: int) -> list[str]:
    # Not imported above: what only help and errors need would be 10 ms of every command.
    room = min(importlib.import_module("shutil").get_terminal_size().columns, _WIDEST) - width - 6
    first, *more = textwrap.wrap(text, max(room, 20))
    return [f"    {name:<{width}}{first}", *(f"    {'':<{width}}{line}" for line in more)]
