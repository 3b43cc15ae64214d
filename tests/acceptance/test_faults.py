"""Whatever dies, whenever: each study ends with exactly one result in the PACS."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed_node import InstalledNode, Part
from peers import ENVIRONMENT, Orthanc, program, wait_until
from served_bundles import serve_bundle
from small_series import small_series, write

pytestmark = [pytest.mark.acceptance, pytest.mark.peer]

RULES = """
[[rules]]
name = "slow"
model = "slow"
all = ['Modality == "MR"']
send_to = ["pacs"]
"""


@pytest.fixture(scope="module")
def mortal(installed: Path, pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledNode]:
    """A node whose one model takes a few seconds, so that there is time to kill something.

    A short lease makes the job tell often what it is doing.
    """
    models = tmp_path_factory.mktemp("slow_models")
    serve_bundle(models / "slow", "import time; time.sleep(3)")
    served = InstalledNode(installed, tmp_path_factory.mktemp("mortal"), pacs, RULES, (models,), lease_seconds=3)
    try:
        served.start()
        yield served
    finally:
        served.stop()


@pytest.fixture(autouse=True)
def _alive_again(mortal: InstalledNode) -> Iterator[None]:
    """What a test killed is back before the next one."""
    wait_until(mortal.ready, "the node to be ready again", seconds=60)
    yield


def send_study(node: InstalledNode, folder: Path, **attributes: Any) -> str:
    """Send a small study of its own; its UID."""
    images = small_series(**attributes)
    node.send(write(images, folder / "study"))
    return str(images[0].StudyInstanceUID)


def await_progress(node: InstalledNode, study_uid: str, progress: str) -> dict[str, Any]:
    """The study's one job, once it has come so far."""

    def so_far() -> dict[str, Any] | None:
        told = node.story(study_uid)
        return told["jobs"][0] if told and told["jobs"] and told["jobs"][0]["progress"] == progress else None

    return dict(wait_until(so_far, f"the job to be at {progress}", seconds=60))


def assert_exactly_one(node: InstalledNode, pacs: Orthanc, study_uid: str) -> dict[str, Any]:
    """The study has one job, and the PACS has that job's objects, one of each kind, and no other; the job."""
    told = node.await_story(study_uid, "delivered")
    (job,) = told["jobs"]
    assert job["state"] == "done"
    results = [instance for instance in pacs.instances(study_uid) if instance.modality != "MR"]
    assert sorted(instance.modality for instance in results) == ["KO", "OT", "SEG", "SR"]
    assert {instance.sop_instance_uid for instance in results} == {made["sop_uid"] for made in job["artifacts"]}
    return dict(job)


@pytest.mark.parametrize("part", ["worker", "pool child", "host", "node", "broker"])
def test_a_process_is_killed_while_the_model_runs(
    part: Part, mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    study_uid = send_study(mortal, tmp_path)
    await_progress(mortal, study_uid, "inference")

    killed = mortal.kill(part)

    assert_exactly_one(mortal, pacs, study_uid)
    back = wait_until(lambda: mortal.processes().get(part), f"the {part} to be back", seconds=60)
    assert back.pid != killed


def test_the_node_is_killed_right_after_it_took_the_images(
    mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    study_uid = send_study(mortal, tmp_path)

    mortal.kill("node")

    job = assert_exactly_one(mortal, pacs, study_uid)
    assert [chosen["instances"] for chosen in job["inputs"]] == [6]


def test_the_broker_is_killed_while_jobs_wait(mortal: InstalledNode, pacs: Orthanc, tmp_path: Path) -> None:
    studies = [send_study(mortal, tmp_path / name) for name in ("one", "two")]
    for study_uid in studies:
        wait_until(lambda uid=study_uid: (mortal.story(uid) or {}).get("jobs"), "the job to be planned")

    mortal.kill("broker")

    for study_uid in studies:
        assert_exactly_one(mortal, pacs, study_uid)


def test_the_acceptor_is_killed_in_mid_transfer_and_the_sender_sends_again(
    mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    images = small_series(120, shape=(256, 256))
    # Without order, so that what has come when the acceptor dies is a stack with gaps.
    random.Random(1).shuffle(images)
    folder = tmp_path / "study"
    write(images, folder)
    files = [str(folder / f"{image.SOPInstanceUID}.dcm") for image in images]
    stored = mortal.folder / "data" / "objects"
    before = sum(1 for _ in stored.rglob("*.dcm"))
    command = [program("storescu"), "--call", "DICOMNODE", "127.0.0.1", str(mortal.port), *files]
    sending = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: sum(1 for _ in stored.rglob("*.dcm")) > before + 10, "the transfer to be under way")

    mortal.kill("acceptor")

    assert sending.wait(60) != 0  # it was cut off
    again = [program("storescu"), "--call", "DICOMNODE", "127.0.0.1", str(mortal.port), *files]
    wait_until(
        lambda: subprocess.run(again, env=ENVIRONMENT, capture_output=True, timeout=60).returncode == 0,
        "the sender to be through",
        seconds=60,
    )
    job = assert_exactly_one(mortal, pacs, str(images[0].StudyInstanceUID))
    assert [chosen["instances"] for chosen in job["inputs"]] == [120]


def test_the_power_fails_while_the_model_runs(mortal: InstalledNode, pacs: Orthanc, tmp_path: Path) -> None:
    study_uid = send_study(mortal, tmp_path)
    await_progress(mortal, study_uid, "inference")

    mortal.kill_all()
    mortal.start()

    assert_exactly_one(mortal, pacs, study_uid)


def test_the_supervisor_is_killed_and_started_again_at_once(
    mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    study_uid = send_study(mortal, tmp_path)
    await_progress(mortal, study_uid, "inference")

    mortal.kill_supervisor()
    mortal.start()

    wait_until(lambda: {"broker", "node", "acceptor", "worker"} <= set(mortal.processes()), "its own processes")
    assert_exactly_one(mortal, pacs, study_uid)
    assert mortal.ready()


def test_the_pacs_is_down_and_the_node_is_killed_before_it_could_deliver(
    mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    pacs.stop()
    try:
        study_uid = send_study(mortal, tmp_path)
        told = wait_until(
            lambda: (found := mortal.story(study_uid)) and found["standing"] == "undelivered" and found,
            "the results not to be delivered",
            seconds=60,
        )
        assert "not delivered to pacs yet, tried" in told["standing_words"]
        (parcel,) = mortal.cli("parcels", "list", "--state", "due")["parcels"]
        assert parcel["study_uid"] == study_uid
        assert parcel["error"]["remedy"]
        mortal.kill("node")
    finally:
        pacs.start()

    assert_exactly_one(mortal, pacs, study_uid)


def test_it_stops_as_it_is_asked_to_and_goes_on_where_it_was(
    mortal: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    study_uid = send_study(mortal, tmp_path)
    await_progress(mortal, study_uid, "inference")

    assert mortal.stop() == 0
    mortal.start()

    assert_exactly_one(mortal, pacs, study_uid)
