"""``ohif``: the viewer in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json

commands = typer.Typer(no_args_is_help=True, help="The viewer OHIF: install it beside the pages.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="ohif")


@commands.command()
def install(
    context: typer.Context,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="The release, fetched before by: npm pack.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch OHIF by npm and unpack it into the data directory; it is served from the next start on."""
    from dicom_node.web import ohif_release

    settings = access.configuration(context).settings
    folder = ohif_release.folder(settings)
    written = ohif_release.install(folder, source)
    told = {"version": ohif_release.VERSION, "folder": str(folder), "bytes": written, "port": settings.web.ohif_port}
    output.show(told, as_json, _print)


def _print(told: dict[str, Any]) -> None:
    output.write(f"OHIF {told['version']}, {told['bytes'] / 1e6:.0f} MB, is in {told['folder']}")
    output.write(f"From the next start on it is served on port {told['port']}.")
