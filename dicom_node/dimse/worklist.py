"""Asks a worklist about an order: C-FIND in the Modality Worklist information model (PS3.4 K.6.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.dimse.associate import NO_FILES, Association, Proposal
from dicom_node.dimse.find import ask
from dicom_node.settings import PeerSettings, TlsSettings

MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
_PROPOSAL = Proposal(MODALITY_WORKLIST_FIND, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """What a worklist says of an order; empty texts where it says nothing."""

    accession_number: str
    issuer: str  # Local Namespace, or else Universal Entity ID, of the accession number
    patient_id: str
    priority: str  # Requested Procedure Priority (0040,1003)


def items(
    peer: PeerSettings, calling_ae: str, accession_number: str, timeout_s: float = 5.0, *, tls: TlsSettings = NO_FILES
) -> tuple[WorklistItem, ...]:
    """What the worklist has under an accession number. Servers that do not match by it answer with more.

    Raises:
        PeerError: the peer cannot be asked, or answers with a failure.
    """
    query = Dataset()
    query.AccessionNumber = accession_number
    query.PatientID = ""
    query.RequestedProcedurePriority = ""
    query.RequestedProcedureID = ""
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = ""
    issuer.UniversalEntityID = ""
    query.IssuerOfAccessionNumberSequence = [issuer]
    step = Dataset()
    step.Modality = ""
    step.ScheduledProcedureStepStartDate = ""
    query.ScheduledProcedureStepSequence = [step]
    with Association(peer, calling_ae, [_PROPOSAL], timeout_s=timeout_s, tls=tls) as association:
        matches = ask(association, peer, _PROPOSAL, query, "C-FIND (Modality Worklist)")
    return tuple(_item(match) for match in matches)


def accession_issuer(dataset: Dataset) -> str:
    """Who issued the accession number: Issuer of Accession Number Sequence (0008,0051); empty where it is not said."""
    for item in dataset.get("IssuerOfAccessionNumberSequence") or ():
        told = item.get("LocalNamespaceEntityID") or item.get("UniversalEntityID")
        if told:
            return str(told)
    return ""


def issuer_in(path: Path) -> str:
    """Who issued the accession number of a stored object; empty where it is not said, or the file cannot be read."""
    try:
        return accession_issuer(
            dcmread(path, stop_before_pixels=True, specific_tags=["IssuerOfAccessionNumberSequence"])
        )
    except (OSError, InvalidDicomError, ValueError, KeyError, NotImplementedError):
        return ""


def _item(match: Dataset) -> WorklistItem:
    return WorklistItem(
        accession_number=str(match.get("AccessionNumber") or "").strip(),
        issuer=accession_issuer(match),
        patient_id=str(match.get("PatientID") or "").strip(),
        priority=str(match.get("RequestedProcedurePriority") or "").strip().upper(),
    )
