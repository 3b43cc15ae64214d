"""Findings against those of the patient's last result by the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dicom_node.archive import priors
from dicom_node.archive.database import Database
from dicom_node.archive.finding_rows import records_of
from dicom_node.archive.priors import Earlier
from dicom_node.domain import comparison
from dicom_node.domain.comparison import FROM_CENTRES_MM, FROM_FRAME_OF_REFERENCE_MM, Comparison
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Detection, Findings, Measurement
from dicom_node.domain.job import Job
from workers.inference.volume import Volume

_BODY = "body"  # what is brighter than the middle between the darkest and the brightest, of any series


def compared(
    database: Database, job: Job, contract: ModelContract, volume: Volume, findings: Findings, default_issuer: str
) -> Findings:
    """The findings with a comparison, where there is an earlier result; what was not evaluated is not compared."""
    if not (findings.measurements or findings.detections):
        return findings
    earlier = priors.newest(database, job, default_issuer)
    if earlier is None:
        return findings
    return replace(findings, comparison=compare(contract, acquisition(volume, findings), findings, earlier))


def kept(volume: Volume, findings: Findings) -> dict[str, Any]:
    """What is kept of a result set beside its objects and findings."""
    return {
        "series": volume.series_instance_uid,
        "images": len(volume.frames),
        "notes": list(findings.notes),
        "acquisition": acquisition(volume, findings),
    }


def acquisition(volume: Volume, findings: Findings) -> dict[str, Any]:
    """What later results need to be compared with this one: kept with its result set."""
    attributes = volume.agreed(comparison.PROTOCOL)
    spacing = findings.grid.spacing
    if volume.projection is None and len(findings.frames) > 1:
        attributes["SpacingBetweenSlices"] = float(spacing[0])
    return {
        "protocol": comparison.protocol_of(attributes),
        "frame_of_reference": volume.frame_of_reference_uid,
        "centres": _centres(volume, findings),
    }


def compare(contract: ModelContract, now: Mapping[str, Any], findings: Findings, earlier: Earlier) -> Comparison:
    """The comparison itself; ``now`` is the acquisition of the findings."""
    obstacle = (
        comparison.obstacle(now["protocol"], earlier.acquisition["protocol"])
        if earlier.acquisition
        else "nothing is known of its protocol"
    )
    if obstacle:
        return Comparison(earlier.prior, obstacle, "")
    stated = contract.repeatability
    changes = comparison.changes(findings.measurements, records_of(earlier.rows, Measurement), stated)
    before = records_of(earlier.rows, Detection)
    if not (before or findings.detections):
        return Comparison(earlier.prior, "", "", changes)
    shift, within_mm, how = _alignment(now, earlier.acquisition)
    matches = comparison.match(findings.detections, before, shift, within_mm) if how else ()
    there = {found.tracking_uid: found for found in before}
    for pair in matches:
        found = next(each for each in findings.detections if each.tracking_uid == pair.tracking_uid)
        measured = there[pair.earlier_uid].measurements
        changes += comparison.changes(found.measurements, measured, stated, pair.tracking_uid)
    matched = {pair.tracking_uid for pair in matches}, {pair.earlier_uid for pair in matches}
    return Comparison(
        prior=earlier.prior,
        obstacle="",
        aligned_by=how,
        changes=changes,
        matches=matches,
        new=tuple(each.tracking_uid for each in findings.detections if each.tracking_uid not in matched[0]),
        gone=tuple(each.tracking_id for each in before if each.tracking_uid not in matched[1]),
    )


def _alignment(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> tuple[comparison.Point, float, str]:
    """What is added to earlier places (LPS mm), how far apart matches may lie then, and how it was found, in words."""
    uid = now["frame_of_reference"]
    if uid and uid == earlier["frame_of_reference"]:
        return (0.0, 0.0, 0.0), FROM_FRAME_OF_REFERENCE_MM, "their frame of reference"
    here, there = ({**each["centres"]} for each in (now, earlier))
    body = {_BODY: here.pop(_BODY, None)}, {_BODY: there.pop(_BODY, None)}
    if (shift := comparison.shift_between(here, there)) is not None:
        return shift, FROM_CENTRES_MM, "the centres of their segments"
    if body[0][_BODY] is not None and body[1][_BODY] is not None:
        shift = comparison.shift_between(body[0], body[1]) or (0.0, 0.0, 0.0)
        return shift, FROM_CENTRES_MM, "the centres of what is bright in them"
    return (0.0, 0.0, 0.0), 0.0, ""


def _centres(volume: Volume, findings: Findings) -> dict[str, list[float]]:
    """Centres of the segments by their labels, and of the body, LPS mm."""
    if volume.projection is not None:
        return {}
    held = findings.held()
    centres = {
        segment.label: _centre(findings.mask(segment.number), findings)
        for segment in findings.segments
        if segment.number in held
    }
    if not findings.segments and volume.array.ndim == 3:
        low, high = float(volume.array.min()), float(volume.array.max())
        centres[_BODY] = _centre(volume.array >= (low + high) / 2, findings)  # of a flat image: all of it
    return centres


def _centre(mask: Any, findings: Findings) -> list[float]:
    """The mean place of the voxels of a mask that has some; by sums along the axes, in little memory."""
    counted = mask.sum(axis=(1, 2)), mask.sum(axis=(0, 2)), mask.sum(axis=(0, 1))
    index = [float(np.arange(len(each)) @ each / each.sum()) for each in counted]
    return [float(value) for value in findings.grid.index_to_lps(np.asarray([index]))[0]]
