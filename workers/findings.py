"""What a model yielded, as findings: layers, measurements, classes and detections, with their codes."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings, Segment
from dicom_node.domain.output import ClassOutput
from workers.inference import scope, statements, uncertainty
from workers.inference.evaluations import evaluate
from workers.inference.pool import ModelOutput
from workers.inference.volume import Volume


def found(
    contract: ModelContract,
    volume: Volume,
    output: ModelOutput,
    tracking_uid: Callable[[str], str],
    notes: tuple[str, ...],
) -> Findings:
    """Of a model that was run on ``volume`` (that of its first role); ``tracking_uid``: of a segment or lesion."""
    layers = output.layers(contract)
    grey = volume.array if volume.array.ndim == 3 else volume.array.mean(axis=-1)
    measurements = uncertainty.measured(contract, output, grey, volume.grid)
    protocols = [e.protocol for e in contract.evaluations]
    protocols += [o.protocol for o in contract.outputs if isinstance(o, ClassOutput)]
    attributes = volume.agreed({bound.keyword for protocol in protocols for bound in protocol})
    detections, more = statements.detections(contract, output.arrays, tracking_uid)
    return Findings(
        grid=volume.grid,
        layers=layers,
        frames=volume.frames,
        segments=_segments(contract, tracking_uid),
        measurements=measurements,
        evaluations=evaluate(contract, measurements, attributes),
        notes=(*notes, *more),
        classes=statements.classify(contract, output.arrays, attributes),
        detections=detections,
        probabilities=output.probabilities(contract),
        explanation=statements.explanation(contract, output.arrays),
    )


def not_evaluated(contract: ModelContract, volume: Volume, reason: str, notes: tuple[str, ...]) -> Findings:
    """What is told, instead of running it, where the model does not hold."""
    return Findings(
        grid=volume.grid,
        layers=(),
        frames=volume.frames,
        segments=(),
        notes=(*notes, f"Not evaluated. {reason}."),
        classes=scope.not_evaluated(contract, reason),
    )


def _segments(contract: ModelContract, tracking_uid: Callable[[str], str]) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            number=spec.number,
            label=spec.label,
            category=spec.category,
            type=spec.type,
            type_modifier=spec.type_modifier,
            color=spec.color,
            tracking_id=f"{contract.name} {spec.name}",
            tracking_uid=tracking_uid(spec.name),
            description=spec.description,
        )
        for spec in contract.segments
    )
