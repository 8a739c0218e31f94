"""Spec faults: cut off, poisonous, badly named, changed in masses, changed unseen, and gone."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.settings import Home, Settings
from reconciler.specs.spec_folder import Accepted, Rejected, SpecFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.core.spec import Spec
    from tests.support.scoreboard import Score

FULL = Path(__file__).parents[2] / "examples" / "full.yaml"
SETTLE, SETTLE_OPEN = 0.08, 2.0
BLINK = 0.01
"""Seconds, of a clock of our own."""


# -- one file, and a clock of our own ----------------------------------------------------------------------------------


class Reader:
    """A specs folder of one file, and what is believed of it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.path = root / "blog.yaml"
        self.now = 1000.0
        self._folder = SpecFolder(
            Settings(home=Home(root / "home"), specs=root, settle=SETTLE, settle_open=SETTLE_OPEN)
        )

    def look(self, after: float) -> list[Spec | str]:
        """What is believed anew after so many seconds: a spec, or why there is none."""
        self.now += after
        changes = self._folder.look(self.now).changes
        return [
            change.spec if isinstance(change, Accepted) else change.message
            for change in changes
            if isinstance(change, Accepted | Rejected)
        ]

    def settle(self) -> list[Spec | str]:
        """With all the time it needs."""
        return [*self.look(0), *self.look(SETTLE + BLINK), *self.look(SETTLE_OPEN)]


@pytest.fixture(name="whole", scope="module")
def _whole() -> bytes:
    """A realistic spec in which nearly every key says something."""
    text = FULL.read_text()
    for default, value in {
        "ref: null": "ref: release-2",
        "version: null": 'version: "1.18.33"',
        "port: null              # fixed": "port: 4123  # fixed",
        "env: {}": "env: {GREETING: hello}",
        "policy: always": "policy: on-failure",
        "idle_timeout: null": "idle_timeout: 2h30m",
        "memory: null": "memory: 12GiB",
        "cpus: null": "cpus: 1.5",
        "tasks: null": "tasks: 5000",
        "restarted_at: null": "restarted_at: 2026-11-23",
    }.items():
        assert default in text
        text = text.replace(default, value)
    return text.encode()


def test_a_writer_that_pauses(score: Score, tmp_path: Path, whole: bytes) -> None:
    """A spec that is being written, with a pause at any byte, is never believed before it is whole."""
    for length in range(len(whole)):
        reader = Reader(tmp_path / str(length))
        reader.path.write_bytes(whole[:length])
        early = [*reader.look(0), *reader.look(SETTLE - BLINK)]
        with reader.path.open("ab") as file:
            file.write(whole[length:])
        early += reader.look(BLINK / 2)
        score.tried()
        score.expect(not early, f"cut at {length}: {early}")
        found = reader.settle()
        right = len(found) == 1 and not isinstance(found[0], str) and found[0].git.url.endswith("blog-api.git")
        score.expect(right, f"whole after a pause at {length}: {found}")
        shutil.rmtree(tmp_path / str(length))


def test_a_writer_that_died(score: Score, tmp_path: Path, whole: bytes) -> None:
    """A spec cut off for good at any byte is refused, or says what its whole lines say; an open line is given time."""
    reader = Reader(tmp_path / "whole")
    reader.path.write_bytes(whole)
    [right] = reader.settle()
    assert not isinstance(right, str)
    for length in range(len(whole)):
        reader = Reader(tmp_path / str(length))
        reader.path.write_bytes(whole[:length])
        open_line = not whole[:length].endswith(b"\n")
        early = [*reader.look(0), *reader.look(SETTLE_OPEN - BLINK)] if open_line else []
        score.tried()
        score.expect(not early, f"cut within a line at {length}, believed too soon: {early}")
        for found in reader.settle():
            score.expect(isinstance(found, str) or within(found, right, open_line=open_line), f"at {length}: {found}")
        shutil.rmtree(tmp_path / str(length))


def within(found: Spec, right: Spec, *, open_line: bool) -> bool:
    """Whether a spec says nothing that the whole one does not say; of an open line, the last value may be cut."""
    said, whole = flat(found.model_dump()), flat(right.model_dump())
    default = flat(type(found)(git=found.git).model_dump()) | {"git.url": None}
    other = {key: value for key, value in said.items() if value not in (default.get(key), whole.get(key))}
    cut = all(
        open_line and str(whole.get(key)).startswith(str(value).removesuffix(".0")) for key, value in other.items()
    )
    return found.wanted is right.wanted and len(other) <= 1 and cut


def flat(data: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Keys with dots."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


# -- poison ------------------------------------------------------------------------------------------------------------


def laughs() -> str:
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
    return "\n".join([*lines, "git: {url: *a11}", ""])


TEXTS: dict[str, str | bytes] = {
    "billion laughs": laughs(),
    "deep lists": "git: {url: " + "[" * 20_000 + "]" * 20_000 + "}\n",
    "deep mappings": "{a: " * 15_000 + "1" + "}" * 15_000 + "\n",
    "deep indents": "".join(f"{' ' * n}a:\n" for n in range(300)),
    "one megabyte": "git: {url: x}\n" + "# comment\n" * 100_000,
    "one long value": f"git: {{url: {'x' * 1_000_000}}}\n",
    "duplicate key": "git: {url: x}\nstate: running\nstate: absent\n",
    "duplicate within": "git: {url: x, url: y}\n",
    "alias": "git: &g {url: x}\nagent: *g\n",
    "alias of itself": "git: &g {url: *g}\n",
    "merge key": "git: {url: x}\n<<: {state: absent}\n",
    "tag": "git: !!python/object/apply:os.system ['true']\n",
    "two documents": "git: {url: x}\n---\nstate: absent\n",
    "a list": "- git\n",
    "a word": "absent\n",
    "empty": "\n",
    "tab": "git:\n\turl: x\n",
    "Latin-1": b"git: {url: caf\xe9}\n",
    "UTF-16": "git: {url: x}\n".encode("utf-16"),
    "NUL": b"git: {url: x}\n\0\n",
    "zeros after a power cut": b"\0" * 4096,
    "unclosed": "git: {url: x\n",
    "conflict": "<<<<<<< HEAD\nstate: running\n=======\nstate: absent\n>>>>>>> other\ngit: {url: x}\n",
    "hidden text": "git: {url: x}\nstate: \u202etnesba\n",
}
POISON = {name: text.encode() if isinstance(text, str) else text for name, text in TEXTS.items()}
PLACES = ["state", "git", "git.url", "git.ref", "git.ssh_key", "agent", "agent.kind", "agent.version", "agent.port"]
PLACES += ["agent.env", "bridge", "bridge.port", "restart", "restart.policy", "idle_timeout", "limits"]
PLACES += ["limits.memory", "limits.cpus", "limits.tasks", "restarted_at", "discard_unpushed", "unknown"]
WRONG = [True, 0, -1, 1e308, "", "\n", [], ["x"], {"x": {}}, [[[]]], "x" * 5000, "--upload-pack=x", 2**70]
TAKEN: dict[str, list[Any]] = {
    "git.url": ["x" * 5000, 2**70],
    "git.ssh_key": ["x" * 5000, 2**70],
    "git.ref": [2**70],
    "restarted_at": ["\n", "--upload-pack=x", 2**70],
    "discard_unpushed": [True],
}
"""What of it is no mistake: text may be long or look like a number, and what is only compared may be anything."""


def wrong_types() -> Iterator[tuple[str, Any, bytes]]:
    """Each key with a value of each wrong kind."""
    for place in PLACES:
        for value in WRONG:
            document: dict[str, Any] = {"git": {"url": "x"}}
            above, _, key = place.rpartition(".")
            inner = document.setdefault(above, {}) if above else document
            inner[key] = value
            yield place, value, json.dumps(document).encode() + b"\n"


def test_poison(score: Score, tmp_path: Path) -> None:
    """Bombs, megabytes, duplicate keys, aliases, wrong types, wrong bytes: one short sentence each, and quickly."""
    bad: list[tuple[str, Any, bytes]] = [(name, None, data) for name, data in POISON.items()]
    for number, (place, value, data) in enumerate([*bad, *wrong_types()]):
        name = f"{place}={str(value)[:20]}"
        reader = Reader(tmp_path / str(number))
        reader.path.write_bytes(data)
        began = time.thread_time()
        found = reader.settle()
        score.tried()
        score.expect(time.thread_time() - began < 5, f"{name}: it took seconds of processor time")
        score.expect(len(found) == 1, f"{name}: {len(found)} answers")
        [outcome] = found[:1]
        if value in TAKEN.get(place, []):
            score.expect(said(outcome) == {"git.url": "x", place: str(value)}, f"{name}: {str(outcome)[:300]}")
        else:
            refused = isinstance(outcome, str) and outcome.startswith("cannot ") and len(outcome) < 3000
            score.expect(refused, f"{name}: says {str(outcome)[:300]!r}")


def said(outcome: Spec | str) -> dict[str, str]:
    """What a spec says that is not the default; nothing of one that was refused."""
    if isinstance(outcome, str):
        return {}
    default = flat(type(outcome)(git=outcome.git).model_dump()) | dict.fromkeys(["git.url", "git.ref", "git.ssh_key"])
    return {key: str(value) for key, value in flat(outcome.model_dump()).items() if value != default[key]}


def test_thousands_of_mistakes(score: Score, tmp_path: Path) -> None:
    """A spec with thousands of mistakes is refused in a message that can be read."""
    reader = Reader(tmp_path)
    reader.path.write_text("".join(f"k{number}: 1\n" for number in range(6_000)))
    [found] = reader.settle()
    score.tried()
    score.expect(isinstance(found, str) and len(found) < 10_000, f"a message of {len(str(found))} characters")
    assert not score.violations
