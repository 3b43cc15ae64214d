"""An evaluation as pictures: how the overlap is spread over the cases, and volumes against those of the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(evaluation: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
    """Write ``dice.png`` and ``volumes.png`` of what :func:`.run.evaluate` returned into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(evaluation["segments"])
    columns = {name: [case["segments"][name] for case in evaluation["cases"]] for name in names}
    title = f"{evaluation['model']} {evaluation['version']}, {len(evaluation['cases'])} cases"

    figure = Figure(figsize=(2 + 1.2 * len(names), 4), layout="constrained")
    axes = figure.subplots()
    axes.boxplot([[s["dice"] for s in columns[name] if s["dice"] is not None] for name in names])
    axes.set_xticks(range(1, len(names) + 1), names)
    axes.set(ylabel="Dice", title=title)
    figure.savefig(folder / "dice.png", dpi=150)

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for name in names:
        axes.scatter([s["truth_volume_ml"] for s in columns[name]], [s["volume_ml"] for s in columns[name]], label=name)
    axes.axline((0, 0), slope=1, color="grey", linewidth=1)
    axes.set(xlabel="volume of the truth, ml", ylabel="volume found, ml", title=title)
    axes.legend()
    figure.savefig(folder / "volumes.png", dpi=150)
    return folder / "dice.png", folder / "volumes.png"
