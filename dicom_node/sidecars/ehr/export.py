"""Exports of a server of the record (Bulk Data) -> ledger, in steps that another process may go on with.

What was begun and which files are in stands in the ledger. Files lie on the disk without a name while they are read, so
that nothing of them is left, whatever dies. An export that the server forgot is begun anew. The next one asks for what
changed since.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

from dicom_node.archive import record_syncs
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings, ServerSettings
from dicom_node.errors import InputError
from dicom_node.exchange.bulk import BulkClient, Expired, ExportFile, Manifest
from dicom_node.exchange.fhir import USED, Refusal
from dicom_node.sidecars.ehr.importer import Importer, Report
from dicom_node.sidecars.ehr.mapping import FeatureMapping

log = logging.getLogger(__name__)

KIND = "export"
_AT_ONCE = 1000  # lines of a file that are taken in together
_DELETED = "it was deleted at its source"


class Exporter:
    """Takes exports in. For one thread."""

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        store: ObjectStore,
        mapping: FeatureMapping,
        connect: Callable[[ServerSettings], BulkClient] = BulkClient,
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._mapping = mapping
        self._connect = connect

    def step(self, server: ServerSettings, *, whole: bool = False) -> float | Report:
        """Go on as far as the server lets us: seconds to wait before the next step, or what came of the export.

        ``whole``: one that begins asks for everything, not for what changed since the last.

        Raises:
            PeerError: the server does not answer, or refuses; what was taken in before is not asked for again.
        """
        state = record_syncs.state_of(self._database, server.name, KIND)
        with self._connect(server) as client:
            try:
                return self._go_on(client, server, state, whole)
            except Expired as error:
                log.warning("%s; it is begun anew", error.message)
                self._keep(server, {"since": state.get("since", "")})
                return 1.0

    def _go_on(self, client: BulkClient, server: ServerSettings, state: dict[str, Any], whole: bool) -> float | Report:
        if not state.get("status_url"):
            since = "" if whole else state.get("since", "")
            begun = client.kick_off(USED, datetime.fromisoformat(since) if since else None)
            if not isinstance(begun, str):
                return begun
            state = {"status_url": begun, "since": state.get("since", "")}
            self._keep(server, state)
        if "manifest" not in state:
            found = client.poll(state["status_url"])
            if not isinstance(found, Manifest):
                return found
            state |= {"manifest": found.as_json(), "done": []}
            self._keep(server, state)
        manifest = Manifest.from_json(state["manifest"])
        report = self._take_all(client, server, manifest, state)
        client.end(state["status_url"])
        self._keep(server, {"since": manifest.at})
        return report

    def _take_all(
        self, client: BulkClient, server: ServerSettings, manifest: Manifest, state: dict[str, Any]
    ) -> Report:
        taking = Importer(self._settings, self._database, self._store, self._mapping, server.name, server.release)
        taking.remember(record_syncs.people_of(self._database, server.name))
        people_first = sorted(manifest.output, key=lambda entry: entry.type != "Patient")
        kinds = (*((entry, self._resources) for entry in people_first),)
        others = (*((entry, self._deleted) for entry in manifest.deleted), *((e, self._errors) for e in manifest.error))
        for entry, take in (*kinds, *others):
            if entry.url in state["done"] or (take == self._resources and entry.type not in USED):
                continue
            with tempfile.TemporaryFile(dir=self._database.data_dir) as file:
                client.fetch(entry, manifest, file)
                take(server, entry, file, taking)
            state["done"].append(entry.url)
            self._keep(server, state)
        return taking.report

    def _resources(self, server: ServerSettings, entry: ExportFile, file: BinaryIO, taking: Importer) -> None:
        taking.report.files += 1
        name = entry.url.split("?")[0].rsplit("/", 1)[-1][:60]
        for number, lines in enumerate(_batches(file), start=1):
            taking.document(lines, f"{entry.type} {name} {number}.ndjson")

    def _deleted(self, server: ServerSettings, entry: ExportFile, file: BinaryIO, taking: Importer) -> None:
        """Bundles whose entries are requests to delete."""
        gone = {}
        for body in _bodies(file, entry, taking):
            for each in body.get("entry") or ():
                request = each.get("request") or {}
                if request.get("method") == "DELETE":
                    gone["/".join(str(request.get("url", "")).split("/")[-2:])] = _DELETED
        record_syncs.take_back(self._database, server.name, gone)

    def _errors(self, server: ServerSettings, entry: ExportFile, file: BinaryIO, taking: Importer) -> None:
        """OperationOutcomes, of which the codes are told: their texts may name patients."""
        for body in _bodies(file, entry, taking):
            codes = {f"{each.get('severity')} {each.get('code')}"[:60] for each in body.get("issue") or ()}
            taking.report.refused.append(Refusal(f"{server.name}: export", ", ".join(sorted(codes)) or "an error"))

    def _keep(self, server: ServerSettings, state: dict[str, Any]) -> None:
        record_syncs.keep_state(self._database, server.name, KIND, state)


def _batches(file: BinaryIO) -> Iterator[bytes]:
    lines = (line for line in file if line.strip())
    while some := b"".join(islice(lines, _AT_ONCE)):
        yield some


def _bodies(file: BinaryIO, entry: ExportFile, taking: Importer) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{entry.url}, line {number}: not JSON", reason="not-fhir") from error
        if isinstance(body, dict):
            yield body
