"""What `-o yaml` prints, given to a reader of YAML 1.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from ruamel.yaml import YAML

from reconciler.frontends.cli import main
from tests.support.fakecontroller import a_fake_controller, make_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("command", [("list",), ("status", "1e3")])
def test_a_name_or_a_ref_that_looks_like_a_number_stays_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    settings = make_settings(tmp_path)
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(settings.home.root))
    with a_fake_controller(settings) as controller:
        controller.stalled("1e3", "", "NoAccess", "0o7", git_ref="12e4567")
        main.main([*command, "-o", "yaml"])

    printed = capsys.readouterr().out
    for read in (yaml.safe_load(printed), YAML(typ="safe", pure=True).load(printed)):
        project = read[0] if command == ("list",) else read
        assert [project[key] for key in ("name", "git_ref", "message")] == ["1e3", "12e4567", "0o7"]
