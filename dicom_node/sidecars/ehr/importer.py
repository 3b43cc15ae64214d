"""Documents of the record -> ledger: FHIR bundles and NDJSON of a folder, each resource under its patient.

Patients are read first, from all files, since NDJSON keeps each type in a file of its own. A document of one
patient is kept as it came; of several, what it says of each is kept by itself. What cannot be used is refused by
name; everything else of the same file is taken. Taking the same again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features, NewDocument, keep
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import InputError
from dicom_node.exchange.fhir import Refusal, Release, Resource, read
from dicom_node.sidecars.ehr.extract import extract
from dicom_node.sidecars.ehr.mapping import FeatureMapping
from dicom_node.sidecars.ehr.persons import numbers_of, record_of

_ENDINGS = (".json", ".ndjson", ".jsonl")
_LARGEST_MB = 512  # of one file; exports are cut into files below that


@dataclass
class Report:
    """What came of an import."""

    files: int = 0
    known: int = 0  # files that were here before, byte by byte
    patients: int = 0
    resources: int = 0  # that are used
    other: int = 0  # of types that nothing is taken from
    features: int = 0  # new, or changed
    rejected: int = 0  # features that were told and cannot be used
    refused: list[Refusal] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Count another one in."""
        for name in ("files", "known", "patients", "resources", "other", "features", "rejected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused += other.refused


class Importer:
    """Takes documents in. For one thread."""

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        store: ObjectStore,
        mapping: FeatureMapping,
        system: str,
        release: Release = "R4",
    ) -> None:
        self._settings = settings
        self._features = Features(database)
        self._store = store
        self._mapping = mapping
        self._system = system  # where the documents are from, as the site calls it
        self._release: Release = release
        self._numbers: dict[str, tuple[tuple[str, str], ...]] = {}  # Patient/<id> -> (issuer, number)
        self.report = Report()

    def folder(self, folder: Path) -> Report:
        """Take in all documents of a folder, or one file."""
        files = list(find_documents(folder))
        for file in files:
            self._patients(file)
        for file in files:
            self.report.files += 1
            data = self._bytes(file)
            if data is not None:
                self.document(data, file.name)
        return self.report

    def remember(self, people: Mapping[str, tuple[tuple[str, str], ...]]) -> None:
        """Know patients of before, whose Patient resource does not come again: reference -> (issuer, number)."""
        self._numbers.update(people)

    def knows(self, reference: str) -> bool:
        """Whether a patient has a number of the site's issuers."""
        return reference in self._numbers

    def document(self, data: bytes, name: str) -> None:
        """Take in one document, durably; what it says of patients nobody knows is refused."""
        try:
            found = read(data, name, self._release)
        except InputError as error:
            self.report.refused.append(Refusal(name, error.message))
            return
        self.report.refused += found.refused
        self.report.other += found.other
        by_patient = self._by_patient(found.resources, name)
        whole = data if len(found.resources) == sum(map(len, by_patient.values())) and len(by_patient) == 1 else b""
        known = []
        for reference, resources in by_patient.items():
            # Of each patient on its own, so that it can be forgotten with them.
            kept = keep(self._store, "fhir", f"{self._system}/{name}", whole or _lines(resources), self._features.vault)
            known.append(self._take(kept, reference, resources))
        self.report.known += bool(known) and all(known)

    def _by_patient(self, resources: Iterable[Resource], name: str) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in resources:
            if resource.type == "Patient":
                numbers, why = numbers_of(resource, self._settings)
                if why:
                    self.report.refused.append(Refusal(f"{name}: {resource.reference}", why))
                    continue
                self._numbers[resource.reference] = numbers
            found.setdefault(resource.patient, []).append(resource)
        for reference in [reference for reference in found if reference not in self._numbers]:
            why = f"{len(found.pop(reference))} resources of a patient that is not here"
            self.report.refused.append(Refusal(f"{name}: {reference or 'no patient'}", why))
        return found

    def _take(self, kept: NewDocument, reference: str, resources: list[Resource]) -> bool:
        taken = extract(resources, self._mapping, self._system)
        self.report.resources += len(resources)
        self.report.rejected += sum(1 for each in taken.features if each.reason)
        patient = next((each for each in resources if each.type == "Patient"), None)
        self.report.patients += patient is not None
        record = record_of(patient, self._system) if patient else None
        known = True
        for issuer, number in self._numbers[reference]:
            identity = self._features.identity(issuer, number)
            told = self._features.take(identity, kept, taken.features, record=record, gone=taken.gone)
            self.report.features += told.features
            known = known and told.known
        return known

    def _patients(self, file: Path) -> None:
        """Learn the numbers of a file's patients; what is wrong with it is told when it is taken in."""
        data = self._bytes(file, tell=False)
        if data is None or b'"Patient"' not in data:
            return
        try:
            found = read(data, file.name, self._release)
        except InputError:
            return
        for resource in found.resources:
            if resource.type == "Patient":
                numbers, _ = numbers_of(resource, self._settings)
                if numbers:
                    self._numbers[resource.reference] = numbers

    def _bytes(self, file: Path, *, tell: bool = True) -> bytes | None:
        """The file's content; None, and told, where it cannot be had."""
        try:
            if file.stat().st_size <= _LARGEST_MB * 1_000_000:
                return file.read_bytes()
            why = f"larger than {_LARGEST_MB} MB; cut it into several files"
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        if tell:
            self.report.refused.append(Refusal(file.name, why))
        return None


def _lines(resources: Iterable[Resource]) -> bytes:
    """Resources as NDJSON."""
    return "".join(json.dumps(each.body, ensure_ascii=False) + "\n" for each in resources).encode()


def find_documents(folder: Path) -> Iterator[Path]:
    """Files that may hold FHIR, in the order of their names.

    Raises:
        InputError: there is nothing of that name, or nothing in it.
    """
    if folder.is_file():
        yield folder
        return
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
    if not found:
        told = "holds no .json and no .ndjson" if folder.is_dir() else "is not there"
        raise InputError(f"{folder} {told}", reason="nothing-to-import")
    yield from found


def as_plain(report: Report) -> Mapping[str, object]:
    """The report, for JSON."""
    return {
        **{name: getattr(report, name) for name in ("files", "known", "patients", "resources", "other", "features")},
        "rejected": report.rejected,
        "refused": [{"what": each.what, "reason": each.reason} for each in report.refused],
    }
