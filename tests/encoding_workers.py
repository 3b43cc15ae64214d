"""Workers for tests that encode results anew: no model runs, so they need none but its contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from result_cases import contract, series
from studies_of_results import Clinic

from dicom_node.domain.contract import InputRole, ModelContract
from dicom_node.domain.job import JobState
from dicom_node.settings import NodeSettings, Settings
from workers.run_job import Worker

DIGEST = contract().digest


@dataclass(frozen=True)
class Shelf:
    """A catalogue of one model, whatever it is called."""

    contract: ModelContract

    def get(self, name: str) -> ModelContract:
        return self.contract


def images(slices: int = 4, **attributes: Any) -> list[Dataset]:
    """The usual series, with pixels."""
    pixels = np.arange(120, dtype=np.int16).tobytes()
    kind = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 1}
    bits = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "RescaleSlope": 1, "RescaleIntercept": 0}
    return series(slices, **kind, **bits, PixelData=pixels, **attributes)


def worker(clinic: Clinic, settings: Settings | None = None) -> Worker:
    """A worker of this node; what it would run, it cannot."""
    settings = settings or Settings(node=NodeSettings(data_dir=clinic.data_dir))
    shelf = Shelf(contract(inputs=(InputRole("ct", "CT", 1, (), ()),)))
    return Worker(settings, clinic.ledger, clinic.desk.store, shelf, None, "box:2")  # type: ignore[arg-type]


def encode_all(clinic: Clinic, settings: Settings | None = None) -> list[str]:
    """Have every queued job done; how each ended."""
    waiting = sorted(each.id for each in clinic.ledger.jobs(states=(JobState.QUEUED,)))
    return [worker(clinic, settings).run(number) for number in waiting]
