"""Numbers in the text format of Prometheus, version 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState, Readiness

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BY_STATE = (
    ("studies", "Studies by readiness.", Readiness),
    ("instances", "Stored instances by state.", InstanceState),
    ("jobs", "Jobs by state.", JobState),
    ("parcels", "Deliveries by state.", ParcelState),
)


def render(counters: Mapping[str, Any], stages: Mapping[str, str]) -> str:
    """All metrics. Every known state is told, with 0 where there is none, so that an alarm can watch for it."""
    lines: list[str] = []
    for name, meaning, states in _BY_STATE:
        counted = {**{str(state): 0 for state in states}, **counters[name]}
        lines += _gauge(name, meaning, (({"state": state}, count) for state, count in counted.items()))
    lines += _gauge(
        "unaccounted",
        "Acknowledged instances that are neither delivered upon, nor discarded by name, nor open. Must be 0.",
        [({}, counters["unaccounted"])],
    )
    lines += _gauge("open_items", "What a person has to see to.", [({}, counters["open_items"])])
    lines += _gauge(
        "oldest_queued_job_seconds",
        "Age of the oldest job that waits for a worker.",
        [({}, counters["oldest_queued_seconds"])],
    )
    healths = (({"stage": stage}, int(health == "ok")) for stage, health in stages.items())
    lines += _gauge("stage_up", "Whether a stage of the node works.", healths)
    return "\n".join(lines) + "\n"


def _gauge(name: str, meaning: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    full = f"dicom_node_{name}"
    lines = [f"# HELP {full} {meaning}", f"# TYPE {full} gauge"]
    for labels, value in samples:
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{full}{{{told}}} {value}" if told else f"{full} {value}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
