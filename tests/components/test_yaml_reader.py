"""The text of a spec: what is accepted, what is refused and how, and changing it in place. Pure."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.spec import Spec
from reconciler.settings import UserError
from reconciler.specs import yaml_reader
from reconciler.specs.patch import patch_text, scalar_text
from reconciler.specs.yaml_reader import MAX_BYTES, SpecFileError, compose, parse_document, parse_text, plain

FULL = """\
# Blog: the API, größer & schöner 🚀
state: running            # running | stopped | absent (absent = destroy: the tombstone)
git:
  url: git@github.com:user/blog-api.git   # ssh, https, or a local path
  ref: release/2.0        # branch, tag or commit
  ssh_key: ~/.ssh/blög    # path
agent:
  kind: opencode
  version: "1.18.33"
  port: 4107
  env:
    GREETING: 'grüß dich'
    RETRIES: "3"
bridge: {port: 5107}
restart:
  policy: on-failure
idle_timeout: 2h
limits:
  memory: 2GiB
  cpus: 1.5
  tasks: 256
restarted_at: "2026-11-23T10:00:00Z"
discard_unpushed: false   # ende, fin, конец
"""


def data(text: str) -> Any:
    """What the YAML says, whatever it is."""
    return plain(compose(text, "x.yaml"))


def refusal(text: str) -> str:
    """The sentences that refuse this text."""
    with pytest.raises(SpecFileError) as caught:
        parse_text(text, "blog.yaml")
    return str(caught.value)


def judge(text: bytes) -> Spec | str:
    """What a file with these bytes comes to: a spec, or the sentences that refuse it."""
    try:
        return parse_text(yaml_reader.decode(text, "x.yaml"), "x.yaml")
    except SpecFileError as error:
        return str(error)


def test_full_spec() -> None:
    """Every key of the design is read, with its line."""
    document = parse_document(FULL, "blog.yaml")

    assert document.spec.agent.env == {"GREETING": "grüß dich", "RETRIES": "3"}
    assert document.spec.limits.cpus == 1.5
    assert document.lines["git",] == 3
    assert document.lines["agent", "env", "RETRIES"] == 13
    assert document.lines["bridge", "port"] == 14


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("0755", "0755"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
        ("1.10", 1.1),
        ("-7", -7),
        ("1e3", 1000.0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ('"1"', "1"),
        ("[1, a]", [1, "a"]),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_scalars(written: str, meant: object) -> None:
    """Only null, true, false and decimal numbers are not text."""
    value = data(f"a: {written}")["a"]

    assert (type(value), value) == (type(meant), meant)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot use blog.yaml: it is empty; write at least git: and url:"),
        ("# only a comment\n", "cannot use blog.yaml: it is empty; write at least git: and url:"),
        ("- git\n", "cannot read it as a spec: write keys and values, at least git: and url: (blog.yaml:1)"),
        ("git: {url: x}\na: &x 1\n", "cannot read blog.yaml:2: anchors and aliases"),
        ("a: *x\n", "cannot read blog.yaml:1: anchors and aliases"),
        ("a: !!str 1\n", "cannot read blog.yaml:1: tags (!) are not allowed"),
        ("git: !!python/object:os.system {}\n", "cannot read blog.yaml:1: tags (!) are not allowed"),
        ("git: {url: x}\n---\ngit: {url: y}\n", "cannot read blog.yaml:2: a second document (---) is not allowed"),
        ("git:\n\turl: x\n", "cannot read blog.yaml:2: it is indented with a tab; use spaces"),
        ("git:\n  url: a\x07b\n", "cannot read blog.yaml:2: it has the invisible character U+0007; remove it"),
        ("# a\r\n# b\u2028state: absent\n", "cannot read blog.yaml:2: it has the invisible character U+2028"),
        ("git: {url: x}\r", "cannot read blog.yaml:1: its lines end in CR alone; save it with LF or CRLF"),
        ("git: \ud800", "cannot read blog.yaml:1: it has the invisible character U+D800"),
        ("a: " + "[" * 60, "cannot read blog.yaml:1: it is nested too deeply"),
        ("a: 'x\n", "cannot read blog.yaml:1 as YAML: found unexpected end of stream"),
        ("1: x\n", "cannot accept this key: write a word of letters, digits and _ (blog.yaml:1)"),
        ("? [a]\n: x\n", "cannot accept this key: write a word of letters, digits and _ (blog.yaml:1)"),
        ("<<: {a: b}\n", "cannot accept this key: write a word of letters, digits and _ (blog.yaml:1)"),
        ("# " + "x" * MAX_BYTES, "cannot read blog.yaml: it is longer than 64 KiB"),
    ],
)
def test_refused_yaml(text: str, sentence: str) -> None:
    """What a spec's YAML may not have is refused with file and line."""
    assert refusal(text).startswith(sentence)


def test_every_problem_has_its_place() -> None:
    """Each problem is a sentence of its own with file, line, the dotted key and the nearest known one."""
    text = "git:\n  urll: x\n  url: y\nagent:\n  version: 1.10\n  port: 80\nlimts: {}\n"
    wanted = "give one from 4100 to 4199, or from where OPENCODE_MANAGER_AGENT_PORTS moves that range"

    assert refusal(text).splitlines() == [
        "cannot accept the key 'git.urll': it is not known; did you mean 'url'? (blog.yaml:2)",
        "cannot accept 'agent.version': input should be a valid string; put it in quotes, like \"text\" (blog.yaml:5)",
        f"cannot use port 80: {wanted} (agent.port, blog.yaml:6)",
        "cannot accept the key 'limts': it is not known; did you mean 'limits'? (blog.yaml:7)",
    ]


def test_missing_key_is_shown_at_its_parent() -> None:
    """A key that is not there is shown where it belongs."""
    assert refusal("state: stopped\ngit:\n  ref: main\n").endswith("'git.url': add it (blog.yaml:2)")


def test_duplicate_keys_name_both_lines() -> None:
    """A key written twice is refused: plain YAML would take the last one, here the tombstone."""
    text = "git: {url: x}\nstate: running\ngit: {url: y}\nstate: absent\n"

    assert refusal(text).splitlines() == [
        "cannot accept the key 'git' twice, on lines 1 and 3: remove one (blog.yaml:3)",
        "cannot accept the key 'state' twice, on lines 2 and 4: remove one (blog.yaml:4)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "git: {url: 'https://me:HUSH@host/x.git'}",
        "git: {url: x}\nstate: HUSH",
        "git: {url: x, ssh_key: '-----BEGIN OPENSSH PRIVATE KEY-----HUSH'}",
        "git: {url: x}\nsk-HUSH0123456789: 1",
        "git: {url: x}\nghp_HUSH0123456789abcdefghijkl: 1",
        "git: {url: x}\nagent: {env: {API_KEY: HUSH}}",
        "git: {url: x}\nagent: {env: {OPENCODE_AUTH_CONTENT: HUSH}}",
        "git: {url: x}\nagent: {port: HUSH}",
        "git: 'HUSH\n",
        "git: &HUSH x\n",
        "git: *HUSH\n",
        "git: !HUSH x\n",
        'git: "\\HUSH"\n',
        "HUSH\n  x: y: z",
    ],
)
def test_no_value_is_shown(text: str) -> None:
    """A message never repeats a value: it may be a key somebody pasted."""
    assert "HUSH" not in refusal(text)


def test_decode() -> None:
    """UTF-8 is read, with a byte order mark or without; anything else is refused with its line."""
    assert parse_text(yaml_reader.decode(b"\xef\xbb\xbfgit: {url: x}\r\n", "x.yaml"), "x.yaml").git.url == "x"
    with pytest.raises(SpecFileError, match=r"cannot read x.yaml:2: it is not UTF-8"):
        yaml_reader.decode(b"a: b\nc: \xff\n", "x.yaml")
    with pytest.raises(SpecFileError, match=r"cannot read x.yaml: it is longer than 64 KiB"):
        yaml_reader.decode(b" " * (MAX_BYTES + 1), "x.yaml")


def test_truncated_anywhere() -> None:
    """Cut after any byte, a spec is refused with sentences or says something, but never destroy."""
    whole = FULL.encode()
    complete = judge(whole)
    different, open_ended = 0, 0
    for end in range(len(whole)):
        match judge(whole[:end]):
            case Spec() as spec:
                assert spec.state == "running"
                different += spec != complete
                open_ended += spec != complete and not whole[:end].endswith(b"\n")
            case sentences:
                assert all(line.startswith("cannot ") for line in sentences.splitlines())

    # Many cuts are specs, and other ones. Nearly all lack the final newline, so such a file has to rest longer.
    assert open_ended > different * 0.9 > 0


@given(st.binary(max_size=60) | st.text(alphabet="ab:-{}[]'\"|>#&*!%?,~ \n\t\\0", max_size=40).map(str.encode))
@settings(max_examples=80, database=None, deadline=None)
def test_garbage_is_refused_in_sentences(garbage: bytes) -> None:
    """Whatever is in the file, the only error is a sentence that begins with "cannot"."""
    result = judge(garbage)

    assert isinstance(result, Spec) or result.startswith("cannot ")


SSH_KEY = ("git", "ssh_key")
STATE = ("state",)
PORT = ("agent", "port")


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ("git: {url: x}\nstate: running  # c\n", STATE, "stopped", "git: {url: x}\nstate: stopped  # c\n"),
        ("state: 'running' # c\n", STATE, "stopped", "state: 'stopped' # c\n"),
        ('state: "running"\n', STATE, 'a"b', 'state: "a\\"b"\n'),
        ("state: running", STATE, "stopped", "state: stopped"),
        ("state: running\n", STATE, "running", "state: running\n"),
        ("state:   # c\na: 1\n", STATE, "stopped", "state: stopped   # c\na: 1\n"),
        ("a: 1", STATE, "stopped", "a: 1\nstate: stopped\n"),
        ("a: 1\r\n# end", STATE, "stopped", "a: 1\r\nstate: stopped\r\n# end"),
        ("\ufeffa: b # é\n", ("a",), "c", "\ufeffa: c # é\n"),
        (
            "git:\n    url: x # c\n\n# next\na: 1\n",
            SSH_KEY,
            "~/k",
            "git:\n    url: x # c\n    ssh_key: ~/k\n\n# next\na: 1\n",
        ),
        ("git:\n  url: x\n", SSH_KEY, None, "git:\n  url: x\n"),
        ("git:\n  ssh_key: a b # c\n  url: x\n", SSH_KEY, None, "git:\n  ssh_key: null # c\n  url: x\n"),
        ("git: {url: x}\n", SSH_KEY, "a, b", 'git: {url: x, ssh_key: "a, b"}\n'),
        ("git: {url: x, }\n", SSH_KEY, "k", "git: {url: x, ssh_key: k, }\n"),
        ("? state\n", STATE, "stopped", "? state\n: stopped"),
        ("agent: {} # c\n", PORT, 4101, "agent: {port: 4101} # c\n"),
        ("agent: {\n  a: 1 # c\n}\n", PORT, 4101, "agent: {\n  a: 1, port: 4101 # c\n}\n"),
        ("{a: 1}", PORT, 4101, "{a: 1, agent: {port: 4101}}"),
        ("a: 1\n...\n", PORT, 4101, "a: 1\nagent:\n  port: 4101\n...\n"),
        ("a: x\n  y # c\nb: 1\n", ("a",), "z", "a: z # c\nb: 1\n"),
        ("a: >-\n  x\n", STATE, "stopped", "a: >-\n  x\nstate: stopped\n"),
        ("limits:\n  # memory: 1\n\n# end\n", STATE, "absent", "limits:\n  # memory: 1\nstate: absent\n\n# end\n"),
        ("a:\n  b:\n    c: 1\n  d: 2\n", ("a", "b", "e"), True, "a:\n  b:\n    c: 1\n    e: true\n  d: 2\n"),
        ("agent: {env: {A: b}}", ("agent", "env", "A"), "on", 'agent: {env: {A: "on"}}'),
    ],
)
def test_patch(before: str, path: tuple[str, ...], value: str | int | None, after: str) -> None:
    """A value is set where it is, or its key added where it belongs; nothing else moves."""
    assert patch_text(before, {path: value}) == after


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("state: [running]\n", STATE),
        ("git: here\n", SSH_KEY),
        ("- a\n", STATE),
        ("just text\n", STATE),
        ("agent: {a}\n", ("agent", "a", "b")),
        ("agent:\n  # port: 1\na: 1\n", PORT),
        ("state: |\n  running\na: 1\n", STATE),
    ],
)
def test_patch_gives_up_in_a_sentence(text: str, path: tuple[str, ...]) -> None:
    """Where a text cannot be changed in place, the person is told what to set."""
    with pytest.raises(UserError) as caught:
        patch_text(text, {path: "stopped"}, label="blog.yaml")

    assert str(caught.value) == f"cannot edit blog.yaml in place: set {'.'.join(path)}: stopped by hand"


def test_patch_shows_no_secret() -> None:
    """The sentence that gives up does not repeat a key."""
    with pytest.raises(UserError, match=r"set git.ssh_key: its value by hand"):
        patch_text("git: x\n", {SSH_KEY: "-----BEGIN RSA PRIVATE KEY-----"})


def test_patch_of_unreadable_text() -> None:
    """A text that is not YAML is not touched."""
    with pytest.raises(SpecFileError, match=r"cannot read blog.yaml:1 as YAML"):
        patch_text("a: 'x\n", {STATE: "stopped"}, label="blog.yaml")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(-1e6, 1e6).map(float),
    st.sampled_from(
        ["stopped", "no", "1.10", "2026-11-23", "a: b", "x #y", "", " ", "git@h:u/r.git", "~", "0755", "{"]
    ),
    st.text(max_size=12),
)


@given(st.text(max_size=20))
@settings(max_examples=25, database=None, deadline=None)
def test_written_text_is_read_back(text: str) -> None:
    """Any text is written so that it is read back as itself, by us and by an old YAML, in any style."""
    for style in (None, "'", '"'):
        assert data(f"{{a: {scalar_text(text, style)}}}") == {"a": text}
        assert yaml.load(f"a: {scalar_text(text, style)}", Loader=yaml.CSafeLoader) == {"a": text}


@st.composite
def handwritten(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A text in somebody's style, and its comments in order."""
    comments: list[str] = []
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    step = draw(st.sampled_from([" ", "  ", "    "]))

    def comment(before: str) -> str:
        if draw(st.booleans()):
            return ""
        comments.append(f"# {len(comments)} é: 'x' {{")
        return before + comments[-1]

    def entry(indent: str, key: str, value: str) -> list[str]:
        lines = [comment(draw(st.sampled_from(["", indent, indent + step])))]
        lines.append(f"{indent}{key}:{' ' if value else ''}{value}{comment('  ')}")
        return [line for line in lines if line or draw(st.booleans())]

    lines: list[str] = []
    for key in draw(st.permutations(["state", "git", "agent", "limits"])):
        if key == "state":
            lines += entry("", key, draw(st.sampled_from(["running", "'running'", '"a"', "", "~", "1", "a\n  b"])))
        elif draw(st.booleans()):
            lines += entry("", key, draw(st.sampled_from(["{}", "{ref: x, env: {A: b}}", "{ref: 'y' , }"])))
        else:
            lines += entry("", key, "")
            for inner in draw(st.lists(st.sampled_from(["ref", "port", "url"]), unique=True, min_size=1)):
                lines += entry(step, inner, draw(st.sampled_from(["x", "'y z'", "", "7", "1.5"])))
    lines.append(comment(""))
    text = "\n".join(lines) + draw(st.sampled_from(["\n", ""]))
    return text.replace("\n", newline), comments


PATHS = [("state",), ("git", "url"), ("git", "ref"), ("agent", "port"), ("limits", "port"), ("bridge", "port"), ("z",)]


@given(handwritten(), st.dictionaries(st.sampled_from([*PATHS, ("agent", "env", "A")]), VALUES, max_size=4))
@settings(max_examples=40, database=None, deadline=None)
def test_patch_keeps_everything_else(
    written: tuple[str, list[str]], changes: dict[tuple[str, ...], str | int | float | bool | None]
) -> None:
    """Every comment stays, in order; every other value too; the line endings stay what they were."""
    text, comments = written
    wanted = data(text)
    for path, value in changes.items():
        inner = wanted
        for key in path[:-1]:
            if value is None and not isinstance(inner.get(key), dict):
                inner = {}
                break
            inner[key] = inner.get(key) if isinstance(inner.get(key), dict) else {}
            inner = inner[key]
        if value is not None or path[-1] in inner:
            inner[path[-1]] = value

    patched = patch_text(text, changes)

    assert data(patched) == wanted
    places = [patched.index(comment) for comment in comments]
    assert places == sorted(places)
    assert ("\r\n" in patched) <= ("\r\n" in text) or "\n" not in text
    assert patched.count("\n") == patched.count("\r\n") or "\r\n" not in text
    assert patch_text(patched, changes) == patched


@pytest.mark.parametrize(
    "name", ["OPENCODE_DB", "OPENCODE_DISABLE_AUTOUPDATE", "GIT_SSH_COMMAND", "GIT_CONFIG_SYSTEM", "HOME"]
)
def test_what_keeps_projects_apart_is_not_a_specs_to_set(name: str) -> None:
    """The manager sets it."""
    with pytest.raises(SpecFileError, match=f"cannot set {name}: the manager sets it"):
        parse_document(f"git: {{url: x}}\nagent: {{env: {{{name}: y}}}}\n", "app.yaml")
