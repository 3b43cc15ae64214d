"""Loading a CT series of 300 x 512² in four transfer syntaxes beside MONAI's reader; series -> volume -> SEG beside the
MONAI Deploy App SDK. Each run is a process of its own; ours and the peer's alternate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from benchmarks import rivals
from benchmarks.studies import chest_ct
from benchmarks.table import Row, median, report

SLICES = 300
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
FASTER = 1.5  # compressed series: times the peer's speed
SDK_SHARE = 0.5  # of the SDK's time and memory
MONAI, SDK = "MONAI LoadImage, PydicomReader", "MONAI Deploy App SDK"


def main() -> int:
    """Every syntax, then the way to the SEG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        rows: list[Row] = []
        for syntax in SYNTAXES:
            series = write(images, syntax, folder / syntax)
            rows += _loading(series, UID(syntax))
        rows += _to_seg(folder / str(ExplicitVRLittleEndian), folder / "seg")
    notes = [
        f"{what}, repeated to {SLICES} slices of 512²; medians of {RUNS} alternating runs, each in a new process",
        "imports are not counted; every reader has read one image before",
        "memory: the largest resident set of the process, and what of it came after the imports",
        "a threshold stands in for the model on both ways to the SEG",
    ]
    return report("volumes", rows, rivals.versions(), notes=notes)


def write(images: Sequence[FileDataset], syntax: str, folder: Path) -> Path:
    """The images again and again as one series of ``SLICES`` slices, 1 mm apart."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for image in images:
        if image.file_meta.TransferSyntaxUID.is_compressed:
            image.decompress()
        if syntax != ExplicitVRLittleEndian:
            image.compress(syntax, generate_instance_uid=False)
    for number in range(SLICES):
        image = images[number % len(images)]
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [-150, -150, number]
        image.SliceThickness, image.InstanceNumber = 1, number + 1
        image.PatientID, image.PatientName, image.PatientBirthDate = "BENCH", "Benchmark", ""
        image.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def _loading(series: Path, syntax: UID) -> list[Row]:
    ours, peer = _alternating([sys.executable, "-m", "benchmarks.volume_runs"], ("ours", "monai"), series)
    assert np.isclose(ours[0]["mean"], peer[0]["mean"], atol=1e-2), "the two readers do not agree"
    compressed = syntax.is_compressed
    seconds = median([run["seconds"] for run in ours]), median([run["seconds"] for run in peer])
    return [
        Row(f"load, {syntax.name}", "s", *seconds, MONAI, goal=round(seconds[1] / FASTER, 3) if compressed else None),
        Row("  peak memory", "MB", _peak(ours), _peak(peer), MONAI),
        Row("  of it loading", "MB", _growth(ours), _growth(peer), MONAI),
    ]


def _to_seg(series: Path, out: Path) -> list[Row]:
    sdk = rivals.deploy_sdk()
    if sdk is None:
        return [Row("series -> volume -> SEG", "s", None, None, f"{SDK}: could not be installed")]
    ours, peer = [], []
    for number in range(RUNS):
        ours.append(_run([sys.executable, "-m", "benchmarks.volume_runs", "seg"], series, out / f"ours{number}"))
        script = str(Path(__file__).with_name("rival_sdk.py"))
        peer.append(_run([str(sdk), script], series, out / f"sdk{number}"))
    assert ours[0]["voxels"] == peer[0]["voxels"], "the two segmentations do not agree"
    seconds = median([run["seconds"] for run in ours]), median([run["seconds"] for run in peer])
    return [
        Row("series -> volume -> SEG", "s", *seconds, SDK, goal=round(seconds[1] * SDK_SHARE, 3)),
        Row("  peak memory", "MB", _peak(ours), _peak(peer), SDK, goal=round(_peak(peer) * SDK_SHARE, 1)),
        Row("  of it on the way", "MB", _growth(ours), _growth(peer), SDK, goal=round(_growth(peer) * SDK_SHARE, 1)),
    ]


def _alternating(command: list[str], whose: tuple[str, str], series: Path) -> tuple[list[dict[str, float]], ...]:
    runs: tuple[list[dict[str, float]], ...] = ([], [])
    for _ in range(RUNS):
        for found, who in zip(runs, whose, strict=True):
            found.append(_run([*command, who], series))
    return runs


def _run(command: list[str], *folders: Path) -> dict[str, float]:
    ran = subprocess.run([*command, *map(str, folders)], capture_output=True, text=True, check=False, timeout=1200)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
    told: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return told


def _peak(runs: Sequence[dict[str, float]]) -> float:
    return round(float(np.median([run["peak_mb"] for run in runs])), 1)


def _growth(runs: Sequence[dict[str, float]]) -> float:
    return round(float(np.median([run["peak_mb"] - run["before_mb"] for run in runs])), 1)


if __name__ == "__main__":
    sys.exit(main())
