"""Rules for single git settings: which of them hand out a login, name a file or a program, or rewrite a URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reconciler.core import git_url
from reconciler.engines.local.git.git_world import PROTOCOLS, Rewrites

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.engines.local.world.git_settings import Setting

SIGNING: Final = re.compile(r"user\.signingkey|(?:commit|tag|push)\.gpgsign|tag\.forcesignannotated|gpg\..*")
NOBODY_ANSWERS: Final = re.compile(r"core\.(?:askpass|sshcommand)|sendemail\..*|imap\..*")
CREDENTIALS: Final = re.compile(
    r"credential\..*|http\.(?:.*\.)?(?:extraheader|cookiefile|savecookies|(?:proxy)?ssl(?:key|cert)(?:passwordprotected)?)"
    r"|(?!alias\.).*\.[\w-]*(?:token|password|passwd|secret|apikey)"
)
PATHS: Final = re.compile(
    r"core\.(?:excludesfile|attributesfile|hookspath)|commit\.template|init\.templatedir|blame\.ignorerevsfile"
    r"|http\.(?:.*\.)?(?:(?:proxy)?ssl(?:cainfo|capath|key|cert)|cookiefile)|mailmap\.file|diff\.orderfile"
    r"|format\.signaturefile|(?:fetch\.|receive\.)?fsck\.skiplist|safe\.directory"
)
COMMANDS: Final = re.compile(
    r"(?:filter|diff|merge|alias|difftool|mergetool|pager|browser|man)\..*|.*\.(?:editor|pager)"
)
DATA: Final = re.compile(
    r"core\.(?:autocrlf|eol|safecrlf|checkroundtripencoding|filemode|ignorecase|precomposeunicode|symlinks|quotepath"
    r"|attributesfile|whitespace|longpaths)|user\.(?:name|email|useconfigonly)|i18n\..*|url\..*\.(?:push)?insteadof"
    r"|http\.(?:.*\.)?(?:ssl(?:cainfo|capath|verify|version)|proxy|version|useragent)"
)
"""What the agent may set for the manager's git too: nothing that names a program or hides work."""


def has_password(key: str, value: str | None) -> bool:
    """Tell whether a URL in a setting holds a password; of a proxy it is part of the way, and not of the login."""
    if key.endswith(".proxy") or key.startswith("filter."):
        return False
    users = re.findall(r"https?://([^/\s@]+)@", f"{key} {value or ''}")
    return any(":" in user or git_url.like_a_secret(user) for user in users)


def protocols(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Return the transports that the user's settings leave allowed."""
    policy = {key: value for key, value in settings if key.startswith("protocol.") and key.endswith("allow")}
    otherwise = policy.get("protocol.allow", "always")
    return tuple(name for name in PROTOCOLS if policy.get(f"protocol.{name}.allow", otherwise) != "never")


def rewrites(settings: Iterable[Setting]) -> Rewrites:
    """Return the rules for URLs."""
    found: dict[str, list[tuple[str, str]]] = {"insteadof": [], "pushinsteadof": []}
    for key, value in settings:
        section, _, name = key.rpartition(".")
        if section.startswith("url.") and name in found and value is not None:
            found[name].append((value, section.removeprefix("url.")))
    return Rewrites(fetch=tuple(found["insteadof"]), push=tuple(found["pushinsteadof"]))
