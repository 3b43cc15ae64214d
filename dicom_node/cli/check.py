"""``check``: would the node run here, and if not, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli import output
from dicom_node.cli.output import Json
from dicom_node.errors import DicomNodeError

if TYPE_CHECKING:
    from dicom_node.cli.doctor import Answer

MARKS = {"good": "ok  ", "warning": "warn", "bad": "FAIL"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check")(check)


def check(
    context: typer.Context,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each peer.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Look at everything the node needs: configuration, disk, ledger, broker, models, rules, peers, ports, workers."""
    from dicom_node.cli import doctor
    from dicom_node.settings import load

    try:
        configuration = load(context.obj)
    except DicomNodeError as error:
        if as_json:
            raise
        output.write(f"{MARKS['bad']}  configuration: {error.message}")
        raise typer.Exit(2) from error
    answers = []
    for answer in doctor.answers(configuration, timeout):
        answers.append(answer)
        if not as_json:
            _print(answer)
    good = all(answer.state != "bad" for answer in answers)
    if as_json:
        output.show({"good": good, "checks": [_plain(answer) for answer in answers]}, True, lambda _: None)
    else:
        output.write()
        output.write("the node can run here" if good else "the node cannot run here as it is")
    if not good:
        raise typer.Exit(1)


def _plain(answer: Answer) -> dict[str, Any]:
    return {"check": answer.check, "state": answer.state, "found": answer.found, "remedy": answer.remedy}


def _print(answer: Answer) -> None:
    output.write(f"{MARKS[answer.state]}  {answer.check}: {answer.found}")
    if answer.remedy and answer.state != "good":
        output.write(f"      {answer.remedy}")
