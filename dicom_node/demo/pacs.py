"""A small stand-in for a PACS: sends a study, keeps what comes back. For demonstrations and tests only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.archive.files import ObjectStore
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import NotDicomError, PeerError
from dicom_node.reception.hints import Hints
from dicom_node.reception.store import FileStoreService
from dicom_node.settings import NodeSettings, PeerSettings, Settings


class StandInPacs:
    """Listens on the loopback for whatever anybody sends; a context manager."""

    def __init__(self, folder: Path, port: int, ae_title: str = "DEMOPACS") -> None:
        self.ae_title = ae_title
        self.port = port
        node = NodeSettings(
            ae_title=ae_title, host="127.0.0.1", port=port, data_dir=folder.resolve(), unknown_peers="accept"
        )
        self._store = ObjectStore(node.data_dir)
        self._hints = Hints(self._store.places.hints)
        service = FileStoreService(self._store.writer("pacs"), self._hints)
        self._acceptor = Acceptor(Settings(node=node), service)

    def __enter__(self) -> StandInPacs:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._acceptor.stop()
        self._hints.close()

    def received(self) -> list[tuple[Path, Dataset]]:
        """Files that have come, with their headers."""
        paths = [path for segment in self._store.unsealed() for path in segment.objects()]
        return [(path, pydicom.dcmread(path, stop_before_pixels=True)) for path in paths]

    def send(self, files: Sequence[Path], node: PeerSettings) -> None:
        """Send a study to a node, over one association.

        Raises:
            NotDicomError: a file is no DICOM object.
            PeerError: the node did not take one.
        """
        outcomes = Sender().send(node, self.ae_title, [_outgoing(file) for file in files])
        refused = [outcome for outcome in outcomes if not outcome.ok]
        if refused:
            raise PeerError(f"{len(refused)} of {len(outcomes)} objects were not taken: {refused[0].message}")


def dicom_files(folder: Path) -> list[Path]:
    """All DICOM files below a folder, in the order of their names.

    Raises:
        NotDicomError: there is none.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_dicom(path)]
    if not found:
        raise NotDicomError(
            f"there is no DICOM file below {folder}", remedy="name a folder that holds the images of a study"
        )
    return found


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" and path.name != "DICOMDIR"


def _outgoing(path: Path) -> OutgoingObject:
    try:
        meta = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        return OutgoingObject(
            path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID
        )
    except (InvalidDicomError, AttributeError) as error:
        raise NotDicomError(f"{path} cannot be sent: {error}") from error
