"""Standardised uptake values by body weight, after the vendor-neutral recipe of QIBA.

Source: QIBA FDG-PET/CT Profile, "SUV vendor neutral pseudo-code" (qibawiki.rsna.org, Standardized Uptake Value);
attributes of PS3.3 C.8.9.1, C.8.9.2 and C.8.22.4. What an input lacks is named; no value is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pydicom.valuerep
from pydicom import Dataset

from dicom_node.errors import HeaderError
from workers.inference.frames import Frame

UNIT = "{SUVbw}g/ml"  # UCUM
_PHILIPS, _GE = "Philips PET Private Group", "GEMS_PETD_01"
_DAY_S = 86400.0


def factor(frames: Sequence[Frame]) -> float:
    """What rescaled stored values of a PET series are multiplied by to give SUVbw, g/ml.

    Raises:
        HeaderError: ``suv``: an attribute that the recipe needs is absent, or says that the recipe does not hold.
    """
    first = frames[0]
    if first.text("Modality") != "PT":
        raise _refusal(f"{first} is {first.text('Modality') or 'of no modality'}, not PET")
    units = _one(frames, "Units") or _mapped_unit(first)
    if units == "GML":
        kind = _one(frames, "SUVType") or "BW"
        if kind != "BW":
            raise _refusal(f"the values are SUV of SUV Type {kind}, not by body weight")
        return 1.0
    if not _is_enhanced(first):
        corrected = first.texts("CorrectedImage")
        lacking = [name for name in ("ATTN", "DECY") if name not in corrected]
        if lacking:
            raise _refusal(f"Corrected Image is {', '.join(corrected) or 'absent'}: {' and '.join(lacking)} is missing")
    if units == "CNTS":
        return _counts_factor(frames)
    if units != "BQML":
        raise _refusal(f"Units are {units or 'absent'}; Bq/ml, counts of Philips and SUV are known")
    return _weight_g(frames) / _decayed_dose(frames)


def _counts_factor(frames: Sequence[Frame]) -> float:
    """Philips writes counts, and the factor to SUV, or that to Bq/ml, beside them."""
    header = frames[0].header
    to_suv = _private(header, 0x7053, _PHILIPS, 0x00)
    if to_suv:
        return to_suv
    to_activity = _private(header, 0x7053, _PHILIPS, 0x09)
    if to_activity:
        return to_activity * _weight_g(frames) / _decayed_dose(frames)
    raise _refusal(
        "Units are counts, and neither the SUV factor (7053,xx00) nor the activity factor (7053,xx09) is there"
    )


def _weight_g(frames: Sequence[Frame]) -> float:
    weight = frames[0].number("PatientWeight")
    if not weight or weight <= 0:
        raise _refusal(f"Patient's Weight is {'absent' if weight is None else f'{weight:g} kg'}")
    return weight * 1000


def _decayed_dose(frames: Sequence[Frame]) -> float:
    """Activity in Bq at the time to which the images are corrected for decay."""
    tracer = _tracer(frames)
    dose = _needed(tracer, "RadionuclideTotalDose")
    half_life = _needed(tracer, "RadionuclideHalfLife")
    correction = _one(frames, "DecayCorrection")
    if correction == "ADMIN":
        return dose
    if correction != "START" and not _is_enhanced(frames[0]):
        raise _refusal(f"Decay Correction is {correction or 'absent'}: START or ADMIN is needed")
    elapsed = (_reference_time(frames, half_life) - _injection_time(frames, tracer)).total_seconds()
    if "RadiopharmaceuticalStartDateTime" not in tracer and elapsed < 0:  # injected before midnight
        elapsed += _DAY_S
    if not 0 <= elapsed < _DAY_S:
        raise _refusal(f"the images are corrected to {elapsed / 3600:.1f} h after the injection")
    return float(dose * 2 ** (-elapsed / half_life))


def _tracer(frames: Sequence[Frame]) -> Dataset:
    items: Any = frames[0].header.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) != 1:
        raise _refusal(f"Radiopharmaceutical Information Sequence has {len(items)} items, not one")
    item: Dataset = items[0]
    return item


def _needed(tracer: Dataset, keyword: str) -> float:
    try:
        value = float(tracer.get(keyword) or 0)
    except (TypeError, ValueError):
        value = 0.0
    if not math.isfinite(value) or value <= 0:
        raise _refusal(f"{keyword} of the radiopharmaceutical is absent")
    return value


def _injection_time(frames: Sequence[Frame], tracer: Dataset) -> datetime:
    stated = str(tracer.get("RadiopharmaceuticalStartDateTime") or "")
    if stated:
        return _moment(stated[:8], stated[8:], "Radiopharmaceutical Start DateTime")
    time = str(tracer.get("RadiopharmaceuticalStartTime") or "")
    if not time:
        raise _refusal("Radiopharmaceutical Start Time is absent")
    # It has no date: that of the series, or the day before where that lies after the scan.
    date = frames[0].text("SeriesDate") or frames[0].text("AcquisitionDate")
    return _moment(date, time, "Radiopharmaceutical Start Time")


def _reference_time(frames: Sequence[Frame], half_life: float) -> datetime:
    """The time to which the images are corrected: the start of the scan."""
    first = frames[0]
    stated = first.text("DecayCorrectionDateTime")
    if stated:
        return _moment(stated[:8], stated[8:], "Decay Correction DateTime")
    acquired = min(_acquisition(frame) for frame in frames)
    series = _moment(first.text("SeriesDate"), first.text("SeriesTime"), "Series Time")
    if series <= acquired:
        return series
    # The series was made anew later, so its time is that of the processing.
    of_scan = _private_text(first.header, 0x0009, _GE, 0x0D)
    if of_scan:
        return _moment(of_scan[:8], of_scan[8:], "the scan time of GE (0009,xx0D)")
    frame_time, duration = first.number("FrameReferenceTime"), first.number("ActualFrameDuration")
    if frame_time is None or not duration:
        raise _refusal(
            "Series Time lies after Acquisition Time, and Frame Reference Time or Actual Frame Duration is absent"
        )
    decay = math.log(2) / half_life * duration / 1000
    mean = duration / 1000 / decay * math.log(decay / (1 - math.exp(-decay)))
    return _acquisition(first) + timedelta(seconds=mean - frame_time / 1000)


def _acquisition(frame: Frame) -> datetime:
    stated = frame.text("AcquisitionDateTime") or frame.text("FrameAcquisitionDateTime")
    if frame.text("AcquisitionTime") or not stated:
        return _moment(frame.text("AcquisitionDate"), frame.text("AcquisitionTime"), "Acquisition Time")
    return _moment(stated[:8], stated[8:], "Acquisition DateTime")


def _moment(date: str, time: str, name: str) -> datetime:
    """A moment of the scanner's clock; offsets from UTC are the same for all of them and left out."""
    try:
        day, of_day = pydicom.valuerep.DA(date), pydicom.valuerep.TM(time.split("+")[0].split("-")[0])
        if day is None or of_day is None:
            raise ValueError("empty")
        return datetime.combine(day, of_day)
    except (TypeError, ValueError) as error:
        raise _refusal(f"{name} is absent or no time: {date!r} {time!r}") from error


def _is_enhanced(frame: Frame) -> bool:
    return frame.text("DecayCorrected") == "YES"


def _mapped_unit(frame: Frame) -> str:
    """Units of an enhanced image: of its Real World Value Mapping."""
    units = frame.header.get("MeasurementUnitsCodeSequence") or ()
    code = str(units[0].get("CodeValue") or "") if units else ""
    return {"Bq/ml": "BQML", UNIT: "GML"}.get(code, code)


def _one(frames: Sequence[Frame], keyword: str) -> str:
    values = {frame.text(keyword) for frame in frames}
    if len(values) > 1:
        raise _refusal(f"{keyword} differs between the images: {', '.join(sorted(values))}")
    return values.pop()


def _private(header: Dataset, group: int, creator: str, element: int) -> float | None:
    try:
        value = float(_private_text(header, group, creator, element))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _private_text(header: Dataset, group: int, creator: str, element: int) -> str:
    try:
        value: Any = header.private_block(group, creator)[element].value
    except KeyError:
        return ""
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip(" \0")


def _refusal(what: str) -> HeaderError:
    return HeaderError(
        f"no SUV can be computed: {what}",
        reason="suv",
        remedy="send the PET series as the scanner made it, with dose, times and weight",
    )
