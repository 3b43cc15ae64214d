"""Coded concepts that the result objects use, beside those of the model's contract."""

from __future__ import annotations

from typing import Any

import highdicom as hd

from dicom_node.domain.comparison import Verdict
from dicom_node.domain.finding import Code, Presence

ABSENT = Code("272519000", "SCT", "Absent")
PRESENT = Code("52101004", "SCT", "Present")
NOT_EVALUATED = Code("373121007", "SCT", "Not Evaluated")

# CID 240 (Present-Absent-Undetermined) holds no "not evaluated"; "Undetermined" would say that somebody looked.
PRESENCE = {Presence.PRESENT: PRESENT, Presence.ABSENT: ABSENT, Presence.NOT_EVALUATED: NOT_EVALUATED}
PRESENCE_OF_SEGMENT = Code("121052", "DCM", "Presence of property")

LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BILATERAL = Code("51440002", "SCT", "Bilateral")
LATERALITIES = (LEFT.value, RIGHT.value, BILATERAL.value, "66459002")  # CID 244

DEVICE = Code("121007", "DCM", "Device")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
COMMENT = Code("121106", "DCM", "Comment")
NOT_A_NUMBER = Code("114000", "DCM", "Not a number")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE = Code("112227", "DCM", "Frame of Reference UID")
ROWS = Code("110910", "DCM", "Pixel Data Rows")
COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
HORIZONTAL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
SLICE_SPACING = Code("112226", "DCM", "Spacing between slices")
SLICE_THICKNESS = Code("112225", "DCM", "Slice Thickness")
POSITIONS = (
    Code("110901", "DCM", "Image Position (Patient) X"),
    Code("110902", "DCM", "Image Position (Patient) Y"),
    Code("110903", "DCM", "Image Position (Patient) Z"),
)
ORIENTATIONS = (
    Code("110904", "DCM", "Image Orientation (Patient) Row X"),
    Code("110905", "DCM", "Image Orientation (Patient) Row Y"),
    Code("110906", "DCM", "Image Orientation (Patient) Row Z"),
    Code("110907", "DCM", "Image Orientation (Patient) Column X"),
    Code("110908", "DCM", "Image Orientation (Patient) Column Y"),
    Code("110909", "DCM", "Image Orientation (Patient) Column Z"),
)
MILLIMETRE = Code("mm", "UCUM", "mm")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
COSINE = Code("{-1:1}", "UCUM", "{-1:1}")

OF_INTEREST = Code("113000", "DCM", "Of Interest")  # CID 7010

PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")
INCREASED = Code("35105006", "SCT", "Increased")
DECREASED = Code("1250004", "SCT", "Decreased")
UNCHANGED = Code("260388006", "SCT", "No status change")
VERDICTS = {Verdict.INCREASED: INCREASED, Verdict.DECREASED: DECREASED, Verdict.UNCHANGED: UNCHANGED}

PRIVATE_SCHEME = "99DCMNODE"
NO_UNITS = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "percent")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
SOURCE_SERIES = Code("121232", "DCM", "Source series for segmentation")

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SEGMENTATION = Code("113076", "DCM", "Segmentation")

ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

# Algorithm families, CID 7162.
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")

# Procedures of CID 100 (LOINC) by Modality; CID 100 names no body regions.
PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
}
ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


def coded(code: Code) -> Any:
    """The code as highdicom takes it."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning, code.version)


# Properties of a measurement (TID 310).
UPPER_UNCERTAINTY = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER_UNCERTAINTY = Code("371885007", "SCT", "-, range of lower measurement uncertainty")

# What a Parametric Map beside a report is, and how its frames were derived.
EXPLANATION_MAP = Code("EXPLANATION-MAP", PRIVATE_SCHEME, "Map of what an answer rests on")
