"""``models add`` and ``models pin``: bringing a bundle in, and saying that somebody has looked at it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.errors import ConfigurationError, ContractError

if TYPE_CHECKING:
    from dicom_node.settings import Settings

_CONFIGURATIONS = ("inference.json", "inference.yaml", "inference.yml")
_SHOWN = 12  # expressions and targets of a printed audit


def register(commands: typer.Typer) -> None:
    """Add the commands to those of ``models``."""
    commands.command("add")(add)
    commands.command("pin")(pin)


def add(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder, zip, http(s) address, or ZOO_NAME@VERSION.")],
    into: Annotated[Path | None, typer.Option(help="Folder of models; that of models.folders by default.")] = None,
    weights: Annotated[bool, typer.Option(help="Download weights that large_files.yml names.")] = True,
    trust: Annotated[bool, typer.Option(help="Pin it even where it would do more than compute.")] = False,
    zoo: Annotated[str, typer.Option(help="Address of the Model Zoo's archives.", hidden=True)] = "",
    as_json: Json = False,
) -> None:
    """Bring a bundle in: check it, draft its contract where there is none, show what it would run, and pin it."""
    from dicom_node import bundle_source
    from dicom_node.bundle_needs import Need, needs

    settings = access.configuration(context).settings
    folder = bundle_source.acquire(source, into or _folder(settings), zoo=zoo or bundle_source.ZOO)
    failed: list[Need] = []
    for entry in bundle_source.large_files(folder) if weights else ():
        if not (folder / str(entry["path"])).is_file():
            try:
                bundle_source.fetch(folder, entry)
            except ContractError as error:
                failed.append(Need("weights", error.message, error.remedy, prevents=False))
    drafted = _drafted(folder)
    told = [*failed, *needs(folder)]
    data = _shown(settings, folder, trust=trust)
    data |= {"drafted": drafted, "needs": [dataclasses.asdict(need) for need in told]}
    data["good"] = data["pinned"] and not any(need.prevents for need in told)
    output.show(data, as_json, _print)
    if not data["good"]:
        raise typer.Exit(1)


def pin(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, or its folder.")],
    as_json: Json = False,
) -> None:
    """Show what a model would run, and take its files as they are now for those that may."""
    from dicom_node.catalogue import Catalogue

    settings = access.configuration(context).settings
    catalogue = Catalogue.load(settings)
    folders = {problem.name: problem.folder for problem in catalogue.problems}
    folders |= {contract.name: contract.folder for contract in catalogue.contracts}
    folder = folders.get(name) or (Path(name) if Path(name).is_dir() else catalogue.get(name).folder)
    data = _shown(settings, folder, trust=True)
    if data["fault"]:
        raise ContractError(data["fault"], remedy="correct it first; dicom-node models list tells more")
    output.show({**data, "drafted": False, "needs": [], "good": True}, as_json, _print)


def _folder(settings: Settings) -> Path:
    if settings.models.folders:
        return settings.models.folders[0]
    raise ConfigurationError(
        "no folder of models is configured", key="models.folders", remedy='e.g. [models] folders = ["models"]'
    )


def _drafted(folder: Path) -> bool:
    """Write a draft where there is no contract; whether it did."""
    from dicom_node.bundle_draft import draft
    from dicom_node.bundle_needs import weights_of

    contract = folder / "model.toml"
    configuration = next((f"configs/{n}" for n in _CONFIGURATIONS if (folder / "configs" / n).is_file()), None)
    if contract.exists() or configuration is None or not (folder / "configs/metadata.json").is_file():
        return False
    contract.write_text(draft(folder, configuration, weights_of(folder)), encoding="utf-8")
    return True


def _shown(settings: Settings, folder: Path, *, trust: bool) -> dict[str, Any]:
    """What the bundle would run; pinned where its contract can be read and nothing stands out, or with ``trust``."""
    from dicom_node import pins
    from dicom_node.bundle_audit import audit
    from dicom_node.catalogue import load_contract

    name, sha256, fault = folder.name, "", ""
    configuration = next((f"configs/{n}" for n in _CONFIGURATIONS if (folder / "configs" / n).is_file()), "")
    try:
        contract = load_contract(folder)
        name, sha256, configuration = contract.name, contract.digest, contract.configuration
    except ContractError as error:
        fault = error.message
    found = audit(folder, configuration)
    pinned = bool(sha256) and (trust or not found.concerns)
    if pinned:
        pins.write(settings.node.data_dir, name, sha256)
    told = {key: list(value) for key, value in dataclasses.asdict(found).items()}
    return {"model": name, "folder": str(folder), "sha256": sha256, "audit": told, "pinned": pinned, "fault": fault}


def _print(data: dict[str, Any]) -> None:
    audit = data["audit"]
    output.fields([("model", data["model"]), ("folder", data["folder"]), ("sha256", data["sha256"])])
    output.heading("What it would run")
    for title in ("targets", "expressions", "imports", "scripts"):
        shown = audit[title][:_SHOWN]
        more = f" and {len(audit[title]) - len(shown)} more" if len(audit[title]) > len(shown) else ""
        output.write(f"{title}: {', '.join(shown) or 'none'}{more}")
    for concern in audit["concerns"]:
        output.write(f"  LOOK  {concern}")
    if data["needs"]:
        output.heading("What it lacks")
    for need in data["needs"]:
        output.write(f"{'FAIL' if need['prevents'] else 'note'}  {need['what']}: {need['message']}")
        if need["remedy"]:
            output.write(f"      {need['remedy']}")
    output.write()
    if data["drafted"]:
        output.write(f"{data['folder']}/model.toml was drafted: decide on every FILL IN, then dicom-node models pin")
    if data["pinned"]:
        output.write(f"{data['model']} is pinned at {data['sha256'][:12]}; try it: dicom-node models verify")
    elif data["sha256"]:
        output.write(f"{data['model']} is not pinned: read the lines above, then dicom-node models pin {data['model']}")
