"""``dicom-node``: the commands, and what becomes of errors.

Exit status: 0 good; 1 the answer is bad news (a failed echo, a study not found); 2 wrong usage or configuration.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli import (
    check,
    demo,
    ehr,
    evaluation,
    genomics,
    import_,
    init,
    items,
    jobs,
    models,
    ohif,
    parcels,
    patients,
    peers,
    results,
    rules,
    run,
    sidecar,
    studies,
)
from dicom_node.errors import ConfigurationError, DicomNodeError

BAD_NEWS = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# typer raises it for every mistake on the command line, and does not export it.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="dicom-node",
    help="The DICOM network node that puts imaging AI into a hospital's PACS.",
    epilog="Start with: dicom-node init, dicom-node check, dicom-node up. Without a PACS: dicom-node demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"dicom-node {version('dicom-node')}")
        except PackageNotFoundError:
            typer.echo("dicom-node, run from a folder of sources: no version")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", envvar="DICOM_NODE_CONFIG", help="Settings. Default: dicom-node.toml here."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = config


for _module in (
    init,
    run,
    sidecar,
    demo,
    check,
    import_,
    studies,
    jobs,
    parcels,
    results,
    items,
    patients,
    ehr,
    genomics,
    models,
    evaluation,
    rules,
    peers,
    ohif,
):
    _module.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        status = app(given, prog_name="dicom-node", standalone_mode=False)
    except DicomNodeError as error:
        _tell(error, as_json=as_json)
        status = WRONG_USAGE if isinstance(error, ConfigurationError) else BAD_NEWS
    except UsageError as error:
        _tell_usage(error, as_json=as_json)
        status = WRONG_USAGE
    except typer.Abort:
        status = INTERRUPTED
    sys.exit(status or 0)


def _tell(error: DicomNodeError, *, as_json: bool) -> None:
    """One line that says what is wrong, one that says what to do."""
    if as_json:
        told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        if isinstance(error, ConfigurationError):
            told |= {"file": str(error.file or ""), "line": str(error.line or ""), "key": error.key or ""}
        typer.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
        return
    typer.echo(f"error: {error.message}", err=True)
    if error.remedy:
        typer.echo(f"       {error.remedy}", err=True)


def _tell_usage(error: Any, *, as_json: bool) -> None:
    """What was wrong with the command line, or the help of a command that needs more."""
    if as_json:
        told = {"reason": "usage", "message": error.format_message(), "remedy": "dicom-node --help"}
        typer.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
    else:
        error.show()


if __name__ == "__main__":
    main()
