"""Rejection notes: the titles of IHE Imaging Object Change Management (RAD TF-1 35, TF-2 4.66), and what each means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.domain.finding import Code


class Title(StrEnum):
    """Document titles of rejection notes: code values of DCM (PS3.16 CID 7010)."""

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WRONG_WORKLIST_ENTRY = "113038"
    RETENTION_EXPIRED = "113039"

    @property
    def code(self) -> Code:
        """As a coded concept."""
        return Code(self.value, "DCM", _MEANINGS[self])

    @property
    def means_wrong(self) -> bool:
        """Whether results of the rejected images may harm: they are taken back, rather than left to a person."""
        return self in (Title.PATIENT_SAFETY, Title.WRONG_WORKLIST_ENTRY)

    def hides(self, received_at: datetime, noted_at: datetime) -> bool:
        """Whether an instance that was received then counts as rejected by a note that was received then.

        For three titles whatever comes under the rejected UID, before or after the note, is rejected. Images whose
        retention has expired were good ones: when they are sent again, they are wanted again.
        """
        return self is not Title.RETENTION_EXPIRED or received_at <= noted_at


_MEANINGS = {
    Title.QUALITY: "Rejected for Quality Reasons",
    Title.PATIENT_SAFETY: "Rejected for Patient Safety Reasons",
    Title.WRONG_WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
    Title.RETENTION_EXPIRED: "Data Retention Policy Expired",
}


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What a rejection note says."""

    title: Title
    rejected: tuple[str, ...]  # SOP Instance UIDs
