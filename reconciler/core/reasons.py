"""Every reason of a condition or an event: the API of status and history.

Code never builds a reason from a name, nor compares it with a string.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a condition is as it is: one word in PascalCase, which programs may rely on."""

    RUNNING = "Running"
    STOPPED = "Stopped"
    DESTROYED = "Destroyed"
    IDLE = "Idle"
    NOT_STALLED = "NotStalled"
    RECONCILING = "Reconciling"
    OBSERVING = "Observing"
    NOT_SEEN_YET = "NotSeenYet"
    WRITTEN = "Written"
    SPEC_INVALID = "SpecInvalid"
    SPEC_MISSING = "SpecMissing"
    OBSERVE_FAILED = "ObserveFailed"
    NOT_CONVERGING = "NotConverging"
    WAITING_FOR_SECRETS = "WaitingForSecrets"
    WAITING_FOR_KEY = "WaitingForKey"
    KEY_INVALID = "KeyInvalid"
    NO_ACCESS = "NoAccess"
    REPO_BROKEN = "RepoBroken"
    GIT_URL_CHANGED = "GitUrlChanged"
    GIT_UNREACHABLE = "GitUnreachable"
    GIT_FAILED = "GitFailed"
    GIT_MISCONFIGURED = "GitMisconfigured"
    HOST_KEY_CHANGED = "HostKeyChanged"
    HOST_KEY_UNKNOWN = "HostKeyUnknown"
    CERTIFICATE_REFUSED = "CertificateRefused"
    REPOSITORY_DAMAGED = "RepositoryDamaged"
    CHECKOUT_FAILED = "CheckoutFailed"
    REF_NOT_FOUND = "RefNotFound"
    REF_CHANGE_BLOCKED = "RefChangeBlocked"
    DISK_FULL = "DiskFull"
    CLONING = "Cloning"
    TOOLCHAIN_INVALID = "ToolchainInvalid"
    PROVIDING_AGENT = "ProvidingAgent"
    CONFINEMENT_UNAVAILABLE = "ConfinementUnavailable"
    LIMITS_UNAVAILABLE = "LimitsUnavailable"
    PORT_TAKEN = "PortTaken"
    PORT_OUT_OF_RANGE = "PortOutOfRange"
    NO_FREE_PORT = "NoFreePort"
    WAITING_TO_START = "WaitingToStart"
    STARTING = "Starting"
    PROVING_READY = "ProvingReady"
    NOT_READY = "NotReady"
    STOPPING = "Stopping"
    ENDING = "Ending"
    ENDED = "Ended"
    EXITED = "Exited"
    CRASH_LOOP = "CrashLoop"
    UNRESPONSIVE = "Unresponsive"
    WEDGED = "Wedged"
    CONFIG_INVALID = "ConfigInvalid"
    UNPROTECTED = "Unprotected"
    AUTH_FAILED = "AuthFailed"
    WAITING_FOR_PERMISSION = "WaitingForPermission"
    WAITING_FOR_ANSWER = "WaitingForAnswer"
    PROVIDER_UNREACHABLE = "ProviderUnreachable"
    PROVIDER_REFUSED = "ProviderRefused"
    DESTROY_BLOCKED = "DestroyBlocked"
    PREPARE_SANDBOX = "PrepareSandbox"
    PREPARE_SANDBOX_FAILED = "PrepareSandboxFailed"
    WRITE_SECRETS = "WriteSecrets"
    WRITE_SECRETS_FAILED = "WriteSecretsFailed"
    GENERATE_KEY = "GenerateKey"
    GENERATE_KEY_FAILED = "GenerateKeyFailed"
    CLONE_REPO = "CloneRepo"
    CLONE_REPO_FAILED = "CloneRepoFailed"
    CHECKOUT_REF = "CheckoutRef"
    CHECKOUT_REF_FAILED = "CheckoutRefFailed"
    PROVIDE_TOOLCHAIN = "ProvideToolchain"
    PROVIDE_TOOLCHAIN_FAILED = "ProvideToolchainFailed"
    RESERVE_PORT = "ReservePort"
    RESERVE_PORT_FAILED = "ReservePortFailed"
    APPLY_LIMITS = "ApplyLimits"
    APPLY_LIMITS_FAILED = "ApplyLimitsFailed"
    START_SERVICE = "StartService"
    START_SERVICE_FAILED = "StartServiceFailed"
    AWAIT_READY = "AwaitReady"
    AWAIT_READY_FAILED = "AwaitReadyFailed"
    ADOPT_SERVICE = "AdoptService"
    ADOPT_SERVICE_FAILED = "AdoptServiceFailed"
    STOP_SERVICE = "StopService"
    STOP_SERVICE_FAILED = "StopServiceFailed"
    MOVE_TO_TRASH = "MoveToTrash"
    MOVE_TO_TRASH_FAILED = "MoveToTrashFailed"
    REMOVE_SPEC = "RemoveSpec"
    REMOVE_SPEC_FAILED = "RemoveSpecFailed"
    # Of events only:
    SPEC_ACCEPTED = "SpecAccepted"
    SPEC_VANISHED = "SpecVanished"
    SPEC_RETURNED = "SpecReturned"
    RECONCILE_REQUESTED = "ReconcileRequested"
    SERVICE_STARTED = "ServiceStarted"
    SERVICE_ENDED = "ServiceEnded"
    WAITING_FOR_PERSON = "WaitingForPerson"
    ANSWERED = "Answered"
    CONTROLLER_STARTED = "ControllerStarted"
    CONTROLLER_STOPPED = "ControllerStopped"
    CONTROLLER_UPGRADED = "ControllerUpgraded"


SENTENCES: Final[dict[Reason, str]] = {
    Reason.RUNNING: "The project is as desired: both services run and have proved themselves ready.",
    Reason.STOPPED: "The project is as desired: nothing of it runs, everything is kept.",
    Reason.DESTROYED: "The project is as desired: nothing of it is left.",
    Reason.IDLE: "Nothing is being done.",
    Reason.NOT_STALLED: "Nothing waits for a person.",
    Reason.RECONCILING: "Something is being done.",
    Reason.OBSERVING: "The project is being observed.",
    Reason.NOT_SEEN_YET: "The controller has not read the spec yet.",
    Reason.WRITTEN: "The spec is written; the controller has not acted on it yet.",
    Reason.SPEC_INVALID: "The spec file cannot be accepted; the last accepted one stays in force.",
    Reason.SPEC_MISSING: "Most spec files vanished at once; nothing is stopped until it is confirmed.",
    Reason.OBSERVE_FAILED: "The project could not be observed; it is retried.",
    Reason.NOT_CONVERGING: "The same action was planned again and again; it is retried later.",
    Reason.WAITING_FOR_SECRETS: "The `.env` is missing or cannot be used; set it with `opencode-manager secrets NAME`.",
    Reason.WAITING_FOR_KEY: "The repository refuses the deploy key; add the public key to it.",
    Reason.KEY_INVALID: "The SSH key cannot be used.",
    Reason.NO_ACCESS: "The repository cannot be reached with what there is.",
    Reason.REPO_BROKEN: "What lies in the place of the clone is no clone of ours.",
    Reason.GIT_URL_CHANGED: "The spec names another repository than the clone was made from.",
    Reason.GIT_UNREACHABLE: "The git server does not answer; it is retried.",
    Reason.GIT_FAILED: "Git failed; it is retried.",
    Reason.GIT_MISCONFIGURED: "Git cannot work as it is set up on this machine.",
    Reason.HOST_KEY_CHANGED: "The SSH server shows another key than before.",
    Reason.HOST_KEY_UNKNOWN: "The SSH server cannot be identified.",
    Reason.CERTIFICATE_REFUSED: "The server's certificate is not accepted.",
    Reason.REPOSITORY_DAMAGED: "The repository or the clone is damaged.",
    Reason.CHECKOUT_FAILED: "The repository was transferred, but its files could not be written.",
    Reason.REF_NOT_FOUND: "The repository has no such branch, tag or commit.",
    Reason.REF_CHANGE_BLOCKED: "Work in the clone is in the way of another ref.",
    Reason.DISK_FULL: "The disk is full; it goes on when there is room.",
    Reason.CLONING: "The repository is being cloned.",
    Reason.TOOLCHAIN_INVALID: "The agent's program cannot be used.",
    Reason.PROVIDING_AGENT: "The agent's program is being installed.",
    Reason.CONFINEMENT_UNAVAILABLE: "The agent must be confined, and cannot be on this machine.",
    Reason.LIMITS_UNAVAILABLE: "The project's limits must be enforced, and cannot be on this machine.",
    Reason.PORT_TAKEN: "Another process listens on the port.",
    Reason.PORT_OUT_OF_RANGE: "The fixed port is outside of the range in force.",
    Reason.NO_FREE_PORT: "No port of the range is free.",
    Reason.WAITING_TO_START: "Other agents are starting first.",
    Reason.STARTING: "A service is being started.",
    Reason.PROVING_READY: "A service listens and is being proved ready.",
    Reason.NOT_READY: "A service did not become ready in its time; it is retried.",
    Reason.STOPPING: "A service is being stopped.",
    Reason.ENDING: "What is left of an earlier run is ending.",
    Reason.ENDED: "A service ended while it started.",
    Reason.EXITED: "A service ended, and its restart policy does not start it again.",
    Reason.CRASH_LOOP: "A service ends again and again; each restart waits longer.",
    Reason.UNRESPONSIVE: "A service misses its health probes.",
    Reason.WEDGED: "A service is silent and idle, and its restart policy does not start it again.",
    Reason.CONFIG_INVALID: "The agent refuses the project's configuration.",
    Reason.UNPROTECTED: "A service answers without its password.",
    Reason.AUTH_FAILED: "A service refuses its password.",
    Reason.WAITING_FOR_PERMISSION: "The agent asks for a permission.",
    Reason.WAITING_FOR_ANSWER: "The agent asks a question.",
    Reason.PROVIDER_UNREACHABLE: "The model provider does not answer the agent.",
    Reason.PROVIDER_REFUSED: "The model provider refuses the agent.",
    Reason.DESTROY_BLOCKED: "Destroying would lose work that was not pushed.",
    Reason.PREPARE_SANDBOX: "The sandbox is made next.",
    Reason.PREPARE_SANDBOX_FAILED: "The sandbox could not be made.",
    Reason.WRITE_SECRETS: "A `.env` is made next.",
    Reason.WRITE_SECRETS_FAILED: "The `.env` could not be made.",
    Reason.GENERATE_KEY: "The deploy key is made next.",
    Reason.GENERATE_KEY_FAILED: "The deploy key could not be made.",
    Reason.CLONE_REPO: "The repository is cloned next.",
    Reason.CLONE_REPO_FAILED: "The repository could not be cloned.",
    Reason.CHECKOUT_REF: "The ref is checked out next.",
    Reason.CHECKOUT_REF_FAILED: "The ref could not be checked out.",
    Reason.PROVIDE_TOOLCHAIN: "The agent's program is installed next.",
    Reason.PROVIDE_TOOLCHAIN_FAILED: "The agent's program could not be installed.",
    Reason.RESERVE_PORT: "A port is reserved next.",
    Reason.RESERVE_PORT_FAILED: "No port could be reserved.",
    Reason.APPLY_LIMITS: "What runs gets its new limits next.",
    Reason.APPLY_LIMITS_FAILED: "What runs could not get its new limits.",
    Reason.START_SERVICE: "A service is started next.",
    Reason.START_SERVICE_FAILED: "A service could not be started.",
    Reason.AWAIT_READY: "A running service is proved ready next.",
    Reason.AWAIT_READY_FAILED: "A running service could not be proved ready.",
    Reason.ADOPT_SERVICE: "A service gets a new keeper next.",
    Reason.ADOPT_SERVICE_FAILED: "A service could not be adopted.",
    Reason.STOP_SERVICE: "A service is stopped next.",
    Reason.STOP_SERVICE_FAILED: "A service could not be stopped.",
    Reason.MOVE_TO_TRASH: "The sandbox is moved to the trash next.",
    Reason.MOVE_TO_TRASH_FAILED: "The sandbox could not be moved to the trash.",
    Reason.REMOVE_SPEC: "The tombstone is removed next.",
    Reason.REMOVE_SPEC_FAILED: "The tombstone could not be removed.",
    Reason.SPEC_ACCEPTED: "A spec was accepted and is in force.",
    Reason.SPEC_VANISHED: "A spec file is missing; its project is stopped, and everything is kept.",
    Reason.SPEC_RETURNED: "A spec file that was missing is there again, and in force.",
    Reason.RECONCILE_REQUESTED: "The same spec was written again, or its file touched, which requests a pass.",
    Reason.SERVICE_STARTED: "A service was started.",
    Reason.SERVICE_ENDED: "A service ended, by itself or as requested.",
    Reason.WAITING_FOR_PERSON: "Something in the project began to wait for a person: `needs` shows it.",
    Reason.ANSWERED: "Somebody answered what waited for a person.",
    Reason.CONTROLLER_STARTED: "The controller began to reconcile.",
    Reason.CONTROLLER_STOPPED: "The controller ended; what runs goes on.",
    Reason.CONTROLLER_UPGRADED: "The controller is of another version than the one before.",
}
"""What each says, for people; the reference page is made of these."""


def page() -> str:
    """Return the reference page of all reasons, in Markdown."""
    rows = "".join(f"| `{reason}` | {sentence} |\n" for reason, sentence in sorted(SENTENCES.items()))
    what = "Each condition in `status`, and each line of `events`, has one of these."
    return f"# Reasons\n\n{what}\n\n| reason | means |\n|---|---|\n{rows}"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  a program's output
