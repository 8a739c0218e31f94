"""The model of a spec: what it accepts, and the sentence for each thing that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from reconciler.core import spec
from reconciler.core.port_rules import check_port
from reconciler.core.spec import SpecError, State
from tests.unit.worlds import URL, make_spec

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "full.yaml"


def refusals(**fields: Any) -> list[tuple[tuple[str, ...], str]]:
    with pytest.raises(SpecError) as caught:
        make_spec(**fields)
    return [(problem.where, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("1d1s", 86401)])
def test_a_duration_is_read_with_its_units(text: str, seconds: float) -> None:
    """In seconds."""
    assert spec.parse_duration(text) == seconds
    assert make_spec(idle_timeout=text).not_enforced() == ("idle_timeout",)


@pytest.mark.parametrize(("text", "size"), [("512MiB", 2**29), ("1.5GB", 1_500_000_000), ("2097152B", 2**21)])
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    """In bytes."""
    assert spec.parse_size(text) == size
    limits = make_spec(limits={"memory": text}).limits
    assert (limits.given, limits.bytes) == (True, size)


@pytest.mark.parametrize(
    ("fields", "where", "why"),
    [
        ({"idle_timeout": ""}, "idle_timeout", "cannot read it as a duration"),
        ({"idle_timeout": "90"}, "idle_timeout", "write it with units"),
        ({"idle_timeout": "0s"}, "idle_timeout", "a duration of zero"),
        ({"limits": {"memory": "512"}}, "limits.memory", "write it with a unit"),
        ({"limits": {"memory": "1KiB"}}, "limits.memory", "below 1MiB"),
        ({"git": {"url": URL, "ssh_key": "ssh-ed25519 AAAA"}}, "git.ssh_key", "cannot use the text of a key"),
        ({"git": {"url": URL, "ssh_key": "a\nb"}}, "git.ssh_key", "cannot use the text of a key"),
        ({"git": {"url": URL, "ssh_key": "-i"}}, "git.ssh_key", "give a path without quotes"),
        ({"git": {"url": URL, "ssh_key": ""}}, "git.ssh_key", "give a path without quotes"),
        ({"agent": {"version": "1.18"}}, "agent.version", 'like "1.18.33"'),
        ({"agent": {"env": {"A-B": "x"}}}, "agent.env", "cannot use 'A-B' as the name of a variable"),
        ({"agent": {"env": {"OCM_X": "x"}}}, "agent.env", "the manager sets it"),
        ({"agent": {"env": {"My_Token": "x"}}}, "agent.env", "opencode-manager secrets NAME MY_TOKEN (or --all MY"),
        ({"agent": {"env": {"_TOKEN": "x"}}}, "agent.env", "set it with: another name"),
        ({"agent": {"env": {"PATH": "/x"}}}, "agent.env", "put folders before it with agent.path"),
        ({"agent": {"env": {"A": "x\0y"}}}, "agent.env", "has a NUL character"),
        ({"agent": {"path": ["bin"]}}, "agent.path.0", "give a path that begins with / or ~/"),
        ({"confinement_allow": {"read": ["/a:/b"]}}, "confinement_allow.read.0", "without a colon"),
        ({"labels": {"a b": "x"}}, "labels", "cannot use 'a b' as the key of a label"),
        ({"labels": {"team": "-x"}}, "labels", "cannot use '-x' as the label team"),
        ({"labels": {"team": 3}}, "labels.team", 'put it in quotes, like "text"'),
        ({"agent": {"port": 80}}, "agent.port", "from where OPENCODE_MANAGER_AGENT_PORTS moves that range"),
        ({"bridge": {"port": 6000}}, "bridge.port", "browsers and Node refuse it"),
        ({"agent": {"prot": 4100}}, "agent.prot", "did you mean 'port'?"),
        ({"bridge": {"zzz": 1}}, "bridge.zzz", "known are port"),
        ({"git": {}}, "git.url", "add it"),
        ({"agent": "opencode"}, "agent", "write keys below it, like kind:"),
        ({"state": "gone"}, "state", "use 'running', 'stopped' or 'absent'"),
        ({"agent": {"version": 1.18}}, "agent.version", 'put it in quotes, like "text"'),
        ({"limits": {"tasks": 0}}, "limits.tasks", "cannot accept 'limits.tasks': input should be greater"),
    ],
)
def test_each_mistake_gets_its_own_sentence_and_place(fields: dict[str, Any], where: str, why: str) -> None:
    """The sentence begins with "cannot" and never repeats the value of a secret."""
    [(place, sentence)] = refusals(**fields)

    assert ".".join(place) == where
    assert sentence.startswith("cannot ")
    assert why in sentence


def test_every_problem_is_found_at_once() -> None:
    """And all are in the text of the error."""
    with pytest.raises(SpecError, match=r"cannot .*; cannot ") as caught:
        make_spec(state="gone", agent={"version": "new"})

    assert len(caught.value.problems) == 2


def test_what_is_no_mapping_is_no_spec() -> None:
    """A list, a number, nothing."""
    data: object
    for data in ([], 3, None):
        with pytest.raises(SpecError, match="write keys and values, at least git: and url:"):
            spec.parse(data)


def test_two_ways_of_writing_the_same_are_one_value() -> None:
    """Equal, with the same digest; any difference of meaning makes another one."""
    plain, full = make_spec(), make_spec(state="running", agent={"kind": "opencode", "env": {}}, limits={})

    assert plain == full
    assert plain.digest() == full.digest() != make_spec(state="stopped").digest()
    assert plain.wanted is State.RUNNING


def test_a_good_key_path_port_and_variable_are_kept_as_they_are() -> None:
    """Nothing is normalised behind the user's back."""
    written = make_spec(
        git={"url": URL, "ref": "main", "ssh_key": "~/.ssh/id"},
        agent={"version": "1.18.33-beta.1", "port": 4150, "env": {"EDITOR": "vi"}, "path": ["~/bin"]},
        bridge={"port": 5150},
        limits={"cpus": 1.5, "tasks": 100},
        labels={"team": "web", "tier": "", "v": "1.0_a"},
    )

    assert (written.git.ssh_key, written.agent.version, written.bridge.port) == ("~/.ssh/id", "1.18.33-beta.1", 5150)
    assert (written.limits.given, written.limits.bytes, written.limits.required) == (True, None, False)
    assert not make_spec(limits={"required": True}).limits.given
    assert written.not_enforced() == ()
    assert check_port(4150, "agent") == 4150


def test_a_port_outside_of_the_range_in_force_is_a_valid_spec_with_a_problem() -> None:
    """So that a setting of the machine never makes an accepted spec invalid."""
    ranges = {"agent": (4100, 4199), "bridge": (5100, 5199)}
    [problem] = spec.misplaced(make_spec(agent={"port": 4500}, bridge={"port": 5100}), ranges)

    assert (problem.where, problem.message) == (("agent", "port"), "cannot use port 4500: give one from 4100 to 4199")


def test_unknown_keys_of_a_newer_version_are_left_out() -> None:
    """At every level; the value of a free-form mapping is kept."""
    newer = {"git": {"url": URL, "depth": 1}, "agent": {"env": {"ANY": "x"}}, "state": "stopped", "wake": True}

    assert spec.known_keys(newer) == {"git": {"url": URL}, "agent": {"env": {"ANY": "x"}}, "state": "stopped"}


def test_the_schema_names_its_dialect_and_every_key() -> None:
    """Editors complete and check by it."""
    schema = json.loads(json.dumps(spec.schema()))

    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["properties"]) == set(spec.Spec.model_fields)
    assert set(schema["properties"]["labels"]) >= {"propertyNames", "additionalProperties"}


def test_an_unknown_kind_of_agent_is_refused() -> None:
    """In the spec's own words."""
    [(place, sentence)] = refusals(agent={"kind": "nobody"})

    assert place == ("agent", "kind")
    assert sentence.startswith("cannot ")


def test_the_example_lists_every_key_with_its_default() -> None:
    """As the README says."""
    written = yaml.safe_load(EXAMPLE.read_text())
    default = make_spec(git={"url": written["git"]["url"]}).model_dump(mode="json")

    assert written == default
