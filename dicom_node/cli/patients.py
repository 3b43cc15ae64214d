"""``patients``: who is who, as an authority tells it, which results follow; and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

if TYPE_CHECKING:
    from dicom_node.archive.identities import IdentityEvent

commands = typer.Typer(no_args_is_help=True, help="Patients: what is known of them, and corrections.")

PatientArgument = Annotated[str, typer.Argument(metavar="PATIENT", help="Patient ID.")]
Issuer = Annotated[str, typer.Option(help="Issuer of that Patient ID; none: the site's own.")]
Name = Annotated[str, typer.Option(help="Patient's name, as DICOM writes it: Doe^Jane.")]
Birth = Annotated[str, typer.Option("--birth-date", help="YYYYMMDD.")]
Sex = Annotated[str, typer.Option(help="F, M or O.")]
EventId = Annotated[str, typer.Option("--event", help="Number of the event at its source; the same one counts once.")]
Source = Annotated[str, typer.Option(help="Who tells it.")]
At = Annotated[str, typer.Option(help="When it happened, ISO 8601 with a zone; none: now.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="patients")


@commands.command()
def merge(
    context: typer.Context,
    patient: PatientArgument,
    into: Annotated[str, typer.Argument(metavar="INTO", help="Patient ID that stays.")],
    issuer: Issuer = "",
    into_issuer: Annotated[str, typer.Option(help="Issuer of the Patient ID that stays; none: the site's own.")] = "",
    name: Name = "",
    birth_date: Birth = "",
    sex: Sex = "",
    event: EventId = "",
    source: Source = "by hand",
    at: At = "",
    as_json: Json = False,
) -> None:
    """A patient is another one. Results, those on their way and those that were delivered, follow."""
    from dicom_node.archive.identities import IdentityEvent, Kind, Patient

    told = IdentityEvent(
        *new_event(event, source, at),
        Kind.MERGE,
        patient=Patient(patient, issuer),
        into=Patient(into, into_issuer),
        values=person_values(name, birth_date, sex),
    )
    take(context, told, as_json)


@commands.command()
def unlink(
    context: typer.Context,
    patient: PatientArgument,
    issuer: Issuer = "",
    event: EventId = "",
    source: Source = "by hand",
    at: At = "",
    as_json: Json = False,
) -> None:
    """A patient who was merged into another one is none other after all."""
    from dicom_node.archive.identities import IdentityEvent, Kind, Patient

    told = IdentityEvent(*new_event(event, source, at), Kind.UNLINK, patient=Patient(patient, issuer))
    take(context, told, as_json)


@commands.command()
def update(
    context: typer.Context,
    patient: PatientArgument,
    issuer: Issuer = "",
    name: Name = "",
    birth_date: Birth = "",
    sex: Sex = "",
    event: EventId = "",
    source: Source = "by hand",
    at: At = "",
    as_json: Json = False,
) -> None:
    """A patient has another name, birth date or sex than the images say."""
    from dicom_node.archive.identities import IdentityEvent, Kind, Patient

    values = person_values(name, birth_date, sex)
    told = IdentityEvent(*new_event(event, source, at), Kind.UPDATE, patient=Patient(patient, issuer), values=values)
    take(context, told, as_json)


@commands.command()
def show(
    context: typer.Context,
    patient: PatientArgument,
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID; none: of any.")] = "",
    as_json: Json = False,
) -> None:
    """What is known of a patient from the record and the genome, and which studies it may be used for."""
    from dicom_node.cli.patient_story import known, render

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        data = known(database, settings.ehr, patient, issuer)
    output.show(data, as_json, render)


def new_event(event: str, source: str, at: str) -> tuple[str, str, Any]:
    """Id, source and time of an event; a new id, and now, where none is given."""
    import uuid
    from datetime import UTC, datetime

    try:
        when = datetime.fromisoformat(at) if at else datetime.now(UTC)
    except ValueError as error:
        raise typer.BadParameter(f"--at {at!r} is no time; write 2026-03-01T08:15:00+01:00") from error
    if when.tzinfo is None:
        raise typer.BadParameter(f"--at {at!r} has no zone; write 2026-03-01T08:15:00+01:00")
    return event or str(uuid.uuid4()), source, when


def person_values(name: str, birth_date: str, sex: str) -> dict[str, str]:
    """What is told of a person, by DICOM keyword."""
    told = {"PatientName": name, "PatientBirthDate": birth_date, "PatientSex": sex}
    return {keyword: value for keyword, value in told.items() if value}


def take(context: typer.Context, event: IdentityEvent, as_json: bool) -> None:
    """Take an event in, and say what it concerns."""
    from dicom_node.archive import identities

    with access.ledger(context) as database:
        studies = identities.take(database, event, access.person())
    data = {"event": event.id, "source": event.source, "taken": studies is not None, "studies": list(studies or ())}
    output.show(data, as_json, _print)


def _print(data: dict[str, Any]) -> None:
    if not data["taken"]:
        output.write(f"event {data['event']} of {data['source']} was taken before; nothing changes")
        return
    concerned = ", ".join(map(str, data["studies"])) or "none"
    output.write(f"event {data['event']} is taken; studies that it concerns: {concerned}")
