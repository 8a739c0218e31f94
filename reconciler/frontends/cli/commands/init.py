"""Set everything up the first time: a specs folder, a first project, the service, and the configuration of a client."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reconciler.api import client, drafts
from reconciler.core.names import nearest_name
from reconciler.frontends.cli import flags, requests
from reconciler.frontends.cli.commands import service
from reconciler.frontends.cli.systemctl import Systemd
from reconciler.frontends.mcp import client_config
from reconciler.settings import UserError
from reconciler.system import safe_git

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

NONE: Final = "none"
_PATIENCE: Final = 5.0
"""Seconds for git to read its configuration."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was answered."""

    git_url: str
    """Of the first project; empty: none."""
    name: str
    ssh_key: str
    """Path of a private key; empty: a deploy key is generated."""
    service: bool
    client: str
    """For which the configuration is printed; empty: none."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Asks a few questions; each answer can be given as an option, and then is not asked for.",
        "init",
        "init --yes --git-url git@github.com:user/blog-api.git --client claude-code --no-service",
    )
    parser.add_argument("--git-url", metavar="GIT_URL", help="repository of the first project, or none")
    parser.add_argument("--name", metavar="PROJECT", help="its name (default: of the repository)")
    parser.add_argument("--ssh-key", metavar="PATH", help="your own private key, or none: generate a deploy key")
    parser.add_argument("--client", choices=[*client_config.CLIENTS, NONE], metavar="CLIENT", help="your MCP client")
    parser.add_argument("--service", action="store_true", default=None, help="let your systemd run the controller")
    parser.add_argument("--no-service", dest="service", action="store_false", help="do not")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the default for what is not given")
    flags.dry_run(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask, then do it."""
    if not options.yes and not sys.stdin.isatty():
        raise UserError("cannot ask without a terminal: add --yes, and the answers as options")
    answers = ask(settings, options)
    wanted = [drafts.start(settings, answers.name, answers.git_url, answers.ssh_key)] if answers.git_url else []
    if options.dry_run:
        requests.preview(wanted)
    else:
        _prepare(settings)
        for draft in wanted:
            client.write(settings, draft, requests.author("init"))
            print(f"The spec of {draft.name} is written: {draft.path}")
    if answers.service:
        service.install(settings, dry_run=options.dry_run)
    if answers.client and not options.dry_run:
        found = client_config.snippet(answers.client, settings, None)
        print(f"\n{found.text}\n")
        print("\n".join(found.hints))
    if not answers.service:
        print("\nNext: opencode-manager run")
    elif wanted:
        print(f"\nNext: opencode-manager wait {answers.name}")
    return 0


def ask(settings: Settings, options: Namespace) -> Answers:
    """Return the answers: those given as options, then those of the person, or the defaults."""
    url = _answer(options, "git_url", "Git URL of the first project (none: later)", origin() or NONE)
    name = key = ""
    if url:
        stem = url.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
        name = _answer(options, "name", "Its name", nearest_name(stem))
        key = _answer(options, "ssh_key", "Your own SSH key (none: generate a deploy key)", NONE)
    wanted = _answer(options, "client", f"Your MCP client ({', '.join(client_config.CLIENTS)})", NONE)
    if wanted and wanted not in client_config.CLIENTS:
        raise UserError(f"cannot configure {wanted!r}: known clients are {', '.join(client_config.CLIENTS)}")
    return Answers(git_url=url, name=name, ssh_key=key, service=_with_service(settings, options), client=wanted)


def _with_service(settings: Settings, options: Namespace) -> bool:
    if options.service is not None:
        return bool(options.service)
    try:
        Systemd(settings).check()
    except UserError:
        return False
    return _answer(options, "", "Let your systemd run the controller (yes or no)", "yes").lower() in {"yes", "y"}


def _answer(options: Namespace, option: str, question: str, default: str) -> str:
    """Return one answer; empty where it is `none`."""
    given = getattr(options, option) if option else None
    if given is None and not options.yes:
        given = input(f"{question} [{default}]: ").strip()
    found = str(given or default)
    return "" if found == NONE else found


def origin() -> str:
    """Return where the repository around the current folder comes from; empty where it comes from nowhere."""
    command = ("git", *safe_git.OFFLINE_OPTIONS, "config", "--get", "remote.origin.url")
    try:
        done = subprocess.run(
            command, env=safe_git.offline_environment(), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _prepare(settings: Settings) -> None:
    """Make the specs folder."""
    folder = drafts.specs_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Specs are read from {folder}")
