"""Sub-folders, files of other tools and misnamed specs in the specs folder: notes, in full once, and no projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli import main
from reconciler.settings import Home, Settings
from reconciler.specs.spec_folder import Accepted, Rejected, Removed, SpecFolder
from reconciler.state import published

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World

GOOD = "git: {url: here}\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [blog.yaml]\n"
OTHERS = {
    "kustomization.yaml": KUSTOMIZATION,
    "docker-compose.yaml": "services: {web: {image: nginx}}\n",
    "deploy.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
    "stack.yaml": "services: {web: {image: nginx}}\n",
    "ci.yaml": "on: [push]\njobs: {}\n",
    "kustomization.yml": KUSTOMIZATION,
    "Kustomization": KUSTOMIZATION,
    ".pre-commit-config.yaml": "repos: []\n",
    "team-a/blog.yaml": GOOD,
    "base/one.yaml": GOOD,
    "base/deeper/two.yml": GOOD,
    "My_App.yaml": GOOD,
}
NOTES = [
    "cannot use .pre-commit-config.yaml as a spec: it is a file of pre-commit; it is left alone",
    "cannot use Kustomization as a spec: it is a file of Kustomize; it is left alone",
    "cannot use ci.yaml as a spec: it is a GitHub workflow (on, jobs); it is left alone",
    "cannot use deploy.yaml as a spec: it is a Kubernetes manifest (apiVersion, kind); it is left alone",
    "cannot use docker-compose.yaml as a spec: it is a file of Docker Compose; it is left alone",
    "cannot use kustomization.yaml as a spec: it is a file of Kustomize; it is left alone",
    "cannot use kustomization.yml as a spec: it is a file of Kustomize; it is left alone",
    "cannot use stack.yaml as a spec: it is a file of Docker Compose (services); it is left alone",
    "cannot use team-a/blog.yaml as a spec: specs lie directly in the specs folder; move it up",
    "cannot use the 2 YAML files in base/ as specs: specs lie directly in the specs folder; move them up",
    "cannot use the spec file 'My_App.yaml': names are 1 to 63 of a-z, 0-9 and inner hyphens; rename it to my-app.yaml",
]


def fill(folder: Path) -> None:
    """All of them, and README and droppings that nobody need be told about."""
    for name, text in {**OTHERS, "README.md": "x", ".blog.yaml.swp": "x", "docs/README.md": "x"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("given", [True, False])
def test_validate_says_all_of_them_and_is_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENCODE_MANAGER_SPECS", str(tmp_path / "specs"))
    fill(tmp_path / "specs")
    (tmp_path / "specs" / "blog.yaml").write_text(GOOD)

    assert main.main(["validate", *([str(tmp_path / "specs")] if given else [])]) == 0
    printed = capsys.readouterr()
    assert printed.out == "blog.yaml: ok\n"
    assert printed.err.splitlines() == [f"note: {note}" for note in NOTES]


def test_run_says_each_once_and_status_says_how_many(world: World) -> None:
    fill(world.specs)
    world.light("blog", state="stopped")
    out = world.run("run", "--once")
    world.start()
    world.ready("blog")
    world.until(lambda: (index := published.read(world.home)).running and index.controller, "it to lead")
    shown = world.run("status")

    assert [line.removeprefix("note: ") for line in out.splitlines() if line.startswith("note: ")] == NOTES
    assert "note: 11 entries of the specs folder are not used; to see why: opencode-manager validate" in shown
    assert "left alone" not in shown
    assert list(published.read(world.home).projects) == ["blog"]


def test_a_file_of_another_tool_is_no_broken_project_and_may_become_a_spec(tmp_path: Path) -> None:
    reader = SpecFolder(Settings(home=Home(tmp_path / "home"), specs=tmp_path / "specs"))
    path = tmp_path / "specs" / "kustomization.yaml"
    path.parent.mkdir()
    seen = []
    for now, text in enumerate((KUSTOMIZATION, "state: running\n", KUSTOMIZATION, GOOD, KUSTOMIZATION)):
        path.write_text(text)
        looks = [reader.look(10.0 * now + after) for after in (0.0, 9.0)]
        changes = [type(change) for look in looks for change in look.changes]
        seen.append((changes, "kustomization" in looks[1].scan.files, len(looks[1].scan.warnings)))

    # Once it was a spec, what comes after is a broken one: the last one stays in force.
    project = [([Rejected], True, 0), ([Removed], False, 1), ([Accepted], True, 0), ([Rejected], True, 0)]
    assert seen == [([], False, 1), *project]
