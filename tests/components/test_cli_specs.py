"""Commands that read and write specs: what they print and write, without any controller."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.core.spec import parse
from reconciler.frontends.cli import main
from reconciler.settings import Home
from reconciler.state.ledger import Ledgers

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

TEXT = "# mine\ngit:\n  url: git@example.org:me/blog.git   # the blog\nlabels: {team: web}\n"


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; its exit code, stdout and stderr."""
    specs = tmp_path / "specs"
    specs.mkdir()
    specs.joinpath("blog.yaml").write_text(TEXT)
    specs.joinpath("shop.yaml").write_text("git: {url: git@example.org:me/shop.git}\n")
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENCODE_MANAGER_SPECS", str(specs))
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main.main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def spec_of(tmp_path: Path, name: str) -> str:
    return tmp_path.joinpath("specs", f"{name}.yaml").read_text()


# -- set ---------------------------------------------------------------------------------------------------------------


def test_a_value_is_set_and_everything_else_stays(run: Run, tmp_path: Path) -> None:
    """The difference is printed."""
    code, out, _ = run("set", "blog", "idle_timeout=2h", "labels.tier=3")

    assert code == 0
    assert spec_of(tmp_path, "blog") == TEXT.replace("{team: web}", '{team: web, tier: "3"}') + 'idle_timeout: "2h"\n'
    assert '+idle_timeout: "2h"' in out.splitlines()


def test_a_dry_run_prints_the_difference_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    """Of every command that writes a spec."""
    for command in (
        ["set", "blog", "state=stopped"],
        ["stop", "blog"],
        ["destroy", "blog"],
        ["restart", "-l", "team=web"],
    ):
        code, out, _ = run(*command, "--dry-run")
        assert (code, spec_of(tmp_path, "blog")) == (0, TEXT), command
        assert out.startswith("--- "), command
    code, out, _ = run("start", "new", "git@example.org:me/new.git", "--dry-run")
    assert (code, "+  url: git@example.org:me/new.git" in out.splitlines()) == (0, True)
    assert not (tmp_path / "specs" / "new.yaml").exists()
    assert run("start", "blog", "--dry-run")[1] == "blog: its spec would stay as it is\n"


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("idle_timeot=2h", "did you mean 'idle_timeout'?"),
        ("idle_timeout=soon", "cannot read it as a duration"),
        ("agent.path=[a]", "cannot "),
        ("=x", "write it as key=value"),
        ("git.url=ext::sh -c id", "cannot "),
    ],
)
def test_what_would_be_no_spec_is_not_written(run: Run, tmp_path: Path, assignment: str, sentence: str) -> None:
    """One sentence, exit code 1; not in a dry run either."""
    for more in ((), ("--dry-run",)):
        code, out, err = run("set", "blog", assignment, *more)

        assert (code, out, spec_of(tmp_path, "blog")) == (1, "", TEXT)
        assert sentence in err


def test_nothing_is_set_without_saying_where(run: Run, tmp_path: Path) -> None:
    """An assignment alone is not for all."""
    assert run("set", "state=stopped")[0] == 64
    assert run("set", "blog")[0] == 64
    assert spec_of(tmp_path, "blog") == TEXT


def test_a_pattern_and_a_label_choose_projects(run: Run, tmp_path: Path) -> None:
    """All of them are set, or, where one cannot be, none."""
    assert run("set", "*", "state=stopped")[0] == 0
    assert [name for name in ("blog", "shop") if "state: stopped" in spec_of(tmp_path, name)] == ["blog", "shop"]
    assert run("set", "-l", "team=web", "discard_unpushed=true")[0] == 0
    assert "discard" not in spec_of(tmp_path, "shop")
    assert "cannot set values of 'x*': no project has such a name; there are blog, shop" in run("set", "x*", "a=b")[2]


def test_secrets_can_be_tried_too(run: Run, tmp_path: Path) -> None:
    """It says which would be set; nobody is asked, and nothing is written."""
    assert run("secrets", "blog", "--dry-run")[:2] == (
        0,
        "would set OPENCODE_SERVER_PASSWORD, MCP_TOOL_BEARER_TOKEN of blog\n",
    )
    assert run("secrets", "--all", "API_KEY", "--dry-run")[:2] == (0, "would set API_KEY of all agents\n")
    assert not (tmp_path / "home").exists()


# -- get and diff ------------------------------------------------------------------------------------------------------


def test_a_spec_is_printed_as_it_is_written_and_as_it_is_understood(run: Run) -> None:
    """For people and for programs."""
    assert run("get", "blog")[1] == TEXT
    assert json.loads(run("get", "blog", "-o", "json")[1])["labels"] == {"team": "web"}
    assert json.loads(run("get", "blog", "-o", "json", "--full")[1])["idle_timeout"] is None
    assert run("get", "blog", "--key", "git.url")[1] == "git@example.org:me/blog.git\n"
    assert run("get", "blog", "--key", "agent.port")[1] == "null\n"
    assert "there is no 'ulr'" in run("get", "blog", "--key", "git.ulr")[2]
    assert run("get", "--all", "-o", "name")[1] == "blog\nshop\n"
    assert run("get", "--all")[1].count("\n---\n") == 1


def test_a_spec_that_steers_the_terminal_is_shown_as_text(run: Run, tmp_path: Path) -> None:
    """Its file is a stranger's, if the repository is."""
    tmp_path.joinpath("specs", "blog.yaml").write_bytes(b"git: {url: /x}  # \xc2\x9b2J\n")

    _, out, err = run("get", "blog")

    assert "\x9b" not in out + err


def test_what_is_on_disk_is_compared_with_what_is_in_force(run: Run, tmp_path: Path) -> None:
    """By meaning: another format is no difference."""
    home = Home(tmp_path / "home")
    ledgers = Ledgers(home)
    for name in ("blog", "shop"):
        home.sandbox(name).run.mkdir(parents=True)
        ledgers.accept(name, parse({"git": {"url": f"git@example.org:me/{name}.git"}}))
        ledgers.flush(name)

    code, out, _ = run("diff")

    assert code == 2
    assert [line for line in out.splitlines() if line.startswith(("+", "-"))][2:] == ["+labels:", "+  team: web"]
    assert run("diff", "shop")[:2] == (0, "")
    assert run("diff", "-o", "name")[:2] == (2, "blog\n")
    (found,) = json.loads(run("diff", "-o", "json")[1])
    assert (found["name"], "\n".join(found["difference"])) == ("blog", out.rstrip("\n"))
    assert run("diff", "shop", "-o", "json")[:2] == (0, "[]\n")
    tmp_path.joinpath("specs", "shop.yaml").write_text("git: {ulr: x}\n")
    code, _, err = run("diff", "shop")
    assert (code, "did you mean 'url'?" in err) == (1, True)


# -- edit --------------------------------------------------------------------------------------------------------------


def editor(tmp_path: Path, script: str) -> str:
    """An editor that does what a shell script says with the file `$1`."""
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_what_a_person_edits_is_written_and_shown(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole text, comments and all."""
    monkeypatch.setenv("EDITOR", editor(tmp_path, 'sed -i s/web/app/ "$1"'))
    monkeypatch.delenv("VISUAL", raising=False)

    code, out, _ = run("edit", "blog")

    assert (code, spec_of(tmp_path, "blog")) == (0, TEXT.replace("web", "app"))
    assert "+labels: {team: app}" in out.splitlines()
    monkeypatch.setenv("EDITOR", "true")
    assert run("edit", "blog")[1] == "nothing has changed\n"


def test_what_is_not_valid_is_kept_beside_and_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody at a terminal can be asked."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("VISUAL", editor(tmp_path, 'echo "sate: running" >> "$1"'))

    code, _, err = run("edit", "blog")

    assert (code, spec_of(tmp_path, "blog")) == (1, TEXT)
    assert "did you mean 'state'?" in err
    kept = err.strip().rpartition(" ")[2]
    assert kept.startswith(str(tmp_path))
    assert Path(kept).read_text().endswith("sate: running\n")


def test_an_edit_does_not_overwrite_what_somebody_wrote_meanwhile(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs stays."""
    theirs = tmp_path / "specs" / "blog.yaml"
    monkeypatch.setenv("VISUAL", editor(tmp_path, f'sed -i s/web/app/ "$1"; echo "state: stopped" >> {theirs}'))

    code, _, err = run("edit", "blog")

    assert (code, spec_of(tmp_path, "blog")) == (1, f"{TEXT}state: stopped\n")
    assert "somebody else has changed it meanwhile" in err
    monkeypatch.setenv("VISUAL", "no-such-editor")
    assert "cannot run the editor 'no-such-editor'" in run("edit", "blog")[2]
    assert "there is no such project" in run("edit", "nowhere")[2]
