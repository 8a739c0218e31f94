"""The sandbox's `.env`: made, judged, changed; its values stay inside."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engines.local.secrets import env_file
from reconciler.engines.local.secrets.env_file import (
    SECRETS,
    Env,
    bad_secrets,
    read_env,
    set_secrets,
    write_env,
)
from reconciler.settings import Sandbox, UserError

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "a-password-of-mine"
TOKEN = "a-token-of-mine-too"
GOOD = f"OPENCODE_SERVER_PASSWORD={PASSWORD}\nMCP_TOOL_BEARER_TOKEN={TOKEN}\n"


def dotenv(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture(name="sandbox")
def _sandbox(tmp_path: Path) -> Sandbox:
    sandbox = Sandbox(tmp_path / "my app")
    sandbox.run.mkdir(parents=True)
    return sandbox


def test_a_missing_file_is_no_error(tmp_path: Path) -> None:
    """It is a fact."""
    assert read_env(tmp_path / ".env") == Env(exists=False)


def test_every_key_of_the_users_example_is_read(tmp_path: Path) -> None:
    """With the comments, the export and the quotes that people write."""
    program = tmp_path / "opencode"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (
        "# Git repository\nGIT_URL=git@github.com:user/repo.git\n\nSSH_KEY_PATH='/home/alex/my keys/deploy'\n"
        f'export OPENCODE_SERVER_PASSWORD="{PASSWORD} $HOME ${{HOME}}" # mine\r\nMCP_TOOL_BEARER_TOKEN = {TOKEN}\n'
        f"OPENCODE_PORT=4101\nMCP_TOOL_PORT=5101\nOPENCODE_BIN={program}\nMCP_TOOL_DIR={tmp_path}\n"
    )

    assert read_env(dotenv(tmp_path, text)) == Env(
        exists=True,
        git_url="git@github.com:user/repo.git",
        ssh_key_path="/home/alex/my keys/deploy",
        server_password=f"{PASSWORD} $HOME ${{HOME}}",
        bearer_token=TOKEN,
        opencode_port=4101,
        mcp_tool_port=5101,
        opencode_bin=str(program),
        mcp_tool_dir=str(tmp_path),
    )


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("OPENCODE_SERVER_PASSWORD=Short-one", 4, "set twice, first in line 1"),
        ("OPENCODE_PORT=80", 4, "from 4100 to 4199"),
        ("OPENCODE_PORT=4190", 4, "browsers and Node refuse this one"),
        ("OPENCODE_PORT=Port", 4, "from 4100 to 4199"),
        ("\n\r\n  MCP_TOOL_PORT=101", 6, "from 5100 to 5199"),
        ("OPENCODE_BIN=bin/Opencode", 4, "absolute path of a program"),
        ("OPENCODE_BIN=/dev/null", 4, "absolute path of a program"),
        ("MCP_TOOL_DIR=/Nowhere", 4, "absolute path of a folder"),
        ("SSH_KEY_PATH='-----BEGIN OPENSSH PRIVATE KEY-----\nHush'", 4, "not its text"),
        ("SSH_KEY_PATH=keys/Mine", 4, "absolute path"),
        ("what is This", 4, "KEY=value"),
        ("OPENCODE_PORT", 4, "KEY=value"),
        ("OPENCODE_PORT='4101\nHush", 4, "KEY=value"),
    ],
)
def test_a_bad_line_is_named_and_not_shown(tmp_path: Path, line: str, where: int, words: str) -> None:
    """File, line, key, and what to do; never the value."""
    path = dotenv(tmp_path, f"{GOOD}# a comment\n{line}\n")

    problem = read_env(path).problems[0]

    assert problem.startswith("cannot ")
    assert f"{path}:{where}:" in problem
    assert words in problem
    assert not any(value in problem for value in ("Short-one", "Port=", "Opencode", "Nowhere", "Hush", "Mine", "This"))


@pytest.mark.parametrize(
    ("password", "token", "words"),
    [
        ("", TOKEN, "OPENCODE_SERVER_PASSWORD is missing"),
        (PASSWORD, "", "MCP_TOOL_BEARER_TOKEN is missing"),
        ("elevenchars", TOKEN, "OPENCODE_SERVER_PASSWORD is shorter than 12"),
        ("your-secure-password", TOKEN, "OPENCODE_SERVER_PASSWORD is still the placeholder"),
        (PASSWORD, "your-bearer-token", "MCP_TOOL_BEARER_TOKEN is still the placeholder"),
        ("with-a-bell-\\a-in-it", TOKEN, "OPENCODE_SERVER_PASSWORD has control characters"),
        ("päßwörter-sind-schön", TOKEN, "OPENCODE_SERVER_PASSWORD has control characters"),
        (PASSWORD, "a token with spaces", "MCP_TOOL_BEARER_TOKEN has control characters"),
        (PASSWORD, PASSWORD, "MCP_TOOL_BEARER_TOKEN is the same as the password"),
    ],
)
def test_a_weak_secret_is_refused(tmp_path: Path, password: str, token: str, words: str) -> None:
    """Each for its own reason, and its value stays inside."""
    path = dotenv(tmp_path, f'OPENCODE_SERVER_PASSWORD="{password}"\nMCP_TOOL_BEARER_TOKEN="{token}"\n')

    problems = read_env(path).problems

    assert len(problems) == 1
    assert words in problems[0]
    assert all(not value or value not in problems[0] for value in (password, token))


def test_a_password_may_have_spaces_and_signs(tmp_path: Path) -> None:
    """People choose phrases."""
    path = dotenv(tmp_path, f"OPENCODE_SERVER_PASSWORD='correct: horse! $5'\nMCP_TOOL_BEARER_TOKEN={TOKEN}\n")

    assert read_env(path).problems == ()


def test_a_file_that_cannot_be_trusted_is_not_read(tmp_path: Path) -> None:
    """Open to others, a link, a folder, a pipe, too large, not text."""
    (tmp_path / "real").write_text(GOOD)
    folder, pipe, link, real = (tmp_path / name for name in ("folder", "pipe", "link", "real"))
    folder.mkdir(mode=0o700)
    os.mkfifo(pipe, 0o600)
    real.write_text(GOOD)
    real.chmod(0o640)
    link.symlink_to(real)
    large, garbled = tmp_path / "large", tmp_path / "garbled"
    for path, data in ((large, b"#" * 65537), (garbled, b"A=\xff")):
        path.write_bytes(data)
        path.chmod(0o600)
    expected = {
        real: f"chmod 600 {real}",
        link: "it is a link",
        folder: "not a file",
        pipe: "not a file",
        large: "larger than 64 KiB",
        garbled: "not UTF-8",
    }

    for path, words in expected.items():
        env = read_env(path)
        assert (env.exists, env.server_password, len(env.problems)) == (True, "", 1)
        assert env.problems[0].startswith("cannot ")
        assert words in env.problems[0]


def test_unknown_keys_are_warned_about(tmp_path: Path) -> None:
    """With the nearest one that is known; they harm nothing."""
    path = dotenv(tmp_path, f"{GOOD}OPENCODE_PROT=4101\neditor=vi\n")

    env = read_env(path)

    assert env.problems == ()
    assert env.warnings == (
        f"{path}:3: OPENCODE_PROT is not known and not used; did you mean OPENCODE_PORT?",
        f"{path}:4: it is no known key, and only keys in capitals are passed to the agent",
    )
    assert env.agent_secrets == {}


def test_any_further_key_in_capitals_is_a_secret_of_the_agent(tmp_path: Path) -> None:
    """To the letter; the project's own wins over what all share, and none is shown."""
    path = dotenv(tmp_path, f"{GOOD}OPENCODE_API_KEY='a $b ${{HOME}}'\nCORP_KEY=own-value\n")
    (tmp_path / "all").mkdir()
    shared = dotenv(tmp_path / "all", "CORP_KEY=shared-value\nEMPTY=\n")

    env = read_env(path, shared)

    assert (env.problems, env.warnings) == ((), ())
    values = {"OPENCODE_API_KEY": "a $b ${HOME}", "CORP_KEY": "own-value", "EMPTY": ""}
    assert {name: key.value for name, key in env.agent_secrets.items()} == values
    assert {name: key.file for name, key in env.agent_secrets.items()} == dict.fromkeys(values, path) | {
        "EMPTY": shared
    }
    assert "-value" not in repr(env)
    assert "-value" not in repr(env.agent_secrets["CORP_KEY"])
    assert read_env(path, tmp_path / "none").agent_secrets.keys() == {"OPENCODE_API_KEY", "CORP_KEY"}


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("HOME=/x", 0o600, ":1: HOME is reserved: the manager sets it; remove it"),
        ("A=1\nLD_PRELOAD=x", 0o600, ":2: LD_PRELOAD is reserved"),
        ("MCP_TOOL_BEARER_TOKN=x", 0o600, "did you mean MCP_TOOL_BEARER_TOKEN?"),
        ("GIT_URL=x", 0o600, ":1: GIT_URL is of one project alone; put it into the .env of its sandbox"),
        ("A=x\0y", 0o600, ":1: A has a NUL character"),
        ("A=1\nA=2", 0o600, ":2: A is set twice"),
        ("A=1", 0o640, "chmod 600"),
    ],
)
def test_what_an_agent_must_not_be_given_is_refused_by_name(tmp_path: Path, text: str, mode: int, why: str) -> None:
    """In the file that all share; but for keys of a project, in its own too."""
    (tmp_path / "all").mkdir()
    shared = dotenv(tmp_path / "all", text, mode)

    [problem] = read_env(dotenv(tmp_path, GOOD), shared).problems

    assert problem.startswith(f"cannot use {shared}")
    assert why in problem
    if mode == 0o600 and "GIT_URL" not in text:
        [own] = read_env(dotenv(tmp_path, GOOD + text)).problems
        assert why.rpartition(":")[2] in own


def test_secrets_are_not_shown_by_accident(tmp_path: Path) -> None:
    """In a log or a traceback."""
    env = read_env(dotenv(tmp_path, GOOD))

    assert (env.server_password, env.bearer_token) == (PASSWORD, TOKEN)
    assert PASSWORD not in repr(env)
    assert TOKEN not in repr(env)


def test_development_mode_makes_a_good_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """Strong, private, different each time, with a word to review it until its first line is removed."""
    key = tmp_path / "keys of mine" / "app-deploy"
    write_env(sandbox, git_url="git@github.com:user/repo.git", ssh_key=key)
    env = read_env(sandbox.env_file)
    text = sandbox.env_file.read_text()
    dotenv(sandbox.path, text.partition("\n")[2])

    assert env.problems == ()
    assert "review" in env.warnings[0]
    assert read_env(sandbox.env_file).warnings == ()
    assert (env.git_url, env.ssh_key_path) == ("git@github.com:user/repo.git", str(key))
    assert min(len(env.server_password), len(env.bearer_token)) >= 43
    assert stat.S_IMODE(sandbox.env_file.stat().st_mode) == 0o600
    assert list(sandbox.run.iterdir()) == []
    sandbox.env_file.unlink()
    write_env(sandbox, git_url="/local/path", ssh_key=None)
    again = read_env(sandbox.env_file)
    assert again.problems == ()
    assert {again.server_password, again.bearer_token}.isdisjoint({env.server_password, env.bearer_token})


def test_an_existing_file_is_never_overwritten(sandbox: Sandbox) -> None:
    """Not even an empty one."""
    dotenv(sandbox.path, "")

    write_env(sandbox, git_url="x", ssh_key=None)

    assert sandbox.env_file.read_text() == ""


def test_set_secrets_makes_a_file(tmp_path: Path) -> None:
    """0600 from the start."""
    set_secrets(tmp_path / ".env", {"OPENCODE_SERVER_PASSWORD": PASSWORD, "MCP_TOOL_BEARER_TOKEN": TOKEN})

    assert read_env(tmp_path / ".env") == Env(exists=True, server_password=PASSWORD, bearer_token=TOKEN)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_set_secrets_changes_values_and_nothing_else(tmp_path: Path) -> None:
    """Comments, order, other keys and line ends stay; a loose mode is put right."""
    before = (
        "# mine\r\n\nEXTRA='two\nlines'\nexport OPENCODE_SERVER_PASSWORD = \"old # one\"  # the password\n"
        "# OPENCODE_SERVER_PASSWORD=not this\nMCP_TOOL_BEARER_TOKEN= # later\nMCP_TOOL_BEARER_TOKEN=twice\nLAST=x"
    )
    path = dotenv(tmp_path, before, 0o644)

    set_secrets(path, {"OPENCODE_SERVER_PASSWORD": "it's new", "MCP_TOOL_BEARER_TOKEN": TOKEN, "OPENCODE_PORT": "4101"})

    assert path.read_bytes().decode() == (
        "# mine\r\n\nEXTRA='two\nlines'\nexport OPENCODE_SERVER_PASSWORD ='it\\'s new'  # the password\n"
        f"# OPENCODE_SERVER_PASSWORD=not this\nMCP_TOOL_BEARER_TOKEN={TOKEN} # later\nLAST=x\nOPENCODE_PORT=4101\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_secrets_that_cannot_be_used_are_bad(tmp_path: Path) -> None:
    """Missing, weak, or set twice; another bad line makes no secret bad, nor does a loose mode."""
    good = f"OPENCODE_SERVER_PASSWORD={PASSWORD}\nMCP_TOOL_BEARER_TOKEN={TOKEN}\n"

    assert bad_secrets(tmp_path / "none") == SECRETS
    assert bad_secrets(dotenv(tmp_path, f"{good}OPENCODE_PORT=80\n", 0o644)) == ()
    assert bad_secrets(dotenv(tmp_path, f"OPENCODE_SERVER_PASSWORD={PASSWORD}\n")) == SECRETS[1:]
    assert bad_secrets(dotenv(tmp_path, f"{good}OPENCODE_SERVER_PASSWORD={PASSWORD}x\n")) == SECRETS[:1]


@pytest.mark.parametrize("text", ["EXTRA='open\nMCP_TOOL_PORT=5101\n", b"\xff"])
def test_a_file_that_cannot_be_changed_safely_is_left_alone(tmp_path: Path, text: str | bytes) -> None:
    """An open quote would swallow what is added."""
    path = dotenv(tmp_path, text)
    before = path.read_bytes()

    with pytest.raises(UserError, match=r"^cannot "):
        set_secrets(path, {"OPENCODE_SERVER_PASSWORD": "it's new and long"})

    assert path.read_bytes() == before


def test_a_value_with_control_characters_is_refused_without_showing_it(tmp_path: Path) -> None:
    """It could not be typed into a header anyway."""
    with pytest.raises(UserError, match=r"^cannot write a value with control characters") as caught:
        set_secrets(tmp_path / ".env", {"OPENCODE_SERVER_PASSWORD": "line\nbreak"})

    assert "break" not in str(caught.value)
    assert not (tmp_path / ".env").exists()


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)


@given(TEXT)
def test_what_is_written_is_read_back_to_the_letter(value: str) -> None:
    """By python-dotenv itself, as others use it."""
    line = f"KEY={env_file.quote(value)}\nNEXT=1\n"

    assert dotenv_values(stream=io.StringIO(line), interpolate=False) == {"KEY": value, "NEXT": "1"}


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "export C", "OPENCODE_PORT"]), TEXT), max_size=5), TEXT)
def test_patching_any_file_keeps_the_other_values(lines: list[tuple[str, str]], value: str) -> None:
    """Whatever stood there before, in whatever order."""
    text = "".join(f"{key}={env_file.quote(old)} # note\n" for key, old in lines)
    before = dotenv_values(stream=io.StringIO(text), interpolate=False)

    new = "".join(env_file._patched(text, {"B": value}))

    assert dotenv_values(stream=io.StringIO(new), interpolate=False) == before | {"B": value}
