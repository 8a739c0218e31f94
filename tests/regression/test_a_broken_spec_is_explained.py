"""What is said of a spec that a merge, an editor or a person broke."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.api import results
from reconciler.frontends.cli import main, render
from reconciler.specs.spec_folder import Rejected, read_now
from tests.support.fakecontroller import a_fake_controller, make_settings
from tests.support.world import git

if TYPE_CHECKING:
    from pathlib import Path

CURE = "a merge left a conflict there; keep one side and remove the lines with <<<<<<<, ======= and >>>>>>>"
SIDES = "<<<<<<< HEAD\n{}=======\n{}>>>>>>> other\n"


def refusal(folder: Path, text: str | bytes) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "app.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read_now(folder, "app")
    assert isinstance(found, Rejected)
    return found.message


def test_the_conflict_of_a_real_merge_is_named_with_its_line(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    for branch, ref in (("main", "a"), ("other", "b"), ("main", "c")):
        git(tmp_path, "checkout", "-q", *(["-B"] if ref != "c" else []), branch)
        (tmp_path / "app.yaml").write_text(f"git:\n  url: here\n  # which\n  ref: {ref}\nstate: running\n")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", ref)
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "merge", "other")

    found = read_now(tmp_path, "app")

    assert isinstance(found, Rejected)
    assert found.message == f"cannot read app.yaml:4: {CURE}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SIDES.format("git: {url: a}\n", "git: {url: b}\n"), 1),
        ("git: {url: a}\n" + SIDES.format("# a\n", "# b\n"), 2),
        ("git: {url: a}\nagent:\n  env:\n    A: |\n      x\n" + SIDES.format("      b\n", "      c\n"), 6),
        ('git: {url: a}\nagent: {env: {A: "x\n' + SIDES.format(" b\n", " c\n") + '"}}\n', 3),
        ("git: {url: a}\r\n" + SIDES.format("", "").replace("\n", "\r\n"), 2),
        ("git: {url: a}\n||||||| 1234abc\nstate: running\n", 2),
        ("git: {url: a}\n=======\nstate: running\n", 2),
        ("\ufeff" + SIDES.format("git: {url: a}\n", "git: {url: b}\n"), 1),
    ],
)
def test_a_conflict_is_named_wherever_it_is_and_even_where_the_text_is_still_yaml(
    tmp_path: Path, text: str, line: int
) -> None:
    assert refusal(tmp_path, text) == f"cannot read app.yaml:{line}: {CURE}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("git:\n  url: x\n".encode("utf-16-le"), "app.yaml:1: it has NUL characters, as UTF-16 has, or a file after"),
        ("git:\r  url: x\r", "app.yaml:1: its lines end in CR alone; save it with LF or CRLF"),
        ("git:\n\u00a0 url: x\n", "cannot take the character U+00A0 for a space: write an ordinary one (app.yaml:2)"),
        ("git:\n  url:\u00a0x\n", "cannot take the character U+00A0 for a space: write an ordinary one (app.yaml:2)"),
        ("git:\n  url: \u200bx\n", "app.yaml:2: it has the invisible character U+200B; remove it"),
        ("git: x\n", "cannot accept 'git': write keys below it, like url: (app.yaml:1)"),
    ],
)
def test_what_no_editor_shows_is_named(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    assert sentence in refusal(tmp_path, text)


def test_each_of_several_problems_stands_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path)
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(settings.home.root))
    message = refusal(settings.specs, "git: {urll: x}\nlimts: {}\n")
    problems = message.splitlines()
    with a_fake_controller(settings) as controller:
        controller.stalled("app", "", "SpecInvalid", message)
        for command in (["status"], ["status", "app"], ["stop", "app"]):
            main.main(command)
            printed = capsys.readouterr()
            lines = [line.strip() for line in (printed.out + printed.err).splitlines()]
            assert [problem for problem in problems if problem not in lines] == []

    answer = render.render_result(results.ProjectResult(project="app", status="error", message=message))
    assert answer.splitlines()[-3:] == problems
