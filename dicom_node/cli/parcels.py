"""``parcels``: results on their way to a destination."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.domain.parcel import ParcelState

commands = typer.Typer(no_args_is_help=True, help="Parcels, results on their way: list, retry.")

ParcelArgument = Annotated[int, typer.Argument(metavar="PARCEL", help="Number of the parcel.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="parcels")


@commands.command("list")
def list_(
    context: typer.Context,
    state: Annotated[list[ParcelState] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """Parcels, oldest first."""
    from dicom_node.archive import plain
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        parcels = [plain.parcel(record) for record in Parcels(database).all(states=state or (), limit=limit)]
    output.show({"parcels": parcels}, as_json, _print_list)


@commands.command()
def retry(context: typer.Context, parcel: ParcelArgument, as_json: Json = False) -> None:
    """Send a parcel again, now. A running node does it within a second."""
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        Parcels(database).retry(parcel, access.person())
    data = {"parcel": parcel, "state": str(ParcelState.DUE)}
    output.show(data, as_json, lambda data: output.write(f"parcel {data['parcel']} is {data['state']}"))


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (
            parcel["id"],
            parcel["state"],
            parcel["destination"],
            parcel["model"],
            parcel["job"],
            parcel["study_uid"],
            parcel["tries"],
            output.when(parcel["sent_at"]),
            output.short((parcel["error"] or {}).get("message", "")),
        )
        for parcel in data["parcels"]
    ]
    columns = ("parcel", "state", "destination", "model", "job", "study", "tries", "sent", "last error")
    output.table(columns, rows, empty="no parcels")
