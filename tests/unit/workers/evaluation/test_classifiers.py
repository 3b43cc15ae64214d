from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_roc_auc

from workers.evaluation import classifiers

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1])
FIRST = np.array([0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, 0.1])
PROBABILITIES = np.stack([FIRST, 1 - FIRST], 1)
IS_CLASS = np.stack([TRUTH == 0, TRUTH == 1], 1)


def test_a_classifier_is_judged_class_by_class() -> None:
    told = classifiers.of_classes(PROBABILITIES, PROBABILITIES > 0.5, IS_CLASS, ("clean", "spoilt"))

    assert told["clean"]["sensitivity"]["mean"] == told["clean"]["specificity"]["mean"] == 0.75
    assert told["clean"]["f1"]["mean"] == 0.75
    assert told["clean"]["auc"]["mean"] == pytest.approx(15 / 16, abs=1e-4)
    assert told["macro"]["auc"]["low"] <= told["macro"]["auc"]["mean"] <= told["macro"]["auc"]["high"]


def test_the_area_is_that_of_monai_ties_included() -> None:
    rng = np.random.default_rng(1)
    probability, truth = rng.integers(0, 8, 60) / 8, rng.random(60) < 0.4
    told = classifiers.of_classes(probability[:, None], probability[:, None] > 0.5, truth[:, None], ("one",))

    theirs = compute_roc_auc(torch.as_tensor(probability), torch.as_tensor(truth.astype(np.int64)))
    assert told["one"]["auc"]["mean"] == pytest.approx(float(theirs), abs=1e-4)
    false, true = classifiers.curve(probability, truth)
    assert np.trapezoid(true, false) == pytest.approx(float(theirs), abs=1e-6)


def test_a_class_that_no_case_is_of_has_no_area() -> None:
    told = classifiers.of_classes(PROBABILITIES, PROBABILITIES > 0.5, np.zeros_like(IS_CLASS), ("a", "b"))

    assert told["a"]["auc"]["mean"] is None
    assert told["a"]["sensitivity"]["mean"] is None


def test_probabilities_that_say_too_much_are_told() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(4000) < 0.7  # the first class holds in 70 %
    told, boast = np.full(4000, 0.7), np.full(4000, 0.95)
    is_class = np.stack([truth, ~truth], 1)

    honest = classifiers.calibration(np.stack([told, 1 - told], 1), is_class)
    assert honest["ece"] < 0.02
    assert (honest["coverage"], honest["set_size"]) == (1.0, 2.0)
    boasting = classifiers.calibration(np.stack([boast, 1 - boast], 1), is_class, decided_from=0.9)
    assert boasting["ece"] == pytest.approx(0.25, abs=0.02)
    assert boasting["coverage"] == pytest.approx(0.7, abs=0.02)
    assert boasting["decided"] == 1.0
    assert boasting["accuracy_of_decided"] == pytest.approx(0.7, abs=0.02)


def test_nothing_decided_has_no_accuracy() -> None:
    assert classifiers.calibration(PROBABILITIES, IS_CLASS, decided_from=0.99)["accuracy_of_decided"] is None
