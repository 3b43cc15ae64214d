"""Vectors and positions of a model → classes, values and detections with their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Classification, Code, Detection, Measurement, ParameterMap, Presence
from dicom_node.domain.output import ClassOutput, ClassSpec, MapMethod, RegionOutput, ValueOutput, ValueSpec
from dicom_node.errors import ModelOutputError
from workers.inference.evaluations import misfits

Array = npt.NDArray[Any]

NO_UNITS = Code("1", "UCUM", "no units")
GRAD_CAM = Code("GRAD-CAM", "99DCMNODE", "Gradient-weighted class activation")
OCCLUSION = Code("OCCLUSION", "99DCMNODE", "Loss of the answer by occlusion")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")


def classify(
    contract: ModelContract, arrays: Mapping[str, Array], attributes: Mapping[str, Any]
) -> tuple[Classification, ...]:
    """Answer for each class of the contract: present, absent, or not evaluated with the reason.

    ``attributes`` maps DICOM keywords to what all images of the series agree on, as in
    :func:`workers.inference.evaluations.evaluate`.
    """
    found: list[Classification] = []
    for output in contract.outputs:
        if isinstance(output, ClassOutput):
            found.extend(_classes(output, arrays[output.name], attributes))
        elif isinstance(output, RegionOutput):
            found.extend(_whether_found(output, _counted(output, arrays)))
    return tuple(found)


def _classes(output: ClassOutput, vector: Array, attributes: Mapping[str, Any]) -> Iterator[Classification]:
    obstacles = "; ".join(misfits(output.protocol, attributes))
    best = int(np.argmax(vector))
    undecided = output.exclusive and float(vector[best]) < output.decided_from
    for index, (spec, probability) in enumerate(zip(output.classes, vector.tolist(), strict=True)):
        if obstacles:
            presence, reason = Presence.NOT_EVALUATED, obstacles
        elif undecided:
            limit = f"below the {output.decided_from:.0%} from which one is taken"
            presence, reason = Presence.NOT_EVALUATED, f"the most probable class has {vector[best]:.1%}, {limit}"
        elif output.exclusive:
            presence = Presence.PRESENT if index == best else Presence.ABSENT
            other = "the most probable class" if index == best else f"{output.classes[best].name} is more probable"
            reason = f"Probability {probability:.1%}; {other}"
        else:
            present = probability >= spec.present_from
            presence = Presence.PRESENT if present else Presence.ABSENT
            where = "at or above" if present else "below"
            reason = f"Probability {probability:.1%}, {where} the threshold of {spec.present_from:.1%}"
        given = None if obstacles else float(probability)
        yield Classification(spec.name, output.name, spec.concept, presence, given, output.site, reason, output.source)


def _whether_found(output: RegionOutput, counts: list[int]) -> Iterator[Classification]:
    for spec, count in zip(output.classes, counts, strict=True):
        presence = Presence.PRESENT if count else Presence.ABSENT
        reason = f"{count or 'None'} found" + (f" with a score of {spec.present_from:g} or more" * bool(output.scores))
        yield Classification(spec.name, output.name, spec.concept, presence, None, output.site, reason, output.source)


def values(contract: ModelContract, arrays: Mapping[str, Array], *, bounded: bool = True) -> tuple[Measurement, ...]:
    """The numbers of regressions, of the series as a whole; ``bounded``: within the bounds of the contract.

    Raises:
        ModelOutputError: ``output-range``: a value lies outside the bounds of the contract.
    """
    return tuple(
        _value(contract, spec if bounded else replace(spec, at_least=None, at_most=None), float(number))
        for output in contract.outputs
        if isinstance(output, ValueOutput)
        for spec, number in zip(output.values, arrays[output.name], strict=True)
    )


def _value(contract: ModelContract, spec: ValueSpec, number: float) -> Measurement:
    too_low = spec.at_least is not None and number < spec.at_least
    if too_low or (spec.at_most is not None and number > spec.at_most):
        raise ModelOutputError(
            f"{contract.name} returned {number:g} {spec.unit.value} as {spec.name}, which no {spec.concept.meaning} is",
            reason="output-range",
            remedy="look whether the series is what the model is meant for",
        )
    return Measurement(spec.name, spec.concept, number, spec.unit, (), method=spec.method)


def detections(
    contract: ModelContract, arrays: Mapping[str, Array], tracking_uid: Callable[[str], str]
) -> tuple[tuple[Detection, ...], tuple[str, ...]]:
    """What was marked, the best first within each output, and notes on what is not told.

    ``tracking_uid`` gives the UID for the name of a detection.

    Raises:
        ModelOutputError: ``output-labels``: a class that the contract does not have.
    """
    found: list[Detection] = []
    notes: list[str] = []
    for output in contract.outputs:
        if not isinstance(output, RegionOutput):
            continue
        order = _best_first(output, arrays)
        if len(order) > output.at_most:
            notes.append(f"{len(order)} {output.name} were found; the {output.at_most} with the best score are told.")
        for number, index in enumerate(order[: output.at_most], start=1):
            uid = tracking_uid(f"{output.name} {number}")
            found.append(_detection(contract, output, arrays, index, number, uid))
    return tuple(found), tuple(notes)


def _detection(
    contract: ModelContract, output: RegionOutput, arrays: Mapping[str, Array], index: int, number: int, uid: str
) -> Detection:
    spec = _class_of(output, arrays, index)
    points = tuple((float(x), float(y), float(z)) for x, y, z in arrays[f"{output.name}/points"][index])
    measured = [
        _value(contract, wanted, float(arrays[f"{output.name}/{wanted.name}"][index])) for wanted in output.measurements
    ]
    return Detection(
        number=number,
        output=output.name,
        concept=spec.concept,
        category=output.category,
        site=output.site,
        points=points,
        score=float(arrays[f"{output.name}/scores"][index]) if output.scores else None,
        score_concept=output.score_concept or CERTAINTY,
        measurements=tuple(measured),
        tracking_id=f"{contract.name} {spec.name} {number}",
        tracking_uid=uid,
    )


def _class_of(output: RegionOutput, arrays: Mapping[str, Array], index: int) -> ClassSpec:
    label = int(arrays[f"{output.name}/labels"][index]) if output.labels else 0
    if not 0 <= label < len(output.classes):
        raise ModelOutputError(
            f"{output.name} has the class {label}, model.toml names {len(output.classes)}",
            reason="output-labels",
            remedy="list all classes under [[outputs.classes]], in the order of the detector's labels",
        )
    return output.classes[label]


def _best_first(output: RegionOutput, arrays: Mapping[str, Array]) -> list[int]:
    """Indices of the detections that count, by falling score; without scores in the order of the model."""
    count = len(arrays[f"{output.name}/points"])
    if not output.scores:
        return list(range(count))
    scores = arrays[f"{output.name}/scores"]
    counting = [index for index in range(count) if scores[index] >= _class_of(output, arrays, index).present_from]
    return sorted(counting, key=lambda index: (-float(scores[index]), index))


def _counted(output: RegionOutput, arrays: Mapping[str, Array]) -> list[int]:
    """How many were found of each class."""
    found = [output.classes.index(_class_of(output, arrays, index)) for index in _best_first(output, arrays)]
    return [found.count(index) for index in range(len(output.classes))]


def explanation(contract: ModelContract, arrays: Mapping[str, Array]) -> ParameterMap | None:
    """The map that the contract asks for, with what its numbers are; None where it asks for none."""
    wanted = contract.explanation
    if wanted is None:
        return None
    output = next(output for output in contract.outputs if output.name == wanted.output)
    entries: Sequence[ClassSpec | ValueSpec] = ()
    if isinstance(output, ClassOutput):
        entries = output.classes
    elif isinstance(output, ValueOutput):
        entries = output.values
    explained = entries[int(arrays[f"{wanted.output}/explained"][0])]
    unit = explained.unit if isinstance(explained, ValueSpec) else NO_UNITS
    if wanted.method is MapMethod.GRAD_CAM:
        concept, unit = GRAD_CAM, NO_UNITS
        how = f"Grad-CAM at the layer {wanted.layer} (Selvaraju 2017, doi:10.1109/ICCV.2017.74), 1 where it is highest."
    else:
        concept = OCCLUSION
        how = (
            f"How much lower the answer is where windows of {wanted.window} voxels are hidden "
            "(Zeiler 2014, doi:10.1007/978-3-319-10590-1_53)."
        )
    values = np.asarray(arrays[f"{wanted.output}/explanation"], dtype=np.float32)
    description = f"What the answer on {explained.concept.meaning} rests on; no finding of its own. {how}"
    return ParameterMap(wanted.output, explained.name, concept, unit, values, description)
