"""A result -> HL7 version 2.5.1, ORU^R01: one report (OBR) and an OBX for each number and answer.

The control id follows from result and status, so that a message which is sent again after a crash is the same message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dicom_node.archive.result_views import ReportStatus, ResultView

_STATUS = {
    ReportStatus.PRELIMINARY: "P",
    ReportStatus.FINAL: "F",
    ReportStatus.WITHDRAWN: "W",
    ReportStatus.NONE: "X",
}
_OBR_STATUS = {**_STATUS, ReportStatus.WITHDRAWN: "C"}
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_SPECIAL = re.compile(r"[\\|^&~]")
_CONTROL = re.compile(r"[\r\n\x00-\x1f\x7f]+")


def escaped(text: str) -> str:
    """A text as a field holds it."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], _CONTROL.sub(" ", text)).strip()


def control_id(view: ResultView) -> str:
    """MSH-10, of 20 letters."""
    told = f"{view.namespace}|{view.job_key}|{view.issue}|{view.status}|{view.reader}"
    return hashlib.sha256(told.encode()).hexdigest()[:20].upper()


def message(view: ResultView, sender: str, receiver: str, *, genomic: bool = False) -> bytes:
    """The message, in UTF-8."""
    at = f"{view.made_at:%Y%m%d%H%M%S%z}"
    patient = f"{escaped(view.patient_id)}^^^{escaped(view.issuer)}"
    report = {
        1: "1",
        2: escaped(view.accession_number),
        3: f"{view.uid('report')}^{escaped(sender)}",
        4: f"{escaped(view.model)}^{escaped(view.model)} {escaped(view.version)}^99DCMNODE",
        7: at,
        22: at,
        24: "RAD",
        25: _OBR_STATUS[view.status],
    }
    head = f"MSH|^~\\&|{escaped(sender)}||{escaped(receiver)}||{at}||ORU^R01^ORU_R01|{control_id(view)}|P|2.5.1"
    segments = [
        f"{head}||||||UNICODE UTF-8",
        f"PID|1||{patient}||{_name(view.patient_name)}||{escaped(view.birth_date)}|{escaped(view.sex)}",
        "OBR|" + "|".join(report.get(number, "") for number in range(1, 26)),
        *_observations(view, genomic),
    ]
    return ("\r".join(segments) + "\r").encode()


def _name(dicom: str) -> str:
    """PN as XPN: the alphabetic group's components stand in the same order."""
    return "^".join(escaped(part) for part in dicom.partition("=")[0].split("^"))


def _observations(view: ResultView, genomic: bool) -> Iterator[str]:
    number = 0
    for row in view.findings:
        if not genomic and (row["name"].endswith("_with_score") or "PGS" in str(row.get("method", ""))):
            continue
        for kind, concept, value, unit, sub in _told(row):
            number += 1
            yield f"OBX|{number}|{kind}|{_code(concept)}|{escaped(sub)}|{value}|{unit}|||||{_STATUS[view.status]}"
    words = {
        ReportStatus.PRELIMINARY: "No reader has accepted this result yet.",
        ReportStatus.FINAL: f"Accepted by {view.reader}.",
        ReportStatus.WITHDRAWN: "This result is withdrawn and must not be used.",
        ReportStatus.NONE: f"There is no result: {view.trouble}",
    }[view.status]
    disclaimer = "Decision support and research software; not a cleared medical device."
    comment = escaped(f"{words} {disclaimer}")
    yield f"OBX|{number + 1}|TX|COMMENT^Comment^99DCMNODE||{comment}||||||{_STATUS[view.status]}"


def _told(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str, str, str]]:
    """Type, concept, value, unit and sub-id of each observation of a finding."""
    sub = str((row.get("lesion") or {}).get("tracking_id", ""))
    if row["kind"] == "measurement":
        yield "NM", row["concept"], f"{row['value']:.10g}", _unit(row["unit"]), sub
    elif row["kind"] in ("class", "evaluation"):
        yield "ST", row["concept"], escaped(f"{row['presence']}. {row['reason']}"), "", sub
    elif row["kind"] == "detection":
        for taken in row["measurements"]:
            yield "NM", taken["concept"], f"{taken['value']:.10g}", _unit(taken["unit"]), str(row["tracking_id"])


def _unit(unit: Mapping[str, Any]) -> str:
    return f"{escaped(unit['value'])}^{escaped(unit['meaning'])}^UCUM"


def _code(code: Mapping[str, Any]) -> str:
    return f"{escaped(code['value'])}^{escaped(code['meaning'])}^{escaped(code['scheme'])}"
