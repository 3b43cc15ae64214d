"""The process that parses genomes: ``python -m dicom_node.sidecars.genomics.reader WHAT PARENT SCRATCH``.

It reads its order from the standard input, closes the sandbox (no network, no writing outside ``SCRATCH``, limits on
memory, CPU and file size), and only then imports htslib. Its answer is ``SCRATCH/answer.json``. When htslib crashes on
a file, this process ends and nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from dicom_node import sandbox
from dicom_node.errors import DicomNodeError

ANSWER = "answer.json"


def main(what: str, parent: int, scratch: Path) -> None:
    """Obey one order."""
    sandbox.die_with_parent(parent)
    told = json.load(sys.stdin)
    limits = told["limits"]
    os.environ["TMPDIR"] = str(scratch)
    os.chdir(scratch)
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 5))
    written = limits["written_mb"] << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    sandbox.enter(memory_mb=limits["memory_mb"], scratch=scratch, gpu=False)
    try:
        answer = {"answer": _obey(what, told["order"], scratch)}
    except DicomNodeError as error:
        answer = {"error": {"message": str(error), "reason": error.reason, "remedy": error.remedy}}
    except MemoryError:
        remedy = "raise genomics.memory_mb"
        answer = {"error": {"message": "more memory is needed", "reason": "genome-too-large", "remedy": remedy}}
    (scratch / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def _obey(what: str, told: dict[str, Any], scratch: Path) -> Any:
    """htslib and all that uses it: imported only behind the sandbox."""
    from dicom_node.sidecars.genomics.order import Order

    if what == "consequences":
        from dicom_node.sidecars.genomics.consequence import consequences

        sequence, annotation = Path(told["sequence"]), Path(told["annotation"])
        return consequences(Path(told["file"]), told["sample"], sequence, annotation, frozenset(told["genes"]), scratch)
    from dicom_node.sidecars.genomics import reading

    order = Order.from_json(told)
    return reading.measure(order) if what == "measure" else reading.read(order)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
