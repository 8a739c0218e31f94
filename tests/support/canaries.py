"""Secrets that are planted in a small world, the life that carries them through every state, and where they turned up.

The rows in `tests/battery` say which promise is broken by that.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import secrets
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from reconciler.specs import spec_folder
from reconciler.system.files import private_folder
from tests.support import faults
from tests.support.frontends import connect, serving
from tests.support.world import LIGHT_AGENT, LIGHT_TOOL, Status, git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.sshd import SshServer
    from tests.support.world import World

PROJECTS = ("light", "real", "keyed", "dies")
SECRET_KEYS = ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN")
SPOILT_SHORT = 4
"""Ways to spoil an `.env` that the short form tries."""


def is_ready(status: Status) -> bool:
    """Running and proved."""
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


@dataclass
class Canaries:
    """Secrets that are nowhere else in the world, by name, and how each may be disguised."""

    values: dict[str, bytes] = field(default_factory=dict)
    _needles: dict[bytes, str] = field(default_factory=dict)

    def make(self, name: str) -> str:
        """A new one; its slash and plus look different in a URL."""
        value = f"{secrets.token_hex(8)}/+{secrets.token_hex(8)}"
        self.plant(name, value.encode())
        return value

    def plant(self, name: str, value: bytes) -> None:
        """Look for this one too."""
        self.values[name] = value
        self._needles |= dict.fromkeys(_disguises(value), name)

    def plant_key(self, name: str, private: Path) -> None:
        """Look for the private part of an SSH key: the lines that its public key has no part in."""
        for line in private.read_bytes().splitlines()[3:-1]:
            self.plant(name, line)

    def within(self, data: bytes) -> set[str]:
        """The names of those that are in it, plain or disguised."""
        pattern = re.compile(b"|".join(map(re.escape, self._needles)))
        return {self._needles[found] for found in set(pattern.findall(data))}


def _disguises(value: bytes) -> Iterator[bytes]:
    text = value.decode()
    yield from (value, quote(text, safe="").encode(), quote_plus(text).encode(), json.dumps(text)[1:-1].encode())
    yield value.hex().encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value).rstrip(b"=")
        # Without the characters that depend on what stands before and after it.
        sure = encoded[(0, 2, 3)[offset] : -1 if (offset + len(value)) % 3 else None]
        yield from (sure, sure.translate(bytes.maketrans(b"+/", b"-_")))


def git_objects(repo: Path) -> bytes:
    """Every object of a repository, unpacked."""
    argv = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(repo)}
    return subprocess.run(argv, cwd=repo, env=environment, capture_output=True, check=True).stdout


@dataclass
class Life:
    """One life of four projects, and what was seen of it."""

    world: World
    recorder: faults.Recorder
    canaries: Canaries = field(default_factory=Canaries)
    lines: int = 0
    in_arguments: list[str] = field(default_factory=list)
    in_environments: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    looks: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    """What tools and commands said."""
    port: int = 0
    full: bool = False

    # -- planting ------------------------------------------------------------------------------------------------------

    def plant(self, server: SshServer, home: Path) -> None:
        """A canary in every secret there is."""
        auth = home / ".local" / "share" / "opencode" / "auth.json"
        auth.parent.mkdir(parents=True)
        auth.touch(mode=0o600)
        auth.write_text(json.dumps({"anthropic": {"type": "api", "key": self.canaries.make("provider key")}}))
        self.world.environment["HOME"] = str(home)
        self.plant_token()
        key = self.world.home.deploy_key("keyed")
        server.authorize(faults.make_key(key))
        self.canaries.plant_key("deploy key", key)
        for name in PROJECTS:
            own = {} if name == "real" else {"OPENCODE_BIN": str(LIGHT_AGENT)}
            self.env(name, own | ({"MCP_TOOL_DIR": str(LIGHT_TOOL)} if name == "light" else {}))
        self.world.write("light", f"git: {{url: {self.world.origin}}}\n")
        self.world.write("real", f"git: {{url: {self.world.origin}}}\n")
        self.world.write("keyed", f"git: {{url: {server.url(self.world.origin)}}}\n")
        self.world.write("dies", f"git: {{url: {self.world.origin}}}\nagent: {{env: {{LIGHT_AGENT: die}}}}\n")

    def plant_token(self) -> None:
        """The controller's own."""
        token = private_folder(self.world.home.controller) / "token"
        token.touch(mode=0o600)
        token.write_text(self.canaries.make("token of the controller") + "\n")

    def env(self, name: str, own: dict[str, str]) -> None:
        """The `.env` of a project."""
        sandbox = self.world.home.sandbox(name)
        private_folder(self.world.home.sandboxes)
        private_folder(sandbox.path)
        sandbox.env_file.touch(mode=0o600)
        values = own | {
            "OPENCODE_SERVER_PASSWORD": self.canaries.make(f"password of {name}"),
            "MCP_TOOL_BEARER_TOKEN": self.canaries.make(f"token of {name}"),
        }
        sandbox.env_file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    # -- looking -------------------------------------------------------------------------------------------------------

    def look(self, where: str) -> None:
        """Arguments of all processes, environments of ours, permissions: now."""
        self.looks += 1
        self.modes += [f"{where}: {one}" for one in faults.too_open(self.world.home.root)]
        for pid, line in faults.command_lines():
            self.lines += 1
            self.in_arguments += [f"{where}: {one} of {pid}" for one in self.canaries.within(line)]
        for process, environment in faults.environments(self.world):
            self.lines += 1
            for one in self.canaries.within(environment) - self.rightful(process, environment):
                self.in_environments.append(f"{where}: {one} in the environment of {process}")

    def rightful(self, line: str, environment: bytes) -> set[str]:
        """What a process may know: an agent its password; a bridge its token too."""
        name = next((one for one in PROJECTS if f"{self.world.home.sandbox(one).path}/".encode() in environment), "")
        bridge = "reconciler.bridge" in line or "index-http.js" in line
        # Where pyenv provides python3, a stand-in for an agent begins as its shim.
        agent = "lightagent" in line or "serve" in line.split() or "/pyenv-" in line
        return {f"password of {name}"} if agent else {f"password of {name}", f"token of {name}"} if bridge else set()

    def heard(self, where: str, text: str) -> None:
        """Something that a person or a model gets to read."""
        self.answers[f"{len(self.answers)} {where}"] = text

    # -- living --------------------------------------------------------------------------------------------------------

    def wait(self, name: str, *reasons: str) -> Status:
        return self.world.wait(name, lambda status: status["reason"] in reasons)

    def serve(self) -> None:
        """Start a controller."""
        self.port = serving(self.world)

    def begin(self) -> None:
        """Four projects, one of which cannot run."""
        self.serve()
        self.wait("light", "Running")
        self.wait("keyed", "Running")
        self.wait("dies", "CrashLoop")
        self.wait("real", "Running")
        self.look("started")

    def commands(self, how: str, *commands: tuple[str, ...]) -> None:
        """Run these, two at a time: starting Python is most of it."""
        with ThreadPoolExecutor(2) as pool:
            for command, text in zip(
                commands, pool.map(lambda one: self.world.run(*one, code=None), commands), strict=True
            ):
                self.heard(f"{command} ({how})", text)

    def ask_everything(self) -> None:
        """Every command and every tool."""
        short = [("plan",), ("status", "light"), ("status", "-o", "json"), ("logs", "dies")]
        more: list[tuple[str, ...]] = [(one,) for one in ("list", "status", "validate", "schema")]
        more += [("mcp-config", "--client", one) for one in ("claude-code", "claude-desktop", "codex", "cursor")]
        more += [(command, name) for name in PROJECTS for command in ("status", "logs")]
        self.commands("running", *short, *(more if self.full else ()))
        asyncio.run(self.call_everything())

    async def call_everything(self) -> None:
        """Each tool of the controller and of a bridge, in a way that it should be called and in one it should not."""
        known: dict[str, Any] = {"project": "real", "project_name": "light", "wait_seconds": 0, "waitSeconds": 0}
        async with connect(self.world, self.port) as client, self.bridge("real") as bridge:
            known["sessionId"] = await begun(client)
            for side, frontend in (("controller", client), ("bridge", bridge)):
                for tool in (await frontend.list_tools()).tools:
                    if "destroy" not in tool.name and "delete" not in tool.name:
                        for arguments in (faults.sample(tool.input_schema, tool.input_schema, known), {"nonsense": 1}):
                            answer = await frontend.call_tool(tool.name, arguments)
                            self.heard(f"{tool.name} of the {side}", answer.model_dump_json())

    @asynccontextmanager
    async def bridge(self, name: str) -> AsyncIterator[Client]:
        token = self.canaries.values[f"token of {name}"].decode()
        url = self.world.status(name)["bridge"]["url"]
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            yield client

    def suffer(self) -> None:
        """Restart, crash, kill: each leaves records."""
        self.heard("restart", self.world.run("restart", "light"))
        for victim in ("agent", "bridge"):
            pid = self.world.status("keyed")[victim]["pid"]
            os.kill(pid, signal.SIGKILL)
            self.world.wait("keyed", lambda status: is_ready(status) and status[victim]["pid"] != pid)  # noqa: B023  at once
        self.look("crashed")
        self.world.kill()
        self.look("controller killed")
        self.serve()
        self.world.ready("real")

    def spoil(self) -> None:
        """An `.env` that cannot be used, in every way a person would make it so; specs with secrets in them."""
        env = self.world.home.sandbox("light").env_file
        right = env.read_text()
        password = self.canaries.values["password of light"].decode()
        token = self.canaries.values["token of light"].decode()
        spoilt = {
            "no equals sign": right.replace(f"={password}", f" {password}"),
            "colon": right.replace(f"={token}", f": {token}"),
            "misspelt key": right.replace("OPENCODE_SERVER_PASSWORD", "OPENCODE_SERVER_PASSWROD"),
            "set twice": f"{right}OPENCODE_SERVER_PASSWORD={token}\n",
            "quote unclosed": right.replace(f"={password}", f'="{password}'),
            "both the same": right.replace(token, password),
            "beyond ASCII": right.replace(token, f"{token}ä"),
            "key in its place": f"{right}SSH_KEY_PATH={self.world.home.deploy_key('keyed').read_text()}",
            "the port": f"{right}OPENCODE_PORT={password}\n",
            "the program": f"{right}OPENCODE_BIN={password}\n",
        }
        for how, text in list(spoilt.items())[: None if self.full else SPOILT_SHORT]:
            env.write_text(text)
            self.announce("light", how)
        self.commands("spoilt", ("secrets", "light", "--generate"), ("logs", "light"))
        env.write_text(right)
        url = f"https://me:{self.canaries.make('password in a url')}@127.0.0.1/repo.git"
        for how, text in {
            "password in git.url": f"git: {{url: '{url}'}}\n",
            "password in an unknown key": f"git: {{url: x}}\npassword: {self.canaries.make('password in a spec')}\n",
            "key text": f"git: {{url: x, ssh_key: {json.dumps(self.world.home.deploy_key('keyed').read_text())}}}\n",
        }.items():
            self.world.write("light", text)
            self.wait("light", "SpecInvalid")
            self.commands(how, ("status", "light"), ("validate",))
        self.world.write("light", f"git: {{url: {self.world.origin}}}\n")
        self.wait("light", "Running")
        self.look("spoilt")

    def announce(self, name: str, how: str) -> None:
        """Touch the spec so that the controller looks at once, and keep all that is said then."""
        self.world.write(name, f"git: {{url: {self.world.origin}}}\n# {how}\n")
        token = spec_folder.token_of(spec_folder.spec_path(self.world.specs, name).stat()).text
        self.world.wait(name, lambda status: status["spec_version"] == token)
        self.heard(how, json.dumps(self.world.status(name)))
        self.commands(how, ("plan", name))

    def end(self) -> None:
        """Work is committed, a destroy is blocked, then done; one project is stopped."""
        repo = self.world.home.sandbox("keyed").repo
        repo.joinpath("work.txt").write_text("work\n")
        git(repo, "add", "--all")
        git(repo, "commit", "-q", "-m", "Work")
        self.heard("destroy blocked", self.world.run("destroy", "keyed", "--yes", code=None))
        self.look("destroy blocked")
        self.heard("destroy", self.world.run("destroy", "keyed", "--yes", "--discard-unpushed", code=None))
        self.heard("stop", self.world.run("stop", "light", code=None))
        self.look("destroyed and stopped")

    # -- searching -----------------------------------------------------------------------------------------------------

    def homes(self, path: Path) -> set[str]:
        """What a file may hold: `.env` its own, the token its own, a key its own."""
        for folder in (self.world.home.sandboxes, self.world.home.trash):
            if path.is_relative_to(folder):
                name = next((one for one in PROJECTS if one in path.parent.name or one in path.parent.parent.name), "")
                if path.name == ".env":
                    return {f"password of {name}", f"token of {name}"}
                if path.name == "mcp-tool-servers.json":
                    return {f"password of {name}"}
        if path.name == "keyed-deploy":
            return {"deploy key"}
        return {"auth.json": {"provider key"}, "token": {"token of the controller"}}.get(path.name, set())

    def leaks(self) -> tuple[int, list[str]]:
        """All files of the world, and those in which there is a secret that is not theirs."""
        files = [path for path in self.world.root.rglob("*") if path.is_file() and not path.is_symlink()]
        # What the agent downloads for itself is many megabytes.
        wanted = [path for path in files if not {"recorder", "_cacache", "node_modules"} & set(path.parts)]
        found = [
            f"{one} in {path}" for path in wanted for one in self.canaries.within(path.read_bytes()) - self.homes(path)
        ]
        return len(wanted), found


async def begun(client: Client) -> str:
    """A session of the real agent."""
    answer = await client.call_tool("opencode-session-create", {"project": "real", "title": "canaries"})
    assert answer.structured_content, answer
    return str(answer.structured_content["sessionId"])
