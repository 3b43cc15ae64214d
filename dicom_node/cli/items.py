"""``items``: the work list of what happened to results after they were made."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

commands = typer.Typer(no_args_is_help=True, help="Open items, what a person has to see to: list, close.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="items")


@commands.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Open items, the oldest first."""
    from dicom_node.archive import open_items, plain

    with access.ledger(context) as database:
        items = [plain.open_item(found) for found in open_items.listed(database)]
    output.show({"items": items}, as_json, _print_list)


@commands.command()
def close(
    context: typer.Context,
    item: Annotated[int, typer.Argument(metavar="ITEM", help="Number of the item.")],
    as_json: Json = False,
) -> None:
    """Close an item that was seen to."""
    from dicom_node.archive import open_items

    with access.ledger(context) as database:
        open_items.close_by_hand(database, item, access.person())
    output.show({"item": item, "closed": True}, as_json, lambda data: output.write(f"item {data['item']} is closed"))


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (item["id"], item["kind"], item["study_uid"], item["job"] or "", item["reason"], item["remedy"])
        for item in data["items"]
    ]
    output.table(("item", "kind", "study", "job", "what happened", "what to do"), rows, empty="no open items")
