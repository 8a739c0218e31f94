"""Parse the command line and lay out its help: argparse with grouped help, suggestions and exit code 64."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reconciler.frontends.cli.catalogue import Command

USAGE: Final = 64
"""Exit code of a usage error (EX_USAGE); 2 means pending."""
COMMAND: Final = "command"
"""Where the name of the command is parsed to."""
_WIDEST: Final = 100


class Parser(argparse.ArgumentParser):
    """Parse one command."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  argparse's own
        super().__init__(**options, allow_abbrev=False)
        self._examples: list[str] = []
        self._checks: list[Callable[[argparse.Namespace], str]] = []

    def check(self, problem: Callable[[argparse.Namespace], str]) -> None:
        """Call this with the options, when they are parsed: what it returns is an error, unless it is empty."""
        self._checks.append(problem)

    def explain(self, more: str = "", *examples: str) -> None:
        """Say more about the command in its help.

        Args:
            more: sentences.
            examples: command lines without the name of the program.
        """
        self.description = f"{self.description} {more}".strip() if more else self.description
        self._examples += examples

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
        for problem in filter(None, (check(found) for check in self._checks)):
            self.error(problem)
        return found, []

    def _refuse(self, argument: str) -> NoReturn:
        if not argument.startswith("-"):
            self.error(f"{argument!r} is an unexpected argument")
        option = argument.partition("=")[0]
        self.error(f"there is no option {option!r}{near(option, self._option_string_actions)}")

    def format_help(self) -> str:
        """Return the help of the command, and below it the examples."""
        program = self.prog.partition(" ")[0]
        shown = "".join(f"  {program} {example}\n" for example in self._examples)
        title = "example" if len(self._examples) == 1 else "examples"
        return super().format_help() + (f"\n{title}:\n{shown}" if shown else "")

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Print, and report an error of that: argparse ignores it, as if the help had been seen."""
        print(message, end="", file=file or sys.stderr)

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401  argparse's own
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        if action.dest == COMMAND:
            self.error(f"{value!r} is not a command{near(str(value), names)}")
        shown = near(str(value), names) or f": use {', '.join(names)}"
        raise argparse.ArgumentError(action, f"{value!r} is not one of its values{shown}")


def near(given: str, names: Iterable[str]) -> str:
    """Return a question that names what was probably meant; nothing where nothing is near."""
    found = importlib.import_module("difflib").get_close_matches(given, list(names), n=1, cutoff=0.6)
    return f": did you mean {found[0]!r}?" if found else ""


class Top(Parser):
    """Parse up to the command: what follows it is left to the parser of that command. The help lists all commands.

    Args:
        commands: the rows of the table.
        options: argparse's own.
    """

    def __init__(self, commands: Sequence[Command], **options: Any) -> None:  # noqa: ANN401  argparse's own
        super().__init__(**options, add_help=False)
        self._commands = commands
        self.add_argument("-h", "--help", action="help", help="show this")

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
        groups: dict[str, list[tuple[str, str]]] = {}
        for command in self._commands:
            groups.setdefault(command.group, []).append((command.name, command.summary))
        options = [one for one in self._actions if one.option_strings]
        groups["options"] = [
            (f"{', '.join(one.option_strings)} {one.metavar or ''}".strip(), one.help or "") for one in options
        ]
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
