"""Series -> volume -> SEG by the operators of the MONAI Deploy App SDK; run by the Python of its own environment."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from monai.deploy.core import Fragment
from monai.deploy.operators import (
    DICOMDataLoaderOperator,
    DICOMSegmentationWriterOperator,
    DICOMSeriesSelectorOperator,
    DICOMSeriesToVolumeOperator,
)
from monai.deploy.operators.dicom_seg_writer_operator import SegmentDescription
from pydicom.sr.codedict import codes

THRESHOLD_HU = 300


def main() -> None:
    """As ``benchmarks.volume_runs seg``."""
    series, out = map(Path, sys.argv[1:])
    one = out / "one"
    one.mkdir(parents=True)
    first = min(series.glob("*.dcm"))
    (one / first.name).write_bytes(first.read_bytes())
    run = operators()
    run(one, None)
    before = memory_mb("VmRSS")
    began, used = time.perf_counter(), time.process_time()
    voxels = run(series, out)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    print(
        json.dumps(
            {"voxels": voxels, "seconds": seconds, "cpu": cpu, "before_mb": before, "peak_mb": memory_mb("VmHWM")}
        )
    )


def memory_mb(line: str) -> float:
    """VmRSS (now) or VmHWM (the most so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(text.split()[1]) / 1000 for text in status.splitlines() if text.startswith(line))


def operators():  # type: ignore[no-untyped-def]
    """The chain, made once as in an application."""
    fragment = Fragment()
    loader = DICOMDataLoaderOperator(fragment, name="loader")
    selector = DICOMSeriesSelectorOperator(fragment, name="selector")
    to_volume = DICOMSeriesToVolumeOperator(fragment, name="to_volume")
    described = SegmentDescription(
        segment_label="Bone",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Bone,
        algorithm_name="threshold",
        algorithm_family=codes.DCM.ArtificialIntelligence,
        algorithm_version="1",
    )
    writer = DICOMSegmentationWriterOperator(
        fragment, segment_descriptions=[described], output_folder=Path.cwd(), name="writer"
    )

    def run(series: Path, out: Path | None) -> int:
        selected = selector.filter(None, loader.load_data_to_studies(series))
        label_map = (to_volume.convert_to_image(selected).asnumpy() > THRESHOLD_HU).view(np.uint8)
        if out:
            writer.create_dicom_seg(label_map, selected[0].selected_series[0].series, out)
        return int(np.count_nonzero(label_map))

    return run


if __name__ == "__main__":
    main()
