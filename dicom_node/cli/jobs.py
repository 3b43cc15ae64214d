"""``jobs``: runs of models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json
from dicom_node.domain.job import JobState, Priority
from dicom_node.domain.wording import took
from dicom_node.errors import LedgerError

commands = typer.Typer(no_args_is_help=True, help="Jobs, runs of models: list, show, retry, cancel, approve.")

JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="Number of the job.")]


class PriorityName(StrEnum):
    """Priorities as people write them."""

    STAT = "stat"
    URGENT = "urgent"
    ROUTINE = "routine"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="jobs")


@commands.command("list")
def list_(
    context: typer.Context,
    state: Annotated[list[JobState] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """Jobs, newest first."""
    from dicom_node.archive import plain
    from dicom_node.archive.ledger import Ledger

    with access.ledger(context) as database:
        jobs = [plain.job(record) for record in Ledger(database).jobs(states=state or (), limit=limit)]
    output.show({"jobs": jobs}, as_json, _print_list)


@commands.command()
def show(context: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """One job: why it was planned, its attempts, findings and result objects."""
    from dicom_node.archive.story import job_story
    from dicom_node.cli.story import print_failure, print_job

    with access.ledger(context) as database:
        told = job_story(database, job)
    if told is None:
        raise LedgerError(f"there is no job {job}", reason="no-such-job", remedy="see: dicom-node jobs list")

    def show_all(job: dict[str, Any]) -> None:
        print_job(job)
        print_failure(job)

    output.show(told, as_json, show_all)


@commands.command()
def retry(context: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """Queue a failed or quarantined job again."""
    from dicom_node.archive.ledger import Ledger

    with access.ledger(context) as database:
        state = Ledger(database).retry(job, access.person())
    _show_state(job, state, as_json)


@commands.command()
def cancel(context: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """End a job that is not over; one that runs is abandoned within seconds."""
    from dicom_node.archive import interventions

    with access.ledger(context) as database:
        interventions.cancel(database, job, access.person())
    _show_state(job, JobState.CANCELLED, as_json)


@commands.command()
def approve(context: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """Let a job run that waits for a person, and have its result replace the earlier one."""
    from dicom_node.archive import succession

    with access.ledger(context) as database:
        succession.approve(database, job, access.person())
    _show_state(job, JobState.QUEUED, as_json)


@commands.command()
def drop(context: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """Have a job that waits for a person never run; the earlier result stays."""
    from dicom_node.archive import succession

    with access.ledger(context) as database:
        succession.drop(database, job, access.person())
    _show_state(job, JobState.CANCELLED, as_json)


@commands.command()
def prioritise(
    context: typer.Context,
    job: JobArgument,
    priority: Annotated[PriorityName, typer.Argument(help="Its new place in the order.")],
    as_json: Json = False,
) -> None:
    """Have a job go sooner, or later."""
    from dicom_node.archive import interventions

    with access.ledger(context) as database:
        interventions.prioritise(database, job, Priority[priority.name], access.person())
    data = {"job": job, "priority": priority.value}
    output.show(data, as_json, lambda data: output.write(f"job {data['job']} is {data['priority']}"))


@commands.command()
def stuck(
    context: typer.Context,
    minutes: Annotated[float, typer.Option(min=0, help="Waiting or running for longer than this.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Jobs that wait for a person or do not get on, why, and what to do."""
    from dicom_node.archive import interventions, plain

    with access.ledger(context) as database:
        found = interventions.stuck(database, minutes * 60)
    jobs = [{**plain.job(entry.job), "why": entry.why, "what_to_do": entry.remedy} for entry in found]
    output.show({"jobs": jobs}, as_json, _print_stuck)


def _print_stuck(data: dict[str, Any]) -> None:
    rows = [
        (job["id"], job["state"], job["priority"], job["model"], job["why"], job["what_to_do"]) for job in data["jobs"]
    ]
    output.table(("job", "state", "priority", "model", "why", "what to do"), rows, empty="every job gets on")


def _print_list(data: dict[str, Any]) -> None:
    rows = [
        (
            job["id"],
            job["state"],
            job["model"],
            job["rule"],
            job["study_uid"],
            job["attempt"],
            output.when(job["created_at"]),
            took(job["run_seconds"]),
            output.short((job["error"] or {}).get("message") or job["progress"]),
        )
        for job in data["jobs"]
    ]
    columns = ("job", "state", "model", "rule", "study", "attempts", "planned", "ran", "progress or error")
    output.table(columns, rows, empty="no jobs")


def _show_state(job: int, state: JobState, as_json: bool) -> None:
    data = {"job": job, "state": str(state)}
    output.show(data, as_json, lambda data: output.write(f"job {data['job']} is {data['state']}"))
