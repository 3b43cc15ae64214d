"""A stream of studies through a warm worker, from stored images to committed SEG and SR, beside inference alone.

Twice: with a model that computes on a card (a stand-in, which waits without the processor), and with one that computes
on the processor itself, where decoding and encoding must take from it what they need.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from pydicom.dataset import FileDataset
from served_bundles import serve_bundle
from sqlalchemy import insert

from benchmarks.studies import chest_ct, write_copies
from benchmarks.table import Row, report
from dicom_node import pins
from dicom_node.archive.database import db_now
from dicom_node.archive.migrate import migrate
from dicom_node.archive.schema import instance, series, study
from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.job import NewJob, SelectedSeries, job_key
from dicom_node.settings import load
from workers.inference.volume import load_volume
from workers.run_job import Worker

STUDIES = int(os.environ.get("BENCH_STUDIES", "20"))
SLICES = 90  # at most: no two images lie at one place
GOAL = 0.9
CARD_S = 3.0
RUNS = 5
_COMPUTED = ("preprocessing", "inference", "postprocessing")
_CARD = f"import time; time.sleep({CARD_S})"
PROCESSOR = """weight = torch.ones(8, 1, 3, 3, 3, device=x.device) / 27
        [torch.nn.functional.conv3d(x[..., :128, :128, :], weight, padding=1) for _ in range(4)]"""


def main() -> int:
    """Both streams, as a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        del images[SLICES:]
        rows = [
            row
            for label, body, goal in (("a card", _CARD, GOAL), ("the processor", PROCESSOR, None))
            for row in streamed(folder / label.replace(" ", "-"), images, label, body, goal)
        ]
    notes = [
        f"{what}; {STUDIES} studies of {len(images)} slices; measured from the first claim to the last commit",
        f"inference alone: pre-processing, network and post-processing of the warm host, median of {RUNS} runs",
        f"the card is a stand-in: {CARD_S:g} s in which its process waits",
    ]
    return report("stream", rows, {}, notes=notes)


def streamed(
    folder: Path,
    images: list[FileDataset],
    label: str,
    body: str,
    goal: float | None,
    studies: int = STUDIES,
    device: str = "cpu",
) -> list[Row]:
    """So many studies through a worker of this device, as rows; its bundle runs the statements ``body``."""
    worker, contract = _worker(folder, body, device)
    try:
        jobs = [_study(worker, contract, images, number) for number in range(studies + 1)]
        alone_s = _alone(worker, contract)
        worker.run(jobs.pop(0))  # warm, and its tables made
        worker.overlap.finish()
        began = time.perf_counter()
        while (job_id := worker.ledger.next_queued()) is not None:
            worker.run(job_id)
        worker.overlap.finish()
        took_s = time.perf_counter() - began
        states = {str(worker.ledger.job(job_id).state) for job_id in jobs}  # type: ignore[union-attr]
        assert states == {"done"}, states
        done = [worker.ledger.job(job_id) for job_id in jobs]
        ahead = sum("load ahead" in (job.timings or {}) for job in done if job)
    finally:
        worker.close()
    share = round(studies * alone_s / took_s, 3)
    return [
        Row(f"{studies} studies, model on {label}: share of the throughput of inference alone", "", share, goal=goal,
            better="more"),
        Row("  a study in the stream", "s", round(took_s / studies, 3), round(alone_s, 3), "inference alone"),
        Row("  studies decoded while another one computed", "", ahead),
    ]  # fmt: skip


def _worker(folder: Path, body: str, device: str) -> tuple[Worker, ModelContract]:
    models = folder / "models"
    serve_bundle(models / "bright", body, memory_mb=8000)
    told = models / "bright" / "model.toml"
    told.write_text(told.read_text().replace('modality = "MR"', 'modality = "CT"'))
    file = folder / "dicom-node.toml"
    file.write_text(f'[node]\ndata_dir = "data"\n[models]\nfolders = ["{models}"]\n')
    settings = load(file, {}).settings
    settings.node.data_dir.mkdir(parents=True)
    contract = load_contract(models / "bright")
    pins.write(settings.node.data_dir, contract.name, contract.digest)
    worker = Worker.open(settings, device)
    migrate(worker.ledger.database)
    return worker, contract


def _study(worker: Worker, contract: ModelContract, images: list[FileDataset], number: int) -> int:
    """Store a new study, and plan its job; the job's id."""
    folder = worker.settings.node.data_dir / "objects" / "bench" / str(number)
    folder.parent.mkdir(parents=True, exist_ok=True)
    study_uid = write_copies(images, len(images), folder)
    series_uid = str(images[0].SeriesInstanceUID)
    times = {"first_received": db_now(), "last_received": db_now()}
    sender = {"origin": "routed", "peer": "", "calling_ae": "", "called_ae": ""}
    state = {"site_id": 1, "state": "open", "readiness": {}, "attributes": {}}
    with worker.ledger.database.write() as connection:
        row = {**state, "study_uid": study_uid, "outcome": "", "changed_at": db_now(), **times}
        study_id = connection.execute(insert(study).values(row).returning(study.c.id)).scalar_one()
        row = {**state, **sender, **times, "study_id": study_id, "series_uid": series_uid, "modality": "CT"}
        row |= {"varying": [], "instances": len(images)}
        series_id = connection.execute(insert(series).values(row).returning(series.c.id)).scalar_one()
        ids = []
        for file in sorted(folder.iterdir()):
            row = {**sender, "site_id": 1, "study_id": study_id, "series_id": series_id, "revision": 1, "frames": 1}
            row |= {"sop_uid": f"{study_uid}.{file.stem}", "sop_class": "", "state": "current", "reason": ""}
            row |= {"digest": "0", "transfer_syntax": "", "path": str(file.relative_to(folder.parents[2]))}
            row |= {"size": file.stat().st_size, "association": "", "received_at": db_now()}
            ids.append(connection.execute(insert(instance).values(row).returning(instance.c.id)).scalar_one())
    chosen = SelectedSeries("image", series_id, series_uid, tuple(ids), tuple(map(str, ids)))
    job_id = worker.ledger.plan(
        NewJob(
            study_id=study_id,
            key=job_key(study_uid, [chosen], contract.digest, {}),
            rule="stream",
            model=contract.name,
            model_version=contract.version,
            model_digest=contract.digest,
            inputs=(chosen,),
            parameters={},
            destinations=("pacs",),
            withheld={},
            explanation={},
        )
    )
    assert job_id is not None
    return job_id


def _alone(worker: Worker, contract: ModelContract) -> float:
    """Seconds of computing one study."""
    first = worker.ledger.job(1)
    assert first is not None
    files = [worker.store.absolute(source.path) for source in worker.ledger.sources(first.inputs[0])]
    volumes = {"image": load_volume(files)}
    worker.hosts.run(contract, volumes)
    timings = [worker.hosts.run(contract, volumes).timings for _ in range(RUNS)]
    return median(sum(each[step] for step in _COMPUTED) for each in timings)


if __name__ == "__main__":
    sys.exit(main())
