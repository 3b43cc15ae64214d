"""``init``: a first configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli import output
from dicom_node.cli.output import Json
from dicom_node.errors import ConfigurationError

STARTING_FILE = Path(__file__).with_name("starting.toml")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("init")(init)


def init(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented dicom-node.toml with one PACS and one rule, to be edited."""
    from dicom_node.settings import DEFAULT_FILE

    file = Path(context.obj or DEFAULT_FILE)
    try:
        with file.open("wb" if force else "xb") as written:
            written.write(STARTING_FILE.read_bytes())
    except FileExistsError as error:
        raise ConfigurationError(
            "the file is there already", file=file, reason="file-exists", remedy="dicom-node init --force replaces it"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=file) from error
    data = {"file": str(file.resolve())}
    output.show(data, as_json, _print)


def _print(data: dict[str, Any]) -> None:
    output.write(f"wrote {data['file']}")
    output.write("next: put your PACS and your rule into it, then: dicom-node check, dicom-node up")
