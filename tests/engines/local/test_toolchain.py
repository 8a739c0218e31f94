"""The agent's program: where it is looked for, and how a missing one is provided."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from reconciler import settings as settings_module
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.engines.local.toolchain import Toolchains, platform_name
from reconciler.settings import UserError

if TYPE_CHECKING:
    from pathlib import Path


def make(tmp_path: Path, **environment: str) -> Toolchains:
    home = {"HOME": str(tmp_path / "user"), settings_module.HOME_VARIABLE: str(tmp_path / "home"), "PATH": "/nowhere"}
    return Toolchains(settings_module.load(environment=home | environment))


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_program_named_in_env_comes_first(tmp_path: Path) -> None:
    """Whatever else is there."""
    put(tmp_path / "bin" / "opencode")

    found = make(tmp_path, PATH=str(tmp_path / "bin")).find(OPENCODE, named="/mine/opencode", version="1.2.3")

    assert found.path == "/mine/opencode"


def test_a_pinned_version_is_never_taken_from_path(tmp_path: Path) -> None:
    """A pin means that very version."""
    put(tmp_path / "bin" / "opencode")
    toolchains = make(tmp_path, PATH=str(tmp_path / "bin"))

    missing = toolchains.find(OPENCODE, named="", version="1.2.3")
    provided = put(tmp_path / "home" / "opencode-toolchains" / "opencode-1.2.3" / "bin" / "opencode")

    assert (missing.path, missing.version) == ("", "1.2.3")
    assert toolchains.find(OPENCODE, named="", version="1.2.3").path == str(provided)


@pytest.mark.parametrize("place", [".opencode/bin/opencode", ".bun/bin/opencode", ".local/bin/opencode"])
def test_without_a_pin_the_users_own_installation_is_taken(tmp_path: Path, place: str) -> None:
    """On PATH or where its installers put it; else the manager's default version is to be provided."""
    toolchains = make(tmp_path)
    assert toolchains.find(OPENCODE, named="", version=None).version == OPENCODE.default_version

    mine = put(tmp_path / "user" / place)

    assert toolchains.find(OPENCODE, named="", version=None).path == str(mine)


async def test_without_npm_both_ways_out_are_reported(tmp_path: Path) -> None:
    """Install npm, or name a program."""
    with pytest.raises(UserError, match=r"cannot provide opencode 1\.18\.33: npm is not on PATH.*OPENCODE_BIN"):
        await make(tmp_path).provide(OPENCODE, OPENCODE.default_version)


async def test_a_version_that_does_not_exist_leaves_nothing_behind(tmp_path: Path) -> None:
    """The registry's answer is told in one sentence."""
    toolchains = make(tmp_path, **{**os.environ, settings_module.HOME_VARIABLE: str(tmp_path / "home")})

    with pytest.raises(UserError, match=r"cannot provide opencode-linux-.*@0\.0\.99999: .*No matching version"):
        await toolchains.provide(OPENCODE, "0.0.99999")

    assert list((tmp_path / "home" / "opencode-toolchains").iterdir()) == []


def test_what_was_provided_is_the_real_program(opencode_program: Path) -> None:
    """By npm from the platform's own package."""
    assert opencode_program.stat().st_size > 50_000_000
    assert platform_name().startswith("linux-")
