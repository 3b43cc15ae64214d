"""``parcels``: results and received objects on their way to a destination."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.domain.parcel import ParcelState

commands = typer.Typer(no_args_is_help=True, help="Parcels, objects on their way: list, retry, hold, release.")

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
    from dicom_node.archive.parcels import Parcels
    from dicom_node.delivery.opening import now
    from dicom_node.delivery.outlook import outlooks

    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        parcels = outlooks(Parcels(database).all(states=state or (), limit=limit), settings, now())
    output.show({"parcels": parcels}, as_json, _print_list)


@commands.command()
def retry(context: typer.Context, parcel: ParcelArgument, as_json: Json = False) -> None:
    """Send a parcel again, now: what is missing, or all of it when it had arrived. A running node does it at once."""
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        Parcels(database).retry(parcel, access.person())
    data = {"parcel": parcel, "state": str(ParcelState.DUE)}
    output.show(data, as_json, lambda data: output.write(f"parcel {data['parcel']} is {data['state']}"))


@commands.command()
def hold(
    context: typer.Context,
    parcel: ParcelArgument,
    why: Annotated[str, typer.Option(help="The reason, for those who find it held.")] = "",
    as_json: Json = False,
) -> None:
    """Keep a parcel back that is due or refused."""
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        Parcels(database).hold(parcel, access.person(), why)
    data = {"parcel": parcel, "state": str(ParcelState.HELD)}
    output.show(data, as_json, lambda data: output.write(f"parcel {data['parcel']} is {data['state']}"))


@commands.command()
def release(context: typer.Context, parcel: ParcelArgument, as_json: Json = False) -> None:
    """Send a parcel that was held back."""
    from dicom_node.archive.parcels import Parcels

    with access.ledger(context) as database:
        Parcels(database).release(parcel, access.person())
    data = {"parcel": parcel, "state": str(ParcelState.DUE)}
    output.show(data, as_json, lambda data: output.write(f"parcel {data['parcel']} is {data['state']}"))


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (
            parcel["id"],
            parcel["state"],
            parcel["destination"],
            parcel["kind"],
            parcel["model"] or parcel["rule"],
            parcel["job"] or "",
            parcel["study_uid"],
            parcel["tries"],
            output.when(parcel["sent_at"]),
            output.short(_last_word(parcel)),
        )
        for parcel in data["parcels"]
    ]
    columns = ("parcel", "state", "destination", "kind", "of", "job", "study", "tries", "sent", "last word")
    output.table(columns, rows, empty="no parcels")


def _last_word(parcel: dict[str, Any]) -> str:
    if parcel["opens"]:
        return f"waits for the hours of {parcel['destination']}, from {output.when(parcel['opens'])}"
    return str((parcel["error"] or {}).get("message", "") or parcel["verification"])
