"""Truth of classifiers from a table, and a classifier judged by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bundles import contract_of, write_bundle

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code
from dicom_node.domain.output import ClassOutput, ClassSpec
from dicom_node.errors import InputError
from workers.evaluation import classes
from workers.evaluation.charts import draw
from workers.evaluation.run import evaluate

CODE = Code("1", "99TEST", "test")
QUALITY = ClassOutput("quality", "pred", (ClassSpec("clean", CODE), ClassSpec("bright", CODE)), exclusive=True)
BODY = "p = x.mean().clip(0.0, 1.0); return torch.stack([1 - p, p])[None]"


def written(folder: Path, table: str, *names: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(names):
        image = np.full((6, 7, 8), number / max(1, len(names) - 1), dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "images" / f"{name}.nii.gz")
    (folder / "truth.csv").write_text(table)
    return folder


@pytest.fixture
def contract(tmp_path: Path) -> ModelContract:
    """A classifier that calls a volume bright as surely as its mean is high."""
    made = contract_of(write_bundle(tmp_path / "model", BODY), modality="MR", segments=0, outputs=(QUALITY,))
    configuration = made.folder / "configs" / "inference.json"
    configuration.write_text(configuration.read_text().replace('"postprocessing"', '"unused"'))
    return replace(made, task="classification")


def test_a_class_for_each_case(tmp_path: Path) -> None:
    folder = written(tmp_path / "cases", "case,class\nb,bright\na,clean\n", "a", "b")
    cases, truth = classes.find(folder, QUALITY)

    assert [case.name for case in cases] == ["b", "a"]
    assert truth.tolist() == [[False, True], [True, False]]


def test_a_column_for_each_class(tmp_path: Path) -> None:
    folder = written(tmp_path / "cases", "case,bright,clean\na,0,1\nb,1,1\n", "a", "b")

    assert classes.find(folder, QUALITY, ("b",))[1].tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("case,class\na,dull\n", "line 2: 'dull' is none of clean, bright"),
        ("case,clean\na,1\n", "line 2: needs a 0 or 1 for each of clean, bright"),
        ("case,bright,clean\na,1,yes\n", "line 2: needs a 0 or 1"),
        ("case,class\na,clean\na,bright\n", "a case stands in it twice"),
        ("case,class\na,clean\nz,bright\n", "1 case(s) have no image, or no line: z"),
        ("case,class\n", "names no case"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, table: str, message: str) -> None:
    folder = written(tmp_path / "cases", table, "a")
    with pytest.raises(InputError) as caught:
        classes.find(folder, QUALITY)
    assert message in caught.value.message
    assert "truth.csv" in caught.value.message


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"truth\.csv: cannot be read"):
        classes.find(tmp_path, QUALITY)


def test_a_classifier_is_run_and_judged(tmp_path: Path, contract: ModelContract) -> None:
    table = "case,class\na,clean\nb,clean\nc,bright\nd,bright\n"
    folder = written(tmp_path / "cases", table, "a", "b", "c", "d")
    lines: list[str] = []
    told = evaluate(contract, folder, device="cpu", told=lines.append)

    assert [case["probabilities"]["bright"] for case in told["cases"]] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-5)
    assert told["classes"]["macro"]["auc"]["mean"] == 1.0
    assert told["calibration"]["coverage"] == 1.0
    assert len(lines) == 4
    for picture in draw(told, tmp_path / "plots"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_case_of_two_classes_that_exclude_each_other_is_refused(tmp_path: Path, contract: ModelContract) -> None:
    folder = written(tmp_path / "cases", "case,bright,clean\na,1,1\n", "a")
    with pytest.raises(InputError, match="a is not of one class"):
        evaluate(contract, folder, device="cpu")
