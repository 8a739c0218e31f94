"""The user's own configuration of OpenCode: copied, bounded, and what cannot be is named."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.base import Place
from reconciler.agents.opencode import plugins, user_config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    xdg, home = tmp_path / "sandbox" / "xdg", tmp_path / "sandbox" / "home"
    for folder in (xdg, home, tmp_path / "repo"):
        folder.mkdir(parents=True)
    environment = {"HOME": str(tmp_path / "user")}
    return Place(repo=tmp_path / "repo", home=home, xdg=xdg, port=1, secret="s", environment=environment, variables={})


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def have(place: Place) -> set[str]:
    """What the agent has, without the list that is kept."""
    root = place.xdg.parent
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "opencode-copies.json")
    return {path.relative_to(root).as_posix() for path in files}


def test_everything_of_the_configuration_is_there_and_what_goes_there_goes_here(place: Place, tmp_path: Path) -> None:
    """Folders of other programs in which OpenCode looks too, and links of people who keep such files elsewhere."""
    own = tmp_path / "user" / ".config" / "opencode"
    write(tmp_path / "dotfiles" / "agents" / "review.md")
    for name in ("AGENTS.md", "command/fix.md", "plugin/p.ts", "node_modules/big.js", ".gitignore"):
        write(own / name)
    (own / "agents").symlink_to(tmp_path / "dotfiles" / "agents")
    (own / "gone.md").symlink_to(tmp_path / "nowhere")
    (own / "loop").symlink_to(own)
    for name in (".claude/CLAUDE.md", ".claude/skills/s/SKILL.md", ".claude/credentials.json", ".opencode/mode/m.md"):
        write(tmp_path / "user" / name)

    user_config.bring(place)

    before = {
        f"xdg/config/opencode/{name}" for name in ("AGENTS.md", "command/fix.md", "plugin/p.ts", "agents/review.md")
    }
    others = {"home/.claude/CLAUDE.md", "home/.claude/skills/s/SKILL.md", "home/.opencode/mode/m.md"}
    assert have(place) == before | others
    assert {one.what for one in user_config.copies(place).left_out} == {str(own / "gone.md"), str(own / "loop")}
    assert plugins.used_by(place)
    (own / "AGENTS.md").unlink()
    (own / "agents").unlink()
    user_config.bring(place)
    assert have(place) == (before | others) - {"xdg/config/opencode/AGENTS.md", "xdg/config/opencode/agents/review.md"}
    user_config.bring(replace(place, user_config=False))
    assert have(place) == set()


def test_references_mean_what_they_mean_for_the_user(place: Place, tmp_path: Path) -> None:
    """`~` is the user's home; what cannot be resolved is named, and what is a comment is not."""
    home, own = tmp_path / "user", tmp_path / "user" / ".config" / "opencode"
    key = write(home / "keys" / "corp")
    text = '{"a": "{file:~/keys/corp}", "b": "{file:../../keys/none}",\n // {file:~/x}\n "c": "{env:CORP}{env:NONE}"}'
    write(own / "opencode.json", text)

    found = user_config.copies(place, {"CORP"})
    user_config.bring(place)

    copied = (place.xdg / "config" / "opencode" / "opencode.json").read_text()
    assert copied == text.replace("~/keys/corp", str(key)).replace("../../keys", f"{own}/../../keys")
    assert next((one.source, one.place, one.how) for one in found.handed) == (key, key, "read-only")
    missing = {one.what.partition("}")[0]: one for one in found.left_out}
    assert set(missing) == {"{file:../../keys/none", "{env:NONE"}
    assert all(one.matters for one in missing.values())
    assert "opencode-manager secrets --all NONE" in missing["{env:NONE"].why


def test_files_that_variables_name_are_copied_too(place: Place, tmp_path: Path) -> None:
    """OpenCode adds a `$schema` to such a file, and packages to such a folder."""
    file, folder = write(tmp_path / "corp.json", "{}"), write(tmp_path / "corp" / "agent" / "a.md").parents[1]
    named = {**place.environment, "OPENCODE_CONFIG": str(file), "OPENCODE_CONFIG_DIR": str(folder)}
    place = replace(place, environment=named)

    user_config.bring(place)

    config = place.xdg / "config"
    assert user_config.variables(place) == {
        "OPENCODE_CONFIG": str(config / "opencode-file" / "corp.json"),
        "OPENCODE_CONFIG_DIR": str(config / "opencode-folder"),
    }
    assert have(place) == {"xdg/config/opencode-file/corp.json", "xdg/config/opencode-folder/agent/a.md"}


def test_what_is_copied_is_bounded(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In size, number and kind."""
    monkeypatch.setattr(user_config, "MOST", 3)
    own = tmp_path / "user" / ".config" / "opencode"
    for name in "abcd":
        write(own / f"{name}.md")
    write(own / "0.bin", "x" * (user_config.FILE_BYTES + 1))
    os.mkfifo(own / "1.pipe")

    found = user_config.copies(place)

    assert [path.name for path in found.files] == ["a.md", "b.md", "c.md"]
    assert [one.why for one in found.left_out] == [
        "it is larger than 1 MiB",
        "it is not a file",
        "only 3 files of your configuration are copied",
    ]


def test_nothing_is_written_or_removed_through_an_agents_links(place: Place, tmp_path: Path) -> None:
    """Nor by a list that it wrote."""
    outside = write(tmp_path / "outside" / "AGENTS.md", "mine")
    write(tmp_path / "user" / ".config" / "opencode" / "AGENTS.md")
    (place.xdg / "config").mkdir()
    (place.xdg / "config" / "opencode").symlink_to(outside.parent)
    names = '["xdg/config/../../../outside/AGENTS.md", "outside/AGENTS.md", "xdg/config/opencode/AGENTS.md", 7]'
    write(place.xdg / "config" / "opencode-copies.json", names)

    user_config.bring(place)

    assert outside.read_text() == "mine"
    assert have(place) == {"xdg/config/opencode/AGENTS.md"}
    write(place.xdg / "config" / "opencode-copies.json", names)
    user_config.bring(replace(place, user_config=False))
    assert outside.read_text() == "mine"


def test_a_change_is_noticed(place: Place, tmp_path: Path) -> None:
    """Without reading any file."""
    found = [user_config.inputs(place)]
    path = write(tmp_path / "user" / ".config" / "opencode" / "agent" / "a.md")
    found.append(user_config.inputs(place))
    os.utime(path, ns=(1, 1))
    found.append(user_config.inputs(place))

    assert found[0] == ""
    assert len(set(found)) == 3
