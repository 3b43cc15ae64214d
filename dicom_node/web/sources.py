"""What pages, API and metrics read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_node.archive import open_items, overview, plain, story
from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class Sources:
    """The ledger, read by threads of the server."""

    settings: Settings
    database: Database
    ledger: Ledger
    parcels: Parcels
    stages: Callable[[], Mapping[str, str]]  # each stage's health: "ok", or what is wrong
    explain: Callable[[int], list[dict[str, Any]]] | None = None  # what every rule says of a study (row id)

    def counters(self) -> dict[str, Any]:
        """Numbers for the dashboard and for ``/metrics``."""
        return overview.counters(self.database)

    def items(self, study_id: int | None = None) -> list[dict[str, Any]]:
        """What a person has to see to, of one study or of all, the oldest first."""
        return [plain.open_item(found) for found in open_items.listed(self.database, study_id=study_id)]

    def story(self, study_uid: str) -> dict[str, Any] | None:
        """A study's story with its history; None when there is no such study."""
        studies = overview.matching(self.database, study_uid)
        study_id = next((found for found, uid in studies if uid == study_uid), None)
        if study_id is None:
            return None
        return {**story.story(self.database, study_id), "events": story.history(self.database, study_id)}
