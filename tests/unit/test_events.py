"""The event sink: who subscribed is called, in order, with events of that kind only."""

from __future__ import annotations

from reconciler.controller.events import SpecChanged
from reconciler.core.observed import Health, Probe, Service
from reconciler.engines.base import Event, Events, ProjectDisturbed, ProjectGone, ServiceProbed


def test_subscribers_get_events_of_their_kind_in_order() -> None:
    """Each of several, and nothing of what was published before."""
    events, seen = Events(), list[tuple[str, Event]]()
    events.publish(ProjectGone("app"))
    events.subscribe(ProjectGone, lambda event: seen.append(("first", event)))
    events.subscribe(ProjectGone, lambda event: seen.append(("second", event)))

    events.publish(SpecChanged("app"))
    events.publish(ProjectGone("blog"))

    assert seen == [("first", ProjectGone("blog")), ("second", ProjectGone("blog"))]


def test_an_engine_says_what_happened_and_what_is_as_it_was() -> None:
    """Each as an event of its own."""
    events, seen = Events(), list[Event]()
    events.subscribe(ProjectDisturbed, seen.append)
    events.subscribe(ServiceProbed, seen.append)

    events.happened("app")
    events.probed("app", Service.AGENT, probe := Probe(health=Health.READY))

    assert seen == [ProjectDisturbed("app"), ServiceProbed("app", Service.AGENT, probe)]
