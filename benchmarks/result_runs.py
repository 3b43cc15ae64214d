"""One run of :mod:`benchmarks.results` in a process of its own: who, encoding, segments, slices, folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import reference_segmentation
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from result_cases import ANATOMY, CONTEXT, LUNG, contract, findings_on, series

from benchmarks.volume_runs import memory_mb
from dicom_node.archive.documents import part_10
from dicom_node.domain.finding import Findings, Segment
from workers.results import segmentation
from workers.results.planes import Encoding, Fractions, LabelMap
from workers.results.source import Source, local_time, read

SIDE = 512
Write = Callable[[list[Dataset], Findings, npt.NDArray[np.float32] | None, Path], None]


def main() -> None:
    """Warm up on a few slices, run, print seconds, memory and a digest of the pixels."""
    who, told, segments, slices, folder = sys.argv[1:]
    encoding, out = Encoding(told), Path(folder) / "seg.dcm"
    if who == "dcmqi":
        print(json.dumps(_dcmqi(int(segments), int(slices), Path(folder)) | {"pixels": _digest(out)}))
        return
    write = (_ours if who == "ours" else _highdicom)(encoding)
    write(*_case(encoding, 2, 2), out)
    case = _case(encoding, int(segments), int(slices))
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began, used = time.perf_counter(), time.process_time()
    write(*case, out)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    grown = memory_mb("VmHWM") - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "grown_mb": grown, "pixels": _digest(out)}))


def _case(
    encoding: Encoding, count: int, slices: int
) -> tuple[list[Dataset], Findings, npt.NDArray[np.float32] | None]:
    """Images, and segments as boxes that hide each other in part, like organs; or probabilities, segment by segment."""
    images = series(slices, shape=(SIDE, SIDE))
    rng = np.random.default_rng(1)
    label_map = np.zeros((slices, SIDE, SIDE), np.uint8)
    segments = tuple(
        Segment(n, f"Segment {n}", ANATOMY, LUNG, None, (224, 97, 76), f"s{n}", f"2.25.{4710 + n}")
        for n in range(1, count + 1)
    )
    boxes = []
    for number in range(1, count + 1):
        low = [int(rng.integers(0, n)) for n in (max(1, slices * 4 // 5), SIDE * 9 // 10, SIDE * 9 // 10)]
        high = (low[0] + max(1, slices // 5), low[1] + SIDE // 10, low[2] + SIDE // 10)
        boxes.append(tuple(slice(a, b) for a, b in zip(low, high, strict=True)))
        label_map[boxes[-1]] = number
    findings = findings_on(images, label_map, segments=segments, measurements=(), evaluations=())
    if encoding is not Encoding.FRACTIONAL:
        return images, findings, None
    probabilities = np.zeros((count, *label_map.shape), np.float32)
    for channel, box in zip(probabilities, boxes, strict=True):
        channel[box] = rng.random(channel[box].shape, np.float32)
    return images, findings, probabilities


def _ours(encoding: Encoding) -> Write:
    def write(images: list[Dataset], found: Findings, probabilities: npt.NDArray[np.float32] | None, out: Path) -> None:
        planes: Any = None
        if encoding is Encoding.LABELMAP:
            planes = LabelMap(found)
        if probabilities is not None:
            planes = Fractions(list(probabilities))
        source = read(images)
        made = segmentation.build(found, contract(), source, CONTEXT, local_time(source, CONTEXT), planes)
        out.write_bytes(part_10(made, (), "BENCH", made.file_meta.TransferSyntaxUID))

    return write


def _highdicom(encoding: Encoding) -> Write:
    def write(images: list[Dataset], found: Findings, probabilities: npt.NDArray[np.float32] | None, out: Path) -> None:
        source: Source = read(images)
        made = reference_segmentation.build(
            found, contract(), source, CONTEXT, local_time(source, CONTEXT), encoding, probabilities
        )
        made.save_as(out, enforce_file_format=True)

    return write


def _dcmqi(count: int, slices: int, folder: Path) -> dict[str, float]:
    """dcmqi's own writer, on images and on one NRRD file for all segments."""
    images, findings, _ = _case(Encoding.BINARY, count, slices)
    given = folder / "dcmqi"
    if not given.exists():
        (given / "images").mkdir(parents=True)
        for image in images:
            _write_image(image, given / "images" / f"{image.SOPInstanceUID}.dcm")
        _write_nrrd(findings, given / "labels.nrrd")
        (given / "meta.json").write_text(json.dumps(_described(findings)))
    command = [
        str(Path(sys.executable).with_name("itkimage2segimage")), "--useLabelIDAsSegmentNumber",
        "--inputDICOMDirectory", str(given / "images"),
        "--inputImageList", str(given / "labels.nrrd"), "--inputMetadata", str(given / "meta.json"),
        "--outputDICOM", str(folder / "seg.dcm"),
    ]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"itkimage2segimage failed: {process.stderr.read()[-2000:] if process.stderr else b''!r}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "grown_mb": usage.ru_maxrss / 1000}


def _write_image(image: Dataset, path: Path) -> None:
    image.PixelData = bytes(2 * SIDE * SIDE)
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)


def _write_nrrd(findings: Findings, path: Path) -> None:
    grid = findings.grid
    image = sitk.GetImageFromArray(findings.layers[0])
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.directions[:, ::-1].ravel().tolist())
    sitk.WriteImage(image, str(path))


def _described(findings: Findings) -> dict[str, Any]:
    def coded(code: Any) -> dict[str, str]:
        return {"CodeValue": code.value, "CodingSchemeDesignator": code.scheme, "CodeMeaning": code.meaning}

    attributes = [
        {
            "labelID": segment.number,
            "SegmentLabel": segment.label,
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "benchmark",
            "SegmentedPropertyCategoryCodeSequence": coded(segment.category),
            "SegmentedPropertyTypeCodeSequence": coded(segment.type),
            "recommendedDisplayRGBValue": list(segment.color),
        }
        for segment in findings.segments
    ]
    return {"ContentCreatorName": "Benchmark", "SeriesDescription": "dcmqi", "segmentAttributes": [attributes]}


def _digest(path: Path) -> str:
    """Of the pixels by segment and place, whatever the order of the frames."""
    dataset = pydicom.dcmread(path)
    frames = int(dataset.NumberOfFrames)
    size = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if dataset.SegmentationType == "LABELMAP":
        return hashlib.sha256(dataset.PixelData).hexdigest()
    parts = []
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        identified = group if "SegmentIdentificationSequence" in group else shared
        number = int(identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        place = round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]), 3)
        parts.append((number, place, hashlib.sha256(dataset.PixelData[index * size : (index + 1) * size]).hexdigest()))
    assert len(parts) == frames
    return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()


if __name__ == "__main__":
    main()
