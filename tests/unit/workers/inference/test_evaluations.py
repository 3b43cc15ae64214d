from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract, ProtocolBound
from dicom_node.domain.finding import Measurement, Presence
from dicom_node.domain.grid import VoxelGrid
from workers.inference.evaluations import evaluate
from workers.inference.measurements import measure

FITTING: dict[str, Any] = {"SliceThickness": 1.0, "ConvolutionKernel": "B31f", "KVP": 120.0}


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_contract(Path(__file__).resolve().parents[4] / "models" / "ct_lung_density")


def measured(contract: ModelContract, emphysema: float, labels: tuple[int, int] = (1, 2)) -> tuple[Measurement, ...]:
    """Measurements of two lungs of 1000 voxels, of which ``emphysema`` percent in all are below -950 HU."""
    hu = np.full((2, 10, 100), -850, dtype=np.int16)
    hu.reshape(-1)[: round(20 * emphysema)] = -980
    label_map = np.empty(hu.shape, dtype=np.uint8)
    label_map[0], label_map[1] = labels
    return measure(contract, hu, VoxelGrid.from_matrix(hu.shape, np.eye(4)), [label_map])


@pytest.mark.parametrize(
    ("emphysema", "presence", "reason"),
    [
        (5.0, Presence.PRESENT, "is 5.0 %, at or above the cut-off of 5 %"),
        (4.9, Presence.ABSENT, "is 4.9 %, below the cut-off of 5 %"),
        (0.0, Presence.ABSENT, "is 0.0 %"),
        (30.0, Presence.PRESENT, "is 30.0 %"),
    ],
)
def test_the_cut_off_decides_where_the_protocol_fits(
    contract: ModelContract, emphysema: float, presence: Presence, reason: str
) -> None:
    (answer,) = evaluate(contract, measured(contract, emphysema), FITTING)

    assert answer.presence is presence
    assert reason in answer.reason
    assert answer.concept.value == "87433001"
    assert answer.segments == (1, 2)
    assert "doi:" in answer.source


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SliceThickness": 8.0}, "SliceThickness is 8, more than 1"),
        ({"SliceThickness": None}, "SliceThickness is not given"),
        ({"SliceThickness": "thin"}, "SliceThickness is thin, which is no number"),
        ({"ConvolutionKernel": "B70f"}, "ConvolutionKernel is B70f, none of those"),
        ({"ConvolutionKernel": "LUNG"}, "ConvolutionKernel is LUNG, none of those"),
        ({"ConvolutionKernel": ["Br64d", "3"]}, "ConvolutionKernel is Br64d\\3, none of those"),
        ({"KVP": 80.0}, "KVP is 80, less than 110"),
        ({"ContrastBolusAgent": "Iohexol"}, "ContrastBolusAgent is Iohexol, and must be absent"),
    ],
)
def test_an_acquisition_that_does_not_fit_is_not_evaluated(
    contract: ModelContract, attributes: dict[str, Any], reason: str
) -> None:
    (answer,) = evaluate(contract, measured(contract, 30), {**FITTING, **attributes})

    assert answer.presence is Presence.NOT_EVALUATED
    assert reason in answer.reason


@pytest.mark.parametrize(
    "kernel",
    ["B30f", "B31f", "B40f", "STANDARD", "SOFT", "FC08", "FC13", "B", "I31f", ["Br36d", "3"], "Qr40d", "standard"],
)
def test_smooth_kernels_of_several_makers_fit(contract: ModelContract, kernel: Any) -> None:
    (answer,) = evaluate(contract, measured(contract, 30), {**FITTING, "ConvolutionKernel": kernel})

    assert answer.presence is Presence.PRESENT


@pytest.mark.parametrize(
    "kernel", ["B45f", "B80f", "BONE", "BONEPLUS", "CHST", "FC51", "FC30", "I70f", "Bl57d", "D", "L", "YB"]
)
def test_sharp_kernels_do_not_fit(contract: ModelContract, kernel: str) -> None:
    (answer,) = evaluate(contract, measured(contract, 30), {**FITTING, "ConvolutionKernel": kernel})

    assert answer.presence is Presence.NOT_EVALUATED


def test_every_misfit_is_named(contract: ModelContract) -> None:
    (answer,) = evaluate(contract, measured(contract, 30), {"SliceThickness": 8.0})

    assert [part.split()[0] for part in answer.reason.split("; ")] == ["SliceThickness", "ConvolutionKernel", "KVP"]


def test_an_empty_contrast_agent_counts_as_none(contract: ModelContract) -> None:
    (answer,) = evaluate(contract, measured(contract, 30), {**FITTING, "ContrastBolusAgent": ""})

    assert answer.presence is Presence.PRESENT


@pytest.mark.parametrize(
    ("labels", "reason"), [((1, 1), "Left lung was not found"), ((0, 0), "Right lung was not found")]
)
def test_a_lung_that_was_not_found_is_told(contract: ModelContract, labels: tuple[int, int], reason: str) -> None:
    (answer,) = evaluate(contract, measured(contract, 30, labels), FITTING)

    assert answer.presence is Presence.NOT_EVALUATED
    assert reason in answer.reason


def test_a_pattern_may_exclude(contract: ModelContract) -> None:
    sharp = ProtocolBound("ConvolutionKernel", not_matching="(?i)lung")
    wanted = replace(contract, evaluations=(replace(contract.evaluations[0], protocol=(sharp,)),))

    answers = [evaluate(wanted, measured(wanted, 30), {"ConvolutionKernel": k})[0] for k in ("LUNG", "STANDARD")]

    assert [answer.presence for answer in answers] == [Presence.NOT_EVALUATED, Presence.PRESENT]
    assert "one of those that it does not hold for" in answers[0].reason
