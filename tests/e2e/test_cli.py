"""The command line as a person and a script meet it: what is printed, and the exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest
import yaml

from reconciler.specs import spec_folder
from tests.support.world import PATIENCE, World, a_world, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_YET = 2
USAGE = 64
INTERRUPTED = 130


@pytest.fixture(name="ruled", scope="module")
def _ruled(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[World]:
    """A world with one controller and one running project, for all tests that do it no harm."""
    with a_world(tmp_path_factory.mktemp("ruled"), ports) as world:
        world.light("blog-api")
        world.start()
        world.ready("blog-api")
        yield world


@contextlib.contextmanager
def spawned(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until it is interrupted."""
    with subprocess.Popen(
        world.command(*arguments), env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def until_line(program: subprocess.Popen[str], wanted: str) -> None:
    """Read what it prints until a line has it. One that never comes ends the program, and with it the reading."""
    assert program.stdout is not None
    seen = []
    limit = threading.Timer(PATIENCE, program.kill)
    limit.start()
    try:
        while line := program.stdout.readline():
            seen.append(line)
            if wanted in line:
                return
    finally:
        limit.cancel()
    raise AssertionError(f"{wanted!r} was not printed: {seen}")


def interrupt(program: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C; the exit code and what went to stderr."""
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=PATIENCE)
    return program.returncode, err


# -- asking -----------------------------------------------------------------------------------------------------------


def test_start_stop_restart_destroy_from_the_command_line(ruled: World) -> None:
    """Each waits until it is so and exits with 0; start needs the git url just once."""
    world = ruled
    world.light("app", state="stopped")
    started = world.run("start", "app", str(world.origin))
    assert "Status: success" in started
    assert re.search(r"OpenCode Web: http://127\.0\.0\.1:\d+ \(PID: \d+\)", started)
    assert "Bearer token: (stored in " in started
    assert read_env(world.home.sandbox("app").env_file)["MCP_TOOL_BEARER_TOKEN"] not in started
    before = world.status("app")["agent"]["pid"]
    assert "Status: success" in world.run("restart", "app")
    assert world.status("app")["agent"]["pid"] != before
    assert "Status: success" in world.run("stop", "app")
    assert not psutil.pid_exists(before)
    assert "Status: success" in world.run("start", "app")
    assert "without a terminal: add --yes" in world.run("destroy", "app", code=1)
    assert "Status: success" in world.run("destroy", "app", "--yes")
    assert not spec_folder.spec_path(world.specs, "app").exists()
    assert "no such project" in world.run("status", "app", code=1)


def test_what_is_not_so_in_time_has_an_exit_code_of_its_own(ruled: World) -> None:
    """Neither an error nor a success: a script can wait once more."""
    ruled.light("slow", mode="deaf")

    assert "Status: in_progress" in ruled.run("start", "slow", "--wait", "0.5", code=NOT_YET)

    assert "Status: success" in ruled.run("stop", "slow")


def test_work_that_would_be_lost_blocks_a_destroy_with_an_error(ruled: World) -> None:
    """Until it is said that it may be lost."""
    ruled.light("worked")
    ruled.ready("worked")
    ruled.home.sandbox("worked").repo.joinpath("precious.txt").write_text("work\n")

    assert "precious.txt" in ruled.run("destroy", "worked", "--yes", code=1)

    assert ruled.home.sandbox("worked").repo.joinpath("precious.txt").exists()
    ruled.run("destroy", "worked", "--yes", "--discard-unpushed")


def test_without_a_controller_the_change_is_written_and_the_output_says_so(world: World) -> None:
    """No waiting for nobody."""
    printed = world.run("start", "app", str(world.origin), code=NOT_YET)

    assert "its spec is written" in printed
    assert "opencode-manager run" in printed
    assert spec_folder.spec_path(world.specs, "app").exists()
    assert "NotSeenYet" not in world.run("status", code=None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start", "new"], "give its git url"),
        (["start", "UPPER", "git@example.org:me/x"], "use upper"),
        (["start", "new", "ext::sh -c id"], "cannot"),
        (["stop", "blog-ap"], "did you mean blog-api?"),
        (["restart", "blog-ap"], "did you mean blog-api?"),
        (["destroy", "blog-ap", "--yes"], "did you mean blog-api?"),
        (["status", "blog-ap"], "did you mean blog-api?"),
        (["start", "blog-api", "git@example.org:another/one"], "use another name"),
        (["logs", "nowhere"], "cannot show the log of nowhere"),
        (["logs", "../../etc/passwd"], "cannot"),
        (["secrets", "nowhere"], "no such project"),
        (["secrets", "../outside", "--generate"], "cannot"),
        (["plan", "nowhere"], "cannot plan nowhere"),
        (["validate", "nowhere.yaml"], "nowhere"),
    ],
)
def test_what_a_person_gets_wrong_is_one_sentence_and_exit_code_one(
    ruled: World, arguments: list[str], sentence: str
) -> None:
    """Never a traceback."""
    printed = ruled.run(*arguments, code=1)

    assert sentence in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["strat"],
        ["start"],
        ["status", "--output", "xml"],
        ["mcp-config"],
        ["logs"],
        ["start", "a", "--wait", "x"],
    ],
)
def test_a_command_line_that_makes_no_sense_has_an_exit_code_of_its_own(ruled: World, arguments: list[str]) -> None:
    """Since 2 means that something is not so yet."""
    printed = ruled.run(*arguments, code=USAGE)

    assert "usage: opencode-manager" in printed
    assert "--help" in printed


def test_an_interrupted_wait_says_nothing_more(ruled: World) -> None:
    """Exit code 130, no traceback; the change stays."""
    ruled.light("waited", mode="deaf", state="stopped")
    ruled.ready("waited")
    with spawned(ruled, "start", "waited") as program:
        ruled.wait("waited", lambda status: status["reason"] == "Starting")

        code, err = interrupt(program)

    assert code == INTERRUPTED
    assert "Traceback" not in err
    assert ruled.status("waited")["desired"] == "running"
    ruled.run("stop", "waited")


# -- looking ----------------------------------------------------------------------------------------------------------


def test_status_shows_a_table_json_and_yaml_of_the_same(ruled: World) -> None:
    """For people and for programs; `list` is the same for all projects."""
    table = ruled.run("list", code=None)
    full = ruled.run("status", "blog-api")
    as_json = json.loads(ruled.run("status", "blog-api", "-o", "json"))
    as_yaml = yaml.safe_load(ruled.run("status", "blog-api", "-o", "yaml"))
    all_json = json.loads(ruled.run("list", "-o", "json", code=None))
    all_yaml = yaml.safe_load(ruled.run("status", "-o", "yaml", code=None))

    pid = as_json["agent"]["pid"]
    assert psutil.pid_exists(pid)
    head, *lines = table.splitlines()
    assert head.split() == ["PROJECT", "DESIRED", "ACTUAL", "AGENT", "PID", "BRIDGE", "PID", "AGE", "REASON"]
    [line] = [line for line in lines if line.startswith("blog-api")]
    assert line.split()[1:3] == ["running", "running"]
    assert str(pid) in line
    assert f"PID {pid}" in full
    assert as_yaml["agent"]["pid"] == pid
    assert "blog-api" in {one["name"] for one in all_json} & {one["name"] for one in all_yaml}


def test_the_exit_code_of_status_shows_whether_all_is_as_wanted(world: World) -> None:
    """0, or 2 while it is not; without any project it is 0 and says how to begin."""
    assert "There are no projects yet" in world.run("status")
    world.light("app", mode="die")
    world.start()
    world.wait("app", lambda status: status["reason"] == "CrashLoop")

    printed = world.run("status", code=NOT_YET)

    assert "CrashLoop" in printed
    assert "app: " in printed


def test_status_without_a_controller_says_how_old_it_is(world: World) -> None:
    """What was published last is still shown; the note goes to stderr, so that JSON stays JSON."""
    world.light("app", state="stopped")
    world.start()
    world.ready("app")
    world.stop()

    done = subprocess.run(
        world.command("status", "-o", "json"), env=world.environment, capture_output=True, text=True, check=True
    )

    assert [one["name"] for one in json.loads(done.stdout)] == ["app"]
    assert "no controller is running, and this is from " in done.stderr


def test_status_can_be_watched(ruled: World) -> None:
    """It is shown at once and again at each change; Ctrl-C is no error to talk about."""
    ruled.light("seen", state="stopped")
    ruled.ready("seen")
    with spawned(ruled, "status", "seen", "--watch") as program:
        until_line(program, "Observed:")

        ruled.light("seen")
        until_line(program, "True  Running")

        code, err = interrupt(program)
    assert (code, "Traceback" in err) == (INTERRUPTED, False)
    ruled.run("stop", "seen")


def test_a_look_costs_no_heavy_import(ruled: World) -> None:
    """Half a second and 50 MB of libraries stay on disk."""
    script = (
        "import sys; from reconciler.frontends.cli.main import main; code = main(sys.argv[1:]);"
        " print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    for command in (
        *(["status"], ["status", "blog-api"], ["list", "-o", "json"], ["list", "-l", "a!=b", "-o", "wide"]),
        *(["logs", "blog-api"], ["list", "blog-*", "-o", "name"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *command], env=ruled.environment, capture_output=True, text=True, check=True
        )
        heavy = {"pydantic", "mcp", "mcp_types", "httpx", "httpx2", "uvicorn", "structlog", "starlette"}
        assert heavy & set(done.stderr.split()) == set(), command


def test_logs_shows_the_end_and_follows_on_request(ruled: World) -> None:
    """The last lines; then what is added, until Ctrl-C."""
    path = ruled.home.log_file("blog-api", "bridge")
    with path.open("a") as log:
        log.write("".join(f"line {number}\n" for number in range(200)))
    assert ruled.run("logs", "blog-api", "bridge", "-n", "2") == "line 198\nline 199\n"
    assert len(ruled.run("logs", "blog-api", "bridge").splitlines()) == 100
    assert ruled.run("logs", "blog-api", "bridge", "-n", "0") == ""

    with spawned(ruled, "logs", "blog-api", "bridge", "-f", "-n", "1") as program:
        until_line(program, "line 199")
        with path.open("a") as log:
            log.write("one more\n")
        until_line(program, "one more")

        code, err = interrupt(program)
    assert (code, err) == (INTERRUPTED, "")


def test_a_reader_that_has_seen_enough_is_no_error(ruled: World) -> None:
    """As with `logs NAME -n 100000 | head -1`."""
    path = ruled.home.log_file("blog-api", "bridge")
    with path.open("a") as log:
        log.write("a long line of a log\n" * 50_000)
    with spawned(ruled, "logs", "blog-api", "bridge", "-n", "50000") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()

        assert program.wait(PATIENCE) == 0
        assert program.stderr.read() == ""


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_made_without_being_shown(world: World) -> None:
    """Where a project waits for them, one command lets it go on."""
    world.environment["ENVIRONMENT"] = "production"
    world.write("app", f"git: {{url: {world.origin}}}\nstate: running\n")
    world.start()
    status = world.wait("app", lambda status: status["reason"] == "WaitingForSecrets")
    assert "opencode-manager secrets app" in status["message"]
    assert "without a terminal" in world.run("secrets", "app", code=1)
    assert "waiting_for_secrets" in world.run("start", "app", code=NOT_YET)

    printed = world.run("secrets", "app", "--generate")

    path = world.home.sandbox("app").env_file
    values = read_env(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(path) in printed
    for key in ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN"):
        assert len(values[key]) >= 32
        assert values[key] not in printed
    world.wait("app", lambda status: status["reason"] != "WaitingForSecrets")


# -- without a controller ---------------------------------------------------------------------------------------------


def test_the_exit_code_of_plan_shows_whether_there_is_something_to_do(world: World) -> None:
    """2 with actions and their causes, 0 when there is nothing to do, 1 when a spec is broken; nothing is done."""
    world.light("app")
    printed = world.run("plan", code=NOT_YET)
    assert "because " in printed
    assert "start agent" in printed
    assert world.processes() == []
    assert not world.home.sandbox("app").repo.exists()

    world.start()
    world.ready("app")
    assert "nothing to do" in world.run("plan", "app")
    assert world.status("app")["agent"]["restarts"] == 0

    world.write("broken", "git: {ulr: x}\n")
    printed = world.run("plan", code=1)
    assert "broken" in printed
    assert "url" in printed


def test_validate_checks_every_file_of_a_specs_repository(world: World) -> None:
    """0 when all are right, 1 with file, line and the nearest key when one is not."""
    world.light("good")
    assert world.run("validate") == "good.yaml: ok\n"
    world.write("bad", f"git: {{url: {world.origin}}}\nsatte: running\n")

    printed = world.run("validate", code=1)

    assert "good.yaml: ok" in printed
    assert "bad.yaml" in printed
    assert "line 2" in printed or ":2" in printed
    assert "did you mean state" in printed or "state" in printed
    assert world.run("validate", str(world.specs / "good.yaml")) == "good.yaml: ok\n"
    assert world.home.root.exists() is False or not world.home.state_file.exists()


def test_validate_says_when_a_key_was_pasted_without_showing_it(world: World) -> None:
    """Or a password in the url."""
    world.write("app", "git: {url: 'https://me:canary-secret@example.org/x.git'}\n")

    assert "canary-secret" not in world.run("validate", code=1)


def test_the_schema_is_one_that_editors_understand(world: World) -> None:
    """JSON Schema, with the keys of a spec."""
    schema = json.loads(world.run("schema"))

    assert {"git", "state", "agent"} <= schema["properties"].keys()


def test_the_version_and_the_help_are_there(world: World) -> None:
    """Each command has a line in the help."""
    assert re.match(r"opencode-manager \d+\.\d+", world.run("--version"))
    printed = world.run("--help")
    for command in ("run", "start", "stop", "restart", "destroy", "list", "status", "plan", "validate", "logs", "mcp"):
        assert f"    {command} " in printed


def test_a_second_controller_is_refused(ruled: World) -> None:
    """It names the first."""
    printed = ruled.run("run", "--quiet", code=1)

    assert "cannot start a second controller" in printed
    assert str(ruled.controllers[0].pid) in printed
    assert os.path.basename(ruled.home.root) in printed  # noqa: PTH119
