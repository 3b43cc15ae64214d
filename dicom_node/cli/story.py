"""A study's story as text."""

from __future__ import annotations

from typing import Any

from dicom_node.cli import output
from dicom_node.cli.output import when
from dicom_node.domain.wording import day, number, took


def print_story(story: dict[str, Any]) -> None:
    """Print what ``dicom_node.archive.story.story`` tells."""
    output.fields(
        [
            ("study", f"{story['id']}  {story['study_uid']}"),
            ("patient", story["patient_id"]),
            ("accession", story["accession_number"]),
            ("description", f"{day(story['study_date'])} {story['description']}".strip()),
            ("stands", story["standing_words"]),
            ("what to do", story["evidence"]["remedy"] if story["standing"] == "held" else ""),
        ]
    )
    _print_arrival(story)
    output.heading("Rules")
    output.write(story["decision"] or "not looked at yet")
    for job in story["jobs"]:
        print_job(job)
    _print_parcels(story["parcels"])
    output.heading("Time of each stage")
    output.table(("stage", "took"), [(stage["stage"], took(stage["seconds"])) for stage in story["stages"]])


def print_job(job: dict[str, Any]) -> None:
    """One job with its findings and result objects."""
    output.heading(f"Job {job['id']}: {job['model']} {job['model_version']}, {job['state']}")
    inputs = [f"{chosen['role']} = {chosen['series_uid']} ({chosen['instances']} images)" for chosen in job["inputs"]]
    error = job["error"] or {}
    output.fields(
        [
            ("rule", job["rule"]),
            ("input", inputs),
            ("chosen", job["chosen"]),
            ("attempt", job["attempt"]),
            ("progress", job["progress"] if job["state"] in ("running", "waiting") else ""),
            ("replaces", f"the result of job {job['supersedes']}" if job["supersedes"] else ""),
            ("question", job["question"]),
            ("priority", f"{job['priority']}, by {job['priority_source']}"),
            ("queued", took(job["queued_seconds"])),
            ("ran", took(job["run_seconds"])),
            ("result", job["result"] if job["result"] != "current" else ""),
            ("error", error.get("message", "")),
            ("what to do", error.get("remedy", "")),
            ("withheld", [f"{name}: {why}" for name, why in job["withheld"].items()]),
        ]
    )
    if job["measurements"]:
        output.write()
        rows = [
            (" and ".join(found["of"]) or "the series", found["meaning"], number(found["value"]), found["unit_shown"])
            for found in job["measurements"]
        ]
        output.table(("of", "measurement", "value", "unit"), rows)
    for found in job["classes"]:
        output.write()
        output.write(f"{found['meaning']}: {found['presence']}. {found['reason']}.")
        if found["source"]:
            output.write(f"  {found['source']}")
    if job["detections"]:
        output.write()
        output.table(("detection", "score", "centre, LPS mm", "measured"), [_detection(d) for d in job["detections"]])
    for found in job["evaluations"]:
        output.write()
        output.write(f"{found['meaning']}: {found['presence']}. {found['reason']}")
        if found["source"]:
            output.write(f"  {found['source']}")
    if job["artifacts"]:
        output.write()
        rows = [(made["kind"].upper(), made["sop_uid"], made["size"], made["path"]) for made in job["artifacts"]]
        output.table(("object", "SOP Instance UID", "bytes", "file"), rows)


def _detection(found: dict[str, Any]) -> tuple[object, ...]:
    points = found["points"]
    centre = ", ".join(number(sum(axis) / len(points)) for axis in zip(*points, strict=True))
    measured = ", ".join(f"{m['meaning']} {number(m['value'])} {m['unit_shown']}" for m in found["measurements"])
    score = "" if found["score"] is None else number(found["score"])
    return f"{found['meaning']} {found['number']}", score, centre, measured


def print_failure(job: dict[str, Any]) -> None:
    """What was kept of an attempt that failed: the traceback, what the model's process printed, what it read."""
    failure = job["failure"]
    if failure is None:
        return
    for title, text in (("Traceback", failure["traceback"]), ("Last output of the model", failure["output"])):
        if text:
            output.heading(title)
            output.write(text.rstrip())
    for chosen in failure["input"]:
        output.heading(f"Input {chosen['role']}: series {chosen['series_uid']}")
        output.write("\n".join(chosen["paths"]))


def _print_arrival(story: dict[str, Any]) -> None:
    output.heading("What arrived")
    rows = [
        (
            series["number"],
            series["modality"],
            series["description"],
            series["instances"],
            series["origin"],
            f"{series['calling_ae']} {series['peer']}",
            when(series["last_received"]),
            series["state"],
            _why(series["evidence"]),
        )
        for series in story["series"]
    ]
    columns = ("series", "modality", "description", "images", "origin", "from", "last image", "state", "evidence")
    output.table(columns, rows, empty="no series")
    if story["problems"]:
        output.write()
        unusable = [(found["sop_uid"], found["state"], found["reason"]) for found in story["problems"]]
        output.table(("object that cannot be used", "state", "why"), unusable)
    output.write(f"study: {story['state']}" + (f", {why}" if (why := _why(story["evidence"])) else ""))


def _why(evidence: dict[str, str]) -> str:
    return evidence["reason"] or evidence["by"]


def _print_parcels(parcels: list[dict[str, Any]]) -> None:
    output.heading("Deliveries")
    rows = [
        (
            parcel["id"],
            parcel["model"] or parcel["rule"],
            parcel["destination"],
            parcel["state"],
            len(parcel["objects"]),
            parcel["tries"],
            when(parcel["sent_at"]) or f"next try {when(parcel['next_try'])}",
            (parcel["error"] or {}).get("message", "") or parcel["verification"],
        )
        for parcel in parcels
    ]
    output.table(("parcel", "of", "destination", "state", "objects", "tries", "sent", "last word"), rows, empty="none")
