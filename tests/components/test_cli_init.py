"""The wizard: what it asks, what it takes as given, and what it writes."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli import main
from reconciler.specs import spec_folder
from tests.support.world import make_repository

if TYPE_CHECKING:
    from pathlib import Path

URL = "git@example.org:me/Blog_API.git"


@pytest.fixture(name="home", autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a systemd, in a clone of a repository."""
    clone = make_repository(tmp_path / "clone")
    subprocess.run(["git", "-C", str(clone), "remote", "add", "origin", URL], check=True)
    monkeypatch.chdir(clone)
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENCODE_MANAGER_SPECS", str(tmp_path / "specs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    return tmp_path


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Type these at a terminal; the questions that were asked."""
    asked, left = list[str](), list(answers)

    def answer(question: str) -> str:
        asked.append(question)
        return left.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    return asked


def test_the_defaults_are_those_of_the_folder_it_is_called_in(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Enter, enter, enter."""
    asked = answering(monkeypatch, "", "", "", "codex")

    assert main.main(["init", "--no-service"]) == 0

    assert asked[0] == f"Git URL of the first project (none: later) [{URL}]: "
    assert asked[1] == "Its name [blog-api]: "
    assert spec_folder.spec_path(home / "specs", "blog-api").read_text() == f"git:\n  url: {URL}\n"
    printed = capsys.readouterr().out
    assert "[mcp_servers." in printed
    assert printed.endswith("Next: opencode-manager run\n")


def test_what_is_given_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is an option."""
    asked = answering(monkeypatch)
    given = ["--git-url", "git@example.org:a/b.git", "--name", "mine", "--ssh-key", "/k", "--client", "none"]

    assert main.main(["init", *given, "--no-service"]) == 0

    assert asked == []
    text = spec_folder.spec_path(home / "specs", "mine").read_text()
    assert text == "git:\n  url: git@example.org:a/b.git\n  ssh_key: /k\n"


def test_a_dry_run_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the spec, and the unit where one is wanted."""
    assert main.main(["init", "--yes", "--dry-run", "--service"]) == 0

    printed = capsys.readouterr().out
    assert f"+  url: {URL}" in printed
    assert "+KillMode=process" in printed
    assert not (home / "specs").exists()
    assert not (home / "home").exists()


def test_without_a_terminal_it_asks_nobody(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how to answer."""
    assert main.main(["init"]) == 1

    assert "add --yes, and the answers as options" in capsys.readouterr().err
    assert not (home / "specs").exists()
