"""Every global git setting that changes content or transport: the clone, the agent's git and a destroy agree on it.

The agent's git is git run with exactly the environment that the agent gets.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from reconciler.core.actions import Done
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.secrets import ssh_keys
from reconciler.engines.local.world import world
from tests.support import sshd
from tests.support.gitfaults import Authority, HttpsServer
from tests.support.gitrepo import Origin, git
from tests.support.gituser import GitUser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="user")
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitUser:
    return GitUser(tmp_path, monkeypatch)


@pytest.fixture(name="origin", scope="module")
def _origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """Files that settings about content may change."""
    origin = Origin(tmp_path_factory.mktemp("content"))
    origin.commit("lf.txt", "one\ntwo\n")
    origin.commit("crlf.txt", "one\r\ntwo\r\n")
    origin.commit("mixed.txt", "one\r\ntwo\n")
    origin.commit("text.c", "// $Id$\nint main;\n")
    origin.commit("ümlaut.txt", "ä\n")
    origin.commit("binary", b"\0\r\n\n")
    blob = git(origin.work, "rev-parse", "HEAD:lf.txt")
    git(origin.work, "update-index", "--add", "--cacheinfo", f"120000,{blob},link")
    git(origin.work, "update-index", "--chmod=+x", "text.c")
    git(origin.work, "commit", "--quiet", "--message", "a link and a program")
    git(origin.work, "push", "--quiet", "origin", "main")
    return origin


@dataclass(frozen=True, kw_only=True)
class Content:
    """A setting about content, and what it makes of a file."""

    config: str
    file: str = "lf.txt"
    reads: bytes = b"one\ntwo\n"
    files: dict[str, str] = field(default_factory=dict)
    """More files of the user's."""
    place: str = ".gitconfig"
    variable: str = ""
    """Of the environment, that names the place."""


UPPER: Final = '[filter "up"]\n\tsmudge = tr a-z A-Z\n\tclean = tr A-Z a-z\n\trequired\n'
CONTENT: Final = {
    "nothing": Content(config=""),
    "autocrlf=true": Content(config="[core]\n\tautocrlf = true\n", reads=b"one\r\ntwo\r\n"),
    "autocrlf=input": Content(config="[core]\n\tautocrlf = input\n", file="crlf.txt", reads=b"one\r\ntwo\r\n"),
    "autocrlf, safecrlf": Content(config="[core]\n\tautocrlf = true\n\tsafecrlf = true\n", reads=b"one\r\ntwo\r\n"),
    "autocrlf in .config": Content(
        config="[core]\n\tautocrlf = true\n", place=".config/git/config", reads=b"one\r\ntwo\r\n"
    ),
    "autocrlf in XDG_CONFIG_HOME": Content(
        config="[core]\n\tautocrlf\n", place=".x/git/config", variable="XDG_CONFIG_HOME", reads=b"one\r\ntwo\r\n"
    ),
    "autocrlf in GIT_CONFIG_GLOBAL": Content(
        config="[core]\n\tautocrlf = true\n", place="mine", variable="GIT_CONFIG_GLOBAL", reads=b"one\r\ntwo\r\n"
    ),
    "autocrlf in an include": Content(
        config="[include]\n\tpath = ~/more\n", files={"more": "[core]\n\tautocrlf = true\n"}, reads=b"one\r\ntwo\r\n"
    ),
    "autocrlf for this place": Content(
        config='[includeIf "gitdir:**/app/repo/.git"]\n\tpath = more\n[includeIf "gitdir:/nowhere/"]\n\tpath = no\n',
        files={"more": "[core]\n\tautocrlf = true\n", "no": "[core]\n\tautocrlf = false\n"},
        reads=b"one\r\ntwo\r\n",
    ),
    "autocrlf for this remote": Content(
        config='[includeIf "hasconfig:remote.*.url:/**/origin.git"]\n\tpath = more\n',
        files={"more": "[core]\n\tautocrlf = true\n"},
        reads=b"one\r\ntwo\r\n",
    ),
    "eol with attributes": Content(
        config="[core]\n\teol = crlf\n\tattributesFile = ~/attributes\n",
        files={"attributes": "lf.txt text\n"},
        reads=b"one\r\ntwo\r\n",
    ),
    "a filter": Content(
        config=f"[core]\n\tattributesFile = ~/attributes\n{UPPER}",
        files={"attributes": "lf.txt filter=up\n"},
        reads=b"ONE\nTWO\n",
    ),
    "a filter by the attributes that need no setting": Content(
        config=UPPER, files={".config/git/attributes": "lf.txt filter=up\n"}, reads=b"ONE\nTWO\n"
    ),
    "an encoding": Content(
        config="",
        files={".config/git/attributes": "lf.txt working-tree-encoding=UTF-16LE\n"},
        reads="one\ntwo\n".encode("utf-16-le"),
    ),
    "ident": Content(
        config="",
        files={".config/git/attributes": "*.c ident\n"},
        file="text.c",
        reads=b"// $Id: 714c786f7b55405d9c3b9561dd565294728cb609 $\nint main;\n",
    ),
    "no links": Content(config="[core]\n\tsymlinks = false\n", file="link", reads=b"one\ntwo\n"),
    "no modes, no case, no stat": Content(
        config="[core]\n\tfileMode = false\n\tignoreCase = true\n\tcheckStat = minimal\n\ttrustctime = false\n"
    ),
    "another index": Content(
        config="[index]\n\tversion = 4\n[core]\n\tsplitIndex = true\n\tuntrackedCache = true\n[feature]\n\tmanyFiles\n"
    ),
    "names and encodings": Content(
        config="[core]\n\tquotePath = false\n\tprecomposeUnicode = true\n[i18n]\n\tcommitEncoding = latin1\n"
    ),
    "other ways to show": Content(
        config="[status]\n\tshowUntrackedFiles = no\n\trelativePaths = false\n\tbranch\n[color]\n\tui = always\n"
        "[diff]\n\tnoprefix\n\trenames = copies\n[column]\n\tui = always\n[log]\n\tdecorate = full\n\tshowSignature\n"
    ),
    "other ways to clone and fetch": Content(
        config="[clone]\n\tdefaultRemoteName = up\n[fetch]\n\tprune\n\tpruneTags\n[checkout]\n\tworkers = 2\n"
        '[transfer]\n\tfsckObjects\n[remote "origin"]\n\tfetch = +refs/notes/*:refs/notes/origin/*\n'
    ),
    "hooks of the user's that fail": Content(
        config="[core]\n\thooksPath = ~/hooks\n[init]\n\ttemplateDir = ~/template\n", files={"template/hooks/x": ""}
    ),
    "only safe bare repositories": Content(config="[safe]\n\tbareRepository = explicit\n\tdirectory = *\n"),
    "ignored files": Content(
        config="[core]\n\texcludesFile = ~/ignore\n", files={"ignore": "new.log\n", ".config/git/ignore": "lf.txt\n"}
    ),
    "ignored files that need no setting": Content(config="", files={".config/git/ignore": "new.log\n"}),
}


@pytest.mark.parametrize("name", CONTENT)
async def test_a_fresh_clone_is_clean_and_a_change_is_one_for_all(name: str, user: GitUser, origin: Origin) -> None:
    """For the agent and before a destroy: what one of them calls a change, the other does too."""
    row = CONTENT[name]
    for where, text in {**row.files, row.place: row.config}.items():
        user.has(text, where)
    if row.variable:
        path = user.home / row.place
        user.setenv(row.variable, str(path if row.variable.startswith("GIT") else path.parent.parent))
    await user.wants(origin.path).cloned()

    repo = user.sandbox.repo
    assert (repo / row.file).read_bytes() == row.reads
    for file in repo.iterdir():
        if file.is_file() and not file.is_symlink():
            file.touch()  # so that each is compared
    assert changes(user) == set()
    assert await user.work_at_risk() == ()

    for made in ("lf.txt", "new.log"):
        (repo / made).write_bytes(b"more\x00\n")
    assert changes(user) == {loss.split()[-1] for loss in await user.work_at_risk()} >= {"lf.txt"}


def changes(user: GitUser) -> set[str]:
    """What the agent's git calls changed or new."""
    done = user.try_agent("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-branch")
    out = done.stdout
    assert done.returncode == 0, done.stderr
    return {entry[3:] for entry in out.split("\0") if entry[3:]}


@dataclass(kw_only=True)
class Net:
    """Servers with one repository behind them."""

    ssh: sshd.SshServer
    https: HttpsServer
    ca: Path
    origin: Origin


@pytest.fixture(name="net", scope="module")
def _net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    folder = tmp_path_factory.mktemp("net")
    authority, origin = Authority(folder / "ca"), Origin(folder / "origin")
    origin.commit("a", "one")
    with sshd.best()(folder / "ssh") as ssh, HttpsServer(authority.context("x"), origin.path.parent) as https:
        yield Net(ssh=ssh, https=https, ca=authority.file, origin=origin)


HTTPS, PRIVATE, LOCAL = "https", "private", "local"
BAD: Final = "http://127.0.0.1:1"
CA: Final = "[http]\n\tsslCAInfo = {ca}\n"
STORED: Final = {".git-credentials": "https://ada:HUSH@{host}\n"}
STORE: Final = f"{CA}[credential]\n\thelper = store\n"


@dataclass(frozen=True, kw_only=True)
class Way:
    """Settings about the way to a remote, and whether it is reached then."""

    works: bool
    config: str = ""
    to: str = HTTPS
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    credentials: str = "none"


WAYS: Final = {
    "no authority": Way(works=False),
    "an authority": Way(works=True, config=CA),
    "an authority of this server": Way(works=True, config='[http "{https}"]\n\tsslCAInfo = {ca}\n'),
    "an authority of another server": Way(works=False, config='[http "https://example.org/"]\n\tsslCAInfo = {ca}\n'),
    "an authority at home": Way(works=True, config="[http]\n\tsslCAInfo = ~/ca.pem\n", files={"ca.pem": "{pem}"}),
    "no authority asked": Way(works=True, config="[http]\n\tsslVerify = false\n"),
    "an authority by variable": Way(works=True, variables={"GIT_SSL_CAINFO": "{ca}"}),
    "the variable wins": Way(works=False, config=CA, variables={"GIT_SSL_CAINFO": "{home}/wrong"}, files={"wrong": ""}),
    "variables of other programs": Way(
        works=False, variables={"SSL_CERT_FILE": "{ca}", "CURL_CA_BUNDLE": "{ca}", "REQUESTS_CA_BUNDLE": "{ca}"}
    ),
    "a proxy": Way(works=False, config=f"{CA}\tproxy = {BAD}\n"),
    "a proxy for others": Way(works=True, config=f'{CA}[http "https://example.org/"]\n\tproxy = {BAD}\n'),
    "a proxy by variable": Way(works=False, config=CA, variables={"HTTPS_PROXY": BAD}),
    "a proxy for all": Way(works=False, config=CA, variables={"ALL_PROXY": BAD}),
    "a small proxy for all": Way(works=False, config=CA, variables={"all_proxy": BAD}),
    "a proxy, but not here": Way(works=True, config=CA, variables={"HTTPS_PROXY": BAD, "NO_PROXY": "127.0.0.1"}),
    "a setting wins over a proxy by variable": Way(
        works=True, config=f"{CA}\tproxy =\n", variables={"HTTPS_PROXY": BAD}
    ),
    "no https": Way(works=False, config=f'{CA}[protocol "https"]\n\tallow = never\n'),
    "nothing but https": Way(
        works=True, config=f'{CA}[protocol]\n\tallow = never\n[protocol "https"]\n\tallow = always\n'
    ),
    "no local paths": Way(works=False, to=LOCAL, config="[protocol]\n\tallow = never\n"),
    "an old protocol": Way(works=True, config=f"{CA}\tversion = HTTP/1.1\n[protocol]\n\tversion = 0\n"),
    "a local path that is rewritten": Way(
        works=True, to=LOCAL, config=f'{CA}[url "{{https}}/"]\n\tinsteadOf = {{local}}/\n'
    ),
    "https that is rewritten to a path": Way(works=True, config='[url "{local}/"]\n\tinsteadOf = {https}/\n'),
    "https that is rewritten to ssh": Way(works=True, config='[url "{ssh}/"]\n\tinsteadOf = {https}/\n'),
    "https that is rewritten to nowhere": Way(
        works=False, config=f'{CA}[url "https://127.0.0.1:1/"]\n\tinsteadOf = {{https}}/\n'
    ),
    "a login": Way(works=False, to=PRIVATE, config=STORE, files=STORED),
    "a login that is handed over": Way(works=True, to=PRIVATE, config=STORE, files=STORED, credentials="user"),
    "a login by a file of passwords": Way(
        works=False, to=PRIVATE, config=CA, files={".netrc": "machine 127.0.0.1 login ada password HUSH\n"}
    ),
    "a file of passwords that is handed over": Way(
        works=True,
        to=PRIVATE,
        config=CA,
        files={".netrc": "machine 127.0.0.1 login ada password HUSH\n"},
        credentials="user",
    ),
    "a login by a header": Way(
        works=False, to=PRIVATE, config=f"{CA}\textraHeader = Authorization: Basic YWRhOkhVU0g=\n"
    ),
    "a header that is handed over": Way(
        works=True, to=PRIVATE, config=f"{CA}\textraHeader = Authorization: Basic YWRhOkhVU0g=\n", credentials="user"
    ),
    "a login in a rule": Way(
        works=False, to=PRIVATE, config=f'{CA}[url "https://ada:HUSH@{{host}}/"]\n\tinsteadOf = {{https}}/\n'
    ),
    "a rule with a login that is handed over": Way(
        works=True,
        to=PRIVATE,
        config=f'{CA}[url "https://ada:HUSH@{{host}}/"]\n\tinsteadOf = {{https}}/\n',
        credentials="user",
    ),
}


@pytest.mark.parametrize("name", WAYS)
async def test_what_the_manager_reaches_the_agent_does_and_nothing_more(name: str, user: GitUser, net: Net) -> None:
    """By whatever way the user's settings and the environment lead there."""
    way = WAYS[name]
    host = f"127.0.0.1:{net.https.port}"
    local, ssh = net.origin.path.parent, net.ssh.url(net.origin.path.parent)
    facts = {"ca": net.ca, "pem": net.ca.read_text(), "home": user.home, "host": host, "https": f"https://{host}"}
    facts |= {"local": local, "ssh": ssh}
    for place, text in {**way.files, ".gitconfig": way.config}.items():
        user.has(text.format(**facts).replace(f"@{host}\n", f"@{host.replace(':', '%3a')}\n"), place)
    for variable, value in way.variables.items():
        user.setenv(variable, value.format(**facts))
    start = {HTTPS: f"https://{host}", PRIVATE: f"https://{host}/private", LOCAL: local}[way.to]
    url = f"{start}/{net.origin.path.name}"

    user.wants(url, credentials=way.credentials)
    first = await user.clone()
    if (public := user.settings.home.deploy_key("app").with_name("app-deploy.pub")).exists():
        net.ssh.authorize(public.read_text())
        first = await user.clone()

    assert isinstance(first, Done) == way.works, first
    asked = user.try_agent("ls-remote", url)
    assert (asked.returncode == 0) == way.works, asked.stderr
    if way.works:
        assert changes(user) == set()
        assert await user.work_at_risk() == ()


async def test_a_rule_for_pushing_alone_gets_a_key_too(user: GitUser, net: Net) -> None:
    """The clone is made by https, and the agent pushes by ssh."""
    rule = f'[url "{net.ssh.url(net.origin.path.parent)}/"]\n\tpushInsteadOf = https://127.0.0.1:{net.https.port}/\n'
    user.has(f"[http]\n\tsslCAInfo = {net.ca}\n[user]\n\tname = Ada\n\temail = ada@example.org\n{rule}")

    await user.wants(net.https.url("origin.git")).cloned()

    net.ssh.authorize(user.settings.home.deploy_key("app").with_name("app-deploy.pub").read_text())
    user.agent("switch", "--quiet", "--create", "pushed")
    user.agent("commit", "--quiet", "--allow-empty", "--message", "mine")
    user.agent("push", "--quiet", "--set-upstream", "origin", "pushed")
    assert git(net.origin.path, "log", "-1", "--format=%an", "pushed") == "Ada"


@pytest.fixture(name="ssh_agent")
def _ssh_agent(user: GitUser) -> Iterator[Path]:
    """A real SSH agent of the user's; the public half of the key that it holds."""
    if not shutil.which("ssh-agent"):
        pytest.skip("cannot hand over an SSH agent: ssh-agent is not installed")
    key, socket = user.home / "id", user.home / "agent"
    asyncio.run(ssh_keys.generate_key(key, comment="mine"))
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()  # printed when it listens
            user.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", str(key)], check=True)
            key.unlink()
            yield key.with_name("id.pub")
        finally:
            agent.kill()


@pytest.mark.parametrize("credentials", ["none", "user"])
async def test_the_ssh_agent_is_handed_over_only_on_request(
    credentials: str, user: GitUser, net: Net, ssh_agent: Path
) -> None:
    """The server knows its key, and does not know the deploy key."""
    net.ssh.revoke_all()
    net.ssh.authorize(ssh_agent.read_text())

    first = await user.wants(net.ssh.url(net.origin.path), credentials=credentials).clone()

    assert isinstance(first, Done) == (credentials == "user"), first
    assert (user.try_agent("ls-remote", user.spec.git.url).returncode == 0) == (credentials == "user")
    assert any("your SSH agent" in each for each in (await user.observe()).warnings) == (credentials == "user")


async def test_the_agents_own_settings_win_and_stay(user: GitUser, origin: Origin) -> None:
    """It may set anything for itself; a destroy goes by it, runs none of its programs and finds what it hides."""
    user.has("[user]\n\tname = Ada\n")
    await user.wants(origin.path).cloned()
    ran = user.home / "ran"
    user.agent("config", "--global", "user.name", "Bot")
    user.agent("config", "--global", "core.excludesFile", str(user.has("*.log\n", "i")))
    user.agent("config", "--global", "core.attributesFile", str(user.has("* filter=x\n", "x")))
    user.agent("config", "--global", "filter.x.clean", f"touch {ran}; cat")
    user.agent("config", "--global", "alias.status", f"!touch {ran}")
    user.agent("config", "--global", "core.fsmonitor", f"touch {ran}; false")
    (user.sandbox.repo / "new.log").touch()
    user.agent("config", "--global", "core.autocrlf", "true")
    (user.sandbox.repo / "lf.txt").unlink()
    user.agent("-c", "filter.x.clean=", "checkout", "--quiet", "lf.txt")
    (user.sandbox.repo / "lf.txt").touch()
    ran.unlink(missing_ok=True)
    (user.sandbox.repo / "mixed.txt").write_text("changed\n")

    assert user.agent("config", "user.name") == "Bot"
    assert set(await user.work_at_risk()) == {"changed file mixed.txt", "untracked new.log"}
    assert (user.sandbox.repo / "lf.txt").read_bytes() == b"one\r\ntwo\r\n"
    assert not ran.exists()


async def test_a_changed_setting_reaches_a_running_agent(user: GitUser, origin: Origin) -> None:
    """Its git reads it at the next run: nobody is restarted for that, and the engine sees that something was edited."""
    await user.wants(origin.path).cloned()
    before, settings = user.engine.fingerprint("app"), user.project.git
    await user.observe()
    user.agent("config", "--global", "x.y", "1")
    await user.observe()
    assert user.engine.fingerprint("app") == before  # an agent must not look like a person who edits
    user.has("[user]\n\tname = Ada\n")

    assert user.engine.fingerprint("app") != before
    user.engine._observer._prober = user.engine._prober  # not dry
    await user.observe()
    assert user.project.git != settings
    assert user.agent("config", "user.name") == "Ada"


async def test_a_confined_agents_git_has_them_too(user: GitUser, origin: Origin) -> None:
    """Of what is hidden from it, it reads its own settings, and writes none of them."""
    attributes = user.has("lf.txt filter=up\n", "attributes")
    user.has(f"[user]\n\tname = Ada\n[core]\n\tattributesFile = {attributes}\n{UPPER}")
    await user.wants(origin.path).cloned()
    confined = confine.ConfinedCommand(given=world.build(user.project))
    wrapper = await confine.wrap(user.project, confined)
    if not wrapper:
        pytest.skip("cannot confine anything here: bubblewrap is not installed, or does not work")

    assert user.agent("config", "user.name", wrapper=wrapper) == "Ada"
    assert user.agent("status", "--porcelain", wrapper=wrapper) == ""
    kept = str(user.sandbox.run / "git" / "user")
    assert user.try_agent("config", "--file", kept, "user.name", "Eve", wrapper=wrapper).returncode != 0
