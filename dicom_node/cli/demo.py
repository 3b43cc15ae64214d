"""``demo``: the main job on this machine, without a PACS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dicom_node.demo.run import DemoResult


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo")(demo)


def demo(
    study: Annotated[
        Path | None,
        typer.Argument(help="A folder with the DICOM images of a study. Default: a computed, synthetic chest CT."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where everything of the demonstration is written.")] = Path("demo-data"),
) -> None:
    """Send a study through a whole node on this machine and show the results."""
    from rich.console import Console

    from dicom_node import logs
    from dicom_node.demo.run import log_of, run
    from dicom_node.errors import DicomNodeError

    logs.configure("demo", level="ERROR")
    console = Console(highlight=False)
    try:
        result = run(folder, study, lambda words: console.print(f"  {words}"))
    except DicomNodeError:
        console.print(f"  the log of the node: {log_of(folder)}")
        raise
    _show(console, result)
    if not result.files:
        raise typer.Exit(1)


def _show(console: Console, result: DemoResult) -> None:
    console.print()
    for job in result.story["jobs"]:
        if job["state"] == "done":
            _show_findings(console, job, result.synthetic)
        else:
            error = job["error"] or {"message": job["progress"], "remedy": ""}
            console.print(f"[bold]job {job['id']} {job['state']}[/bold]: {error['message']}\n{error['remedy']}")
    if not result.story["jobs"]:
        console.print(result.story["decision"])
    _show_stages(console, result)
    for what, path in (*result.files, ("picture", result.picture)):
        if path:
            console.print(f"{what:<8} {path}", soft_wrap=True)
    program = sys.argv[0] if Path(sys.argv[0]).name == "dicom-node" else "dicom-node"
    console.print(f"page     {result.web}, after: {program} --config {result.configuration} serve", soft_wrap=True)


def _show_findings(console: Console, job: dict[str, Any], synthetic: bool) -> None:
    from rich.table import Table

    caption = "SYNTHETIC phantom, no patient. " if synthetic else ""
    table = Table(
        title=f"{job['model']} {job['model_version']}", caption=f"{caption}Research software, not a medical device."
    )
    groups = list(dict.fromkeys(" + ".join(m["of"]) for m in job["measurements"]))
    for heading in ("", *(group.replace(" + ", " and ") for group in groups)):
        table.add_column(heading, justify="right" if heading else "left")
    values = {(m["meaning"], " + ".join(m["of"])): f"{m['value']:.1f} {m['unit_shown']}" for m in job["measurements"]}
    for meaning in dict.fromkeys(m["meaning"] for m in job["measurements"]):
        table.add_row(meaning, *(values.get((meaning, group), "") for group in groups))
    console.print(table)
    for evaluation in job["evaluations"]:
        console.print(f"{evaluation['meaning']}: [bold]{evaluation['presence']}[/bold]. {evaluation['reason']}")
    console.print()


def _show_stages(console: Console, result: DemoResult) -> None:
    from rich.table import Table

    table = Table(title="Time of each stage")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage in result.story["stages"]:
        table.add_row(stage["stage"], "" if stage["seconds"] is None else f"{stage['seconds']:.2f}")
    table.add_section()
    table.add_row("last image to results in the PACS, less the quiet period", f"{result.after_last_image_s:.2f}")
    console.print(table)
