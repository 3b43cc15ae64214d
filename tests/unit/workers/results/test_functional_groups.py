from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from result_cases import series

from workers.results.functional_groups import FrameOf, decimal, per_frame, references


@pytest.mark.parametrize(
    ("value", "text"),
    [(pydicom.valuerep.DS("-30.50"), "-30.50"), (1 / 3, "0.33333333333333"), (-1e-9 / 3, "-3.333333333e-10")],
)
def test_numbers_keep_their_digits_as_far_as_they_fit(value: float, text: str) -> None:
    assert decimal(value) == text
    assert len(text) <= 16


def test_what_is_encoded_reads_as_sequences() -> None:
    images = series(3)
    dataset = Dataset()
    frames = [FrameOf(2, 1, (2, 1)), FrameOf(1, 0, (1, 2))]
    dataset[0x52009230] = per_frame(frames, images, identify=True)
    dataset[0x00082112] = references(0x00082112, images[:2])
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    back = pydicom.dcmread(BytesIO(buffer.getvalue()), force=True)
    assert [item.ReferencedSOPInstanceUID for item in back.SourceImageSequence] == [
        i.SOPInstanceUID for i in images[:2]
    ]
    first, second = back.PerFrameFunctionalGroupsSequence
    assert list(first.FrameContentSequence[0].DimensionIndexValues) == [2, 1]
    assert first.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
    assert second.PlanePositionSequence[0].ImagePositionPatient == images[0].ImagePositionPatient
    source = second.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == images[0].SOPInstanceUID
