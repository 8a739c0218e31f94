"""Git agrees with our rules for urls and refs, and what is said of forges fits every form of url."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.git_url import check_ref
from reconciler.engines.local.git import repo
from tests.unit.test_git_url import REFS, SSH

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("url", "where", "path"), SSH)
def test_git_gives_to_ssh_what_we_take_for_ssh(tmp_path: Path, url: str, where: str, path: str) -> None:
    """The same host and path, by real git with an ssh that only says what it was given (a fake)."""
    said = tmp_path / "said"
    fake = tmp_path / "ssh"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\n')
    fake.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "GIT_SSH": str(fake), "GIT_SSH_VARIANT": "ssh", "HOME": str(tmp_path)}
    subprocess.run(["git", "ls-remote", "--", url], env=env, capture_output=True, check=False, cwd=tmp_path)

    assert said.read_text().splitlines()[-2:] == [where, f"git-upload-pack '{path}'"]


@pytest.mark.parametrize("ref", REFS)
def test_git_takes_each_of_these_for_a_branch(ref: str) -> None:
    """As we do."""
    assert takes(ref)


def takes(ref: str) -> bool:
    argv = ["git", "check-ref-format", "--allow-onelevel", ref]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*"ab/.@{}~^:?*[\\ -#&'(,é\x7f\x01", ".lock"]), max_size=8).map("".join))
def test_our_rule_is_gits_own(ref: str) -> None:
    """Less dashes at the begin, which git would take for options, and blanks around, which nobody means."""
    try:
        ours = check_ref(ref) == ref
    except ValueError:
        ours = False

    assert ours == (takes(ref) and not ref.startswith("-"))


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("ssh://git@ssh.github.com:443/u/r.git", "https://github.com/u/r/settings/keys/new"),
        ("ssh://git@github.com/u/r.git/", "https://github.com/u/r/settings/keys/new"),
        ("github.com:u/r", "https://github.com/u/r/settings/keys/new"),
        ("git@GitHub.com:/u/r.git", "https://github.com/u/r/settings/keys/new"),
        ("git@github_work:u/r.git", ""),
        ("ssh://git@[::1]:2222/r.git", ""),
    ],
)
def test_the_page_to_add_the_key_is_known_for_every_form(url: str, page: str) -> None:
    """An alias could be any host: no page is better than a wrong one."""
    assert repo.key_page(url) == (page and f": {page}")
