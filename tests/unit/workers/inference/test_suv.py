"""SUV by body weight: against the formula worked by hand, and refused for each input that lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_series import ct_series, enhanced, write
from pydicom import Dataset, Sequence
from pydicom.uid import EnhancedPETImageStorage, PositronEmissionTomographyImageStorage

from dicom_node.errors import DicomNodeError
from workers.inference.volume import load_volume

HALF_LIFE, DOSE, WEIGHT = 6586.2, 370e6, 74.0
STORED = np.random.default_rng(6).integers(0, 30000, (4, 5, 6)).astype(np.int16)
SLOPES = np.array([0.4, 0.73, 1.2, 2.5])


def pet(**changes: Any) -> list[Dataset]:
    images = ct_series(STORED)
    for image, slope in zip(images, SLOPES, strict=True):
        image.Modality, image.SOPClassUID = "PT", PositronEmissionTomographyImageStorage
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.RescaleSlope, image.RescaleIntercept = slope, 0
        image.Units, image.DecayCorrection = "BQML", "START"
        image.CorrectedImage = ["ATTN", "DECY", "SCAT"]
        image.PatientWeight = WEIGHT
        image.SeriesDate = image.AcquisitionDate = "20260304"
        image.SeriesTime, image.AcquisitionTime = "103000", "103000"
        tracer = Dataset()
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE, HALF_LIFE
        tracer.RadiopharmaceuticalStartTime = "093000"
        image.RadiopharmaceuticalInformationSequence = Sequence([tracer])
        for keyword, value in changes.items():
            setattr(image, keyword, value)
    return images


def expected(elapsed_s: float) -> np.ndarray:
    activity = STORED * SLOPES[:, None, None]  # Bq/ml
    return np.asarray(activity * WEIGHT * 1000 / (DOSE * 0.5 ** (elapsed_s / HALF_LIFE)))


def suv(images: list[Dataset], folder: Path) -> np.ndarray:
    volume = load_volume(write(images, folder), suv_bw=True)
    assert volume.unit == "{SUVbw}g/ml"
    return volume.array


def test_activity_at_the_start_of_the_scan(tmp_path: Path) -> None:
    np.testing.assert_allclose(suv(pet(), tmp_path), expected(3600), rtol=1e-5)


def test_without_suv_the_values_are_activity_with_each_slice_s_rescale(tmp_path: Path) -> None:
    volume = load_volume(write(pet(), tmp_path))

    assert volume.unit == "BQML"
    np.testing.assert_allclose(volume.array, STORED * SLOPES[:, None, None], rtol=1e-6)


def test_activity_at_the_injection_needs_no_decay(tmp_path: Path) -> None:
    np.testing.assert_allclose(suv(pet(DecayCorrection="ADMIN"), tmp_path), expected(0), rtol=1e-5)


def test_an_injection_before_midnight_is_of_the_day_before(tmp_path: Path) -> None:
    images = pet(SeriesTime="002000", AcquisitionTime="002000")
    for image in images:
        image.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "232000"

    np.testing.assert_allclose(suv(images, tmp_path), expected(3600), rtol=1e-5)


def test_the_date_of_the_injection_counts_where_it_is_told(tmp_path: Path) -> None:
    images = pet()
    for image in images:
        image.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20260304090000.00"

    np.testing.assert_allclose(suv(images, tmp_path), expected(5400), rtol=1e-5)


def test_a_series_made_anew_later_takes_the_scan_time_of_ge(tmp_path: Path) -> None:
    images = pet(SeriesTime="180000")
    for image in images:
        image.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20260304103000.00")

    np.testing.assert_allclose(suv(images, tmp_path), expected(3600), rtol=1e-5)


def test_a_series_made_anew_later_takes_the_frame_reference_time(tmp_path: Path) -> None:
    duration = 240.0
    decay = math.log(2) / HALF_LIFE * duration
    mean = duration / decay * math.log(decay / (1 - math.exp(-decay)))
    images = pet(SeriesTime="180000", ActualFrameDuration=duration * 1000, FrameReferenceTime=(600 + mean) * 1000)

    np.testing.assert_allclose(suv(images, tmp_path), expected(3600 - 600), rtol=1e-4)


def test_counts_of_philips_take_the_factor_beside_them(tmp_path: Path) -> None:
    images = pet(Units="CNTS")
    for image in images:
        image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.00125")
    np.testing.assert_allclose(suv(images, tmp_path / "suv"), STORED * SLOPES[:, None, None] * 0.00125, rtol=1e-5)

    images = pet(Units="CNTS")
    for image in images:
        image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", "2.5")
    np.testing.assert_allclose(suv(images, tmp_path / "activity"), 2.5 * expected(3600), rtol=1e-5)


def test_what_is_suv_already_stays(tmp_path: Path) -> None:
    np.testing.assert_allclose(suv(pet(Units="GML"), tmp_path), STORED * SLOPES[:, None, None], rtol=1e-6)


def test_enhanced_pet_takes_its_decay_correction_time(tmp_path: Path) -> None:
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "Bq/ml", "UCUM", "Becquerels/milliliter"
    mapping = {"RealWorldValueMappingSequence": {"MeasurementUnitsCodeSequence": Sequence([unit])}}
    made = enhanced(pet(), sop_class=EnhancedPETImageStorage, own=lambda _: mapping)
    for keyword in ("Units", "DecayCorrection", "CorrectedImage"):
        delattr(made, keyword)
    made.DecayCorrected, made.DecayCorrectionDateTime = "YES", "20260304103000"

    np.testing.assert_allclose(suv([made], tmp_path), expected(3600), rtol=1e-5)


def without(keyword: str) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        for image in images:
            if keyword in image:
                delattr(image, keyword)
            else:
                delattr(image.RadiopharmaceuticalInformationSequence[0], keyword)

    return change


def put(keyword: str, value: Any) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        for image in images:
            setattr(image, keyword, value)

    return change


def inject_at(moment: str) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        for image in images:
            image.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = moment

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("PatientWeight"), "Patient's Weight is absent"),
        (put("PatientWeight", 0), "Patient's Weight is 0 kg"),
        (without("RadionuclideTotalDose"), "RadionuclideTotalDose"),
        (without("RadionuclideHalfLife"), "RadionuclideHalfLife"),
        (without("RadiopharmaceuticalStartTime"), "Radiopharmaceutical Start Time is absent"),
        (without("RadiopharmaceuticalInformationSequence"), "Radiopharmaceutical Information Sequence has 0 items"),
        (without("DecayCorrection"), "Decay Correction is absent"),
        (put("DecayCorrection", "NONE"), "Decay Correction is NONE"),
        (put("CorrectedImage", ["DECY"]), "ATTN is missing"),
        (put("CorrectedImage", ["ATTN"]), "DECY is missing"),
        (put("Units", "PROPCNTS"), "Units are PROPCNTS"),
        (put("Units", "CNTS"), "Units are counts"),
        (without("SeriesTime"), "Series Time is absent"),
        (without("AcquisitionTime"), "Acquisition Time is absent"),
        (put("SeriesTime", "180000"), "Frame Reference Time or Actual Frame Duration is absent"),
        (lambda images: setattr(images[1], "Units", "CNTS"), "Units differs"),
        (inject_at("20260304120000"), "-1.5 h after the injection"),
        (inject_at("20260302120000"), "46.5 h after the injection"),
    ],
)
def test_what_lacks_is_named(tmp_path: Path, change: Callable[[list[Dataset]], None], told: str) -> None:
    images = pet()
    change(images)

    with pytest.raises(DicomNodeError, match=told) as raised:
        load_volume(write(images, tmp_path), suv_bw=True)

    assert raised.value.reason == "suv"


def test_other_suv_than_by_body_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DicomNodeError, match="LBM"):
        load_volume(write(pet(Units="GML", SUVType="LBM"), tmp_path), suv_bw=True)


def test_ct_has_no_suv(tmp_path: Path) -> None:
    with pytest.raises(DicomNodeError, match="not PET"):
        load_volume(write(ct_series(STORED), tmp_path), suv_bw=True)
