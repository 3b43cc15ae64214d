"""A model is run on cases and judged; the pictures are drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bundles import contract_of, write_bundle

from dicom_node.errors import InputError
from workers.evaluation.charts import draw
from workers.evaluation.run import evaluate


def test_a_model_that_marks_what_is_bright_is_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for part in ("images", "labels"):
        (tmp_path / "cases" / part).mkdir(parents=True)
    for name in ("a", "b"):
        image = rng.normal(0, 100, (16, 18, 20)).astype(np.float32)
        truth = (image > 0).astype(np.uint8)
        if name == "b":
            truth[8:] = 0
        for part, array in (("images", image), ("labels", truth)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "cases" / part / f"{name}.nii.gz")
    contract = contract_of(write_bundle(tmp_path / "model"), modality="MR")
    lines: list[str] = []
    told = evaluate(contract, tmp_path / "cases", device="cpu", told=lines.append)

    first, second = (case["segments"]["segment_1"] for case in told["cases"])
    assert first["dice"] == 1
    assert second["dice"] == pytest.approx(2 / 3, abs=0.02)
    assert second["sensitivity"] == 1
    assert told["segments"]["segment_1"]["dice"]["mean"] == pytest.approx(
        (first["dice"] + second["dice"]) / 2, abs=1e-3
    )
    assert len(lines) == 2
    for picture in draw(told, tmp_path / "plots"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no segmentation"):
        evaluate(replace(contract, task="detection"), tmp_path / "cases")
