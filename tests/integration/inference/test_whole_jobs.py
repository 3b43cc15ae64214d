"""What a bundle does wrong, as a job tells it: real workers and hosts, from stored images to the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from encoding_workers import images
from served_bundles import serve_bundle
from studies_of_results import Clinic

from dicom_node import pins, sandbox
from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate
from dicom_node.catalogue import Catalogue, load_contract
from dicom_node.domain.job import Job, JobState
from dicom_node.errors import ContractError
from dicom_node.settings import ModelSettings, NodeSettings, Settings, WorkerSettings
from workers.run_job import Worker

RunJob = Callable[..., Job]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    node = NodeSettings(data_dir=tmp_path / "data")
    node.data_dir.mkdir()
    return Settings(
        node=node, models=ModelSettings(folders=(tmp_path / "models",)), worker=WorkerSettings(maximum_attempts=1)
    )


@pytest.fixture
def run_job(settings: Settings) -> RunJob:
    """Have a worker run a bundle, pinned, on the usual series; the job as the ledger has it afterwards."""

    def run(bundle: Path, *, digest: str = "") -> Job:
        contract = load_contract(bundle)
        pins.write(settings.node.data_dir, contract.name, contract.digest)
        database = Database(settings.database.url, settings.node.data_dir)
        migrate(database)
        clinic = Clinic(database, settings.node.data_dir)
        clinic.arrive(images())
        digest = digest or contract.digest
        job_id = clinic.plan(model=contract.name, model_digest=digest, destinations=())
        worker = Worker.open(settings, "cpu")
        try:
            worker.run(job_id)
        finally:
            worker.close()
        job = clinic.ledger.job(job_id)
        database.close()
        assert job is not None
        return job

    return run


def bundle(settings: Settings, body: str = "pass", **configuration: object) -> Path:
    """A bundle for the usual series, whose configuration has these keys too."""
    (models,) = settings.models.folders
    folder = models / "bright"
    serve_bundle(folder, body)
    told = (folder / "model.toml").read_text()
    told = told.replace('modality = "MR"', 'modality = "CT"').replace('name = "image"', 'name = "ct"')
    (folder / "model.toml").write_text(told)
    file = folder / "configs" / "inference.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | configuration))
    return folder


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("return x * float('nan')", "output-not-finite", "NaN"),
        ("return x[:, :, :1, :1, :1] > 0", "output-shape", "the shape"),
        ("return torch.zeros(1, 5, *x.shape[2:])", "output-channels", "5"),
    ],
)
def test_an_output_that_does_not_fit_fails_the_job_by_name(
    settings: Settings, run_job: RunJob, body: str, reason: str, words: str
) -> None:
    job = run_job(bundle(settings, body, postprocessing={"_target_": "Compose", "transforms": []}))

    assert job.state is JobState.QUARANTINED
    assert job.error is not None
    assert (job.error["reason"], bool(job.error["remedy"])) == (reason, True)
    assert words in job.error["message"]


OUTSIDE = "$open({path!r}, 'w').write('from a configuration')"
NETWORK = "$__import__('socket').create_connection(('127.0.0.1', 9))"


@pytest.mark.parametrize(("key", "expression"), [("preprocessing", OUTSIDE), ("inferer", NETWORK)])
def test_what_a_configuration_does_while_it_is_read_is_refused_twice(
    settings: Settings, run_job: RunJob, tmp_path: Path, key: str, expression: str
) -> None:
    outside = tmp_path / "outside"
    folder = bundle(settings, **{key: expression.format(path=str(outside))})
    (problem,) = Catalogue.load(settings).problems
    assert problem.error.reason == "not-pinned"
    assert key in problem.error.message

    job = run_job(folder)  # somebody has pinned it all the same

    assert job.state is JobState.FAILED
    assert job.error is not None
    assert key in job.error["message"]
    assert "PermissionError" in job.error["message"] or not (sandbox.level().files and sandbox.level().network)
    assert not outside.exists() or not sandbox.level().files


def test_what_a_script_does_while_it_is_imported_is_refused_twice(
    settings: Settings, run_job: RunJob, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    folder = bundle(settings)
    script = folder / "scripts" / "__init__.py"
    script.write_text(script.read_text() + f"\nopen({str(outside)!r}, 'w').write('from a script')\n")
    (problem,) = Catalogue.load(settings).problems
    assert problem.error.reason == "not-pinned"

    job = run_job(folder)

    assert job.state is JobState.FAILED
    assert job.error is not None
    assert not outside.exists() or not sandbox.level().files


def test_another_bundle_than_the_one_the_job_was_planned_with_is_refused(settings: Settings, run_job: RunJob) -> None:
    job = run_job(bundle(settings), digest="0" * 64)

    assert job.error is not None
    assert job.error["reason"] == "model-changed"
    assert "planned with 000000000000" in job.error["message"]


def test_reading_a_bundle_runs_nothing_of_it(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = bundle(settings, preprocessing=OUTSIDE.format(path=str(outside)))
    (folder / "scripts" / "__init__.py").write_text(f"open({str(outside)!r}, 'w')")

    with pytest.raises(ContractError):
        Catalogue.load(settings).get("bright")

    assert not outside.exists()
