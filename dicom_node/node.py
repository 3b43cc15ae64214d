"""The node: the composition root. Builds the stages, runs each in a thread of its own, stops them in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dicom_node.archive.commitments import Commitments
from dicom_node.archive.database import Database
from dicom_node.archive.digests import Digests
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.index import Index
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.migrate import migrate
from dicom_node.archive.nodes import TELL_EVERY_S, Membership, Turn
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.places import Places
from dicom_node.archive.processes import Processes
from dicom_node.archive.result_views import tell_again
from dicom_node.archive.sealing import Vault
from dicom_node.catalogue import Catalogue, contracts_of_rules
from dicom_node.completion.counts import Counter
from dicom_node.completion.watch import Watch
from dicom_node.delivery.courier import Courier
from dicom_node.delivery.kinds import kinds_of_destinations
from dicom_node.delivery.review import Review
from dicom_node.dimse import worklist as worklists
from dicom_node.dimse.commitment import send_report
from dicom_node.dimse.find import images_reported
from dicom_node.domain.contract import ModelContract
from dicom_node.errors import DicomNodeError, LedgerError
from dicom_node.jobs.correct import Corrector
from dicom_node.jobs.notify import Notifier
from dicom_node.jobs.orders import Worklist
from dicom_node.jobs.plan import Planner
from dicom_node.jobs.prerequisite import told
from dicom_node.jobs.publish import Publisher
from dicom_node.jobs.reconcile import Reconciler
from dicom_node.peer_settings import TOLD
from dicom_node.reception.commitment import Reporter, Verifier
from dicom_node.reception.digester import Digester
from dicom_node.reception.hints import HintListener
from dicom_node.reception.indexer import Indexer
from dicom_node.rules.explain import explain as explained
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings
from dicom_node.sidecars.ehr.mapping import load as load_mapping
from dicom_node.sidecars.ehr.pull import Puller
from dicom_node.sidecars.gather import Gatherer
from dicom_node.web.app import serve_web

log = logging.getLogger(__name__)

PASS_PAUSE_S = 0.2
DIGEST_PAUSE_S = 0.5
LOOK_PAUSE_S = 0.1  # between looks whether somebody has written to the ledger
LONGEST_PAUSE_S = 10.0  # of one that knows when there may be work
IDLE_PAUSE_S = 2.0  # of a stage that had nothing to do, while nobody writes to the ledger
# Of several nodes all look at files, times and leases; the rest of the work is done by one at a time.
IN_EVERY_NODE = ("indexer", "digester", "completion", "reconciler", "membership")
NOTICE_PAUSE_S = 1.0
REVIEW_PAUSE_S = 30.0
SILENT_AFTER_S = 60.0  # a stage that has not finished a pass for so long counts as stalled


class Changes:
    """Tells stages when something was written to the ledger. One thread asks for all of them."""

    def __init__(self, database: Database) -> None:
        self._ask = database.changes()
        self._told = threading.Condition()
        self._number = 0
        self._ended = False
        self._last = self._look()

    def watch(self, stop: threading.Event) -> None:
        """Ask again and again until ``stop``."""
        while not stop.wait(LOOK_PAUSE_S):
            found = self._look()
            if found is None or found != self._last:
                self._last = found
                self._tell()
        self._ended = True
        self._tell()

    def number(self) -> int:
        """The same as before while nobody writes."""
        return self._number

    def wait(self, seen: int, most_s: float) -> None:
        """Wait until the number is no longer ``seen``, or for so long, or until the watch has ended."""
        with self._told:
            self._told.wait_for(lambda: self._number != seen or self._ended, most_s)

    def _look(self) -> int | None:
        """None where the ledger cannot be asked: whoever looks will be told why."""
        try:
            return self._ask()
        except LedgerError:
            return None

    def _tell(self) -> None:
        with self._told:
            self._number += 1
            self._told.notify_all()


@dataclass
class Stage:
    """One stage: ``tick`` is called again and again, ``interval_s`` after the last pass.

    With ``idle_s`` the pause grows to that, after a pass that found nothing to do and until the ledger changes.
    """

    name: str
    tick: Callable[[], object]
    interval_s: float
    idle_s: float = 0.0
    changes: Changes | None = None
    due_s: Callable[[], float] | None = None  # after a pass: seconds until there may be work though nothing changes
    turn: Turn | None = None  # of several nodes only one does this at a time
    last_pass: float = 0.0
    trouble: str = ""

    def run(self, stop: threading.Event) -> None:
        """Pass after pass until ``stop``; trouble is told and the next pass tries again."""
        while not stop.is_set():
            seen, done = self.changes.number() if self.changes else 0, None
            try:
                if self.turn is None or self.turn.ours():
                    done = self.tick()
                self.trouble = ""
            except DicomNodeError as error:
                self._tell(error.message)
            except Exception as error:
                log.exception("%s: unforeseen", self.name)
                self._tell(f"{type(error).__name__}: {error}")
            self.last_pass = time.monotonic()
            stop.wait(self.interval_s)
            if not done and not stop.is_set():
                self._rest(seen, stop)

    def _rest(self, seen: int, stop: threading.Event) -> None:
        longest_s = self.idle_s if self.due_s is None or self.trouble else min(self.idle_s, self.due_s())
        left_s = longest_s - (time.monotonic() - self.last_pass)
        if left_s > 0 and self.changes:
            self.changes.wait(seen, left_s)
        elif left_s > 0:
            stop.wait(left_s)

    def health(self) -> str:
        """``ok``, or what is wrong."""
        if self.last_pass and time.monotonic() - self.last_pass > SILENT_AFTER_S:
            return f"silent for {time.monotonic() - self.last_pass:.0f} s"
        return self.trouble or "ok"

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("%s: %s", self.name, trouble)
        self.trouble = trouble


class Node:
    """Stages and pages of one node, wired together."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        settings = configuration.settings
        catalogue = Catalogue.load(settings)
        contracts = contracts_of_rules(configuration, catalogue)
        rules = self._rules = RuleSet.compile(configuration, contracts)
        self.database = Database(settings.database.url, settings.node.data_dir, Vault.of(settings.ehr.seal))
        migrate(self.database)
        self._membership = Membership(self.database, settings.node)
        self._membership.enter()
        self.ledger = Ledger(self.database, settings.worker.maximum_attempts, settings.worker.at_once)
        self.parcels = Parcels(self.database)
        self.index = Index(self.database, settings.node.data_dir)
        self._hints = HintListener(Places(settings.node.data_dir).hints)
        self._publisher = Publisher(settings)
        indexer = Indexer(self.index, ObjectStore(settings.node.data_dir), self._hints, shared=bool(settings.node.name))
        planner = Planner(settings, self.database, self.ledger, rules, self.index.study_view)
        destinations = kinds_of_destinations(settings)
        self._courier = Courier(settings, self.parcels, destinations)
        limits = [contract.resources.time_limit_s for contract in contracts.values()]
        routine_wait_s = settings.worker.routine_wait_minutes * 60
        reconciler = Reconciler(self.ledger, Processes(self.database), self._publisher, limits, routine_wait_s)
        counter = Counter(self.database, settings, partial(images_reported, tls=settings.tls))
        worklist = Worklist(settings, self.database, partial(worklists.items, tls=settings.tls), worklists.issuer_in)
        commitments = Commitments(self.database)
        verifier = Verifier(settings, commitments, self.index, ObjectStore(settings.node.data_dir))
        digester = Digester(Digests(self.database), ObjectStore(settings.node.data_dir))
        watch = Watch(self.database, settings)
        changes = self._changes = Changes(self.database)

        def resting(
            name: str,
            tick: Callable[[], object],
            idle_s: float = IDLE_PAUSE_S,
            due_s: Callable[[], float] | None = None,
        ) -> Stage:
            return Stage(name, tick, PASS_PAUSE_S, idle_s, changes, due_s)

        self.stages = (
            Stage("indexer", indexer.tick, 0.0),
            Stage("digester", digester.tick, DIGEST_PAUSE_S, LONGEST_PAUSE_S, changes, digester.due_s),
            resting("completion", watch.tick, LONGEST_PAUSE_S, watch.due_s),
            resting("counts", counter.tick),
            resting("planner", planner.tick, IDLE_PAUSE_S / 2),
            resting("gather", self._gatherer(settings, contracts).tick),
            resting("orders", worklist.tick),
            resting("reconciler", reconciler.tick),
            Stage("notifier", Notifier(settings, self.database).tick, NOTICE_PAUSE_S),
            Stage("corrector", Corrector(settings, self.database).tick, NOTICE_PAUSE_S, 5 * NOTICE_PAUSE_S, changes),
            resting("courier", self._courier.tick, IDLE_PAUSE_S / 2),
            Stage("statuses", self._tell_again(settings), NOTICE_PAUSE_S, 5 * NOTICE_PAUSE_S, changes),
            Stage("review", Review(settings, self.parcels, destinations).tick, REVIEW_PAUSE_S),
            resting("commitment", verifier.tick),
            resting("commitment reports", Reporter(settings, commitments, partial(send_report, tls=settings.tls)).tick),
            Stage("membership", self._membership.tell, TELL_EVERY_S),
        )
        if settings.node.name:
            for stage in self.stages:
                if stage.name not in IN_EVERY_NODE:
                    stage.turn = Turn(self.database, stage.name)

    def _gatherer(self, settings: Settings, contracts: Mapping[str, ModelContract]) -> Gatherer:
        renewing = [rule.name for rule in settings.rules if rule.late_inputs == "supersede"]
        zone = settings.node.time_zone
        return Gatherer(settings.ehr, self.database, contracts, self._ask(settings), zone, renewing)

    def _tell_again(self, settings: Settings) -> Callable[[], object]:
        told = [peer.name for peer in settings.peers if peer.kind in TOLD]
        return partial(tell_again, self.database, told, "courier")

    def _ask(self, settings: Settings) -> Callable[[str, str, Collection[str]], str] | None:
        """Asks the servers of the record; None: there are none."""
        mapping = load_mapping(settings.ehr.mapping)
        store = ObjectStore(settings.node.data_dir)
        return Puller(settings.ehr, self.database, store, mapping).ask if settings.ehr.servers else None

    def run(self, stop: threading.Event) -> None:
        """Run every stage and the pages until ``stop``."""
        threads = [threading.Thread(target=stage.run, args=(stop,), name=stage.name) for stage in self.stages]
        threads.append(threading.Thread(target=self._changes.watch, args=(stop,), name="changes"))
        for thread in threads:
            thread.start()
        settings = self.configuration.settings
        try:
            serve_web(settings, self.database, self.ledger, self.parcels, self.health, stop, self.explain)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self._courier.close()
            self._leave()
            self._hints.close()
            self._publisher.close()
            self.database.close()

    def _leave(self) -> None:
        """Let other nodes take over at once; where the ledger does not answer they do so a little later."""
        try:
            for stage in self.stages:
                if stage.turn is not None:
                    stage.turn.release()
            self._membership.leave()
        except LedgerError as error:
            log.warning("%s", error.message)

    def explain(self, study_id: int) -> list[dict[str, Any]]:
        """What every rule says of a study; ``after``: what stands between a rule and its job."""
        view = self.index.study_view(study_id)
        decisions = self._rules.decide_all(view)
        after = told(self.database, self._rules, decisions, view)
        return [{**each, "after": after.get(each["rule"])} for each in explained(decisions)]

    def health(self) -> Mapping[str, str]:
        """Each stage's health: ``ok``, or what is wrong."""
        return {stage.name: stage.health() for stage in self.stages}
