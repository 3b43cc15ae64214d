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
_SHOWN_OF_VALUES = (
    ("mean_absolute_error", "mean absolute error"),
    ("bias", "bias"),
    ("lower_limit", "lower limit of agreement"),
    ("upper_limit", "upper limit of agreement"),
    ("icc", "intraclass correlation"),
)
_SHOWN_OF_CLASSES = (
    ("auc", "AUC"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("f1", "F1"),
)


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``models``."""
    for command in (evaluate, train, optimise):
        models.commands.command()(command)


def evaluate(
    context: typer.Context,
    name: models.ModelArgument,
    folder: Annotated[Path, typer.Argument(help="Holds images/ and labels/ of the same names, or truth.csv.")],
    part: Annotated[str, typer.Option(help="Part of the model's own split: test, validation or training.")] = "",
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures (PNG).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Calibrate intervals by these cases, and write that into the bundle.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a model with the truth: masks, classes, values or detections, each score with its interval."""
    options = [f"--device={device}", *((f"--part={part}",) if part else ())]
    if calibrate:
        options.append("--calibrate")
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
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write loss and metrics for TensorBoard.")] = False,
    mlflow: Annotated[str, typer.Option(help="Write them to MLflow: address of a server, or a file (SQLite).")] = "",
    site: Annotated[
        list[Path] | None, typer.Option(help="Another site's folder: the sites train together, and share no images.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="With --site: how often updates are averaged.")] = 10,
    noise: Annotated[
        float | None, typer.Option(min=0.01, help="With --site: of differential privacy, as a multiple of --clip.")
    ] = None,
    clip: Annotated[float, typer.Option(min=1e-6, help="Largest norm of an update, with --noise.")] = 1.0,
    delta: Annotated[float, typer.Option(min=1e-12, max=0.5, help="Of the privacy, with --noise.")] = 1e-5,
) -> None:
    """Train a model on cases of your own, from its weights on, by the training configuration of its bundle."""
    numbers = (("epochs", epochs), ("patience", patience), ("seed", seed), ("noise", noise))
    options = [f"--{option}={value}" for option, value in numbers if value is not None]
    if mlflow:
        options.append(f"--mlflow={mlflow if '://' in mlflow else Path(mlflow).resolve()}")
    if site:
        options += [*(f"--site={folder.resolve()}" for folder in site), f"--rounds={rounds}"]
        options += [f"--clip={clip}", f"--delta={delta}"]
    ran = _worker(
        context,
        "train",
        name,
        str(folder.resolve()),
        f"--out={out.resolve()}",
        *options,
        *(("--anew",) if anew else ()),
        *(("--tensorboard",) if tensorboard else ()),
        captured=False,
    )
    if ran.returncode:
        raise typer.Exit(ran.returncode)


def optimise(
    context: typer.Context,
    name: models.ModelArgument,
    folder: Annotated[Path | None, typer.Argument(help="Holds images/; without it computed volumes are taken.")] = None,
    within: Annotated[float | None, typer.Option(min=0, max=1, help="Least agreement with the plain result.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    forget: Annotated[bool, typer.Option("--forget", help="Compute as the bundle says again.")] = False,
    as_json: Json = False,
) -> None:
    """Measure what makes a model faster on this machine, and keep what does not change its results."""
    given = [*((str(folder.resolve()),) if folder else ()), f"--device={device}", *(("--forget",) if forget else ())]
    ran = _worker(context, "optimise", name, *given, *((f"--within={within}",) if within is not None else ()))
    if ran.returncode:
        raise typer.Exit(ran.returncode)
    output.show(json.loads(ran.stdout), as_json, _print_optimised)


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
    for names, shown in (("segments", _SHOWN), ("values", _SHOWN_OF_VALUES)):
        for name, scores in data.get(names, {}).items():
            output.heading(f"{name}, {scores['unit']}" if "unit" in scores else name)
            rows = [(words, *_cells(scores[score])) for score, words in shown]
            output.table(("score", "mean", "95 % interval", "cases"), rows)
    if "detections" in data:
        _print_detections(data["detections"])
    _print_intervals(data)


def _print_detections(told: dict[str, Any]) -> None:
    output.write(f"{told['lesions']} lesions")
    rows = [
        ("sensitivity of all marks", *_cells(told["sensitivity"])),
        ("their false positives per case", *_cells(told["false_positives"])),
        *((f"sensitivity at {rate} per case", *_cells(at)) for rate, at in told["at"].items()),
        ("mean of these", *_cells(told["score"])),
    ]
    output.table(("score", "mean", "95 % interval", "cases"), rows)


def _cells(score: dict[str, Any]) -> tuple[Any, ...]:
    return score["mean"], _range(score), score["cases"]


def _print_optimised(data: dict[str, Any]) -> None:
    if "forgotten" in data:
        output.write(f"{data['model']} computes as its bundle says" + ("" if data["forgotten"] else ", as before"))
        return
    on = data["on"] or "computed volumes"
    output.write(f"{data['model']} {data['version']} on {data['device']}, {data['cases']} case(s), {on}")
    rows = [(row["options"], row["seconds"], row["agreement"], row["why"]) for row in data["tried"]]
    output.table(("tried", "seconds", "agreement", "result"), rows)
    output.write(
        f"kept: {data['options']}; {data['seconds']:.3f} s instead of {data['plain_seconds']:.3f} s, "
        f"agreement {data['agreement']:.4f} (at least {data['within']:g})"
    )


def _print_intervals(data: dict[str, Any]) -> None:
    if told := data.get("intervals", {}):
        output.heading("Intervals")
        rows = [
            (name, f"{row['held']} of {row['cases']}", _range(row), row["nominal"] or "not calibrated", row["width"])
            for name, row in told.items()
        ]
        output.table(("measurement", "truths held", "95 % interval", "calibrated for", "mean half-width"), rows)
    for name, row in data.get("calibrated", {}).items():
        output.write(f"calibrated: {name} by {row['cases']} cases, factor {row['factor']:g}, floor {row['floor']:g}")


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
