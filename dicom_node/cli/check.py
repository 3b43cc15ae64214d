"""``check``: would the node run here, and if not, why."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import output
from dicom_node.cli.output import Json
from dicom_node.errors import DicomNodeError

if TYPE_CHECKING:
    from dicom_node.archive.soundness import Finding
    from dicom_node.cli.doctor import Answer
    from dicom_node.settings import Settings

MOST_NAMES = 20  # of files that are told in text
MARKS = {"good": "ok  ", "warning": "warn", "bad": "FAIL"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check")(check)


def check(
    context: typer.Context,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each peer.")] = 5.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read every stored file and compare its SHA-256 with the index.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at everything the node needs: configuration, disk, ledger, broker, models, rules, peers, ports, workers."""
    from dicom_node.cli import doctor
    from dicom_node.settings import load

    try:
        configuration = load(context.obj)
    except DicomNodeError as error:
        if as_json:
            raise
        output.write(f"{MARKS['bad']}  configuration: {error.message}")
        raise typer.Exit(2) from error
    answers = []
    for answer in doctor.answers(configuration, timeout):
        answers.append(answer)
        if not as_json:
            _print(answer)
    findings: list[Finding] = []
    if deep:
        answer, findings = _objects(configuration.settings, shown=not as_json and sys.stderr.isatty())
        answers.append(answer)
        if not as_json:
            _print(answer)
            _print_findings(findings)
    good = all(answer.state != "bad" for answer in answers)
    if as_json:
        told: dict[str, Any] = {"good": good, "checks": [_plain(answer) for answer in answers]}
        if deep:
            told["files"] = [asdict(finding) for finding in findings]
        output.show(told, True, lambda _: None)
    else:
        output.write()
        output.write("the node can run here" if good else "the node cannot run here as it is")
    if not good:
        raise typer.Exit(1)


def _objects(settings: Settings, *, shown: bool) -> tuple[Answer, list[Finding]]:
    """The check of all files, with a bar on a terminal."""
    from dicom_node.cli import doctor

    if not shown:
        return doctor.objects(settings, lambda size: None)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing files", total=doctor.bytes_stored(settings))
        return doctor.objects(settings, lambda size: progress.advance(task, size))


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings[:MOST_NAMES]:
        output.write(f"      {finding.fault}  {finding.path}: {finding.detail}")
    if len(findings) > MOST_NAMES:
        output.write(f"      and {len(findings) - MOST_NAMES} more; see --json")


def _plain(answer: Answer) -> dict[str, Any]:
    return {"check": answer.check, "state": answer.state, "found": answer.found, "remedy": answer.remedy}


def _print(answer: Answer) -> None:
    output.write(f"{MARKS[answer.state]}  {answer.check}: {answer.found}")
    if answer.remedy and answer.state != "good":
        output.write(f"      {answer.remedy}")
