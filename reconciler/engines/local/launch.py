"""How a service is started: its arguments, its environment, and the digest of what it depends on.

The digest names the inputs a person can change, not the environment made from them: an upgrade of the manager that
makes it differently restarts nobody, unless a bridge of before would be a danger.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import agents
from reconciler.agents.base import Place
from reconciler.core import env_keys
from reconciler.core.kinds import DRIVERS
from reconciler.core.observed import Service
from reconciler.engines.local.confinement.confine import Method
from reconciler.engines.local.git.git_world import GitWorld
from reconciler.engines.local.health.checks import ProbeTarget
from reconciler.engines.local.processes.processes import Launch
from reconciler.engines.local.secrets import ssh_keys
from reconciler.engines.local.world import world
from reconciler.engines.local.world.git_config import GitConfig
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.agents.base import Driver
    from reconciler.core.spec import Spec
    from reconciler.engines.local.secrets.env_file import Env
    from reconciler.settings import Sandbox, Settings

_BRIDGE_GRACE: Final = 3.0
_BRIDGE: Final = 2
"""Raised only when a bridge of an older version must not go on: 2 proves who listens before it sends the password."""


@dataclass(frozen=True, kw_only=True)
class LaunchContext:
    """What a launch is made from."""

    name: str
    settings: Settings
    spec: Spec
    env: Env
    ports: Mapping[str, int]
    key: Path | None
    """The private key, of a project that is reached by SSH."""
    git: GitConfig = field(default_factory=GitConfig)
    """The user's git settings for it."""

    @property
    def ssh_command(self) -> str:
        """How git, ours and the agent's, runs ssh."""
        return ssh_keys.ssh_command(self.key, self.sandbox.known_hosts, agent=self.git.ssh_agent)

    @property
    def git_world(self) -> GitWorld:
        """What the manager's git for it runs in: what the agent gets, less what only its kind of agent reads."""
        given = {each.name: each.value for each in world.variables(self) if each.origin != world.Origin.DRIVER}
        return GitWorld(
            environment=given | self.git.manager_variables,
            rewrites=self.git.rewrites,
            protocols=self.git.protocols,
            kept_back=self.git.kept_back,
            problem=self.git.problem,
        )

    @property
    def sandbox(self) -> Sandbox:
        """The project's folder."""
        return self.settings.home.sandbox(self.name)

    @property
    def driver(self) -> Driver:
        """What knows its kind of agent."""
        return agents.driver(self.spec.agent.kind)

    @property
    def place(self) -> Place:
        """What the driver sees of it."""
        sandbox = self.sandbox
        return Place(
            repo=sandbox.repo,
            home=sandbox.home,
            xdg=sandbox.xdg,
            port=self.ports.get("agent", 0),
            secret=self.env.server_password,
            environment=self.settings.environment,
            variables={**self.spec.agent.env, **{key: one.value for key, one in self.env.agent_secrets.items()}},
            user_config=self.spec.agent.config == "user",
        )

    def target(self, service: Service) -> ProbeTarget:
        """Where and how the service is spoken to."""
        if service is Service.AGENT:
            port, secret = self.ports["agent"], self.env.server_password
            return ProbeTarget(port=port, secret=secret, run_dir=self.sandbox.run, driver=self.driver)
        foreign = bool(self.env.mcp_tool_dir)
        return ProbeTarget(
            port=self.ports["bridge"], secret=self.env.bearer_token, run_dir=self.sandbox.run, foreign=foreign
        )


def digest(project: LaunchContext, service: Service) -> str:
    """Return a digest of the service's inputs; it is restarted when that changes."""
    spec, env = project.spec, project.env
    shared: list[object] = [spec.restarted_at, spec.agent.kind, project.ports.get("agent"), env.server_password]
    shared += ["limited"] if spec.limits.given else []  # by what is decided at a start; to how much, at any time
    if service is Service.AGENT:
        own: list[object] = [spec.agent.version, sorted(spec.agent.env.items()), env.opencode_bin, str(project.key)]
        own += ["the user's credentials"] if spec.git.credentials == "user" else []
        allowed = spec.confinement_allow
        if spec.confinement != "auto" or allowed.read or allowed.write:  # what auto comes to is decided at each start
            own += [spec.confinement, allowed.read, allowed.write]
        own += _world_inputs(project)
    else:
        own = [project.ports.get("bridge"), env.bearer_token, env.mcp_tool_dir]
        own += [] if env.mcp_tool_dir else [_BRIDGE]
    return hashlib.sha256(json.dumps([service.value, shared, own]).encode()).hexdigest()[:32]


def _world_inputs(project: LaunchContext) -> list[object]:
    """What was added later: nothing where nothing is set, so that an upgrade of the manager restarts nobody."""
    agent, keys = project.spec.agent, project.env.agent_secrets
    inputs: dict[str, object] = {}
    if keys:
        inputs["secrets"] = sorted((name, key.value) for name, key in keys.items())
    if agent.path:
        inputs["path"] = agent.path
    if agent.config != "user":
        inputs["config"] = agent.config
    return [inputs] if inputs else []


def command(project: LaunchContext, argv: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """Return how a program runs in the world of a project's agent: arguments, environment and folder."""
    return tuple(argv), world.as_environment(world.variables(project)), project.sandbox.repo


def launch(project: LaunchContext, service: Service, program: str, wrapper: tuple[str, ...] = ()) -> Launch:
    """Return everything the keeper needs.

    Args:
        project: where it belongs.
        service: which of its services.
        program: path of the agent's program; not used for a bridge.
        wrapper: what confines it; nothing for a bridge, which is ours.

    Raises:
        UserError: MCP_TOOL_DIR names something that cannot be run.
    """
    if service is Service.AGENT:
        argv, env, cwd, grace = _agent(project, program)
    else:
        argv, env, cwd, grace = _bridge(project)
    return Launch(
        argv=(*wrapper, *argv),
        env=env,
        cwd=cwd,
        log=project.settings.home.log_file(project.name, service.value),
        pid_file=project.sandbox.pid_file(service.value),
        digest=digest(project, service),
        port=project.ports[service.value],
        grace=grace,
        project=project.name,
        confinement=Method.BUBBLEWRAP if wrapper else Method.NONE,
    )


def _agent(project: LaunchContext, program: str) -> tuple[tuple[str, ...], dict[str, str], Path, float]:
    return *command(project, (program, *project.driver.arguments(project.place))), project.driver.grace


def _bridge(project: LaunchContext) -> tuple[tuple[str, ...], dict[str, str], Path, float]:
    env = world.inherited(project.settings.environment, world.PASSED_ON) | {"HOME": str(project.sandbox.run)}
    if project.env.mcp_tool_dir:
        argv = _node_tool(project)
        return argv, env | {"MCP_BEARER_TOKEN": project.env.bearer_token}, project.sandbox.run, _BRIDGE_GRACE
    _node_config(project).unlink(missing_ok=True)  # of the user's tool, which ran before
    # Not the secrets of the agent, not even to hide them in results: who breaks into a bridge would have them all. What
    # OpenCode itself answers is hidden by its keys and by the shape of values; what an agent's shell prints is its own.
    env |= {
        env_keys.TOKEN: project.env.bearer_token,
        env_keys.BRIDGE_PORT: str(project.ports["bridge"]),
        env_keys.AGENT_URL: f"http://127.0.0.1:{project.ports['agent']}",
        env_keys.PASSWORD: project.env.server_password,
        "OCM_AGENT": DRIVERS[project.spec.agent.kind].package,
        "OCM_PROJECT": project.name,
        "OCM_REPO": str(project.sandbox.repo),
        "OCM_RUN": str(project.sandbox.run),
    }
    # -P: a folder named `reconciler` in the working directory must never be what runs.
    return (sys.executable, "-P", "-m", "reconciler.bridge"), env, project.sandbox.run, _BRIDGE_GRACE


def _node_tool(project: LaunchContext) -> tuple[str, ...]:
    """Return the arguments of the user's opencode-mcp-tool. Its password comes in a file, because argv is public."""
    script = Path(project.env.mcp_tool_dir) / "dist" / "index-http.js"
    node = shutil.which("node", path=project.settings.environment.get("PATH"))
    if node is None or not script.is_file():
        missing = "node on PATH" if node is None else str(script)
        raise UserError(
            f"cannot run the tool in MCP_TOOL_DIR: there is no {missing}; build it with npm ci, or unset it"
        )
    server = {
        "id": project.name,
        "title": project.name,
        "description": f"OpenCode of {project.name}",
        "url": f"http://127.0.0.1:{project.ports['agent']}",
        "password": project.env.server_password,
        "status": "active",
        "added_at": "1970-01-01T00:00:00Z",
    }
    config = _node_config(project)
    document = {"version": "1.0", "default_server": project.name, "servers": [server]}
    files.keep_file(config, json.dumps(document).encode())
    port = str(project.ports["bridge"])
    options = ("-m", "default", "--host", "127.0.0.1", "--port", port, "--servers-config", str(config))
    return (node, str(script), *options)


def _node_config(project: LaunchContext) -> Path:
    """Write where the user's tool finds the agent and its password, 0600."""
    return project.sandbox.run / "mcp-tool-servers.json"
