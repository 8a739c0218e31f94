"""The unit for systemd: what it runs, and how words are quoted in it."""

from __future__ import annotations

import pytest

from reconciler.frontends.cli import unit


@pytest.mark.parametrize(
    ("word", "in_command", "elsewhere"),
    [
        ("plain", '"plain"', '"plain"'),
        ("a b", '"a b"', '"a b"'),
        ('say "x"', '"say \\"x\\""', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"', '"back\\\\slash"'),
        ("100%", '"100%%"', '"100%%"'),
        ("$HOME", '"$$HOME"', '"$HOME"'),
    ],
)
def test_a_word_is_quoted_so_that_systemd_reads_it_back(word: str, in_command: str, elsewhere: str) -> None:
    """A dollar sign begins a variable only in a command line."""
    assert unit.quoted(word, command=True) == in_command
    assert unit.quoted(word) == elsewhere


@pytest.mark.parametrize("word", ["a\nExecStartPre=/bin/evil", "a\x1b[2J", "a\0"])
def test_a_word_that_would_become_a_line_of_its_own_is_refused(word: str) -> None:
    """Nothing is added to a unit that nobody meant."""
    with pytest.raises(ValueError, match="no unit can hold"):
        unit.quoted(word)


def test_the_unit_keeps_agents_and_hands_on_only_what_is_ours() -> None:
    """No other variable of the user: it may be a secret."""
    text = unit.text(["/py", "-m", "reconciler"], {"PATH": "/bin", "OPENCODE_MANAGER_PORT": "5", "API_KEY": "secret"})
    lines = text.splitlines()

    assert {"KillMode=process", "OOMPolicy=continue", "WantedBy=default.target"} <= set(lines)
    assert 'ExecStart="/py" "-m" "reconciler"' in lines
    assert [line for line in lines if line.startswith("Environment")] == [
        'Environment="OPENCODE_MANAGER_PORT=5"',
        'Environment="PATH=/bin"',
    ]
