"""Following a server of the record: what changed of patients we know, and what was deleted.

Only patients whom the server told of before are asked about. The time asked from is the server's own, less an overlap,
since servers index late; what comes twice changes nothing. Deletions leave no trace in a search: what we know and the
server does not list is asked for by itself, and counts no more where the server says that it is gone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from dicom_node.archive import record_syncs
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings, ServerSettings
from dicom_node.exchange.fhir import USED
from dicom_node.exchange.fhir_client import FhirClient
from dicom_node.sidecars.ehr.importer import Importer, Report
from dicom_node.sidecars.ehr.mapping import FeatureMapping

log = logging.getLogger(__name__)

KIND = "changes"
_PEOPLE = 20  # that are asked about together
_LEAST_S = 120.0  # for those, whatever the deadline of one patient is
_GONE = "it was deleted at its source"


class Follower:
    """Follows servers, one after the other. For one thread."""

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

    def follow(self, server: ServerSettings) -> Report:
        """Take in what changed since the last time, of everybody we know.

        Raises:
            PeerError: the server does not answer, or not all of it; the next time asks from where this one did.
        """
        state = record_syncs.state_of(self._database, server.name, KIND)
        people = record_syncs.people_of(self._database, server.name)
        taking = Importer(self._settings, self._database, self._store, self._mapping, server.name, server.release)
        taking.remember(people)
        references = sorted(people)
        with self._connect(server) as client:
            for start in range(0, len(references), _PEOPLE):
                until = time.monotonic() + max(_LEAST_S, server.deadline_seconds)
                some = references[start : start + _PEOPLE]
                self._changed(client, server, some, state.get("since", ""), until, taking)
                self._gone(client, server, some, until)
            if client.told_at is not None:
                since = client.told_at - timedelta(minutes=server.overlap_minutes)
                record_syncs.keep_state(self._database, server.name, KIND, {"since": since.isoformat()})
        return taking.report

    def _changed(
        self,
        client: FhirClient,
        server: ServerSettings,
        people: list[str],
        since: str,
        until: float,
        taking: Importer,
    ) -> None:
        for kind in USED:
            asked = {"_count": str(server.page)} | ({"_lastUpdated": f"ge{since}"} if since else {})
            for number, page in enumerate(client.search(kind, asked | self._whose(kind, people), until), start=1):
                taking.document(page, f"{kind} changed {since or 'ever'} {number}.json")

    def _whose(self, kind: str, people: list[str]) -> dict[str, str]:
        if kind == "Patient":
            return {"_id": ",".join(reference.removeprefix("Patient/") for reference in people)}
        codes = {"code": ",".join(self._mapping.codes(kind, None))} if kind == "Observation" else {}
        return {"patient": ",".join(people)} | codes

    def _gone(self, client: FhirClient, server: ServerSettings, people: list[str], until: float) -> None:
        """Let what the server says is gone count no more."""
        known = {
            reference
            for person in people
            for reference in (person, *record_syncs.told_by(self._database, server.name, person))
        }
        for kind in USED:
            mine = {reference for reference in known if reference.startswith(f"{kind}/")}
            if not mine:
                continue
            asked = self._whose(kind, people) | {"_elements": "id", "_count": str(server.page)}
            for page in client.search(kind, asked, until):
                entries = json.loads(page).get("entry") or ()
                mine -= {f"{kind}/{(entry.get('resource') or {}).get('id')}" for entry in entries}
            gone = {reference: _GONE for reference in sorted(mine) if client.is_gone(reference, until)}
            if gone:
                count = record_syncs.take_back(self._database, server.name, gone)
                log.info("%s: %d resources are gone, %d features with them", server.name, len(gone), count)
