"""Findings of the series as a whole, and detections in it → measurement groups of TID 1501, 1410 and 1411.

A class is answered by a code, present, absent or not evaluated, with its probability as a number and its reason as a
comment. A point becomes a planar region (TID 1410), a box a volume surface (TID 1411): the polygons in which it meets
the slices. Both are in the frame of reference of the images, so they are in place in every series of the examination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Classification, Code, Detection, Findings, Lesion, Measurement
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ResultError
from workers.results import changes, codes, items, provenance
from workers.results.codes import coded
from workers.results.records import ResultContext
from workers.results.source import Source, is_placed

Float64 = npt.NDArray[np.float64]

# Pairs of the eight corners of a box that are its edges: they differ along one axis.
_EDGES = [(a, a | 1 << axis) for a in range(8) for axis in range(3) if not a >> axis & 1]
_LEAST_PLANES = 2  # of a volume surface
_WITHIN = 1e-3  # share of a box: its end faces are taken just inside it


def series_groups(
    findings: Findings, contract: ModelContract, context: ResultContext, explanation: Dataset | None = None
) -> list[Any]:
    """A group for the classes of each output, one for the values of the series, and one for each lesion.

    That of the output which ``findings.explanation`` belongs to names its Parametric Map, ``explanation``.
    """
    of_series = [found for found in findings.classes if found.lesion is None]
    outputs = dict.fromkeys(found.output for found in of_series)
    groups = [
        _classes(_tracking(name, contract, context), [found for found in of_series if found.output == name], contract)
        for name in outputs
    ]
    values = [found for found in findings.measurements if not found.segments and found.lesion is None]
    if values:
        differences = map(changes.number, changes.of(findings, ()))
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking("values", contract, context),
            measurements=[items.measurement(found, contract) for found in (*values, *differences)],
            qualitative_evaluations=changes.evaluations(findings, ()) or None,
        )
        groups.append(group)
        outputs["values"] = None
    groups += [_lesion(lesion, findings, contract) for lesion in lesions_of(findings)]
    if explanation is not None and findings.explanation is not None:
        explained = findings.explanation.name
        at = list(outputs).index(explained if explained in outputs else "values")
        groups[at][0].ContentSequence.append(_map(explanation))
    return groups


def lesions_of(findings: Findings) -> tuple[Lesion, ...]:
    """The lesions that numbers or answers are of, in their order."""
    of = [found.lesion for found in findings.measurements] + [found.lesion for found in findings.classes]
    return tuple(dict.fromkeys(lesion for lesion in of if lesion is not None))


def _lesion(lesion: Lesion, findings: Findings, contract: ModelContract) -> Any:
    """What is told of a lesion, under the name by which other reports know it."""
    tracking = hd.sr.TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.tracking_id)
    numbers = [items.measurement(found, contract) for found in findings.measurements if found.lesion == lesion]
    return _classes(tracking, [found for found in findings.classes if found.lesion == lesion], contract, numbers)


def _map(explanation: Dataset) -> Any:
    return hd.sr.ImageContentItem(
        name=coded(codes.EXPLANATION_MAP),
        referenced_sop_class_uid=explanation.SOPClassUID,
        referenced_sop_instance_uid=explanation.SOPInstanceUID,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _classes(
    tracking: Any, classes: Sequence[Classification], contract: ModelContract, numbers: Sequence[Any] = ()
) -> Any:
    site = classes[0].site if classes else None
    probabilities = [found for found in classes if found.probability is not None]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        finding_sites=[items.site(site, None)] if site else None,
        measurements=[*numbers, *(items.measurement(probability(found), contract) for found in probabilities)],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.PRESENCE[found.presence]))
            for found in classes
        ],
    )
    for found in classes:
        source = f" Criterion: {found.source}" if found.source else ""
        words = f"{found.concept.meaning}: {found.presence}. {found.reason}.{source}"
        group[0].ContentSequence.append(items.text(codes.COMMENT, words))
    return group


def probability(found: Classification) -> Measurement:
    """The probability of a class as a number with a code of its own."""
    concept = Code(
        provenance.cut(f"P-{found.concept.value}", provenance.SHORT_STRING),
        codes.PRIVATE_SCHEME,
        provenance.cut(f"Probability of {found.concept.meaning}", provenance.LONG_STRING),
    )
    return Measurement(f"probability of {found.name}", concept, found.probability or 0.0, codes.NO_UNITS, ())


def _tracking(name: str, contract: ModelContract, context: ResultContext) -> Any:
    return hd.sr.TrackingIdentifier(uid=provenance.tracking_uid(context, [name]), identifier=f"{contract.name} {name}")


def region_groups(findings: Findings, contract: ModelContract, source: Source) -> list[Any]:
    """A group for each detection.

    Raises:
        ResultError: the images have no position in the patient, so that coordinates would mean nothing.
    """
    if findings.detections and not is_placed(source.images[0]):
        raise ResultError(
            f"{contract.name} found something on images that have no position in the patient",
            reason="no-frame-of-reference",
            remedy="let the model give classes, or a segmentation, of such images",
        )
    return [_detection(found, findings.grid, contract, source) for found in findings.detections]


def _detection(found: Detection, grid: VoxelGrid, contract: ModelContract, source: Source) -> Any:
    frame_of_reference = str(source.images[0].FrameOfReferenceUID)
    common = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=found.tracking_uid, identifier=found.tracking_id),
        "finding_category": coded(found.category),
        "finding_type": coded(found.concept),
        "finding_sites": [items.site(found.site, None)] if found.site else None,
        "measurements": [items.measurement(number, contract) for number in numbers(found)],
    }
    if len(found.points) == 1:
        region = hd.sr.ImageRegion3D(
            graphic_type=hd.sr.GraphicTypeValues3D.POINT,
            graphic_data=np.asarray(found.points),
            frame_of_reference_uid=frame_of_reference,
        )
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common)
    surface = hd.sr.VolumeSurface(
        graphic_type=hd.sr.GraphicTypeValues3D.POLYGON,
        graphic_data=polygons(np.asarray(found.points), grid),
        frame_of_reference_uid=frame_of_reference,
        source_series=hd.sr.SourceSeriesForSegmentation(source.series_instance_uid),
    )
    for item in surface:
        if item.ConceptNameCodeSequence[0].CodeValue == codes.SOURCE_SERIES.value:
            item.ConceptNameCodeSequence[0].CodeMeaning = codes.SOURCE_SERIES.meaning
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_volume_surface=surface, **common)


def numbers(found: Detection) -> list[Measurement]:
    """The score of a detection, and what else was measured of it."""
    score = []
    if found.score is not None:
        percent = found.score_concept.value == codes.CERTAINTY.value
        value, unit = (100 * found.score, codes.PERCENT) if percent else (found.score, codes.NO_UNITS)
        score = [Measurement("score", found.score_concept, value, unit, (), method="Score of the model, uncalibrated")]
    return [*score, *found.measurements]


def polygons(corners: Float64, grid: VoxelGrid) -> list[Float64]:
    """Where a box, (8, 3) in LPS mm, meets the slices of the grid: closed polygons (n, 3) in LPS mm.

    A box that meets fewer than two slices is cut near both of its ends instead.
    """
    index = grid.lps_to_index(corners)
    low, high = float(index[:, 0].min()), float(index[:, 0].max())
    within = _WITHIN * (high - low)
    heights = [float(k) for k in range(int(np.ceil(low + within)), int(np.floor(high - within)) + 1)]
    if len(heights) < _LEAST_PLANES:
        heights = [low + within, high - within]
    return [grid.index_to_lps(_section(index, height)) for height in heights]


def _section(index: Float64, height: float) -> Float64:
    """The closed polygon in which a convex box, corners (8, 3) as (slice, row, column), meets a slice index."""
    met = []
    for a, b in _EDGES:
        below, above = index[a, 0] - height, index[b, 0] - height
        if below * above <= 0 and below != above:
            met.append(index[a] + (index[b] - index[a]) * below / (below - above))
    points = np.unique(np.round(np.asarray(met), 9), axis=0)
    around = points - points.mean(axis=0)
    ordered = points[np.argsort(np.arctan2(around[:, 1], around[:, 2]), kind="stable")]
    return np.asarray(np.vstack([ordered, ordered[:1]]), dtype=np.float64)
