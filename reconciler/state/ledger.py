"""Store what must be remembered of each project: one small file in its sandbox.

With one file per project, a broken one harms nobody else. A broken file is set aside, never overwritten; what can be
read of it is kept, the rest is taken from the published status, and the loss is reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import settings
from reconciler.core.observed import Ledger
from reconciler.state import ledger_data, published
from reconciler.system import exchange_file, files

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from reconciler.core.spec import Spec
    from reconciler.settings import Home
    from reconciler.state.ledger_data import Reading


class Ledgers:
    """All ledgers, cached: this process is the only writer while it holds the controller's lock.

    Changes are on disk after `flush`, which each pass calls before each action and at its end. A dry run (a plan
    without a controller) keeps them in memory.
    """

    def __init__(self, home: Home, *, dry: bool = False) -> None:
        self._home = home
        self._dry = dry
        self._cache: dict[str, Ledger] = {}
        self._unsaved: set[str] = set()
        self._unsynced: set[str] = set()
        self._failed: dict[str, str] = {}
        self._damage: dict[str, str] = {}
        self._unread: set[str] = set()
        """Projects whose file could not be read: it is not replaced before it was read."""

    def names(self, but: Container[str] = ()) -> set[str]:
        """Return every project that has a ledger on disk, except these."""
        try:
            names = os.listdir(self._home.sandboxes)
        except OSError:  # not there yet, or unreadable for now
            return set()
        others = [name for name in names if name not in but]
        return {name for name in others if os.path.isfile(f"{self._home.sandboxes}/{name}/run/ledger.json")}

    def get(self, name: str) -> Ledger | None:
        """Return the ledger of one project; None when it has none, or none that can be read for now."""
        if name not in self._cache:
            path = self._home.sandbox(name).ledger
            try:
                reading = ledger_data.read(_content(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError:
                self._unread.add(name)
                return None
            if reading.whole and not reading.lost:
                self._cache[name] = reading.ledger
            else:
                self._repair(name, path, reading)
        return self._cache[name]

    def _repair(self, name: str, path: Path, reading: Reading) -> None:
        aside = path.with_name(f"ledger.broken-{time.time_ns()}.json")
        if not self._dry:
            with contextlib.suppress(OSError):
                path.replace(aside)
        what = f"its {', '.join(reading.lost)} cannot be used" if reading.whole else "was broken"
        verb = "is" if reading.whole else "and is"
        found = replace(reading.ledger, uid=reading.ledger.uid or uuid.uuid4().hex)
        self._salvage(name, f"{path} {what}: it {verb} set aside as {aside.name}", found, reading.lost)

    def damage(self, name: str) -> str:
        """Return a sentence about what was lost of a ledger since this process began; empty when nothing was."""
        return self._damage.get(name, "")

    def _salvage(self, name: str, what: str, found: Ledger | None = None, lost: Container[str] = ()) -> Ledger:
        """Recover the ledger: what could be read of it, and for the rest what was published last."""
        said = _published(self._home, name)
        ledger = found or Ledger(uid=uuid.uuid4().hex)
        if found is None or "generation" in lost:
            ledger = replace(ledger, generation=said.generation)
        ledger = replace(
            ledger,
            digest=ledger.digest or said.digest,
            ports={**said.ports, **ledger.ports},
            restarts={**said.restarts, **ledger.restarts},
        )
        if found is not None and found.ports:
            kept = "the rest is kept"
        elif said.ports or said.restarts:
            kept = "its ports and restart counts are those published last"
        else:
            kept = "restarts are counted from zero"
        self._damage[name] = f"{what}: {kept}"
        self.put(name, ledger)
        return ledger

    def put(self, name: str, ledger: Ledger) -> None:
        """Store a ledger. Storing an equal one costs nothing."""
        if self._cache.get(name) != ledger:
            self._cache[name] = ledger
            self._unsaved.add(name)

    def unsaved(self, name: str) -> bool:
        """Tell whether a change is in no file yet and there is a place for it."""
        return name in self._unsaved and os.path.isdir(self._home.sandbox(name).run)

    def flush(self, name: str) -> None:
        """Write what changed, where the sandbox exists. 0.2 ms."""
        ledger, path = self._cache.get(name), self._home.sandbox(name).ledger
        if ledger is None or self._dry or not os.path.isdir(path.parent):
            return
        self._unsaved.discard(name)
        self._failed.pop(name, None)
        self._unsynced.add(name)
        try:
            if name in self._unread:
                ledger = self._merged(name, path, ledger)
            exchange_file.swap_in(str(path), ledger_data.encode(ledger), durable=False)
        except OSError as error:
            # On a full disk the controller goes on by what it knows, says so, and tries again.
            self._failed[name] = f"cannot write {path}: {(error.strerror or str(error)).lower()}; it is tried again"

    def _merged(self, name: str, path: Path, ledger: Ledger) -> Ledger:
        """Merge this ledger, made while the file could not be read, with what the file says after all.

        Raises:
            OSError: it still cannot be read.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            there = ledger_data.read(_content(path)).ledger
            changed = ledger.digest != there.digest
            ledger = replace(
                ledger,
                uid=there.uid or ledger.uid,
                generation=max(ledger.generation, there.generation + changed),
                ports={**ledger.ports, **there.ports},
                ref=there.ref if ledger.ref is None else ledger.ref,
                restarts={**there.restarts, **ledger.restarts},
            )
            self._cache[name] = ledger
        self._unread.discard(name)
        return ledger

    def take_unsynced(self) -> list[Path]:
        """Take the files that are to be synced, for `sync_files`. Call it on the event loop, where they are added."""
        names, self._unsynced = self._unsynced, set()
        return [self._home.sandbox(name).ledger for name in names]

    def sync(self) -> None:
        """Sync what was written to disk. Blocking; as far as possible."""
        sync_files(self.take_unsynced())

    @property
    def unwritten(self) -> bool:
        """Tell whether a write has failed and is still to be repeated."""
        return bool(self._failed)

    def save_again(self) -> tuple[str, ...]:
        """Repeat failed writes; return sentences about those that fail again."""
        for name in list(self._failed):
            self.flush(name)
        return tuple(self._failed.values())

    def close(self) -> None:
        """Write everything that is in no file yet."""
        for name in [*self._unsaved, *self._failed]:
            self.flush(name)
        self.sync()

    def update(self, name: str, **changes: Any) -> Ledger:  # noqa: ANN401  the fields of Ledger
        """Set some fields."""
        ledger = replace(self.get(name) or Ledger(uid=uuid.uuid4().hex), **changes)
        self.put(name, ledger)
        return ledger

    def accept(self, name: str, spec: Spec) -> Ledger:
        """Store this spec as the one in force; a changed one gets the next generation."""
        ledger, sandbox = self.get(name), self._home.sandbox(name)
        lost = ledger is None and name not in self._unread and os.path.isdir(sandbox.run)
        said = _published(self._home, name) if lost else None
        if said and (said.ports or said.restarts):
            ledger = self._salvage(name, f"{sandbox.ledger} was missing")
        digest, data = spec.digest(), spec.model_dump(mode="json")
        if ledger is not None and (ledger.digest, ledger.spec, ledger.vanished) == (digest, data, False):
            return ledger
        generation = ledger.generation if ledger else 0
        if ledger is None or ledger.digest != digest:
            generation += 1
        return self.update(name, generation=generation, digest=digest, spec=data, vanished=False)

    def forget(self, name: str) -> None:
        """Remove the ledger of a destroyed project."""
        self._cache.pop(name, None)
        self._unsaved.discard(name)
        self._unsynced.discard(name)
        self._failed.pop(name, None)
        self._damage.pop(name, None)
        self._unread.discard(name)

    def taken_ports(self, *, but: str, ranges: Mapping[str, tuple[int, int]] | None = None) -> set[int]:
        """Return every port that another project keeps and is not about to release.

        Args:
            but: whose are left out.
            ranges: in force, by service: nobody gets the port that it asks for outside of them.
        """
        taken = set()
        for name in self.names() | set(self._cache):
            ledger = self.get(name) if name != but else None
            for service, port in ledger.ports.items() if ledger else ():
                asked = ledger_data.fixed_port(ledger, service) if ledger else None
                low, high = (ranges or {}).get(service, (1, 65535))
                if asked == port or not isinstance(asked, int) or not low <= asked <= high:
                    taken.add(port)
        return taken


def sync_files(paths: list[Path]) -> None:
    """Sync these files to disk, as far as possible. Blocking."""
    for path in paths:
        with contextlib.suppress(OSError):
            files.sync(path)


def _published(home: Home, name: str) -> Ledger:
    """Return what was last published of a project, as far as a ledger has it; its uid is empty."""
    try:
        found = published.read(home).projects.get(name)
    except settings.UserError:  # by a newer version
        found = None
    status = found if isinstance(found, dict) else {}
    services = {service: status[service] for service in ("agent", "bridge") if isinstance(status.get(service), dict)}
    data = {
        "generation": status.get("generation"),
        "digest": status.get("spec_digest"),
        "ports": {service: each["port"] for service, each in services.items() if each.get("port")},
        "restarts": {
            service: {"count": each.get("restarts"), "last_exit": each.get("last_exit")}
            for service, each in services.items()
            if each.get("restarts")
        },
    }
    return ledger_data.read(json.dumps(data).encode()).ledger


def _content(path: Path) -> bytes:
    """Return the content of the file; of one that is far too long, enough to tell."""
    if path.stat().st_size > ledger_data.MAX_BYTES:
        with path.open("rb") as file:
            return file.read(ledger_data.MAX_BYTES + 1)
    return exchange_file.read(str(path))
