"""Rules without a model: what arrives is sent on, as it is, to the peers they name."""

from __future__ import annotations

import logging
from collections.abc import Callable

from dicom_node.archive.database import Database
from dicom_node.archive.forwarding import Forwarded, Order, forward, owed
from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.rules.match import Decision
from dicom_node.settings import RuleSettings, Settings

log = logging.getLogger(__name__)

Waits = Callable[[RuleSettings, StudyView, SeriesView], str]  # why a series may not be taken yet; empty when it may


class Forwarder:
    """Plans parcels of received objects. Asked again it plans what has come since."""

    def __init__(self, settings: Settings, database: Database, waits: Waits) -> None:
        self._settings = settings
        self._database = database
        self._waits = waits

    def apply(self, decision: Decision, study: StudyView) -> str:
        """Send on what may go now; what was done, and what is waited for, in words."""
        rule = decision.rule.settings
        ready, waiting = self._ready(rule, study, decision.forwarded)
        told = [self._forward(rule, study, ready, name) for name in rule.send_to] if ready else []
        if waiting:
            told.append(f"waiting: {waiting}")
        return "; ".join(told)

    def owed(self, decision: Decision, study: StudyView) -> int:
        """Objects that may go now and that were overlooked: counted anew, not taken from what was planned."""
        rule = decision.rule.settings
        if not decision.forwarded:
            return 0
        ready, _ = self._ready(rule, study, decision.forwarded)
        return sum(owed(self._database, self._order(rule, study, ready, name)) for name in rule.send_to if ready)

    def _ready(
        self, rule: RuleSettings, study: StudyView, chosen: tuple[SeriesView, ...]
    ) -> tuple[list[SeriesView], str]:
        """The series that may go now, and why the first of the others may not."""
        if rule.trigger == "arrival":
            return list(chosen), ""
        ready, waiting = [], ""
        for series in chosen:
            why = self._waits(rule, study, series)
            if not why:
                ready.append(series)
            waiting = waiting or why
        return ready, waiting

    def _forward(self, rule: RuleSettings, study: StudyView, ready: list[SeriesView], destination: str) -> str:
        done = forward(self._database, self._order(rule, study, ready, destination))
        if done.parcels:
            log.info("study %d: %d objects planned for %s", study.id, done.planned, destination)
        return _in_words(done, destination)

    def _order(self, rule: RuleSettings, study: StudyView, ready: list[SeriesView], destination: str) -> Order:
        peer = self._settings.peer(destination)
        series = None if rule.forward == "study" else tuple(found.id for found in ready)
        return Order(study.id, rule.name, destination, peer.ae_title if peer else "", series, rule.sop_classes)


def _in_words(done: Forwarded, destination: str) -> str:
    told = []
    if done.parcels:
        numbers = ", ".join(map(str, done.parcels))
        told.append(f"planned parcel {numbers} with {done.planned} objects for {destination}")
    if done.before:
        told.append(f"{done.before} objects go to {destination}" + (" already" if done.parcels else ""))
    if done.kept:
        told.append(f"{done.kept} objects do not go to {destination}, which has them: a loop was cut")
    return ", ".join(told) or f"nothing in it to send on to {destination}"
