"""Asking the servers of the record for one patient: who it is first, then what the mapping takes.

Exactly one Patient must have the number; what belongs to anybody else is refused. All of it has one deadline: what has
come by then is taken, and what has not is told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings, ServerSettings
from dicom_node.errors import InputError, PeerError
from dicom_node.exchange.fhir import Refusal, read
from dicom_node.exchange.fhir_client import FhirClient
from dicom_node.sidecars.ehr.importer import Importer, Report
from dicom_node.sidecars.ehr.mapping import FeatureMapping

log = logging.getLogger(__name__)


class Puller:
    """Asks for patients, one after the other. For one thread."""

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        store: ObjectStore,
        mapping: FeatureMapping,
        connect: Callable[[ServerSettings], FhirClient] = FhirClient,
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._mapping = mapping
        self._connect = connect

    def pull(self, server: ServerSettings, issuer: str, number: str, names: Collection[str] = ()) -> Report:
        """Take in what a server says of a patient; of these features, or of all.

        Raises:
            PeerError: the server does not answer, or not all of it; what came before is taken.
            InputError: it numbers no patients of this issuer, or its answer is no FHIR.
        """
        until = time.monotonic() + server.deadline_seconds
        systems = [each.system for each in self._settings.identifiers if each.issuer == issuer]
        if not systems:
            raise InputError(
                f"no system of [[ehr.identifiers]] has the issuer {issuer!r}",
                reason="unknown-issuer",
                remedy="name the system by which the record knows the numbers of this issuer",
            )
        taking = Importer(self._settings, self._database, self._store, self._mapping, server.name, server.release)
        with self._connect(server) as client:
            for system in systems:
                person = self._person(client, server, f"{system}|{number}", until, taking)
                if person:
                    self._record(client, server, person, frozenset(names), until, taking)
                    break
        return taking.report

    def _person(
        self, client: FhirClient, server: ServerSettings, identifier: str, until: float, taking: Importer
    ) -> str:
        """The reference of the one Patient who has the number; empty, and told, where it is none or several."""
        pages = list(client.search("Patient", {"identifier": identifier, "_count": str(server.page)}, until))
        found = [each for page in pages for each in read(page, "Patient", server.release).resources]
        people = {each.reference for each in found if each.type == "Patient"}
        if len(people) != 1:
            told = f"{len(people)} patients have the number"
            taking.report.refused.append(Refusal(f"{server.name}: Patient", told))
            return ""
        for page in pages:
            taking.document(page, f"{next(iter(people))}.json")
        return next(iter(people)) if taking.knows(next(iter(people))) else ""

    def _record(
        self,
        client: FhirClient,
        server: ServerSettings,
        person: str,
        names: frozenset[str],
        until: float,
        taking: Importer,
    ) -> None:
        for kind in ("Observation", "Condition", "MedicationRequest", "FamilyMemberHistory"):
            entries = [each for each in self._mapping.taking(kind) if not names or each.name in names]
            if not entries:
                continue
            asked = {"patient": person, "_count": str(server.page)}
            if kind == "Observation":
                asked |= {"code": ",".join(self._mapping.codes(kind, names or None)), "_sort": "-date"}
            for number, page in enumerate(client.search(kind, asked, until), start=1):
                taking.document(page, f"{person}, {kind} {number}")

    def ask(self, issuer: str, number: str, names: Collection[str]) -> str:
        """Ask every server of the settings; what went wrong, in words: empty where nothing did."""
        trouble = []
        for server in self._settings.servers:
            try:
                report = self.pull(server, issuer, number, names)
                trouble += [f"{refused.what}: {refused.reason}" for refused in report.refused[:3]]
            except (PeerError, InputError) as error:
                log.warning("%s", error.message)
                trouble.append(error.message)
        return "; ".join(trouble)
