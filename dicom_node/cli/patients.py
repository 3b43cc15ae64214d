"""``patients``: who is who, as an authority tells it, which results follow; and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.errors import LedgerError

if TYPE_CHECKING:
    from dicom_node.archive.features import Features
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


@commands.command()
def unmatched(context: typer.Context, as_json: Json = False) -> None:
    """Studies whose models ask for the record, and whose record is not found beyond doubt; with reason and evidence."""
    from dicom_node.sidecars import unmatched as worklist

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        found = worklist.unmatched(database, settings.ehr)
    output.show([each.as_json() for each in found], as_json, _print_unmatched)
    if found:
        raise typer.Exit(1)


@commands.command()
def reads(
    context: typer.Context,
    patient: PatientArgument,
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID; none: of any.")] = "",
    as_json: Json = False,
) -> None:
    """Who read what of a patient's record and genome, when, and what for."""
    from dicom_node.archive import reads as audit
    from dicom_node.archive.features import Features

    with access.ledger(context) as database:
        rows = _known(Features(database), patient, issuer)
        found = [each for row in rows for each in audit.of_patient(database, row)]
    data = [
        {"at": r.at.isoformat(), "by": r.by, "what": r.kind, "purpose": r.purpose, "features": list(r.names)}
        for r in dict.fromkeys(found)
    ]
    output.show(data, as_json, _print_reads)


@commands.command()
def forget(
    context: typer.Context,
    patient: PatientArgument,
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID; none: of any.")] = "",
    why: Annotated[str, typer.Option(help="What for; it stands in the history.")] = "asked for",
    as_json: Json = False,
) -> None:
    """Take out, for good, what record and genome say of a patient. Images and results stay."""
    from dataclasses import asdict

    from dicom_node.archive import forgetting
    from dicom_node.archive.features import Features
    from dicom_node.archive.files import ObjectStore

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        store = ObjectStore(settings.node.data_dir)
        rows = _known(Features(database), patient, issuer)
        gone = [asdict(forgetting.forget(database, store, row, access.person(), why)) for row in rows]
    data = {name: sum(each[name] for each in gone) for name in ("documents", "features", "records", "jobs")}
    output.show(data, as_json, _print_forgotten)


@commands.command()
def reseal(context: typer.Context, as_json: Json = False) -> None:
    """Seal what records and genomes say by the first key of [ehr.seal], whatever it was sealed by, or in clear."""
    from dicom_node.archive import forgetting
    from dicom_node.archive.files import ObjectStore
    from dicom_node.errors import ConfigurationError

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        if database.vault is None:
            raise ConfigurationError("is not there; there is no key to seal with", key="ehr.seal")
        files, values = forgetting.reseal(database, ObjectStore(settings.node.data_dir), database.vault)
    output.show({"files": files, "values": values}, as_json, _print_resealed)


def _known(features: Features, patient: str, issuer: str) -> list[int]:
    """Rows of the patients of that number.

    Raises:
        LedgerError: there are none.
    """
    found = features.patients(patient, issuer or None)
    if not found:
        raise LedgerError(f"no patient {patient!r} is known", reason="no-such-patient")
    return [row for row, _ in found]


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


def _print_unmatched(data: list[dict[str, Any]]) -> None:
    if not data:
        output.write("every study whose models ask for the record has one")
    for each in data:
        output.heading(f"study {each['study']}: {each['patient_id']} of {each['issuer'] or 'nobody knows whom'}")
        output.write(each["reason"])
        names = ("record", "standing", "PatientName", "PatientBirthDate", "PatientSex")
        rows = [[record[name] for name in names] for record in each["compared"]]
        output.table(["record", "", "name", "birth date", "sex"], rows, empty="no record has the number")


def _print_reads(data: list[dict[str, Any]]) -> None:
    rows = [[r["at"][:19], r["by"], r["what"], r["purpose"], ", ".join(r["features"])] for r in data]
    output.table(["when", "who", "what", "what for", "features"], rows, empty="nobody has read anything")


def _print_forgotten(data: dict[str, Any]) -> None:
    output.write(f"gone: {data['documents']} documents, {data['features']} features, {data['records']} records")
    output.write(f"{data['jobs']} jobs hold no more what they were given")


def _print_resealed(data: dict[str, Any]) -> None:
    output.write(f"{data['files']} files and {data['values']} values are sealed anew")


def _print(data: dict[str, Any]) -> None:
    if not data["taken"]:
        output.write(f"event {data['event']} of {data['source']} was taken before; nothing changes")
        return
    concerned = ", ".join(map(str, data["studies"])) or "none"
    output.write(f"event {data['event']} is taken; studies that it concerns: {concerned}")
