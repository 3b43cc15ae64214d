"""Reports of radiologists, by TID 1500: nodules with their size, lobe, type and margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from result_cases import series

_UPPER, _LOWER = Code("45653009", "SCT", "Upper lobe of lung"), Code("90572001", "SCT", "Lower lobe of lung")
_TYPES = {
    "solid": Code("NODULE-SOLID", "99DCMNODE", "Solid nodule"),
    "part_solid": Code("NODULE-PARTSOLID", "99DCMNODE", "Part-solid nodule"),
}


def nodule_report(
    images: Sequence[Dataset] = (), *, verified_by: str = "", nodules: Sequence[Mapping[str, Any]] = ({"mm": 8.0},)
) -> Dataset:
    """A report of a person on these images; of a nodule ``mm``, ``unit``, ``upper``, ``type``, ``spiculated``."""
    source = list(images) or series()
    observer = hd.sr.ObserverContext(
        observer_type=Code("121006", "DCM", "Person"),
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name="Reader^Rita"),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=Code("77477000", "SCT", "Computed tomography"),
        imaging_measurements=[_nodule(number, told) for number, told in enumerate(nodules, start=1)],
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=source,
        content=content,
        series_instance_uid=generate_uid(),
        series_number=90,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Workstation",
        is_complete=True,
        is_verified=bool(verified_by),
        verifying_observer_name=verified_by or None,
        verifying_organization="Hospital" if verified_by else None,
    )
    return report  # type: ignore[no-any-return]


def _nodule(number: int, told: Mapping[str, Any]) -> Any:
    unit = str(told.get("unit", "mm"))
    upper = told.get("upper", True)
    answers = []
    if "type" in told:
        name = Code("NODULE-TYPE", "99DCMNODE", "Type of a nodule")
        answers.append(hd.sr.QualitativeEvaluation(name=name, value=_TYPES[told["type"]]))
    if "spiculated" in told:
        margin = Code("112136", "DCM", "Spiculated") if told["spiculated"] else Code("112142", "DCM", "Circumscribed")
        answers.append(hd.sr.QualitativeEvaluation(name=Code("112007", "DCM", "Border definition"), value=margin))
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(), identifier=f"Nodule {number}"),
        finding_type=Code("27925004", "SCT", "Nodule"),
        finding_sites=[hd.sr.FindingSite(_UPPER if upper else _LOWER)],
        measurements=[
            hd.sr.Measurement(
                name=Code("103339001", "SCT", "Long Axis"), value=told["mm"], unit=Code(unit, "UCUM", unit)
            )
        ],
        qualitative_evaluations=answers or None,
    )
