"""What the settings file says, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import yaml

from reconciler import settings_file
from reconciler.settings import UserError

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "settings.yaml"


def test_there_need_not_be_one(tmp_path: Path) -> None:
    assert settings_file.load(tmp_path).confinement.default == "auto"


def test_an_empty_one_says_nothing() -> None:
    assert settings_file.parse(b"# later\n", "f") == settings_file.SettingsFile()


def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / settings_file.NAME
    path.write_text("confinement: {hide: [~/.secrets]}\n")
    first = settings_file.load(tmp_path)
    again = settings_file.load(tmp_path)
    path.write_text("confinement: {hide: [/srv/vault], default: none}\n")
    last = settings_file.load(tmp_path)

    assert first is again
    assert (first.confinement.hide, last.confinement.hide, last.confinement.default) == (
        ["~/.secrets"],
        ["/srv/vault"],
        "none",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"confinment: {}\n", "cannot accept the key 'confinment': it is not known; did you mean 'confinement'? (f:1)"),
        (b"zzz: 1\n", "cannot accept the key 'zzz': it is not known; known are confinement, notify (f:1)"),
        (
            b"confinement:\n  default: never\n",
            "cannot accept 'confinement.default': use 'auto', 'none' or 'bubblewrap' (f:2)",
        ),
        (
            b"confinement:\n  hide:\n  - /a\n  - relative\n",
            "cannot accept 'confinement.hide.1': give paths that begin with / or ~/, without a colon (f:4)",
        ),
        (b"confinement:\n  read: 3\n", "cannot accept 'confinement.read': input should be a valid list (f:2)"),
        (
            b"notify:\n- url: https://example.org\n- shape: json\n",
            "cannot accept 'notify.1': give either a url or a command (f:3)",
        ),
        (
            b"notify:\n- url: ftp://x\n",
            "cannot accept 'notify.0': give a url that begins with https:// or http:// (f:2)",
        ),
        (
            b"notify:\n- url: http://x\n  ulr: 1\n",
            "cannot accept the key 'notify.0.ulr': it is not known; did you mean 'url'? (f:3)",
        ),
        (b"- a\n", "cannot accept 'it': write keys and values, like confinement: (f:1)"),
        (b"confinement: 1\n", "cannot accept 'confinement': write keys and values, like confinement: (f:1)"),
        (b"a: 1\n\xff\n", "cannot read f:2: it is not UTF-8; save it in that encoding"),
        (b"a: 1\nb: [\n", "cannot read f:3 as YAML: did not find expected node content; correct that line"),
        (b"a: \0\n", "cannot read f as YAML: it is no YAML; correct that line"),
        (b"#" * (settings_file.MAX_BYTES + 1), "cannot read f: it is longer than 64 KiB; shorten it"),
    ],
)
def test_what_is_refused(text: bytes, sentence: str) -> None:
    """By a sentence that says where, what is wrong, and what to do; no value is shown."""
    with pytest.raises(UserError) as refused:
        settings_file.parse(text, "f")

    assert str(refused.value) == sentence


def test_one_that_is_a_folder(tmp_path: Path) -> None:
    tmp_path.joinpath(settings_file.NAME).mkdir()

    with pytest.raises(UserError, match=r"cannot read .*: is a directory; make it readable"):
        settings_file.load(tmp_path)


def test_who_is_notified() -> None:
    """Of everything, unless it says of what."""
    text = b"notify:\n- url: https://example.org/hook\n- command: [notify-send]\n  events: [parked]\n  words: true\n"
    hook, command = settings_file.parse(text, "f").notify

    assert (hook.shape, hook.events, hook.words) == ("json", ["needs", "parked", "recovered"], False)
    assert (command.command, command.events, command.words) == (["notify-send"], ["parked"], True)


def test_the_example_is_accepted_and_shows_every_key() -> None:
    """Of the file, of confinement, and of those who are notified."""
    data = EXAMPLE.read_bytes()
    found, written = settings_file.parse(data, "f"), yaml.safe_load(data)

    assert set(written) == set(settings_file.SettingsFile.model_fields)
    assert set(written["confinement"]) == set(settings_file.ConfinementSettings.model_fields)
    assert {key for one in written["notify"] for key in one} == set(settings_file.NotifyTarget.model_fields)
    assert [one.shape for one in found.notify] == ["json", "ntfy", "json"]
