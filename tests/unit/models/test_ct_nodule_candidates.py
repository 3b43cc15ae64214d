"""The bundle that marks candidates of nodules: balls of known size in the phantom, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from balls import Ball, with_balls
from pydicom import Dataset
from readers import errors_of_dciodvfy
from result_cases import CONTEXT

from dicom_node.catalogue import load_contract
from dicom_node.demo import phantom
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Detection, Findings
from workers.inference import statements
from workers.inference.pool import HostPool
from workers.inference.volume import Volume, load_volume
from workers.results import readback
from workers.results.encode import encode

MODELS = Path(__file__).resolve().parents[3] / "models"
DIAMETERS = (7.0, 10.0, 14.0, 20.0)


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_contract(MODELS / "ct_nodule_candidates")


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as opened:
        yield opened


def volume_of(body: phantom.Phantom) -> Volume:
    header = Dataset()
    header.Modality = "CT"
    slices = body.grid.shape[0]
    frames = tuple(f"2.25.{index + 1}" for index in range(slices))
    return Volume(body.hu.astype(np.float32), body.grid, frames, (header,) * slices, "HU")


def found_in(pool: HostPool, contract: ModelContract, body: phantom.Phantom) -> tuple[Detection, ...]:
    arrays = pool.run(contract, {"ct": volume_of(body)}).arrays
    return statements.detections(contract, arrays, str)[0]


def centre(found: Detection) -> np.ndarray:
    return np.mean(found.points, axis=0)


@pytest.fixture(scope="module", params=["supine-head-first", "oblique"])
def marked(
    request: pytest.FixtureRequest, pool: HostPool, contract: ModelContract
) -> tuple[tuple[Detection, ...], tuple[Ball, ...]]:
    """What is marked in a phantom with a ball of each diameter, and the balls."""
    body = phantom.compute((140, 224, 224), (2.2, 1.7, 1.7), thickness=2.2, acquisition=request.param)
    body, balls = with_balls(body, DIAMETERS, seed=5)
    return found_in(pool, contract, body), balls


def test_balls_are_marked_in_place_with_their_size(
    marked: tuple[tuple[Detection, ...], tuple[Ball, ...]],
) -> None:
    found, balls = marked

    for ball in balls:
        nearest = min(found, key=lambda each: np.linalg.norm(centre(each) - ball.centre))
        sizes = {measured.name: measured.value for measured in nearest.measurements}
        assert np.linalg.norm(centre(nearest) - ball.centre) < 2.5
        assert sizes["long_axis"] == pytest.approx(ball.diameter, abs=2.0)
        assert sizes["volume"] == pytest.approx(np.pi / 6 * ball.diameter**3, rel=0.35)
        assert nearest.score is not None and nearest.score > 0.75


def test_little_else_is_marked_and_everything_is_called_a_candidate(
    marked: tuple[tuple[Detection, ...], tuple[Ball, ...]],
) -> None:
    found, balls = marked

    assert len(found) - len(balls) <= 12
    assert {each.concept.meaning for each in found} == {"Lung nodule candidate"}
    assert all("candidate" in each.tracking_id for each in found)
    assert all(
        measured.value >= 5.0 for each in found for measured in each.measurements if measured.name == "long_axis"
    )


def test_no_lungs_no_candidates(pool: HostPool, contract: ModelContract) -> None:
    body = phantom.compute((24, 96, 96), (5.0, 4.0, 4.0))
    body.hu[...] = 40

    assert found_in(pool, contract, body) == ()


@pytest.mark.data
@pytest.mark.peer
def test_the_report_on_a_real_ct_calls_them_candidates(
    pool: HostPool, contract: ModelContract, test_data: Path, tmp_path: Path
) -> None:
    volume = load_volume(sorted((test_data / "ct_chest_lungdx_A0002").glob("*.dcm")), minimum_slices=20)
    arrays = pool.run(contract, {"ct": volume}).arrays
    found, notes = statements.detections(contract, arrays, lambda name: f"2.25.{len(name)}{name[-1]}")
    answers = statements.classify(contract, arrays, {})
    findings = Findings(volume.grid, (), volume.frames, (), classes=answers, notes=notes, detections=found)
    objects = encode(findings, contract, volume.headers, CONTEXT)

    readback.check(objects, findings, volume.headers)
    assert found
    report = next(made for made in objects if b"Lung nodule candidate" in made.data and made.kind == "sr_regions")
    file = tmp_path / "report.dcm"
    file.write_bytes(report.data)
    assert errors_of_dciodvfy(file) == []
    for each in found:
        index = volume.grid.lps_to_index(np.asarray(each.points))
        assert (index.min(axis=0) > -1).all()
        assert (index.max(axis=0) < volume.grid.shape).all()


def test_it_looks_into_the_lungs_of_the_other_bundle() -> None:
    for name in ("airways.py", "coarse.py", "segmentation.py", "sides.py"):
        own = MODELS / "ct_nodule_candidates" / "scripts" / "lungs" / name
        assert own.read_bytes() == (MODELS / "ct_lung_density" / "scripts" / name).read_bytes()
