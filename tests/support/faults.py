"""What the fault battery shares: recorded helper programs, permissions, hostile arguments.

It makes and sees faults; the rows say which promise a fault breaks. Secrets are in `canaries`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from tests.support.world import LIGHT_AGENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.world import World


STRANGER = Path(__file__).with_name("stranger.py")


# -- programs that are recorded ----------------------------------------------------------------------------------------


class Recorder:
    """Stands before helper programs on PATH and writes down how each is called, then lets it run."""

    def __init__(self, folder: Path, *programs: str) -> None:
        self._calls = folder / "calls"
        self.path = folder / "bin"
        for made in (self._calls, self.path):
            made.mkdir(parents=True)
        self._calls.chmod(0o777)
        for program in programs:
            script = self.path / program
            script.write_text(
                "#!/bin/sh\n"
                f'{{ printf "%s\\037" {program} "$@"; printf "\\036"; cat /proc/$$/environ; printf "\\035"; }}'
                f" >> {self._calls}/$$\n"
                f'exec {shutil.which(program)} "$@"\n'
            )
            script.chmod(0o755)

    def calls(self) -> list[tuple[list[str], bytes]]:
        """Arguments and environment of each call."""
        found = []
        for file in self._calls.iterdir():
            for call in file.read_bytes().split(b"\035")[:-1]:
                arguments, _, environment = call.partition(b"\036")
                found.append((arguments.decode(errors="replace").split("\037")[:-1], environment))
        return found


def options_among(arguments: list[str], prefixes: tuple[str, ...]) -> list[str]:
    """Arguments that a program took for options though they came from outside: not a pattern, not after `--`."""
    bad: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument == "--":
            return bad
        if before != "-e" and argument.startswith(prefixes):
            bad.append(argument)
    return bad


def command_lines() -> Iterator[tuple[int, bytes]]:
    """The command line of every process of this machine."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes()


def environments(world: World) -> Iterator[tuple[str, bytes]]:
    """Command line and environment of the controllers of a world and of all its services and keepers."""
    for pid in [*(controller.pid for controller in world.controllers), *world.lines()]:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield line, Path(f"/proc/{pid}/environ").read_bytes()


def make_key(path: Path) -> str:
    """An SSH key without a passphrase; its public half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "planted", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path.with_name(f"{path.name}.pub").read_text()


# -- permissions -------------------------------------------------------------------------------------------------------


def too_open(home: Path) -> list[str]:
    """What others may read or change of a home though it holds secrets or records."""
    folders = ("opencode-sandboxes", "opencode-keys", "opencode-logs", "opencode-controller", "opencode-trash")
    found = [home, *(home / name for name in folders), home / "opencode-state.json"]
    for sandbox in [*home.glob("opencode-sandboxes/*"), *home.glob("opencode-trash/*/*")]:
        found += [sandbox, sandbox / ".env", sandbox / "run", *sandbox.glob("run/*"), *sandbox.glob("run/.*")]
        found += [sandbox / name for name in ("home", "tmp")]
    found += [
        path
        for pattern in ("opencode-controller/*", "opencode-logs/*", "opencode-keys/*")
        for path in home.glob(pattern)
    ]
    return [f"{path.relative_to(home)} is {mode:04o}" for path in found if (mode := _mode(path)) & 0o077]


def _mode(path: Path) -> int:
    """Permissions; none of what is not there, of a link, or of the public half of a key."""
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    public = path.suffix == ".pub" or path.name == "known_hosts"
    return 0 if stat.S_ISLNK(about.st_mode) or public else stat.S_IMODE(about.st_mode)


# -- arguments of tools ------------------------------------------------------------------------------------------------

Schema = dict[str, Any]


def sample(schema: Schema, top: Schema, known: Mapping[str, Any]) -> Any:
    """Something that the schema allows."""
    schema = _resolved(schema, top)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return sample(choices[0], top, known)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            return _required(schema, top, known)
        case "array":
            return [sample(schema["items"], top, known)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return "x"


def variants(schema: Schema, top: Schema, known: Mapping[str, Any], value: str) -> Iterator[Any]:
    """Every example of the schema in which one string is this value."""
    schema = _resolved(schema, top)
    for choice in schema.get("anyOf") or schema.get("oneOf") or ():
        yield from variants(choice, top, known, value)
    match schema.get("type"):
        case "string":
            yield value
        case "array":
            yield from ([one] for one in variants(schema["items"], top, known, value))
        case "object":
            base = _required(schema, top, known)
            for key, part in schema.get("properties", {}).items():
                yield from (base | {key: one} for one in variants(part, top, known, value))


def _required(schema: Schema, top: Schema, known: Mapping[str, Any]) -> dict[str, Any]:
    parts = schema.get("properties", {})
    wanted = {key: part for key, part in parts.items() if key in schema.get("required", ()) or key in known}
    return {key: known[key] if key in known else sample(part, top, known) for key, part in wanted.items()}


def _resolved(schema: Schema, top: Schema) -> Schema:
    if "$ref" in schema:
        return dict(top["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    return schema


# -- controllers and strangers -----------------------------------------------------------------------------------------

IMPATIENT = (
    "import dataclasses, json, sys; from reconciler import app, settings;"
    "from reconciler.engines.local.health import checks;"
    "limits = json.loads(sys.argv[1]); checks.LIVENESS = limits.pop('probe', checks.LIVENESS);"
    "sys.exit(app.run(dataclasses.replace(settings.load(), **limits)))"
)

OBEYING = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


def start_impatient(world: World, *, obeying: bool = False, **seconds: float) -> subprocess.Popen[bytes]:
    """A controller whose limits are smaller than people may set them.

    Args:
        world: where.
        obeying: permissions bind it even where the tests run as root.
        seconds: the settings, and `probe`: for one call of a liveness probe.
    """
    prefix = OBEYING if obeying and os.geteuid() == 0 else []
    with world.root.joinpath("controller.out").open("ab") as out:
        command = [*prefix, sys.executable, "-c", IMPATIENT, json.dumps(seconds)]
        controller = subprocess.Popen(command, env=world.environment, stdout=out, stderr=out, start_new_session=True)
    world.controllers.append(controller)
    return controller


def self_made(world: World) -> None:
    """Let this world's light agents be found on PATH, so that a project can be made again from its spec alone."""
    world.confine("none")  # the stand-ins are in folders that a confined agent does not see
    programs = world.root / "programs"
    programs.mkdir()
    programs.joinpath("opencode").symlink_to(LIGHT_AGENT)
    world.environment["PATH"] = f"{programs}:{world.environment['PATH']}"


def copies(world: World, service: str) -> list[int]:
    """The processes of one kind of service in a world, or with such a word in their arguments, that live at once."""
    sign = {"agent": "serve --hostname", "bridge": "reconciler.bridge"}.get(service, service)
    found = []
    for process in world.processes():
        with contextlib.suppress(psutil.Error):
            if sign in " ".join(process.cmdline()):
                found.append(process)
    return [process.pid for process in found if lives(process)]  # the first may have ended before the last began


def lives(process: psutil.Process) -> bool:
    """Still, and not as a zombie."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


class SmallDisk:
    """A file system of a few megabytes, mounted over a folder."""

    def __init__(self, folder: Path, size: str = "48m", files: int = 0) -> None:
        self.path = folder
        self._filler = folder / "filler"
        self._files = files
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        limit = f",nr_inodes={files}" if files else ""
        mount("-t", "tmpfs", "-o", f"size={size}{limit},mode=700", "tmpfs", str(folder))

    def fill(self, left: int = 0) -> None:
        """Leave room for so many pages and, where files are counted, for no file."""
        about = os.statvfs(self.path)
        with self._filler.open("ab") as file, contextlib.suppress(OSError):
            size = max(0, file.tell() + (about.f_bavail - left) * about.f_bsize)
            file.truncate(min(size, file.tell()))
            os.posix_fallocate(file.fileno(), 0, size)
        with contextlib.suppress(OSError):
            for number in range(self._files):
                self.path.joinpath(f"filler-{number}").touch()

    def free(self) -> None:
        """Make room."""
        for path in self.path.glob("filler*"):
            path.unlink()

    def close(self) -> None:
        """As it was before."""
        subprocess.run(["umount", "-l", str(self.path)], check=True)


def mount(*arguments: str) -> None:
    """As root, of this machine or of a namespace of ours."""
    subprocess.run(["mount", *arguments], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written below this folder within; what is open stays so."""
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Stranger:
    """Somebody else's server on a port of ours."""

    def __init__(self, port: int, answer: str, heard: Path, address: str = "127.0.0.1") -> None:
        self._heard = heard
        command = [sys.executable, str(STRANGER), str(port), answer, str(heard), address]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self.process.stdout is None or not self.process.stdout.readline():
            self.process.communicate()
            raise AssertionError(f"no stranger can listen on {port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def heard(self) -> bytes:
        """All that was ever sent to it."""
        return self._heard.read_bytes() if self._heard.exists() else b""
