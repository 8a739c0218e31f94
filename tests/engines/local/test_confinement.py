"""What an agent may reach is worked out from the machine, and told where it cannot be so."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from reconciler import settings as settings_module
from reconciler.agents.base import Handed
from reconciler.core import spec as specs
from reconciler.engines.local import access
from reconciler.engines.local.confinement import bubblewrap, confine, policy
from reconciler.engines.local.confinement.confine import ConfinedCommand
from reconciler.engines.local.confinement.walls import PathAccess, Walls, access_of, command
from reconciler.engines.local.facts import ConfinementFacts
from reconciler.engines.local.git.causes import GitProblem
from reconciler.engines.local.git.git import git
from reconciler.engines.local.git.git_world import Rewrites
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.launch import LaunchContext
from reconciler.engines.local.secrets.env_file import Env
from reconciler.engines.local.world import git_config
from reconciler.engines.local.world.git_config import GitConfig
from reconciler.engines.local.world.world import World
from reconciler.settings import UserError
from tests.support.bubblewrap import bubblewrap_or_skip

NOTHING = World(variables=())
HIDDEN, PRIVATE, READ, WRITE = PathAccess.HIDDEN, PathAccess.PRIVATE, PathAccess.READ, PathAccess.WRITE


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> Path:
    """A user's home with a sandbox, a key and secrets."""
    user, root = tmp_path / "user", tmp_path / "user/.memory"
    for folder in (".ssh", "work/lib", ".memory/opencode-controller", ".memory/opencode-toolchains"):
        user.joinpath(folder).mkdir(parents=True)
    for folder in ("repo", "home", "xdg", "tmp", "run"):
        root.joinpath("opencode-sandboxes/app", folder).mkdir(parents=True)
    for file in (".ssh/id", ".netrc", ".memory/opencode-keys/app-deploy", ".memory/opencode-keys/app-deploy.pub"):
        user.joinpath(file).parent.mkdir(exist_ok=True)
        user.joinpath(file).touch()
    return user


def project(user: Path, path: str = os.environ["PATH"], **spec: Any) -> LaunchContext:
    environment = {"HOME": str(user), "PATH": path, settings_module.HOME_VARIABLE: str(user / ".memory")}
    return LaunchContext(
        name="app",
        settings=settings_module.load(specs=user / "specs", environment=environment),
        spec=specs.parse({"git": {"url": "git@host.invalid:a/b.git"}} | spec),
        env=Env(exists=True),
        ports={"agent": 4100, "bridge": 5100},
        key=user / ".memory/opencode-keys/app-deploy",
    )


class Map:
    """What can be done where, below a user's home."""

    def __init__(self, user: Path, given: World = NOTHING, program: str = "", **spec: Any) -> None:
        self._user = user
        self._places = policy.places(project(user, **spec), given, program)

    def __getitem__(self, path: str) -> PathAccess:
        return access_of(self._places, str(self._user / path))


def test_the_agents_own_is_written_the_managers_is_hidden(user: Path) -> None:
    """And of what it needs of the manager's, it can read its own."""
    found = Map(user)

    assert [found[f".memory/opencode-sandboxes/app/{name}"] for name in ("repo/a", "home", "xdg", "tmp")] == [WRITE] * 4
    assert [found[f".memory/{name}"] for name in ("opencode-sandboxes/app/.env", "opencode-controller")] == [HIDDEN] * 2
    assert [found[f".memory/opencode-{name}"] for name in ("keys/app-deploy", "toolchains/x")] == [READ] * 2
    assert found[".memory/opencode-keys/other-deploy"] is HIDDEN


def test_the_users_secrets_are_hidden_and_the_rest_can_be_read(user: Path) -> None:
    found = Map(user)

    assert (found[".ssh/id"], found[".netrc"], found["work/lib"]) == (HIDDEN, HIDDEN, READ)
    assert found["/var/tmp/x"] is PRIVATE  # noqa: S108


@pytest.mark.parametrize(("how", "access"), [("read-only", READ), ("link", READ), ("copy, kept the same", HIDDEN)])
def test_what_is_handed_over_can_be_read(user: Path, how: str, access: PathAccess) -> None:
    """Although it is one of the user's secrets: the user says so elsewhere. Of a copy the agent has its own."""
    handed = Handed(source=user / ".netrc", place=user / ".netrc", how=how)

    assert Map(user, World(variables=(), files=(handed,)))[".netrc"] is access


def test_what_a_spec_allows(user: Path) -> None:
    """A folder, a secret by its name, and not the secrets in a folder."""
    assert Map(user, confinement_allow={"write": [str(user / "work")]})["work/lib"] is WRITE
    assert Map(user, confinement_allow={"read": [str(user / ".ssh")]})[".ssh/id"] is READ
    assert Map(user, confinement_allow={"read": [str(user)]})[".ssh/id"] is HIDDEN


def test_what_the_settings_file_says(user: Path) -> None:
    """More to hide, and what need not be hidden."""
    text = f"confinement: {{hide: [{user}/work], read: [{user}/.netrc]}}\n"
    user.joinpath(".memory/opencode-settings.yaml").write_text(text)
    found = Map(user)

    assert (found["work/lib"], found[".netrc"]) == (HIDDEN, READ)


def test_a_local_repository_can_be_fetched_from(user: Path) -> None:
    """And not pushed to: that is outside, and a spec may allow it."""
    user.joinpath(".aws/app").mkdir(parents=True)
    git = {"url": str(user / ".aws/app")}

    assert [Map(user, git=git)[path] for path in (".aws/app/HEAD", ".aws/credentials")] == [READ, HIDDEN]


@pytest.mark.parametrize("credentials", ["none", "user"])
def test_what_the_users_helpers_need_is_hidden_unless_it_is_handed_over(user: Path, credentials: str) -> None:
    """The file of a helper, and the socket of the SSH agent."""
    for name, text in {".gitconfig": "[credential]\n\thelper = store\n", ".git-credentials": "", ".gnupg": ""}.items():
        user.joinpath(name).write_text(text)
    made = project(user, git={"url": "https://example.org/app", "credentials": credentials})
    environment = {**made.settings.environment, "SSH_AUTH_SOCK": str(user / ".gnupg")}
    config = git_config.read(
        git_config.GitConfigRequest(
            sandbox=made.sandbox, url="", user=credentials == "user", environment=environment, variables={}
        )
    )
    found = policy.places(made, World(variables=(), files=config.handed))

    access = READ if credentials == "user" else HIDDEN
    assert [access_of(found, str(user / name)) for name in (".git-credentials", ".gnupg")] == [access] * 2


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_repository_to_which_git_is_led_can_be_fetched_from(user: Path, scheme: str) -> None:
    """By a rule of the user's settings; what the spec names is read too, for git looks for it first."""
    user.joinpath(".aws/mirrors/app").mkdir(parents=True)
    rules = ((("https://example.org/", f"{scheme}{user}/.aws/mirrors/"),), ((f"{user}/.aws/", "https://example.org/"),))
    asked = ("https://example.org/app", str(user / ".aws/mirrors/app"))
    for rule, url in zip(rules, asked, strict=True):
        led = replace(project(user, git={"url": url}), git=GitConfig(url=url, rewrites=Rewrites(fetch=rule)))
        found = policy.places(led, NOTHING)

        assert access_of(found, f"{user}/.aws/mirrors/app/HEAD") is READ
        assert access_of(found, f"{user}/.aws/credentials") is HIDDEN


def test_a_link_is_hidden_where_it_leads(user: Path) -> None:
    """Else what it leads to could be read by its own path."""
    user.joinpath(".gnupg").symlink_to(user / "work/lib")

    assert Map(user)["work/lib"] is HIDDEN


def test_specs_are_never_written(user: Path) -> None:
    """An agent that writes its own spec is confined by nothing."""
    user.joinpath("specs").mkdir()

    assert Map(user, confinement_allow={"write": [str(user)]})["specs/app.yaml"] is READ


@pytest.mark.parametrize(
    ("given", "why"), [("/no/such", "it is not there"), ("/", "all of the machine"), ("~/.memory", "the manager's own")]
)
@pytest.mark.parametrize("how", ["read", "write"])
def test_what_cannot_be_allowed(user: Path, how: str, given: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the key."""
    monkeypatch.setenv("HOME", str(user))

    with pytest.raises(UserError, match=f"cannot let the agent {how} .*{why}.*confinement_allow.{how} of app"):
        Map(user, confinement_allow={how: [given]})


def test_a_program_can_be_read_wherever_it_lies(user: Path) -> None:
    """It alone; and with the folder of its version, if that is the manager's own, kept elsewhere."""
    named, provided = user / ".ssh/agent", user / ".ssh/provided/bin/agent"
    provided.parent.mkdir(parents=True)
    for program in (named, provided):
        program.touch()
    user.joinpath(".memory/opencode-toolchains/agent-1").symlink_to(user / ".ssh/provided")

    assert [Map(user, program=str(named))[path] for path in (".ssh/agent", ".ssh/id")] == [READ, HIDDEN]
    assert [Map(user, program=str(provided))[path] for path in (".ssh/provided/lib", ".ssh/id")] == [READ, HIDDEN]


class TestChoosing:
    async def test_auto_is_bubblewrap_where_it_works(self, user: Path) -> None:
        bubblewrap_or_skip()
        words = await confine.wrap(project(user), ConfinedCommand(given=NOTHING))

        assert any(word.endswith("/bwrap") for word in words)
        assert words[-1] == "--"

    @pytest.mark.parametrize("where", ["spec", "settings file"])
    async def test_none_is_none(self, user: Path, where: str) -> None:
        """In the spec, or in the settings file for all that leave it at auto."""
        if where == "settings file":
            user.joinpath(".memory/opencode-settings.yaml").write_text("confinement: {default: none}\n")
        made = project(user, **({"confinement": "none"} if where == "spec" else {}))

        assert await confine.wrap(made, ConfinedCommand(given=NOTHING)) == ()
        assert await confine.facts(made.spec, made.settings, "") == ConfinementFacts()

    async def test_auto_without_bubblewrap_is_reported(self, user: Path) -> None:
        """The agent starts, and status says what that means and what to do."""
        made = project(user, path=str(user))
        facts = await confine.facts(made.spec, made.settings, "none")

        assert await confine.wrap(made, ConfinedCommand(given=NOTHING)) == ()
        assert facts.problem == ""
        assert facts.warning.startswith("the agent is not confined, and can read and write whatever this user can")
        assert "apt-get install bubblewrap" in facts.warning

    async def test_bubblewrap_that_is_not_there_is_a_problem(self, user: Path) -> None:
        """Of a start, and of nothing that runs."""
        made = project(user, path=str(user), confinement="bubblewrap")
        facts = await confine.facts(made.spec, made.settings, "")

        assert facts.problem.startswith("cannot confine the agent: bubblewrap is not installed; install it")
        assert "confinement: none" in facts.problem
        with pytest.raises(UserError, match="cannot confine the agent"):
            await confine.wrap(made, ConfinedCommand(given=NOTHING))

    async def test_one_that_was_started_without_is_reported(self, user: Path) -> None:
        """By an older version, or before bubblewrap was installed: it is not restarted for that."""
        bubblewrap_or_skip()
        made = project(user)

        facts = await confine.facts(made.spec, made.settings, "none")
        assert "its next start confines it" in facts.warning

    @pytest.mark.parametrize(
        ("says", "expected"),
        [
            ("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1", "too old .*; version 0.8.0 is needed"),
            (
                "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
                "uid map: .*user namespaces",
            ),
            ("exit 3", "it ended with code 3"),
        ],
    )
    async def test_one_that_does_not_work(self, user: Path, says: str, expected: str) -> None:
        """As on a machine that gives ordinary users no namespaces. These programs are not bubblewrap."""
        program = user / "bwrap"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bubblewrap, "_known", {})
            found = await bubblewrap.check({"PATH": f"{user}:/usr/bin:/bin"})
            again = await bubblewrap.check({"PATH": f"{user}:/usr/bin:/bin"})

        assert found is again
        assert re.search(expected, found.why_not)


@pytest.mark.parametrize("cloning", [False, True])
async def test_the_managers_git_is_confined_as_the_agent(user: Path, *, cloning: bool) -> None:
    """What the user's settings make it run sees no key, and works where it is run."""
    bubblewrap_or_skip()
    made = project(user)
    sandbox = made.sandbox
    sandbox.env_file.write_text("a secret")
    sandbox.run.joinpath("ledger.json").write_text("a record")
    inside = await confine.git_world(made, cloning=cloning)
    tried = f"!ls {user}/.ssh {user}/.memory/opencode-controller; pwd; touch {sandbox.path}/made"
    tried += f"; cat {sandbox.env_file} {sandbox.run}/ledger.json"
    done = await git(inside, "-c", f"alias.try={tried}", "try", folder=sandbox.repo)

    assert done.out == f"{user}/.ssh:\n{sandbox.repo}\n", done.err
    assert sandbox.path.joinpath("made").exists() is cloning


async def test_a_confined_git_that_takes_too_long_leaves_nothing(user: Path) -> None:
    """Neither what it runs, nor who holds it."""
    bubblewrap_or_skip()
    made = project(user)
    made.sandbox.repo.joinpath("file").touch()
    hang = f"alias.hang=!tail -f {made.sandbox.repo}/file & tail -f {made.sandbox.repo}/file"
    with pytest.raises(GitProblem, match="did not end within"):
        await git(await confine.git_world(made), "-c", hang, "hang", folder=made.sandbox.repo, timeout=0.5)

    lines = [identity.read_bytes(f"/proc/{pid}/cmdline") for pid in identity.pids()]
    assert [line for line in lines if str(user).encode() in line] == []


MOUNTED_LATER = """
"$@" sh -c 'echo > ready; cat go; ls later' > seen &
cat ready && mount -t tmpfs none later && touch later/secret && echo > go && wait
"""


def test_what_is_mounted_later_does_not_come_in(tmp_path: Path) -> None:
    """As a disk that is plugged in: it would not be read-only. In a machine of the test's own."""
    found = bubblewrap_or_skip()
    if not found.unshare:
        pytest.skip("NOT TESTED, mounts of later come in: unshare cannot be used here")
    for name in ("ready", "go"):
        os.mkfifo(tmp_path / name)
    tmp_path.joinpath("later").mkdir()
    words = command(Walls(bubblewrap=found.program, unshare=found.unshare, folder=str(tmp_path), places={}))
    machine = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "shared", "--")
    script = ("sh", "-ec", MOUNTED_LATER, "sh")

    subprocess.run([*machine, *script, *words], cwd=tmp_path, check=True, timeout=60)

    assert tmp_path.joinpath("seen").read_text() == "\n"


@pytest.mark.parametrize("planted", ["in what it may write", "in a /tmp of its own", "no"])
def test_a_program_that_an_agent_made_is_never_run_outside(user: Path, planted: str) -> None:
    """`attach` runs what the agent runs, at the terminal of a person."""
    bubblewrap_or_skip()
    made = project(user)
    outside = user / "work/lib/opencode"
    place = {
        "in what it may write": made.sandbox.repo / "opencode",
        "in a /tmp of its own": Path("/tmp/opencode-planted"),  # noqa: S108
    }
    program = place.get(planted, outside)
    shutil.copy("/bin/cat", outside)
    words = asyncio.run(confine.wrap(made, ConfinedCommand(given=NOTHING, ends_with_us=True)))
    script = f"[ -e {program} ] || cp {outside} {program}; exec {program} /proc/self/stat -"
    with subprocess.Popen([*words, "/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        assert agent.stdin is not None
        agent.stdout.read(1)  # it runs now
        (inner,) = [one for one in psutil.Process(agent.pid).children(recursive=True) if one.name() == program.name]
        found = os.readlink(f"/proc/{inner.pid}/exe")  # noqa: PTH115
        assert found == str(program)
        assert access.may_be_planted(str(inner.pid), found) is (planted != "no")
        agent.stdin.close()


def test_what_runs_unconfined_needs_nobody_to_run_its_programs() -> None:
    """It can do so itself."""
    assert not access.may_be_planted("self", sys.executable)
    assert access.may_be_planted("0", sys.executable)
