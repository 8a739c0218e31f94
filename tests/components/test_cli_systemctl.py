"""What the user's systemd says, and what is said where there is none (programs that play it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli.commands import service
from reconciler.frontends.cli.systemctl import Systemd
from reconciler.settings import Home, Settings, UserError

if TYPE_CHECKING:
    from pathlib import Path


def settings(root: Path, **environment: str) -> Settings:
    path = f"{root}/bin:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(root), **environment}
    return Settings(home=Home(root / "home"), specs=root, environment=environment)


def playing(root: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Systemd:
    """A systemd that is played by these shell scripts."""
    for name in ("systemctl", "loginctl"):
        program = root / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{scripts.get(name, 'exit 1')}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
    return Systemd(settings(root))


def test_a_systemd_that_runs_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Degraded too: some other service of the user failed."""
    for state in ("running", "degraded", "starting"):
        playing(tmp_path, monkeypatch, systemctl=f"echo {state}; exit 1").check()


@pytest.mark.parametrize(
    ("script", "why"), [("echo offline; exit 1", "'offline'"), ("exit 1", "'nothing'"), ("echo maintenance", "'main")]
)
def test_a_systemd_that_does_not_run_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    """One sentence."""
    with pytest.raises(UserError, match=f"cannot reach your systemd: systemctl --user says {why}.*run --quiet"):
        playing(tmp_path, monkeypatch, systemctl=script).check()


def test_a_machine_without_systemd_says_so(tmp_path: Path) -> None:
    """As in most containers."""
    with pytest.raises(UserError, match="systemctl is not on PATH"):
        Systemd(settings(tmp_path, PATH=str(tmp_path))).check()


def test_what_systemd_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last line, and where there is more."""
    systemd = playing(tmp_path, monkeypatch, systemctl="echo Failed to connect >&2; exit 1")

    with pytest.raises(UserError, match="cannot enable the service: Failed to connect; see systemctl --user status"):
        systemd.call("enable", "x.service")


def test_the_state_is_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value may have an equals sign."""
    systemd = playing(
        tmp_path, monkeypatch, systemctl="echo ActiveState=active; echo A=b=c; echo noise", loginctl="echo yes"
    )

    assert systemd.state() == {"ActiveState": "active", "A": "b=c"}
    assert systemd.lingers()


def test_the_unit_is_where_the_user_keeps_configuration(tmp_path: Path) -> None:
    """XDG_CONFIG_HOME, else ~/.config."""
    moved = Systemd(settings(tmp_path, XDG_CONFIG_HOME=f"{tmp_path}/cfg")).unit_file

    assert moved == tmp_path / "cfg/systemd/user/opencode-manager.service"
    assert Systemd(settings(tmp_path)).unit_file == tmp_path / ".config/systemd/user/opencode-manager.service"


def test_a_path_that_no_unit_can_hold_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    odd = settings(tmp_path, OPENCODE_MANAGER_HOME="/a\nExecStartPre=/bin/evil")

    with pytest.raises(UserError, match="cannot write a unit"):
        service.install(odd, dry_run=False)

    assert not (tmp_path / ".config").exists()
