"""The table of commands and what may follow each: parsed, and no module loaded that is not needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli import catalogue, flags, output, parsing, selection
from reconciler.frontends.cli.grammar import USAGE, Parser

if TYPE_CHECKING:
    import argparse

    from reconciler.frontends.cli.catalogue import Command


def names_of(actions: list[argparse.Action]) -> set[str]:
    return {name for action in actions for name in action.option_strings}


@pytest.mark.parametrize("command", catalogue.COMMANDS, ids=lambda command: command.name)
def test_each_command_explains_itself_with_an_example_that_is_understood(command: Command) -> None:
    """One at least, and every line of it is parsed."""
    parser = parsing.parser_of(command)
    shown = parser.format_help()
    examples = re.findall(rf"^  {parsing.PROGRAM} ({command.name}\b.*)$", shown.partition("\nexample")[2], re.MULTILINE)

    assert examples
    for example in examples:
        words = [word.strip("'") for word in example.partition(" > ")[0].split()[1:]]
        parser.parse_args(words)


@pytest.mark.parametrize("command", ["list", "status", "top", "needs", "events", "describe", "get", "diff"])
def test_what_shows_projects_is_chosen_and_formatted_in_the_same_way(command: str) -> None:
    """By names, labels or all; in every format, with and without titles; seen once, or watched or followed."""
    parser = parsing.parser_of(catalogue.BY_NAME[command])
    options = names_of(parser._actions)

    assert {"--all", "-l", "--label", "-o", "--output", "--no-headers"} <= options
    assert bool({"-w", "-f"} & options) is (command not in {"describe", "get", "diff"})
    for form in flags.FORMATS:
        assert parser.parse_args(["a", "b*", "-l", "team=web", "-o", form, "--no-headers"]).output == form


@pytest.mark.parametrize("command", ["start", "stop", "restart", "destroy", "confirm-missing"])
def test_every_change_can_be_tried_without_writing(command: str) -> None:
    """And is about names, patterns, labels, or all."""
    options = names_of(parsing.parser_of(catalogue.BY_NAME[command])._actions)

    assert {"--dry-run", "--all", "-l", "--label"} <= options


@pytest.mark.parametrize("command", ["stop", "start", "destroy"])
def test_what_changes_projects_needs_some(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is never taken as all."""
    with pytest.raises(SystemExit) as ended:
        parsing.parse([command])

    assert ended.value.code == USAGE
    assert flags.NOTHING_CHOSEN in capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "chosen"),
    [("team", True), ("team=web", True), ("team=app", False), ("team!=web", False), ("x!=1", True), ("x", False)],
)
def test_labels_select_by_key_and_by_value(label: str, *, chosen: bool) -> None:
    """What has no such label is unequal to every value."""
    assert selection.has_label({"team": "web"}, label) is chosen


def test_only_a_name_alone_is_shown_alone() -> None:
    """A pattern that happens to match one is a list of one."""

    def options(*names: str) -> argparse.Namespace:
        parser = Parser(prog="x")
        flags.projects(parser, default="all")
        return parser.parse_args(names)

    assert selection.one_by_name(options("a"))
    assert not any(selection.one_by_name(options(*names)) for names in ([], ["a", "b"], ["a*"], ["a", "--all"]))


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("name", "a\nb"),
        ("jsonl", '{"name": "a"}\n{"name": "b"}'),
        ("json", '[\n  {\n    "name": "a"\n  },\n  {\n    "name": "b"\n  }\n]'),
        ("yaml", "- name: a\n- name: b"),
    ],
)
def test_data_is_printed_in_the_form_that_a_program_wants(form: str, text: str) -> None:
    """A line a record, or all of it as one document."""
    assert output.text(form, [{"name": "a"}, {"name": "b"}]) == text


def test_one_record_alone_is_no_list() -> None:
    """As in `status NAME`."""
    assert output.text("json", [{"name": "a"}], alone=True) == '{\n  "name": "a"\n}'
