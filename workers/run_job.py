"""One job, from lease to commit."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from dicom_node.archive import encodings, refusals, sealing
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.finding_rows import rows_of
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.notices import lateness
from dicom_node.archive.processes import this_process
from dicom_node.archive.results import Outcome
from dicom_node.catalogue import Catalogue
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from dicom_node.domain.identifiers import IMPLEMENTATION_VERSION_NAME, result_uid
from dicom_node.domain.job import Claim, Job
from dicom_node.domain.output import Encoding
from dicom_node.domain.parcel import Artifact
from dicom_node.domain.profile import Companion, Profile
from dicom_node.errors import (
    ConfigurationError,
    ContractError,
    DicomNodeError,
    Fenced,
    InputError,
    LedgerError,
    ModelError,
    ResultError,
)
from dicom_node.settings import Settings
from workers import comparing
from workers.configuration import abilities
from workers.findings import found, not_evaluated
from workers.fusion.risk import FUSION, assess, findings_of
from workers.fusion.vector import NONE, vector
from workers.heartbeat import Heartbeat, Stopwatch
from workers.inference import rungs, scope
from workers.inference.chosen import chosen
from workers.inference.failures import unforeseen
from workers.inference.pool import START_LIMIT_S, HostPool, ModelOutput
from workers.inference.volume import Volume, load_volume
from workers.overlap import STOP_WITHIN_S, Overlap
from workers.results import profiles, readback, restore
from workers.results.encode import encode
from workers.results.records import Predecessor, ResultContext, ResultObject
from workers.stopping import end_at_once

log = logging.getLogger(__name__)

T = TypeVar("T")
LEDGER_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """A job whose model has run, or was not to be run; its result is still to be written."""

    contract: ModelContract
    volume: Volume  # of the first role
    output: ModelOutput | None
    outside: str  # why the model does not hold for this volume or patient, where there is no output
    notes: tuple[str, ...]  # on what else it was given
    watch: Stopwatch


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What is encoded."""

    job: Job  # that does it
    found_by: Job  # whose findings they are, and that names the objects
    contract: ModelContract
    findings: Findings
    volume: Volume  # of the first role
    companions: tuple[Companion, ...] = ()  # beside Segmentation and reports


@dataclass(frozen=True)
class Worker:
    """What a worker process keeps between jobs: the ledger, the models, and warm hosts that run them."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    catalogue: Catalogue
    hosts: HostPool
    name: str  # host:pid, as the ledger knows it
    busy: threading.Event = field(default_factory=threading.Event)  # a job has come
    closing: threading.Event = field(default_factory=threading.Event)
    claims: set[Claim] = field(default_factory=set)  # of the job that computes, and of the one before it

    @cached_property
    def overlap(self) -> Overlap:
        """What is done beside the inference of a job."""
        return Overlap(self.ledger, self.store, self._load)

    @classmethod
    def open(cls, settings: Settings, device: str = "auto") -> Worker:
        """Connect to the ledger and read the models; nothing is loaded yet."""
        database = Database(settings.database.url, settings.node.data_dir, sealing.Vault.of(settings.ehr.seal))
        worker, data_dir = settings.worker, settings.node.data_dir
        ledger = Ledger(database, worker.maximum_attempts, worker.at_once, abilities(settings, device))
        return cls(
            settings=settings,
            ledger=ledger,
            store=ObjectStore(settings.node.data_dir),
            catalogue=Catalogue.load(settings),
            hosts=HostPool(device, remembered=data_dir / rungs.FILE, chosen=chosen(data_dir, device)),
            name=this_process(),
        )

    def warm(self) -> None:
        """Begin to load models that rules name, as many as stay loaded together, so that the first study need not wait.

        In a thread of its own: a job that waits already runs at once, and loads what it needs itself.
        """
        threading.Thread(target=self._warm_and_stay, name="warm", daemon=True).start()

    def _warm_and_stay(self) -> None:
        self._warm()
        self.closing.wait()  # the kernel ends a host together with the thread that started it

    def _warm(self) -> None:
        names = list(dict.fromkeys(rule.model for rule in self.settings.rules if rule.model))
        for name in names[: self.hosts.maximum_hosts]:
            if self.busy.is_set():
                return
            try:
                if (contract := self.catalogue.get(name)).task != FUSION:  # needs no host
                    self.hosts.warm(contract, cancelled=self.closing.is_set)
            except Fenced:
                return
            except DicomNodeError as error:
                log.error("model %s cannot be loaded: %s", name, error.message)

    def close(self) -> None:
        """End the hosts; a result that is not written soon is handed back."""
        self.busy.set()
        self.closing.set()
        self.hosts.close()
        self.overlap.hand_back(STOP_WITHIN_S)
        self.ledger.database.close()

    def run(self, job_id: int) -> str:
        """Run this job, or a more urgent one that waits; whatever happens is told to the ledger.

        Returns how it ended; where another one waits, its result is still being written then.
        """
        self.busy.set()
        taken = self.ledger.take(job_id, self.name, self.settings.worker.lease_seconds)
        if taken is None:
            return "not to be run: done, or another worker has it"
        claim, job = taken
        log.info("job %d, attempt %d: %s begins", claim.job_id, claim.attempt, job.model)
        if job.encodes is not None:
            return self._held(claim, lambda beat: self._encode_anew(job, claim, beat))
        computed = self._held(claim, lambda beat: self._compute(job, claim, beat))
        if isinstance(computed, str):
            return computed
        return self.overlap.write(
            job, claim, lambda: self._held(claim, lambda beat: self._commit(job, claim, computed, beat))
        )

    def _held(self, claim: Claim, step: Callable[[Heartbeat], T]) -> T | str:
        """Do a step of a claimed job under a heartbeat; where it fails, that is recorded, and told in words."""
        self.claims.add(claim)
        with Heartbeat(self.ledger, claim, self.settings.worker.lease_seconds, self._end_at_once) as beat:
            try:
                return step(beat)
            except SystemExit:
                if self.ledger.release(claim):
                    log.info("job %d is handed back: this worker was told to stop", claim.job_id)
                raise
            except Fenced as error:
                log.warning("job %d: %s", claim.job_id, error)
                return "no longer ours"
            except Exception as error:  # noqa: BLE001  the loop's top: every failure is recorded with its job
                return self._record(claim, error)
            finally:
                self.claims.discard(claim)

    def _compute(self, job: Job, claim: Claim, beat: Heartbeat) -> Computed:
        watch = Stopwatch()
        contract = self._contract(job)
        with watch.stage("load", beat):
            volumes, ahead = self.overlap.load(job)
            volume = volumes[contract.inputs[0].name]
        watch.seconds.update(ahead)
        imaging = contract.task != FUSION  # whose equations need no host, and tell of their inputs
        given = vector(contract, job.features) if imaging else NONE
        output, outside = None, scope.outside(contract, volume) or given.refused
        if not outside and imaging:
            # The pool ends a host that takes too long; this is for the case that the pool itself hangs.
            with watch.stage("infer", beat, contract.resources.time_limit_s + 2 * START_LIMIT_S):
                run = partial(self.hosts.run, contract, volumes, progress=beat.progress, cancelled=lambda: beat.lost)
                output = self._infer(job, claim, partial(run, features=given.numbers))
        with watch.stage("wait", beat):
            self.overlap.finish()
        return Computed(contract, volume, output, outside, given.notes, watch)

    def _commit(self, job: Job, claim: Claim, computed: Computed, beat: Heartbeat) -> str:
        outcome = self._outcome(job, claim, computed, beat)
        self._patiently(lambda: self.ledger.commit(claim, outcome))
        return "done"

    def _outcome(self, job: Job, claim: Claim, computed: Computed, beat: Heartbeat) -> Outcome:
        contract, volume, watch = computed.contract, computed.volume, computed.watch
        versions = computed.output.versions if computed.output else {}
        with watch.stage("measure", beat):
            findings = self._findings(job, computed)
            issuer = self.settings.ehr.default_issuer
            findings = comparing.compared(self.ledger.database, job, contract, volume, findings, issuer)
        refused = refusals.lately(self.ledger.database, self.settings.delivery.refused_encoding_days)
        choice = profiles.choose(findings, contract, job.destinations, self.settings, refused)
        written = Written(job, job, contract, findings, volume, choice.companions)
        return Outcome(
            findings=rows_of(findings),
            artifacts=self._write(written, choice.profile, claim, watch, beat),
            manifest={**comparing.kept(volume, findings), **choice.manifest},
            timings=watch.seconds,
            versions=dict(versions),
            profile=choice.profile,
            profiles=choice.of,
            spares={also: self._write(written, also, claim, watch, beat) for also in choice.beside},
        )

    def _encode_anew(self, job: Job, claim: Claim, beat: Heartbeat) -> str:
        """Encode what an earlier job found in another profile. No model runs: what was found is read again."""
        watch, database = Stopwatch(), self.ledger.database
        order = encodings.order(database, job.encodes) if job.encodes is not None else None
        earlier = self.ledger.job(order.job_id) if order else None
        if order is None or earlier is None:
            return str(self._patiently(lambda: encodings.commit(database, claim, (), {})))
        contract = self._contract(job)
        with watch.stage("load", beat):
            volumes, _ = self.overlap.load(job)
            volume = volumes[contract.inputs[0].name]
            kept = restore.read_kept(self.store, order.kept)
            findings = restore.findings(order.findings, order.notes, kept, volume.grid, volume.headers)
        written = Written(job, earlier, contract, findings, volume, order.companions)
        artifacts = self._write(written, order.profile, claim, watch, beat)
        return str(self._patiently(lambda: encodings.commit(database, claim, artifacts, watch.seconds)))

    def _write(
        self, what: Written, profile: Profile, claim: Claim, watch: Stopwatch, beat: Heartbeat
    ) -> tuple[Artifact, ...]:
        """Encode findings, read them back, and keep the objects durably."""
        with watch.stage("encode", beat):
            context, encoding = self._context(what.found_by, profile), Encoding(profile.upper())
            headers, beside = what.volume.headers, what.companions
            objects = encode(what.findings, what.contract, headers, context, encoding, beside, what.volume.array)
        with watch.stage("check", beat):
            readback.check(objects, what.findings, headers, beside)
        with watch.stage("store", beat):
            return tuple(self._store(what.job, claim, profile, made) for made in objects)

    def _contract(self, job: Job) -> ModelContract:
        contract = self.catalogue.get(job.model)
        if contract.digest != job.model_digest:
            raise ContractError(
                f"model {job.model} here has digest {contract.digest[:12]}, the job was planned with "
                f"{job.model_digest[:12]}",
                reason="model-changed",
                remedy="install the same bundle on node and workers and restart both, then retry the job",
            )
        return contract

    def _load(self, job: Job) -> dict[str, Volume]:
        roles = {role.name: role for role in self._contract(job).inputs}
        return {
            selected.role: load_volume(
                [self.store.absolute(source.path) for source in self.ledger.sources(selected)],
                minimum_slices=roles[selected.role].minimum_slices,
                select=roles[selected.role].select,
                suv_bw=roles[selected.role].values == "SUVbw",
                colour=roles[selected.role].colour,
            )
            for selected in job.inputs
        }

    def _infer(self, job: Job, claim: Claim, run: Callable[[], ModelOutput]) -> ModelOutput:
        if claim.attempt - job.excused >= self.settings.worker.maximum_attempts > 1:
            # The last attempt runs alone: nothing that another job left, or that is warm beside it, may be the cause.
            self.hosts.cool()
        with self.overlap.decoding_ahead(job, claim):
            return run()

    def _findings(self, job: Job, computed: Computed) -> Findings:
        late = lateness(self.ledger.database, job.id)
        notes = (*computed.notes, late) if late else computed.notes
        if computed.contract.task == FUSION and not computed.outside:
            volume = computed.volume
            return findings_of(
                assess(computed.contract, job.features, job.parameters), volume.grid, volume.frames, notes
            )
        if computed.output is None:
            return not_evaluated(computed.contract, computed.volume, computed.outside, notes)
        installation = self.ledger.installation()

        def tracking_uid(name: str) -> str:
            return result_uid(installation, job.key, f"tracking {name}", job.issue, "")

        return found(computed.contract, computed.volume, computed.output, tracking_uid, notes)

    def _context(self, job: Job, profile: Profile) -> ResultContext:
        zone = self.settings.node.time_zone
        return ResultContext(
            installation=self.ledger.installation(),
            job_key=job.key,
            issue=job.issue,
            profile=profile,
            content_time=job.created_at,
            time_zone=ZoneInfo(zone) if zone else None,
            station=self.settings.node.ae_title,
            software_version=IMPLEMENTATION_VERSION_NAME,
            predecessors=self._predecessors(job),
        )

    def _predecessors(self, job: Job) -> tuple[Predecessor, ...]:
        """The reports of the job whose result this one replaces; they describe the same study."""
        replaced = self.ledger.artifacts(job.supersedes) if job.supersedes else ()
        return tuple(
            Predecessor(job.study_uid, made.series_uid, made.sop_class, made.sop_uid)
            for made in replaced
            if made.kind == "sr"
        )

    def _store(self, job: Job, claim: Claim, profile: Profile, made: ResultObject) -> Artifact:
        # Each attempt has files of its own: a paused one that wakes up cannot touch what another committed.
        name = f"{job.key[:2]}/{job.key}/{job.issue}-{claim.attempt}-{profile}-{made.kind}.dcm"
        path = self.store.write_result(name, made.data)
        return Artifact(
            kind=made.kind,
            sop_uid=made.sop_instance_uid,
            sop_class=made.sop_class_uid,
            series_uid=made.series_instance_uid,
            transfer_syntax=made.transfer_syntax_uid,
            digest=hashlib.sha256(made.data).hexdigest(),
            path=self.store.relative(path),
            size=len(made.data),
        )

    def _record(self, claim: Claim, error: Exception) -> str:
        """Tell the ledger why this attempt gave nothing, and whether another may."""
        told = error if isinstance(error, DicomNodeError) else unforeseen(error)
        detail: dict[str, Any] = {}
        if isinstance(error, ModelError):
            detail = {"traceback": error.traceback, "output": error.output}
        elif not isinstance(error, DicomNodeError):
            detail = {"traceback": "".join(traceback.format_exception(error))[-8000:]}
        infrastructure = isinstance(error, LedgerError | OSError | MemoryError)
        final = isinstance(error, InputError | ConfigurationError | ResultError)
        log.error("job %d, attempt %d: %s", claim.job_id, claim.attempt, told.message)
        try:
            state = self._patiently(
                lambda: self.ledger.fail(claim, told, again=not final, excused=infrastructure, **detail)
            )
        except Fenced:
            return "no longer ours"
        return str(state)

    def _end_at_once(self) -> None:
        """End this process, whatever its threads wait for; a job that does not hang is handed back."""
        try:
            for claim in list(self.claims):
                self.ledger.release(claim)
        finally:
            end_at_once()

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write to a ledger that is away for a while: what was computed is not to be computed again.

        A write of which nobody knows whether it was done is fenced the second time.

        Raises:
            LedgerError: it did not answer for a lease's length.
        """
        deadline = time.monotonic() + self.settings.worker.lease_seconds
        while True:
            try:
                return write()
            except Fenced:
                raise
            except LedgerError as error:
                if error.reason != "database" or time.monotonic() > deadline:
                    raise
                log.warning("%s", error.message)
                time.sleep(LEDGER_PAUSE_S)
