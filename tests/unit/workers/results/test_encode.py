from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydicom.dataset import Dataset
from result_cases import CONTEXT, ORIENTATIONS, contract, findings_on, received, series

from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID
from dicom_node.errors import ResultError
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import ResultObject

# Character sets with a name that each can hold.
NAMES = {
    ("ISO_IR 100",): "Müller^Jörg",
    ("ISO_IR 144",): "Люкceмбypг",
    ("", "ISO 2022 IR 87"): "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ("", "ISO 2022 IR 149"): "Hong^Gildong=洪^吉洞=홍^길동",
    ("GB18030",): "Wang^XiaoDong=王^小东",
    ("ISO_IR 192",): "Wang^XiaoDong=王^小东",
}


def opened(item: ResultObject) -> Dataset:
    return pydicom.dcmread(BytesIO(item.data))


@given(data=st.data(), slices=st.integers(1, 5), rows=st.integers(1, 9), columns=st.integers(1, 11))
@settings(max_examples=25, deadline=None)
def test_any_mask_in_any_orientation_survives_and_gives_the_same_bytes_again(
    data: st.DataObject, slices: int, rows: int, columns: int
) -> None:
    assume(rows * columns >= 8)  # highdicom packs smaller frames wrongly, which the reading back finds
    orientation = ORIENTATIONS[data.draw(st.sampled_from(sorted(ORIENTATIONS)))]
    label_map = data.draw(npst.arrays(np.uint8, (slices, rows, columns), elements=st.integers(0, 2)))
    images = series(slices, orientation=orientation, shape=(rows, columns))
    findings = findings_on(images, label_map)
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings)
    assert encode(findings, contract(), images, CONTEXT) == objects


def test_a_repeat_gives_the_same_bytes_for_images_read_again() -> None:
    images = series(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    findings = findings_on(images)
    objects = encode(findings, contract(), images, CONTEXT)
    assert encode(findings, contract(), [received(image) for image in images], CONTEXT) == objects


@pytest.mark.parametrize("change", [{"issue": 1}, {"profile": "labelmap"}, {"job_key": "another"}])
def test_another_issue_has_other_objects_of_the_same_findings(change: dict[str, object]) -> None:
    images = series()
    findings = findings_on(images)
    first = encode(findings, contract(), images, CONTEXT)
    second = encode(findings, contract(), images, replace(CONTEXT, **change))  # type: ignore[arg-type]
    check(second, findings)
    assert not {o.sop_instance_uid for o in first} & {o.sop_instance_uid for o in second}
    assert not {o.series_instance_uid for o in first} & {o.series_instance_uid for o in second}


def test_both_objects_are_of_the_study_and_say_who_made_them_when() -> None:
    images = series(TimezoneOffsetFromUTC="+0100")
    for item in encode(findings_on(images), contract(), images, CONTEXT):
        dataset = opened(item)
        assert dataset.StudyInstanceUID == images[0].StudyInstanceUID
        assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("dicom-node project", "dicom-node")
        assert dataset.SoftwareVersions[0] == "0.1.0"
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260304", "233015.250000")
        assert (dataset.InstanceCreationDate, dataset.SeriesTime) == ("20260304", "233015.250000")
        assert dataset.TimezoneOffsetFromUTC == "+0100"
        acquisition, model = dataset.ContributingEquipmentSequence
        assert acquisition.Manufacturer == "Phantoms"
        assert (model.ManufacturerModelName, model.SoftwareVersions) == ("ct_lung_density", "0.1.0")
        assert model.ContributionDateTime == "20260304233015.250000+0100"
        assert model.ContributionDescription.startswith("Processing algorithm, status research")
        assert dataset.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


def test_de_identification_is_told_in_both_objects() -> None:
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    images = series(
        PatientIdentityRemoved="YES",
        DeidentificationMethod="By hand",
        DeidentificationMethodCodeSequence=[method],
        LongitudinalTemporalInformationModified="MODIFIED",
    )
    for item in encode(findings_on(images), contract(), images, CONTEXT):
        dataset = opened(item)
        assert (dataset.PatientIdentityRemoved, dataset.DeidentificationMethod) == ("YES", "By hand")
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize("character_set", NAMES)
def test_names_keep_their_letters_and_their_character_set(character_set: tuple[str, ...]) -> None:
    name = NAMES[character_set]
    terms = list(character_set) if len(character_set) > 1 else character_set[0]
    images = [received(image) for image in series(SpecificCharacterSet=terms, PatientName=name)]
    findings = findings_on(images)
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings, images)
    for item in objects:
        dataset = opened(item)
        assert str(dataset.PatientName) == name
        assert dataset.SpecificCharacterSet == terms
        assert dataset["PatientName"].value.original_string == images[0]["PatientName"].value.original_string


def test_letters_of_ours_that_the_source_s_character_set_lacks_turn_everything_to_utf_8() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    images = [received(i) for i in series(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)]
    findings = findings_on(images, notes=("Größe: 5 µm — ĄĘ",))
    seg, sr = (opened(item) for item in encode(findings, contract(), images, CONTEXT))
    assert seg.SpecificCharacterSet == ["", "ISO 2022 IR 87"]
    assert sr.SpecificCharacterSet == "ISO_IR 192"
    assert str(sr.PatientName) == name
    assert sr.ContentSequence[-1].TextValue == "Größe: 5 µm — ĄĘ"


def test_images_of_other_findings_are_refused() -> None:
    images = series()
    with pytest.raises(ResultError) as caught:
        encode(findings_on(images), contract(), images[::-1], CONTEXT)
    assert caught.value.reason == "source-images"
