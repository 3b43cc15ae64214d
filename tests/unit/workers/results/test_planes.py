import numpy as np
import pytest
from result_cases import blobs, findings_on, series

from dicom_node.errors import ResultError
from workers.results.planes import Fractions, LabelMap, Masks


def overlapping() -> tuple[np.ndarray, np.ndarray]:
    low, high = np.zeros((2, 4, 10, 12), np.uint8)
    low[:, 1:7], high[1:3, 4:9] = 1, 2
    return low, high


def test_masks_are_those_of_the_findings() -> None:
    findings = findings_on(series(), layers=overlapping())
    planes = Masks(findings)
    assert planes.overlap == "YES"
    assert planes.occupied.tolist() == [[True] * 4, [False, True, True, False]]
    for number in (1, 2):
        for index in range(4):
            assert np.array_equal(planes.plane(number, index), findings.mask(number)[index])


def test_layers_that_do_not_meet_do_not_overlap() -> None:
    low, high = overlapping()
    high[low > 0] = 0
    findings = findings_on(series(), layers=(low, high))
    assert Masks(findings).overlap == "NO"
    assert np.array_equal(LabelMap(findings).plane(0, 1), low[1] + high[1])


def test_segments_that_overlap_are_no_label_map() -> None:
    with pytest.raises(ResultError) as caught:
        LabelMap(findings_on(series(), layers=overlapping()))
    assert caught.value.reason == "overlap"


def test_a_label_map_has_one_row_for_all() -> None:
    planes = LabelMap(findings_on(series(), blobs((4, 10, 12))))
    assert planes.occupied.tolist() == [[False, True, True, True]]
    assert planes.plane(0, 2).max() == 2


def test_shares_below_half_a_step_are_no_voxel() -> None:
    probabilities = np.zeros((1, 3, 2, 2), np.float32)
    probabilities[0, :, 0, 0] = 0.4 / 255, 0.6 / 255, 1
    planes = Fractions(probabilities)
    assert planes.occupied.tolist() == [[False, True, True]]
    assert [planes.plane(1, index)[0, 0] for index in range(3)] == [0, 1, 255]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(value: float) -> None:
    probabilities = np.full((1, 1, 2, 2), 0.5, np.float32)
    probabilities[0, 0, 1, 1] = value
    with pytest.raises(ResultError) as caught:
        Fractions(probabilities)
    assert caught.value.reason == "probabilities"
