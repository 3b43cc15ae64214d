"""``genomics``: genomes and gene expression of patients, read and kept with what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

if TYPE_CHECKING:
    from dicom_node.domain.feature import Feature
    from dicom_node.sidecars.genomics.intake import Imported

commands = typer.Typer(no_args_is_help=True, help="Genomes and gene expression: import, show, reference.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="VCF, BCF or gVCF, bgzipped or not.")]
Manifest = Annotated[Path, typer.Option(help="CSV or TOML: sample, issuer, patient_id.")]
DeclaredBuild = Annotated[str, typer.Option("--build", help="GRCh37 or GRCh38, where the file does not tell.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="genomics")


@commands.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="VCF, BCF, gVCF, or a table of gene expression.")],
    manifest: Manifest,
    build: DeclaredBuild = "",
    expression: Annotated[str, typer.Option(help="The file is a table of gene expression: counts or tpm.")] = "",
    taken_at: Annotated[str, typer.Option(help="When the samples of a table were taken: 2026-03-01T08:15+01:00.")] = "",
    as_json: Json = False,
) -> None:
    """Read a genome, match its samples by the manifest, and keep what it says of each patient."""
    from dicom_node.archive.features import Features
    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.genomics.intake import Intake

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        intake = Intake(settings.genomics, Features(database), ObjectStore(settings.node.data_dir))
        if expression:
            taken = intake.table(file, manifest, _unit(expression), _time(taken_at))
        else:
            taken = intake.genome(file, manifest, _build(build))
    output.show(_plain(taken), as_json, _print_import)


@commands.command()
def show(
    context: typer.Context,
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="Patient ID.")],
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID; none: the site's own.")] = "",
    as_json: Json = False,
) -> None:
    """What the genomes and tables of a patient say, and on what evidence."""
    from dicom_node.archive import reads
    from dicom_node.archive.features import Features, read_document
    from dicom_node.archive.files import ObjectStore
    from dicom_node.sidecars.genomics.intake import EXPRESSION, GENOME

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        features = Features(database)
        identity = features.find(issuer, patient)
        documents = features.documents(identity) if identity else ()
        told = features.of_patient(identity) if identity else ()
        vault, store = database.vault, ObjectStore(settings.node.data_dir)
        if identity:
            reads.record(database, identity, access.person(), "genomics show", {each.name for each in told})
    readings = [
        {"kind": new.kind, "file": new.source, "received_at": received.isoformat()}
        | {"reading": json.loads(read_document(store, new, vault))}
        for new, received in documents
        if new.kind in (GENOME, EXPRESSION)
    ]
    mine = [feature for feature in told if feature.source.startswith(("vcf:", "expression:"))]
    data = {"patient": patient, "features": [_feature(feature) for feature in mine], "documents": readings}
    output.show(data, as_json, _print_show)
    if not readings:
        raise typer.Exit(1)


@commands.command()
def reference(
    context: typer.Context,
    cohort: FileArgument,
    score: Annotated[Path, typer.Option(help="Scoring file of the PGS Catalog.")],
    name: Annotated[str, typer.Option(help="What the reference is called in reports.")],
    population: Annotated[str, typer.Option(help="Whom the cohort is made of, as declared.")],
    to: Annotated[Path, typer.Option(help="File to write, for genomics.scores[].reference.")],
    build: DeclaredBuild = "",
    as_json: Json = False,
) -> None:
    """Make the named reference of a score from a cohort: mean and spread over the variants called in all of it."""
    from dataclasses import replace

    from dicom_node.sidecars.genomics import process
    from dicom_node.sidecars.genomics.intake import limits_of, order_of
    from dicom_node.sidecars.genomics.order import ScoreOrder

    settings = access.configuration(context).settings.genomics
    order = replace(
        order_of(settings, cohort.resolve(), (), _build(build)),
        scores=(ScoreOrder(score.resolve()),),
        name=name,
        population=population,
    )
    made = process.measure(order, limits_of(settings), to)
    output.show({"file": str(to), "name": name, "population": population, **made}, as_json, _print_reference)


def _unit(text: str) -> Any:
    if text not in ("counts", "tpm"):
        raise typer.BadParameter(f"--expression {text!r} is neither counts nor tpm")
    return text


def _build(text: str) -> str | None:
    if text not in ("", "GRCh37", "GRCh38"):
        raise typer.BadParameter(f"--build {text!r} is neither GRCh37 nor GRCh38")
    return text or None


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("--taken-at is needed for gene expression: 2026-03-01T08:15+01:00") from error
    if when.tzinfo is None:
        raise typer.BadParameter(f"--taken-at {text!r} has no zone; write 2026-03-01T08:15+01:00")
    return when


def _feature(feature: Feature) -> dict[str, Any]:
    told = feature.as_json()
    return {key: told[key] for key in ("name", "value", "unit", "state", "source", "version", "transform", "reason")}


def _plain(taken: Imported) -> dict[str, Any]:
    facts = {key: value for key, value in taken.reading.items() if key in ("sha256", "version", "build", "counts")}
    return {
        "file": taken.file.name,
        **facts,
        "unnamed_samples": len(taken.unnamed),
        "samples": [
            {
                "sample": kept.entry.sample,
                "issuer": kept.entry.issuer,
                "patient": kept.entry.patient_id,
                "known": kept.known,
                "changed": kept.changed,
                "features": [_feature(feature) for feature in kept.features],
            }
            for kept in taken.kept
        ],
    }


def _print_import(data: Mapping[str, Any]) -> None:
    build, counts = data.get("build"), data.get("counts")
    output.write(f"{data['file']}: sha256 {data['sha256'][:16]}…")
    if build and counts:
        output.write(f"build {build['build']}, by its {build['rung']}: {build['evidence']}")
        output.write(
            f"{counts['records']} records: {counts['not_passed']} not PASS, {counts['symbolic']} symbolic, "
            f"{counts['blocks']} without alternatives, {counts['elsewhere']} on no chromosome"
        )
    if data["unnamed_samples"]:
        output.write(f"{data['unnamed_samples']} samples that the manifest does not name: nothing of them was read")
    for sample in data["samples"]:
        news = "was here before" if sample["known"] else f"{sample['changed']} features are new or changed"
        output.heading(
            f"{sample['sample']} is patient {sample['patient']} ({sample['issuer'] or 'own issuer'}): {news}"
        )
        _print_features(sample["features"])


def _print_show(data: Mapping[str, Any]) -> None:
    if not data["documents"]:
        output.write(f"no genome or table of patient {data['patient']}")
        return
    for entry in data["documents"]:
        output.write(f"{entry['kind']} {entry['file']}, sample {entry['reading']['sample']}, {entry['received_at']}")
        build = entry["reading"].get("build")
        if build:
            output.write(f"  {build['build']}, by its {build['rung']}: {build['evidence']}")
        for found in ((entry["reading"].get("panel") or {}).get("samples") or [{"carried": []}])[0]["carried"]:
            variant = found["variant"]
            output.write(
                f"  ClinVar {found['clinvar_id']}: chr{variant['chromosome']}:{variant['position']} "
                f"{variant['ref']}>{variant['alt']}, {', '.join(found['genes'])}, {found['significance']}, "
                f"{found['stars']} of 4 stars, {found['copies']} of {found['ploidy']} copies"
                f"{'' if found['passed'] else ', not PASS'}"
            )
    output.heading("what counts")
    _print_features(data["features"])


def _print_features(features: list[Mapping[str, Any]]) -> None:
    rows = [(f["name"], _shown(f["value"]), f["unit"], f["state"], f["reason"] or f["transform"]) for f in features]
    output.table(("name", "value", "unit", "state", "why"), rows)


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value if value is not None else "")


def _print_reference(data: Mapping[str, Any]) -> None:
    output.write(
        f"{data['file']}: {data['pgs_id']} in {data['people']} people ({data['population']}): mean {data['mean']:.6g}, "
        f"SD {data['sd']:.6g} over {data['variants']} of {data['needed']} variants, {data['build']}"
    )
