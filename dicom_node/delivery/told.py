"""Destinations that are told of results, instead of getting their objects: FHIR servers, and HL7 v2 over MLLP.

A parcel holds the objects of one result. They are told together, by one transaction or message, and count as taken
together. What is told is read from the ledger when it is sent: what was accepted or withdrawn since is told so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import httpx

from dicom_node.archive import result_views
from dicom_node.archive.database import Database
from dicom_node.archive.result_views import ResultView
from dicom_node.delivery.destination import Paid
from dicom_node.domain.record import Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import PeerError
from dicom_node.exchange import fhir_results, hl7_results, mllp_client
from dicom_node.exchange.fhir_results import Told
from dicom_node.exchange.web_client import answered, fault, json_of, open_client
from dicom_node.settings import PeerSettings, Settings

_FHIR_JSON = "application/fhir+json"
_SECRET_MAY_HAVE_CHANGED = ("not-authorized", "no-token")


class _Teller:
    """What both kinds do alike."""

    looks_by = "what it acknowledged"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: Database | None = None

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        told: dict[tuple[int, str], SendOutcome] = {}
        for each in objects:
            view = self.view(each.sop_instance_uid)
            if view is None:
                why = f"{peer.name} is told of results; this object is of none: send it to another destination"
                yield SendOutcome(each.sop_instance_uid, None, False, why, "object-refused")
                continue
            key = (view.job_id, str(view.status))
            if key not in told:
                told[key] = self.tell(peer, view, paid)
            first = told[key]
            yield SendOutcome(
                each.sop_instance_uid, first.status, first.ok, first.message, first.reason, str(view.status)
            )

    def view(self, sop_uid: str) -> ResultView | None:
        """The result that an object is of."""
        return result_views.of_object(self._database, sop_uid, self._settings.ehr.default_issuer)

    def tell(self, peer: PeerSettings, view: ResultView, paid: Paid) -> SendOutcome:
        """Tell a destination of a result."""
        raise NotImplementedError

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> None:
        """See :class:`~dicom_node.delivery.destination.Destination`: of images they keep no record."""

    def close(self) -> None:
        """Let go of the ledger."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @property
    def _database(self) -> Database:
        with self._lock:
            if self._opened is None:
                self._opened = Database(self._settings.database.url, self._settings.node.data_dir)
            return self._opened


class FhirDestination(_Teller):
    """A FHIR R4 server: one transaction for each result, looked for by the identifier of its report."""

    looks_by = "a search by identifier"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._clients: dict[str, httpx.Client] = {}

    def tell(self, peer: PeerSettings, view: ResultView, paid: Paid) -> SendOutcome:
        """See the base."""
        client = self._client(peer)
        try:
            subject, fault_ = self._subject(client, peer, view)
            if fault_:
                return SendOutcome("", None, False, fault_, "object-refused")
            bundle = fhir_results.transaction(view, Told(subject, peer.genomic))
            with answered(peer):
                request = client.build_request("POST", peer.url.rstrip("/"), json=bundle, headers=_HEADERS)
                paid(len(request.content))
                response = client.send(request)
            if response.status_code // 100 != 2:
                return _refusal(peer, response)
            return _outcome_of(json_of(response), len(bundle["entry"]))
        except PeerError as error:
            if error.reason in _SECRET_MAY_HAVE_CHANGED:
                with self._lock:
                    self._clients.pop(peer.name, None)
            raise

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """See :class:`~dicom_node.delivery.destination.Destination`: those whose report is there, as it is now."""
        found = set()
        for each in objects:
            view = self.view(each.sop_instance_uid)
            if view is not None and self._has(peer, view):
                found.add(each.sop_instance_uid)
        return frozenset(found)

    def close(self) -> None:
        """Close the connections, too."""
        super().close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _has(self, peer: PeerSettings, view: ResultView) -> bool:
        identifier = f"{fhir_results.UIDS}|{fhir_results.report_identifier(view)}"
        found = _search(self._client(peer), peer, "DiagnosticReport", identifier)
        return len(found) == 1 and found[0].get("status") == str(view.status)

    def _subject(self, client: httpx.Client, peer: PeerSettings, view: ResultView) -> tuple[Mapping[str, Any], str]:
        """Who it is there; or why that cannot be said."""
        systems = [each.system for each in self._settings.ehr.identifiers if each.issuer == view.issuer]
        if not (view.patient_id and systems):
            why = (
                f"the images' patient has no number of a system in [[ehr.identifiers]] (issuer {view.issuer or 'none'})"
            )
            return {}, f"{why}: nobody could say whose result it is"
        found = _search(client, peer, "Patient", f"{systems[0]}|{view.patient_id}")
        if len(found) != 1 or not found[0].get("id"):
            return {}, f"{peer.name} knows {len(found)} patients of the images' number, not one"
        return {
            "reference": f"Patient/{found[0]['id']}",
            "identifier": {"system": systems[0], "value": view.patient_id},
        }, ""

    def _client(self, peer: PeerSettings) -> httpx.Client:
        with self._lock:
            if peer.name not in self._clients:
                self._clients[peer.name] = open_client(
                    peer, self._settings.tls, self._settings.delivery.timeout_seconds
                )
            return self._clients[peer.name]


class Hl7Destination(_Teller):
    """A receiver of ORU^R01: done when it has acknowledged the message."""

    def tell(self, peer: PeerSettings, view: ResultView, paid: Paid) -> SendOutcome:
        """See the base."""
        sender = self._settings.node.ae_title
        message = hl7_results.message(view, sender, peer.name, genomic=peer.genomic)
        paid(len(message))
        timeout_s = self._settings.delivery.timeout_seconds
        control_id = hl7_results.control_id(view)
        code, words = mllp_client.exchange(peer, self._settings.tls, message, control_id, timeout_s)
        if code in ("AA", "CA"):
            return SendOutcome("", 0, True, "")
        # AR and CR: not now, or not by this receiver; AE and CE: not this message.
        reason = "object-refused" if code in ("AE", "CE") else "peer-failure"
        return SendOutcome("", None, False, f"it answers {code or 'nothing'} {words}".strip(), reason)

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """See :class:`~dicom_node.delivery.destination.Destination`: HL7 v2 has no question for it."""
        raise PeerError(f"{peer.name} cannot be asked what it has", reason="not-asked", remedy='set verify = "none"')


_HEADERS = {"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON}


def _search(client: httpx.Client, peer: PeerSettings, kind: str, identifier: str) -> list[Mapping[str, Any]]:
    with answered(peer):
        headers = {"Accept": _FHIR_JSON, "Prefer": "handling=strict"}
        response = client.get(f"{peer.url.rstrip('/')}/{kind}", params={"identifier": identifier}, headers=headers)
    if response.status_code != 200:
        raise fault(peer, response)
    answer = json_of(response)
    if not isinstance(answer, dict) or answer.get("resourceType") != "Bundle":
        raise PeerError(f"{peer.name} answers with no Bundle", reason="peer-failure", remedy="correct url of this peer")
    found = [each.get("resource") or {} for each in answer.get("entry", ())]
    return [each for each in found if each.get("resourceType") == kind]


def _refusal(peer: PeerSettings, response: httpx.Response) -> SendOutcome:
    error = fault(peer, response)
    if error.reason != "object-refused":
        raise error
    return SendOutcome("", None, False, f"{error.message}: {_issues(json_of(response))}", error.reason)


def _issues(outcome: Any) -> str:
    """What an OperationOutcome says."""
    if not isinstance(outcome, dict):
        return "it does not say why"
    issues = [each for each in outcome.get("issue", ()) if isinstance(each, dict)]
    said = [str(each.get("diagnostics") or (each.get("details") or {}).get("text") or "") for each in issues]
    return "; ".join(filter(None, said)) or "it does not say why"


def _outcome_of(answer: Any, entries: int) -> SendOutcome:
    """A transaction is done as a whole; an answer that does not tell of every entry is no answer."""
    told = answer.get("entry", []) if isinstance(answer, dict) else []
    statuses = [str((each.get("response") or {}).get("status", "")) for each in told if isinstance(each, dict)]
    if len(statuses) != entries or not all(status.startswith("2") for status in statuses):
        return SendOutcome(
            "", None, False, f"its answer tells of {len(statuses)} of {entries} resources", "peer-failure"
        )
    return SendOutcome("", 0, True, "")


def try_out(settings: Settings, peer: PeerSettings, timeout_s: float) -> float:
    """Seconds until a peer has shown that it is there: a server by its CapabilityStatement, a receiver by a connection.

    Raises:
        PeerError: it has not.
    """
    started = time.perf_counter()
    if peer.kind == "hl7":
        mllp_client.connect(peer, timeout_s)
        return time.perf_counter() - started
    with open_client(peer, settings.tls, timeout_s) as client, answered(peer):
        response = client.get(f"{peer.url.rstrip('/')}/metadata", headers={"Accept": _FHIR_JSON})
    told = json_of(response)
    if response.status_code != 200:
        raise fault(peer, response)
    if not isinstance(told, dict) or told.get("resourceType") != "CapabilityStatement":
        raise PeerError(f"{peer.name} at {peer.url} is no FHIR server", reason="not-fhir", remedy="correct its url")
    if not str(told.get("fhirVersion", "")).startswith("4.0"):
        version = told.get("fhirVersion") or "no version"
        raise PeerError(
            f"{peer.name} speaks FHIR {version}", reason="not-r4", remedy="name a server of FHIR R4 (4.0.1)"
        )
    return time.perf_counter() - started
