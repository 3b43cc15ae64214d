"""``models``: what can be run. A model is verified by the worker's program; this one never imports its engines."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, bundles, output
from dicom_node.cli.output import Json

if TYPE_CHECKING:
    from dicom_node.catalogue import Catalogue
    from dicom_node.domain.contract import ModelContract
    from dicom_node.domain.output import Output
    from dicom_node.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Models that can be run: list, show, verify, add, pin.")

ModelArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    bundles.register(commands)
    app.add_typer(commands, name="models")


@commands.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Models that were found, and bundles that are broken."""
    from dicom_node.catalogue import Catalogue

    catalogue = Catalogue.load(access.configuration(context).settings)
    output.show(_catalogue(catalogue), as_json, _print_list)


@commands.command()
def show(context: typer.Context, name: ModelArgument, as_json: Json = False) -> None:
    """One model: what it is for, what it needs, what it yields."""
    from dicom_node.catalogue import Catalogue

    settings = access.configuration(context).settings
    contract = Catalogue.load(settings).get(name)
    output.show({**_contract(contract), "optimised": _optimised(settings, contract)}, as_json, _print_contract)


@commands.command()
def verify(context: typer.Context, name: ModelArgument, as_json: Json = False) -> None:
    """Load a model as a worker does and run it on a small volume."""
    from dicom_node.catalogue import Catalogue

    configuration = access.configuration(context)
    Catalogue.load(configuration.settings).get(name)
    file = configuration.source.file
    command = [sys.executable, "-m", "workers", *(("--config", str(file)) if file else ()), "verify", name]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    data = {"model": name, "good": ran.returncode == 0, "checks": _checks(ran.stdout), "output": ran.stderr.strip()}
    output.show(data, as_json, _print_verification)
    if ran.returncode:
        raise typer.Exit(1)


def _checks(text: str) -> list[dict[str, Any]]:
    """The lines ``ok    what`` and ``FAIL  what`` of the worker's program."""
    marked = [line.partition("  ") for line in text.splitlines()]
    return [{"good": mark.strip() == "ok", "what": what.strip()} for mark, _, what in marked if what.strip()]


def _catalogue(catalogue: Catalogue) -> dict[str, Any]:
    return {
        "models": [_brief(contract) for contract in catalogue.contracts],
        "problems": [
            {
                "name": problem.name,
                "folder": str(problem.folder),
                "reason": problem.error.reason,
                "message": problem.error.message,
                "remedy": problem.error.remedy,
            }
            for problem in catalogue.problems
        ],
        "searched": [str(folder) for folder in catalogue.searched],
    }


def _brief(contract: ModelContract) -> dict[str, Any]:
    return {
        "name": contract.name,
        "version": contract.version,
        "title": contract.title,
        "manufacturer": contract.manufacturer,
        "task": contract.task,
        "status": str(contract.status),
        "folder": str(contract.folder),
        "sha256": contract.digest,
    }


def _contract(contract: ModelContract) -> dict[str, Any]:
    return {
        **_brief(contract),
        "intended_use": contract.intended_use,
        "limits": list(contract.limits),
        "inputs": [
            {
                "role": role.name,
                "modality": role.modality,
                "minimum_slices": role.minimum_slices,
                "dimensions": role.dimensions,
                "grid": str(role.grid),
                "conditions": list(role.conditions),
                "prefer": list(role.prefer),
                "select": [str(selection) for selection in role.select],
                "values": role.values,
                "colour": role.colour,
            }
            for role in contract.inputs
        ],
        "outputs": [_output(output) for output in contract.outputs],
        "segments": [{"number": segment.number, "label": segment.label} for segment in contract.segments],
        "measurements": [
            {"name": measurement.name, "kind": measurement.kind, "of": [list(group) for group in measurement.of]}
            for measurement in contract.measurements
        ],
        "evaluations": [
            {"name": evaluation.name, "meaning": evaluation.concept.meaning, "source": evaluation.source}
            for evaluation in contract.evaluations
        ],
        "time_limit_seconds": contract.resources.time_limit_s,
        "memory_mb": contract.resources.memory_mb,
        "holds_for": [
            {"what": what, **dataclasses.asdict(bound)}
            for what in ("population", "protocol")
            for bound in getattr(contract, what)
        ],
    }


def _optimised(settings: Settings, contract: ModelContract) -> list[dict[str, str]]:
    """How it is computed on devices where that was measured."""
    from dicom_node.archive import optimised

    of_bundle = optimised.read(settings.node.data_dir).get(contract.digest, {})
    return [{"where": where, "chosen": str(choice)} for where, choice in of_bundle.items()]


def _output(output: Output) -> dict[str, Any]:
    from dicom_node.domain.output import ClassOutput, MaskOutput, ValueOutput

    if isinstance(output, MaskOutput):
        kind, yields = str(output.form), list(output.segments)
    elif isinstance(output, ValueOutput):
        kind, yields = "values", [value.name for value in output.values]
    else:
        kind = "classes" if isinstance(output, ClassOutput) else str(output.form)
        yields = [each.name for each in output.classes]
    return {"name": output.name, "kind": kind, "key": output.key, "yields": yields}


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (model["name"], model["version"], model["status"], model["title"], model["folder"]) for model in data["models"]
    ]
    output.table(("model", "version", "status", "title", "folder"), rows, empty="no models")
    for problem in data["problems"]:
        output.write()
        output.write(f"cannot be used: {problem['message']}")
        if problem["remedy"]:
            output.write(f"  {problem['remedy']}")


def _print_contract(data: dict[str, Any]) -> None:
    output.fields(
        [
            ("model", f"{data['name']} {data['version']} ({data['status']})"),
            ("title", data["title"]),
            ("by", data["manufacturer"]),
            ("folder", data["folder"]),
            ("limits", f"{data['time_limit_seconds']:g} s, {data['memory_mb']} MB"),
        ]
    )
    for entry in data["optimised"]:
        output.write(f"on {entry['where']}: {entry['chosen']}")
    output.heading("Intended use")
    output.write(data["intended_use"])
    output.heading("Limits")
    for limit in data["limits"]:
        output.write(f"- {limit}")
    output.heading("Needs")
    for role in data["inputs"]:
        output.write(f"{role['role']}: {role['modality']}, {role['minimum_slices']} slices or more")
        for condition in role["conditions"]:
            output.write(f"  must hold  {condition}")
        for preference in role["prefer"]:
            output.write(f"  prefers    {preference}")
        for selection in role["select"]:
            output.write(f"  selects    {selection}")
    if data["holds_for"]:
        output.heading("Holds for")
    for bound in data["holds_for"]:
        output.write(f"{bound['what']}: {_bound(bound)}")
    output.heading("Yields")
    for entry in data["outputs"]:
        output.write(f"{entry['name']} ({entry['kind']}): {', '.join(entry['yields'])}")
    if data["measurements"]:
        output.write("measurements: " + ", ".join(measurement["name"] for measurement in data["measurements"]))
    for evaluation in data["evaluations"]:
        output.write(f"evaluation: {evaluation['meaning']} ({evaluation['source']})")


def _bound(bound: dict[str, Any]) -> str:
    words = [
        f"{said} {bound[key]}" if isinstance(bound[key], str) else f"{said} {bound[key]:g}"
        for key, said in (
            ("at_least", "at least"),
            ("at_most", "at most"),
            ("matching", "matching"),
            ("not_matching", "not matching"),
        )
        if bound[key] is not None
    ]
    words += ["absent"] if bound["absent"] else []
    return f"{bound['keyword']} {', '.join(words)}" + (" (or not given)" if bound["unknown_fits"] else "")


def _print_verification(data: dict[str, Any]) -> None:
    for check in data["checks"]:
        output.write(f"{'ok  ' if check['good'] else 'FAIL'}  {check['what']}")
    output.write(f"{data['model']} is {'good' if data['good'] else 'NOT good'}")
    if not data["good"] and data["output"]:
        output.write(data["output"])
