"""supervisord, circus and pm2, each driven the way its own manual says.

All knobs stay at their defaults but these: a foreground daemon, folders and sockets of this run.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.contender import Asked, Contender, Spawned

if TYPE_CHECKING:
    from tests.bench.contender import Stage
    from tests.bench.machine import Service


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command line to its end; what it printed."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def asked(text: str) -> Asked:
    """What a client printed."""
    return Asked(**json.loads(text))


class Supervisord(Spawned):
    """Configuration in supervisord.conf and conf.d/*.conf, `supervisorctl update` after a change."""

    name = "supervisord"
    calm = 1.2  # startsecs is 1: who dies earlier counts as never started

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._socket = stage.root / "s"  # short: a socket name has room for 107 bytes, and it puts its pid behind it
        self._conf = stage.root / "supervisord.conf"
        self._more = stage.root / "conf.d" / "extra.conf"

    def prepare(self) -> None:
        self._more.parent.mkdir()
        root = self.stage.root
        head = (
            f"[supervisord]\nnodaemon=true\nlogfile={root}/supervisord.log\npidfile={root}/supervisord.pid\n"
            f"childlogdir={root}\n[unix_http_server]\nfile={self._socket}\n"
            f"[supervisorctl]\nserverurl=unix://{self._socket}\n[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )
        self._conf.write_text(head + "".join(map(self._program, self.stage.services)))

    def _program(self, service: Service) -> str:
        return f"[program:{service.name}]\ncommand={' '.join(self.stage.command(service))}\n"

    def start(self) -> None:
        self.spawn(self.stage.installed.script("supervisord"), "-c", str(self._conf))

    def _control(self, *arguments: str) -> list[str]:
        return [self.stage.installed.script("supervisorctl"), "-c", str(self._conf), *arguments]

    def stop_all(self) -> None:
        run(*self._control("stop", "all"))

    def add_by_hand(self) -> None:
        self._more.write_text(self._program(self.stage.extra))
        run(*self._control("update"))

    def remove(self) -> None:
        self._more.unlink()
        run(*self._control("update"))

    def status_command(self) -> list[str]:
        return self._control("status")

    def ask(self, times: int) -> Asked:
        client = str(machine.HERE / "clients" / "ask_supervisord.py")
        return asked(run(str(self.stage.installed.python), client, str(self._socket), str(times)))


class Circus(Spawned):
    """Configuration in circus.ini and conf.d/*.ini, `circusctl reloadconfig` after a change."""

    name = "circus"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._endpoint = f"ipc://{stage.root}/c"
        self._ini = stage.root / "circus.ini"
        self._more = stage.root / "circus.d" / "extra.ini"

    def prepare(self) -> None:
        self._more.parent.mkdir()
        root = self.stage.root
        head = (
            f"[circus]\nendpoint = {self._endpoint}\npubsub_endpoint = ipc://{root}/e\n"
            f"include_dir = {self._more.parent}\n"
        )
        self._ini.write_text(head + "".join(map(self._watcher, self.stage.services)))

    def _watcher(self, service: Service) -> str:
        arguments = " ".join(self.stage.arguments(service))
        return f"[watcher:{service.name}]\ncmd = {self.stage.light}\nargs = {arguments}\n"

    def start(self) -> None:
        self.spawn(self.stage.installed.script("circusd"), str(self._ini))

    def _control(self, *arguments: str) -> list[str]:
        return [self.stage.installed.script("circusctl"), "--endpoint", self._endpoint, "--timeout", "60", *arguments]

    def stop_all(self) -> None:
        run(*self._control("stop"))

    def add_by_hand(self) -> None:
        self._more.write_text(self._watcher(self.stage.extra))
        run(*self._control("reloadconfig", "--waiting"))

    def remove(self) -> None:
        ends = machine.Ends([self.stage.starts.pid(self.stage.extra)])
        self._more.unlink()
        run(*self._control("reloadconfig", "--waiting"))
        ends.wait()

    def status_command(self) -> list[str]:
        return self._control("status")

    def ask(self, times: int) -> Asked:
        client = str(machine.HERE / "clients" / "ask_circus.py")
        return asked(run(str(self.stage.installed.python), client, self._endpoint, str(times)))


class Pm2(Contender):
    """Configuration in a JSON file, `pm2 start FILE` after a change; the daemon starts by itself."""

    name = "pm2"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._home = stage.root / "pm2"
        self._all = stage.root / "ecosystem.json"
        self._more = stage.root / "extra.json"
        self.environment = {**os.environ, "PM2_HOME": str(self._home)}
        self._starting: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self._all.write_text(json.dumps({"apps": [self._app(service) for service in self.stage.services]}))

    def _app(self, service: Service) -> dict[str, object]:
        arguments = self.stage.arguments(service)
        return {
            "name": service.name,
            "script": str(self.stage.light),
            "args": arguments,
            "interpreter": "none",
            "exec_mode": "fork",
        }

    def start(self) -> None:
        self._starting = subprocess.Popen(
            [self.stage.installed.pm2, "start", str(self._all)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def rest(self) -> None:
        if self._starting:
            self._starting.wait(machine.PATIENCE)
            self._starting = None

    def _run(self, *arguments: str) -> None:
        run(self.stage.installed.pm2, *arguments, environment=self.environment)

    def stop_all(self) -> None:
        self._run("stop", "all")

    def end(self) -> None:
        self.rest()
        ends = machine.Ends(self.roots())
        self._run("kill")
        ends.wait()

    def add_by_hand(self) -> None:
        self._more.write_text(json.dumps({"apps": [self._app(self.stage.extra)]}))
        self._run("start", str(self._more))

    def remove(self) -> None:
        self._run("delete", self.stage.extra.name)

    def status_command(self) -> list[str]:
        return [self.stage.installed.pm2, "list"]

    def ask(self, times: int) -> Asked:
        environment = {**(self.environment or {}), "NODE_PATH": str(self.stage.installed.node_modules)}
        return asked(run("node", str(machine.HERE / "clients" / "ask_pm2.js"), str(times), environment=environment))

    def roots(self) -> list[int]:
        try:
            return [int((self._home / "pm2.pid").read_text())]
        except FileNotFoundError:
            return []

    def kill_supervisor(self) -> None:
        self.rest()
        super().kill_supervisor()
