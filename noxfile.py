"""The usual jobs. `nox -l` lists them; CI runs the README's test command, which is the session `tests`."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "unit"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """Decisions only, in virtual time: two seconds."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", "tests/unit", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branches of `core` that the unit tests take: each of them, or the missing ones are named."""
    session.install("-e", ".[test]")
    session.run("coverage", "run", "-m", "pytest", "-q", "tests/unit")
    session.run("coverage", "report", "-m", "--fail-under=100")


@nox.session
def lint(session: nox.Session) -> None:
    """Types, style, import contracts, and the rules of the house."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", "-n", "2", "tests/house", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything that every CI run does, in six to ten minutes on two cores."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "4", *session.posargs)


@nox.session
def battery(session: nox.Session) -> None:
    """The fault battery at full length: an hour."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "4", "--full", "tests/battery", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Beside other supervisors: 14 minutes on a machine with nothing else to do."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone, and run the unit tests against what was installed."""
    folder = session.create_tmp()
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", folder)
    session.install("--find-links", folder, "opencode-manager[test]")
    session.run("cp", "-r", "tests", "pyproject.toml", folder, external=True)  # beside them lies no source
    with session.chdir(folder):
        session.run("pytest", "-q", "tests/unit")
