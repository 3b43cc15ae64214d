"""``ehr``: what the record says of patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

if TYPE_CHECKING:
    from dicom_node.ehr_settings import ServerSettings
    from dicom_node.settings import Settings

MOST_NAMES = 20  # of refusals that are told in text; --json tells all

commands = typer.Typer(no_args_is_help=True, help="Patients' record: take it in, ask for it, follow it.")

Server = Annotated[str, typer.Option(help="Name of one of [[ehr.servers]]. Default: all.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="ehr")


@commands.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="FHIR bundles and NDJSON; a folder or a file.")],
    source: Annotated[str, typer.Option(help="How the record they are from is called.")] = "import",
    release: Annotated[str, typer.Option(help="R4, R4B or R5.")] = "R4",
    as_json: Json = False,
) -> None:
    """Take in FHIR documents. The same ones again change nothing. Refused by name: whatever cannot be used."""
    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.ehr.importer import Importer, as_plain
    from dicom_node.sidecars.ehr.mapping import load

    if release not in ("R4", "R4B", "R5"):
        raise typer.BadParameter(f"--release {release!r} is none of R4, R4B, R5")
    if not source.isprintable() or not 1 <= len(source) <= 32 or "/" in source:
        raise typer.BadParameter("--source is a name of 1 to 32 characters without /")
    settings = access.configuration(context).settings
    mapping = load(settings.ehr.mapping)
    with access.opened(settings) as database:
        store = ObjectStore(settings.node.data_dir)
        report = Importer(settings.ehr, database, store, mapping, source, release).folder(folder)  # type: ignore[arg-type]
    output.show(as_plain(report), as_json, _print)
    if report.refused or not report.resources:
        raise typer.Exit(1)


@commands.command()
def pull(
    context: typer.Context,
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="Patient ID.")],
    issuer: Annotated[str, typer.Option(help="Who issued it. Default: ehr.default_issuer.")] = "",
    server: Server = "",
    as_json: Json = False,
) -> None:
    """Ask the servers of the record for one patient, and take in what the mapping takes."""
    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.ehr.importer import Report, as_plain
    from dicom_node.sidecars.ehr.mapping import load
    from dicom_node.sidecars.ehr.pull import Puller

    settings = access.configuration(context).settings
    chosen = _servers(settings, server)
    report = Report()
    with access.opened(settings) as database:
        puller = Puller(settings.ehr, database, ObjectStore(settings.node.data_dir), load(settings.ehr.mapping))
        for each in chosen:
            report.add(puller.pull(each, issuer or settings.ehr.default_issuer, patient))
    output.show(as_plain(report), as_json, _print)
    if report.refused or not report.resources:
        raise typer.Exit(1)


@commands.command()
def sync(context: typer.Context, server: Server = "", as_json: Json = False) -> None:
    """Take in what changed of patients we know, and what was deleted, since the last time."""
    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.ehr.changes import Follower
    from dicom_node.sidecars.ehr.importer import Report, as_plain
    from dicom_node.sidecars.ehr.mapping import load

    settings = access.configuration(context).settings
    report = Report()
    with access.opened(settings) as database:
        follower = Follower(settings.ehr, database, ObjectStore(settings.node.data_dir), load(settings.ehr.mapping))
        for each in _servers(settings, server):
            report.add(follower.follow(each))
    output.show(as_plain(report), as_json, _print)
    if report.refused:
        raise typer.Exit(1)


@commands.command()
def export(
    context: typer.Context,
    server: Server = "",
    whole: Annotated[bool, typer.Option(help="Everything, not what changed since the last export.")] = False,
    as_json: Json = False,
) -> None:
    """Have servers export their records (FHIR Bulk Data), and take them in. Broken off, it goes on where it was."""
    import time

    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.ehr.export import Exporter
    from dicom_node.sidecars.ehr.importer import Report, as_plain
    from dicom_node.sidecars.ehr.mapping import load

    settings = access.configuration(context).settings
    chosen = [each for each in _servers(settings, server) if each.export]
    if not chosen:
        raise typer.BadParameter("no such server of [[ehr.servers]] says whom to export: set export")
    report = Report()
    with access.opened(settings) as database:
        exporter = Exporter(settings.ehr, database, ObjectStore(settings.node.data_dir), load(settings.ehr.mapping))
        for each in chosen:
            while not isinstance(came := exporter.step(each, whole=whole), Report):
                time.sleep(came)
            report.add(came)
    output.show(as_plain(report), as_json, _print)
    if report.refused:
        raise typer.Exit(1)


def _servers(settings: Settings, name: str) -> list[ServerSettings]:
    chosen = [each for each in settings.ehr.servers if name in ("", each.name)]
    if not chosen:
        raise typer.BadParameter("there is no such server in [[ehr.servers]]" if name else "[[ehr.servers]] is empty")
    return chosen


def _print(told: dict[str, Any]) -> None:
    output.write(
        f"{told['features']} features of {told['patients']} patients are new or changed, from {told['resources']} "
        f"resources of {told['files']} files"
    )
    if told["known"]:
        output.write(f"{told['known']} files were here before")
    if told["rejected"]:
        output.write(f"{told['rejected']} values were told and cannot be used: dicom-node patients show PATIENT")
    if told["refused"]:
        output.heading(f"{len(told['refused'])} refused")
        for each in told["refused"][:MOST_NAMES]:
            output.write(f"  {each['what']}: {each['reason']}")
        if len(told["refused"]) > MOST_NAMES:
            output.write(f"  and {len(told['refused']) - MOST_NAMES} more; see --json")
