"""A result on its way to a scripted PACS that tells how it has the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deliveries import Bench, ScriptedPeer
from studies_of_results import Clinic

from dicom_node.domain.parcel import Parcel
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.errors import PeerError
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, RuleSettings, Settings


def as_said(subject: Subject, **changed: Any) -> StudyRecord:
    """The record of a destination that has the images as the result says, but for these."""
    said = subject.said
    record = StudyRecord(said["StudyInstanceUID"], said["PatientID"], "", said["AccessionNumber"], subject.wanted)
    return replace(record, **changed)


class Ward:
    """A result that is due at ``pacs``, which is scripted."""

    def __init__(self, clinic: Clinic, rules: Sequence[RuleSettings] = (), **entry: Any) -> None:
        self.clinic = clinic
        address = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        peer = PeerSettings(name="pacs", **{**address, **entry})
        delivery = DeliverySettings(verify_after_seconds=0, first_pause_seconds=0.6)
        node = NodeSettings(data_dir=clinic.data_dir)
        settings = Settings(node=node, peers=(peer,), delivery=delivery, rules=tuple(rules))
        self.bench = Bench(clinic.database, settings, ScriptedPeer())
        clinic.result(destinations=("pacs",))

    @property
    def peer(self) -> ScriptedPeer:
        return self.bench.peer

    @property
    def parcel(self) -> Parcel:
        """The newest one."""
        return self.clinic.parcels.all()[-1]

    def shows(self, **changed: Any) -> None:
        self.peer.record = lambda subject: (as_said(subject, **changed),)

    def fails(self, reason: str) -> None:
        def fail(subject: Subject) -> Any:
            raise PeerError(f"pacs: {reason}", reason=reason)

        self.peer.record = fail

    def run(self, passes: int = 1) -> None:
        self.bench.run(passes)

    @property
    def lane(self) -> Any:
        return self.bench.lane
