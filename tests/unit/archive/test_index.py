from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless
from sqlalchemy import JSON, Integer, String, Table, Text, insert, update

from dicom_node.archive.database import UtcTime
from dicom_node.archive.index import Index, Rejection
from dicom_node.archive.schema import artifact, identity, instance, job, result_set, series, study
from dicom_node.domain.study import Origin, Readiness
from dicom_node.errors import LedgerError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def states(archive: Any) -> list[tuple[str, str]]:
    return [(row.sop_uid.rpartition(".")[2], row.state) for row in archive.rows(instance)]


def make_ready(archive: Any) -> None:
    with archive.database.write() as connection:
        connection.execute(update(series).values(state=Readiness.READY))
        connection.execute(update(study).values(state=Readiness.READY))


def filled(table: Table, **values: Any) -> dict[str, Any]:
    """Values for every column that must have one."""
    usual = {String: "x", Text: "x", Integer: 1, JSON: {}, UtcTime: NOW}
    needed = [column for column in table.columns if not (column.nullable or column.name == "id")]
    return {c.name: next((v for kind, v in usual.items() if isinstance(c.type, kind)), 1) for c in needed} | values


def own_result(archive: Any, sop_uid: str) -> None:
    with archive.database.write() as connection:
        job_id = connection.execute(insert(job).values(filled(job)).returning(job.c.id)).scalar_one()
        values = filled(result_set, job_id=job_id)
        set_id = connection.execute(insert(result_set).values(values).returning(result_set.c.id)).scalar_one()
        connection.execute(insert(artifact).values(filled(artifact, result_set_id=set_id, sop_uid=sop_uid)))


def test_images_become_a_study_a_series_and_a_patient(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))

    (study_row,) = archive.rows(study)
    (series_row,) = archive.rows(series)
    (patient,) = archive.rows(identity)
    assert study_row.study_uid == "1.2.3.1"
    assert study_row.identity_id == patient.id
    assert (patient.patient_id, patient.attributes["PatientName"]) == ("P1", "Doe^Jane")
    assert study_row.attributes["AccessionNumber"] == "A1"
    assert (series_row.instances, series_row.modality, series_row.peer) == (3, "CT", "10.0.0.7")
    assert series_row.attributes["Rows"] == 4.0
    assert set(series_row.varying) == {"InstanceNumber", "ImagePositionPatient", "SOPInstanceUID"}
    assert [row.plane["stacks"][0]["positions"][0][2] for row in archive.rows(instance)] == [2.0, 4.0, 6.0]
    assert len(archive.events("study arrived")) == 1


def test_the_view_holds_what_rules_ask(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))

    view = archive.index.study_view(archive.rows(study)[0].id)

    assert view.study_instance_uid == "1.2.3.1"
    assert view.readiness == Readiness.OPEN
    (seen,) = view.series
    assert (seen.instances, seen.calling_ae, seen.called_ae) == (2, "MODALITY", "DICOMNODE")
    assert seen.attributes["PatientID"] == "P1"
    assert "InstanceNumber" in seen.varying


def test_an_unknown_study_has_no_view(archive: Any) -> None:
    with pytest.raises(LedgerError, match="no study with the id 7"):
        archive.index.study_view(7)


def test_only_routed_and_backfilled_series_are_viewed(archive: Any) -> None:
    arrival = archive.arrival(archive.image(1))
    prior = archive.arrival(archive.image(2, SeriesInstanceUID="1.2.3.1.2"))
    archive.index.add([arrival, type(prior)(prior.path, prior.header, Origin.PREFETCHED)])

    assert [seen.series_instance_uid for seen in archive.index.study_view(1).series] == ["1.2.3.1.1"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), size=st.integers(1, 6))
def test_neither_order_nor_grouping_of_arrival_changes_the_series(
    tmp_path_factory: Any, archive_factory: Any, seed: int, size: int
) -> None:
    def told(shuffle: bool) -> Any:
        archive = archive_factory(tmp_path_factory.mktemp("archive"))
        chance = random.Random(seed)
        images = [
            archive.image(number, KVP=chance.choice(["100", "120"]), StationName=chance.choice(["A", ""]))
            for number in range(1, 7)
        ]
        if shuffle:
            chance.shuffle(images)
        for start in range(0, 6, size if shuffle else 6):
            archive.add(*images[start : start + size] if shuffle else images)
        (row,) = archive.rows(series)
        archive.database.close()
        return row.attributes, row.varying, row.instances, archive.rows(study)[0].attributes

    assert told(shuffle=True) == told(shuffle=False)


def test_adding_an_object_again_changes_nothing(archive: Any) -> None:
    arrivals = [archive.arrival(archive.image(number)) for number in (1, 2)]
    archive.index.add(arrivals)
    before = archive.rows(instance), archive.rows(series), archive.rows(study)

    archive.index.add(arrivals)

    assert (archive.rows(instance), archive.rows(series), archive.rows(study)) == before
    assert archive.index.known([arrivals[0].path, "objects/a0/x"]) == {arrivals[0].path}


def test_the_same_object_sent_again_changes_nothing_but_the_history(archive: Any) -> None:
    archive.add(archive.image(1))
    make_ready(archive)
    before = archive.rows(series), archive.rows(study)

    archive.add(archive.image(1))

    assert (archive.rows(series), archive.rows(study)) == before
    assert states(archive) == [("1", "current"), ("1", "superseded")]
    assert archive.rows(instance)[1].reason == "the same object again"
    assert archive.events("duplicates received") == [{"count": 1}]


def test_the_same_object_twice_in_one_group_counts_once(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(1))
    assert states(archive) == [("1", "current"), ("1", "superseded")]
    assert archive.rows(series)[0].instances == 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEG2000Lossless])
def test_the_same_image_in_another_transfer_syntax_gives_nothing_new(archive: Any, syntax: str) -> None:
    archive.add(archive.image(1))
    before = archive.rows(series), archive.rows(study)

    archive.add(archive.image(1), syntax=syntax)

    assert (archive.rows(series), archive.rows(study)) == before
    assert states(archive) == [("1", "current"), ("1", "superseded")]
    assert archive.rows(instance)[1].reason.startswith("the same image in ")


def test_another_description_of_the_same_image_counts_from_now_on(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    make_ready(archive)
    before = archive.rows(study)[0].changed_at

    archive.add(archive.image(1, AccessionNumber="A2"))

    assert states(archive) == [("1", "superseded"), ("2", "current"), ("1", "current")]
    assert "AccessionNumber differ" in archive.rows(instance)[2].reason
    (series_row,), (study_row,) = archive.rows(series), archive.rows(study)
    assert (series_row.instances, series_row.state, study_row.state) == (2, "open", "open")
    assert "AccessionNumber" in series_row.varying
    assert study_row.changed_at > before
    assert len(archive.events("series reopened")) == 1


def test_once_all_images_are_corrected_the_series_agrees_again(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    archive.add(archive.image(1, AccessionNumber="A2"))
    archive.add(archive.image(2, AccessionNumber="A2"))
    assert archive.rows(series)[0].readiness["unsettled"]

    assert archive.index.settle() == 1
    assert archive.index.settle() == 0

    assert archive.rows(series)[0].attributes["AccessionNumber"] == "A2"
    assert archive.rows(study)[0].attributes["AccessionNumber"] == "A2"
    assert "AccessionNumber" not in archive.rows(series)[0].varying


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PixelData": b"\7" * 32}, "the pixels differ"),
        ({"ImagePositionPatient": [0, 0, 9]}, "ImagePositionPatient differ"),
        ({"RescaleIntercept": "-1024", "PatientName": "Roe^Jane"}, "RescaleIntercept differ"),
    ],
)
def test_another_image_under_the_same_uid_holds_the_study(archive: Any, change: dict[str, Any], reason: str) -> None:
    archive.add(archive.image(1))

    archive.add(archive.image(1, **change))

    assert states(archive) == [("1", "current"), ("1", "conflict")]
    (row,) = archive.rows(study)
    assert row.state == Readiness.HELD
    assert reason in row.readiness["reason"]
    assert row.readiness["remedy"]
    (held,) = archive.events("study held")
    assert held["reason"] == row.readiness["reason"]
    assert archive.rows(series)[0].instances == 1


def test_a_conflict_that_comes_again_is_told_once(archive: Any) -> None:
    other = archive.image(1, PixelData=b"\7" * 32)
    archive.add(archive.image(1))
    archive.add(other)
    archive.add(other)
    assert [state for _, state in states(archive)] == ["current", "conflict", "conflict"]
    assert len(archive.events("study held")) == 1


def test_two_patients_in_one_study_are_held_and_nothing_is_lost(archive: Any) -> None:
    archive.add(archive.image(1))

    archive.add(archive.image(2, PatientID="P2"))

    (row,) = archive.rows(study)
    assert row.state == Readiness.HELD
    assert row.readiness["reason"] == "two patients in one study: P1 and P2"
    assert "Patient ID" in row.readiness["remedy"]
    assert states(archive) == [("1", "current"), ("2", "current")]
    assert len(archive.events("study held")) == 1


def test_the_study_goes_on_when_all_its_images_name_one_patient_again(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    archive.add(archive.image(1, PatientID="P2"))
    assert archive.rows(study)[0].state == Readiness.HELD

    archive.add(archive.image(2, PatientID="P2"))
    archive.index.settle()

    (row,) = archive.rows(study)
    assert row.state == Readiness.OPEN
    assert row.attributes["PatientID"] == "P2"
    patient = next(patient for patient in archive.rows(identity) if patient.id == row.identity_id)
    assert patient.patient_id == "P2"
    assert len(archive.events("study released")) == 1


@pytest.mark.parametrize(
    ("other", "held"),
    [
        ({"PatientID": ""}, False),
        ({"IssuerOfPatientID": "HOSPITAL"}, False),
        ({"PatientID": "P2"}, True),
    ],
)
def test_what_is_not_told_contradicts_nothing(archive: Any, other: dict[str, Any], held: bool) -> None:
    archive.add(archive.image(1))
    archive.add(archive.image(2, **other))
    assert (archive.rows(study)[0].state == Readiness.HELD) == held


def test_two_issuers_are_two_patients(archive: Any) -> None:
    archive.add(archive.image(1, IssuerOfPatientID="A"), archive.image(2, IssuerOfPatientID="B"))
    assert archive.rows(study)[0].readiness["reason"] == "two patients in one study: P1 (A) and P1 (B)"


@pytest.mark.parametrize("together", [False, True])
def test_what_is_told_last_of_a_patient_counts(archive: Any, together: bool) -> None:
    first, second = archive.image(1), archive.image(2, PatientName="Roe^Jane")
    for group in [[first, second]] if together else [[first], [second]]:
        archive.add(*group)
    (patient,) = archive.rows(identity)
    assert (patient.attributes["PatientName"], patient.revision) == ("Roe^Jane", 2)


@pytest.mark.parametrize("coerced", [{}, {"PatientName": "ROE^JANE", "PixelData": b"\1" * 32}])
def test_our_own_result_coming_back_changes_nothing(archive: Any, coerced: dict[str, Any]) -> None:
    archive.add(archive.image(1))
    own_result(archive, "2.25.42")
    make_ready(archive)
    before = archive.rows(series), archive.rows(study)

    for _ in range(2):
        archive.add(archive.image(9, SOPInstanceUID="2.25.42", SeriesInstanceUID="2.25.41", Modality="SEG", **coerced))

    assert (archive.rows(series), archive.rows(study)) == before
    returned = archive.rows(instance)[1:]
    assert [row.origin for row in returned] == ["own-result", "own-result"]
    assert [seen.attributes["Modality"] for seen in archive.index.study_view(1).series] == ["CT"]


def test_a_late_series_reopens_the_study_but_not_the_series_that_was_whole(archive: Any) -> None:
    archive.add(archive.image(1))
    make_ready(archive)

    archive.add(archive.image(1, SOPInstanceUID="1.2.3.1.2.1", SeriesInstanceUID="1.2.3.1.2", Modality="PR"))

    assert [row.state for row in archive.rows(series)] == ["ready", "open"]
    assert archive.rows(study)[0].state == "open"
    assert len(archive.events("study reopened")) == 1


def test_an_image_that_moves_to_another_study_leaves_the_first(archive: Any) -> None:
    archive.add(archive.image(1))
    archive.add(archive.image(1, StudyInstanceUID="1.2.3.2"))

    assert [row.instances for row in archive.rows(series)] == [0, 1]
    assert archive.index.study_view(1).series == ()
    assert len(archive.index.study_view(2).series) == 1


def test_a_rejected_object_is_told_with_its_remedy(archive: Any) -> None:
    archive.add(archive.image(1))
    rejection = Rejection(
        "objects/a0/1/9.dcm", 10, NOW, "truncated", "cut off", "send it again", "1.2.3.1", "1.2.3.1.1.2"
    )
    nameless = Rejection("objects/a0/1/8.dcm", 10, NOW, "not-dicom", "no DICOM", "convert it")

    archive.index.add([rejection, nameless])

    _, first, second = archive.rows(instance)
    assert (first.state, first.reason, first.sop_uid, first.study_id) == (
        "rejected",
        "truncated: cut off",
        "1.2.3.1.1.2",
        1,
    )
    assert (second.sop_uid, second.study_id) == ("objects/a0/1/8.dcm", None)
    assert [told["remedy"] for told in archive.events("instance rejected")] == ["send it again", "convert it"]
    # The object itself, whole, takes its place.
    archive.add(archive.image(2))
    assert archive.rows(series)[0].instances == 2


def test_the_last_arrival_is_kept_whatever_the_order(archive: Any) -> None:
    archive.add(archive.image(1), received=NOW + timedelta(seconds=5))
    archive.add(archive.image(2), received=NOW)
    assert archive.rows(series)[0].last_received == NOW + timedelta(seconds=5)
    assert archive.rows(study)[0].last_received == NOW + timedelta(seconds=5)


def test_each_change_of_a_study_has_a_time_of_its_own(archive: Any) -> None:
    times = []
    for number in range(1, 21):
        archive.add(archive.image(number))
        times.append(archive.rows(study)[0].changed_at)
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_the_end_of_an_association_is_noted_on_its_series(archive: Any) -> None:
    archive.add(archive.image(1), association="assoc-7")
    archive.index.association_ended("assoc-8", NOW)
    assert archive.rows(series)[0].association_ended is None
    archive.index.association_ended("assoc-7", NOW)
    assert archive.rows(series)[0].association_ended == NOW


def test_a_group_that_fails_leaves_nothing(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = [archive.arrival(archive.image(number)) for number in (1, 2)]
    monkeypatch.setattr("dicom_node.archive.index_batch.Batch.write", _fails)
    with pytest.raises(RuntimeError):
        archive.index.add(arrivals)
    monkeypatch.undo()
    assert archive.rows(study) == []
    archive.index.add(arrivals)
    assert archive.rows(series)[0].instances == 2


def _fails(self: object) -> None:
    raise RuntimeError("killed")


@pytest.mark.data
def test_a_real_study_in_any_order(archive: Any, test_data: Path) -> None:
    files = sorted((test_data / "mr_study3_multiseries").rglob("*.dcm"))
    assert len(files) == 62
    random.Random(1).shuffle(files)
    archive.add(*(path.read_bytes() for path in files))

    view = Index(archive.database, archive.data_dir).study_view(1)

    assert sorted(seen.instances for seen in view.series) == [22, 40]
    assert {seen.attributes["Modality"] for seen in view.series} == {"MR"}
    assert all("SliceLocation" in seen.varying or "ImagePositionPatient" in seen.varying for seen in view.series)
    assert view.attributes["PatientID"] == "PGBM-003"
