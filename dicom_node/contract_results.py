"""Tables of a ``model.toml`` on how its results are told: their encoding, and how sure they are.

What intervals are calibrated by stands in a file of its own, ``configs/calibration.json``, which
``models evaluate --calibrate`` writes. It names the weights it holds for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Annotated, Any, Literal

from pydantic import Field

from dicom_node.contract_tables import ChannelsTable, ClassesTable, Name, OutputTable, Path, Table, ValuesTable
from dicom_node.domain.output import (
    CALIBRATION,
    Calibration,
    Encoding,
    ExplanationSpec,
    MapMethod,
    SampleMethod,
    UncertaintySpec,
)
from dicom_node.errors import ContractError


class ResultTable(Table):
    """``[result]``."""

    segmentation: Literal["BINARY", "LABELMAP", "FRACTIONAL"] | None = None

    def encoding(self) -> Encoding | None:
        """How segments are written, where the model asks for something."""
        return Encoding(self.segmentation) if self.segmentation else None


class UncertaintyTable(Table):
    """``[uncertainty]``."""

    method: Literal["members", "views", "call", "thresholds"]
    flips: Annotated[tuple[Annotated[str, Field(pattern="^W?H?D?$", min_length=1)], ...], Field(strict=False)] = ()
    call: Annotated[str, Field(pattern="^([a-z][a-z0-9_]*)?$")] = ""
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9

    def record(self, folder: File, weights: Mapping[str, str]) -> UncertaintySpec:
        """The record, with the calibration in ``folder`` where there is one; ``weights`` maps files to their SHA-256.

        Raises:
            ContractError: the calibration cannot be read, or is that of other weights.
        """
        method = SampleMethod(self.method)
        return UncertaintySpec(method, self.flips, self.call, self.coverage, calibrations(folder, weights))


def calibrations(folder: File, weights: Mapping[str, str]) -> tuple[Calibration, ...]:
    """What ``configs/calibration.json`` of a bundle says; nothing where there is none.

    Raises:
        ContractError: it cannot be read, or is that of other weights.
    """
    file = folder / CALIBRATION
    if not file.exists():
        return ()
    again = "remove it, then: dicom-node models evaluate NAME FOLDER --part validation --calibrate"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(_calibration(entry) for entry in told["measurements"])
        of_weights = dict(told["weights"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"cannot be read: {error!r}", file=file, remedy=again) from error
    if of_weights != dict(weights):
        raise ContractError("the intervals were calibrated with other weights", file=file, key="weights", remedy=again)
    return found


def _calibration(entry: Mapping[str, Any]) -> Calibration:
    of = tuple(str(name) for name in entry["of"])
    factor, floor = float(entry["factor"]), float(entry["floor"])
    if not (0 <= factor < float("inf") and 0 <= floor < float("inf")):
        raise ValueError(f"factor {factor} and floor {floor} are no widths")
    return Calibration(str(entry["measurement"]), of, factor, floor, int(entry["cases"]))


def uncertainty_contradictions(
    uncertainty: UncertaintyTable | None, outputs: tuple[OutputTable, ...]
) -> Iterator[tuple[Path, str]]:
    """What no single key of the table shows: with the path of the key."""
    if uncertainty is None:
        return
    if (uncertainty.method == "views") != bool(uncertainty.flips):
        yield ("uncertainty", "flips"), 'views need flips, such as ["W", "H", "WH"]; other methods have none'
    if (uncertainty.method == "call") != bool(uncertainty.call):
        yield ("uncertainty", "call"), "name the method of the network; other methods have none"
    kept = any(isinstance(output, ChannelsTable) and output.keep for output in outputs)
    if uncertainty.method == "thresholds" and not kept:
        yield ("uncertainty", "method"), "thresholds need an output with keep = true"


class ExplanationTable(Table):
    """``[explanation]``."""

    output: Name
    method: Literal["grad-cam", "occlusion"]
    of: str = ""
    layer: str = ""
    window: Annotated[int, Field(ge=1)] = 8
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def record(self) -> ExplanationSpec:
        """The record."""
        return ExplanationSpec(self.output, MapMethod(self.method), self.of, self.layer, self.window, self.overlap)


def explanation_contradictions(
    explanation: ExplanationTable | None, outputs: tuple[OutputTable, ...]
) -> Iterator[tuple[Path, str]]:
    """What no single key of the table shows: with the path of the key."""
    if explanation is None:
        return
    output = next((output for output in outputs if output.name == explanation.output), None)
    if not isinstance(output, ClassesTable | ValuesTable):
        yield ("explanation", "output"), f"{explanation.output!r} is no output of classes or values"
        return
    entries = output.classes if isinstance(output, ClassesTable) else output.values
    if explanation.of and explanation.of not in {entry.name for entry in entries}:
        yield ("explanation", "of"), f"{explanation.output} has no {explanation.of!r}"
    if (explanation.method == "grad-cam") != bool(explanation.layer):
        yield ("explanation", "layer"), "grad-cam needs the name of a layer of the network; occlusion has none"


def result_contradictions(result: ResultTable, outputs: tuple[OutputTable, ...]) -> Iterator[tuple[Path, str]]:
    """What no single key of the tables shows: with the path of the key."""
    masks = [output for output in outputs if output.kind in ("labels", "channels", "probabilities")]
    kept = [output for output in masks if isinstance(output, ChannelsTable) and output.keep]
    if result.segmentation == "FRACTIONAL" and (not masks or len(kept) < len(masks)):
        yield (
            ("result", "segmentation"),
            "FRACTIONAL needs the probabilities of all segments: outputs of the kind channels or probabilities, with "
            "keep = true",
        )
    if result.segmentation == "LABELMAP" and any(output.kind == "channels" for output in masks):
        yield (
            ("result", "segmentation"),
            "segments of the kind channels may overlap, which a LABELMAP cannot hold",
        )
