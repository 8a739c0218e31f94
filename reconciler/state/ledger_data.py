"""Encode and decode the content of a ledger file. Pure.

The file may be of an older or newer version, cut by a power failure, or edited by an agent, which can write it.
Whatever identifies a project (uid, generation, ports) is taken wherever it can be read; a field of another type is left
out and reported. Nothing read here can make a later computation fail: numbers are finite, texts short and printable.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import spec as specs
from reconciler.core.observed import Ledger, RestartRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA: Final = 1
"""Of the file. Files without a number are older; those of a higher one are read as far as they are understood."""
MAX_BYTES: Final = 1 << 20
"""Longer files are none of ours: one is some 2 KiB, and a spec 64 KiB at most."""

_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_DIGEST: Final = re.compile(r"[A-Za-z0-9]{0,128}")
_SERVICE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SERVICES: Final = 16
"""Services of one project that are read at most."""
_LARGEST: Final = 10**15
"""Of a generation: any real one is far below, and adding to it stays exact everywhere."""
_OFTEN: Final = 10**6
_TEXT: Final = 200
_TIME: Final = 1e12
_PIECES: Final = {
    "uid": re.compile(r'"uid"\s*:\s*("[A-Za-z0-9-]{1,64}")'),
    "generation": re.compile(r'"generation"\s*:\s*(\d{1,15})(?=[\s,}])'),
    "digest": re.compile(r'"digest"\s*:\s*("[A-Za-z0-9]{1,128}")'),
    "ports": re.compile(r'"ports"\s*:\s*(\{[^{}]{0,1000}\})'),
}
"""What can be found in a text that is no longer JSON as a whole."""


@dataclass(frozen=True)
class Reading:
    """The decoded content of a file."""

    ledger: Ledger
    """Its uid is empty where it could not be read."""
    lost: tuple[str, ...]
    """Fields that are not what a ledger has there, in order."""
    whole: bool
    """Whether it is a JSON object at all; else only pieces of it were found."""


def encode(ledger: Ledger) -> bytes:
    """Return the content of the file for this ledger."""
    return json.dumps({"schema": SCHEMA, **asdict(ledger)}).encode()


def read(content: bytes) -> Reading:
    """Decode as much of the content as possible. Never raises."""
    try:
        data = json.loads(content) if len(content) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        data = None
    whole = isinstance(data, dict)
    known: Mapping[str, Any] = data if isinstance(data, dict) else _pieces(content)
    spec = _spec(known.get("spec"))
    readers: dict[str, Callable[[Any], Any]] = {
        "uid": lambda value: _matching(_UID, value),
        "generation": lambda value: _whole_number(value, _LARGEST),
        "digest": lambda value: _matching(_DIGEST, value),
        "spec": lambda _value: spec,
        "ports": _ports,
        "ref": lambda value: _text(value) if isinstance(value, str) else None,
        "restarts": _restarts,
        "vanished": lambda value: value if isinstance(value, bool) else None,
    }
    found: dict[str, Any] = {name: reader(known[name]) for name, reader in readers.items() if name in known}
    missing = [name for name in ("uid", "generation") if name not in known]
    lost = [name for name, value in found.items() if value is None and not (name == "ref" and known[name] is None)]
    if found.get("ports") is not None and len(found["ports"]) < len(known["ports"]):
        lost.append("ports")
    fields = {name: value for name, value in found.items() if value is not None}
    if "ref" in lost or "ref" not in known:
        # Another guess would move a clone that is where it should be.
        fields["ref"] = _ref_of(spec or {})
    return Reading(Ledger(**{"uid": "", **fields}), tuple(dict.fromkeys([*missing, *lost])), whole)


def fixed_port(ledger: Ledger, service: str) -> object:
    """Return the port that the last accepted spec asks for; None where it asks for none."""
    section = ledger.spec.get(service)
    return section.get("port") if isinstance(section, dict) else None


def _pieces(content: bytes) -> dict[str, Any]:
    text = content[:MAX_BYTES].decode(errors="replace")
    found: dict[str, Any] = {}
    for name, pattern in _PIECES.items():
        if match := pattern.search(text):
            try:
                found[name] = json.loads(match[1])
            except ValueError:
                continue
    return found


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _whole_number(value: object, largest: int, smallest: int = 0) -> int | None:
    """Return a count, also one written as text or with a decimal point."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if smallest <= value <= largest else None


def _seconds(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -_TIME <= value <= _TIME else None  # never of a NaN


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:_TEXT])


def _ports(value: object) -> dict[str, int] | None:
    """Return the entries that are valid ports."""
    if not isinstance(value, dict):
        return None
    return {
        service: port
        for service, number in list(value.items())[:_SERVICES]
        if _SERVICE.fullmatch(service) and (port := _whole_number(number, 65535, 1)) is not None
    }


def _restarts(value: object) -> dict[str, RestartRecord] | None:
    if not isinstance(value, dict):
        return None
    return {
        service: _record(record)
        for service, record in list(value.items())[:_SERVICES]
        if _SERVICE.fullmatch(service) and isinstance(record, dict)
    }


def _record(data: Mapping[str, Any]) -> RestartRecord:
    readers: dict[str, Callable[[Any], Any]] = {
        "count": lambda value: _whole_number(value, _OFTEN),
        "streak": lambda value: _whole_number(value, _OFTEN),
        "counted": _text,
        "not_before": _seconds,
        "boot_id": _text,
        "waived": _text,
        "last_exit": _text,
        "last_exit_wall": _seconds,
    }
    found = {name: reader(data[name]) for name, reader in readers.items() if name in data}
    return RestartRecord(**{name: value for name, value in found.items() if value is not None})


def _spec(value: object) -> dict[str, Any] | None:
    """Return the spec without the keys that only a newer version knows."""
    return specs.known_keys(value) if isinstance(value, dict) else None


def _ref_of(spec: Mapping[str, Any]) -> str | None:
    git = spec.get("git")
    return _text(git.get("ref")) if isinstance(git, dict) else None
