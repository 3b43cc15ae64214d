"""Tables of a ``model.toml`` on how its results are told: their encoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from dicom_node.contract_tables import ChannelsTable, OutputTable, Path, Table
from dicom_node.domain.output import Encoding


class ResultTable(Table):
    """``[result]``."""

    segmentation: Literal["BINARY", "LABELMAP", "FRACTIONAL"] | None = None

    def encoding(self) -> Encoding | None:
        """How segments are written, where the model asks for something."""
        return Encoding(self.segmentation) if self.segmentation else None


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
