"""What bundles may return, in which frame, and by which name the rest is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of, oblique_volume

from dicom_node.domain.finding import Code
from dicom_node.domain.output import (
    Activation,
    ClassOutput,
    ClassSpec,
    Coordinates,
    MaskForm,
    MaskOutput,
    Output,
    RegionForm,
    RegionOutput,
    ValueOutput,
    ValueSpec,
)
from dicom_node.errors import ModelOutputError
from workers.inference import returns

torch = pytest.importorskip("torch")
outputs = pytest.importorskip("workers.inference.outputs")

CODE = Code("1", "99TEST", "Something")
MILLIMETRE = Code("mm", "UCUM", "mm")
VOLUME = oblique_volume()
AFFINE = VOLUME.grid.ras_affine_whd()
FRAME = outputs.Frame(VOLUME.grid.shape[::-1], AFFINE, "image")
SHAPE = VOLUME.grid.shape[::-1]  # (W, H, D)

QUALITY = ClassOutput("quality", "pred", (ClassSpec("good", CODE), ClassSpec("bad", CODE)), True)
AGE = ValueOutput("age", "pred", (ValueSpec("age", CODE, CODE),))
POINTS = RegionOutput(
    "nodules", "at", RegionForm.POINTS, Coordinates.INDEX, CODE, (ClassSpec("nodule", CODE),), scores="score"
)
BOXES = replace(POINTS, key="box", form=RegionForm.BOXES, labels="label")


def channels(form: MaskForm, activation: Activation = Activation.NONE) -> MaskOutput:
    return MaskOutput("masks", "pred", form, ("segment_1", "segment_2"), activation)


def collected(output: Output, **data: Any) -> dict[str, np.ndarray]:
    contract = contract_of(Path("model"), segments=2, outputs=(output,))
    arrays: dict[str, np.ndarray] = outputs.collect(data, returns.orders(contract), FRAME)
    told = [[name, array.dtype.name, array.shape] for name, array in arrays.items()]
    sent = b"".join(array.tobytes() for array in arrays.values())
    return returns.checked(contract, told, sent, VOLUME.grid.shape)


def test_channels_may_overlap_and_keep_a_layer_each() -> None:
    probabilities = np.zeros((2, *SHAPE), np.float32)
    probabilities[0, :5], probabilities[1, 3:] = 0.5, 1.0

    low, high = collected(channels(MaskForm.CHANNELS), pred=probabilities)["masks"]

    assert low.shape == VOLUME.grid.shape
    assert set(np.unique(low)) == {0, 1}
    assert set(np.unique(high)) == {0, 2}
    assert np.array_equal(low[0, 0] == 1, np.arange(SHAPE[0]) < 5)
    assert ((low > 0) & (high > 0))[0, 0].sum() == 2


def test_the_most_probable_channel_wins() -> None:
    logits = np.zeros((3, *SHAPE), np.float32)
    logits[2, :, :, 4] = 3.0

    (labels,) = collected(channels(MaskForm.PROBABILITIES, Activation.SOFTMAX), pred=torch.from_numpy(logits))["masks"]

    assert np.array_equal(np.unique(labels[4]), [2])
    assert not np.delete(labels, 4, axis=0).any()


def test_classes_are_probabilities_whatever_the_network_gives() -> None:
    raw = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float16)

    given = collected(replace(QUALITY, activation=Activation.SOFTMAX), pred=raw)["quality"]

    assert given == pytest.approx([0.25, 0.75], abs=1e-3)


def test_values_are_taken_as_they_are() -> None:
    assert collected(AGE, pred=torch.tensor(63.5))["age"].tolist() == [63.5]


@pytest.mark.parametrize("coordinates", Coordinates)
def test_points_come_out_in_lps_whatever_they_count(coordinates: Coordinates) -> None:
    index = np.array([[3.0, 5.0, 2.0]])  # column, row, slice
    expected = VOLUME.grid.index_to_lps(index[:, ::-1])
    given = {Coordinates.INDEX: index, Coordinates.LPS: expected, Coordinates.RAS: expected * [-1, -1, 1]}

    arrays = collected(replace(POINTS, coordinates=coordinates), at=given[coordinates], score=np.array([0.75]))

    assert arrays["nodules/points"].reshape(-1, 3) == pytest.approx(expected)
    assert arrays["nodules/scores"].tolist() == [0.75]


def test_boxes_have_eight_corners_however_they_are_given() -> None:
    rest: dict[str, Any] = {"score": torch.tensor([0.5]), "label": torch.tensor([0])}
    corners = collected(BOXES, box=torch.tensor([[6.0, 7.0, 8.0, 2.0, 3.0, 4.0]]), **rest)
    centred = collected(replace(BOXES, centred=True), box=torch.tensor([[4.0, 5.0, 6.0, 4.0, 4.0, 4.0]]), **rest)

    points = corners["nodules/points"]
    assert points.shape == (1, 8, 3)
    assert np.allclose(points, centred["nodules/points"])
    index = VOLUME.grid.lps_to_index(points[0])
    assert index.min(axis=0) == pytest.approx([4, 3, 2])
    assert index.max(axis=0) == pytest.approx([8, 7, 6])


def test_nothing_may_be_found() -> None:
    arrays = collected(BOXES, box=torch.zeros((0, 6)), score=torch.zeros(0), label=torch.zeros(0, dtype=torch.int64))

    assert arrays["nodules/points"].shape == (0, 8, 3)


def test_a_flat_image_gives_a_flat_mask() -> None:
    order = returns.orders(contract_of(Path("model")))
    flat = outputs.Frame(SHAPE[:2], AFFINE, "image")
    labels = np.ones((1, *SHAPE[:2]), np.float32)

    assert outputs.collect({"pred": labels}, order, flat)["segmentation"].shape == (1, 1, *VOLUME.grid.shape[1:])


NAN = np.full((1, *SHAPE), np.nan, np.float32)
INSIDE = np.zeros((1, 3))


@pytest.mark.parametrize(
    ("output", "data", "reason"),
    [
        (QUALITY, {}, "output-missing"),
        (QUALITY, {"pred": np.zeros(0)}, "output-empty"),
        (QUALITY, {"pred": np.array([np.nan, 1])}, "output-not-finite"),
        (AGE, {"pred": np.array([np.inf])}, "output-not-finite"),
        (QUALITY, {"pred": np.array([0.1, 0.2, 0.7])}, "output-channels"),
        (QUALITY, {"pred": np.array([-4.0, 7.0])}, "output-range"),
        (QUALITY, {"pred": "good"}, "output-shape"),
        (channels(MaskForm.CHANNELS), {"pred": np.zeros((3, *SHAPE))}, "output-channels"),
        (channels(MaskForm.PROBABILITIES), {"pred": np.zeros((2, *SHAPE))}, "output-channels"),
        (channels(MaskForm.CHANNELS), {"pred": np.zeros((2, 4, 4, 4))}, "output-shape"),
        (MaskOutput("m", "pred", MaskForm.LABELS, ("segment_1",)), {"pred": NAN}, "output-not-finite"),
        (MaskOutput("m", "pred", MaskForm.LABELS, ("segment_1",)), {"pred": NAN * 0 + 300}, "output-not-finite"),
        (MaskOutput("m", "pred", MaskForm.LABELS, ("segment_1",)), {"pred": np.full(SHAPE, 300)}, "output-labels"),
        (MaskOutput("m", "pred", MaskForm.LABELS, ("segment_1",)), {"pred": np.full(SHAPE, 2)}, "output-labels"),
        (POINTS, {"at": np.zeros((1, 2)), "score": np.ones(1)}, "output-shape"),
        (POINTS, {"at": INSIDE, "score": np.ones(2)}, "output-shape"),
        (POINTS, {"at": INSIDE + 900, "score": np.ones(1)}, "output-outside"),
        (POINTS, {"at": INSIDE, "score": np.ones(1) * 9}, "output-range"),
        (POINTS, {"at": INSIDE * np.nan, "score": np.ones(1)}, "output-not-finite"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(output: Output, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelOutputError) as caught:
        collected(output, **data)

    assert caught.value.reason == reason


def test_probabilities_of_segments_are_kept_where_that_is_asked_for() -> None:
    softmaxed = np.zeros((3, *SHAPE), np.float32)
    softmaxed[0], softmaxed[2] = 0.25, 0.75
    given = collected(replace(channels(MaskForm.PROBABILITIES), keep=True), pred=torch.from_numpy(softmaxed))

    kept = given["masks/probabilities"]
    assert (kept.dtype, kept.shape) == (np.float32, (2, *VOLUME.grid.shape))
    assert [float(kept[0].max()), float(kept[1].min())] == [0.0, 0.75]
    assert (given["masks"] == 2).all()


def test_sigmoids_are_kept_in_place_and_cut_at_the_threshold() -> None:
    shares = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    shares[0, 5, 4, 3] = 0.7
    given = collected(replace(channels(MaskForm.CHANNELS), keep=True, threshold=0.7), pred=shares)

    assert np.array_equal(given["masks/probabilities"][0], shares[0].T)
    assert np.array_equal(given["masks"][0] == 1, shares[0].T >= 0.7)
    assert given["masks"][0, 3, 4, 5] == 1


def test_without_that_none_are() -> None:
    assert set(collected(channels(MaskForm.CHANNELS), pred=np.zeros((2, *SHAPE), np.float32))) == {"masks"}
