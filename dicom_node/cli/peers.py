"""``peers``: the DICOM nodes we know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.errors import ConfigurationError, PeerError

if TYPE_CHECKING:
    from dicom_node.settings import PeerSettings, Settings

commands = typer.Typer(no_args_is_help=True, help="Peers, the DICOM nodes we know: list, echo.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="peers")


@commands.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Peers of the configuration."""
    settings = access.configuration(context).settings
    output.show({"peers": [_peer(peer) for peer in settings.peers]}, as_json, _print_list)


@commands.command()
def echo(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer in the configuration.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Ask a peer whether it is there: C-ECHO; a search of DICOMweb; a trial file in a folder."""
    configuration = access.configuration(context)
    settings = configuration.settings
    peer = settings.peer(name)
    if peer is None:
        known = ", ".join(known.name for known in settings.peers) or "none"
        raise ConfigurationError(
            f"no peer is named {name!r} (known: {known})",
            file=configuration.source.file,
            reason="no-such-peer",
            remedy="add it to the configuration under [[peers]], or correct the name",
        )
    data = answer(settings, peer, timeout)
    output.show(data, as_json, _print_echo)
    if not data["good"]:
        raise typer.Exit(1)


def answer(settings: Settings, peer: PeerSettings, timeout_s: float) -> dict[str, Any]:
    """What becomes of it, as plain data."""
    try:
        took_s = _ask(settings, peer, timeout_s)
    except PeerError as error:
        told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        return {**_peer(peer), "good": False, "milliseconds": None, "error": told}
    return {**_peer(peer), "good": True, "milliseconds": round(took_s * 1000, 1), "error": None}


def _ask(settings: Settings, peer: PeerSettings, timeout_s: float) -> float:
    """Seconds until the peer has shown that it is there.

    Raises:
        PeerError: it has not.
    """
    if peer.kind == "folder":
        from dicom_node.delivery.folder import try_out

        return try_out(peer)
    if peer.kind == "dicomweb":
        from dicom_node.exchange import qido
        from dicom_node.exchange.web_client import open_client

        with open_client(peer, settings.tls, timeout_s) as client:
            return qido.echo(client, peer)
    if peer.kind in ("fhir", "hl7"):
        from dicom_node.delivery.told import try_out as ask

        return ask(settings, peer, timeout_s)
    from dicom_node.dimse.associate import echo as c_echo

    return c_echo(peer, settings.node.ae_title, timeout_s, tls=settings.tls)


def _place(peer: dict[str, Any]) -> str:
    """Where a peer is, in words."""
    return str(peer["url"] or peer["folder"] or f"{peer['ae_title']} at {peer['host']}:{peer['port']}")


def _peer(peer: PeerSettings) -> dict[str, Any]:
    return peer.model_dump(mode="json")


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (
            peer["name"],
            peer["kind"],
            _place(peer),
            peer["tls"],
            peer["receive"] and peer["kind"] == "dicom",
            peer["verify"],
            peer["clinical"],
        )
        for peer in data["peers"]
    ]
    output.table(("peer", "kind", "where", "TLS", "may send", "verified by", "clinical"), rows, empty="no peers")


def _print_echo(data: dict[str, Any]) -> None:
    where = f"{data['name']} ({_place(data)})"
    if data["good"]:
        output.write(f"{where} answers, {data['milliseconds']} ms")
    else:
        output.write(f"{where} does not answer: {data['error']['message']}")
        output.write(f"  {data['error']['remedy']}".rstrip())
