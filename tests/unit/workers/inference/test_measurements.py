from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import MeasurementSpec, ModelContract
from dicom_node.domain.finding import Measurement
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ContractError, ModelOutputError
from workers.inference.measurements import measure

SHAPE = (2, 3, 4)
GRID = VoxelGrid.from_matrix(SHAPE, np.diag([5.0, 1.0, 2.0, 1.0]))  # voxels of 10 mm3
EACH = (("right_lung",), ("left_lung",), ("right_lung", "left_lung"))


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_contract(Path(__file__).resolve().parents[4] / "models" / "ct_lung_density")


def value(measurements: tuple[Measurement, ...], name: str, *segments: int) -> float:
    return next(m.value for m in measurements if m.name == name and m.segments == segments)


def test_values_units_and_codes_by_hand(contract: ModelContract) -> None:
    hu = np.full(SHAPE, 40, dtype=np.int16)
    label_map = np.zeros(SHAPE, dtype=np.uint8)
    label_map[0, 0], label_map[1, 0] = 1, 2
    hu[0, 0] = [-1000, -951, -950, -800]
    hu[1, 0] = [-900, -900, -900, -700]

    measured = measure(contract, hu, GRID, [label_map])

    assert value(measured, "volume", 1) == pytest.approx(0.04)
    assert value(measured, "volume", 1, 2) == pytest.approx(0.08)
    assert value(measured, "mean_density", 2) == pytest.approx(-850)
    assert value(measured, "laa_950", 1) == pytest.approx(50)  # -950 itself is not below -950
    assert value(measured, "laa_950", 1, 2) == pytest.approx(25)
    assert value(measured, "perc15", 1) == pytest.approx(-1000 + 0.45 * 49)
    assert [(m.name, m.concept.value, m.unit.value, m.derivation and m.derivation.value) for m in measured[::3]] == [
        ("volume", "118565006", "ml", None),
        ("mean_density", "112031", "[hnsf'U]", "373098007"),
        ("laa_950", "LAA950", "%", None),
        ("perc15", "112031", "[hnsf'U]", "PERC15"),
    ]
    assert len(measured) == 12
    assert all(len(m.concept.value) <= 16 and len(m.concept.meaning) <= 64 for m in measured)


def test_an_empty_segment_has_a_volume_of_0_and_no_density(contract: ModelContract) -> None:
    label_map = np.zeros(SHAPE, dtype=np.uint8)
    label_map[0] = 1

    measured = measure(contract, np.full(SHAPE, -900, dtype=np.int16), GRID, [label_map])

    assert {m.name for m in measured if m.segments == (2,)} == {"volume"}
    assert value(measured, "volume", 2) == 0
    assert value(measured, "mean_density", 1, 2) == -900


def test_nothing_found_has_volumes_of_0_alone(contract: ModelContract) -> None:
    measured = measure(contract, np.zeros(SHAPE, dtype=np.int16), GRID, [np.zeros(SHAPE, dtype=np.uint8)])

    assert [(m.name, m.value) for m in measured] == [("volume", 0), ("volume", 0), ("volume", 0)]


@given(
    hu=arrays(np.int16, SHAPE, elements=st.integers(-1024, 3071)),
    label_map=arrays(np.uint8, SHAPE, elements=st.integers(0, 2)),
)
def test_both_together_agree_with_each_alone(
    contract: ModelContract, hu: npt.NDArray[np.int16], label_map: npt.NDArray[np.uint8]
) -> None:
    measured = measure(contract, hu, GRID, [label_map])

    volumes = [value(measured, "volume", *segments) for segments in ((1,), (2,), (1, 2))]
    assert volumes[2] == pytest.approx(volumes[0] + volumes[1])
    if min(volumes[:2]) > 0:
        for name in ("mean_density", "laa_950"):
            alone = [value(measured, name, 1), value(measured, name, 2)]
            weighted = np.average(alone, weights=volumes[:2])
            assert value(measured, name, 1, 2) == pytest.approx(weighted, abs=1e-6)
    assert all(np.isfinite(m.value) for m in measured)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("surface", (), "there is no measurement 'surface'"),
        ("laa", (("percent", 15),), "no parameter 'percent'"),
        ("percentile", (("percent", 150),), "cannot be 150"),
        ("laa", (("threshold", "low"),), "cannot be 'low'"),
    ],
)
def test_what_the_catalogue_has_not_is_refused(
    contract: ModelContract, kind: str, parameters: tuple[tuple[str, object], ...], message: str
) -> None:
    wrong = replace(contract, measurements=(MeasurementSpec("wrong", kind, EACH, parameters),))

    with pytest.raises(ContractError, match=message):
        measure(wrong, np.zeros(SHAPE, dtype=np.int16), GRID, [np.zeros(SHAPE, dtype=np.uint8)])


def test_shapes_that_differ_are_refused(contract: ModelContract) -> None:
    with pytest.raises(ModelOutputError, match="differ in shape"):
        measure(contract, np.zeros((1, 3, 4)), GRID, [np.zeros(SHAPE, dtype=np.uint8)])


@pytest.mark.parametrize(("percent", "code"), [(10, "371890005"), (95.0, "371889001"), (5.5, "PERC5.5")])
def test_percentiles_take_a_standard_code_where_there_is_one(
    contract: ModelContract, percent: float, code: str
) -> None:
    wanted = MeasurementSpec("p", "percentile", (("right_lung",),), (("percent", percent),))

    measured = measure(
        replace(contract, measurements=(wanted,)), np.zeros(SHAPE), GRID, [np.ones(SHAPE, dtype=np.uint8)]
    )

    assert measured[0].derivation is not None
    assert measured[0].derivation.value == code
