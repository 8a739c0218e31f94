"""The life of projects under a real controller, on light services: start, crash, adopt, stop, destroy, and edits."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil

from reconciler.state import published
from tests.support.faults import start_impatient
from tests.support.world import Status, World, git, read_env

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def has_reason(*reasons: str) -> Callable[[Status], bool]:
    return lambda status: status["reason"] in reasons


def newer_than(before: Status) -> Callable[[Status], bool]:
    return lambda status: is_ready(status) and status["observed"] > before["observed"]


def test_a_controller_that_is_killed_leaves_its_agents_and_takes_them_up_again(world: World) -> None:
    """Same pids, no second copy, no restart counted."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()

    world.start()

    after = world.wait("app", newer_than(before))
    assert (after["agent"]["pid"], after["bridge"]["pid"]) == (before["agent"]["pid"], before["bridge"]["pid"])
    assert after["agent"]["restarts"] == 0


def test_an_agent_that_is_killed_is_replaced_and_counted(world: World) -> None:
    """The reason stays to be seen, and the bridge is left alone."""
    world.light("app")
    world.start()
    before = world.ready("app")

    os.kill(before["agent"]["pid"], signal.SIGKILL)

    after = world.wait("app", lambda status: is_ready(status) and status["agent"]["restarts"] == 1)
    assert after["agent"]["pid"] != before["agent"]["pid"]
    assert after["agent"]["last_exit"] == "signal 9"
    assert after["bridge"]["pid"] == before["bridge"]["pid"]


def test_an_agent_whose_keeper_is_killed_keeps_its_pid(world: World) -> None:
    """A new keeper takes it over; its next crash is still known and counted."""
    world.light("app")
    world.start()
    before = world.ready("app")
    keeper = psutil.Process(before["agent"]["pid"]).ppid()

    os.kill(keeper, signal.SIGKILL)

    world.until(lambda: any("--adopt" in line for line in world.lines().values()), "an adopting keeper")
    after = world.wait("app", is_ready)
    assert after["agent"]["pid"] == before["agent"]["pid"]
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    again = world.wait("app", lambda status: is_ready(status) and status["agent"]["restarts"] == 1)
    assert again["agent"]["last_exit"] == "signal 9"


def test_stopped_means_empty(world: World) -> None:
    """A grandchild that daemonised itself, in its own session and with an empty environment, is gone too."""
    world.light("app", mode="offspring")
    world.start()
    status = world.ready("app")
    keeper = psutil.Process(psutil.Process(status["agent"]["pid"]).ppid())
    tree = keeper.children(recursive=True)
    assert len(tree) == 2

    world.light("app", mode="offspring", state="stopped")

    world.wait("app", has_reason("Stopped"))
    assert not any(process.is_running() for process in tree)
    assert world.processes() == []


def test_a_stubborn_agent_is_ended_all_the_same(world: World) -> None:
    """TERM, TERM, KILL."""
    world.light("app", mode="stubborn")
    world.start()
    world.ready("app")

    world.light("app", mode="stubborn", state="stopped")

    world.wait("app", has_reason("Stopped"))
    assert world.processes() == []


def test_an_agent_that_dies_at_once_is_retried_with_growing_pauses(world: World) -> None:
    """Never dead for good, never a storm."""
    world.light("app", mode="die")
    world.start()

    status = world.wait("app", lambda status: status["reason"] == "CrashLoop" and status["agent"]["restarts"] >= 3)

    assert status["agent"]["last_exit"] == "exit code 3"
    assert "next start in" in status["message"]


def test_an_agent_that_asks_for_no_password_is_never_called_ready(world: World) -> None:
    """Ready is proved: it must refuse first."""
    world.light("app", mode="open")
    world.start()

    status = world.wait("app", has_reason("Unprotected"))

    assert "without the password" in status["message"]
    assert not status["ready"]["status"]


def test_destroy_is_blocked_by_unpushed_work_and_then_goes_to_the_trash(world: World) -> None:
    """The list is told; with the word said, everything is moved, nothing deleted."""
    world.light("app")
    world.start()
    world.ready("app")
    repo = world.home.sandbox("app").repo
    repo.joinpath("new.txt").write_text("work\n")
    world.light("app", state="absent")
    blocked = world.wait("app", has_reason("DestroyBlocked"))
    assert "new.txt" in blocked["message"]

    world.light("app", state="absent", discard_unpushed="true")

    world.until(lambda: not world.status("app"), "the project to be gone")
    assert not world.home.sandbox("app").path.exists()
    assert [path.read_text() for path in world.home.trash.rglob("new.txt")] == ["work\n"]
    assert not world.specs.joinpath("app.yaml").exists()
    assert world.processes() == []


def test_in_a_specs_repository_the_tombstone_stays(world: World) -> None:
    """What git tracks is a person's to remove, and status says so."""
    git(world.specs, "init", "-q")
    world.light("app")
    git(world.specs, "add", ".")
    git(world.specs, "commit", "-q", "-m", "Want it")
    world.start()
    world.ready("app")

    world.light("app", state="absent")

    status = world.wait("app", has_reason("Destroyed"))
    assert "tracked by git" in status["message"]
    assert world.specs.joinpath("app.yaml").exists()
    assert not world.home.sandbox("app").path.exists()


def test_git_checkout_of_a_specs_repository_converges(world: World) -> None:
    """Branches with other specs: running here, stopped there, and back."""
    git(world.specs, "init", "-q", "-b", "main")
    world.light("one")
    world.light("two")
    git(world.specs, "add", ".")
    git(world.specs, "commit", "-q", "-m", "Both run")
    git(world.specs, "switch", "-q", "-c", "quiet")
    world.light("two", state="stopped")
    git(world.specs, "commit", "-q", "-a", "-m", "Two is stopped")
    git(world.specs, "switch", "-q", "main")
    world.start()
    before = world.ready("one")
    world.wait("two", is_ready)

    git(world.specs, "switch", "-q", "quiet")
    world.wait("two", has_reason("Stopped"))
    git(world.specs, "switch", "-q", "main")
    world.wait("two", is_ready)

    assert world.status("one")["agent"]["pid"] == before["agent"]["pid"]


def test_a_broken_spec_changes_nothing_and_says_file_and_line(world: World) -> None:
    """The last accepted one stays in force, over a restart of the controller too."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.write("app", f"git:\n  url: {world.origin}\nstatus: stopped\n")
    broken = world.wait("app", has_reason("SpecInvalid"))
    assert "app.yaml:3" in broken["message"]
    assert "'state'" in broken["message"]
    world.kill()

    world.start()

    again = world.wait(
        "app", lambda status: status["observed"] > broken["observed"] and has_reason("SpecInvalid")(status)
    )
    assert again["agent"]["pid"] == before["agent"]["pid"]
    assert again["agent"]["state"] in {"running", "starting"}


def test_a_missing_spec_stops_and_keeps(world: World) -> None:
    """One of three files is removed: that one stops, its sandbox stays, the others run on."""
    for name in ("one", "two", "three"):
        world.light(name)
    world.start()
    for name in ("one", "two", "three"):
        world.ready(name)

    world.specs.joinpath("two.yaml").unlink()

    status = world.wait("two", has_reason("Stopped"))
    assert "missing" in " ".join(status["warnings"])
    assert world.home.sandbox("two").repo.is_dir()
    assert is_ready(world.status("one"))
    assert is_ready(world.status("three"))


def test_when_most_specs_vanish_nothing_is_stopped_until_confirmed(world: World) -> None:
    """An unmounted folder, a wrong checkout: a human must say that it is meant."""
    for name in ("one", "two", "three"):
        world.light(name)
    start_impatient(world, resync=3600)
    before = {name: world.ready(name) for name in ("one", "two", "three")}

    for name in ("one", "two"):
        world.specs.joinpath(f"{name}.yaml").unlink()

    held = world.wait("one", has_reason("SpecMissing"))
    assert "confirm" in held["message"]
    assert world.status("one")["agent"]["pid"] == before["one"]["agent"]["pid"]
    world.run("confirm-missing")
    world.wait("one", has_reason("Stopped"))
    world.wait("two", has_reason("Stopped"))
    assert is_ready(world.status("three"))


def test_an_unreadable_specs_folder_stops_nothing(world: World) -> None:
    """The folder is renamed away and comes back."""
    world.light("app")
    world.start()
    before = world.ready("app")

    world.specs.rename(world.root / "elsewhere")
    world.until(lambda: warnings_of(world), "a warning about the folder")
    (world.root / "elsewhere").rename(world.specs)
    world.until(lambda: not warnings_of(world), "the warning to go")
    world.light("app", restarted_at="again")

    after = world.wait("app", lambda status: is_ready(status) and status["generation"] == 2)
    assert after["agent"]["pid"] != before["agent"]["pid"]


def warnings_of(world: World) -> tuple[str, ...]:
    controller = published.read(world.home).controller
    return tuple(controller.warnings) if controller else ()


def test_an_edit_of_the_secrets_restarts_just_what_depends_on_it(world: World) -> None:
    """A new bridge token: a new bridge, the same agent. No clock is waited for: the kernel tells of the edit."""
    world.light("app")
    start_impatient(world, resync=3600)
    before = world.ready("app")
    env = world.home.sandbox("app").env_file

    env.write_text(env.read_text().replace("token-of-app", "another-token-of-app"))

    after = world.wait("app", lambda status: is_ready(status) and status["bridge"]["pid"] != before["bridge"]["pid"])
    assert after["agent"]["pid"] == before["agent"]["pid"]


def test_production_waits_for_secrets_and_goes_on_when_they_are_there(world: World) -> None:
    """The file and the command are named; nothing is made up."""
    world.environment["ENVIRONMENT"] = "production"
    world.write("app", f"git: {{url: {world.origin}}}\n")
    world.start()
    waiting = world.wait("app", has_reason("WaitingForSecrets"))
    assert "opencode-manager secrets app" in waiting["message"]

    printed = world.run("secrets", "app", "--generate")

    made = read_env(world.home.sandbox("app").env_file)
    assert made["OPENCODE_SERVER_PASSWORD"] not in printed
    assert made["MCP_TOOL_BEARER_TOKEN"] not in printed
    world.wait("app", lambda status: status["reason"] != "WaitingForSecrets")


def test_of_two_controllers_one_leads(world: World) -> None:
    """The second says who leads and ends; a standby takes over when the first is killed."""
    world.light("app")
    world.start()
    before = world.ready("app")
    output = world.run("run", code=1)
    assert "cannot start a second controller" in output
    first = world.controllers[0]
    standby = world.start("--standby")

    first.send_signal(signal.SIGKILL)
    first.wait()
    world.controllers.remove(first)

    index = world.until(lambda: leads(world, standby), "the standby to lead")
    assert index
    after = world.wait("app", newer_than(before))
    assert after["agent"]["pid"] == before["agent"]["pid"]


def leads(world: World, controller: subprocess.Popen[bytes]) -> bool:
    found = published.read(world.home).controller
    return found is not None and found.pid == controller.pid


def test_a_lost_or_broken_state_file_is_made_again_and_restarts_nothing(world: World) -> None:
    """It is derived."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.stop()
    world.home.state_file.write_text('{"schema": 1, "proj')

    world.start()

    after = world.wait("app", newer_than(before))
    assert after["agent"]["pid"] == before["agent"]["pid"]


def test_a_taken_port_is_named_and_left_alone(world: World, ports: tuple[range, range]) -> None:
    """The holder is somebody else's process."""
    port = ports[0][-1]
    stranger = subprocess.Popen(
        [
            "python3",
            "-c",
            f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with stranger:
        assert stranger.stdout
        stranger.stdout.readline()
        world.light("app", agent=f"{{port: {port}}}")
        world.start()

        status = world.wait("app", has_reason("PortTaken"))

        assert str(stranger.pid) in status["message"]
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    world.ready("app")


def test_plan_shows_what_would_be_done_also_by_its_exit_code(world: World) -> None:
    """2 when there is something to do, 0 when not, 1 for a broken spec; it does nothing itself."""
    world.light("app")
    before = world.run("plan", code=2)
    assert "clone repo" in before
    assert "because there is no clone yet" in before
    assert not world.home.sandbox("app").repo.exists()
    world.start()
    world.ready("app")

    assert "nothing to do" in world.run("plan", code=0)
    world.write("app", "git: {urll: x}\n")
    assert "app.yaml:1" in world.run("plan", code=1)


def test_a_tagged_ref_is_checked_out_and_a_changed_one_followed(world: World) -> None:
    """`git.ref` is honoured at the clone and later."""
    world.light("app")
    text = world.specs.joinpath("app.yaml").read_text()
    world.write("app", text.replace("}", ", ref: v1}"))
    world.start()
    world.ready("app")
    repo = world.home.sandbox("app").repo
    assert not repo.joinpath("app.py").exists()

    world.write("app", text.replace("}", ", ref: feature}"))

    world.until(lambda: repo.joinpath("app.py").exists(), "the other ref")
    world.wait("app", lambda status: is_ready(status) and status["observed_generation"] == 2)
    assert git(repo, "branch", "--show-current").strip() == "feature"


def content(path: Path) -> bytes:
    """What is in a file; nothing where it was renamed into its place meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def test_no_secret_is_seen_outside_of_env(world: World) -> None:
    """Not in any argv, log, state, record, spec or status."""
    world.light("app")
    world.start()
    world.ready("app")
    secrets = [
        value for key, value in read_env(world.home.sandbox("app").env_file).items() if "_P" in key or "TOKEN" in key
    ]
    arguments = "\n".join(world.lines().values())
    sandbox = world.home.sandbox("app")
    allowed = {sandbox.env_file, sandbox.run / "mcp-tool-servers.json"}
    files = [path for path in world.root.rglob("*") if path.is_file() and path not in allowed]

    found = [path for path in files for secret in secrets if secret.encode() in content(path)]

    assert found == []
    assert not any(secret in arguments for secret in secrets)
    assert not any(secret in world.run("status", "app", "-o", "json") for secret in secrets)
    assert sandbox.env_file.stat().st_mode & 0o077 == 0
