"""Fixtures of unit tests: stored objects, and a ledger beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from sqlalchemy import Row, Table, select
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore, SegmentWriter
from dicom_node.archive.header import read_header
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.migrate import migrate
from dicom_node.archive.receipt import Receipt, file_meta
from dicom_node.archive.schema import event

CT = "1.2.840.10008.5.1.4.1.1.2"
RECEIVED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def image(number: int = 1, **attributes: Any) -> Dataset:
    """An axial CT image of 4 x 4 pixels, the ``number``-th of a stack with 2 mm steps."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"1.2.3.1.1.{number}"
    dataset.StudyInstanceUID = "1.2.3.1"
    dataset.SeriesInstanceUID = "1.2.3.1.1"
    dataset.Modality = "CT"
    dataset.PatientID = "P1"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientSex = "F"
    dataset.AccessionNumber = "A1"
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = 4
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, 2 * number]
    dataset.SliceThickness = 2
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = bytes([number % 256] * 32)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def part10(
    dataset: Dataset, syntax: str = ExplicitVRLittleEndian, received: datetime = RECEIVED, association: str = "assoc-1"
) -> bytes:
    """The file the acceptor would write for a data set that came in ``syntax``."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = UID(syntax).is_implicit_VR
    buffer.is_little_endian = UID(syntax).is_little_endian
    if UID(syntax).is_encapsulated:
        dataset = dataset.copy()
        dataset["PixelData"].value = encapsulate([dataset.PixelData])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    write_dataset(buffer, dataset, parent_encoding="utf-8")
    receipt = Receipt("MODALITY", "DICOMNODE", "10.0.0.7", association, received)
    sop_class, sop_uid = (str(dataset.get(key, "")) for key in ("SOPClassUID", "SOPInstanceUID"))
    return file_meta(sop_class.encode(), sop_uid.encode(), syntax, receipt) + buffer.getvalue()


class Archive:
    """A data directory with its ledger, as the acceptor and the indexer share it."""

    image = staticmethod(image)
    part10 = staticmethod(part10)

    def __init__(self, data_dir: Path, database: Database | None = None) -> None:
        self.data_dir = data_dir
        self.database = database or Database("sqlite", data_dir)
        migrate(self.database)
        self.store = ObjectStore(data_dir)
        self.index = Index(self.database, data_dir)
        self._writer: SegmentWriter | None = None

    def put(self, content: bytes | Dataset, **how: Any) -> Path:
        """Store an object as the acceptor does."""
        self._writer = self._writer or self.store.writer("a0")
        reservation = self._writer.reserve()
        reservation.write([content if isinstance(content, bytes) else part10(content, **how)])
        return reservation.commit()

    def arrival(self, content: bytes | Dataset, **how: Any) -> Arrival:
        """Store an object and read its header."""
        path = self.put(content, **how)
        return Arrival(self.store.relative(path), read_header(path))

    def add(self, *contents: bytes | Dataset, **how: Any) -> None:
        """Store objects and put them into the index in one transaction."""
        self.index.add([self.arrival(content, **how) for content in contents])

    def rows(self, table: Table) -> list[Row[Any]]:
        """All rows of a table, by id."""
        with self.database.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.id)).all())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Details of the events of a kind."""
        return [row.detail for row in self.rows(event) if row.kind == kind]


@pytest.fixture
def archive(tmp_path: Path, database: Database) -> Archive:
    """An empty archive."""
    return Archive(tmp_path, database)


@pytest.fixture(scope="session")
def archive_factory() -> type[Archive]:
    """Makes an archive in a folder, for tests that need several."""
    return Archive


@pytest.fixture
def clinic(tmp_path: Path, database: Database) -> Clinic:
    """A ledger for images and their results."""
    return Clinic(database, tmp_path)
