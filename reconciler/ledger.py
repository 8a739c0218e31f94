"""What must be remembered of each project, on disk: one small file in its sandbox.

Belongs here: reading and replacing ledgers. Does not belong here: deciding what to remember (`reconcile`, `restarts`).
One file a project, so that a broken one harms nobody else. A broken one is set aside, never overwritten; what was
published of it is taken up again, and the loss is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from reconciler import files, published, settings, swap
from reconciler.facts import Ledger, RestartRecord

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from reconciler.settings import Home
    from reconciler.spec import Spec


class Ledgers:
    """All ledgers, cached: this process is the only writer while it holds the controller's lock.

    What is remembered is in its file once it was flushed: a pass does that before each action and at its end. A dry one
    (a plan without a controller) remembers without writing.
    """

    def __init__(self, home: Home, *, dry: bool = False) -> None:
        self._home = home
        self._dry = dry
        self._cache: dict[str, Ledger] = {}
        self._unsaved: set[str] = set()
        self._unsynced: set[str] = set()
        self._failed: dict[str, str] = {}
        self._losses: dict[str, str] = {}

    def names(self, but: Container[str] = ()) -> set[str]:
        """Every project that has one on disk, but these."""
        try:
            names = os.listdir(self._home.sandboxes)
        except OSError:  # not there yet, or unreadable for now
            return set()
        others = [name for name in names if name not in but]
        return {name for name in others if os.path.isfile(f"{self._home.sandboxes}/{name}/run/ledger.json")}

    def get(self, name: str) -> Ledger | None:
        """The ledger of one project, None when it has none."""
        if name not in self._cache:
            path = self._home.sandbox(name).ledger
            try:
                self._cache[name] = _read(json.loads(swap.read(str(path))))
            except OSError:
                return None
            except (ValueError, TypeError, AttributeError, RecursionError):
                aside = path.with_name(f"ledger.broken-{time.time_ns()}.json")
                if not self._dry:
                    with contextlib.suppress(OSError):
                        path.replace(aside)
                self._salvage(name, f"{path} was broken, and is set aside as {aside.name}")
        return self._cache[name]

    def loss(self, name: str) -> str:
        """A sentence about what of a ledger was lost since this process began; empty when nothing was."""
        return self._losses.get(name, "")

    def _salvage(self, name: str, what: str) -> Ledger:
        """A new ledger from what was published last: ports, and how often services were restarted."""
        services = _published(self._home, name)
        ledger = Ledger(
            uid=uuid.uuid4().hex,
            ports={service: told["port"] for service, told in services.items() if told["port"]},
            restarts={
                service: RestartRecord(count=told["restarts"], last_exit=told["last_exit"])
                for service, told in services.items()
            },
        )
        kept = "its ports and restart counts are those published last" if services else "restarts are counted anew"
        self._losses[name] = f"{what}: {kept}"
        self.put(name, ledger)
        return ledger

    def put(self, name: str, ledger: Ledger) -> None:
        """Remember. The same again costs nothing."""
        if self._cache.get(name) != ledger:
            self._cache[name] = ledger
            self._unsaved.add(name)

    def unsaved(self, name: str) -> bool:
        """Whether something was remembered that is in no file, and there is a place for it."""
        return name in self._unsaved and os.path.isdir(self._home.sandbox(name).run)

    def flush(self, name: str) -> None:
        """Write what is remembered, where the sandbox exists: from then on it survives us. 0.2 ms."""
        ledger, path = self._cache.get(name), self._home.sandbox(name).ledger
        if ledger is None or self._dry or not os.path.isdir(path.parent):
            return
        self._unsaved.discard(name)
        self._failed.pop(name, None)
        self._unsynced.add(name)
        try:
            swap.swap_in(str(path), json.dumps(asdict(ledger)).encode(), durable=False)
        except OSError as error:
            # On a full disk the controller goes on by what it knows, says so, and tries again.
            self._failed[name] = f"cannot write {path}: {(error.strerror or str(error)).lower()}; it is tried again"

    def sync(self) -> None:
        """Make what was written survive a power cut too. Blocking; as good as can be."""
        while self._unsynced:
            with contextlib.suppress(OSError, KeyError):  # this may be done in two threads at the end
                files.sync(self._home.sandbox(self._unsynced.pop()).ledger)

    @property
    def unwritten(self) -> bool:
        """Whether some could not be written when they should."""
        return bool(self._failed)

    def save_again(self) -> tuple[str, ...]:
        """Write what could not be written; sentences about what still cannot."""
        for name in list(self._failed):
            self.flush(name)
        return tuple(self._failed.values())

    def close(self) -> None:
        """Write all that is in no file yet."""
        for name in [*self._unsaved, *self._failed]:
            self.flush(name)
        self.sync()

    def update(self, name: str, **changes: Any) -> Ledger:  # noqa: ANN401  the fields of Ledger
        """Remember some fields anew."""
        ledger = replace(self.get(name) or Ledger(uid=uuid.uuid4().hex), **changes)
        self.put(name, ledger)
        return ledger

    def accept(self, name: str, spec: Spec) -> Ledger:
        """Remember this spec as the one in force; a changed one gets the next generation."""
        ledger, sandbox = self.get(name), self._home.sandbox(name)
        if ledger is None and os.path.isdir(sandbox.run) and _published(self._home, name):
            ledger = self._salvage(name, f"{sandbox.ledger} was missing")
        digest = spec.digest()
        if ledger is not None and ledger.digest == digest and not ledger.vanished:
            return ledger
        generation = ledger.generation if ledger else 0
        if ledger is None or ledger.digest != digest:
            generation += 1
        return self.update(
            name, generation=generation, digest=digest, spec=spec.model_dump(mode="json"), vanished=False
        )

    def forget(self, name: str) -> None:
        """The project was destroyed."""
        self._cache.pop(name, None)
        self._unsaved.discard(name)
        self._unsynced.discard(name)
        self._failed.pop(name, None)
        self._losses.pop(name, None)

    def taken_ports(self, *, but: str) -> set[int]:
        """Every port that another project keeps and does not ask to give up for another."""
        return {
            port
            for name in self.names() | set(self._cache)
            if name != but and (ledger := self.get(name)) is not None
            for service, port in ledger.ports.items()
            if (ledger.spec.get(service) or {}).get("port") in {None, port}
        }


def _published(home: Home, name: str) -> dict[str, Mapping[str, Any]]:
    """The services of a project of which something worth remembering was published last."""
    try:
        status = published.read(home).projects.get(name, {})
    except settings.UserError:  # by a newer version
        return {}
    services = {service: status.get(service) or {} for service in ("agent", "bridge")}
    return {service: told for service, told in services.items() if told.get("port") or told.get("restarts")}


def _read(data: dict[str, Any]) -> Ledger:
    """The ledger in this data. Raises where it is none: an agent can write this file."""
    known = {key: value for key, value in data.items() if key in Ledger.__dataclass_fields__}
    records = {service: RestartRecord(**record) for service, record in known.pop("restarts", {}).items()}
    ledger = Ledger(**known, restarts=records)
    ports = all(isinstance(port, int) for port in ledger.ports.values())
    fields: tuple[object, object] = (ledger.uid, ledger.generation)
    if not (isinstance(fields[0], str) and isinstance(fields[1], int) and ports):
        raise TypeError("a field of another type")
    return Ledger(**{**known, "spec": dict(ledger.spec)}, restarts=records)
