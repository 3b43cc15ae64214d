"""Which changes may be asked for, and what they make of a value."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.domain.changes import CHANGEABLE, Changes

ISSUER = {"IssuerOfPatientID": "MC"}


def test_the_list_agrees_with_the_dictionary() -> None:
    for keyword, entry in CHANGEABLE.items():
        assert (tag_for_keyword(keyword), dictionary_VR(entry.tag)) == (entry.tag, entry.vr)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (Changes(prefix={"PatientID": "A"}), "needs its issuer"),
        (Changes(set={"PatientID": "A"}), "cannot be changed by 'set'"),
        (Changes(set={"PatientName": "A"}), "cannot be changed by 'set'"),
        (Changes(remove=("PatientID",)), "cannot be changed by 'remove'"),
        (Changes(remove=("SOPInstanceUID",)), "cannot be changed by 'remove'"),
        (Changes(prefix={"StudyDescription": "A"}), "cannot be changed by 'prefix'"),
        (Changes(set={"InstitutionName": "A"}, remove=("InstitutionName",)), "is changed twice"),
        (Changes(set={"InstitutionName": ""}), "needs a value"),
        (Changes(set={"InstitutionName": " A"}), "without spaces"),
        (Changes(set={"InstitutionName": "Müller"}), "plain ASCII"),
        (Changes(set={"InstitutionName": "A\\B"}), "plain ASCII"),
        (Changes(set={"InstitutionName": "A" * 65}), "64 characters"),
        (Changes(prefix={"AccessionNumber": "A" * 17}), "16 characters"),
    ],
)
def test_what_cannot_be_done_is_told(changes: Changes, told: str) -> None:
    (fault,) = changes.faults()
    assert told in fault[1]


def test_what_can_be_done_has_no_fault() -> None:
    changes = Changes(set={**ISSUER, "StationName": "CT"}, prefix={"PatientID": "A"}, remove=("Occupation",))
    assert list(changes.faults()) == []


def test_values_as_the_destination_knows_them() -> None:
    changes = Changes(set=ISSUER, prefix={"PatientID": "MC-"}, remove=("Occupation",))
    assert changes.value("PatientID", "1") == "MC-1"
    assert changes.value("PatientID", None) is None
    assert changes.value("IssuerOfPatientID", "X") == "MC"
    assert changes.value("Occupation", "baker") is None
    assert changes.value("PatientName", "Doe") == "Doe"
    assert changes.value("PatientID", "9" * 61) == "MC-" + "9" * 61
    with pytest.raises(ValueError, match="65 characters; VR LO has 64"):
        changes.value("PatientID", "9" * 62)
