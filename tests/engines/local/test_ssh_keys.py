"""SSH keys: made, judged, and how ssh is told to use them."""

from __future__ import annotations

import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from reconciler.engines.local.git import repo
from reconciler.engines.local.secrets import ssh_keys
from reconciler.settings import UserError
from tests.support import sshd
from tests.support.clones import git_world
from tests.support.gitrepo import Origin


def make(path: Path, *options: str, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", *options, "-N", passphrase, "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


async def test_a_deploy_key_is_made_once(tmp_path: Path) -> None:
    """Private, without a passphrase, with its public half beside it, and kept."""
    key = tmp_path / "keys" / "app-deploy"
    assert not (await ssh_keys.key_facts(key, generated=True)).exists

    await ssh_keys.generate_key(key, comment="opencode-manager app")
    first = key.read_bytes()
    await ssh_keys.generate_key(key, comment="another")

    facts = await ssh_keys.key_facts(key, generated=True)
    assert key.read_bytes() == first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (facts.exists, facts.problem) == (True, "")
    assert facts.public.startswith("ssh-ed25519 AAAA")
    assert facts.public.endswith(" opencode-manager app")
    assert sorted(path.name for path in key.parent.iterdir()) == ["app-deploy", "app-deploy.pub"]


async def test_a_missing_public_half_is_made_again(tmp_path: Path) -> None:
    """And one that belongs to another key is put right."""
    key = tmp_path / "app-deploy"
    await ssh_keys.generate_key(key, comment="app")
    public = key.with_name("app-deploy.pub")
    before = public.read_text()

    for spoil in (public.unlink, lambda: public.write_text("ssh-ed25519 AAAA other")):
        spoil()
        await ssh_keys.generate_key(key, comment="app")
        assert public.read_text().split()[:2] == before.split()[:2]


async def test_the_public_half_shown_is_the_one_of_the_private_key(tmp_path: Path) -> None:
    """Whatever the file beside it says: it is what a person will add."""
    key, other = make(tmp_path / "key"), make(tmp_path / "other")
    (tmp_path / "key.pub").write_text((tmp_path / "other.pub").read_text())

    facts = await ssh_keys.key_facts(key, generated=False)
    another = await ssh_keys.key_facts(other, generated=False)

    assert facts.problem == ""
    assert facts.public.split()[1] != another.public.split()[1]


async def test_a_changed_key_file_is_detected(tmp_path: Path) -> None:
    """Looks are remembered only as long as the file is the same."""
    key = make(tmp_path / "key")
    before = await ssh_keys.key_facts(key, generated=False)
    make(tmp_path / "other").replace(key)

    after = await ssh_keys.key_facts(key, generated=False)

    assert before.public != after.public
    assert after.problem == ""


async def test_every_key_that_cannot_work_is_named_with_the_way_out(tmp_path: Path) -> None:
    """Missing, open to others, with a passphrase, no key at all, a folder."""
    loose = make(tmp_path / "loose key")
    loose.chmod(0o640)
    locked = make(tmp_path / "locked", passphrase="correct horse")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "text").chmod(0o600)
    expected = {
        "missing": "no such file",
        "loose key": f"chmod 600 '{loose}'",
        locked.name: "it has a passphrase",
        "text": "not a private key",
        ".": "not a file",
    }

    for name, words in expected.items():
        facts = await ssh_keys.key_facts(tmp_path / name, generated=False)
        assert facts.problem.startswith("cannot ")
        assert str(tmp_path / name) in facts.problem
        assert words in facts.problem
        assert facts.public == ""


async def test_a_machine_without_ssh_keygen_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and nothing is left half-made."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UserError, match="install OpenSSH's client"):
        await ssh_keys.generate_key(tmp_path / "keys" / "app-deploy", comment="app")

    assert list((tmp_path / "keys").iterdir()) == []


async def test_ssh_reads_any_path(tmp_path: Path) -> None:
    """Spaces, quotes, percent signs and backslashes reach ssh as they are."""
    folder = tmp_path / "a b'c\"d%h\\e#f"
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")
    await ssh_keys.generate_key(folder / "key", comment="app")
    with sshd.best()(tmp_path / "ssh") as server:
        server.authorize((folder / "key.pub").read_text())
        command = ssh_keys.ssh_command(folder / "key", folder / "known_hosts")
        await repo.test_access(server.url(origin.path), world=git_world(command))

    assert "127.0.0.1" in (folder / "known_hosts").read_text()


def test_ssh_asks_nobody_and_uses_no_other_key() -> None:
    """What the docstring promises, as options; the user's own configuration stays in force."""
    words = shlex.split(ssh_keys.ssh_command(Path("/k"), Path("/h")))
    without = shlex.split(ssh_keys.ssh_command(None, Path("/h")))

    assert {"BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "IdentityFile=/k"} <= set(words)
    assert {"StrictHostKeyChecking=accept-new", "UserKnownHostsFile=/h", "ForwardAgent=no"} <= set(words)
    assert "IdentityFile=none" in without
    assert "-F" not in words
