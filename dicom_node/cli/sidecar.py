"""``sidecar``: processes that take in patients' data beside the node."""

from __future__ import annotations

import typer

from dicom_node.cli import access

commands = typer.Typer(no_args_is_help=True, help="Processes that take in patients' data.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="sidecar")


@commands.command()
def ehr(context: typer.Context) -> None:
    """Listen for HL7 v2 messages over MLLP, and follow FHIR servers, as [ehr] says. Part of: dicom-node up."""
    from dicom_node.archive.places import only_process
    from dicom_node.cli.run import log_to, stop_on_signals
    from dicom_node.sidecars.ehr.service import run

    settings = access.configuration(context).settings
    log_to("sidecar-ehr", settings)
    with only_process(settings.node.data_dir, "sidecar-ehr"):
        run(settings, stop_on_signals())
