"""``import``: take in DICOM files from a disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

if TYPE_CHECKING:
    from dicom_node.reception.importer import Report

MOST_NAMES = 20  # of files that are told in text; --json tells all


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("import")(import_)


def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder, a file, or a DICOMDIR.")],
    as_json: Json = False,
) -> None:
    """Take in DICOM files from a disk, as if a modality had sent them. The node may run meanwhile, or not."""
    from dicom_node.reception.importer import Importer, find_files

    settings = access.configuration(context).settings
    importer = Importer(settings)
    try:
        with _progress(folder, settings.node.data_dir, shown=not as_json and sys.stderr.isatty()) as seen:
            importer.run(find_files(folder, settings.node.data_dir), seen)
    finally:
        if importer.report.files:
            output.show(_plain(importer.report), as_json, _print)
    if importer.report.refused or not importer.report.stored:
        raise typer.Exit(1)


@contextmanager
def _progress(folder: Path, data_dir: Path, *, shown: bool) -> Iterator[Callable[[Path, int], None]]:
    """What is told of each file: a bar on a terminal, nothing elsewhere."""
    if not shown:
        yield lambda file, size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from dicom_node.reception.importer import find_files

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("counting", total=None)
        total = 0
        for number, file in enumerate(find_files(folder, data_dir), start=1):
            total += file.stat().st_size if file.exists() else 0
            progress.update(task, description=f"counting, {number} files")
        progress.update(task, total=total, description="importing")
        yield lambda file, size: progress.advance(task, size)


def _plain(report: Report) -> dict[str, Any]:
    return {
        "files": report.files,
        "bytes": report.bytes,
        "stored": report.stored,
        "studies": sorted(report.studies),
        "skipped": report.skipped,
        "refused": [asdict(refusal) for refusal in report.refused],
    }


def _print(told: dict[str, Any]) -> None:
    output.write(f"{told['stored']} objects of {len(told['studies'])} studies taken from {told['files']} files")
    _name("no DICOM objects, skipped", told["skipped"])
    _name("refused", [f"{item['message']}; {item['remedy']}" for item in told["refused"]])


def _name(what: str, lines: list[str]) -> None:
    if not lines:
        return
    output.heading(f"{len(lines)} {what}")
    for line in lines[:MOST_NAMES]:
        output.write(f"  {line}")
    if len(lines) > MOST_NAMES:
        output.write(f"  and {len(lines) - MOST_NAMES} more; see --json")
