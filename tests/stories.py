"""A ledger with studies in every situation, written row by row, for tests of what people are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from dicom_node.archive import events, schema
from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>'

_SERIES = {"Modality": "CT", "SeriesDescription": "Lung 1.0", "BodyPartExamined": "CHEST"}
_SEGMENTS = ((1, "Right lung", (224, 97, 76)), (2, "Left lung", (202, 164, 140)))
_MEASURED = (("volume", "Volume", "mL", (2871.4, 2490.2)), ("laa_950", "LAA-950", "%", (7.25, 6.9)))


@dataclass
class Writer:
    """Writes rows of one ledger; times count in seconds from ``START``."""

    connection: Connection

    def study(self, number: int, **given: Any) -> int:
        """A study; returns its row id. Attributes can be given by ``attributes``."""
        attributes = {
            "PatientID": f"PAT{number:03d}",
            "PatientName": f"Doe^Jane{number}",
            "AccessionNumber": f"ACC{number:03d}",
            "StudyDate": "20260301",
            "StudyDescription": "CT chest",
        }
        values = {
            "site_id": 1,
            "study_uid": f"1.2.826.0.1.{number}",
            "state": "ready",
            "readiness": {"by": "quiet", "reason": "no image for 30 s, no slice missing"},
            "outcome": "",
            "first_received": at(0),
            "last_received": at(number),
            "changed_at": at(0),
            **given,
            "attributes": attributes | given.get("attributes", {}),
        }
        sought = {"patient_id": "PatientID", "accession_number": "AccessionNumber"}
        values |= {column: values["attributes"][keyword] for column, keyword in sought.items()}
        return self._add(schema.study, values)

    def series(self, study: int, number: int, **given: Any) -> int:
        """A CT series of 30 images, which are written too."""
        values = {
            "site_id": 1,
            "study_id": study,
            "series_uid": f"1.2.826.0.1.{study}.{number}",
            "modality": "CT",
            "state": "ready",
            "readiness": {"by": "geometry", "reason": "30 slices without a gap, quiet for 30 s"},
            "attributes": {**_SERIES, "SeriesNumber": float(number)},
            "varying": [],
            "instances": 30,
            "origin": "routed",
            "peer": "10.0.0.5",
            "calling_ae": "PACS",
            "called_ae": "DICOMNODE",
            "first_received": at(0),
            "last_received": at(2),
            **given,
        }
        row_id = self._add(schema.series, values)
        for image in range(values["instances"]):
            self.instance(study, f"{row_id}.{image}", "current", series_id=row_id)
        return row_id

    def instance(self, study: int | None, name: str, state: str, reason: str = "", **given: Any) -> int:
        """A stored object."""
        values: dict[str, Any] = dict.fromkeys(
            ("digest", "transfer_syntax", "peer", "calling_ae", "called_ae", "association"), "x"
        )
        values |= {"site_id": 1, "study_id": study, "sop_uid": f"1.2.826.1.{name}", "sop_class": "1.2.840.10008.5.1.4"}
        values |= {"revision": 1, "state": state, "reason": reason, "origin": "routed", "frames": 1, "size": 526}
        values |= {"path": f"objects/a0/0/{name}.dcm", "received_at": at(1), **given}
        return self._add(schema.instance, values)

    def job(self, study: int, series: int, state: str, **given: Any) -> int:
        """A job of ct_lung_density."""
        ended = state in ("done", "failed", "quarantined")
        values = {
            "site_id": 1,
            "study_id": study,
            "key": f"{study:064d}",
            "issue": 1,
            "state": state,
            "rule": "chest CT: lungs",
            "model": "ct_lung_density",
            "model_version": "0.1.0",
            "model_digest": "d" * 64,
            "inputs": {"ct": {"series": series, "series_uid": f"1.2.826.0.1.{study}.2", "instances": [1, 2, 3]}},
            "parameters": {},
            "destinations": ["pacs"],
            "withheld": {},
            "features_digest": "",
            "explanation": [{"rule": "chest CT: lungs", "reason": "series 2 is the only match", "matched": True}],
            "priority": 2,
            "attempt": 0 if state == "queued" else 1,
            "excused": 0,
            "owner": None if state == "queued" else "box:4711",
            "progress": state,
            "run_after": at(32),
            "created_at": at(32),
            "started_at": None if state == "queued" else at(33),
            "finished_at": at(37) if ended else None,
            "error": None,
            "timings": {"load": 0.4, "infer": 2.6, "write": 0.8} if state == "done" else {},
            "versions": {"monai": "1.6.1"} if state == "done" else {},
            **given,
        }
        return self._add(schema.job, values)

    def result(self, job: int, standing: str = "current") -> int:
        """Findings and result objects of a job; returns the id of the result set."""
        for kind, name, content in findings():
            row = {"site_id": 1, "job_id": job, "kind": kind, "state": "proposed", "name": name, "content": content}
            self._add(schema.finding, row)
        values = {"site_id": 1, "job_id": job, "profile": "binary", "state": "encoded", "standing": standing}
        result_set = self._add(schema.result_set, {**values, "manifest": {}, "created_at": at(37)})
        for kind in ("seg", "sr"):
            made = {
                "sop_uid": f"2.25.{job}{len(kind)}",
                "sop_class": "1.2.840.10008.5.1.4",
                "series_uid": f"2.25.{job}",
            }
            made |= {"transfer_syntax": "1.2.840.10008.1.2.1", "digest": "a" * 64, "size": 48123}
            path = f"results/{job}/{kind}.dcm"
            self._add(schema.artifact, {"site_id": 1, "result_set_id": result_set, "kind": kind, "path": path, **made})
        return result_set

    def parcel(self, study: int, result_set: int, state: str, **given: Any) -> int:
        """The results on their way to ``pacs``."""
        values = {
            "site_id": 1,
            "study_id": study,
            "result_set_id": result_set,
            "destination": "pacs",
            "state": state,
            "tries": 1 if state == "sent" else 0,
            "next_try": at(38),
            "error": None,
            "created_at": at(37),
            "sent_at": at(38) if state == "sent" else None,
            **given,
        }
        return self._add(schema.parcel, values)

    def _add(self, table: Any, values: dict[str, Any]) -> int:
        return int(self.connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one())


def at(seconds: float) -> datetime:
    """So many seconds after ``START``."""
    return START + timedelta(seconds=seconds)


def findings() -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and content of what a run found."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for number, label, color in _SEGMENTS:
        found.append(("segment", label, {"number": number, "label": label, "color": color, "tracking_uid": "2.25.9"}))
    for name, meaning, unit, values in _MEASURED:
        for number, value in enumerate(values, start=1):
            content = {"name": name, "concept": {"meaning": meaning}, "value": value, "unit": {"value": unit}}
            found.append(("measurement", name, {**content, "segments": [number], "method": "counted voxels"}))
    emphysema = {"name": "emphysema", "concept": {"meaning": "Pulmonary emphysema"}, "presence": "not evaluated"}
    emphysema |= {"reason": "Slice Thickness is 5 mm, at most 1.5 mm is asked for", "source": "doi:10.1/example"}
    return [*found, ("evaluation", "emphysema", emphysema)]


def new_ledger(data_dir: Path) -> Database:
    """An empty ledger."""
    database = Database("sqlite", data_dir)
    migrate(database)
    return database


def full_ledger(data_dir: Path) -> tuple[Database, dict[str, int]]:
    """Studies in many situations; row ids by the situation's name."""
    database = new_ledger(data_dir)
    ids: dict[str, int] = {}
    with database.write() as connection:
        writer = Writer(connection)
        ids["delivered"] = _delivered(writer)
        unwanted = "no rule wants it; chest CT: lungs: not wanted: none of 1 series matches"
        ids["unwanted"] = writer.study(2, outcome=unwanted, attributes={"StudyDescription": HOSTILE})
        writer.series(ids["unwanted"], 1, modality="MR")
        ids["failed"] = writer.study(3, outcome="chest CT: lungs: planned job 2")
        error = {"reason": "model-raised", "message": "ZeroDivisionError in the model", "remedy": "report it"}
        writer.job(ids["failed"], writer.series(ids["failed"], 2), "failed", error={**error, "traceback": "File …"})
        ids["running"] = writer.study(4)
        writer.job(ids["running"], writer.series(ids["running"], 2), "running", progress="infer")
        ids["queued"] = writer.study(5)
        writer.job(ids["queued"], writer.series(ids["queued"], 2), "queued")
        ids["arriving"] = writer.study(6, state="open", readiness={})
        writer.series(ids["arriving"], 2, state="open", readiness={}, instances=7)
        ids["undelivered"] = writer.study(7)
        job = writer.job(ids["undelivered"], writer.series(ids["undelivered"], 2), "done")
        refused = {"reason": "refused", "message": "ORTHANC at 10.0.0.5:4242: connection refused", "remedy": "start it"}
        writer.parcel(ids["undelivered"], writer.result(job), "due", tries=4, error=refused)
        ids["held"] = writer.study(8, state="held", readiness={"reason": "two patients", "remedy": "correct one"})
        writer.instance(ids["held"], "conflict", "conflict", "other pixels under the same SOP Instance UID")
        writer.instance(None, "rejected", "rejected", "not DICOM")
    return database, ids


def _delivered(writer: Writer) -> int:
    study = writer.study(1, outcome="chest CT: lungs: planned job 1 on series 1.2.826.0.1.1.2")
    writer.series(study, 1, instances=2, attributes={"SeriesNumber": 1.0, "SeriesDescription": "Scout"})
    series = writer.series(study, 2)
    job = writer.job(study, series, "done")
    parcel = writer.parcel(study, writer.result(job), "sent")
    for kind, by, detail in (
        ("job planned", "planner", {"rule": "chest CT: lungs", "model": "ct_lung_density 0.1.0"}),
        ("job started", "box:4711", {"attempt": 1}),
        ("job done", "box:4711", {"attempt": 1, "results": ["seg", "sr"]}),
    ):
        events.record(writer.connection, kind, by, detail, study_id=study, job_id=job)
    events.record(
        writer.connection, "parcel sent", "courier", {"destination": "pacs"}, study_id=study, parcel_id=parcel
    )
    return study
