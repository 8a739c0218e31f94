"""Name the places of a user and of a machine that are nobody's business in a sandbox. Pure.

This is a list, and so never complete: what else is private stands in the settings file (`confinement.hide`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_KEYS: Final = (".ssh", ".gnupg", ".pki", ".password-store", ".age", ".config/age", ".config/sops")
_CLOUDS: Final = (
    *(".aws", ".azure", ".config/gcloud", ".boto", ".kube", ".minikube", ".config/helm", ".oci", ".aliyun"),
    *(".config/doctl", ".config/hcloud", ".config/linode-cli", ".config/scw", ".config/flyctl", ".fly", ".bluemix"),
    *(".terraform.d", ".terraformrc", ".pulumi", ".vault-token", ".ansible", ".config/rclone", ".s3cfg", ".mc"),
    *(
        ".config/heroku",
        ".vercel",
        ".config/vercel",
        ".config/netlify",
        ".wrangler",
        ".config/.wrangler",
        ".databricks",
    ),
)
_REGISTRIES: Final = (
    *(".docker/config.json", ".config/containers/auth.json", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc"),
    *(".netrc", ".authinfo", ".authinfo.gpg", ".git-credentials", ".config/git/credentials", ".git-credential-cache"),
    *(".config/gh", ".config/hub", ".config/glab-cli", ".config/lab", ".config/tea", ".gem/credentials", ".hex"),
    *(".cargo/credentials", ".cargo/credentials.toml", ".m2/settings.xml", ".m2/settings-security.xml"),
    *(".gradle/gradle.properties", ".nuget/NuGet", ".config/NuGet", ".composer/auth.json", ".config/composer"),
    *(".config/pip", ".pip", ".config/pypoetry", ".cache/huggingface/token", ".huggingface", ".kaggle"),
)
_DATABASES: Final = (".pgpass", ".my.cnf", ".mylogin.cnf", ".mongodb", ".dbshell", ".config/dbeaver", ".redisclirc")
_BROWSERS: Final = (
    *(".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware"),
    *(".config/microsoft-edge", ".config/vivaldi", ".config/opera", ".librewolf", ".zen", "snap/firefox"),
    *("snap/chromium", "snap/thunderbird", ".var/app", ".cache/mozilla", ".cache/google-chrome", ".cache/chromium"),
)
_KEYRINGS: Final = (
    *(".local/share/keyrings", ".local/share/kwalletd", ".kde/share/apps/kwallet", ".local/share/gnupg", ".putty"),
    *(".config/keepassxc", ".config/Bitwarden", ".config/1Password", ".config/op", ".local/share/pass", ".electrum"),
    *(".bitcoin", ".ethereum", ".config/solana", ".config/Signal", ".config/Slack", ".config/discord"),
)
_SOCKETS: Final = (
    *(".cache/git/credential", ".docker/run", ".docker/desktop", ".colima", ".1password", ".emacs.d/server"),
    *(".config/systemd", ".cache/keyring", ".rd", ".orbstack", ".lima"),
)
"""Through which programs outside can be made to act."""
_AGENTS: Final = (
    *(".codex/auth.json", ".claude/.credentials.json", ".gemini/oauth_creds.json", ".qwen/oauth_creds.json"),
    ".local/share/opencode",
    *(".config/github-copilot", ".config/anthropic", ".config/openai", ".config/io.datasette.llm/keys.json"),
)
"""Logins to model providers, and sessions, of the user's own agents: what of them is given to ours is a copy."""
_DESKTOP: Final = (".Xauthority", ".ICEauthority", ".vnc", ".config/kdeconnect", ".config/rustdesk", ".config/remmina")
_SHELLS: Final = (
    *(".bashrc", ".bash_profile", ".bash_login", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".env"),
    *(
        ".envrc",
        ".config/fish/config.fish",
        ".config/fish/conf.d",
        ".config/fish/fish_variables",
        ".config/environment.d",
    ),
)
"""Where people put secrets as variables. An agent has a home of its own, so it does not miss them."""
_HISTORIES: Final = (
    *(".bash_history", ".zsh_history", ".local/share/fish/fish_history", ".python_history", ".psql_history"),
    *(".mysql_history", ".sqlite_history", ".node_repl_history", ".lesshst", ".viminfo"),
)
OF_A_USER: Final = (
    *(*_KEYS, *_CLOUDS, *_REGISTRIES, *_DATABASES, *_BROWSERS, *_KEYRINGS),
    *(*_SOCKETS, *_AGENTS, *_DESKTOP, *_SHELLS, *_HISTORIES),
)
"""Relative to a user's home."""
_NAMED: Final = (
    *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG", "KUBECONFIG"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "GNUPGHOME", "GH_CONFIG_DIR", "NETRC"),
    *("NPM_CONFIG_USERCONFIG", "PIP_CONFIG_FILE", "PASSWORD_STORE_DIR", "PGPASSFILE", "XAUTHORITY"),
)
"""Variables by which a user moves one of these elsewhere."""
OF_THE_MACHINE: Final = (
    "/var/run",
    "/run",  # sockets of the user's session and of services: through one, programs are started outside
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private", "/etc/kubernetes"),
    *("/etc/rancher", "/var/lib/kubelet", "/var/lib/docker", "/var/lib/containers", "/var/lib/sudo", "/var/spool"),
    *("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware/efi/efivars", "/sys/fs/bpf", "/sys/fs/pstore"),
    *(
        "/var/mail",
        "/etc/wireguard",
        "/etc/NetworkManager/system-connections",
        "/var/lib/systemd/coredump",
        "/lost+found",
    ),
)
OF_SSH_SERVERS: Final = ("/etc/ssh/ssh_host_*_key",)
"""The same, as patterns."""
PRIVATE: Final = ("/tmp", "/var/tmp")  # noqa: S108  an empty one of its own
STILL_READ: Final = (
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"),  # where resolv.conf leads to
    *("/run/current-system", "/run/wrappers", "/run/opengl-driver"),  # all programs, on NixOS
)
"""Of what is hidden of a machine."""


def of_user(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the private places of a user with this environment; most do not exist."""
    home = environment.get("HOME", "/").rstrip("/")
    moved = {"config": environment.get("XDG_CONFIG_HOME"), "local/share": environment.get("XDG_DATA_HOME")}
    for place in OF_A_USER:
        yield f"{home}/{place}"
        for usual, elsewhere in moved.items():
            if elsewhere and place.startswith(f".{usual}/"):
                yield f"{elsewhere}/{place.removeprefix(f'.{usual}/')}"
    for name in _NAMED:
        yield from filter(None, environment.get(name, "").split(":"))


def of_others(users: str, homes: Iterable[str]) -> Iterator[str]:
    """Yield the homes of other users.

    Args:
        users: the text of /etc/passwd.
        homes: of this user.
    """
    yield from ("/home", "/root")
    for line in users.splitlines():
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdecimal() or not (fields[2] == "0" or 1000 <= int(fields[2]) < 65534):
            continue
        place = fields[5].rstrip("/")
        if place.startswith("/") and not any(f"{home}/".startswith(f"{place}/") for home in homes):
            yield place
