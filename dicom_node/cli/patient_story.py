"""What is known of a patient, as data and as text: ``patients show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_node.cli import access, output
from dicom_node.errors import LedgerError

if TYPE_CHECKING:
    from dicom_node.archive.database import Database
    from dicom_node.domain.feature import Feature
    from dicom_node.ehr_settings import EhrSettings


def known(database: Database, settings: EhrSettings, patient_id: str, issuer: str) -> list[dict[str, Any]]:
    """One entry for each issuer that has given the number.

    Raises:
        LedgerError: nobody has.
    """
    from dicom_node.archive.features import Features

    features = Features(database)
    found = features.patients(patient_id, issuer or None)
    if not found:
        raise LedgerError(f"no patient {patient_id!r} is known", reason="no-such-patient")
    return [_one(database, settings, features, row, patient_id, told) for row, told in found]


def _one(
    database: Database, settings: EhrSettings, features: Any, row: int, patient_id: str, issuer: str
) -> dict[str, Any]:
    from dicom_node.archive import reads

    records = features.records(row)
    told = features.of_patient(row)
    reads.record(database, row, access.person(), "patients show", {each.name for each in told})
    return {
        "patient_id": patient_id,
        "issuer": issuer,
        "records": [{"source": r.source, "reference": r.reference, "standing": r.standing} for r in records],
        "history": [_event(each) for each in features.history(row)],
        "documents": len(features.documents(row)),
        "features": [_shown(feature) for feature in _newest(told)],
        "studies": [_study(database, settings, features, number) for number in features.studies(row)],
    }


def _newest(told: tuple[Feature, ...]) -> list[Feature]:
    """Of each name the newest usable value, or the newest that cannot be used."""
    from dicom_node.domain.feature import FeatureState

    best: dict[str, Feature] = {}
    for feature in told:
        before = best.get(feature.name)
        if before is None or _rank(feature, FeatureState.PRESENT) > _rank(before, FeatureState.PRESENT):
            best[feature.name] = feature
    return [best[name] for name in sorted(best)]


def _rank(feature: Feature, present: Any) -> tuple[bool, float]:
    return feature.state is present, feature.effective_at.timestamp() if feature.effective_at else 0.0


def _shown(feature: Feature) -> dict[str, Any]:
    told = feature.as_json()
    return {key: told[key] for key in ("name", "value", "unit", "state", "effective_at", "source", "reason")}


def _study(database: Database, settings: EhrSettings, features: Any, study_id: int) -> dict[str, Any]:
    from dicom_node.sidecars.unmatched import matched

    return {"study": study_id, **matched(database, features, settings, study_id)[2].as_json()}


def _event(told: dict[str, Any]) -> dict[str, Any]:
    """One event of who is who, as plain data."""
    named = {key: " of ".join(filter(None, reversed(told[key]))) for key in ("patient", "into") if key in told}
    what = {key: told[key] for key in ("study_uid", "accession_number", "series") if told.get(key)}
    about = {"at": told["at"].isoformat(), "kind": told["kind"], "source": told["source"], **named, **what}
    return {**about, "changes": sorted(told["values"])}


def _says(event: dict[str, Any]) -> str:
    which = [event[key] for key in ("study_uid", "accession_number") if key in event]
    return ", ".join([*which, *event["changes"]])


def render(data: list[dict[str, Any]]) -> None:
    """As text."""
    for each in data:
        whose = f"{each['patient_id']} of {each['issuer']}" if each["issuer"] else each["patient_id"]
        output.heading(whose)
        records = [f"{r['source']} {r['reference']} ({r['standing']})" for r in each["records"]]
        output.fields([("records", records or "none"), ("documents", each["documents"])])
        output.table(
            ["when", "what", "patient", "into", "told by", "says"],
            [
                [h["at"][:19], h["kind"], h.get("patient", ""), h.get("into", ""), h["source"], _says(h)]
                for h in each["history"]
            ],
            empty="nobody has told anything of who this is",
        )
        rows = [
            [f["name"], f["value"], f["unit"], f["state"], (f["effective_at"] or "")[:10], f["reason"] or f["source"]]
            for f in each["features"]
        ]
        output.table(["feature", "value", "unit", "state", "of", "source"], rows, empty="no features")
        output.table(
            ["study", "record may be used", "why"],
            [[s["study"], s["matched"], s["reason"]] for s in each["studies"]],
            empty="no studies",
        )
