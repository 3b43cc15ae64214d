"""A job whose worker was lost for good shows what that worker wrote last."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from studies_of_results import Clinic

from dicom_node.archive.ledger import Ledger
from dicom_node.archive.lost import LINES, last_lines
from dicom_node.archive.places import Places
from dicom_node.domain.job import JobState

NOW = datetime.now(UTC)


def log(data_dir: Path, name: str, *lines: tuple[float, str], torn: bytes = b"") -> None:
    file = Places(data_dir).logs / name
    file.parent.mkdir(parents=True, exist_ok=True)
    told = [
        json.dumps(
            {
                "at": (NOW + timedelta(seconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": "info",
                "process": name.removesuffix(".jsonl"),
                "logger": "workers",
                "message": message,
            }
        )
        for at, message in lines
    ]
    file.write_bytes("\n".join(told).encode() + b"\n" + torn)


def test_lines_of_all_workers_since_the_attempt_began_in_order(tmp_path: Path) -> None:
    log(tmp_path, "worker-cpu.jsonl", (-9, "before"), (1, "first"), (3, "third"), torn=b'{"at": "20')
    log(tmp_path, "watchdog-cpu.jsonl", (2, "second"))
    log(tmp_path, "node.jsonl", (2, "of another process"))
    lines = last_lines(tmp_path, NOW).splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["first", "second", "third"]
    assert "watchdog-cpu info: second" in lines[1]


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    log(tmp_path, "worker-cuda0.jsonl", *((number, f"line {number}") for number in range(9000)))
    lines = last_lines(tmp_path, None).splitlines()
    assert (len(lines), lines[-1].rpartition(": ")[2]) == (LINES, "line 8999")


def test_nothing_where_no_worker_wrote(tmp_path: Path) -> None:
    assert last_lines(tmp_path, NOW) == ""


def test_a_quarantined_job_shows_them_with_its_input(clinic: Clinic) -> None:
    clinic.arrive()
    job_id = clinic.plan()
    ledger = Ledger(clinic.database, maximum_attempts=1)
    assert ledger.claim(job_id, "box:1", 60.0) is not None
    log(clinic.data_dir, "worker-cpu.jsonl", (3600, "CUDA error: an illegal memory access"))
    assert ledger.expire(["box:1"]) == 1
    found = ledger.job(job_id)
    assert found is not None
    assert found.error is not None
    assert found.state == JobState.QUARANTINED
    assert "illegal memory access" in found.error["output"]
    assert found.error["reason"] == "worker-lost"
    assert found.error["input"][0]["paths"]
