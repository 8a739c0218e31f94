"""What a project is given of the user's git settings: judged against real git, and against what must never pass."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from reconciler.engines.local.git.git import GitProblemKind
from reconciler.engines.local.git.git_world import GitWorld, Rewrites
from reconciler.engines.local.world import git_config, git_settings
from reconciler.engines.local.world.git_config import GitConfigRequest
from reconciler.engines.local.world.git_settings import Setting
from reconciler.settings import Sandbox
from tests.support.gitrepo import git

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engines.local.world.git_config import GitConfig

URL: Final = "https://example.org/team/app.git"


class Home:
    """A user's home, and the sandbox of one project."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "user"
        self.sandbox = Sandbox(folder / "sandbox")
        for place in (self.path / ".config" / "git", self.sandbox.run, self.sandbox.home, self.sandbox.repo):
            place.mkdir(parents=True)
        self.request = GitConfigRequest(
            sandbox=self.sandbox,
            url=URL,
            user=False,
            environment={"HOME": str(self.path), "PATH": os.environ["PATH"]},
            variables={},
        )

    def has(self, text: str, place: str = ".gitconfig") -> Path:
        file = self.path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, **changes: object) -> GitConfig:
        return git_config.read(replace(self.request, **changes))  # type: ignore[arg-type]

    def settings(self, **changes: object) -> dict[str, str]:
        """What git reads in what a project is given; the last of each key."""
        config = self.read(**changes)
        config.put()
        assert config.folder is not None
        return listed(config.folder / "user")


def listed(file: Path) -> dict[str, str]:
    return {key: value or "" for key, value in git_settings.parse(file, os.environ["PATH"])}


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    git_config.forget(home.sandbox)


CONDITIONS: Final = (
    *("gitdir:~/", "gitdir:~/work/", "gitdir:~/work/app", "gitdir:~/work/app/.git", "gitdir:~/other/"),
    *(
        "gitdir:work/",
        "gitdir:app/",
        "gitdir:app",
        "gitdir:**/app/**",
        "gitdir:/**/w?rk/*/.git",
        "gitdir:**/[v-x]ork/**",
    ),
    *("gitdir:**/[!a]ork/**", "gitdir:**/[!w]ork/**", "gitdir:**/w*k/app/.git", "gitdir:**/w*/.git", "gitdir:/**"),
    *(
        "gitdir:./work/",
        "gitdir:./app/",
        "gitdir/i:~/WORK/",
        "gitdir:~/WORK/",
        r"gitdir:~/w\\ork/",
        "gitdir:*/app/.git",
    ),
    *("gitdir:**/.git", "gitdir:.git", "gitdir:work/**/.git", "gitdir:**/work/*", "nonsense:x", "gitdir:"),
    *("hasconfig:remote.*.url:https://example.org/**", "hasconfig:remote.*.url:https://example.org/*"),
    *("hasconfig:remote.*.url:https://*/team/*.git", "hasconfig:remote.*.url:https://other.org/**"),
)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_on_the_place_are_judged_as_git_does(condition: str, tmp_path: Path) -> None:
    """Though there is no clone yet where they have to be judged: real git says the same in the real one."""
    home, clone = tmp_path / "user", tmp_path / "user" / "work" / "app"
    clone.mkdir(parents=True)
    (home / "more").write_text("[x]\n\ty = 1\n")
    config = home / ".gitconfig"
    config.write_text(f'[includeIf "{condition}"]\n\tpath = more\n')
    reader = git_settings.Reader(home=home, gitdir=clone / ".git", url=URL, path=os.environ["PATH"])

    judged = Setting("x.y", "1") in list(reader.file(config))

    git(clone, "init", "--quiet")
    git(clone, "remote", "add", "origin", URL)
    argv = ["git", "config", "--includes", "--get", "x.y"]
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    said = subprocess.run(argv, cwd=clone, env=env, capture_output=True, text=True, check=False).stdout.strip()
    assert judged == (said == "1")


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_home_that_is_a_link_is_where_it_leads(tmp_path: Path, *, through_a_link: bool) -> None:
    """As for git, which compares both."""
    real = tmp_path / "real"
    (real / "work" / "app").mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    home = tmp_path / ("link" if through_a_link else "real")
    (real / ".gitconfig").write_text('[includeIf "gitdir:~/work/"]\n\tpath = ~/more\n')
    (real / "more").write_text("[x]\n\ty = 1\n")
    gitdir = tmp_path / "link" / "work" / "app" / ".git"

    reader = git_settings.Reader(home=home, gitdir=gitdir, url=URL, path=os.environ["PATH"])

    assert list(reader.file(home / ".gitconfig")) == [Setting("x.y", "1")]


RULES: Final = (
    '[url "ssh://git@example.org/"]\n\tinsteadOf = https://example.org/\n',
    '[url "ssh://git@example.org/"]\n\tpushInsteadOf = https://example.org/\n',
    '[url "/mirror/"]\n\tinsteadOf = https://example.org/team/\n[url "ssh://x/"]\n\tinsteadOf = https://example.org/\n',
    '[url "ssh://x/"]\n\tinsteadOf = https://example.org/\n[url "ssh://y/"]\n\tinsteadOf = https://example.org/\n',
    '[url "ssh://x/"]\n\tinsteadOf = https://\n\tpushInsteadOf = https://example.org/team/\n',
    '[url "https://z/"]\n\tinsteadOf = nothing:\n',
    '[url "ssh://all/"]\n\tinsteadOf = ""\n',
)


@pytest.mark.parametrize("rules", RULES)
def test_urls_are_rewritten_as_git_does(home: Home, rules: str) -> None:
    """To fetch and to push, without a process."""
    home.has(rules)
    rewrites = home.read().rewrites

    clone = home.sandbox.repo
    env = {"PATH": os.environ["PATH"], "HOME": str(home.path), "GIT_CONFIG_NOSYSTEM": "1"}
    git(clone, "init", "--quiet")
    git(clone, "remote", "add", "origin", URL)
    said = [
        subprocess.run(
            ["git", "remote", "get-url", *flags, "origin"], cwd=clone, env=env, capture_output=True, check=True
        )
        for flags in ((), ("--push",))
    ]
    assert [rewrites.fetched(URL), rewrites.pushed(URL)] == [each.stdout.decode().strip() for each in said]


def test_no_rule_changes_nothing() -> None:
    assert Rewrites().pushed(URL) == Rewrites().fetched(URL) == URL


ODD: Final = (
    Setting("user.name", 'Ann "A" \\ Example # no comment ; here'),
    Setting("alias.x", "!f() {\n\techo $1\b; }; f"),
    Setting("core.autocrlf", None),
    Setting('url.ssh://a"b\\c/.insteadof', "https://x/ "),
    Setting("http.https://example.org.sslverify", " false"),
    Setting("user.name", "J\udcf6rg"),
    Setting("x.empty", ""),
)


def test_what_is_written_git_reads_as_it_was(tmp_path: Path) -> None:
    """Quotes, line ends, comments, subsections, keys without a value, and bytes that are no UTF-8."""
    file = tmp_path / "config"
    file.write_bytes(git_settings.written(ODD))

    assert git_settings.parse(file, os.environ["PATH"]) == ODD


HIDDEN: Final = """
[credential]
    helper = store
[credential "https://example.org"]
    username = ada
[core]
    askPass = /bin/ask
    sshCommand = ssh -i mine
[http]
    extraHeader = "Authorization: bearer HUSH"
    cookieFile = ~/cookies
    sslKey = ~/key.pem
[http "https://example.org"]
    extraHeader = "X: HUSH"
    sslCert = ~/cert.pem
[url "https://ada:HUSH@example.org/"]
    insteadOf = https://example.org/
[user]
    signingKey = ABC
[commit]
    gpgSign = true
[tag]
    gpgSign = true
[gpg]
    program = gpg2
[github]
    token = HUSH
[sendemail]
    smtpPass = HUSH
"""


def test_by_default_nothing_logs_in_or_signs_as_the_user(home: Home) -> None:
    """And each is named as left out, with why; the rest is in force."""
    home.has(f"{HIDDEN}\n[user]\n\tname = Ada\n[http]\n\tsslVerify = true\n\tproxy = http://me:pw@proxy:1\n")

    settings = home.settings()

    ours = {key: value for key, value in settings.items() if key.startswith(("user.", "http.", "core.", "url."))}
    assert ours == {"user.name": "Ada", "http.sslverify": "true", "http.proxy": "http://me:pw@proxy:1"}
    assert "HUSH" not in str(home.read().text)
    left_out = {one.what.removeprefix("git setting "): one.why for one in home.read().left_out}
    assert "set git.credentials: user" in left_out["credential.helper"]
    assert "commits are made unsigned" in left_out["commit.gpgsign"]
    assert "HUSH" not in str(left_out)
    assert {
        "core.askpass",
        "core.sshcommand",
        "http.https://example.org.extraheader",
        "github.token",
    } <= left_out.keys()


def test_what_is_kept_back_is_known_by_server(home: Home) -> None:
    """So that only who could log in there is told of it."""
    home.has('[credential "https://*.example.org"]\n\thelper = store\n')
    home.has("machine private.example.net login ada password HUSH\n", ".netrc")

    config = home.read()

    world = GitWorld(environment={}, kept_back=config.kept_back)
    assert world.keeps_back_login("https://git.example.org/x")
    assert world.keeps_back_login("https://private.example.net:444/x")
    assert not world.keeps_back_login("https://example.com/x")
    assert not world.keeps_back_login("ssh://git.example.org/x")
    assert str(home.path / ".netrc") in {one.what for one in config.left_out}


def test_with_the_users_credentials_helpers_run_with_the_users_home(home: Home) -> None:
    """Whatever kind of helper it is; an empty one still ends the list of those before it."""
    helper = home.has("#!/bin/sh\necho username=$HOME\n", "bin/helper")
    helper.chmod(0o755)
    home.has(
        f'[credential]\n\thelper =\n\thelper = {helper}\n\thelper = "!f() {{ echo password=$XDG_CACHE_HOME-$1; }}; f"\n'
    )
    (home.sandbox.run / "git").mkdir()
    environment = {**home.request.environment, "XDG_CACHE_HOME": "/some/where", "SSH_AUTH_SOCK": "/a/socket"}

    config = home.read(user=True, environment=environment)
    config.put()

    done = subprocess.run(
        ["git", "credential", "fill"],
        cwd=home.path,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "XDG_CACHE_HOME": "/agents", **config.variables},
        input="protocol=https\nhost=example.org\n\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"username={home.path}\npassword=/some/where-get\n" in done.stdout
    assert config.variables["SSH_AUTH_SOCK"] == "/a/socket"
    assert config.warnings == (
        "git.credentials: user: this agent can log in as you, with your credential helpers and your SSH agent",
    )


def test_the_users_netrc_is_linked_only_while_it_is_wanted(home: Home) -> None:
    """What the agent itself has there stays."""
    mine = home.has("machine x login y password z\n", ".netrc")
    place = home.sandbox.home / ".netrc"

    home.read(user=True).put()
    assert place.readlink() == mine
    home.read(user=False).put()
    assert not place.is_symlink()

    place.write_text("the agent's")
    home.read(user=True).put()
    home.read(user=False).put()
    assert place.read_text() == "the agent's"


def test_paths_lead_to_the_users_files(home: Home) -> None:
    """Also those that are in force without a setting; each is listed, so that a confined agent may read it."""
    ca = home.has("x", "certs/ca.pem")
    ignore = home.has("*.log\n", ".config/git/ignore")
    attributes = home.has("*.txt text\n", "attributes")
    home.has(
        "[core]\n\tattributesFile = ~/attributes\n[http]\n\tsslCAInfo = ~/certs/ca.pem\n\tsslCAPath = ~/not-there\n"
        '[filter "x"]\n\tclean = ~/bin/clean --from ~/x $HOME/y $HOMES\n'
    )

    settings = home.settings()

    assert settings["core.attributesfile"] == str(attributes)
    assert settings["core.excludesfile"] == str(ignore)
    assert settings["http.sslcainfo"] == str(ca)
    assert settings["filter.x.clean"] == f"{home.path}/bin/clean --from {home.path}/x {home.path}/y $HOMES"
    handed = {one.source for one in home.read().handed}
    assert handed == {home.sandbox.run / "git", ca, ignore, attributes}
    environment = {**home.request.environment, "GIT_SSL_CAINFO": str(ca), "SSL_CERT_DIR": "/not/there"}
    assert ca in {one.source for one in home.read(environment=environment).handed}


def test_both_places_and_their_includes_are_read_in_gits_order(home: Home) -> None:
    """The file in the home wins; an include counts where it stands; a circle of them ends."""
    home.has("[x]\n\ta = config\n\tb = config\n[include]\n\tpath = more\n", ".config/git/config")
    home.has("[x]\n\tb = more\n\tc = more\n[include]\n\tpath = config\n", ".config/git/more")
    home.has('[x]\n\tc = home\n[includeIf "onbranch:main"]\n\tpath = more\n')

    settings = home.settings()

    assert {key: settings[key] for key in ("x.a", "x.b", "x.c")} == {"x.a": "config", "x.b": "config", "x.c": "home"}
    assert any("onbranch:main" in one.what for one in home.read().left_out)


def test_a_change_of_any_file_is_noticed_and_else_nothing_runs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not there yet too, and the agent's own."""
    home.has("[include]\n\tpath = ~/later\n")
    before = home.read()
    monkeypatch.setattr(git_settings, "_git", None)  # nothing may run
    assert home.read() is before
    monkeypatch.undo()

    for file in (
        home.has("[x]\n\ty = 1\n", "later"),
        home.has("[x]\n\tz = 1\n", ".config/git/config"),
        home.sandbox.home / ".gitconfig",
    ):
        known = home.read()
        file.write_text(f"{file.read_text() if file.exists() else ''}[user]\n\tname = {file.name}\n")
        assert git_config.known(home.request) is None
        assert home.read() != known
    assert home.settings()["x.y"] == home.settings()["x.z"] == "1"


def test_settings_that_cannot_be_read_leave_the_last_ones_in_force(home: Home) -> None:
    """What is wrong is said, as git says it; nothing is asked of a remote until it is right."""
    home.has("[user]\n\tname = Ada\n")
    assert home.settings()["user.name"] == "Ada"

    file = home.has("[broken\n")
    config = home.read()
    assert config.problem is not None
    assert config.problem.kind is GitProblemKind.SETUP
    assert config.warnings == (f"cannot read git settings: bad config line 1 in file {file}; correct that file",)
    assert home.settings()["user.name"] == "Ada"

    git_config.forget(home.sandbox)  # as after a restart of the controller
    assert home.settings()["user.name"] == "Ada"
    assert home.settings(user=True) == {}

    home.has("[user]\n\tname = Eve\n")
    assert home.read().problem is None
    assert home.settings()["user.name"] == "Eve"


OWN: Final = (
    "[core]\n\tautocrlf = input\n\tfsmonitor = /x\n\tsshCommand = /x\n\thooksPath = /x\n\tattributesFile = ~/mine\n"
    "[core]\n\texcludesFile = ~/hidden\n[status]\n\tshowUntrackedFiles = no\n"
    '[user]\n\tname = Bot\n[alias]\n\tstatus = !/x\n[filter "f"]\n\tclean = /x\n[credential]\n\thelper = /x\n'
    "[include]\n\tpath = /etc/passwd\n[diff]\n\texternal = /x\n[gpg]\n\tprogram = /x\n[init]\n\ttemplateDir = /x\n"
)


def test_of_the_agents_own_settings_no_program_runs_in_the_managers_git(home: Home) -> None:
    """What changes content is in force there too: both see the same."""
    (home.sandbox.home / ".gitconfig").write_text(OWN)

    config = home.read()
    config.put()

    own = listed(Path(config.manager_variables["GIT_CONFIG_GLOBAL"]))
    mine = str(home.sandbox.home / "mine")
    assert own == {"core.autocrlf": "input", "core.attributesfile": mine, "user.name": "Bot"}


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "huge", "linked folder", "broken"])
def test_what_the_agent_puts_in_the_place_of_settings_leads_nowhere(home: Home, what: str) -> None:
    """Nothing waits for it, and nothing of another's is read."""
    secret = home.has("[user]\n\tname = HUSH\n", "secret")
    place, folder = home.sandbox.home / ".gitconfig", home.sandbox.xdg / "config" / "git"
    match what:
        case "link":
            place.symlink_to(secret)
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "huge":
            place.write_text("#" * (git_settings.MAX_SIZE + 1))
        case "broken":
            place.write_text("[user\n")
        case _:
            folder.parent.mkdir(parents=True)
            (home.path / "config").write_text("[user]\n\tname = HUSH\n")
            folder.symlink_to(home.path)

    config = home.read()

    assert config.own_text == b""
    assert config.problem is None
