"""Which projects a command is about: published ones, and those that only have a spec yet."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.frontends.cli import selection
from reconciler.settings import Home, Settings, UserError
from reconciler.state import published

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    """Two projects are published, one only has a spec; a file of another tool lies beside it."""
    home, specs = Home(tmp_path / "home"), tmp_path / "specs"
    home.root.mkdir()
    specs.mkdir()
    specs.joinpath("web-new.yaml").write_text("git: {url: /x}\nlabels: {team: web, tier: new}\n")
    specs.joinpath("compose.yaml").write_text("services: {}\n")
    identity = published.ControllerInfo(pid=1, specs=str(specs), http_port=0, started=0.0)
    projects: dict[str, dict[str, Any]] = {"web-a": {"labels": {"team": "web"}}, "app": {"labels": {}}}
    published.Writer(home).write(identity, projects)
    return Settings(home=home, specs=specs)


def chosen(settings: Settings, *names: str, everything: bool = False, labels: tuple[str, ...] = ()) -> list[str]:
    return selection.chosen(settings, Namespace(names=[*names], all=everything, labels=[*labels]), "stop")


@pytest.mark.parametrize(
    ("names", "labels", "found"),
    [
        ((), (), ["app", "web-a", "web-new"]),
        (("web-*",), (), ["web-a", "web-new"]),
        (("web-a", "web-*", "web-a"), (), ["web-a", "web-new"]),
        (("[ab]*",), (), ["app"]),
        (("nowhere",), (), ["nowhere"]),
        ((), ("team=web",), ["web-a", "web-new"]),
        (("web-*",), ("tier",), ["web-new"]),
        ((), ("team!=web",), ["app"]),
        ((), ("team=web", "tier!=new"), ["web-a"]),
    ],
)
def test_names_patterns_and_labels_choose(
    settings: Settings, names: tuple[str, ...], labels: tuple[str, ...], found: list[str]
) -> None:
    """Each project once; a name without a pattern is left to the command, which knows what to say of it."""
    assert chosen(settings, *names, labels=labels) == found


@pytest.mark.parametrize(
    ("names", "labels", "sentence"),
    [
        (("zz*",), (), r"cannot stop 'zz\*': no project has such a name; there are app, web-a, web-new"),
        ((), ("team=none",), "cannot stop projects with the label team=none: there are none"),
        (("app",), ("team", "tier"), "cannot stop projects with the label team and tier: there are none"),
    ],
)
def test_what_chooses_nothing_is_an_error(
    settings: Settings, names: tuple[str, ...], labels: tuple[str, ...], sentence: str
) -> None:
    """A script must not take it for done."""
    with pytest.raises(UserError, match=sentence):
        chosen(settings, *names, labels=labels)


def test_what_is_shown_of_a_name_that_is_none_is_no_comfort(settings: Settings) -> None:
    """A misspelt project has no needs, and uses no memory: that is said instead."""

    def existing(*names: str) -> list[str]:
        return selection.existing(settings, Namespace(names=[*names], all=False, labels=[]), "show what waits in")

    assert existing() == ["app", "web-a", "web-new"]
    assert existing("web-*", "app") == ["web-a", "web-new", "app"]
    with pytest.raises(
        UserError, match="cannot show what waits in web-b: there is no such project; did you mean web-a"
    ):
        existing("app", "web-b")
