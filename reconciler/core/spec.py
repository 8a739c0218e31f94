"""The model of one spec file: fields, defaults, allowed values, and the sentences that refuse others. Pure.

A spec is a value: two specs that mean the same are equal and have the same digest, however they were written.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from reconciler.core import env_keys
from reconciler.core.git_url import Transport, check_git_url, check_ref, transport
from reconciler.core.kinds import DEFAULT as DEFAULT_KIND
from reconciler.core.kinds import DRIVERS, check_kind
from reconciler.core.port_rules import HIGHEST_PORT, LOWEST_PORT, check_port, refused_port

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Agent",
    "Bridge",
    "Git",
    "Limits",
    "Problem",
    "Restart",
    "Spec",
    "SpecError",
    "State",
    "Transport",
    "check_git_url",
    "check_ref",
    "known_keys",
    "misplaced",
    "parse",
    "parse_duration",
    "parse_size",
    "schema",
    "transport",
]

_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)(B|KB|MB|GB|KiB|MiB|GiB)")
_SIZE_UNITS: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY: Final = re.compile(rf"(?=[A-Za-z]){_LABEL_WORD}")
"""As Kubernetes has them, so that the same labels serve in a cluster."""
_LABEL_VALUE: Final = re.compile(rf"(?:{_LABEL_WORD})?")
_SECRET_ENV: Final = re.compile(
    r".*(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|CREDENTIAL|AUTH_CONTENT).*", re.IGNORECASE
)


class State(StrEnum):
    """The desired state of a project."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"
    """The tombstone: destroy."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec: where (a path of keys) and a sentence that begins with "cannot"."""

    where: tuple[str, ...]
    message: str


class SpecError(ValueError):
    """A spec cannot be accepted; has every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


def parse_duration(text: str) -> float:
    """Return the seconds in a duration such as `90s`, `2h` or `1h30m`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("cannot read it as a duration: write it with units, like 90s, 30m or 2h")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError("cannot use a duration of zero: leave the key out, or set it to null, to switch it off")
    return float(total)


def parse_size(text: str) -> int:
    """Return the bytes in a size such as `512MiB` or `2GiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("cannot read it as a size: write it with a unit, like 512MiB or 2GiB")
    size = int(float(match[1]) * _SIZE_UNITS[match[2]])
    if size < 2**20:
        raise ValueError("cannot use a size below 1MiB")
    return size


def _check_key_path(path: str) -> str:
    if "PRIVATE KEY" in path or "\n" in path or path.startswith(("ssh-", "ecdsa-")):
        raise ValueError("cannot use the text of a key here: give the path of the key file")
    if not path or path.startswith("-") or re.search(r"[\x00-\x1f\x7f\"']", path):
        raise ValueError("cannot use it as the path of a key file: give a path without quotes or control characters")
    return path


def _check_version(version: str) -> str:
    if re.fullmatch(r"\d{1,5}\.\d{1,5}\.\d{1,5}(?:-[0-9A-Za-z.-]{1,40})?", version) is None:
        raise ValueError('cannot use it as a version: give the full number in quotes, like "1.18.33"')
    return version


def _check_env(env: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    for name, value in env.items():
        if _ENV_NAME.fullmatch(name) is None:
            raise ValueError(f"cannot use {name[:60]!r} as the name of a variable")
        if name == "PATH":
            raise ValueError("cannot set PATH: the manager sets it; put folders before it with agent.path")
        if env_keys.is_reserved(name, info.data.get("kind", "")):
            raise ValueError(f"cannot set {name}: the manager sets it")
        if _SECRET_ENV.fullmatch(name):
            raise ValueError(_is_a_secret(name))
        if "\x00" in value:
            raise ValueError(f"cannot set {name}: its value has a NUL character")
    return env


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None:
            raise ValueError(
                f"cannot use {key[:60]!r} as the key of a label: use a letter and then at most 62 of a-z, A-Z, 0-9 and "
                "inner . _ -"
            )
        if _LABEL_VALUE.fullmatch(value) is None:
            raise ValueError(f"cannot use {value[:60]!r} as the label {key}: use at most 63 of a-z, A-Z, 0-9, . _ -")
    return labels


def _is_a_secret(name: str) -> str:
    key = name.upper()
    how = f"opencode-manager secrets NAME {key} (or --all {key})" if env_keys.is_secret_name(key) else "another name"
    return f"cannot set {name} here: it looks like a secret, and specs are no place for those; set it with: {how}"


def _check_folder(path: str) -> str:
    if not path.startswith(("/", "~/")) or re.search(r"[\x00-\x1f\x7f:]", path):
        raise ValueError(f"cannot use {path[:60]!r} as a folder: give a path that begins with / or ~/, without a colon")
    return path


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


def _check_size(text: str) -> str:
    parse_size(text)
    return text


def _port_of(service: str) -> tuple[AfterValidator, Any]:
    limits = Field(json_schema_extra={"minimum": LOWEST_PORT, "maximum": HIGHEST_PORT})
    return AfterValidator(lambda port: check_port(port, service)), limits


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Git(_Model):
    """Where the code comes from."""

    url: Annotated[str, AfterValidator(check_git_url)]
    """ssh, https, or a local path relative to the spec file."""
    ref: Annotated[str, AfterValidator(check_ref)] | None = None
    """Branch, tag or commit; null is the remote's default branch."""
    ssh_key: Annotated[str, AfterValidator(_check_key_path)] | None = None
    """Path of a private key; null is a generated deploy key."""
    credentials: Literal["none", "user"] = "none"
    """Whether the user's own credential helpers and SSH agent work for this project."""


class Agent(_Model):
    """The coding agent."""

    kind: Annotated[str, AfterValidator(check_kind), Field(json_schema_extra={"enum": sorted(DRIVERS)})] = DEFAULT_KIND
    version: Annotated[str, AfterValidator(_check_version)] | None = None
    """Exact version to provide; null takes the one installed, else the manager's default."""
    port: Annotated[int, *_port_of("agent")] | None = None
    """Fixed port, within the range in force; null is picked once and kept."""
    env: Annotated[dict[str, str], AfterValidator(_check_env)] = Field(default_factory=dict)
    """Extra variables, never secrets."""
    config: Literal["user", "none"] = "user"
    """Whether the user's own configuration of this kind of agent applies."""
    path: list[Annotated[str, AfterValidator(_check_folder)]] = Field(default_factory=list)
    """Folders put before PATH."""


class Bridge(_Model):
    """The MCP server beside the agent."""

    port: Annotated[int, *_port_of("bridge")] | None = None
    """As the agent's."""


class Restart(_Model):
    """When a service that ended by itself is started again."""

    policy: Literal["always", "on-failure", "never"] = "always"
    resume: bool = False
    """Whether conversations that were interrupted go on without being asked."""


class Limits(_Model):
    """Ceilings for the whole process tree."""

    memory: Annotated[str, AfterValidator(_check_size)] | None = None
    cpus: Annotated[float, Field(gt=0, le=1024)] | None = None
    tasks: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Processes and threads."""
    required: bool = False
    """Whether nothing is started where the kernel cannot enforce all of them."""

    @property
    def given(self) -> bool:
        """Return whether there is any."""
        return any(each is not None for each in (self.memory, self.cpus, self.tasks))

    @property
    def bytes(self) -> int | None:
        """Return the limit of memory as a number."""
        return None if self.memory is None else parse_size(self.memory)


class Confinement(_Model):
    """What a confined agent may reach beyond its own sandbox."""

    read: list[Annotated[str, AfterValidator(_check_folder)]] = Field(default_factory=list)
    write: list[Annotated[str, AfterValidator(_check_folder)]] = Field(default_factory=list)


class Spec(_Model):
    """The desired state of one project."""

    state: Literal["running", "stopped", "absent"] = "running"
    labels: Annotated[dict[str, str], AfterValidator(_check_labels)] = Field(
        default_factory=dict,
        json_schema_extra={
            "propertyNames": {"pattern": f"^{_LABEL_KEY.pattern}$"},
            "additionalProperties": {"type": "string", "pattern": f"^{_LABEL_VALUE.pattern}$"},
        },
    )
    """For selecting projects with `-l`, and for grouping them."""
    git: Git
    agent: Agent = Field(default_factory=Agent)
    bridge: Bridge = Field(default_factory=Bridge)
    restart: Restart = Field(default_factory=Restart)
    idle_timeout: Annotated[str, AfterValidator(_check_duration)] | None = None
    limits: Limits = Field(default_factory=Limits)
    confinement: Literal["auto", "none", "bubblewrap"] = "auto"
    """What the agent may read and write; auto is bubblewrap where it works."""
    confinement_allow: Confinement = Field(default_factory=Confinement)
    restarted_at: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """A new value restarts both services once."""
    discard_unpushed: bool = False
    """With `state: absent`: destroy even if work would be lost."""

    @property
    def wanted(self) -> State:
        """Return the state as an enum."""
        return State(self.state)

    def digest(self) -> str:
        """Return a short digest of what this spec means; the same for every way of writing it."""
        # Without defaults: a key that a newer version adds must not make every project a new generation.
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def not_enforced(self) -> tuple[str, ...]:
        """Return the keys that are understood but not acted on yet, for status to say so."""
        return ("idle_timeout",) if self.idle_timeout else ()


def parse(data: object) -> Spec:
    """Validate plain data (as YAML or JSON gives it) as a spec.

    Raises:
        SpecError: with every problem found, each with the path of keys that leads to it.
    """
    if not isinstance(data, dict):
        raise SpecError((Problem((), "cannot read it as a spec: write keys and values, at least git: and url:"),))
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        problems = tuple(_problem(item) for item in error.errors(include_url=False, include_input=False))
        raise SpecError(problems) from None


def misplaced(spec: Spec, ranges: Mapping[str, tuple[int, int]]) -> tuple[Problem, ...]:
    """Return the fixed ports outside the ranges in force: the spec is valid, but a service cannot get that port now."""
    ports = {"agent": spec.agent.port, "bridge": spec.bridge.port}
    return tuple(
        Problem((service, "port"), refused_port(port, ranges[service]))
        for service, port in ports.items()
        if port is not None and not ranges[service][0] <= port <= ranges[service][1]
    )


def known_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data without the keys that this version does not know, as a newer version may have accepted."""
    return _known(data, ())


def _known(data: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
    keys = _keys_of(where)
    found = {}
    for key, value in data.items():
        inner = isinstance(value, dict) and bool(_keys_of((*where, key)))
        if key in keys:
            found[key] = _known(value, (*where, key)) if inner else value
    return found


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec file, for editors that complete and check it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}


def _problem(item: Any) -> Problem:  # noqa: ANN401  pydantic's ErrorDetails, read by key
    where = tuple(str(part) for part in item["loc"])
    key = ".".join(where)
    match item["type"]:
        case "extra_forbidden":
            near = get_close_matches(where[-1], _keys_of(where[:-1]), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_keys_of(where[:-1]))}"
            return Problem(where, f"cannot accept the key {key!r}: it is not known; {hint}")
        case "missing":
            return Problem(where, f"cannot accept a spec without {key!r}: add it")
        case "value_error":
            return Problem(where, str(item["ctx"]["error"]))
        case "model_type":
            return Problem(where, f"cannot accept {key!r}: write keys below it, like {_keys_of(where)[0]}:")
        case "literal_error":
            return Problem(where, f"cannot accept {key!r}: use {item['ctx']['expected']}")
        case _:
            return Problem(
                where, f"cannot accept {key!r}: {item['msg'][:1].lower()}{item['msg'][1:]}{_quote_hint(item)}"
            )


def _quote_hint(item: Any) -> str:  # noqa: ANN401  see _problem
    """Say how to write the text that was meant: YAML reads `1.10` as a number and `no` as false."""
    return '; put it in quotes, like "text"' if item["type"] == "string_type" else ""


def _keys_of(where: tuple[str, ...]) -> list[str]:
    model: Any = Spec
    for part in where:
        field = model.model_fields.get(part)
        candidates = () if field is None else (field.annotation, *get_args(field.annotation))
        model = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
