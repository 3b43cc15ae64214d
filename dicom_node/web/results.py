"""What the page of a study shows of each result: its slices, where it comes from, what readers said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import URL

from dicom_node.archive.assessments import Verdict
from dicom_node.domain.job import Job
from dicom_node.settings import Settings
from dicom_node.web import ohif_release
from dicom_node.web.slices import Viewer, presets_for
from dicom_node.web.sources import Sources

_SAID = frozenset(map(str, Verdict))


def of_study(sources: Sources, viewer: Viewer, story: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Job -> ``view`` of its slices, ``said`` by readers; of jobs with a result."""
    records = {record.id: record for record in sources.ledger.jobs(study_id=story["id"])}
    modalities = {series["series_uid"]: series["modality"] for series in story["series"]}
    return {
        told["id"]: {
            "view": _view(viewer, records[told["id"]], told, modalities),
            "digest": records[told["id"]].model_digest,
            "said": [event for event in story["events"] if event["job"] == told["id"] and event["kind"] in _SAID],
        }
        for told in story["jobs"]
        if told["result"] and told["id"] in records
    }


def links(settings: Settings, study_uid: str, page: URL) -> list[tuple[str, str]]:
    """Viewers that show the study: title and address."""
    found = []
    if ohif_release.installed(settings) is not None:
        address = page.replace(
            port=settings.web.ohif_port, path="/viewer", query=f"StudyInstanceUIDs={quote(study_uid)}"
        )
        found.append(("Open in OHIF", str(address)))
    if settings.web.viewer_url:
        found.append(("Open in the viewer of the PACS", settings.web.viewer_url.replace("{study}", quote(study_uid))))
    return found


def _view(viewer: Viewer, record: Job, told: Mapping[str, Any], modalities: Mapping[str, str]) -> dict[str, Any] | None:
    stack = viewer.stack(record, told["segments"])
    if not stack.slices:
        return None
    missing = "" if stack.segmentation or not told["segments"] else "The Segmentation cannot be read: no outlines."
    middles = [stack.middle_of(each["number"]) for each in told["segments"]]
    return {
        "slices": len(stack.slices),
        "first": stack.first() + 1,
        "presets": presets_for(modalities.get(record.inputs[0].series_uid, "")),
        "segments": [
            {**each, "middle": None if middle is None else middle + 1}
            for each, middle in zip(told["segments"], middles, strict=True)
        ],
        "missing": missing,
    }
