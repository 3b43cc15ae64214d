"""One run of :mod:`benchmarks.volumes` in a process of its own: ``ours``, ``monai`` or ``seg``, and the folders."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD_HU = 300

Run = Callable[[Path, Path | None], dict[str, Any]]


def main() -> None:
    """Warm up on one image, run, print seconds, memory and what shows that the answer is right."""
    who, series, *out = sys.argv[1:]
    run = {"ours": _ours, "monai": _monai, "seg": _seg}[who]()
    with tempfile.TemporaryDirectory() as one:
        shutil.copy(min(Path(series).iterdir()), one)
        run(Path(one), None)
    before = memory_mb("VmRSS")
    began, used = time.perf_counter(), time.process_time()
    told = run(Path(series), Path(out[0]) if out else None)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps(told | {"seconds": seconds, "cpu": cpu, "before_mb": before, "peak_mb": memory_mb("VmHWM")}))


def memory_mb(line: str) -> float:
    """VmRSS (now) or VmHWM (the most so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(text.split()[1]) / 1000 for text in status.splitlines() if text.startswith(line))


def _ours() -> Run:
    from workers.inference.volume import load_volume

    return lambda series, _: {"mean": float(load_volume(sorted(series.iterdir())).array.mean(dtype=np.float64))}


def _monai() -> Run:
    from monai.transforms import LoadImage

    def run(series: Path, _: Path | None) -> dict[str, Any]:
        array = LoadImage(reader="PydicomReader", image_only=True)(series)
        return {"mean": float(np.asarray(array).mean(dtype=np.float64))}

    return run


def _seg() -> Run:
    from result_cases import CONTEXT, contract, findings_on

    from dicom_node.archive.documents import part_10
    from workers.inference.volume import load_volume
    from workers.results import segmentation, source

    def run(series: Path, out: Path | None) -> dict[str, Any]:
        volume = load_volume(sorted(series.iterdir()))
        label_map = (volume.array > THRESHOLD_HU).view(np.uint8)
        found = findings_on(volume.headers, label_map, measurements=(), evaluations=())
        images = source.read(volume.headers)
        seg = segmentation.build(found, contract(), images, CONTEXT, source.local_time(images, CONTEXT))
        encoded = part_10(seg, images.character_set, CONTEXT.station)
        if out:
            out.mkdir(parents=True, exist_ok=True)
            (out / "seg.dcm").write_bytes(encoded)
        return {"voxels": int(np.count_nonzero(label_map))}

    return run


if __name__ == "__main__":
    main()
