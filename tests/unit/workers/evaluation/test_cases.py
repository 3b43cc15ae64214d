"""Images and truth in a folder: NIfTI, DICOM series and SEG, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from bundles import contract_of
from mr_series import STACKS, write_stack

from dicom_node.errors import InputError
from workers.evaluation import cases

AFFINE = np.array([[1.0, 0, 0, -10], [0, 1.5, 0, 5], [0, 0, 2, 30], [0, 0, 0, 1]])


def arrays() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    image = rng.normal(100, 20, (20, 24, 22)).astype(np.float32)
    return image, (rng.random(image.shape) > 0.8).astype(np.uint8)


def write(folder: Path, name: str, image: Any, labels: Any, affine: Any = AFFINE) -> None:
    for part, array in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / part / f"{name}.nii.gz")


def test_nifti_lies_where_it_says(tmp_path: Path) -> None:
    image, labels = arrays()
    write(tmp_path, "one", image, labels)
    contract = contract_of(tmp_path, modality="MR")
    (case,) = cases.find(tmp_path)
    volume = cases.image_of(case, contract)

    assert volume.grid.spacing == pytest.approx((2, 1.5, 1))
    assert volume.array[3, 5, 7] == image[7, 5, 3]
    assert volume.grid.index_to_lps([[3, 5, 7]])[0] == pytest.approx((-(-10 + 7), -(5 + 7.5), 36))
    assert np.array_equal(cases.truth_of(case, contract, volume.grid), labels.transpose(2, 1, 0))


@pytest.mark.parametrize("stack", STACKS)
def test_truth_as_nifti_fits_a_dicom_series_in_any_order(tmp_path: Path, stack: str) -> None:
    image, labels = arrays()
    write(tmp_path, "one", image, labels)
    (tmp_path / "images" / "one.nii.gz").unlink()
    write_stack(labels * 100.0, AFFINE, tmp_path / "images" / "one", stack)
    contract = contract_of(tmp_path, modality="MR")
    (case,) = cases.find(tmp_path)
    volume = cases.image_of(case, contract)

    assert np.array_equal(cases.truth_of(case, contract, volume.grid), volume.array > 50)


def test_a_seg_is_placed_by_its_own_geometry(tmp_path: Path) -> None:
    import highdicom as hd
    from highdicom.seg import SegmentationTypeValues
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    _, labels = arrays()
    series = write_stack(labels * 100.0, AFFINE, tmp_path / "images" / "one", "coronal")
    headers = [dcmread(file) for file in series.iterdir()]
    contract = contract_of(tmp_path, modality="MR")
    case = cases.Case("one", series, tmp_path / "labels" / "one.dcm")
    volume = cases.image_of(case, contract)
    ordered = sorted(headers, key=lambda header: volume.frames.index(header.SOPInstanceUID))
    code = contract.segments[0].type
    coded = hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
    description = hd.seg.SegmentDescription(1, "bright", coded, coded, "MANUAL")
    seg = hd.seg.Segmentation(
        ordered,
        (volume.array > 50).astype(np.uint8),
        SegmentationTypeValues.BINARY,
        [description],
        generate_uid(),
        1,
        generate_uid(),
        1,
        "tests",
        "tests",
        "1",
        "1",
    )
    case.truth.parent.mkdir()
    seg.save_as(case.truth)

    assert np.array_equal(cases.truth_of(case, contract, volume.grid), volume.array > 50)


def test_what_cannot_be_compared_is_refused_by_name(tmp_path: Path) -> None:
    image, labels = arrays()
    contract = contract_of(tmp_path, modality="MR")
    with pytest.raises(InputError, match="no cases") as refused:
        cases.find(tmp_path)
    assert refused.value.reason == "no-cases"
    write(tmp_path, "one", image, labels)
    with pytest.raises(InputError, match="no image: two"):
        cases.find(tmp_path, ("one", "two"))

    (case,) = cases.find(tmp_path)
    grid = cases.image_of(case, contract).grid
    moved = AFFINE.copy()
    moved[0, 3] += 0.4
    nibabel.save(nibabel.Nifti1Image(labels, moved), case.truth)
    with pytest.raises(InputError, match="another grid"):
        cases.truth_of(case, contract, grid)
    nibabel.save(nibabel.Nifti1Image(labels * 7, AFFINE), case.truth)
    with pytest.raises(InputError, match=r"holds \[7\]"):
        cases.truth_of(case, contract, grid)
    case.image.write_bytes(b"no NIfTI")
    with pytest.raises(InputError, match=r"one\.nii\.gz"):
        cases.image_of(case, contract)
    with pytest.raises(InputError, match=r"split\.json"):
        cases.part_of_split(contract, "test")
