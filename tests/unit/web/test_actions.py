"""Buttons of the pages: they do what the commands do, and obey nobody but our own pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from dicom_node.archive import open_items, schema
from dicom_node.archive.database import Database
from dicom_node.domain.job import Priority
from dicom_node.web.actions import ACTIONS, BY

MakeClient = Callable[..., TestClient]
STUDY = "1.2.826.0.1.{}"
PRIORITIES = frozenset(each.name.lower() for each in Priority)


def token_of(client: TestClient, study: int) -> str:
    found = re.search(r'name="token" value="([^"]+)"', client.get(f"/studies/{STUDY.format(study)}").text)
    return found[1] if found else ""


def press(client: TestClient, what: str, number: int, action: str, page: int, **form: str) -> Any:
    data = {"token": token_of(client, page), "study": STUDY.format(page), **form}
    return client.post(f"/actions/{what}/{number}/{action}", data=data, follow_redirects=False)


def states(database: Database, table: Any) -> dict[int, str]:
    with database.read() as connection:
        return {row.id: row.state for row in connection.execute(select(table.c.id, table.c.state))}


def buttons(client: TestClient, study: int) -> set[str]:
    page = client.get(f"/studies/{STUDY.format(study)}").text
    found = set(re.findall(r'action="/actions/([^"]+)"', page))
    return {each for each in found if not each.startswith("results/")}  # see test_assess


def test_each_study_offers_what_can_be_done(client: TestClient) -> None:
    offered = {study: {re.sub(r"/\d+/", "/", found) for found in buttons(client, study)} for study in range(1, 9)}
    assert offered[1] == {"parcels/retry"}
    assert offered[2] == set()
    assert offered[3] == {"jobs/retry"}
    assert offered[4] == {"jobs/cancel"}
    assert offered[5] == {"jobs/cancel", "jobs/stat", "jobs/urgent"}
    assert offered[6] == {"studies/close"}
    assert offered[7] == {"parcels/retry", "parcels/hold"}
    assert offered[8] == {"studies/close"}


def test_a_failed_job_is_run_again_and_the_page_comes_back(client: TestClient, database: Database) -> None:
    (button,) = buttons(client, 3)
    _, number, _ = button.split("/")
    answer = press(client, "jobs", int(number), "retry", 3)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{STUDY.format(3)}")
    assert states(database, schema.job)[int(number)] == "queued"
    with database.read() as connection:
        by = connection.execute(select(schema.event.c.by).where(schema.event.c.kind == "job retried")).scalar_one()
    assert by == BY
    assert press(client, "jobs", int(number), "retry", 3).status_code == 409  # it is queued already


def test_a_question_is_answered(client: TestClient, database: Database) -> None:
    with database.write() as connection:
        asked = update(schema.job).where(schema.job.c.study_id == 5).values(state="waiting", question="replace it?")
        connection.execute(asked)
        number = connection.execute(select(schema.job.c.id).where(schema.job.c.study_id == 5)).scalar_one()
    assert buttons(client, 5) == {f"jobs/{number}/approve", f"jobs/{number}/drop"}
    assert press(client, "jobs", number, "drop", 5).status_code == 303
    assert states(database, schema.job)[number] == "cancelled"


def test_a_parcel_is_held_and_released(client: TestClient, database: Database) -> None:
    number = next(int(found.split("/")[1]) for found in buttons(client, 7))
    press(client, "parcels", number, "hold", 7)
    assert states(database, schema.parcel)[number] == "held"
    assert buttons(client, 7) == {f"parcels/{number}/release"}
    press(client, "parcels", number, "release", 7)
    assert states(database, schema.parcel)[number] == "due"


def test_a_held_study_is_taken_as_it_is(client: TestClient, database: Database) -> None:
    assert press(client, "studies", 8, "close", 8).status_code == 303
    assert states(database, schema.study)[8] == "ready"


def test_open_items_are_listed_and_closed(client: TestClient, database: Database) -> None:
    with database.write() as connection:
        open_items.open_(connection, "k", "rejected", 1, None, "images of a result were rejected", "read it again")
    assert "images of a result were rejected" in client.get("/").text
    assert "items/1/close" in buttons(client, 1)
    assert client.get("/api/v1/counters").json()["open_items"] == 1
    assert press(client, "items", 1, "close", 1).status_code == 303
    assert "images of a result were rejected" not in client.get("/").text


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, "wrong"),
        ({}, ""),
        ({"origin": "http://evil.example"}, None),
        ({"origin": "null"}, None),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
    ],
)
def test_forms_of_others_are_refused(
    client: TestClient, database: Database, headers: dict[str, str], token: str | None
) -> None:
    sent = {"token": token_of(client, 3) if token is None else token}
    number = next(int(found.split("/")[1]) for found in buttons(client, 3))
    answer = client.post(f"/actions/jobs/{number}/retry", data=sent, headers=headers)
    assert answer.status_code == 403
    assert states(database, schema.job)[number] == "failed"


def test_our_own_forms_are_obeyed_with_all_that_browsers_add(client: TestClient) -> None:
    headers = {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"}
    answer = client.post(
        "/actions/studies/8/close", data={"token": token_of(client, 8)}, headers=headers, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_beyond_this_machine_pages_only_show(client_of: MakeClient, database: Database) -> None:
    client = client_of(database, host="0.0.0.0")
    assert buttons(client, 3) == set()
    assert client.post("/actions/jobs/2/retry", data={"token": ""}).status_code == 403


@pytest.mark.parametrize(
    ("address", "form", "status"),
    [
        ("/actions/jobs/1/explode", {}, 404),
        ("/actions/jobs/9999/retry", {}, 409),
        ("/actions/jobs/one/retry", {}, 422),
        ("/actions/jobs/1/retry", {"more": "x" * 2000}, 413),
    ],
)
def test_nonsense_is_told_as_such(client: TestClient, address: str, form: dict[str, str], status: int) -> None:
    answer = client.post(address, data={"token": token_of(client, 1), **form})
    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_the_way_back_leads_nowhere_else(client: TestClient) -> None:
    answer = press(client, "studies", 8, "close", 8, study="//evil.example")
    assert answer.headers["location"] == "/"


def test_every_action_is_a_command() -> None:
    from typer.main import get_command

    from dicom_node.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = {(what, "prioritise" if action in PRIORITIES else action) for what, action in ACTIONS}
    assert all(action in commands[what].commands for what, action in named)
