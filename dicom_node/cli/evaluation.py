"""``models evaluate`` and ``models train``: both are done by the worker's program; this one shows what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli import access, models, output
from dicom_node.cli.output import Json

_SHOWN = (
    ("dice", "Dice"),
    ("surface_distance_mm", "surface distance, mm"),
    ("hausdorff_95_mm", "Hausdorff 95 %, mm"),
    ("absolute_volume_error_percent", "volume error, %"),
    ("sensitivity", "sensitivity"),
    ("precision", "precision"),
)
_SHOWN_OF_CLASSES = (
    ("auc", "AUC"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("f1", "F1"),
)


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``models``."""
    for command in (evaluate, train):
        models.commands.command()(command)


def evaluate(
    context: typer.Context,
    name: models.ModelArgument,
    folder: Annotated[Path, typer.Argument(help="Holds images/ and labels/ of the same names, or truth.csv.")],
    part: Annotated[str, typer.Option(help="Part of the model's own split: test, validation or training.")] = "",
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures (PNG).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Json = False,
) -> None:
    """Compare a model with the truth: overlap, surfaces, volumes; of classifiers AUC, sensitivity, specificity, F1."""
    options = [f"--device={device}", *((f"--part={part}",) if part else ())]
    if plots:
        options.append(f"--plots={plots.resolve()}")
    ran = _worker(context, "evaluate", name, str(folder.resolve()), *options)
    if ran.returncode:
        raise typer.Exit(ran.returncode)
    output.show(json.loads(ran.stdout), as_json, _print_evaluation)


def train(
    context: typer.Context,
    name: models.ModelArgument,
    folder: Annotated[Path, typer.Argument(help="Holds images/ and labels/, with files of the same names.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, curve and weights; a run goes on from its last.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes through the training cases.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Validations without gain before it stops.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="From random weights, not from those of the model.")] = False,
) -> None:
    """Train a model on cases of your own, from its weights on, by the training configuration of its bundle."""
    numbers = (("epochs", epochs), ("patience", patience), ("seed", seed))
    options = [f"--{option}={value}" for option, value in numbers if value is not None]
    ran = _worker(
        context,
        "train",
        name,
        str(folder.resolve()),
        f"--out={out.resolve()}",
        *options,
        *(("--anew",) if anew else ()),
        captured=False,
    )
    if ran.returncode:
        raise typer.Exit(ran.returncode)


def _worker(
    context: typer.Context, command: str, name: str, *given: str, captured: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of the worker's program; its errors and its progress go to the standard error as they come."""
    from dicom_node.catalogue import Catalogue

    configuration = access.configuration(context)
    Catalogue.load(configuration.settings).get(name)
    file = configuration.source.file
    program = [sys.executable, "-m", "workers", *(("--config", str(file)) if file else ())]
    return subprocess.run(
        [*program, command, name, *given], stdout=subprocess.PIPE if captured else None, text=True, check=False
    )


def _print_evaluation(data: dict[str, Any]) -> None:
    part = f", {data['part']} part of its split" if data["part"] else ""
    output.write(f"{data['model']} {data['version']} on {len(data['cases'])} cases of {data['folder']}{part}")
    if "classes" in data:
        _print_classes(data)
    for segment, scores in data.get("segments", {}).items():
        output.heading(segment)
        rows = [
            (words, scores[score]["mean"], _range(scores[score]), scores[score]["cases"]) for score, words in _SHOWN
        ]
        output.table(("score", "mean", "95 % interval", "cases"), rows)


def _print_classes(data: dict[str, Any]) -> None:
    rows = [
        (name, *(_with_range(scores[score]) for score, _ in _SHOWN_OF_CLASSES))
        for name, scores in data["classes"].items()
    ]
    output.table(("class", *(words for _, words in _SHOWN_OF_CLASSES)), rows)
    told = data["calibration"]
    if told:
        output.write(
            f"calibration error {told['ece']:g}; the smallest set of classes that holds 90 % has {told['set_size']:g} "
            f"and holds the truth in {told['coverage']:.1%}"
        )
        right = "" if told["accuracy_of_decided"] is None else f", {told['accuracy_of_decided']:.1%} of these right"
        output.write(f"decided in {told['decided']:.1%}{right}")


def _with_range(score: dict[str, Any]) -> str:
    return "" if score["mean"] is None else f"{score['mean']:g} ({_range(score)})"


def _range(score: dict[str, Any]) -> str:
    return "" if score["low"] is None else f"{score['low']:g} to {score['high']:g}"
