"""``studies``: what came in, where it stands, how its results came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json, StudyArgument
from dicom_node.cli.patients import At, EventId, Source, new_event, person_values, take
from dicom_node.domain.wording import day
from dicom_node.errors import LedgerError

if TYPE_CHECKING:
    from dicom_node.archive.database import Database

commands = typer.Typer(no_args_is_help=True, help="Studies: list, show, history, close, resend, correct.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="studies")


@commands.command("list")
def list_(
    context: typer.Context,
    find: Annotated[str, typer.Option(help="Only of this patient ID, accession number or study UID.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many.")] = 0,
    as_json: Json = False,
) -> None:
    """Studies, the one that changed last first."""
    from dicom_node.archive import overview

    with access.ledger(context) as database:
        studies, total = overview.studies(database, limit=limit, offset=offset, find=find)
    output.show({"studies": studies, "total": total}, as_json, _print_list)
    if find and not studies:
        raise typer.Exit(1)


@commands.command()
def show(context: typer.Context, study: StudyArgument, as_json: Json = False) -> None:
    """How a study's results came to be: what arrived, what the rules decided, what ran, was found and was sent."""
    from dicom_node.archive.story import story
    from dicom_node.cli.story import print_story

    with access.ledger(context) as database:
        told = story(database, find_one(database, study))
    output.show(told, as_json, print_story)


@commands.command()
def history(context: typer.Context, study: StudyArgument, as_json: Json = False) -> None:
    """Everything that happened to a study, oldest first."""
    from dicom_node.archive import overview, story

    with access.ledger(context) as database:
        study_id = find_one(database, study)
        (row,), _ = overview.studies(database, study_ids=[study_id])
        events = story.history(database, study_id)
    output.show({"study_uid": row["study_uid"], "events": events}, as_json, _print_history)


@commands.command()
def close(context: typer.Context, study: StudyArgument, as_json: Json = False) -> None:
    """Count a study as whole now, without waiting for more images."""
    from dicom_node.archive import overview
    from dicom_node.completion.watch import close_study

    with access.ledger(context) as database:
        study_id = find_one(database, study)
        close_study(database, study_id, access.person())
        (row,), _ = overview.studies(database, study_ids=[study_id])
    output.show(row, as_json, lambda row: output.write(f"study {row['id']} counts as whole; {row['standing_words']}"))


@commands.command()
def resend(
    context: typer.Context,
    study: StudyArgument,
    to: Annotated[list[str] | None, typer.Option(help="Only to this peer; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Send all that was made of a study to its destinations again, whole and now."""
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        numbers = Parcels(database).resend(find_one(database, study), access.person(), to or ())
    output.show({"parcels": numbers}, as_json, lambda data: output.write(f"{len(data['parcels'])} parcels are due"))
    if not numbers:
        raise typer.Exit(1)


@commands.command()
def correct(
    context: typer.Context,
    study: StudyArgument,
    patient: Annotated[str, typer.Option(help="Patient ID that it belongs to.")] = "",
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID; none: the site's own.")] = "",
    name: Annotated[str, typer.Option(help="Name of that patient: Doe^Jane.")] = "",
    birth_date: Annotated[str, typer.Option("--birth-date", help="YYYYMMDD.")] = "",
    sex: Annotated[str, typer.Option(help="F, M or O.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number of its order.")] = "",
    study_uid: Annotated[str, typer.Option(help="Study Instance UID under which it is filed.")] = "",
    series: Annotated[list[str] | None, typer.Option(help="Only this series; may be repeated.")] = None,
    event: EventId = "",
    source: Source = "by hand",
    at: At = "",
    as_json: Json = False,
) -> None:
    """A study, or series of it, belong to another patient, order or study. Their results follow."""
    from dicom_node.archive import overview
    from dicom_node.archive.identities import IdentityEvent, Kind, Patient

    with access.ledger(context) as database:
        (row,), _ = overview.studies(database, study_ids=[find_one(database, study)])
    told = {"AccessionNumber": accession, "StudyInstanceUID": study_uid, **person_values(name, birth_date, sex)}
    moved = IdentityEvent(
        *new_event(event, source, at),
        Kind.MOVE,
        into=Patient(patient, issuer) if patient else None,
        study_uid=row["study_uid"],
        series_uids=tuple(series or ()),
        values={keyword: value for keyword, value in told.items() if value},
    )
    take(context, moved, as_json)


def find_one(database: Database, text: str) -> int:
    """Row id of the one study that ``text`` names.

    Raises:
        LedgerError: there is none, or there are several.
    """
    from dicom_node.archive import overview

    found = overview.matching(database, text)
    if not found:
        raise LedgerError(f"there is no study {text!r}", reason="no-such-study", remedy="see: dicom-node studies list")
    if len(found) > 1:
        raise LedgerError(
            f"{text!r} may be one of {len(found)} studies",
            reason="ambiguous-study",
            remedy="name one by its Study Instance UID: " + ", ".join(uid for _, uid in found),
        )
    return found[0][0]


def _print_list(data: dict[str, Any]) -> None:
    columns = (
        "study",
        "patient",
        "accession",
        "date",
        "modality",
        "description",
        "images",
        "received",
        "open",
        "stands",
    )
    rows = [
        (
            study["id"],
            study["patient_id"],
            study["accession_number"],
            day(study["study_date"]),
            "/".join(study["modalities"]),
            study["description"],
            study["instances"],
            output.when(study["last_received"]),
            study["open_items"] or "",
            output.short(study["standing_words"]),
        )
        for study in data["studies"]
    ]
    output.table(columns, rows, empty="no studies")
    if data["total"] > len(rows) > 0:
        output.write(f"{len(rows)} of {data['total']}; more with --limit and --offset")
    if any(study["open_items"] for study in data["studies"]):
        output.write("open: what a person has to see to; dicom-node items list")


def _print_history(data: dict[str, Any]) -> None:
    rows = [
        (output.when(event["at"]), event["kind"], event["by"], event["job"], event["parcel"], _detail(event["detail"]))
        for event in data["events"]
    ]
    output.table(("at", "what", "by", "job", "parcel", "detail"), rows, empty="nothing happened to it yet")


def _detail(detail: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in detail.items() if value not in (None, "", [], {}))
