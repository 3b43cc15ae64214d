"""``peers``: the DICOM nodes we know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.errors import ConfigurationError, LedgerError, PeerError

if TYPE_CHECKING:
    from dicom_node.settings import Configuration, PeerSettings, Settings

commands = typer.Typer(no_args_is_help=True, help="Peers, the DICOM nodes we know: list, echo, probe, forget.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="peers")


@commands.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Peers of the configuration, and which encodings of results they did not take."""
    settings = access.configuration(context).settings
    refused = _refused(settings)
    told = [
        {**_peer(peer), "refused": None if refused is None else refused.get(peer.name, [])} for peer in settings.peers
    ]
    output.show({"peers": told}, as_json, _print_list)


@commands.command()
def forget(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer in the configuration.")],
    as_json: Json = False,
) -> None:
    """Forget which encodings of results a peer did not take: the next result is sent in its first one again."""
    from dicom_node.archive import refusals

    configuration = access.configuration(context)
    peer = _known(configuration, name)
    with access.opened(configuration.settings) as database:
        data = {"peer": peer.name, "forgotten": refusals.forget(database, peer.name)}
    output.show(data, as_json, _print_forgotten)


@commands.command()
def echo(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer in the configuration.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Ask a peer whether it is there: C-ECHO; a search of DICOMweb; a trial file in a folder."""
    configuration = access.configuration(context)
    data = answer(configuration.settings, _known(configuration, name), timeout)
    output.show(data, as_json, _print_echo)
    if not data["good"]:
        raise typer.Exit(1)


@commands.command()
def probe(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer in the configuration.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Find out what a peer accepts, and what its entry should say. Nothing is written to it."""
    from dicom_node.delivery import probe as probing

    configuration = access.configuration(context)
    settings, peer = configuration.settings, _known(configuration, name)
    try:
        data = {"name": name, **probing.plain(probing.probe(settings, peer, timeout)), "error": None}
    except PeerError as error:
        told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        data = {"name": name, "objects": [], "services": [], "advice": [], "takes_results": False, "error": told}
    output.show(data, as_json, _print_probe)
    if not data["takes_results"]:
        raise typer.Exit(1)


def _known(configuration: Configuration, name: str) -> PeerSettings:
    """The peer of that name.

    Raises:
        ConfigurationError: there is none.
    """
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
    return peer


def _refused(settings: Settings) -> dict[str, list[dict[str, Any]]] | None:
    """Encodings that each peer did not take lately; None: the ledger, which knows, is not there or cannot be asked."""
    from dicom_node.archive import refusals

    days, found = settings.delivery.refused_encoding_days, dict[str, list[dict[str, Any]]]()
    try:
        with access.opened(settings) as database:
            known = refusals.all_of(database)
    except LedgerError:
        return None
    for each in known:
        told = {"encoding": str(each.profile), "at": each.at.isoformat(), "until": each.until(days).isoformat()}
        found.setdefault(each.destination, []).append({**told, "why": each.why})
    return found


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
            ", ".join(f"{each['encoding']} since {each['at'][:10]}" for each in peer["refused"] or ()),
        )
        for peer in data["peers"]
    ]
    columns = ("peer", "kind", "where", "TLS", "may send", "verified by", "clinical", "does not take")
    output.table(columns, rows, empty="no peers")


def _print_forgotten(data: dict[str, Any]) -> None:
    count = data["forgotten"]
    output.write(f"{data['peer']}: nothing was remembered" if not count else f"{data['peer']}: {count} forgotten")


def _print_echo(data: dict[str, Any]) -> None:
    where = f"{data['name']} ({_place(data)})"
    if data["good"]:
        output.write(f"{where} answers, {data['milliseconds']} ms")
    else:
        output.write(f"{where} does not answer: {data['error']['message']}")
        output.write(f"  {data['error']['remedy']}".rstrip())


def _print_probe(data: dict[str, Any]) -> None:
    if data["error"]:
        output.write(f"{data['name']} cannot be asked: {data['error']['message']}")
        output.write(f"  {data['error']['remedy']}".rstrip())
        return
    said = {True: "yes", False: "no", None: "?"}
    asked = [*data["objects"], *data["services"]]
    output.table(("asked", "accepted", "how, or why not"), [(a["what"], said[a["accepted"]], a["how"]) for a in asked])
    output.write("")
    output.write("Its entry under [[peers]] should say (nothing was written to it):")
    for each in data["advice"]:
        output.write(f"  {each['key']} = {json.dumps(each['value'])}  # {each['why']}")
    if not data["takes_results"]:
        output.write(f"{data['name']} takes no results: allow Segmentation and Comprehensive 3D SR Storage in it")
