"""What OpenCode writes into a clone by itself is nobody's work; whatever anybody adds to it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.agents.opencode import own_writes
from tests.support.clones import work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from pathlib import Path

LINE = '  "$schema": "https://opencode.ai/config.json",'
PLUGIN = {"@opencode-ai/plugin": "1.18.33"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n  "instructions": []\n}\n', f'{{\n{LINE}\n  "instructions": []\n}}\n'),
        ('{"instructions":[]}', f'{{\n{LINE}"instructions":[]}}'),
        ("{}", f"{{\n{LINE}}}"),
        ('\n\n  {\n "a": 1}', f'{{\n{LINE}\n "a": 1}}'),
        ('\ufeff{\n "a": 1}', f'{{\n{LINE}\n "a": 1}}'),
        ('{\r\n\t"a": 1}\r\n', f'{{\n{LINE}\r\n\t"a": 1}}\r\n'),
        ('{ // mine\n  "a": 1}\n', f'{{\n{LINE} // mine\n  "a": 1}}\n'),
        ('// mine {\n{"a": 1}\n', '// mine {\n{"a": 1}\n'),
    ],
)
def test_the_schema_line_is_put_where_opencode_puts_it(before: str, after: str) -> None:
    """Each pair was made by the real one, 1.18.33."""
    assert own_writes.with_schema(before) == after


def clone_with(tmp_path: Path, files: dict[str, str]) -> Path:
    """A clone of a repository with these files, as OpenCode finds it."""
    origin = Origin(tmp_path / "origin")
    for name, text in files.items():
        origin.path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        origin.commit(name, text)
    git(tmp_path, "clone", "--quiet", str(origin.path), "repo")
    return tmp_path / "repo"


def install(clone: Path, package: dict[str, Any], *modules: str) -> None:
    """Write what npm leaves in `.opencode` after OpenCode's install."""
    folder = clone / ".opencode"
    folder.mkdir(exist_ok=True)
    package = {**package, "dependencies": {**package.get("dependencies", {}), **PLUGIN}}
    folder.joinpath("package.json").write_text(json.dumps(package, indent=2) + "\n")
    lock = {"lockfileVersion": 3, "packages": {"": package}}
    folder.joinpath("package-lock.json").write_text(json.dumps(lock))
    listed: dict[str, Any] = {f"node_modules/{name}": {} for name in (*PLUGIN, *modules)}
    for name in (".bin", *PLUGIN, *modules):
        folder.joinpath("node_modules", name).mkdir(parents=True)
        folder.joinpath("node_modules", name, "x").write_text("x")
    folder.joinpath("node_modules", ".package-lock.json").write_text(json.dumps({"packages": listed}))


@pytest.mark.parametrize("name", sorted(own_writes.CONFIGS))
async def test_a_schema_line_is_no_lost_work_and_an_edit_beside_it_is(tmp_path: Path, name: str) -> None:
    """Staged or not; by content, to the letter."""
    clone, text = (
        clone_with(tmp_path, {name: '{\n  "instructions": []\n}\n'}),
        f'{{\n{LINE}\n  "instructions": []\n}}\n',
    )
    (clone / name).write_text(text)
    assert await work_at_risk(clone) == ()
    git(clone, "add", name)
    assert await work_at_risk(clone) == ()

    (clone / name).write_text(text.replace("[]", '["mine"]'))
    assert await work_at_risk(clone) == (f"changed file {name}",)


async def test_the_line_in_another_file_or_written_otherwise_is_work(tmp_path: Path) -> None:
    """A name alone proves nothing, and neither does the line."""
    clone = clone_with(tmp_path, {"opencode.json": "{}\n", "other.json": "{}\n"})
    (clone / "other.json").write_text(f"{{\n{LINE}}}\n")
    (clone / "opencode.json").write_text(f"{{{LINE}}}\n")

    assert await work_at_risk(clone) == ("changed file opencode.json", "changed file other.json")


async def test_a_deleted_a_linked_and_a_new_configuration_are_work(tmp_path: Path) -> None:
    """OpenCode writes none of these."""
    clone = clone_with(tmp_path, {"opencode.json": "{}\n", "opencode.jsonc": "{}\n"})
    (clone / "opencode.json").unlink()
    (clone / "opencode.jsonc").unlink()
    (tmp_path / "elsewhere").write_text(f"{{\n{LINE}}}\n")
    (clone / "opencode.jsonc").symlink_to(tmp_path / "elsewhere")
    (clone / ".opencode").mkdir()
    (clone / ".opencode" / "opencode.json").write_text(f"{{\n{LINE}}}\n")

    found = await work_at_risk(clone)

    assert found == ("changed file opencode.json", "changed file opencode.jsonc", "untracked .opencode/")


@pytest.mark.parametrize("package", [None, {"name": "mine", "dependencies": {"zod": "4"}}])
async def test_what_npm_installs_for_opencode_is_no_lost_work(tmp_path: Path, package: dict[str, Any] | None) -> None:
    """Where the repository has a `.gitignore` of its own there, or a `package.json`."""
    files = {".opencode/.gitignore": "tmp\n"} | ({".opencode/package.json": json.dumps(package)} if package else {})
    clone = clone_with(tmp_path, files)
    install(clone, package or {}, "zod", "@scope/one")

    assert await work_at_risk(clone) == ()


@pytest.mark.parametrize(
    ("name", "text", "loss"),
    [
        (
            "package.json",
            '{"dependencies": {"@opencode-ai/plugin": "1", "mine": "2"}}',
            "untracked .opencode/package.json",
        ),
        ("package-lock.json", '{"packages": {"": {"dependencies": {}}}}', "untracked .opencode/package-lock.json"),
        ("node_modules/mine/index.js", "mine", "untracked .opencode/node_modules/"),
        ("node_modules/@scope/mine/index.js", "mine", "untracked .opencode/node_modules/"),
        ("node_modules/.package-lock.json", "nonsense", "untracked .opencode/node_modules/"),
        ("plugin.ts", "mine", "untracked .opencode/plugin.ts"),
    ],
)
async def test_what_anybody_puts_beside_it_is_work(tmp_path: Path, name: str, text: str, loss: str) -> None:
    """Each by its name."""
    clone = clone_with(tmp_path, {".opencode/.gitignore": "tmp\n"})
    install(clone, {}, "zod", "@scope/one")
    (clone / ".opencode" / name).parent.mkdir(exist_ok=True)
    (clone / ".opencode" / name).write_text(text)

    assert loss in await work_at_risk(clone)
