"""``results``: take results back, or have them made anew."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.errors import LedgerError

if TYPE_CHECKING:
    from dicom_node.archive.database import Database
    from dicom_node.archive.replacements import Model
    from dicom_node.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Results that went out: withdraw, replace.")

JobArgument = Annotated[int | None, typer.Argument(metavar="[JOB]", help="Number of the job whose result it is.")]
Reason = Annotated[str, typer.Option(help="Why, for everybody who had the result.")]


class Why(StrEnum):
    """Titles of rejection notes as people write them."""

    SAFETY = "safety"
    QUALITY = "quality"
    WORKLIST = "worklist"


_TITLES = {Why.SAFETY: "PATIENT_SAFETY", Why.QUALITY: "QUALITY", Why.WORKLIST: "WRONG_WORKLIST_ENTRY"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="results")


@commands.command()
def withdraw(
    context: typer.Context,
    reason: Reason,
    job: JobArgument = None,
    model: Annotated[str, typer.Option(help="Instead of a job: all results of this model …")] = "",
    version: Annotated[str, typer.Option(help="… in this version.")] = "",
    title: Annotated[Why, typer.Option(help="Title of the rejection note.")] = Why.SAFETY,
    yes: Annotated[
        bool, typer.Option("--yes", help="Withdraw all of a model; without it they are only listed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a result back: nothing more of it is sent, and whoever has it is told. Doing it again changes nothing."""
    from dicom_node.archive import withdrawals
    from dicom_node.archive.own_objects import Desk
    from dicom_node.domain.rejection import Title

    _check(job, model, version, reason)
    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        jobs = (job,) if job is not None else withdrawals.current(database, model, version)
        done = []
        for number in jobs if job is not None or yes else ():
            wanted = withdrawals.Withdrawal(number, reason.strip(), Title[_TITLES[title]])
            told = withdrawals.withdraw(
                database, Desk.of(settings), wanted, _understand_notes(settings), access.person()
            )
            done.append({"job": number, "told": list(told)})
    data = {"jobs": list(jobs), "withdrawn": done, "dry_run": job is None and not yes}
    output.show(data, as_json, _print)


@commands.command()
def replace(
    context: typer.Context,
    reason: Reason,
    job: JobArgument = None,
    model: Annotated[str, typer.Option(help="Instead of a job: all results of this model …")] = "",
    version: Annotated[str, typer.Option(help="… in this version, by the version that is installed now.")] = "",
    title: Annotated[Why, typer.Option(help="Title of the rejection note for the old objects.")] = Why.QUALITY,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace all of a model; without it they are only listed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Have a result made anew: the new report names the old one, which is taken back as soon as it is there.

    Doing it again changes nothing.
    """
    from dicom_node.archive import replacements
    from dicom_node.domain.rejection import Title

    _check(job, model, version, reason)
    settings = access.configuration(context).settings
    with access.opened(settings) as database:
        jobs = (job,) if job is not None else replacements.of_version(database, model, version)
        done = []
        for number in jobs if job is not None or yes else ():
            wanted = replacements.Replacement(number, reason.strip(), Title[_TITLES[title]])
            installed = _installed(database, settings, number, version)
            by, fresh = replacements.replace(database, wanted, installed, access.person())
            done.append({"job": number, "by_job": by, "new": fresh})
    data = {"jobs": list(jobs), "replaced": done, "dry_run": job is None and not yes}
    output.show(data, as_json, _print_replaced)


def _check(job: int | None, model: str, version: str, reason: str) -> None:
    """Refuse what names neither one job nor one version of a model, or gives no reason."""
    if (job is None) == (not model) or bool(model) != bool(version) or not reason.strip():
        raise typer.BadParameter("name a JOB, or --model and --version; and give a reason")


def _installed(database: Database, settings: Settings, number: int, recalled: str) -> Model:
    """The model of a job as it is installed now; not in the version that is ``recalled``."""
    from dicom_node.archive.ledger import Ledger
    from dicom_node.archive.replacements import Model
    from dicom_node.catalogue import Catalogue
    from dicom_node.domain.fitness import Needs

    record = Ledger(database).job(number)
    if record is None:
        raise LedgerError(f"there is no job {number}", reason="no-such-job", remedy="dicom-node jobs list")
    contract = Catalogue.load(settings).get(record.model)
    if contract.version == recalled:
        raise LedgerError(
            f"{record.model} {recalled} is the version that is installed; its results would be the same again",
            reason="same-version",
            remedy="install another version of it, on node and workers, and restart them",
        )
    rule = settings.rule(record.rule)
    labels = frozenset((*contract.resources.labels, *(rule.labels if rule else ())))
    return Model(contract.name, contract.version, contract.digest, Needs(contract.resources.gpu_memory_mb, labels))


def _print_replaced(data: dict[str, Any]) -> None:
    if data["dry_run"]:
        listed = ", ".join(map(str, data["jobs"])) or "none"
        output.write(f"{len(data['jobs'])} result(s) would be replaced, of jobs: {listed}")
        output.write("give --yes to replace them")
        return
    for entry in data["replaced"]:
        how = "is planned as" if entry["new"] else "was planned before, as"
        output.write(f"the result that replaces that of job {entry['job']} {how} job {entry['by_job']}")


def _understand_notes(settings: Settings) -> tuple[str, ...]:
    return tuple(peer.name for peer in settings.peers if peer.rejection_notes)


def _print(data: dict[str, Any]) -> None:
    if data["dry_run"]:
        listed = ", ".join(map(str, data["jobs"])) or "none"
        output.write(f"{len(data['jobs'])} result(s) would be withdrawn, of jobs: {listed}")
        output.write("give --yes to withdraw them")
        return
    for entry in data["withdrawn"]:
        told = ", ".join(entry["told"]) or "nobody: no destination has it, or all were told before"
        output.write(f"the result of job {entry['job']} is withdrawn; told: {told}")
